import { type Parameters, settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  domainSeparator,
  type Facts,
  type Hex,
  lowerHex,
  type Opening,
  registrationDigest,
  type SettlementView,
  type SignedReceipt,
  toHex,
  ZERO_ADDRESS,
} from '@sealpost/prover';
import {
  createWalletClient,
  type DecodeErrorResultReturnType,
  decodeErrorResult,
  formatEther,
  keccak256,
  type LocalAccount,
  publicActions,
} from 'viem';
import { build, read, type SettlementCall } from './calls.js';
import { abortable, type CallOptions, type Clock, withDeadline } from './clock.js';
import { type ErrorDetails, L1Error, RequestError, SealpostError } from './errors.js';
import { L1, type L1Options } from './l1.js';

export type { SettlementCall } from './calls.js';
export * from './forced.js';
export * from './openings.js';

/** What of the contract's parameters is needed to say what an operator or a sender may do, and when. */
export type SettlementParameters = Pick<Parameters, (typeof PARAMETERS)[number]>;

/** What the contract keeps of an operator of a lane; zeros for one that never registered. */
export interface OperatorState {
  readonly address: Hex;
  /** Wei. */
  readonly bond: bigint;
  /** Block of its wish to leave, 0 if it has none. */
  readonly exitRequestedAt: bigint;
  /** Its posting account: the zero address if it is not registered. */
  readonly poster: Hex;
  readonly signer: Hex;
  /** Wei that the contract owes it, of whatever lane. */
  readonly owed: bigint;
}

/** Who runs a lane, all read at one block. */
export interface LaneState {
  readonly lane: number;
  readonly block: bigint;
  readonly term: number;
  readonly firstSequence: bigint;
  /** The committed head. */
  readonly nextSequence: bigint;
  /** The first block that is in the term. */
  readonly beginBlock: bigint;
  /** The first block that is not in the term; 0 while its end is open. */
  readonly endBlock: bigint;
  readonly slashed: boolean;
  /** Whose term it is, or was. */
  readonly operator: OperatorState;
  /** Whether the term is not over. */
  readonly running: boolean;
  /** The account that commits: the zero address while nobody may. */
  readonly poster: Hex;
  /** Wei that the contract owes the operator's posting account: the fees of forced entries. */
  readonly posterOwed: bigint;
  /** Forced entries that wait. */
  readonly waiting: bigint;
  readonly oldest: { readonly index: bigint; readonly deadline: bigint } | undefined;
}

/** A sender's account on a lane, read at one block. */
export interface PostageState {
  readonly lane: number;
  readonly block: bigint;
  readonly sender: Hex;
  /** Wei, as everything below that is no block. */
  readonly deposit: bigint;
  /** Paid to operators so far. */
  readonly redeemed: bigint;
  readonly withdrawing: bigint;
  /** Block from which the withdrawal can be fetched, 0 if none is under way. */
  readonly withdrawableFrom: bigint;
  /** What the contract owes the sender, of whatever lane. */
  readonly owed: bigint;
}

/** What forced inclusion costs (PROTOCOL.md §8), in wei. */
export interface ForcedFee {
  readonly block: bigint;
  /** For whoever consumes the entry. */
  readonly consumer: bigint;
  readonly burned: bigint;
  /** To be sent: more than both together, for both may grow until the block. What is too much becomes a payout. */
  readonly value: bigint;
}

/** A demand for an entry (PROTOCOL.md §7). */
export interface DemandState {
  readonly lane: number;
  readonly term: number;
  readonly sequence: bigint;
  readonly block: bigint;
  /** The zero address where nothing was demanded. */
  readonly demander: Hex;
  /** The last block of the answer. */
  readonly deadline: bigint;
  readonly answered: boolean;
  /** Whether the penalty was taken for the position. */
  readonly charged: boolean;
  /** Wei for whoever answers; 0 once it is settled. */
  readonly fee: bigint;
}

export interface SendOptions extends CallOptions {
  /** Told the transaction's hash before anybody else has the transaction. */
  readonly onSigned?: (transactionHash: Hex) => void;
}

/** A transaction that did what it was sent for. */
export interface Sent {
  readonly transactionHash: Hex;
  readonly blockNumber: bigint;
  readonly gasUsed: bigint;
  /** Wei paid for the gas. */
  readonly fee: bigint;
}

