import { settlementAbi } from '@sealpost/contracts';
import {
  type AccountClaim,
  type BatchEntry,
  type BatchHeader,
  batchHash,
  buildTree,
  claimAfter,
  dataHash,
  decodeBatchFile,
  decodeBundle,
  expectedClaims,
  type Hex,
  type JudgedEntry,
  judgeEntry,
  MAX_BATCH_ENTRIES,
  NO_CLAIM,
  ProtocolError,
  type Recover,
  recoverWithNoble,
  type Sha256,
  sha256,
  toHex,
  topicLane,
  ZERO_HASH,
} from '@sealpost/prover';
import { decodeEventLog } from 'viem';
import type { CallOptions } from './clock.js';
import { L1Error } from './errors.js';
import { BATCH_COMMITTED, type L1 } from './l1.js';
import { logsOf, missingLogs } from './logs.js';

/** What was re-derived and compared, one name for each kind of claim. */
export type AuditCheck =
  | 'header.hash'
  | 'header.slot'
  | 'header.parent'
  | 'header.firstSequence'
  | 'header.count'
  | 'header.timestamp'
  | 'header.inboxCount'
  | 'header.term'
  | 'header.lane'
  | 'file.dataHash'
  | 'file.form'
  | 'file.place'
  | 'file.bundlesRoot'
  | 'entry.form'
  | 'entry.void'
  | 'entry.previous'
  | 'head';

/** A claim of the log that is not what the bytes say. */
export interface Mismatch {
  readonly check: AuditCheck;
  readonly lane: number;
  readonly batch: bigint;
  /** Position in the batch, if it is about one entry. */
  readonly entry?: number | undefined;
  readonly sequence?: bigint | undefined;
  readonly expected: string;
  readonly got: string;
}

export interface AuditProgress {
  readonly lane: number;
  readonly batch: bigint;
  /** Batches audited so far, of all lanes, and how many there are. */
  readonly batches: number;
  readonly totalBatches: number;
  readonly entries: number;
  readonly messages: number;
  readonly bytes: number;
  readonly mismatches: number;
}

export interface AuditReport {
  readonly chainId: bigint;
  readonly settlement: Hex;
  /** The newest L1 block when the audit began. */
  readonly block: bigint;
  readonly lanes: readonly {
    readonly lane: number;
    readonly batches: bigint;
    readonly entries: bigint;
    readonly headHash: Hex;
  }[];
  readonly batches: number;
  readonly entries: number;
  /** Of entries that are not void. */
  readonly messages: number;
  readonly voidEntries: number;
  readonly expiredEntries: number;
  /** Messages on a topic of another lane: in the log, and provable by nobody (PROTOCOL.md §6, §9). */
  readonly misplacedMessages: number;
  readonly accounts: number;
  readonly bytes: number;
  /** The first ones; `mismatchCount` counts all. */
  readonly mismatches: readonly Mismatch[];
  readonly mismatchCount: number;
}

export interface AuditOptions extends CallOptions {
  readonly l1: L1;
  /** A batch file's bytes, from anywhere: they are checked against the L1. */
  readonly batchFile: (lane: number, number: bigint, call: CallOptions) => Promise<Uint8Array>;
  /** Only these lanes; all unless given. */
  readonly lanes?: readonly number[] | undefined;
  /** The block to look for commits from: that of the contract's deployment, if known. */
  readonly fromBlock?: bigint | undefined;
  readonly onProgress?: ((progress: AuditProgress) => void) | undefined;
  readonly onMismatch?: ((mismatch: Mismatch) => void) | undefined;
  /** Native implementations, where there are any. */
  readonly hash?: Sha256 | undefined;
  readonly recover?: Recover | undefined;
}

const MAX_KEPT_MISMATCHES = 1_000;
/** Blocks whose commits are asked for at once. */
const MAX_LOG_BLOCKS = 50_000n;

interface Committed {
  readonly header: BatchHeader;
  readonly hash: Hex;
  readonly blockNumber: bigint;
}

interface LaneState {
  readonly lane: number;
  readonly head: { number: bigint; nextSequence: bigint; timestamp: bigint };
  last: { header: BatchHeader; hash: Hex } | undefined;
  /** By sender: all that is kept of the past. */
  readonly accounts: Map<Hex, AccountClaim>;
}

/**
 * Re-derives a log from the L1 and its batch files alone, and reports every claim that is not what follows from them: hashes,
 * links, content addresses, signatures, nonces, `void` and `previous`. Memory grows with the number of accounts, not of
 * messages: one batch file, and the next one, are held at a time.
 * @throws RequestError, L1Error if something could not be had: the log was not found wrong then, nor right
 */
export async function auditLog(options: AuditOptions): Promise<AuditReport> {
  const audit = new Audit(options);
  return audit.run();
}

