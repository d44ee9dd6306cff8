import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { fromHex, type Hex, toHex } from '@sealpost/prover';
import { type Genesis, type SignedMark, StoreFullError, StoreOpenError, type Term } from '../ports.js';
import { isSameTerm } from '../terms.js';
import { nativeSha256 } from './native.js';
import { syncFolder } from './run-files.js';

const MAGIC = Buffer.from('SEALPOSTMRK2');
const CHECKSUM_BYTES = 8;
const CHAIN_AT = MAGIC.length;
const SETTLEMENT_AT = CHAIN_AT + 32;
const SIGNER_AT = SETTLEMENT_AT + 20;
const LANES_AT = SIGNER_AT + 20;
const CHECKSUM_AT = LANES_AT + 4;
/** Bytes of the head: whose marks these are. */
const HEAD_BYTES = CHECKSUM_AT + CHECKSUM_BYTES;
/** `term(4) ‖ firstSequence(8) ‖ nextSequence(8) ‖ zero(4) ‖ checksum(8)`: divides a sector of any disk. */
const SLOT_BYTES = 32;
const FIRST_AT = 4;
const NEXT_AT = FIRST_AT + 8;
const SLOT_CHECKSUM_AT = SLOT_BYTES - CHECKSUM_BYTES;
/** What a disk or file system may lose as a whole when the power fails while it writes. */
const BLOCK_BYTES = 4_096;
const MAX_LANES = 65_536;

const areaBytes = (lanes: number): number => BLOCK_BYTES * Math.ceil((SLOT_BYTES * lanes) / BLOCK_BYTES);
const fileBytes = (lanes: number): number => BLOCK_BYTES + 2 * areaBytes(lanes);
const slotAt = (lanes: number, lane: number, slot: number): number => BLOCK_BYTES + slot * areaBytes(lanes) + SLOT_BYTES * lane;

const checksum = (bytes: Uint8Array): Uint8Array => nativeSha256(bytes).subarray(0, CHECKSUM_BYTES);

/** How far a lane was signed in a term, or where its log ends there: what is beside it is of other terms. */
export interface TermEnd extends Term {
  readonly nextSequence: bigint;
}

function slotOf(headChecksum: Uint8Array, lane: number, { term, firstSequence, nextSequence }: TermEnd): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.writeUInt32BE(term, 0);
  slot.writeBigUInt64BE(firstSequence, FIRST_AT);
  slot.writeBigUInt64BE(nextSequence, NEXT_AT);
  const claim = Buffer.alloc(CHECKSUM_BYTES + 4 + SLOT_CHECKSUM_AT);
  claim.set(headChecksum);
  claim.writeUInt32BE(lane, CHECKSUM_BYTES);
  claim.set(slot.subarray(0, SLOT_CHECKSUM_AT), CHECKSUM_BYTES + 4);
  slot.set(checksum(claim), SLOT_CHECKSUM_AT);
  return slot;
}

// What systems call it when there is no room: a copy-on-write file system needs some for bytes that are there already.
const NO_ROOM = new Set(['ENOSPC', 'EDQUOT']);

/**
 * `SignedMark` in a small file beside the database, which no copy of the database takes along.
 *
 * A raise is one write of 16 bytes, not synced: it costs some microseconds and no disk. The process may be killed at any moment;
 * a power failure sets the mark back by what the system had not written yet, about half a minute, and never puts it beyond the
 * log, because it is raised only after the log's own sync. So a mark beyond the log's end means that another log was put in
 * its place. A mark is of a term: another term may sign the same sequences again, which is no offence (PROTOCOL.md §7), and begins
 * its mark where it begins.
 *
 * The file is `magic(12) ‖ chain(32) ‖ settlement(20) ‖ signer(20) ‖ lanes(4) ‖ checksum(8)` in a block of its own, never written
 * again; then, for each lane, one slot in each of two areas that share no block. A raise overwrites the older one: of a write
 * that was torn the other is left, which is the mark before. Checksums are the beginning of a SHA-256; a slot's is over the head's
 * checksum, the lane, the term and the sequences, so that no slot can be taken for another's. Of two whole slots the one further on
 * counts, by term and then by sequence; but a term that begins anew elsewhere, after a reorg, is written into both.
 */
export class SignedMarkFile implements SignedMark {
  /** By lane: the mark, and the slot that holds it. */
  private readonly marks: TermEnd[] = [];
  private readonly slots: Uint8Array;
  private readonly headChecksum: Uint8Array;
  private descriptor: number | undefined;
  private noRoom = false;
  /** Slots that hold nothing whole: writes that a power failure tore. */
  readonly tornSlots: number;