/** Whether an account may take a lane over, why, and what the operator loses by it. */
export type TakeoverPlan =
  | {
      readonly allowed: true;
      readonly cause: 'vacant' | 'overdue' | 'bond';
      readonly ousted: Hex | undefined;
      /** Wei taken from its bond. */
      readonly taken: bigint;
      /** Wei of that for who takes over. */
      readonly reward: bigint;
    }
  | { readonly allowed: false; readonly error: SettlementError };

const PARAMETERS = [
  'maxIncludeDelay',
  'answerDelay',
  'evidenceWindow',
  'exitDelay',
  'takeoverDelay',
  'forcedDelay',
  'minForcedLife',
  'withdrawDelay',
  'minBond',
  'penalty',
] as const;
/** Operators.REWARD_DIVISOR. */
const REWARD_DIVISOR = 10n;
/** Some blocks of the main network. */
const SEND_TIMEOUT_MS = 180_000;
const POLL_MS = 250;
/** Inbox.CONSUMER_GAS and Evidence.ANSWER_GAS: paid for at the base fee, which some nodes take for 0 in what is only called. */
const CONSUMER_GAS = 60_000n;
const ANSWER_GAS = 200_000n;
/** What a call needs may grow between its estimate and its block. */
const GAS_MARGIN_PERCENT = 20n;

/**
 * The Settlement contract for those who have money in it: operators and senders. It reads states, each at one block, and sends
 * the calls that the functions of this module build.
 */
export class Settlement {
  private constructor(
    readonly l1: L1,
    readonly parameters: SettlementParameters,
    readonly domainSeparator: Uint8Array,
    private readonly options: L1Options,
  ) {}

  /** @throws what L1.connect throws */
  static async connect(options: L1Options, call: CallOptions = {}): Promise<Settlement> {
    const l1 = await L1.connect(options, call);
    const values = await Promise.all(PARAMETERS.map((name) => read(l1, name, [], 'latest', call)));
    const parameters = Object.fromEntries(PARAMETERS.map((name, at) => [name, values[at]])) as unknown as SettlementParameters;
    const { chainId, settlement } = l1.view;
    return new Settlement(l1, parameters, domainSeparator({ chainId, settlement }), options);
  }

  get view(): SettlementView {
    return this.l1.view;
  }

  /** Who runs a lane, and with what at stake. */
  async lane(lane: number, call: CallOptions = {}): Promise<LaneState> {
    const { block, get } = await this.#at(call);
    const [term, operator, poster, head, inboxLength] = await Promise.all([
      get<number>('term', lane),
      get<Hex>('operator', lane),
      get<Hex>('poster', lane),
      get<readonly bigint[]>('head', lane),
      get<bigint>('inboxLength', lane),
    ]);
    const [, nextSequence = 0n, , inboxCount = 0n] = head;
    const [kept, forced] = await Promise.all([
      get<readonly [Hex, bigint, bigint, bigint, number, boolean, bigint]>('termOf', lane, term),
      inboxCount < inboxLength ? get<readonly [Hex, bigint, bigint]>('inbox', lane, inboxCount) : undefined,
    ]);
    const [holder, firstSequence, endBlock, , , slashed, beginBlock] = kept;
    const state = await this.#operator(get, lane, holder);
    return {
      lane,
      block,
      term,
      firstSequence,
      nextSequence,
      beginBlock,
      endBlock,
      slashed,
      operator: state,
      running: operator !== ZERO_ADDRESS,
      poster: lowerHex(poster),
      posterOwed: state.poster === ZERO_ADDRESS ? 0n : await get<bigint>('owed', state.poster),
      waiting: inboxLength - inboxCount,
      oldest: forced === undefined ? undefined : { index: inboxCount, deadline: forced[1] },
    };
  }

  /** What is kept of an account as an operator of a lane, whether it runs it or not. */
  async operator(lane: number, address: Hex, call: CallOptions = {}): Promise<OperatorState> {
    return this.#operator((await this.#at(call)).get, lane, address);
  }

  /** A sender's deposit on a lane. */
  async postage(lane: number, sender: Hex, call: CallOptions = {}): Promise<PostageState> {
    const { block, get } = await this.#at(call);
    const [account, owed] = await Promise.all([
      get<readonly [bigint, bigint, bigint, bigint]>('postageOf', lane, sender),
      get<bigint>('owed', sender),
    ]);
    const [deposit, redeemed, withdrawing, withdrawableFrom] = account;
    return { lane, block, sender: lowerHex(sender), deposit, redeemed, withdrawing, withdrawableFrom, owed };
  }

