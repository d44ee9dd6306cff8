import {
  BATCH_FILE_HEADER_BYTES,
  batchFileHeader,
  batchHash,
  dataHash,
  ENTRY_PREFIX_BYTES,
  type Hex,
  MAX_BATCH_ENTRIES,
  MAX_BATCH_FILE_BYTES,
  toHex,
  ZERO_HASH,
} from '@sealpost/prover';
import { settledBlock } from './follower.js';
import { firstUnfit, forcedOf } from './inbox.js';
import {
  type Clock,
  type Entry,
  type EntryClaims,
  type Hashing,
  type L1View,
  type Log,
  type SealedBatch,
  type Store,
  StoreFullError,
} from './ports.js';

/** When a lane's entries become a batch: whichever comes first. */
export interface SealLimits {
  readonly maxEntries: number;
  /** Of the batch file. */
  readonly maxBytes: number;
  /** Since the oldest entry that is in no batch was seen, milliseconds. */
  readonly maxAgeMs: number;
}

/** The entries of a lane that are in no batch yet, oldest first. */
export interface Unsealed {
  /** Lengths of the encoded bundles. */
  readonly bundleBytes: readonly number[];
  /** How long ago the oldest was seen. */
  readonly oldestAgeMs: number;
  /** Batches of the lane that are sealed and not on the L1. */
  readonly backlog?: number;
}

/**
 * So many batches that wait for the L1 are enough: what comes then is sealed only where it fills a batch, until they are fewer.
 * One commit takes 255 batches and must consume what is overdue in the inbox (§8): a longer backlog before that entry would keep
 * the lane from ever committing again.
 */
export const LARGE_BACKLOG = 64;

/** Forced entries that a batch holds at the most: each takes up to 30,000 gas of the commit, and one batch must fit it. */
export const MAX_FORCED_PER_BATCH = 64;

export type SealPlan = { readonly seal: number } | { readonly waitMs: number };

/**
 * Seal the first `seal` entries, or look again in `waitMs`. As many as fit under the limits are sealed, at least one:
 * the largest bundle fits the smallest batch file there may be.
 */
export function planSeal({ bundleBytes, oldestAgeMs, backlog = 0 }: Unsealed, limits: SealLimits): SealPlan {
  if (bundleBytes.length === 0) return { waitMs: Number.POSITIVE_INFINITY };
  const isLarge = backlog >= LARGE_BACKLOG;
  const maxEntries = isLarge ? MAX_BATCH_ENTRIES : Math.min(limits.maxEntries, MAX_BATCH_ENTRIES);
  const maxBytes = isLarge ? MAX_BATCH_FILE_BYTES : Math.min(limits.maxBytes, MAX_BATCH_FILE_BYTES);
  const maxAgeMs = isLarge ? Number.POSITIVE_INFINITY : limits.maxAgeMs;
  let bytes = BATCH_FILE_HEADER_BYTES;
  let fitting = 0;
  while (fitting < bundleBytes.length && fitting < maxEntries) {
    bytes += ENTRY_PREFIX_BYTES + (bundleBytes[fitting] as number);
    if (bytes > maxBytes && fitting > 0) break;
    fitting++;
  }
  const full = fitting < bundleBytes.length || fitting === maxEntries || bytes >= maxBytes;
  if (full || oldestAgeMs >= maxAgeMs) return { seal: fitting };
  return { waitMs: maxAgeMs - oldestAgeMs };
}

/** What a batch's entries hash to. */
export interface BatchDigest {
  readonly bundlesRoot: Hex;
  /** The entryHashes, in order, 32 bytes each. */
  readonly leaves: Uint8Array<ArrayBuffer>;
  readonly dataHash: Hex;
  readonly bytes: number;
  readonly messages: number;
  /** Acceptance time of the first entry. */
  readonly timestamp: bigint;
}

/** Which entries are to be digested, under which number. */
export interface DigestRequest {
  readonly lane: number;
  readonly number: bigint;
  readonly firstSequence: bigint;
  readonly count: number;
}

/** Entries that follow each other on a lane, as far as a digest looks at them, and together as a batch file has them. */
export interface DigestPage {
  readonly entries: readonly Pick<Entry, keyof EntryClaims | 'acceptedAt' | 'count'>[];
  readonly bytes: Uint8Array;
}

/**
 * Hashes a batch's entries into its root and its file's content address (PROTOCOL.md §4, §5). `pages` yields exactly
 * the entries asked for, in order; only one page is held at a time.
 */
export function digestBatch(request: DigestRequest, pages: Iterable<DigestPage>, hashing: Hashing): BatchDigest {
  const claims: EntryClaims[] = [];
  let bytes = 0;
  let messages = 0;
  let timestamp: bigint | undefined;
  function* parts(): Generator<Uint8Array> {
    const header = batchFileHeader(request, request.count);
    bytes += header.length;
    yield header;
    for (const page of pages) {
      for (const { void: isVoid, previous, bundleHash, acceptedAt, count } of page.entries) {
        timestamp ??= acceptedAt;
        claims.push({ void: isVoid, previous, bundleHash });
        if (isVoid === 0) messages += count;
      }
      bytes += page.bytes.length;
      yield page.bytes;
    }
  }
  const address = dataHash(parts(), hashing.sha256);
  if (claims.length !== request.count || timestamp === undefined) {
    throw new Error(`expected ${request.count} entries from sequence ${request.firstSequence} on, got ${claims.length}`);
  }
  const tree = hashing.entriesTree(claims);
  const leaves = new Uint8Array(tree.nodes.subarray(0, HASH_BYTES * claims.length));
  return { bundlesRoot: toHex(tree.root), leaves, dataHash: address, bytes, messages, timestamp };
}

