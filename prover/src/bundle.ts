import {
  addressWord,
  concat,
  fromHex,
  type Hex,
  join,
  lowerHex,
  Reader,
  toBase64,
  toHex,
  uintBytes,
  uintWord,
  viewOf,
  ZERO_ADDRESS,
} from './bytes.js';
import { ProtocolError } from './errors.js';
import {
  badSignature,
  type Domain,
  domainSeparator,
  type Keccak256,
  keccak256,
  keccakText,
  type Recover,
  recoverSigner,
  recoverWithNoble,
  SIGNATURE_BYTES,
  typedDataDigest,
} from './signature.js';
import { buildTree, type MerkleTree, type Sha256, sha256 } from './tree.js';

/** PROTOCOL.md §2 and §3. */
export const MAX_PAYLOAD_BYTES = 65_536;
export const MAX_MESSAGES = 4_096;
export const MAX_BUNDLE_BYTES = 1_048_576;
export const HEADER_BYTES = 59;
/** `0x00 ‖ topic(32)`: what stands before the payload in an encoded message. */
export const MESSAGE_PREFIX_BYTES = 33;
const VERSION = 0x01;
const LENGTH_BYTES = 4;
/** The shortest bundle there is: one message without a payload. */
const MIN_BUNDLE_BYTES = HEADER_BYTES + LENGTH_BYTES + MESSAGE_PREFIX_BYTES + SIGNATURE_BYTES;
/** How many frames too short for a bundle a body may have before it is refused as a whole. */
const MAX_SHORT_FRAMES = 1_024;
const MAX_UINT64 = 0xffff_ffff_ffff_ffffn;

/** What leaves a sender: `topic` is 32 opaque bytes, `payload` 0 to 65,536 bytes of ciphertext (§2). */
export interface Message {
  readonly topic: Hex;
  readonly payload: Uint8Array;
}

/** The numbers of a bundle: what is signed beside the messages (§3). */
export interface BundleHead {
  readonly lane: number;
  readonly sender: Hex;
  readonly nonce: bigint;
  readonly expiry: bigint;
  readonly postage: bigint;
}

/** 1 to 4,096 messages under one signature of 65 bytes (§3). */
export interface Bundle extends BundleHead {
  readonly messages: readonly Message[];
  readonly signature: Hex;
}

/** A bundle with its messages replaced by their root: as a proof carries it (§9). */
export interface BundleFields extends BundleHead {
  readonly count: number;
  readonly messagesRoot: Hex;
  readonly signature: Hex;
}

/** A message in the network is named by its sender, its lane and its nonce: `0xsender/lane/nonce` (§3). */
export interface MessageId {
  readonly sender: Hex;
  readonly lane: number;
  readonly nonce: bigint;
}

/**
 * `0x00 ‖ topic(32) ‖ payload`, exactly the Merkle leaf's preimage (§2).
 * @throws bundle.malformed, bundle.too_large
 */
export function encodeMessage(message: Message): Uint8Array {
  if (message.payload.length > MAX_PAYLOAD_BYTES) throw tooLarge('payload', message.payload.length, MAX_PAYLOAD_BYTES);
  return concat(Uint8Array.of(0), fromHex(message.topic, 32, 'bundle.malformed', 'topic'), message.payload);
}

/** `SHA256(encoded message)`: 32 bytes. */
export const messageLeaf = (message: Message, hash: Sha256 = sha256): Uint8Array => hash(encodeMessage(message));

/**
 * The tree over a bundle's message leaves, in order: its root is `messagesRoot` (§3).
 * @throws value.malformed for no messages; bundle.malformed, bundle.too_large
 */
export const messagesTree = (messages: readonly Message[], hash: Sha256 = sha256): MerkleTree =>
  buildTree(
    messages.map((message) => messageLeaf(message, hash)),
    hash,
  );

/** The lane a topic lives on: its first two bytes mod `laneCount` (§12). */
export const topicLane = (topic: Hex, laneCount: number): number => Number.parseInt(topic.slice(2, 6), 16) % laneCount;

/**
 * The bytes a signature and hashes are made over (§3).
 * @throws bundle.malformed, bundle.too_large
 */
