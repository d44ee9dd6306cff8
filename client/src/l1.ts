import {
  type Hex,
  keccakText,
  type MessageProof,
  type ProtocolError,
  proofToContract,
  type Receipt,
  type ReceiptTerms,
  type SettlementView,
  toHex,
  ZERO_HASH,
} from '@sealpost/prover';
import type { Transport } from 'viem';
import { abortable, type CallOptions, type Clock, withDeadline } from './clock.js';
import { L1Error, RequestError } from './errors.js';
import { decodeView, encodeIsIncluded, encodeView, type View } from './views.js';

/** Rungs of the finality ladder that the L1 decides (PROTOCOL.md §10). */
export type L1Rung = 'committed' | 'safe' | 'finalized';

/** What the Settlement contract says about a batch: 32 zero bytes if nothing is committed. */
export interface BatchSlot {
  readonly committed: Hex;
  /** Meaningless while `committed` is zero. */
  readonly rung: L1Rung;
}

/** Where a batch was committed. */
export interface Commitment {
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
  /** Unix seconds of the block. */
  readonly timestamp: bigint;
}

export interface L1Block {
  readonly number: bigint;
  readonly timestamp: bigint;
  readonly hash: Hex;
}

export interface L1Options {
  /** A viem transport: `http(rpcUrl)`, `webSocket(…)`, `custom(provider)`, `fallback([…])`. */
  readonly transport: Transport;
  readonly settlement: Hex;
  /** Refuse any other chain. */
  readonly chainId?: bigint | undefined;
  readonly clock: Clock;
  /** How long a slot that may still move is believed. */
  readonly maxSlotAgeMs?: number | undefined;
}

type Tag = 'latest' | 'safe' | 'finalized';

/** What receipts of a term are judged by, as it was read `at` a time by the clock. */
interface KnownTerm extends Pick<ReceiptTerms, 'term' | 'signer' | 'operator'> {
  /** The operator's address. */
  readonly account: Hex;
  readonly at: number;
  /** Since which block signers that were met are retired; 0 for others'. */
  readonly retired: Map<Hex, bigint>;
}

type Terms = Omit<ReceiptTerms, 'chainId' | 'settlement'>;

/** A block of the main network. */
const MAX_TERM_AGE_MS = 12_000;
const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_SLOT_AGE_MS = 500;
/** A reorg may move a commit to another block. */
const MAX_COMMITMENT_AGE_MS = 5_000;
const MAX_SLOTS = 4_096;
/** First topic of the contract's `BatchCommitted` logs. */
export const BATCH_COMMITTED: Hex = /* @__PURE__ */ toHex(
  /* @__PURE__ */ keccakText(
    'BatchCommitted(uint16,uint64,bytes32,(uint16,uint32,uint64,bytes32,uint64,uint32,bytes32,uint64,uint64,bytes32))',
  ),
);
/** A number as a topic of a log. */
export const word = (value: bigint | number): Hex => `0x${BigInt(value).toString(16).padStart(64, '0')}`;

/**
 * The verifier's own view of the Settlement contract, by nothing but JSON-RPC through a viem transport. Everything that is
 * believed about the chain comes from here and from the caller's configuration, never from the sequencer.
 */
export class L1 {
  readonly view: SettlementView;
  readonly maxIncludeDelay: bigint;
  readonly #call: Caller;
  readonly #clock: Clock;
  readonly #maxSlotAgeMs: number;
  readonly #slots = new Map<string, { slot: Promise<BatchSlot>; at: number }>();
  readonly #commitments = new Map<string, { commitment: Promise<Commitment | undefined>; at: number }>();
  readonly #terms = new Map<string, KnownTerm>();
  #latestBlock = 0n;

  private constructor(call: Caller, options: L1Options, view: SettlementView, maxIncludeDelay: bigint) {
    this.#call = call;
    this.#clock = options.clock;
    this.#maxSlotAgeMs = options.maxSlotAgeMs ?? DEFAULT_SLOT_AGE_MS;
    this.view = view;
    this.maxIncludeDelay = maxIncludeDelay;
  }

