import {
  type Hex,
  lowerHex,
  ProtocolError,
  type ProvenMessage,
  Reader,
  type ReceiptProof,
  receiptProofFromJson,
} from '@sealpost/prover';
import { abortable, type Clock } from './clock.js';
import { RequestError, type SealpostError } from './errors.js';
import { type Http, type Log, planRetry } from './http.js';
import type { L1 } from './l1.js';
import { readEvents } from './stream.js';
import { type Recoveries, type Rung, verifyPromised } from './verify.js';

export interface TopicOptions {
  /** A cursor to go on from; `latest`: only what is new; absent: from the beginning. */
  readonly after?: string | undefined;
  /** Only messages of these senders. */
  readonly senders?: readonly Hex[] | undefined;
  /** Goes on with what is new after the past, until aborted (the default). */
  readonly follow?: boolean | undefined;
  /** Messages a request, 1 to 1,000. */
  readonly pageSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A message of a topic: its sender's signature and the sequencer's promise are verified. */
export interface TopicMessage extends ProvenMessage {
  /** Place in its bundle; with `sequence`, the message's place in the topic's order (PROTOCOL.md §12). */
  readonly index: number;
  /** To go on from after this message: `after`. */
  readonly cursor: string;
  /** What the sequencer says: `verify()` is what the L1 says. */
  readonly status: Rung;
  /** True if the sequencer says that it came too late to count. */
  readonly expired: boolean;
  /** What was verified. */
  readonly receiptProof: ReceiptProof;
}

export interface TopicSource {
  readonly http: Http;
  readonly l1: L1;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly recoveries: Recoveries;
}

interface Page {
  readonly messages: readonly unknown[];
  readonly next: string;
}

/** The server sends a comment every 15 s: three of them missing is a dead connection. */
const SILENCE_MS = 45_000;
const PAGE_SIZE = 500;

/**
 * A topic's messages in order: the past page by page, then live, on one cursor and therefore without a gap or a repetition.
 * What does not verify is not yielded; the log hears of it.
 */
export async function* readTopic(source: TopicSource, topic: Hex, options: TopicOptions = {}): AsyncGenerator<TopicMessage> {
  const { follow = true } = options;
  const lane = new TopicOrder(source, lowerHex(topic), options);
  const signal = options.signal ?? new AbortController().signal;
  let cursor = options.after;
  let attempt = 0;
  const path = `v1/topics/${lowerHex(topic)}`;
  const query = { sender: options.senders?.map(lowerHex), proofs: 1 };
  // Ends with the caller's signal, or when the caller stops reading.
  const reading = new AbortController();
  const stop = () => reading.abort(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener('abort', stop, { once: true });
  const readPage = async (after: string | undefined): Promise<Page> => {
    const limit = options.pageSize ?? PAGE_SIZE;
    const page = await source.http.getJson(`${path}/messages`, { query: { ...query, after, limit }, signal: reading.signal });
    const { messages, next } = page as { messages?: unknown; next?: unknown };
    if (Array.isArray(messages) && typeof next === 'string') {
      // A cursor that stands still would be asked for ever.
      if (messages.length === 0 || next !== after) return { messages, next };
    }
    throw new RequestError('network.bad_answer', `GET ${path}/messages: expected {messages, next} behind the cursor`);
  };
  const read = async function* (): AsyncGenerator<TopicMessage> {
    for (;;) {
      try {
        // The past: as long as pages come back with something on them. The next one comes while this one is verified.
        let coming: Promise<Page> | undefined = readPage(cursor);
        while (coming !== undefined) {
          const page: Page = await coming;
          coming = page.messages.length === 0 ? undefined : readPage(page.next);
          coming?.catch(() => {});
          for (const message of page.messages) {
            const verified = await lane.verify(message, reading.signal);
            if (verified !== undefined) yield verified;
          }
          cursor = page.next;
          attempt = 0;
        }
        if (!follow) return;
        // Live, from the same cursor: whatever arrived since the last page is the stream's beginning.
        for await (const { data, id } of liveEvents(source, path, query, cursor as string, reading.signal)) {
          attempt = 0;
          const verified = await lane.verify(parseJson(data), reading.signal);
          if (id !== undefined) cursor = id;
          if (verified !== undefined) yield verified;
        }
      } catch (error) {
        signal.throwIfAborted();
        const waitMs = follow ? planRetry(error, attempt++, source.random) : undefined;
        if (waitMs === undefined) throw error;
        source.log('topic.reconnect', { attempt, waitMs, code: (error as SealpostError).code });
        await source.clock.sleep(waitMs, reading.signal);
      }
    }
  };
  try {
    yield* read();
  } finally {
    signal.removeEventListener('abort', stop);
    reading.abort();
  }
}

/** The stream's message events until it ends: never normally, always by a retryable error. */
async function* liveEvents(
  source: TopicSource,
  path: string,
  query: Record<string, unknown>,
  cursor: string,
  signal: AbortSignal,
): AsyncGenerator<{ data: string; id: string | undefined }> {
  const { clock, http } = source;
  const connection = new AbortController();
  const abort = () => connection.abort(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener('abort', abort, { once: true });
  try {
    const response = await http.open(`${path}/stream`, {
      query: { ...query, after: cursor } as Record<string, string>,
      headers: { accept: 'text/event-stream', 'last-event-id': cursor },
      signal: connection.signal,
    });
    if (response.body === null) throw dead('the stream has no body');
    const events = readEvents(response.body)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await withSilence(clock, connection.signal, () => events.next());
        if (next.done) throw dead('the stream ended');
        if (next.value.event === 'message') yield next.value;
      }
    } finally {
      connection.abort();
      // Not waited for: a read that hangs ends by the abort, in its own time.
      events.return(undefined).catch(() => {});
    }
  } catch (error) {
    if (error instanceof RequestError || signal.aborted) throw error;
    throw new RequestError('network.unreachable', 'the stream broke', { cause: error });
  } finally {
    signal.removeEventListener('abort', abort);
    connection.abort();
  }
}

async function withSilence<T>(clock: Clock, signal: AbortSignal, next: () => Promise<T>): Promise<T> {
  const heard = new AbortController();
  const silence = clock.sleep(SILENCE_MS, heard.signal).then(
    () => {
      throw dead(`nothing was heard for ${SILENCE_MS} ms`);
    },
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([abortable(next(), signal), silence]);
  } finally {
    heard.abort();
  }
}

const dead = (why: string) => new RequestError('network.unreachable', why);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RequestError('network.bad_answer', 'an event that is no JSON', { cause });
  }
}

