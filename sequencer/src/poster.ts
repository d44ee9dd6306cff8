import type { Hex } from '@sealpost/prover';
import { carriedTogether, commitOf } from './inbox.js';
import { Loop, type Until } from './loop.js';
import type { Clock, Commit, Fees, Hashing, L1, L1View, Log, SendRecord, Store, TransactionOutcome } from './ports.js';
import { L1Error, StoreFullError } from './ports.js';

export interface PosterConfig {
  /** Milliseconds between two looks, if nothing wakes the poster before. */
  readonly pollMs: number;
  /** Most milliseconds between two looks while the L1 does not answer or refuses. */
  readonly maxBackoffMs: number;
  /** Milliseconds between two looks while there is nothing to do: how old the wallet's balance may be. */
  readonly idleMs: number;
  /** A transaction is replaced by one with higher fees once it has waited for both of these. */
  readonly bumpAfterMs: number;
  readonly bumpAfterBlocks: number;
  /** Wei a gas, both fees together: never bid above. */
  readonly maxFeePerGas: bigint;
  /** Wei a gas: the least tip, whatever the node suggests. */
  readonly minPriorityFeePerGas: bigint;
  /** 1 to 255, the contract's bound. */
  readonly maxBatchesPerTransaction: number;
  /** Below the block's gas limit and EIP-7825's 16,777,216 a transaction. */
  readonly maxGasPerTransaction: bigint;
}

export const defaultPosterConfig: PosterConfig = {
  pollMs: 1_000,
  maxBackoffMs: 15_000,
  idleMs: 60_000,
  bumpAfterMs: 30_000,
  bumpAfterBlocks: 2,
  maxFeePerGas: 500_000_000_000n,
  minPriorityFeePerGas: 10_000_000n,
  maxBatchesPerTransaction: 255,
  maxGasPerTransaction: 15_000_000n,
};

// ---- Pure -----------------------------------------------------------------------------------------------------------

/** What a node said when a transaction was last given to it. Kept in memory: after a crash it is given once more. */
export type Publication =
  | { readonly result: 'published'; readonly atMs: number; readonly atBlock: bigint }
  /** The fees are too low, for the block or against another transaction with this nonce. */
  | { readonly result: 'underpriced' }
  /** The node will not have it, for a reason of its own, this many times in a row. */
  | { readonly result: 'refused'; readonly times: number };

/** A recorded send and what is known of it now. */
export interface Sight extends SendRecord {
  /** The node has it, in a block or waiting. */
  readonly known: boolean;
  readonly publication?: Publication | undefined;
  readonly outcome?: TransactionOutcome | undefined;
}

/** What a lane still has to post. */
export interface Backlog {
  readonly lane: number;
  /** The number after the contract's head. */
  readonly next: bigint;
  /** Sealed batches from `next` on, without gaps; as many as one transaction takes. */
  readonly batches: readonly { readonly number: bigint; readonly timestamp: bigint }[];
}

export interface Observation {
  /** By the monotonic clock. */
  readonly nowMs: number;
  readonly latest: { readonly number: bigint; readonly timestamp: bigint };
  readonly finalized: bigint;
  /** The posting account's transaction counts. MUST be read before the heads: a commit mined in between then looks done. */
  readonly nonce: { readonly latest: number; readonly pending: number };
  readonly fees: { readonly baseFeePerGas: bigint; readonly priorityFeePerGas: bigint };
  readonly lanes: readonly Backlog[];
  readonly sends: readonly Sight[];
}

export type Action =
  /** Sign and send a commit of batches `first` to `last`; `bump` and `replace` take the place of one with this nonce. */
  | {
      readonly kind: 'send';
      readonly why: 'new' | 'bump' | 'replace';
      readonly nonce: number;
      readonly lane: number;
      readonly first: bigint;
      readonly last: bigint;
      readonly fees: Fees;
    }
  /** Give a recorded transaction to the node again, unchanged. */
  | { readonly kind: 'resend'; readonly why: 'unpublished' | 'dropped'; readonly send: Sight }
  | { readonly kind: 'forget'; readonly why: 'final' | 'nonce taken' | 'useless'; readonly sends: readonly Sight[] }
  | { readonly kind: 'wait'; readonly why: 'pending' | 'fee cap' | 'block time'; readonly lane: number };

