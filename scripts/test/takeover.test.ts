import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { settlementAbi } from '@sealpost/contracts';
import { concat, type Hex, receiptFromJson, toHex, verifyReceipt } from '@sealpost/prover';
import { createWalletClient, http } from 'viem';
import { expect, onTestFinished, test } from 'vitest';
import { roleAccount, userAccount } from '../accounts.js';
import { l1Client, signRegistration } from '../deployment.js';
import { type Network, SEQUENCER, sequencerEnvironment } from '../network.js';
import { LoadSender, makeRegion, nativeRecover, type PresignedBundle } from '../presigned.js';
import { sealpost, startNetwork, temporaryFolder, until } from './stage.js';

const contractOf = (network: Network) => ({ address: network.settlement, abi: settlementAbi }) as const;
const domainOf = (network: Network) => ({ chainId: BigInt(network.chainId), settlement: network.settlement });
const message = () => makeRegion({ count: 1, payloadBytes: 32, lane: 0, laneCount: 1 });

/** Who runs the lane after the first one: its own operator, poster and receipt signer. */
const SECOND = { operator: userAccount('frank'), poster: userAccount('erin'), receipts: userAccount('dave') };

async function transact(
  network: Network,
  account: (typeof SECOND)['operator']['account'],
  functionName: 'register' | 'takeOver' | 'forceInclude',
  args: readonly unknown[],
  value = 0n,
): Promise<void> {
  const wallet = createWalletClient({ account, transport: http(network.l1Url) });
  const call = { ...contractOf(network), functionName, args, value, chain: null };
  const hash = await wallet.writeContract(call as unknown as Parameters<typeof wallet.writeContract>[0]);
  // Where blocks come by themselves it is one more.
  await rpc(network, 'evm_mine', []);
  const { status } = await l1Client(network.l1Url).waitForTransactionReceipt({ hash, timeout: 60_000 });
  expect(status).toBe('success');
}

const rpc = (network: Network, method: string, params: readonly unknown[]) =>
  l1Client(network.l1Url).request({ method, params } as never);

/** Puts a bundle into the inbox, and lets it become so overdue there that the lane may be taken over. */
async function leaveOverdue(network: Network, { parts }: PresignedBundle): Promise<void> {
  await transact(network, roleAccount('direct').account, 'forceInclude', [toHex(concat(...parts))], 10n ** 17n);
  await rpc(network, 'anvil_mine', ['0xb6']);
}

async function post(url: string, bundle: PresignedBundle): Promise<{ receipt?: unknown; error?: { code: string } }> {
  const answer = await fetch(`${url}/v1/bundles`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: Buffer.from(concat(...bundle.parts)),
  });
  const body = (await answer.json()) as { results?: { receipt?: unknown }[]; code: string };
  return body.results?.[0] ?? { error: body };
}

const nonceAt = async (url: string, sender: Hex): Promise<number> =>
  Number(((await (await fetch(`${url}/v1/accounts/${sender}?lane=0`)).json()) as { nonce: string }).nonce);

const headOf = async (network: Network) => {
  const [number, nextSequence, , inboxCount] = await l1Client(network.l1Url).readContract({
    ...contractOf(network),
    functionName: 'head',
    args: [0],
  });
  return { number, nextSequence, inboxCount };
};

/** What `sealpost watch --mirror` keeps: every batch file of the lane. */
async function mirror(network: Network, url: string, folder: string): Promise<string[]> {
  const { number: last } = await headOf(network);
  const lane = join(folder, `${network.chainId}-${network.settlement.toLowerCase()}`, 'lane-0');
  mkdirSync(lane, { recursive: true });
  const paths: string[] = [];
  for (let number = 1n; number <= last; number++) {
    const answer = await fetch(`${url}/v1/batches/0/${number}/data`);
    expect(answer.status).toBe(200);
    const path = join(lane, `${number}.batch`);
    writeFileSync(path, Buffer.from(await answer.arrayBuffer()));
    paths.push(path);
  }
  return paths;
}

interface Running {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly events: Record<string, unknown>[];
  output: string;
}

