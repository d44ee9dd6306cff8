import type { Hex } from '@sealpost/prover';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Action,
  type Backlog,
  bumpedFees,
  defaultPosterConfig,
  freshFees,
  type Observation,
  type PosterConfig,
  plan,
  type Sight,
} from './poster.js';

const GWEI = 1_000_000_000n;
const config: PosterConfig = {
  ...defaultPosterConfig,
  bumpAfterMs: 30_000,
  bumpAfterBlocks: 2,
  maxFeePerGas: 100n * GWEI,
  minPriorityFeePerGas: GWEI,
};
const NOW = 1_000_000;
const TIME = 5_000n;

const lane = (head: number, sealed: number, lane = 0, timestamp = TIME): Backlog => ({
  lane,
  next: BigInt(head) + 1n,
  batches: Array.from({ length: sealed - head }, (_, at) => ({ number: BigInt(head + 1 + at), timestamp })),
});

const send = (nonce: number, first: number, last: number, more: Partial<Sight> = {}): Sight => ({
  transactionHash: `0x${nonce}${first}${last}${more.maxFeePerGas ?? ''}` as Hex,
  nonce,
  lane: 0,
  firstNumber: BigInt(first),
  lastNumber: BigInt(last),
  maxFeePerGas: 21n * GWEI,
  maxPriorityFeePerGas: GWEI,
  raw: '0x02',
  sentAt: 0,
  known: true,
  publication: { result: 'published', atMs: NOW - 1_000, atBlock: 100n },
  ...more,
});

const mined = (blockNumber: bigint, succeeded = true) => ({
  outcome: { blockNumber, blockHash: '0x' as Hex, succeeded, gasUsed: 1n },
});
const waited = (ms: number, blocks: bigint) =>
  ({ publication: { result: 'published', atMs: NOW - ms, atBlock: 100n - blocks } }) as const;
const unpublished = { known: false, publication: undefined } as const;
const underpriced = { publication: { result: 'underpriced' } } as const;

const observe = (more: Partial<Observation> & { at?: number; pending?: number; base?: bigint }): Observation => {
  const { at = 5, pending = at, base = 10n * GWEI, ...rest } = more;
  return {
    nowMs: NOW,
    latest: { number: 100n, timestamp: TIME },
    finalized: 90n,
    nonce: { latest: at, pending },
    fees: { baseFeePerGas: base, priorityFeePerGas: GWEI },
    lanes: [],
    sends: [],
    ...rest,
  };
};

/** An action in a few words, for the tables. */
function describeAction(action: Action): string {
  switch (action.kind) {
    case 'send': {
      const { why, nonce, lane, first, last, fees } = action;
      const [most, tip] = [fees.maxFeePerGas, fees.maxPriorityFeePerGas].map((fee) => Number(fee) / 1e9);
      return `${why} #${nonce} lane ${lane} ${first}..${last} at ${most}/${tip}`;
    }
    case 'resend':
      return `resend ${action.why} #${action.send.nonce}`;
    case 'forget':
      return `forget ${action.why} ${action.sends.map(({ nonce }) => `#${nonce}`).join(' ')}`;
    case 'wait':
      return `wait ${action.why} lane ${action.lane}`;
  }
}