/** A node that refuses a transaction this often for reasons of its own gets a new one. */
const MAX_REFUSALS = 3;

/** What may be offered for gas. */
export type FeeBounds = Pick<PosterConfig, 'maxFeePerGas' | 'minPriorityFeePerGas'>;

/** The fees to offer now; undefined if not even the least tip fits under the cap. */
export function freshFees({ baseFeePerGas, priorityFeePerGas }: Observation['fees'], config: FeeBounds): Fees | undefined {
  const { maxFeePerGas: cap, minPriorityFeePerGas } = config;
  if (baseFeePerGas + minPriorityFeePerGas > cap) return undefined;
  const maxPriorityFeePerGas = min(max(priorityFeePerGas, minPriorityFeePerGas), cap);
  // Twice the base fee: it can rise for six full blocks in a row before the offer is too low.
  return { maxFeePerGas: min(2n * baseFeePerGas + maxPriorityFeePerGas, cap), maxPriorityFeePerGas };
}

/** Fees that replace `old` on any node (geth asks 10 % more of both) and suit now; undefined if they pass the cap. */
export function bumpedFees(old: Fees, now: Observation['fees'], config: FeeBounds): Fees | undefined {
  const fresh = freshFees(now, config);
  if (fresh === undefined) return undefined;
  const least = (fee: bigint) => (fee * 110n + 99n) / 100n;
  const wanted = (fee: bigint) => (fee * 1125n + 999n) / 1000n;
  const maxFeePerGas = min(max(fresh.maxFeePerGas, wanted(old.maxFeePerGas)), config.maxFeePerGas);
  const maxPriorityFeePerGas = min(max(fresh.maxPriorityFeePerGas, wanted(old.maxPriorityFeePerGas)), maxFeePerGas);
  if (maxFeePerGas < least(old.maxFeePerGas) || maxPriorityFeePerGas < least(old.maxPriorityFeePerGas)) return undefined;
  return { maxFeePerGas, maxPriorityFeePerGas };
}

/**
 * What to do about the batches that are not on the L1. The contract's head says what is missing, the account's nonce says
 * which transactions are still open; records only say what may be waiting in somebody's pool. At most one new transaction
 * waits per lane: what is sealed meanwhile goes into the next one, or into its replacement.
 */
