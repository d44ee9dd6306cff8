import {
  BUNDLES,
  diskOverhead,
  halfLoad,
  isKept,
  loadNotes,
  networkOptions,
  phaseOf,
  runLoad,
  type Shape,
  SINGLES,
  shapeOf,
  verdictJson,
  verdictRows,
  warmUp,
  worstStall,
} from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';

/** What a scenario is held against: a figure of `ceiling`, if that ran before. */
interface Limit {
  readonly what: string;
  readonly figure: string;
}

/** The most that a closed loop reaches; then, at half of that, latencies of an open loop. */
function sustain(own: Shape, seconds: number, limits: readonly Limit[]) {
  return (bench: Bench): Promise<Outcome> =>
    bench.withNetwork(networkOptions(bench.settings), async (stage) => {
      const { settings } = bench;
      const shape = shapeOf(settings, own);
      const long = loadSeconds(settings, seconds, 1.5);
      const result = await runLoad(bench, stage, shape, {
        phases: [
          warmUp(settings, shape.senders),
          { kind: 'closed', name: 'sending all it takes', seconds: long, senders: shape.senders },
          halfLoad(Math.min(long, settings.quick ? 1.2 : 10)),
        ],
      });
      const most = phaseOf(result, 'sending all it takes');
      const half = phaseOf(result, 'sending half of that');
      const overhead = await diskOverhead(stage, result.acknowledged, shape.payload);
      const { messagesPerSecond } = most;
      const beside = limits.flatMap(({ what, figure }) => {
        const value = bench.results.get('ceiling')?.json[figure];
        return typeof value === 'number' ? [{ what, value }] : [];
      });
      const stallMs = worstStall([most, half]);
      const rows: Row[] = [
        ...(beside.length === 0 ? [undefined] : beside).map(
          (limit): Row => ({
            figure: 'accepted',
            value: messagesPerSecond,
            unit: 'messages/s',
            ...(limit === undefined ? {} : { beside: limit }),
          }),
        ),
        { figure: 'accept latency at half load, p50', value: half.accept?.p50Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'accept latency at half load, p99', value: half.accept?.p99Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'receipt to readable at half load, p50', value: half.readable?.p50Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'receipt to readable at half load, p99', value: half.readable?.p99Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'event loop stall, maximum', value: stallMs, unit: 'ms' },
        { figure: 'on disk beside each message', value: overhead, unit: 'bytes' },
        ...verdictRows(result),
      ];
      return {
        json: {
          messagesPerSecond,
          p50Ms: half.accept?.p50Ms,
          p99Ms: half.accept?.p99Ms,
          ...verdictJson(result),
          halfLoad: {
            plannedPerSecond: half.plannedPerSecond,
            messagesPerSecond: half.messagesPerSecond,
            accept: half.accept,
            acceptOfAll: half.acceptOfAll,
            readable: half.readable,
            plannedToReadable: half.plannedToReadable,
          },
          seconds: most.seconds,
          ...shape,
          eventLoopStallMs: stallMs,
          serverCores: most.server.cpu,
          generatorCores: most.generatorCpu,
          rssBeforeBytes: most.server.rssBytes[0],
          rssAfterBytes: half.server.rssBytes.at(-1),
          diskOverheadBytes: overhead,
          refused: most.refused,
        },
        rows,
        notes: [
          ...(beside.length > 0 ? [] : ['with --scenario ceiling, too, it stands beside the limits of this machine']),
          ...loadNotes(result, shape),
        ],
        healthy: isKept(result),
      };
    });
}

export const bundled: Scenario = {
  name: 'bundled',
  about: 'messages a second in bundles of 256 messages of 256 bytes; latencies at half of it (30 s)',
  byDefault: true,
  run: sustain(BUNDLES, 30, [{ what: 'the ceiling', figure: 'messagesPerSecond' }]),
};

export const single: Scenario = {
  name: 'single',
  about: 'messages a second, each with a signature of its own; latencies at half of it (10 s)',
  byDefault: true,
  run: sustain(SINGLES, 10, [
    { what: 'one core’s signature recoveries', figure: 'recoveriesPerSecond' },
    { what: 'the same only verified, appended and synced', figure: 'singleMessagesPerSecond' },
  ]),
};
