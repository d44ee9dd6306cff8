import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type BatchHeader, fromHex, type Hex, toHex } from '@sealpost/prover';
import SqliteDatabase, { type Database } from 'better-sqlite3';
import {
  type CommitGroup,
  type Commitment,
  type Demand,
  type Entry,
  type EntryPage,
  type ForcedBundle,
  type ForcedPlace,
  type FullEntry,
  type Genesis,
  type GroupRecord,
  type L1Block,
  type L1Step,
  type Place,
  type PostageKey,
  type SealedBatch,
  type SendRecord,
  type SignedStatement,
  type Store,
  StoreFullError,
  StoreOpenError,
  type Term,
  type Voucher,
} from '../ports.js';
import { Thread, ThreadError } from '../threads.js';
import { SALT_WORDS } from '../topics.js';
import { BundleFile, bundleFilePath } from './bundle-file.js';
import { type EntryRow, endOfBundles, entryPages, toEntry, toFullEntry } from './entries.js';
import type { IndexRequest } from './index-worker.js';
import { beginTerms, type TermBeginning } from './lane-terms.js';
import { packGroups } from './packed-groups.js';
import { type Recovery, recoverAppends } from './recovery.js';
import { bytesOfRuns, hasRun, runFolder, syncFolder } from './run-files.js';
import { configure, laneOf, migrate, positionOf, SCHEMA_VERSION, saltOf, sequenceOf, UNSUPPORTED_VERSIONS } from './schema.js';
import type { Write, WriterData } from './sqlite-writer.js';
import { placeNumber, readRuns, TopicIndex } from './topic-index.js';

export interface StoreOptions {
  /** How large the database and the file of its bundles may each become; 0 for no limit but the disk's. */
  readonly maxBytes?: number;
  /** Terms that begin on lanes now, before the store is opened: what an earlier one left uncommitted goes. All or nothing. */
  readonly begin?: readonly TermBeginning[];
  /** Called while the store is opened, if the bundle file had what the database had not. */
  readonly onRecovery?: (recovery: Recovery) => void;
  /** The topic index could not be kept: the process must end and load again. By default the error is thrown to nobody. */
  readonly onFatal?: (error: Error) => void;
}

/** As an uncaught error, because nobody waits for what failed. */
const rethrow = (error: Error): void => {
  queueMicrotask(() => {
    throw error;
  });
};

/**
 * Makes an empty database for one chain and one contract, and opens it.
 * @throws StoreOpenError store.exists, store.unwritable, store.locked
 */
export async function createStore(path: string, genesis: Genesis, options: StoreOptions = {}): Promise<Store> {
  if (existsSync(path)) throw new StoreOpenError('store.exists', `${path} is already there: start without creating it`);
  const lock = takeLock(path);
  // Made whole under another name, and synced by its close: a crash in here leaves no database under its own name.
  const draft = `${path}.new`;
  try {
    if (existsSync(path)) throw new StoreOpenError('store.exists', `${path} was made by another process just now`);
    const bundles = bundleFilePath(path);
    if ((statSync(bundles, { throwIfNoEntry: false })?.size ?? 0) > 0) {
      throw new StoreOpenError('store.exists', `${bundles} holds the bundles of a database that is lost: move it away first`);
    }
    removeDatabase(draft);
    const database = new SqliteDatabase(draft);
    try {
      configure(database);
      database.transaction(() => {
        migrate(database);
        database
          .prepare('INSERT INTO genesis (id, chain_id, settlement, lane_count, signer, topic_salt) VALUES (1, ?, ?, ?, ?, ?)')
          .run(String(genesis.chainId), genesis.settlement, genesis.laneCount, genesis.signer, randomBytes(4 * SALT_WORDS));
      })();
    } finally {
      database.close();
    }
    // Before the database: where it is, they are.
    writeFileSync(bundles, '');
    rmSync(runFolder(path), { recursive: true, force: true });
    mkdirSync(runFolder(path));
    renameSync(draft, path);
    syncFolder(dirname(path));
  } catch (cause) {
    removeDatabase(draft);
    lock.close();
    if (cause instanceof StoreOpenError) throw cause;
    throw new StoreOpenError('store.unwritable', `${path} cannot be made: ${(cause as Error).message}`, { cause });
  }
  return open(path, lock, options);
}

/**
 * Opens a database that is there; never makes one.
 * @throws StoreOpenError store.missing, store.locked, store.unwritable, store.damaged
 */
