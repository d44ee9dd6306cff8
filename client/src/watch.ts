import { settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  type Evidence,
  type Hex,
  keccakText,
  lowerHex,
  MAX_BATCH_FILE_BYTES,
  ProtocolError,
  type Receipt,
  type Recover,
  receiptSigner,
  recoverWithNoble,
  type Sha256,
  sha256,
  signedReceipt,
  toHex,
  ZERO_ADDRESS,
} from '@sealpost/prover';
import { decodeEventLog, type LocalAccount } from 'viem';
import type { BatchSource } from './batch-files.js';
import { type CallOptions, type Clock, systemClock, withDeadline } from './clock.js';
import { L1Error, RequestError, SealpostError } from './errors.js';
import { isReceiptSigner, type Offence, openingIn, proveOffence, proveUnanswered, readTerm, type TermState } from './evidence.js';
import { Http, readBytes } from './http.js';
import { word } from './l1.js';
import { logsOf } from './logs.js';
import type { KeptReceipt, ReceiptReader } from './receipts.js';
import {
  answer,
  demandCommitted,
  demandPromised,
  type Sent,
  type Settlement,
  type SettlementCall,
  SettlementError,
} from './settlement.js';
import { Recoveries } from './verify.js';
import { type LaneProgress, LaneWatch, type MissingBatch } from './watch-lane.js';

export type { BatchSource } from './batch-files.js';
export type { LaneProgress, MissingBatch } from './watch-lane.js';

/** A position of a lane that something is about. */
interface Place {
  readonly lane: number;
  readonly term: number;
  readonly sequence: bigint;
}

/** What a watch tells, as it happens. */
export type WatchEvent =
  /** A batch's file was had, and held against the L1: every entry was judged. */
  | { readonly type: 'batch'; readonly header: BatchHeader; readonly bytes: number; readonly source: string }
  /** A committed batch's file is not to be had. */
  | { readonly type: 'missing'; readonly header: BatchHeader; readonly reason: string }
  /** Misbehaviour, with evidence that the contract takes. */
  | ({ readonly type: 'offence'; readonly offence: Offence; readonly reason: string } & Place)
  /** The contract took the evidence; `taken` is true if the term's whole bond is gone. */
  | ({ readonly type: 'reported'; readonly offence: Offence; readonly sent: Sent; readonly slashed: boolean } & Place)
  /** The contract would not take it: somebody was faster, or it is too late. */
  | ({ readonly type: 'refused'; readonly offence: Offence; readonly reason: string } & Place)
  /** An entry was demanded; `fee` wei are for whoever opens it, and come back if nobody does by block `deadline`. */
  | ({ readonly type: 'demanded'; readonly deadline: bigint; readonly fee: bigint; readonly sent: Sent } & Place)
  | ({ readonly type: 'answered' } & Place)
  /** Somebody's demand was answered by this watch. */
  | ({ readonly type: 'opened'; readonly sent: Sent } & Place)
  /** A promise that bound nobody any more when its term ended: it was not due. */
  | ({ readonly type: 'lapsed' } & Place)
  /** A receipt that was left out: nobody is bound by it. */
  | ({ readonly type: 'receipt'; readonly reason: string } & Place)
  /** The L1 took back what was settled: the lane is followed from its beginning. */
  | { readonly type: 'reorg'; readonly lane: number }
  /** Something could not be had or sent, and is tried again. */
  | { readonly type: 'waiting'; readonly reason: string }
  /** A round is over. */
  | { readonly type: 'round'; readonly block: bigint; readonly settled: bigint; readonly lanes: readonly LaneStatus[] };

export interface LaneStatus {
  readonly lane: number;
  /** The last batch that was checked. */
  readonly batch: bigint;
  /** Receipts that are not settled. */
  readonly receipts: number;
  /** Batches whose files are missing. */
  readonly missing: number;
}

