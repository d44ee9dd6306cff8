/** Somebody who waits for messages of a topic. */
interface Watcher {
  readonly wake: () => void;
  /** When it was woken last, milliseconds of `performance.now`. */
  wokenAt: number;
}

/** Those who wait for one topic. */
interface Audience {
  readonly watchers: Set<Watcher>;
  /** The adding that they were last put in line for. */
  calledFor: number;
}

/**
 * Wakings a millisecond, all readers together. What a waking costs hardly depends on how many messages it finds. Measured with
 * 1,000 readers who got seven events each time: 50 µs, of which the system's write takes 18, web streams 9, Node's HTTP 8, and
 * promises, timers and garbage the rest; one more event in the same write costs less than 1. Without a bound, 1,000 readers of
 * busy topics would be written to message by message, 100,000 times a second; with it they take half of the event loop, and
 * each of them gets at once what came in 100 ms.
 */
const WAKINGS_A_MS = 10;
// What is made up for after the event loop was busy with something else, and what may be woken without a wait out of a lull:
// 250 writes in a row keep the loop from other work for about 10 ms.
const MAX_WAKINGS_AT_ONCE = 250;
// Who was not woken for this long goes before those whose topics are busy.
const QUIET_MS = 1_000;

/**
 * Wakes whoever waits for messages of a topic. Carries no messages: the log is read, so nothing can be missed.
 *
 * All readers together are woken at most about 10,000 times a second: as long as they are fewer, each at once; beyond that
 * in turn, so that the gap between two wakings of one reader grows with the number of readers whose topics are busy (20: 2 ms,
 * 1,000: 100 ms), and what comes meanwhile is read and written together. Readers of quiet topics do not stand in that line.
 */
export class Live {
  private readonly waiting = new Map<number, Audience>();
  private readonly quiet = new Set<Watcher>();
  private readonly busy = new Set<Watcher>();
  private allowance = MAX_WAKINGS_AT_ONCE;
  private allowedAt = performance.now();
  private timer: NodeJS.Timeout | undefined;
  private count = 0;
  private addings = 0;
  private over = false;

  /** True once the sequencer is stopping: whoever waits answers with what there is. */
  get ended(): boolean {
    return this.over;
  }

  /** Wakes everybody for the last time. */
  end(): void {
    this.over = true;
    clearTimeout(this.timer);
    for (const { watchers } of this.waiting.values()) for (const { wake } of watchers) wake();
  }

  /** Readers waiting now. */
  get size(): number {
    return this.count;
  }

  /** Grows with every adding: while it stands, what was read of the log's end is still its end. */
  get moment(): number {
    return this.addings;
  }

  /**
   * Calls `wake` soon after messages with this topic key were added, once for all that came meanwhile, until the returned
   * function is called.
   */
  watch(topicKey: number, wake: () => void): () => void {
    let audience = this.waiting.get(topicKey);
    if (audience === undefined) {
      audience = { watchers: new Set(), calledFor: this.addings };
      this.waiting.set(topicKey, audience);
    }
    const { watchers } = audience;
    const own: Watcher = { wake, wokenAt: Number.NEGATIVE_INFINITY };
    watchers.add(own);
    this.count++;
    return () => {
      if (!watchers.delete(own)) return;
      this.count--;
      this.quiet.delete(own);
      this.busy.delete(own);
      if (watchers.size === 0 && this.waiting.get(topicKey) === audience) this.waiting.delete(topicKey);
    };
  }

  /** Messages with these topic keys are durable and promised. */
  added(topicKeys: Float64Array): void {
    this.addings++;
    if (this.waiting.size === 0) return;
    const now = performance.now();
    for (const key of topicKeys) {
      const audience = this.waiting.get(key);
      if (audience === undefined || audience.calledFor === this.addings) continue;
      audience.calledFor = this.addings;
      // Those of one topic stand behind each other: woken in one turn, they share one reading (pages.ts).
      for (const watcher of audience.watchers) {
        if (this.busy.has(watcher)) continue;
        (now - watcher.wokenAt >= QUIET_MS ? this.quiet : this.busy).add(watcher);
      }
    }
    if (this.timer === undefined) this.wakeNext();
  }

  private wakeNext(): void {
    this.timer = undefined;
    const now = performance.now();
    this.allowance = Math.min(MAX_WAKINGS_AT_ONCE, this.allowance + (now - this.allowedAt) * WAKINGS_A_MS);
    this.allowedAt = now;
    for (const line of [this.quiet, this.busy]) {
      for (const watcher of line) {
        if (this.allowance < 1) break;
        this.allowance--;
        line.delete(watcher);
        watcher.wokenAt = now;
        watcher.wake();
      }
    }
    if (this.quiet.size + this.busy.size > 0 && !this.over) this.timer = setTimeout(() => this.wakeNext(), 1);
  }
}
