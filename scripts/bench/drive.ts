import type { Acknowledged } from '../acknowledged.js';
import { Histogram } from '../histogram.js';
import type { Region } from '../presigned.js';
import { Failure } from '../terminal.js';
import { Arrivals, openLoop } from './arrivals.js';
import type { ClosedPhase, OpenPhase, Phase, PhaseResult, Quantiles } from './load-plan.js';
import { Observer } from './observer.js';
import { Kept, type Submitter } from './submitters.js';
import { Watchers } from './watchers.js';

const SHOW_MS = 500;
const DRAIN_MS = 30_000;
const SEEN_MS = 10_000;
const DEFAULT_RETRY_MS = 100;
/**
 * An open loop's run-in: what is planned in its first second, or in its first quarter if that is less, is sent and checked as all
 * the rest, and not among the latencies. It begins after seconds of signing, on senders that the server has not seen: in
 * 7 seconds at half load, every request that took over 40 ms was one of the first 400 ms.
 */
const RUN_IN_MS = 1_000;
const RUN_IN_SHARE = 0.25;

/** What phases share. */
export interface Drive {
  readonly url: string;
  readonly pid: number;
  readonly submitters: readonly Submitter[];
  /** Of every phase so far. */
  readonly acknowledged: Acknowledged[];
  /** Regions whose first message is on a watched topic. */
  readonly watched: readonly Region[];
  readonly progress: (what: string, done: number, total: number) => void;
}

export const rounded = (value: number): number => Math.round(value * 1_000) / 1_000;

export const quantiles = (histogram: Histogram): Quantiles => ({
  p50Ms: rounded(histogram.percentile(50)),
  p90Ms: rounded(histogram.percentile(90)),
  p99Ms: rounded(histogram.percentile(99)),
  maxMs: rounded(histogram.max),
  count: histogram.count,
});

/** What one phase counts while it runs. */
class Tally {
  readonly refused: Record<string, number> = {};
  rude = 0;
  bundles = 0;
  messages = 0;
  /** Of these, acknowledged before `endAt`. */
  messagesInTime = 0;
  lastAt = 0;

  constructor(readonly endAt: number) {}

  accepted(messages: number, at: number): void {
    this.bundles++;
    this.messages += messages;
    if (at <= this.endAt) this.messagesInTime += messages;
    this.lastAt = at;
  }
}

/**
 * Sends a sender's bundle until it is acknowledged: the very same one again after a refusal.
 * @returns when the receipt was there; undefined if it was not by `giveUpAt`
 */
async function submit(drive: Drive, submitter: Submitter, tally: Tally, giveUpAt: number): Promise<number | undefined> {
  const bundle = submitter.current;
  for (;;) {
    if (performance.now() >= giveUpAt) return undefined;
    const answer = await submitter.connection.post('/v1/bundles', bundle.parts);
    const now = performance.now();
    if (answer.status === 200) {
      submitter.done();
      tally.accepted(bundle.region.count, now);
      drive.acknowledged.push(new Kept(bundle, submitter.lane, answer.body));
      return now;
    }
    const text = answer.body.toString('utf8');
    const { code, retryAfterMs } = problemOf(text);
    const why = `${answer.status} ${code ?? ''}`.trim();
    tally.refused[why] = (tally.refused[why] ?? 0) + 1;
    if (answer.status !== 503 || answer.retryAfterSeconds === undefined) tally.rude++;
    if (answer.status !== 503 && answer.status !== 429) throw new Failure(`refused: ${answer.status} ${text.slice(0, 500)}`);
    const seconds = answer.retryAfterSeconds;
    const waitMs = retryAfterMs ?? (seconds === undefined ? DEFAULT_RETRY_MS : seconds * 1_000);
    // Not all at the same moment, as the SDK does it: a crowd that comes back together is refused together.
    const spreadMs = waitMs * (1 + Math.random() / 2);
    await new Promise((wake) => setTimeout(wake, Math.max(0, Math.min(spreadMs, giveUpAt - now))));
  }
}

function problemOf(text: string): { code?: string; retryAfterMs?: number } {
  try {
    return JSON.parse(text) as { code?: string; retryAfterMs?: number };
  } catch {
    return {};
  }
}

