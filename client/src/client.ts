import {
  type BatchHeader,
  decodeBatchHeader,
  formatMessageId,
  type Hex,
  lowerHex,
  MAX_BATCH_FILE_BYTES,
  type Message,
  type MessageId,
  type MessageProof,
  parseMessageId,
  parseUint,
  proofFromJson,
  Reader,
  type Receipt,
  type ReceiptProof,
  receiptProofFromJson,
  topicLane,
  ZERO_HASH,
} from '@sealpost/prover';
import type { Transport } from 'viem';
import { type CallOptions, type Clock, systemClock, withDeadline } from './clock.js';
import { BrokenPromiseError, LocalError, RequestError, SendError } from './errors.js';
import { Http, type Log } from './http.js';
import { L1 } from './l1.js';
import { memoryOutbox, type Outbox } from './outbox.js';
import { memoryReceipts, type ReceiptKeeper } from './receipts.js';
import { checkPlaintext, type EncryptionKeys, inboxTopic, Opener, sealedOverhead, sealMessages } from './seal.js';
import {
  type Accepted,
  type BundleSigner,
  bytesInBody,
  bytesInBundle,
  type Draft,
  fitsBody,
  fitsBundle,
  type Postage,
  Sender,
} from './send.js';
import {
  DEFAULT_STATUS_LIMITS,
  decodeStatus,
  type NetworkState,
  type Observation,
  planStatus,
  type SequencerStatus,
} from './status.js';
import { readTopic, type TopicMessage, type TopicOptions } from './topic.js';
import {
  failedStep,
  isAtLeast,
  type Proof,
  Recoveries,
  type Rung,
  type Verification,
  verifyProof,
  verifySealed,
} from './verify.js';

export interface ClientOptions {
  /** The sequencer's base URL. */
  readonly url: string;
  /** A viem transport to an Ethereum node that is trusted: `http(rpcUrl)`. */
  readonly l1: Transport;
  /** Address of the Settlement contract, from the caller's own knowledge: never the sequencer's word, nor a proof's. */
  readonly settlement: Hex;
  /** Refuse an L1 node of any other chain. */
  readonly chainId?: bigint | number | undefined;
  /** A viem account that signs what is sent. Without it the client only reads. */
  readonly account?: BundleSigner | undefined;
  /** The HPKE key pair that opens what is received: for `inbox()`. */
  readonly keys?: EncryptionKeys | undefined;
  /** Where signed bundles wait for their receipts. In memory unless given. */
  readonly outbox?: Outbox | undefined;
  /** Where the receipts that were given are kept, for a watch to hold the sequencer to them. The newest, in memory, unless given. */
  readonly receipts?: ReceiptKeeper | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly clock?: Clock | undefined;
  /** 0 to 1, for jitter. */
  readonly random?: (() => number) | undefined;
  readonly log?: Log | undefined;
  /** How long a bundle may take from signing to the log. */
  readonly expirySeconds?: number | undefined;
  /** How many messages are signed together at most; a proof has a path of log2 of it. */
  readonly maxMessagesPerBundle?: number | undefined;
  /** Pays for what is sent where that has a price: `payPostage` of `@sealpost/client/postage`. Without it nothing is paid. */
  readonly postage?: Postage | undefined;
}

/**
 * A message to send. With `to`, `text` or `payload` is sealed to that public key and published on its inbox topic; with `topic`,
 * `payload` is published as it is: readable by everybody unless the caller encrypted it.
 */
export type Outbound =
  | { readonly to: Hex; readonly text: string; readonly payload?: undefined; readonly topic?: undefined }
  | { readonly to: Hex; readonly payload: Uint8Array; readonly text?: undefined; readonly topic?: undefined }
  | { readonly topic: Hex; readonly payload: Uint8Array; readonly text?: undefined; readonly to?: undefined };

export interface SendManyOptions extends CallOptions {
  /** Called after every bundle that was accepted. */
  readonly onProgress?: ((progress: SendProgress) => void) | undefined;
  /**
   * Makes the call repeatable: called again with the same name and the same messages, also after a crash, it goes on behind the
   * last message that was accepted or signed. Needs an outbox that outlives the process to be of use.
   */
  readonly job?: string | undefined;
}

