import { join } from '@sealpost/prover';
import { type CallOptions, type Clock, type Deadline, withDeadline } from './clock.js';
import { L1Error, RequestError } from './errors.js';

/** Events for whoever wants a log: names and numbers, never payloads, never keys. */
export type Log = (event: string, facts: Readonly<Record<string, unknown>>) => void;

export interface HttpOptions {
  /** The sequencer's base URL. */
  readonly url: string;
  readonly fetch: typeof globalThis.fetch;
  readonly clock: Clock;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly log: Log;
}

export interface RequestInput extends CallOptions {
  readonly query?: Readonly<Record<string, string | number | bigint | readonly string[] | undefined>> | undefined;
  readonly body?: Uint8Array | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Longest a single attempt may hear nothing, before the answer or within it; a long-poll's `wait` comes on top. */
const SILENCE_MS = 30_000;
export const DEFAULT_TIMEOUT_MS = 30_000;
const FIRST_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 10_000;
/** Not more than this is read of an answer that is not a batch file. */
const MAX_JSON_BYTES = 268_435_456;

/**
 * How long to wait before the next attempt, or undefined if another one cannot help. Network errors and everything the
 * server may recover from are tried again; what the protocol refuses never is. Full jitter, so that many clients that were
 * refused together do not come back together; `Retry-After` is a floor.
 */
export function planRetry(error: unknown, attempt: number, random: () => number): number | undefined {
  const answer = error instanceof RequestError && isRetryable(error) ? error : undefined;
  const silentL1 = error instanceof L1Error && (error.code === 'l1.unreachable' || error.code === 'l1.timeout');
  if (answer === undefined && !silentL1) return undefined;
  const backoff = random() * Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** attempt);
  return Math.round(answer?.retryAfterMs === undefined ? backoff : answer.retryAfterMs + backoff / 4);
}

/** Submitting again is safe whatever happened to the first attempt (§6), so an unknown outcome is retried too. */
export const isRetryable = (error: RequestError): boolean =>
  error.code === 'network.unreachable' ||
  error.code === 'busy' ||
  error.code === 'unavailable' ||
  error.code === 'rate_limited' ||
  error.code === 'internal' ||
  (error.code === 'network.bad_answer' && error.status >= 500);

/** The sequencer's HTTP API (PROTOCOL.md §11), with deadlines, retries and typed errors. */
export class Http {
  readonly #options: HttpOptions;
  readonly #base: URL;

  constructor(options: HttpOptions) {
    this.#options = options;
    try {
      this.#base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`);
    } catch (cause) {
      throw new RequestError('request.invalid', `expected a URL, got ${options.url.slice(0, 200)}`, { cause });
    }
  }

  /** The JSON answer of a GET. */
  async getJson(path: string, input: RequestInput = {}): Promise<unknown> {
    return this.#retried('GET', path, input, readJson);
  }

  /** The bytes of a GET: at most `maxBytes`. */
  async getBytes(path: string, maxBytes: number, input: RequestInput = {}): Promise<Uint8Array> {
    return this.#retried('GET', path, input, (answer) => readBytes(answer, maxBytes));
  }

  /** The JSON answer of a POST. Only for requests that may be repeated. */
  async postBytes(path: string, body: Uint8Array, input: RequestInput = {}): Promise<unknown> {
    const headers = { 'content-type': 'application/octet-stream' };
    return this.#retried('POST', path, { ...input, body, headers }, readJson);
  }

  /** An open answer, once: for streams, whose reader reconnects by itself. */
  async open(path: string, input: RequestInput & { signal: AbortSignal }): Promise<Response> {
    return this.#once('GET', path, input, input.signal);
  }