export async function loadStore(path: string, options: StoreOptions = {}): Promise<Store> {
  if (!existsSync(path)) throw new StoreOpenError('store.missing', `${path} is not there: create it first`);
  const lock = takeLock(path);
  try {
    const database = new SqliteDatabase(path, { fileMustExist: true });
    try {
      const version = database.pragma('user_version', { simple: true }) as number;
      if (version > SCHEMA_VERSION) {
        throw new Error(`its schema is version ${version}, this software knows ${SCHEMA_VERSION}: start a newer release`);
      }
      if (version > 0 && version <= UNSUPPORTED_VERSIONS) {
        throw new Error(`its schema is version ${version}, of before the first release: start with an empty folder`);
      }
      configure(database);
      migrate(database);
      if (database.prepare('SELECT 1 FROM genesis').get() === undefined) {
        throw new Error('it has no genesis: its making was interrupted; remove it and create it again');
      }
      checkFiles(path, database);
      const bundles = new BundleFile(bundleFilePath(path), 'write');
      try {
        const recovery = recoverAppends(database, bundles);
        if (recovery.appends > 0 || recovery.cutBytes > 0) options.onRecovery?.(recovery);
        if (options.begin !== undefined) beginTerms(database, bundles, options.begin);
      } finally {
        bundles.close();
      }
    } finally {
      database.close();
    }
  } catch (cause) {
    lock.close();
    const unwritable = ['SQLITE_READONLY', 'SQLITE_CANTOPEN', 'SQLITE_PERM'].some((code) =>
      (cause as { code?: string }).code?.startsWith(code),
    );
    throw new StoreOpenError(
      unwritable ? 'store.unwritable' : 'store.damaged',
      `${path} cannot be opened: ${(cause as Error).message}`,
      { cause },
    );
  }
  return open(path, lock, options);
}

/**
 * Holds an SQLite lock on a file beside the database for as long as the process lives: the system lets go of it however
 * the process ends, and no stale file can keep anybody out.
 */
function takeLock(path: string): Database {
  let lock: Database;
  try {
    makeFolder(dirname(path));
    lock = new SqliteDatabase(`${path}.lock`, { timeout: 0 });
  } catch (cause) {
    throw new StoreOpenError('store.unwritable', `${dirname(path)} cannot be written: ${(cause as Error).message}`, { cause });
  }
  try {
    lock.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    lock.close();
    if (!(cause as { code?: string }).code?.startsWith('SQLITE_BUSY')) {
      throw new StoreOpenError('store.unwritable', `${path}.lock cannot be locked: ${(cause as Error).message}`, { cause });
    }
    throw new StoreOpenError('store.locked', `${path} is in use by another sequencer: one database, one process`, { cause });
  }
  return lock;
}

function removeDatabase(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
}

/** What belongs to a database is there: the file of its bundles, at least as long as the database says, and its topic index. */
function checkFiles(path: string, database: Database): void {
  const file = bundleFilePath(path);
  const { size } = statSync(file, { throwIfNoEntry: false }) ?? {};
  const end = endOfBundles(database);
  if (size === undefined) throw new Error(`${file} is missing: it holds the bundles, put it back beside the database`);
  if (size < end) throw new Error(`${file} has ${size} bytes, expected ${end}: it is older than the database, or was cut off`);
  const folder = runFolder(path);
  const missing = readRuns(database).find(({ id }) => !hasRun(folder, id));
  if (missing !== undefined || !existsSync(folder)) {
    throw new Error(`${folder} is not whole: it holds the topic index, put it back beside the database`);
  }
}

/** Node's recursive mkdir never returns where mkdir says ENOENT though the parent is there, as under /proc. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder);
}

function open(path: string, lock: Database, { maxBytes = 0, onFatal = rethrow }: StoreOptions): SqliteStore {
  // Not opened read-only: closed last, it folds the WAL into the database, and an orderly end leaves one file of it to copy.
  const reader = new SqliteDatabase(path, { fileMustExist: true });
  reader.pragma('query_only = ON');
  reader.pragma('cache_size = -8192');
  const writer = new Thread(new URL('./sqlite-writer.js', import.meta.url), { path, maxBytes } satisfies WriterData);
  const indexer = new Thread(new URL('./index-worker.js', import.meta.url), { folder: runFolder(path) });
  return new SqliteStore(path, lock, reader, writer, indexer, onFatal);
}

interface BatchRow {
  lane: number;
  number: number;
  term: number;
  parent_hash: Buffer;
  first_sequence: number;
  count: number;
  bundles_root: Buffer;
  inbox_count: number;
  timestamp: number;
  data_hash: Buffer;
  batch_hash: Buffer;
  bytes: number;
  messages: number;
}

interface ForcedRow {
  lane: number;
  inbox_index: number;
  bundle_hash: Buffer;
  deadline: number;
  bundle: Buffer;
  block_number: number;
  sequence: number;
}

interface VoucherRow {
  lane: number;
  sender: Buffer;
  postage: Buffer;
  sequence: number;
}

interface CommitmentRow {
  lane: number;
  number: number;
  batch_hash: Buffer;
  transaction_hash: Buffer;
  block_number: number;
  block_hash: Buffer;
}

/** `Store` over one SQLite file in WAL mode: a thread that writes, and a connection that reads what is committed. */
class SqliteStore implements Store {
  readonly genesis: Genesis;
  private readonly bundles: BundleFile;
  private readonly topics: TopicIndex;
  private readonly statements;

