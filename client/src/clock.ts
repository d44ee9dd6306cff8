import { RequestError, SealpostError } from './errors.js';

/** Time, so that tests can hold it still. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
};

/** What every call takes: when to give up, and who may say so earlier. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Whole call, retries included; `RequestError` with code `timeout` afterwards. */
  readonly timeoutMs?: number | undefined;
}

/** One deadline for everything a call does. */
export interface Deadline {
  /** Aborted by the caller's signal or by time. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Milliseconds left. */
  left(): number;
}

/**
 * Runs `work` under the caller's signal and time limit. What it throws after the deadline becomes the deadline's error: the
 * caller's own reason, or a `RequestError` with code `timeout` that names `what`.
 */
export async function withDeadline<T>(
  clock: Clock,
  options: CallOptions,
  defaultMs: number,
  what: string,
  work: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? defaultMs;
  const end = clock.now() + timeoutMs;
  const controller = new AbortController();
  const ended = new AbortController();
  const onAbort = () => controller.abort(options.signal?.reason);
  options.signal?.throwIfAborted();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (Number.isFinite(timeoutMs)) {
    clock.sleep(timeoutMs, ended.signal).then(
      () => controller.abort(new RequestError('timeout', `${what}: no answer within ${timeoutMs} ms`, { facts: { timeoutMs } })),
      () => {},
    );
  }
  try {
    return await work({ signal: controller.signal, timeoutMs, left: () => end - clock.now() });
  } catch (error) {
    if (controller.signal.aborted) throw timeoutWithCause(controller.signal.reason, error);
    throw error;
  } finally {
    ended.abort();
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** A timeout tells what it was waiting for: the last failure, if there was one. */
function timeoutWithCause(reason: unknown, error: unknown): unknown {
  if (!(reason instanceof RequestError) || error === reason) return reason;
  const facts = error instanceof SealpostError ? { ...reason.facts, ...error.facts } : reason.facts;
  return new RequestError('timeout', reason.message, { facts, cause: error });
}

/** `promise`, or the signal's reason if that comes first. The promise's own failure afterwards is nobody's. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      promise.catch(() => {});
      reject(signal.reason);
      return;
    }
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