  /** What the contract owes an account, in wei. */
  async owed(account: Hex, call: CallOptions = {}): Promise<bigint> {
    return (await this.#at(call)).get<bigint>('owed', account);
  }

  /** Forced entries of a lane that commits have consumed so far. */
  async inboxCount(lane: number, call: CallOptions = {}): Promise<bigint> {
    const [, , , inboxCount = 0n] = await (await this.#at(call)).get<readonly bigint[]>('head', lane);
    return inboxCount;
  }

  /** What it costs now to force a bundle into a lane's inbox. */
  async forcedFee(lane: number, call: CallOptions = {}): Promise<ForcedFee> {
    const { block, get } = await this.#at(call);
    const [[named, burned], baseFee] = await Promise.all([
      get<readonly [bigint, bigint]>('forcedFee', lane),
      this.#baseFee(call),
    ]);
    const consumer = max(named, CONSUMER_GAS * baseFee);
    // Six blocks of a rising base fee, and a queue that grows by sixteen.
    return { block, consumer, burned, value: 2n * consumer + burned + burned / 4n };
  }

  /** What a demand pays whoever answers: twice the least, for the base fee may rise until the block. */
  async answerFee(call: CallOptions = {}): Promise<bigint> {
    const [named, baseFee] = await Promise.all([(await this.#at(call)).get<bigint>('answerFee'), this.#baseFee(call)]);
    return 2n * max(named, ANSWER_GAS * baseFee);
  }

  /** Whether an entry of a term was demanded, and what became of it. */
  async demand(lane: number, term: number, sequence: bigint, call: CallOptions = {}): Promise<DemandState> {
    const { block, get } = await this.#at(call);
    const kept = await get<readonly [Hex, bigint, boolean, boolean, bigint]>('demandOf', lane, term, sequence);
    const [demander, deadline, answered, charged, fee] = kept;
    return { lane, term, sequence, block, demander: lowerHex(demander), deadline, answered, charged, fee };
  }

  /**
   * Tries a call at the newest block, and sends nothing.
   * @throws settlement.* if the contract would refuse it, settlement.funds
   */
  async check(from: Hex, { data, value }: SettlementCall, call: CallOptions = {}): Promise<void> {
    const to = this.view.settlement;
    const balance = BigInt((await this.l1.request('eth_getBalance', [from, 'latest'], call)) as Hex);
    if (balance < value) throw insufficientFunds(from, balance, value);
    try {
      await this.l1.request('eth_call', [{ from, to, data, value: `0x${value.toString(16)}` }, 'latest'], call);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /**
   * Sends a call, and waits until it is in a block.
   * @throws settlement.* if the contract refuses it, settlement.funds; settlement.unconfirmed if it was sent and is in no block yet
   */
  async send(account: LocalAccount, intent: SettlementCall, call: SendOptions = {}): Promise<Sent> {
    const { clock } = this.options;
    let sent: Hex | undefined;
    try {
      return await withDeadline(clock, call, SEND_TIMEOUT_MS, `L1 node, ${intent.functionName}`, async ({ signal }) => {
        await this.check(account.address, intent, { signal });
        const { hash, serialized } = await this.#sign(account, intent, signal);
        call.onSigned?.(hash);
        // From here on it may be on its way, whatever the node answers.
        sent = hash;
        await this.l1.request('eth_sendRawTransaction', [serialized], { signal }).catch(async (error) => {
          if (signal.aborted || !(error instanceof L1Error)) throw error;
          if (error.code !== 'l1.rpc') return;
          // Refused, or sent twice by a transport that tries again.
          const known = await this.l1.request('eth_getTransactionByHash', [hash], { signal }).catch(() => null);
          if (known !== null) return;
          sent = undefined;
          throw error;
        });
        const receipt = await this.#receipt(hash, clock, signal);
        const blockNumber = BigInt(receipt.blockNumber);
        if (receipt.status !== '0x1') throw await this.#reverted(account.address, intent, hash, blockNumber, { signal });
        const gasUsed = BigInt(receipt.gasUsed);
        return { transactionHash: hash, blockNumber, gasUsed, fee: gasUsed * BigInt(receipt.effectiveGasPrice) };
      });
    } catch (error) {
      if (call.signal?.aborted || !(error instanceof RequestError)) throw error;
      if (sent === undefined) throw new L1Error('l1.timeout', error.message, { cause: error });
      throw new SettlementError(
        'settlement.unconfirmed',
        `the transaction ${sent} was sent and is in no block yet: it may still come`,
        `cast receipt ${sent}   (or the status again, before it is sent a second time)`,
        { facts: { transactionHash: sent }, cause: error },
      );
    }
  }

  /** A transaction with its nonce, gas and fees, signed; its hash is known before anybody else has it. */
  async #sign(account: LocalAccount, { data, value }: SettlementCall, signal: AbortSignal) {
    const wallet = createWalletClient({ account, transport: this.options.transport }).extend(publicActions);
    const to = this.view.settlement;
    const chainId = Number(this.view.chainId);
    try {
      const prepared = await abortable(wallet.prepareTransactionRequest({ to, data, value, chain: null, chainId }), signal);
      const gas = (prepared.gas * (100n + GAS_MARGIN_PERCENT)) / 100n;
      const price = prepared.maxFeePerGas ?? prepared.gasPrice ?? 0n;
      const balance = await abortable(wallet.getBalance({ address: account.address }), signal);
      if (balance < value + gas * price) throw insufficientFunds(account.address, balance, value, gas * price);
      const serialized = await account.signTransaction({ ...prepared, gas, chainId } as never);
      return { serialized, hash: keccak256(serialized) };
    } catch (error) {
      if (signal.aborted || error instanceof SealpostError) throw error;
      throw this.#explained(error);
    }
  }

  /** Ended by the signal. A node that is away for a moment ends nothing: the transaction is sent. */
  async #receipt(hash: Hex, clock: Clock, signal: AbortSignal): Promise<Record<string, Hex> & RawReceipt> {
    for (;;) {
      const receipt = await this.l1.request('eth_getTransactionReceipt', [hash], { signal }).catch((error) => {
        if (signal.aborted || !(error instanceof L1Error)) throw error;
        return null;
      });
      if (receipt !== null) return receipt as RawReceipt & Record<string, Hex>;
      await clock.sleep(POLL_MS, signal);
    }
  }

  /** Something changed between the check and the block: the check says what, if it is still so. */
  async #reverted(from: Hex, intent: SettlementCall, hash: Hex, block: bigint, call: CallOptions): Promise<SettlementError> {
    const error = await this.check(from, intent, call).catch((reason) => reason);
    const facts = { transactionHash: hash, blockNumber: String(block) };
    const where = `the transaction ${hash} was refused in block ${count(block)}`;
    if (error instanceof SettlementError) {
      return new SettlementError(error.code, `${where}: ${error.message}`, error.next, { facts: { ...error.facts, ...facts } });
    }
    return new SettlementError('settlement.reverted', where, 'the same command again: what was in its way is gone', { facts });
  }

  /** The contract's own error, where it is one. */
  #explained(error: unknown): unknown {
    const data = revertData(error);
    if (data === undefined) return error instanceof SealpostError ? error : l1Failure(error);
    try {
      return explainRefusal(decodeErrorResult({ abi: settlementAbi, data }), this.parameters, error);
    } catch {
      return new SettlementError('settlement.refused', `the contract refused it: ${data.slice(0, 74)}`, 'sealpost doctor', {
        cause: error,
      });
    }
  }

  async #baseFee(call: CallOptions): Promise<bigint> {
    const block = (await this.l1.request('eth_getBlockByNumber', ['latest', false], call)) as { baseFeePerGas?: Hex } | null;
    return BigInt(block?.baseFeePerGas ?? 0);
  }

  /** Reads at one block: what is said together was true together. */
  async #at(call: CallOptions) {
    const block = await this.l1.block('latest', call);
    if (block === undefined) throw new L1Error('l1.rpc', 'the L1 node has no newest block');
    const tag: Hex = `0x${block.number.toString(16)}`;
    const get = <T>(functionName: string, ...args: readonly unknown[]) =>
      read(this.l1, functionName, args, tag, call) as Promise<T>;
    return { block: block.number, get };
  }

  async #operator(
    get: <T>(functionName: string, ...args: readonly unknown[]) => Promise<T>,
    lane: number,
    address: Hex,
  ): Promise<OperatorState> {
    const [kept, owed] = await Promise.all([
      get<readonly [bigint, bigint, Hex, Hex]>('operatorOf', lane, address),
      get<bigint>('owed', address),
    ]);
    const [bond, exitRequestedAt, poster, signer] = kept;
    return {
      address: lowerHex(address),
      bond,
      exitRequestedAt,
      poster: lowerHex(poster),
      signer: lowerHex(signer),
      owed,
    };
  }
}

