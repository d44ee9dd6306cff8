import { HEADER_BYTES } from './bundle.js';
import { concat, fromHex, type Hex, join, lowerHex, Reader, toHex, uintBytes, uintWord, viewOf } from './bytes.js';
import { ProtocolError } from './errors.js';
import { keccak256, SIGNATURE_BYTES } from './signature.js';

/** PROTOCOL.md §4 and §5. */
export const MAX_BATCH_ENTRIES = 1_048_576;
export const MAX_BATCH_FILE_BYTES = 268_435_456;
export const BATCH_FILE_HEADER_BYTES = 23;
/** `void(1) ‖ previous(8) ‖ length(4)`: what stands before each bundle in a batch file. */
export const ENTRY_PREFIX_BYTES = 13;
/** A malformed bundle never enters the log (§6): what is shorter than this has not even room for a bundle's fields. */
const MIN_ENTRY_BUNDLE_BYTES = HEADER_BYTES + SIGNATURE_BYTES;
const FILE_VERSION = 0x01;

/** What a batch commits to; field for field the contract's struct (§4). `batchHash` of number 0 is 32 zero bytes. */
export interface BatchHeader {
  readonly lane: number;
  readonly term: number;
  readonly number: bigint;
  readonly parentHash: Hex;
  readonly firstSequence: bigint;
  readonly count: number;
  readonly bundlesRoot: Hex;
  readonly inboxCount: bigint;
  readonly timestamp: bigint;
  readonly dataHash: Hex;
}

/** One entry of the log: a bundle's bytes with the sequencer's two claims about it (§3). */
export interface BatchEntry {
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly bundle: Uint8Array;
}

/** The content of a batch file (§5). */
export interface BatchFile {
  readonly lane: number;
  readonly number: bigint;
  readonly firstSequence: bigint;
  readonly entries: readonly BatchEntry[];
}

/**
 * `keccak256(abi.encode(header))` (§4).
 * @throws value.malformed for a field outside its type
 */
export function batchHash(header: BatchHeader): Hex {
  return toHex(
    keccak256(
      concat(
        uintWord(header.lane, 2),
        uintWord(header.term, 4),
        uintWord(header.number, 8),
        fromHex(header.parentHash, 32),
        uintWord(header.firstSequence, 8),
        uintWord(header.count, 4),
        fromHex(header.bundlesRoot, 32),
        uintWord(header.inboxCount, 8),
        uintWord(header.timestamp, 8),
        fromHex(header.dataHash, 32),
      ),
    ),
  );
}

/** The first 23 bytes of a batch file (§5). */
export const batchFileHeader = (file: Omit<BatchFile, 'entries'>, count: number): Uint8Array =>
  concat(
    Uint8Array.of(FILE_VERSION),
    uintBytes(file.lane, 2),
    uintBytes(file.number, 8),
    uintBytes(file.firstSequence, 8),
    uintBytes(count, 4),
  );

/** What stands before a bundle's bytes in a batch file: 13 bytes. */
export const entryPrefix = (entry: { void: 0 | 1; previous: bigint; bundle: { length: number } }): Uint8Array =>
  concat(Uint8Array.of(entry.void), uintBytes(entry.previous, 8), uintBytes(entry.bundle.length, 4));

/** The parts of a batch file in order: joined, they are the file. Bundles are not copied, nothing is checked. */
export function* batchFileParts(file: BatchFile): Generator<Uint8Array> {
  yield batchFileHeader(file, file.entries.length);
  for (const entry of file.entries) {
    yield entryPrefix(entry);
    yield entry.bundle;
  }
}

/**
 * A batch file's bytes (§5).
 * @throws batch.malformed for no entries, too many, one too short for a bundle, or a file over 268,435,456 bytes
 */
export function encodeBatchFile(file: BatchFile): Uint8Array {
  checkEntryCount(file.entries.length);
  let size = BATCH_FILE_HEADER_BYTES;
  for (const [index, { bundle }] of file.entries.entries()) {
    checkEntrySize(bundle.length, index);
    size += ENTRY_PREFIX_BYTES + bundle.length;
  }
  checkFileSize(size);
  return join([...batchFileParts(file)]);
}

/**
 * A batch file's content (§5). Bundles are views into `bytes` and are not decoded: `readBundle` is for that.
 * @throws batch.malformed
 */
