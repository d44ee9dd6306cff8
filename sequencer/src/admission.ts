import { type Bundle, encodeBundle, ProtocolError, splitFrames } from '@sealpost/prover';
import { RequestError } from './errors.js';
import type { Body } from './verifier.js';

/** A request's bundles on their way in: those that have bytes, and which of all they are. */
export interface Submission {
  /** undefined if no bundle got as far as having bytes. */
  readonly body: Body | undefined;
  /** For each bundle in order: its place in `body`, or why it has none. */
  readonly slots: readonly (number | RequestError)[];
}

/**
 * The bundles of a body of frames (§3).
 * @throws ProtocolError bundle.malformed if the body does not split wholly into frames
 */
export function submissionOfFrames(bytes: Uint8Array): Submission {
  const frames = splitFrames(bytes);
  const bounds = new Uint32Array(2 * frames.length);
  frames.forEach((frame, index) => {
    bounds[2 * index] = frame.byteOffset - bytes.byteOffset;
    bounds[2 * index + 1] = frame.byteOffset - bytes.byteOffset + frame.length;
  });
  return { body: { bytes, bounds }, slots: frames.map((_, index) => index) };
}

/** The same of bundles that came as JSON: each is brought into its bytes, or refused for itself. */
export function submissionOfBundles(bundles: readonly (Bundle | RequestError)[]): Submission {
  const encoded: Uint8Array[] = [];
  const slots = bundles.map((bundle) => {
    if (bundle instanceof RequestError) return bundle;
    try {
      encoded.push(encodeBundle(bundle));
      return encoded.length - 1;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return new RequestError(error.code as RequestError['code'], error.message, error.facts);
    }
  });
  if (encoded.length === 0) return { body: undefined, slots };
  const bytes = new Uint8Array(encoded.reduce((sum, { length }) => sum + length, 0));
  const bounds = new Uint32Array(2 * encoded.length);
  let at = 0;
  encoded.forEach((bundle, index) => {
    bytes.set(bundle, at);
    bounds[2 * index] = at;
    at += bundle.length;
    bounds[2 * index + 1] = at;
  });
  return { body: { bytes, bounds }, slots };
}

/** How full the way in is, and how fast it empties. */
export interface Load {
  readonly queuedBytes: number;
  readonly maxQueueBytes: number;
  /** Lately; 0 if unknown. */
  readonly drainedBytesPerMs: number;
  /** Refused in the last second or so: about to come back, before whoever is refused now. */
  readonly refusedBytes: number;
}

const MIN_WAIT_MS = 100;
const MAX_WAIT_MS = 10_000;

/**
 * Decides about a whole body before its first bundle is taken. A body always fits an empty queue.
 * @throws busy with the time in which the queue will be half empty, and those who were refused before will have had their turn:
 * whoever comes back too early costs what a body costs to read, and is refused again
 */
export function admit(load: Load, bodyBytes: number): void {
  const { queuedBytes, maxQueueBytes, drainedBytesPerMs, refusedBytes } = load;
  if (queuedBytes === 0 || queuedBytes + bodyBytes <= maxQueueBytes) return;
  const untilHalfEmpty = (queuedBytes + refusedBytes - maxQueueBytes / 2) / Math.max(drainedBytesPerMs, 1);
  const retryAfterMs = Math.round(Math.min(MAX_WAIT_MS, Math.max(MIN_WAIT_MS, untilHalfEmpty)));
  throw new RequestError('busy', `${queuedBytes} bytes are waiting: send this again in ${retryAfterMs} ms`, {}, retryAfterMs);
}

/** Answers in the order of the request: what each slot's bundle became. */
export function inSlotOrder<T>(slots: Submission['slots'], outcomes: readonly T[]): (T | { readonly error: RequestError })[] {
  return slots.map((slot) => (typeof slot === 'number' ? (outcomes[slot] as T) : { error: slot }));
}

/** A bucket of messages for each account, refilled steadily: the rate limit, off unless configured. */
export class AccountRates {
  private readonly buckets = new Map<string, { tokens: number; at: number }>();

  /** `perSecond` messages on average, `burst` at once. */
  constructor(
    private readonly perSecond: number,
    private readonly burst: number,
    private readonly monotonic: () => number,
  ) {}

  /** Takes `messages` from the account's bucket and returns 0, or takes nothing and returns how long to wait, milliseconds. */
  take(account: string, messages: number): number {
    const at = this.monotonic();
    const bucket = this.buckets.get(account) ?? { tokens: this.burst, at };
    const tokens = Math.min(this.burst, bucket.tokens + ((at - bucket.at) / 1_000) * this.perSecond);
    // A bundle larger than the bucket passes when the bucket is full, or it could never pass.
    const needed = Math.min(messages, this.burst);
    if (tokens < needed) return Math.ceil(((needed - tokens) / this.perSecond) * 1_000);
    this.buckets.delete(account);
    this.buckets.set(account, { tokens: tokens - messages, at });
    // Oldest first: who was not seen for longest is as good as new.
    if (this.buckets.size > 100_000) this.buckets.delete(this.buckets.keys().next().value as string);
    return 0;
  }
}