const HASH_BYTES = 32;

export interface SealerDeps {
  readonly store: Store;
  /** Digests away from the main thread: a full batch takes tens of milliseconds. */
  readonly digest: (request: DigestRequest) => Promise<BatchDigest>;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: SealLimits;
  readonly termOf: (lane: number) => number;
  /** The newest batch of a lane that is on the L1, as far as it was seen. */
  readonly committed?: (lane: number) => bigint;
  /** The follower's; without it no batch is ever unsealed. */
  readonly view?: () => L1View | undefined;
  /** Whether a transaction that carries a batch may yet be mined. */
  readonly isUnderWay?: (lane: number, number: bigint) => boolean;
  readonly onSealed: (batch: SealedBatch) => void;
  readonly onFatal: (error: Error) => void;
}

const NO_ROOM_WAIT_MS = 1_000;
/** More than wait for the L1 on any but the worst day: those after them are looked at when these are committed. */
const MAX_UNFIT_SEARCH = 1_024;

interface LaneState {
  nextSequence: bigint;
  bundleBytes: number[];
  /** By the monotonic clock, when each entry was first seen. */
  seenAt: number[];
  last: SealedBatch | undefined;
  /** The newest L1 block when a batch was first seen that no commit can carry. */
  unfitSince: bigint | undefined;
}

/** Cuts each lane into batches. Needs no L1: a batch is sealed whether or not it can be posted yet. */
export class Sealer {
  private readonly lanes: LaneState[];
  private timer: NodeJS.Timeout | undefined;
  private working: Promise<void> | undefined;
  /** Something changed since the lanes were last looked at. */
  private due = false;
  private stopping = false;
  /** The last seal found no room on the disk; the next that succeeds clears it. */
  private noRoom = false;

  constructor(private readonly deps: SealerDeps) {
    this.lanes = Array.from({ length: deps.store.genesis.laneCount }, (_, lane) => {
      const last = deps.store.lastBatch(lane);
      const nextSequence = last === undefined ? 0n : last.header.firstSequence + BigInt(last.header.count);
      // What a crash left unsealed: at most what was accepted since the last seal.
      const bundleBytes = [...this.bundleBytesFrom(lane, nextSequence)];
      const seenAt = bundleBytes.map(() => deps.clock.monotonic());
      return { nextSequence, bundleBytes, seenAt, last, unfitSince: undefined };
    });
  }

  private *bundleBytesFrom(lane: number, firstSequence: bigint): Generator<number> {
    for (let from = firstSequence; ; ) {
      const entries = this.deps.store.entries(lane, from, 10_000);
      for (const { bytes } of entries) yield bytes;
      if (entries.length === 0) return;
      from += BigInt(entries.length);
    }
  }

  start(): void {
    this.wake();
  }

  /** The L1 moved: what waited for a smaller backlog may be sealed now, and a reorg may have made sealed batches unfit. */
  notify(): void {
    this.wake();
  }

  /** Entries that became durable, in order. */
  added(lane: number, bundleBytes: readonly number[]): void {
    const seenAt = this.deps.clock.monotonic();
    for (const bytes of bundleBytes) this.remember(this.lanes[lane] as LaneState, bytes, seenAt);
    this.wake();
  }

  /** The next sequence that is in no batch. */
  sealed(lane: number): bigint {
    return (this.lanes[lane] as LaneState).nextSequence;
  }

  /** Entries in no batch yet, over all lanes. */
  get unsealed(): number {
    return this.lanes.reduce((sum, { bundleBytes }) => sum + bundleBytes.length, 0);
  }

  /** Lets a seal that is under way end; what is unsealed is sealed after the next start. */
  async stop(): Promise<void> {
    this.stopping = true;
    clearTimeout(this.timer);
    await this.working;
  }

  private remember(state: LaneState, bytes: number, seenAt: number): void {
    state.bundleBytes.push(bytes);
    state.seenAt.push(seenAt);
  }

  private wake(): void {
    this.due = true;
    if (this.stopping || this.working !== undefined) return;
    this.working = this.run()
      .catch((error) => this.deps.onFatal(error as Error))
      .finally(() => {
        this.working = undefined;
        if (this.due && !this.stopping) this.wake();
      });
  }

