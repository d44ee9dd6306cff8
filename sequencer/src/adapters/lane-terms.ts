import type { Database } from 'better-sqlite3';
import type { Term } from '../ports.js';
import { BUNDLE_AT, type BundleFile } from './bundle-file.js';
import { endOfBundles } from './entries.js';
import { voucherRows } from './group-rows.js';
import { nativeHashing } from './native.js';
import { POSTAGE_AT, POSTAGE_BYTES } from './packed-groups.js';
import { positionOf } from './schema.js';
import { placeNumber } from './topic-index.js';

/** How a lane's log goes on in another term. */
export interface TermBeginning {
  readonly lane: number;
  /** The lane's newest batch that stays; 0 for none. Everything behind it is dropped, from the index, too. */
  readonly lastNumber: bigint;
  /** In which entries are accepted from now on; undefined if that is not known yet. */
  readonly term: Term | undefined;
}

/**
 * Drops what an earlier term left uncommitted (PROTOCOL.md §10), and writes down the term that goes on. One transaction: a crash leaves
 * the log as it was, and the next start does the same again; or all of it done. The bundles stay where they are in the bundle file, which only
 * grows, and `file_offset` keeps the next start from taking them for appends whose rows a power failure took.
 */
export function beginTerms(database: Database, bundles: BundleFile, beginnings: readonly TermBeginning[]): void {
  const endOfBatch = database.prepare('SELECT first_sequence + count FROM batches WHERE lane = ? AND number = ?').pluck();
  const cutGroup = groupCutter(database);
  const cutVouchers = voucherCutter(database, bundles);
  const inLane = 'position >= ? AND position < ?';
  const dropEntries = database.prepare(`DELETE FROM entries WHERE ${inLane}`);
  const dropGroups = database.prepare(`DELETE FROM groups WHERE ${inLane}`);
  const dropBatches = database.prepare('DELETE FROM batches WHERE lane = ? AND number > ?');
  const dropLeaves = database.prepare('DELETE FROM batch_leaves WHERE lane = ? AND number > ?');
  const dropSends = database.prepare('DELETE FROM sends WHERE lane = ? AND last_number > ?');
  const displace = database.prepare('UPDATE forced_bundles SET sequence = NULL WHERE lane = ? AND sequence >= ?');
  const dropRuns = database.prepare('DELETE FROM topic_runs WHERE lane = ? AND first_place >= ?');
  const shortenRuns = database.prepare('UPDATE topic_runs SET end_place = ? WHERE lane = ? AND end_place > ?');
  const begin = database.prepare(
    'INSERT OR REPLACE INTO lane_terms (lane, term, first_sequence, file_offset) VALUES (?, ?, ?, ?)',
  );
  database.transaction(() => {
    const fileEnd = endOfBundles(database);
    for (const { lane, lastNumber, term } of beginnings) {
      const end = (endOfBatch.get(lane, Number(lastNumber)) as number | undefined) ?? 0;
      const position = positionOf(lane, BigInt(end));
      const endOfLane = positionOf(lane + 1, 0n);
      cutGroup(lane, position);
      dropEntries.run(position, endOfLane);
      dropGroups.run(position, endOfLane);
      dropBatches.run(lane, Number(lastNumber));
      dropLeaves.run(lane, Number(lastNumber));
      dropSends.run(lane, Number(lastNumber));
      cutVouchers(lane, end);
      displace.run(lane, end);
      const place = placeNumber({ sequence: BigInt(end), index: 0 });
      dropRuns.run(lane, place);
      shortenRuns.run(place, lane, place);
      begin.run(lane, term?.term ?? null, term === undefined ? null : Number(term.firstSequence), fileEnd);
    }
  })();
}

/** What senders owe by entries that are dropped they owe no more (PROTOCOL.md §3): by those that stay, as far as they go. */
function voucherCutter(database: Database, bundles: BundleFile): (lane: number, end: number) => void {
  const cut = database.prepare('SELECT sender FROM vouchers WHERE lane = ? AND sequence >= ?').pluck();
  const drop = database.prepare('DELETE FROM vouchers WHERE lane = ? AND sender = ?');
  const left = database.prepare(
    `SELECT position, file_offset FROM entries WHERE void = 0 AND sender = ? AND lane = ? AND position < ?
       AND NOT EXISTS (SELECT 1 FROM forced_bundles WHERE forced_bundles.lane = entries.lane AND sequence = position - ?)`,
  );
  const owe = voucherRows(database);
  return (lane, end) => {
    for (const sender of cut.all(lane, end) as Buffer[]) {
      drop.run(lane, sender);
      const rows = left.all(sender, lane, positionOf(lane, BigInt(end)), positionOf(lane, 0n)) as EntryPlace[];
      for (const { position, file_offset: offset } of rows)
        owe(position, sender, bundles.read(offset + BUNDLE_AT + POSTAGE_AT, POSTAGE_BYTES));
    }
  };
}

interface EntryPlace {
  readonly position: number;
  readonly file_offset: number;
}

/** Of a group that begins before a position and ends behind it the entries before stay, under their own root and unsigned. */
function groupCutter(database: Database): (lane: number, position: number) => void {
  const last = database.prepare(
    'SELECT position, count FROM groups WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT 1',
  );
  const entries = database.prepare(
    'SELECT void, previous, bundle_hash FROM entries WHERE position >= ? AND position < ? ORDER BY position',
  );
  const cut = database.prepare('UPDATE groups SET count = ?, root = ?, include_by = NULL, signature = NULL WHERE position = ?');
  return (lane, position) => {
    const group = last.get(positionOf(lane, 0n), position) as { position: number; count: number } | undefined;
    if (group === undefined || group.position + group.count <= position) return;
    const rows = entries.all(group.position, position) as { void: 0 | 1; previous: number; bundle_hash: Buffer }[];
    const claims = rows.map((row) => ({ void: row.void, previous: BigInt(row.previous), bundleHash: row.bundle_hash }));
    cut.run(rows.length, nativeHashing.entriesTree(claims).root, group.position);
  };
}
