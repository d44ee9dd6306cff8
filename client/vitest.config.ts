import { defineConfig } from 'vitest/config';

// Commands are processes of their own, and the L1 is a real node: a test waits for conditions, and this is for when none comes.
export default defineConfig({ test: { testTimeout: 30_000, hookTimeout: 30_000 } });