  constructor(
    private readonly path: string,
    private readonly lock: Database,
    private readonly reader: Database,
    private readonly writer: Thread,
    private readonly indexer: Thread,
    onFatal: (error: Error) => void,
  ) {
    const row = reader.prepare('SELECT * FROM genesis').get() as Record<string, string | number | Buffer>;
    this.genesis = {
      chainId: BigInt(row.chain_id as string),
      settlement: row.settlement as Hex,
      laneCount: row.lane_count as number,
      signer: row.signer as Hex,
    };
    this.bundles = new BundleFile(bundleFilePath(path), 'read');
    this.topics = new TopicIndex({
      reader,
      bundles: this.bundles,
      folder: runFolder(path),
      salt: saltOf(reader),
      laneCount: this.genesis.laneCount,
      ask: (request) => this.ask(request),
      write: (write) => this.write(write),
      onFatal,
    });
    const inLane = 'position >= ? AND position < ?';
    this.statements = {
      termOf: reader.prepare('SELECT term, first_sequence FROM lane_terms WHERE lane = ? AND term IS NOT NULL'),
      tail: reader.prepare(`SELECT position, accepted_at FROM entries WHERE ${inLane} ORDER BY position DESC LIMIT 1`),
      lastEntryOf: reader.prepare(`SELECT * FROM entries WHERE void = 0 AND sender = ? AND lane = ? ORDER BY nonce DESC LIMIT 1`),
      entryByNonce: reader.prepare(
        `SELECT * FROM entries WHERE void = 0 AND sender = ? AND lane = ? AND nonce <= ? ORDER BY nonce DESC LIMIT 1`,
      ),
      voucherOf: reader.prepare('SELECT * FROM vouchers WHERE lane = ? AND sender = ?'),
      vouchers: reader.prepare('SELECT * FROM vouchers WHERE (lane, sender) > (?, ?) ORDER BY lane, sender LIMIT ?'),
      entry: reader.prepare('SELECT * FROM entries WHERE position = ?'),
      entries: reader.prepare(`SELECT * FROM entries WHERE ${inLane} ORDER BY position LIMIT ?`),
      groupOf: reader.prepare('SELECT * FROM groups WHERE position <= ? ORDER BY position DESC LIMIT 1'),
      leavesOf: reader.prepare('SELECT leaves FROM batch_leaves WHERE lane = ? AND number = ?').pluck(),
      batch: reader.prepare('SELECT * FROM batches WHERE lane = ? AND number = ?'),
      batchOf: reader.prepare(
        'SELECT * FROM batches WHERE lane = ? AND first_sequence <= ? ORDER BY first_sequence DESC LIMIT 1',
      ),
      batches: reader.prepare('SELECT * FROM batches WHERE lane = ? AND number < ? ORDER BY number DESC LIMIT ?'),
      batchesFrom: reader.prepare('SELECT * FROM batches WHERE lane = ? AND number >= ? ORDER BY number LIMIT ?'),
      l1Blocks: reader.prepare('SELECT * FROM l1_blocks ORDER BY number'),
      commitment: reader.prepare('SELECT * FROM commitments WHERE lane = ? AND number = ?'),
      lastCommitment: reader.prepare(
        'SELECT * FROM commitments WHERE lane = ? AND block_number <= ? ORDER BY number DESC LIMIT 1',
      ),
      sends: reader.prepare('SELECT * FROM sends ORDER BY rowid'),
      // What a committed batch consumed waits no more, whoever made the batch.
      forcedWaiting: reader.prepare(
        `SELECT * FROM forced_bundles WHERE lane = ? AND sequence IS NULL AND block_number <= ? AND inbox_index >= COALESCE((
           SELECT inbox_count FROM commitments JOIN batches USING (lane, number) WHERE lane = ? ORDER BY number DESC LIMIT 1
         ), 0) ORDER BY inbox_index LIMIT ?`,
      ),
      openDemands: reader.prepare('SELECT * FROM demands WHERE answered_block IS NULL AND deadline >= ? ORDER BY deadline'),
      forcedIn: reader.prepare(
        'SELECT lane, inbox_index, sequence FROM forced_bundles WHERE lane = ? AND sequence >= ? AND sequence < ? ORDER BY sequence',
      ),
    };
  }