describe('plan', () => {
  const rows: [name: string, observation: Observation, expected: string[], config?: Partial<PosterConfig>][] = [
    ['nothing to do', observe({ lanes: [lane(3, 3)] }), []],
    ['one sealed batch', observe({ lanes: [lane(0, 1)] }), ['new #5 lane 0 1..1 at 21/1']],
    ['behind: 7 batches in one transaction', observe({ lanes: [lane(3, 10)] }), ['new #5 lane 0 4..10 at 21/1']],
    ['behind: 300 batches, the contract takes 255', observe({ lanes: [lane(0, 300)] }), ['new #5 lane 0 1..255 at 21/1']],
    [
      'behind: bounded by configuration',
      observe({ lanes: [lane(0, 9)] }),
      ['new #5 lane 0 1..4 at 21/1'],
      { maxBatchesPerTransaction: 4 },
    ],
    [
      'two lanes, two nonces',
      observe({ lanes: [lane(0, 2), lane(4, 5, 1)] }),
      ['new #5 lane 0 1..2 at 21/1', 'new #6 lane 1 5..5 at 21/1'],
    ],
    [
      'one lane waits, the other one goes on behind it',
      observe({ lanes: [lane(0, 2), lane(4, 5, 1)], sends: [send(5, 1, 1)], pending: 6 }),
      ['wait pending lane 0', 'new #6 lane 1 5..5 at 21/1'],
    ],
    ['header newer than the newest block', observe({ lanes: [lane(0, 2, 0, TIME + 1n)] }), ['wait block time lane 0']],
    [
      'only the second header is too new',
      observe({ lanes: [{ lane: 0, next: 1n, batches: [...lane(0, 1).batches, { number: 2n, timestamp: TIME + 9n }] }] }),
      ['new #5 lane 0 1..1 at 21/1'],
    ],

    ['in the pool, and young', observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1)], pending: 6 }), ['wait pending lane 0']],
    [
      'in the pool; more was sealed: it goes into the next one',
      observe({ lanes: [lane(0, 4)], sends: [send(5, 1, 1)], pending: 6 }),
      ['wait pending lane 0'],
    ],
    [
      'stuck: replaced for an eighth more, with what was sealed meanwhile',
      observe({ lanes: [lane(0, 4)], sends: [send(5, 1, 1, waited(30_000, 2n))], pending: 6 }),
      ['bump #5 lane 0 1..4 at 23.625/1.125'],
    ],
    [
      'stuck by the clock, but the L1 stands still',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, waited(90_000, 1n))], pending: 6 }),
      ['wait pending lane 0'],
    ],
    [
      'two blocks in a second: not stuck yet',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, waited(1_000, 5n))], pending: 6 }),
      ['wait pending lane 0'],
    ],
    [
      'base fee times ten: it cannot be mined, replaced at once',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1)], pending: 6, base: 40n * GWEI }),
      ['bump #5 lane 0 1..1 at 81/1.125'],
    ],
    ['fee cap reached: nothing new', observe({ lanes: [lane(0, 1)], base: 100n * GWEI }), ['wait fee cap lane 0']],
    [
      'fee cap reached: no replacement',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { ...waited(30_000, 2n), maxFeePerGas: 95n * GWEI })], pending: 6 }),
      ['wait fee cap lane 0'],
    ],
    [
      'fee cap near: a replacement of just ten per cent',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { ...waited(30_000, 2n), maxFeePerGas: 90n * GWEI })], pending: 6 }),
      ['bump #5 lane 0 1..1 at 100/1.125'],
    ],
    [
      'replacement underpriced',
      observe({
        lanes: [lane(0, 1)],
        sends: [send(5, 1, 1), send(5, 1, 1, { maxFeePerGas: 24n * GWEI, known: false, ...underpriced })],
        pending: 6,
      }),
      ['bump #5 lane 0 1..1 at 27/1.125'],
    ],
    [
      'the replacement never reached the node: given again, not bumped again',
      observe({
        lanes: [lane(0, 1)],
        sends: [send(5, 1, 1, waited(90_000, 9n)), send(5, 1, 1, { maxFeePerGas: 24n * GWEI, ...unpublished })],
        pending: 6,
      }),
      ['resend unpublished #5'],
    ],
    ['transaction dropped', observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { known: false })] }), ['resend dropped #5']],
    [
      'transaction dropped because the base fee rose',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { known: false })], base: 40n * GWEI }),
      ['bump #5 lane 0 1..1 at 81/1.125'],
    ],
    ['crash after recording', observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, unpublished)] }), ['resend unpublished #5']],
    [
      'crash after recording, long ago: its fees are no good any more',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, unpublished)], base: 40n * GWEI }),
      ['replace #5 lane 0 1..1 at 81/1.125'],
    ],
    [
      'crash after giving it to the node',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { publication: undefined })], pending: 6 }),
      ['resend unpublished #5'],
    ],
    [
      'refused twice for reasons of the node',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { known: false, publication: { result: 'refused', times: 2 } })] }),
      ['resend unpublished #5'],
    ],
    [
      'refused three times: another one instead',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { known: false, publication: { result: 'refused', times: 3 } })] }),
      ['replace #5 lane 0 1..1 at 23.625/1.125'],
    ],

    ['mined between the nonce and the head', observe({ lanes: [lane(1, 1)], sends: [send(5, 1, 1)], pending: 6 }), []],
    ['mined, not final', observe({ lanes: [lane(1, 1)], sends: [send(4, 1, 1, mined(91n))] }), []],
    ['mined and final', observe({ lanes: [lane(1, 1)], sends: [send(4, 1, 1, mined(90n))] }), ['forget final #4']],
    [
      'mined after a replacement had been sent',
      observe({
        lanes: [lane(1, 1)],
        sends: [send(4, 1, 1, mined(90n)), send(4, 1, 1, { maxFeePerGas: 30n * GWEI, known: false })],
      }),
      ['forget final #4 #4'],
    ],
    [
      'mined, but reverted: planned again',
      observe({ lanes: [lane(0, 1)], sends: [send(4, 1, 1, mined(99n, false))] }),
      ['new #5 lane 0 1..1 at 21/1'],
    ],

    [
      'nonce used by someone else',
      observe({ lanes: [lane(0, 1)], sends: [send(4, 1, 1, { known: false })] }),
      ['forget nonce taken #4', 'new #5 lane 0 1..1 at 21/1'],
    ],
    [
      "someone else's transaction waits in the pool",
      observe({ lanes: [lane(0, 1)], pending: 7 }),
      ['new #7 lane 0 1..1 at 21/1'],
    ],
    [
      'ours lost its nonce to one that waits in the pool',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { known: false, ...underpriced })], pending: 6 }),
      ['new #6 lane 0 1..1 at 21/1'],
    ],
    [
      'that one left the pool: the nonce is ours again',
      observe({ lanes: [lane(0, 1)], sends: [send(5, 1, 1, { known: false, ...underpriced })] }),
      ['bump #5 lane 0 1..1 at 23.625/1.125'],
    ],

    [
      'reorg: three commits are open again and in no pool',
      observe({
        at: 2,
        lanes: [lane(0, 6)],
        sends: [send(2, 1, 2, { known: false }), send(3, 3, 3, { known: false }), send(4, 4, 6, { known: false })],
      }),
      ['resend dropped #2', 'resend dropped #3', 'resend dropped #4'],
    ],
    [
      'reorg: the node put them back into its pool',
      observe({ at: 2, pending: 4, lanes: [lane(0, 3)], sends: [send(2, 1, 2), send(3, 3, 3)] }),
      ['wait pending lane 0', 'wait pending lane 0'],
    ],
    [
      'reorg: the new chain is younger than the header',
      observe({ at: 2, lanes: [lane(0, 2, 0, TIME + 3n)], sends: [send(2, 1, 2, { known: false })] }),
      ['wait block time lane 0', 'wait block time lane 0'],
    ],
    [
      'reorg below finality: the first record was forgotten, its nonce is a gap',
      observe({ at: 2, lanes: [lane(0, 3)], sends: [send(3, 2, 3, { known: false })] }),
      ['new #2 lane 0 1..3 at 21/1', 'forget useless #3'],
    ],
    [
      'the waiting one does not fit the head any more: another one under its nonce',
      observe({ lanes: [lane(1, 3)], sends: [send(5, 1, 2)], pending: 6 }),
      ['replace #5 lane 0 2..3 at 23.625/1.125'],
    ],
    [
      'the same, and in no pool: no need to outbid it',
      observe({ lanes: [lane(1, 3)], sends: [send(5, 1, 2, { known: false })] }),
      ['replace #5 lane 0 2..3 at 21/1'],
    ],
    [
      'committed by another one of ours',
      observe({ lanes: [lane(2, 2)], sends: [send(5, 1, 2, { known: false })] }),
      ['forget useless #5'],
    ],
    [
      'the chain forgot everything',
      observe({ at: 0, lanes: [lane(0, 9)], sends: [send(7, 5, 8, { known: false }), send(8, 9, 9, { known: false })] }),
      ['new #0 lane 0 1..9 at 21/1', 'forget useless #7', 'forget useless #8'],
    ],
  ];
  test.each(rows)('%s', (_, observation, expected, more) => {
    expect(plan(observation, { ...config, ...more }).map(describeAction)).toEqual(expected);
  });
});

