import { type BatchHeader, batchHash, headerFromJson, headerToJson } from './batch.js';
import {
  type BundleFields,
  type BundleView,
  bundleHash,
  bundleStructHash,
  checkCount,
  entryHash,
  fieldsOf,
  headFromJson,
  headToJson,
  MAX_PAYLOAD_BYTES,
  type Message,
  messageAt,
  messageLeaf,
  topicLane,
  verifyBundleSignature,
} from './bundle.js';
import { fromHex, type Hex, lowerHex, Reader, toBase64, toHex, ZERO_HASH } from './bytes.js';
import { ProtocolError } from './errors.js';
import { type Receipt, type ReceiptTerms, readPath, readReceipt, receiptToJson, verifyReceipt } from './receipt.js';
import { type Domain, type Recover, recoverWithNoble } from './signature.js';
import { inclusionPath, isIncluded, type MerkleTree, type Sha256, sha256 } from './tree.js';
import type { VerifiedBundle, VerifiedBundles } from './verified.js';

/** The part of a proof that needs no sequencer: from the message's bytes to its sender's signature (§9). */
export interface BundleProof extends Domain {
  readonly version: 1;
  readonly message: Message;
  readonly messageIndex: number;
  readonly messagePath: readonly Hex[];
  readonly bundle: BundleFields;
}

/** Everything from a message's bytes to the batch hash in an L1 storage slot (§9). */
export interface MessageProof extends BundleProof {
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly bundleIndex: number;
  readonly bundlePath: readonly Hex[];
  readonly header: BatchHeader;
  readonly batchHash: Hex;
}

/** The same before the batch exists: it ends at the sequencer's promise instead of the L1 (§11, `anchor=receipt`). */
export interface ReceiptProof extends BundleProof {
  readonly receipt: Receipt;
}

/** The verifier's own knowledge of the L1: never taken from a proof. */
export interface SettlementView extends Domain {
  readonly laneCount: number;
}

/** The checks of §9, in the order in which they are made. */
export type ProofStep =
  | 'domain'
  | 'message'
  | 'lane'
  | 'messagePath'
  | 'signature'
  | 'void'
  | 'expiry'
  | 'bundlePath'
  | 'batchHash'
  | 'slot'
  | 'receipt';

/** What a proof that holds says. */
export interface ProvenMessage {
  readonly sender: Hex;
  readonly lane: number;
  /** The message's own nonce: the bundle's plus its index. */
  readonly nonce: bigint;
  readonly topic: Hex;
  readonly payload: Uint8Array;
  readonly bundleHash: Hex;
  /** The entry's position in its lane. */
  readonly sequence: bigint;
}

/** How the hashing is done, and which bundles need no second look. */
export interface VerifyOptions {
  readonly recover?: Recover;
  readonly hash?: Sha256;
  /** Bundles that were verified before; added to. A further message of one costs its own path and no signature. */
  readonly verifiedBundles?: VerifiedBundles | undefined;
  /** Called after each check that held. */
  readonly onStep?: (step: ProofStep) => void;
}

/**
 * The proof's part inside the bundle (§9), from the bundle and the tree over its messages. The payload stays a view.
 * @throws value.malformed if the bundle has no such message
 */
export const buildBundleProof = (domain: Domain, view: BundleView, tree: MerkleTree, messageIndex: number): BundleProof => ({
  version: 1,
  chainId: domain.chainId,
  settlement: domain.settlement,
  messagePath: inclusionPath(tree, messageIndex).map(toHex),
  message: messageAt(view, messageIndex),
  messageIndex,
  bundle: fieldsOf(view, toHex(tree.root)),
});

/**
 * Completes a proof (§9) with the entry's claims, its way through the batch, and the batch's header.
 * @throws value.malformed if the batch has no such entry
 */
export const buildMessageProof = (
  inner: BundleProof,
  entry: { void: 0 | 1; previous: bigint },
  batch: { tree: MerkleTree; header: BatchHeader },
  bundleIndex: number,
): MessageProof => ({
  void: entry.void,
  previous: entry.previous,
  bundleIndex,
  bundlePath: inclusionPath(batch.tree, bundleIndex).map(toHex),
  header: batch.header,
  batchHash: batchHash(batch.header),
  ...inner,
});

/**
 * Returns what the message says only if every check of §9 holds against `committed`, the hash that the verifier itself
 * read from `Settlement.batchHash(header.lane, header.number)`.
 * @throws proof.invalid with `step`, the first check that fails
 */
