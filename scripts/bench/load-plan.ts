import type { Hex } from '@sealpost/prover';
import type { Verdict } from '../acknowledged.js';

/** What a load process (load.ts) is told. */
export interface LoadPlan {
  readonly url: string;
  /** The server's process: its memory is read. */
  readonly pid: number;
  /** What receipts are held against; undefined for a server that promises nothing. */
  readonly network?: LoadNetwork;
  /** Messages a bundle. */
  readonly bundle: number;
  /** Bytes a payload. */
  readonly payload: number;
  /** Different topics, at least as many as a bundle has messages. */
  readonly topics: number;
  readonly phases: readonly Phase[];
  /** Messages to fetch and prove one by one at the end; every bundle is held against the L1 in any case. */
  readonly sample: number;
  /** Message proofs to fetch after everything, in an open loop. */
  readonly proofs?: { readonly perSecond: number; readonly seconds: number };
}

/** The domain of bundles for a server that promises nothing. */
export const NO_NETWORK = { chainId: 1n, settlement: `0x${'00'.repeat(20)}` } as const;

export interface LoadNetwork {
  readonly l1Url: string;
  readonly chainId: number;
  readonly settlement: Hex;
  readonly laneCount: number;
}

/** One stretch of load, one after the other on the same senders. */
export type Phase = ClosedPhase | OpenPhase;

/** Each sender sends its next bundle when it has the last one's receipt: the most that the server takes. */
export interface ClosedPhase {
  readonly kind: 'closed';
  readonly name: string;
  readonly seconds: number;
  readonly senders: number;
  /** Ends when so many messages are acknowledged in all, if that is earlier. */
  readonly untilMessages?: number;
  /** The server ends meanwhile, and that is what is to be seen; whatever follows waits until it is ready again. */
  readonly untilBroken?: boolean;
  /** Whatever follows waits until everything is committed. */
  readonly settle?: boolean;
}

/** Bundles are planned on a clock; a sender that is free sends the oldest one that waits. */
export interface OpenPhase {
  readonly kind: 'open';
  readonly name: string;
  readonly seconds: number;
  /** So many that it is not a sender's order (one bundle at a time) that makes bundles wait. */
  readonly senders: number;
  /** Messages planned a second; `ofMaximum` is a fraction of what the closed phase before it reached. */
  readonly rate: { readonly messagesPerSecond: number } | { readonly ofMaximum: number };
  /** Topics whose event stream is read meanwhile. */
  readonly watchers: number;
  /** What nobody has sent at the end is dropped: for more load than can be served. */
  readonly overload?: boolean;
}

/** Of latencies, milliseconds. */
export interface Quantiles {
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly count: number;
}

export interface PhaseResult {
  readonly name: string;
  /** Acknowledged in this phase. */
  readonly messages: number;
  /** A closed phase: from the first request to the last receipt. An open one: as planned. */
  readonly seconds: number;
  /** Acknowledged a second within `seconds`. */
  readonly messagesPerSecond: number;
  /** An open phase's rate, messages a second. */
  readonly plannedPerSecond?: number;
  /** From the planned time to the receipt; all three without the run-in (drive.ts). */
  readonly accept?: Quantiles;
  /** The same with the run-in. */
  readonly acceptOfAll?: Quantiles;
  /** From the receipt to the event on the topic's stream; 0 where the event was here first. */
  readonly readable?: Quantiles;
  /** From the planned time to the event. */
  readonly plannedToReadable?: Quantiles;
  /** Events that never came. */
  readonly unseen: number;
  /** Bundles planned and, in an overload, never sent. */
  readonly dropped: number;
  /** Answers other than 200, by what they were; each bundle was sent again. */
  readonly refused: Readonly<Record<string, number>>;
  /** Refusals that were not 503 with Retry-After. */
  readonly rude: number;
  /** Bundles that had to be signed while the phase ran. */
  readonly signedLate: number;
  /** Share of one core that the load process used. */
  readonly generatorCpu: number;
  readonly server: Observation;
}

/** What a server's process did during a phase. */
export interface Observation {
  /** Cores that it used on average; undefined if it does not tell. */
  readonly cpu: number | undefined;
  /** The longest that its event loop did not turn; undefined if it does not tell. */
  readonly stallMs: number | undefined;
  /** Resident memory, once a second, the first one before the phase and the last one after it. */
  readonly rssBytes: readonly number[];
}

/** What became of everything acknowledged in all phases; all 0 for a server that promises nothing. */
export interface LoadResult extends Verdict {
  readonly phases: readonly PhaseResult[];
  readonly proofs?: Quantiles & { readonly failed: number };
}
