import { settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  batchHash,
  buildBundleProof,
  dataHash,
  encodeBundle,
  frameBundle,
  fromHex,
  type Hex,
  lowerHex,
  type Message,
  type MessageProof,
  ProtocolError,
  type Receipt,
  readBundle,
  readCheckedHead,
  topicLane,
  viewTree,
} from '@sealpost/prover';
import { decodeEventLog, decodeFunctionData, type LocalAccount, toEventSelector } from 'viem';
import type { Outbound, SealpostClient } from './client.js';
import { type CallOptions, type Clock, systemClock, withDeadline } from './clock.js';
import { L1Error, RequestError, SealpostError, SendError } from './errors.js';
import { type L1Block, word } from './l1.js';
import { logsOf } from './logs.js';
import { committedBatch, committedBatches, latestEntryOf } from './openings.js';
import type { Outbox, OutboxLane, OutboxRecord } from './outbox.js';
import { sealMessages } from './seal.js';
import { isTwin, type Outgoing, outgoing, signBundle } from './send.js';
import { type ForcedFee, forceInclude, type Sent, type Settlement, SettlementError } from './settlement.js';
import { failedStep, isAtLeast, Recoveries, type Rung, type Verification } from './verify.js';

/** Inbox.MAX_FRAMED_BYTES (PROTOCOL.md §8). */
export const MAX_FORCED_BYTES = 98_304;
/**
 * How much longer than the contract asks a forced bundle lives: a week. A lane that is taken over because of the entry gets a
 * sequencer within that, and a bundle that expired in the queue would be paid for in vain.
 */
const SPARE_LIFE_SECONDS = 604_800n;
const ENQUEUE_TIMEOUT_MS = 180_000;
const PLACE_TIMEOUT_MS = 300_000;
const POLL_MS = 500;
/** As deep as reorgs are thought of (PROTOCOL.md §8). */
const REORG_BLOCKS = 128n;
/** The sequencer that is to be got round may hang. */
const ASK_TIMEOUT_MS = 5_000;

const BUNDLE_FORCED = /* @__PURE__ */ toEventSelector('BundleForced(uint16,uint64,address,bytes32,uint64,bytes)');

/** Who forces, by what. */
export interface ForcedSender {
  /** Reads, and tells the nonce as far as its sequencer answers. */
  readonly client: SealpostClient;
  readonly settlement: Settlement;
  /** Signs the bundle, and pays for it. */
  readonly account: LocalAccount;
  /** The one that the client sends by. */
  readonly outbox: Outbox;
  readonly clock?: Clock | undefined;
}

/** A bundle in a lane's inbox, as the contract's log tells of it. */
export interface InboxEntry {
  readonly lane: number;
  /** Its place in the inbox, from 0. */
  readonly index: bigint;
  readonly sender: Hex;
  readonly bundleHash: Hex;
  /** The last block that may commit without it. */
  readonly deadline: bigint;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
  /** Its bytes, without the frame's length. */
  readonly bundle: Uint8Array;
}

/** Where the nonce of a bundle comes from. */
export type NonceOrigin = 'outbox' | 'sequencer' | 'log' | 'given';

/** What is about to be signed and paid for. */
export interface ForcePlan {
  readonly lane: number;
  /** The nonces of the bundles that go into the inbox, in order: what the outbox had first. */
  readonly nonces: readonly bigint[];
  /** Of these, those whose life is too short: the same messages are signed anew, at the same nonce. */
  readonly renewed: readonly bigint[];
  /** Where the nonce of the new bundle comes from; undefined if nothing new is signed. */
  readonly origin: NonceOrigin | undefined;
  /** Of one bundle. */
  readonly fee: ForcedFee;
  /** Blocks that the sequencer has for it. */
  readonly forcedDelay: bigint;
}

export interface ForceOptions extends CallOptions {
  /** As of `sendMany`: called again with the same name, also after a crash, it goes on with the bundle that was signed. */
  readonly job?: string | undefined;
  /** The nonce, where neither outbox, sequencer nor log tells it. */
  readonly nonce?: bigint | undefined;
  /** Asked before anything is signed or paid. Throw to stop. */
  readonly approve?: ((plan: ForcePlan) => void | Promise<void>) | undefined;
  /** Told each transaction's hash before anybody else has the transaction. */
  readonly onSigned?: ((transactionHash: Hex) => void) | undefined;
}