export function verifyMessageProof(
  proof: MessageProof,
  settlement: SettlementView,
  committed: Hex,
  options: VerifyOptions = {},
): ProvenMessage {
  const { header } = proof;
  const held = (step: ProofStep) => options.onStep?.(step);
  const { message, known } = verifyBundleProof(proof, header.lane, settlement, options);
  if (proof.void !== 0) throw invalid('void', 'the entry is void: it is in the log, but says nothing');
  held('void');
  if (proof.bundle.expiry < header.timestamp) {
    throw invalid('expiry', `the bundle expired at ${proof.bundle.expiry}, before the batch's time ${header.timestamp}`);
  }
  held('expiry');
  const knownHash = known?.batchHashAt(proof);
  if (knownHash === undefined) {
    const leaf = entryHash(proof.void, proof.previous, fromHex(message.bundleHash), options.hash);
    if (!leadsTo(leaf, proof.bundleIndex, header.count, proof.bundlePath, fromHex(header.bundlesRoot, 32), options.hash)) {
      throw invalid('bundlePath', "the path does not lead from the entry to the header's bundlesRoot");
    }
  }
  held('bundlePath');
  const hash = knownHash ?? batchHash(header);
  if (knownHash === undefined) known?.standsAt(proof, hash);
  if (hash !== lowerHex(proof.batchHash))
    throw invalid('batchHash', `the header hashes to ${hash}, the proof names ${proof.batchHash}`);
  held('batchHash');
  if (hash !== lowerHex(committed) || hash === ZERO_HASH) {
    throw invalid('slot', `the L1 holds ${committed} for batch ${header.number} of lane ${header.lane}, the proof needs ${hash}`);
  }
  held('slot');
  return { sequence: header.firstSequence + BigInt(proof.bundleIndex), ...message };
}

/**
 * Returns what the message says only if its sender signed it and the lane's sequencer promised it a place (§7, §11).
 * Weaker than `verifyMessageProof`: the promise is the sequencer's, not yet the chain's.
 * @throws proof.invalid with `step`, the first check that fails
 */
export function verifyReceiptProof(
  proof: ReceiptProof,
  settlement: SettlementView,
  terms: Omit<ReceiptTerms, keyof Domain>,
  options: VerifyOptions = {},
): ProvenMessage {
  const { receipt } = proof;
  const { message } = verifyBundleProof(proof, receipt.lane, settlement, options);
  if (lowerHex(receipt.bundleHash) !== message.bundleHash) {
    throw invalid('receipt', `the receipt is of bundle ${receipt.bundleHash}, this is ${message.bundleHash}`);
  }
  const domain = { chainId: settlement.chainId, settlement: settlement.settlement };
  asProofError('receipt', () => verifyReceipt(receipt, { ...terms, ...domain }, options));
  options.onStep?.('receipt');
  return { sequence: receipt.sequence, ...message };
}

/** The checks that need no sequencer. `anchorLane` is the lane of what the proof ends at, a batch or a receipt. */
function verifyBundleProof(
  proof: BundleProof,
  anchorLane: number,
  settlement: SettlementView,
  options: VerifyOptions,
): { message: Omit<ProvenMessage, 'sequence'>; known: VerifiedBundle | undefined } {
  const { recover = recoverWithNoble, hash = sha256, verifiedBundles } = options;
  const { bundle, message, messageIndex } = proof;
  const held = (step: ProofStep) => options.onStep?.(step);
  if (proof.chainId !== settlement.chainId || lowerHex(proof.settlement) !== lowerHex(settlement.settlement)) {
    throw invalid(
      'domain',
      `the proof is for ${proof.settlement} on chain ${proof.chainId}, expected ${settlement.settlement} on chain ${settlement.chainId}`,
    );
  }
  held('domain');
  asProofError('message', () => checkCount(bundle.count, bundle.nonce));
  if (messageIndex >= bundle.count) throw invalid('message', `there is no message ${messageIndex} among ${bundle.count}`);
  if (message.payload.length > MAX_PAYLOAD_BYTES)
    throw invalid('message', `a payload of ${message.payload.length} bytes cannot be`);
  held('message');
  const lane = topicLane(message.topic, settlement.laneCount);
  if (lane !== bundle.lane) throw invalid('lane', `the topic lives on lane ${lane}, the bundle names lane ${bundle.lane}`);
  if (bundle.lane !== anchorLane) throw invalid('lane', `the bundle names lane ${bundle.lane}, it stands on lane ${anchorLane}`);
  held('lane');
  let known = verifiedBundles?.find(settlement, bundle);
  const root = known?.root ?? fromHex(bundle.messagesRoot, 32);
  if (!leadsTo(messageLeaf(message, hash), messageIndex, bundle.count, proof.messagePath, root, hash)) {
    throw invalid('messagePath', "the path does not lead from the message to the bundle's messagesRoot");
  }
  held('messagePath');
  const identity =
    known?.bundleHash ??
    asProofError('signature', () => {
      verifyBundleSignature(settlement, bundle, recover);
      return toHex(bundleHash(bundle.sender, bundleStructHash(bundle), fromHex(bundle.signature), hash));
    });
  known ??= verifiedBundles?.add(settlement, bundle, identity);
  held('signature');
  return {
    message: {
      sender: lowerHex(bundle.sender),
      lane: bundle.lane,
      nonce: bundle.nonce + BigInt(messageIndex),
      topic: lowerHex(message.topic),
      payload: message.payload,
      bundleHash: identity,
    },
    known,
  };
}