export function decodeBatchFile(bytes: Uint8Array): BatchFile {
  if (bytes.length < BATCH_FILE_HEADER_BYTES)
    throw malformed(`expected at least ${BATCH_FILE_HEADER_BYTES} bytes, got ${bytes.length}`, { at: 0 });
  checkFileSize(bytes.length);
  const view = viewOf(bytes);
  if (bytes[0] !== FILE_VERSION) throw malformed(`expected version 1 at byte 0, got ${bytes[0]}`, { at: 0 });
  const count = view.getUint32(19);
  checkEntryCount(count);
  // A count that the bytes cannot hold is refused here, so that nobody makes us allocate more than they sent.
  if (count * (ENTRY_PREFIX_BYTES + MIN_ENTRY_BUNDLE_BYTES) > bytes.length - BATCH_FILE_HEADER_BYTES) {
    throw malformed(`expected ${count} entries, got ${bytes.length - BATCH_FILE_HEADER_BYTES} bytes`, { at: 19 });
  }
  const entries: BatchEntry[] = [];
  let at = BATCH_FILE_HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    if (at + ENTRY_PREFIX_BYTES > bytes.length)
      throw malformed(`entry ${index}: expected its prefix at byte ${at}, got the end`, { at, index });
    const isVoid = bytes[at];
    if (isVoid !== 0 && isVoid !== 1)
      throw malformed(`entry ${index}: expected void 0 or 1 at byte ${at}, got ${isVoid}`, { at, index });
    const previous = view.getBigUint64(at + 1);
    const length = view.getUint32(at + 9);
    at += ENTRY_PREFIX_BYTES;
    checkEntrySize(length, index);
    if (length > bytes.length - at) {
      throw malformed(`entry ${index}: expected ${length} bytes at byte ${at}, got ${bytes.length - at}`, { at, index });
    }
    entries.push({ void: isVoid, previous, bundle: bytes.subarray(at, at + length) });
    at += length;
  }
  if (at !== bytes.length) throw malformed(`expected the end at byte ${at}, got ${bytes.length - at} more bytes`, { at });
  return { lane: view.getUint16(1), number: view.getBigUint64(3), firstSequence: view.getBigUint64(11), entries };
}

/** The JSON object `header` of §11. */
export const headerToJson = (header: BatchHeader) => ({
  lane: header.lane,
  term: header.term,
  number: String(header.number),
  parentHash: lowerHex(header.parentHash),
  firstSequence: String(header.firstSequence),
  count: header.count,
  bundlesRoot: lowerHex(header.bundlesRoot),
  inboxCount: String(header.inboxCount),
  timestamp: String(header.timestamp),
  dataHash: lowerHex(header.dataHash),
});

/** Form only: bounds and links are for the contract and the verifier. Errors have the reader's code. */
export const headerFromJson = (json: Reader): BatchHeader => ({
  lane: json.field('lane').number(0xffff),
  term: json.field('term').number(0xffff_ffff),
  number: json.field('number').uint(64),
  parentHash: json.field('parentHash').hex(32),
  firstSequence: json.field('firstSequence').uint(64),
  count: json.field('count').number(0xffff_ffff),
  bundlesRoot: json.field('bundlesRoot').hex(32),
  inboxCount: json.field('inboxCount').uint(64),
  timestamp: json.field('timestamp').uint(64),
  dataHash: json.field('dataHash').hex(32),
});

/**
 * A header from its JSON object (§11), form only.
 * @throws batch.malformed
 */
export const decodeBatchHeader = (value: unknown): BatchHeader => headerFromJson(new Reader(value, 'batch.malformed', 'header'));

function checkEntryCount(count: number): void {
  if (count < 1 || count > MAX_BATCH_ENTRIES) throw malformed(`expected 1 to ${MAX_BATCH_ENTRIES} entries, got ${count}`, {});
}

function checkEntrySize(length: number, index: number): void {
  if (length < MIN_ENTRY_BUNDLE_BYTES) {
    throw malformed(`entry ${index}: expected a bundle of at least ${MIN_ENTRY_BUNDLE_BYTES} bytes, got ${length}`, { index });
  }
}

function checkFileSize(size: number): void {
  if (size > MAX_BATCH_FILE_BYTES) throw malformed(`expected at most ${MAX_BATCH_FILE_BYTES} bytes, got ${size}`, {});
}

const malformed = (detail: string, facts: Record<string, string | number>) => new ProtocolError('batch.malformed', detail, facts);
