import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Receipt, verifyReceipt } from '@sealpost/prover';
import SqliteDatabase from 'better-sqlite3';
import { afterAll, describe, expect, test } from 'vitest';
import type { TermBeginning } from '../src/adapters/lane-terms.js';
import { nativeRecover } from '../src/adapters/native.js';
import { SCHEMA_VERSION } from '../src/adapters/schema.js';
import { loadSignedMark } from '../src/adapters/signed-mark.js';
import { loadStore } from '../src/adapters/sqlite.js';
import type { Term } from '../src/ports.js';
import { auditLog } from './audit.js';
import { Account, DOMAIN, type SignedBundle, topicOf } from './bundles.js';
import { closeVerifiers, MAX_INCLUDE_DELAY, markIn, Pipeline, pathIn, SIGNER } from './pipeline.js';

afterAll(closeVerifiers);

const LANES = 2;
const [alice, bob] = [new Account('alice'), new Account('bob')];
const on = (account: Account, lane: number, nonce: bigint): SignedBundle =>
  account.sign({ lane, laneCount: LANES, nonce, messages: [`${account.name} ${lane}/${nonce}`] });
/** Of lane 0, body by body; the third entry is the last of the first batch, in the middle of a commit group. */
const BODIES = [[on(alice, 0, 0n), on(bob, 0, 0n)], [on(alice, 0, 1n), on(alice, 0, 2n)], [on(bob, 0, 1n)]];
const KEPT = 3n;
const SECOND: Term = { term: 2, firstSequence: KEPT };
const BEGIN: TermBeginning[] = [{ lane: 0, lastNumber: 1n, term: SECOND }];

async function receiptsOf(it: Pipeline, ...bundles: readonly SignedBundle[]): Promise<Receipt[]> {
  return (await it.submit(...bundles)).map((outcome) => {
    if ('error' in outcome) throw outcome.error;
    const { receipt } = outcome;
    const terms = {
      ...DOMAIN,
      signer: SIGNER.address,
      term: receipt.term,
      latestBlock: 100n,
      maxIncludeDelay: MAX_INCLUDE_DELAY,
    };
    verifyReceipt(receipt, terms, { recover: nativeRecover });
    return receipt;
  });
}

/** A first term that ends with one batch on the L1, one sealed after it, and one entry in none; lane 1 stays in it. */
async function firstTerm(): Promise<string> {
  const it = await Pipeline.open({ laneCount: LANES, digestHere: true, seal: { maxEntries: Number(KEPT) } });
  await receiptsOf(it, on(alice, 1, 0n));
  for (const bundles of BODIES.slice(0, 2)) await receiptsOf(it, ...bundles);
  await it.seal();
  await receiptsOf(it, ...(BODIES[2] as SignedBundle[]));
  expect(it.store.batches(0, undefined, 9).map(({ header }) => header.count)).toEqual([1, 3]);
  await it.stop();
  return it.folder;
}

const inSecond = (folder: string, begin?: TermBeginning[]) =>
  Pipeline.open({ folder, digestHere: true, term: SECOND, ...(begin === undefined ? {} : { store: { begin } }) });

/** The log goes on at the head as if nothing had ever been behind it. */
async function goesOn(folder: string, begin?: TermBeginning[]): Promise<void> {
  const it = await inSecond(folder, begin);
  expect(it.store.termOf(0)).toEqual(SECOND);
  expect([0, 1].map((lane) => it.store.tail(lane).nextSequence)).toEqual([KEPT, 1n]);
  expect(it.store.lastBatch(0)?.header.number).toBe(1n);
  expect(it.sealer.unsealed).toBe(0);
  expect(it.store.placesOf(topicOf('news', 0, LANES), 0, undefined, 100)).toHaveLength(Number(KEPT));
  expect(it.signed.markOf(0)).toEqual({ ...SECOND, nextSequence: KEPT });
  // What is committed is promised anew, in this term, the cut group among it; what was dropped gets a place when it comes again.
  const receipts = [];
  for (const bundles of BODIES) receipts.push(...(await receiptsOf(it, ...bundles)));
  expect(receipts.map(({ term, sequence, previous }) => [term, sequence, previous])).toEqual([
    [2, 0n, 0n],
    [2, 1n, 0n],
    [2, 2n, 1n],
    [2, 3n, 3n],
    [2, 4n, 2n],
  ]);
  await it.seal();
  expect(it.store.lastBatch(0)?.header).toMatchObject({ term: 2, number: 2n, firstSequence: KEPT });
  expect(auditLog(it)).toHaveLength(6);
  expect(it.fatal).toEqual([]);
  await it.stop();
  // Loaded again it is the same log: nothing of what was dropped is taken for an append that lost its rows.
  let recovered = false;
  const again = await Pipeline.open({ folder, digestHere: true, term: SECOND, store: { onRecovery: () => (recovered = true) } });
  expect(recovered).toBe(false);
  expect(auditLog(again)).toHaveLength(6);
  expect((await receiptsOf(again, ...BODIES.flat())).map(({ sequence }) => sequence)).toEqual([0n, 1n, 2n, 3n, 4n]);
  await again.stop();
}

const temporary = (): string => mkdtempSync(join(tmpdir(), 'sealpost-terms-'));

