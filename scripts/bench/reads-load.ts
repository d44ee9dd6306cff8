import { createHash } from 'node:crypto';
import type { Hex } from '@sealpost/prover';
import { l1Client } from '../deployment.js';
import { Histogram } from '../histogram.js';
import { LoadSender } from '../presigned.js';
import { Wire } from '../wire.js';
import { Arrivals, openLoop } from './arrivals.js';
import { quantiles, rounded } from './drive.js';
import { Getter } from './getter.js';
import { numberedRegion } from './numbered.js';
import type { ReadsPlan, ReadsResult, RouteResult } from './reads-plan.js';
import type { ProcessLine } from './scenario.js';

// The readers of the scenario `reads`, who first store what they read.

const tell = (line: ProcessLine<ReadsResult>) => process.stdout.write(`${JSON.stringify(line)}\n`);

const DAY_SECONDS = 86_400n;
const SENDERS = 8;
const LIMIT = 100;
const OPEN_CONNECTIONS = 128;
const SEAL_MS = 60_000;
const WARM_UP_MS = 500;
/** Requests of an open loop that nobody served so long after its end are given up. */
const DRAIN_MS = 10_000;

interface Stored {
  readonly topics: readonly Hex[];
  readonly senders: readonly { readonly address: Hex; readonly messages: number }[];
}

async function store(plan: ReadsPlan): Promise<Stored> {
  const domain = { chainId: BigInt(plan.chainId), settlement: plan.settlement };
  const { timestamp } = await l1Client(plan.l1Url).getBlock();
  const topics = Array.from(
    { length: plan.topics },
    (_, index): Hex => `0x${createHash('sha256').update(`reads ${index}`).digest('hex')}`,
  );
  const bundles = Math.max(1, Math.ceil(plan.messages / plan.bundle / SENDERS));
  const senders = await Promise.all(
    Array.from({ length: SENDERS }, async (_, index) => {
      const sender = new LoadSender(domain, 0, timestamp + DAY_SECONDS);
      const wire = new Wire(plan.url);
      for (let at = 0; at < bundles; at++) {
        const { parts } = sender.sign(numberedRegion(topics, at * plan.bundle, plan.bundle, plan.payload));
        const { status, body } = await wire.post('/v1/bundles', parts);
        if (status !== 200) throw new Error(`refused: ${body.toString('utf8').slice(0, 500)}`);
        if (index === 0) tell({ progress: 'storing messages', done: at, total: bundles });
      }
      wire.close();
      return { address: sender.address, messages: bundles * plan.bundle };
    }),
  );
  return { topics, senders };
}

/** Paths of each route, drawn anew for each request. */
async function routesOf(url: string, { topics, senders }: Stored): Promise<[name: string, path: () => string][]> {
  const wire = new Wire(url);
  const draw = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
  const json = async (path: string) => JSON.parse((await wire.get(path)).body.toString('utf8'));
  const message = () => {
    const { address, messages } = draw(senders);
    return `/v1/messages/${address}/0/${Math.floor(Math.random() * messages)}`;
  };
  // Everything must be in a batch for every proof to be there.
  for (const deadline = performance.now() + SEAL_MS; ; ) {
    const { lanes } = (await json('/v1/status')) as { lanes: { accepted: string; sealed: string }[] };
    if (lanes[0]?.accepted === lanes[0]?.sealed) break;
    if (performance.now() > deadline) throw new Error('expected everything to be sealed within a minute');
    await new Promise((wake) => setTimeout(wake, 50));
  }
  // Cursors behind which there is a whole page of one topic, and so of any: they go round.
  const starts: string[] = [];
  for (let after = '0'; ; ) {
    const { messages, next } = (await json(`/v1/topics/${topics[0]}/messages?after=${after}&limit=${LIMIT}`)) as {
      messages: unknown[];
      next: string;
    };
    if (messages.length < LIMIT) break;
    starts.push(after);
    after = next;
  }
  if (starts.length === 0) throw new Error(`expected ${LIMIT} messages or more on each topic: store more`);
  const page = () => `/v1/topics/${draw(topics)}/messages?limit=${LIMIT}&after=${draw(starts)}`;
  const { batches } = (await json('/v1/batches?limit=100')) as { batches: { header: { number: string } }[] };
  wire.close();
  return [
    ['healthz', () => '/healthz'],
    ['page', page],
    ['pageWithProofs', () => `${page()}&proofs=1`],
    ['message', message],
    ['receiptProof', () => `${message()}/proof?anchor=receipt`],
    ['batchProof', () => `${message()}/proof`],
    ['batchFile', () => `/v1/batches/0/${draw(batches).header.number}/data`],
  ];
}

async function measure(plan: ReadsPlan, name: string, path: () => string): Promise<RouteResult> {
  const getters = Array.from({ length: OPEN_CONNECTIONS }, () => new Getter(plan.url));
  const ask = async (getter: Getter): Promise<number> => {
    const asked = path();
    const { status, bytes } = await getter.get(asked);
    if (status !== 200) throw new Error(`${asked} answered ${status}`);
    return bytes;
  };
  try {
    let [requests, bytes] = [0, 0];
    const loop = async (untilMs: number) => {
      requests = bytes = 0;
      const closed = getters.slice(0, plan.connections).map(async (getter) => {
        while (performance.now() < untilMs) {
          const got = await ask(getter);
          bytes += got;
          requests++;
        }
      });
      await Promise.all(closed);
    };
    await loop(performance.now() + WARM_UP_MS);
    const cpuBefore = process.cpuUsage();
    const beganAt = performance.now();
    await loop(beganAt + plan.seconds * 1_000);
    const took = (performance.now() - beganAt) / 1_000;
    const cpu = process.cpuUsage(cpuBefore);
    const requestsPerSecond = requests / took;

    const latencies = new Histogram();
    const arrivals = new Arrivals(performance.now() + 10, requestsPerSecond / 2, plan.seconds);
    const serve = async (getter: Getter, plannedAt: number) => {
      await ask(getter);
      latencies.record(performance.now() - plannedAt);
    };
    const dropped = await openLoop(arrivals, getters, serve, performance.now() + plan.seconds * 1_000 + DRAIN_MS);
    if (dropped > 0) throw new Error(`${name}: ${dropped} requests at half of the closed loop's rate were never served`);
    return {
      name,
      requestsPerSecond: rounded(requestsPerSecond),
      bytes: Math.round(bytes / requests),
      latency: quantiles(latencies),
      generatorCpu: rounded((cpu.user + cpu.system) / 1e6 / took),
    };
  } finally {
    for (const getter of getters) getter.close();
  }
}

async function run(plan: ReadsPlan): Promise<ReadsResult> {
  const routes = await routesOf(plan.url, await store(plan));
  const results: RouteResult[] = [];
  for (const [index, [name, path]] of routes.entries()) {
    tell({ progress: `reading: ${name}`, done: index, total: routes.length });
    results.push(await measure(plan, name, path));
  }
  return { routes: results };
}

tell({ result: await run(JSON.parse(process.argv[2] ?? '{}') as ReadsPlan) });
