import { afterAll, describe, expect, test } from 'vitest';
import { type ForcedBundle, type Store, StoreFullError } from '../src/ports.js';
import { auditLog } from './audit.js';
import { Account } from './bundles.js';
import { closeVerifiers, Pipeline, START } from './pipeline.js';

afterAll(closeVerifiers);
const alice = new Account('alice');

test('a seal that finds no room waits for it; nothing ends, nothing is lost', async () => {
  let full = true;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, name: keyof Store) => {
        if (name === 'appendBatch' && full) return () => Promise.reject(new StoreFullError('no room'));
        return typeof target[name] === 'function' ? (target[name] as () => unknown).bind(target) : target[name];
      },
    });
  const it = await Pipeline.open({ seal: { maxEntries: 2 }, wrapStore });
  const noRoom = () => it.events.filter(({ event }) => event === 'store.full').length;
  await it.submit(alice.sign(), alice.sign({ nonce: 1n }));
  await expect.poll(noRoom).toBe(1);
  await it.submit(alice.sign({ nonce: 2n }));
  expect(it.sealedBatches).toEqual([]);
  full = false;
  // It looks again by itself.
  await expect.poll(() => it.sealedBatches.length, { timeout: 3_000 }).toBe(1);
  await it.seal();
  expect(it.fatal).toEqual([]);
  expect(noRoom()).toBe(1);
  expect(auditLog(it)).toHaveLength(3);
  await it.close();
});

test('what a stop or crash left unsealed is sealed after the next start, each lane on its own', async () => {
  const first = await Pipeline.open({ laneCount: 2 });
  const on = (lane: number, nonce: bigint) => alice.sign({ lane, laneCount: 2, nonce });
  await first.submit(on(0, 0n), on(1, 0n), on(0, 1n));
  await first.seal();
  await first.submit(on(1, 1n), on(1, 2n));
  await first.stop();
  const second = await Pipeline.open({ folder: first.folder, seal: { maxEntries: 1 } });
  expect(second.sealer.unsealed).toBe(2);
  expect([second.sealer.sealed(0), second.sealer.sealed(1)]).toEqual([2n, 1n]);
  await second.seal();
  expect(second.sealedBatches.map(({ header }) => [header.lane, header.number, header.count])).toEqual([
    [1, 2n, 1],
    [1, 3n, 1],
  ]);
  expect(auditLog(second)).toHaveLength(5);
  await second.close();
});

test('the oldest entry’s age seals the lane, a full lane does not wait', async () => {
  const it = await Pipeline.open({ laneCount: 2, seal: { maxEntries: 3, maxAgeMs: 50 } });
  const on = (lane: number, nonce: bigint) => alice.sign({ lane, laneCount: 2, nonce });
  await it.submit(on(0, 0n), on(0, 1n), on(0, 2n), on(1, 0n));
  await expect.poll(() => it.sealedBatches.map(({ header }) => header.lane)).toEqual([0]);
  it.clock.advance(50);
  await expect.poll(() => it.sealedBatches.map(({ header }) => header.lane)).toEqual([0, 1]);
  expect(it.sealer.unsealed).toBe(0);
  await it.close();
});

describe('a reorg takes a forced bundle that a sealed batch counts', () => {
  const [forced, bundle] = [new Account('bob').sign(), alice.sign()];
  const inBlock = (blockNumber: bigint): ForcedBundle => ({
    lane: 0,
    index: 0n,
    bundleHash: forced.bundleHash,
    deadline: 10_000n,
    bundle: forced.bytes,
    blockNumber,
  });
  const NOTHING = { blocks: [], commitments: [], forced: [], demands: [], answered: [] };
  /** The sealer looks, and is done when nothing is left to do. */
  const look = async (it: Pipeline) => {
    it.sealer.notify();
    await it.seal();
  };
  const headers = (it: Pipeline) =>
    it.store.batchesFrom(0, 1n, 9).map(({ header: { firstSequence, count, inboxCount } }) => [firstSequence, count, inboxCount]);

  test.each(['never', 'before the batch is forgotten', 'after it'] as const)('the process dies %s', async (death) => {
    let die = () => {};
    const died = new Promise<void>((resolve) => {
      die = resolve;
    });
    const wrapStore = (store: Store): Store =>
      new Proxy(store, {
        get: (target, name: keyof Store) => {
          if (name === 'unseal' && death !== 'never') {
            return async (lane: number, from: bigint) => {
              if (death === 'after it') await target.unseal(lane, from);
              die();
              return new Promise(() => {});
            };
          }
          return typeof target[name] === 'function' ? (target[name] as () => unknown).bind(target) : target[name];
        },
      });
    let it = await Pipeline.open({ digestHere: true, wrapStore });
    await it.store.applyL1({ ...NOTHING, forced: [inBlock(90n)] });
    it.sequencer.inboxChanged();
    await expect.poll(() => it.store.tail(0).nextSequence).toBe(1n);
    await it.submit(bundle);
    await it.seal();
    expect(headers(it)).toEqual([[0n, 2, 1n]]);
    const [promised] = await it.submit(bundle);

    await it.store.applyL1({ ...NOTHING, keepUpTo: 89n });
    // Not final yet that it is gone: nothing is made anew.
    it.view = it.view && { ...it.view, finalized: 89n };
    await look(it);
    expect(headers(it)).toEqual([[0n, 2, 1n]]);
    it.l1At(200n, START);
    it.sealer.notify();
    if (death !== 'never') {
      await died;
      await it.abandon();
      it = await Pipeline.open({ folder: it.folder, digestHere: true });
      it.l1At(201n, START);
      it.sealer.notify();
    }
    await expect.poll(() => it.sealer.unsealed).toBe(2);
    await it.seal();
    expect(headers(it)).toEqual([[0n, 2, 0n]]);
    expect(auditLog(it).map(({ bundleHash }) => bundleHash)).toEqual([forced.bundleHash, bundle.bundleHash]);
    const root = (outcome: unknown) => (outcome as { receipt: { root: string } }).receipt.root;
    expect(root((await it.submit(bundle))[0])).toBe(root(promised));

    // It comes back: another sequence, void; the batch of that one counts it.
    await it.store.applyL1({ ...NOTHING, forced: [inBlock(150n)] });
    it.sequencer.inboxChanged();
    // The sealer hears of it after it is durable.
    await expect.poll(() => it.sealer.unsealed).toBe(1);
    expect(it.store.tail(0).nextSequence).toBe(3n);
    await it.seal();
    await look(it);
    expect(headers(it)).toEqual([
      [0n, 2, 0n],
      [2n, 1, 1n],
    ]);
    expect(it.store.entry(0, 2n)).toMatchObject({ void: 1, previous: 1n });
    expect(it.fatal).toEqual([]);
    await it.close();
  });
});
