import {
  type BundleProof,
  type BundleView,
  batchFileHeader,
  buildBundleProof,
  buildMessageProof,
  type Domain,
  dataCid,
  type Hex,
  MAX_MESSAGES,
  type MerkleTree,
  type MessageId,
  type MessageProof,
  messageAt,
  type ReceiptProof,
  readBundle,
  topicLane,
} from '@sealpost/prover';
import { LRUCache } from 'lru-cache';
import { RequestError } from './errors.js';
import type { FullEntry, Hashing, L1View, Place, SealedBatch, Store } from './ports.js';
import type { ReceiptBook } from './receipts.js';

/** The rungs of PROTOCOL.md §10. */
export type Status = 'accepted' | 'sealed' | 'committed' | 'safe' | 'finalized';

/** A message as the API tells it (§11). */
export interface MessageRecord extends MessageId {
  readonly topic: Hex;
  readonly payload: Uint8Array;
  readonly sequence: bigint;
  readonly index: number;
  readonly status: Status;
  readonly expired: boolean;
  readonly batch: bigint | undefined;
  readonly cursor: string;
  readonly proof?: ReceiptProof;
}

export interface TopicQuery {
  readonly topic: Hex;
  /** A cursor; undefined for the beginning. */
  readonly after: bigint | undefined;
  readonly limit: number;
  /** Only these senders, in lower case; empty for all. */
  readonly senders: ReadonlySet<Hex>;
  readonly proofs: boolean;
  /** A page is cut when it holds this much payload: 8 MiB unless given. */
  readonly maxBytes?: number;
}

export interface BatchRecord extends SealedBatch {
  readonly cid: string;
  readonly status: Status;
  readonly transactionHash: Hex | null;
  readonly blockNumber: bigint | null;
}

export interface LaneHeads {
  readonly lane: number;
  readonly accepted: bigint;
  readonly sealed: bigint;
  readonly committed: bigint;
  readonly safe: bigint;
  readonly finalized: bigint;
  readonly batch: bigint;
}

export interface ReaderDeps {
  readonly store: Store;
  readonly book: ReceiptBook;
  readonly domain: Domain;
  readonly hashing: Hashing;
  readonly view: () => L1View | undefined;
  /** The next sequence of a lane that is in no batch. */
  readonly sealed: (lane: number) => bigint;
}

// 1,000 messages of 64 KiB would not be a page.
const MAX_PAGE_BYTES = 8_388_608;
// Index rows looked at before the event loop gets its turn: senders that are not wanted are passed over.
const PLACES_A_TURN = 1_000;
// Bundles are opened and hashed for proofs: an event loop that is held for longer than this is one that answers nobody.
const MAX_TURN_MS = 10;
// A batch of 4,096 entries holds a tree of 256 KiB: 16 MiB of trees.
const MAX_BATCH_TREES = 64;

const INDEXES = BigInt(MAX_MESSAGES);

/** A cursor counts the places before it, 4,096 an entry: a message's own cursor is just behind it. */
const cursorOf = (place: Place): bigint => place.sequence * INDEXES + BigInt(place.index) + 1n;
const placeBefore = (cursor: bigint): Place | undefined =>
  cursor === 0n ? undefined : { sequence: (cursor - 1n) / INDEXES, index: Number((cursor - 1n) % INDEXES) };

/** Everything that is read: messages, proofs, batches, their files. Never writes. */
export class LogReader {
  private readonly batchTrees = new LRUCache<Hex, MerkleTree>({ max: MAX_BATCH_TREES });

  constructor(private readonly deps: ReaderDeps) {}

  laneOf(topic: Hex): number {
    return topicLane(topic, this.deps.store.genesis.laneCount);
  }

  /** The cursor behind everything there is now on a topic's lane. */
  latestCursor(topic: Hex): bigint {
    return this.deps.store.tail(this.laneOf(topic)).nextSequence * INDEXES;
  }

