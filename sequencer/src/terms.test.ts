import { expect, test } from 'vitest';
import type { SealedBatch } from './ports.js';
import { commonBatch, type LaneObservation, planTerm, type TermPlan } from './terms.js';

const at = (number: bigint, nextSequence: bigint) => ({ number, nextSequence });
const NOBODY = `0x${'00'.repeat(20)}` as const;

/** Term 3 began at sequence 20 in block 900, which is final; batch 4 is the contract's newest, and the log ends with it. */
const usual: LaneObservation = {
  standing: { term: 3, firstSequence: 20n, beginBlock: 900n, poster: NOBODY, receiptSigner: NOBODY, exitRequestedAt: 0n },
  chain: { latest: { number: 1_000n, hash: '0x', parentHash: '0x', timestamp: 0n }, finalized: 950n },
  head: at(4n, 20n),
  accepted: undefined,
  nextSequence: 20n,
  common: at(4n, 20n),
};
const [ours, earlier] = [
  { term: 3, firstSequence: 20n },
  { term: 1, firstSequence: 0n },
];
const begin = (droppedEntries: bigint): TermPlan => ({ kind: 'begin', lastNumber: 4n, droppedEntries });
const notFinal = { chain: { ...usual.chain, finalized: 899n } };

test.each<[string, Partial<LaneObservation>, TermPlan]>([
  ['in the running term', { accepted: ours, nextSequence: 33n }, { kind: 'go on' }],
  ['in it, with batches on the L1', { accepted: ours, head: at(9n, 30n), common: at(9n, 30n) }, { kind: 'go on' }],
  ['imported whole', {}, begin(0n)],
  ['imported whole, before the takeover is final: nothing is dropped', notFinal, begin(0n)],
  ['imported in part', { common: at(2n, 9n), nextSequence: 9n }, { kind: 'import' }],
  ['of an earlier term, all of it committed', { accepted: earlier }, begin(0n)],
  ['of an earlier term, with entries that never were', { accepted: earlier, nextSequence: 25n }, begin(5n)],
  ['the same, before the takeover is final', { accepted: earlier, nextSequence: 25n, ...notFinal }, { kind: 'wait' }],
  ['of an earlier term, since when others had the lane', { accepted: earlier, common: at(3n, 12n) }, { kind: 'import' }],
  ['of the term as it began before a reorg', { accepted: { term: 3, firstSequence: 22n } }, begin(0n)],
  ['never in the running term, which has batches', { head: at(5n, 21n), common: at(5n, 21n) }, { kind: 'older' }],
  [
    'empty, in the place of one of the running term',
    { head: at(5n, 21n), common: at(0n, 0n), nextSequence: 0n },
    { kind: 'older' },
  ],
])('a log %s', (_, change, expected) => {
  expect(planTerm({ ...usual, ...change })).toEqual(expected);
});

test.each<[string, bigint[], bigint[], bigint, bigint]>([
  ['nothing', [], [], 0n, 0n],
  ['all of it', [1n, 2n, 3n], [1n, 2n, 3n], 3n, 30n],
  ['all that the contract has', [1n, 2n, 3n], [1n, 2n], 2n, 20n],
  ['all that the log has', [1n, 2n], [1n, 2n, 3n, 4n], 2n, 20n],
  ['what is before the first that differs', [1n, 2n, 33n, 44n], [1n, 2n, 3n, 4n, 5n], 2n, 20n],
  ['nothing, where all of it differs', [11n, 22n], [1n, 2n], 0n, 0n],
])('log and contract have in common %s', async (_, log, contract, number, nextSequence) => {
  const hash = (value: bigint | undefined) => `0x${(value ?? 0n).toString(16)}` as const;
  const batch = (index: number): SealedBatch | undefined =>
    log[index] === undefined
      ? undefined
      : ({
          header: { number: BigInt(index + 1), firstSequence: BigInt(10 * index), count: 10 },
          batchHash: hash(log[index]),
        } as SealedBatch);
  const store = { batch: (_lane: number, wanted: bigint) => batch(Number(wanted) - 1), lastBatch: () => batch(log.length - 1) };
  const slot = async (wanted: bigint) => hash(contract[Number(wanted) - 1]);
  expect(await commonBatch(0, store, slot, BigInt(contract.length))).toEqual({ number, nextSequence });
});
