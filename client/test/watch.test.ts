import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { appendFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { developmentParameters, settlementAbi } from '@sealpost/contracts';
import {
  domainSeparator,
  encodeBundle,
  type Hex,
  messagesTree,
  type Receipt,
  receiptToJson,
  registrationDigest,
  toHex,
} from '@sealpost/prover';
import { createWalletClient, publicActions } from 'viem';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  BUNDLE_TYPES,
  createClient,
  createIdentity,
  type MemoryReceipts,
  memoryReceipts,
  type SealpostClient,
  systemClock,
} from '../src/index.js';
import { fileMirror, fileReceiptReader, fileReceipts, readProgress, writeProgress } from '../src/node.js';
import { receiptsName } from '../src/receipts.js';
import { demandCommitted, Settlement } from '../src/settlement.js';
import { httpSource, type LaneProgress, Watch, type WatchEvent, type WatchOptions } from '../src/watch.js';
import { type Anvil, devAccount, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

let anvil: Anvil;
let model: ModelSequencer;
let client: SealpostClient;
let receipts: MemoryReceipts;
const topic: Hex = `0x${'00'.repeat(32)}`;
const reporter = devAccount(5).account;

beforeAll(async () => {
  anvil = await startAnvil();
}, 30_000);
afterEach(() => model?.stop());
afterAll(() => anvil?.stop());

function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sealpost-watch-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const begin = async () => {
  model = await ModelSequencer.start(anvil);
  receipts = memoryReceipts();
  const identity = await createIdentity();
  client = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, receipts, ...identity });
};
const send = (...texts: string[]) => client.sendMany(texts.map((text) => ({ topic, payload: new TextEncoder().encode(text) })));
const lane = () => model.lanes[0] as ModelSequencer['lanes'][0];

/** A watch of the model's lane with everything that it told. */
async function watch(options: Partial<WatchOptions> = {}) {
  const settlement = await Settlement.connect({ transport: anvil.transport, settlement: model.settlement, clock: systemClock });
  const events: WatchEvent[] = [];
  const watching = new Watch({
    settlement,
    sources: options.sources ?? [httpSource(model.url)],
    receipts: [receipts.reader(settlement.view)],
    onEvent: (event) => events.push(event),
    patienceMs: 0,
    ...options,
  });
  const of = <T extends WatchEvent['type']>(type: T) =>
    events.filter((event): event is Extract<WatchEvent, { type: T }> => event.type === type);
  return { watching, events, of };
}

/** A bundle of somebody's, as it is encoded. */
async function bundleOf(): Promise<Uint8Array> {
  const { account } = await createIdentity();
  const messages = [{ topic, payload: new Uint8Array(3) }];
  const head = { sender: account.address.toLowerCase() as Hex, lane: 0, nonce: 0n, expiry: 4_000_000_000n, postage: 0n };
  const { chainId, settlement: verifyingContract } = model.domain;
  const signature = await account.signTypedData({
    domain: { name: 'Sealpost', version: '1', chainId, verifyingContract },
    types: BUNDLE_TYPES,
    primaryType: 'Bundle',
    message: { ...head, count: 1, messagesRoot: toHex(messagesTree(messages).root) },
  });
  return encodeBundle({ ...head, messages, signature });
}

/** Rounds until something is so: for blocks that come by themselves, ten a second. */
async function rounds(watching: Watch, condition: () => boolean): Promise<void> {
  for (let round = 0; !condition(); round++) {
    if (round === 2_000) throw new Error('waited in vain');
    await watching.round();
  }
}

const batches = (count: number, of: (type: 'batch') => readonly unknown[]) => () => of('batch').length >= count;