export function encodeBundle(bundle: Bundle): Uint8Array {
  const { messages } = bundle;
  checkCount(messages.length, bundle.nonce);
  let size = HEADER_BYTES + SIGNATURE_BYTES;
  for (const { payload } of messages) size += LENGTH_BYTES + MESSAGE_PREFIX_BYTES + payload.length;
  if (size > MAX_BUNDLE_BYTES) throw tooLarge('bundle', size, MAX_BUNDLE_BYTES);
  const parts: Uint8Array[] = [
    Uint8Array.of(VERSION),
    uintBytes(bundle.lane, 2, 'bundle.malformed', 'lane'),
    senderBytes(bundle.sender),
    uintBytes(bundle.nonce, 8, 'bundle.malformed', 'nonce'),
    uintBytes(bundle.expiry, 8, 'bundle.malformed', 'expiry'),
    uintBytes(bundle.postage, 16, 'bundle.malformed', 'postage'),
    uintBytes(messages.length, LENGTH_BYTES),
  ];
  for (const message of messages) {
    const encoded = encodeMessage(message);
    parts.push(uintBytes(encoded.length, LENGTH_BYTES), encoded);
  }
  parts.push(fromHex(bundle.signature, SIGNATURE_BYTES, 'bundle.malformed', 'signature'));
  return join(parts);
}

/** A bundle's bytes with where everything lies in them: nothing is copied. */
export interface BundleView extends BundleHead {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly signature: Uint8Array;
  /** For message i: offset of its encoding at [2i], end at [2i + 1]. */
  readonly bounds: Uint32Array;
}

/**
 * Checks all of a bundle's form, and its sizes after its form (§6). No signature, no lane, no clock is looked at.
 * @throws bundle.malformed, bundle.too_large
 */
export function readBundle(bytes: Uint8Array): BundleView {
  if (bytes.length < HEADER_BYTES + SIGNATURE_BYTES) {
    throw malformed(`expected at least ${HEADER_BYTES + SIGNATURE_BYTES} bytes, got ${bytes.length}`, { at: 0 });
  }
  const view = viewOf(bytes);
  if (bytes[0] !== VERSION) throw malformed(`expected version 1 at byte 0, got ${bytes[0]}`, { at: 0 });
  const head = readCheckedHead(bytes);
  const { sender, count } = head;
  if (sender === ZERO_ADDRESS) throw malformed('expected a sender other than the zero address at byte 3', { at: 3 });
  checkCount(count, head.nonce);
  const end = bytes.length - SIGNATURE_BYTES;
  // A count that the bytes cannot hold is refused here, so that nobody makes us allocate more than they sent.
  if (count * (LENGTH_BYTES + MESSAGE_PREFIX_BYTES) > end - HEADER_BYTES) {
    throw malformed(`expected ${count} messages at byte ${HEADER_BYTES}, got ${end - HEADER_BYTES} bytes`, { at: HEADER_BYTES });
  }
  const bounds = new Uint32Array(2 * count);
  let largest = 0;
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    if (at + LENGTH_BYTES > end)
      throw malformed(`message ${index}: expected its length at byte ${at}, got the end`, { at, index });
    const length = view.getUint32(at);
    at += LENGTH_BYTES;
    if (length < MESSAGE_PREFIX_BYTES) {
      throw malformed(`message ${index}: expected a length of at least ${MESSAGE_PREFIX_BYTES}, got ${length}`, { at, index });
    }
    if (length > end - at) {
      throw malformed(`message ${index}: expected ${length} bytes at byte ${at}, got ${end - at}`, { at, index });
    }
    if (bytes[at] !== 0) throw malformed(`message ${index}: expected 0x00 at byte ${at}, got ${bytes[at]}`, { at, index });
    if (length > largest) largest = length;
    bounds[2 * index] = at;
    at += length;
    bounds[2 * index + 1] = at;
  }
  if (at !== end) throw malformed(`expected the signature at byte ${at}, got ${end - at} more bytes`, { at });
  if (largest - MESSAGE_PREFIX_BYTES > MAX_PAYLOAD_BYTES) {
    throw tooLarge('payload', largest - MESSAGE_PREFIX_BYTES, MAX_PAYLOAD_BYTES);
  }
  if (bytes.length > MAX_BUNDLE_BYTES) throw tooLarge('bundle', bytes.length, MAX_BUNDLE_BYTES);
  return { bytes, ...head, signature: bytes.subarray(end), bounds };
}

/** The head and count of a bundle whose form `readBundle` has checked before: nothing is checked again. */
export function readCheckedHead(bytes: Uint8Array): BundleHead & { readonly count: number } {
  const view = viewOf(bytes);
  return {
    lane: view.getUint16(1),
    sender: toHex(bytes.subarray(3, 23)),
    nonce: view.getBigUint64(23),
    expiry: view.getBigUint64(31),
    postage: (view.getBigUint64(39) << 64n) | view.getBigUint64(47),
    count: view.getUint32(55),
  };
}

