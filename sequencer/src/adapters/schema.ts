import type { Database } from 'better-sqlite3';
import type { TopicSalt } from '../topics.js';

/**
 * The numbered migrations, oldest first; `user_version` counts those that were applied, and those before them that no database
 * of today has. One stage writes each table: sequencer → entries, groups, vouchers, topic_runs; sealer → batches,
 * batch_leaves; follower → l1_blocks, commitments, forced_bundles, demands; poster → sends; the start, before there are stages → lane_terms,
 * and what a term that is over takes along (lane-terms.ts). The one exception: which sequence a forced bundle got is written with the
 * entry itself, by the sequencer.
 */
const MIGRATIONS = [
  `CREATE TABLE genesis (
     id INTEGER PRIMARY KEY CHECK (id = 1),
     chain_id TEXT NOT NULL, settlement TEXT NOT NULL, lane_count INTEGER NOT NULL, signer TEXT NOT NULL,
     topic_salt BLOB NOT NULL
   ) STRICT;

   -- The bundles themselves are in the bundle file (bundle-file.ts): the entry's bytes start at file_offset there.
   CREATE TABLE entries (
     position INTEGER PRIMARY KEY,
     lane INTEGER NOT NULL, void INTEGER NOT NULL, previous INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
     sender BLOB NOT NULL, nonce INTEGER NOT NULL, count INTEGER NOT NULL,
     struct_hash BLOB NOT NULL, bundle_hash BLOB NOT NULL,
     file_offset INTEGER NOT NULL, bytes INTEGER NOT NULL
   ) STRICT;
   CREATE UNIQUE INDEX entries_by_nonce ON entries (sender, lane, nonce) WHERE void = 0;

   -- The runs of the topic index (topics.ts). Their postings are in files of their own (run-files.ts).
   CREATE TABLE topic_runs (
     id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, level INTEGER NOT NULL,
     first_place INTEGER NOT NULL, end_place INTEGER NOT NULL, fences BLOB NOT NULL
   ) STRICT;

   CREATE TABLE groups (
     position INTEGER PRIMARY KEY, count INTEGER NOT NULL, root BLOB NOT NULL, include_by INTEGER, signature BLOB
   ) STRICT;

   CREATE TABLE batches (
     lane INTEGER NOT NULL, number INTEGER NOT NULL, term INTEGER NOT NULL, parent_hash BLOB NOT NULL,
     first_sequence INTEGER NOT NULL, count INTEGER NOT NULL, bundles_root BLOB NOT NULL, inbox_count INTEGER NOT NULL,
     timestamp INTEGER NOT NULL, data_hash BLOB NOT NULL, batch_hash BLOB NOT NULL,
     bytes INTEGER NOT NULL, messages INTEGER NOT NULL,
     PRIMARY KEY (lane, number)
   ) STRICT, WITHOUT ROWID;
   CREATE UNIQUE INDEX batches_by_sequence ON batches (lane, first_sequence);

   CREATE TABLE batch_leaves (
     lane INTEGER NOT NULL, number INTEGER NOT NULL, leaves BLOB NOT NULL,
     PRIMARY KEY (lane, number)
   ) STRICT;

   CREATE TABLE l1_blocks (
     number INTEGER PRIMARY KEY, hash BLOB NOT NULL, parent_hash BLOB NOT NULL, timestamp INTEGER NOT NULL
   ) STRICT;

   CREATE TABLE commitments (
     lane INTEGER NOT NULL, number INTEGER NOT NULL, batch_hash BLOB NOT NULL, transaction_hash BLOB NOT NULL,
     block_number INTEGER NOT NULL, block_hash BLOB NOT NULL,
     PRIMARY KEY (lane, number)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX commitments_by_block ON commitments (block_number);

   CREATE TABLE sends (
     transaction_hash BLOB PRIMARY KEY, nonce INTEGER NOT NULL, lane INTEGER NOT NULL,
     first_number INTEGER NOT NULL, last_number INTEGER NOT NULL,
     max_fee_per_gas TEXT NOT NULL, max_priority_fee_per_gas TEXT NOT NULL, raw BLOB NOT NULL, sent_at INTEGER NOT NULL
   ) STRICT;`,
  `-- The contract's inbox (PROTOCOL.md §8). sequence: where the log has the bundle, once it has.
   CREATE TABLE forced_bundles (
     lane INTEGER NOT NULL, inbox_index INTEGER NOT NULL, bundle_hash BLOB NOT NULL, deadline INTEGER NOT NULL,
     bundle BLOB NOT NULL, block_number INTEGER NOT NULL, sequence INTEGER,
     PRIMARY KEY (lane, inbox_index)
   ) STRICT;
   CREATE INDEX forced_bundles_waiting ON forced_bundles (lane, inbox_index) WHERE sequence IS NULL;
   CREATE INDEX forced_bundles_by_sequence ON forced_bundles (lane, sequence) WHERE sequence IS NOT NULL;
   CREATE INDEX forced_bundles_by_block ON forced_bundles (block_number);

   -- Of the contract (PROTOCOL.md §7). answered_block: where somebody answered, once somebody has.
   CREATE TABLE demands (
     lane INTEGER NOT NULL, term INTEGER NOT NULL, sequence INTEGER NOT NULL, deadline INTEGER NOT NULL,
     block_number INTEGER NOT NULL, answered_block INTEGER,
     PRIMARY KEY (lane, term, sequence)
   ) STRICT;
   CREATE INDEX demands_open ON demands (deadline) WHERE answered_block IS NULL;`,
  `-- Of an account's entries that are neither void nor out of the inbox, the one with the highest postage (PROTOCOL.md §3): 16 bytes,
   -- big-endian, so that they compare as numbers. None where all of them have 0.
   CREATE TABLE vouchers (
     lane INTEGER NOT NULL, sender BLOB NOT NULL, postage BLOB NOT NULL, sequence INTEGER NOT NULL,
     PRIMARY KEY (lane, sender)
   ) STRICT, WITHOUT ROWID;`,
  `-- The term that a signature is of (PROTOCOL.md §7).
   ALTER TABLE groups ADD COLUMN term INTEGER NOT NULL DEFAULT 1;

   -- The term in which a lane's entries that are not committed were accepted; none where nothing was accepted since the last cut.
   -- file_offset: entries that are added from now on stand behind it in the bundle file; what is before it and has no row was dropped.
   CREATE TABLE lane_terms (
     lane INTEGER PRIMARY KEY, term INTEGER, first_sequence INTEGER, file_offset INTEGER NOT NULL
   ) STRICT;
   WITH RECURSIVE lanes (lane) AS (
     SELECT 0 FROM genesis UNION ALL SELECT lane + 1 FROM lanes, genesis WHERE lane + 1 < lane_count
   ), newest (lane, term) AS (
     SELECT lane, COALESCE((SELECT MAX(term) FROM batches WHERE batches.lane = lanes.lane), 1) FROM lanes
   )
   INSERT INTO lane_terms SELECT lane, term,
     COALESCE((SELECT MIN(first_sequence) FROM batches WHERE batches.lane = newest.lane AND batches.term = newest.term), 0), 0 FROM newest;`,
];

