import { type Hex, Reader } from '@sealpost/prover';

/** How far a lane is on each rung: entries, which is the next sequence not yet on it (PROTOCOL.md §11). */
export interface LaneStatus {
  readonly lane: number;
  readonly term: number;
  readonly accepted: bigint;
  readonly sealed: bigint;
  readonly committed: bigint;
  readonly safe: bigint;
  readonly finalized: bigint;
  /** Number of the newest batch. */
  readonly batch: bigint;
}

/** What the sequencer says about itself. Nothing is verified: for people and dashboards. */
export interface SequencerStatus {
  readonly version: string;
  readonly chainId: bigint;
  readonly settlement: Hex;
  readonly sequencer: Hex;
  readonly laneCount: number;
  readonly lanes: readonly LaneStatus[];
  readonly limits: {
    readonly maxPayloadBytes: number;
    readonly maxMessagesPerBundle: number;
    readonly maxBundleBytes: number;
    readonly maxBodyBytes: number;
  };
}

/** How the network looks from here: see `planStatus`. */
export type NetworkState = 'connecting' | 'live' | 'behind' | 'l1-lagging';

/** One look at the sequencer and at the L1. */
export interface Observation {
  /** Unix milliseconds. */
  readonly at: number;
  readonly sequencer: SequencerStatus | undefined;
  /** Unix seconds of the newest L1 block; undefined if the node did not answer. */
  readonly l1Timestamp: bigint | undefined;
}

export interface StatusLimits {
  /** An L1 whose newest block is older lags. */
  readonly maxL1AgeMs: number;
  /** What was accepted so long ago and is not committed makes a sequencer that is behind. */
  readonly maxCommitDelayMs: number;
}

export const DEFAULT_STATUS_LIMITS: StatusLimits = { maxL1AgeMs: 60_000, maxCommitDelayMs: 120_000 };

/**
 * The state that a series of observations, oldest first, amounts to: `connecting` without an answer from both, `l1-lagging`
 * if the L1 stands still, `behind` if entries wait too long for the L1, else `live`.
 */
export function planStatus(observations: readonly Observation[], limits: StatusLimits = DEFAULT_STATUS_LIMITS): NetworkState {
  const last = observations.at(-1);
  if (last?.sequencer === undefined || last.l1Timestamp === undefined) return 'connecting';
  if (last.at - 1_000 * Number(last.l1Timestamp) > limits.maxL1AgeMs) return 'l1-lagging';
  const old = observations.findLast(({ at, sequencer }) => sequencer !== undefined && last.at - at >= limits.maxCommitDelayMs);
  const waits = old?.sequencer?.lanes.some((lane) => {
    const now = last.sequencer?.lanes.find((other) => other.lane === lane.lane);
    return now !== undefined && now.committed < lane.accepted;
  });
  return waits ? 'behind' : 'live';
}

/**
 * The object `status` of §11.
 * @throws value.malformed
 */
export function decodeStatus(value: unknown): SequencerStatus {
  const json = new Reader(value, 'value.malformed', 'status');
  const limits = json.field('limits');
  const size = (name: string) => limits.field(name).number(Number.MAX_SAFE_INTEGER);
  return {
    version: String((value as { version?: unknown }).version),
    chainId: json.field('chainId').uint(64),
    settlement: json.field('settlement').hex(20),
    sequencer: json.field('sequencer').hex(20),
    laneCount: json.field('laneCount').number(0xffff),
    lanes: json
      .field('lanes')
      .items(0x1_0000)
      .map((lane) => ({
        lane: lane.field('lane').number(0xffff),
        term: lane.field('term').number(0xffff_ffff),
        accepted: lane.field('accepted').uint(64),
        sealed: lane.field('sealed').uint(64),
        committed: lane.field('committed').uint(64),
        safe: lane.field('safe').uint(64),
        finalized: lane.field('finalized').uint(64),
        batch: batchNumber(lane.field('batch')),
      })),
    limits: {
      maxPayloadBytes: size('maxPayloadBytes'),
      maxMessagesPerBundle: size('maxMessagesPerBundle'),
      maxBundleBytes: size('maxBundleBytes'),
      maxBodyBytes: size('maxBodyBytes'),
    },
  };
}

/** §11 makes `batch` a JSON number. */
const batchNumber = (json: Reader): bigint => BigInt(json.number(Number.MAX_SAFE_INTEGER));
