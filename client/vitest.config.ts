import { defineConfig } from 'vitest/config';

// Nothing waits for time to pass: the bounds are for machines that are busy with other things.
export default defineConfig({ test: { testTimeout: 120_000, hookTimeout: 60_000 } });
