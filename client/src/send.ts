import {
  type Bundle,
  type BundleFields,
  type BundleHead,
  bundleDigest,
  bundleHash,
  bundleStructHash,
  encodeBundle,
  frameBundle,
  fromHex,
  HEADER_BYTES,
  type Hex,
  headOf,
  join,
  lowerHex,
  MAX_BUNDLE_BYTES,
  MAX_MESSAGES,
  MESSAGE_PREFIX_BYTES,
  type Message,
  messageAt,
  messagesTree,
  ProtocolError,
  parseUint,
  type Receipt,
  readBundle,
  receiptFromJson,
  receiptProofFromJson,
  recoverSigner,
  SIGNATURE_BYTES,
  toHex,
  verifyReceipt,
  viewTree,
} from '@sealpost/prover';
import { abortable, type CallOptions, type Clock } from './clock.js';
import { RequestError, SendError } from './errors.js';
import { type Http, isRetryable, type Log, planRetry, problemError } from './http.js';
import type { L1 } from './l1.js';
import type { Outbox, OutboxLane, OutboxRecord } from './outbox.js';
import type { ReceiptKeeper } from './receipts.js';
import { type Recoveries, verifyPromised } from './verify.js';

/** The part of a viem account that signs bundles; a wallet's works as well as a local key's. */
export interface BundleSigner {
  readonly address: Hex;
  signTypedData(typedData: {
    domain: { name: string; version: string; chainId: bigint; verifyingContract: Hex };
    types: typeof BUNDLE_TYPES;
    primaryType: 'Bundle';
    message: {
      sender: Hex;
      lane: number;
      nonce: bigint;
      expiry: bigint;
      postage: bigint;
      count: number;
      messagesRoot: Hex;
    };
  }): Promise<Hex>;
}

export const BUNDLE_TYPES = {
  Bundle: [
    { name: 'sender', type: 'address' },
    { name: 'lane', type: 'uint16' },
    { name: 'nonce', type: 'uint64' },
    { name: 'expiry', type: 'uint64' },
    { name: 'postage', type: 'uint128' },
    { name: 'count', type: 'uint32' },
    { name: 'messagesRoot', type: 'bytes32' },
  ],
} as const;

/** Messages that will be signed together, with the job they belong to. */
export interface Draft {
  readonly messages: readonly Message[];
  readonly job?: { readonly name: string; readonly done: number } | undefined;
}

/** A bundle that the sequencer has promised a place. */
export interface Accepted {
  readonly lane: number;
  readonly nonce: bigint;
  readonly count: number;
  readonly bundleHash: Hex;
  readonly receipt: Receipt;
}

/** What a bundle's bytes may come to, and what a request's. The rest of a body is for frames of other bundles. */
const MAX_BODY_BYTES = 4_194_304;
const MAX_BODY_BUNDLES = 64;
/** A bundle that expired while it waited, or that has become dearer, is signed again this often. */
const MAX_RENEWALS = 3;
const BUNDLE_OVERHEAD = HEADER_BYTES + SIGNATURE_BYTES;
/**
 * What the API says about a bundle's own bytes: these are refused today and tomorrow. Every other answer, also one that is not
 * the sequencer's (a proxy's 403, a page of HTML with status 200), leaves a bundle where it is: it may be in the log.
 */
const REFUSED_FOR_GOOD: ReadonlySet<string> = new Set([
  'bundle.malformed',
  'bundle.too_large',
  'bundle.wrong_lane',
  'bundle.bad_signature',
]);

/** How many bytes a message takes in a bundle. */
export const bytesInBundle = (payloadBytes: number): number => 4 + MESSAGE_PREFIX_BYTES + payloadBytes;

/** How many bytes a bundle takes in a body, framed, its messages taking `bytes` in the bundle. */
export const bytesInBody = (bytes: number): number => 4 + BUNDLE_OVERHEAD + bytes;

/** Whether one more bundle fits the body that goes out in one turn. */
export const fitsBody = (bundles: number, bodyBytes: number, bytes: number): boolean =>
  bundles < MAX_BODY_BUNDLES && bodyBytes + bytesInBody(bytes) <= MAX_BODY_BYTES;