/** A bundle of the account's that is in the inbox. */
export interface Forced {
  readonly lane: number;
  readonly nonce: bigint;
  readonly count: number;
  readonly bundleHash: Hex;
  /** Its bytes. */
  readonly bundle: Uint8Array;
  /** Undefined if the log had it before it was forced: nothing was paid. */
  readonly entry: InboxEntry | undefined;
  /** Its transaction; undefined if it was in the inbox before. */
  readonly sent: Sent | undefined;
}

/** A forced bundle that has its place in the log. */
export interface Placed {
  /** Of its first message. */
  readonly verification: Verification;
  readonly previous: bigint;
  /** The sequencer's promise; undefined where the place was found on the L1. */
  readonly receipt: Receipt | undefined;
  /** Down to the L1, made of the bundle and the commit alone; undefined while there is only the promise. */
  readonly proof: MessageProof | undefined;
}

/** Where a commit put an entry of the inbox. */
export interface InboxPlace {
  readonly header: BatchHeader;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
  readonly index: number;
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly path: readonly Hex[];
}

/**
 * Sends a message through the L1, past a sequencer that does not take it (PROTOCOL.md §8): signed with a long life, kept in the
 * outbox, then put into the contract's inbox. Bundles that the outbox has already go first: their nonces come first. Called again
 * after a crash it finds what is in the inbox, and pays once. Resolves with all of them in order, the message's own last, each
 * to be seen through by `waitForPlace`.
 *
 * A forced entry whose nonce is not the next one when it gets its place is void: it is in the log and says nothing. Only the log
 * knows the next nonce for certain, so `ForcePlan.origin` says whose word it is.
 * @throws SettlementError forced.* and what Settlement.send throws; SendError; L1Error
 */
export async function forceMessage(sender: ForcedSender, message: Outbound, options: ForceOptions = {}): Promise<Forced[]> {
  const { view } = sender.client.l1;
  const sealed = await seal(sender, message);
  return force(sender, topicLane(sealed.topic, view.laneCount), sealed, options);
}

/**
 * The same for what an earlier call or process signed and left in the outbox, on one lane; empty if there is nothing.
 * @throws as forceMessage
 */
export const forcePending = (
  sender: ForcedSender,
  lane: number,
  options: Omit<ForceOptions, 'job' | 'nonce'> = {},
): Promise<Forced[]> => force(sender, lane, undefined, options);

async function seal({ client, account }: ForcedSender, message: Outbound): Promise<Message> {
  if (message.to === undefined) return { topic: lowerHex(message.topic), payload: message.payload };
  const plaintext = message.payload ?? new TextEncoder().encode(message.text);
  const [sealed] = await sealMessages(client.l1.view, lowerHex(account.address), [{ to: message.to, plaintext, index: 0 }]);
  return sealed as Message;
}

/** The outbox is held until everything is in the inbox: nobody signs these nonces or pays for these bundles meanwhile. */
async function force(sender: ForcedSender, lane: number, message: Message | undefined, options: ForceOptions): Promise<Forced[]> {
  const { clock = systemClock } = sender;
  return withDeadline(clock, options, Number.POSITIVE_INFINITY, 'forcing', ({ signal }) =>
    withOutbox(sender, lane, signal, (outbox) => new Forcing(sender, lane, outbox, options, signal).run(message)),
  );
}

async function withOutbox<T>(
  { client, account, outbox }: ForcedSender,
  lane: number,
  signal: AbortSignal,
  work: (lane: OutboxLane) => Promise<T>,
): Promise<T> {
  const { chainId, settlement } = client.l1.view;
  const own = await outbox.open({ chainId, settlement, sender: lowerHex(account.address), lane }, { signal });
  try {
    return await work(own);
  } finally {
    await own.close();
  }
}

/** One turn with the outbox of a lane. */
class Forcing {
  readonly #address: Hex;
  readonly #clock: Clock;

  constructor(
    private readonly sender: ForcedSender,
    private readonly lane: number,
    private readonly outbox: OutboxLane,
    private readonly options: ForceOptions,
    private readonly signal: AbortSignal,
  ) {
    this.#address = lowerHex(sender.account.address);
    this.#clock = sender.clock ?? systemClock;
  }

