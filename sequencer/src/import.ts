import {
  BATCH_FILE_HEADER_BYTES,
  type BatchHeader,
  batchFileHeader,
  ENTRY_PREFIX_BYTES,
  equalBytes,
  MAX_BUNDLE_BYTES,
  toHex,
  ZERO_HASH,
} from '@sealpost/prover';
import { eventRanges } from './follower.js';
import { readContent } from './inbox.js';
import type { Clock, CommitGroup, CommittedBatch, FullEntry, Hashing, L1, Log, SealedBatch, Store } from './ports.js';

/** The log cannot be imported: what is missing or wrong, and what to do. What was imported before stays. */
export class ImportError extends Error {
  override readonly name = 'ImportError';
}

/**
 * The batch file that a header is of, in pieces.
 * @throws ImportError if it is not there, or is not the file with the header's dataHash
 */
export type BatchFiles = (header: BatchHeader) => Iterable<Uint8Array>;

export interface ImportDeps {
  readonly store: Store;
  readonly l1: L1;
  readonly files: BatchFiles;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly log: Log;
  /** Not above the contract's deployment. */
  readonly startBlock: bigint;
  readonly logRangeBlocks: number;
  readonly signal: AbortSignal;
}

const PROGRESS_MS = 1_000;
/** Of entries that become durable together, and are in memory at once. */
const GROUP_BYTES = 8_388_608;
const GROUP_ENTRIES = 4_096;

/**
 * Brings the log to the contract's head: what is committed and not in the store is read from batch files. The headers come from
 * the contract's logs, are linked by their parents, and the newest of each range is held against its slot. Every lane's log MUST end with its newest
 * batch, which MUST be committed. A crash leaves whole batches, and entries of one more, which are dropped before the next time.
 * @throws ImportError; L1Error
 */
export async function importLog({ store, l1, ...deps }: ImportDeps): Promise<void> {
  const { log, clock, signal } = deps;
  const latest = await l1.block('latest');
  if (latest === undefined) throw new ImportError('the L1 has no newest block: try again when it answers');
  let toldAt = clock.monotonic();
  let imported = 0;
  const until = <T>(answer: Promise<T>): Promise<T> => answer;
  for await (const { last, events } of eventRanges(l1, deps.startBlock, latest.number, deps.logRangeBlocks, until)) {
    const missing = events.commitments.filter(({ lane, number }) => number > lastOf(store, lane).number);
    await checkSlots(missing, l1);
    for (const { header, batchHash } of missing) {
      signal.throwIfAborted();
      await importBatch(header, batchHash, { store, ...deps });
      imported++;
      if (clock.monotonic() - toldAt < PROGRESS_MS) continue;
      toldAt = clock.monotonic();
      const { lane, number, firstSequence, count } = header;
      log.info('importing', { lane, number, entries: firstSequence + BigInt(count), block: last.number, latest: latest.number });
    }
  }
  for (let lane = 0; lane < store.genesis.laneCount; lane++) {
    const { number } = lastOf(store, lane);
    const head = await l1.head(lane);
    // Beyond the newest block of the beginning there may be more, which another run takes.
    if (imported === 0 && number < head.number) {
      throw new ImportError(
        `lane ${lane}: the contract has ${head.number} batches, but its logs from block ${deps.startBlock} on tell of ${number}: ` +
          'set SEALPOST_L1_START_BLOCK to a block not above its deployment, or use a node that keeps all logs',
      );
    }
    log.info('imported', { lane, number, entries: store.tail(lane).nextSequence, contractHas: head.number });
  }
}

const lastOf = (store: Store, lane: number): Pick<BatchHeader, 'number' | 'firstSequence' | 'count' | 'inboxCount'> =>
  store.lastBatch(lane)?.header ?? { number: 0n, firstSequence: 0n, count: 0, inboxCount: 0n };

/** The newest of each lane is in its slot: with it all that it descends from. */
async function checkSlots(commitments: readonly CommittedBatch[], l1: L1): Promise<void> {
  const newest = new Map(commitments.map((commitment) => [commitment.lane, commitment]));
  for (const { lane, number, batchHash } of newest.values()) {
    const slot = await l1.batchHash(lane, number);
    if (slot !== batchHash) {
      throw new ImportError(
        `lane ${lane}: the logs tell of batch ${number} with hash ${batchHash}, the contract's slot holds ${slot}: ` +
          'the chain changed meanwhile, or the node answers something else than the chain; run this again',
      );
    }
  }
}

