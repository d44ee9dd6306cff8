import { type L1, L1Error } from '../ports.js';
import { Thread, ThreadError } from '../threads.js';
import { createSigner } from './native.js';
import type { L1Options } from './viem.js';

type L1Method = Exclude<keyof L1, 'posterAddress'>;

export interface L1Call {
  readonly method: L1Method;
  readonly args: readonly unknown[];
}

/**
 * The `L1` of viem.ts on a thread of its own, which holds the keys that pay. Around every block an Ethereum client asks, decodes,
 * hashes and signs for tens of milliseconds: on the event loop, whoever sends a message in that moment waits for it.
 */
export function startL1(options: Omit<L1Options, 'fetch'>): { readonly l1: L1; readonly close: () => Promise<void> } {
  const { address } = createSigner(options.posterKey);
  const thread = new Thread(new URL('./l1-worker.js', import.meta.url), options);
  const ask =
    <M extends L1Method>(method: M) =>
    (...args: Parameters<L1[M]>): ReturnType<L1[M]> =>
      thread.call({ method, args } satisfies L1Call).catch(rethrow) as ReturnType<L1[M]>;
  const l1: L1 = {
    posterAddress: address,
    chainId: ask('chainId'),
    settlement: ask('settlement'),
    block: ask('block'),
    standings: ask('standings'),
    eventsIn: ask('eventsIn'),
    eventsBetween: ask('eventsBetween'),
    head: ask('head'),
    depositOf: ask('depositOf'),
    batchHash: ask('batchHash'),
    inboxLength: ask('inboxLength'),
    posterNonce: ask('posterNonce'),
    posterBalance: ask('posterBalance'),
    fees: ask('fees'),
    estimateCommit: ask('estimateCommit'),
    signCommit: ask('signCommit'),
    broadcast: ask('broadcast'),
    outcome: ask('outcome'),
    knows: ask('knows'),
    openerNonce: ask('openerNonce'),
    sendOpening: ask('sendOpening'),
  };
  return { l1, close: () => thread.terminate() };
}

/** Classes do not survive the way between threads: an `L1Error` is one again. */
function rethrow(error: unknown): never {
  if (error instanceof ThreadError && error.code?.startsWith('l1.')) {
    throw new L1Error(error.code as L1Error['code'], error.message);
  }
  throw error;
}
