import { stripVTControlCharacters } from 'node:util';

/** How many tests a run had. */
export interface Count {
  readonly passed: number;
  readonly failed: number;
}

/** What failed, by name, as each runner says it. */
export function failedTests(log: string): string[] {
  const names = new Set<string>();
  for (const line of stripVTControlCharacters(log).split('\n')) {
    // vitest: " FAIL  test/l1.test.ts > an L1 that is not well > behind"; forge: "[FAIL: reason] test_name() (gas: 1)"
    const name = /^\s*FAIL\s+(.+?)\s*$/.exec(line)?.[1] ?? /^\[FAIL.*?\] (\w+\(.*?\))/.exec(line)?.[1];
    if (name !== undefined) names.add(name);
  }
  return [...names];
}

/** The counts in a log's last summary, of whichever runner; undefined without one. */
export function countTests(log: string): Count | undefined {
  let count: Count | undefined;
  for (const line of stripVTControlCharacters(log).split('\n')) {
    // vitest:  "Tests  1 failed | 12 passed | 3 skipped (16)"
    const vitest = /^\s*Tests\s+(.+)\(\d+\)\s*$/.exec(line)?.[1];
    // forge:   "Ran 11 test suites in 8.50s (…): 120 tests passed, 0 failed, 0 skipped (120 total tests)"
    const forge = /^Ran \d+ test suites? in .*: (\d+) tests passed, (\d+) failed/.exec(line);
    if (vitest !== undefined) {
      const number = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(vitest)?.[1] ?? 0);
      count = { passed: number('passed'), failed: number('failed') };
    } else if (forge !== null) {
      count = { passed: Number(forge[1]), failed: Number(forge[2]) };
    }
  }
  return count;
}
