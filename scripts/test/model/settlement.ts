import type { Parameters as DelaysAndAmounts, settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  type BundleFields,
  batchHash,
  bundleHash,
  bundleStructHash,
  type Domain,
  domainSeparator,
  entryHash,
  fieldsOf,
  fromHex,
  type Hex,
  isIncluded,
  MAX_MESSAGES,
  type Opening,
  ProtocolError,
  readBundle,
  receiptDigest,
  recoverSigner,
  registrationDigest,
  type SignedReceipt,
  splitFrames,
  toHex,
  typedDataDigest,
  verifyLane,
  ZERO_ADDRESS,
  ZERO_HASH,
} from '@sealpost/prover';
import { fastKeccak256, nativeMessagesRoot, nativeRecover, nativeSha256 } from '@sealpost/sequencer/adapters/native';
import type { Commit } from '@sealpost/sequencer/ports';

/** A custom error of the contract, by its name. No Error: to trace the stack would take most of a model's time. */
export class Revert {
  constructor(readonly error: ErrorName) {}
}

type Abi = (typeof settlementAbi)[number];
export type ErrorName = Extract<Abi, { type: 'error' }>['name'];

/** What a transaction calls, with the arguments as the contract's ABI takes them. */
export type Call =
  | { readonly to: 'register'; readonly args: readonly [lane: number, poster: Hex, signer: Hex, registration: Hex] }
  | { readonly to: 'requestExit' | 'withdrawBond' | 'takeOver'; readonly args: readonly [lane: number] }
  | { readonly to: 'forceInclude'; readonly args: readonly [framed: Hex] }
  | { readonly to: 'commit'; readonly args: readonly [headers: Commit['headers'], entries: Commit['forced']] }
  | { readonly to: 'proveEquivocation'; readonly args: readonly [sequence: bigint, one: SignedReceipt, other: SignedReceipt] }
  | {
      readonly to: 'proveReplacement';
      readonly args: readonly [
        sequence: bigint,
        promised: SignedReceipt,
        header: BatchHeader,
        entryHash: Hex,
        path: readonly Hex[],
      ];
    }
  | { readonly to: 'proveFalseEntry'; readonly args: readonly [entry: Opening, others: readonly Opening[]] }
  | { readonly to: 'demandCommitted'; readonly args: readonly [header: BatchHeader, index: number] }
  | { readonly to: 'demandPromised' | 'proveBroken'; readonly args: readonly [sequence: bigint, promised: SignedReceipt] }
  | { readonly to: 'answer'; readonly args: readonly [entry: Opening] }
  | { readonly to: 'proveUnanswered'; readonly args: readonly [lane: number, term: number, sequence: bigint] };

export type Transaction = Call & { readonly from: Hex; readonly value: bigint };

/** The block that a transaction is in. */
export interface Block {
  readonly number: bigint;
  /** Unix seconds. */
  readonly timestamp: bigint;
}

export interface Operator {
  readonly bond: bigint;
  readonly exitRequestedAt: bigint;
  readonly poster: Hex;
  readonly signer: Hex;
}

export interface Term {
  readonly operator: Hex;
  /** The first block that is not in the term; 0 while its end is open. */
  readonly endBlock: bigint;
  readonly unanswered: number;
  readonly slashed: boolean;
  readonly firstSequence: bigint;
  readonly beginBlock: bigint;
}

export interface Head {
  readonly number: bigint;
  readonly nextSequence: bigint;
  readonly timestamp: bigint;
  readonly inboxCount: bigint;
}

export interface Lane {
  readonly poster: Hex;
  readonly term: number;
  readonly inboxLength: bigint;
  readonly head: Head;
}

/** What the contract stores of a forced bundle, and what its event told; one object an event, so that a reorg makes another. */
export interface Forced {
  readonly lane: number;
  readonly index: bigint;
  readonly bundleHash: Hex;
  readonly deadline: bigint;
  readonly fee: bigint;
  /** As encoded, without its frame. */
  readonly bundle: Uint8Array;
  readonly blockNumber: bigint;
}

