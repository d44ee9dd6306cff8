import { entryHash } from './bundle.js';
import { addressWord, concat, fromHex, type Hex, lowerHex, Reader, toHex, uintWord } from './bytes.js';
import { ProtocolError } from './errors.js';
import {
  type Domain,
  domainSeparator,
  type Keccak256,
  keccak256,
  keccakText,
  type Recover,
  recoverSigner,
  recoverWithNoble,
  typedDataDigest,
} from './signature.js';
import { inclusionPath, isIncluded, type MerkleTree, type Sha256, sha256 } from './tree.js';

/** What a sequencer signs once per commit group: `count` entries from `firstSequence` on, and a deadline (§7). */
export interface ReceiptStatement {
  readonly lane: number;
  readonly term: number;
  readonly firstSequence: bigint;
  readonly count: number;
  /** Merkle root over the group's entryHashes, in sequence order. */
  readonly root: Hex;
  /** The L1 block number by which the batch is committed at the latest. */
  readonly includeBy: bigint;
}

/** The sequencer's promise about one bundle (§7): the statement, the signature, and the way from the entry to its root. */
export interface Receipt extends ReceiptStatement {
  readonly sequence: bigint;
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly bundleHash: Hex;
  readonly path: readonly Hex[];
  readonly signature: Hex;
}

/** What an operator has at stake, and whether it stays (§7). */
export interface OperatorFacts {
  /** Wei. */
  readonly bond: bigint;
  /** Wei: a bond below it holds nothing. */
  readonly minBond: bigint;
  /** The L1 block in which it asked to leave; 0 if it did not. */
  readonly exitRequestedAt: bigint;
}

/** What the L1 says, against which a receipt is judged. */
export interface ReceiptTerms extends Domain {
  /** The operator's signer for (lane, term), from the contract. */
  readonly signer: Hex;
  readonly term: number;
  /** A signer that the operator has replaced, and the L1 block since which: what it signed before is promised still. */
  readonly retired?: { readonly signer: Hex; readonly at: bigint } | undefined;
  /** Of the lane's running term, from the contract. Absent for a term that has ended: its receipts bind by their signer alone. */
  readonly operator?: OperatorFacts | undefined;
  /** The verifier's own newest L1 block. */
  readonly latestBlock: bigint;
  readonly maxIncludeDelay: bigint;
}

// A path of 32 hashes spans 2^32 leaves, more than any count can be.
const MAX_PATH = 32;

const RECEIPT_TYPE = /* @__PURE__ */ keccakText(
  'Receipt(uint16 lane,uint32 term,uint64 firstSequence,uint32 count,bytes32 root,uint64 includeBy)',
);

/**
 * The EIP-712 digest the sequencer signs (§7): 32 bytes.
 * @throws value.malformed for a field outside its type
 */
export function receiptDigest(separator: Uint8Array, statement: ReceiptStatement, keccak: Keccak256 = keccak256): Uint8Array {
  return typedDataDigest(
    separator,
    keccak(
      concat(
        RECEIPT_TYPE,
        uintWord(statement.lane, 2),
        uintWord(statement.term, 4),
        uintWord(statement.firstSequence, 8),
        uintWord(statement.count, 4),
        fromHex(statement.root, 32),
        uintWord(statement.includeBy, 8),
      ),
    ),
    keccak,
  );
}

const REGISTRATION_TYPE = /* @__PURE__ */ keccakText('ReceiptSigner(uint16 lane,address operator,address signer)');

/**
 * The EIP-712 digest by which a receipt signer's key says whose receipts it signs (§7): 32 bytes. Nobody else can register it.
 * @throws value.malformed for a field outside its type
 */
export function registrationDigest(
  separator: Uint8Array,
  { lane, operator, signer }: { lane: number; operator: Hex; signer: Hex },
): Uint8Array {
  return typedDataDigest(
    separator,
    keccak256(concat(REGISTRATION_TYPE, uintWord(lane, 2), addressWord(operator), addressWord(signer))),
  );
}

/**
 * The receipt of the entry at `index` of a commit group whose entryHashes make `tree` (§7).
 * @throws value.malformed if the group has no such entry
 */
export function buildReceipt(
  statement: ReceiptStatement,
  signature: Hex,
  tree: MerkleTree,
  index: number,
  entry: { void: 0 | 1; previous: bigint; bundleHash: Hex },
): Receipt {
  const path = inclusionPath(tree, index).map(toHex);
  return {
    lane: statement.lane,
    term: statement.term,
    sequence: statement.firstSequence + BigInt(index),
    void: entry.void,
    previous: entry.previous,
    bundleHash: entry.bundleHash,
    firstSequence: statement.firstSequence,
    count: statement.count,
    root: statement.root,
    includeBy: statement.includeBy,
    path,
    signature,
  };
}

/**
 * Returns only if the receipt is a promise that the operator's signer, or one that it has retired since, made and can be held to
 * (§7): signer, term, bond, no exit, deadline, void 0, and the path from the entry to the signed root. Whether it is about the
 * caller's own bundle is for the caller to compare: its `lane` (the lane `terms` was read for), its `bundleHash`, and `previous`
 * with earlier receipts.
 * @throws receipt.invalid with `step`, the first check that fails
 */