export function plan(observation: Observation, config: PosterConfig): Action[] {
  const { nonce, lanes, latest } = observation;
  const slots = bySlot(observation.sends);
  const actions = settled(observation, slots);
  const next = new Map(lanes.map(({ lane, next }) => [lane, next]));
  const waiting = new Set<number>();
  const ready = new Map<number, { first: bigint; last: bigint }>();
  for (const { lane, batches } of lanes) {
    const postable = batches.filter(({ timestamp }) => timestamp <= latest.timestamp).slice(0, config.maxBatchesPerTransaction);
    const [first, last] = [postable[0], postable.at(-1)];
    if (first && last) ready.set(lane, { first: first.number, last: last.number });
    else if (batches.length > 0) actions.push({ kind: 'wait', why: 'block time', lane });
  }
  const idleLane = () => [...ready.keys()].find((lane) => !waiting.has(lane));
  const send = (why: 'new' | 'replace', at: number, lane: number, fees: Fees | undefined) => {
    waiting.add(lane);
    const range = ready.get(lane);
    if (fees === undefined || range === undefined) actions.push({ kind: 'wait', why: 'fee cap', lane });
    else {
      actions.push({ kind: 'send', why, nonce: at, lane, ...range, fees });
      next.set(lane, range.last + 1n);
    }
    return fees !== undefined;
  };

  const end = Math.max(nonce.pending, ...[...slots.keys()].map((at) => at + 1));
  let at = nonce.latest;
  for (; at < end; at++) {
    const slot = slots.get(at);
    const newest = slot?.[0];
    const known = slot?.some((sent) => sent.known) ?? false;
    const idle = idleLane();
    if (slot === undefined || newest === undefined) {
      // Waiting in the node's pool, and not ours: another process uses the account. Otherwise a gap, which must be filled.
      if (at >= nonce.pending && idle !== undefined && !send('new', at, idle, freshFees(observation.fees, config))) break;
    } else if (at < nonce.pending && !known && newest.publication?.result === 'underpriced') {
      // Ours lost against another process's transaction. It is not outbid: whoever sent it wants it mined.
    } else if (newest.firstNumber === next.get(newest.lane)) {
      const alone = ![...slots].some(([other, sends]) => other > at && sends[0]?.lane === newest.lane);
      const range = alone ? ready.get(newest.lane) : undefined;
      const first = !waiting.has(newest.lane);
      waiting.add(newest.lane);
      const due = lanes.find(({ lane }) => lane === newest.lane)?.batches.find(({ number }) => number === newest.lastNumber);
      const early = due !== undefined && due.timestamp > latest.timestamp;
      const action: Action = early
        ? { kind: 'wait', why: 'block time', lane: newest.lane }
        : drive(newest, known, first, observation, config, range?.last ?? newest.lastNumber);
      actions.push(action);
      next.set(newest.lane, (action.kind === 'send' ? action.last : newest.lastNumber) + 1n);
    } else if (idle !== undefined) {
      const fees = known ? bumpedFees(newest, observation.fees, config) : freshFees(observation.fees, config);
      send('replace', at, idle, fees);
    } else if (!known) {
      actions.push({ kind: 'forget', why: 'useless', sends: slot });
    }
  }
  for (let lane = idleLane(); lane !== undefined; lane = idleLane()) {
    if (send('new', at, lane, freshFees(observation.fees, config))) at++;
  }
  return actions;
}

/** Sends by nonce; of those with the same nonce the one with the highest fees, the only one still worth sending, first. */
function bySlot<T extends SendRecord>(sends: readonly T[]): Map<number, T[]> {
  const slots = new Map<number, T[]>();
  for (const send of sends) slots.set(send.nonce, [...(slots.get(send.nonce) ?? []), send]);
  for (const slot of slots.values()) slot.sort((a, b) => (a.maxFeePerGas < b.maxFeePerGas ? 1 : -1));
  return slots;
}

/** Sends whose nonce is used up. Those that a reorg might bring back are kept. */
function settled({ nonce, finalized }: Observation, slots: Map<number, Sight[]>): Action[] {
  const actions: Action[] = [];
  for (const [at, sends] of slots) {
    if (at >= nonce.latest) continue;
    const outcome = sends.find((send) => send.outcome !== undefined)?.outcome;
    if (outcome === undefined) actions.push({ kind: 'forget', why: 'nonce taken', sends });
    else if (outcome.blockNumber <= finalized) actions.push({ kind: 'forget', why: 'final', sends });
  }
  return actions;
}

/** An open transaction that would still do its work. `first`: no other of its lane has to be mined before it. */
function drive(
  newest: Sight,
  known: boolean,
  first: boolean,
  { nowMs, latest, fees }: Observation,
  config: PosterConfig,
  last: bigint,
): Action {
  const { publication, lane, nonce, firstNumber } = newest;
  const minable = newest.maxFeePerGas >= fees.baseFeePerGas;
  const again = (why: 'bump' | 'replace', offer: Fees | undefined): Action =>
    offer === undefined
      ? { kind: 'wait', why: 'fee cap', lane }
      : { kind: 'send', why, nonce, lane, first: firstNumber, last, fees: offer };
  // What is not estimable on the newest block, because another has to come first, can only be given again as it is.
  if (!first) {
    if (publication?.result === 'published' && known) return { kind: 'wait', why: 'pending', lane };
    return { kind: 'resend', why: publication === undefined ? 'unpublished' : 'dropped', send: newest };
  }
  switch (publication?.result) {
    case undefined:
      if (!minable && !known) return again('replace', bumpedFees(newest, fees, config));
      return { kind: 'resend', why: 'unpublished', send: newest };
    case 'underpriced':
      return again('bump', bumpedFees(newest, fees, config));
    case 'refused':
      if (publication.times < MAX_REFUSALS) return { kind: 'resend', why: 'unpublished', send: newest };
      return again('replace', bumpedFees(newest, fees, config));
    case 'published': {
      const blocks = latest.number - publication.atBlock;
      const stuck = nowMs - publication.atMs >= config.bumpAfterMs && blocks >= BigInt(config.bumpAfterBlocks);
      if (stuck || !minable) return again('bump', bumpedFees(newest, fees, config));
      if (!known) return { kind: 'resend', why: 'dropped', send: newest };
      return { kind: 'wait', why: 'pending', lane };
    }
  }
}