  termOf(lane: number): Term | undefined {
    const row = this.statements.termOf.get(lane) as { term: number; first_sequence: number } | undefined;
    return row === undefined ? undefined : { term: row.term, firstSequence: BigInt(row.first_sequence) };
  }

  async appendGroups(
    groups: readonly CommitGroup[],
    signed: readonly SignedStatement[],
    forced: readonly ForcedPlace[] = [],
  ): Promise<Float64Array> {
    const packed = packGroups(groups, signed, forced);
    const { records, numbers, hashes } = packed;
    const keys = await this.write<Float64Array>({ kind: 'groups', ...packed }, [records.buffer, numbers.buffer, hashes.buffer]);
    let at = 0;
    for (const { lane, entries } of groups) {
      const start = at;
      const places = new Float64Array(entries.reduce((sum, entry) => sum + (entry.void === 0 ? entry.count : 0), 0));
      for (const { void: isVoid, sequence, count } of entries) {
        if (isVoid !== 0) continue;
        const first = placeNumber({ sequence, index: 0 });
        for (let index = 0; index < count; index++) places[at++ - start] = first + index;
      }
      this.topics.added(
        lane,
        keys.subarray(start, at),
        places,
        entries.reduce((sum, { bytes }) => sum + bytes, 0),
      );
    }
    return keys;
  }

  forcedWaiting(lane: number, upToBlock: bigint, limit: number): ForcedBundle[] {
    const rows = this.statements.forcedWaiting.all(lane, clamp(upToBlock), lane, limit) as ForcedRow[];
    return rows.map((row) => ({
      lane: row.lane,
      index: BigInt(row.inbox_index),
      bundleHash: toHex(row.bundle_hash),
      deadline: BigInt(row.deadline),
      bundle: row.bundle,
      blockNumber: BigInt(row.block_number),
    }));
  }

  forcedIn(lane: number, firstSequence: bigint, endSequence: bigint): ForcedPlace[] {
    const rows = this.statements.forcedIn.all(lane, clamp(firstSequence), clamp(endSequence)) as Pick<
      ForcedRow,
      'inbox_index' | 'sequence'
    >[];
    return rows.map((row) => ({ lane, index: BigInt(row.inbox_index), sequence: BigInt(row.sequence) }));
  }

  openDemands(block: bigint): Demand[] {
    const rows = this.statements.openDemands.all(clamp(block)) as Record<
      'lane' | 'term' | 'sequence' | 'deadline' | 'block_number',
      number
    >[];
    return rows.map((row) => ({
      lane: row.lane,
      term: row.term,
      sequence: BigInt(row.sequence),
      deadline: BigInt(row.deadline),
      blockNumber: BigInt(row.block_number),
    }));
  }

  tail(lane: number): { nextSequence: bigint; acceptedAt: bigint } {
    const row = this.statements.tail.get(...laneBounds(lane)) as EntryRow | undefined;
    if (row === undefined) return { nextSequence: 0n, acceptedAt: 0n };
    return { nextSequence: sequenceOf(row.position) + 1n, acceptedAt: BigInt(row.accepted_at) };
  }

  lastEntryOf(sender: Hex, lane: number): Entry | undefined {
    return entryOf(this.statements.lastEntryOf.get(fromHex(sender), lane));
  }

