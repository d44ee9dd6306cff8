import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BATCH_FILE_HEADER_BYTES,
  type BatchHeader,
  batchHash,
  dataHash,
  decodeBatchFile,
  encodeBatchFile,
  type Hex,
  ZERO_HASH,
} from '@sealpost/prover';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mirroredFiles } from '../src/adapters/mirror.js';
import { nativeHashing, nativeSha256 } from '../src/adapters/native.js';
import { createStore, loadStore } from '../src/adapters/sqlite.js';
import { importLog } from '../src/import.js';
import type { CommittedBatch, L1, SealedBatch, Store } from '../src/ports.js';
import { commonBatch } from '../src/terms.js';
import { auditLog } from './audit.js';
import { Account, DOMAIN, topicOf } from './bundles.js';
import { closeVerifiers, genesisOf, ManualClock, Pipeline, pathIn } from './pipeline.js';

const LANES = 2;
const [alice, bob] = [new Account('alice'), new Account('bob')];
const [LANE_0, LANE_1] = [topicOf('news', 0, LANES), topicOf('news', 1, LANES)];
const silent = { info: () => {}, warn: () => {}, error: () => {} };

/** The log that others made: three batches on one lane, one on the other. */
let source: Pipeline;
const root = mkdtempSync(join(tmpdir(), 'sealpost-import-'));
const files = new Map<string, Uint8Array>();
beforeAll(async () => {
  source = await Pipeline.open({ laneCount: LANES, digestHere: true });
  const on = (account: Account, lane: number, nonce: bigint) =>
    account.sign({ lane, laneCount: LANES, nonce, messages: [`${nonce}`, 'and another'] });
  for (const bundles of [
    [on(alice, 0, 0n), on(bob, 0, 0n), on(alice, 1, 0n)],
    [on(alice, 0, 2n)],
    [on(bob, 0, 2n), on(alice, 0, 4n)],
  ]) {
    await source.submit(...bundles);
    await source.seal();
  }
  for (const batch of batchesOf(source.store)) {
    files.set(`${batch.header.lane}/${batch.header.number}`, Buffer.concat([...source.reader.batchFile(batch, 0, batch.bytes)]));
  }
});
afterAll(async () => {
  await source.close();
  await closeVerifiers();
  rmSync(root, { recursive: true });
});

const batchesOf = (store: Store): SealedBatch[] => [0, 1].flatMap((lane) => store.batchesFrom(lane, 1n, 100));

/** An L1 whose contract has these batches, a block each. */
function l1With(batches: readonly { header: BatchHeader; batchHash: Hex }[]): L1 {
  const block = (number: bigint) => ({ number, hash: ZERO_HASH, parentHash: ZERO_HASH, timestamp: 0n });
  const commitments = batches.map((batch, at): CommittedBatch => {
    const { lane, number } = batch.header;
    return { ...batch, lane, number, transactionHash: ZERO_HASH, blockNumber: BigInt(at + 1), blockHash: ZERO_HASH };
  });
  const find = (lane: number, number: bigint) => batches.find(({ header }) => header.lane === lane && header.number === number);
  const answers: Partial<L1> = {
    block: async (which) => block(typeof which === 'bigint' ? which : BigInt(batches.length)),
    eventsBetween: async (from, to) => ({
      commitments: commitments.filter(({ blockNumber }) => blockNumber >= from && blockNumber <= to),
      forced: [],
      demands: [],
      answered: [],
      deposits: [],
      standingsChanged: false,
    }),
    batchHash: async (lane, number) => find(lane, number)?.batchHash ?? ZERO_HASH,
    head: async (lane) => {
      const number = BigInt(batches.filter(({ header }) => header.lane === lane).length);
      return { number, nextSequence: 0n, timestamp: 0n };
    },
  };
  return answers as L1;
}

/** A folder as a mirror keeps it; what `write` gives for a file, or nothing of it. */
function mirror(write = (_key: string, bytes: Uint8Array): Uint8Array | undefined => bytes): string {
  const folder = mkdtempSync(join(root, 'mirror-'));
  for (const [key, whole] of files) {
    const bytes = write(key, whole);
    const [lane, number] = key.split('/');
    const path = join(folder, `31337-${DOMAIN.settlement}`, `lane-${lane}`);
    mkdirSync(path, { recursive: true });
    if (bytes !== undefined) writeFileSync(join(path, `${number}.batch`), bytes);
  }
  return folder;
}

