import { formatBytes, plural } from '../terminal.js';
import {
  BUNDLES,
  findMaximum,
  isKept,
  loadNotes,
  networkOptions,
  phaseOf,
  runLoad,
  shapeOf,
  verdictJson,
  verdictRows,
  warmUp,
  worstStall,
} from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Scenario } from './scenario.js';

/** Of them, one each waits for its answer or until it may send again: enough to ask for twice what can be had. */
const SENDERS = 2_048;
const OVERLOAD = 2;

/** Twice the load that can be served, planned on a clock: what is refused, what that costs, and what becomes of it. */
async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  const shape = shapeOf(settings, BUNDLES);
  return await bench.withNetwork(networkOptions(settings), async (stage) => {
    const result = await runLoad(bench, stage, shape, {
      phases: [
        warmUp(settings, shape.senders),
        findMaximum(loadSeconds(settings, 10, 2), shape.senders),
        {
          kind: 'open',
          name: 'sending twice that',
          seconds: loadSeconds(settings, 20, 3),
          senders: SENDERS,
          rate: { ofMaximum: OVERLOAD },
          watchers: 0,
          overload: true,
        },
      ],
    });
    const most = phaseOf(result, 'finding the maximum');
    const over = phaseOf(result, 'sending twice that');
    const refused = Object.values(over.refused).reduce((sum, times) => sum + times, 0);
    const peakBytes = Math.max(...over.server.rssBytes);
    const fraction = over.messagesPerSecond / most.messagesPerSecond;
    return {
      json: {
        maximumMessagesPerSecond: most.messagesPerSecond,
        plannedPerSecond: over.plannedPerSecond,
        messagesPerSecond: over.messagesPerSecond,
        ofMaximum: Math.round(fraction * 1_000) / 1_000,
        refused: over.refused,
        refusedWithoutRetryAfter: over.rude,
        neverSent: over.dropped,
        rssBeforeBytes: over.server.rssBytes[0],
        rssPeakBytes: peakBytes,
        eventLoopStallMs: worstStall([over]),
        ...verdictJson(result),
        ...shape,
        openSenders: SENDERS,
      },
      rows: [
        {
          figure: 'accepted at twice the maximum load',
          value: over.messagesPerSecond,
          unit: 'messages/s',
          beside: { what: 'the maximum', value: most.messagesPerSecond },
        },
        { figure: 'refused with 503 and Retry-After', value: refused - over.rude, unit: 'times' },
        { figure: 'refused in another way', value: over.rude, unit: 'times' },
        { figure: 'memory before', value: (over.server.rssBytes[0] ?? 0) / 1e6, unit: 'MB' },
        { figure: 'memory at the most', value: peakBytes / 1e6, unit: 'MB' },
        { figure: 'event loop stall, maximum', value: worstStall([over]), unit: 'ms' },
        ...verdictRows(result),
      ],
      notes: [
        `${plural(SENDERS, 'sender')} keep their order: a refused bundle is sent again, the very same one, when Retry-After says so; ` +
          `none was given up. ${plural(over.dropped, 'bundle')} were planned and never sent, because every sender was waiting; ` +
          `memory peaked at ${formatBytes(peakBytes)}`,
        ...loadNotes(result, shape),
      ],
      healthy: isKept(result),
    };
  });
}

export const backpressure: Scenario = {
  name: 'backpressure',
  about: 'twice the maximum load: throughput, memory, refusals (30 s)',
  byDefault: false,
  run,
};