export interface Demand {
  readonly demander: Hex;
  readonly deadline: bigint;
  readonly answered: boolean;
  readonly charged: boolean;
  readonly committed: boolean;
  readonly fee: bigint;
  /** Of its event. */
  readonly blockNumber: bigint;
}

/** All that the contract stores and evidence depends on. What is in it is never changed in place. */
export interface State {
  readonly lanes: readonly Lane[];
  readonly operators: ReadonlyMap<string, Operator>;
  readonly terms: ReadonlyMap<string, Term>;
  readonly signers: ReadonlyMap<string, bigint>;
  readonly batchHashes: ReadonlyMap<string, Hex>;
  /** Told by events: the headers that were committed, as the contract itself keeps only their hashes. */
  readonly headers: ReadonlyMap<string, BatchHeader>;
  readonly inbox: ReadonlyMap<string, Forced>;
  readonly demands: ReadonlyMap<string, Demand>;
  readonly owed: ReadonlyMap<string, bigint>;
  /** Told by events: what each operator lost. */
  readonly taken: ReadonlyMap<string, bigint>;
}

/** What a Settlement is deployed with, and where. */
export interface Deployed {
  readonly domain: Domain;
  readonly parameters: DelaysAndAmounts;
  readonly baseFee: bigint;
}

/** A signer that is not retired. */
export const CURRENT = 2n ** 64n - 1n;
const ANSWER_GAS = 200_000n;
const CONSUMER_GAS = 60_000n;
const UNANSWERED_LIMIT = 3;
const REWARD_DIVISOR = 10n;
const ENOUGH_FORCED = 64n;
const MAX_UINT64 = 2n ** 64n - 1n;

const NO_HEAD: Head = { number: 0n, nextSequence: 0n, timestamp: 0n, inboxCount: 0n };
const NO_OPERATOR: Operator = { bond: 0n, exitRequestedAt: 0n, poster: ZERO_ADDRESS, signer: ZERO_ADDRESS };
const NO_TERM: Term = {
  operator: ZERO_ADDRESS,
  endBlock: 0n,
  unanswered: 0,
  slashed: false,
  firstSequence: 0n,
  beginBlock: 0n,
};
const NO_DEMAND: Demand = {
  demander: ZERO_ADDRESS,
  deadline: 0n,
  answered: false,
  charged: false,
  committed: false,
  fee: 0n,
  blockNumber: 0n,
};

/** The state after the constructor. */
export function genesis(firstOperators: readonly Hex[], block: Block): State {
  const terms = firstOperators.map(
    (operator, lane) => [`${lane}/1`, { ...NO_TERM, operator, beginBlock: block.number }] as const,
  );
  return {
    lanes: firstOperators.map(() => ({ poster: ZERO_ADDRESS, term: 1, inboxLength: 0n, head: NO_HEAD })),
    operators: new Map(),
    terms: new Map(terms),
    signers: new Map(),
    batchHashes: new Map(),
    headers: new Map(),
    inbox: new Map(),
    demands: new Map(),
    owed: new Map(),
    taken: new Map(),
  };
}

/** What a transaction does in a block: the state after it, or the name of the custom error that it reverts with. */
export function execute(state: State, block: Block, transaction: Transaction, deployed: Deployed): State | ErrorName {
  const contract = new Settlement(state, block, transaction, deployed);
  try {
    (contract[transaction.to] as (...args: readonly unknown[]) => void).apply(contract, [...transaction.args]);
    return contract.state;
  } catch (error) {
    if (error instanceof Revert) return error.error;
    throw error;
  }
}

/**
 * The Settlement contract in memory, in one transaction: what evidence depends on, line by line (Operators.sol, Inbox.sol,
 * Evidence.sol, and commit of Settlement.sol). Held against the contract itself by model-anvil.test.ts.
 */
export class Settlement {
  private readonly lanes: Lane[];
  private readonly operators: Map<string, Operator>;
  private readonly terms: Map<string, Term>;
  private readonly signers: Map<string, bigint>;
  private readonly batchHashes: Map<string, Hex>;
  private readonly headers: Map<string, BatchHeader>;
  private readonly inbox: Map<string, Forced>;
  private readonly demands: Map<string, Demand>;
  private readonly owed: Map<string, bigint>;
  private readonly taken: Map<string, bigint>;

