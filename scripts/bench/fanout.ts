import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Hex } from '@sealpost/prover';
import { Histogram } from '../histogram.js';
import { Failure } from '../terminal.js';
import { Wire } from '../wire.js';
import { quantiles, rounded } from './drive.js';
import type { FanoutLoadPlan, FanoutLoadResult, SubscribersPlan, SubscribersResult } from './fanout-plan.js';
import { percent } from './loads.js';
import { NUMBER_BYTES } from './numbered.js';
import { type Bench, loadSeconds, type Outcome, type Scenario, type Stage } from './scenario.js';

const TOPICS = 100;
const PER_TOPIC = 10;
const MESSAGES_PER_SECOND = 10_000;
/** Below it, a rate is another one than was planned. */
const PLANNED_SHARE = 0.95;
const OPEN_MS = 60_000;

const topicAt = (index: number): Hex => `0x${createHash('sha256').update(`fanout ${index}`).digest('hex')}`;

/** Resolves when the sequencer says that so many readers wait. */
async function untilWaiting(url: string, readers: number, signal: AbortSignal): Promise<void> {
  const wire = new Wire(url);
  try {
    for (const deadline = performance.now() + OPEN_MS; ; ) {
      const { body } = await wire.get('/metrics');
      const waiting = Number(/^sealpost_waiting_readers (\d+)$/m.exec(body.toString('utf8'))?.[1] ?? 0);
      if (waiting === readers) return;
      signal.throwIfAborted();
      if (performance.now() > deadline) throw new Failure(`${readers} subscribers were to be open, ${waiting} are`);
      await new Promise((wake) => setTimeout(wake, 50));
    }
  } finally {
    wire.close();
  }
}

async function measure(bench: Bench, { network }: Stage, folder: string): Promise<Outcome> {
  const { settings } = bench;
  const { url, l1Url, chainId, settlement } = network;
  const senders = Math.min(TOPICS, settings.senders ?? 20);
  const bundle = settings.bundle ?? 50;
  const payload = settings.payload ?? 256;
  if (payload < NUMBER_BYTES)
    throw new Failure(
      `fanout numbers its payloads: expected --payload of ${NUMBER_BYTES} bytes or more, got ${payload}`,
      'see --help',
      2,
    );
  const seconds = loadSeconds(settings, 20, 3);
  const bundlesOfSender = Math.max(1, Math.round((MESSAGES_PER_SECOND * seconds) / bundle / senders));
  const sent = bundlesOfSender * bundle;
  const topics = Array.from({ length: TOPICS }, (_, index) => topicAt(index));
  const topicsOfSenders = Array.from({ length: senders }, (_, sender) => topics.filter((_, index) => index % senders === sender));
  // The messages of a sender go round its topics: its first ones may get one more.
  const messages = topics.map((_, index) => {
    const own = (topicsOfSenders[index % senders] as readonly Hex[]).length;
    const place = Math.floor(index / senders);
    return Math.floor(sent / own) + (place < sent % own ? 1 : 0);
  });
  const file = join(folder, 'deliveries');
  const subscribersPlan: SubscribersPlan = { url, topics, perTopic: PER_TOPIC, messages, payload, file };
  const loadPlan: FanoutLoadPlan = {
    ...{ url, l1Url, chainId, settlement, topicsOfSenders, bundlesOfSender, bundle, payload },
    ...{ pid: network.sequencer?.pid ?? 0, messagesPerSecond: MESSAGES_PER_SECOND },
  };
  bench.show('opening streams');
  const subscribing = bench.inProcess<SubscribersResult>(new URL('./fanout-subscribers.ts', import.meta.url), subscribersPlan);
  // Whatever fails first ends the scenario, and with it this process: that is then no news.
  subscribing.catch(() => {});
  await Promise.race([untilWaiting(url, TOPICS * PER_TOPIC, bench.signal), subscribing]);
  const [load, subscribers] = await Promise.all([
    bench.inProcess<FanoutLoadResult>(new URL('./fanout-load.ts', import.meta.url), loadPlan),
    subscribing,
  ]);
  const { server } = load;

  const delays = new Histogram();
  const times = new Float64Array(new Uint8Array(readFileSync(file)).buffer);
  let at = 0;
  for (const [index, count] of messages.entries()) {
    const own = (topicsOfSenders[index % senders] as readonly Hex[]).length;
    const acceptedAt = load.acceptedAt[index % senders] as readonly number[];
    for (let each = 0; each < PER_TOPIC; each++) {
      for (let number = 0; number < count; number++, at++) {
        const deliveredAt = times[at] as number;
        // The number-th message of a topic is the (number × topics + place)-th of its sender.
        const place = number * own + Math.floor(index / senders);
        // An event may be here before the receipt is.
        if (deliveredAt !== 0) delays.record(Math.max(0, deliveredAt - (acceptedAt[Math.floor(place / bundle)] as number)));
      }
    }
  }
  const expected = times.length;
  const { delivered, repeated, disordered, closed } = subscribers;
  const all = delivered === expected && repeated === 0 && disordered === 0;
  const messagesPerSecond = Math.round((senders * sent) / load.seconds);
  const { p50Ms, p99Ms } = quantiles(delays);
  const share = (value: number | undefined) => (value === undefined ? 'unknown' : percent(value));
  const refused = Object.values(load.refused).reduce((total, count) => total + count, 0);
  return {
    json: {
      ...{ subscribers: TOPICS * PER_TOPIC, topics: TOPICS, messagesPerSecond, delivered, expected, all },
      ...{ repeated, disordered, closed, refused, p50Ms, p99Ms, eventLoopStallMs: server.stallMs },
      ...{ serverCores: server.cpu, generatorCores: rounded(load.cpu), subscribersCores: rounded(subscribers.cpu) },
    },
    rows: [
      { figure: 'sent', value: messagesPerSecond, unit: 'messages/s', beside: { what: 'planned', value: MESSAGES_PER_SECOND } },
      { figure: 'delivered', value: delivered, unit: 'events', beside: { what: 'expected', value: expected } },
      { figure: 'accepted to delivered, p50', value: p50Ms, unit: 'ms' },
      { figure: 'accepted to delivered, p99', value: p99Ms, unit: 'ms' },
      ...(server.stallMs === undefined ? [] : [{ figure: 'event loop stall, maximum', value: server.stallMs, unit: 'ms' }]),
    ],
    notes: [
      ...(messagesPerSecond >= PLANNED_SHARE * MESSAGES_PER_SECOND
        ? []
        : ['the planned rate was not reached: the latencies are of the rate that was']),
      `${TOPICS * PER_TOPIC} subscribers of ${TOPICS} topics, ${all ? 'each of which got every message exactly once, in order' : `${repeated} repeated, ${disordered} out of order, ${closed} streams closed`}.`,
      `Of a core each: the sequencer ${share(server.cpu)} with all its threads, its senders ${share(load.cpu)}, the subscribers ${share(subscribers.cpu)}.`,
    ],
    healthy: all,
  };
}

export const fanout: Scenario = {
  name: 'fanout',
  about: '1,000 live subscribers of 100 topics at 10,000 messages a second: is everything delivered (20 s)',
  byDefault: false,
  run: (bench) => bench.withFolder((folder) => bench.withNetwork({}, (stage) => measure(bench, stage, folder))),
};
