import { defineConfig } from 'vitest/config';

// Each test starts processes of its own on free ports in a temporary folder. No test waits by the clock: the bounds are for
// machines that are busy with other things, such as the sequencer's tests beside these.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    maxWorkers: 2,
    testTimeout: 480_000,
    hookTimeout: 120_000,
    retry: 0,
  },
});
