import { ProtocolError, readBundle, toHex, viewBundleHash, viewStructHash } from '@sealpost/prover';
import type { Database } from 'better-sqlite3';
import type { CommitGroup, FullEntry } from '../ports.js';
import { type GroupFacts, readRecord } from './append-record.js';
import { BUNDLE_AT, type BundleFile } from './bundle-file.js';
import { endOfBundles } from './entries.js';
import { groupRows } from './group-rows.js';
import { nativeHashing, nativePrimitives } from './native.js';
import { packGroups } from './packed-groups.js';
import { laneOf, positionOf, sequenceOf } from './schema.js';

/** What the bundle file had and the database had not. */
export interface Recovery {
  /** Appends whose rows were made again. */
  readonly appends: number;
  /** Bytes behind the last whole append: of one that no receipt was given for. */
  readonly cutBytes: number;
}

/**
 * Makes the rows again of appends that are in the bundle file and not in the database: a power failure may take the newest
 * transactions out of SQLite's WAL, which is not synced for each append. An append counts if it is whole: each group goes on
 * where its lane ends, and its entries have the root that its record says. Of one that is not, nothing was promised: appends are
 * synced one after the other, so that it is the file's last.
 * @throws if it is not the last: what was durable is damaged
 */
export function recoverAppends(database: Database, file: BundleFile): Recovery {
  const insertGroups = groupRows(database);
  const lastPosition = database
    .prepare('SELECT position FROM entries WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT 1')
    .pluck();
  const followsItsLane = ({ position }: GroupFacts): boolean => {
    const first = positionOf(laneOf(position), 0n);
    const last = lastPosition.get(first, positionOf(laneOf(position) + 1, 0n)) as number | undefined;
    return position === (last === undefined ? first : last + 1);
  };
  const length = file.length;
  const read = (offset: number, bytes: number) => (offset + bytes > length ? undefined : file.read(offset, bytes));
  let appends = 0;
  for (let offset = endOfBundles(database); ; appends++) {
    const record = readRecord(read, offset);
    const whole = record === undefined ? undefined : read(offset, record.bytes + record.entryBytes);
    if (record === undefined || whole === undefined) return { appends, cutBytes: length - offset };
    const groups = record.groups.every(followsItsLane) ? groupsIn(record.groups, whole.subarray(record.bytes)) : undefined;
    const end = offset + whole.length;
    const recover = (groups: readonly CommitGroup[]) => {
      insertGroups(packGroups(groups, []), offset);
      // Written again: a process that was killed may have left it in the system's memory, or in what an earlier sync failed on.
      file.write(whole, offset);
      file.sync();
    };
    if (groups === undefined || !isTaken(database, () => recover(groups))) {
      if (end < length) throw new Error(`its bundle file is damaged between byte ${offset} and ${end}: take it from a copy`);
      return { appends, cutBytes: length - offset };
    }
    offset = end;
  }
}

/** False where the rows cannot be: an append that SQLite refused, and that was not taken back. */
function isTaken(database: Database, act: () => void): boolean {
  try {
    database.transaction(act)();
    return true;
  } catch (error) {
    if ((error as { code?: string }).code?.startsWith('SQLITE_CONSTRAINT')) return false;
    throw error;
  }
}

/** The groups with their entries; undefined unless the bytes are exactly theirs. */
function groupsIn(facts: readonly GroupFacts[], bytes: Buffer): CommitGroup[] | undefined {
  const groups: CommitGroup[] = [];
  let at = 0;
  for (const { position, count, acceptedAt, root } of facts) {
    const firstSequence = sequenceOf(position);
    const entries: FullEntry[] = [];
    while (entries.length < count) {
      if (at + BUNDLE_AT > bytes.length) return undefined;
      const length = bytes.readUInt32BE(at + BUNDLE_AT - 4);
      const bundleAt = at + BUNDLE_AT;
      if (bundleAt + length > bytes.length) return undefined;
      const entry = entryIn(bytes.subarray(at, bundleAt), bytes.subarray(bundleAt, bundleAt + length));
      if (entry === undefined) return undefined;
      entries.push({
        ...entry,
        lane: laneOf(position),
        sequence: firstSequence + BigInt(entries.length),
        acceptedAt: BigInt(acceptedAt),
      });
      at = bundleAt + length;
    }
    if (count === 0 || toHex(nativeHashing.entriesTree(entries).root) !== root) return undefined;
    groups.push({ lane: laneOf(position), firstSequence, entries, root });
  }
  return at === bytes.length ? groups : undefined;
}

function entryIn(prefix: Buffer, bundle: Buffer): Omit<FullEntry, 'lane' | 'sequence' | 'acceptedAt'> | undefined {
  try {
    const view = readBundle(bundle);
    if ((prefix[0] as number) > 1) return undefined;
    const structHash = viewStructHash(view, nativePrimitives.messagesRoot(view), nativePrimitives.keccak256);
    return {
      void: prefix[0] === 1 ? 1 : 0,
      previous: prefix.readBigUInt64BE(1),
      sender: view.sender,
      nonce: view.nonce,
      count: view.count,
      structHash,
      bundleHash: viewBundleHash(view, structHash, nativePrimitives.sha256),
      bytes: bundle.length,
      bundle,
    };
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}
