import { Failure, formatBytes } from '../terminal.js';
import { networkOptions, percent } from './loads.js';
import { NUMBER_BYTES } from './numbered.js';
import type { ReadsPlan, ReadsResult } from './reads-plan.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';

const LOAD = new URL('reads-load.ts', import.meta.url);

const TOPICS = 100;
const MESSAGES = 200_000;

const NAMES: Readonly<Record<string, string>> = {
  healthz: '/healthz, which does nothing',
  page: 'a page of 100 messages',
  pageWithProofs: 'a page of 100 messages with their proofs',
  message: 'one message',
  receiptProof: 'one message proof, to the receipt',
  batchProof: 'one message proof, to the batch',
  batchFile: 'a batch file',
};

async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  const payload = settings.payload ?? 256;
  if (payload < NUMBER_BYTES) throw new Failure(`reads numbers its payloads: --payload takes ${NUMBER_BYTES} bytes or more`);
  const result = await bench.withNetwork(networkOptions(settings), ({ network }) => {
    const { url, l1Url, chainId, settlement } = network;
    const plan: ReadsPlan = {
      ...{ url, l1Url, chainId, settlement, payload, topics: TOPICS },
      messages: settings.prefill ?? (settings.quick ? MESSAGES / 4 : MESSAGES),
      bundle: settings.bundle ?? 256,
      connections: settings.senders ?? 16,
      seconds: loadSeconds(settings, 3, 0.5),
    };
    return bench.inProcess<ReadsResult>(LOAD, plan);
  });
  const ceiling = result.routes.find(({ name }) => name === 'healthz')?.requestsPerSecond ?? Number.NaN;
  const rows = result.routes.flatMap(({ name, requestsPerSecond, latency }): Row[] => {
    const figure = NAMES[name] ?? name;
    const beside = name === 'healthz' ? {} : { beside: { what: '/healthz', value: ceiling } };
    return [
      { figure, value: requestsPerSecond, unit: 'requests/s', ...beside },
      { figure: `${figure}: p50 at half of that`, value: latency.p50Ms, unit: 'ms' },
      { figure: `${figure}: p99 at half of that`, value: latency.p99Ms, unit: 'ms' },
    ];
  });
  const busiest = Math.max(...result.routes.map(({ generatorCpu }) => generatorCpu));
  const file = result.routes.find(({ name }) => name === 'batchFile')?.bytes ?? 0;
  return {
    json: Object.fromEntries(
      result.routes.map(({ name, requestsPerSecond, bytes, latency, generatorCpu }) => {
        const { p50Ms, p99Ms, maxMs } = latency;
        return [name, { requestsPerSecond, p50Ms, p99Ms, maxMs, bytes, generatorCores: generatorCpu }];
      }),
    ),
    rows,
    notes: [
      `Rates: closed loop; latencies: open loop, from the planned time to the whole answer. A batch file has ${formatBytes(file)}. ` +
        `The readers’ process used at most ${percent(busiest)} of a core.`,
    ],
    healthy: true,
  };
}

export const reads: Scenario = {
  name: 'reads',
  about: 'pages, messages, proofs and batch files: requests a second, and latencies at half of that (60 s)',
  byDefault: false,
  run,
};
