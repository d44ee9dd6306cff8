import { afterAll, expect, test } from 'vitest';
import { type Store, StoreFullError } from '../src/ports.js';
import { auditLog } from './audit.js';
import { Account } from './bundles.js';
import { closeVerifiers, Pipeline } from './pipeline.js';

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
