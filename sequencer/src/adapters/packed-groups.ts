import { entryPrefix } from '@sealpost/prover';
import type { CommitGroup, ForcedPlace, SignedStatement } from '../ports.js';
import type { TopicSalt } from '../topics.js';
import { type GroupFacts, recordBytes, writeRecord } from './append-record.js';
import { BUNDLE_AT } from './bundle-file.js';
import { positionOf } from './schema.js';
import { keysOf } from './topic-index.js';

/** Commit groups as they travel to the writer: flat, because to clone thousands of objects costs more than to write them. */
export interface PackedGroups {
  /** What the bundle file gets: the append's record, then its entries. */
  readonly records: Uint8Array<ArrayBuffer>;
  /** `ENTRY_NUMBERS` numbers an entry: position, void, previous, acceptedAt, nonce, count, bytes of its bundle. */
  readonly numbers: Float64Array<ArrayBuffer>;
  /** structHash(32) ‖ bundleHash(32) an entry. */
  readonly hashes: Uint8Array<ArrayBuffer>;
  readonly groups: readonly GroupFacts[];
  readonly signed: readonly SignedStatement[];
  readonly forced: readonly ForcedPlace[];
}

/** How many of `numbers` an entry takes. */
export const ENTRY_NUMBERS = 7;
/** Where a bundle names its sender (§3). */
export const SENDER_AT = 3;
/** Where a bundle has its postage, and how many bytes it takes (§3). */
export const POSTAGE_AT = 39;
export const POSTAGE_BYTES = 16;

export function packGroups(
  groups: readonly CommitGroup[],
  signed: readonly SignedStatement[],
  forced: readonly ForcedPlace[] = [],
): PackedGroups {
  const entries = groups.flatMap((group) => group.entries);
  // Not zeroed first: every byte is written.
  const facts = groups.map(factsOf);
  if (new Set(groups.map(({ lane }) => lane)).size < groups.length) throw new Error('an append has one group a lane');
  const entryBytes = entries.reduce((sum, { bytes }) => sum + BUNDLE_AT + bytes, 0);
  let at = recordBytes(groups.length);
  const records = Buffer.allocUnsafeSlow(at + entryBytes);
  if (groups.length > 0) writeRecord(records, facts, entryBytes);
  const numbers = new Float64Array(ENTRY_NUMBERS * entries.length);
  const hashes = new Uint8Array(64 * entries.length);
  for (const [index, entry] of entries.entries()) {
    records.set(entryPrefix(entry), at);
    records.set(entry.bundle, at + BUNDLE_AT);
    at += BUNDLE_AT + entry.bytes;
    const { lane, sequence, void: isVoid, previous, acceptedAt, nonce, count, bytes } = entry;
    numbers.set(
      [positionOf(lane, sequence), isVoid, Number(previous), Number(acceptedAt), Number(nonce), count, bytes],
      ENTRY_NUMBERS * index,
    );
    hashes.set(entry.structHash, 64 * index);
    hashes.set(entry.bundleHash, 64 * index + 32);
  }
  return {
    records: records as Uint8Array<ArrayBuffer>,
    numbers,
    hashes,
    groups: facts,
    signed,
    forced,
  };
}

function factsOf({ lane, firstSequence, entries, root }: CommitGroup): GroupFacts {
  const acceptedAt = entries[0]?.acceptedAt;
  if (acceptedAt === undefined || entries.some((entry) => entry.acceptedAt !== acceptedAt)) {
    throw new Error('a commit group has entries, and one time for all of them');
  }
  return { position: positionOf(lane, firstSequence), count: entries.length, acceptedAt: Number(acceptedAt), root };
}

/** The topic keys of all messages that count, in order. */
export function topicKeysOf(salt: TopicSalt, { records, numbers, groups }: PackedGroups): Float64Array<ArrayBuffer> {
  let total = 0;
  for (let at = 0; at < numbers.length; at += ENTRY_NUMBERS) if (numbers[at + 1] === 0) total += numbers[at + 5] as number;
  const keys = new Float64Array(total);
  let filled = 0;
  let at = recordBytes(groups.length);
  for (let entry = 0; entry < numbers.length; entry += ENTRY_NUMBERS) {
    const bytes = numbers[entry + 6] as number;
    if (numbers[entry + 1] === 0) {
      const own = keysOf(salt, records.subarray(at + BUNDLE_AT, at + BUNDLE_AT + bytes));
      keys.set(own, filled);
      filled += own.length;
    }
    at += BUNDLE_AT + bytes;
  }
  return keys;
}
