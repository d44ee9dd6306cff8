import { defineConfig } from 'vitest/config';

// No test waits by the clock: the bound is for machines that are busy with other things.
export default defineConfig({
  // Two workers on two cores: most tests wait for threads and processes of their own.
  test: { testTimeout: 60_000, hookTimeout: 60_000, maxWorkers: 2, expect: { poll: { timeout: 30_000, interval: 10 } } },
});
