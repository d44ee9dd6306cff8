import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Clock } from './ports.js';
import type { LaneHeads } from './reader.js';
import type { Outcome } from './sequencer.js';

/** What is read when somebody scrapes: the stages keep their own state, metrics ask for it. */
export interface Gauges {
  readonly heads: () => readonly LaneHeads[];
  readonly queuedBytes: () => number;
  readonly unsealedEntries: () => number;
  readonly waitingReaders: () => number;
  readonly diskBytes: () => number;
  readonly l1: () => { readonly block: bigint; readonly lagSeconds: number; readonly reorgs: number } | undefined;
  readonly openings: () => { readonly demands: number; readonly given: Readonly<Record<'answer' | 'redeem', number>> };
  readonly poster: () => {
    readonly walletWei: bigint | undefined;
    readonly backlogBatches: number;
    readonly attempts: Readonly<Record<string, number>>;
    readonly feeBumps: number;
  };
}

const ACCEPT_BUCKETS = [0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2.5, 5];

/** Prometheus metrics in base units, one for every rung of the ladder. */
export class Metrics {
  private readonly registry = new Registry();
  private readonly bundles: Counter<'outcome'>;
  private readonly acceptSeconds: Histogram;
  private readonly drained: ByteRate;
  private readonly refusals: ByteRate;

  constructor(gauges: Gauges, clock: Clock) {
    this.drained = new ByteRate(clock);
    this.refusals = new ByteRate(clock);
    const registers = [this.registry];
    this.bundles = new Counter({
      name: 'sealpost_bundles_total',
      help: 'Bundles answered, by outcome: accepted, or the error code',
      labelNames: ['outcome'],
      registers,
    });
    this.acceptSeconds = new Histogram({
      name: 'sealpost_accept_seconds',
      help: 'From the arrival of a request to its answer',
      buckets: ACCEPT_BUCKETS,
      registers,
    });
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    const counter = (name: string, help: string, read: () => number) =>
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    new Gauge({
      name: 'sealpost_head_sequence',
      help: 'The next sequence not yet on the rung',
      labelNames: ['lane', 'rung'],
      registers,
      collect() {
        for (const { lane, batch: _, ...rungs } of gauges.heads()) {
          for (const [rung, head] of Object.entries(rungs)) this.set({ lane, rung }, Number(head));
        }
      },
    });
    new Gauge({
      name: 'sealpost_head_batch',
      help: 'Number of the newest sealed batch',
      labelNames: ['lane'],
      registers,
      collect() {
        for (const { lane, batch } of gauges.heads()) this.set({ lane }, Number(batch));
      },
    });
    gauge('sealpost_queue_bytes', 'Bodies that arrived and are not answered', gauges.queuedBytes);
    gauge('sealpost_unsealed_entries', 'Entries in no batch yet', gauges.unsealedEntries);
    gauge('sealpost_waiting_readers', 'Long polls and event streams open', gauges.waitingReaders);
    gauge('sealpost_disk_bytes', 'Size of the database with its WAL', gauges.diskBytes);
    gauge('sealpost_l1_block', 'Newest L1 block seen', () => Number(gauges.l1()?.block ?? 0n));
    gauge('sealpost_l1_lag_seconds', 'Since the newest L1 block was seen', () => gauges.l1()?.lagSeconds ?? Number.NaN);
    counter('sealpost_l1_reorgs_total', 'L1 reorganisations followed', () => gauges.l1()?.reorgs ?? 0);
    gauge('sealpost_wallet_wei', 'Balance of the posting account', () => Number(gauges.poster().walletWei ?? Number.NaN));
    gauge('sealpost_backlog_batches', 'Batches sealed and not committed', () => gauges.poster().backlogBatches);
    gauge('sealpost_demands_open', 'Demands in the contract that nobody has answered yet', () => gauges.openings().demands);
    counter('sealpost_answers_total', 'Answers given to the L1', () => gauges.openings().given.answer);
    counter('sealpost_redemptions_total', 'Redemptions of postage given to the L1', () => gauges.openings().given.redeem);
    counter('sealpost_post_fee_bumps_total', 'Commit transactions replaced at a higher fee', () => gauges.poster().feeBumps);
    new Counter({
      name: 'sealpost_post_attempts_total',
      help: 'Commit transactions, by outcome',
      labelNames: ['outcome'],
      registers,
      collect() {
        this.reset();
        for (const [outcome, count] of Object.entries(gauges.poster().attempts)) this.inc({ outcome }, count);
      },
    });
    collectDefaultMetrics({ register: this.registry });
  }

  /** One answered request. */
  accepted(outcomes: readonly Outcome[], bodyBytes: number, seconds: number): void {
    this.acceptSeconds.observe(seconds);
    for (const outcome of outcomes) this.bundles.inc({ outcome: 'receipt' in outcome ? 'accepted' : outcome.error.code });
    this.drained.add(bodyBytes);
  }

  /** A body that was not taken, because too many were waiting. */
  refused(bodyBytes: number): void {
    this.refusals.add(bodyBytes);
  }

  /** How fast bodies were answered during the last second or so. */
  drainedBytesPerMs(): number {
    return this.drained.perMs;
  }

  /** Bytes of bodies that were refused in the last second or so. */
  refusedBytes(): number {
    return this.refusals.perMs * WINDOW_MS;
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}

const WINDOW_MS = 1_000;

/** Bytes a millisecond, over the last window that is whole; 0 if that is long ago. */
class ByteRate {
  private bytes = 0;
  private sinceMs: number;
  private last = 0;

  constructor(private readonly clock: Clock) {
    this.sinceMs = clock.monotonic();
  }

  add(bytes: number): void {
    this.bytes += bytes;
    const elapsed = this.clock.monotonic() - this.sinceMs;
    if (elapsed < WINDOW_MS) return;
    this.last = this.bytes / elapsed;
    this.bytes = 0;
    this.sinceMs += elapsed;
  }

  get perMs(): number {
    return this.clock.monotonic() - this.sinceMs > 2 * WINDOW_MS ? 0 : this.last;
  }
}