const max = (a: bigint, b: bigint) => (a > b ? a : b);
const min = (a: bigint, b: bigint) => (a < b ? a : b);

// ---- Driver ---------------------------------------------------------------------------------------------------------

export type PosterStore = Pick<
  Store,
  'genesis' | 'batch' | 'batchesFrom' | 'lastBatch' | 'recordSend' | 'sends' | 'forgetSends' | 'forcedIn' | 'entries' | 'leavesOf'
>;

export interface PosterOptions {
  readonly l1: L1;
  readonly store: PosterStore;
  readonly hashing: Hashing;
  /** The follower's. */
  readonly view: () => L1View | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: PosterConfig;
  /** The store failed; the poster has ended. */
  readonly onFatal: (error: unknown) => void;
  readonly random?: (() => number) | undefined;
}

/** What happened to attempts, counted since the start. */
export type PostOutcome =
  | 'published'
  | 'already_known'
  | 'underpriced'
  | 'nonce_too_low'
  | 'insufficient_funds'
  | 'refused'
  | 'unreachable'
  | 'estimate_reverted'
  | 'mined'
  | 'reverted'
  | 'nonce_taken';

export interface PosterStatus {
  /** Undefined until it was seen. */
  readonly walletWei: bigint | undefined;
  /** Sealed batches that are not on the L1. */
  readonly backlogBatches: number;
  /** Unix seconds, its header's timestamp. */
  readonly oldestUnpostedAt: bigint | undefined;
  /** The transaction that is to be mined next. */
  readonly pendingSend: SendRecord | undefined;
  readonly attempts: Readonly<Partial<Record<PostOutcome, number>>>;
  readonly feeBumps: number;
  /** Why the poster waits although there is something to post. */
  readonly waiting: 'pending' | 'fee cap' | 'block time' | undefined;
  /**
   * What keeps batches from being posted; undefined if nothing does. `l1.insufficient_funds`: the wallet is empty.
   * `l1.reverted`: the contract would refuse a lane's next commit.
   */
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
}

const NONCE_TAKEN =
  'none of our transactions was mined under this nonce: another process sends from the posting account, or the chain is a new one';

/** What this process saw of a send; forgotten with it. */
interface Memory {
  publication?: Publication;
  outcome?: TransactionOutcome;
}

/**
 * Brings sealed batches to the contract. A signed transaction is in the store before the node gets it, so that whatever is
 * waiting in a pool is known after a crash: it is given again, or replaced under its own nonce, never sent beside.
 */
export class Poster {
  private readonly loop: Loop;
  private readonly memory = new Map<Hex, Memory>();
  private readonly attempts: Partial<Record<PostOutcome, number>> = {};
  private heads: readonly bigint[] = [];
  private nonceLatest = 0;
  private walletWei: bigint | undefined;
  private lookedAt: number | undefined;
  private feeBumps = 0;
  /** Lanes whose commits the contract would refuse, until when they are left out. */
  private readonly refusals = new Map<number, { readonly code: string; readonly message: string; readonly untilMs: number }>();
  private waiting: PosterStatus['waiting'];

  constructor(private readonly options: PosterOptions) {
    this.loop = new Loop({
      name: 'post',
      round: (until) => this.round(until),
      intervalMs: options.config.pollMs,
      maxBackoffMs: options.config.maxBackoffMs,
      retries: (error) => error instanceof L1Error || error instanceof StoreFullError,
      onFatal: (error) => {
        options.log.error('post.fatal', { error: (error as Error).message });
        options.onFatal(error);
      },
      clock: options.clock,
      log: options.log,
      random: options.random,
    });
  }

