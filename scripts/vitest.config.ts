import { defineConfig } from 'vitest/config';

// Each test starts processes of its own on free ports in a temporary folder; they wait more than they work, so
// three files at a time fill two cores.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    maxWorkers: 3,
    testTimeout: 120_000,
    hookTimeout: 60_000,
    retry: 0,
  },
});
