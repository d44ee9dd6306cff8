import { fromHex, type Hex, toHex } from '@sealpost/prover';
import { nativeSha256 } from './native.js';

/** What an append says of one lane's commit group; its entries follow in the same order. */
export interface GroupFacts {
  /** Of its first entry. */
  readonly position: number;
  readonly count: number;
  /** Of all of its entries, unix seconds. */
  readonly acceptedAt: number;
  /** Over its entryHashes. */
  readonly root: Hex;
}

const MAGIC = 0x53504731;
const CHECKSUM_AT = 4;
const CHECKSUM_BYTES = 8;
const GROUPS_AT = CHECKSUM_AT + CHECKSUM_BYTES;
const ENTRY_BYTES_AT = GROUPS_AT + 4;
/** Bytes of a record's head before its groups. */
const RECORD_HEAD_BYTES = ENTRY_BYTES_AT + 8;
const GROUP_BYTES = 8 + 4 + 8 + 32;
/** A lane has at most one group in an append. */
const MAX_GROUPS = 65_536;

/** Bytes of the record of an append of so many groups: nothing where there are none. */
export const recordBytes = (groups: number): number => (groups === 0 ? 0 : RECORD_HEAD_BYTES + GROUP_BYTES * groups);

/**
 * What stands in the bundle file before the entries of one append: all that rows say and bundles do not, so that one sync makes
 * an append durable, and rows that a power failure took can be made again (recovery.ts).
 *
 * `magic(4) ‖ checksum(8) ‖ groups(4) ‖ bytes of all entries(8)`, then each group as
 * `position(8) ‖ count(4) ‖ acceptedAt(8) ‖ root(32)`, big endian; the checksum is the beginning of the SHA-256 of what follows
 * it.
 */
export function writeRecord(into: Buffer, groups: readonly GroupFacts[], entryBytes: number): void {
  into.writeUInt32BE(MAGIC, 0);
  into.writeUInt32BE(groups.length, GROUPS_AT);
  into.writeBigUInt64BE(BigInt(entryBytes), ENTRY_BYTES_AT);
  let at = RECORD_HEAD_BYTES;
  for (const { position, count, acceptedAt, root } of groups) {
    into.writeBigUInt64BE(BigInt(position), at);
    into.writeUInt32BE(count, at + 8);
    into.writeBigUInt64BE(BigInt(acceptedAt), at + 12);
    into.set(fromHex(root, 32), at + 20);
    at += GROUP_BYTES;
  }
  into.set(checksum(into.subarray(0, at)), CHECKSUM_AT);
}

/** Reads bytes of the bundle file: so many from an offset on, or undefined where it ends before them. */
type ReadAt = (offset: number, length: number) => Buffer | undefined;

/** The record at an offset, with how long it and its entries are; undefined where there is none, or not a whole one. */
export function readRecord(
  read: ReadAt,
  offset: number,
): { groups: GroupFacts[]; bytes: number; entryBytes: number } | undefined {
  const head = read(offset, RECORD_HEAD_BYTES);
  if (head === undefined || head.readUInt32BE(0) !== MAGIC) return undefined;
  const count = head.readUInt32BE(GROUPS_AT);
  if (count === 0 || count > MAX_GROUPS) return undefined;
  const record = read(offset, recordBytes(count));
  if (record === undefined || !checksum(record).equals(record.subarray(CHECKSUM_AT, GROUPS_AT))) return undefined;
  const groups = Array.from({ length: count }, (_, index): GroupFacts => {
    const at = RECORD_HEAD_BYTES + GROUP_BYTES * index;
    return {
      position: Number(record.readBigUInt64BE(at)),
      count: record.readUInt32BE(at + 8),
      acceptedAt: Number(record.readBigUInt64BE(at + 12)),
      root: toHex(record.subarray(at + 20, at + GROUP_BYTES)),
    };
  });
  return { groups, bytes: record.length, entryBytes: Number(record.readBigUInt64BE(ENTRY_BYTES_AT)) };
}

const checksum = (record: Buffer): Buffer => Buffer.from(nativeSha256(record.subarray(GROUPS_AT))).subarray(0, CHECKSUM_BYTES);