/** The encoded bytes of message `index` (a view, not a copy). */
export const messageBytes = (view: BundleView, index: number): Uint8Array =>
  view.bytes.subarray(view.bounds[2 * index], view.bounds[2 * index + 1]);

/** Message `index`; its payload is a view into the bundle's bytes. */
export function messageAt(view: BundleView, index: number): Message {
  const encoded = messageBytes(view, index);
  return { topic: toHex(encoded.subarray(1, MESSAGE_PREFIX_BYTES)), payload: encoded.subarray(MESSAGE_PREFIX_BYTES) };
}

/** The tree over the messages of a bundle read from bytes. */
export function viewTree(view: BundleView, hash: Sha256 = sha256): MerkleTree {
  const leaves: Uint8Array[] = [];
  for (let index = 0; index < view.count; index++) leaves.push(hash(messageBytes(view, index)));
  return buildTree(leaves, hash);
}

/**
 * A bundle from its bytes, form and sizes checked (§3). Payloads are views into `bytes`.
 * @throws bundle.malformed, bundle.too_large
 */
export function decodeBundle(bytes: Uint8Array): Bundle {
  const view = readBundle(bytes);
  const messages: Message[] = [];
  for (let index = 0; index < view.count; index++) messages.push(messageAt(view, index));
  return { ...headOf(view), messages, signature: toHex(view.signature) };
}

/** The five signed numbers of a bundle, whatever else it carries. */
export const headOf = ({ lane, sender, nonce, expiry, postage }: BundleHead): BundleHead => ({
  lane,
  sender,
  nonce,
  expiry,
  postage,
});

/** The fields a proof carries, from a bundle read from bytes and the root of its messages. */
export const fieldsOf = (view: BundleView, messagesRoot: Hex): BundleFields => ({
  // Field by field: spreading `headOf` costs 3 µs more, which is felt where every bundle of a sequencer passes.
  lane: view.lane,
  sender: view.sender,
  nonce: view.nonce,
  expiry: view.expiry,
  postage: view.postage,
  count: view.count,
  messagesRoot,
  signature: toHex(view.signature),
});

/** `length(4) ‖ bundle`: streams and bodies are concatenated frames (§3). */
export const frameBundle = (bundle: Uint8Array): Uint8Array => concat(uintBytes(bundle.length, LENGTH_BYTES), bundle);

/**
 * The bundles of a body of frames, as views into it; the bundles themselves are not looked at. So that nobody makes us
 * hold more than they sent, a body of very many frames that are too short to be bundles does not count as split.
 * @throws bundle.malformed unless the body splits wholly into one or more frames
 */
export function splitFrames(body: Uint8Array): Uint8Array[] {
  if (body.length === 0) throw malformed('expected one or more framed bundles, got an empty body', { at: 0 });
  const view = viewOf(body);
  const bundles: Uint8Array[] = [];
  const maxFrames = MAX_SHORT_FRAMES + Math.floor(body.length / (LENGTH_BYTES + MIN_BUNDLE_BYTES));
  let at = 0;
  while (at < body.length) {
    if (bundles.length === maxFrames) {
      throw malformed(`expected at most ${maxFrames} frames in ${body.length} bytes, got one more at byte ${at}`, { at });
    }
    if (at + LENGTH_BYTES > body.length) throw malformed(`expected a frame's length at byte ${at}, got the end`, { at });
    const length = view.getUint32(at);
    at += LENGTH_BYTES;
    if (length > body.length - at) {
      throw malformed(`expected a frame of ${length} bytes at byte ${at}, got ${body.length - at}`, { at });
    }
    bundles.push(body.subarray(at, at + length));
    at += length;
  }
  return bundles;
}

const WORD_BYTES = 32;
const BUNDLE_TYPE = /* @__PURE__ */ keccakText(
  'Bundle(address sender,uint16 lane,uint64 nonce,uint64 expiry,uint128 postage,uint32 count,bytes32 messagesRoot)',
);

/**
 * hashStruct(Bundle): what `(sender, structHash)` names, whatever the signature (§3, §6). 32 bytes.
 * @throws value.malformed for a field outside its type
 */
export function bundleStructHash(fields: Omit<BundleFields, 'signature'>, keccak: Keccak256 = keccak256): Uint8Array {
  const { sender, lane, nonce, expiry, postage, count, messagesRoot } = fields;
  return keccak(
    concat(
      BUNDLE_TYPE,
      addressWord(sender),
      uintWord(lane, 2),
      uintWord(nonce, 8),
      uintWord(expiry, 8),
      uintWord(postage, 16),
      uintWord(count, 4),
      fromHex(messagesRoot, 32),
    ),
  );
}