/** One of the sequencer's commands, beside the network's own sequencer. */
function sequencer(env: NodeJS.ProcessEnv, ...args: string[]): Running {
  const child = spawn(process.execPath, [SEQUENCER, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const running: Running = { child, exited: new Promise((resolve) => child.once('close', resolve)), events: [], output: '' };
  let rest = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      running.output += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('{')) running.events.push(JSON.parse(line));
    });
  }
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await running.exited;
  });
  return running;
}

/** Its URL, once it promises. */
const ready = (running: Running): Promise<string> =>
  until(
    'the sequencer to be ready',
    async () => {
      if (running.child.exitCode !== null) throw new Error(running.output);
      const url = running.events.find(({ event }) => event === 'ready')?.url as string | undefined;
      return url !== undefined && (await fetch(`${url}/readyz`)).ok ? url : undefined;
    },
    60_000,
  );

function settingsOf(network: Network, folder: string): NodeJS.ProcessEnv {
  const key = (name: 'poster' | 'receipts') => {
    const path = join(folder, `${name}.key`);
    writeFileSync(path, SECOND[name].privateKey, { mode: 0o600 });
    return path;
  };
  return {
    ...sequencerEnvironment(network.folder, network.deployment, network.l1Url),
    SEALPOST_DATA: join(folder, 'data'),
    SEALPOST_PORT: '0',
    SEALPOST_LOG: 'json',
    SEALPOST_SEAL_MAX_AGE_MS: '100',
    SEALPOST_POSTER_KEY_FILE: key('poster'),
    SEALPOST_SIGNER_KEY_FILE: key('receipts'),
  };
}

/** The whole log, re-derived from the L1 and what this server has. */
async function audit(network: Network, url: string) {
  const { code, stdout, stderr } = await sealpost(network, ['audit', '--json', '--url', url]);
  expect(code, stdout + stderr).toBe(0);
  return (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { data: { clean: boolean; entries: number } }).data;
}

/** Holds a receipt against what the contract says of the running term, as clients do. */
async function checkReceipt(network: Network, json: unknown): Promise<void> {
  const l1 = l1Client(network.l1Url);
  const term = await l1.readContract({ ...contractOf(network), functionName: 'term', args: [0] });
  const signer = await l1.readContract({ ...contractOf(network), functionName: 'receiptSigner', args: [0, term] });
  const latestBlock = await l1.getBlockNumber();
  const expected = { ...domainOf(network), signer, term, latestBlock, maxIncludeDelay: 1_800n };
  verifyReceipt(receiptFromJson(json), expected, { recover: nativeRecover });
}

/** The second operator registers and takes the lane over. */
async function takeOver(network: Network): Promise<void> {
  const { operator, poster, receipts } = SECOND;
  const registration = await signRegistration(domainOf(network), 0, operator.account.address, receipts.account);
  const args = [0, poster.account.address, receipts.account.address, registration];
  await transact(network, operator.account, 'register', args, 5n * 10n ** 18n);
  await transact(network, operator.account, 'takeOver', [0]);
}