function importInto(store: Store, folder: string, batches: readonly { header: BatchHeader; batchHash: Hex }[]) {
  return importLog({
    store,
    l1: l1With(batches),
    files: mirroredFiles(folder, DOMAIN),
    hashing: nativeHashing,
    clock: new ManualClock(),
    log: silent,
    startBlock: 0n,
    logRangeBlocks: 2,
    signal: new AbortController().signal,
  });
}

/** As a start does: what is behind the last whole batch goes. */
async function reopen(folder: string): Promise<Store> {
  const store = await loadStore(pathIn(folder));
  const begin = [];
  for (const lane of [0, 1]) {
    const batches = batchesOf(source.store).filter(({ header }) => header.lane === lane);
    const slot = async (number: bigint) => batches[Number(number) - 1]?.batchHash ?? ZERO_HASH;
    const { number } = await commonBatch(lane, store, slot, BigInt(batches.length));
    begin.push({ lane, lastNumber: number, term: undefined });
  }
  await store.close();
  return loadStore(pathIn(folder), { begin });
}

/** Everything that the source has, and nothing else. */
async function isTheSame(folder: string): Promise<void> {
  const it = await Pipeline.open({ folder, digestHere: true, term: { term: 2, firstSequence: 5n } });
  expect(batchesOf(it.store)).toEqual(batchesOf(source.store));
  for (const { header } of batchesOf(source.store)) {
    expect(it.store.leavesOf(header.lane, header.number)).toEqual(source.store.leavesOf(header.lane, header.number));
  }
  expect(auditLog(it)).toEqual(auditLog(source));
  for (const [lane, topic] of [LANE_0, LANE_1].entries()) {
    expect(it.store.placesOf(topic, lane, undefined, 100)).toEqual(source.store.placesOf(topic, lane, undefined, 100));
  }
  expect(it.sequencer.account(alice.address, 0)).toEqual(source.sequencer.account(alice.address, 0));
  // Acceptance times go on from the last batch's.
  expect(it.store.tail(0)).toEqual({ nextSequence: 5n, acceptedAt: source.store.lastBatch(0)?.header.timestamp });
  expect(it.sealer.unsealed).toBe(0);
  await it.close();
}

const WRITES = ['appendGroups', 'appendBatch'] as const;

/** A store whose `fatal`th write is the process's last moment. */
function mortal(store: Store, fatal: number, fate: 'lost' | 'persisted'): { store: Store; death: Promise<'died'> } {
  let writes = 0;
  let die = () => {};
  const death = new Promise<'died'>((resolve) => {
    die = () => resolve('died');
  });
  const wrapped = new Proxy(store, {
    get: (target, name: keyof Store) => {
      const member = target[name];
      if (typeof member !== 'function') return member;
      const method = (member as (...args: unknown[]) => Promise<unknown>).bind(target);
      if (!(WRITES as readonly string[]).includes(name)) return method;
      return async (...args: unknown[]) => {
        if (writes++ !== fatal) return method(...args);
        if (fate === 'persisted') await method(...args);
        die();
        return new Promise(() => {});
      };
    },
  });
  return { store: wrapped, death };
}

const temporary = (): string => join(mkdtempSync(join(root, 'log-')), 'data');

// A group and a batch each for four batches.
describe.each(['lost', 'persisted'] as const)(
  'the process dies in a write of the import that is %s, and the next goes on',
  (fate) => {
    test.each([0, 1, 2, 3, 4, 5, 6, 7])('write %i', async (fatal) => {
      const [folder, kept] = [temporary(), mirror()];
      const first = await createStore(pathIn(folder), genesisOf(LANES));
      const dying = mortal(first, fatal, fate);
      const batches = batchesOf(source.store);
      expect(await Promise.race([importInto(dying.store, kept, batches).then(() => 'lived'), dying.death])).toBe('died');
      await first.close();
      const second = await reopen(folder);
      await importInto(second, kept, batches);
      await second.close();
      await isTheSame(folder);
      rmSync(kept, { recursive: true });
    });
  },
);