export function verifyReceipt(
  receipt: Receipt,
  terms: ReceiptTerms,
  { recover = recoverWithNoble, hash = sha256 }: { recover?: Recover; hash?: Sha256 } = {},
): void {
  if (receipt.void !== 0) throw invalid('void', 'expected an entry that is not void');
  if (receipt.term !== terms.term) throw invalid('term', `expected the current term ${terms.term}, got ${receipt.term}`);
  if (terms.operator !== undefined) {
    const { bond, minBond, exitRequestedAt } = terms.operator;
    if (bond < minBond) throw invalid('bond', `expected a bond of at least ${minBond} wei behind it, got ${bond}`);
    if (exitRequestedAt > 0n) throw invalid('exit', `the operator asked to leave in L1 block ${exitRequestedAt}`);
  }
  const latestDeadline = terms.latestBlock + terms.maxIncludeDelay;
  if (receipt.includeBy > latestDeadline) {
    throw invalid('includeBy', `expected a deadline of at most L1 block ${latestDeadline}, got ${receipt.includeBy}`);
  }
  const signer = receiptSigner(receipt, terms, { recover, hash });
  if (signer === lowerHex(terms.signer)) return;
  // An honest sequencer's deadline is at most maxIncludeDelay / 2 beyond the block in which it signs, so all that it signed while
  // the signer was its own lies within. And up to here evidenceWindow blocks are left, behind the deadline, for the evidence: a
  // promise beyond, which only whoever has the retired key can make, would bind nobody by the time it is broken.
  const { retired } = terms;
  if (signer === retired?.signer && receipt.includeBy <= retired.at + terms.maxIncludeDelay) return;
  throw new ProtocolError('receipt.invalid', `receipt: expected the signature of ${terms.signer}, got that of ${signer}`, {
    step: 'signature',
    signer,
  });
}

/** The entryHash that a receipt promises. */
export const receiptLeaf = (receipt: Pick<Receipt, 'void' | 'previous' | 'bundleHash'>, hash: Sha256 = sha256): Hex =>
  toHex(entryHash(receipt.void, receipt.previous, fromHex(receipt.bundleHash, 32), hash));

/**
 * Who signed a receipt, if it is one: the path leads from its entry to the root that is signed. Whether that account's receipts
 * bind anybody is for the contract to say: `isReceiptSigner` of its lane and term.
 * @throws receipt.invalid with `step`
 */
export function receiptSigner(
  receipt: Receipt,
  domain: Domain,
  { hash = sha256, recover = recoverWithNoble }: { hash?: Sha256 | undefined; recover?: Recover | undefined } = {},
): Hex {
  const leaf = fromHex(receiptLeaf(receipt, hash));
  const path = receipt.path.map((node) => fromHex(node, 32));
  // Positions are below 2^32 by `count`; a sequence before firstSequence gives a negative index, which no tree includes.
  const index = Number(receipt.sequence - receipt.firstSequence);
  if (!isIncluded(leaf, index, receipt.count, path, fromHex(receipt.root, 32), hash)) {
    throw invalid('path', 'the path does not lead from the entry to the signed root');
  }
  try {
    return recoverSigner(receiptDigest(domainSeparator(domain), receipt), fromHex(receipt.signature), recover);
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw invalid('signature', cause.message, { cause });
  }
}

/** The JSON object `receipt` of §11. */
export const receiptToJson = (receipt: Receipt) => ({
  lane: receipt.lane,
  term: receipt.term,
  sequence: String(receipt.sequence),
  void: receipt.void,
  previous: String(receipt.previous),
  bundleHash: lowerHex(receipt.bundleHash),
  firstSequence: String(receipt.firstSequence),
  count: receipt.count,
  root: lowerHex(receipt.root),
  includeBy: String(receipt.includeBy),
  path: receipt.path.map(lowerHex),
  signature: lowerHex(receipt.signature),
});

/**
 * Form only: `verifyReceipt` judges it.
 * @throws receipt.malformed
 */
export const receiptFromJson = (value: unknown): Receipt => readReceipt(new Reader(value, 'receipt.malformed', 'receipt'));

/** A receipt where a larger object carries it. Errors have the reader's code. */
export const readReceipt = (json: Reader): Receipt => ({
  lane: json.field('lane').number(0xffff),
  term: json.field('term').number(0xffff_ffff),
  sequence: json.field('sequence').uint(64),
  void: json.field('void').number(1) as 0 | 1,
  previous: json.field('previous').uint(64),
  bundleHash: json.field('bundleHash').hex(32),
  firstSequence: json.field('firstSequence').uint(64),
  count: json.field('count').number(0xffff_ffff),
  root: json.field('root').hex(32),
  includeBy: json.field('includeBy').uint(64),
  path: readPath(json.field('path')),
  signature: json.field('signature').anyHex(65),
});

/** The hashes of an inclusion path. Errors have the reader's code. */
export const readPath = (json: Reader): Hex[] => json.items(MAX_PATH).map((node) => node.hex(32));

const invalid = (step: string, detail: string, options?: ErrorOptions) =>
  new ProtocolError('receipt.invalid', `receipt: ${detail}`, { step }, options);