  /**
   * Reads chain id, code and lane count.
   * @throws l1.wrong_chain, l1.no_contract, l1.foreign_contract, l1.unreachable
   */
  static async connect(options: L1Options, call: CallOptions = {}): Promise<L1> {
    const settlement = options.settlement.toLowerCase() as Hex;
    if (!/^0x[0-9a-f]{40}$/.test(settlement)) {
      throw new L1Error('l1.no_contract', `settlement: expected an address, got ${String(options.settlement).slice(0, 80)}`);
    }
    const caller = new Caller(options.transport, settlement, options.clock);
    const [chain, code] = await Promise.all([
      caller.request('eth_chainId', [], call),
      caller.request('eth_getCode', [settlement, 'latest'], call),
    ]);
    const chainId = BigInt(chain as string);
    if (options.chainId !== undefined && options.chainId !== chainId) {
      throw new L1Error('l1.wrong_chain', `expected an L1 node of chain ${options.chainId}, got one of chain ${chainId}`, {
        facts: { expected: String(options.chainId), got: String(chainId) },
      });
    }
    const facts = { chainId: String(chainId), settlement };
    if (code === '0x' || typeof code !== 'string') {
      throw new L1Error('l1.no_contract', `there is no contract at ${settlement} on chain ${chainId}`, { facts });
    }
    let laneCount: unknown;
    let maxIncludeDelay: unknown;
    try {
      [laneCount, maxIncludeDelay] = await Promise.all([
        caller.read('laneCount()', [], 'latest', call),
        caller.read('maxIncludeDelay()', [], 'latest', call),
      ]);
    } catch (cause) {
      if (cause instanceof L1Error && cause.code !== 'l1.rpc' && cause.code !== 'l1.foreign_contract') throw cause;
      throw new L1Error('l1.foreign_contract', `the contract at ${settlement} is no Settlement`, { facts, cause });
    }
    if (typeof laneCount !== 'number' || laneCount < 1 || typeof maxIncludeDelay !== 'bigint') {
      throw new L1Error('l1.foreign_contract', `the contract at ${settlement} is no Settlement`, { facts });
    }
    return new L1(caller, options, { chainId, settlement, laneCount }, maxIncludeDelay);
  }

  /** Any JSON-RPC request, with this package's errors and deadlines. */
  request(method: string, params: readonly unknown[], call: CallOptions = {}): Promise<unknown> {
    return this.#call.request(method, params, call);
  }