  /** Something was sealed, or the L1 moved. */
  notify(): void {
    this.loop.wake();
  }

  status(): PosterStatus {
    const { store } = this.options;
    let backlogBatches = 0;
    let oldestUnpostedAt: bigint | undefined;
    for (let lane = 0; lane < store.genesis.laneCount; lane++) {
      const head = this.headOf(lane);
      backlogBatches += Math.max(0, Number((store.lastBatch(lane)?.header.number ?? 0n) - head));
      const at = store.batchesFrom(lane, head + 1n, 1)[0]?.header.timestamp;
      if (at !== undefined && (oldestUnpostedAt === undefined || at < oldestUnpostedAt)) oldestUnpostedAt = at;
    }
    const [refusal] = [...this.refusals.values()].map(({ code, message }) => ({ code, message }));
    const open = store.sends().filter(({ nonce }) => nonce >= this.nonceLatest);
    return {
      walletWei: this.walletWei,
      backlogBatches,
      oldestUnpostedAt,
      pendingSend: [...bySlot(open)].sort(([a], [b]) => a - b)[0]?.[1][0],
      attempts: { ...this.attempts },
      feeBumps: this.feeBumps,
      waiting: backlogBatches > 0 ? this.waiting : undefined,
      lastError: this.loop.failure ?? refusal,
    };
  }

  /** Whether a transaction that carries this batch, or one after it, may yet be mined. */
  isUnderWay(lane: number, number: bigint): boolean {
    if (this.lookedAt === undefined) return true;
    const sends = this.options.store.sends().filter((send) => send.lane === lane && send.lastNumber >= number);
    return sends.some(({ nonce }) => nonce >= this.nonceLatest);
  }

  /** Lets the current call to the L1 go and returns when the last write has ended. */
  stop(): Promise<void> {
    return this.loop.stop();
  }

  private headOf(lane: number): bigint {
    return this.options.view()?.lanes[lane]?.committed.number ?? this.heads[lane] ?? 0n;
  }

  private count(outcome: PostOutcome): void {
    this.attempts[outcome] = (this.attempts[outcome] ?? 0) + 1;
  }

  private async round(until: Until): Promise<void> {
    if (!this.isWanted()) return;
    const observation = await this.observe(until);
    if (observation === undefined) return;
    const actions = plan(observation, this.options.config);
    this.remember(actions);
    for (const action of actions) {
      switch (action.kind) {
        case 'send':
          // What comes after a send that was not made would leave a gap in the nonces: the next look plans without it.
          if (!(await this.send(action, observation, until))) return this.notify();
          break;
        case 'resend':
          await this.give(action.send, observation.latest.number, until);
          break;
        case 'forget':
          await this.forget(action);
          break;
      }
    }
  }

  /** Whether a look could find anything to do, by what is known without asking the L1. */
  private isWanted(): boolean {
    const { store, view, clock, config } = this.options;
    const seen = view();
    if (this.lookedAt === undefined || clock.monotonic() - this.lookedAt >= config.idleMs) return true;
    for (let lane = 0; lane < store.genesis.laneCount; lane++) {
      if ((store.lastBatch(lane)?.header.number ?? 0n) > (seen?.lanes[lane]?.committed.number ?? 0n)) return true;
    }
    const isOpen = ({ transactionHash, nonce }: SendRecord) => {
      const outcome = this.memory.get(transactionHash)?.outcome;
      return outcome === undefined ? nonce >= this.nonceLatest : outcome.blockNumber <= (seen?.finalized ?? 0n);
    };
    return store.sends().some(isOpen);
  }

