import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BUNDLE_TYPES, createClient } from '@sealpost/client';
import { fileReceipts } from '@sealpost/client/node';
import { developmentParameters, settlementAbi, settlementBytecode } from '@sealpost/contracts';
import { encodeBundle, frameBundle, type Hex, messagesTree, toHex } from '@sealpost/prover';
import { createWalletClient, http, keccak256, type PrivateKeyAccount, parseEther, stringToBytes } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { expect, onTestFinished, test } from 'vitest';
import { roleAccount, userAccount } from '../accounts.js';
import { l1Client, signRegistration } from '../deployment.js';
import type { Network } from '../network.js';
import { CrookedSequencer, type Lie } from './crooked.js';
import { SEALPOST, sealpost, startLoad, startNetwork, temporaryFolder, until } from './stage.js';

/** What is done on one lane each, how the operator tries to get away with it, and what the watch has to find. */
const CASES: readonly { name: string; lie?: Lie; escapeBy?: 'rotate' | 'exit' | 'takeover'; offence?: string }[] = [
  { name: 'equivocate', lie: 'equivocate', offence: 'equivocation' },
  { name: 'reorder', lie: 'reorder', offence: 'replacement' },
  { name: 'drop', lie: 'drop', offence: 'replacement' },
  { name: 'stall', lie: 'stall', offence: 'unanswered demand' },
  { name: 'withhold a batch', lie: 'withhold a batch', offence: 'unanswered demand' },
  { name: 'skip a nonce', lie: 'skip a nonce', offence: 'false entry' },
  { name: 'replay', lie: 'replay', offence: 'false entry' },
  { name: 'forge a signature', lie: 'forge a signature', offence: 'false entry' },
  { name: 'mark void wrongly', lie: 'mark void wrongly', offence: 'false entry' },
  { name: 'rotate its key to escape', lie: 'equivocate', escapeBy: 'rotate', offence: 'equivocation' },
  { name: 'exit to escape', lie: 'reorder', escapeBy: 'exit', offence: 'replacement' },
  { name: 'be taken over by itself to escape', lie: 'drop', escapeBy: 'takeover', offence: 'replacement' },
  { name: 'nothing' },
];

/** Seconds instead of minutes: blocks come five times a second. */
const PARAMETERS = {
  ...developmentParameters,
  maxIncludeDelay: 40n,
  answerDelay: 25n,
  evidenceWindow: 5_000n,
  exitDelay: 5_100n,
  takeoverDelay: 20n,
};
const BOND = 2n * PARAMETERS.minBond;

const accountOf = (name: string): PrivateKeyAccount => privateKeyToAccount(keccak256(stringToBytes(name)));

/** A contract with a lane for each case, each with an operator of its own. */
async function deployLanes(network: Network) {
  const l1 = l1Client(network.l1Url);
  const rich = async (account: PrivateKeyAccount) => {
    const params = [account.address, `0x${parseEther('1000').toString(16)}`];
    await l1.request({ method: 'anvil_setBalance', params } as never);
    return createWalletClient({ account, transport: http(network.l1Url) });
  };
  const operators = CASES.map(({ name }) => accountOf(`operator ${name}`));
  const deployer = createWalletClient({ account: roleAccount('direct').account, transport: http(network.l1Url) });
  const hash = await deployer.deployContract({
    abi: settlementAbi,
    bytecode: settlementBytecode,
    args: [operators.map(({ address }) => address), PARAMETERS],
    chain: null,
  });
  const { contractAddress } = await l1.waitForTransactionReceipt({ hash });
  const settlement = contractAddress as Hex;
  const domain = { chainId: BigInt(network.chainId), settlement };
  const contract = { address: settlement, abi: settlementAbi } as const;
  const sent = async (account: PrivateKeyAccount, functionName: string, args: readonly unknown[], value = 0n) => {
    const wallet = await rich(account);
    const transaction = await wallet.writeContract({ ...contract, functionName, args, value, chain: null } as never);
    expect(await l1.waitForTransactionReceipt({ hash: transaction })).toMatchObject({ status: 'success' });
  };
  const register = async (lane: number, operator: PrivateKeyAccount, signer: PrivateKeyAccount, bond: bigint) => {
    const registration = await signRegistration(domain, lane, operator.address, signer);
    await sent(operator, 'register', [lane, operator.address, signer.address, registration], bond);
  };
  return { l1, domain, contract, sent, register };
}