  entryByNonce(sender: Hex, lane: number, nonce: bigint): Entry | undefined {
    // Accepted nonces grow from 0 by at most 4,096 a bundle: beyond the largest exact number there is none.
    if (nonce > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    const entry = entryOf(this.statements.entryByNonce.get(fromHex(sender), lane, Number(nonce)));
    return entry !== undefined && nonce < entry.nonce + BigInt(entry.count) ? entry : undefined;
  }

  voucherOf(sender: Hex, lane: number): Voucher | undefined {
    const row = this.statements.voucherOf.get(lane, fromHex(sender)) as VoucherRow | undefined;
    return row === undefined ? undefined : toVoucher(row);
  }

  vouchers(after: PostageKey | undefined, limit: number): Voucher[] {
    const [lane, sender] = after === undefined ? [-1, ''] : [after.lane, fromHex(after.sender)];
    return (this.statements.vouchers.all(lane, sender, limit) as VoucherRow[]).map(toVoucher);
  }

  entry(lane: number, sequence: bigint): FullEntry | undefined {
    const row = this.statements.entry.get(positionOf(lane, sequence)) as EntryRow | undefined;
    return row === undefined ? undefined : toFullEntry(row, this.bundles);
  }

  entries(lane: number, firstSequence: bigint, maxCount: number): Entry[] {
    const [, end] = laneBounds(lane);
    const rows = this.statements.entries.all(positionOf(lane, firstSequence), end, maxCount) as EntryRow[];
    return rows.map(toEntry);
  }

  groupOf(lane: number, sequence: bigint): GroupRecord | undefined {
    const row = this.statements.groupOf.get(positionOf(lane, sequence)) as
      | { position: number; count: number; root: Buffer; term: number; include_by: number | null; signature: Buffer | null }
      | undefined;
    if (row === undefined || laneOf(row.position) !== lane) return undefined;
    const firstSequence = sequenceOf(row.position);
    if (sequence >= firstSequence + BigInt(row.count)) return undefined;
    const signed =
      row.signature === null || row.include_by === null
        ? undefined
        : { term: row.term, includeBy: BigInt(row.include_by), signature: toHex(row.signature) };
    return { lane, firstSequence, count: row.count, root: toHex(row.root), signed };
  }

  topicKey(topic: Hex): number {
    return this.topics.keyOf(topic);
  }

  placesOf(topic: Hex, lane: number, after: Place | undefined, limit: number): Place[] {
    return this.topics.placesOf(topic, lane, after, limit);
  }

  entryPages(lane: number, firstSequence: bigint, count: number): Generator<EntryPage> {
    return entryPages(this.reader, this.bundles, { lane, firstSequence, count });
  }

  async appendBatch(batch: SealedBatch, leaves: Uint8Array): Promise<void> {
    await this.write({ kind: 'batch', batch, leaves });
  }

  async unseal(lane: number, from: bigint): Promise<void> {
    await this.write({ kind: 'unseal', lane, from });
  }

  leavesOf(lane: number, number: bigint): Uint8Array {
    return this.statements.leavesOf.get(lane, clamp(number)) as Buffer;
  }

  batch(lane: number, number: bigint): SealedBatch | undefined {
    return batchOf(this.statements.batch.get(lane, clamp(number)));
  }

  lastBatch(lane: number): SealedBatch | undefined {
    return this.batches(lane, undefined, 1)[0];
  }

  batchOf(lane: number, sequence: bigint): SealedBatch | undefined {
    const batch = batchOf(this.statements.batchOf.get(lane, sequence));
    return batch !== undefined && sequence < batch.header.firstSequence + BigInt(batch.header.count) ? batch : undefined;
  }

  batches(lane: number, before: bigint | undefined, limit: number): SealedBatch[] {
    const rows = this.statements.batches.all(lane, clamp(before), limit) as BatchRow[];
    return rows.map(toBatch);
  }

  batchesFrom(lane: number, from: bigint, limit: number): SealedBatch[] {
    return (this.statements.batchesFrom.all(lane, clamp(from), limit) as BatchRow[]).map(toBatch);
  }

  async applyL1(step: L1Step): Promise<void> {
    await this.write({ kind: 'l1', step });
  }

  l1Blocks(): L1Block[] {
    const rows = this.statements.l1Blocks.all() as { number: number; hash: Buffer; parent_hash: Buffer; timestamp: number }[];
    return rows.map((row) => ({
      number: BigInt(row.number),
      hash: toHex(row.hash),
      parentHash: toHex(row.parent_hash),
      timestamp: BigInt(row.timestamp),
    }));
  }

  commitment(lane: number, number: bigint): Commitment | undefined {
    return commitmentOf(this.statements.commitment.get(lane, clamp(number)));
  }

  lastCommitment(lane: number, upToBlock: bigint): Commitment | undefined {
    return commitmentOf(this.statements.lastCommitment.get(lane, clamp(upToBlock)));
  }

  async recordSend(send: SendRecord): Promise<void> {
    await this.write({ kind: 'send', send });
  }

  sends(): SendRecord[] {
    const rows = this.statements.sends.all() as {
      transaction_hash: Buffer;
      nonce: number;
      lane: number;
      first_number: number;
      last_number: number;
      max_fee_per_gas: string;
      max_priority_fee_per_gas: string;
      raw: Buffer;
      sent_at: number;
    }[];
    return rows.map((row) => ({
      transactionHash: toHex(row.transaction_hash),
      nonce: row.nonce,
      lane: row.lane,
      firstNumber: BigInt(row.first_number),
      lastNumber: BigInt(row.last_number),
      maxFeePerGas: BigInt(row.max_fee_per_gas),
      maxPriorityFeePerGas: BigInt(row.max_priority_fee_per_gas),
      raw: toHex(row.raw),
      sentAt: row.sent_at,
    }));
  }

  async forgetSends(transactionHashes: readonly Hex[]): Promise<void> {
    await this.write({ kind: 'forget', transactionHashes });
  }

  bytesOnDisk(): number {
    let bytes = bytesOfRuns(runFolder(this.path));
    for (const file of [this.path, `${this.path}-wal`, `${this.path}-shm`, bundleFilePath(this.path)]) {
      bytes += statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    }
    return bytes;
  }

  async close(): Promise<void> {
    try {
      await this.topics.close();
      await this.write({ kind: 'close' });
    } finally {
      await Promise.all([this.writer.terminate(), this.indexer.terminate()]);
      this.bundles.close();
      this.reader.close();
      this.lock.close();
    }
  }

  private write<T>(write: Write, transfer: readonly ArrayBuffer[] = []): Promise<T> {
    return orStoreFull(this.writer.call<T>(write, transfer));
  }

  private ask<T>(request: IndexRequest): Promise<T> {
    const transfer = request.kind === 'sort' ? [request.postings.keys.buffer, request.postings.places.buffer] : [];
    return orStoreFull(this.indexer.call<T>(request, transfer as ArrayBuffer[]));
  }
}

// What SQLite and the system call it when there is no room, or a quota or limit is reached. Nothing is left of the write then:
// the transaction was rolled back before its commit frame, and the bundle file cut off.
const NO_ROOM = new Set(['SQLITE_FULL', 'ENOSPC', 'EDQUOT', 'EFBIG']);

async function orStoreFull<T>(written: Promise<T>): Promise<T> {
  try {
    return await written;
  } catch (error) {
    if (!(error instanceof ThreadError) || !NO_ROOM.has(error.code ?? '')) throw error;
    throw new StoreFullError(`no room for the database: ${error.message}`, { cause: error });
  }
}

const entryOf = (row: unknown): Entry | undefined => (row === undefined ? undefined : toEntry(row as EntryRow));

function toBatch(row: BatchRow): SealedBatch {
  const header: BatchHeader = {
    lane: row.lane,
    term: row.term,
    number: BigInt(row.number),
    parentHash: toHex(row.parent_hash),
    firstSequence: BigInt(row.first_sequence),
    count: row.count,
    bundlesRoot: toHex(row.bundles_root),
    inboxCount: BigInt(row.inbox_count),
    timestamp: BigInt(row.timestamp),
    dataHash: toHex(row.data_hash),
  };
  return { header, batchHash: toHex(row.batch_hash), bytes: row.bytes, messages: row.messages };
}

const toVoucher = ({ lane, sender, postage, sequence }: VoucherRow): Voucher => ({
  lane,
  sender: toHex(sender),
  postage: BigInt(toHex(postage)),
  sequence: BigInt(sequence),
});

const batchOf = (row: unknown): SealedBatch | undefined => (row === undefined ? undefined : toBatch(row as BatchRow));

const commitmentOf = (row: unknown): Commitment | undefined => {
  if (row === undefined) return undefined;
  const { lane, number, batch_hash, transaction_hash, block_number, block_hash } = row as CommitmentRow;
  return {
    lane,
    number: BigInt(number),
    batchHash: toHex(batch_hash),
    transactionHash: toHex(transaction_hash),
    blockNumber: BigInt(block_number),
    blockHash: toHex(block_hash),
  };
};

/** First position of a lane, and of the next. */
const laneBounds = (lane: number): [number, number] => [positionOf(lane, 0n), positionOf(lane + 1, 0n)];

/** A number to compare with: nothing stored is beyond the largest exact one. */
const clamp = (value: bigint | undefined): number =>
  value === undefined || value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
