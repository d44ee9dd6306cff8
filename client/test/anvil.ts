import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { developmentParameters, type Parameters, settlementAbi, settlementBytecode } from '@sealpost/contracts';
import { type BatchHeader, domainSeparator, type Hex, registrationDigest, toHex } from '@sealpost/prover';
import { createWalletClient, type HttpTransport, http, publicActions } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';

const MNEMONIC = 'test test test test test test test test test test test junk';

/** One of anvil's ten rich accounts, with its key. */
export function devAccount(index: number) {
  const account = mnemonicToAccount(MNEMONIC, { addressIndex: index });
  return { account, key: toHex(account.getHdKey().privateKey as Uint8Array) };
}

/** The account that deploys, runs the lanes, posts batches and signs receipts. */
const operator = devAccount(0);
export const receiptKey = operator.key;

export interface Anvil {
  readonly url: string;
  readonly transport: HttpTransport;
  blockNumber(): Promise<bigint>;
  /** Deploys a Settlement contract, and registers its operator on every lane. */
  deploy(options?: { laneCount?: number; parameters?: Parameters }): Promise<Hex>;
  commit(settlement: Hex, headers: readonly BatchHeader[]): Promise<void>;
  request(method: string, params: unknown[]): Promise<unknown>;
  stop(): Promise<void>;
}

/** The real anvil, on a free port, with blocks that do not wait for transactions. */
export async function startAnvil(): Promise<Anvil> {
  const binary = createRequire(createRequire(import.meta.url).resolve('@foundry-rs/anvil/package.json')).resolve(
    `@foundry-rs/anvil-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}/bin/anvil`,
  );
  const args = ['--port', '0', '--block-time', '0.1', '--slots-in-an-epoch', '2', '--hardfork', 'osaka'];
  const child: ChildProcess = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`anvil ended with ${code}`)));
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const port = /Listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (port !== undefined) resolve(`http://127.0.0.1:${port}`);
    });
  });
  const wallet = createWalletClient({
    account: operator.account,
    transport: http(url),
    pollingInterval: 50,
    cacheTime: 0,
  }).extend(publicActions);
  const request = (method: string, params: unknown[]) => wallet.request({ method, params } as never) as Promise<unknown>;
  const mined = async (hash: Hex) => {
    const receipt = await wallet.waitForTransactionReceipt({ hash });
    if (receipt.status !== 'success') throw new Error(`${hash} reverted`);
    return receipt;
  };
  return {
    url,
    transport: http(url, { retryCount: 0 }),
    blockNumber: () => wallet.getBlockNumber({ cacheTime: 0 }),
    request,
    async deploy({ laneCount = 1, parameters = developmentParameters } = {}) {
      const firstOperators = Array.from({ length: laneCount }, () => operator.account.address);
      const args = [firstOperators, parameters] as const;
      const hash = await wallet.deployContract({ abi: settlementAbi, bytecode: settlementBytecode, args, chain: null });
      const settlement = ((await mined(hash)).contractAddress as Hex).toLowerCase() as Hex;
      const separator = domainSeparator({ chainId: 31_337n, settlement });
      const { address } = operator.account;
      for (let lane = 0; lane < laneCount; lane++) {
        const digest = registrationDigest(separator, { lane, operator: address, signer: address });
        const registration = await operator.account.sign({ hash: toHex(digest) });
        const value = parameters.minBond;
        const call = { address: settlement, abi: settlementAbi, functionName: 'register', chain: null, value } as const;
        await mined(await wallet.writeContract({ ...call, args: [lane, address, address, registration] }));
      }
      return settlement;
    },
    async commit(settlement, headers) {
      const call = { address: settlement, abi: settlementAbi, functionName: 'commit', args: [headers, []], chain: null } as const;
      await mined(await wallet.writeContract(call));
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
