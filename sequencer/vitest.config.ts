import { defineConfig } from 'vitest/config';

// No test waits by the clock: the bound is for machines that are busy with other things.
export default defineConfig({
  // Two workers on two cores: most tests wait for threads and processes of their own.
  test: { testTimeout: 120_000, hookTimeout: 120_000, maxWorkers: 2, expect: { poll: { timeout: 60_000, interval: 10 } } },
});
