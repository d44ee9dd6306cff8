// A small honest network in memory: senders sign, a sequencer promises, batches are sealed. Everything from one seed.
import { secp256k1 } from '@noble/curves/secp256k1';
import {
  ascii,
  type BatchHeader,
  type Bundle,
  type BundleView,
  batchFileParts,
  batchHash,
  buildBundleProof,
  buildMessageProof,
  buildReceipt,
  buildTree,
  bundleDigest,
  bundleHash,
  bundleStructHash,
  type Domain,
  dataHash,
  domainSeparator,
  encodeBundle,
  entryHash,
  fieldsOf,
  fromHex,
  type Hex,
  type MerkleTree,
  type Message,
  type MessageProof,
  messagesTree,
  publicKeyAddress,
  type Receipt,
  type ReceiptProof,
  readBundle,
  receiptDigest,
  sha256,
  toHex,
  uintBytes,
  viewTree,
  ZERO_HASH,
} from '../src/index.js';

/** Whole numbers from 0 to `below - 1`, the same for the same seed (mulberry32). */
export type Random = (below: number) => number;

export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function randomBytes(random: Random, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, () => random(256));
}

export interface Key {
  readonly secret: Uint8Array;
  readonly address: Hex;
}

export function keyOf(name: string): Key {
  const secret = sha256(ascii(name));
  return { secret, address: publicKeyAddress(secp256k1.getPublicKey(secret, false)) };
}

/** `r ‖ s ‖ v` in the form of §1. */
export function sign(digest: Uint8Array, secret: Uint8Array): Hex {
  const signature = secp256k1.sign(digest, secret);
  return toHex(Uint8Array.of(...signature.toCompactRawBytes(), 27 + signature.recovery));
}

export function signBundle(domain: Domain, secret: Uint8Array, unsigned: Omit<Bundle, 'signature'>): Bundle {
  const messagesRoot = toHex(messagesTree(unsigned.messages).root);
  return {
    ...unsigned,
    signature: sign(bundleDigest(domain, { ...unsigned, count: unsigned.messages.length, messagesRoot }), secret),
  };
}

export interface LogEntry {
  readonly view: BundleView;
  readonly tree: MerkleTree;
  readonly void: 0;
  readonly previous: bigint;
  readonly sequence: bigint;
  readonly bundleHash: Hex;
  readonly leaf: Uint8Array;
}

export interface LogBatch {
  readonly header: BatchHeader;
  readonly hash: Hex;
  readonly tree: MerkleTree;
  readonly entries: readonly LogEntry[];
  readonly receipts: readonly Receipt[];
}

export interface Log {
  readonly domain: Domain;
  readonly laneCount: number;
  readonly sequencer: Key;
  readonly batches: readonly LogBatch[];
}

export const DOMAIN: Domain = { chainId: 31337n, settlement: '0x5fbdb2315678afecb367f032d93f642f64180aa3' };
export const INCLUDE_BY = 1_000n;
export const TERM = 1;

