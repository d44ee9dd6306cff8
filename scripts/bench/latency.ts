import type { OpenPhase } from './load-plan.js';
import {
  BUNDLES,
  isKept,
  knownMaximum,
  loadNotes,
  networkOptions,
  OPEN_SENDERS,
  phaseOf,
  runLoad,
  shapeOf,
  verdictJson,
  verdictRows,
  WATCHERS,
  warmUp,
} from './loads.js';
import type { LatencyAtLoad } from './report.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';

/** Shares of the maximum at which latencies are measured. */
export const LOADS = [0.25, 0.5, 0.75, 0.9] as const;

const PROBE = 'finding the maximum';
const percentOf = (load: number) => `${Math.round(100 * load)} %`;

/** Load against latency: open loops at fixed shares of the maximum that this run has found, or finds now. */
async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  const shape = shapeOf(settings, BUNDLES);
  const known = knownMaximum(bench);
  const seconds = loadSeconds(settings, 10, 0.7);
  const nameOf = (load: number) => `sending ${percentOf(load)} of the maximum`;
  return await bench.withNetwork(networkOptions(settings), async (stage) => {
    const result = await runLoad(bench, stage, shape, {
      phases: [
        warmUp(settings, shape.senders),
        ...(known === undefined
          ? [{ kind: 'closed', name: PROBE, seconds: settings.quick ? 1 : 5, senders: shape.senders } as const]
          : []),
        ...LOADS.map(
          (load): OpenPhase => ({
            kind: 'open',
            name: nameOf(load),
            seconds,
            senders: OPEN_SENDERS,
            rate: known === undefined ? { ofMaximum: load } : { messagesPerSecond: known * load },
            watchers: WATCHERS,
          }),
        ),
      ],
    });
    const maximum = known ?? phaseOf(result, PROBE).messagesPerSecond;
    const loads = LOADS.map((load) => {
      const { plannedPerSecond, messagesPerSecond, accept, readable, plannedToReadable } = phaseOf(result, nameOf(load));
      return { load, plannedPerSecond, messagesPerSecond, accept, readable, plannedToReadable };
    });
    const rows = loads.flatMap(({ load, messagesPerSecond, readable, accept }): Row[] => [
      {
        figure: `at ${percentOf(load)} of the maximum`,
        value: messagesPerSecond,
        unit: 'messages/s',
        beside: { what: 'the maximum', value: maximum },
      },
      ...(['p50Ms', 'p90Ms', 'p99Ms', 'maxMs'] as const).flatMap((which): Row[] => [
        { figure: `  accept, ${which.slice(0, -2)}`, value: accept?.[which] ?? Number.NaN, unit: 'ms' },
        { figure: `  receipt to readable, ${which.slice(0, -2)}`, value: readable?.[which] ?? Number.NaN, unit: 'ms' },
      ]),
    ]);
    return {
      json: {
        maximumMessagesPerSecond: maximum,
        loads: loads satisfies readonly LatencyAtLoad[],
        ...verdictJson(result),
        ...shape,
        openSenders: OPEN_SENDERS,
      },
      rows: [...rows, ...verdictRows(result)],
      notes: loadNotes(result, { ...shape, senders: OPEN_SENDERS }),
      healthy: isKept(result),
    };
  });
}

export const latency: Scenario = {
  name: 'latency',
  about: 'latencies at 25, 50, 75 and 90 % of the maximum, bundled (4 × 10 s)',
  byDefault: true,
  run,
};