  private async run(): Promise<void> {
    clearTimeout(this.timer);
    while (this.due && !this.stopping) {
      this.due = false;
      let waitMs = Number.POSITIVE_INFINITY;
      for (const [lane, state] of this.lanes.entries()) {
        await this.unsealUnfit(lane, state);
        const now = this.deps.clock.monotonic();
        const committed = this.deps.committed?.(lane) ?? state.last?.header.number ?? 0n;
        const plan = planSeal(
          {
            bundleBytes: state.bundleBytes,
            oldestAgeMs: now - (state.seenAt[0] ?? now),
            backlog: Number((state.last?.header.number ?? 0n) - committed),
          },
          this.deps.limits,
        );
        if ('seal' in plan) {
          if (await this.seal(lane, state, plan.seal)) this.due = true;
          else waitMs = Math.min(waitMs, NO_ROOM_WAIT_MS);
        } else {
          waitMs = Math.min(waitMs, plan.waitMs);
        }
      }
      if (!this.due && waitMs !== Number.POSITIVE_INFINITY) {
        this.timer = setTimeout(() => this.wake(), Math.ceil(waitMs));
        this.timer.unref();
      }
    }
  }

  /**
   * A reorg may take away a forced bundle that a batch counts; its entry stays, and no commit can carry that batch, nor what follows (§8).
   * Then they are sealed anew over the same entries. Not before it is final that the bundle is gone: what a reorg took mostly comes back,
   * with the commit; nor while a commit of the batch may be mined, which would settle headers that are here no more.
   */
  private async unsealUnfit(lane: number, state: LaneState): Promise<void> {
    const { store, log, termOf, view, isUnderWay } = this.deps;
    const seen = view?.();
    const committed = seen?.lanes[lane]?.committed.number;
    if (seen === undefined || committed === undefined || committed === state.last?.header.number) return;
    const consumed = store.batch(lane, committed)?.header.inboxCount ?? 0n;
    const batches = store.batchesFrom(lane, committed + 1n, MAX_UNFIT_SEARCH);
    const unfit = firstUnfit(batches, consumed, store)?.header;
    // One of an earlier term is not ours to make anew: the next start drops it.
    if (unfit === undefined || unfit.term !== termOf(lane)) {
      state.unfitSince = undefined;
      return;
    }
    state.unfitSince ??= seen.latest.number;
    if (settledBlock(seen) < state.unfitSince || isUnderWay?.(lane, unfit.number)) return;
    // A crash before this leaves the batches, and the next process finds the same; after it, entries that it seals.
    try {
      await store.unseal(lane, unfit.number);
    } catch (error) {
      if (!(error instanceof StoreFullError)) throw error;
      this.noRoom = true;
      return;
    }
    log.warn('batch.unsealed', {
      lane,
      from: unfit.number,
      message: 'a reorg took forced bundles that these batches count: their entries are sealed anew',
    });
    state.unfitSince = undefined;
    // Those that were in the batches, and no more: of those after them this one is told by `added`.
    const back = Number(state.nextSequence - unfit.firstSequence);
    const bundleBytes = [...this.bundleBytesFrom(lane, unfit.firstSequence)].slice(0, back);
    state.bundleBytes = [...bundleBytes, ...state.bundleBytes];
    state.seenAt = [...bundleBytes.map(() => this.deps.clock.monotonic()), ...state.seenAt];
    state.nextSequence = unfit.firstSequence;
    state.last = store.lastBatch(lane);
  }

  /** Seals `most` entries, fewer where they have more forced ones than a commit can carry. False if there is no room on the disk. */
  private async seal(lane: number, state: LaneState, most: number): Promise<boolean> {
    const { store, digest, log, termOf, onSealed } = this.deps;
    const inboxCount = state.last?.header.inboxCount ?? 0n;
    const found = forcedOf({ lane, firstSequence: state.nextSequence, count: most }, inboxCount, store);
    const forced = found.slice(0, MAX_FORCED_PER_BATCH);
    const last = found.length > forced.length ? forced.at(-1) : undefined;
    const count = last === undefined ? most : Number(last.sequence - state.nextSequence) + 1;
    const number = (state.last?.header.number ?? 0n) + 1n;
    const { bytes, messages, leaves, ...hashes } = await digest({ lane, number, firstSequence: state.nextSequence, count });
    const header = {
      lane,
      term: termOf(lane),
      number,
      parentHash: state.last?.batchHash ?? ZERO_HASH,
      firstSequence: state.nextSequence,
      count,
      bundlesRoot: hashes.bundlesRoot,
      inboxCount: inboxCount + BigInt(forced.length),
      timestamp: hashes.timestamp,
      dataHash: hashes.dataHash,
    };
    const batch: SealedBatch = { header, batchHash: batchHash(header), bytes, messages };
    // A crash before this leaves the entries unsealed, and the next start seals them again, perhaps cut elsewhere:
    // nobody was told of this batch. A crash after it leaves a batch that the poster finds.
    try {
      await store.appendBatch(batch, leaves);
    } catch (error) {
      if (!(error instanceof StoreFullError)) throw error;
      if (!this.noRoom) log.error('store.full', { message: error.message });
      this.noRoom = true;
      return false;
    }
    this.noRoom = false;
    state.last = batch;
    state.nextSequence += BigInt(count);
    state.bundleBytes.splice(0, count);
    state.seenAt.splice(0, count);
    log.info('batch.sealed', { lane, number, count, messages, bytes });
    onSealed(batch);
    return true;
  }
}
