import { code as dagPb, encode as encodeDagPb, prepare as prepareDagPb } from '@ipld/dag-pb';
import { keccak_256 } from '@noble/hashes/sha3';
import { UnixFS } from 'ipfs-unixfs';
import { CID } from 'multiformats/cid';
import { create as createDigest } from 'multiformats/hashes/digest';
import { concat, fromHex, type Hex, join, Reader, toHex, uintBytes, viewOf } from './bytes.js';
import { ProtocolError } from './errors.js';
import { type Sha256, sha256 } from './tree.js';

/** PROTOCOL.md §4 and §5. */
export const MAX_BATCH_ENTRIES = 1_048_576;
export const MAX_BATCH_FILE_BYTES = 268_435_456;
export const BATCH_FILE_HEADER_BYTES = 23;
/** `void(1) ‖ previous(8) ‖ length(4)`: what stands before each bundle in a batch file. */
export const ENTRY_PREFIX_BYTES = 13;
const CHUNK_BYTES = 1_048_576;
const FILE_VERSION = 0x01;
const RAW_CODEC = 0x55;
const SHA2_256 = 0x12;

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

/** `keccak256(abi.encode(header))` (§4). */
export function batchHash(header: BatchHeader): Hex {
  return toHex(
    keccak_256(
      concat(
        uintBytes(header.lane, 32),
        uintBytes(header.term, 32),
        uintBytes(header.number, 32),
        fromHex(header.parentHash, 32),
        uintBytes(header.firstSequence, 32),
        uintBytes(header.count, 32),
        fromHex(header.bundlesRoot, 32),
        uintBytes(header.inboxCount, 32),
        uintBytes(header.timestamp, 32),
        fromHex(header.dataHash, 32),
      ),
    ),
  );
}

/** The first 23 bytes of a batch file. */
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

/** The parts of a batch file in order: joined, they are the file. Bundles are not copied. */
export function* batchFileParts(file: BatchFile): Generator<Uint8Array> {
  yield batchFileHeader(file, file.entries.length);
  for (const entry of file.entries) {
    yield entryPrefix(entry);
    yield entry.bundle;
  }
}

/** @throws batch.malformed for no entries, too many, or a file over 268,435,456 bytes */
export function encodeBatchFile(file: BatchFile): Uint8Array {
  const count = file.entries.length;
  if (count < 1 || count > MAX_BATCH_ENTRIES) throw malformed(`expected 1 to ${MAX_BATCH_ENTRIES} entries, got ${count}`, {});
  const bytes = join([...batchFileParts(file)]);
  if (bytes.length > MAX_BATCH_FILE_BYTES)
    throw malformed(`expected at most ${MAX_BATCH_FILE_BYTES} bytes, got ${bytes.length}`, {});
  return bytes;
}

/**
 * A batch file's content; bundles are views into `bytes` and are not decoded.
 * @throws batch.malformed
 */
export function decodeBatchFile(bytes: Uint8Array): BatchFile {
  if (bytes.length < BATCH_FILE_HEADER_BYTES)
    throw malformed(`expected at least ${BATCH_FILE_HEADER_BYTES} bytes, got ${bytes.length}`, { at: 0 });
  if (bytes.length > MAX_BATCH_FILE_BYTES)
    throw malformed(`expected at most ${MAX_BATCH_FILE_BYTES} bytes, got ${bytes.length}`, {});
  const view = viewOf(bytes);
  if (bytes[0] !== FILE_VERSION) throw malformed(`expected version 1 at byte 0, got ${bytes[0]}`, { at: 0 });
  const count = view.getUint32(19);
  if (count < 1 || count > MAX_BATCH_ENTRIES)
    throw malformed(`expected 1 to ${MAX_BATCH_ENTRIES} entries, got ${count}`, { at: 19 });
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
    if (length > bytes.length - at) {
      throw malformed(`entry ${index}: expected ${length} bytes at byte ${at}, got ${bytes.length - at}`, { at, index });
    }
    entries.push({ void: isVoid, previous, bundle: bytes.subarray(at, at + length) });
    at += length;
  }
  if (at !== bytes.length) throw malformed(`expected the end at byte ${at}, got ${bytes.length - at} more bytes`, { at });
  return { lane: view.getUint16(1), number: view.getBigUint64(3), firstSequence: view.getBigUint64(11), entries };
}

/**
 * The SHA-256 digest of the file's UnixFS root block: 1 MiB raw leaves under one dag-pb root, always (§5).
 * `parts`, joined, are the file; each is hashed once, as it comes, with at most one chunk copied.
 * @throws batch.malformed for an empty file or one over 268,435,456 bytes
 */
export function dataHash(parts: Iterable<Uint8Array>, hash: Sha256 = sha256): Hex {
  const links: { Name: string; Tsize: number; Hash: CID }[] = [];
  const sizes: bigint[] = [];
  let total = 0;
  const addChunk = (chunk: Uint8Array) => {
    links.push({ Name: '', Tsize: chunk.length, Hash: CID.createV1(RAW_CODEC, createDigest(SHA2_256, hash(chunk))) });
    sizes.push(BigInt(chunk.length));
    total += chunk.length;
    if (total > MAX_BATCH_FILE_BYTES) throw malformed(`expected at most ${MAX_BATCH_FILE_BYTES} bytes`, {});
  };
  const pending = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for (const part of parts) {
    let at = 0;
    while (at < part.length) {
      const taken = Math.min(CHUNK_BYTES - filled, part.length - at);
      if (filled === 0 && taken === CHUNK_BYTES) {
        addChunk(part.subarray(at, at + taken));
      } else {
        pending.set(part.subarray(at, at + taken), filled);
        filled += taken;
        if (filled === CHUNK_BYTES) {
          addChunk(pending);
          filled = 0;
        }
      }
      at += taken;
    }
  }
  if (filled > 0) addChunk(pending.subarray(0, filled));
  if (total === 0) throw malformed('expected a batch file, got no bytes', {});
  const data = new UnixFS({ type: 'file', blockSizes: sizes }).marshal();
  return toHex(hash(encodeDagPb(prepareDagPb({ Data: data, Links: links }))));
}

/** The CIDv1 under which any IPFS node that has the file serves it: `bafybei…` (§5). */
export const dataCid = (digest: Hex): string => CID.createV1(dagPb, createDigest(SHA2_256, fromHex(digest, 32))).toString();

/** The JSON object `header` of §11. */
export const headerToJson = (header: BatchHeader) => ({
  lane: header.lane,
  term: header.term,
  number: String(header.number),
  parentHash: header.parentHash,
  firstSequence: String(header.firstSequence),
  count: header.count,
  bundlesRoot: header.bundlesRoot,
  inboxCount: String(header.inboxCount),
  timestamp: String(header.timestamp),
  dataHash: header.dataHash,
});

export type BatchHeaderJson = ReturnType<typeof headerToJson>;

/** Form only: bounds and links are for the contract and the verifier. */
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

/** @throws batch.malformed */
export const decodeBatchHeader = (value: unknown): BatchHeader => headerFromJson(new Reader(value, 'batch.malformed', 'header'));

const malformed = (detail: string, facts: Record<string, string | number>) => new ProtocolError('batch.malformed', detail, facts);