  /** Undefined where the node's answers are older than what the follower saw: it would look as if a commit were missing. */
  private async observe(until: Until): Promise<Observation | undefined> {
    const { l1, store, view, clock, config } = this.options;
    // The order matters: see Observation.nonce.
    const nonce = { latest: await until(l1.posterNonce('latest')), pending: await until(l1.posterNonce('pending')) };
    const latest = await until(l1.block('latest'));
    if (latest === undefined) throw new L1Error('l1.rpc', 'the node has no newest block');
    const lanes: Backlog[] = [];
    for (let lane = 0; lane < store.genesis.laneCount; lane++) {
      const { number } = await until(l1.head(lane));
      // Behind one address there may be several nodes. If it was a reorg, the follower is about to find out.
      if (number < (view()?.lanes[lane]?.committed.number ?? 0n)) return undefined;
      const isRefused = (this.refusals.get(lane)?.untilMs ?? 0) > clock.monotonic();
      const sealed = isRefused ? [] : store.batchesFrom(lane, number + 1n, config.maxBatchesPerTransaction);
      lanes.push({ lane, next: number + 1n, batches: sealed.map(({ header }) => header) });
    }
    const fees = await until(l1.fees());
    this.walletWei = await until(l1.posterBalance());
    const finalized = view()?.finalized ?? 0n;
    const sends: Sight[] = [];
    for (const send of store.sends()) sends.push(await this.see(send, nonce.latest, finalized, until));
    for (const hash of this.memory.keys()) if (!sends.some((send) => send.transactionHash === hash)) this.memory.delete(hash);
    this.heads = lanes.map(({ next }) => next - 1n);
    this.nonceLatest = nonce.latest;
    this.lookedAt = clock.monotonic();
    return { nowMs: this.lookedAt, latest, finalized, nonce, fees, lanes, sends };
  }

  private async see(send: SendRecord, nonceLatest: number, finalized: bigint, until: Until): Promise<Sight> {
    const { l1, log } = this.options;
    const memory = this.memory.get(send.transactionHash) ?? {};
    this.memory.set(send.transactionHash, memory);
    if (send.nonce >= nonceLatest) {
      // Open, perhaps again: a reorg may have taken it out of its block.
      delete memory.outcome;
      return { ...send, known: await until(l1.knows(send.transactionHash)), publication: memory.publication };
    }
    if (memory.outcome === undefined || memory.outcome.blockNumber <= finalized) {
      const outcome = await until(l1.outcome(send.transactionHash));
      if (outcome !== undefined && memory.outcome === undefined) {
        const { transactionHash, lane, firstNumber, lastNumber } = send;
        const { blockNumber, gasUsed } = outcome;
        this.count(outcome.succeeded ? 'mined' : 'reverted');
        if (outcome.succeeded) log.info('post.mined', { transactionHash, lane, firstNumber, lastNumber, blockNumber, gasUsed });
        else log.warn('post.reverted', { transactionHash, lane, firstNumber, lastNumber, blockNumber, gasUsed });
      }
      if (outcome !== undefined) memory.outcome = outcome;
      return { ...send, known: outcome !== undefined, publication: memory.publication, outcome };
    }
    return { ...send, known: true, publication: memory.publication, outcome: memory.outcome };
  }

  private remember(actions: readonly Action[]): void {
    const wait = actions.find((action) => action.kind === 'wait');
    if (wait?.why === 'fee cap' && this.waiting !== 'fee cap') {
      const { maxFeePerGas } = this.options.config;
      this.options.log.warn('post.fee_cap', {
        maxFeePerGas,
        what: 'the L1 asks more than the cap allows; waiting for it to fall',
      });
    }
    this.waiting = wait?.why;
  }

  private async forget({ why, sends }: Action & { kind: 'forget' }): Promise<void> {
    const { store, log } = this.options;
    if (why === 'nonce taken') {
      this.count('nonce_taken');
      log.warn('post.nonce_taken', { nonce: sends[0]?.nonce, what: NONCE_TAKEN });
    }
    await store.forgetSends(sends.map(({ transactionHash }) => transactionHash));
  }