interface RawReceipt {
  readonly status: Hex;
  readonly blockNumber: Hex;
  readonly gasUsed: Hex;
  readonly effectiveGasPrice: Hex;
}

/** What a new receipt signer's key signs, so that nobody can register another's (PROTOCOL.md §7). */
export async function signRegistration(
  separator: Uint8Array,
  { lane, operator, signer }: { lane: number; operator: Hex; signer: LocalAccount },
): Promise<Hex> {
  if (signer.sign === undefined) throw new TypeError('expected an account that can sign a hash');
  return signer.sign({ hash: toHex(registrationDigest(separator, { lane, operator, signer: lowerHex(signer.address) })) });
}

/**
 * Makes the caller a bonded operator, adds `bond` wei, or changes its posting account and receipt signer; without a signer the one
 * there is stays.
 */
export const register = (
  lane: number,
  { poster, signer, bond = 0n }: { poster: Hex; signer?: { address: Hex; registration: Hex } | undefined; bond?: bigint },
): SettlementCall => build('register', [lane, poster, signer?.address ?? ZERO_ADDRESS, signer?.registration ?? '0x'], bond);

/** Adds to the bond of an operator; anybody may. */
export const addBond = (lane: number, operator: Hex, wei: bigint): SettlementCall => build('addBond', [lane, operator], wei);

