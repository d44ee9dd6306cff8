import { expect, test } from 'vitest';
import { settledBlock } from './follower.js';
import { carriedTogether } from './inbox.js';
import type { L1Block, SealedBatch } from './ports.js';

const block = (number: bigint): L1Block => ({ number, hash: '0x', parentHash: '0x', timestamp: 0n });

test.each([
  ['what is final', 1_000n, 990n, 990n],
  ['what is 128 deep, where finality is further back', 1_000n, 500n, 872n],
  ['what is 128 deep, where nothing is final', 1_000n, 0n, 872n],
  ['nothing yet, on a chain that is young and finalizes nothing', 100n, -1n, -1n],
])('a forced bundle gets its place in %s', (_, latest, finalized, expected) => {
  expect(settledBlock({ latest: block(latest), finalized })).toBe(expected);
});

test.each<[string, number[], number]>([
  ['all, without forced entries', Array(255).fill(0), 255],
  ['all, with few', [0, 3, 0, 60], 4],
  ['up to the one that brings 128', [64, 0, 63, 1, 64], 4],
  ['never fewer than the 64 that a commit is held up for', [...Array(200).fill(0), 64, 64, 64], 202],
  ['one alone, whatever it has', [500, 0], 1],
])('a commit carries %s', (_, forced, expected) => {
  const batches = forced.map(
    (__, index) => ({ header: { lane: 0, firstSequence: BigInt(1_000 * index), count: 1_000 } }) as SealedBatch,
  );
  const store = {
    forcedIn: (lane: number, firstSequence: bigint, endSequence: bigint) => {
      expect(endSequence - firstSequence).toBe(1_000n);
      const count = forced[Number(firstSequence / 1_000n)] as number;
      return Array.from({ length: count }, (__, index) => ({
        lane,
        index: BigInt(index),
        sequence: firstSequence + BigInt(index),
      }));
    },
  };
  expect(carriedTogether(batches, store)).toHaveLength(expected);
});