  async #retried<T>(method: string, path: string, input: RequestInput, read: (answer: Answer) => Promise<T>): Promise<T> {
    const { clock, random, log } = this.#options;
    return withDeadline(clock, input, DEFAULT_TIMEOUT_MS, `${method} ${path}`, async (deadline) => {
      for (let attempt = 0; ; attempt++) {
        try {
          return await this.#attempt(method, path, input, deadline, read);
        } catch (error) {
          if (deadline.signal.aborted) throw error;
          const waitMs = planRetry(error, attempt, random);
          if (waitMs === undefined) throw error;
          const { code, message } = error as RequestError;
          log('http.retry', { method, path, attempt, waitMs, code, detail: message });
          // Waiting longer than the caller does is telling the caller nothing until the deadline: better the reason, now.
          if (waitMs >= deadline.left()) throw error;
          // A timeout says what it waited for: the last failure.
          await clock.sleep(waitMs, deadline.signal).catch(() => {
            throw error;
          });
        }
      }
    });
  }

  async #attempt<T>(
    method: string,
    path: string,
    input: RequestInput,
    deadline: Deadline,
    read: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    const limitMs = SILENCE_MS + 1_000 * Number(input.query?.wait ?? 0);
    deadline.signal.throwIfAborted();
    const stop = new AbortController();
    const onAbort = () => stop.abort(deadline.signal.reason);
    deadline.signal.addEventListener('abort', onAbort, { once: true });
    let patience = new AbortController();
    const onData = () => {
      patience.abort();
      patience = new AbortController();
      this.#options.clock.sleep(limitMs, patience.signal).then(
        () => stop.abort(new RequestError('network.unreachable', `${path}: nothing for ${limitMs} ms`, { facts: { limitMs } })),
        () => {},
      );
    };
    onData();
    try {
      const response = await this.#once(method, path, input, stop.signal);
      onData();
      return await read({ response, url: response.url || this.#base.href, onData });
    } catch (error) {
      throw stop.signal.aborted ? stop.signal.reason : error;
    } finally {
      patience.abort();
      deadline.signal.removeEventListener('abort', onAbort);
    }
  }

  async #once(method: string, path: string, input: RequestInput, signal: AbortSignal): Promise<Response> {
    const url = new URL(path.replace(/^\//, ''), this.#base);
    for (const [name, value] of Object.entries(input.query ?? {})) {
      if (Array.isArray(value)) for (const item of value) url.searchParams.append(name, item);
      else if (value !== undefined) url.searchParams.set(name, String(value));
    }
    let response: Response;
    try {
      response = await this.#options.fetch(url, {
        method,
        signal,
        redirect: 'error',
        credentials: 'omit',
        ...(input.body === undefined ? {} : { body: input.body as Uint8Array<ArrayBuffer> }),
        ...(input.headers === undefined ? {} : { headers: input.headers }),
      });
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      throw unreachable(this.#base, cause);
    }
    if (response.ok) return response;
    throw await problemOf({ response, url: response.url || this.#base.href, onData: () => {} });
  }
}

/** An answer while its body is read. */
interface Answer {
  readonly response: Response;
  /** Whom it is from: a fetch of the caller's may not say. */
  readonly url: string;
  /** To be called whenever something came. */
  readonly onData: () => void;
}

/** A connection that fails while the body is read is the network's fault, like one that fails before. */
export async function readBytes(answer: Answer, maxBytes: number): Promise<Uint8Array> {
  const { response } = answer;
  const declared = Number(response.headers.get('content-length') ?? 0);
  if (declared > maxBytes) throw tooMuch(answer, maxBytes);
  const reader = response.body?.getReader();
  if (reader === undefined) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      answer.onData();
      size += value.length;
      if (size > maxBytes) throw tooMuch(answer, maxBytes);
      parts.push(value);
    }
  } catch (cause) {
    await reader.cancel().catch(() => {});
    if (cause instanceof RequestError || (cause instanceof Error && cause.name === 'AbortError')) throw cause;
    throw unreachable(new URL(answer.url), cause);
  }
  return join(parts);
}

async function readJson(answer: Answer): Promise<unknown> {
  const text = new TextDecoder().decode(await readBytes(answer, MAX_JSON_BYTES));
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw badAnswer(answer, 'expected JSON', cause);
  }
}

async function problemOf(answer: Answer): Promise<RequestError> {
  const { response } = answer;
  const { status } = response;
  let problem: Record<string, unknown>;
  try {
    const value: unknown = await readJson(answer);
    if (typeof value !== 'object' || value === null || typeof (value as { code?: unknown }).code !== 'string') {
      return badAnswer(answer, 'expected a problem document with a code');
    }
    problem = value as Record<string, unknown>;
  } catch (error) {
    return error instanceof RequestError ? error : badAnswer(answer, 'expected a problem document', error);
  }
  return problemError(problem, status, response.headers.get('retry-after'));
}

/** The error that a problem document (RFC 9457) stands for, alone or as one result among several. */
export function problemError(problem: Record<string, unknown>, status: number, retryAfter: string | null = null): RequestError {
  const { code, type, title, detail, retryAfterMs, status: _, results: __, ...rest } = problem;
  const facts: Record<string, string | number | boolean | null> = {};
  for (const [name, value] of Object.entries(rest)) {
    if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) facts[name] = value as string;
  }
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  const waitMs =
    typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : seconds >= 0 ? 1_000 * seconds : undefined;
  return new RequestError(String(code), String(detail ?? title ?? code), {
    facts,
    status,
    retryAfterMs: waitMs,
    problem,
    docsUrl: typeof type === 'string' && /^https?:/.test(type) ? type : undefined,
  });
}

const badAnswer = ({ response, url }: Answer, expected: string, cause?: unknown) =>
  new RequestError('network.bad_answer', `${url}: ${expected}, got status ${response.status} and something else`, {
    status: response.status,
    cause,
  });

const tooMuch = ({ response, url }: Answer, maxBytes: number) =>
  new RequestError('network.bad_answer', `${url}: expected at most ${maxBytes} bytes`, { status: response.status });

const unreachable = (url: URL, cause: unknown) =>
  new RequestError('network.unreachable', `the sequencer at ${url.origin} does not answer`, {
    cause,
    facts: { url: url.origin },
  });
