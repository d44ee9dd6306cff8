import {
  type AccountClaim,
  type BatchHeader,
  claimAfter,
  type Evidence,
  equivocation,
  falseClaim,
  falseEntry,
  type Hex,
  judgeEntry,
  judgeFields,
  type MerkleTree,
  NO_CLAIM,
  type Opening,
  type Recover,
  receiptLeaf,
  replacement,
  type Sha256,
  signedReceipt,
  toHex,
} from '@sealpost/prover';
import { type BatchSource, findFile, type OpenBatch, openingFrom } from './batch-files.js';
import type { CallOptions, Clock } from './clock.js';
import { L1Error } from './errors.js';
import type { L1 } from './l1.js';
import { missingLogs } from './logs.js';
import { committedBatch, committedBatches } from './openings.js';
import type { KeptReceipt } from './receipts.js';

/** What of a lane's log was checked, so that a later watch need not begin at the beginning. */
export interface LaneProgress {
  readonly lane: number;
  /** The last L1 block whose logs were followed. */
  readonly block: bigint;
  /** The last batch. */
  readonly number: bigint;
  readonly hash: Hex | undefined;
  readonly nextSequence: bigint;
  /** firstSequence of batch 1, 2, 3 … */
  readonly firsts: readonly bigint[];
  readonly accounts: ReadonlyMap<Hex, AccountClaim>;
}

/** A committed batch whose file nobody gave. */
export interface MissingBatch {
  readonly header: BatchHeader;
  /** By the clock. */
  readonly sinceMs: number;
  readonly reason: string;
}

/** What a lane's watch needs, and whom it tells. */
export interface LaneWatchDeps {
  readonly l1: L1;
  readonly sources: readonly BatchSource[];
  readonly hash: Sha256;
  readonly recover: Recover;
  readonly clock: Clock;
  /** A committed batch whose file is not to be had is passed over after so long. */
  readonly patienceMs: number;
  readonly onBatch: (header: BatchHeader, file: Uint8Array, source: string) => Promise<void>;
  readonly onMissing: (missing: MissingBatch) => void;
  readonly onEvidence: (evidence: Evidence, reason: string) => void;
  /**
   * Whether the contract lets its entries be cited: not one that was demanded and not opened in time (§7). What is said of an account
   * without it is no lie, though the file shows up later.
   */
  readonly mayBeCited: (evidence: Evidence, call: CallOptions) => Promise<boolean>;
}

/** Files that are kept decoded: of those that show what is false. */
const MAX_LOADED = 4;
/** Files that are missing and asked for again at each turn. */
const MAX_ASKED = 8;
/** Entries that are judged before others have a turn. */
const ENTRIES_A_TURN = 64;

/**
 * One lane, followed by its settled commits: every batch file is held against its header, every entry against the claims of
 * those before it, and every receipt that is known against the leaf at its place (PROTOCOL.md §6, §7).
 *
 * A batch whose file is withheld is passed over after a while. What names an entry in it cannot be judged until the file is
 * there: then the lane goes back to where it was before.
 */
export class LaneWatch {
  /** Batches whose files are not to be had, by number. */
  readonly missing = new Map<bigint, MissingBatch>();
  readonly #deps: LaneWatchDeps;
  #progress: Mutable<LaneProgress>;
  /** As of before the oldest batch that was passed over. */
  #before: LaneProgress | undefined;
  /** Receipts whose place is not settled, by sequence. */
  readonly #receipts = new Map<bigint, KeptReceipt[]>();
  /** Receipts for places that were settled before they were known. */
  #late: KeptReceipt[] = [];
  readonly #loaded = new Map<bigint, OpenBatch>();
  #waiting: MissingBatch | undefined;
  #asked = 0;

  constructor(
    readonly lane: number,
    deps: LaneWatchDeps,
    from: { readonly block: bigint } | LaneProgress,
  ) {
    this.#deps = deps;
    const empty = { lane, number: 0n, hash: undefined, nextSequence: 0n, firsts: [], accounts: new Map() };
    this.#progress = mutable({ ...empty, ...from });
  }

  /** What can be gone on from: nothing behind a batch that was passed over. */
  get progress(): LaneProgress {
    return this.#before ?? this.#progress;
  }

