import type { BatchHeader } from '@sealpost/prover';
import { ZERO_ADDRESS, ZERO_HASH } from '@sealpost/prover';
import { describe, expect, it } from 'vitest';
import type { DemandState } from '../src/settlement.js';
import { type DemandStep, type MissingEntry, planDemands, rangesOf, readMissingEntries, stepOf } from '../src/takeover.js';

/** Committed at block 100; an answer has 20 blocks; it is block 1,000. */
const FACTS = { committedAt: 100n, answerDelay: 20n, slashed: false };
const demand = (change: Partial<DemandState> = {}): DemandState => ({
  lane: 0,
  term: 1,
  sequence: 7n,
  block: 1_000n,
  demander: ZERO_ADDRESS,
  deadline: 0n,
  answered: false,
  charged: false,
  fee: 0n,
  ...change,
});
/** Demanded as committed at block 500, and as promised at block 90. */
const asCommitted = { deadline: 520n, fee: 9n };
const asPromised = { deadline: 110n, fee: 9n };

describe('stepOf', () => {
  it.each<[string, Partial<DemandState>, Partial<typeof FACTS>, DemandStep]>([
    ['nobody demanded it', {}, {}, 'demand'],
    ['its broken promise was charged, and nobody demanded it', { charged: true }, {}, 'demand'],
    ['an answer may come in this block still', { deadline: 1_000n, fee: 9n }, {}, 'wait'],
    ['the block of the answer is over', { deadline: 999n, fee: 9n }, {}, 'charge'],
    ['it is open', { ...asCommitted, answered: true, fee: 0n }, {}, 'opened'],
    ['nobody answered', asCommitted, {}, 'charge'],
    ['nobody answered, and its bond is gone: the fee goes back', asCommitted, { slashed: true }, 'charge'],
    ['nobody answered, the fee was 0', { ...asCommitted, fee: 0n }, {}, 'charge'],
    ['it is charged', { ...asCommitted, fee: 0n, charged: true }, {}, 'withheld'],
    ['the fee is back, the bond was gone', { ...asCommitted, fee: 0n }, { slashed: true }, 'withheld'],
    ['a demand by a receipt may be answered', { ...asPromised, block: 105n }, {}, 'wait'],
    ['a demand by a receipt was answered', { ...asPromised, answered: true, fee: 0n }, {}, 'opened'],
    ['a demand by a receipt is overdue', asPromised, {}, 'charge and demand'],
    ['a demand by a receipt is charged, its fee not given back', { ...asPromised, charged: true }, {}, 'charge and demand'],
    ['a demand by a receipt is settled', { ...asPromised, fee: 0n, charged: true }, {}, 'demand'],
    ['a demand of the block of the commit may be either', { deadline: 120n, charged: true }, {}, 'demand'],
    ['a demand of the block after it may not', { deadline: 121n, charged: true }, {}, 'withheld'],
  ])('%s', (_, change, facts, expected) => {
    expect(stepOf(demand(change), { ...FACTS, ...facts })).toBe(expected);
  });
});

const header = (count: number): BatchHeader => ({
  lane: 0,
  term: 1,
  number: 1n,
  parentHash: ZERO_HASH,
  firstSequence: 0n,
  count,
  bundlesRoot: ZERO_HASH,
  inboxCount: 0n,
  timestamp: 0n,
  dataHash: ZERO_HASH,
});
const entry = (step: DemandStep, index: number, deadline = 0n): MissingEntry => ({ header: header(9), index, step, deadline });
const figures = { demands: 0, waiting: 0, answersBy: 0n, opened: 0, withheld: 0, later: 0n };

describe('planDemands', () => {
  it.each<[string, MissingEntry[], bigint, number[], Partial<typeof figures>]>([
    ['nothing is missing', [], 0n, [], {}],
    ['all are demanded', [entry('demand', 0), entry('charge and demand', 1)], 2n, [0, 1], { demands: 2 }],
    ['more than a run may', [0, 1, 2].map((at) => entry('demand', at)), 3n, [0, 1], { demands: 2, later: 1n }],
    ['more than were looked at', [entry('demand', 0), entry('demand', 1)], 9n, [0, 1], { demands: 2, later: 7n }],
    ['charging has no such bound', [0, 1, 2].map((at) => entry('charge', at)), 3n, [0, 1, 2], {}],
    [
      'what is waited for',
      [entry('wait', 0, 9n), entry('wait', 1, 30n), entry('wait', 2, 8n)],
      3n,
      [],
      { waiting: 3, answersBy: 30n },
    ],
    ['what is settled', [entry('opened', 0), entry('withheld', 1), entry('withheld', 2)], 3n, [], { opened: 1, withheld: 2 }],
  ])('%s', (_, entries, total, due, expected) => {
    const plan = planDemands(entries, total, 2);
    expect(plan.due.map(({ index }) => index)).toEqual(due);
    expect({ ...plan, due: undefined }).toEqual({ ...figures, ...expected });
  });
});

it('reads no more entries than a run can demand, behind those that are demanded', async () => {
  const file = { header: header(1_000), committedAt: 1n, reason: '' };
  const entries = await readMissingEntries([file], 2, async (_, index) => entry(index < 40 ? 'withheld' : 'demand', index));
  expect(entries.map(({ index }) => index)).toEqual(Array.from({ length: 48 }, (_, at) => at));
});

it('names batches by their ranges, the first of many', () => {
  expect(rangesOf([])).toBe('');
  expect(rangesOf([2n, 5n, 6n, 7n])).toBe('2, 5–7');
  expect(rangesOf([1n, 3n, 5n], 2)).toBe('1, 3 …');
});
