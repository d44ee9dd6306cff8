import { buildReceipt, type Hex, type MerkleTree, type Receipt, receiptDigest, toHex, ZERO_ADDRESS } from '@sealpost/prover';
import { LRUCache } from 'lru-cache';
import { RequestError, unavailable } from './errors.js';
import { isTakeoverSettled } from './follower.js';
import {
  type Clock,
  type CommitGroup,
  type Entry,
  type GroupRecord,
  type Hashing,
  type L1View,
  type SignedMark,
  type SignedStatement,
  type Signer,
  type Store,
  StoreFullError,
  type Term,
} from './ports.js';

/** Deadlines that can be kept: what the newest L1 head allows to be promised (PROTOCOL.md §7). */
export interface PromiseTerms {
  readonly view: () => L1View | undefined;
  readonly clock: Clock;
  readonly maxIncludeDelay: bigint;
  /** A head older than this, or one that has not moved for as long, promises nothing; 0 turns the check off. */
  readonly maxL1AgeMs: number;
}

/**
 * The block number by which a receipt signed now promises inclusion.
 * @throws unavailable if no L1 head was seen since the start, or it is stale
 */
export function promiseDeadline({ view, clock, maxIncludeDelay, maxL1AgeMs }: PromiseTerms): bigint {
  const seen = view();
  if (seen === undefined) throw unavailable('the L1 has not been seen since the start: nothing can be promised yet');
  if (maxL1AgeMs > 0) {
    const ageMs = Math.max(clock.now() - Number(seen.latest.timestamp) * 1_000, clock.monotonic() - seen.movedAt);
    if (ageMs > maxL1AgeMs) {
      throw unavailable(`the newest L1 block is ${Math.round(ageMs / 1_000)} s old: nothing can be promised until it moves`);
    }
  }
  return seen.latest.number + maxIncludeDelay / 2n;
}

/**
 * Why nothing may be promised on a lane yet, or any more (PROTOCOL.md §7); undefined while it may.
 * `own`: this sequencer's signer, and the term that it was started for.
 */
export function whyNotOurs(lane: number, view: L1View | undefined, own: Term & { signer: Hex }): string | undefined {
  const standing = view?.standings[lane];
  if (view === undefined || standing === undefined) return undefined;
  const { term, firstSequence, beginBlock, poster, receiptSigner, exitRequestedAt } = standing;
  if (term !== own.term) return `lane ${lane} is in term ${term}, this sequencer was started for term ${own.term}`;
  if (firstSequence !== own.firstSequence) {
    return `term ${term} of lane ${lane} begins at sequence ${firstSequence} since a reorg, this sequencer was started for ${own.firstSequence}: start it again`;
  }
  if (exitRequestedAt > 0n) return `the operator of lane ${lane} asked to leave in L1 block ${exitRequestedAt}`;
  if (poster === ZERO_ADDRESS) return `lane ${lane} has no operator: its term has ended`;
  if (receiptSigner !== own.signer) return `lane ${lane} has another receipt signer now, ${receiptSigner}`;
  if (!isTakeoverSettled(standing, view)) {
    return `lane ${lane} was taken over in L1 block ${beginBlock}, which is not final yet: nothing is promised before it is`;
  }
  return undefined;
}

export interface ReceiptBookDeps {
  readonly store: Store;
  readonly signer: Signer;
  readonly signed: SignedMark;
  /** EIP-712 domain separator, 32 bytes. */
  readonly separator: Uint8Array;
  readonly terms: PromiseTerms;
  readonly termOf: (lane: number) => Term;
  readonly hashing: Hashing;
}

// A group of 256 entries holds a tree of 16 KiB: about 16 MiB of trees.
const MAX_TREES = 1_024;

/**
 * Gives out receipts. A commit group is signed once; the signature is written down with the next group, and one that a
 * crash took before is made anew over the same leaves (§7).
 */
export class ReceiptBook {
  private readonly unsaved = new Map<string, SignedStatement>();
  private readonly trees = new LRUCache<string, MerkleTree>({ max: MAX_TREES });