  constructor(
    state: State,
    private readonly block: Block,
    private readonly message: { readonly from: Hex; readonly value: bigint },
    private readonly deployed: Deployed,
  ) {
    this.lanes = [...state.lanes];
    this.operators = new Map(state.operators);
    this.terms = new Map(state.terms);
    this.signers = new Map(state.signers);
    this.batchHashes = new Map(state.batchHashes);
    this.headers = new Map(state.headers);
    this.inbox = new Map(state.inbox);
    this.demands = new Map(state.demands);
    this.owed = new Map(state.owed);
    this.taken = new Map(state.taken);
  }

  get state(): State {
    const { lanes, operators, terms, signers, batchHashes, headers, inbox, demands, owed, taken } = this;
    return { lanes, operators, terms, signers, batchHashes, headers, inbox, demands, owed, taken };
  }

  // ---- Operators.sol ------------------------------------------------------------------------------------------------

  register(lane: number, poster: Hex, signer: Hex, registration: Hex): void {
    const { from, value } = this.message;
    if (poster === ZERO_ADDRESS) throw new Revert('ZeroAddress');
    const caller = this.staying(lane);
    const changed = { ...caller, bond: caller.bond + value, poster };
    if (changed.bond < this.deployed.parameters.minBond) throw new Revert('BondTooSmall');
    if (signer !== ZERO_ADDRESS) {
      const digest = registrationDigest(separatorOf(this.deployed.domain), { lane, operator: from, signer });
      if (recovered(digest, registration) !== signer) throw new Revert('BadRegistration');
      if (caller.signer !== signer) {
        if (caller.signer !== ZERO_ADDRESS) this.signers.set(`${lane}/${from}/${caller.signer}`, this.block.number);
        this.signers.set(`${lane}/${from}/${signer}`, CURRENT);
        changed.signer = signer;
      }
    }
    if (changed.signer === ZERO_ADDRESS) throw new Revert('ZeroAddress');
    this.operators.set(`${lane}/${from}`, changed);
    if (this.operator(lane) === from) this.change(lane, { poster });
  }

  requestExit(lane: number): void {
    const { from } = this.message;
    const caller = this.staying(lane);
    if (caller.poster === ZERO_ADDRESS) throw new Revert('NotOperator');
    this.operators.set(`${lane}/${from}`, { ...caller, exitRequestedAt: this.block.number });
    if (this.operator(lane) === from) this.endTerm(lane, this.block.number + this.deployed.parameters.maxIncludeDelay);
  }

  withdrawBond(lane: number): void {
    const { from } = this.message;
    const caller = this.operatorOf(lane, from);
    if (caller.exitRequestedAt === 0n) throw new Revert('NotLeaving');
    if (this.block.number < caller.exitRequestedAt + this.deployed.parameters.exitDelay) throw new Revert('TooEarly');
    this.owe(from, caller.bond);
    this.operators.set(`${lane}/${from}`, { ...caller, bond: 0n, exitRequestedAt: 0n });
  }

  takeOver(lane: number): void {
    const { from } = this.message;
    const { minBond, takeoverDelay, penalty } = this.deployed.parameters;
    const caller = this.staying(lane);
    if (caller.poster === ZERO_ADDRESS) throw new Revert('NotOperator');
    if (caller.bond < minBond) throw new Revert('BondTooSmall');
    const current = this.lane(lane).term;
    const ousted = this.operator(lane);
    if (ousted !== ZERO_ADDRESS) {
      if (ousted === from) throw new Revert('RunsAlready');
      let due = this.oldestDeadline(lane);
      const { beginBlock } = this.term(lane, current);
      if (due !== undefined && due < beginBlock) due = beginBlock;
      const overdue = due !== undefined && this.block.number > due + takeoverDelay;
      if (!overdue && this.operatorOf(lane, ousted).bond >= minBond) throw new Revert('NoCause');
      this.takeBond(lane, current, penalty, from);
      this.endTerm(lane, this.block.number);
    }
    this.change(lane, { poster: caller.poster, term: current + 1 });
    const { nextSequence: firstSequence } = this.lane(lane).head;
    this.terms.set(`${lane}/${current + 1}`, { ...NO_TERM, operator: from, firstSequence, beginBlock: this.block.number });
  }