export interface SendProgress {
  /** Messages accepted by this call. */
  readonly messages: number;
  readonly bundles: number;
  /** Messages of the job that had been sent before. */
  readonly skipped: number;
}

const SEND_TIMEOUT_MS = 60_000;
const WAIT_TIMEOUT_MS = 300_000;
const FIRST_POLL_MS = 100;
const MAX_POLL_MS = 1_000;
/** A sealed header may be built anew until it is committed: this many proofs in a row may disagree with the slot. */
const MAX_STALE_PROOFS = 5;
const MAX_RECIPIENTS = 1_024;

/** A message in the network, by its name: asks for its proof and waits for its rungs. */
export interface MessageHandle extends MessageId {
  /** `0xsender/lane/nonce`. */
  readonly id: string;
  /** Its proof down to the batch header; `RequestError` `proof.not_sealed` before there is one. Not verified: see `verify`. */
  proof(options?: CallOptions): Promise<MessageProof>;
  /** The most that can be proven of it now. */
  verify(options?: CallOptions): Promise<Verification>;
  /** Resolves once the rung is reached and proven. */
  waitFor(rung: Rung, options?: CallOptions): Promise<Verification>;
}

/** A message that the sequencer has promised a place: its receipt is verified. */
export interface Sent extends MessageHandle {
  readonly bundleHash: Hex;
  readonly sequence: bigint;
  readonly receipt: Receipt;
}

/** Many messages that were sent together. */
export interface SentMany {
  /** How many, without those of the job that had been sent before. */
  readonly count: number;
  /** Messages of the job that had been sent before. */
  readonly skipped: number;
  readonly bundles: readonly SentBundle[];
  /** Names of all, in the order in which they were given. */
  ids(): MessageId[];
  /** Resolves once every bundle has reached the rung, proven by its last message. */
  waitFor(rung: Rung, options?: CallOptions): Promise<void>;
}

/** A bundle of many, with its verified receipt. */
export interface SentBundle extends Accepted {
  /** For message i of the bundle: its position among those given to `sendMany`. */
  readonly inputs: readonly number[];
}

/** A message of one's inbox: verified, opened. */
export interface InboxMessage extends TopicMessage, MessageHandle {
  readonly plaintext: Uint8Array;
  /** The plaintext as UTF-8; undefined if it is none. */
  readonly text: string | undefined;
}

export interface InboxOptions extends TopicOptions {
  /** Another key pair than the client's. */
  readonly keys?: EncryptionKeys | undefined;
}

/** A batch as the sequencer tells of it. */
export interface BatchInfo {
  readonly header: BatchHeader;
  readonly batchHash: Hex;
  readonly cid: string;
  readonly status: Rung;
  readonly transactionHash: Hex | null;
  readonly blockNumber: bigint | null;
  readonly bytes: number;
  readonly messages: number;
}

/** What the sequencer tells of one message, without any proof. */
export interface MessageInfo extends MessageId {
  readonly topic: Hex;
  readonly payload: Uint8Array;
  readonly sequence: bigint;
  readonly index: number;
  readonly status: Rung;
  readonly expired: boolean;
  readonly batch: number | null;
}

/**
 * A client of one Sealpost network. The L1 is asked for its chain id, the contract's code and its lane count before anything
 * else: a client that exists talks about the right contract.
 * @throws L1Error l1.wrong_chain, l1.no_contract, l1.foreign_contract, l1.unreachable
 */
export async function createClient(options: ClientOptions, call: CallOptions = {}): Promise<SealpostClient> {
  const { l1: transport, settlement, clock = systemClock } = options;
  const chainId = options.chainId === undefined ? undefined : BigInt(options.chainId);
  const l1 = await L1.connect({ transport, settlement, chainId, clock }, call);
  return new SealpostClient(options, l1);
}