/** Begins to leave: no receipts from its block on. */
export const requestExit = (lane: number): SettlementCall => build('requestExit', [lane]);

/** Makes the bond of an operator that left a payout. */
export const withdrawBond = (lane: number): SettlementCall => build('withdrawBond', [lane]);

/** Begins a term of the caller. */
export const takeOver = (lane: number): SettlementCall => build('takeOver', [lane]);

/** Adds to a sender's deposit; anybody may. */
export const depositPostage = (lane: number, sender: Hex, wei: bigint): SettlementCall =>
  build('depositPostage', [lane, sender], wei);

/** Begins to withdraw, in place of what was under way; 0 ends it. */
export const requestWithdrawal = (lane: number, wei: bigint): SettlementCall => build('requestWithdrawal', [lane, wei]);

/** Makes what was asked for a payout of the caller. */
export const withdrawPostage = (lane: number): SettlementCall => build('withdrawPostage', [lane]);

/** Pays the operator of an entry's term what its sender owes with it, out of the sender's deposit; anybody may call it. */
export const redeem = (entry: Opening): SettlementCall => build('redeem', [entry]);

/** Puts a framed bundle at the end of its lane's inbox (PROTOCOL.md §8), for `ForcedFee.value`; anybody may. */
export const forceInclude = (framed: Uint8Array, wei: bigint): SettlementCall => build('forceInclude', [toHex(framed)], wei);

/** Demands a committed entry, for a fee to whoever answers. */
export const demandCommitted = (header: BatchHeader, index: number, wei: bigint): SettlementCall =>
  build('demandCommitted', [header, index], wei);

/** Demands an entry that was promised in the running term, is due and not committed, for a fee to whoever answers. */
export const demandPromised = (sequence: bigint, promised: SignedReceipt, wei: bigint): SettlementCall =>
  build('demandPromised', [sequence, promised], wei);

/** Answers a demand, and earns its fee; anybody may. */
export const answer = (entry: Opening): SettlementCall => build('answer', [entry]);

/** Sends an account what it is owed; anybody may call it. */
export const payOut = (account: Hex): SettlementCall => build('payOut', [account]);

/** The first block at which others may take a lane because of its oldest forced entry; undefined if none waits. */
export function takeoverFrom({ oldest, beginBlock }: LaneState, { takeoverDelay }: SettlementParameters): bigint | undefined {
  if (oldest === undefined) return undefined;
  // Who took the lane with it in the inbox has as long for it as who let it become overdue.
  return (oldest.deadline > beginBlock ? oldest.deadline : beginBlock) + takeoverDelay + 1n;
}

