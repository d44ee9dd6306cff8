import type { Network, NetworkOptions } from '../network.js';

/** One thing that `npm run bench` measures. */
export interface Scenario {
  readonly name: string;
  /** One line for --help: what is measured, and how long it takes unless flags say otherwise. */
  readonly about: string;
  /** Runs without being named. */
  readonly byDefault: boolean;
  /**
   * Measures. Leaves no process and no file behind, however it ends.
   * @throws Failure with what a person can do
   */
  readonly run: (bench: Bench) => Promise<Outcome>;
}

/** What the flags say; undefined: each scenario's own default. */
export interface BenchSettings {
  /** Length of a load. */
  readonly seconds: number | undefined;
  readonly senders: number | undefined;
  /** Messages a bundle. */
  readonly bundle: number | undefined;
  /** Bytes a payload. */
  readonly payload: number | undefined;
  /** Messages to store before `grown` measures. */
  readonly prefill: number | undefined;
  /** Messages to fetch and prove one by one after a load. */
  readonly sample: number;
  /** Where temporary folders are made: on the disk that is measured. */
  readonly parent: string;
  /** All default scenarios together take less than a minute: each one is short. */
  readonly quick: boolean;
}

/** What a scenario is given. */
export interface Bench {
  readonly settings: BenchSettings;
  /** Aborts when the run is interrupted: whatever waits gives up, and what was opened is closed. */
  readonly signal: AbortSignal;
  /** What the scenarios before this one in the same run found, by name. */
  readonly results: ReadonlyMap<string, Outcome>;
  /** Says what is being done, and how far it is. */
  show(what: string, done?: number, total?: number): void;
  /** A line for people, which stays. */
  say(text: string): void;
  /** Calls `use` with a new temporary folder, which is removed afterwards. */
  withFolder<T>(use: (folder: string) => Promise<T>): Promise<T>;
  /**
   * Calls `use` with a network of its own in a temporary folder; stopped and removed afterwards. Fails as soon as one of its
   * processes ends, unless that was said to be expected.
   */
  withNetwork<T>(options: BenchNetworkOptions, use: (stage: Stage) => Promise<T>): Promise<T>;
  /**
   * Runs a TypeScript file as a process of its own, so that its work is not that of whoever is measured. `plan` is its first
   * argument as JSON; it answers on stdout in `ProcessLine`s, the last one its result. Its progress is shown, unless
   * `onProgress` takes it.
   */
  inProcess<Result>(
    script: URL,
    plan: unknown,
    onProgress?: (what: string, done: number, total: number) => void,
  ): Promise<Result>;
}

export type BenchNetworkOptions = Omit<NetworkOptions, 'folder'>;

/** A network under measurement. */
export interface Stage {
  readonly network: Network;
  /** Where the sequencer keeps its log: nothing else is in there. */
  readonly data: string;
  /** Runs `stop`, during which the sequencer may end without failing the run. */
  expectEnd<T>(stop: () => Promise<T>): Promise<T>;
}

/** What a process that `inProcess` started says: lines of JSON on stdout. */
export type ProcessLine<Result> =
  | { readonly progress: string; readonly done: number; readonly total: number }
  | { readonly result: Result };

/** What a scenario found. */
export interface Outcome {
  /** Under the scenario's name in the line of `--json`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** For the table at the end. */
  readonly rows: readonly Row[];
  /** Sentences under the table that are needed to read the figures: what was checked, what a figure leaves out. */
  readonly notes?: readonly string[];
  /** False: something acknowledged was lost, or a promise was not kept. The run then ends with exit code 1. */
  readonly healthy: boolean;
}

/** One figure of the table, beside the limit that was measured in the same run, where there is one. */
export interface Row {
  readonly figure: string;
  readonly value: number;
  /** `messages/s`, `ms`, … */
  readonly unit: string;
  readonly beside?: { readonly what: string; readonly value: number };
}

/** How long a load takes: what --seconds says, else a few seconds with --quick, else the scenario's own length. */
export const loadSeconds = ({ seconds, quick }: BenchSettings, own: number, quickly: number): number =>
  seconds ?? (quick ? Math.min(own, quickly) : own);
