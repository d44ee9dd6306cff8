/** The sequencer's verifying thread, for servers and loads that have nothing else of it. */
export const VERIFY_WORKER = new URL('../../sequencer/dist/adapters/verify-worker.js', import.meta.url);

/** What a verifying process (verifying.ts) is told. */
export interface VerifyingPlan {
  readonly workers: readonly number[];
  /** Messages a bundle. */
  readonly bundle: number;
  readonly payload: number;
  /** For each number of workers. */
  readonly seconds: number;
}