/** Whether `caller` may take the lane over now: what Settlement.takeOver decides, in its order, with the figures. */
export function planTakeover(state: LaneState, caller: OperatorState, parameters: SettlementParameters): TakeoverPlan {
  const { lane, operator: holder, block } = state;
  const { minBond, penalty } = parameters;
  const refuse = (refusal: Refusal): TakeoverPlan => ({ allowed: false, error: explainRefusal(refusal, parameters) });
  if (caller.exitRequestedAt !== 0n) {
    return refuse({ errorName: 'Leaving', args: [lane, caller.address, caller.exitRequestedAt] });
  }
  if (caller.poster === ZERO_ADDRESS) return refuse({ errorName: 'NotOperator', args: [lane, caller.address] });
  if (caller.bond < minBond) return refuse({ errorName: 'BondTooSmall', args: [minBond, caller.bond] });
  if (!state.running) return { allowed: true, cause: 'vacant', ousted: undefined, taken: 0n, reward: 0n };
  if (holder.address === caller.address) return refuse({ errorName: 'RunsAlready', args: [lane, holder.address] });
  const from = takeoverFrom(state, parameters);
  const overdue = from !== undefined && block >= from;
  if (!overdue && holder.bond >= minBond) {
    const forced =
      from === undefined || state.oldest === undefined
        ? 'no forced entry waits'
        : `its oldest forced entry is due by block ${count(state.oldest.deadline)}, so that others may take the lane from block ${count(from)} on, ${blocks(from - block)} from now`;
    const error = new SettlementError(
      'settlement.no_cause',
      `${holder.address} holds lane ${lane} by right: its bond is ${ether(holder.bond)}, at least ${ether(minBond)} is needed, and ${forced}`,
      `sealpost operator status --lane ${lane}`,
      { facts: { lane, operator: holder.address, block: String(block), from: from === undefined ? null : String(from) } },
    );
    return { allowed: false, error };
  }
  const taken = min(penalty, holder.bond);
  const cause = overdue ? 'overdue' : 'bond';
  return { allowed: true, cause, ousted: holder.address, taken, reward: taken / REWARD_DIVISOR };
}

/** One of the contract's errors, decoded. */
export type Refusal = DistributivePick<DecodeErrorResultReturnType<typeof settlementAbi>, 'errorName' | 'args'>;
type DistributivePick<T, K extends keyof T> = T extends unknown ? Pick<T, K> : never;

