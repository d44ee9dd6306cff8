import { toHex } from '@sealpost/prover';
import type { Database } from 'better-sqlite3';
import type { Entry, FullEntry } from '../ports.js';
import { laneOf, positionOf, sequenceOf } from './schema.js';

/** The columns of an entry without its bundle: reading them does not touch the pages that hold the bundle. */
export const ENTRY =
  'position, void, previous, accepted_at, sender, nonce, count, struct_hash, bundle_hash, length(bundle) AS bytes';

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
  bytes: number;
  bundle: Buffer;
}

// One page is copied out of SQLite at a time.
const PAGE_BYTES = 4_194_304;

/** Entries with their bundles, `count` of them (or all) from `firstSequence` on, a page of a few MiB at a time. */
export function* entryPages(
  database: Database,
  { lane, firstSequence, count }: { lane: number; firstSequence: bigint; count?: number },
): Generator<FullEntry[]> {
  const statement = database.prepare(
    `SELECT ${ENTRY}, bundle FROM entries WHERE position >= ? AND position < ? ORDER BY position`,
  );
  const end = count === undefined ? positionOf(lane + 1, 0n) : positionOf(lane, firstSequence + BigInt(count));
  let from = positionOf(lane, firstSequence);
  while (from < end) {
    const page: FullEntry[] = [];
    let bytes = 0;
    for (const row of statement.iterate(from, end) as IterableIterator<EntryRow>) {
      page.push({ ...toEntry(row), bundle: row.bundle });
      bytes += row.bytes;
      from = row.position + 1;
      if (bytes >= PAGE_BYTES) break;
    }
    if (page.length === 0) return;
    yield page;
  }
}

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
