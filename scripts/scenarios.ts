/** What a load process is told: one line of JSON. */
export interface LoadPlan {
  readonly url: string;
  readonly l1Url: string;
  readonly chainId: number;
  readonly settlement: `0x${string}`;
  readonly laneCount: number;
  readonly seconds: number;
  readonly senders: number;
  /** Messages a bundle. */
  readonly bundle: number;
  /** Bytes a payload. */
  readonly payload: number;
  /** Messages to fetch and prove one by one afterwards; every bundle is checked against the L1 in any case. */
  readonly sample: number;
  /** Different topics, at most. */
  readonly topics: number;
}

/** What a load process answers: lines of JSON, the last one a result. */
export type LoadLine =
  | { readonly progress: string; readonly done: number; readonly total: number }
  | { readonly result: LoadResult };

export interface LoadResult {
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly unprovable: number;
  readonly doubled: number;
  readonly sampled: number;
  readonly batches: number;
  readonly requests: number;
  /** Answers other than 200, by what they were; each was sent again. */
  readonly refused: Readonly<Record<string, number>>;
  /** From the first request to the last receipt. */
  readonly seconds: number;
  /** Share of one core that the load process itself used meanwhile. */
  readonly generatorCpu: number;
  /** Ended because all presigned bundles were used up, before the time was. */
  readonly exhausted: boolean;
  readonly complaints: readonly string[];
}

/** One kind of load. `plan` holds what it is unless flags say otherwise. */
export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly plan: Pick<LoadPlan, 'senders' | 'bundle' | 'payload'>;
}

/** Closed loops: each sender sends its next bundle when the last one's receipt is there. */
export const SCENARIOS: readonly Scenario[] = [
  { name: 'bundled', about: '256 messages of 256 bytes a bundle', plan: { senders: 16, bundle: 256, payload: 256 } },
  { name: 'single', about: 'one message of 256 bytes a bundle', plan: { senders: 64, bundle: 1, payload: 256 } },
];
