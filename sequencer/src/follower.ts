import { Loop, type Until } from './loop.js';
import type {
  Clock,
  Commitment,
  L1,
  L1Block,
  L1Step,
  L1View,
  LaneRungs,
  LaneStanding,
  Log,
  PostageKey,
  Rung,
  SealedBatch,
  SettlementEvents,
  Store,
} from './ports.js';
import { L1Error, StoreFullError } from './ports.js';

/** anvil and its like: one node, which may be restarted from yesterday's state or from nothing. */
export const DEVELOPMENT_CHAIN_ID = 31_337n;
/** Blocks kept when nothing becomes final: more than a week of no finality would fit no memory. */
const MAX_KEPT_BLOCKS = 4_096n;
/** How deep a block is that counts as final where the L1 does not finalize: more than any reorg that a live chain has seen. */
const DEEP_BLOCKS = 128n;
const BEFORE_EVERYTHING = -1n;
const NOTHING_TOLD = { commitments: [], forced: [], demands: [], answered: [] } as const;
const NOTHING: Rung = { number: 0n, nextSequence: 0n };

export interface FollowerConfig {
  /** Milliseconds between two looks at the newest block. */
  readonly pollMs: number;
  /** Most milliseconds between two looks while the L1 does not answer. */
  readonly maxBackoffMs: number;
  /** Blocks kept behind the newest, so that a reorg finds its common ancestor; further back if finality is further back. */
  readonly windowBlocks: number;
  /** Most blocks per question for logs while catching up; less is asked for where the node refuses. */
  readonly logRangeBlocks: number;
  /** A block not above the one that the contract was deployed in: where reading starts with an empty database. */
  readonly startBlock: bigint;
  /** Milliseconds after which a development node that stands still below our head counts as restarted from an older state. */
  readonly behindGraceMs: number;
}

export const defaultFollowerConfig: FollowerConfig = {
  pollMs: 1_000,
  maxBackoffMs: 15_000,
  windowBlocks: 128,
  logRangeBlocks: 2_000,
  startBlock: 0n,
  behindGraceMs: 3_000,
};

/** The L1 holds what it must not. Nothing was written down; a person has to look. */
export class FollowerError extends Error {
  override readonly name = 'FollowerError';

  constructor(
    readonly code: 'l1.foreign_batch' | 'l1.finality_broken',
    message: string,
  ) {
    super(message);
  }
}

// ---- Pure -----------------------------------------------------------------------------------------------------------

/** What a newest block means for the blocks followed so far. */
export type Step =
  /** Nothing new. */
  | { readonly kind: 'same' }
  /** The node's newest block is an old one of ours: it lags, or went back and mined nothing since. */
  | { readonly kind: 'behind' }
  /** Not decided yet: the branch's parent is needed. */
  | { readonly kind: 'fetch'; readonly hash: L1Block['hash'] }
  /** The branch grows out of our head. */
  | { readonly kind: 'advance' }
  /** The branch grows out of an earlier block of ours: those above it are gone. */
  | { readonly kind: 'reorg'; readonly ancestor: L1Block; readonly dropped: number }
  /** Too far ahead to be walked block by block. */
  | { readonly kind: 'gap' }
  /** The branch goes back past everything we keep without meeting it. */
  | { readonly kind: 'lost' };

/**
 * Compares the blocks followed so far with a branch that ends in the node's newest block.
 * `kept` and `branch`: oldest first, each the parent of the next (`kept` may be a single block), neither empty.
 */
export function reconcile(kept: readonly L1Block[], branch: readonly L1Block[], maxBranchBlocks: number): Step {
  const tip = kept.at(-1);
  const oldest = kept[0];
  const first = branch[0];
  const latest = branch.at(-1);
  if (!tip || !oldest || !first || !latest) throw new Error('expected blocks on both sides');
  const at = (number: bigint) =>
    number < oldest.number || number > tip.number ? undefined : kept[Number(number - oldest.number)];

  if (branch.length === 1 && at(latest.number)?.hash === latest.hash)
    return { kind: latest.hash === tip.hash ? 'same' : 'behind' };
  if (latest.number > tip.number + BigInt(maxBranchBlocks)) return { kind: 'gap' };
  const parent = at(first.number - 1n);
  if (parent?.hash === first.parentHash) {
    if (parent.hash === tip.hash) return { kind: 'advance' };
    return { kind: 'reorg', ancestor: parent, dropped: Number(tip.number - parent.number) };
  }
  return first.number <= oldest.number ? { kind: 'lost' } : { kind: 'fetch', hash: first.parentHash };
}