export interface WatchOptions {
  readonly settlement: Settlement;
  /** Where batch files are had, in this order. */
  readonly sources: readonly BatchSource[];
  /** Receipts that the sequencer is held to. */
  readonly receipts?: readonly ReceiptReader[] | undefined;
  /** Who pays for demands and evidence, and gets the rewards. Without it, what is found is only told. */
  readonly reporter?: LocalAccount | undefined;
  /** Also answers what anybody demands, with entries whose files are to be had: for the fees, or for an operator that has left. */
  readonly answers?: boolean | undefined;
  /** Only these lanes; all unless given. */
  readonly lanes?: readonly number[] | undefined;
  /** The block of the contract's deployment, if known. */
  readonly fromBlock?: bigint | undefined;
  /** What an earlier watch had checked, by lane. */
  readonly progress?: readonly LaneProgress[] | undefined;
  /** Told after a round what a later watch can go on from: it changes with the next round. */
  readonly onProgress?: ((progress: readonly LaneProgress[]) => Promise<void>) | undefined;
  /** Told of each file that was checked, before it counts as checked: a mirror keeps it. */
  readonly onBatch?: ((header: BatchHeader, file: Uint8Array) => Promise<void>) | undefined;
  readonly onEvent?: ((event: WatchEvent) => void) | undefined;
  /** How long a file, or a commit that is due, may be missing before it is demanded. */
  readonly patienceMs?: number | undefined;
  readonly pollMs?: number | undefined;
  /** Wei that a demand may cost at most. */
  readonly maxDemandFee?: bigint | undefined;
  readonly clock?: Clock | undefined;
  /** 0 to 1: which entries of a withheld batch are demanded. */
  readonly random?: (() => number) | undefined;
  readonly hash?: Sha256 | undefined;
  readonly recover?: Recover | undefined;
}

const DEFAULT_PATIENCE_MS = 600_000;
const DEFAULT_POLL_MS = 2_000;
const DEFAULT_MAX_DEMAND_FEE = 10n ** 17n;
/** Until a server says whether it has a file, and until it is all there: 256 MiB at the most. */
const ANSWER_TIMEOUT_MS = 15_000;
const FILE_TIMEOUT_MS = 300_000;
/** Where the L1 does not finalize, so many blocks are deep enough (as in §8). */
const DEEP_BLOCKS = 128n;
/** Unanswered demands of a term that take the whole bond (Evidence.UNANSWERED_LIMIT): more say nothing. */
const DEMANDS_A_TERM = 3;
/** Answers without a file that are paid for. */
const MAX_ANSWERED = 6;
/** Receipts in memory; the others wait where they are kept. */
const MAX_RECEIPTS = 100_000;
const RECEIPTS_AT_ONCE = 1_024;
/** Pieces of evidence against one term: one is enough. */
const MAX_EVIDENCE_A_TERM = 16;
/** A signer that binds nobody now may be registered later; one that does may be retired too long ago. */
const MAX_SIGNER_AGE_MS = 60_000;
const ENTRY_DEMANDED: Hex = /* @__PURE__ */ toHex(
  /* @__PURE__ */ keccakText('EntryDemanded(uint16,uint32,uint64,address,uint64,uint256)'),
);
const ENTRY_OPENED: Hex = /* @__PURE__ */ toHex(
  /* @__PURE__ */ keccakText(
    'EntryOpened(uint16,uint32,uint64,uint8,uint64,(address,uint16,uint64,uint64,uint128,uint32,bytes32,bytes))',
  ),
);

const keyOf = ({ lane, term, sequence }: Place): string => `${lane}/${term}/${sequence}`;
const placeOf = ({ lane, term, sequence }: Place): Place => ({ lane, term, sequence });

/**
 * Holds a network's sequencers to what they promised (PROTOCOL.md §7): every settled batch file is checked, every receipt that
 * is known, and both against the L1; what is withheld is demanded; evidence is built, and given to the contract.
 */