describe('of an honest log', () => {
  it('finds nothing, mirrors every file, forgets settled receipts, and goes on where it was, from the mirror alone', async () => {
    await begin();
    const folder = temporaryFolder();
    const mirror = fileMirror(folder, client.l1.view);
    await send('1', '2');
    await model.settle();
    await send('3');
    await model.settle();
    let progress: readonly LaneProgress[] = [];
    const onProgress = async (now: readonly LaneProgress[]) => {
      progress = now;
    };
    const first = await watch({ onBatch: mirror.put, onProgress });
    await rounds(first.watching, batches(2, first.of));
    await rounds(first.watching, () => (first.of('round').at(-1)?.lanes[0]?.receipts ?? 1) === 0);
    expect(first.of('offence')).toEqual([]);
    expect(first.of('receipt')).toEqual([]);
    // Settled, so that a later watch is given none of them.
    expect(await receipts.reader(client.l1.view).more(10)).toEqual([]);
    const own = join(folder, receiptsName(client.l1.view), 'lane-0');
    expect(readdirSync(own).sort()).toEqual(['1.batch', '2.batch']);
    expect(new Uint8Array(readFileSync(join(own, '1.batch')))).toEqual(lane().batches[0]?.file);

    const file = join(temporaryFolder(), 'watch.json');
    await writeProgress(file, progress);
    await send('4');
    await model.settle();
    const second = await watch({ progress: await readProgress(file), onBatch: mirror.put });
    await rounds(second.watching, batches(1, second.of));
    expect(second.of('batch').map(({ header }) => header.number)).toEqual([3n]);
    expect(second.of('offence')).toEqual([]);

    await model.stop();
    const third = await watch({ sources: [fileMirror(folder, client.l1.view)], receipts: [] });
    await rounds(third.watching, batches(3, third.of));
    expect(third.of('batch').map(({ source }) => source)).toEqual([folder, folder, folder]);
    expect(third.of('offence')).toEqual([]);
    model = await ModelSequencer.start(anvil);
  });

  it('does not take a file whose bytes are not the ones of the commit', async () => {
    await begin();
    const folder = temporaryFolder();
    await send('1');
    const header = await model.settle();
    const own = join(folder, receiptsName(client.l1.view), 'lane-0');
    await mkdir(own, { recursive: true });
    writeFileSync(join(own, '1.batch'), new Uint8Array(100));
    const mirror = fileMirror(folder, client.l1.view);
    const { watching, of } = await watch({ sources: [mirror, httpSource(model.url)], onBatch: mirror.put });
    await rounds(watching, batches(1, of));
    expect(of('batch')).toMatchObject([{ header, source: model.url }]);
    // Put right, too.
    expect(new Uint8Array(readFileSync(join(own, '1.batch')))).toEqual(lane().batches[0]?.file);
  });

  it('starts over when the L1 takes back what was settled', async () => {
    await begin();
    const snapshot = await anvil.request('evm_snapshot', []);
    await send('1');
    await model.settle();
    const { watching, of } = await watch();
    await rounds(watching, batches(1, of));
    await anvil.request('evm_revert', [snapshot]);
    await rounds(watching, () => of('reorg').length === 1);
    await anvil.commit(model.settlement, [lane().batches[0]?.header as never]);
    await rounds(watching, batches(2, of));
    expect(of('offence')).toEqual([]);
  });
});