/** What a network can be asked for. Made by `createClient`. */
export class SealpostClient {
  /** The verifier's own view of the L1. */
  readonly l1: L1;
  readonly address: Hex | undefined;
  readonly #options: ClientOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #random: () => number;
  readonly #http: Http;
  readonly #recoveries = new Recoveries();
  /** Of keys that were written to: to derive a topic anew for each message is a tenth of what sealing it costs. */
  readonly #recipients = new Map<Hex, { readonly topic: Hex; readonly overhead: number }>();
  readonly #sender: Sender | undefined;

  /** @internal */
  constructor(options: ClientOptions, l1: L1) {
    const { url, account, outbox = memoryOutbox(), receipts = memoryReceipts() } = options;
    const { clock = systemClock, log = () => {}, random = Math.random } = options;
    this.l1 = l1;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#random = random;
    this.address = account === undefined ? undefined : lowerHex(account.address);
    const fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#http = new Http({ url, fetch, clock, random, log });
    if (account !== undefined) {
      const { expirySeconds = 3_600, postage } = options;
      const own = { http: this.#http, recoveries: this.#recoveries };
      this.#sender = new Sender({ ...own, l1, account, outbox, receipts, clock, random, log, expirySeconds, postage });
    }
  }

  get chainId(): bigint {
    return this.l1.view.chainId;
  }

  get settlement(): Hex {
    return this.l1.view.settlement;
  }

  get laneCount(): number {
    return this.l1.view.laneCount;
  }

  /**
   * Seals and signs one message and resolves with its verified receipt: durable at the sequencer, promised to be committed. If
   * it fails with `facts.pending`, the signed bundle waits in the outbox and goes first at the next call.
   */
  async send(message: Outbound, options: CallOptions = {}): Promise<Sent> {
    const sender = this.#needSender();
    return withDeadline(this.#clock, options, SEND_TIMEOUT_MS, 'send', async ({ signal }) => {
      const { topic } = this.#measure(message);
      // Queued before it is sealed, so that calls are sent in the order in which they were made.
      const sealing = this.#seal([message]);
      const drafts = sealing.then((messages) => [{ messages }]);
      drafts.catch(() => {});
      let sent: Accepted | undefined;
      await sender.deliver(topicLane(topic, this.laneCount), drafts, signal, (accepted, draft) => {
        if (draft === 0) sent = accepted;
      });
      return this.#sent(sent as Accepted);
    });
  }