describe('the process dies while a term begins', () => {
  const states: [string, (folder: string, before: string) => Promise<void>][] = [
    ['before anything is written', async () => {}],
    ['after the cut', async (folder) => (await loadStore(pathIn(folder), { begin: BEGIN })).close()],
    [
      'after the cut, which is made again',
      async (folder) => {
        for (const _ of [0, 1]) await (await loadStore(pathIn(folder), { begin: BEGIN })).close();
      },
    ],
    ['after the mark has begun anew', async (folder) => (await inSecond(folder, BEGIN)).abandon()],
    [
      'after the mark has begun anew, and the database is the one before',
      async (folder, before) => {
        await (await inSecond(folder, BEGIN)).abandon();
        for (const name of readdirSync(before)) {
          if (name.startsWith('sequencer.sqlite')) cpSync(join(before, name), join(folder, name), { recursive: true });
        }
      },
    ],
  ];
  test.each(states)('%s', async (_, die) => {
    const folder = await firstTerm();
    const before = temporary();
    cpSync(folder, before, { recursive: true });
    await die(folder, before);
    // A start cuts by what the database says, never twice.
    const store = await loadStore(pathIn(folder));
    const isOfSecond = store.termOf(0)?.term === SECOND.term;
    await store.close();
    await goesOn(folder, isOfSecond ? undefined : BEGIN);
    rmSync(folder, { recursive: true });
    rmSync(before, { recursive: true });
  });
});

test('what is owed by entries that are dropped is owed no more', async () => {
  const paid = (account: Account, nonce: bigint, postage: bigint) =>
    account.sign({ laneCount: LANES, nonce, postage, messages: [`${account.name} pays ${postage}`] });
  const it = await Pipeline.open({ laneCount: LANES, digestHere: true, seal: { maxEntries: Number(KEPT) } });
  await receiptsOf(it, paid(alice, 0n, 5n), paid(alice, 1n, 9n), paid(alice, 2n, 7n));
  await it.seal();
  await receiptsOf(it, paid(alice, 3n, 20n), paid(bob, 0n, 30n));
  await it.stop();
  const owedIn = async (begin?: TermBeginning[]) => {
    const store = await loadStore(pathIn(it.folder), begin === undefined ? {} : { begin });
    const owed = [alice, bob].map(({ address }) => store.voucherOf(address, 0)?.postage);
    await store.close();
    return owed;
  };
  expect(await owedIn()).toEqual([20n, 30n]);
  expect(await owedIn(BEGIN)).toEqual([9n, undefined]);
  rmSync(it.folder, { recursive: true });
});

test('a database of before the takeover, once something was signed after it, is refused', async () => {
  const folder = await firstTerm();
  const before = temporary();
  cpSync(folder, before, { recursive: true });
  const it = await inSecond(folder, BEGIN);
  await receiptsOf(it, ...BODIES.flat());
  await it.stop();
  rmSync(join(before, 'signed.mark'));
  cpSync(markIn(folder), markIn(before));
  await expect(inSecond(before, BEGIN)).rejects.toMatchObject({ code: 'store.older' });
  // Nor does it help that a reorg lets the term begin elsewhere: the contract knows terms by their number only.
  const mark = loadSignedMark(markIn(folder), {});
  expect(() => mark.compare(() => ({ term: 2, firstSequence: 1n, nextSequence: 99n }))).toThrow('the L1 took a final block back');
  for (const path of [folder, before]) rmSync(path, { recursive: true });
});

test('a database of before terms were written down is in the newest term that its batches name, else in the first', async () => {
  const it = await Pipeline.open({ laneCount: LANES, digestHere: true, term: { term: 4, firstSequence: 0n } });
  await receiptsOf(it, ...(BODIES[0] as SignedBundle[]));
  await it.seal();
  await it.stop();
  const database = new SqliteDatabase(pathIn(it.folder));
  database.exec('DROP TABLE lane_terms; ALTER TABLE groups DROP COLUMN term');
  database.pragma(`user_version = ${SCHEMA_VERSION - 1}`);
  database.close();
  const store = await loadStore(pathIn(it.folder));
  expect([0, 1].map((lane) => store.termOf(lane))).toEqual([
    { term: 4, firstSequence: 0n },
    { term: 1, firstSequence: 0n },
  ]);
  await store.close();
  rmSync(it.folder, { recursive: true });
});

test('what is dropped is in no answer of the topic index any more, where runs hold it, too', async () => {
  const it = await Pipeline.open({ digestHere: true, seal: { maxEntries: 10 } });
  const texts = Array.from({ length: 4_096 }, (_, index) => `${index}`);
  const bundle = (nonce: number) => alice.sign({ nonce: BigInt(4_096 * nonce), messages: texts });
  const runs = (folder: string) => readdirSync(`${pathIn(folder)}-topics`).filter((name) => name.endsWith('.run'));
  // 16 of them make a run.
  for (let nonce = 0; nonce < 17; nonce++) await receiptsOf(it, bundle(nonce));
  await it.seal();
  await expect.poll(() => runs(it.folder)).toHaveLength(1);
  await it.stop();
  const term = { term: 2, firstSequence: 10n };
  const second = await Pipeline.open({
    folder: it.folder,
    digestHere: true,
    term,
    store: { begin: [{ lane: 0, lastNumber: 1n, term }] },
  });
  const places = () => second.store.placesOf(topicOf('news'), 0, undefined, 1_000_000);
  expect(places()).toHaveLength(10 * 4_096);
  expect(runs(it.folder)).toHaveLength(1);
  await receiptsOf(second, bundle(10));
  expect(places()).toHaveLength(11 * 4_096);
  expect(places().at(-1)).toEqual({ sequence: 10n, index: 4_095 });
  await second.close();
});