// Of a bundle's bytes, where each signed field lies, how long it is, and which word of the struct it ends in. The
// fields are big-endian here as there.
const SIGNED_FIELDS: readonly (readonly [at: number, length: number, word: number])[] = [
  [3, 20, 1],
  [1, 2, 2],
  [23, 8, 3],
  [31, 8, 4],
  [39, 16, 5],
  [55, 4, 6],
];

/** Owned by `viewStructHash` while it runs: between the fields it is always zero. */
const structWords = /* @__PURE__ */ new Uint8Array(8 * WORD_BYTES);

/**
 * `bundleStructHash` of a bundle read from bytes, by copying them: a tenth of the cost of converting them there and back, which
 * counts where ten thousand bundles a second are verified. `messagesRoot` has 32 bytes.
 */
export function viewStructHash({ bytes }: BundleView, messagesRoot: Uint8Array, keccak: Keccak256 = keccak256): Uint8Array {
  const words = structWords;
  words.set(BUNDLE_TYPE);
  for (const [at, length, word] of SIGNED_FIELDS) words.set(bytes.subarray(at, at + length), (word + 1) * WORD_BYTES - length);
  words.set(messagesRoot, 7 * WORD_BYTES);
  return keccak(words);
}

/** The EIP-712 digest a sender signs (§3): 32 bytes. */
export const bundleDigest = (
  domain: Domain,
  fields: Omit<BundleFields, 'signature'>,
  keccak: Keccak256 = keccak256,
): Uint8Array => typedDataDigest(domainSeparator(domain), bundleStructHash(fields, keccak), keccak);

/** `SHA256(0x00 ‖ sender(20) ‖ structHash(32) ‖ signature(65))`: the bundle's identity in the API (§3). */
export const bundleHash = (sender: Hex, structHash: Uint8Array, signature: Uint8Array, hash: Sha256 = sha256): Uint8Array =>
  hash(concat(Uint8Array.of(0), fromHex(sender, 20), structHash, signature));

/** The same of a bundle read from bytes, without converting its sender. */
export const viewBundleHash = ({ bytes, signature }: BundleView, structHash: Uint8Array, hash: Sha256 = sha256): Uint8Array =>
  hash(concat(Uint8Array.of(0), bytes.subarray(3, 23), structHash, signature));

/** `SHA256(0x00 ‖ void(1) ‖ previous(8) ‖ bundleHash(32))`: the leaf in the batch tree and in the receipt tree (§3); of a false leaf, too. */
export const entryHash = (isVoid: number, previous: bigint, bundle: Uint8Array, hash: Sha256 = sha256): Uint8Array =>
  hash(concat(Uint8Array.of(0, isVoid), uintBytes(previous, 8), bundle));

/**
 * Returns only if the bundle's signature recovers to its sender.
 * @throws bundle.bad_signature
 */
export function verifyBundleSignature(
  domain: Domain,
  fields: BundleFields,
  recover: Recover = recoverWithNoble,
  keccak: Keccak256 = keccak256,
): void {
  const signature = fromHex(fields.signature, undefined, 'bundle.bad_signature', 'signature');
  const signer = recoverSigner(bundleDigest(domain, fields, keccak), signature, recover, keccak);
  if (signer !== lowerHex(fields.sender) || signer === ZERO_ADDRESS) {
    throw badSignature(`expected the signature of the sender ${fields.sender}, got that of ${signer}`);
  }
}

/**
 * Every message belongs to the bundle's lane, and the lane exists (§12).
 * @throws bundle.wrong_lane
 */
export function verifyLane(view: BundleView, laneCount: number): void {
  const wrong = (detail: string, facts: Record<string, number> = {}) =>
    new ProtocolError('bundle.wrong_lane', detail, { lane: view.lane, laneCount, ...facts });
  if (view.lane >= laneCount) throw wrong(`expected a lane below ${laneCount}, got ${view.lane}`);
  for (let index = 0; index < view.count; index++) {
    const at = (view.bounds[2 * index] as number) + 1;
    const lane = (((view.bytes[at] as number) << 8) | (view.bytes[at + 1] as number)) % laneCount;
    if (lane !== view.lane) {
      throw wrong(`message ${index}: its topic lives on lane ${lane}, the bundle names lane ${view.lane}`, { index });
    }
  }
}

/** The JSON object `bundle` of §11. */
export const bundleToJson = (bundle: Bundle) => ({
  ...headToJson(bundle),
  messages: bundle.messages.map(({ topic, payload }) => ({ topic: lowerHex(topic), payload: toBase64(payload) })),
  signature: lowerHex(bundle.signature),
});