/** Whether one more message fits a bundle. */
export const fitsBundle = (count: number, bytes: number, payloadBytes: number, maxMessages: number): boolean =>
  count < Math.min(maxMessages, MAX_MESSAGES) && BUNDLE_OVERHEAD + bytes + bytesInBundle(payloadBytes) <= MAX_BUNDLE_BYTES;

/** An account whose bundles are to be paid for, and how to ask about it. */
export interface PayingAccount {
  readonly sender: Hex;
  readonly lane: number;
  readonly http: Http;
  /** The postage of its last bundle that the outbox knows to be accepted, in wei. */
  readonly known: bigint;
  /** Whether signed bundles wait in the outbox. */
  readonly pending: boolean;
  /** The account's bundle in the log that has this nonce: its signature and its receipt are verified. */
  readonly entryAt: (nonce: bigint) => Promise<{ readonly fields: BundleFields } | undefined>;
  readonly call: CallOptions;
}

/**
 * Says what postage is signed: of each of these bundles, one after the other. `refused`: the one that there is was signed before,
 * and the sequencer did not take its postage. See `payPostage`.
 * @throws SendError if it is not to be paid
 */
export type Postage = (
  account: PayingAccount,
  bundles: readonly (readonly Message[])[],
  refused?: { readonly postage: bigint; readonly error: RequestError },
) => Promise<readonly bigint[]>;

export interface SenderOptions {
  readonly http: Http;
  readonly l1: L1;
  readonly account: BundleSigner;
  readonly outbox: Outbox;
  readonly receipts: ReceiptKeeper;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly recoveries: Recoveries;
  /** From signing to expiry. */
  readonly expirySeconds: number;
  /** Nothing is paid without it. */
  readonly postage?: Postage | undefined;
}

/** A bundle with its signature, and the root over its messages: to hash each of them is a fifth of what sending them costs. */
export interface Signed {
  readonly bundle: Bundle;
  readonly messagesRoot: Hex;
}

/** A signed bundle on its way, with what is needed to recognise and to sign it again. */
export interface Outgoing extends Signed {
  readonly record: OutboxRecord;
  readonly bundleHash: Hex;
  readonly renewals: number;
}