describe('fees', () => {
  const fee = fc.bigInt({ min: 0n, max: 1_000n * GWEI });
  const market = fc.record({ baseFeePerGas: fee, priorityFeePerGas: fee });

  test('what is offered is under the cap, above the base fee and at least the least tip', () => {
    fc.assert(
      fc.property(market, (now) => {
        const offer = freshFees(now, config);
        if (offer === undefined) return now.baseFeePerGas + config.minPriorityFeePerGas > config.maxFeePerGas;
        return (
          offer.maxFeePerGas <= config.maxFeePerGas &&
          offer.maxFeePerGas >= now.baseFeePerGas + config.minPriorityFeePerGas &&
          offer.maxPriorityFeePerGas >= config.minPriorityFeePerGas &&
          offer.maxPriorityFeePerGas <= offer.maxFeePerGas
        );
      }),
    );
  });

  test('a replacement offers ten per cent more of both, under the cap, or is not made', () => {
    fc.assert(
      fc.property(market, fee, fee, (now, tip, more) => {
        const old = { maxFeePerGas: tip + more, maxPriorityFeePerGas: tip };
        const offer = bumpedFees(old, now, config);
        return (
          offer === undefined ||
          (offer.maxFeePerGas <= config.maxFeePerGas &&
            offer.maxPriorityFeePerGas <= offer.maxFeePerGas &&
            offer.maxFeePerGas * 10n >= old.maxFeePerGas * 11n &&
            offer.maxPriorityFeePerGas * 10n >= old.maxPriorityFeePerGas * 11n)
        );
      }),
    );
  });
});