  /**
   * Messages of a topic in order, at most `limit` and about `maxBytes`, and the cursor to go on from. Goes through as many places as
   * it takes, letting others have their turn, until `signal` says that nobody wants the page any more.
   * @throws request.invalid for a cursor beyond anything that can be stored
   */
  async page(
    { topic, after, limit, senders, proofs, maxBytes = MAX_PAGE_BYTES }: TopicQuery,
    signal?: { readonly aborted: boolean },
  ): Promise<{ messages: MessageRecord[]; next: bigint }> {
    const { store } = this.deps;
    const lane = this.laneOf(topic);
    const messages: MessageRecord[] = [];
    let next = after ?? 0n;
    if (next >> 48n !== 0n) throw new RequestError('request.invalid', 'after: expected a cursor that this API gave out');
    let bytes = 0;
    let open: OpenEntry | undefined;
    let turnAt = performance.now();
    const nextTurn = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      turnAt = performance.now();
    };
    while (!signal?.aborted) {
      const wanted = senders.size > 0 ? PLACES_A_TURN : Math.min(limit - messages.length, PLACES_A_TURN);
      const places = store.placesOf(topic, lane, placeBefore(next), wanted);
      if (places.length === 0) break;
      for (const place of places) {
        next = cursorOf(place);
        if (open?.entry.sequence !== place.sequence) {
          // The sender stands beside the bundle: who is not wanted costs no reading of bundles.
          const [entry] = senders.size > 0 ? store.entries(lane, place.sequence, 1) : [];
          if (entry !== undefined && !senders.has(entry.sender)) continue;
          open = this.open(lane, place.sequence);
        }
        const record = this.record(open, place.index);
        // Another topic may share this one's key in the index.
        if (record.topic !== topic) continue;
        messages.push(proofs ? { ...record, proof: this.receiptProof(open, place.index, record) } : record);
        bytes += record.payload.length;
        if (messages.length === limit || bytes >= maxBytes) return { messages, next };
        if (performance.now() - turnAt > MAX_TURN_MS) await nextTurn();
      }
      await nextTurn();
    }
    return { messages, next };
  }

  /** @throws not_found */
  message(id: MessageId): MessageRecord {
    const { open, index } = this.find(id);
    return this.record(open, index);
  }

  /** @throws not_found, proof.not_sealed before its entry is in a batch */
  proof(id: MessageId): MessageProof {
    const { open, index } = this.find(id);
    const { lane, sequence } = open.entry;
    const batch = this.deps.store.batchOf(lane, sequence);
    if (batch === undefined) {
      throw new RequestError('proof.not_sealed', 'the message is accepted and in no batch yet: ask again', {}, 1_000);
    }
    const tree = this.batchTree(batch);
    return buildMessageProof(
      this.bundleProof(open, index),
      open.entry,
      { tree, header: batch.header },
      Number(sequence - batch.header.firstSequence),
    );
  }

  /** The proof that ends at the receipt, which is there at once (§11). @throws not_found, unavailable */
  proofOfReceipt(id: MessageId): ReceiptProof {
    const { open, index } = this.find(id);
    return this.receiptProof(open, index);
  }

  /** @throws not_found */
  batch(lane: number, number: bigint): BatchRecord {
    const batch = lane < this.deps.store.genesis.laneCount ? this.deps.store.batch(lane, number) : undefined;
    if (batch === undefined) throw new RequestError('not_found', `there is no batch ${number} on lane ${lane}`);
    return this.batchRecord(batch);
  }

  /** Newest first, number < `before`. */
  batches(lane: number, before: bigint | undefined, limit: number): BatchRecord[] {
    return this.deps.store.batches(lane, before, limit).map((batch) => this.batchRecord(batch));
  }

  /** The bytes of a batch file from `start` to `end` (half open), a page of entries at a time; made from what is stored. */
  *batchFile(batch: SealedBatch, start: number, end: number): Generator<Uint8Array> {
    let at = 0;
    for (const part of this.batchFileParts(batch)) {
      if (at >= end) return;
      const from = Math.max(0, start - at);
      if (from < part.length) yield part.subarray(from, Math.min(part.length, end - at));
      at += part.length;
    }
  }

  private *batchFileParts({ header }: SealedBatch): Generator<Uint8Array> {
    yield batchFileHeader(header, header.count);
    for (const { bytes } of this.deps.store.entryPages(header.lane, header.firstSequence, header.count)) yield bytes;
  }

  /** Per lane, the next sequence not yet on each rung, and the newest batch. */
  heads(): LaneHeads[] {
    const { store, view, sealed } = this.deps;
    const lanes = view()?.lanes;
    return Array.from({ length: store.genesis.laneCount }, (_, lane) => ({
      lane,
      accepted: store.tail(lane).nextSequence,
      sealed: sealed(lane),
      committed: lanes?.[lane]?.committed.nextSequence ?? 0n,
      safe: lanes?.[lane]?.safe.nextSequence ?? 0n,
      finalized: lanes?.[lane]?.finalized.nextSequence ?? 0n,
      batch: store.lastBatch(lane)?.header.number ?? 0n,
    }));
  }

  /** How high an entry stands (§10). */
  statusOf(lane: number, sequence: bigint): Status {
    const rungs = this.deps.view()?.lanes[lane];
    if (rungs !== undefined) {
      if (sequence < rungs.finalized.nextSequence) return 'finalized';
      if (sequence < rungs.safe.nextSequence) return 'safe';
      if (sequence < rungs.committed.nextSequence) return 'committed';
    }
    return sequence < this.deps.sealed(lane) ? 'sealed' : 'accepted';
  }

  private find(id: MessageId): { open: OpenEntry; index: number } {
    const { store } = this.deps;
    const entry = id.lane < store.genesis.laneCount ? store.entryByNonce(id.sender, id.lane, id.nonce) : undefined;
    if (entry === undefined) throw new RequestError('not_found', `there is no message ${id.sender}/${id.lane}/${id.nonce}`);
    return { open: this.open(id.lane, entry.sequence), index: Number(id.nonce - entry.nonce) };
  }

  private open(lane: number, sequence: bigint): OpenEntry {
    const entry = this.deps.store.entry(lane, sequence);
    if (entry === undefined) throw new RequestError('internal', `entry ${sequence} of lane ${lane} is not in the log`);
    // What is read most was just accepted: it is in no batch, and that is known without asking the store.
    const batch = sequence < this.deps.sealed(lane) ? this.deps.store.batchOf(lane, sequence) : undefined;
    return { entry, view: readBundle(entry.bundle), batch, tree: undefined };
  }

  private record({ entry, view, batch }: OpenEntry, index: number): MessageRecord {
    const { lane, sequence, sender, nonce } = entry;
    const { topic, payload } = messageAt(view, index);
    return {
      sender,
      lane,
      nonce: nonce + BigInt(index),
      topic,
      // Copied: a small payload must not keep a bundle of 1 MiB in memory.
      payload: new Uint8Array(payload),
      sequence,
      index,
      status: this.statusOf(lane, sequence),
      expired: batch !== undefined && view.expiry < batch.header.timestamp,
      batch: batch?.header.number,
      cursor: String(cursorOf({ sequence, index })),
    };
  }

  private receiptProof(open: OpenEntry, index: number, { topic, payload } = this.record(open, index)): ReceiptProof {
    const receipt = this.deps.book.receiptOf(open.entry);
    return { ...this.bundleProof(open, index), message: { topic, payload }, receipt };
  }

  private bundleProof(open: OpenEntry, index: number): BundleProof {
    open.tree ??= this.deps.hashing.messagesTree(open.view);
    return buildBundleProof(this.deps.domain, open.view, open.tree, index);
  }

  private batchTree({ header, batchHash }: SealedBatch): MerkleTree {
    let tree = this.batchTrees.get(batchHash);
    if (tree === undefined) {
      tree = this.deps.hashing.leavesTree(this.deps.store.leavesOf(header.lane, header.number));
      this.batchTrees.set(batchHash, tree);
    }
    return tree;
  }

  private batchRecord(batch: SealedBatch): BatchRecord {
    const { lane, number, firstSequence, dataHash } = batch.header;
    const commitment = this.deps.store.commitment(lane, number);
    return {
      ...batch,
      cid: dataCid(dataHash),
      status: this.statusOf(lane, firstSequence),
      transactionHash: commitment?.transactionHash ?? null,
      blockNumber: commitment?.blockNumber ?? null,
    };
  }
}

/** An entry being read: decoded once, its tree made once, however many of its messages are asked for. */
interface OpenEntry {
  readonly entry: FullEntry;
  readonly view: BundleView;
  readonly batch: SealedBatch | undefined;
  tree: MerkleTree | undefined;
}
