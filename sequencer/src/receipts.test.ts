import { describe, expect, test } from 'vitest';
import type { L1View, LaneStanding } from './ports.js';
import { promiseDeadline, whyNotOurs } from './receipts.js';

const HEAD = 500n;
const BLOCK_SECONDS = 1_000n;
const seen = (movedAt: number): L1View => ({
  latest: { number: HEAD, hash: '0x', parentHash: '0x', timestamp: BLOCK_SECONDS },
  safe: 0n,
  finalized: 0n,
  movedAt,
  lanes: [],
  standings: [],
});

describe('promiseDeadline', () => {
  const MAX = 60_000;
  test.each<[string, L1View | undefined, number, number, number, bigint | 'unavailable']>([
    ['no head seen since the start', undefined, 1_000_000, 0, 0, 'unavailable'],
    ['no head seen, and no age asked for', undefined, 1_000_000, 0, MAX, 'unavailable'],
    ['a fresh head: half the delay from it', seen(0), 1_000_000, 0, MAX, 1_400n],
    ['just young enough by the clock', seen(0), 1_060_000, 0, MAX, 1_400n],
    ['too old by the clock', seen(0), 1_060_001, 0, MAX, 'unavailable'],
    ['just moved lately enough', seen(5), 1_000_000, 60_005, MAX, 1_400n],
    ['has not moved for too long, though the clock went back', seen(5), 0, 60_006, MAX, 'unavailable'],
    ['the L1 is ahead of the clock', seen(0), 0, 0, MAX, 1_400n],
    ['turned off: any age will do', seen(0), 9e12, 9e12, 0, 1_400n],
  ])('%s', (_, view, now, monotonic, maxL1AgeMs, expected) => {
    const ask = () =>
      promiseDeadline({
        view: () => view,
        clock: { now: () => now, monotonic: () => monotonic },
        maxIncludeDelay: 1_801n,
        maxL1AgeMs,
      });
    if (expected === 'unavailable') expect(ask).toThrow(expect.objectContaining({ code: 'unavailable', retryAfterMs: 1_000 }));
    else expect(ask()).toBe(expected);
  });
});

describe('whyNotOurs', () => {
  const SIGNER = `0x${'51'.repeat(20)}` as const;
  const NOBODY = `0x${'00'.repeat(20)}` as const;
  const own = { signer: SIGNER, term: 2, firstSequence: 40n };
  const standing: LaneStanding = {
    ...own,
    beginBlock: 450n,
    poster: `0x${'90'.repeat(20)}`,
    receiptSigner: SIGNER,
    exitRequestedAt: 0n,
  };
  test.each<[string, Partial<LaneStanding>, bigint, string | undefined]>([
    ['the takeover is final', {}, 450n, undefined],
    ['it is not', {}, 449n, 'lane 0 was taken over in L1 block 450, which is not final yet'],
    ['it is 128 deep, where nothing becomes final', { beginBlock: 372n }, 0n, undefined],
    ['it is one block less deep', { beginBlock: 373n }, 0n, 'taken over in L1 block 373'],
    ['a reorg lets it come later', { beginBlock: 451n }, 450n, 'taken over in L1 block 451'],
    ['a reorg lets the term begin elsewhere', { firstSequence: 38n }, 500n, 'begins at sequence 38 since a reorg'],
    ['a reorg takes it away', { term: 1, firstSequence: 0n }, 500n, 'is in term 1, this sequencer was started for term 2'],
    ['others took it over', { term: 3, firstSequence: 60n }, 500n, 'is in term 3'],
    ['its operator leaves', { exitRequestedAt: 499n }, 500n, 'asked to leave in L1 block 499'],
    ['its term is over', { poster: NOBODY, receiptSigner: NOBODY }, 500n, 'has no operator'],
    ['it has another signer', { receiptSigner: `0x${'52'.repeat(20)}` }, 500n, 'another receipt signer now, 0x5252'],
  ])('%s', (_, change, finalized, expected) => {
    const why = whyNotOurs(0, { ...seen(0), finalized, standings: [{ ...standing, ...change }] }, own);
    if (expected === undefined) expect(why).toBeUndefined();
    else expect(why).toContain(expected);
  });

  test('a first term began with no takeover, and needs no waiting', () => {
    const first = { ...own, term: 1, firstSequence: 0n };
    expect(whyNotOurs(0, { ...seen(0), standings: [{ ...standing, ...first, beginBlock: 499n }] }, first)).toBeUndefined();
  });
});
