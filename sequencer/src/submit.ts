import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { type Bundle, MAX_MESSAGES, ProtocolError, receiptToJson } from '@sealpost/prover';
import { admit, inSlotOrder, type Submission, submissionOfBundles, submissionOfFrames } from './admission.js';
import { BundleSchema, PROBLEMS, ROUTES } from './api.js';
import { RequestError } from './errors.js';
import type { Metrics } from './metrics.js';
import type { Log } from './ports.js';
import { jsonReply, problemReply, problemToJson, type Reply } from './replies.js';
import type { Outcome, Sequencer } from './sequencer.js';

export interface SubmitDeps {
  readonly sequencer: Sequencer;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly limits: SubmitLimits;
}

export interface SubmitLimits {
  readonly maxBodyBytes: number;
  /** Bytes of bodies that arrived and are not answered, and, apart from them, of bodies still arriving. */
  readonly maxQueueBytes: number;
}

/** A request as far as submitting needs it. */
export interface Arriving {
  readonly header: (name: 'content-type' | 'content-length') => string | undefined;
  /**
   * Gives the body away piece by piece; resolves when it was whole. Stops at the first piece that `take` throws on, and
   * rejects with its error.
   */
  readonly read: (take: (chunk: Uint8Array) => void) => Promise<void>;
}

/** `POST /v1/bundles` (PROTOCOL.md §11): answers always, never rejects. */
export type Submit = (request: Arriving) => Promise<Reply>;

export function createSubmit({ sequencer, metrics, log, limits }: SubmitDeps): Submit {
  let arrivingBytes = 0;

  const admitBody = (bytes: number) => {
    try {
      admit(
        {
          queuedBytes: sequencer.queuedBytes,
          maxQueueBytes: limits.maxQueueBytes,
          drainedBytesPerMs: metrics.drainedBytesPerMs(),
          refusedBytes: metrics.refusedBytes(),
        },
        bytes,
      );
    } catch (error) {
      metrics.refused(bytes);
      throw error;
    }
  };

  const bodyTooLarge = (bytes: number) =>
    new RequestError('bundle.too_large', `body: expected at most ${limits.maxBodyBytes} bytes, got ${bytes} or more`, {
      what: 'body',
      maxBytes: limits.maxBodyBytes,
    });

  /** Reads a body, and stops at the limit: nothing beyond it is held. */
  async function readBody({ header, read }: Arriving): Promise<Uint8Array> {
    const declared = Number(header('content-length') ?? 0);
    if (declared > limits.maxBodyBytes) throw bodyTooLarge(declared);
    admitBody(Math.max(declared, 1));
    const parts: Uint8Array[] = [];
    let bytes = 0;
    try {
      await read((chunk) => {
        bytes += chunk.length;
        arrivingBytes += chunk.length;
        parts.push(chunk);
        if (bytes > limits.maxBodyBytes) throw bodyTooLarge(bytes);
        if (arrivingBytes > bytes && arrivingBytes > limits.maxQueueBytes) {
          throw new RequestError('busy', 'too many bodies are arriving at once: send this again', {}, 1_000);
        }
      });
    } catch (error) {
      if (error instanceof RequestError) throw error;
      throw new RequestError('bundle.malformed', 'the body ended before it was whole');
    } finally {
      arrivingBytes -= bytes;
    }
    const [only] = parts;
    // What came in one piece is taken as it is, unless a small body would keep the 64 KiB that were read with it.
    return parts.length === 1 && only?.buffer.byteLength === bytes ? only : Buffer.concat(parts, bytes);
  }

  async function submit(request: Arriving): Promise<Reply> {
    const startedAt = performance.now();
    const type = mediaType(request.header('content-type'));
    if (type !== 'application/octet-stream' && type !== 'application/json') {
      throw new RequestError(
        'bundle.malformed',
        `Content-Type: expected application/octet-stream or application/json, got ${type ?? 'none'}`,
      );
    }
    const bytes = await readBody(request);
    const { body, slots } = type === 'application/json' ? submissionOfJson(bytes) : submissionOfFrames(bytes);
    if (body === undefined) return answer(inSlotOrder<Outcome>(slots, []));
    admitBody(body.bytes.length);
    const outcomes = inSlotOrder(slots, await sequencer.submit(body));
    metrics.accepted(outcomes, body.bytes.length, (performance.now() - startedAt) / 1_000);
    return answer(outcomes);
  }

  return async (request) => {
    try {
      return await submit(request);
    } catch (error) {
      return failureReply(error as Error, log, ROUTES.submit.path);
    }
  };
}

const mediaType = (header: string | undefined): string | undefined => header?.split(';', 1)[0]?.trim().toLowerCase();

