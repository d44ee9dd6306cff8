import type { BatchEntry, BatchHeader } from './batch.js';
import {
  type BundleFields,
  bundleHash,
  bundleStructHash,
  entryHash,
  fieldsOf,
  MAX_MESSAGES,
  readBundle,
  verifyBundleSignature,
  viewBundleHash,
  viewStructHash,
  viewTree,
} from './bundle.js';
import { fromHex, type Hex, lowerHex, toHex } from './bytes.js';
import { ProtocolError } from './errors.js';
import { type Receipt, type ReceiptStatement, receiptLeaf } from './receipt.js';
import { type Domain, type Recover, recoverWithNoble } from './signature.js';
import { inclusionPath, type MerkleTree, type Sha256, sha256 } from './tree.js';

/** An entry of a committed batch, opened: all that its leaf is made of, and its way to the slot. The contract's `Opening`. */
export interface Opening {
  readonly header: BatchHeader;
  /** Position in the batch: its sequence is header.firstSequence + index. */
  readonly index: number;
  /** 0 or 1 in every true leaf. */
  readonly void: number;
  readonly previous: bigint;
  readonly bundle: BundleFields;
  readonly path: readonly Hex[];
}

/** A receipt as evidence, for one entry. The contract's `SignedReceipt`. */
export interface SignedReceipt {
  readonly receipt: ReceiptStatement;
  readonly signature: Hex;
  readonly entryHash: Hex;
  readonly path: readonly Hex[];
}

/** Which position of which term an offence is about. */
interface Place {
  readonly lane: number;
  readonly term: number;
  readonly sequence: bigint;
}

/** Offence 1 (§7): two receipts of a term with different leaves at one sequence. */
export interface Equivocation extends Place {
  readonly offence: 'equivocation';
  readonly one: SignedReceipt;
  readonly other: SignedReceipt;
}

/** Offence 2 (§7): a receipt, and a committed batch of its term with another leaf at that sequence. */
export interface Replacement extends Place {
  readonly offence: 'replacement';
  readonly promised: SignedReceipt;
  readonly header: BatchHeader;
  readonly entryHash: Hex;
  readonly path: readonly Hex[];
}

/** Offence 3 (§7): a leaf whose `void` or `previous` is false, by itself or by one other entry. */
export interface FalseEntry extends Place {
  readonly offence: 'false entry';
  readonly entry: Opening;
  /** None, or the one that shows it. */
  readonly others: readonly Opening[];
}

/** Offence 4 at once (§7): a term ended without an entry that was due before. */
export interface BrokenPromise extends Place {
  readonly offence: 'broken promise';
  readonly promised: SignedReceipt;
}

/** What the contract takes as proof of an offence, without asking anybody. */
export type Evidence = Equivocation | Replacement | FalseEntry | BrokenPromise;

/** An entry of a batch file, with what of it needs no other entry: its leaf, and whether its bundle is valid but for its nonce. */
export interface JudgedEntry {
  readonly void: number;
  readonly previous: bigint;
  readonly bundle: BundleFields;
  /** Its entryHash, 32 bytes. */
  readonly leaf: Uint8Array;
  /** Why it must be void, whatever its nonce (§6): signature, lane or count. Undefined if it need not. */
  readonly fault: string | undefined;
}

/** What the entries before it say about an account on a lane (§6). */
export interface AccountClaim {
  /** The next nonce. */
  readonly next: bigint;
  /** 1 + the sequence of its latest entry whose `void` is 0; 0 if there is none. */
  readonly previous: bigint;
}

/** An account that has no entry yet. */
export const NO_CLAIM: AccountClaim = { next: 0n, previous: 0n };

/**
 * An entry's leaf and faults (§3, §6), from its bytes. Signatures are recovered here: this is where the time goes.
 * @throws bundle.malformed, bundle.too_large for bytes that no sequencer may take into the log
 */
