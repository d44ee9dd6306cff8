import { type BatchHeader, type Hex, ZERO_HASH } from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { findFault, judgeBehind, judgeReorg, nextRung, reconcile } from './follower.js';
import type { Commitment, L1Block, SealedBatch } from './ports.js';

/** `chain('a', 5, 8)`: blocks a5 to a8. A block's parent is of the same letter, unless `on` says otherwise. */
function chain(letter: string, from: number, to: number, on = letter): L1Block[] {
  const hash = (name: string, number: number) => `0x${name}${number}` as Hex;
  return Array.from({ length: to - from + 1 }, (_, at) => ({
    number: BigInt(from + at),
    hash: hash(letter, from + at),
    parentHash: hash(at === 0 ? on : letter, from + at - 1),
    timestamp: BigInt(from + at),
  }));
}

describe('reconcile', () => {
  const kept = chain('a', 10, 20);
  const rows: [name: string, kept: L1Block[], branch: L1Block[], expected: unknown][] = [
    ['nothing new', kept, chain('a', 20, 20), { kind: 'same' }],
    ['one block more', kept, chain('a', 21, 21), { kind: 'advance' }],
    ['three blocks more, their parents not seen yet', kept, chain('a', 23, 23), { kind: 'fetch', hash: '0xa22' }],
    ['three blocks more', kept, chain('a', 21, 23), { kind: 'advance' }],
    ['further ahead than is walked', kept, chain('a', 53, 53), { kind: 'gap' }],
    ['as far ahead as is walked', kept, chain('a', 52, 52), { kind: 'fetch', hash: '0xa51' }],
    ['the node lags by three blocks', kept, chain('a', 17, 17), { kind: 'behind' }],
    ['the node is at the oldest block kept', kept, chain('a', 10, 10), { kind: 'behind' }],
    ['the node is below everything kept', kept, chain('a', 4, 4), { kind: 'lost' }],
    ['reorg of the newest block', kept, chain('b', 20, 20, 'a'), { kind: 'reorg', ancestor: kept[9], dropped: 1 }],
    ['reorg seen from above: first walks back', kept, chain('b', 22, 22), { kind: 'fetch', hash: '0xb21' }],
    ['reorg of three blocks into five', kept, chain('b', 18, 22, 'a'), { kind: 'reorg', ancestor: kept[7], dropped: 3 }],
    ['reorg into a shorter chain', kept, chain('b', 15, 15, 'a'), { kind: 'reorg', ancestor: kept[4], dropped: 6 }],
    ['reorg of all but the oldest block kept', kept, chain('b', 11, 20, 'a'), { kind: 'reorg', ancestor: kept[0], dropped: 10 }],
    ['reorg deeper than what is kept', kept, chain('b', 10, 20), { kind: 'lost' }],
    ['another chain, lower than ours', kept, chain('b', 3, 3), { kind: 'lost' }],
    ['a single block is kept, reorg of it', chain('a', 10, 10), chain('b', 10, 10, 'a'), { kind: 'lost' }],
    ['a fresh chain at its genesis', chain('a', 0, 0), chain('b', 0, 0), { kind: 'lost' }],
  ];
  test.each(rows)('%s', (_, kept, branch, expected) => {
    expect(reconcile(kept, branch, 32)).toEqual(expected);
  });
});

describe('finality', () => {
  test.each([
    ['reorg above finality', 100n, 90n, 1n, 'follow'],
    ['reorg down to the finalized block', 90n, 90n, 1n, 'follow'],
    ['reorg below finality', 89n, 90n, 1n, 'fatal'],
    ['reorg below finality, development chain', 89n, 90n, 31337n, 'follow loudly'],
    ['the node has no finalized tag', 3n, 0n, 1n, 'follow'],
  ] as const)('%s', (_, ancestor, finalized, chainId, verdict) => {
    expect(judgeReorg(ancestor, finalized, chainId)).toBe(verdict);
  });

  test.each([
    ['the node lags', 'behind', 95n, 60_000, 1n, 'wait'],
    ['the node syncs from its genesis', 'lost', 5n, 60_000, 1n, 'wait'],
    ['the node is at our height and shares nothing', 'lost', 70n, 0, 1n, 'fatal'],
    ['development: the node has just come back', 'behind', 95n, 100, 31337n, 'wait'],
    ['development: the node stands still below our head', 'behind', 95n, 3_000, 31337n, 'follow loudly'],
    ['development: the node is back at its genesis and stands still', 'lost', 0n, 3_000, 31337n, 'follow loudly'],
    ['development: another chain', 'lost', 70n, 0, 31337n, 'follow loudly'],
  ] as const)('%s', (_, step, latest, stillMs, chainId, verdict) => {
    expect(judgeBehind(step, latest, 60n, stillMs, 3_000, chainId)).toBe(verdict);
  });

  test.each([
    ['rises with the tag', 80n, 90n, 100n, undefined, 90n],
    ['a tag of a lagging node', 80n, 70n, 100n, undefined, 80n],
    ['a node without the tag', 0n, undefined, 100n, undefined, 0n],
    ['the tag was read later than the newest block', 80n, 101n, 100n, undefined, 100n],
    ['a reorg above it', 80n, 80n, 100n, 95n, 80n],
    ['a reorg below it', 80n, 70n, 100n, 75n, 75n],
    ['a reorg below it, the new chain reached further', 80n, 96n, 100n, 75n, 96n],
  ] as const)('%s', (_, seen, tag, latest, ancestor, expected) => {
    expect(nextRung(seen, tag, latest, ancestor)).toBe(expected);
  });
});

describe('findFault', () => {
  const hash = (lane: number, number: bigint) => `0x${lane}0${number}` as Hex;
  const ours = (upTo: bigint) => (lane: number, number: bigint) =>
    number > upTo
      ? undefined
      : ({ header: { lane, number } as BatchHeader, batchHash: hash(lane, number), bytes: 1, messages: 1 } satisfies SealedBatch);
  const commitment = (number: bigint, lane = 0, batchHash = hash(lane, number)): Commitment => ({
    lane,
    number,
    batchHash,
    transactionHash: ZERO_HASH,
    blockNumber: 1n,
    blockHash: ZERO_HASH,
  });

  test.each([
    ['ours, in order, on two lanes', [commitment(4n), commitment(4n, 1), commitment(5n), commitment(5n, 1)], undefined],
    ['a batch beyond our log', [commitment(4n), commitment(5n), commitment(6n)], 'foreign'],
    ['another batch under our number', [commitment(4n, 0, hash(9, 4n))], 'foreign'],
    ['the node left a log out', [commitment(5n)], 'hole'],
    ['the node left a log out in the middle', [commitment(4n, 1), commitment(4n), commitment(4n)], 'hole'],
  ] as const)('%s', (_, commitments, kind) => {
    expect(findFault(commitments, () => 3n, ours(5n))?.kind).toBe(kind);
  });
});