  operator(lane: number): Hex {
    const current = this.term(lane, this.lane(lane).term);
    return this.isOver(current) ? ZERO_ADDRESS : current.operator;
  }

  isReceiptSigner(lane: number, term: number, signer: Hex): boolean {
    const retiredAt = this.signers.get(`${lane}/${this.term(lane, term).operator}/${signer}`) ?? 0n;
    if (retiredAt === 0n || retiredAt === CURRENT) return retiredAt === CURRENT;
    const { maxIncludeDelay, evidenceWindow } = this.deployed.parameters;
    return this.block.number <= retiredAt + maxIncludeDelay + evidenceWindow;
  }

  private endSequence(lane: number, term: number): bigint {
    const newest = this.lanes[lane]?.term ?? 0;
    if (term === 0 || term > newest) return 0n;
    return term === newest ? this.lane(lane).head.nextSequence : this.term(lane, term + 1).firstSequence;
  }

  private isOver({ endBlock }: Term): boolean {
    return endBlock !== 0n && this.block.number >= endBlock;
  }

  private takeBond(lane: number, term: number, amount: bigint | undefined, reporter: Hex): void {
    const charged = this.term(lane, term).operator;
    const kept = this.operatorOf(lane, charged);
    const taken = amount !== undefined && amount < kept.bond ? amount : kept.bond;
    this.operators.set(`${lane}/${charged}`, { ...kept, bond: kept.bond - taken });
    this.taken.set(charged, (this.taken.get(charged) ?? 0n) + taken);
    this.owe(reporter, taken / REWARD_DIVISOR);
  }

  private slash(lane: number, term: number, reporter: Hex): void {
    const kept = this.term(lane, term);
    this.terms.set(`${lane}/${term}`, { ...kept, slashed: true });
    this.takeBond(lane, term, undefined, reporter);
    if (this.operator(lane) === kept.operator) this.endTerm(lane, this.block.number);
  }

  private endTerm(lane: number, endBlock: bigint): void {
    const current = this.lane(lane).term;
    const ending = this.term(lane, current);
    if (ending.endBlock === 0n || endBlock < ending.endBlock) this.terms.set(`${lane}/${current}`, { ...ending, endBlock });
  }

  private staying(lane: number): Operator {
    const caller = this.operatorOf(lane, this.message.from);
    if (caller.exitRequestedAt !== 0n) throw new Revert('Leaving');
    return caller;
  }

  // ---- Inbox.sol ----------------------------------------------------------------------------------------------------

  forceInclude(framed: Hex): void {
    const { from, value } = this.message;
    const { minForcedLife, forcedDelay, inboxFee } = this.deployed.parameters;
    const { bundle, fields } = this.readSigned(framed);
    if (fields.expiry < this.block.timestamp + minForcedLife) throw new Revert('ExpiresTooSoon');
    const { lane } = fields;
    const { inboxLength: index, head } = this.lane(lane);
    const consumer = CONSUMER_GAS * this.deployed.baseFee;
    const burned = inboxFee + (inboxFee * (index - head.inboxCount)) / ENOUGH_FORCED;
    if (value < consumer + burned) throw new Revert('FeeTooSmall');
    this.owe(from, value - consumer - burned);
    this.change(lane, { inboxLength: index + 1n });
    this.inbox.set(`${lane}/${index}`, {
      lane,
      index,
      bundleHash: hashesOf(fields).bundleHash,
      deadline: this.block.number + forcedDelay,
      fee: consumer,
      bundle,
      blockNumber: this.block.number,
    });
  }

  private oldestDeadline(lane: number): bigint | undefined {
    return this.inbox.get(`${lane}/${this.lane(lane).head.inboxCount}`)?.deadline;
  }

