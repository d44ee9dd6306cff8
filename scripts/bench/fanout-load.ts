import { l1Client } from '../deployment.js';
import { LoadSender, type PresignedBundle } from '../presigned.js';
import { Wire } from '../wire.js';
import { type FanoutLoadPlan, type FanoutLoadResult, systemMs } from './fanout-plan.js';
import { numberedRegion } from './numbered.js';
import { Observer } from './observer.js';
import type { ProcessLine } from './scenario.js';

// The senders of the scenario `fanout`: an open loop over bundles signed beforehand.

const tell = (line: ProcessLine<FanoutLoadResult>) => process.stdout.write(`${JSON.stringify(line)}\n`);

const DAY_SECONDS = 86_400n;
const RETRY_MS = 50;
const SETTLE_MS = 100;

async function run(plan: FanoutLoadPlan): Promise<FanoutLoadResult> {
  const { topicsOfSenders, bundlesOfSender, bundle, payload } = plan;
  const domain = { chainId: BigInt(plan.chainId), settlement: plan.settlement };
  const { timestamp } = await l1Client(plan.l1Url).getBlock();
  const queues = topicsOfSenders.map((topics, index): PresignedBundle[] => {
    tell({ progress: 'signing bundles', done: index, total: topicsOfSenders.length });
    const sender = new LoadSender(domain, 0, timestamp + DAY_SECONDS);
    return Array.from({ length: bundlesOfSender }, (_, at) => sender.sign(numberedRegion(topics, at * bundle, bundle, payload)));
  });
  const intervalMs = (1_000 * bundle * queues.length) / plan.messagesPerSecond;
  const refused: Record<string, number> = {};
  const observer = new Observer(plan.url, plan.pid);
  await observer.begin();
  const cpuBefore = process.cpuUsage();
  const startMs = systemMs() + SETTLE_MS;
  const acceptedAt = await Promise.all(
    queues.map(async (queue, index) => {
      const wire = new Wire(plan.url);
      const times: number[] = [];
      const ownStartMs = startMs + (intervalMs * index) / queues.length;
      for (const [at, { parts }] of queue.entries()) {
        const waitMs = ownStartMs + at * intervalMs - systemMs();
        if (waitMs > 0) await new Promise((wake) => setTimeout(wake, waitMs));
        for (;;) {
          const { status, body } = await wire.post('/v1/bundles', parts);
          if (status === 200) break;
          if (status !== 503) throw new Error(`refused: ${body.toString('utf8').slice(0, 500)}`);
          refused[status] = (refused[status] ?? 0) + 1;
          await new Promise((wake) => setTimeout(wake, RETRY_MS));
        }
        times.push(systemMs());
        if (index === 0) tell({ progress: 'sending', done: at, total: queue.length });
      }
      wire.close();
      return times;
    }),
  );
  const seconds = (Math.max(...acceptedAt.map((times) => times.at(-1) ?? 0)) - startMs) / 1_000;
  const cpu = process.cpuUsage(cpuBefore);
  const server = await observer.end();
  return { acceptedAt, seconds, refused, cpu: (cpu.user + cpu.system) / 1e6 / seconds, server };
}

tell({ result: await run(JSON.parse(process.argv[2] ?? '{}') as FanoutLoadPlan) });
