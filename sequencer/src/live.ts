/** Wakes whoever waits for messages of a topic. Carries no messages: the log is read, so nothing can be missed. */
export class Live {
  private readonly waiting = new Map<number, Set<() => void>>();
  private count = 0;
  private over = false;

  /** True once the sequencer is stopping: whoever waits answers with what there is. */
  get ended(): boolean {
    return this.over;
  }

  /** Wakes everybody for the last time. */
  end(): void {
    this.over = true;
    for (const watchers of this.waiting.values()) for (const wake of watchers) wake();
  }

  /** Readers waiting now. */
  get size(): number {
    return this.count;
  }

  /** Calls `wake` each time messages with this topic key were added, until the returned function is called. */
  watch(topicKey: number, wake: () => void): () => void {
    let watchers = this.waiting.get(topicKey);
    if (watchers === undefined) {
      watchers = new Set();
      this.waiting.set(topicKey, watchers);
    }
    const own = () => wake();
    watchers.add(own);
    this.count++;
    return () => {
      if (!watchers.delete(own)) return;
      this.count--;
      if (watchers.size === 0 && this.waiting.get(topicKey) === watchers) this.waiting.delete(topicKey);
    };
  }

  /** Messages with these topic keys are durable and promised. */
  added(topicKeys: Float64Array): void {
    if (this.waiting.size === 0) return;
    const woken = new Set<() => void>();
    for (const key of topicKeys) {
      const watchers = this.waiting.get(key);
      if (watchers !== undefined) for (const wake of watchers) woken.add(wake);
    }
    for (const wake of woken) wake();
  }
}
