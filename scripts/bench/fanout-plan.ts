import type { Hex } from '@sealpost/prover';
import type { Observation } from './load-plan.js';

/** What the subscribers' process (fanout-subscribers.ts) is told. */
export interface SubscribersPlan {
  readonly url: string;
  readonly topics: readonly Hex[];
  readonly perTopic: number;
  /** Messages to expect on each topic. */
  readonly messages: readonly number[];
  /** Bytes a payload. */
  readonly payload: number;
  /** Where the times of delivery go: a double for each message of each subscriber, 0 for none, on the clock of `systemMs`. */
  readonly file: string;
}

export interface SubscribersResult {
  readonly delivered: number;
  /** Came a second time. */
  readonly repeated: number;
  /** Came after a later one, by its cursor or by its number in the payload. */
  readonly disordered: number;
  /** Streams that the server closed. */
  readonly closed: number;
  readonly bytes: number;
  /** Share of one core, from the first event to the last. */
  readonly cpu: number;
}

/** What the senders' process (fanout-load.ts) is told. */
export interface FanoutLoadPlan {
  readonly url: string;
  /** The server's process. */
  readonly pid: number;
  readonly l1Url: string;
  readonly chainId: number;
  readonly settlement: Hex;
  /** One sender for each list: what a topic carries is in its sender's order. */
  readonly topicsOfSenders: readonly (readonly Hex[])[];
  readonly bundlesOfSender: number;
  /** Messages a bundle, in turn on the sender's topics. */
  readonly bundle: number;
  readonly payload: number;
  readonly messagesPerSecond: number;
}

export interface FanoutLoadResult {
  /** When each sender had each bundle's receipt, on the clock of `systemMs`. */
  readonly acceptedAt: readonly (readonly number[])[];
  /** From the first planned time to the last receipt. */
  readonly seconds: number;
  /** Answers other than 200, by what they were; each bundle was sent again. */
  readonly refused: Readonly<Record<string, number>>;
  /** Share of one core. */
  readonly cpu: number;
  /** From just before the first bundle to the last receipt. */
  readonly server: Observation;
}

/** Milliseconds on a clock that all processes of this machine share. */
export const systemMs = (): number => Number(process.hrtime.bigint()) / 1e6;