describe('of a log with a lie', () => {
  const lies: [string, string, () => Promise<unknown>][] = [
    [
      'a replay that counts',
      'its nonce is 0, the next is 1',
      () => model.append([lane().entries[0]?.bundle as Uint8Array], 0, { void: 0, previous: 1n }),
    ],
    [
      'a replay that is void, named wrongly',
      'its previous is 0',
      () => model.append([lane().entries[0]?.bundle as Uint8Array], 0, { void: 1, previous: 0n }),
    ],
    [
      'a previous that is not there',
      'is not before it',
      () => model.append([lane().entries[0]?.bundle as Uint8Array], 0, { void: 1, previous: 9n }),
    ],
  ];
  it.each(lies)('%s is found and proven', async (_name, reason, lie) => {
    await begin();
    await send('1');
    await lie();
    await model.settle();
    const { watching, of } = await watch({ reporter });
    await rounds(watching, () => of('reported').length > 0);
    expect(of('offence')).toMatchObject([{ offence: 'false entry', sequence: 1n, reason: expect.stringContaining(reason) }]);
    expect(of('reported')).toMatchObject([{ offence: 'false entry', slashed: true }]);
    // Once is enough.
    await watching.round();
    expect(of('offence').length).toBe(1);
  });

  it('without a reporter it is told, and nothing is sent', async () => {
    await begin();
    await send('1');
    await lies[0]?.[2]();
    await model.settle();
    const { watching, of } = await watch();
    await rounds(watching, () => of('offence').length === 1);
    await watching.round();
    expect(of('reported')).toEqual([]);
    expect(watching.offences).toBe(1);
    // Whoever watches later with a reporter must still come by it; once the bond is taken, nobody needs to.
    expect(watching.progress).toBeUndefined();
    const other = await watch({ reporter });
    await rounds(other.watching, () => other.of('reported').length > 0);
    await rounds(watching, () => of('refused').length > 0);
    expect(watching.progress).toMatchObject([{ number: 1n }]);
  });

  it('a receipt that comes late, for another entry than the committed one', async () => {
    await begin();
    await send('1');
    const [kept] = await receipts.reader(client.l1.view).more(1);
    // What was promised is dropped, and somebody else's stands in its place.
    lane().entries.length = 0;
    const other = await createClient({
      url: model.url,
      l1: anvil.transport,
      settlement: model.settlement,
      receipts: memoryReceipts(),
      ...(await createIdentity()),
    });
    await other.send({ topic, payload: new Uint8Array(1) });
    await model.settle();
    receipts = memoryReceipts();
    const { watching, of } = await watch({ reporter, receipts: [receipts.reader(client.l1.view)] });
    await rounds(watching, batches(1, of));
    await receipts.keep(client.l1.view, (kept as { receipt: Receipt }).receipt);
    await rounds(watching, () => of('reported').length > 0);
    expect(of('offence')).toMatchObject([{ offence: 'replacement', sequence: 0n }]);
    expect(of('reported')).toMatchObject([{ slashed: true }]);
  });

  it('two receipts for one place, before anything is committed; a receipt that nobody signed is left out', async () => {
    await begin();
    await send('1');
    const [kept] = await receipts.reader(client.l1.view).more(1);
    const { receipt } = kept as { receipt: Receipt };
    lane().entries.length = 0;
    const { watching, of } = await watch({ reporter });
    await watching.round();
    const other = await createClient({
      url: model.url,
      l1: anvil.transport,
      settlement: model.settlement,
      receipts,
      ...(await createIdentity()),
    });
    await other.send({ topic, payload: new Uint8Array(1) });
    await receipts.keep(client.l1.view, { ...receipt, includeBy: receipt.includeBy + 1n });
    await rounds(watching, () => of('reported').length > 0);
    expect(of('offence')).toMatchObject([{ offence: 'equivocation', sequence: 0n }]);
    expect(of('receipt')).toMatchObject([{ reason: expect.stringContaining('signs for nobody') }]);
  });
});