/**
 * A bundle from its JSON object. Form only: `encodeBundle` of the result checks sender, counts and sizes.
 * @throws bundle.malformed
 */
export function bundleFromJson(value: unknown, at = 'bundle'): Bundle {
  const json = new Reader(value, 'bundle.malformed', at);
  return {
    ...headFromJson(json),
    messages: json
      .field('messages')
      .items(MAX_MESSAGES)
      .map((message) => ({ topic: message.field('topic').hex(32), payload: message.field('payload').base64() })),
    signature: json.field('signature').hex(SIGNATURE_BYTES),
  };
}

/** The five signed numbers as JSON objects carry them (§11). */
export const headToJson = (head: BundleHead) => ({
  lane: head.lane,
  sender: lowerHex(head.sender),
  nonce: String(head.nonce),
  expiry: String(head.expiry),
  postage: String(head.postage),
});

/** The five signed numbers out of a JSON object that has them. */
export const headFromJson = (json: Reader): BundleHead => ({
  lane: json.field('lane').number(0xffff),
  sender: json.field('sender').hex(20),
  nonce: json.field('nonce').uint(64),
  expiry: json.field('expiry').uint(64),
  postage: json.field('postage').uint(128),
});

/** What a sequencer asks for a bundle, in wei (§3). All zeros: nothing. */
export interface Price {
  readonly perMessage: bigint;
  /** A byte of the encoded bundle, header and signature included; a frame's length is not one of them. */
  readonly perByte: bigint;
}

export const FREE: Price = { perMessage: 0n, perByte: 0n };

/** How much a bundle of `count` messages that is `bytes` long, encoded, adds to what its sender owes, in wei. */
export const bundlePrice = ({ perMessage, perByte }: Price, count: number, bytes: number): bigint =>
  perMessage * BigInt(count) + perByte * BigInt(bytes);

/** The JSON object `price` of §11. */
export const priceToJson = ({ perMessage, perByte }: Price) => ({ perMessage: String(perMessage), perByte: String(perByte) });

/** A price from its JSON object. */
export const priceFromJson = (json: Reader): Price => ({
  perMessage: json.field('perMessage').uint(128),
  perByte: json.field('perByte').uint(128),
});

/** `0xsender/lane/nonce`, in lower case (§3). */
export const formatMessageId = ({ sender, lane, nonce }: MessageId): string => `${lowerHex(sender)}/${lane}/${nonce}`;

/**
 * The parts of `0xsender/lane/nonce` (§3), the sender in lower case.
 * @throws value.malformed
 */
export function parseMessageId(text: unknown): MessageId {
  const parts = typeof text === 'string' ? /^(0x[0-9a-fA-F]{40})\/(0|[1-9][0-9]{0,4})\/(0|[1-9][0-9]{0,19})$/.exec(text) : null;
  const [, sender, lane, nonce] = parts ?? [];
  if (sender === undefined || Number(lane) > 0xffff || BigInt(nonce as string) > MAX_UINT64) {
    throw new ProtocolError(
      'value.malformed',
      `expected a message id, 0xsender/lane/nonce, got ${typeof text === 'string' ? text.slice(0, 100) : typeof text}`,
    );
  }
  return { sender: lowerHex(sender as Hex), lane: Number(lane), nonce: BigInt(nonce as string) };
}

/**
 * What holds for the count of every bundle in the log that is not void: 1 to 4,096, and nonce + count below 2^64 (§3, §6).
 * @throws bundle.malformed
 */
export function checkCount(count: number, nonce: bigint): void {
  if (!Number.isInteger(count) || count < 1 || count > MAX_MESSAGES) {
    throw malformed(`expected 1 to ${MAX_MESSAGES} messages, got ${count}`, { count });
  }
  if (nonce + BigInt(count) > MAX_UINT64) throw malformed('expected nonce + count below 2^64', { count, nonce: String(nonce) });
}

function senderBytes(sender: Hex): Uint8Array {
  if (sender === ZERO_ADDRESS) throw malformed('expected a sender other than the zero address', {});
  return fromHex(sender, 20, 'bundle.malformed', 'sender');
}

const malformed = (detail: string, facts: Record<string, string | number>) =>
  new ProtocolError('bundle.malformed', detail, facts);

const tooLarge = (what: string, bytes: number, maxBytes: number) =>
  new ProtocolError('bundle.too_large', `${what}: expected at most ${maxBytes} bytes, got ${bytes}`, { what, bytes, maxBytes });
