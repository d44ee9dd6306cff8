/** Evenly spaced requests on a clock, whatever becomes of those before: an open loop. Times are milliseconds. */
export class Arrivals {
  readonly total: number;

  constructor(
    readonly startMs: number,
    readonly perSecond: number,
    seconds: number,
  ) {
    this.total = Math.max(1, Math.floor(perSecond * seconds));
  }

  /** When request `index` is planned. */
  at(index: number): number {
    return this.startMs + (index * 1_000) / this.perSecond;
  }

  /** How many requests are planned at `nowMs` or before. */
  dueBy(nowMs: number): number {
    if (nowMs < this.startMs) return 0;
    const due = Math.floor(((nowMs - this.startMs) * this.perSecond) / 1_000) + 1;
    return Math.min(this.total, due);
  }
}

/** A request for a worker to serve now; its latency counts from when it was planned. */
export interface Assignment<W> {
  readonly worker: W;
  readonly plannedAt: number;
}

/**
 * Hands planned requests to workers, each of which serves one at a time: to the one that has been idle longest; while none is
 * idle they wait, the oldest first.
 */
export class Dispatcher<W> {
  private readonly idle: W[];
  private readonly waiting: number[] = [];
  private waitingFrom = 0;
  private planned = 0;

  constructor(
    private readonly arrivals: Arrivals,
    workers: readonly W[],
  ) {
    this.idle = [...workers];
  }

  /** What is to be started now. */
  plan(nowMs: number): Assignment<W>[] {
    const starting: Assignment<W>[] = [];
    for (const due = this.arrivals.dueBy(nowMs); this.planned < due; this.planned++) {
      const plannedAt = this.arrivals.at(this.planned);
      const worker = this.idle.shift();
      if (worker === undefined) this.waiting.push(plannedAt);
      else starting.push({ worker, plannedAt });
    }
    return starting;
  }

  /** A worker is done: the request it serves next, or nothing, which makes it idle. */
  next(worker: W): number | undefined {
    const plannedAt = this.waiting[this.waitingFrom];
    if (plannedAt === undefined) {
      this.idle.push(worker);
      return undefined;
    }
    this.waitingFrom++;
    return plannedAt;
  }

  /** When the next request is planned; undefined if all were. */
  get nextAt(): number | undefined {
    return this.planned < this.arrivals.total ? this.arrivals.at(this.planned) : undefined;
  }

  /** Planned, and served by nobody yet. */
  get backlog(): number {
    return this.waiting.length - this.waitingFrom;
  }

  /** Gives up what waits. @returns how many that were */
  drop(): number {
    const dropped = this.backlog;
    this.waitingFrom = this.waiting.length;
    return dropped;
  }
}

/**
 * Serves every arrival. Resolves when the last one is served, or at `endMs` with those dropped that nobody serves by then.
 * @returns how many were dropped
 */
export async function openLoop<W>(
  arrivals: Arrivals,
  workers: readonly W[],
  serve: (worker: W, plannedAt: number) => Promise<void>,
  endMs: number,
): Promise<number> {
  const dispatcher = new Dispatcher(arrivals, workers);
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  const start = ({ worker, plannedAt }: Assignment<W>) => {
    const work = (async () => {
      for (let at: number | undefined = plannedAt; at !== undefined; at = dispatcher.next(worker)) await serve(worker, at);
    })()
      .catch((error: unknown) => void failures.push(error))
      .finally(() => running.delete(work));
    running.add(work);
  };
  while (failures.length === 0) {
    for (const assignment of dispatcher.plan(performance.now())) start(assignment);
    const { nextAt } = dispatcher;
    if (nextAt === undefined) break;
    await new Promise((wake) => setTimeout(wake, Math.max(0, nextAt - performance.now())));
  }
  while (failures.length === 0 && dispatcher.backlog > 0 && performance.now() < endMs) {
    await new Promise((wake) => setTimeout(wake, 5));
  }
  const dropped = dispatcher.drop();
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
  return dropped;
}