export class Watch {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #lanes: LaneWatch[];
  readonly #recoveries: Recoveries;
  readonly #signers = new Map<string, { binds: boolean; at: number }>();
  /** By term. */
  readonly #evidence = new Map<string, Evidence[]>();
  /** Found before: said once. */
  readonly #told = new Set<string>();
  /** Demands that are not settled. */
  readonly #demands = new Map<string, Place>();
  /** When a promise that is due was first seen missing, by the clock. */
  readonly #dueSince = new WeakMap<KeptReceipt, number>();
  /** Demands for entries of missing batches that were answered since a file came last. */
  #answered = 0;
  /** Anybody's demands that may still be answered. */
  readonly #unanswered = new Map<string, Place>();
  #followed: bigint;
  #offences = 0;

  constructor(options: WatchOptions) {
    const { settlement, clock = systemClock, fromBlock = 0n, hash = sha256, recover = recoverWithNoble } = options;
    this.#options = options;
    this.#clock = clock;
    this.#recoveries = new Recoveries(recover);
    const all = Array.from({ length: settlement.view.laneCount }, (_, lane) => lane);
    const deps = {
      l1: settlement.l1,
      sources: options.sources,
      hash,
      recover,
      clock,
      patienceMs: options.patienceMs ?? DEFAULT_PATIENCE_MS,
      onBatch: async (header: BatchHeader, file: Uint8Array, source: string) => {
        await options.onBatch?.(header, file);
        this.#answered = 0;
        this.#tell({ type: 'batch', header, bytes: file.length, source });
      },
      onMissing: ({ header, reason }: MissingBatch) => this.#tell({ type: 'missing', header, reason }),
      onEvidence: (evidence: Evidence, reason: string) => this.#found(evidence, reason),
      mayBeCited: async (evidence: Evidence, call: CallOptions) => {
        try {
          await settlement.check(options.reporter?.address ?? ZERO_ADDRESS, proveOffence(evidence), call);
          return true;
        } catch (error) {
          if (error instanceof SettlementError) return error.code !== 'settlement.withheld';
          throw error;
        }
      },
    };
    this.#lanes = (options.lanes ?? all).map((lane) => {
      const progress = options.progress?.find((one) => one.lane === lane);
      return new LaneWatch(lane, deps, progress ?? { block: fromBlock - 1n });
    });
    this.#followed = fromBlock - 1n;
  }

  /** Offences that were found so far. */
  get offences(): number {
    return this.#offences;
  }

  /** What a later watch can go on from; undefined while there is evidence that the contract has not: it would be lost. */
  get progress(): readonly LaneProgress[] | undefined {
    return this.#evidence.size > 0 ? undefined : this.#lanes.map(({ progress }) => progress);
  }

  /** Demands that are neither answered nor charged. */
  get openDemands(): number {
    return this.#demands.size;
  }

  /**
   * Watches until the signal says stop; with `once`, until all that is settled was checked. Nothing that fails on the way ends the
   * former, neither node nor disk: it is told, and tried again.
   * @throws L1Error, RequestError with `once`
   */
  async run(signal: AbortSignal, { once = false } = {}): Promise<void> {
    const { pollMs = DEFAULT_POLL_MS } = this.#options;
    while (!signal.aborted) {
      try {
        if ((await this.round({ signal })) && once) return;
      } catch (error) {
        if (signal.aborted) break;
        // What the system refuses has a code of its own.
        const isPassing = error instanceof SealpostError || typeof (error as { code?: unknown }).code === 'string';
        if (once || !isPassing) throw error;
        this.#tell({ type: 'waiting', reason: (error as Error).message });
      }
      await this.#clock.sleep(pollMs, signal).catch(() => {});
    }
  }

  /**
   * Looks once at everything there is.
   * @returns whether all that is settled was checked; evidence that could not be given away is kept for the next round
   * @throws L1Error, RequestError if something could not be asked; what was found until then is kept
   */
  async round(call: CallOptions = {}): Promise<boolean> {
    const { l1 } = this.#options.settlement;
    const [latest, finalized] = await Promise.all([
      l1.block('latest', call),
      l1.block('finalized', call).catch((error) => {
        if (error instanceof L1Error && error.code === 'l1.rpc') return undefined;
        throw error;
      }),
    ]);
    if (latest === undefined) throw new L1Error('l1.rpc', 'the L1 node has no newest block');
    const deep = latest.number - DEEP_BLOCKS;
    const settled = finalized !== undefined && finalized.number > deep ? finalized.number : deep;
    const isDrained = await this.#takeReceipts(call);
    let isFollowed = true;
    for (const [at, lane] of this.#lanes.entries()) {
      if (!(await lane.isStill(call))) this.#restart(at);
      const one = this.#lanes[at] as LaneWatch;
      if (settled >= 0n) await one.follow(settled, call);
      await one.settleLate(call);
      if (one.followedTo < settled) isFollowed = false;
    }
    if (settled >= 0n) await this.#followDemands(settled, call);
    const terms = new Terms(l1, call);
    for (const lane of this.#lanes) {
      await this.#checkDue(lane, latest.number, settled, terms, call);
      await this.#demandMissing(lane, terms, call);
    }
    if (this.#options.answers === true) await this.#answer(latest.number, call);
    await this.#settleDemands(latest.number, terms, call);
    await this.#report(terms, call);
    const { progress } = this;
    if (progress !== undefined) await this.#options.onProgress?.(progress);
    const lanes = this.#lanes.map(({ lane, number, openReceipts, missing }) => ({
      lane,
      batch: number,
      receipts: openReceipts,
      missing: missing.size,
    }));
    this.#tell({ type: 'round', block: latest.number, settled, lanes });
    return isDrained && isFollowed;
  }

  #tell(event: WatchEvent): void {
    this.#options.onEvent?.(event);
  }

  /** The L1 took a settled batch back: by a reorg deeper than what counts as final. */
  #restart(at: number): void {
    const old = this.#lanes[at] as LaneWatch;
    this.#tell({ type: 'reorg', lane: old.lane });
    this.#lanes[at] = old.restarted((this.#options.fromBlock ?? 0n) - 1n);
  }

  #found(evidence: Evidence, reason: string): void {
    const key = `${evidence.offence} ${keyOf(evidence)}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#offences++;
    this.#tell({ type: 'offence', offence: evidence.offence, reason, ...placeOf(evidence) });
    const term = `${evidence.lane}/${evidence.term}`;
    const there = this.#evidence.get(term) ?? [];
    this.#evidence.set(term, there);
    if (there.length < MAX_EVIDENCE_A_TERM) there.push(evidence);
  }

  /** Whether there are no more for now. */
  async #takeReceipts(call: CallOptions): Promise<boolean> {
    for (const reader of this.#options.receipts ?? []) {
      for (;;) {
        const room = MAX_RECEIPTS - this.#lanes.reduce((sum, { openReceipts }) => sum + openReceipts, 0);
        if (room <= 0) return false;
        const fresh = await reader.more(Math.min(room, RECEIPTS_AT_ONCE));
        for (const kept of fresh) await this.#takeReceipt(kept, call);
        if (fresh.length === 0) break;
      }
    }
    return true;
  }

  async #takeReceipt(kept: KeptReceipt, call: CallOptions): Promise<void> {
    const { receipt } = kept;
    const lane = this.#lanes.find((one) => one.lane === receipt.lane);
    if (lane === undefined) return;
    const why = await this.#whyNotBinding(receipt, call);
    if (why === undefined) {
      lane.add(kept);
      return;
    }
    this.#tell({ type: 'receipt', reason: why, ...placeOf(receipt) });
    kept.done();
  }

  /** Why nobody is bound by a receipt. */
  async #whyNotBinding(receipt: Receipt, call: CallOptions): Promise<string | undefined> {
    const { settlement } = this.#options;
    let signer: Hex;
    try {
      signer = receiptSigner(receipt, settlement.view, { hash: this.#options.hash, recover: this.#recoveries.recover });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return error.message;
    }
    const { lane, term } = receipt;
    const key = `${lane}/${term}/${signer}`;
    const now = this.#clock.now();
    let known = this.#signers.get(key);
    if (known === undefined || now - known.at > MAX_SIGNER_AGE_MS) {
      known = { binds: await isReceiptSigner(settlement.l1, lane, term, signer, call), at: now };
      this.#signers.set(key, known);
    }
    return known.binds ? undefined : `${signer} signs for nobody in term ${term} of lane ${lane}`;
  }

  /** §7: what was promised by a block that is there, and is in no commit. */
  async #checkDue(lane: LaneWatch, latest: bigint, settled: bigint, terms: Terms, call: CallOptions): Promise<void> {
    const { nextSequence } = await this.#options.settlement.l1.head(lane.lane, call);
    for (const kept of [...lane.receipts()]) {
      const { receipt } = kept;
      const term = await terms.get(receipt.lane, receipt.term);
      if (receipt.sequence < term.firstSequence) {
        this.#tell({ type: 'receipt', reason: 'it is for a place before its term', ...placeOf(receipt) });
        lane.close(kept);
      } else if (term.endBlock !== 0n && latest >= term.endBlock) {
        if (receipt.sequence < term.endSequence) continue;
        if (receipt.includeBy < term.endBlock) {
          const reason = `it was promised by block ${receipt.includeBy}, and its term ended at block ${term.endBlock} without it`;
          const evidence = { offence: 'broken promise', ...placeOf(receipt), promised: signedReceipt(receipt) } as const;
          this.#found(evidence, reason);
          lane.release(kept);
        } else if (settled >= term.endBlock) {
          this.#tell({ type: 'lapsed', ...placeOf(receipt) });
          lane.close(kept);
        }
      } else if (receipt.includeBy < latest && receipt.sequence >= nextSequence) {
        await this.#demandDue(kept, term, call);
      } else this.#dueSince.delete(kept);
    }
  }

  async #demandDue(kept: KeptReceipt, term: TermState, call: CallOptions): Promise<void> {
    const { receipt } = kept;
    const since = this.#dueSince.get(kept) ?? this.#clock.now();
    this.#dueSince.set(kept, since);
    if (this.#clock.now() - since < (this.#options.patienceMs ?? DEFAULT_PATIENCE_MS)) return;
    await this.#demand(receipt, term, (fee) => demandPromised(receipt.sequence, signedReceipt(receipt), fee), call);
  }

  /** Entries of batches that are withheld: those that receipts are known for first. */
  async #demandMissing(lane: LaneWatch, terms: Terms, call: CallOptions): Promise<void> {
    // Who answers and still gives no file keeps payloads back, which nothing proves: to go on costs a fee for each answer.
    if (this.#answered >= MAX_ANSWERED) return;
    for (const { header } of lane.missing.values()) {
      const term = await terms.get(header.lane, header.term);
      const end = header.firstSequence + BigInt(header.count);
      const known = [...lane.receipts()]
        .map(({ receipt }) => receipt.sequence)
        .filter((sequence) => sequence >= header.firstSequence && sequence < end);
      const { random = Math.random } = this.#options;
      // Any of them, so that nobody knows beforehand which ones have to be true.
      const some = Array.from(
        { length: Math.min(header.count, DEMANDS_A_TERM) },
        () => header.firstSequence + BigInt(Math.floor(random() * header.count)),
      );
      for (const sequence of new Set([...known, ...some])) {
        const place = { lane: header.lane, term: header.term, sequence };
        const index = Number(sequence - header.firstSequence);
        await this.#demand(place, term, (fee) => demandCommitted(header, index, fee), call);
      }
    }
  }

  /** Pays for an answer, unless the position was demanded before, or enough of its term are. */
  async #demand(place: Place, term: TermState, callOf: (fee: bigint) => SettlementCall, call: CallOptions): Promise<void> {
    const { settlement, reporter, maxDemandFee = DEFAULT_MAX_DEMAND_FEE } = this.#options;
    if (reporter === undefined || term.slashed) return;
    const { lane, term: number, sequence } = place;
    const open = [...this.#demands.values()].filter((one) => one.lane === lane && one.term === number);
    if (open.length + term.unanswered >= DEMANDS_A_TERM) return;
    const before = await settlement.demand(lane, number, sequence, call);
    if (before.deadline !== 0n) return;
    const fee = await settlement.answerFee(call);
    if (fee > maxDemandFee) {
      this.#tell({ type: 'waiting', reason: `a demand costs ${fee} wei now, more than is allowed` });
      return;
    }
    const sent = await this.#send(callOf(fee), call);
    if (sent instanceof SettlementError) {
      this.#tell({ type: 'refused', offence: 'unanswered demand', reason: sent.message, ...placeOf(place) });
      return;
    }
    if (sent === undefined) return;
    this.#demands.set(keyOf(place), { lane, term: number, sequence });
    const { deadline } = await settlement.demand(lane, number, sequence, call);
    this.#tell({ type: 'demanded', deadline, fee, sent, ...placeOf(place) });
  }

  /** Own demands of before a restart, and what answers to anybody's demands opened. */
  async #followDemands(settled: bigint, call: CallOptions): Promise<void> {
    const { settlement, reporter } = this.#options;
    const own = reporter === undefined ? undefined : lowerHex(reporter.address);
    for (const lane of this.#lanes) {
      const range = { fromBlock: this.#followed + 1n, toBlock: settled };
      const topics = [[ENTRY_DEMANDED, ENTRY_OPENED], word(lane.lane)];
      for await (const log of logsOf(settlement.l1, topics, { ...range, ...call })) {
        const event = decodeEventLog({ abi: settlementAbi, data: log.data, topics: log.topics });
        if (event.eventName === 'EntryDemanded') {
          const { demander, ...place } = event.args;
          if (lowerHex(demander) === own) this.#demands.set(keyOf(place), placeOf(place));
          this.#unanswered.set(keyOf(place), placeOf(place));
        } else if (lane.missing.size > 0) {
          const transaction = (await settlement.l1.request('eth_getTransactionByHash', [log.transactionHash], call)) as {
            input: Hex;
          } | null;
          const opening = transaction === null ? undefined : openingIn(transaction.input);
          if (opening !== undefined) lane.takeOpening(opening);
        }
      }
    }
    if (settled > this.#followed) this.#followed = settled;
  }

  /** Opens what was demanded, in settled blocks, and is to be had. */
  async #answer(latest: bigint, call: CallOptions): Promise<void> {
    for (const [key, place] of this.#unanswered) {
      const { lane, term, sequence } = place;
      const { deadline, answered } = await this.#options.settlement.demand(lane, term, sequence, call);
      if (answered || deadline < latest) {
        this.#unanswered.delete(key);
        continue;
      }
      const opening = await this.#lanes.find((one) => one.lane === lane)?.openingAt(sequence, call);
      if (opening === undefined || opening.header.term !== term) continue;
      const sent = await this.#send(answer(opening), call);
      if (sent === undefined) continue;
      this.#unanswered.delete(key);
      if (sent instanceof SettlementError)
        this.#tell({ type: 'refused', offence: 'unanswered demand', reason: sent.message, ...place });
      else this.#tell({ type: 'opened', sent, ...place });
    }
  }

  /** Answered demands are over; those that nobody answered in time are charged. */
  async #settleDemands(latest: bigint, terms: Terms, call: CallOptions): Promise<void> {
    for (const [key, place] of this.#demands) {
      const { lane, term, sequence } = place;
      const { deadline, answered, charged, fee } = await this.#options.settlement.demand(lane, term, sequence, call);
      if (answered) {
        this.#answered++;
        this.#tell({ type: 'answered', ...place });
        this.#demands.delete(key);
      } else if (deadline === 0n || (charged && fee === 0n)) this.#demands.delete(key);
      else if (latest > deadline) {
        const about = { offence: 'unanswered demand', ...place } as const;
        if (!this.#told.has(`demand ${key}`)) {
          this.#told.add(`demand ${key}`);
          this.#offences++;
          this.#tell({ type: 'offence', reason: `nobody opened it by block ${deadline}`, ...about });
        }
        const sent = await this.#send(proveUnanswered(place.lane, place.term, place.sequence), call);
        if (sent === undefined) continue;
        this.#demands.delete(key);
        terms.forget();
        if (sent instanceof SettlementError) this.#tell({ type: 'refused', reason: sent.message, ...about });
        else this.#tell({ type: 'reported', sent, slashed: (await terms.get(place.lane, place.term)).slashed, ...about });
      }
    }
  }

  /** Gives evidence away: of a term until its bond is gone. */
  async #report(terms: Terms, call: CallOptions): Promise<void> {
    for (const [key, pieces] of this.#evidence) {
      while (pieces.length > 0) {
        const evidence = pieces[0] as Evidence;
        const { offence, lane, term } = evidence;
        const about = { offence, ...placeOf(evidence) };
        const { slashed } = await terms.get(lane, term);
        if (slashed) {
          this.#tell({ type: 'refused', reason: 'the whole bond of its term is taken already', ...about });
          pieces.shift();
          continue;
        }
        // Without a reporter: kept, so that progress does not pass it before somebody has reported it.
        const sent = await this.#send(proveOffence(evidence), call);
        if (sent === undefined) break;
        pieces.shift();
        terms.forget();
        if (sent instanceof SettlementError) this.#tell({ type: 'refused', reason: sent.message, ...about });
        else this.#tell({ type: 'reported', sent, slashed: (await terms.get(lane, term)).slashed, ...about });
      }
      if (pieces.length === 0) this.#evidence.delete(key);
    }
  }

  /** What was sent, why the contract refuses it for good, or undefined if it is to be tried again. */
  async #send(intent: SettlementCall, call: CallOptions): Promise<Sent | SettlementError | undefined> {
    const { settlement, reporter } = this.#options;
    if (reporter === undefined) return undefined;
    try {
      return await settlement.send(reporter, intent, { signal: call.signal });
    } catch (error) {
      call.signal?.throwIfAborted();
      const isPassing =
        error instanceof L1Error ||
        error instanceof RequestError ||
        (error instanceof SettlementError && PASSING.has(error.code));
      if (isPassing) {
        this.#tell({ type: 'waiting', reason: (error as Error).message });
        return undefined;
      }
      if (error instanceof SettlementError) return error;
      throw error;
    }
  }
}

/** A sequencer, or whoever else serves batch files by HTTP as one does. */
export function httpSource(url: string, { fetch = globalThis.fetch, clock = systemClock } = {}): BatchSource {
  // Never tried again here: the next round asks anew.
  const http = new Http({ url, fetch, clock, random: Math.random, log: () => {} });
  return {
    name: url,
    get: ({ lane, number }, call) =>
      withDeadline(clock, call, FILE_TIMEOUT_MS, url, async ({ signal }) => {
        const path = `v1/batches/${lane}/${number}/data`;
        try {
          const response = await withDeadline(clock, { signal }, ANSWER_TIMEOUT_MS, url, (asked) => http.open(path, asked));
          return await readBytes({ response, url, onData: () => {} }, MAX_BATCH_FILE_BYTES);
        } catch (error) {
          if (error instanceof RequestError && error.status === 404) return undefined;
          throw error;
        }
      }),
  };
}

/** Refusals that time or money mend. */
const PASSING: ReadonlySet<string> = new Set(['settlement.funds', 'settlement.unconfirmed', 'settlement.reverted']);

/** Terms as they are in this round. */
class Terms {
  readonly #known = new Map<string, Promise<TermState>>();

  constructor(
    private readonly l1: Settlement['l1'],
    private readonly call: CallOptions,
  ) {}

  get(lane: number, term: number): Promise<TermState> {
    const key = `${lane}/${term}`;
    let known = this.#known.get(key);
    if (known === undefined) {
      known = readTerm(this.l1, lane, term, this.call);
      this.#known.set(key, known);
    }
    return known;
  }

  /** Something was sent that changes them. */
  forget(): void {
    this.#known.clear();
  }
}