/** The newest block that can be built on for good: final, or 128 deep while nothing becomes final (§7, §8); below 0 for none. */
export function settledBlock({ latest, finalized }: Pick<L1View, 'latest' | 'finalized'>): bigint {
  const deep = latest.number - DEEP_BLOCKS;
  return finalized > deep ? finalized : deep;
}

/**
 * Whether a reorg can no longer take away the takeover that a term began with; the first of a lane began with none. Until then nothing
 * gets a sequence: if the takeover comes back elsewhere, its term begins at another one.
 */
export const isTakeoverSettled = ({ term, beginBlock }: LaneStanding, view: Pick<L1View, 'latest' | 'finalized'>): boolean =>
  term === 1 || beginBlock <= settledBlock(view);

/** What to do when the chain changes below `finalized`, or below everything we keep. */
export type Verdict = 'follow' | 'follow loudly' | 'wait' | 'fatal';

/** A reorg that leaves `ancestor` as the newest common block. */
export function judgeReorg(ancestor: bigint, finalized: bigint, chainId: bigint): Verdict {
  if (ancestor >= finalized) return 'follow';
  return chainId === DEVELOPMENT_CHAIN_ID ? 'follow loudly' : 'fatal';
}

/** A node whose newest block is ours or below ours, or that shares no block with us, and has not moved for `stillMs`. */
export function judgeBehind(
  step: 'behind' | 'lost',
  latest: bigint,
  oldestKept: bigint,
  stillMs: number,
  graceMs: number,
  chainId: bigint,
): Verdict {
  const lower = step === 'behind' || latest < oldestKept;
  // Blocks we do not have, at heights we do: that is no lagging node.
  if (!lower) return chainId === DEVELOPMENT_CHAIN_ID ? 'follow loudly' : 'fatal';
  return chainId === DEVELOPMENT_CHAIN_ID && stillMs >= graceMs ? 'follow loudly' : 'wait';
}

/**
 * The next value of `safe` or `finalized`. A tag below what was seen is an answer of a lagging node, unless a reorg went
 * below it (`ancestor`); a node without the tag has nothing safe or final.
 */
export function nextRung(seen: bigint, tag: bigint | undefined, latest: bigint, ancestor: bigint | undefined): bigint {
  const floor = ancestor !== undefined && ancestor < seen ? ancestor : seen;
  const reached = tag === undefined ? 0n : tag < latest ? tag : latest;
  return reached > floor ? reached : floor;
}

export type CommitmentFault =
  /** The contract holds a batch that this database does not know. */
  | { readonly kind: 'foreign'; readonly commitment: Commitment; readonly ours: SealedBatch | undefined }
  /** Numbers do not follow each other: the node left logs out. */
  | { readonly kind: 'hole'; readonly commitment: Commitment; readonly expected: bigint };

/** Holds new commitments against our own batches: numbered without gaps after `lastOf`, and made by us. */
export function findFault(
  commitments: readonly Commitment[],
  lastOf: (lane: number) => bigint,
  batch: (lane: number, number: bigint) => SealedBatch | undefined,
): CommitmentFault | undefined {
  const last = new Map<number, bigint>();
  for (const commitment of commitments) {
    const { lane, number } = commitment;
    const ours = batch(lane, number);
    if (ours?.batchHash !== commitment.batchHash) return { kind: 'foreign', commitment, ours };
    const expected = (last.get(lane) ?? lastOf(lane)) + 1n;
    if (number !== expected) return { kind: 'hole', commitment, expected };
    last.set(lane, number);
  }
  return undefined;
}

