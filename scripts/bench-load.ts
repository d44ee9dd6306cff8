import { type Acknowledged, checkAcknowledged } from './acknowledged.js';
import { l1Client } from './deployment.js';
import { Histogram } from './histogram.js';
import { LoadSender, makeRegion, type PresignedBundle, type Region } from './presigned.js';
import type { LoadLine, LoadPlan, LoadResult } from './scenarios.js';
import { Wire } from './wire.js';

// The load generator: a process of its own, so that its work is not the server's. Told by its first argument, it answers on
// stdout in lines of JSON. Run by bench.ts.

const tell = (line: LoadLine) => process.stdout.write(`${JSON.stringify(line)}\n`);
const progress = (what: string, done: number, total: number) => tell({ progress: what, done, total });

const PROBE_MS = 1_000;
const DAY_SECONDS = 86_400n;

/** One answer to a body of one bundle. */
interface Results {
  readonly results?: readonly { readonly receipt?: unknown }[];
  readonly code?: string;
  readonly retryAfterMs?: number;
}

interface Load {
  readonly acknowledged: Acknowledged[];
  readonly latencies: Histogram;
  readonly refused: Record<string, number>;
  requests: number;
  firstAt: number;
  lastAt: number;
  exhausted: boolean;
}

/** Every sender in a closed loop over its bundles, until the time or the bundles are used up. */
async function drive(url: string, queues: readonly (readonly PresignedBundle[])[], ms: number, lane: number): Promise<Load> {
  const load: Load = {
    acknowledged: [],
    latencies: new Histogram(),
    refused: {},
    requests: 0,
    firstAt: performance.now(),
    lastAt: performance.now(),
    exhausted: false,
  };
  const until = load.firstAt + ms;
  let shownAt = load.firstAt;
  const runSender = async (queue: readonly PresignedBundle[]) => {
    const wire = new Wire(url);
    try {
      for (const bundle of queue) {
        for (;;) {
          const began = performance.now();
          if (began >= until) return;
          const answer = await wire.post('/v1/bundles', bundle.parts);
          const now = performance.now();
          load.requests++;
          const body = JSON.parse(answer.body.toString('utf8')) as Results;
          const receipt = body.results?.[0]?.receipt;
          if (answer.status === 200 && receipt !== undefined) {
            load.latencies.record(now - began);
            load.lastAt = now;
            const { sender, nonce, region, bundleHash } = bundle;
            load.acknowledged.push({ sender, lane, nonce, count: region.count, bundleHash, receipt });
            if (now - shownAt > 500) {
              shownAt = now;
              progress('load', now - load.firstAt, ms);
            }
            break;
          }
          const why = `${answer.status} ${body.code ?? ''}`.trim();
          load.refused[why] = (load.refused[why] ?? 0) + 1;
          if (answer.status !== 503 && answer.status !== 429)
            throw new Error(`refused: ${answer.body.toString('utf8').slice(0, 500)}`);
          await new Promise((wake) => setTimeout(wake, Math.min(body.retryAfterMs ?? 100, until - now)));
        }
      }
      load.exhausted = true;
    } finally {
      wire.close();
    }
  };
  await Promise.all(queues.map(runSender));
  return load;
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  const domain = { chainId: BigInt(plan.chainId), settlement: plan.settlement };
  const { timestamp } = await l1Client(plan.l1Url).getBlock();
  const lane = 0;
  const senders = Array.from({ length: plan.senders }, () => new LoadSender(domain, lane, timestamp + DAY_SECONDS));
  // Bundles share their messages' bytes, so that hours of load fit into memory; nonce, hash and signature are each one's own.
  const regions: Region[] = [];
  const regionCount = Math.max(
    1,
    Math.min(Math.ceil(plan.topics / plan.bundle), Math.ceil(200_000_000 / (plan.bundle * plan.payload + 1))),
  );
  for (let at = 0; at < regionCount; at++) {
    if (at % 64 === 0) progress('messages', at, regionCount);
    regions.push(makeRegion({ count: plan.bundle, payloadBytes: plan.payload, lane, laneCount: plan.laneCount }));
  }
  let drawn = 0;
  const sign = (counts: number, what: string) => {
    const queues: PresignedBundle[][] = senders.map(() => []);
    for (let at = 0; at < counts; at++) {
      if (at % 256 === 0) progress(what, at * plan.senders, counts * plan.senders);
      for (const [index, sender] of senders.entries())
        queues[index]?.push(sender.sign(regions[drawn++ % regions.length] as Region));
    }
    return queues;
  };

  // A short run first: it warms both sides up, and tells how many bundles the real one needs.
  const probeCount = plan.bundle >= 64 ? 128 : 256;
  const probe = await drive(plan.url, sign(probeCount, 'signing'), Math.min(PROBE_MS, plan.seconds * 1_000), lane);
  for (const sender of senders) {
    const own = probe.acknowledged.filter((one) => one.sender === sender.address);
    sender.nextNonce = own.reduce(
      (next, one) => (one.nonce + BigInt(one.count) > next ? one.nonce + BigInt(one.count) : next),
      0n,
    );
  }
  const rate = probe.acknowledged.length / Math.max(0.05, (probe.lastAt - probe.firstAt) / 1_000);
  const counts = Math.max(16, Math.ceil((rate * plan.seconds * 1.6) / plan.senders));
  const queues = sign(counts, 'signing');

  const cpuBefore = process.cpuUsage();
  const load = await drive(plan.url, queues, plan.seconds * 1_000, lane);
  const cpu = process.cpuUsage(cpuBefore);
  const seconds = (load.lastAt - load.firstAt) / 1_000;
  const verdict = await checkAcknowledged([...probe.acknowledged, ...load.acknowledged], {
    ...domain,
    url: plan.url,
    l1Url: plan.l1Url,
    laneCount: plan.laneCount,
    sample: plan.sample,
    timeoutMs: 300_000,
    onProgress: progress,
  });
  return {
    messagesPerSecond: Math.round((load.acknowledged.length * plan.bundle) / seconds),
    p50Ms: rounded(load.latencies.percentile(50)),
    p99Ms: rounded(load.latencies.percentile(99)),
    acknowledged: verdict.acknowledged,
    lost: verdict.lost,
    unprovable: verdict.unprovable,
    doubled: verdict.doubled,
    sampled: verdict.sampled,
    batches: verdict.batches,
    requests: load.requests,
    refused: load.refused,
    seconds: rounded(seconds),
    generatorCpu: rounded((cpu.user + cpu.system) / 1e6 / seconds),
    exhausted: load.exhausted,
    complaints: verdict.complaints,
  };
}

const rounded = (value: number) => Math.round(value * 100) / 100;

tell({ result: await run(JSON.parse(process.argv[2] ?? '{}') as LoadPlan) });
