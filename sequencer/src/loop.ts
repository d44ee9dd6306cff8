import { setMaxListeners } from 'node:events';
import type { Clock, Log } from './ports.js';

/** Waits for a promise, unless the loop is stopped meanwhile: then the promise is let go, and its result is nobody's. */
export type Until = <T>(promise: Promise<T>) => Promise<T>;

export interface LoopOptions {
  /** Prefix of what is logged: `l1` logs `l1.failing` and `l1.recovered`. */
  readonly name: string;
  /** One round. It MUST wait for everything but its own store writes by `until`. */
  readonly round: (until: Until) => Promise<void>;
  /** Milliseconds between rounds. */
  readonly intervalMs: number;
  /** Most milliseconds between rounds while they fail: the wait doubles up to it, with jitter. */
  readonly maxBackoffMs: number;
  /** Whether a round that failed so is tried again; otherwise the loop ends and `onFatal` is told. */
  readonly retries: (error: unknown) => boolean;
  readonly onFatal: (error: unknown) => void;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1, for jitter. */
  readonly random?: (() => number) | undefined;
}

/** Thrown through a round by `until` when the loop was stopped; never seen outside. */
class Stopped extends Error {}

/**
 * Runs rounds one after another, the first at once, until it is stopped. Rounds that fail are logged once per reason, not
 * once per round, and come at growing distances.
 */
export class Loop {
  /** Why the last round failed; undefined if it did not. */
  failure: { readonly code: string; readonly message: string } | undefined;

  private readonly abort = new AbortController();
  private readonly finished: Promise<void>;
  private wakeUp: (() => void) | undefined;
  private awake = false;
  private failures = 0;
  private failingSince = 0;

  constructor(private readonly options: LoopOptions) {
    setMaxListeners(0, this.abort.signal);
    // Not before the constructor has returned: a round may use what holds the loop.
    this.finished = Promise.resolve().then(() => this.run());
  }

  /** Starts the next round now (or one more, if one is running). Does not cut short the wait after a failure. */
  wake(): void {
    this.awake = true;
    if (this.failures === 0) this.wakeUp?.();
  }

  /** Lets the current round's waiting go; resolves once its last store write has ended. Nothing is done afterwards. */
  stop(): Promise<void> {
    this.abort.abort();
    return this.finished;
  }

  private readonly until: Until = (promise) =>
    new Promise((resolve, reject) => {
      const { signal } = this.abort;
      const stop = () => reject(new Stopped());
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop, { once: true });
      promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });

  private async run(): Promise<void> {
    const { round, retries, onFatal } = this.options;
    while (!this.abort.signal.aborted) {
      this.awake = false;
      try {
        await round(this.until);
        this.succeeded();
      } catch (error) {
        if (error instanceof Stopped || this.abort.signal.aborted) return;
        if (!retries(error)) {
          onFatal(error);
          return;
        }
        this.failed(error);
      }
      await this.pause();
    }
  }

  private succeeded(): void {
    const { clock, log, name } = this.options;
    if (this.failure !== undefined) {
      log.info(`${name}.recovered`, { afterMs: Math.round(clock.monotonic() - this.failingSince), rounds: this.failures });
    }
    this.failure = undefined;
    this.failures = 0;
  }

  private failed(error: unknown): void {
    const { clock, log, name } = this.options;
    const { message } = error as Error;
    const code = String((error as { code?: unknown }).code ?? 'internal');
    if (this.failure === undefined) this.failingSince = clock.monotonic();
    if (this.failure?.code !== code) log.warn(`${name}.failing`, { code, error: message });
    this.failure = { code, message };
    this.failures++;
  }

  private async pause(): Promise<void> {
    if (this.failures === 0 && this.awake) return;
    const { intervalMs, maxBackoffMs, random = Math.random } = this.options;
    const backoffMs = Math.min(maxBackoffMs, intervalMs * 2 ** Math.min(this.failures, 20)) * (0.5 + random() / 2);
    await new Promise<void>((resolve) => {
      const { signal } = this.abort;
      const done = () => {
        clearTimeout(timer);
        this.wakeUp = undefined;
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, this.failures === 0 ? intervalMs : backoffMs);
      this.wakeUp = done;
      if (signal.aborted) done();
      else signal.addEventListener('abort', done, { once: true });
    });
  }
}