// ---- Driver ---------------------------------------------------------------------------------------------------------

/**
 * What the contract told of from block `from` up to `to`, by ranges of at most `maxBlocks`, each with its last block; at least that of
 * `to`. Less is asked for where the node refuses.
 * @throws L1Error, also where the chain changed meanwhile: what was given so far is of one chain
 */
export async function* eventRanges(
  l1: L1,
  from: bigint,
  to: bigint,
  maxBlocks: number,
  until: Until,
): AsyncGenerator<{ readonly first: bigint; readonly last: L1Block; readonly events: SettlementEvents }> {
  let size = maxBlocks;
  let first = from < to ? from : to;
  while (first <= to) {
    const end = first + BigInt(size) - 1n;
    const last = end < to ? end : to;
    const before = await until(l1.block(last));
    let events: SettlementEvents;
    try {
      events = await until(l1.eventsBetween(first, last));
    } catch (error) {
      // Providers bound the range, the answer's size or its time, each in its own words: ask for less, at once.
      const isRefused = error instanceof L1Error && (error.code === 'l1.rpc' || error.code === 'l1.timeout');
      if (!isRefused || size === 1) throw error;
      size = Math.ceil(size / 2);
      continue;
    }
    const after = await until(l1.block(last));
    // Logs by number are those of whichever chain the node was on: the last block must have stood still.
    if (before === undefined || before.hash !== after?.hash) {
      throw new L1Error('l1.rpc', `block ${last} changed while the logs before it were read`);
    }
    yield { first, last: before, events };
    first = last + 1n;
  }
}

export type FollowerStore = Pick<
  Store,
  'genesis' | 'applyL1' | 'l1Blocks' | 'commitment' | 'lastCommitment' | 'batch' | 'lastBatch'
>;

export interface FollowerOptions {
  readonly l1: L1;
  readonly store: FollowerStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: FollowerConfig;
  /** The follower has ended and will not follow any more: a `FollowerError`, or the store failed. */
  readonly onFatal: (error: unknown) => void;
  /** Whose deposits may not be what they were; `any`: not known whose. Told right before the view that has the change. */
  readonly onDeposits?: (accounts: readonly PostageKey[] | 'any') => void;
  readonly random?: (() => number) | undefined;
}

export interface FollowerStatus {
  /** `following`: the last look worked. */
  readonly state: 'starting' | 'following' | 'behind' | 'failing';
  readonly reorgs: number;
  readonly deepestReorgBlocks: number;
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
}

/**
 * Follows the L1 from the first moment. Every step is in the store, whole, before anybody sees it; a crash between any two
 * lines leaves a database that says where to go on.
 *
 * A node whose newest block is one of ours, or below all we keep, lags: the view stays as it is and does not move. A reorg
 * is seen by hashes only. On a development chain (31337) a node that stands still below our head was restarted from an
 * older state, and is followed after a while. What is final is not taken back: a reorg below it ends the follower, except
 * on a development chain, where it is followed and logged as an error. The finalized block is known since this start only.
 */
export class Follower {
  private readonly loop: Loop;
  private readonly listeners = new Set<(view: L1View) => void>();
  /** Followed blocks, oldest first, contiguous. What the store has, too. */
  private kept: L1Block[];
  private current: L1View | undefined;
  private safe = 0n;
  private finalized = 0n;
  /** Blocks and logs asked for by hash, which never change: a round that failed half-way goes on where it was. */
  private readonly fetched = new Map<L1Block['hash'], { block?: L1Block; events?: SettlementEvents }>();
  private standings: readonly LaneStanding[] | undefined;
  /** Blocks not yet taken in whose changes are in `standings`. */
  private readonly standingsReadFor = new Set<L1Block['hash']>();
  /** What `onDeposits` is to be told with the next view. */
  private depositsChanged: PostageKey[] | 'any' = [];
  private behindAt: { readonly hash: L1Block['hash']; readonly since: number } | undefined;
  private reorgs = 0;
  private deepestReorgBlocks = 0;