type Lanes = Awaited<ReturnType<typeof deployLanes>>;

/** One lane from its first message to the operator's escape. */
async function misbehave(network: Network, lanes: Lanes, lane: number, receiptsFolder: string): Promise<CrookedSequencer> {
  const { name, lie, escapeBy } = CASES[lane] as (typeof CASES)[number];
  const { domain, sent, register, l1 } = lanes;
  const operator = accountOf(`operator ${name}`);
  const signer = accountOf(`signer ${name}`);
  await register(lane, operator, signer, BOND);
  const own = { l1Url: network.l1Url, domain, lane, operator, signer, includeIn: PARAMETERS.maxIncludeDelay / 2n };
  const sequencer = await CrookedSequencer.start(own);
  onTestFinished(() => sequencer.stop());
  const topic: Hex = `0x${lane.toString(16).padStart(4, '0')}${'00'.repeat(30)}`;
  const receipts = fileReceipts({ folder: receiptsFolder });
  const sender = async (who: string) => {
    const account = accountOf(`${who} ${name}`);
    const options = { url: sequencer.url, l1: http(network.l1Url), settlement: domain.settlement, account, receipts };
    const client = await createClient(options);
    return () => client.send({ topic, payload: Uint8Array.of(lane) });
  };
  /** Given to the sequencer as it is: what no client of ours would sign, or whose refusal it would not take. */
  const post = async (nonce: bigint) => {
    const account = accountOf(`raw ${name}`);
    const messages = [{ topic, payload: Uint8Array.of(lane) }];
    const { timestamp } = await l1.getBlock();
    const head = { sender: account.address.toLowerCase() as Hex, lane, nonce, expiry: timestamp + 3_600n, postage: 0n };
    const signature = await account.signTypedData({
      domain: { name: 'Sealpost', version: '1', chainId: domain.chainId, verifyingContract: domain.settlement },
      types: BUNDLE_TYPES,
      primaryType: 'Bundle',
      message: { ...head, count: 1, messagesRoot: toHex(messagesTree(messages).root) },
    });
    const body = frameBundle(encodeBundle({ ...head, messages, signature })) as Uint8Array<ArrayBuffer>;
    expect((await fetch(`${sequencer.url}/v1/bundles`, { method: 'POST', body })).status).toBe(200);
  };
  const [alice, bob, carol] = [await sender('alice'), await sender('bob'), await sender('carol')];
  await alice();
  await sequencer.commit();
  if (lie !== undefined) sequencer.begin(lie);
  if (lie === 'skip a nonce') await post(5n);
  else if (lie === 'mark void wrongly') await post(0n);
  else {
    await alice();
    if (lie !== 'replay' && lie !== 'forge a signature') await bob();
    if (lie === 'stall' || lie === 'withhold a batch') await carol();
  }
  await sequencer.commit();
  if (escapeBy === 'rotate') await register(lane, operator, accountOf('another signer'), 0n);
  if (escapeBy === 'exit' || escapeBy === 'takeover') await sent(operator, 'requestExit', [lane]);
  if (escapeBy === 'takeover') {
    const other = accountOf('itself');
    await register(lane, other, accountOf('its signer'), BOND);
    const contract = { ...lanes.contract, functionName: 'operator', args: [lane] } as const;
    await until('the lane to be vacant', async () => BigInt(await l1.readContract(contract)) === 0n);
    await sent(other, 'takeOver', [lane]);
  }
  return sequencer;
}

/** `sealpost watch`, as long as the test runs, and what it tells. */
class Watching {
  readonly events: { type: string; data: Record<string, unknown> }[] = [];
  stderr = '';
  private readonly child: ChildProcess;