class Audit {
  readonly #options: AuditOptions;
  readonly #hash: Sha256;
  readonly #recover: Recover;
  readonly #lanes = new Map<number, LaneState>();
  readonly #mismatches: Mismatch[] = [];
  readonly #count = { batches: 0, entries: 0, messages: 0, voidEntries: 0, expiredEntries: 0, misplacedMessages: 0, bytes: 0 };
  #mismatchCount = 0;
  #totalBatches = 0;

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#hash = options.hash ?? sha256;
    this.#recover = options.recover ?? recoverWithNoble;
  }

  async run(): Promise<AuditReport> {
    const { l1, signal } = this.#options;
    const block = await l1.block('latest', { signal });
    if (block === undefined) throw new L1Error('l1.rpc', 'the L1 node has no newest block');
    const lanes = this.#options.lanes ?? Array.from({ length: l1.view.laneCount }, (_, lane) => lane);
    for (const lane of lanes) {
      const head = await l1.head(lane, { signal });
      this.#lanes.set(lane, { lane, head, last: undefined, accounts: new Map() });
      this.#totalBatches += Number(head.number);
    }
    // The file of the next batch comes while this one is checked.
    let ahead: { committed: Committed; file: Promise<Uint8Array> } | undefined;
    for await (const committed of this.#commits(block.number)) {
      const file = this.#options.batchFile(committed.header.lane, committed.header.number, { signal });
      file.catch(() => {});
      if (ahead !== undefined) await this.#batch(ahead.committed, await ahead.file);
      ahead = { committed, file };
    }
    if (ahead !== undefined) await this.#batch(ahead.committed, await ahead.file);
    for (const state of this.#lanes.values()) await this.#finish(state);
    return {
      chainId: l1.view.chainId,
      settlement: l1.view.settlement,
      block: block.number,
      lanes: [...this.#lanes.values()].map(({ lane, last }) => ({
        lane,
        batches: last?.header.number ?? 0n,
        entries: last === undefined ? 0n : last.header.firstSequence + BigInt(last.header.count),
        headHash: last?.hash ?? ZERO_HASH,
      })),
      ...this.#count,
      accounts: [...this.#lanes.values()].reduce((sum, { accounts }) => sum + accounts.size, 0),
      mismatches: this.#mismatches,
      mismatchCount: this.#mismatchCount,
    };
  }

  /** Every commit of the audited lanes up to their heads, in the order of the L1. */
  async *#commits(toBlock: bigint): AsyncGenerator<Committed> {
    const { l1, signal, fromBlock = 0n } = this.#options;
    const topics = [BATCH_COMMITTED];
    for await (const { data, topics: of, blockNumber } of logsOf(l1, topics, {
      fromBlock,
      toBlock,
      maxBlocks: MAX_LOG_BLOCKS,
      signal,
    })) {
      const { args } = decodeEventLog({ abi: settlementAbi, eventName: 'BatchCommitted', data, topics: of });
      const state = this.#lanes.get(args.lane);
      // What was committed after the heads were read is for the next audit.
      if (state === undefined || args.number > state.head.number) continue;
      yield { header: args.header, hash: args.batchHash, blockNumber };
    }
  }

  async #batch(committed: Committed, file: Uint8Array): Promise<void> {
    const { header } = committed;
    const state = this.#lanes.get(header.lane) as LaneState;
    await this.#checkHeader(state, committed);
    this.#checkFile(state, header, file);
    state.last = { header, hash: committed.hash };
    this.#count.batches++;
    this.#count.bytes += file.length;
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.({
      lane: header.lane,
      batch: header.number,
      batches: this.#count.batches,
      totalBatches: this.#totalBatches,
      entries: this.#count.entries,
      messages: this.#count.messages,
      bytes: this.#count.bytes,
      mismatches: this.#mismatchCount,
    });
  }

  /** §4: the hash, the slot, the links to the parent. */
  async #checkHeader(state: LaneState, { header, hash, blockNumber }: Committed): Promise<void> {
    const { l1, signal } = this.#options;
    const { last, lane } = state;
    const at = { lane, batch: header.number };
    const number = (last?.header.number ?? 0n) + 1n;
    if (header.number !== number) throw missingLogs(lane, number);
    this.#same('header.hash', at, batchHash(header), hash);
    const [{ committed }, block] = await Promise.all([
      l1.slot(lane, header.number, { signal }),
      l1.block(blockNumber, { signal }),
    ]);
    this.#same('header.slot', at, committed, hash);
    this.#same('header.parent', at, last?.hash ?? ZERO_HASH, header.parentHash);
    const nextSequence = last === undefined ? 0n : last.header.firstSequence + BigInt(last.header.count);
    this.#same('header.firstSequence', at, nextSequence, header.firstSequence);
    if (header.count < 1 || header.count > MAX_BATCH_ENTRIES) {
      this.#report('header.count', at, `1 to ${MAX_BATCH_ENTRIES}`, header.count);
    }
    if (last !== undefined && header.timestamp < last.header.timestamp) {
      this.#report('header.timestamp', at, `${last.header.timestamp} or later`, header.timestamp);
    }
    if (block !== undefined && header.timestamp > block.timestamp) {
      this.#report('header.timestamp', at, `${block.timestamp} (the L1 block's) or earlier`, header.timestamp);
    }
    if (header.inboxCount < (last?.header.inboxCount ?? 0n)) {
      this.#report('header.inboxCount', at, `${last?.header.inboxCount} or more`, header.inboxCount);
    }
    if (header.term < (last?.header.term ?? 1))
      this.#report('header.term', at, `${last?.header.term ?? 1} or later`, header.term);
    if (header.lane >= l1.view.laneCount) this.#report('header.lane', at, `below ${l1.view.laneCount}`, header.lane);
  }

  /** §5: the content address, the form, and every entry. */
  #checkFile(state: LaneState, header: BatchHeader, bytes: Uint8Array): void {
    const at = { lane: header.lane, batch: header.number };
    try {
      this.#same('file.dataHash', at, dataHash([bytes], this.#hash), header.dataHash);
    } catch (error) {
      this.#refused('file.dataHash', at, header.dataHash, error);
    }
    let entries: readonly BatchEntry[];
    try {
      const file = decodeBatchFile(bytes);
      entries = file.entries;
      const place = (lane: number, number: bigint, first: bigint, count: number) =>
        `lane ${lane}, batch ${number}, ${count} from ${first}`;
      this.#same(
        'file.place',
        at,
        place(header.lane, header.number, header.firstSequence, header.count),
        place(file.lane, file.number, file.firstSequence, entries.length),
      );
    } catch (error) {
      this.#refused('file.form', at, 'a batch file', error);
      return;
    }
    const leaves: Uint8Array[] = [];
    for (const [index, entry] of entries.entries()) leaves.push(this.#entry(state, header, entry, index));
    this.#same('file.bundlesRoot', at, toHex(buildTree(leaves, this.#hash).root), header.bundlesRoot);
  }

  /** §3 and §6: the entry's hash, and whether its two claims are what everybody derives. */
  #entry(state: LaneState, header: BatchHeader, entry: BatchEntry, index: number): Uint8Array {
    const sequence = header.firstSequence + BigInt(index);
    const at = { lane: header.lane, batch: header.number, entry: index, sequence };
    const { l1 } = this.#options;
    this.#count.entries++;
    let judged: JudgedEntry;
    try {
      judged = judgeEntry(entry, header.lane, l1.view, { hash: this.#hash, recover: this.#recover });
    } catch (error) {
      this.#refused('entry.form', at, 'a bundle', error);
      return new Uint8Array(32);
    }
    const { bundle } = judged;
    const account = state.accounts.get(bundle.sender) ?? NO_CLAIM;
    const expected = expectedClaims(judged, account);
    if (expected.void !== entry.void) {
      this.#report('entry.void', at, expected.void === 0 ? '0: nothing is wrong with it' : `1: ${expected.reason}`, entry.void);
    }
    this.#same('entry.previous', at, expected.previous, entry.previous);
    if (entry.void === 1) {
      this.#count.voidEntries++;
      return judged.leaf;
    }
    // By the log's claims, not by what they should be: so that one lie is one mismatch, and not those of all that come after it.
    state.accounts.set(bundle.sender, claimAfter(judged, sequence, account));
    this.#count.messages += bundle.count;
    if (bundle.expiry < header.timestamp) this.#count.expiredEntries++;
    if (l1.view.laneCount > 1) {
      for (const { topic } of decodeBundle(entry.bundle).messages) {
        if (topicLane(topic, l1.view.laneCount) !== bundle.lane) this.#count.misplacedMessages++;
      }
    }
    return judged.leaf;
  }

  /** The last batch is the contract's head, still. */
  async #finish(state: LaneState): Promise<void> {
    const { l1, signal } = this.#options;
    const { lane, head, last } = state;
    const at = { lane, batch: head.number };
    if ((last?.header.number ?? 0n) < head.number) throw missingLogs(lane, (last?.header.number ?? 0n) + 1n);
    if (last !== undefined) {
      const now = await l1.slot(lane, last.header.number, { signal });
      if (now.committed !== last.hash && batchHash(last.header) === last.hash) {
        throw new L1Error('l1.rpc', `the L1 reorganized lane ${lane} during the audit: run it again`);
      }
    }
    this.#same('head', at, head.nextSequence, last === undefined ? 0n : last.header.firstSequence + BigInt(last.header.count));
    this.#same('head', at, head.timestamp, last?.header.timestamp ?? 0n);
  }

  #same(check: AuditCheck, at: Place, expected: string | bigint, got: string | bigint): void {
    if (expected !== got) this.#report(check, at, expected, got);
  }

  #refused(check: AuditCheck, at: Place, expected: string, error: unknown): void {
    if (!(error instanceof ProtocolError)) throw error;
    this.#report(check, at, expected, error.message);
  }

  #report(check: AuditCheck, at: Place, expected: string | bigint, got: string | bigint | number): void {
    const mismatch = { check, ...at, expected: String(expected), got: String(got) };
    this.#mismatchCount++;
    if (this.#mismatches.length < MAX_KEPT_MISMATCHES) this.#mismatches.push(mismatch);
    this.#options.onMismatch?.(mismatch);
  }
}

interface Place {
  readonly lane: number;
  readonly batch: bigint;
  readonly entry?: number | undefined;
  readonly sequence?: bigint | undefined;
}