describe('of a batch that is withheld', () => {
  it('goes on without it, judges nothing that names it, and goes back when the file is there', async () => {
    await begin();
    await send('1');
    await model.settle();
    await send('2');
    // The lie is in the batch that is withheld; what comes after it is true.
    await model.append([lane().entries[1]?.bundle as Uint8Array], 0, { void: 1, previous: 0n });
    await model.settle();
    let isWithheld = true;
    model.faults.push((_method, url) =>
      isWithheld && url.pathname.endsWith('/2/data')
        ? { status: 404, problem: { code: 'not_found', detail: 'no such batch' } }
        : undefined,
    );
    await send('3');
    await model.settle();
    const { watching, of } = await watch();
    await rounds(watching, batches(2, of));
    expect(of('missing')).toMatchObject([{ header: { number: 2n }, reason: expect.stringContaining('has none') }]);
    expect(of('offence')).toEqual([]);
    isWithheld = false;
    await rounds(watching, () => of('offence').length > 0);
    expect(of('offence')).toMatchObject([{ offence: 'false entry', sequence: 2n }]);
    await rounds(watching, () => of('round').at(-1)?.lanes[0]?.missing === 0);
    expect(of('missing').length).toBe(1);
  });

  it('demands it, and charges what nobody opens; a second watch knows of the demands', async () => {
    model = await ModelSequencer.start(anvil);
    await model.stop();
    const parameters = { ...developmentParameters, answerDelay: 10n };
    const settlement = await anvil.deploy({ parameters });
    model = Object.assign(await ModelSequencer.start(anvil), { domain: { chainId: 31_337n, settlement } });
    receipts = memoryReceipts();
    client = await createClient({ url: model.url, l1: anvil.transport, settlement, receipts, ...(await createIdentity()) });
    await send('1');
    await model.settle();
    model.faults.push((_method, url) =>
      url.pathname.endsWith('/data') ? { status: 404, problem: { code: 'not_found', detail: 'no such batch' } } : undefined,
    );
    const first = await watch({ reporter });
    await rounds(first.watching, () => first.of('demanded').length > 0);
    expect(first.of('demanded')).toMatchObject([{ sequence: 0n }]);
    const second = await watch({ reporter, receipts: [] });
    await rounds(second.watching, () => second.of('reported').length > 0);
    // One entry is one position: a penalty, and not the whole bond.
    expect(second.of('offence')).toMatchObject([{ offence: 'unanswered demand', sequence: 0n }]);
    expect(second.of('reported')).toMatchObject([{ slashed: false }]);
    expect(second.of('demanded')).toEqual([]);
  });
});

it('answers what anybody demands, from a mirror alone, for an operator that has left', async () => {
  await begin();
  const folder = temporaryFolder();
  const mirror = fileMirror(folder, client.l1.view);
  await send('1', '2');
  await send('3');
  const header = await model.settle();
  const first = await watch({ onBatch: mirror.put });
  await rounds(first.watching, batches(1, first.of));
  expect(await mirror.hasAll(0, 1n)).toBe(true);
  expect(await mirror.hasAll(0, 2n)).toBe(false);
  const settlement = await Settlement.connect({ transport: anvil.transport, settlement: model.settlement, clock: systemClock });
  const fee = await settlement.answerFee();
  await settlement.send(devAccount(6).account, demandCommitted(header, 1, fee));
  await model.stop();
  const second = await watch({ sources: [mirror], receipts: [], reporter, answers: true });
  await rounds(second.watching, () => second.of('opened').length > 0);
  expect(second.of('opened')).toMatchObject([{ lane: 0, term: 1, sequence: 1n }]);
  expect(await settlement.demand(0, 1, 1n)).toMatchObject({ answered: true });
  expect(await settlement.owed(reporter.address)).toBe(fee);
  model = await ModelSequencer.start(anvil);
});

