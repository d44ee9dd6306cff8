import { fromHex } from '@sealpost/prover';
import type { Database } from 'better-sqlite3';
import { recordBytes } from './append-record.js';
import { BUNDLE_AT } from './bundle-file.js';
import { ENTRY_NUMBERS, type PackedGroups, POSTAGE_AT, POSTAGE_BYTES, SENDER_AT } from './packed-groups.js';
import { laneOf, positionOf, sequenceOf } from './schema.js';

/** Inserts the rows of an append whose record is at `offset` in the bundle file. To be called within a transaction. */
export type InsertGroups = (packed: PackedGroups, offset: number) => void;

export function groupRows(database: Database): InsertGroups {
  const insertEntry = database.prepare(
    `INSERT INTO entries (position, lane, void, previous, accepted_at, sender, nonce, count, struct_hash, bundle_hash,
       file_offset, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertGroup = database.prepare('INSERT INTO groups (position, count, root) VALUES (?, ?, ?)');
  const signGroup = database.prepare('UPDATE groups SET term = ?, include_by = ?, signature = ? WHERE position = ?');
  const placeForced = database.prepare('UPDATE forced_bundles SET sequence = ? WHERE lane = ? AND inbox_index = ?');
  const owe = voucherRows(database);
  return ({ records, numbers, hashes, groups, signed, forced }, offset) => {
    const isForced = new Set(forced.map(({ lane, sequence }) => positionOf(lane, sequence)));
    let at = recordBytes(groups.length);
    for (let index = 0; index * ENTRY_NUMBERS < numbers.length; index++) {
      const [position, isVoid, previous, acceptedAt, nonce, count, bytes] = numbers.subarray(index * ENTRY_NUMBERS);
      const sender = at + BUNDLE_AT + SENDER_AT;
      insertEntry.run(
        position,
        laneOf(position as number),
        isVoid,
        previous,
        acceptedAt,
        records.subarray(sender, sender + 20),
        nonce,
        count,
        hashes.subarray(64 * index, 64 * index + 32),
        hashes.subarray(64 * index + 32, 64 * index + 64),
        offset + at,
        bytes,
      );
      const postage = records.subarray(at + BUNDLE_AT + POSTAGE_AT, at + BUNDLE_AT + POSTAGE_AT + POSTAGE_BYTES);
      if (isVoid === 0 && !isForced.has(position as number)) {
        owe(position as number, records.subarray(sender, sender + 20), postage);
      }
      at += BUNDLE_AT + (bytes as number);
    }
    for (const { position, count, root } of groups) insertGroup.run(position, count, fromHex(root));
    for (const { lane, term, firstSequence, includeBy, signature } of signed) {
      signGroup.run(term, Number(includeBy), fromHex(signature), positionOf(lane, firstSequence));
    }
    for (const { lane, index, sequence } of forced) placeForced.run(Number(sequence), lane, Number(index));
  };
}

/**
 * Takes the postage, 16 bytes, of an entry that is neither void nor forced: of its sender's on the lane the highest counts
 * (PROTOCOL.md §3). 0 is none.
 */
export function voucherRows(database: Database): (position: number, sender: Uint8Array, postage: Uint8Array) => void {
  const insert = database.prepare(
    `INSERT INTO vouchers (lane, sender, postage, sequence) VALUES (?, ?, ?, ?) ON CONFLICT (lane, sender)
       DO UPDATE SET postage = excluded.postage, sequence = excluded.sequence WHERE excluded.postage > vouchers.postage`,
  );
  return (position, sender, postage) => {
    if (postage.every((byte) => byte === 0)) return;
    insert.run(laneOf(position), sender, postage, Number(sequenceOf(position)));
  };
}
