import { expect, test } from 'vitest';
import { countTests, failedTests } from '../counts.js';
import { Histogram } from '../histogram.js';

test('tests are counted from the last summary, of vitest and of forge, with and without colours; no summary is no count', () => {
  expect(countTests('\x1b[2m      Tests \x1b[22m \x1b[1m\x1b[31m1 failed\x1b[39m | 374 passed | 3 skipped (378)\n')).toEqual({
    passed: 374,
    failed: 1,
  });
  expect(countTests('      Tests  12 passed (12)\n      Tests  13 passed (13)\n')).toEqual({ passed: 13, failed: 0 });
  expect(
    countTests('Ran 10 test suites in 6.84s (13.48s CPU time): 78 tests passed, 2 failed, 0 skipped (80 total tests)\n'),
  ).toEqual({
    passed: 78,
    failed: 2,
  });
  expect(countTests('error: no such file\n')).toBeUndefined();
});

test('failed tests are named once each, of vitest and of forge', () => {
  const log = ' \x1b[31m FAIL \x1b[39m test/l1.test.ts > behind\n  FAIL  test/l1.test.ts > behind\n ✓ FAIL is a word\n';
  expect(failedTests(`${log}[FAIL: assertion failed] test_Commit() (gas: 12)\n`)).toEqual([
    'test/l1.test.ts > behind',
    'test_Commit()',
  ]);
});

test('a histogram keeps every percentile to within two percent, over seven decades', () => {
  const values: number[] = [];
  const histogram = new Histogram();
  let state = 1;
  for (let at = 0; at < 20_000; at++) {
    state = (state * 48_271) % 2_147_483_647;
    const ms = 10 ** ((state / 2_147_483_647) * 7 - 3);
    values.push(ms);
    histogram.record(ms);
  }
  values.sort((a, b) => a - b);
  for (const percent of [1, 10, 50, 90, 99, 99.9, 100]) {
    const exact = values[Math.ceil((percent / 100) * values.length) - 1] ?? 0;
    // A value is rounded to whole microseconds, and reported as the upper edge of its bucket.
    expect(Math.abs(histogram.percentile(percent) - exact)).toBeLessThanOrEqual(exact * 0.016 + 0.001);
  }
  expect(histogram.count).toBe(values.length);
  expect(new Histogram().percentile(50)).toBeNaN();
});
