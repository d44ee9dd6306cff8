import type { Domain, Hex } from '@sealpost/prover';
import { abortable } from './clock.js';
import { LocalError } from './errors.js';

/** Whose bundles: one account on one lane of one network. */
export interface OutboxKey extends Domain {
  readonly sender: Hex;
  readonly lane: number;
}

/** A signed bundle that the sequencer has not yet given a receipt for. */
export interface OutboxRecord {
  readonly nonce: bigint;
  readonly count: number;
  /** Encoded, signature included: submitted as it is, as often as it takes. */
  readonly bundle: Uint8Array;
  /** The messages of a named job that are in the log or in the outbox once this bundle is: see `sendMany`. */
  readonly job?: { readonly name: string; readonly done: number } | undefined;
}

/** How far the account is known to be accepted on the lane. */
export interface OutboxHead {
  /** The nonce after the last accepted bundle. */
  readonly next: bigint;
  /** Its receipt, for checking the next one's `previous` (PROTOCOL.md §7). */
  readonly receipt?: { readonly term: number; readonly sequence: bigint } | undefined;
  /** Its postage, wei: what the account owes on the lane is not more. */
  readonly postage?: bigint | undefined;
}

/**
 * Where signed bundles are kept between signing and receipt, so that a crash neither loses a message nor signs its nonce
 * again. Exclusive: between `open` and `close` nobody else has the same key, in this process or another.
 *
 * Every method that returns a promise is durable once it resolves, and leaves either all or nothing behind if it does not.
 */
export interface OutboxLane {
  readonly head: OutboxHead | undefined;
  /** In order of nonce; never overlapping. */
  readonly pending: readonly OutboxRecord[];
  /** How many messages of a job are accepted or pending. */
  jobDone(name: string): Promise<number>;
  /** MUST refuse, with `outbox.conflict`, a bundle whose nonces overlap a pending one's or lie below the head. */
  put(record: OutboxRecord): Promise<void>;
  /** Puts `record` in the place of the pending bundle at `nonce`, atomically. */
  replace(nonce: bigint, record: OutboxRecord): Promise<void>;
  /** The pending bundle at `nonce` was accepted: moves the head, then forgets the bundle. The head never moves back. */
  accept(nonce: bigint, head: OutboxHead): Promise<void>;
  /** Forgets a bundle that the sequencer refused for good. */
  drop(nonce: bigint): Promise<void>;
  close(): Promise<void>;
}

export interface Outbox {
  /** Waits until nobody else has the key. */
  open(key: OutboxKey, options: { signal: AbortSignal }): Promise<OutboxLane>;
}

/** A key as a name, for maps and folders. */
export const outboxName = ({ chainId, settlement, sender, lane }: OutboxKey): string =>
  `${chainId}-${settlement.toLowerCase()}-${sender.toLowerCase()}-${lane}`;

/**
 * Where a new record may not be: what `put` and `replace` check in every implementation.
 * @throws outbox.conflict
 */
export function checkPlace(record: OutboxRecord, head: OutboxHead | undefined, others: Iterable<OutboxRecord>): void {
  const end = record.nonce + BigInt(record.count);
  if (head !== undefined && record.nonce < head.next) {
    throw new LocalError('outbox.conflict', `nonce ${record.nonce} was used before: the next one is ${head.next}`);
  }
  for (const other of others) {
    if (record.nonce < other.nonce + BigInt(other.count) && other.nonce < end) {
      throw new LocalError(
        'outbox.conflict',
        `nonce ${record.nonce} belongs to a bundle that is signed and waits at ${other.nonce}`,
      );
    }
  }
}

/**
 * What `replace` checks. Bundles behind the replaced one may overlap with the new one for as long as it takes to replace them,
 * too; but two at one nonce would be one too many.
 * @throws outbox.conflict
 */
export function checkReplacement(
  nonce: bigint,
  record: OutboxRecord,
  head: OutboxHead | undefined,
  pending: Iterable<OutboxRecord>,
): void {
  const others = [...pending].filter((other) => other.nonce !== nonce);
  const before = others.filter((other) => other.nonce < nonce || other.nonce === record.nonce);
  checkPlace(record, head, before);
}

/** The head after `accept`: it never moves back, and what is owed is never less; a bundle that went through the L1 owes nothing new. */
export function laterHead(head: OutboxHead | undefined, next: OutboxHead): OutboxHead {
  if (head === undefined) return next;
  const later = next.next >= head.next ? next : head;
  const known = head.postage ?? 0n;
  return (later.postage ?? 0n) >= known ? later : { ...later, postage: known };
}

interface LaneState {
  head: OutboxHead | undefined;
  readonly pending: Map<bigint, OutboxRecord>;
  readonly jobs: Map<string, number>;
}

/**
 * An outbox that lives as long as the process: what was signed and not sent is gone with it. Enough for chat messages whose
 * sender is watching; use `fileOutbox` (Node) or your own where messages must survive a crash.
 */
export function memoryOutbox(): Outbox {
  const lanes = new Map<string, LaneState>();
  const turns = new Map<string, Promise<void>>();
  return {
    async open(key, { signal }) {
      const name = outboxName(key);
      const before = turns.get(name) ?? Promise.resolve();
      let close = () => {};
      const held = new Promise<void>((resolve) => {
        close = resolve;
      });
      const turn = before.then(() => held);
      turns.set(name, turn);
      try {
        await abortable(before, signal);
      } catch (reason) {
        close();
        throw reason;
      }
      let state = lanes.get(name);
      if (state === undefined) {
        state = { head: undefined, pending: new Map(), jobs: new Map() };
        lanes.set(name, state);
      }
      return new MemoryLane(state, () => {
        if (turns.get(name) === turn) turns.delete(name);
        close();
      });
    },
  };
}

class MemoryLane implements OutboxLane {
  constructor(
    private readonly state: LaneState,
    private readonly release: () => void,
  ) {}

  get head(): OutboxHead | undefined {
    return this.state.head;
  }

  get pending(): readonly OutboxRecord[] {
    return inOrder(this.state.pending.values());
  }

  async jobDone(name: string): Promise<number> {
    return jobProgress(name, this.state.jobs.get(name), this.state.pending.values());
  }

  async put(record: OutboxRecord): Promise<void> {
    checkPlace(record, this.state.head, this.state.pending.values());
    this.state.pending.set(record.nonce, record);
  }

  async replace(nonce: bigint, record: OutboxRecord): Promise<void> {
    checkReplacement(nonce, record, this.state.head, this.state.pending.values());
    this.state.pending.delete(nonce);
    this.state.pending.set(record.nonce, record);
  }

  async accept(nonce: bigint, head: OutboxHead): Promise<void> {
    const record = this.state.pending.get(nonce);
    if (record?.job !== undefined) {
      const { name } = record.job;
      this.state.jobs.set(name, jobProgress(name, this.state.jobs.get(name), [record]));
    }
    this.state.head = laterHead(this.state.head, head);
    this.state.pending.delete(nonce);
  }

  async drop(nonce: bigint): Promise<void> {
    this.state.pending.delete(nonce);
  }

  async close(): Promise<void> {
    this.release();
  }
}

export const inOrder = (records: Iterable<OutboxRecord>): OutboxRecord[] =>
  [...records].sort((a, b) => (a.nonce < b.nonce ? -1 : 1));

/** A job is as far as its accepted bundles, or its pending ones. */
export function jobProgress(name: string, accepted: number | undefined, pending: Iterable<OutboxRecord>): number {
  let done = accepted ?? 0;
  for (const { job } of pending) if (job?.name === name && job.done > done) done = job.done;
  return done;
}
