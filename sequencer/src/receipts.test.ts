import { describe, expect, test } from 'vitest';
import type { L1View } from './ports.js';
import { promiseDeadline } from './receipts.js';

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