  constructor(args: readonly string[]) {
    const home = temporaryFolder();
    this.child = spawn(process.execPath, [SEALPOST, 'watch', '--json', ...args], {
      env: { PATH: process.env.PATH, HOME: home },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let rest = '';
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() as string;
      this.events.push(...lines.map((line) => JSON.parse(line)));
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    onTestFinished(() => this.stop().then(() => {}));
  }

  of(type: string, lane?: number) {
    return this.events.filter((event) => event.type === type && (lane === undefined || event.data.lane === lane));
  }

  async stop(): Promise<number | null> {
    const ended = new Promise<void>((resolve) => this.child.once('close', () => resolve()));
    if (this.child.exitCode === null && this.child.kill('SIGINT')) await ended;
    return this.child.exitCode;
  }
}

function keyFile(name: string, key: Hex): string {
  const path = join(temporaryFolder(), `${name}.key`);
  writeFileSync(path, key, { mode: 0o600 });
  chmodSync(path, 0o600);
  return path;
}

test('each lie is caught by a watch and takes the bond; an honest sequencer beside is left alone', async () => {
  const network = await startNetwork();
  const honest = new Watching(['--data', network.folder.path, '--as', 'alice', '--patience', '5']);
  const load = await startLoad(network, { senders: 2 });
  for (const text of ['one', 'two']) {
    expect(await sealpost(network, ['send', '--as', 'bob', '--to', 'alice', text])).toMatchObject({ code: 0 });
  }
  const lanes = await deployLanes(network);
  const receipts = temporaryFolder();
  const sequencers = await Promise.all(CASES.map((_, lane) => misbehave(network, lanes, lane, receipts)));

  const reporter = userAccount('carol');
  const owedBefore = await lanes.l1.readContract({ ...lanes.contract, functionName: 'owed', args: [reporter.account.address] });
  const watching = new Watching([
    ...['--l1', network.l1Url, '--settlement', lanes.domain.settlement, '--as', keyFile('carol', reporter.privateKey)],
    ...['--receipts', receipts, '--patience', '1', '--data', temporaryFolder()],
    ...sequencers.flatMap(({ url }) => ['--server', url]),
  ]);
  const termOf = async (lane: number) => {
    const [operator, , , , , slashed] = await lanes.l1.readContract({
      ...lanes.contract,
      functionName: 'termOf',
      args: [lane, 1],
    });
    return { operator, slashed };
  };
  for (const [lane, { name, lie, offence }] of CASES.entries()) {
    if (lie === undefined) continue;
    const isSlashed = until(`'${name}' to be slashed`, async () => (await termOf(lane)).slashed, 120_000);
    await isSlashed.catch((error) => {
      throw new Error(`${error.message}\n${JSON.stringify(watching.events)}\n${watching.stderr}`);
    });
    const { operator } = await termOf(lane);
    const [bond] = await lanes.l1.readContract({ ...lanes.contract, functionName: 'operatorOf', args: [lane, operator] });
    expect(bond, name).toBe(0n);
    await until(`'${name}' to be told`, () => watching.of('reported', lane).some(({ data }) => data.slashed === true));
    expect(
      watching.of('offence', lane).map(({ data }) => data.offence),
      name,
    ).toContain(offence);
  }
  // A tenth of each bond, and nothing that was paid for demands is lost.
  const owed = await lanes.l1.readContract({ ...lanes.contract, functionName: 'owed', args: [reporter.account.address] });
  expect(owed - owedBefore).toBeGreaterThanOrEqual((BigInt(CASES.length - 1) * BOND) / 10n);

  // Of the one that did nothing wrong, and of the second account that took a lane over: every coin is there.
  const innocent = CASES.length - 1;
  expect(watching.of('offence', innocent)).toEqual([]);
  expect(watching.of('batch', innocent).length).toBe(2);
  const bondOf = async (lane: number, who: string) =>
    (
      await lanes.l1.readContract({
        ...lanes.contract,
        functionName: 'operatorOf',
        args: [lane, accountOf(who).address],
      })
    )[0];
  expect(await bondOf(innocent, 'operator nothing')).toBe(BOND);
  expect(
    await bondOf(
      CASES.findIndex(({ escapeBy }) => escapeBy === 'takeover'),
      'itself',
    ),
  ).toBe(BOND);
  expect(await watching.stop()).toBe(3);

  // The real sequencer, under load all the while.
  await load.stop();
  expect(load.failures).toEqual([]);
  await until('its batches to be watched', () => honest.of('batch').length > 3);
  expect(honest.of('offence')).toEqual([]);
  expect(honest.of('demanded')).toEqual([]);
  expect(await honest.stop()).toBe(130);
  const once = await sealpost(network, ['watch', '--once', '--json', '--again']);
  expect(once).toMatchObject({ code: 0 });
  expect(once.stdout).toContain('"type":"end","data":{"offences":0,"openDemands":0}');
  const bond = await lanes.l1.readContract({
    address: network.settlement,
    abi: settlementAbi,
    functionName: 'operatorOf',
    args: [0, roleAccount('operator').account.address],
  });
  expect(bond[0]).toBe(2n * developmentParameters.minBond);
});
