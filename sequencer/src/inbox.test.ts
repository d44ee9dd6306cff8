import { expect, test } from 'vitest';
import { settledBlock } from './follower.js';
import { carriedTogether, firstUnfit } from './inbox.js';
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

/** Batches of ten entries after two consumed ones, by how far each says that it brings the inbox. */
test.each<[string, number[], [index: number, sequence: number][], number | undefined]>([
  ['none, without forced entries', [2, 2], [], undefined],
  [
    'none that counts what it has',
    [3, 5],
    [
      [2, 4],
      [3, 11],
      [4, 19],
    ],
    undefined,
  ],
  ['the one whose bundle a reorg took', [2, 3, 3], [], 2],
  ['the one whose bundle came back behind it', [3, 3], [[2, 12]], 1],
  ['the one behind, where two batches count the same bundle', [3, 4], [[2, 4]], 2],
  ['the one that has another bundle than it counts', [2, 3], [[3, 12]], 2],
  ['the one that has more than it counts', [2, 2], [[2, 12]], 2],
  [
    'none for a consumed bundle that a reorg gave another place',
    [2, 3],
    [
      [1, 3],
      [2, 12],
    ],
    undefined,
  ],
])('no commit carries %s', (_, counts, places, expected) => {
  const batches = counts.map((inboxCount, at) => ({
    header: { lane: 0, number: BigInt(at + 1), firstSequence: BigInt(10 * at), count: 10, inboxCount: BigInt(inboxCount) },
  })) as SealedBatch[];
  const store = {
    forcedIn: (lane: number, first: bigint, end: bigint) =>
      places
        .map(([index, sequence]) => ({ lane, index: BigInt(index), sequence: BigInt(sequence) }))
        .filter(({ sequence }) => sequence >= first && sequence < end),
  };
  expect(firstUnfit(batches, 2n, store)?.header.number).toBe(expected === undefined ? undefined : BigInt(expected));
});