/** Measures around a phase: the server's process, and what this one uses. */
async function observed(
  drive: Drive,
  { name, seconds }: Pick<Phase, 'name' | 'seconds'>,
  senders: readonly Submitter[],
  body: (tally: Tally, beganAt: number) => Promise<Partial<PhaseResult>>,
): Promise<PhaseResult> {
  for (const submitter of senders) submitter.signedLate = 0;
  // A load that is measured does not begin with hundreds of connections.
  await Promise.all(senders.map(({ connection }) => connection.open()));
  const observer = new Observer(drive.url, drive.pid);
  await observer.begin();
  const cpuBefore = process.cpuUsage();
  const beganAt = performance.now();
  const tally = new Tally(beganAt + seconds * 1_000);
  const shown = setInterval(
    () => drive.progress(name, Math.min(performance.now() - beganAt, seconds * 1_000), seconds * 1_000),
    SHOW_MS,
  );
  try {
    const own = await body(tally, beganAt);
    const cpu = process.cpuUsage(cpuBefore);
    const took = (performance.now() - beganAt) / 1_000;
    return {
      name,
      messages: tally.messages,
      seconds,
      messagesPerSecond: Math.round(tally.messagesInTime / seconds),
      unseen: 0,
      dropped: 0,
      refused: tally.refused,
      rude: tally.rude,
      signedLate: senders.reduce((sum, one) => sum + one.signedLate, 0),
      generatorCpu: rounded((cpu.user + cpu.system) / 1e6 / took),
      ...own,
      server: await observer.end(),
    };
  } finally {
    clearInterval(shown);
  }
}

const refusals = ({ refused }: Tally): string => {
  const all = Object.entries(refused).map(([why, times]) => `${why} × ${times}`);
  return all.length === 0 ? '' : `; answered ${all.join(', ')}`;
};

/** Every sender in a closed loop, until the time is over. */
export function runClosed(drive: Drive, phase: ClosedPhase): Promise<PhaseResult> {
  const senders = drive.submitters.slice(0, phase.senders);
  return observed(drive, phase, senders, async (tally, beganAt) => {
    const { untilMessages } = phase;
    let count = drive.acknowledged.reduce((sum, one) => sum + one.count, 0);
    const isDone = () => untilMessages !== undefined && count >= untilMessages;
    const shown =
      untilMessages === undefined
        ? undefined
        : setInterval(() => drive.progress('messages stored', count, untilMessages), SHOW_MS);
    await Promise.all(
      senders.map(async (submitter) => {
        try {
          while (!isDone()) {
            const size = submitter.current.region.count;
            if ((await submit(drive, submitter, tally, tally.endAt)) === undefined) return;
            count += size;
          }
        } catch (error) {
          if (phase.untilBroken !== true || error instanceof Failure) throw error;
        }
      }),
    );
    clearInterval(shown);
    if (tally.bundles === 0 && !isDone()) throw new Failure(`nothing was accepted within ${phase.seconds} s${refusals(tally)}`);
    // Nothing was left to send where so much was stored already.
    const seconds = tally.bundles === 0 ? 0.001 : Math.max(0.001, (tally.lastAt - beganAt) / 1_000);
    return { seconds: rounded(seconds), messagesPerSecond: Math.round(tally.messages / seconds) };
  });
}

/** Bundles on a clock, `messagesPerSecond` of them; each sent by whichever sender is free. */
export async function runOpen(drive: Drive, phase: OpenPhase, messagesPerSecond: number, bundle: number): Promise<PhaseResult> {
  const senders = drive.submitters.slice(0, phase.senders);
  const watched = new Set(drive.watched.slice(0, phase.watchers));
  const topics = [...watched].flatMap(({ topics }) => topics.slice(0, 1));
  const watchers = await Watchers.open(drive.url, topics);
  let closed = false;
  try {
    return await observed(drive, phase, senders, async (tally, beganAt) => {
      const latencies = new Histogram();
      const all = new Histogram();
      const giveUpAt = tally.endAt + DRAIN_MS;
      const measuredFrom = beganAt + Math.min(RUN_IN_MS, phase.seconds * 1_000 * RUN_IN_SHARE);
      const serve = async (submitter: Submitter, plannedAt: number) => {
        const { sender, nonce, region } = submitter.current;
        const isMeasured = plannedAt >= measuredFrom;
        const isWatched = watched.has(region);
        if (isWatched) watchers.sending(sender, nonce, { plannedAt, isMeasured });
        const acceptedAt = await submit(drive, submitter, tally, giveUpAt);
        if (acceptedAt === undefined)
          throw new Failure(`a bundle was not accepted within ${DRAIN_MS / 1_000} s after the load${refusals(tally)}`);
        all.record(acceptedAt - plannedAt);
        if (isMeasured) latencies.record(acceptedAt - plannedAt);
        if (isWatched) watchers.accepted(sender, nonce, acceptedAt);
      };
      const arrivals = new Arrivals(beganAt, messagesPerSecond / bundle, phase.seconds);
      const dropped = await openLoop(arrivals, senders, serve, phase.overload === true ? tally.endAt : giveUpAt);
      const unseen = await watchers.close(SEEN_MS);
      closed = true;
      return {
        plannedPerSecond: Math.round(messagesPerSecond),
        accept: quantiles(latencies),
        acceptOfAll: quantiles(all),
        ...(watched.size === 0
          ? {}
          : { readable: quantiles(watchers.readable), plannedToReadable: quantiles(watchers.plannedToReadable) }),
        unseen,
        dropped,
      };
    });
  } finally {
    if (!closed) await watchers.close(0).catch(() => {});
  }
}
