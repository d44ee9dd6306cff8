import { defineConfig } from 'vitest/config';

// Nothing waits for time to pass: the bounds are for machines that are busy with other things.
// Two files at a time: the command line's tests mostly wait for processes of their own.
export default defineConfig({ test: { testTimeout: 120_000, hookTimeout: 60_000, maxWorkers: 2 } });