  constructor(private readonly deps: ReceiptBookDeps) {}

  /** Why nothing may be promised on a lane yet, or any more. */
  whyNot(lane: number): string | undefined {
    const { signer, termOf, terms } = this.deps;
    return whyNotOurs(lane, terms.view(), { signer: signer.address, ...termOf(lane) });
  }

  /** Signatures to be written down with the next group. They stay here until `saved` says that they are. */
  toSave(): SignedStatement[] {
    return [...this.unsaved.values()];
  }

  saved(statements: readonly SignedStatement[]): void {
    for (const { lane, firstSequence } of statements) this.unsaved.delete(`${lane}/${firstSequence}`);
  }

  /**
   * The receipt of a durable entry.
   * @throws unavailable if its group is not signed yet and nothing may be promised now
   */
  receiptOf(entry: Pick<Entry, 'lane' | 'sequence' | 'void' | 'previous' | 'bundleHash'>): Receipt {
    const group = this.deps.store.groupOf(entry.lane, entry.sequence);
    if (group === undefined) throw new RequestError('internal', `entry ${entry.sequence} of lane ${entry.lane} is in no group`);
    return receiptIn(this.statementOf(group), this.treeOf(group), entry);
  }

  /**
   * The receipts of a group that was made just now, without looking it up. Its tree is kept for those who ask again.
   * @throws unavailable if nothing may be promised now
   */
  receiptsOf(group: CommitGroup, tree: MerkleTree): Receipt[] {
    const { lane, firstSequence, root, entries } = group;
    this.trees.set(`${lane}/${firstSequence}`, tree);
    const statement = this.statementOf({ lane, firstSequence, count: entries.length, root });
    return entries.map((entry) => receiptIn(statement, tree, entry));
  }

  private statementOf({ lane, firstSequence, count, root, signed }: GroupRecord): SignedStatement {
    const { signer, separator, terms, termOf, hashing } = this.deps;
    const { term } = termOf(lane);
    // What an earlier term signed nobody takes any more. Of what is committed since then it is promised anew, and kept already.
    if (signed?.term === term) return { lane, firstSequence, count, root, ...signed };
    const key = `${lane}/${firstSequence}`;
    const kept = this.unsaved.get(key);
    if (kept !== undefined) return kept;
    const why = this.whyNot(lane);
    if (why !== undefined) throw unavailable(why);
    const statement = { lane, term, firstSequence, count, root, includeBy: promiseDeadline(terms) };
    // The group is durable, or it would not be here. A crash from here on leaves a mark that is not beyond the log.
    this.raiseMark(lane, firstSequence + BigInt(count));
    const made = { ...statement, signature: signer.sign(receiptDigest(separator, statement, hashing.keccak256)) as Hex };
    this.unsaved.set(key, made);
    return made;
  }

  private raiseMark(lane: number, nextSequence: bigint): void {
    try {
      this.deps.signed.raise(lane, nextSequence);
    } catch (error) {
      if (!(error instanceof StoreFullError)) throw error;
      throw unavailable('no room to write down what is signed: nothing is promised', 5_000);
    }
  }

  private treeOf({ lane, firstSequence, count }: GroupRecord): MerkleTree {
    const { store, hashing } = this.deps;
    const key = `${lane}/${firstSequence}`;
    let tree = this.trees.get(key);
    if (tree === undefined) {
      tree = hashing.entriesTree(store.entries(lane, firstSequence, count));
      this.trees.set(key, tree);
    }
    return tree;
  }
}

const receiptIn = (
  statement: SignedStatement,
  tree: MerkleTree,
  { sequence, void: isVoid, previous, bundleHash }: Pick<Entry, 'sequence' | 'void' | 'previous' | 'bundleHash'>,
): Receipt =>
  buildReceipt(statement, statement.signature, tree, Number(sequence - statement.firstSequence), {
    void: isVoid,
    previous,
    bundleHash: toHex(bundleHash),
  });
