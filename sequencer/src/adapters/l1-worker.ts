import { type Answer, serveThread } from '../threads.js';
import type { L1Call } from './l1-thread.js';
import { createL1, type L1Options } from './viem.js';

/** Talks to the Ethereum node. Calls go side by side: one that the node does not answer holds up no other. */
serveThread(
  (options: L1Options) => {
    const l1 = createL1(options);
    return async ({ method, args }: L1Call): Promise<Answer> => ({
      value: await (l1[method] as (...args: readonly unknown[]) => Promise<unknown>)(...args),
    });
  },
  { atOnce: true },
);