  private readSigned(framed: Hex): { bundle: Uint8Array; fields: BundleFields } {
    try {
      const [bundle, ...more] = splitFrames(fromHex(framed));
      if (bundle === undefined || more.length > 0) throw new Revert('MalformedBundle');
      const view = readBundle(bundle);
      verifyLane(view, this.lanes.length);
      const fields = fieldsOf(view, toHex(nativeMessagesRoot(view)));
      if (signerOf(fields, this.deployed.domain) !== fields.sender) throw new Revert('BadSignature');
      return { bundle, fields };
    } catch (error) {
      if (error instanceof ProtocolError) throw new Revert('MalformedBundle');
      throw error;
    }
  }

  // ---- Settlement.sol -----------------------------------------------------------------------------------------------

  commit(headers: Commit['headers'], entries: Commit['forced']): void {
    const lane = headers[0]?.lane ?? 0;
    const { poster, term, inboxLength, head } = this.lane(lane);
    if (this.isOver(this.term(lane, term))) throw new Revert('NoOperator');
    if (this.message.from !== poster) throw new Revert('NotPoster');
    let parent = head;
    let parentHash = this.batchHashes.get(`${lane}/${parent.number}`) ?? ZERO_HASH;
    let consumed = 0;
    for (const [at, header] of headers.entries()) {
      const first = consumed;
      while (entries[consumed]?.header === at) consumed++;
      parent = { ...parent, inboxCount: parent.inboxCount + BigInt(consumed - first) };
      this.checkHeader(header, lane, term, parent, parentHash);
      this.consumeAll(header, entries.slice(first, consumed), inboxLength);
      const nextSequence = header.firstSequence + BigInt(header.count);
      parent = { ...parent, number: header.number, nextSequence, timestamp: header.timestamp };
      parentHash = hashOf(header);
      this.batchHashes.set(`${lane}/${header.number}`, parentHash);
      this.headers.set(`${lane}/${header.number}`, header);
    }
    if (consumed !== entries.length) throw new Revert('ForcedEntryOutOfOrder');
    this.change(lane, { head: parent });
    const due = this.oldestDeadline(lane);
    if (consumed < ENOUGH_FORCED && due !== undefined && this.block.number > due) throw new Revert('ForcedEntryOverdue');
  }

  private consumeAll(header: BatchHeader, entries: Commit['forced'], inboxLength: bigint): void {
    let index = header.inboxCount - BigInt(entries.length);
    for (const [at, { index: place, void: isVoid, previous, path }] of entries.entries()) {
      const before = entries[at - 1];
      if ((before !== undefined && place <= before.index) || index >= inboxLength) throw new Revert('ForcedEntryOutOfOrder');
      const forced = this.inbox.get(`${header.lane}/${index}`);
      const leaf = entryHash(isVoid, previous, fromHex(forced?.bundleHash ?? ZERO_HASH), nativeSha256);
      if (!isInTree(toHex(leaf), BigInt(place), header.count, path, header.bundlesRoot)) {
        throw new Revert('ForcedEntryNotInBatch');
      }
      this.inbox.delete(`${header.lane}/${index}`);
      this.owe(this.message.from, forced?.fee ?? 0n);
      index++;
    }
  }

  private checkHeader(header: BatchHeader, lane: number, term: number, parent: Head, parentHash: Hex): void {
    if (header.lane !== lane) throw new Revert('WrongLane');
    if (header.number !== parent.number + 1n) throw new Revert('WrongNumber');
    if (header.term !== term) throw new Revert('WrongTerm');
    if (header.parentHash !== parentHash) throw new Revert('WrongParentHash');
    if (header.firstSequence !== parent.nextSequence) throw new Revert('WrongFirstSequence');
    if (header.count === 0) throw new Revert('CountOutOfBounds');
    if (header.inboxCount !== parent.inboxCount) throw new Revert('WrongInboxCount');
    if (header.timestamp < parent.timestamp) throw new Revert('TimestampTooEarly');
    if (header.timestamp > this.block.timestamp) throw new Revert('TimestampTooLate');
  }

  // ---- Evidence.sol -------------------------------------------------------------------------------------------------

