import { defineConfig } from 'vitest/config';

// Each test starts processes of its own on free ports in a temporary folder; two files at a time fill two cores.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
  },
});