/** Judges the messages of one topic, in the order in which the sequencer gives them. */
class TopicOrder {
  #last: { sequence: bigint; index: number } | undefined;
  readonly #senders: ReadonlySet<Hex> | undefined;

  constructor(
    private readonly source: TopicSource,
    private readonly topic: Hex,
    options: TopicOptions,
  ) {
    this.#senders = options.senders === undefined ? undefined : new Set(options.senders.map(lowerHex));
  }

  /** The message, verified; undefined if it was yielded before or must not be. Throws only if the L1 could not be asked. */
  async verify(value: unknown, signal: AbortSignal): Promise<TopicMessage | undefined> {
    const { l1, recoveries, log } = this.source;
    try {
      const json = new Reader(value, 'proof.malformed', 'message');
      const { cursor, status, expired, proof: proofJson } = value as Record<string, unknown>;
      if (typeof cursor !== 'string') throw new ProtocolError('proof.malformed', 'message.cursor: expected a string');
      json.field('proof');
      const proof = receiptProofFromJson(proofJson);
      const proven = await verifyPromised(proof, l1, recoveries, { signal });
      if (proven.topic !== this.topic)
        throw new ProtocolError('proof.invalid', 'message: it is of another topic', { step: 'message' });
      if (this.#senders !== undefined && !this.#senders.has(proven.sender)) return undefined;
      const index = proof.messageIndex;
      if (this.#last !== undefined) {
        const { sequence, index: lastIndex } = this.#last;
        if (proven.sequence < sequence || (proven.sequence === sequence && index <= lastIndex)) {
          log('topic.repeated', { sequence: String(proven.sequence), index });
          return undefined;
        }
      }
      this.#last = { sequence: proven.sequence, index };
      return { ...proven, index, cursor, status: status as Rung, expired: expired === true, receiptProof: proof };
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      log('topic.refused', { code: error.code, message: error.message, topic: this.topic });
      return undefined;
    }
  }
}