  proveEquivocation(sequence: bigint, one: SignedReceipt, other: SignedReceipt): void {
    this.verifyReceipt(sequence, one);
    this.verifyReceipt(sequence, other);
    const { lane, term } = one.receipt;
    if (other.receipt.lane !== lane || other.receipt.term !== term) throw new Revert('OtherTerm');
    if (one.entryHash === other.entryHash) throw new Revert('SameLeaf');
    this.proven(lane, term);
  }

  proveReplacement(sequence: bigint, promised: SignedReceipt, header: BatchHeader, leaf: Hex, path: readonly Hex[]): void {
    this.verifyReceipt(sequence, promised);
    const { lane, term } = promised.receipt;
    if (header.lane !== lane || header.term !== term) throw new Revert('OtherTerm');
    if (promised.entryHash === leaf) throw new Revert('SameLeaf');
    const index = sequence - header.firstSequence;
    if (index < 0n || index >= BigInt(header.count)) throw new Revert('NotInBatch');
    this.verifyLeaf(header, Number(index), () => isInTree(leaf, index, header.count, path, header.bundlesRoot));
    this.proven(lane, term);
  }

  proveFalseEntry(entry: Opening, others: readonly Opening[]): void {
    this.verifyOpening(entry);
    let isFalse = false;
    const [other] = others;
    if (other === undefined) isFalse = this.isFalseAlone(entry);
    else if (others.length === 1) {
      this.verifyOpening(other);
      if (other.header.lane !== entry.header.lane) throw new Revert('OtherTerm');
      isFalse = this.isFalseBeside(entry, other);
    }
    if (!isFalse) throw new Revert('EntryIsTrue');
    this.proven(entry.header.lane, entry.header.term);
  }

  demandCommitted(header: BatchHeader, index: number): void {
    if (!this.isCommitted(header) || index >= header.count) throw new Revert('NotInBatch');
    this.demand(header.lane, header.term, header.firstSequence + BigInt(index), true);
  }

  demandPromised(sequence: bigint, promised: SignedReceipt): void {
    this.verifyReceipt(sequence, promised);
    const { lane, term, includeBy } = promised.receipt;
    const running = this.lane(lane);
    const runs = term === running.term && !this.isOver(this.term(lane, term));
    if (!runs || includeBy >= this.block.number || sequence < running.head.nextSequence) throw new Revert('NotDue');
    this.demand(lane, term, sequence, false);
  }

  answer(entry: Opening): void {
    const { lane, term } = entry.header;
    const sequence = sequenceOf(entry);
    const demand = this.demandOf(lane, term, sequence);
    if (demand.deadline === 0n || demand.answered || this.block.number > demand.deadline) throw new Revert('NotDemanded');
    this.verifyOpening(entry);
    this.owe(this.message.from, demand.fee);
    this.demands.set(`${lane}/${term}/${sequence}`, { ...demand, answered: true, fee: 0n });
  }

  proveUnanswered(lane: number, term: number, sequence: bigint): void {
    const demand = this.demandOf(lane, term, sequence);
    if (!this.isUnanswered(demand)) throw new Revert('NotDemanded');
    this.owe(demand.demander, demand.fee);
    this.demands.set(`${lane}/${term}/${sequence}`, { ...demand, fee: 0n });
    if (demand.fee !== 0n && (demand.charged || this.term(lane, term).slashed)) return;
    this.charge(lane, term, sequence, demand.demander);
  }

  proveBroken(sequence: bigint, promised: SignedReceipt): void {
    this.verifyReceipt(sequence, promised);
    const { lane, term, includeBy } = promised.receipt;
    const kept = this.term(lane, term);
    const isBroken = this.isOver(kept) && sequence >= this.endSequence(lane, term) && includeBy < kept.endBlock;
    if (!isBroken) throw new Revert('NotBroken');
    this.charge(lane, term, sequence, this.message.from);
  }

  private isFalseAlone(entry: Opening): boolean {
    if (entry.void > 1 || entry.previous > sequenceOf(entry)) return true;
    const isValid = this.isValid(entry);
    if (entry.void === 0 && !isValid) return true;
    return entry.previous === 0n && (entry.void === 0) !== (isValid && entry.bundle.nonce === 0n);
  }