test('a lane that is taken over goes on where the L1 has it, and its first operator comes back', async () => {
  const network = await startNetwork();
  const l1 = l1Client(network.l1Url);
  const { timestamp } = await l1.getBlock();
  const newSender = () => new LoadSender(domainOf(network), 0, timestamp + 86_400n);
  const [alice, bob] = [newSender(), newSender()];
  const committed = (nextSequence: bigint) =>
    until(`${nextSequence} entries to be committed`, async () => (await headOf(network)).nextSequence >= nextSequence, 60_000);

  // Three bundles in batches of their own, and one that is promised and never committed.
  for (let nonce = 0n; nonce < 3n; nonce++) {
    expect((await post(network.url, alice.sign(message(), nonce))).receipt).toBeDefined();
    await committed(nonce + 1n);
  }
  const folder = temporaryFolder();
  const kept = join(folder, 'mirror');
  const files = await mirror(network, network.url, kept);
  await rpc(network, 'evm_setIntervalMining', [0]);
  const dropped = alice.sign(message(), 3n);
  const { receipt: lapsed } = await post(network.url, dropped);
  await checkReceipt(network, lapsed);
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await rpc(network, 'anvil_dropAllTransactions', []);
  await rpc(network, 'evm_setIntervalMining', [1]);

  await leaveOverdue(network, bob.sign(message(), 0n));
  await takeOver(network);

  // Without the database; without a file; killed on the way; and again.
  const settings = settingsOf(network, folder);
  const early = sequencer(settings, 'run', '--create');
  expect(await early.exited, early.output).toBe(1);
  expect(early.output).toContain('main.js import --from DIR');
  const last = files.at(-1) as string;
  renameSync(last, `${last}.away`);
  const missing = sequencer(settings, 'import', '--from', kept);
  expect(await missing.exited).toBe(1);
  expect(missing.output).toContain(`${last} is not there`);
  expect(missing.output).toContain('sealpost watch --mirror');
  rmSync(settings.SEALPOST_DATA as string, { recursive: true });
  // A pipe in its place holds the import there, for as long as nobody writes.
  expect(spawnSync('mkfifo', [last]).status).toBe(0);
  const killed = sequencer(settings, 'import', '--from', kept);
  await until('the import to come to the last file', () => {
    if (killed.child.exitCode !== null) throw new Error(killed.output);
    try {
      closeSync(openSync(last, constants.O_WRONLY | constants.O_NONBLOCK));
      return true;
    } catch {
      return false;
    }
  });
  killed.child.kill('SIGKILL');
  await killed.exited;
  rmSync(last);
  const half = sequencer(settings, 'run');
  expect(await half.exited, half.output).toBe(1);
  writeFileSync(last, 'something else');
  const wrong = sequencer(settings, 'import', '--from', kept);
  expect(await wrong.exited).toBe(1);
  expect(wrong.output).toMatch(/3\.batch is bafybei\w+, expected bafybei\w+: remove it/);
  renameSync(`${last}.away`, last);
  const imported = sequencer(settings, 'import', '--from', kept);
  expect(await imported.exited, imported.output).toBe(0);
  expect(imported.events.at(-1)).toMatchObject({ event: 'imported', lane: 0, number: '3', entries: '3' });

  // The second one runs: the overdue bundle first, then as always, on the nonces that there are.
  const second = sequencer(settings, 'run');
  const url = await ready(second);
  await until('the forced bundle to be consumed', async () => (await headOf(network)).inboxCount === 1n, 60_000);
  expect(await nonceAt(url, bob.address)).toBe(1);
  expect(await nonceAt(url, alice.address)).toBe(3);
  await expect(checkReceipt(network, lapsed)).rejects.toMatchObject({ code: expect.stringMatching(/^receipt\./) });
  const { receipt } = await post(url, dropped);
  await checkReceipt(network, receipt);
  expect(receipt).toMatchObject({ term: 2, previous: '3' });
  // What the first one committed is proven by the second, with a receipt of its own as well.
  for (const anchor of ['', '?anchor=receipt']) {
    const proof = await fetch(`${url}/v1/messages/${alice.address}/0/1/proof${anchor}`);
    expect(proof.status).toBe(200);
    if (anchor !== '') await checkReceipt(network, ((await proof.json()) as { receipt: unknown }).receipt);
  }
  await committed(5n);
  expect(await audit(network, url)).toMatchObject({ clean: true, entries: 5 });

  // The first one again, over its own database, which has an entry that the log never got.
  await mirror(network, url, kept);
  second.child.kill('SIGTERM');
  expect(await second.exited).toBe(0);
  const first = {
    ...process.env,
    ...sequencerEnvironment(network.folder, network.deployment, network.l1Url),
    SEALPOST_LOG: 'json',
  };
  const ousted = sequencer(first, 'run');
  expect(await ousted.exited).toBe(1);
  expect(ousted.output).toContain('as receipt signer of lane 0');
  await leaveOverdue(network, bob.sign(message(), 1n));
  await transact(network, roleAccount('operator').account, 'takeOver', [0]);
  await rpc(network, 'anvil_mine', ['0x8']);
  const back = sequencer(first, 'import', '--from', kept);
  expect(await back.exited, back.output).toBe(0);
  await network.startSequencer();
  expect((await post(network.url, alice.sign(message(), 4n))).receipt).toMatchObject({ term: 3, previous: '5' });
  await until('the second forced bundle', async () => (await headOf(network)).inboxCount === 2n, 60_000);
  await committed(7n);
  expect(await audit(network, network.url)).toMatchObject({ clean: true, entries: 7 });
}, 480_000);

