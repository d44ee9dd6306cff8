import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { developmentParameters, settlementAbi, settlementBytecode } from '@sealpost/contracts';
import { domainSeparator, type Hex, registrationDigest, toHex } from '@sealpost/prover';
import { encodeDeployData, encodeFunctionData, getContractAddress } from 'viem';
import { type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';

/** The first of anvil's well-known development accounts. */
export const KEYS = [
  '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80',
  '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d',
  '0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a',
  '0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6',
] as const satisfies Hex[];

export interface AnvilOptions {
  /** A free one if absent. */
  readonly port?: number;
  /** Seconds between blocks, fractions allowed; 0: a block only when `mine` is called. */
  readonly blockTime?: number;
  /** File that keeps the chain over restarts. */
  readonly state?: string;
  readonly args?: readonly string[];
}

export interface Anvil {
  readonly url: string;
  readonly port: number;
  /** @throws the node's error message */
  rpc<T = unknown>(method: string, params?: readonly unknown[]): Promise<T>;
  mine(blocks?: number): Promise<void>;
  /** Resolves when the process is gone. SIGTERM lets it write its state. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

const running = new Set<ChildProcess>();
const killAll = () => {
  for (const child of running) child.kill('SIGKILL');
};
process.on('exit', killAll);
// A test runner ends its workers by a signal, or dies itself: 'exit' would not come.
for (const end of ['SIGTERM', 'SIGINT', 'disconnect'] as const) {
  process.once(end as 'SIGTERM', () => {
    killAll();
    process.exit(1);
  });
}

/** The real binary, not npm's wrapper: killing that one would leave the node behind. */
function binary(): string {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const file = process.platform === 'win32' ? 'anvil.exe' : 'anvil';
  return createRequire(import.meta.url).resolve(`@foundry-rs/anvil-${process.platform}-${arch}/bin/${file}`);
}

export async function startAnvil({ port = 0, blockTime = 0, state, args = [] }: AnvilOptions = {}): Promise<Anvil> {
  const child = spawn(
    binary(),
    [
      ...['--port', String(port), '--hardfork', 'osaka', '--slots-in-an-epoch', '2'],
      ...(blockTime === 0 ? ['--no-mining'] : ['--block-time', String(blockTime)]),
      ...(state === undefined ? [] : ['--state', state]),
      ...args,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  running.add(child);
  const exited = once(child, 'exit').then(() => running.delete(child));
  const listening = await new Promise<number>((resolve, reject) => {
    let output = '';
    const read = (data: Buffer) => {
      output += data;
      const found = /Listening on [^\s]*:(\d+)/.exec(output);
      if (found) resolve(Number(found[1]));
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    exited.then(() => reject(new Error(`anvil ended: ${output}`)));
  });
  const url = `http://127.0.0.1:${listening}`;
  const rpc = async <T>(method: string, params: readonly unknown[] = []): Promise<T> => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const { result, error } = (await response.json()) as { result: T; error?: { message: string } };
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  return {
    url,
    port: listening,
    rpc,
    mine: async (blocks = 1) => void (await rpc('anvil_mine', [`0x${blocks.toString(16)}`])),
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal);
      await exited;
    },
  };
}

/** Signs and gives a transaction of any account to the node. */
export async function sendTransaction(
  anvil: Anvil,
  account: PrivateKeyAccount,
  transaction: { nonce: number; to?: Hex; data?: Hex; value?: bigint; gas?: bigint; maxFeePerGas?: bigint },
): Promise<Hex> {
  const raw = await account.signTransaction({
    type: 'eip1559',
    chainId: 31337,
    gas: 21_000n,
    maxFeePerGas: 20_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
    ...transaction,
  });
  return anvil.rpc<Hex>('eth_sendRawTransaction', [raw]);
}

/**
 * Deploys Settlement as the account's first transaction and registers that account as the operator of all lanes; on
 * `--no-mining` the block of both is mined here.
 */
export async function deploySettlement(anvil: Anvil, { laneCount = 1, operatorKey = KEYS[2] as Hex } = {}): Promise<Hex> {
  const operator = privateKeyToAccount(operatorKey);
  const settlement = getContractAddress({ from: operator.address, nonce: 0n }).toLowerCase() as Hex;
  const firstOperators = Array.from({ length: laneCount }, () => operator.address);
  const data = encodeDeployData({
    abi: settlementAbi,
    bytecode: settlementBytecode,
    args: [firstOperators, developmentParameters],
  });
  await sendTransaction(anvil, operator, { nonce: 0, data, gas: 12_000_000n });
  const separator = domainSeparator({ chainId: 31_337n, settlement });
  const receipts = privateKeyToAccount(KEYS[1]);
  for (let lane = 0; lane < laneCount; lane++) {
    const digest = registrationDigest(separator, { lane, operator: operator.address, signer: receipts.address });
    const registration = await receipts.sign({ hash: toHex(digest) });
    const call = encodeFunctionData({
      abi: settlementAbi,
      functionName: 'register',
      args: [lane, privateKeyToAccount(KEYS[0]).address, receipts.address, registration],
    });
    const transaction = { nonce: 1 + lane, to: settlement, data: call, value: developmentParameters.minBond, gas: 300_000n };
    await sendTransaction(anvil, operator, transaction);
  }
  await anvil.mine();
  return settlement;
}