/** One lane's log: `sizes` are the entries of each batch. Every commit group is one batch. */
export function makeLog(seed: number, sizes: readonly number[], lane = 0, laneCount = 1): Log {
  const random = randomFrom(seed);
  const senders = [0, 1, 2].map((index) => keyOf(`sender ${seed} ${index}`));
  const sequencer = keyOf(`sequencer ${seed}`);
  const nonces = new Map<Hex, bigint>();
  const latest = new Map<Hex, bigint>();
  const batches: LogBatch[] = [];
  let sequence = 0n;
  let parentHash = ZERO_HASH;
  for (const [position, size] of sizes.entries()) {
    const firstSequence = sequence;
    const timestamp = 1_800_000_000n + BigInt(position);
    const entries: LogEntry[] = [];
    for (let index = 0; index < size; index++) {
      const sender = senders[random(senders.length)] as Key;
      const nonce = nonces.get(sender.address) ?? 0n;
      const messages = Array.from({ length: 1 + random(random(4) === 0 ? 40 : 4) }, () => message(random, lane, laneCount));
      const view = readBundle(
        encodeBundle(
          signBundle(DOMAIN, sender.secret, {
            lane,
            sender: sender.address,
            nonce,
            // Sometimes exactly the batch's time: the last moment at which a bundle is not expired.
            expiry: timestamp + BigInt(random(2) * 3600),
            postage: BigInt(random(3)) * 12_345_678_901_234_567_890n,
            messages,
          }),
        ),
      );
      const tree = viewTree(view);
      const fields = fieldsOf(view, toHex(tree.root));
      const identity = bundleHash(sender.address, bundleStructHash(fields), view.signature);
      const previous = latest.get(sender.address) ?? 0n;
      const leaf = entryHash(0, previous, identity);
      entries.push({ view, tree, void: 0, previous, sequence, bundleHash: toHex(identity), leaf });
      sequence += 1n;
      latest.set(sender.address, sequence);
      nonces.set(sender.address, nonce + BigInt(messages.length));
    }
    const tree = buildTree(entries.map(({ leaf }) => leaf));
    const number = BigInt(position + 1);
    const file = {
      lane,
      number,
      firstSequence,
      entries: entries.map(({ view, previous }) => ({ void: 0 as const, previous, bundle: view.bytes })),
    };
    const header: BatchHeader = {
      lane,
      term: TERM,
      number,
      parentHash,
      firstSequence,
      count: size,
      bundlesRoot: toHex(tree.root),
      inboxCount: 0n,
      timestamp,
      dataHash: dataHash(batchFileParts(file)),
    };
    const statement = { lane, term: TERM, firstSequence, count: size, root: toHex(tree.root), includeBy: INCLUDE_BY };
    const signature = sign(receiptDigest(domainSeparator(DOMAIN), statement), sequencer.secret);
    parentHash = batchHash(header);
    const receipts = entries.map((entry, index) => buildReceipt(statement, signature, tree, index, entry));
    batches.push({ header, hash: parentHash, tree, entries, receipts });
  }
  return { domain: DOMAIN, laneCount, sequencer, batches };
}

function message(random: Random, lane: number, laneCount: number): Message {
  const topic = randomBytes(random, 32);
  topic.set(uintBytes(lane + laneCount * random(Math.floor(65_536 / laneCount)), 2));
  return { topic: toHex(topic), payload: randomBytes(random, random(3) === 0 ? 0 : random(300)) };
}

export interface Position {
  readonly batch: LogBatch;
  readonly bundleIndex: number;
  readonly messageIndex: number;
}

export function positionsOf(log: Log): Position[] {
  return log.batches.flatMap((batch) =>
    batch.entries.flatMap((entry, bundleIndex) =>
      Array.from({ length: entry.view.count }, (_, messageIndex) => ({ batch, bundleIndex, messageIndex })),
    ),
  );
}

export const entryAt = ({ batch, bundleIndex }: Position): LogEntry => batch.entries[bundleIndex] as LogEntry;

export function proofAt(log: Log, position: Position): MessageProof {
  const entry = entryAt(position);
  const inner = buildBundleProof(log.domain, entry.view, entry.tree, position.messageIndex);
  return buildMessageProof(inner, entry, position.batch, position.bundleIndex);
}

export function receiptProofAt(log: Log, position: Position): ReceiptProof {
  const entry = entryAt(position);
  const inner = buildBundleProof(log.domain, entry.view, entry.tree, position.messageIndex);
  return { ...inner, receipt: position.batch.receipts[position.bundleIndex] as Receipt };
}

/** The same signature over the same digest in its other, forbidden form: s replaced by order - s, v by the other one. */
export function highS(signature: Hex): Hex {
  const bytes = fromHex(signature, 65);
  const s = secp256k1.CURVE.n - BigInt(toHex(bytes.subarray(32, 64)));
  bytes.set(uintBytes(s, 32), 32);
  bytes[64] = bytes[64] === 27 ? 28 : 27;
  return toHex(bytes);
}