  /** The block with this tag or number; undefined if the node has none. */
  async block(which: Tag | bigint, call: CallOptions = {}): Promise<L1Block | undefined> {
    const tag = typeof which === 'bigint' ? `0x${which.toString(16)}` : which;
    const block = (await this.#call.request('eth_getBlockByNumber', [tag, false], call)) as Record<string, Hex> | null;
    if (!block?.number || !block.timestamp || !block.hash) return undefined;
    const number = BigInt(block.number);
    if (which === 'latest' && number > this.#latestBlock) this.#latestBlock = number;
    return { number, timestamp: BigInt(block.timestamp), hash: block.hash };
  }

  /** `Settlement.head(lane)` at the newest block. */
  async head(lane: number, call: CallOptions = {}): Promise<{ number: bigint; nextSequence: bigint; timestamp: bigint }> {
    const [number, nextSequence, timestamp] = (await this.#read(call, 'head(uint16)', lane)) as [bigint, bigint, bigint];
    return { number, nextSequence, timestamp };
  }

  /**
   * What `verify` says of a receipt, given what the contract says of its term (§7). A signature of another signer than is known
   * here is looked into: the signer may be new, or the operator may have retired this one since. With `binds`, for whoever relies
   * on the promise, only the running term counts, with its bond and without a wish to leave, and a signer whose receipts can still be
   * held against the operator. A reader relies on the sender's signature: messages stay readable when their operator leaves.
   */
  async judge<T>(receipt: Receipt, verify: (terms: Terms) => T, binds: boolean, call: CallOptions): Promise<T> {
    const { lane, includeBy } = receipt;
    const termsOf = async (met?: Hex): Promise<Terms> => {
      const maxAgeMs = met === undefined ? MAX_TERM_AGE_MS : this.#maxSlotAgeMs;
      const known = await this.#term(lane, binds ? undefined : receipt.term, maxAgeMs, call);
      // Blocks only grow: a known newest block that is enough for `includeBy` saves a request.
      if (includeBy > this.#latestBlock + this.maxIncludeDelay) await this.block('latest', call);
      const at = met === undefined ? 0n : await this.#retiredAt(lane, known, met, binds, call);
      const { term, signer, operator } = known;
      const retired = at === 0n ? undefined : { signer: met as Hex, at };
      return { term, signer, operator, retired, latestBlock: this.#latestBlock, maxIncludeDelay: this.maxIncludeDelay };
    };
    try {
      return verify(await termsOf());
    } catch (error) {
      const { facts, cause } = error as ProtocolError;
      const met = ((cause as ProtocolError | undefined)?.facts ?? facts)?.signer;
      if (met === undefined) throw error;
      return verify(await termsOf(met as Hex));
    }
  }

  /**
   * The running term, or the one that is named. A term, a bond or a signer changes by a transaction on the L1: what is known is
   * believed no longer than it takes to see one.
   */
  async #term(lane: number, named: number | undefined, maxAgeMs: number, call: CallOptions): Promise<KnownTerm> {
    const key = `${lane}/${named}`;
    const known = this.#terms.get(key);
    if (known !== undefined && this.#clock.now() - known.at < maxAgeMs) return known;
    const [term, account, minBond] = (await Promise.all(
      named === undefined
        ? [this.#read(call, 'term(uint16)', lane), this.#read(call, 'operator(uint16)', lane), this.#read(call, 'minBond()')]
        : [named, this.#read(call, 'termOf(uint16,uint32)', lane, named).then((kept) => (kept as Hex[])[0])],
    )) as [number, Hex, bigint | undefined];
    const [bond, exitRequestedAt, , signer] = (await this.#read(call, 'operatorOf(uint16,address)', lane, account)) as [
      bigint,
      bigint,
      Hex,
      Hex,
    ];
    // Receipts of a term that is over bind by their signer alone.
    const operator = minBond === undefined ? undefined : { bond, minBond, exitRequestedAt };
    const now: KnownTerm = { term, account, signer, operator, at: this.#clock.now(), retired: new Map() };
    this.#terms.set(key, now);
    if (this.#terms.size > MAX_SLOTS) this.#terms.delete(this.#terms.keys().next().value as string);
    return now;
  }

  /** Since which block a signer of the operator's is retired; 0 if it never was one, or has to bind the operator and does not. */
  async #retiredAt(lane: number, known: KnownTerm, signer: Hex, binds: boolean, call: CallOptions): Promise<bigint> {
    if (binds && !(await this.#read(call, 'isReceiptSigner(uint16,uint32,address)', lane, known.term, signer))) return 0n;
    const at =
      known.retired.get(signer) ??
      ((await this.#read(call, 'signerRetiredAt(uint16,address,address)', lane, known.account, signer)) as bigint);
    known.retired.set(signer, at);
    return at;
  }

  /** What the contract says at the newest block. */
  #read(call: CallOptions, view: View, ...args: readonly (number | bigint | Hex)[]): Promise<unknown> {
    return this.#call.read(view, args, 'latest', call);
  }

  /** `Settlement.batchHash(lane, number)` at `latest`, and the highest rung on which it is the same. */
  slot(lane: number, number: bigint, call: CallOptions = {}): Promise<BatchSlot> {
    const key = `${lane}/${number}`;
    const known = this.#slots.get(key);
    if (known !== undefined && this.#clock.now() - known.at < this.#maxSlotAgeMs) return this.#share(known.slot, call);
    const slot = this.#readSlot(lane, number);
    const entry = { slot, at: this.#clock.now() };
    this.#slots.delete(key);
    this.#slots.set(key, entry);
    if (this.#slots.size > MAX_SLOTS) this.#slots.delete(this.#slots.keys().next().value as string);
    slot.then(
      ({ committed, rung }) => {
        // The L1 does not take back what is final: no need to ask again.
        if (committed !== ZERO_HASH && rung === 'finalized') entry.at = Number.POSITIVE_INFINITY;
      },
      () => this.#slots.delete(key),
    );
    return this.#share(slot, call);
  }

  /** One read for all who ask: it has nobody's signal and its own time limit; whoever gives up lets only himself go. */
  async #share<T>(read: Promise<T>, call: CallOptions): Promise<T> {
    try {
      return await withDeadline(this.#clock, call, Number.POSITIVE_INFINITY, 'L1 node', ({ signal }) => abortable(read, signal));
    } catch (cause) {
      if (call.signal?.aborted || !(cause instanceof RequestError)) throw cause;
      throw new L1Error('l1.timeout', cause.message, { cause });
    }
  }

  async #readSlot(lane: number, number: bigint): Promise<BatchSlot> {
    const read = async (tag: Tag) => (await this.#call.read('batchHash(uint16,uint64)', [lane, number], tag, {})) as Hex;
    const committed = await read('latest');
    if (committed === ZERO_HASH) return { committed, rung: 'committed' };
    // Where the contract was not there yet, or the node has no such block, the batch is not on that rung.
    const [finalized, safe] = await Promise.all([read('finalized').catch(gone), read('safe').catch(gone)]);
    if (finalized === committed) return { committed, rung: 'finalized' };
    if (safe === committed) return { committed, rung: 'safe' };
    if (finalized !== undefined && safe !== undefined) return { committed, rung: 'committed' };
    // No state at a tag: a node that prunes all but the newest, or one restarted from a snapshot. Then by the log of the
    // commit, which names its block.
    return { committed, rung: await this.#rungByLog(lane, number, committed) };
  }

  async #rungByLog(lane: number, number: bigint, committed: Hex): Promise<L1Rung> {
    const [at, safe, finalized] = await Promise.all([
      this.commitment(lane, number, committed).catch(gone),
      this.block('safe').catch(gone),
      this.block('finalized').catch(gone),
    ]);
    if (at === undefined) return 'committed';
    if (finalized !== undefined && at.blockNumber <= finalized.number) return 'finalized';
    return safe !== undefined && at.blockNumber <= safe.number ? 'safe' : 'committed';
  }

  /** The transaction that committed a batch, from the contract's log; undefined if the node does not find it. */
  commitment(lane: number, number: bigint, batchHash: Hex, call: CallOptions = {}): Promise<Commitment | undefined> {
    const key = `${lane}/${number}/${batchHash}`;
    const known = this.#commitments.get(key);
    if (known !== undefined && this.#clock.now() - known.at < MAX_COMMITMENT_AGE_MS) return this.#share(known.commitment, call);
    const commitment = this.#readCommitment(lane, number, batchHash);
    this.#commitments.delete(key);
    this.#commitments.set(key, { commitment, at: this.#clock.now() });
    if (this.#commitments.size > MAX_SLOTS) this.#commitments.delete(this.#commitments.keys().next().value as string);
    commitment.catch(() => this.#commitments.delete(key));
    return this.#share(commitment, call);
  }

  async #readCommitment(lane: number, number: bigint, batchHash: Hex): Promise<Commitment | undefined> {
    const topics = [BATCH_COMMITTED, word(lane), word(number), batchHash];
    const filter = { address: this.view.settlement, fromBlock: '0x0', toBlock: 'latest', topics };
    const logs = (await this.#call.request('eth_getLogs', [filter], {})) as { blockNumber: Hex; transactionHash: Hex }[];
    const log = logs.at(-1);
    if (log === undefined) return undefined;
    const blockNumber = BigInt(log.blockNumber);
    const block = await this.block(blockNumber);
    return { blockNumber, transactionHash: log.transactionHash, timestamp: block?.timestamp ?? 0n };
  }

  /** What the contract itself says about a proof, all of §9 checked on chain at the newest block. */
  async isIncluded(proof: MessageProof, call: CallOptions = {}): Promise<boolean> {
    return BigInt(await this.#call.call('isIncluded', encodeIsIncluded(proofToContract(proof)), 'latest', call)) === 1n;
  }
}

/** Requests to one contract through one transport. */
class Caller {
  readonly #request: (input: { method: string; params: readonly unknown[] }) => Promise<unknown>;

  constructor(
    transport: Transport,
    private readonly settlement: Hex,
    private readonly clock: Clock,
  ) {
    this.#request = transport({}).request as never;
  }

  /** Asks a function of the contract that is only read. */
  async read(view: View, args: readonly (number | bigint | Hex)[], tag: Tag, call: CallOptions): Promise<unknown> {
    const answer = await this.call(view, encodeView(view, args), tag, call);
    try {
      return decodeView(view, answer);
    } catch (cause) {
      throw new L1Error('l1.foreign_contract', `${view}: the answer of ${this.settlement} is of another type`, { cause });
    }
  }

  async call(what: string, data: Hex, tag: Tag, call: CallOptions): Promise<Hex> {
    const answer = (await this.request('eth_call', [{ to: this.settlement, data }, tag], call)) as Hex;
    if (answer !== '0x') return answer;
    throw new L1Error('l1.foreign_contract', `${what}: the contract at ${this.settlement} gave no answer at ${tag}`);
  }

  async request(method: string, params: readonly unknown[], call: CallOptions): Promise<unknown> {
    try {
      return await withDeadline(this.clock, call, DEFAULT_TIMEOUT_MS, `L1 node, ${method}`, ({ signal }) =>
        abortable(this.#request({ method, params }), signal),
      );
    } catch (cause) {
      if (call.signal?.aborted) throw cause;
      if (cause instanceof RequestError) throw new L1Error('l1.timeout', cause.message, { cause, facts: { method } });
      const { shortMessage, details, code } = cause as { shortMessage?: string; details?: string; code?: unknown };
      // An answer with an error has a JSON-RPC code; a node that cannot be reached has none.
      const answered = typeof code === 'number' && code !== -1;
      throw new L1Error(
        answered ? 'l1.rpc' : 'l1.unreachable',
        answered
          ? `the L1 node refused ${method}: ${details ?? shortMessage ?? String(cause)}`
          : `the L1 node does not answer: ${shortMessage ?? String(cause)}`,
        { cause, facts: { method } },
      );
    }
  }
}

const gone = () => undefined;