  /** Whether a transaction was recorded; if the contract would refuse it, its lane is left out for a while. */
  private async send(action: Action & { kind: 'send' }, observation: Observation, until: Until): Promise<boolean> {
    const { l1, store, config, clock, log, hashing } = this.options;
    const { why, lane, nonce, first, last, fees } = action;
    const { maxFeePerGas, maxPriorityFeePerGas } = fees;
    let batches = carriedTogether(store.batchesFrom(lane, first, Number(last - first) + 1), store);
    let commit = commitOf(batches, store, hashing);
    let gas = await this.estimate(commit, lane, first, until);
    while (gas !== undefined && gas > config.maxGasPerTransaction && batches.length > 1) {
      batches = batches.slice(0, Math.ceil(batches.length / 2));
      commit = commitOf(batches, store, hashing);
      gas = await this.estimate(commit, lane, first, until);
    }
    if (gas === undefined) return false;
    const costWei = gas * maxFeePerGas;
    if (this.walletWei !== undefined && this.walletWei < costWei) {
      this.count('insufficient_funds');
      throw new L1Error(
        'l1.insufficient_funds',
        `the posting account ${l1.posterAddress} has ${this.walletWei} wei, the next commit may cost ${costWei}: send it ether`,
      );
    }
    const { hash, raw } = await until(l1.signCommit(commit, { nonce, gas, maxFeePerGas, maxPriorityFeePerGas }));
    const lastNumber = first + BigInt(batches.length) - 1n;
    const sentAt = clock.now();
    const record = { transactionHash: hash, nonce, lane, firstNumber: first, lastNumber, ...fees, raw, sentAt };
    // A crash before this line: nothing happened. After it: the same transaction is given to the node at the next start.
    await store.recordSend(record);
    if (why === 'bump') this.feeBumps++;
    log.info('post.send', {
      why,
      transactionHash: hash,
      nonce,
      lane,
      first,
      last: lastNumber,
      maxFeePerGas,
      maxPriorityFeePerGas,
    });
    await this.give(record, observation.latest.number, until);
    return true;
  }

  /** The gas limit for a commit; undefined if the contract would refuse it, or its head has moved since it was planned. */
  private async estimate(commit: Commit, lane: number, first: bigint, until: Until): Promise<bigint | undefined> {
    const { l1, clock, config, log } = this.options;
    try {
      const gas = await until(l1.estimateCommit(commit));
      this.refusals.delete(lane);
      return gas + gas / 5n;
    } catch (error) {
      if (!(error instanceof L1Error) || error.code !== 'l1.reverted') throw error;
      if ((await until(l1.head(lane))).number !== first - 1n) return undefined;
      this.count('estimate_reverted');
      const { code, message } = error;
      if (this.refusals.get(lane)?.message !== message) log.error('post.refused', { lane, first, error: message });
      const untilMs = clock.monotonic() + Math.min(config.maxBackoffMs, 8 * config.pollMs);
      this.refusals.set(lane, { code, message, untilMs });
      return undefined;
    }
  }

  /** Gives a recorded transaction to the node. What the node does not say clearly leaves it unpublished: given again. */
  private async give(send: SendRecord, atBlock: bigint, until: Until): Promise<void> {
    const { l1, clock, log } = this.options;
    const { transactionHash, nonce } = send;
    const memory = this.memory.get(transactionHash) ?? {};
    this.memory.set(transactionHash, memory);
    const published = () => {
      // Since it was first there: one that is dropped again and again is stuck, too.
      if (memory.publication?.result !== 'published') {
        memory.publication = { result: 'published', atMs: clock.monotonic(), atBlock };
      }
    };
    try {
      await until(l1.broadcast(send.raw));
      this.count('published');
      published();
    } catch (error) {
      if (!(error instanceof L1Error)) throw error;
      switch (error.code) {
        case 'l1.already_known':
          this.count('already_known');
          return published();
        case 'l1.underpriced':
          this.count('underpriced');
          log.warn('post.underpriced', { transactionHash, nonce, error: error.message });
          memory.publication = { result: 'underpriced' };
          return;
        case 'l1.nonce_too_low':
          // Mined meanwhile, or used by another process: the next look tells.
          this.count('nonce_too_low');
          return;
        case 'l1.insufficient_funds':
          this.count('insufficient_funds');
          throw error;
        case 'l1.rpc':
        case 'l1.reverted': {
          this.count('refused');
          const times = memory.publication?.result === 'refused' ? memory.publication.times + 1 : 1;
          memory.publication = { result: 'refused', times };
          throw error;
        }
        default:
          this.count('unreachable');
          throw error;
      }
    }
  }
}
