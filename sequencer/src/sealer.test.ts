import { BATCH_FILE_HEADER_BYTES, ENTRY_PREFIX_BYTES, MAX_BATCH_ENTRIES, MAX_BATCH_FILE_BYTES } from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { LARGE_BACKLOG, planSeal, type SealLimits, type SealPlan } from './sealer.js';

const LIMITS: SealLimits = { maxEntries: 4, maxBytes: 10_000, maxAgeMs: 1_000 };
/** The file of one bundle of 1,000 bytes, and what each further one adds. */
const FIRST = BATCH_FILE_HEADER_BYTES + ENTRY_PREFIX_BYTES + 1_000;
const NEXT = ENTRY_PREFIX_BYTES + 1_000;
const bundles = (count: number, bytes = 1_000) => Array.from({ length: count }, () => bytes);

describe('planSeal', () => {
  const rows: [string, number[], number, Partial<SealLimits>, SealPlan][] = [
    ['nothing to seal: wait for good', [], 0, {}, { waitMs: Number.POSITIVE_INFINITY }],
    ['nothing to seal, however old', [], 99_999, {}, { waitMs: Number.POSITIVE_INFINITY }],
    ['young and small: wait until it is old', bundles(1), 0, {}, { waitMs: 1_000 }],
    ['one millisecond before its age', bundles(3), 999, {}, { waitMs: 1 }],
    ['a fraction of a millisecond before its age', bundles(3), 999.5, {}, { waitMs: 0.5 }],
    ['at its age', bundles(3), 1_000, {}, { seal: 3 }],
    ['long past its age, after the machine slept', bundles(2), 1e9, {}, { seal: 2 }],
    ['one entry short of full', bundles(3), 0, {}, { waitMs: 1_000 }],
    ['full by count', bundles(4), 0, {}, { seal: 4 }],
    ['more than full by count: the rest waits for its own batch', bundles(9), 0, {}, { seal: 4 }],
    ['bytes exactly at the limit are full', bundles(3), 0, { maxBytes: FIRST + 2 * NEXT }, { seal: 3 }],
    ['one byte of room is not full', bundles(3), 0, { maxBytes: FIRST + 2 * NEXT + 1 }, { waitMs: 1_000 }],
    ['one byte too many: all but the last', bundles(3), 0, { maxBytes: FIRST + 2 * NEXT - 1 }, { seal: 2 }],
    ['one huge bundle alone passes the limit', bundles(1, 1_048_576), 0, {}, { seal: 1 }],
    ['a huge bundle behind a small one waits for the next batch', [1_000, 1_048_576], 0, {}, { seal: 1 }],
    ['a small bundle behind a huge one waits for the next batch', [1_048_576, 1_000], 0, {}, { seal: 1 }],
    [
      'limits above the protocol are the protocol’s',
      bundles(2),
      0,
      { maxEntries: 2 ** 31, maxBytes: 2 ** 40 },
      { waitMs: 1_000 },
    ],
    ['every entry a batch', bundles(2), 0, { maxEntries: 1 }, { seal: 1 }],
  ];
  test.each(rows)('%s', (_, bundleBytes, oldestAgeMs, limits, expected) => {
    expect(planSeal({ bundleBytes, oldestAgeMs }, { ...LIMITS, ...limits })).toEqual(expected);
  });

  test.each<[string, number, number, number, SealPlan]>([
    ['as usual behind a backlog that one commit takes', 4, 0, LARGE_BACKLOG - 1, { seal: 4 }],
    ['nothing by age behind a large one', 3, 1e9, LARGE_BACKLOG, { waitMs: Number.POSITIVE_INFINITY }],
    ['nothing by the configured count', 9, 0, LARGE_BACKLOG, { waitMs: Number.POSITIVE_INFINITY }],
    ['what fills a batch of the protocol', MAX_BATCH_ENTRIES + 1, 0, LARGE_BACKLOG + 7, { seal: MAX_BATCH_ENTRIES }],
  ])('%s', (_, count, oldestAgeMs, backlog, expected) => {
    expect(planSeal({ bundleBytes: bundles(count, 124), oldestAgeMs, backlog }, LIMITS)).toEqual(expected);
  });

  test('never more entries, and never more bytes, than the protocol allows', () => {
    const many = planSeal(
      { bundleBytes: bundles(MAX_BATCH_ENTRIES + 1, 124), oldestAgeMs: 0 },
      { maxEntries: 2 ** 31, maxBytes: 2 ** 40, maxAgeMs: 1 },
    );
    expect(many).toEqual({ seal: MAX_BATCH_ENTRIES });
    const fitting = Math.floor((MAX_BATCH_FILE_BYTES - BATCH_FILE_HEADER_BYTES) / (ENTRY_PREFIX_BYTES + 1_048_576));
    const large = planSeal(
      { bundleBytes: bundles(300, 1_048_576), oldestAgeMs: 0 },
      { maxEntries: 2 ** 31, maxBytes: 2 ** 40, maxAgeMs: 1 },
    );
    expect(large).toEqual({ seal: fitting });
  });
});