/** Version 1, of before the first release, held the bundles inside SQLite: it is not carried over. */
export const UNSUPPORTED_VERSIONS = 1;
export const SCHEMA_VERSION = UNSUPPORTED_VERSIONS + MIGRATIONS.length;

/** Applies the migrations that the database does not have yet, all or nothing. */
export function migrate(database: Database): void {
  const applied = database.pragma('user_version', { simple: true }) as number;
  database.transaction(() => {
    for (const migration of MIGRATIONS.slice(Math.max(0, applied - UNSUPPORTED_VERSIONS))) database.exec(migration);
    database.pragma(`user_version = ${SCHEMA_VERSION}`);
  })();
}

/** The database's own secret for topic keys. */
export const saltOf = (database: Database): TopicSalt =>
  new Uint32Array(new Uint8Array(database.prepare('SELECT topic_salt FROM genesis').pluck().get() as Buffer).buffer);

/** Settings that last as long as a connection. WAL lasts as long as the file. */
export function configure(database: Database): void {
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.pragma('cache_size = -8192');
}

// 16 bits of lane above 37 bits of sequence: one integer key that a JavaScript number holds exactly. 137 billion
// entries a lane; integers keep the index half the size that blobs need.
const SEQUENCES = 2 ** 37;

/** The integer key of an entry: lanes one after the other, each in order of its sequence. */
export function positionOf(lane: number, sequence: bigint): number {
  if (sequence >= BigInt(SEQUENCES)) throw new RangeError(`sequence ${sequence} is beyond what this database can hold`);
  return lane * SEQUENCES + Number(sequence);
}

export const laneOf = (position: number): number => Math.floor(position / SEQUENCES);
export const sequenceOf = (position: number): bigint => BigInt(position % SEQUENCES);