/** What a request gets that failed: its own problem, or `internal` if it is none of the caller's. */
export function failureReply(error: Error, log: Log, path: string): Reply {
  if (error instanceof RequestError) return problemReply(error);
  if (error instanceof ProtocolError) {
    const code = error.code in PROBLEMS ? (error.code as RequestError['code']) : 'request.invalid';
    return problemReply(new RequestError(code, error.message, error.facts));
  }
  log.error('http.failed', { path, message: error.message, stack: error.stack });
  return problemReply(new RequestError('internal', 'the request failed inside the sequencer; its log says why'));
}

/**
 * Judged one bundle at a time, up to the first that has not the shape: a validator that lists every fault of a large body would
 * take more time and memory than the body was worth.
 * @throws bundle.malformed unless the body is one bundle object or an array of them, as JSON
 */
function submissionOfJson(bytes: Uint8Array): Submission {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RequestError('bundle.malformed', `expected a bundle or an array of bundles as JSON: ${(error as Error).message}`);
  }
  if (!Array.isArray(value)) return submissionOfBundles([bundleOfJson(value, 'body')]);
  if (value.length === 0) throw new RequestError('bundle.malformed', 'expected one or more bundles, got an empty array');
  return submissionOfBundles(value.map((item, index) => bundleOfJson(item, `[${index}]`)));
}

function bundleOfJson(value: unknown, at: string): Bundle | RequestError {
  const messages = (value as { messages?: unknown } | null)?.messages;
  if (Array.isArray(messages) && messages.length > MAX_MESSAGES) {
    const count = messages.length;
    return new RequestError('bundle.malformed', `${at}: expected 1 to ${MAX_MESSAGES} messages, got ${count}`, { at, count });
  }
  const parsed = BundleSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = [at, ...(issue?.path ?? [])].join('.');
  throw new RequestError('bundle.malformed', `${path}: ${issue?.message ?? 'not a bundle'}`, { at: path });
}

/** 200 if all were accepted, 207 if some, else the first error itself (§11). */
function answer(outcomes: readonly Outcome[]): Reply {
  const results = outcomes.map((outcome) =>
    'receipt' in outcome ? { receipt: receiptToJson(outcome.receipt) } : { error: problemToJson(outcome.error) },
  );
  const errors = outcomes.flatMap((outcome) => ('error' in outcome ? [outcome.error] : []));
  const [first] = errors;
  if (first !== undefined && errors.length === outcomes.length) {
    return problemReply(first, outcomes.length > 1 ? { results } : {});
  }
  return jsonReply(first === undefined ? 200 : 207, { results });
}

/**
 * Answers submissions from Node's own request and response, and hands every other request on: on two cores, the web's Request,
 * Response and streams around them cost as much as a signature.
 */
export function submitFirst(submit: Submit, others: RequestListener): RequestListener {
  const { path } = ROUTES.submit;
  return (incoming, outgoing) => {
    const { method, url } = incoming;
    if (method !== 'POST' || (url !== path && !url?.startsWith(`${path}?`))) return others(incoming, outgoing);
    void submit(arrivingOnNode(incoming)).then((reply) => send(reply, incoming, outgoing));
  };
}

const arrivingOnNode = (incoming: IncomingMessage): Arriving => ({
  header: (name) => incoming.headers[name],
  read: (take) =>
    new Promise((resolve, reject) => {
      const onChunk = (chunk: Buffer) => {
        try {
          take(chunk);
        } catch (error) {
          incoming.off('data', onChunk).pause();
          reject(error);
        }
      };
      incoming.on('data', onChunk);
      incoming.once('end', resolve);
      // After every end, too: an error there would cost more than all the rest of this.
      incoming.once('close', () => incoming.complete || reject(new Error('the request was cut off')));
    }),
});

// What is read and dropped of a body that was refused, so that whoever still sends it sees the answer.
const DROP_BYTES = 16_777_216;
const DROP_MS = 500;

function send({ status, headers, body }: Reply, incoming: IncomingMessage, outgoing: ServerResponse): void {
  outgoing.writeHead(status, headers).end(body);
  if (!incoming.complete) drop(incoming);
}

/** Reads what still comes of a request, and hangs up where it is too much: not before, or the answer might not arrive. */
function drop(incoming: IncomingMessage): void {
  const { socket } = incoming;
  const timer = setTimeout(() => socket.destroy(), DROP_MS);
  const stop = () => clearTimeout(timer);
  incoming.once('end', stop);
  incoming.once('close', stop);
  let bytes = 0;
  incoming.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DROP_BYTES) socket.destroy();
  });
  incoming.resume();
}