  /**
   * Sends any number of messages, one signature for many: as few bundles as the limits allow, on as many lanes as the topics
   * name. Takes messages from the iterable no faster than they are accepted. If it fails, some may have been sent: what is in
   * the outbox is sent before anything else, and with `job` the same call goes on where it stopped.
   */
  async sendMany(messages: Iterable<Outbound> | AsyncIterable<Outbound>, options: SendManyOptions = {}): Promise<SentMany> {
    const sender = this.#needSender();
    return withDeadline(this.#clock, options, Number.POSITIVE_INFINITY, 'sendMany', async ({ signal }) => {
      const stop = new AbortController();
      const onAbort = () => stop.abort(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      const progress = { messages: 0, bundles: 0, skipped: 0 };
      const bundles: SentBundle[] = [];
      const lanes = new Map<number, LaneOfMany>();
      const { job } = options;
      const openLane = async (lane: number): Promise<LaneOfMany> => {
        let skip = 0;
        if (job !== undefined) {
          await sender.turn(lane, stop.signal, async (turn) => {
            // What is signed counts as done, so it is seen through also if nothing is left to send.
            await turn.run([], () => {});
            skip = await turn.jobDone(job);
          });
        }
        const one: LaneOfMany = {
          waiting: [],
          bytes: 0,
          group: [],
          groupBytes: 0,
          skip,
          done: skip,
          underway: Promise.resolve(),
        };
        lanes.set(lane, one);
        return one;
      };
      // A lane's turn is taken for each body anew and never held while another is waited for, be it a lane or the input: whoever
      // sends on the same lanes in another order gets a turn in between.
      const submit = async (lane: number, one: LaneOfMany) => {
        const { group } = one;
        one.group = [];
        one.groupBytes = 0;
        // The next body is sealed while this one is on its way, and no more than the next.
        await one.underway;
        stop.signal.throwIfAborted();
        one.underway = sender.turn(lane, stop.signal, async (turn) => {
          const left = job === undefined ? group : notDoneYet(group, job, await turn.jobDone(job));
          for (const { inputs } of group.slice(0, group.length - left.length)) progress.skipped += inputs.length;
          await turn.run(left, (accepted, draft) => {
            const inputs = draft === undefined ? undefined : left[draft]?.inputs;
            if (inputs === undefined) return;
            bundles.push({ ...accepted, inputs });
            progress.messages += accepted.count;
            progress.bundles++;
            options.onProgress?.({ ...progress });
          });
        });
        one.underway.catch((error) => stop.abort(error));
      };
      const flush = async (lane: number, one: LaneOfMany) => {
        const { waiting, bytes } = one;
        one.waiting = [];
        one.bytes = 0;
        one.done += waiting.length;
        const { done } = one;
        if (one.group.length > 0 && !fitsBody(one.group.length, one.groupBytes, bytes)) await submit(lane, one);
        const messages = await this.#seal(waiting.map(({ message }) => message));
        one.group.push({
          messages,
          inputs: waiting.map(({ input }) => input),
          job: job === undefined ? undefined : { name: job, done },
        });
        one.groupBytes += bytesInBody(bytes);
      };
      try {
        let input = 0;
        for await (const message of messages) {
          stop.signal.throwIfAborted();
          const { topic, payloadBytes } = this.#measure(message);
          const lane = topicLane(topic, this.laneCount);
          const one = lanes.get(lane) ?? (await openLane(lane));
          if (one.skip > 0) {
            one.skip--;
            progress.skipped++;
            input++;
            continue;
          }
          const max = this.#options.maxMessagesPerBundle ?? 1_024;
          if (!fitsBundle(one.waiting.length, one.bytes, payloadBytes, max)) await flush(lane, one);
          one.waiting.push({ message, input: input++ });
          one.bytes += bytesInBundle(payloadBytes);
        }
        for (const [lane, one] of lanes) {
          if (one.waiting.length > 0) await flush(lane, one);
          if (one.group.length > 0) await submit(lane, one);
        }
        await Promise.all([...lanes.values()].map(({ underway }) => underway));
      } catch (error) {
        // Whatever ended it first: the others only hear of that.
        const reason = stop.signal.aborted ? stop.signal.reason : error;
        stop.abort(reason);
        await Promise.allSettled([...lanes.values()].map(({ underway }) => underway));
        throw reason;
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
      return this.#sentMany(bundles, progress.skipped);
    });
  }

  /** Submits what an earlier call or process signed and left in the outbox. Every send does this first, too. */
  async resume(options: CallOptions & { lane?: number } = {}): Promise<Accepted[]> {
    const sender = this.#needSender();
    const lanes = options.lane === undefined ? Array.from({ length: this.laneCount }, (_, lane) => lane) : [options.lane];
    return withDeadline(this.#clock, options, SEND_TIMEOUT_MS, 'resume', async ({ signal }) => {
      const all: Accepted[] = [];
      for (const lane of lanes) await sender.deliver(lane, [], signal, (accepted) => all.push(accepted));
      return all;
    });
  }

  /** One's own messages, verified and opened: the past, then (unless `follow` is false) whatever comes. */
  async *inbox(options: InboxOptions = {}): AsyncGenerator<InboxMessage> {
    const keys = options.keys ?? this.#options.keys;
    if (keys === undefined) {
      throw new LocalError(
        'key.missing',
        'inbox() opens messages with an encryption key pair, which an account does not have: pass createClient ' +
          '`keys: await generateEncryptionKeys()` (or all of `...await createIdentity()`), keep it, and give keys.publicKey to ' +
          'whoever shall send to you',
      );
    }
    const opener = new Opener(keys, this.l1.view);
    for await (const message of this.topic(opener.topic, options)) {
      let plaintext: Uint8Array;
      try {
        plaintext = await opener.open(message);
      } catch (error) {
        // Anybody may publish anything on a topic: what was not sealed to us is not ours.
        this.#log('inbox.unreadable', { id: formatMessageId(message), message: (error as Error).message });
        continue;
      }
      yield { ...message, plaintext, text: decodeText(plaintext) };
    }
  }