  constructor(private readonly options: FollowerOptions) {
    this.kept = options.store.l1Blocks();
    this.loop = new Loop({
      name: 'l1',
      round: (until) => this.round(until),
      intervalMs: options.config.pollMs,
      maxBackoffMs: options.config.maxBackoffMs,
      retries: (error) => error instanceof L1Error || error instanceof StoreFullError,
      onFatal: (error) => {
        options.log.error('l1.fatal', { error: (error as Error).message });
        options.onFatal(error);
      },
      clock: options.clock,
      log: options.log,
      random: options.random,
    });
  }

  /** What was last seen; undefined until the node's newest block has been seen, and followed to, since the start. */
  view(): L1View | undefined {
    return this.current;
  }

  /** Calls `listener` with every new view; returns what ends that. */
  onChange(listener: (view: L1View) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  status(): FollowerStatus {
    const failing = this.loop.failure !== undefined;
    const quiet = this.current === undefined ? 'starting' : 'following';
    return {
      state: failing ? 'failing' : this.behindAt !== undefined ? 'behind' : quiet,
      reorgs: this.reorgs,
      deepestReorgBlocks: this.deepestReorgBlocks,
      lastError: this.loop.failure,
    };
  }

  /** Lets the current call to the L1 go and returns when the last write has ended. */
  async stop(): Promise<void> {
    await this.loop.stop();
    this.listeners.clear();
  }

  private async round(until: Until): Promise<void> {
    const { l1, config } = this.options;
    if (this.fetched.size > 4 * config.windowBlocks) this.fetched.clear();
    const latest = await until(l1.block('latest'));
    if (latest === undefined) throw new L1Error('l1.rpc', 'the node has no newest block');
    let branch = [latest];
    for (;;) {
      if (this.kept.length === 0) await this.begin(latest, until);
      const step = reconcile(this.kept, branch, config.windowBlocks);
      if (step.kind !== 'behind' && step.kind !== 'lost') this.behindAt = undefined;
      switch (step.kind) {
        case 'same':
          if (this.current?.latest.hash !== latest.hash) await this.adopt([], undefined, until);
          return;
        case 'fetch': {
          branch.unshift(await this.blockByHash(step.hash, until));
          continue;
        }
        case 'advance':
          return this.adopt(branch, undefined, until);
        case 'reorg':
          return this.reorg(step.ancestor, step.dropped, branch, until);
        case 'gap':
          await this.catchUp(latest, until);
          continue;
        case 'behind':
        case 'lost':
          if (!(await this.wentBack(step.kind, latest, until))) return;
          branch = [latest];
          continue;
      }
    }
  }

  /** Takes new blocks in, with the commitments in them, after forgetting everything above `ancestor` if there is one. */
  private async adopt(blocks: readonly L1Block[], ancestor: L1Block | undefined, until: Until): Promise<void> {
    const events: SettlementEvents[] = [];
    for (const { hash } of blocks) events.push(await this.eventsIn(hash, until));
    const told = {
      commitments: events.flatMap((one) => one.commitments),
      forced: events.flatMap((one) => one.forced),
      demands: events.flatMap((one) => one.demands),
      answered: events.flatMap((one) => one.answered),
    };
    await this.readStandings(blocks, events, ancestor, until);
    const below = ancestor === undefined ? this.kept : this.kept.filter(({ number }) => number <= ancestor.number);
    const followed = [...below, ...blocks];
    const latest = followed.at(-1);
    if (latest === undefined) return;

    const safe = nextRung(this.safe, await this.tag('safe', followed, until), latest.number, ancestor?.number);
    const finalized = nextRung(this.finalized, await this.tag('finalized', followed, until), latest.number, ancestor?.number);
    const keepFrom = this.keepFrom(latest.number, finalized);
    await this.persist({ keepUpTo: ancestor?.number, keepFrom, blocks, ...told });
    if (ancestor !== undefined) this.depositsChanged = 'any';
    else if (this.depositsChanged !== 'any') this.depositsChanged.push(...events.flatMap((one) => one.deposits));
    this.safe = safe;
    this.finalized = finalized;
    this.kept = followed.filter(({ number }) => number >= keepFrom);
    this.fetched.clear();
    this.standingsReadFor.clear();
    this.publish(latest);
  }

  /**
   * Reads who may act, where a block not yet taken in told of a change. Before the blocks are written down, and once for each: a
   * round that fails after it goes on where it was.
   */
  private async readStandings(
    blocks: readonly L1Block[],
    events: readonly SettlementEvents[],
    ancestor: L1Block | undefined,
    until: Until,
  ): Promise<void> {
    const { l1, store } = this.options;
    const changes = blocks.filter((_, index) => events[index]?.standingsChanged).map(({ hash }) => hash);
    const causes = ancestor === undefined ? changes : [...changes, ancestor.hash];
    if (this.standings !== undefined && causes.every((hash) => this.standingsReadFor.has(hash))) return;
    this.standings = await until(l1.standings(store.genesis.laneCount));
    for (const hash of causes) this.standingsReadFor.add(hash);
  }

  private async blockByHash(hash: L1Block['hash'], until: Until): Promise<L1Block> {
    const block = this.fetched.get(hash)?.block ?? (await until(this.options.l1.block(hash)));
    // The node changed its mind while it was asked; the next round sees one chain.
    if (block === undefined) throw new L1Error('l1.rpc', `the node does not have block ${hash} any more`);
    this.fetched.set(hash, { ...this.fetched.get(hash), block });
    return block;
  }

  private async eventsIn(hash: L1Block['hash'], until: Until): Promise<SettlementEvents> {
    const events = this.fetched.get(hash)?.events ?? (await until(this.options.l1.eventsIn(hash)));
    this.fetched.set(hash, { ...this.fetched.get(hash), events });
    return events;
  }

  private keepFrom(latest: bigint, finalized: bigint): bigint {
    const window = latest - BigInt(this.options.config.windowBlocks);
    const wanted = finalized > 0n && finalized < window ? finalized : window;
    return wanted > latest - MAX_KEPT_BLOCKS ? wanted : latest - MAX_KEPT_BLOCKS;
  }

  /** Number of the block that a tag stands for; undefined if the node has no such tag, or means a block that is not ours. */
  private async tag(tag: 'safe' | 'finalized', followed: readonly L1Block[], until: Until): Promise<bigint | undefined> {
    const block = await until(this.options.l1.block(tag));
    if (block === undefined) return undefined;
    const ours = followed.find(({ number }) => number === block.number);
    return ours !== undefined && ours.hash !== block.hash ? undefined : block.number;
  }

  private async reorg(ancestor: L1Block, dropped: number, blocks: readonly L1Block[], until: Until): Promise<void> {
    const { log, store } = this.options;
    const facts = { dropped, ancestor: ancestor.number, adopted: blocks.length, finalized: this.finalized };
    switch (judgeReorg(ancestor.number, this.finalized, store.genesis.chainId)) {
      case 'follow loudly':
        log.error('l1.finality_broken', {
          ...facts,
          what: 'blocks that were final are gone; followed, as this is a development chain',
        });
        break;
      case 'fatal':
        throw new FollowerError(
          'l1.finality_broken',
          `the L1 took back ${dropped} blocks down to ${ancestor.number}, but had finalized ${this.finalized}: find out which chain is right before starting again`,
        );
      default:
        log.warn('l1.reorg', facts);
    }
    await this.adopt(blocks, ancestor, until);
    this.reorgs++;
    this.deepestReorgBlocks = Math.max(this.deepestReorgBlocks, dropped);
  }

  /** Whether the node is not merely behind: then what it forgot is forgotten here, too. */
  private async wentBack(step: 'behind' | 'lost', latest: L1Block, until: Until): Promise<boolean> {
    const { clock, config, log, store } = this.options;
    const [oldest, tip] = [this.kept[0], this.kept.at(-1)];
    if (oldest === undefined || tip === undefined) return false;
    const now = clock.monotonic();
    if (this.behindAt === undefined) log.warn('l1.behind', { latest: latest.number, seen: tip.number });
    if (this.behindAt?.hash !== latest.hash) this.behindAt = { hash: latest.hash, since: now };
    const stillMs = now - this.behindAt.since;
    switch (judgeBehind(step, latest.number, oldest.number, stillMs, config.behindGraceMs, store.genesis.chainId)) {
      case 'fatal':
        throw new FollowerError(
          'l1.finality_broken',
          `the L1 shares no block from ${oldest.number} on with what was followed: find out which chain is right before starting again`,
        );
      case 'follow loudly':
        this.behindAt = undefined;
        log.error('l1.went_back', {
          latest: latest.number,
          seen: tip.number,
          what: 'the development chain forgot blocks; followed',
        });
        if (step === 'behind') await this.reorg(latest, Number(tip.number - latest.number), [], until);
        else await this.forgetEverything();
        return true;
      default:
        return false;
    }
  }

  /** Following begins anew, from `startBlock`. */
  private async forgetEverything(): Promise<void> {
    this.reorgs++;
    this.deepestReorgBlocks = Math.max(this.deepestReorgBlocks, this.kept.length);
    await this.options.store.applyL1({ keepUpTo: BEFORE_EVERYTHING, blocks: [], ...NOTHING_TOLD });
    this.kept = [];
    this.depositsChanged = 'any';
    this.safe = 0n;
    this.finalized = 0n;
  }

  /** No block is kept: reads all commitments so far and starts following a little below the newest block. */
  private async begin(latest: L1Block, until: Until): Promise<void> {
    const { l1, store, config } = this.options;
    const lanes = Array.from({ length: store.genesis.laneCount }, (_, lane) => lane);
    let from = config.startBlock;
    if (lanes.every((lane) => store.lastBatch(lane) === undefined)) {
      // Nothing of ours can be on the L1; so nothing may be. But the inbox may have waited for long.
      let isInboxEmpty = true;
      for (const lane of lanes) {
        const { number } = await until(l1.head(lane));
        if (number > 0n) throw foreign(lane, number, undefined);
        if ((await until(l1.inboxLength(lane))) > 0n) isInboxEmpty = false;
      }
      if (isInboxEmpty) from = await this.base(latest, until);
    }
    await this.scan(from, await this.base(latest, until), until);
  }

  /** The newest block is far ahead: reads the commitments in between by ranges, up to where following begins again. */
  private async catchUp(latest: L1Block, until: Until): Promise<void> {
    const { l1, log, store } = this.options;
    const tip = this.kept.at(-1);
    if (tip === undefined) return;
    let ancestor: L1Block | undefined;
    for (let index = this.kept.length - 1; index >= 0 && ancestor === undefined; index--) {
      const block = this.kept[index];
      if (block !== undefined && (await until(l1.block(block.number)))?.hash === block.hash) ancestor = block;
    }
    if (ancestor === undefined) {
      if (judgeReorg(BEFORE_EVERYTHING, this.finalized, store.genesis.chainId) === 'fatal') {
        throw new FollowerError(
          'l1.finality_broken',
          `the L1 has none of the ${this.kept.length} blocks up to ${tip.number} that were followed: find out which chain is right before starting again`,
        );
      }
      log.error('l1.went_back', {
        latest: latest.number,
        seen: tip.number,
        what: 'another development chain; followed from its start',
      });
      return this.forgetEverything();
    }
    if (ancestor.hash !== tip.hash) await this.reorg(ancestor, Number(tip.number - ancestor.number), [], until);
    log.info('l1.catching_up', { from: ancestor.number, latest: latest.number });
    await this.scan(ancestor.number + 1n, await this.base(latest, until), until);
  }

  /** Where walking block by block begins: as deep as the window, or at what is final, which is no promise in development. */
  private async base(latest: L1Block, until: Until): Promise<bigint> {
    const { l1, store, config } = this.options;
    const tagged = store.genesis.chainId === DEVELOPMENT_CHAIN_ID ? undefined : await until(l1.block('finalized'));
    const finalized = tagged?.number ?? 0n;
    const window = latest.number - BigInt(config.windowBlocks);
    const base = finalized > window ? finalized : window;
    return base < 0n ? 0n : base > latest.number ? latest.number : base;
  }

  /** Reads commitments from `from` up to `to` by ranges; each range is one durable step that ends in its last block. */
  private async scan(from: bigint, to: bigint, until: Until): Promise<void> {
    const { l1, config } = this.options;
    for await (const { first, last, events } of eventRanges(l1, from, to, config.logRangeBlocks, until)) {
      const { standingsChanged: _, deposits: __, ...told } = events;
      await this.persist({ keepFrom: last.number, keepUpTo: first - 1n, blocks: [last], ...told });
      // What changed in there is read anew with the next block.
      this.standings = undefined;
      this.depositsChanged = 'any';
      this.kept = [last];
    }
  }

  private async persist(step: L1Step): Promise<void> {
    const { store, log } = this.options;
    const upTo = step.keepUpTo ?? this.kept.at(-1)?.number ?? BEFORE_EVERYTHING;
    const lastOf = (lane: number) => store.lastCommitment(lane, upTo)?.number ?? 0n;
    const fault = findFault(step.commitments, lastOf, (lane, number) => store.batch(lane, number));
    if (fault?.kind === 'foreign') throw foreign(fault.commitment.lane, fault.commitment.number, fault.ours);
    if (fault?.kind === 'hole') {
      const { lane, number } = fault.commitment;
      log.error('l1.logs_missing', { lane, number, expected: fault.expected, what: 'the node left logs out; reading all again' });
      await this.forgetEverything();
      throw new L1Error('l1.rpc', `lane ${lane}: expected the commitment of batch ${fault.expected}, got ${number}`);
    }
    // Here, or nowhere: blocks and the commitments in them are one write.
    await store.applyL1(step);
    for (const { lane, number, blockNumber, transactionHash } of step.commitments) {
      log.info('batch.committed', { lane, number, blockNumber, transactionHash });
    }
    for (const { lane, index, deadline, blockNumber } of step.forced) {
      log.info('inbox.forced', { lane, index, deadline, blockNumber });
    }
    for (const { lane, term, sequence, deadline, blockNumber } of step.demands) {
      log.warn('entry.demanded', { lane, term, sequence, deadline, blockNumber });
    }
  }

  private publish(latest: L1Block): void {
    const { store, clock, log } = this.options;
    const lanes = Array.from(
      { length: store.genesis.laneCount },
      (_, lane): LaneRungs => ({
        committed: this.rung(lane, latest.number),
        safe: this.rung(lane, this.safe),
        finalized: this.rung(lane, this.finalized),
      }),
    );
    if (this.current === undefined) log.info('l1.following', { latest: latest.number, finalized: this.finalized });
    const moved = this.current?.latest.hash !== latest.hash;
    const movedAt = moved || this.current === undefined ? clock.monotonic() : this.current.movedAt;
    this.current = { latest, safe: this.safe, finalized: this.finalized, movedAt, lanes, standings: this.standings ?? [] };
    if (this.depositsChanged.length > 0) this.options.onDeposits?.(this.depositsChanged);
    this.depositsChanged = [];
    for (const listener of this.listeners) listener(this.current);
  }

  private rung(lane: number, upToBlock: bigint): Rung {
    const { store } = this.options;
    const commitment = store.lastCommitment(lane, upToBlock);
    if (commitment === undefined) return NOTHING;
    const header = store.batch(lane, commitment.number)?.header;
    if (header === undefined) throw foreign(lane, commitment.number, undefined);
    return { number: commitment.number, nextSequence: header.firstSequence + BigInt(header.count) };
  }
}

const foreign = (lane: number, number: bigint, ours: SealedBatch | undefined) =>
  new FollowerError(
    'l1.foreign_batch',
    `lane ${lane}: the contract holds a batch ${number} that this database ${ours === undefined ? 'does not know' : 'has with another content'}: ` +
      'another operator took the lane over, an old backup was restored, or a second sequencer runs on another database. ' +
      'Of a lane that was taken over, the demands for earlier entries are answered by `sealpost watch --answer`',
  );
