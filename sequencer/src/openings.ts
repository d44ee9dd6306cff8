import { fieldsOf, inclusionPath, readBundle, toHex } from '@sealpost/prover';
import { Loop, type Until } from './loop.js';
import type { Clock, Fees, Hashing, L1, Log, Opening, Store } from './ports.js';
import { L1Error } from './ports.js';
import { bumpedFees, type FeeBounds, freshFees } from './poster.js';

/** Transactions of one source that may wait for a block at once: more come when these are in one. */
const MAX_WAITING = 32;

export interface OpeningsConfig {
  readonly pollMs: number;
  readonly maxBackoffMs: number;
  /** Milliseconds after which transactions that wait are given again with higher fees. */
  readonly bumpAfterMs: number;
  /** As for commits. */
  readonly fees: FeeBounds;
}

/** An entry of a committed batch that the contract is to see. */
export interface DueOpening {
  /** Stands for the reason: no second transaction is sent while one with the same waits. */
  readonly key: string;
  readonly lane: number;
  readonly sequence: bigint;
  /** For the log. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export type Offer = Awaited<ReturnType<L1['fees']>>;

/** Who wants entries opened, and what for. */
export interface OpeningSource {
  readonly purpose: 'answer' | 'redeem';
  /** What is to be opened now, the most urgent first. `offer`: what gas costs, asked once a round. */
  due(until: Until, offer: () => Promise<Offer>): readonly DueOpening[] | Promise<readonly DueOpening[]>;
  /** The contract would refuse it now. */
  refused?(due: DueOpening): void;
}

export type OpeningsStore = Pick<Store, 'batchOf' | 'leavesOf' | 'entry'>;

export interface OpeningsOptions {
  readonly l1: L1;
  readonly store: OpeningsStore;
  readonly hashing: Hashing;
  /** Asked in this order. */
  readonly sources: readonly OpeningSource[];
  readonly clock: Clock;
  readonly log: Log;
  readonly config: OpeningsConfig;
  readonly onFatal: (error: unknown) => void;
  readonly random?: (() => number) | undefined;
}

/** An entry, opened; undefined while it is in no batch. */
export function openingOf(
  { lane, sequence }: Pick<DueOpening, 'lane' | 'sequence'>,
  { store, hashing }: { store: OpeningsStore; hashing: Hashing },
): Opening | undefined {
  const batch = store.batchOf(lane, sequence);
  const entry = store.entry(lane, sequence);
  if (batch === undefined || entry === undefined) return undefined;
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

/** What was given to the node by this process, and not seen in a block. */
interface Waiting {
  readonly source: OpeningSource;
  readonly nonce: number;
  readonly sinceMs: number;
  readonly fees: Fees;
}

/** The account's state and the fees, read once a round. */
interface Desk {
  readonly latest: number;
  readonly pending: number;
  readonly offer: Offer;
  readonly fresh: Fees | undefined;
}

/**
 * Opens entries in the contract, from the receipt signer's account: the one place that gives out its nonces. Keeps nothing: what
 * is due its sources know, so that after a crash at any point the next round does what is left. What was done already the
 * contract refuses before it costs anything.
 */
export class Openings {
  private readonly loop: Loop;
  private readonly waiting = new Map<string, Waiting>();
  private readonly given = { answer: 0, redeem: 0 };

  constructor(private readonly options: OpeningsOptions) {
    const { config, clock, log, random } = options;
    this.loop = new Loop({
      name: 'opening',
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

  /** Transactions given to the L1 since the start, replaced ones included. */
  status(): { readonly given: Readonly<Record<OpeningSource['purpose'], number>>; readonly lastError: Loop['failure'] } {
    return { given: this.given, lastError: this.loop.failure };
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async round(until: Until): Promise<void> {
    const { l1 } = this.options;
    let offered: Promise<Offer> | undefined;
    const offer = () => {
      offered ??= l1.fees();
      return offered;
    };
    // One after the other: a source whose facts the L1 does not tell holds up none before it.
    for (const source of this.options.sources) await this.serve(source, until, offer);
  }

  private async serve(source: OpeningSource, until: Until, offer: () => Promise<Offer>): Promise<void> {
    const due = await source.due(until, offer);
    const keys = new Set(due.map((one) => nameOf(source, one)));
    for (const [name, sent] of this.waiting) if (sent.source === source && !keys.has(name)) this.waiting.delete(name);
    if (due.length === 0) return;
    const desk = await this.openDesk(until, offer);
    // What was to be mined under a nonce that is used up was something else, or was taken back by a reorg.
    for (const [name, { nonce }] of this.waiting) if (nonce < desk.latest) this.waiting.delete(name);
    // What an earlier process sent may be the same: a demand that is answered twice costs nothing, a redemption its gas.
    if (source.purpose === 'redeem' && desk.pending - desk.latest > this.waiting.size) return;
    let nonce = Math.max(desk.latest, desk.pending);
    for (const one of due) if (await this.give(source, one, nonce, desk, until)) nonce++;
  }

  private async openDesk(until: Until, offer: () => Promise<Offer>): Promise<Desk> {
    const { l1, config } = this.options;
    const [latest, pending] = [await until(l1.openerNonce('latest')), await until(l1.openerNonce('pending'))];
    const fees = await until(offer());
    return { latest, pending, offer: fees, fresh: freshFees(fees, config.fees) };
  }

  /** Whether the nonce was used. */
  private async give(source: OpeningSource, due: DueOpening, nonce: number, desk: Desk, until: Until): Promise<boolean> {
    const { l1, store, hashing, clock, config, log } = this.options;
    const { purpose } = source;
    const name = nameOf(source, due);
    const sent = this.waiting.get(name);
    if (sent === undefined && this.waitingOf(source) >= MAX_WAITING) return false;
    if (sent !== undefined && clock.monotonic() - sent.sinceMs < config.bumpAfterMs) return false;
    const fees = sent === undefined ? desk.fresh : bumpedFees(sent.fees, desk.offer, config.fees);
    const opening = fees === undefined ? undefined : openingOf(due, { store, hashing });
    if (fees === undefined || opening === undefined) return false;
    const own = sent?.nonce ?? nonce;
    const { lane, sequence, facts } = due;
    try {
      const transactionHash = await until(l1.sendOpening(purpose, opening, { nonce: own, ...fees }));
      this.waiting.set(name, { source, nonce: own, sinceMs: clock.monotonic(), fees });
      this.given[purpose]++;
      log.info(`${purpose}.sent`, { lane, sequence, ...facts, transactionHash, nonce: own });
      return sent === undefined;
    } catch (error) {
      if (!(error instanceof L1Error) || error.code !== 'l1.reverted') throw error;
      // Somebody else was faster, or it is in a block already, and the follower has not seen it yet.
      log.warn(`${purpose}.refused`, { lane, sequence, error: error.message });
      source.refused?.(due);
      return false;
    }
  }

  private waitingOf(source: OpeningSource): number {
    let count = 0;
    for (const sent of this.waiting.values()) if (sent.source === source) count++;
    return count;
  }
}

const nameOf = ({ purpose }: OpeningSource, { key }: DueOpening): string => `${purpose} ${key}`;
