import { defineConfig } from 'vitest/config';

// No test waits for anything: the bound is for machines that are busy with other things.
export default defineConfig({ test: { testTimeout: 60_000, maxWorkers: 2 } });