async function importBatch(
  header: BatchHeader,
  batchHash: SealedBatch['batchHash'],
  { store, files, hashing }: Pick<ImportDeps, 'store' | 'files' | 'hashing'>,
): Promise<void> {
  const { lane, number, firstSequence, count, timestamp } = header;
  const which = `lane ${lane}: batch ${number}`;
  const parent = store.lastBatch(lane);
  if (number !== lastOf(store, lane).number + 1n || header.parentHash !== (parent?.batchHash ?? ZERO_HASH)) {
    throw new ImportError(
      `${which} does not follow batch ${lastOf(store, lane).number}: the node left logs out, or SEALPOST_L1_START_BLOCK is above the contract’s deployment; run this again`,
    );
  }
  const leaves = new Uint8Array(HASH_BYTES * count);
  let next = firstSequence;
  let bytes = BATCH_FILE_HEADER_BYTES;
  let messages = 0;
  let group: FullEntry[] = [];
  let groupBytes = 0;
  const append = async () => {
    const tree = hashing.entriesTree(group);
    leaves.set(
      tree.nodes.subarray(0, HASH_BYTES * group.length),
      HASH_BYTES * Number((group[0] as FullEntry).sequence - firstSequence),
    );
    const appended: CommitGroup = { lane, firstSequence: next - BigInt(group.length), root: toHex(tree.root), entries: group };
    // A crash from here until the batch is there leaves entries in no batch: they are dropped, and imported again.
    await store.appendGroups([appended], []);
    group = [];
    groupBytes = 0;
  };
  try {
    for (const { prefix, bundle } of entriesIn(files(header), header)) {
      const entry: FullEntry = { ...readContent(bundle, hashing), ...prefix, lane, sequence: next++, acceptedAt: timestamp };
      group.push(entry);
      groupBytes += entry.bytes;
      bytes += ENTRY_PREFIX_BYTES + entry.bytes;
      if (entry.void === 0) messages += entry.count;
      if (groupBytes >= GROUP_BYTES || group.length === GROUP_ENTRIES) await append();
    }
    if (group.length > 0) await append();
  } catch (error) {
    if (error instanceof ImportError) throw error;
    const { code, message } = error as { code?: string; message: string };
    const isFalse = code?.startsWith('SQLITE_CONSTRAINT') || code?.startsWith('bundle.') || code === 'batch.malformed';
    if (!isFalse) throw error;
    // What its operator committed is no log: the file is the one that the contract names.
    throw new ImportError(`${which} holds at sequence ${next} what no log can hold (${message}): its lane cannot be taken over`, {
      cause: error,
    });
  }
  if (toHex(hashing.leavesTree(leaves).root) !== header.bundlesRoot) {
    throw new ImportError(
      `${which}: its file is the one that the contract names, and has not the root ${header.bundlesRoot}: its lane cannot be taken over`,
    );
  }
  await store.appendBatch({ header, batchHash, bytes, messages }, leaves);
}

const HASH_BYTES = 32;

/** The entries of a batch file (§5) that comes in pieces, as many as the header says. @throws ImportError where it has another form */
function* entriesIn(
  parts: Iterable<Uint8Array>,
  header: BatchHeader,
): Generator<{ prefix: Pick<FullEntry, 'void' | 'previous'>; bundle: Uint8Array }> {
  const { lane, number, count } = header;
  const pieces = parts[Symbol.iterator]();
  let rest: Uint8Array = new Uint8Array();
  const malformed = (what: string) =>
    new ImportError(
      `lane ${lane}: the file of batch ${number} is the one that the contract names, and ${what}: its lane cannot be taken over`,
    );
  const take = (length: number): Uint8Array => {
    const gathered = [rest];
    let have = rest.length;
    for (; have < length; have += (gathered.at(-1) as Uint8Array).length) {
      const next = pieces.next();
      if (next.done) throw malformed('ends too early');
      gathered.push(next.value);
    }
    const bytes = gathered.length === 1 ? rest : Buffer.concat(gathered);
    rest = bytes.subarray(length);
    return bytes.subarray(0, length);
  };
  if (!equalBytes(take(BATCH_FILE_HEADER_BYTES), batchFileHeader(header, count))) throw malformed('begins as another batch');
  for (let index = 0; index < count; index++) {
    const prefix = Buffer.from(take(ENTRY_PREFIX_BYTES));
    const [isVoid, length] = [prefix[0] as number, prefix.readUInt32BE(ENTRY_PREFIX_BYTES - 4)];
    if (isVoid > 1 || length > MAX_BUNDLE_BYTES) throw malformed(`has no entry ${index}`);
    yield { prefix: { void: isVoid === 0 ? 0 : 1, previous: prefix.readBigUInt64BE(1) }, bundle: take(length) };
  }
  if (rest.length > 0 || !pieces.next().done) throw malformed('goes on behind its last entry');
}
