import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BatchHeader, batchHash, entryPrefix, type Hex, toHex, ZERO_HASH } from '@sealpost/prover';
import { afterEach, describe, expect, test } from 'vitest';
import { nativeHashing, nativeSha256 } from '../src/adapters/native.js';
import type {
  CommitGroup,
  Commitment,
  EntryPage,
  FullEntry,
  Genesis,
  Place,
  SealedBatch,
  SendRecord,
  Store,
} from '../src/ports.js';
import { Account, type BundleOptions, collidingTopics, message, type SignedBundle, topicOf } from './bundles.js';
import { blockAt, genesisOf } from './pipeline.js';

/** A way to make and open stores, and to do to one what only its adapter knows how to. */
export interface StoreFactory {
  create(path: string, genesis: Genesis, options?: { maxBytes?: number }): Promise<Store>;
  load(path: string, options?: { maxBytes?: number }): Promise<Store>;
  /** Makes a closed store say that it was written by a newer release. */
  makeNewer(path: string): void;
  /** Takes the genesis out of a closed store. */
  removeGenesis(path: string): void;
}

const hashOf = (text: string): Hex => toHex(nativeSha256(new TextEncoder().encode(text)));
const ALICE = new Account('alice');
const BOB = new Account('bob');

interface Draft extends Partial<Pick<FullEntry, 'void' | 'previous' | 'acceptedAt'>> {
  readonly signed: SignedBundle;
}

/** A commit group of one lane. */
export function groupOf(lane: number, firstSequence: bigint, drafts: readonly (SignedBundle | Draft)[]): CommitGroup {
  const entries = drafts.map((draft, index): FullEntry => {
    const { signed, ...claims } = 'signed' in draft ? draft : { signed: draft };
    const { bundle, bytes, structHash, bundleHash } = signed;
    return {
      lane,
      sequence: firstSequence + BigInt(index),
      void: 0,
      previous: 0n,
      acceptedAt: 1_000n + firstSequence,
      sender: bundle.sender,
      nonce: bundle.nonce,
      count: bundle.messages.length,
      structHash,
      bundleHash: Buffer.from(bundleHash.slice(2), 'hex'),
      bytes: bytes.length,
      bundle: bytes.slice(),
      ...claims,
    };
  });
  return { lane, firstSequence, root: toHex(nativeHashing.entriesTree(entries).root), entries };
}

export const entriesOf = (pages: Iterable<EntryPage>): FullEntry[] => [...pages].flatMap(({ entries }) => entries);

/** What a store gives back of an entry, comparable. */
const shown = (entry: Partial<FullEntry> | undefined) =>
  entry && {
    ...entry,
    structHash: entry.structHash && toHex(entry.structHash),
    bundleHash: entry.bundleHash && toHex(entry.bundleHash),
    ...(entry.bundle === undefined ? {} : { bundle: toHex(entry.bundle) }),
  };

const withoutBundle = ({ bundle: _, ...entry }: FullEntry) => shown(entry);

const headerAt = (
  lane: number,
  number: bigint,
  firstSequence: bigint,
  count: number,
  parentHash: Hex = ZERO_HASH,
): BatchHeader => ({
  lane,
  term: 1,
  number,
  parentHash,
  firstSequence,
  count,
  bundlesRoot: hashOf(`root ${lane}/${number}`),
  inboxCount: 0n,
  timestamp: 1_000n + number,
  dataHash: hashOf(`data ${lane}/${number}`),
});

const batchAt = (lane: number, number: bigint, firstSequence: bigint, count: number): SealedBatch => {
  const header = headerAt(lane, number, firstSequence, count);
  return { header, batchHash: batchHash(header), bytes: 1_234, messages: count * 2 };
};

/** As many hashes as the batch has entries, different in each batch. */
const leavesAt = ({ header, batchHash: hash }: SealedBatch): Uint8Array =>
  Buffer.concat(Array.from({ length: header.count }, () => Buffer.from(hash.slice(2), 'hex')));

const commitmentAt = (lane: number, number: bigint, blockNumber: bigint): Commitment => ({
  lane,
  number,
  batchHash: hashOf(`batch ${lane}/${number}`),
  transactionHash: hashOf(`transaction ${lane}/${number}`),
  blockNumber,
  blockHash: blockAt(blockNumber, 0n).hash,
});

