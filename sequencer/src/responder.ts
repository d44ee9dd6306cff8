import { fieldsOf, inclusionPath, readBundle, toHex } from '@sealpost/prover';
import { Loop, type Until } from './loop.js';
import type { Clock, Demand, Fees, Hashing, L1, L1View, Log, Opening, Store } from './ports.js';
import { L1Error } from './ports.js';
import { bumpedFees, type FeeBounds, freshFees } from './poster.js';

/** Answers that may wait for a block at once: more come when these are in one. */
const MAX_WAITING = 32;

export interface ResponderConfig {
  readonly pollMs: number;
  readonly maxBackoffMs: number;
  /** Milliseconds after which answers that wait are given again with higher fees. */
  readonly bumpAfterMs: number;
  /** As for commits. */
  readonly fees: FeeBounds;
}

export type ResponderStore = Pick<Store, 'openDemands' | 'batchOf' | 'leavesOf' | 'entry'>;

export interface ResponderOptions {
  readonly l1: L1;
  readonly store: ResponderStore;
  readonly hashing: Hashing;
  readonly view: () => L1View | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: ResponderConfig;
  readonly onFatal: (error: unknown) => void;
  readonly random?: (() => number) | undefined;
}

const keyOf = ({ lane, term, sequence }: Demand): string => `${lane}/${term}/${sequence}`;

/** A demanded entry, opened; undefined while no batch of its term with it is committed: then there is nothing to show yet. */
export function openingOf(
  { lane, term, sequence }: Demand,
  { store, hashing, view }: { store: ResponderStore; hashing: Hashing; view: L1View | undefined },
): Opening | undefined {
  const batch = store.batchOf(lane, sequence);
  const entry = store.entry(lane, sequence);
  if (batch === undefined || entry === undefined || batch.header.term !== term) return undefined;
  if ((view?.lanes[lane]?.committed.number ?? 0n) < batch.header.number) return undefined;
  const { header } = batch;
  const index = Number(sequence - header.firstSequence);
  const bundle = readBundle(entry.bundle);
  return {
    header,
    index,
    void: entry.void,
    previous: entry.previous,
    bundle: fieldsOf(bundle, toHex(hashing.messagesTree(bundle).root)),
    path: inclusionPath(hashing.leavesTree(store.leavesOf(lane, header.number)), index).map(toHex),
  };
}

/**
 * Answers what somebody demanded in the contract (PROTOCOL.md §7), because no answer costs a penalty. Keeps nothing: which
 * demands are open is what the follower has seen, so that after a crash at any point the next round does what is left. An
 * answer that was given twice is refused by the contract before it costs anything.
 */
export class Responder {
  private readonly loop: Loop;
  /** Given to the node by this process, and not seen in a block: when, under which nonce, at which fees. */
  private waiting = new Map<string, { readonly nonce: number; readonly sinceMs: number; readonly fees: Fees }>();
  private answers = 0;

  constructor(private readonly options: ResponderOptions) {
    const { config, clock, log, random } = options;
    this.loop = new Loop({
      name: 'answer',
      round: (until) => this.round(until),
      intervalMs: config.pollMs,
      maxBackoffMs: config.maxBackoffMs,
      retries: (error) => error instanceof L1Error,
      onFatal: options.onFatal,
      clock,
      log,
      random,
    });
  }

  /** The L1 moved. */
  notify(): void {
    this.loop.wake();
  }

  /** Demands that nobody has answered yet, and answers given since the start. */
  status(): { readonly open: number; readonly answers: number; readonly lastError: Loop['failure'] } {
    return { open: this.open().length, answers: this.answers, lastError: this.loop.failure };
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private open(): Demand[] {
    const latest = this.options.view()?.latest.number;
    return latest === undefined ? [] : this.options.store.openDemands(latest);
  }

  private async round(until: Until): Promise<void> {
    const { l1, store, hashing, view, clock, config } = this.options;
    const open = this.open();
    const keys = new Set(open.map(keyOf));
    for (const key of this.waiting.keys()) if (!keys.has(key)) this.waiting.delete(key);
    if (open.length === 0) return;
    const [latest, pending] = [await until(l1.answererNonce('latest')), await until(l1.answererNonce('pending'))];
    // What was to be mined under a nonce that is used up was something else, or was taken back by a reorg.
    for (const [key, { nonce }] of this.waiting) if (nonce < latest) this.waiting.delete(key);
    const offer = await until(l1.fees());
    const fresh = freshFees(offer, config.fees);
    if (fresh === undefined) return;
    let nonce = Math.max(latest, pending);
    for (const demand of open) {
      const sent = this.waiting.get(keyOf(demand));
      const isStuck = sent !== undefined && clock.monotonic() - sent.sinceMs >= config.bumpAfterMs;
      if (sent !== undefined && !isStuck) continue;
      if (sent === undefined && this.waiting.size >= MAX_WAITING) break;
      const fees = sent === undefined ? fresh : bumpedFees(sent.fees, offer, config.fees);
      const opening = openingOf(demand, { store, hashing, view: view() });
      if (fees === undefined || opening === undefined) continue;
      if (await this.give(demand, opening, sent?.nonce ?? nonce, fees, until)) nonce += sent === undefined ? 1 : 0;
    }
  }

  /** Whether the node took it. */
  private async give(demand: Demand, opening: Opening, nonce: number, fees: Fees, until: Until): Promise<boolean> {
    const { l1, clock, log } = this.options;
    const { lane, term, sequence, deadline } = demand;
    try {
      const transactionHash = await until(l1.sendAnswer(opening, { nonce, ...fees }));
      this.waiting.set(keyOf(demand), { nonce, sinceMs: clock.monotonic(), fees });
      this.answers++;
      log.info('answer.sent', { lane, term, sequence, deadline, transactionHash, nonce });
      return true;
    } catch (error) {
      if (!(error instanceof L1Error) || error.code !== 'l1.reverted') throw error;
      // Somebody else was faster, and the follower has not seen it yet.
      log.warn('answer.refused', { lane, term, sequence, error: error.message });
      return false;
    }
  }
}