  /** Any topic's messages, verified, in order. */
  async *topic(topic: Hex, options: TopicOptions = {}): AsyncGenerator<TopicMessage & MessageHandle> {
    const source = { http: this.#http, l1: this.l1, clock: this.#clock, random: this.#random, log: this.#log };
    for await (const message of readTopic({ ...source, recoveries: this.#recoveries }, topic, options)) {
      yield { ...message, ...this.message(message) };
    }
  }

  /**
   * A message by its name, for its proof and its rungs.
   * @throws value.malformed
   */
  message(id: string | MessageId): MessageHandle {
    const name = typeof id === 'string' ? parseMessageId(id) : { sender: lowerHex(id.sender), lane: id.lane, nonce: id.nonce };
    return {
      ...name,
      id: formatMessageId(name),
      proof: (options) => this.proof(name, options),
      verify: (options) => this.verifyMessage(name, options),
      waitFor: (rung, options) => this.waitFor(name, rung, options),
    };
  }

  /** What the sequencer tells of a message. Nothing is verified. */
  async messageInfo(id: string | MessageId, options: CallOptions = {}): Promise<MessageInfo> {
    const value = await this.#http.getJson(pathOf(this.message(id)), options);
    const json = new Reader(value, 'value.malformed', 'message');
    const { status, expired, batch } = value as { status?: Rung; expired?: boolean; batch?: number | null };
    return {
      sender: json.field('sender').hex(20),
      lane: json.field('lane').number(0xffff),
      nonce: json.field('nonce').uint(64),
      topic: json.field('topic').hex(32),
      payload: json.field('payload').base64(),
      sequence: json.field('sequence').uint(64),
      index: json.field('index').number(0xffff_ffff),
      status: status ?? 'accepted',
      expired: expired === true,
      batch: batch ?? null,
    };
  }

  /** A message's proof down to its batch header, as the sequencer gives it: `verify` judges it. */
  async proof(id: string | MessageId, options: CallOptions = {}): Promise<MessageProof> {
    return proofFromJson(await this.#http.getJson(`${pathOf(this.message(id))}/proof`, options));
  }

  /** A message's proof down to its receipt: there from the moment it is accepted. */
  async receiptProof(id: string | MessageId, options: CallOptions = {}): Promise<ReceiptProof> {
    const query = { anchor: 'receipt' };
    return receiptProofFromJson(await this.#http.getJson(`${pathOf(this.message(id))}/proof`, { ...options, query }));
  }

  /**
   * Checks a proof against the L1; the sequencer is not asked.
   * @throws ProtocolError `proof.invalid` with `step`; L1Error if the L1 could not be asked
   */
  verify(proof: Proof, options: CallOptions = {}): Promise<Verification> {
    return verifyProof(proof, this.l1, { ...options, recoveries: this.#recoveries });
  }

  /** The most that can be proven of a message now, from its receipt to finality. */
  async verifyMessage(id: string | MessageId, options: CallOptions = {}): Promise<Verification> {
    return withDeadline(this.#clock, options, WAIT_TIMEOUT_MS, 'verify', async ({ signal }) => {
      const name = this.message(id);
      for (let stale = 0; ; ) {
        const found = await this.#look(name, signal);
        if (found.verification !== undefined) return found.verification;
        if (found.stale !== undefined && ++stale > MAX_STALE_PROOFS) throw found.stale;
        if (found.stale === undefined) return this.#verifyReceipt(name, signal);
      }
    });
  }

  /**
   * Resolves once a message has reached a rung, with what was proven: for `committed` and above, against the L1's slot.
   * @throws BrokenPromiseError if the L1 passed the promised block without it
   */
  async waitFor(id: string | MessageId, rung: Rung, options: CallOptions = {}): Promise<Verification> {
    return withDeadline(this.#clock, options, WAIT_TIMEOUT_MS, `waiting for ${rung}`, async ({ signal }) => {
      const name = this.message(id);
      const promised = await this.#verifyReceipt(name, signal);
      if (rung === 'accepted') return promised;
      let pollMs = FIRST_POLL_MS;
      for (let stale = 0; ; ) {
        const { verification, stale: error, retryAfterMs = 0 } = await this.#look(name, signal);
        if (verification !== undefined && isAtLeast(verification.rung, rung)) return verification;
        if (error !== undefined && ++stale > MAX_STALE_PROOFS) throw error;
        if (error === undefined) stale = 0;
        if (verification === undefined || verification.rung === 'sealed') await this.#checkPromise(promised, signal);
        // Retry-After has whole seconds, a batch is often there sooner: asked again at our own pace below that.
        await this.#clock.sleep(Math.min(pollMs, Math.max(retryAfterMs, FIRST_POLL_MS)), signal);
        pollMs = Math.min(MAX_POLL_MS, pollMs * 1.5);
      }
    });
  }

  /** What the contract says of a proof, all of it checked on chain. */
  isIncluded(proof: MessageProof, options: CallOptions = {}): Promise<boolean> {
    return this.l1.isIncluded(proof, options);
  }

  /** An account's next nonce on a lane, as the sequencer tells it. */
  async account(address: Hex | undefined = this.address, options: CallOptions & { lane?: number } = {}): Promise<AccountInfo> {
    if (address === undefined) throw new SendError('send.no_account', 'this client has no account: name one');
    const { lane = 0, ...call } = options;
    const json = await this.#http.getJson(`v1/accounts/${lowerHex(address)}`, { ...call, query: { lane } });
    return { address: lowerHex(address), lane, nonce: parseUint((json as { nonce?: unknown } | null)?.nonce, 64) };
  }

  /** What the sequencer says about itself. Nothing is verified. */
  async status(options: CallOptions = {}): Promise<SequencerStatus> {
    return decodeStatus(await this.#http.getJson('v1/status', options));
  }

  /** The network's state whenever it changes, until aborted: `connecting`, `live`, `behind`, `l1-lagging`. */
  async *statusStream(
    options: { signal?: AbortSignal; intervalMs?: number; maxL1AgeMs?: number; maxCommitDelayMs?: number } = {},
  ): AsyncGenerator<NetworkState> {
    const { intervalMs = 2_000, signal } = options;
    const limits = {
      maxL1AgeMs: options.maxL1AgeMs ?? DEFAULT_STATUS_LIMITS.maxL1AgeMs,
      maxCommitDelayMs: options.maxCommitDelayMs ?? DEFAULT_STATUS_LIMITS.maxCommitDelayMs,
    };
    let seen: Observation[] = [];
    let state: NetworkState = 'connecting';
    yield state;
    for (;;) {
      const call = { signal, timeoutMs: Math.max(1_000, intervalMs) };
      const missing = () => {
        signal?.throwIfAborted();
        return undefined;
      };
      const [sequencer, block] = await Promise.all([
        this.status(call).catch(missing),
        this.l1.block('latest', call).catch(missing),
      ]);
      const at = this.#clock.now();
      const kept = seen.findLastIndex((one) => at - one.at >= limits.maxCommitDelayMs);
      seen = [...seen.slice(Math.max(0, kept)), { at, sequencer, l1Timestamp: block?.timestamp }];
      const next = planStatus(seen, limits);
      if (next !== state) yield next;
      state = next;
      await this.#clock.sleep(intervalMs, signal);
    }
  }

  /** Batches of a lane, newest first, below `before`. */
  async batches(
    options: CallOptions & { lane?: number; before?: bigint | undefined; limit?: number | undefined } = {},
  ): Promise<{ batches: BatchInfo[]; next: bigint | undefined }> {
    const { lane = 0, before, limit, ...call } = options;
    const value = await this.#http.getJson('v1/batches', { ...call, query: { lane, before, limit } });
    const { next } = value as { next?: unknown };
    const json = new Reader(value, 'value.malformed', 'batches').field('batches');
    const batches = json.items(1_000).map((_, index) => decodeBatch((value as { batches: unknown[] }).batches[index]));
    return { batches, next: next === null || next === undefined ? undefined : parseUint(String(next), 64) };
  }

  async batch(lane: number, number: bigint, options: CallOptions = {}): Promise<BatchInfo> {
    return decodeBatch(await this.#http.getJson(`v1/batches/${lane}/${number}`, options));
  }

  /** A batch file's bytes: `auditLog` is what checks them. */
  batchFile(lane: number, number: bigint, options: CallOptions = {}): Promise<Uint8Array> {
    return this.#http.getBytes(`v1/batches/${lane}/${number}/data`, MAX_BATCH_FILE_BYTES, { timeoutMs: 120_000, ...options });
  }

  #needSender(): Sender {
    if (this.#sender === undefined) throw new SendError('send.no_account', 'this client has no account: it only reads');
    return this.#sender;
  }

  /** Where a message goes and how many bytes its payload has, before it is sealed. */
  #measure(message: Outbound): { topic: Hex; payloadBytes: number } {
    if (message.to === undefined) return { topic: lowerHex(message.topic), payloadBytes: message.payload.length };
    const { to } = message;
    let recipient = this.#recipients.get(to);
    if (recipient === undefined) {
      if (this.#recipients.size === MAX_RECIPIENTS) this.#recipients.clear();
      recipient = { topic: inboxTopic(to), overhead: sealedOverhead(to) };
      this.#recipients.set(to, recipient);
    }
    const { topic, overhead } = recipient;
    const bytes = message.payload?.length ?? utf8Bytes(message.text as string);
    checkPlaintext(bytes, overhead);
    return { topic, payloadBytes: bytes + overhead };
  }

  /** The messages of one bundle, sealed where they have a recipient. */
  async #seal(messages: readonly Outbound[]): Promise<Message[]> {
    const unsealed = messages.flatMap((message, index) =>
      message.to === undefined
        ? []
        : [{ to: message.to, plaintext: message.payload ?? new TextEncoder().encode(message.text as string), index }],
    );
    const sealed = await sealMessages(this.l1.view, this.address as Hex, unsealed);
    let at = 0;
    return messages.map((message) =>
      message.to === undefined ? { topic: lowerHex(message.topic), payload: message.payload } : (sealed[at++] as Message),
    );
  }

  #sent(accepted: Accepted): Sent {
    const { lane, nonce, bundleHash, receipt } = accepted;
    const handle = this.message({ sender: this.address as Hex, lane, nonce });
    return { ...handle, bundleHash, sequence: receipt.sequence, receipt };
  }

  #sentMany(bundles: readonly SentBundle[], skipped: number): SentMany {
    const sender = this.address as Hex;
    return {
      count: bundles.reduce((sum, { count }) => sum + count, 0),
      skipped,
      bundles,
      ids: () =>
        bundles
          .flatMap(({ inputs, lane, nonce }) =>
            inputs.map((input, at) => ({ input, id: { sender, lane, nonce: nonce + BigInt(at) } })),
          )
          .sort((a, b) => a.input - b.input)
          .map(({ id }) => id),
      waitFor: async (rung, options = {}) => {
        await withDeadline(this.#clock, options, WAIT_TIMEOUT_MS, `waiting for ${rung}`, async ({ signal }) => {
          // In order: when the last bundle of a lane is there, the others usually are, and each is asked only once.
          for (const { lane, nonce, count } of bundles) {
            await this.waitFor({ sender, lane, nonce: nonce + BigInt(count - 1) }, rung, {
              signal,
              timeoutMs: Number.POSITIVE_INFINITY,
            });
          }
        });
      },
    };
  }

  async #verifyReceipt(name: MessageId, signal: AbortSignal): Promise<Verification> {
    const verification = await this.verify(await this.receiptProof(name, { signal }), { signal });
    return sameMessage(verification, name);
  }

  /** One look at a message's proof and the L1. `stale` is set if the L1 holds another batch than the proof names. */
  async #look(
    name: MessageId,
    signal: AbortSignal,
  ): Promise<{ verification?: Verification; stale?: unknown; retryAfterMs?: number | undefined }> {
    let proof: MessageProof;
    try {
      proof = await this.proof(name, { signal });
    } catch (error) {
      if (error instanceof RequestError && error.code === 'proof.not_sealed') return { retryAfterMs: error.retryAfterMs };
      throw error;
    }
    const { committed } = await this.l1.slot(proof.header.lane, proof.header.number, { signal });
    if (committed === ZERO_HASH) return { verification: sameMessage(verifySealed(proof, this.l1, this.#recoveries), name) };
    try {
      return { verification: sameMessage(await this.verify(proof, { signal }), name) };
    } catch (error) {
      if (failedStep(error) !== 'slot') throw error;
      return { stale: error };
    }
  }

  /** Compared with the slot once more: the block may have brought the batch. */
  async #checkPromise(promised: Verification, signal: AbortSignal): Promise<void> {
    const { includeBy } = promised;
    const block = await this.l1.block('latest', { signal });
    if (includeBy === undefined || block === undefined || block.number <= includeBy) return;
    const head = await this.l1.head(promised.lane, { signal });
    if (head.nextSequence > promised.sequence) return;
    throw new BrokenPromiseError({
      lane: promised.lane,
      sequence: String(promised.sequence),
      includeBy: String(includeBy),
      latestBlock: String(block.number),
      bundleHash: promised.bundleHash,
    });
  }
}

export interface AccountInfo {
  readonly address: Hex;
  readonly lane: number;
  readonly nonce: bigint;
}

/** What `sendMany` keeps of a lane. */
interface LaneOfMany {
  /** Of the bundle that is being filled. */
  waiting: { message: Outbound; input: number }[];
  bytes: number;
  /** Of the body that is being filled. */
  group: DraftOfMany[];
  groupBytes: number;
  /** Messages of the job still to be passed over. */
  skip: number;
  /** Messages of the job signed so far, or about to be. */
  done: number;
  /** The body on its way. */
  underway: Promise<void>;
}

interface DraftOfMany extends Draft {
  readonly inputs: readonly number[];
}

/**
 * The drafts that a job still lacks: between two turns of this call another one may have gone on with the same job. Bundles are
 * cut alike from the same messages; where they are not, going on would send some twice.
 */
function notDoneYet(group: readonly DraftOfMany[], job: string, done: number): readonly DraftOfMany[] {
  const left = group.filter((draft) => (draft.job?.done ?? 0) > done);
  const [first] = left;
  if (first === undefined || (first.job?.done ?? 0) - first.messages.length === done) return left;
  throw new LocalError('outbox.busy', `somebody else sends the job '${job}' at the same time: ${done} of its messages are sent`);
}

const pathOf = ({ sender, lane, nonce }: MessageId): string => `v1/messages/${lowerHex(sender)}/${lane}/${nonce}`;

/** A proof that holds, of another message: true, and not what was asked for. */
function sameMessage(verification: Verification, name: MessageId): Verification {
  const { sender, lane, nonce } = verification;
  if (sender !== lowerHex(name.sender) || lane !== name.lane || nonce !== name.nonce) {
    throw new RequestError(
      'network.bad_answer',
      `asked for ${formatMessageId(name)}, got the proof of ${formatMessageId(verification)}`,
    );
  }
  return verification;
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The length of a text's UTF-8 without encoding it. */
function utf8Bytes(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0) as number;
    // A lone surrogate is encoded as U+FFFD: three bytes, too.
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
  }
  return bytes;
}

function decodeBatch(value: unknown): BatchInfo {
  const json = new Reader(value, 'value.malformed', 'batch');
  const { cid, status, transactionHash, blockNumber } = value as Record<string, unknown>;
  return {
    header: decodeBatchHeader((value as { header?: unknown }).header),
    batchHash: json.field('batchHash').hex(32),
    cid: String(cid),
    status: status as Rung,
    transactionHash: transactionHash === null ? null : json.field('transactionHash').hex(32),
    blockNumber: blockNumber === null ? null : json.field('blockNumber').uint(64),
    bytes: json.field('bytes').number(Number.MAX_SAFE_INTEGER),
    messages: json.field('messages').number(Number.MAX_SAFE_INTEGER),
  };
}