export function judgeEntry(
  entry: BatchEntry,
  lane: number,
  domain: Domain,
  { hash = sha256, recover = recoverWithNoble }: { hash?: Sha256 | undefined; recover?: Recover | undefined } = {},
): JudgedEntry {
  const view = readBundle(entry.bundle);
  const bundle = fieldsOf(view, toHex(viewTree(view, hash).root));
  return judgeFields({ void: entry.void, previous: entry.previous, bundle }, lane, domain, { hash, recover });
}

/** The same from a bundle's fields, as an answer to a demand opens them. */
export function judgeFields(
  { void: isVoid, previous, bundle }: Pick<Opening, 'void' | 'previous' | 'bundle'>,
  lane: number,
  domain: Domain,
  { hash = sha256, recover = recoverWithNoble }: { hash?: Sha256 | undefined; recover?: Recover | undefined } = {},
): JudgedEntry {
  const identity = bundleHash(bundle.sender, bundleStructHash(bundle), fromHex(bundle.signature), hash);
  return {
    void: isVoid,
    previous,
    bundle,
    leaf: entryHash(isVoid, previous, identity, hash),
    fault: faultOf(bundle, lane, domain, recover),
  };
}

/**
 * An entry's leaf alone, 32 bytes.
 * @throws bundle.malformed, bundle.too_large
 */
export function entryLeaf(entry: BatchEntry, hash: Sha256 = sha256): Uint8Array {
  const view = readBundle(entry.bundle);
  const structHash = viewStructHash(view, viewTree(view, hash).root);
  return entryHash(entry.void, entry.previous, viewBundleHash(view, structHash, hash), hash);
}

function faultOf(bundle: BundleFields, lane: number, domain: Domain, recover: Recover): string | undefined {
  if (bundle.lane !== lane) return `it names lane ${bundle.lane}`;
  if (bundle.count < 1 || bundle.count > MAX_MESSAGES) return `it counts ${bundle.count} messages`;
  if (bundle.nonce + BigInt(bundle.count) >= 1n << 64n) return `its nonce ${bundle.nonce} and count ${bundle.count} reach 2^64`;
  try {
    verifyBundleSignature(domain, bundle, recover);
    return undefined;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return error.message;
  }
}

/**
 * What `void` and `previous` of an entry have to be (§6), and why it is void, given what the log says of its account before it.
 * `account` follows the claims of the log, not the facts: so that everybody derives the same, also behind a lie.
 */
export function expectedClaims(
  { bundle, fault }: Pick<JudgedEntry, 'bundle' | 'fault'>,
  account: AccountClaim,
): { readonly void: 0 | 1; readonly previous: bigint; readonly reason: string | undefined } {
  const reason =
    fault ?? (bundle.nonce === account.next ? undefined : `its nonce is ${bundle.nonce}, the next is ${account.next}`);
  return { void: reason === undefined ? 0 : 1, previous: account.previous, reason };
}

/** What the log says of the account after this entry. */
export const claimAfter = (
  { void: isVoid, bundle }: Pick<JudgedEntry, 'void' | 'bundle'>,
  sequence: bigint,
  account: AccountClaim,
): AccountClaim => (isVoid === 0 ? { next: bundle.nonce + BigInt(bundle.count), previous: sequence + 1n } : account);

/**
 * Which entry shows that a claim is false (§7, offence 3): none where the entry contradicts itself, else the sequence of the one
 * other that has to be opened. Undefined for a true entry.
 * @param account what the log says of the sender before this entry
 */