  async run(message: Message | undefined): Promise<Forced[]> {
    const { settlement } = this.sender;
    const { lane, options, signal } = this;
    const pending = this.outbox.pending.map((record) => outgoing(record));
    const isNew =
      message !== undefined && !pending.some(({ record }) => options.job !== undefined && record.job?.name === options.job);
    // What a process that is gone has sent may be in no block yet, and would be paid for twice.
    if (pending.length > 0) await this.#noneUnderWay();
    const there = await this.#whereTheyAre(pending);
    const left = pending.filter((one) => !there.has(one));
    for (const one of left) checkSize(one.record);
    const block = await this.#latestBlock();
    const minExpiry = block.timestamp + settlement.parameters.minForcedLife + BigInt(Math.ceil(POLL_MS / 1_000));
    const short = left.filter(({ bundle }) => bundle.expiry < minExpiry);
    const next = isNew ? await this.#nextNonce(pending.at(-1)?.record) : undefined;
    if (left.length > 0 || next !== undefined) {
      await options.approve?.({
        lane,
        nonces: [...left.map(({ record }) => record.nonce), ...(next === undefined ? [] : [next.nonce])],
        renewed: short.map(({ record }) => record.nonce),
        origin: next?.origin,
        fee: await settlement.forcedFee(lane, { signal }),
        forcedDelay: settlement.parameters.forcedDelay,
      });
    }
    const forced: Forced[] = [];
    for (const one of pending) {
      const entry = there.get(one);
      if (there.has(one)) forced.push(describe(lane, one, entry ?? undefined));
      else forced.push(await this.#enqueue(short.includes(one) ? await this.#renew(one, block) : one));
    }
    if (message !== undefined && next !== undefined)
      forced.push(await this.#enqueue(await this.#sign(message, next.nonce, block)));
    return forced;
  }

  /** A crash in here leaves the bundle in the outbox and, at most, its transaction on the way: run again, it is looked for. */
  async #enqueue(one: Outgoing): Promise<Forced> {
    const { settlement, account } = this.sender;
    const { value } = await settlement.forcedFee(this.lane, { signal: this.signal });
    const call = { signal: this.signal, ...(this.options.onSigned === undefined ? {} : { onSigned: this.options.onSigned }) };
    const sent = await settlement.send(account, forceInclude(frameBundle(one.record.bundle), value), call);
    const entries = await inboxEntries(settlement, this.lane, this.#address, {
      fromBlock: sent.blockNumber,
      signal: this.signal,
    });
    const entry = entries.findLast(({ bundleHash }) => bundleHash === one.bundleHash);
    if (entry === undefined) {
      throw new L1Error(
        'l1.rpc',
        `the L1 node has no log of the transaction ${sent.transactionHash}: use one that keeps all logs`,
      );
    }
    return { ...describe(this.lane, one, entry), sent };
  }