  /** The block up to which all is followed, though files may be missing. */
  get followedTo(): bigint {
    return this.#progress.block;
  }

  get number(): bigint {
    return this.#progress.number;
  }

  /** Receipts that are not settled. */
  get openReceipts(): number {
    return this.#receipts.size + this.#late.length;
  }

  /** The same lane from its beginning, with the receipts that are open. */
  restarted(block: bigint): LaneWatch {
    const lane = new LaneWatch(this.lane, this.#deps, { block });
    for (const kept of [...this.receipts(), ...this.#late]) lane.add(kept);
    return lane;
  }

  /** Whether the contract still has what was followed: a deep reorg may have taken it. */
  async isStill(call: CallOptions): Promise<boolean> {
    const { number, hash } = this.#progress;
    return hash === undefined || (await this.#deps.l1.slot(this.lane, number, call)).committed === hash;
  }

  /** Follows the commits up to a block. Returns early if a file is missing that may still come. */
  async follow(to: bigint, call: CallOptions): Promise<void> {
    const { l1 } = this.#deps;
    await this.#goBack(call);
    const range = { fromBlock: this.#progress.block + 1n, toBlock: to };
    for await (const { header, hash, blockNumber } of committedBatches(l1, this.lane, { ...range, ...call })) {
      if (header.number <= this.#progress.number) continue;
      if (header.number !== this.#progress.number + 1n) throw missingLogs(this.lane, this.#progress.number + 1n);
      if (!(await this.#take(header, hash, call))) return;
      // The block's other logs are still to come.
      this.#progress.block = blockNumber - 1n;
      call.signal?.throwIfAborted();
    }
    this.#progress.block = to > this.#progress.block ? to : this.#progress.block;
  }

  /** Takes a receipt that binds its signer. The same promise twice is one; two that differ are an offence. */
  add(kept: KeptReceipt): void {
    const { receipt } = kept;
    if (receipt.sequence < this.#progress.nextSequence) {
      this.#late.push(kept);
      return;
    }
    const there = this.#receipts.get(receipt.sequence) ?? [];
    const leaf = receiptLeaf(receipt, this.#deps.hash);
    for (const [at, other] of there.entries()) {
      if (other.receipt.term !== receipt.term) continue;
      if (receiptLeaf(other.receipt, this.#deps.hash) !== leaf) {
        const evidence = equivocation(other.receipt, receipt, this.#deps.hash);
        if (evidence !== undefined) this.#deps.onEvidence(evidence, 'two receipts of its term promise this place to two entries');
        continue;
      }
      // The stricter of the two promises is enough.
      const [keep, drop] = other.receipt.includeBy <= receipt.includeBy ? [other, kept] : [kept, other];
      there[at] = keep;
      drop.done();
      return;
    }
    this.#keep(kept);
  }

  #keep(kept: KeptReceipt): void {
    const { sequence } = kept.receipt;
    this.#receipts.set(sequence, [...(this.#receipts.get(sequence) ?? []), kept]);
  }

  /** Receipts whose place is not settled, in no order. */
  *receipts(): Iterable<KeptReceipt> {
    for (const kept of this.#receipts.values()) yield* kept;
  }

  /** Nothing comes of a receipt any more. */
  close(kept: KeptReceipt): void {
    this.release(kept);
    kept.done();
  }

  /** A receipt is evidence: it stays where it is kept, for whoever watches after this process. */
  release(kept: KeptReceipt): void {
    const { sequence } = kept.receipt;
    const left = (this.#receipts.get(sequence) ?? []).filter((one) => one !== kept);
    if (left.length > 0) this.#receipts.set(sequence, left);
    else this.#receipts.delete(sequence);
  }

  /** Holds receipts that came late against the batches that have their places. */
  async settleLate(call: CallOptions): Promise<void> {
    const late = this.#late;
    this.#late = [];
    const batches = new Map<bigint, KeptReceipt[]>();
    for (const kept of late) {
      const number = this.#numberOf(kept.receipt.sequence);
      batches.set(number, [...(batches.get(number) ?? []), kept]);
    }
    for (const [number, receipts] of batches) {
      const batch = await this.#load(number, call);
      if (batch === undefined) {
        this.#late.push(...receipts);
        continue;
      }
      for (const kept of receipts) {
        // One of another term is judged by how that ended.
        if (kept.receipt.term !== batch.header.term) this.#keep(kept);
        else this.#settle(kept, batch.header, batch.tree);
      }
    }
  }

  /** The committed entry at a sequence that was followed, opened; undefined while it is not, or its file is not to be had. */
  async openingAt(sequence: bigint, call: CallOptions): Promise<Opening | undefined> {
    if (sequence >= this.#progress.nextSequence) return undefined;
    const batch = await this.#load(this.#numberOf(sequence), call);
    return batch === undefined ? undefined : openingFrom(batch, Number(sequence - batch.header.firstSequence), this.#deps.hash);
  }

  /** An entry of a batch whose file is missing, as an answer to a demand opened it. */
  takeOpening(opening: Opening): void {
    const { header, index } = opening;
    if (!this.missing.has(header.number)) return;
    const { l1, hash, recover, onEvidence } = this.#deps;
    const sequence = header.firstSequence + BigInt(index);
    const judged = judgeFields(opening, this.lane, l1.view, { hash, recover });
    // Of the account nothing is known: what the entry says of it is believed, and only what contradicts itself is found.
    const { nonce } = judged.bundle;
    const account =
      opening.previous === 0n ? NO_CLAIM : { previous: opening.previous, next: opening.void === 0 ? nonce : nonce + 1n };
    const found = falseClaim(judged, sequence, account);
    if (found !== undefined && found.other === undefined) onEvidence(falseEntry(opening, []), found.reason);
    for (const kept of this.#receipts.get(sequence) ?? []) {
      if (kept.receipt.term !== header.term || receiptLeaf(kept.receipt, hash) === toHex(judged.leaf)) continue;
      const promised = signedReceipt(kept.receipt, hash);
      const { lane, term } = header;
      const entryHash = toHex(judged.leaf);
      onEvidence(
        { offence: 'replacement', lane, term, sequence, promised, header, entryHash, path: opening.path },
        'another entry was promised this place',
      );
    }
  }

  /** False if the file is missing and may still come. */
  async #take(header: BatchHeader, hash: Hex, call: CallOptions): Promise<boolean> {
    const { clock, patienceMs, onBatch, onMissing } = this.#deps;
    const found = await findFile(this.#deps.sources, header, this.#deps.hash, call);
    if ('bytes' in found) {
      this.#waiting = undefined;
      await onBatch(header, found.bytes, found.source);
      await this.#check(found, call);
    } else {
      const known =
        this.missing.get(header.number) ?? (this.#waiting?.header.number === header.number ? this.#waiting : undefined);
      const missing = known ?? { header, sinceMs: clock.now(), reason: found.reason };
      if (known === undefined) onMissing(missing);
      if (clock.now() - missing.sinceMs < patienceMs) {
        this.#waiting = missing;
        return false;
      }
      this.#waiting = undefined;
      this.#before ??= mutable(this.#progress);
      this.missing.set(header.number, missing);
    }
    const progress = this.#progress;
    progress.number = header.number;
    progress.hash = hash;
    progress.firsts.push(header.firstSequence);
    progress.nextSequence = header.firstSequence + BigInt(header.count);
    return true;
  }

  /** A file that was missing is there: all that came after its batch is judged anew. */
  async #goBack(call: CallOptions): Promise<void> {
    const all = [...this.missing.values()];
    const asked = Array.from({ length: Math.min(all.length, MAX_ASKED) }, () => all[this.#asked++ % all.length] as MissingBatch);
    for (const { header } of asked) {
      if (!('bytes' in (await findFile(this.#deps.sources, header, this.#deps.hash, call)))) continue;
      this.missing.delete(header.number);
      if (this.#before !== undefined) this.#progress = mutable(this.#before);
      this.#before = undefined;
      return;
    }
  }

  /** §5 and §6: every entry, then every receipt for a place in the batch. */
  async #check(batch: OpenBatch, call: CallOptions): Promise<void> {
    const { header, entries, tree } = batch;
    const { l1, hash, recover, onEvidence, mayBeCited } = this.#deps;
    const { accounts } = this.#progress;
    // Not in place: what is cut short begins with this batch again.
    const after = new Map<Hex, AccountClaim>();
    const lies: { index: number; reason: string; other: bigint | undefined }[] = [];
    for (const [index, entry] of entries.entries()) {
      if (index % ENTRIES_A_TURN === 0) await this.#deps.clock.sleep(0, call.signal);
      const sequence = header.firstSequence + BigInt(index);
      const judged = judgeEntry(entry, header.lane, l1.view, { hash, recover });
      const { sender } = judged.bundle;
      const account = after.get(sender) ?? accounts.get(sender) ?? NO_CLAIM;
      const found = falseClaim(judged, sequence, account);
      // What names an entry that is withheld says nothing yet.
      const isOpen = judged.previous > account.previous && this.#isMissing(judged.previous - 1n);
      if (found !== undefined && (found.other === undefined || !isOpen)) lies.push({ index, ...found });
      if (judged.void === 0) after.set(sender, claimAfter(judged, sequence, account));
    }
    for (const { index, reason, other } of lies) {
      const others = other === undefined ? [] : [await this.#open(other, batch, call)];
      const evidence = falseEntry(openingFrom(batch, index, this.#deps.hash), others);
      if (await mayBeCited(evidence, call)) onEvidence(evidence, reason);
    }
    for (let index = 0; index < header.count; index++) {
      for (const kept of this.#receipts.get(header.firstSequence + BigInt(index)) ?? []) this.#settle(kept, header, tree);
    }
    for (const [sender, account] of after) accounts.set(sender, account);
  }

  /** A receipt whose place is settled by a batch of its term; one of another term is judged by how its term ended. */
  #settle(kept: KeptReceipt, header: BatchHeader, tree: MerkleTree): void {
    const { receipt } = kept;
    const evidence = replacement(receipt, header, tree, this.#deps.hash);
    if (evidence !== undefined) {
      this.#deps.onEvidence(evidence, 'another entry was promised this place');
      this.release(kept);
    } else if (receipt.term === header.term) this.close(kept);
  }

  #isMissing(sequence: bigint): boolean {
    for (const { header } of this.missing.values()) {
      if (sequence >= header.firstSequence && sequence < header.firstSequence + BigInt(header.count)) return true;
    }
    return false;
  }

  async #open(sequence: bigint, current: OpenBatch, call: CallOptions): Promise<Opening> {
    const isHere = sequence >= current.header.firstSequence;
    const batch = isHere ? current : await this.#load(this.#numberOf(sequence), call);
    if (batch === undefined) throw new L1Error('l1.rpc', `the batch file with entry ${sequence} is not to be had any more`);
    return openingFrom(batch, Number(sequence - batch.header.firstSequence), this.#deps.hash);
  }

  /** The batch that has a sequence that was followed. */
  #numberOf(sequence: bigint): bigint {
    const { firsts } = this.#progress;
    let low = 0;
    let high = firsts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((firsts[middle] as bigint) <= sequence) low = middle;
      else high = middle;
    }
    return BigInt(low + 1);
  }

  /** A batch that was followed, from its log and its file; undefined if the file is not to be had now. */
  async #load(number: bigint, call: CallOptions): Promise<OpenBatch | undefined> {
    const known = this.#loaded.get(number);
    if (known !== undefined) return known;
    const { l1, sources, hash } = this.#deps;
    const { header } = await committedBatch(l1, this.lane, number, call);
    const found = await findFile(sources, header, hash, call);
    if (!('bytes' in found)) return undefined;
    // Without its bytes, which the entries are views into anyway.
    const { entries, tree } = found;
    const batch = { header, entries, tree };
    this.#loaded.set(number, batch);
    if (this.#loaded.size > MAX_LOADED) this.#loaded.delete(this.#loaded.keys().next().value as bigint);
    return batch;
  }
}

type Mutable<T> = {
  -readonly [K in keyof T]: T[K] extends ReadonlyMap<infer A, infer B>
    ? Map<A, B>
    : T[K] extends readonly (infer E)[]
      ? E[]
      : T[K];
};

const mutable = (progress: LaneProgress): Mutable<LaneProgress> => ({
  ...progress,
  firsts: [...progress.firsts],
  accounts: new Map(progress.accounts),
});