describe('files that are not what the contract has', () => {
  const flip = (bytes: Uint8Array) => bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte));
  test.each<[string, (bytes: Uint8Array) => Uint8Array | undefined, RegExp]>([
    [
      'missing',
      () => undefined,
      /lane-0\/2\.batch is not there: batch 2, entries 2 to 2, cannot be imported.*sealpost watch --mirror/,
    ],
    ['empty', () => new Uint8Array(), /2\.batch is no batch file/],
    ['cut off', (bytes) => bytes.subarray(0, -1), /2\.batch is bafybei\w+, expected bafybei\w+: remove it/],
    ['changed', flip, /2\.batch is bafybei\w+, expected bafybei\w+: remove it/],
    ['of another batch', () => files.get('0/1'), /2\.batch is bafybei\w+, expected bafybei\w+: remove it/],
  ])('%s: named, what came before stays, and with the right one it goes on', async (_, change, message) => {
    const [folder, faulty, right] = [temporary(), mirror((key, bytes) => (key === '0/2' ? change(bytes) : bytes)), mirror()];
    const store = await createStore(pathIn(folder), genesisOf(LANES));
    await expect(importInto(store, faulty, batchesOf(source.store))).rejects.toThrow(message);
    expect(store.lastBatch(0)?.header.number).toBe(1n);
    await store.close();
    const again = await reopen(folder);
    await importInto(again, right, batchesOf(source.store));
    await again.close();
    await isTheSame(folder);
  });
});

describe('batches that no log can hold, though the contract has them', () => {
  const first = () => files.get('0/1') as Uint8Array;
  const twice = () => {
    const file = decodeBatchFile(first());
    const [entry] = file.entries;
    return entry === undefined ? first() : encodeBatchFile({ ...file, entries: [entry, entry] });
  };
  test.each<[string, () => Uint8Array, RegExp]>([
    ['another place in its head', () => files.get('1/1') as Uint8Array, /begins as another batch/],
    ['half a file', () => first().subarray(0, first().length - 9), /ends too early/],
    ['more than its entries', () => Buffer.concat([first(), Buffer.alloc(1)]), /goes on behind its last entry/],
    ['void that is neither', () => first().map((byte, at) => (at === BATCH_FILE_HEADER_BYTES ? 2 : byte)), /has no entry 0/],
    [
      'a bundle that is none',
      () => first().map((byte, at) => (at === BATCH_FILE_HEADER_BYTES + 13 ? 9 : byte)),
      /what no log can hold/,
    ],
    ['one nonce twice', twice, /what no log can hold/],
  ])('%s', async (_, make, message) => {
    const bytes = make();
    const original = source.store.batch(0, 1n)?.header as BatchHeader;
    const header = { ...original, dataHash: dataHash([bytes], nativeSha256) };
    const store = await createStore(pathIn(temporary()), genesisOf(LANES));
    const kept = mirror((key, whole) => (key === '0/1' ? bytes : whole));
    await expect(importInto(store, kept, [{ header, batchHash: batchHash(header) }])).rejects.toThrow(message);
    expect(store.lastBatch(0)).toBeUndefined();
    await store.close();
  });

  test('a root that is not that of the entries', async () => {
    const header = { ...(source.store.batch(0, 1n)?.header as BatchHeader), bundlesRoot: `0x${'11'.repeat(32)}` as Hex };
    const store = await createStore(pathIn(temporary()), genesisOf(LANES));
    const kept = mirror();
    await expect(importInto(store, kept, [{ header, batchHash: batchHash(header) }])).rejects.toThrow('has not the root');
    expect(store.lastBatch(0)).toBeUndefined();
    await store.close();
  });
});

test('logs that are not the contract’s, or not all of them', async () => {
  const [one, two] = source.store.batchesFrom(0, 1n, 2) as [SealedBatch, SealedBatch];
  const kept = mirror();
  const store = await createStore(pathIn(temporary()), genesisOf(LANES));
  await expect(importInto(store, kept, [two])).rejects.toThrow('batch 2 does not follow batch 0');
  const l1 = { ...l1With([one]), batchHash: async () => ZERO_HASH };
  const call = { store, l1, files: mirroredFiles(kept, DOMAIN), hashing: nativeHashing, clock: new ManualClock(), log: silent };
  const rest = { startBlock: 0n, logRangeBlocks: 9, signal: new AbortController().signal };
  await expect(importLog({ ...call, ...rest })).rejects.toThrow('the contract’s slot holds 0x0000'.replace('’', "'"));
  const none = { ...l1With([]), head: async () => ({ number: 3n, nextSequence: 0n, timestamp: 0n }) };
  await expect(importLog({ ...call, ...rest, l1: none })).rejects.toThrow('SEALPOST_L1_START_BLOCK');
  await store.close();
});