  async #sign(message: Message, nonce: bigint, block: L1Block): Promise<Outgoing> {
    const { job } = this.options;
    const made = await this.#signBundle([message], nonce, block);
    const record = {
      nonce,
      count: 1,
      bundle: encodeBundle(made.bundle),
      ...(job === undefined ? {} : { job: { name: job, done: 1 } }),
    };
    // From here on the nonce belongs to these bytes, whatever happens: whoever runs next finds them.
    await this.outbox.put(record);
    return outgoing(record, made);
  }

  /** The same messages at the same nonce with a longer life: at most one of the two can ever stand there (see `Sender`). */
  async #renew(one: Outgoing, block: L1Block): Promise<Outgoing> {
    const { nonce } = one.record;
    const made = await this.#signBundle(one.bundle.messages, nonce, block);
    const record = { ...one.record, bundle: encodeBundle(made.bundle) };
    await this.outbox.replace(nonce, record);
    return outgoing(record, made);
  }

  #signBundle(messages: readonly Message[], nonce: bigint, { timestamp }: L1Block) {
    const { client, settlement, account } = this.sender;
    const expiry = timestamp + settlement.parameters.minForcedLife + SPARE_LIFE_SECONDS;
    const head = { lane: this.lane, sender: this.#address, nonce, expiry, postage: 0n };
    return signBundle({ account, l1: client.l1, recoveries: new Recoveries() }, head, messages, this.signal);
  }

  /** Of the bundles that are not to be paid for: their entry of the inbox, or undefined if the log has them by another way. */
  async #whereTheyAre(pending: readonly Outgoing[]): Promise<Map<Outgoing, InboxEntry | undefined>> {
    const there = new Map<Outgoing, InboxEntry | undefined>();
    if (pending.length === 0) return there;
    const entries = await inboxEntries(this.sender.settlement, this.lane, this.#address, { signal: this.signal });
    let answers = true;
    for (const one of pending) {
      const entry = entries.find(({ bundleHash }) => bundleHash === one.bundleHash);
      if (entry !== undefined) {
        there.set(one, entry);
        continue;
      }
      if (!answers) continue;
      try {
        await askSequencer(this.sender, this.lane, one, this.signal);
        there.set(one, undefined);
      } catch (error) {
        this.signal.throwIfAborted();
        if (!(error instanceof RequestError || error instanceof ProtocolError)) throw error;
        answers = error instanceof RequestError && error.status === 404;
      }
    }
    return there;
  }

  /**
   * The nonce that a new bundle gets. The outbox has the account's own receipts, and the sequencer's word counts only upwards
   * from there: another client of the account may have sent.
   * @throws SendError send.nonce_behind; SettlementError forced.nonce_unknown
   */
  async #nextNonce(last: OutboxRecord | undefined): Promise<{ nonce: bigint; origin: NonceOrigin }> {
    const { client, settlement } = this.sender;
    const { lane, signal } = this;
    if (this.options.nonce !== undefined) return { nonce: this.options.nonce, origin: 'given' };
    if (last !== undefined) return { nonce: last.nonce + BigInt(last.count), origin: 'outbox' };
    const known = this.outbox.head?.next;
    let silence: RequestError;
    try {
      const { nonce } = await client.account(this.#address, { lane, signal, timeoutMs: ASK_TIMEOUT_MS });
      if (known !== undefined && nonce < known) throw nonceBehind(lane, nonce, known);
      return { nonce, origin: 'sequencer' };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RequestError)) throw error;
      silence = error;
    }
    if (known !== undefined) return { nonce: known, origin: 'outbox' };
    try {
      const batchFile = async (number: bigint) => {
        // Who is not there has no files either.
        if (isUnreachable(silence)) throw silence;
        return client.batchFile(lane, number, { signal });
      };
      return { nonce: await nonceOfLog(settlement, lane, this.#address, batchFile, { signal }), origin: 'log' };
    } catch (cause) {
      signal.throwIfAborted();
      if (!(cause instanceof RequestError || cause instanceof ProtocolError)) throw cause;
      throw new SettlementError(
        'forced.nonce_unknown',
        `nobody tells the next nonce of ${this.#address} on lane ${lane}: this outbox has no receipt of it, the sequencer does not answer, and its batch files cannot be had (${cause.message})`,
        'sealpost send --force --nonce <the next one>   (0 if this account never sent; or --url of a mirror that has the batch files)',
        { facts: { lane, sender: this.#address }, cause },
      );
    }
  }

  /** Resolves once no transaction of the account's is on its way. */
  async #noneUnderWay(): Promise<void> {
    const { l1 } = this.sender.settlement;
    await withDeadline(this.#clock, { signal: this.signal }, ENQUEUE_TIMEOUT_MS, 'earlier transactions', async ({ signal }) => {
      for (;;) {
        const count = (tag: string) => l1.request('eth_getTransactionCount', [this.#address, tag], { signal });
        const [mined, all] = await Promise.all([count('latest'), count('pending')]);
        if (BigInt(all as Hex) <= BigInt(mined as Hex)) return;
        await this.#clock.sleep(POLL_MS, signal);
      }
    });
  }

  async #latestBlock(): Promise<L1Block> {
    const block = await this.sender.settlement.l1.block('latest', { signal: this.signal });
    if (block === undefined) throw new L1Error('l1.rpc', 'the L1 node has no newest block');
    return block;
  }
}

const isUnreachable = (error: RequestError): boolean =>
  error.code === 'network.unreachable' || (error.cause instanceof RequestError && isUnreachable(error.cause));

const describe = (lane: number, { record, bundleHash }: Outgoing, entry: InboxEntry | undefined): Forced => ({
  lane,
  nonce: record.nonce,
  count: record.count,
  bundleHash,
  bundle: record.bundle,
  entry,
  sent: undefined,
});

function checkSize({ nonce, bundle }: OutboxRecord): void {
  const bytes = 4 + bundle.length;
  if (bytes <= MAX_FORCED_BYTES) return;
  throw new SettlementError(
    'forced.too_large',
    `the bundle of nonce ${nonce} has ${bytes} bytes, framed, and one that is forced at most ${MAX_FORCED_BYTES}: it and what comes after it go through the sequencer only`,
    'sealpost send --resume',
    { facts: { nonce: String(nonce), bytes, maxBytes: MAX_FORCED_BYTES } },
  );
}

const nonceBehind = (lane: number, told: bigint, known: bigint) =>
  new SendError(
    'send.nonce_behind',
    `the sequencer's next nonce of this account is ${told}, but it gave receipts up to ${known}: it lost what it promised, or lies`,
    { facts: { lane, expected: String(told), nonce: String(known), pending: false } },
  );

/** A sender's bundles in a lane's inbox, consumed or not, in order, from a block on. */
export async function inboxEntries(
  { l1 }: Settlement,
  lane: number,
  sender: Hex,
  { fromBlock = 0n, ...call }: CallOptions & { fromBlock?: bigint } = {},
): Promise<InboxEntry[]> {
  const latest = await l1.block('latest', call);
  const entries: InboxEntry[] = [];
  const topics = [BUNDLE_FORCED, word(lane), null, word(BigInt(sender))];
  for await (const log of logsOf(l1, topics, { fromBlock, toBlock: latest?.number ?? fromBlock, ...call })) {
    const { args } = decodeEventLog({ abi: settlementAbi, eventName: 'BundleForced', data: log.data, topics: log.topics });
    const { index, bundleHash, deadline, framed } = args;
    const { blockNumber, transactionHash } = log;
    const bundle = fromHex(framed).subarray(4);
    entries.push({ lane, index, sender: lowerHex(sender), bundleHash, deadline, blockNumber, transactionHash, bundle });
  }
  return entries;
}

/**
 * Where a commit put an entry of the inbox, read from the commit's own call, in which the contract checked it; undefined while
 * the entry waits.
 * @throws SettlementError forced.unreadable if the contract was called through another one
 */
export async function inboxPlace(
  settlement: Settlement,
  { lane, index, blockNumber: since }: InboxEntry,
  call: CallOptions = {},
): Promise<InboxPlace | undefined> {
  const { l1 } = settlement;
  for await (const { header, blockNumber, transactionHash } of committedBatches(l1, lane, { fromBlock: since, ...call })) {
    if (header.inboxCount <= index) continue;
    const transaction = (await l1.request('eth_getTransactionByHash', [transactionHash], call)) as { input: Hex } | null;
    if (transaction === null) return undefined;
    const place = placeIn(transaction.input, header, index);
    if (place !== undefined) return { header, blockNumber, transactionHash, ...place };
    throw new SettlementError(
      'forced.unreadable',
      `batch ${header.number} of lane ${lane} has entry ${index} of the inbox, but the commit ${transactionHash} was made through another contract, so that the place cannot be read from it`,
      'sealpost proof <id>   (asks the sequencer)',
    );
  }
  return undefined;
}

/** Of the entries that a commit consumes, in the order of the inbox, the one with this index. */
function placeIn(input: Hex, { number, inboxCount }: BatchHeader, index: bigint) {
  const [headers, entries] = commitOf(input);
  const after = headers.at(-1)?.inboxCount ?? inboxCount;
  const entry = entries[Number(index - (after - BigInt(entries.length)))];
  if (entry === undefined || headers[entry.header]?.number !== number) return undefined;
  return { index: entry.index, void: entry.void as 0 | 1, previous: entry.previous, path: entry.path };
}

function commitOf(input: Hex) {
  try {
    const { functionName, args } = decodeFunctionData({ abi: settlementAbi, data: input });
    if (functionName === 'commit') return args;
  } catch {
    // Of another contract.
  }
  return [[], []] as const;
}

/**
 * The next nonce that the log gives an account, from the L1 and the lane's batch files, newest first, then the inbox. What the
 * sequencer has accepted and not committed is not counted.
 * @throws batch.malformed for a file that is not the committed one; what `batchFile` throws
 */
export async function nonceOfLog(
  settlement: Settlement,
  lane: number,
  sender: Hex,
  batchFile: (number: bigint) => Promise<Uint8Array>,
  call: CallOptions = {},
): Promise<bigint> {
  const { l1 } = settlement;
  const [{ number: newest }, inboxCount] = [await l1.head(lane, call), await settlement.inboxCount(lane, call)];
  let next = 0n;
  for (let number = newest; number > 0n; number--) {
    const { header } = await committedBatch(l1, lane, number, call);
    const file = await batchFile(number);
    if (dataHash([file]) !== header.dataHash) {
      throw new ProtocolError(
        'batch.malformed',
        `not the file of batch ${number} of lane ${lane}: its content address is another`,
      );
    }
    const latest = latestEntryOf(sender, file);
    if (latest === undefined) continue;
    next = latest.next;
    break;
  }
  for (const { index, bundle } of await inboxEntries(settlement, lane, sender, call)) {
    const { nonce, count } = readCheckedHead(bundle);
    if (index >= inboxCount && nonce === next) next += BigInt(count);
  }
  return next;
}

/**
 * Waits until a forced bundle has its place, and reached the rung: by the sequencer's receipt, or by the commit on the L1, which
 * needs no answer of the sequencer. The outbox then forgets the bundle.
 * @throws SettlementError forced.void; forced.waiting after the time limit: called again, it goes on
 */
export async function waitForPlace(
  sender: ForcedSender,
  forced: Forced,
  rung: Rung = 'accepted',
  options: CallOptions = {},
): Promise<Placed> {
  const { clock = systemClock, client, account } = sender;
  const { lane, entry } = forced;
  const one = outgoing(forced);
  let lastAnswer: unknown;
  try {
    return await withDeadline(clock, options, PLACE_TIMEOUT_MS, `waiting for ${rung}`, async ({ signal }) => {
      for (;;) {
        let placed = entry === undefined ? undefined : await placeOnL1(sender, one, entry, signal);
        if (placed === undefined && (rung === 'accepted' || entry === undefined)) {
          try {
            placed = await askSequencer(sender, lane, one, signal);
            if (rung !== 'accepted') {
              const id = { sender: lowerHex(account.address), lane, nonce: forced.nonce };
              placed = {
                ...placed,
                verification: await client.waitFor(id, rung, { signal, timeoutMs: Number.POSITIVE_INFINITY }),
              };
            }
          } catch (error) {
            signal.throwIfAborted();
            // Whatever it says: what counts is the L1.
            if (!(error instanceof RequestError || error instanceof ProtocolError) || entry === undefined) throw error;
            lastAnswer = error;
          }
        }
        if (placed !== undefined && isAtLeast(placed.verification.rung, rung)) {
          await forget(sender, lane, forced, placed, signal);
          return placed;
        }
        await clock.sleep(POLL_MS, signal);
      }
    });
  } catch (error) {
    if (options.signal?.aborted || !(error instanceof RequestError) || error.code !== 'timeout' || entry === undefined)
      throw error;
    const said =
      lastAnswer instanceof SealpostError && (lastAnswer as RequestError).status !== 404
        ? ` (it says: ${lastAnswer.message})`
        : '';
    throw new SettlementError(
      'forced.waiting',
      `entry ${entry.index} of the inbox of lane ${lane}, with nonce ${forced.nonce}, is not ${rung} yet${said}: the sequencer has until block ${entry.deadline} to commit it, after that no commit is taken without it`,
      'sealpost send --force --resume   (goes on waiting; what is in the inbox is not paid for again)',
      {
        facts: { lane, nonce: String(forced.nonce), index: String(entry.index), deadline: String(entry.deadline) },
        cause: error,
      },
    );
  }
}

/** The bundle's place by the commit alone; undefined while there is none, or while a reorg is about to move it. */
async function placeOnL1(
  sender: ForcedSender,
  one: Outgoing,
  first: InboxEntry,
  signal: AbortSignal,
): Promise<Placed | undefined> {
  const { client, settlement } = sender;
  const { lane } = first;
  const inboxCount = await settlement.inboxCount(lane, { signal });
  if (inboxCount <= first.index) return undefined;
  // Read anew: a reorg may have given it another index. Whoever else forced the same bytes did so in another entry.
  const fromBlock = first.blockNumber > REORG_BLOCKS ? first.blockNumber - REORG_BLOCKS : 0n;
  const entries = await inboxEntries(settlement, lane, first.sender, { fromBlock, signal });
  let isVoid = false;
  for (const entry of entries.filter(({ bundleHash }) => bundleHash === one.bundleHash)) {
    const place = entry.index < inboxCount ? await inboxPlace(settlement, entry, { signal }) : undefined;
    if (place === undefined) return undefined;
    isVoid ||= place.void === 1;
    if (place.void === 1) continue;
    const proof = proofOf(client, one, place);
    try {
      const verification = await client.verify(proof, { signal });
      return { verification, previous: place.previous, receipt: undefined, proof };
    } catch (error) {
      if (failedStep(error) !== 'slot') throw error;
      return undefined;
    }
  }
  if (!isVoid) return undefined;
  // Void is also what comes twice: then the sequencer has the other entry.
  return askSequencer(sender, lane, one, signal).catch((error) => {
    signal.throwIfAborted();
    throw error instanceof SettlementError ? error : isVoidError(lane, one, 'it has its place and is void');
  });
}

/** The whole proof of the bundle's first message, of which the commit has what the sequencer would be asked for. */
function proofOf(
  client: SealpostClient,
  { record }: Outgoing,
  { header, index, void: isVoid, previous, path }: InboxPlace,
): MessageProof {
  const view = readBundle(record.bundle);
  return {
    void: isVoid,
    previous,
    bundleIndex: index,
    bundlePath: path,
    header,
    batchHash: batchHash(header),
    ...buildBundleProof(client.l1.view, view, viewTree(view), 0),
  };
}

/**
 * The bundle's place as the sequencer promises it.
 * @throws RequestError not_found while it has none; SettlementError forced.void if another bundle stands at the nonce
 */
async function askSequencer(
  { client, account }: ForcedSender,
  lane: number,
  one: Outgoing,
  signal: AbortSignal,
): Promise<Placed> {
  const { nonce } = one.record;
  const call = { signal, timeoutMs: ASK_TIMEOUT_MS };
  const proof = await client.receiptProof({ sender: lowerHex(account.address), lane, nonce }, call);
  const verification = await client.verify(proof, { signal });
  if (verification.sender !== lowerHex(account.address) || verification.lane !== lane || verification.nonce !== nonce) {
    throw new RequestError('network.bad_answer', `asked for nonce ${nonce} of lane ${lane}, got the proof of another message`);
  }
  if (!isTwin(proof.bundle, one)) throw isVoidError(lane, one, 'another bundle of this account stands at its nonce');
  const { receipt } = proof;
  return { verification, previous: receipt.previous, receipt, proof: undefined };
}

const isVoidError = (lane: number, { record: { nonce } }: Outgoing, what: string) =>
  new SettlementError(
    'forced.void',
    `the forced bundle of nonce ${nonce} on lane ${lane} says nothing in the log: ${what}. What it cost is gone; its messages wait in the outbox`,
    'sealpost send --resume   (sends them under the nonce that is next)',
    { facts: { lane, nonce: String(nonce), pending: true } },
  );

/**
 * What has its place needs no outbox. Bundles before it are left to those who see them through: moving the head past them would
 * forget them.
 */
async function forget(
  sender: ForcedSender,
  lane: number,
  { nonce, count }: Forced,
  placed: Placed,
  signal: AbortSignal,
): Promise<void> {
  const term = placed.receipt?.term ?? placed.proof?.header.term;
  const { sequence } = placed.verification;
  await withOutbox(sender, lane, signal, async (outbox) => {
    const [first] = outbox.pending;
    if (first?.nonce !== nonce) return;
    await outbox.accept(nonce, { next: nonce + BigInt(count), ...(term === undefined ? {} : { receipt: { term, sequence } }) });
  });
}