it('of a receipt that comes late, for a place that a later term gave away, the end of its term decides', async () => {
  model = await ModelSequencer.start(anvil);
  await model.stop();
  const settlement = await anvil.deploy({ parameters: { ...developmentParameters, maxIncludeDelay: 30n } });
  model = Object.assign(await ModelSequencer.start(anvil), { domain: { chainId: 31_337n, settlement } });
  receipts = memoryReceipts();
  client = await createClient({ url: model.url, l1: anvil.transport, settlement, receipts, ...(await createIdentity()) });
  model.includeDelay = 5n;
  await send('promised');
  const [kept] = await receipts.reader(client.l1.view).more(1);
  const { receipt } = kept as { receipt: Receipt };
  const operator = createWalletClient({ account: devAccount(0).account, transport: anvil.transport }).extend(publicActions);
  const contract = { address: settlement, abi: settlementAbi, chain: null } as const;
  await operator.waitForTransactionReceipt({
    hash: await operator.writeContract({ ...contract, functionName: 'requestExit', args: [0] }),
  });
  // Another one runs the lane, and gives the place away.
  const next = devAccount(1).account;
  const wallet = createWalletClient({ account: next, transport: anvil.transport }).extend(publicActions);
  const separator = domainSeparator({ chainId: 31_337n, settlement });
  const digest = registrationDigest(separator, { lane: 0, operator: next.address, signer: next.address });
  const registration = await next.sign({ hash: toHex(digest) });
  const register = { ...contract, functionName: 'register', args: [0, next.address, next.address, registration] } as const;
  await wallet.waitForTransactionReceipt({
    hash: await wallet.writeContract({ ...register, value: developmentParameters.minBond }),
  });
  while (BigInt(await operator.readContract({ ...contract, functionName: 'operator', args: [0] })) !== 0n) {
    await anvil.request('evm_mine', []);
  }
  await wallet.waitForTransactionReceipt({
    hash: await wallet.writeContract({ ...contract, functionName: 'takeOver', args: [0] }),
  });
  lane().entries.length = 0;
  await model.append([await bundleOf()]);
  const header = model.seal(0, (good) => ({ ...good, term: 2 }));
  await wallet.waitForTransactionReceipt({
    hash: await wallet.writeContract({ ...contract, functionName: 'commit', args: [[header], []] }),
  });
  receipts = memoryReceipts();
  const { watching, of } = await watch({ reporter });
  await rounds(watching, batches(1, of));
  await receipts.keep(client.l1.view, receipt);
  await rounds(watching, () => of('reported').length > 0);
  expect(of('offence')).toMatchObject([{ offence: 'broken promise', term: 1, sequence: 0n }]);
});

it('what was demanded and not opened in time is cited by nobody: a log that goes on without it is true', async () => {
  model = await ModelSequencer.start(anvil);
  await model.stop();
  const settlement = await anvil.deploy({ parameters: { ...developmentParameters, answerDelay: 10n } });
  model = Object.assign(await ModelSequencer.start(anvil), { domain: { chainId: 31_337n, settlement } });
  receipts = memoryReceipts();
  client = await createClient({ url: model.url, l1: anvil.transport, settlement, receipts, ...(await createIdentity()) });
  await send('1');
  await model.settle();
  let isWithheld = true;
  model.faults.push((_method, url) =>
    isWithheld && url.pathname.endsWith('/1/data')
      ? { status: 404, problem: { code: 'not_found', detail: 'no such batch' } }
      : undefined,
  );
  const first = await watch({ reporter, receipts: [] });
  await rounds(first.watching, () => first.of('reported').length > 0);
  // The entry after it names nothing before it, as whoever never saw it would.
  const bundle = lane().entries[0]?.bundle as Uint8Array;
  await model.append([bundle], 0, { void: 0, previous: 0n });
  await model.settle();
  isWithheld = false;
  await rounds(first.watching, batches(2, first.of));
  expect(first.of('offence').map(({ offence }) => offence)).toEqual(['unanswered demand']);
});