  private isFalseBeside(entry: Opening, other: Opening): boolean {
    const otherSequence = sequenceOf(other);
    const counts = other.void === 0 && other.bundle.sender === entry.bundle.sender;
    if (otherSequence >= entry.previous) return otherSequence < sequenceOf(entry) && counts;
    if (otherSequence !== entry.previous - 1n) return false;
    if (!counts) return true;
    const isNext = entry.bundle.nonce === other.bundle.nonce + BigInt(other.bundle.count);
    return (entry.void === 0) !== (isNext && this.isValid(entry));
  }

  private isValid({ bundle, header }: Opening): boolean {
    if (bundle.lane !== header.lane || bundle.count === 0 || bundle.count > MAX_MESSAGES) return false;
    if (bundle.nonce > MAX_UINT64 - BigInt(bundle.count)) return false;
    return signerOf(bundle, this.deployed.domain) === bundle.sender;
  }

  private verifyReceipt(sequence: bigint, signed: SignedReceipt): void {
    const { lane, term, firstSequence } = signed.receipt;
    const signer = receiptSigner(signed, this.deployed.domain);
    if (signer === undefined || !this.isReceiptSigner(lane, term, signer)) throw new Revert('NotReceiptSigner');
    const isThere =
      sequence >= this.term(lane, term).firstSequence &&
      sequence >= firstSequence &&
      isInReceipt(signed, sequence - firstSequence);
    if (!isThere) throw new Revert('NotInReceipt');
  }

  private verifyOpening(entry: Opening): void {
    this.verifyLeaf(entry.header, entry.index, () => isInBatch(entry, NO_DOMAIN));
  }

  private verifyLeaf(header: BatchHeader, index: number, isIn: () => boolean): void {
    if (!this.isCommitted(header) || !isIn()) throw new Revert('NotInBatch');
    const demand = this.demandOf(header.lane, header.term, header.firstSequence + BigInt(index));
    if (demand.committed && this.isUnanswered(demand)) throw new Revert('Withheld');
  }

  private demand(lane: number, term: number, sequence: bigint, committed: boolean): void {
    const { from: demander, value: fee } = this.message;
    if (fee < ANSWER_GAS * this.deployed.baseFee) throw new Revert('AnswerFeeTooSmall');
    const demand = this.demandOf(lane, term, sequence);
    const isSettled = committed && !demand.committed && demand.fee === 0n && this.isUnanswered(demand);
    if (demand.deadline !== 0n && !isSettled) throw new Revert('AlreadyDemanded');
    const { number: blockNumber } = this.block;
    const deadline = blockNumber + this.deployed.parameters.answerDelay;
    this.demands.set(`${lane}/${term}/${sequence}`, { ...demand, demander, deadline, committed, fee, blockNumber });
  }

  private isUnanswered({ deadline, answered }: Demand): boolean {
    return deadline !== 0n && !answered && this.block.number > deadline;
  }

  private charge(lane: number, term: number, sequence: bigint, reporter: Hex): void {
    const demand = this.demandOf(lane, term, sequence);
    const kept = this.term(lane, term);
    if (demand.charged || kept.slashed) throw new Revert('AlreadyCharged');
    this.demands.set(`${lane}/${term}/${sequence}`, { ...demand, charged: true });
    const unanswered = kept.unanswered + 1;
    this.terms.set(`${lane}/${term}`, { ...kept, unanswered });
    if (unanswered >= UNANSWERED_LIMIT) this.slash(lane, term, reporter);
    else this.takeBond(lane, term, this.deployed.parameters.penalty, reporter);
  }

  private proven(lane: number, term: number): void {
    if (this.term(lane, term).slashed) throw new Revert('AlreadyCharged');
    this.slash(lane, term, this.message.from);
  }

  // ---- Storage ------------------------------------------------------------------------------------------------------

  private lane(lane: number): Lane {
    const kept = this.lanes[lane];
    if (kept === undefined) throw new Revert('UnknownLane');
    return kept;
  }