  /** Reads, and writes nothing before `begin`. @throws an error that says what is wrong with the bytes */
  constructor(
    private readonly path: string,
    private readonly identity: Genesis,
    bytes: Buffer,
  ) {
    const { laneCount } = identity;
    this.slots = new Uint8Array(laneCount);
    this.headChecksum = bytes.subarray(CHECKSUM_AT, HEAD_BYTES);
    let torn = 0;
    for (let lane = 0; lane < laneCount; lane++) {
      const [first, second] = [0, 1].map((slot) => this.markIn(bytes, lane, slot));
      if (first === undefined && second === undefined) throw new Error(`of lane ${lane} neither slot is whole`);
      if (first === undefined || second === undefined) torn++;
      this.slots[lane] = first === undefined || (second !== undefined && isFurther(second, first)) ? 1 : 0;
      this.marks[lane] = (this.slots[lane] === 1 ? second : first) as TermEnd;
    }
    this.tornSlots = torn;
  }

  /** The sequence below which receipts of a lane were, or may have been, signed, and in which term. */
  markOf(lane: number): TermEnd {
    return this.marks[lane] as TermEnd;
  }

  /** False after a raise that found no room, until one succeeds. */
  get hasRoom(): boolean {
    return !this.noRoom;
  }

  /**
   * Compares with a log, of which `endOf(lane)` says where it ends in the running term.
   * @throws StoreOpenError store.older naming the first lane on which more was signed than the log has
   */
  compare(endOf: (lane: number) => TermEnd): void {
    for (const [lane, mark] of this.marks.entries()) {
      const end = endOf(lane);
      // Of an earlier term, or of one in which nothing was signed before a reorg let it begin elsewhere: it binds nobody here.
      if (mark.term < end.term || mark.nextSequence <= mark.firstSequence) continue;
      if (!isSameTerm(mark, end)) {
        throw new StoreOpenError(
          'store.older',
          `lane ${lane}: receipts of term ${mark.term}, which began at sequence ${mark.firstSequence}, were signed (${this.path}), but the contract's ` +
            `term ${end.term} began at sequence ${end.firstSequence}: the L1 took a final block back, or its node is behind. Nothing was signed now. ` +
            'Find out which chain is right before starting again',
        );
      }
      if (mark.nextSequence > end.nextSequence) {
        throw new StoreOpenError(
          'store.older',
          `lane ${lane}: receipts up to sequence ${mark.nextSequence - 1n} were or may have been signed (${this.path}), but the log ends before sequence ${end.nextSequence}: ` +
            'an older database, or an empty one, is in place. Nothing was signed now. Put the newest database back, all of its files; ' +
            'if it is lost, give the lane up with `sealpost operator exit`: to sign for other bundles what was promised costs the bond',
        );
      }
    }
  }

  /**
   * To be called once, with a log that is durable and in the running term, before anything is signed. Raises the marks to the log's ends,
   * synced: what a power failure set back is right again; and begins the mark of a lane anew that is in another term now.
   * @throws StoreOpenError store.older, and nothing was written; store.unwritable
   */
  begin(endOf: (lane: number) => TermEnd): void {
    this.compare(endOf);
    try {
      this.descriptor = openSync(this.path, 'r+');
      for (let lane = 0; lane < this.identity.laneCount; lane++) {
        const end = endOf(lane);
        // Both slots, because the older one must not count as further on. A crash between the two leaves one that binds nobody.
        if (!isSameTerm(this.markOf(lane), end))
          for (const _ of [0, 1]) this.write(lane, { ...end, nextSequence: end.firstSequence });
        this.raise(lane, end.nextSequence);
      }
      fdatasyncSync(this.descriptor);
    } catch (cause) {
      this.release();
      throw unwritable(this.path, cause);
    }
  }

  raise(lane: number, nextSequence: bigint): void {
    if (this.descriptor === undefined) throw new Error('nothing may be signed: what was signed is not compared with the log');
    if (nextSequence > this.markOf(lane).nextSequence) this.write(lane, { ...this.markOf(lane), nextSequence });
  }

  /** Into the slot that does not hold the mark in force. */
  private write(lane: number, mark: TermEnd): void {
    const slot = 1 - (this.slots[lane] as number);
    const bytes = slotOf(this.headChecksum, lane, mark);
    try {
      const at = slotAt(this.identity.laneCount, lane, slot);
      const written = writeSync(this.descriptor as number, bytes, 0, SLOT_BYTES, at);
      if (written !== SLOT_BYTES) throw new Error(`${written} of ${SLOT_BYTES} bytes were written to ${this.path}`);
    } catch (cause) {
      // The other slot holds the mark that is in force: nothing was signed beyond it.
      if (!NO_ROOM.has((cause as { code?: string }).code ?? '')) throw cause;
      this.noRoom = true;
      throw new StoreFullError(`no room for ${this.path}: ${(cause as Error).message}`, { cause });
    }
    this.marks[lane] = mark;
    this.slots[lane] = slot;
    this.noRoom = false;
  }

  /** Makes the marks durable, and lets the file go. Nothing can be signed afterwards. */
  close(): void {
    try {
      if (this.descriptor !== undefined) fdatasyncSync(this.descriptor);
    } finally {
      this.release();
    }
  }

  /** Lets the file go as the end of a process does. */
  release(): void {
    const descriptor = this.descriptor;
    this.descriptor = undefined;
    if (descriptor !== undefined) closeSync(descriptor);
  }