it('a promise that is due when its term ends is broken, one that is not has lapsed', async () => {
  model = await ModelSequencer.start(anvil);
  await model.stop();
  const parameters = { ...developmentParameters, maxIncludeDelay: 30n };
  const settlement = await anvil.deploy({ parameters });
  model = Object.assign(await ModelSequencer.start(anvil), { domain: { chainId: 31_337n, settlement } });
  receipts = memoryReceipts();
  client = await createClient({ url: model.url, l1: anvil.transport, settlement, receipts, ...(await createIdentity()) });
  model.includeDelay = 5n;
  await send('due');
  model.includeDelay = 30n;
  await send('not due');
  // Its own wish ends the term 30 blocks later: the second promise is for a later block still.
  const wallet = createWalletClient({ account: devAccount(0).account, transport: anvil.transport }).extend(publicActions);
  const [first, second] = await receipts.reader(client.l1.view).more(2);
  const call = { address: settlement, abi: settlementAbi, functionName: 'requestExit', args: [0], chain: null } as const;
  await wallet.waitForTransactionReceipt({ hash: await wallet.writeContract(call) });
  const [, , endBlock] = await wallet.readContract({ ...call, functionName: 'termOf', args: [0, 1] });
  expect(first?.receipt.includeBy).toBeLessThan(endBlock);
  const { watching, of } = await watch({ reporter, patienceMs: 600_000 });
  const isLapsed = (second?.receipt.includeBy as bigint) >= endBlock;
  await rounds(watching, () => of('reported').length > 0 && (of('lapsed').length > 0 || !isLapsed));
  expect(of('offence')[0]).toMatchObject({ offence: 'broken promise', sequence: 0n });
});

describe('receipts in files', () => {
  const receipt = (sequence: bigint): Receipt => ({
    lane: 0,
    term: 1,
    sequence,
    void: 0,
    previous: 0n,
    bundleHash: `0x${'11'.repeat(32)}`,
    firstSequence: sequence,
    count: 1,
    root: `0x${'22'.repeat(32)}`,
    includeBy: 9n,
    path: [],
    signature: `0x${'33'.repeat(65)}`,
  });
  const domain = { chainId: 31_337n, settlement: `0x${'44'.repeat(20)}` as Hex };

  it('are read while they are written, whole lines only, and removed when all of a file are done and nobody writes it', async () => {
    const folder = temporaryFolder();
    let now = Date.now();
    const clock = { ...systemClock, now: () => now };
    const keeper = fileReceipts({ folder, clock });
    const damaged: string[] = [];
    const reader = fileReceiptReader(domain, { folder, clock, onDamaged: (_path, line) => damaged.push(line) });
    expect(await reader.more(10)).toEqual([]);
    await Promise.all([keeper.keep(domain, receipt(0n)), keeper.keep(domain, receipt(1n))]);
    const some = await reader.more(1);
    expect(some.map((one) => one.receipt)).toEqual([receipt(0n)]);
    const own = join(folder, receiptsName(domain));
    const [name] = readdirSync(own);
    // Half a line of another writer, and a line that is none.
    await appendFile(join(own, name as string), `nonsense\n${JSON.stringify(receiptToJson(receipt(2n))).slice(0, 40)}`);
    const more = await reader.more(10);
    expect(more.map((one) => one.receipt)).toEqual([receipt(1n)]);
    expect(damaged).toEqual(['nonsense']);
    await appendFile(join(own, name as string), `${JSON.stringify(receiptToJson(receipt(2n))).slice(40)}\n`);
    const last = await reader.more(10);
    expect(last.map((one) => one.receipt)).toEqual([receipt(2n)]);
    for (const kept of [...some, ...more, ...last]) kept.done();
    await reader.more(10);
    expect(readdirSync(own)).toEqual([name]);
    now += 3_600_000;
    await reader.more(10);
    expect(readdirSync(own)).toEqual([]);
    // What was kept a month ago, and was never read, goes with the next file.
    const old = `${String(now - 31 * 86_400_000).padStart(15, '0')}-aa.jsonl`;
    await appendFile(join(own, old), `${JSON.stringify(receiptToJson(receipt(9n)))}\n`);
    // A writer that went on for long begins another file.
    await keeper.keep(domain, receipt(3n));
    expect(readdirSync(own).length).toBe(1);
    expect((await reader.more(10)).map((one) => one.receipt)).toEqual([receipt(3n)]);
  });

  it('progress that is damaged is said', async () => {
    const path = join(temporaryFolder(), 'watch.json');
    writeFileSync(path, '{"format":"something"}');
    await expect(readProgress(path)).rejects.toMatchObject({ code: 'watch.damaged' });
    expect(await readProgress(join(temporaryFolder(), 'none.json'))).toEqual([]);
  });
});