export function falseClaim(
  entry: Pick<JudgedEntry, 'void' | 'previous' | 'bundle' | 'fault'>,
  sequence: bigint,
  account: AccountClaim,
): { readonly reason: string; readonly other: bigint | undefined } | undefined {
  const { void: isVoid, previous, bundle, fault } = entry;
  const alone = (reason: string) => ({ reason, other: undefined });
  if (isVoid !== 0 && isVoid !== 1) return alone(`its void byte is ${isVoid}`);
  if (isVoid === 0 && fault !== undefined) return alone(`it is not void, but ${fault}`);
  if (previous > sequence) return alone(`its previous, ${previous}, is not before it`);
  const expected = expectedClaims(entry, account);
  if (previous === account.previous) {
    if (isVoid === expected.void) return undefined;
    const reason = isVoid === 0 ? `it is not void, but ${expected.reason}` : 'it is void, but nothing is wrong with it';
    return { reason, other: previous === 0n ? undefined : previous - 1n };
  }
  const reason = `its previous is ${previous}, the sender's latest entry makes it ${account.previous}`;
  // A later one of the sender's than the one named; or the one named is void or another's.
  if (previous < account.previous) {
    // An entry without a predecessor whose nonce says so needs no other.
    const isAlone = previous === 0n && (isVoid === 0) !== (fault === undefined && bundle.nonce === 0n);
    return isAlone ? alone(reason) : { reason, other: account.previous - 1n };
  }
  return { reason, other: previous - 1n };
}

/** A receipt as the contract takes it. The leaf is made of what the receipt says. */
export const signedReceipt = (receipt: Receipt, hash: Sha256 = sha256): SignedReceipt => ({
  receipt: {
    lane: receipt.lane,
    term: receipt.term,
    firstSequence: receipt.firstSequence,
    count: receipt.count,
    root: lowerHex(receipt.root),
    includeBy: receipt.includeBy,
  },
  signature: lowerHex(receipt.signature),
  entryHash: receiptLeaf(receipt, hash),
  path: receipt.path.map(lowerHex),
});

/** Offence 1, if two receipts are one. Both must be verified: the contract's signer of their term, and their paths. */
export function equivocation(one: Receipt, other: Receipt, hash: Sha256 = sha256): Equivocation | undefined {
  const { lane, term, sequence } = one;
  if (other.lane !== lane || other.term !== term || other.sequence !== sequence) return undefined;
  const [a, b] = [signedReceipt(one, hash), signedReceipt(other, hash)];
  return a.entryHash === b.entryHash ? undefined : { offence: 'equivocation', lane, term, sequence, one: a, other: b };
}

/**
 * Offence 2, if the batch has another leaf where the receipt promised its own. `tree` is over the batch's leaves; the receipt
 * must be verified.
 */
export function replacement(
  receipt: Receipt,
  header: BatchHeader,
  tree: MerkleTree,
  hash: Sha256 = sha256,
): Replacement | undefined {
  const { lane, term, sequence } = receipt;
  const index = Number(sequence - header.firstSequence);
  if (header.lane !== lane || header.term !== term || index < 0 || index >= header.count) return undefined;
  const promised = signedReceipt(receipt, hash);
  const committed = toHex(tree.nodes.subarray(32 * index, 32 * index + 32));
  if (committed === promised.entryHash) return undefined;
  const path = inclusionPath(tree, index).map(toHex);
  return { offence: 'replacement', lane, term, sequence, promised, header, entryHash: committed, path };
}

/** An entry of a batch, opened. `tree` is over the batch's leaves. */
export const openEntry = (
  entry: Pick<JudgedEntry, 'void' | 'previous' | 'bundle'>,
  header: BatchHeader,
  tree: MerkleTree,
  index: number,
): Opening => ({
  header,
  index,
  void: entry.void,
  previous: entry.previous,
  bundle: entry.bundle,
  path: inclusionPath(tree, index).map(toHex),
});

/** Offence 3, of entries that are opened. */
export const falseEntry = (entry: Opening, others: readonly Opening[]): FalseEntry => ({
  offence: 'false entry',
  lane: entry.header.lane,
  term: entry.header.term,
  sequence: entry.header.firstSequence + BigInt(entry.index),
  entry,
  others,
});

/** Offence 4 at once, of a receipt that was due before its term's end and is not in the log below it. */
export const brokenPromise = (receipt: Receipt, hash: Sha256 = sha256): BrokenPromise => {
  const { lane, term, sequence } = receipt;
  return { offence: 'broken promise', lane, term, sequence, promised: signedReceipt(receipt, hash) };
};
