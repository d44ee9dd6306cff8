import { formatBytes, formatCount } from '../terminal.js';
import { growthOf } from './growth.js';
import {
  BUNDLES,
  diskOverhead,
  findMaximum,
  halfLoad,
  isKept,
  loadNotes,
  networkOptions,
  OPEN_SENDERS,
  phaseOf,
  requireRoom,
  roomFor,
  runLoad,
  shapeOf,
  verdictJson,
  verdictRows,
  warmUp,
  worstStall,
} from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Scenario } from './scenario.js';

/** Caches and heaps fill up during the first minute, or tenth where that is shorter: growth counts from there. */
const SETTLING_SECONDS = 60;
/** Before anything was measured: for the room on the disk. */
const HOPED_PER_SECOND = 300_000;

/** Half load for long: what memory does, and whether everything is still there. */
async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  const shape = shapeOf(settings, BUNDLES);
  const seconds = loadSeconds(settings, 600, 10);
  const maximumSeconds = Math.min(10, seconds);
  const needed = roomFor(HOPED_PER_SECOND * (seconds / 2 + maximumSeconds), shape.payload);
  bench.say(
    `soak: ${seconds} s of load, up to ${formatBytes(needed)} in ${settings.parent} while it runs; as long again to check it all`,
  );
  requireRoom(settings, needed);
  return await bench.withNetwork(networkOptions(settings), async (stage) => {
    const result = await runLoad(bench, stage, shape, {
      phases: [warmUp(settings, shape.senders), findMaximum(maximumSeconds, shape.senders), halfLoad(seconds)],
    });
    const most = phaseOf(result, 'finding the maximum');
    const half = phaseOf(result, 'sending half of that');
    const overhead = await diskOverhead(stage, result.acknowledged, shape.payload);
    const settling = Math.floor(Math.min(SETTLING_SECONDS, seconds / 10));
    const settled = half.server.rssBytes.slice(1 + settling, -1);
    const growth = growthOf(settled);
    return {
      json: {
        messagesPerSecond: half.messagesPerSecond,
        maximumMessagesPerSecond: most.messagesPerSecond,
        seconds,
        memoryGrowth: growth.fitted,
        memoryGrowthOfMedians: growth.ofMedians,
        settlingSeconds: settling,
        rssBytes: half.server.rssBytes,
        eventLoopStallMs: worstStall([half]),
        accept: half.accept,
        readable: half.readable,
        serverCores: half.server.cpu,
        diskOverheadBytes: overhead,
        ...verdictJson(result),
        ...shape,
        openSenders: OPEN_SENDERS,
      },
      rows: [
        {
          figure: `accepted over ${formatCount(seconds)} s`,
          value: half.messagesPerSecond,
          unit: 'messages/s',
          beside: { what: 'the maximum', value: most.messagesPerSecond },
        },
        { figure: `memory, growth after the first ${settling} s`, value: 100 * growth.fitted, unit: '%' },
        { figure: 'memory at the end', value: (half.server.rssBytes.at(-1) ?? Number.NaN) / 1e6, unit: 'MB' },
        { figure: 'event loop stall, maximum', value: worstStall([half]), unit: 'ms' },
        { figure: 'accept latency, p99', value: half.accept?.p99Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'receipt to readable, p99', value: half.readable?.p99Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'on disk beside each message', value: overhead, unit: 'bytes' },
        ...verdictRows(result),
      ],
      notes: [
        'growth of memory: the rise of a straight line through the sequencer’s resident memory, once a second, as a share of ' +
          `where it starts; of the last fifth’s median over the first’s it is ${(100 * growth.ofMedians).toFixed(1)} %`,
        ...loadNotes(result, { ...shape, senders: OPEN_SENDERS }),
      ],
      healthy: isKept(result),
    };
  });
}

export const soak: Scenario = {
  name: 'soak',
  about: 'half of the maximum for long: memory, stalls, losses (600 s, and as long again to check everything)',
  byDefault: false,
  run,
};