test('nothing gets a place before the takeover is final, and a reorg may take it away and bring it back', async () => {
  const network = await startNetwork();
  const { timestamp } = await l1Client(network.l1Url).getBlock();
  const newSender = () => new LoadSender(domainOf(network), 0, timestamp + 86_400n);
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await leaveOverdue(network, newSender().sign(message(), 0n));
  await rpc(network, 'evm_setIntervalMining', [0]);
  await takeOver(network);
  const running = sequencer(settingsOf(network, temporaryFolder()), 'run', '--create');
  const url = await until(
    'the sequencer to listen',
    () => {
      if (running.child.exitCode !== null) throw new Error(running.output);
      return running.events.find(({ event }) => event === 'ready')?.url as string | undefined;
    },
    60_000,
  );
  const says = (words: string) =>
    until(`readiness to say "${words}"`, async () => {
      const answer = await fetch(`${url}/readyz`);
      return answer.status === 503 && (await answer.text()).includes(words);
    });
  const bundle = newSender().sign(message(), 0n);
  await says('which is not final yet');
  expect((await post(url, bundle)).error).toMatchObject({
    code: 'unavailable',
    detail: expect.stringContaining('not final yet'),
  });
  await rpc(network, 'anvil_reorg', [1, []]);
  await says('lane 0 is in term 1, this sequencer was started for term 2');
  expect((await post(url, bundle)).error).toMatchObject({ code: 'unavailable' });
  await transact(network, SECOND.operator.account, 'takeOver', [0]);
  await says('which is not final yet');
  expect((await fetch(`${url}/v1/batches?lane=0`).then((answer) => answer.json())) as object).toMatchObject({ batches: [] });
  await rpc(network, 'evm_setIntervalMining', [1]);
  await ready(running);
  const { receipt } = await post(url, bundle);
  await checkReceipt(network, receipt);
  expect(receipt).toMatchObject({ term: 2 });
  await until('the forced bundle to be consumed', async () => (await headOf(network)).inboxCount === 1n, 60_000);
}, 480_000);

test('an operator that gets its lane back drops what it never committed, and not before that is final', async () => {
  const network = await startNetwork();
  const { timestamp } = await l1Client(network.l1Url).getBlock();
  const newSender = () => new LoadSender(domainOf(network), 0, timestamp + 86_400n);
  const alice = newSender();
  await rpc(network, 'evm_setIntervalMining', [0]);
  const bundle = alice.sign(message(), 0n);
  await checkReceipt(network, (await post(network.url, bundle)).receipt);
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await rpc(network, 'anvil_dropAllTransactions', []);
  await leaveOverdue(network, newSender().sign(message(), 0n));
  await takeOver(network);
  // The second one has its time for the entry, and does nothing.
  await rpc(network, 'anvil_mine', ['0x7a']);
  await transact(network, roleAccount('operator').account, 'takeOver', [0]);

  const env = {
    ...sequencerEnvironment(network.folder, network.deployment, network.l1Url),
    SEALPOST_LOG: 'json',
    SEALPOST_PORT: '0',
  };
  const running = sequencer(env, 'run');
  const event = (name: string) => running.events.find((one) => one.event === name);
  await until(
    'the start to wait',
    () => {
      if (running.child.exitCode !== null) throw new Error(running.output);
      return event('term.waiting');
    },
    60_000,
  );
  expect(event('ready')).toBeUndefined();
  await rpc(network, 'evm_setIntervalMining', [1]);
  const url = await ready(running);
  expect(event('term.begins')).toMatchObject({ level: 'warn', lane: 0, term: 3, droppedEntries: '1', from: '0' });
  await until('the forced bundle to be consumed', async () => (await headOf(network)).inboxCount === 1n, 60_000);
  expect(await nonceAt(url, alice.address)).toBe(0);
  const { receipt } = await post(url, bundle);
  await checkReceipt(network, receipt);
  expect(receipt).toMatchObject({ term: 3, sequence: '1' });
  await until('both to be committed', async () => (await headOf(network)).nextSequence === 2n, 60_000);
  expect(await audit(network, url)).toMatchObject({ clean: true, entries: 2 });
}, 480_000);