/** The contract's error as one sentence with its figures, and what to do about it. */
export function explainRefusal(refusal: Refusal, parameters: SettlementParameters, cause?: unknown): SettlementError {
  const [message, next] = sentence(refusal, parameters);
  const name = refusal.errorName.replace(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
  return new SettlementError(`settlement.${name}`, message, next, { facts: factsOf(refusal), cause });
}

function sentence(refusal: Refusal, { minBond, exitDelay }: SettlementParameters): [string, string] {
  const status = (lane: number) => `sealpost operator status --lane ${lane}`;
  switch (refusal.errorName) {
    case 'ZeroAddress':
      return [
        'a new operator needs a posting account and a receipt signer, and neither is the zero address',
        'sealpost operator register --help',
      ];
    case 'BondTooSmall': {
      const [min, got] = refusal.args;
      const missing = min > got ? min - got : 0n;
      return [
        `a bond of ${ether(got)} holds no lane: at least ${ether(min)} is needed, ${ether(missing)} more`,
        `sealpost operator register --bond ${formatEther(missing)}`,
      ];
    }
    case 'NotOperator': {
      const [lane, got] = refusal.args;
      return [
        `${lowerHex(got)} is no registered operator of lane ${lane}, which takes a bond of at least ${ether(minBond)}`,
        `sealpost operator register --lane ${lane} --bond ${formatEther(minBond)} --poster <address> --signer-key <file>`,
      ];
    }
    case 'Leaving': {
      const [lane, operator, since] = refusal.args;
      const free = since + exitDelay;
      return [
        `${lowerHex(operator)} asked to leave lane ${lane} at block ${count(since)}: it can do nothing there but withdraw its bond, from block ${count(free)} on`,
        `sealpost operator withdraw --lane ${lane}   (from block ${count(free)} on; then it can register again)`,
      ];
    }
    case 'NotLeaving': {
      const [lane, operator] = refusal.args;
      return [
        `${lowerHex(operator)} did not ask to leave lane ${lane}, so that its bond stays`,
        `sealpost operator exit --lane ${lane}   (the bond is free ${blocks(exitDelay)} later)`,
      ];
    }
    case 'TooEarly': {
      const [from, got] = refusal.args;
      return [
        `it is block ${count(got)}, and this can be done from block ${count(from)} on, ${blocks(from - got)} from now`,
        `the same command again, from block ${count(from)} on`,
      ];
    }
    case 'BadRegistration': {
      const [signer, got] = refusal.args;
      return [
        `the registration is not signed by the key of ${lowerHex(signer)}, but by ${got === ZERO_ADDRESS ? 'none' : `that of ${lowerHex(got)}`}: it names this lane, this operator, this contract and this chain`,
        'sealpost operator register --signer-key <file>   (the key file of the receipt signer itself)',
      ];
    }
    case 'NoCause': {
      const [lane, operator] = refusal.args;
      return [
        `${lowerHex(operator)} holds lane ${lane} by right: its bond is at least ${ether(minBond)}, and no forced entry is overdue enough`,
        status(lane),
      ];
    }
    case 'RunsAlready': {
      const [lane, operator] = refusal.args;
      return [`${lowerHex(operator)} runs lane ${lane} already`, status(lane)];
    }
    case 'NoOperator': {
      const [lane] = refusal.args;
      return [`lane ${lane} has no operator: a bonded one may take it over`, `sealpost operator takeover --lane ${lane}`];
    }
    case 'NoWithdrawal': {
      const [lane, sender] = refusal.args;
      return [
        `${lowerHex(sender)} has no withdrawal under way on lane ${lane}`,
        `sealpost postage withdraw <ether> --lane ${lane}`,
      ];
    }
    case 'NothingOwed':
      return [`the contract owes ${lowerHex(refusal.args[0])} nothing`, 'sealpost postage status'];
    case 'PayoutFailed':
      return [
        `${lowerHex(refusal.args[0])} took no money: it is a contract that refuses it, and what it is owed stays`,
        'sealpost postage status',
      ];
    case 'MalformedBundle':
      return [
        `these bytes are no framed bundle of one of the contract's lanes: at byte ${refusal.args[0]} something else was expected`,
        'sealpost send --force --help',
      ];
    case 'BundleTooLong': {
      const [max, got] = refusal.args;
      return [`a forced bundle has at most ${count(max)} bytes, framed, this one has ${count(got)}`, 'sealpost send --resume'];
    }
    case 'BadSignature':
      return [`the bundle is not signed by its sender, ${lowerHex(refusal.args[0])}`, 'sealpost keys show'];
    case 'ExpiresTooSoon': {
      const [min, got] = refusal.args;
      return [
        `the bundle expires at ${got} (unix seconds), and one that is forced must live until ${min} at least`,
        'sealpost send --force --resume   (signs it again with a longer life)',
      ];
    }
    case 'FeeTooSmall': {
      const [consumer, burned, got] = refusal.args;
      return [
        `forcing costs ${ether(consumer + burned)} by now, ${ether(got)} were sent`,
        'the same command again (it reads the price anew)',
      ];
    }
    case 'NotReceiptSigner': {
      const [lane, term, got] = refusal.args;
      return [`${lowerHex(got)} is no account whose receipts bind the operator of term ${term} of lane ${lane}`, status(lane)];
    }
    case 'NotInReceipt':
      return [
        `the receipt does not hold this entry at sequence ${refusal.args[0]}, or begins below its term`,
        'sealpost demand --help',
      ];
    case 'NotInBatch': {
      const [batch, index] = refusal.args;
      return [`batch ${batch} is not committed, or entry ${index} of it is another one`, 'sealpost audit'];
    }
    case 'OtherTerm': {
      const [lane, term] = refusal.args;
      const other = term === 0 ? `lane ${lane}` : `term ${term} of lane ${lane}`;
      return [
        `one of the two is of ${other}, the other is not: evidence is two statements of one lane and, but for a false entry, one term`,
        `sealpost watch --lane ${lane}   (finds what is of one term)`,
      ];
    }
    case 'SameLeaf':
      return [
        `both name the same entry, ${refusal.args[0]}: they agree, and that is no offence`,
        'sealpost watch   (finds what contradicts each other)',
      ];
    case 'EntryIsTrue':
      return [
        `entry ${refusal.args[0]} is as it has to be, or the entry beside it says nothing of it: that is no offence`,
        'sealpost audit   (derives every entry anew)',
      ];
    case 'AlreadyCharged': {
      const [lane, term] = refusal.args;
      return [
        `the whole bond is taken for term ${term} of lane ${lane} already, or the penalty for this entry: nothing more can be charged for it`,
        status(lane),
      ];
    }
    case 'Withheld': {
      const [lane, term, sequence] = refusal.args;
      return [
        `entry ${sequence} of lane ${lane}, term ${term}, was demanded and not opened in time: nobody can cite it any more`,
        status(lane),
      ];
    }
    case 'AlreadyDemanded':
      return [`entry ${refusal.args[0]} is demanded already, or was`, `sealpost answer --sequence ${refusal.args[0]}`];
    case 'NotDemanded':
      return [
        `no demand for entry ${refusal.args[0]} is open: none was made, it was answered, or its time is over`,
        `sealpost demand --sequence ${refusal.args[0]}`,
      ];
    case 'AnswerFeeTooSmall': {
      const [min, got] = refusal.args;
      return [
        `a demand pays whoever answers ${ether(min)} at least by now, ${ether(got)} were sent`,
        'the same command again (it reads the price anew)',
      ];
    }
    case 'NotDue': {
      const [sequence, includeBy] = refusal.args;
      return [
        `entry ${sequence} was promised by block ${count(includeBy)}: it can be demanded by the receipt if that block has passed, its term runs and it is not committed`,
        `sealpost demand --sequence ${sequence} --receipt <file>   (after block ${count(includeBy)})`,
      ];
    }
    case 'NotBroken': {
      const [sequence] = refusal.args;
      return [
        `the promise of entry ${sequence} is not broken: its term runs still, the entry is committed, or it was not due when the term ended`,
        `sealpost demand --sequence ${sequence} --receipt <file>   (while the term runs, once the promise is due)`,
      ];
    }
    case 'NothingToRedeem':
      return [
        'nothing is to be had for this entry: it is void, expired or out of the inbox, all it owes is redeemed, or the deposit is empty',
        'sealpost postage status',
      ];
    case 'UnknownLane': {
      const [laneCount, got] = refusal.args;
      return [`there is no lane ${got}: the contract has lanes 0 to ${laneCount - 1}`, 'sealpost operator status'];
    }
    default:
      return [
        `the contract refused it: ${refusal.errorName}(${Object.values(factsOf(refusal)).join(', ')})`,
        'sealpost operator status',
      ];
  }
}

function factsOf({ errorName, args = [] }: Refusal): Facts {
  const item = settlementAbi.find((one) => one.type === 'error' && one.name === errorName);
  const inputs: readonly { readonly name: string }[] = item !== undefined && 'inputs' in item ? item.inputs : [];
  return Object.fromEntries(
    inputs.map(({ name }, at) => {
      const value: unknown = args[at];
      return [name, typeof value === 'number' ? value : String(value).toLowerCase()];
    }),
  );
}

/** Where nodes put what a call reverted with, as deep as viem and L1 wrap it. */
function revertData(error: unknown): Hex | undefined {
  let at = error as { data?: unknown; cause?: unknown } | undefined;
  for (let depth = 0; depth < 12 && at !== undefined && at !== null; depth++) {
    const { data } = at;
    const found = typeof data === 'object' && data !== null ? (data as { data?: unknown }).data : data;
    if (typeof found === 'string' && /^0x([0-9a-fA-F]{2}){4,}$/.test(found)) return found as Hex;
    at = at.cause as typeof at;
  }
  return undefined;
}

function l1Failure(cause: unknown): L1Error {
  const { shortMessage, details, message } = cause as { shortMessage?: string; details?: string; message?: string };
  return new L1Error('l1.rpc', `the L1 node refused the transaction: ${details || shortMessage || message}`, { cause });
}

function insufficientFunds(account: Hex, balance: bigint, value: bigint, gas?: bigint): SettlementError {
  const needed = gas === undefined ? `${ether(value)} and its gas` : `${ether(value + gas)}, with its gas,`;
  const facts = { account: lowerHex(account), balance: String(balance), value: String(value) };
  return new SettlementError(
    'settlement.funds',
    `${lowerHex(account)} has ${ether(balance)}, and ${needed} are needed`,
    `send ether to ${lowerHex(account)}`,
    { facts },
  );
}

/** `1.5 ETH`. */
export const ether = (wei: bigint): string => `${formatEther(wei)} ETH`;

const min = (a: bigint, b: bigint) => (a < b ? a : b);
const max = (a: bigint, b: bigint) => (a > b ? a : b);

const count = (value: bigint): string => value.toLocaleString('en-US');

const blocks = (value: bigint): string => `${count(value)} block${value === 1n ? '' : 's'}`;

/** The contract, or an account's means, does not allow what was asked. `next` is what to do now. */
export class SettlementError extends SealpostError {
  override readonly name = 'SettlementError';

  constructor(
    code: string,
    message: string,
    readonly next: string,
    details: ErrorDetails = {},
  ) {
    super(code, message, details);
  }
}
