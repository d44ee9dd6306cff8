import type { Hex } from '@sealpost/prover';
import type { Quantiles } from './load-plan.js';

/** What the readers' process (reads-load.ts) is told. */
export interface ReadsPlan {
  readonly url: string;
  readonly l1Url: string;
  readonly chainId: number;
  readonly settlement: Hex;
  /** Stored before anything is read. */
  readonly messages: number;
  readonly bundle: number;
  readonly payload: number;
  readonly topics: number;
  /** Connections of the closed loop. */
  readonly connections: number;
  /** Of each of the two loops of each route. */
  readonly seconds: number;
}

export interface ReadsResult {
  /** The cheapest route first: what any answer costs. */
  readonly routes: readonly RouteResult[];
}

export interface RouteResult {
  readonly name: string;
  /** Closed loop: each connection asks again when it has its answer. */
  readonly requestsPerSecond: number;
  /** Of an answer's body, on average. */
  readonly bytes: number;
  /** Open loop at half of that rate, from the planned time to the whole answer. */
  readonly latency: Quantiles;
  /** Share of one core that the readers' process used in the closed loop. */
  readonly generatorCpu: number;
}