  private markIn(bytes: Buffer, lane: number, slot: number): TermEnd | undefined {
    const at = slotAt(this.identity.laneCount, lane, slot);
    const mark: TermEnd = {
      term: bytes.readUInt32BE(at),
      firstSequence: bytes.readBigUInt64BE(at + FIRST_AT),
      nextSequence: bytes.readBigUInt64BE(at + NEXT_AT),
    };
    return bytes.subarray(at, at + SLOT_BYTES).equals(slotOf(this.headChecksum, lane, mark)) ? mark : undefined;
  }
}

/** Of two whole slots of a lane. */
const isFurther = (one: TermEnd, other: TermEnd): boolean =>
  one.term === other.term ? one.nextSequence > other.nextSequence : one.term > other.term;

/**
 * Makes the file for a log that ends at `endOf(lane)`; it is whole or not there, whenever a crash comes. Makes no folder: one
 * that is away may be a disk that is not mounted.
 * @throws StoreOpenError store.exists, store.unwritable
 */
export function createSignedMark(path: string, genesis: Genesis, endOf: (lane: number) => TermEnd): SignedMarkFile {
  if (existsSync(path)) throw new StoreOpenError('store.exists', `${path} is already there`);
  const head = Buffer.alloc(HEAD_BYTES);
  head.set(MAGIC);
  head.set(fromHex(`0x${genesis.chainId.toString(16).padStart(64, '0')}`, 32), CHAIN_AT);
  head.set(fromHex(genesis.settlement, 20), SETTLEMENT_AT);
  head.set(fromHex(genesis.signer, 20), SIGNER_AT);
  head.writeUInt32BE(genesis.laneCount, LANES_AT);
  head.set(checksum(head.subarray(0, CHECKSUM_AT)), CHECKSUM_AT);
  const bytes = Buffer.alloc(fileBytes(genesis.laneCount));
  bytes.set(head);
  for (let lane = 0; lane < genesis.laneCount; lane++) {
    const slot = slotOf(head.subarray(CHECKSUM_AT), lane, endOf(lane));
    for (const which of [0, 1]) bytes.set(slot, slotAt(genesis.laneCount, lane, which));
  }
  const draft = `${path}.new`;
  try {
    const descriptor = openSync(draft, 'w');
    try {
      writeFileSync(descriptor, bytes);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(draft, path);
    syncFolder(dirname(path));
  } catch (cause) {
    rmSync(draft, { force: true });
    throw unwritable(path, cause);
  }
  return loadSignedMark(path, genesis);
}

/**
 * Reads a file that is there; never makes one, and writes nothing before `begin`.
 * @throws StoreOpenError store.foreign if it is of another chain, contract, signer or number of lanes; store.damaged;
 * store.unwritable if it cannot be read
 */
export function loadSignedMark(path: string, expected: Partial<Genesis>): SignedMarkFile {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new StoreOpenError('store.unwritable', `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  let identity: Genesis;
  let mark: SignedMarkFile;
  try {
    identity = identityIn(bytes);
    mark = new SignedMarkFile(path, identity, bytes);
  } catch (cause) {
    throw new StoreOpenError(
      'store.damaged',
      `${path} is damaged: ${(cause as Error).message}. It says up to which sequence receipts were signed. Put it back as it was; ` +
        'move it away only if the database is certainly the newest one: then it is made anew',
      { cause },
    );
  }
  for (const name of ['chainId', 'settlement', 'signer', 'laneCount'] as const) {
    const wanted = expected[name];
    if (wanted !== undefined && wanted !== identity[name]) {
      throw new StoreOpenError(
        'store.foreign',
        `${path} says what was signed for ${name} ${identity[name]}, this L1 and configuration are ${name} ${wanted}: another SEALPOST_SIGNED_FILE`,
      );
    }
  }
  return mark;
}

function identityIn(bytes: Buffer): Genesis {
  if (bytes.length < HEAD_BYTES) throw new Error(`it has ${bytes.length} bytes, expected at least ${HEAD_BYTES}`);
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC))
    throw new Error('it does not begin as such a file does, or is of an earlier release');
  if (!bytes.subarray(CHECKSUM_AT, HEAD_BYTES).equals(checksum(bytes.subarray(0, CHECKSUM_AT)))) {
    throw new Error('the checksum of its head is wrong');
  }
  const laneCount = bytes.readUInt32BE(LANES_AT);
  if (laneCount === 0 || laneCount > MAX_LANES) throw new Error(`it has ${laneCount} lanes, expected 1 to ${MAX_LANES}`);
  if (bytes.length !== fileBytes(laneCount)) throw new Error(`it has ${bytes.length} bytes, expected ${fileBytes(laneCount)}`);
  const hex = (from: number, to: number): Hex => toHex(bytes.subarray(from, to));
  return {
    chainId: BigInt(hex(CHAIN_AT, SETTLEMENT_AT)),
    settlement: hex(SETTLEMENT_AT, SIGNER_AT),
    signer: hex(SIGNER_AT, LANES_AT),
    laneCount,
  };
}

const unwritable = (path: string, cause: unknown): StoreOpenError =>
  new StoreOpenError('store.unwritable', `${path} cannot be written: ${(cause as Error).message}`, { cause });