const sendAt = (name: string, nonce: number, sentAt: number): SendRecord => ({
  transactionHash: hashOf(name),
  nonce,
  lane: 0,
  firstNumber: 1n,
  lastNumber: 3n,
  maxFeePerGas: 2n ** 90n,
  maxPriorityFeePerGas: 1n,
  raw: '0x02f8',
  sentAt,
});

/** Every promise of `Store`, and of making and opening one, against any adapter. */
export function storeCompliance(name: string, factory: StoreFactory): void {
  const stores = new Set<Store>();
  const folders: string[] = [];

  afterEach(async () => {
    for (const store of stores) await store.close();
    stores.clear();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  const newPath = (): string => {
    const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
    folders.push(folder);
    return join(folder, 'store');
  };
  const opened = (store: Store): Store => {
    stores.add(store);
    return store;
  };
  const close = async (store: Store): Promise<void> => {
    stores.delete(store);
    await store.close();
  };
  const create = async (laneCount = 1, path = newPath(), options: { maxBytes?: number } = {}): Promise<Store> =>
    opened(await factory.create(path, genesisOf(laneCount), options));
  const load = async (path: string): Promise<Store> => opened(await factory.load(path));

  describe(`${name}: create and load`, () => {
    test('what was created is loaded, with its genesis', async () => {
      const path = newPath();
      const created = await create(3, path);
      expect(created.genesis).toEqual(genesisOf(3));
      await close(created);
      expect((await load(path)).genesis).toEqual(genesisOf(3));
    });

    test('create refuses what is there, and leaves it as it was', async () => {
      const path = newPath();
      const store = await create(1, path);
      await store.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
      await close(store);
      await expect(factory.create(path, genesisOf(2))).rejects.toMatchObject({ code: 'store.exists' });
      const loaded = await load(path);
      expect(loaded.genesis.laneCount).toBe(1);
      expect(loaded.tail(0).nextSequence).toBe(1n);
    });

    test('load never makes one', async () => {
      const path = newPath();
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.missing' });
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.missing' });
    });

    test('a second open is refused while the first lives, and possible after it closed', async () => {
      const path = newPath();
      const first = await create(1, path);
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.locked' });
      // Being refused takes nothing from the first.
      await first.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.locked' });
      await close(first);
      const second = await load(path);
      expect(second.tail(0).nextSequence).toBe(1n);
    });

    test('two that create at the same moment: one does', async () => {
      const path = newPath();
      const results = await Promise.allSettled([factory.create(path, genesisOf(1)), factory.create(path, genesisOf(1))]);
      const made = results.flatMap((result) => (result.status === 'fulfilled' ? [opened(result.value)] : []));
      expect(made).toHaveLength(1);
      expect(made[0]?.genesis).toEqual(genesisOf(1));
    });

    test.each([
      ['a folder that takes no files', '/proc/sealpost/store'],
      ['a folder that is a file', '/proc/version/store'],
    ])('%s is unwritable', async (_, path) => {
      await expect(factory.create(path, genesisOf(1))).rejects.toMatchObject({ code: 'store.unwritable' });
    });

    test('a path that is a folder is refused', async () => {
      const path = newPath();
      mkdirSync(path);
      await expect(factory.load(path)).rejects.toMatchObject({ name: 'StoreOpenError' });
    });

    test.each([
      ['random bytes', Buffer.from(Array.from({ length: 9_000 }, (_, index) => (index * 7_919) % 251))],
      ['a text', Buffer.from('not a database at all, but long enough to look like something'.repeat(100))],
      ['nothing', Buffer.alloc(0)],
    ])('a file of %s is damaged, and load does not change it', async (_, bytes) => {
      const path = newPath();
      writeFileSync(path, bytes);
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.damaged' });
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.damaged' });
    });

    test('a database without its genesis is damaged', async () => {
      const path = newPath();
      await close(await create(1, path));
      factory.removeGenesis(path);
      await expect(factory.load(path)).rejects.toMatchObject({ code: 'store.damaged' });
    });

    test("a newer release's schema is refused, and said to be newer", async () => {
      const path = newPath();
      await close(await create(1, path));
      factory.makeNewer(path);
      await expect(factory.load(path)).rejects.toMatchObject({
        code: 'store.damaged',
        message: expect.stringContaining('newer'),
      });
    });
  });

  describe(`${name}: entries and groups`, () => {
    test('an empty store has nothing', async () => {
      const store = await create(2);
      expect(store.tail(1)).toEqual({ nextSequence: 0n, acceptedAt: 0n });
      expect(store.lastEntryOf(ALICE.address, 0)).toBeUndefined();
      expect(store.entryByNonce(ALICE.address, 0, 0n)).toBeUndefined();
      expect(store.entry(0, 0n)).toBeUndefined();
      expect(store.entries(0, 0n, 10)).toEqual([]);
      expect([...store.entryPages(0, 0n, 10)]).toEqual([]);
      expect(store.groupOf(0, 0n)).toBeUndefined();
      expect(store.placesOf(topicOf('news'), 0, undefined, 10)).toEqual([]);
      expect(store.lastBatch(0)).toBeUndefined();
      expect(store.batch(0, 1n)).toBeUndefined();
      expect(store.batchOf(0, 0n)).toBeUndefined();
      expect(store.batches(0, undefined, 10)).toEqual([]);
      expect(store.batchesFrom(0, 1n, 10)).toEqual([]);
      expect(store.l1Blocks()).toEqual([]);
      expect(store.commitment(0, 1n)).toBeUndefined();
      expect(store.lastCommitment(0, 1_000n)).toBeUndefined();
      expect(store.sends()).toEqual([]);
      expect(store.bytesOnDisk()).toBeGreaterThan(0);
    });

    test('what was appended is read, whole, also after load', async () => {
      const path = newPath();
      const store = await create(1, path);
      const group = groupOf(0, 0n, [
        ALICE.sign({ messages: ['one', 'two'] }),
        { signed: ALICE.sign({ nonce: 2n, postage: 7n }), previous: 1n },
        { signed: BOB.sign({ nonce: 5n }), void: 1 },
      ]);
      const expected = group.entries.map((entry) => shown(entry));
      const light = group.entries.map(withoutBundle);
      await store.appendGroups([group], []);
      const check = (read: Store) => {
        expect(group.entries.map((_, index) => shown(read.entry(0, BigInt(index))))).toEqual(expected);
        expect(read.entries(0, 0n, 10).map(shown)).toEqual(light);
        expect(read.entries(0, 1n, 1).map(shown)).toEqual(light.slice(1, 2));
        expect(entriesOf(read.entryPages(0, 0n, 3)).map(shown)).toEqual(expected);
        expect(entriesOf(read.entryPages(0, 1n, 1)).map(shown)).toEqual(expected.slice(1, 2));
        expect(read.tail(0)).toEqual({ nextSequence: 3n, acceptedAt: 1_000n });
      };
      check(store);
      await close(store);
      check(await load(path));
    });

    test('vouchers: the highest postage of an account, of entries that are neither void nor forced', async () => {
      const path = newPath();
      const store = await create(2, path);
      expect(store.vouchers(undefined, 10)).toEqual([]);
      const paid = (nonce: bigint, postage: bigint, lane = 0) => ALICE.sign({ nonce, postage, lane, laneCount: 2 });
      await store.appendGroups(
        [
          groupOf(0, 0n, [paid(0n, 255n), { signed: paid(7n, 9_000n), void: 1 }, paid(1n, 0n), BOB.sign({ laneCount: 2 })]),
          groupOf(1, 0n, [paid(0n, 2n ** 128n - 1n, 1), paid(1n, 5n, 1)]),
        ],
        [],
      );
      expect(store.voucherOf(ALICE.address, 0)).toEqual({ lane: 0, sender: ALICE.address, postage: 255n, sequence: 0n });
      expect(store.voucherOf(BOB.address, 0)).toBeUndefined();
      // Among the entries of one append, and by value: 256 is above 255, whatever its bytes begin with.
      await store.appendGroups([groupOf(0, 4n, [paid(2n, 256n), paid(3n, 8_000n)])], [], [{ lane: 0, index: 0n, sequence: 5n }]);
      await close(store);
      const read = await load(path);
      const first = { lane: 0, sender: ALICE.address, postage: 256n, sequence: 4n };
      const second = { lane: 1, sender: ALICE.address, postage: 2n ** 128n - 1n, sequence: 0n };
      expect(read.vouchers(undefined, 10)).toEqual([first, second]);
      expect(read.vouchers(undefined, 1)).toEqual([first]);
      expect(read.vouchers(first, 10)).toEqual([second]);
      expect(read.vouchers(second, 10)).toEqual([]);
    });

    test('writes take effect in the order of the calls, and each is readable once it resolved', async () => {
      const store = await create();
      const resolved: bigint[] = [];
      const writes = Array.from({ length: 20 }, async (_, index) => {
        const sequence = BigInt(index);
        await store.appendGroups(
          [groupOf(0, sequence, [ALICE.sign({ nonce: sequence, messages: ['x'.repeat(index * 50)] })])],
          [],
        );
        expect(store.tail(0).nextSequence).toBeGreaterThan(sequence);
        resolved.push(sequence);
      });
      await Promise.all(writes);
      expect(resolved).toEqual(Array.from({ length: 20 }, (_, index) => BigInt(index)));
    });

    test('a write that breaks in the middle leaves nothing of itself', async () => {
      const path = newPath();
      const store = await create(1, path);
      await store.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
      // Sequence 0 again, after one that is new: the second half breaks, the first must not stay.
      const broken = store.appendGroups([groupOf(0, 1n, [ALICE.sign({ nonce: 1n })]), groupOf(0, 0n, [BOB.sign()])], []);
      await expect(broken).rejects.toSatisfy((error: { code?: string }) => error.code !== 'store.full');
      await close(store);
      const loaded = await load(path);
      expect(loaded.tail(0).nextSequence).toBe(1n);
      expect(loaded.lastEntryOf(ALICE.address, 0)?.nonce).toBe(0n);
      expect(loaded.entryByNonce(ALICE.address, 0, 1n)).toBeUndefined();
      expect(loaded.placesOf(topicOf('news'), 0, undefined, 10)).toEqual([{ sequence: 0n, index: 0 }]);
    });

    test('one nonce stands once among entries that are not void', async () => {
      const store = await create();
      await store.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
      await expect(store.appendGroups([groupOf(0, 1n, [ALICE.sign({ messages: ['other'] })])], [])).rejects.toThrow();
      await store.appendGroups([groupOf(0, 1n, [{ signed: ALICE.sign({ messages: ['other'] }), void: 1 }])], []);
      expect(store.tail(0).nextSequence).toBe(2n);
    });

    test('lastEntryOf and entryByNonce: bounds, lanes, and void entries that they do not see', async () => {
      const store = await create(2);
      const three = { laneCount: 2, messages: ['a', 'b', 'c'] } satisfies BundleOptions;
      await store.appendGroups(
        [
          groupOf(0, 0n, [
            ALICE.sign(three),
            BOB.sign({ laneCount: 2 }),
            ALICE.sign({ ...three, nonce: 3n }),
            { signed: ALICE.sign({ ...three, nonce: 9n }), void: 1 },
          ]),
          groupOf(1, 0n, [ALICE.sign({ laneCount: 2, lane: 1 })]),
        ],
        [],
      );
      const at = (nonce: bigint, lane = 0) => store.entryByNonce(ALICE.address, lane, nonce)?.sequence;
      expect([0n, 1n, 2n, 3n, 5n, 6n, 9n].map((nonce) => at(nonce))).toEqual([0n, 0n, 0n, 2n, 2n, undefined, undefined]);
      expect(at(2n ** 53n)).toBeUndefined();
      expect(at(2n ** 64n - 1n)).toBeUndefined();
      expect([at(0n, 1), at(1n, 1)]).toEqual([0n, undefined]);
      expect(store.lastEntryOf(ALICE.address, 0)).toMatchObject({ sequence: 2n, nonce: 3n, count: 3 });
      expect(store.lastEntryOf(ALICE.address, 1)).toMatchObject({ lane: 1, sequence: 0n });
      expect(store.lastEntryOf(BOB.address, 1)).toBeUndefined();
    });

    test('lanes stand side by side and never look into each other', async () => {
      const store = await create(3);
      const bundle = (lane: number, nonce = 0n) => ALICE.sign({ lane, laneCount: 3, nonce });
      await store.appendGroups([groupOf(2, 0n, [bundle(2)]), groupOf(0, 0n, [bundle(0), bundle(0, 1n)])], []);
      await store.appendGroups([groupOf(1, 0n, [bundle(1)])], []);
      expect([0, 1, 2].map((lane) => store.tail(lane).nextSequence)).toEqual([2n, 1n, 1n]);
      expect(store.entries(0, 0n, 100)).toHaveLength(2);
      expect(store.entries(0, 2n, 100)).toEqual([]);
      expect(store.entry(0, 2n)).toBeUndefined();
      expect(store.groupOf(1, 1n)).toBeUndefined();
      expect(store.groupOf(2, 0n)).toMatchObject({ lane: 2, firstSequence: 0n, count: 1 });
      expect(entriesOf(store.entryPages(0, 1n, 5))).toHaveLength(1);
    });

    test('groups and their signatures', async () => {
      const path = newPath();
      const store = await create(1, path);
      const group = groupOf(0, 0n, [ALICE.sign(), BOB.sign()]);
      await store.appendGroups([group], []);
      const plain = { lane: 0, firstSequence: 0n, count: 2, root: group.root };
      expect(store.groupOf(0, 0n)).toEqual({ ...plain, signed: undefined });
      expect(store.groupOf(0, 1n)).toEqual({ ...plain, signed: undefined });
      expect(store.groupOf(0, 2n)).toBeUndefined();
      const signed = { term: 1, includeBy: 77n, signature: `0x${'ab'.repeat(65)}` as Hex };
      const next = groupOf(0, 2n, [ALICE.sign({ nonce: 1n })]);
      await store.appendGroups([next], [{ ...plain, ...signed }]);
      expect(store.groupOf(0, 1n)).toEqual({ ...plain, signed });
      expect(store.groupOf(0, 2n)).toEqual({ lane: 0, firstSequence: 2n, count: 1, root: next.root, signed: undefined });
      // Signatures alone, as the last write before a stop.
      await store.appendGroups([], [{ lane: 0, firstSequence: 2n, count: 1, root: next.root, ...signed }]);
      await close(store);
      expect((await load(path)).groupOf(0, 2n)?.signed).toEqual(signed);
    });

    test('entryPages yields all of a range that is larger than a page', async () => {
      const store = await create();
      const text = 'x'.repeat(60_000);
      const bundles = Array.from({ length: 12 }, (_, index) =>
        ALICE.sign({ nonce: BigInt(index) * 16n, messages: Array.from({ length: 16 }, () => text) }),
      );
      await store.appendGroups([groupOf(0, 0n, bundles)], []);
      const pages = [...store.entryPages(0, 1n, 10)];
      expect(pages.length).toBeGreaterThan(1);
      expect(entriesOf(pages).map(({ sequence }) => sequence)).toEqual(
        Array.from({ length: 10 }, (_, index) => BigInt(index + 1)),
      );
      expect(
        entriesOf(pages).every((entry, index) => Buffer.from(entry.bundle).equals(bundles[index + 1]?.bytes ?? new Uint8Array())),
      ).toBe(true);
      // Its bytes are what a batch file has.
      const file = entriesOf(pages).flatMap((entry) => [entryPrefix(entry), entry.bundle]);
      expect(Buffer.concat(pages.map(({ bytes }) => bytes)).equals(Buffer.concat(file))).toBe(true);
      // Another read in the middle of a page does not disturb it.
      const walk = store.entryPages(0, 0n, 12)[Symbol.iterator]();
      const first = walk.next().value?.entries.length ?? 0;
      expect(store.entries(0, 0n, 100)).toHaveLength(12);
      let rest = 0;
      for (let page = walk.next(); page.done !== true; page = walk.next()) rest += page.value.entries.length;
      expect(first + rest).toBe(12);
    });
  });

  describe(`${name}: topics`, () => {
    const [red, blue] = [topicOf('red'), topicOf('blue')];
    const mixed = Array.from({ length: 9 }, (_, index) => message(index % 3 === 0 ? blue : red, `${index}`));

    test('the keys that a write gives back are those of its messages that are not void', async () => {
      const store = await create();
      const keys = await store.appendGroups(
        [
          groupOf(0, 0n, [
            ALICE.sign({ messages: mixed.slice(0, 3) }),
            { signed: BOB.sign({ messages: [message(red, '')] }), void: 1 },
          ]),
        ],
        [],
      );
      expect([...keys]).toEqual([store.topicKey(blue), store.topicKey(red), store.topicKey(red)]);
      expect(Number.isSafeInteger(store.topicKey(red))).toBe(true);
      expect(store.topicKey(red)).not.toBe(store.topicKey(blue));
      expect(store.topicKey(`0x${red.slice(2).toUpperCase()}`)).toBe(store.topicKey(red));
    });

    test.each([1, 2, 3, 5, 1_000])('placesOf pages a topic, %i at a time, without gap or repetition', async (limit) => {
      const store = await create();
      const bundles = Array.from({ length: 4 }, (_, index) => ALICE.sign({ nonce: BigInt(index) * 9n, messages: mixed }));
      await store.appendGroups([groupOf(0, 0n, bundles)], []);
      const all: Place[] = [];
      for (let after: Place | undefined; ; after = all.at(-1)) {
        const page = store.placesOf(red, 0, after, limit);
        expect(page.length).toBeLessThanOrEqual(limit);
        if (page.length === 0) break;
        all.push(...page);
      }
      const expected = bundles.flatMap((_, sequence) =>
        mixed.flatMap(({ topic }, index) => (topic === red ? [{ sequence: BigInt(sequence), index }] : [])),
      );
      expect(all).toEqual(expected);
      // Places that are no message's are places too.
      expect(store.placesOf(red, 0, { sequence: 1n, index: 4_095 }, 1)).toEqual([{ sequence: 2n, index: 1 }]);
      expect(store.placesOf(red, 0, { sequence: 99n, index: 0 }, 1)).toEqual([]);
    });

    test('a topic of another lane with a key of its own is not found on this one', async () => {
      const store = await create(2);
      const topic = topicOf('red', 1, 2);
      await store.appendGroups([groupOf(1, 0n, [ALICE.sign({ lane: 1, laneCount: 2, messages: [message(topic, '')] })])], []);
      expect(store.placesOf(topic, 0, undefined, 10)).toEqual([]);
      expect(store.placesOf(topic, 1, undefined, 10)).toEqual([{ sequence: 0n, index: 0 }]);
    });

    test('topics that share a key are found together, in order', async () => {
      const store = await create(1);
      const [one, other] = collidingTopics(store);
      const messages = [one, other, red, other, one].map((topic) => message(topic, ''));
      await store.appendGroups([groupOf(0, 0n, [ALICE.sign({ messages })])], []);
      expect(store.placesOf(one, 0, undefined, 100).map(({ index }) => index)).toEqual([0, 1, 3, 4]);
      expect(store.placesOf(other, 0, { sequence: 0n, index: 0 }, 2).map(({ index }) => index)).toEqual([1, 3]);
    });

    test('many messages: the same places while runs are made and merged, and after loading', async () => {
      const path = newPath();
      const store = await create(1, path);
      const topics = Array.from({ length: 50 }, (_, at) => topicOf(`topic ${at}`, 0, 1));
      const expected = new Map(topics.map((topic): [Hex, number[]] => [topic, []]));
      // Enough for a merge of eight runs of 65,536, and a tail. The store does not look at signatures.
      const [signed] = [ALICE.sign({ messages: Array.from({ length: 4_096 }, () => message(red, '')) })];
      const [from, half] = [signed.bytes.length - 65 - 37 * 4_096, 64];
      for (let sequence = 0; sequence < 2 * half + 9; sequence++) {
        const bytes = signed.bytes.slice();
        for (let index = 0; index < 4_096; index++) {
          const topic = topics[(sequence * 7 + index * index) % 50] as Hex;
          bytes.set(Buffer.from(topic.slice(2), 'hex'), from + 37 * index + 5);
          expected.get(topic)?.push(sequence * 4_096 + index);
        }
        const bundle = { ...signed.bundle, nonce: BigInt(sequence) * 4_096n };
        await store.appendGroups([groupOf(0, BigInt(sequence), [{ ...signed, bundle, bytes }])], []);
        if (sequence === half) check(store, sequence + 1);
      }
      check(store, 2 * half + 9);
      await close(store);
      check(await load(path), 2 * half + 9);

      function check(read: Store, sequences: number): void {
        for (const [topic, all] of expected) {
          const places = all.filter((place) => place < sequences * 4_096);
          const numbers = (found: readonly Place[]) => found.map((place) => Number(place.sequence) * 4_096 + place.index);
          expect(numbers(read.placesOf(topic, 0, undefined, 1e6))).toEqual(places);
          const middle = places[places.length >> 1] as number;
          const after = { sequence: BigInt(middle >> 12), index: middle & 4_095 };
          expect(numbers(read.placesOf(topic, 0, after, 10))).toEqual(places.slice((places.length >> 1) + 1).slice(0, 10));
        }
        expect(read.placesOf(topicOf('never', 0, 1), 0, undefined, 10)).toEqual([]);
      }
    });
  });

  describe(`${name}: batches, L1, sends`, () => {
    test('batches by number, by sequence, by page', async () => {
      const path = newPath();
      const store = await create(2, path);
      const batches = [batchAt(0, 1n, 0n, 4), batchAt(0, 2n, 4n, 1), batchAt(0, 3n, 5n, 10)];
      for (const batch of batches) await store.appendBatch(batch, leavesAt(batch));
      await store.appendBatch(batchAt(1, 1n, 0n, 2), leavesAt(batchAt(1, 1n, 0n, 2)));
      await close(store);
      const read = await load(path);
      expect(read.batch(0, 2n)).toEqual(batches[1]);
      expect(read.batch(1, 2n)).toBeUndefined();
      expect(read.batch(0, 2n ** 64n - 1n)).toBeUndefined();
      expect(read.lastBatch(0)).toEqual(batches[2]);
      for (const batch of batches) expect(Buffer.from(read.leavesOf(0, batch.header.number))).toEqual(leavesAt(batch));
      expect([0n, 3n, 4n, 5n, 14n, 15n].map((sequence) => read.batchOf(0, sequence)?.header.number)).toEqual([
        1n,
        1n,
        2n,
        3n,
        3n,
        undefined,
      ]);
      expect(read.batchOf(1, 2n)).toBeUndefined();
      const numbers = (found: SealedBatch[]) => found.map(({ header }) => header.number);
      expect(numbers(read.batches(0, undefined, 2))).toEqual([3n, 2n]);
      expect(numbers(read.batches(0, 2n, 10))).toEqual([1n]);
      expect(numbers(read.batches(0, 2n ** 64n - 1n, 10))).toEqual([3n, 2n, 1n]);
      expect(numbers(read.batches(0, 0n, 10))).toEqual([]);
      expect(numbers(read.batchesFrom(0, 2n, 10))).toEqual([2n, 3n]);
      expect(numbers(read.batchesFrom(0, 1n, 1))).toEqual([1n]);
      expect(numbers(read.batchesFrom(0, 2n ** 64n - 1n, 1))).toEqual([]);
      await expect(read.appendBatch(batchAt(0, 3n, 15n, 1), new Uint8Array(32))).rejects.toThrow();
      await expect(read.appendBatch(batchAt(0, 4n, 5n, 1), new Uint8Array(32))).rejects.toThrow();
    });

    test('one L1 step forgets what a reorg took and what is old, then adds', async () => {
      const path = newPath();
      const store = await create(2, path);
      const blocks = (from: bigint, to: bigint, salt = 0n) =>
        Array.from({ length: Number(to - from) }, (_, index) => blockAt(from + BigInt(index), salt + BigInt(index)));
      await store.applyL1({
        blocks: blocks(10n, 16n),
        commitments: [commitmentAt(0, 1n, 11n), commitmentAt(0, 2n, 13n), commitmentAt(0, 3n, 13n), commitmentAt(1, 1n, 15n)],
        forced: [],
        demands: [],
        answered: [],
      });
      const last = (upTo: bigint) => store.lastCommitment(0, upTo)?.number;
      expect([10n, 11n, 12n, 13n, 99n, 2n ** 64n - 1n].map(last)).toEqual([undefined, 1n, 1n, 3n, 3n, 3n]);
      expect(store.commitment(1, 1n)).toEqual(commitmentAt(1, 1n, 15n));
      await store.applyL1({
        keepUpTo: 12n,
        keepFrom: 12n,
        blocks: blocks(13n, 15n, 7n),
        commitments: [commitmentAt(0, 2n, 14n)],
        forced: [],
        demands: [],
        answered: [],
      });
      await close(store);
      const read = await load(path);
      expect(read.l1Blocks()).toEqual([blockAt(12n, 2n), ...blocks(13n, 15n, 7n)]);
      // Commitments below keepFrom are kept for good; those above keepUpTo are gone.
      expect(read.commitment(0, 1n)).toEqual(commitmentAt(0, 1n, 11n));
      expect(read.commitment(0, 2n)).toEqual(commitmentAt(0, 2n, 14n));
      expect([read.commitment(0, 3n), read.commitment(1, 1n)]).toEqual([undefined, undefined]);
    });

    test('a position that is demanded a second time is to be answered again, and a reorg takes the second demand back', async () => {
      const store = await create();
      const nothing = { blocks: [], commitments: [], forced: [], demands: [], answered: [] };
      const first = { lane: 0, term: 1, sequence: 7n, deadline: 20n, blockNumber: 10n };
      const second = { ...first, deadline: 40n, blockNumber: 30n };
      await store.applyL1({ ...nothing, demands: [first] });
      expect(store.openDemands(15n)).toEqual([first]);
      await store.applyL1({ ...nothing, demands: [second] });
      expect(store.openDemands(15n)).toEqual([second]);
      const answered = [{ lane: 0, term: 1, sequence: 7n, blockNumber: 31n }];
      await store.applyL1({ ...nothing, answered });
      expect(store.openDemands(31n)).toEqual([]);
      await store.applyL1({ ...nothing, keepUpTo: 30n });
      expect(store.openDemands(31n)).toEqual([second]);
      await store.applyL1({ ...nothing, keepUpTo: 29n });
      expect(store.openDemands(25n)).toEqual([]);
    });

    test('a broken L1 step changes nothing', async () => {
      const store = await create();
      await store.applyL1({
        blocks: [blockAt(1n, 1n), blockAt(2n, 2n)],
        commitments: [commitmentAt(0, 1n, 2n)],
        forced: [],
        demands: [],
        answered: [],
      });
      const twice = [blockAt(2n, 9n), blockAt(2n, 9n)];
      await expect(
        store.applyL1({ keepUpTo: 1n, keepFrom: 2n, blocks: twice, commitments: [], forced: [], demands: [], answered: [] }),
      ).rejects.toThrow();
      expect(store.l1Blocks()).toEqual([blockAt(1n, 1n), blockAt(2n, 2n)]);
      expect(store.commitment(0, 1n)).toBeDefined();
    });

    test('sends are there until forgotten, oldest first, also if the clock went back between them', async () => {
      const path = newPath();
      const store = await create(1, path);
      const sends = [sendAt('first', 1, 5_000), sendAt('second', 2, 6_000), sendAt('third', 3, 4_000)];
      for (const send of sends) await store.recordSend(send);
      await close(store);
      const read = await load(path);
      expect(read.sends()).toEqual(sends);
      await read.forgetSends([hashOf('second'), hashOf('never sent')]);
      expect(read.sends()).toEqual([sends[0], sends[2]]);
      await read.forgetSends([]);
      await expect(read.recordSend(sends[0] as SendRecord)).rejects.toThrow();
    });
  });

  describe(`${name}: room and end`, () => {
    test('store.full leaves nothing behind; smaller writes and a roomier start go on', async () => {
      const path = newPath();
      const store = await create(1, path, { maxBytes: 262_144 });
      await store.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
      const large = () => BOB.sign({ messages: Array.from({ length: 8 }, () => 'x'.repeat(60_000)) });
      await expect(store.appendGroups([groupOf(0, 1n, [ALICE.sign({ nonce: 1n }), large()])], [])).rejects.toMatchObject({
        name: 'StoreFullError',
        code: 'store.full',
      });
      expect(store.tail(0).nextSequence).toBe(1n);
      expect(store.lastEntryOf(BOB.address, 0)).toBeUndefined();
      expect(store.placesOf(topicOf('news'), 0, undefined, 100)).toHaveLength(1);
      // Not so much: there is room.
      await store.appendGroups([groupOf(0, 1n, [ALICE.sign({ nonce: 1n })])], []);
      await close(store);
      const roomy = await load(path);
      await roomy.appendGroups([groupOf(0, 2n, [large()])], []);
      expect(roomy.tail(0).nextSequence).toBe(3n);
      expect(roomy.lastEntryOf(BOB.address, 0)?.sequence).toBe(2n);
    });

    test('close lets writes that were called finish', async () => {
      const path = newPath();
      const store = await create(1, path);
      const writes = Array.from({ length: 30 }, (_, index) =>
        store.appendGroups([groupOf(0, BigInt(index), [ALICE.sign({ nonce: BigInt(index) })])], []),
      );
      await close(store);
      await Promise.all(writes);
      expect((await load(path)).tail(0).nextSequence).toBe(30n);
    });

    test('a write after the end is refused, and not as store.full', async () => {
      const store = await create();
      await close(store);
      await expect(store.appendBatch(batchAt(0, 1n, 0n, 1), new Uint8Array(32))).rejects.toSatisfy(
        (error: { code?: string }) => error instanceof Error && error.code !== 'store.full',
      );
    });
  });
}