/**
 * Signs bundles of one account and sees each through to its receipt. All nonces of a lane are given out here, one turn after
 * the other; a turn holds the outbox's lock, so this is also true among processes that share an outbox.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #turns = new Map<number, Promise<unknown>>();
  /** Lanes whose outbox is known to agree with the sequencer: the head says the next nonce. */
  readonly #agreed = new Set<number>();

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /**
   * Delivers what an earlier call or process left in the outbox, then the drafts, in order. `onAccepted` hears of each
   * bundle; the indices of drafts are those of the list, undefined for a bundle out of the outbox.
   */
  async deliver(
    lane: number,
    drafts: readonly Draft[] | Promise<readonly Draft[]>,
    signal: AbortSignal,
    onAccepted: (accepted: Accepted, draft: number | undefined) => void = () => {},
  ): Promise<void> {
    await this.turn(lane, signal, (turn) => turn.run(drafts, onAccepted));
  }

  /** Runs `work` when it is this lane's next, alone: first among this client's calls, then among all who share the outbox. */
  async turn<T>(lane: number, signal: AbortSignal, work: (turn: LaneTurn) => Promise<T>): Promise<T> {
    const before = this.#turns.get(lane) ?? Promise.resolve();
    const run = async () => {
      signal.throwIfAborted();
      const { settlement, chainId } = this.#options.l1.view;
      const key = { chainId, settlement, sender: lowerHex(this.#options.account.address), lane };
      const outbox = await this.#options.outbox.open(key, { signal });
      const agreed = this.#agreed.delete(lane);
      try {
        const result = await work(new LaneTurn(this.#options, lane, outbox, signal, agreed));
        this.#agreed.add(lane);
        return result;
      } catch (error) {
        throw outbox.pending.length > 0 ? pendingError(error) : error;
      } finally {
        await outbox.close();
      }
    };
    const mine = before.then(run, run);
    this.#turns.set(lane, mine);
    const forget = () => {
      if (this.#turns.get(lane) === mine) this.#turns.delete(lane);
    };
    mine.then(forget, forget);
    // Whoever gives up while waiting for the lane is let go at once; whoever has begun leaves the outbox closed behind.
    await abortable(
      before.catch(() => {}),
      signal,
    );
    return mine;
  }
}

/** The same error, saying that the signed bundle waits in the outbox. */
function pendingError(error: unknown): unknown {
  if (!(error instanceof RequestError)) return error;
  const { message, docsUrl, cause, status, retryAfterMs } = error;
  const facts = { ...error.facts, pending: true };
  return new RequestError(error.code, message, { facts, docsUrl, cause, status, retryAfterMs });
}

/** One turn on one lane: the owner of its nonces for as long as it lasts. */
export class LaneTurn {
  readonly #options: SenderOptions;
  readonly #lane: number;
  readonly #outbox: OutboxLane;
  readonly #signal: AbortSignal;
  readonly #sender: Hex;
  readonly #draftOf = new Map<OutboxRecord, number>();

  #agreed: boolean;

  constructor(options: SenderOptions, lane: number, outbox: OutboxLane, signal: AbortSignal, agreed: boolean) {
    this.#options = options;
    this.#lane = lane;
    this.#outbox = outbox;
    this.#signal = signal;
    this.#agreed = agreed;
    this.#sender = lowerHex(options.account.address);
  }

  /** How many messages of a job are accepted or signed and waiting. */
  jobDone(name: string): Promise<number> {
    return this.#outbox.jobDone(name);
  }

  async run(
    drafts: readonly Draft[] | Promise<readonly Draft[]>,
    onAccepted: (accepted: Accepted, draft: number | undefined) => void,
  ): Promise<void> {
    const left = this.#outbox.pending;
    if (left.length > 0) {
      this.#options.log('outbox.resubmit', { lane: this.#lane, bundles: left.length });
      await this.#submit(
        left.map((record) => outgoing(record)),
        onAccepted,
      );
    }
    const group = await drafts;
    if (group.length > 0) await this.#signAndSubmit(group, onAccepted);
  }

  async #signAndSubmit(
    group: readonly Draft[],
    onAccepted: (accepted: Accepted, draft: number | undefined) => void,
  ): Promise<void> {
    let nonce = await this.#nextNonce();
    // All of them before the first is signed.
    const postage = await this.#pay(group.map(({ messages }) => messages));
    const ready: Outgoing[] = [];
    for (const [index, draft] of group.entries()) {
      const signed = await this.#sign(draft.messages, nonce, postage?.[index] ?? this.#known);
      const record = { nonce, count: draft.messages.length, bundle: encodeBundle(signed.bundle), job: draft.job };
      // A crash before this line forgets a signature that nobody has seen. From here on the nonce belongs to these bytes:
      // after a crash they are what `run` finds and submits first.
      await this.#outbox.put(record);
      this.#draftOf.set(record, index);
      ready.push(outgoing(record, signed));
      nonce += BigInt(record.count);
    }
    await this.#submit(ready, onAccepted);
  }

  /**
   * The account's next nonce. The sequencer's word counts only upwards (another client of this account may have sent):
   * below our own head it has lost bundles that it gave receipts for, and signing their nonces again could send two
   * messages under one name.
   */
  async #nextNonce(): Promise<bigint> {
    const known = this.#outbox.head?.next;
    if (this.#agreed && known !== undefined) return known;
    const nonce = await this.#sequencersNonce();
    if (known !== undefined && nonce < known) {
      throw new SendError(
        'send.nonce_behind',
        `the sequencer's next nonce of this account is ${nonce}, but it gave receipts up to ${known}: it lost what it promised`,
        { facts: { lane: this.#lane, expected: String(nonce), nonce: String(known), pending: false } },
      );
    }
    this.#agreed = true;
    return nonce;
  }

  async #sequencersNonce(): Promise<bigint> {
    const path = `v1/accounts/${this.#sender}`;
    const answer = await this.#options.http.getJson(path, { query: { lane: this.#lane }, ...this.#call() });
    return parseUint((answer as { nonce?: unknown } | null)?.nonce, 64);
  }

  get #known(): bigint {
    return this.#outbox.head?.postage ?? 0n;
  }

  async #pay(bundles: readonly (readonly Message[])[], refused?: { postage: bigint; error: RequestError }) {
    return this.#options.postage?.(
      {
        sender: this.#sender,
        lane: this.#lane,
        http: this.#options.http,
        known: this.#known,
        pending: this.#outbox.pending.length > 0,
        entryAt: (nonce) => this.#entryAt(nonce),
        call: this.#call(),
      },
      bundles,
      refused,
    );
  }

  async #sign(messages: readonly Message[], nonce: bigint, postage: bigint): Promise<Signed> {
    const { clock, expirySeconds } = this.#options;
    const expiry = BigInt(Math.floor(clock.now() / 1_000) + expirySeconds);
    const head = { lane: this.#lane, sender: this.#sender, nonce, expiry, postage };
    return signBundle(this.#options, head, messages, this.#signal);
  }

  /** Submits until each has its receipt. The outbox has them all already. */
  async #submit(ready: readonly Outgoing[], onAccepted: (accepted: Accepted, draft: number | undefined) => void): Promise<void> {
    let queue = [...ready];
    let bodyBundles = MAX_BODY_BUNDLES;
    let attempt = 0;
    while (queue.length > 0) {
      const body = takeBody(queue, bodyBundles);
      const results = await this.#post(body);
      if (results === undefined) {
        // Refused as a whole, whatever is in it (a sequencer with a smaller body limit, say): one by one, then.
        bodyBundles = 1;
        continue;
      }
      let progress = false;
      let refusal: { one: Outgoing; error: RequestError } | undefined;
      const done = new Set<Outgoing>();
      for (const [at, one] of body.entries()) {
        const result = results[at];
        if (result instanceof RequestError) {
          refusal ??= { one, error: result };
        } else if (result !== undefined) {
          onAccepted(await this.#accept(one, result), this.#draftOf.get(one.record));
          done.add(one);
          progress = true;
        }
      }
      queue = queue.filter((one) => !done.has(one));
      if (refusal === undefined) continue;
      const waitMs = planRetry(refusal.error, progress ? 0 : attempt, this.#options.random);
      if (waitMs !== undefined) {
        attempt = progress ? 0 : attempt + 1;
        await this.#options.clock.sleep(waitMs, this.#signal);
        continue;
      }
      // Something is out of order: from here on one by one, so that each nonce is judged on its own.
      bodyBundles = 1;
      queue = await this.#resolve(refusal.one, refusal.error, queue, onAccepted);
    }
  }

  /** One result for each bundle of the body; undefined if it was refused for being more than one. */
  async #post(body: readonly Outgoing[]): Promise<(Receipt | RequestError)[] | undefined> {
    const bytes = join(body.map(({ record }) => frameBundle(record.bundle)));
    let answer: unknown;
    try {
      answer = await this.#options.http.postBytes('v1/bundles', bytes, this.#call());
    } catch (error) {
      if (!(error instanceof RequestError) || error.status === 0 || isRetryable(error)) throw error;
      // No word of the API: whoever said it may have passed the bundles on before. Only a size limit means the same from anybody.
      if (error.problem === undefined && (error.status !== 413 || body.length === 1)) throw error;
      if (error.problem?.results === undefined) return body.length === 1 ? [error] : undefined;
      answer = error.problem;
    }
    const results = (answer as { results?: unknown } | null)?.results;
    if (!Array.isArray(results) || results.length !== body.length) {
      throw new RequestError('network.bad_answer', `expected ${body.length} results of POST /v1/bundles, got something else`);
    }
    return results.map((result: { receipt?: unknown; error?: unknown } | null) => {
      if (result?.receipt !== undefined) return receiptFromJson(result.receipt);
      const problem = result?.error as Record<string, unknown> | undefined;
      if (typeof problem?.code !== 'string') throw new RequestError('network.bad_answer', 'a result without receipt and code');
      return problemError(problem, Number(problem.status ?? 0));
    });
  }

  /** A receipt that holds moves the head; one that does not leaves the bundle in the outbox, its fate unknown. */
  async #accept(one: Outgoing, given: Receipt): Promise<Accepted> {
    const { l1, recoveries } = this.#options;
    let receipt = given;
    // Before it is judged: one that does not hold may be evidence.
    await this.#keep(given);
    let { postage } = one.bundle;
    if (lowerHex(given.bundleHash) === one.bundleHash) {
      if (given.lane !== this.#lane) throw badReceipt('lane', `expected a receipt for lane ${this.#lane}, got ${given.lane}`);
      await l1.judge(given, (terms) => verifyReceipt(given, { ...terms, ...l1.view }, recoveries), true, this.#call());
    } else {
      // §6: the log has this bundle under another signature of ours. Its proof says so, or the receipt is not ours.
      const twin = await this.#twinOf(one);
      receipt = twin.receipt;
      postage = twin.fields.postage;
      await this.#keep(receipt);
    }
    const { head } = this.#outbox;
    if (head?.receipt !== undefined && head.next === one.record.nonce && head.receipt.term === receipt.term) {
      const expected = 1n + head.receipt.sequence;
      if (receipt.previous !== expected) {
        throw badReceipt('previous', `expected previous ${expected}, our last entry's place, got ${receipt.previous}`);
      }
    }
    await this.#outbox.accept(one.record.nonce, {
      next: one.record.nonce + BigInt(one.record.count),
      receipt: { term: receipt.term, sequence: receipt.sequence },
      postage,
    });
    const { nonce, count } = one.record;
    return { lane: this.#lane, nonce, count, bundleHash: receipt.bundleHash, receipt };
  }

  /** A receipt that cannot be kept is as good as one that can: the bundle is accepted. */
  async #keep(receipt: Receipt): Promise<void> {
    const { receipts, l1, log } = this.#options;
    try {
      await receipts.keep(l1.view, receipt);
    } catch (error) {
      log('receipt.not_kept', { lane: receipt.lane, sequence: String(receipt.sequence), message: (error as Error).message });
    }
  }

  async #twinOf(one: Outgoing) {
    const entry = await this.#entryAt(one.record.nonce);
    if (entry === undefined || !isTwin(entry.fields, one)) {
      throw badReceipt('bundleHash', 'the receipt is of another bundle, and the entry at our nonce is not ours');
    }
    return entry;
  }

  /** The entry that holds our message with this nonce, by its verified proof; undefined if the sequencer has none. */
  async #entryAt(nonce: bigint) {
    const { http, l1, recoveries } = this.#options;
    let answer: unknown;
    try {
      const path = `v1/messages/${this.#sender}/${this.#lane}/${nonce}/proof`;
      answer = await http.getJson(path, { query: { anchor: 'receipt' }, ...this.#call() });
    } catch (error) {
      if (error instanceof RequestError && error.status === 404) return undefined;
      throw error;
    }
    const proof = receiptProofFromJson(answer);
    const proven = await verifyPromised(proof, l1, recoveries, this.#call());
    if (proven.sender !== this.#sender || proven.lane !== this.#lane || proven.nonce !== nonce) {
      throw new ProtocolError(
        'proof.invalid',
        `the proof is of ${proven.sender}/${proven.lane}/${proven.nonce}, not of nonce ${nonce}`,
        {
          step: 'message',
        },
      );
    }
    return { fields: proof.bundle, receipt: proof.receipt };
  }

  /**
   * What to do with a bundle that was refused and that waiting does not help. Returns what is left to submit, in order.
   *
   * Signing a message again under another nonce is the one thing that could send it twice, so it is done only if the bundle
   * that has the message now can never enter the log any more. Nonces are strict (§6): the entry that holds nonce N of this
   * account is the only one that ever will. So the proof of the entry at our bundle's nonce decides, its signature and its
   * receipt verified: if that entry has our messages, they are sent; if it has others (of another client of this account), ours
   * never enter under this nonce. The word "409" alone decides nothing: without an entry to show for it we stop, the bundle
   * stays in the outbox, and nothing is signed.
   */
  async #resolve(
    one: Outgoing,
    error: RequestError,
    queue: readonly Outgoing[],
    onAccepted: (accepted: Accepted, draft: number | undefined) => void,
  ): Promise<Outgoing[]> {
    const rest = queue.filter((other) => other !== one);
    const { nonce, count } = one.record;
    const facts = { lane: this.#lane, nonce: String(nonce), pending: true };
    const unpaid = error.code === 'bundle.postage';
    if (error.code === 'bundle.expired' || unpaid) {
      // The same messages under the same nonce with a later expiry, or more postage. At most one of them can ever stand at this
      // nonce, and whichever does has our messages: `isTwin` looks at them, not at the rest.
      if (one.renewals >= MAX_RENEWALS) {
        throw new SendError('send.refused', `${error.message}; signed anew ${MAX_RENEWALS} times`, { facts, cause: error });
      }
      const { postage } = one.bundle;
      const paid = unpaid ? await this.#pay([one.bundle.messages], { postage, error }) : [postage];
      // Nobody pays: it waits in the outbox for a client that does.
      if (paid === undefined) throw error;
      const renewed = await this.#signAgain(one, nonce, paid[0]);
      return [{ ...renewed, renewals: one.renewals + 1 }, ...rest];
    }
    if (REFUSED_FOR_GOOD.has(error.code)) throw await this.#withdraw(one, rest, error);
    if (error.code !== 'bundle.nonce') throw error;
    const expected = parseUint(error.facts.expected, 64);
    if (expected < nonce) {
      // Something before us is missing, and it is not in our outbox: it was accepted and lost, or another client's bundle is on
      // its way. The nonce may still come up, so nothing else may be signed for these messages.
      throw new SendError('send.nonce_behind', `the sequencer expects nonce ${expected}, ours is ${nonce}`, {
        facts: { ...facts, expected: String(expected) },
        cause: error,
      });
    }
    const entry = expected === nonce ? undefined : await this.#entryAt(nonce);
    if (entry === undefined) {
      throw new SendError('send.nonce_unclear', `the sequencer refused nonce ${nonce} and shows no entry that has it`, {
        facts: { ...facts, expected: String(expected) },
        cause: error,
      });
    }
    if (isTwin(entry.fields, one)) {
      onAccepted(await this.#accept(one, entry.receipt), this.#draftOf.get(one.record));
      return rest;
    }
    // A later bundle of ours whose turn is now goes first, unchanged: giving its nonce to this one would be two for one nonce.
    const next = rest.find((other) => other.record.nonce === expected);
    if (next !== undefined) return [next, one, ...rest.filter((other) => other !== next)];
    this.#options.log('send.renumbered', { lane: this.#lane, nonce: String(nonce), expected: String(expected), count });
    return [await this.#signAgain(one, expected), ...rest];
  }

  /**
   * Takes a bundle that was refused for good out of the outbox, and those behind it: signed for nonces that only come up after
   * its own, they would wait for ever. What the sequencer's next nonce has passed may be in the log, and stays to be judged.
   * From the last to the first, so that a crash leaves no gap in front of what is left; the error hands the messages back.
   */
  async #withdraw(one: Outgoing, rest: readonly Outgoing[], error: RequestError): Promise<SendError> {
    const { nonce, count } = one.record;
    const next = rest.length === 0 ? nonce : await this.#sequencersNonce();
    const behind = rest.filter(({ record }) => record.nonce > nonce && record.nonce >= next);
    const withdrawn = [one, ...behind].sort((a, b) => (a.record.nonce < b.record.nonce ? -1 : 1));
    for (const { record } of [...withdrawn].reverse()) await this.#outbox.drop(record.nonce);
    const unsent = withdrawn.flatMap(({ bundle }) => bundle.messages);
    const more = behind.length === 0 ? '' : `; ${unsent.length - count} messages signed behind it are not sent either`;
    return new SendError('send.refused', `the sequencer refused a bundle: ${error.message}${more}`, {
      facts: {
        lane: this.#lane,
        nonce: String(nonce),
        code: error.code,
        bundles: withdrawn.length,
        messages: unsent.length,
        // Of a call before this one: nothing of this one's is signed yet.
        earlier: !this.#draftOf.has(one.record),
        pending: this.#outbox.pending.length > 0,
      },
      cause: error,
      unsent,
    });
  }

  /** The same messages, signed anew, in the old bundle's place in the outbox: atomically, or a crash would leave both. */
  async #signAgain(one: Outgoing, nonce: bigint, postage = one.bundle.postage): Promise<Outgoing> {
    const signed = await this.#sign(one.bundle.messages, nonce, postage);
    const record = { ...one.record, nonce, bundle: encodeBundle(signed.bundle) };
    await this.#outbox.replace(one.record.nonce, record);
    const draft = this.#draftOf.get(one.record);
    if (draft !== undefined) this.#draftOf.set(record, draft);
    return outgoing(record, signed);
  }

  #call(): CallOptions {
    return { signal: this.#signal, timeoutMs: Number.POSITIVE_INFINITY };
  }
}

/**
 * Signs a bundle. The signature is checked, because a wallet may sign for another account or in another form: better here than as
 * an answer of the sequencer.
 * @throws SendError send.bad_signer
 */
export async function signBundle(
  { account, l1, recoveries }: Pick<SenderOptions, 'account' | 'l1' | 'recoveries'>,
  head: BundleHead,
  messages: readonly Message[],
  signal: AbortSignal,
): Promise<Signed> {
  const { chainId, settlement } = l1.view;
  const fields = { ...head, count: messages.length, messagesRoot: toHex(messagesTree(messages).root) };
  const domain = { name: 'Sealpost', version: '1', chainId, verifyingContract: settlement };
  const signature = await account.signTypedData({ domain, types: BUNDLE_TYPES, primaryType: 'Bundle', message: fields });
  signal.throwIfAborted();
  try {
    const signer = recoverSigner(bundleDigest(l1.view, fields), fromHex(signature), recoveries.recover);
    if (signer !== head.sender) throw new Error(`signed by ${signer}`);
  } catch (cause) {
    throw new SendError('send.bad_signer', `the account's signature is not one of ${head.sender}`, { cause });
  }
  return { bundle: { ...head, messages, signature }, messagesRoot: fields.messagesRoot };
}

/** A record out of the outbox is decoded and hashed; one just made is not. */
export function outgoing(record: OutboxRecord, made?: Signed): Outgoing {
  const { bundle, messagesRoot } = made ?? decodeSigned(record.bundle);
  const structHash = bundleStructHash({ ...headOf(bundle), count: bundle.messages.length, messagesRoot });
  const hash = bundleHash(bundle.sender, structHash, fromHex(bundle.signature));
  return { record, bundle, messagesRoot, bundleHash: toHex(hash), renewals: 0 };
}

function decodeSigned(bytes: Uint8Array): Signed {
  const view = readBundle(bytes);
  const messages = Array.from({ length: view.count }, (_, index) => messageAt(view, index));
  return { bundle: { ...headOf(view), messages, signature: toHex(view.signature) }, messagesRoot: toHex(viewTree(view).root) };
}

/** The same messages at the same nonces: whatever the expiry and the signature, the log then has what we wanted to send. */
export const isTwin = (
  fields: { nonce: bigint; count: number; messagesRoot: Hex },
  one: Pick<Outgoing, 'record' | 'messagesRoot'>,
): boolean =>
  fields.nonce === one.record.nonce && fields.count === one.record.count && lowerHex(fields.messagesRoot) === one.messagesRoot;

function takeBody(queue: readonly Outgoing[], maxBundles: number): Outgoing[] {
  const body: Outgoing[] = [];
  let bytes = 0;
  for (const one of queue) {
    bytes += 4 + one.record.bundle.length;
    if (body.length > 0 && (bytes > MAX_BODY_BYTES || body.length === maxBundles)) break;
    body.push(one);
  }
  return body;
}

const badReceipt = (step: string, detail: string) => new ProtocolError('receipt.invalid', `receipt: ${detail}`, { step });