function leadsTo(leaf: Uint8Array, index: number, size: number, path: readonly Hex[], root: Uint8Array, hash?: Sha256): boolean {
  const nodes = path.map((node) => fromHex(node));
  return isIncluded(leaf, index, size, nodes, root, hash);
}

/** The proof as the contract's `isIncluded` takes it. */
export const proofToContract = ({
  message,
  messageIndex,
  messagePath,
  bundle,
  void: isVoid,
  previous,
  bundleIndex,
  bundlePath,
  header,
}: MessageProof) => ({
  topic: message.topic,
  payload: toHex(message.payload),
  messageIndex,
  messagePath,
  bundle,
  void: isVoid,
  previous,
  bundleIndex,
  bundlePath,
  header,
});

const bundleProofToJson = (proof: BundleProof) => ({
  version: proof.version,
  chainId: String(proof.chainId),
  settlement: lowerHex(proof.settlement),
  message: { topic: lowerHex(proof.message.topic), payload: toBase64(proof.message.payload) },
  messageIndex: proof.messageIndex,
  messagePath: proof.messagePath.map(lowerHex),
  bundle: Object.assign(headToJson(proof.bundle), {
    count: proof.bundle.count,
    messagesRoot: lowerHex(proof.bundle.messagesRoot),
    signature: lowerHex(proof.bundle.signature),
  }),
});

/** The JSON object `proof` of §11: also the content of a proof file. */
export const proofToJson = (proof: MessageProof) =>
  // Not a spread: see `proofFromJson`. The fields stay in the order of §11 for whoever reads the file.
  Object.assign(bundleProofToJson(proof), {
    void: proof.void,
    previous: String(proof.previous),
    bundleIndex: proof.bundleIndex,
    bundlePath: proof.bundlePath.map(lowerHex),
    header: headerToJson(proof.header),
    batchHash: lowerHex(proof.batchHash),
  });

/** The JSON object `proof` with `receipt` in place of what a batch adds (§11). */
export const receiptProofToJson = (proof: ReceiptProof) => ({
  ...bundleProofToJson(proof),
  receipt: receiptToJson(proof.receipt),
});

/**
 * Form only: `verifyMessageProof` judges it.
 * @throws proof.malformed
 */
export function proofFromJson(value: unknown): MessageProof {
  const json = new Reader(value, 'proof.malformed', 'proof');
  const inner = readBundleProof(json);
  return {
    void: json.field('void').number(1) as 0 | 1,
    previous: json.field('previous').uint(64),
    bundleIndex: json.field('bundleIndex').number(0xffff_ffff),
    bundlePath: readPath(json.field('bundlePath')),
    header: headerFromJson(json.field('header')),
    batchHash: json.field('batchHash').hex(32),
    // Last, as everywhere here: V8 takes 16 µs to add these fields to an object that began as a copy, half of all the rest.
    ...inner,
  };
}

/**
 * Form only: `verifyReceiptProof` judges it.
 * @throws proof.malformed
 */
export function receiptProofFromJson(value: unknown): ReceiptProof {
  const json = new Reader(value, 'proof.malformed', 'proof');
  const inner = readBundleProof(json);
  return { receipt: readReceipt(json.field('receipt')), ...inner };
}

function readBundleProof(json: Reader): BundleProof {
  if (json.field('version').number(0xffff) !== 1)
    throw new ProtocolError('proof.malformed', 'proof.version: expected 1', { at: 'proof.version' });
  const message = json.field('message');
  const bundle = json.field('bundle');
  const head = headFromJson(bundle);
  return {
    version: 1,
    chainId: json.field('chainId').uint(64),
    settlement: json.field('settlement').hex(20),
    message: { topic: message.field('topic').hex(32), payload: message.field('payload').base64() },
    messageIndex: json.field('messageIndex').number(0xffff_ffff),
    messagePath: readPath(json.field('messagePath')),
    bundle: {
      count: bundle.field('count').number(0xffff_ffff),
      messagesRoot: bundle.field('messagesRoot').hex(32),
      signature: bundle.field('signature').anyHex(65),
      ...head,
    },
  };
}

/** What `check` gives; its ProtocolError becomes the failure of `step`. Other errors pass: they are not the proof's fault. */
function asProofError<T>(step: ProofStep, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw invalid(step, cause.message, { cause });
  }
}

const invalid = (step: ProofStep, detail: string, options?: ErrorOptions) =>
  new ProtocolError('proof.invalid', `${step}: ${detail}`, { step }, options);