  private change(lane: number, change: Partial<Lane>): void {
    this.lanes[lane] = { ...this.lane(lane), ...change };
  }

  private term(lane: number, term: number): Term {
    return this.terms.get(`${lane}/${term}`) ?? NO_TERM;
  }

  private operatorOf(lane: number, operator: Hex): Operator {
    this.lane(lane);
    return this.operators.get(`${lane}/${operator}`) ?? NO_OPERATOR;
  }

  private demandOf(lane: number, term: number, sequence: bigint): Demand {
    return this.demands.get(`${lane}/${term}/${sequence}`) ?? NO_DEMAND;
  }

  private isCommitted(header: BatchHeader): boolean {
    return this.batchHashes.get(`${header.lane}/${header.number}`) === hashOf(header);
  }

  private owe(account: Hex, amount: bigint): void {
    this.owed.set(account, (this.owed.get(account) ?? 0n) + amount);
  }
}

export const sequenceOf = ({ header, index }: Pick<Opening, 'header' | 'index'>): bigint => header.firstSequence + BigInt(index);

// ---- What never changes for an object is hashed or recovered once ------------------------------------------------------

function remembered<K extends object, V>(make: (key: K, domain: Domain) => V): (key: K, domain: Domain) => V {
  const made = new WeakMap<K, { value: V }>();
  return (key, domain) => {
    let known = made.get(key);
    if (known === undefined) {
      known = { value: make(key, domain) };
      made.set(key, known);
    }
    return known.value;
  };
}

const separatorOf = (domain: Domain) => separatorOnce(domain, domain);
const separatorOnce = remembered((domain: Domain) => domainSeparator(domain));

function recovered(digest: Uint8Array, signature: Hex): Hex | undefined {
  try {
    return recoverSigner(digest, fromHex(signature), nativeRecover, fastKeccak256);
  } catch {
    return undefined;
  }
}

const headerHash = remembered((header: BatchHeader) => batchHash(header));
const NO_DOMAIN: Domain = { chainId: 0n, settlement: ZERO_ADDRESS };
const hashOf = (header: BatchHeader): Hex => headerHash(header, NO_DOMAIN);

const bundleHashes = remembered((bundle: BundleFields) => {
  const structHash = bundleStructHash(bundle, fastKeccak256);
  return { structHash, bundleHash: toHex(bundleHash(bundle.sender, structHash, fromHex(bundle.signature), nativeSha256)) };
});
const hashesOf = (bundle: BundleFields) => bundleHashes(bundle, NO_DOMAIN);

const signerOf = remembered((bundle: BundleFields, domain) =>
  recovered(typedDataDigest(separatorOf(domain), hashesOf(bundle).structHash, fastKeccak256), bundle.signature),
);

const receiptSigner = remembered((signed: SignedReceipt, domain) =>
  recovered(receiptDigest(separatorOf(domain), signed.receipt, fastKeccak256), signed.signature),
);

const isInBatch = remembered(({ void: isVoid, previous, bundle, index, header, path }: Opening) => {
  const leaf = entryHash(isVoid, previous, fromHex(hashesOf(bundle).bundleHash), nativeSha256);
  return isInTree(toHex(leaf), BigInt(index), header.count, path, header.bundlesRoot);
});

const leavesOfReceipts = remembered((_: SignedReceipt) => new Map<bigint, boolean>());

function isInReceipt(signed: SignedReceipt, index: bigint): boolean {
  const known = leavesOfReceipts(signed, NO_DOMAIN);
  let isIn = known.get(index);
  if (isIn === undefined) {
    isIn = isInTree(signed.entryHash, index, signed.receipt.count, signed.path, signed.receipt.root);
    known.set(index, isIn);
  }
  return isIn;
}

function isInTree(leaf: Hex, index: bigint, size: number, path: readonly Hex[], root: Hex): boolean {
  const nodes = path.map((node) => fromHex(node, 32));
  return isIncluded(fromHex(leaf, 32), Number(index), size, nodes, fromHex(root, 32), nativeSha256);
}
