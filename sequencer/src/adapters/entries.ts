import { toHex } from '@sealpost/prover';
import type { Database } from 'better-sqlite3';
import type { Entry, EntryPage, FullEntry } from '../ports.js';
import type { DigestPage } from '../sealer.js';
import { BUNDLE_AT, type BundleFile } from './bundle-file.js';
import { laneOf, positionOf, sequenceOf } from './schema.js';

/** A row of `entries`: everything of an entry but its bundle. */
export interface EntryRow {
  position: number;
  void: 0 | 1;
  previous: number;
  accepted_at: number;
  sender: Buffer;
  nonce: number;
  count: number;
  struct_hash: Buffer;
  bundle_hash: Buffer;
  file_offset: number;
  bytes: number;
}

// What is read from the bundle file at a time.
const PAGE_BYTES = 4_194_304;

/** Which entries: `count` of them (or all) from `firstSequence` on. */
export interface EntryRange {
  readonly lane: number;
  readonly firstSequence: bigint;
  readonly count?: number;
}

/** Entries with their bundles, a page of at most a few MiB at a time. */
export function* entryPages(database: Database, file: BundleFile, range: EntryRange): Generator<EntryPage> {
  for (const { rows, bytes } of rowPages<EntryRow>(database, '*', file, range)) {
    let at = 0;
    const entries = rows.map((row) => {
      at += BUNDLE_AT + row.bytes;
      return { ...toEntry(row), bundle: bytes.subarray(at - row.bytes, at) };
    });
    yield { entries, bytes };
  }
}

type DigestRow = Pick<
  EntryRow,
  'position' | 'file_offset' | 'bytes' | 'void' | 'previous' | 'bundle_hash' | 'accepted_at' | 'count'
>;
const DIGEST_COLUMNS = 'position, file_offset, bytes, void, previous, bundle_hash, accepted_at, count';

/** The same with no more of an entry than a batch's digest needs: to read a whole row costs more than to hash a bundle of one. */
export function* digestPages(database: Database, file: BundleFile, range: EntryRange): Generator<DigestPage> {
  for (const { rows, bytes } of rowPages<DigestRow>(database, DIGEST_COLUMNS, file, range)) {
    const entries = rows.map((row) => ({
      void: row.void,
      previous: BigInt(row.previous),
      bundleHash: row.bundle_hash,
      acceptedAt: BigInt(row.accepted_at),
      count: row.count,
    }));
    yield { entries, bytes };
  }
}

function* rowPages<Row extends Pick<EntryRow, 'position' | 'file_offset' | 'bytes'>>(
  database: Database,
  columns: string,
  file: BundleFile,
  { lane, firstSequence, count }: EntryRange,
): Generator<{ rows: Row[]; bytes: Buffer }> {
  const statement = database.prepare(`SELECT ${columns} FROM entries WHERE position >= ? AND position < ? ORDER BY position`);
  const end = count === undefined ? positionOf(lane + 1, 0n) : positionOf(lane, firstSequence + BigInt(count));
  let from = positionOf(lane, firstSequence);
  while (from < end) {
    const rows: Row[] = [];
    let bytes = 0;
    for (const row of statement.iterate(from, end) as IterableIterator<Row>) {
      // Those of one append follow each other in the file, too: they are read with one call.
      if (bytes > 0 && row.file_offset !== (rows[0] as Row).file_offset + bytes) break;
      rows.push(row);
      bytes += BUNDLE_AT + row.bytes;
      from = row.position + 1;
      if (bytes >= PAGE_BYTES) break;
    }
    if (rows.length === 0) return;
    yield { rows, bytes: file.read((rows[0] as Row).file_offset, bytes) };
  }
}

/** The entry with its bundle. */
export const toFullEntry = (row: EntryRow, file: BundleFile): FullEntry => ({
  ...toEntry(row),
  bundle: file.read(row.file_offset + BUNDLE_AT, row.bytes),
});

export function toEntry(row: EntryRow): Entry {
  return {
    lane: laneOf(row.position),
    sequence: sequenceOf(row.position),
    void: row.void,
    previous: BigInt(row.previous),
    acceptedAt: BigInt(row.accepted_at),
    sender: toHex(row.sender),
    nonce: BigInt(row.nonce),
    count: row.count,
    structHash: row.struct_hash,
    bundleHash: row.bundle_hash,
    bytes: row.bytes,
  };
}

/** Where the bundle file ends, as far as the database knows: behind the last entry of some lane, or behind what was dropped last. */
export function endOfBundles(database: Database): number {
  const laneCount = database.prepare('SELECT lane_count FROM genesis').pluck().get() as number;
  const last = database.prepare(
    `SELECT file_offset + ${BUNDLE_AT} + bytes FROM entries WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT 1`,
  );
  let end = database.prepare('SELECT COALESCE(MAX(file_offset), 0) FROM lane_terms').pluck().get() as number;
  for (let lane = 0; lane < laneCount; lane++) {
    end = Math.max(end, (last.pluck().get(positionOf(lane, 0n), positionOf(lane + 1, 0n)) as number | undefined) ?? 0);
  }
  return end;
}
