import { formatBytes, formatCount } from '../terminal.js';
import {
  BUNDLES,
  diskOverhead,
  isKept,
  loadNotes,
  networkOptions,
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

const PREFILL = 20_000_000;
const QUICK_PREFILL = 500_000;
const CRASH = 'sending until the crash';
/** Into the load, so that the crash comes in the middle of it. */
const CRASH_AFTER_MS = 1_500;
const PROOFS_PER_SECOND = 50;

/** What a database that has grown does to everything: rate, restart after a crash, proofs, disk. */
async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  const shape = shapeOf(settings, BUNDLES);
  const prefill = settings.prefill ?? (settings.quick ? QUICK_PREFILL : PREFILL);
  const seconds = loadSeconds(settings, 15, 2);
  const needed = roomFor(prefill * 1.5, shape.payload);
  bench.say(`grown: ${formatCount(prefill)} messages, up to ${formatBytes(needed)} in ${settings.parent} while it runs`);
  requireRoom(settings, needed);
  return await bench.withNetwork(networkOptions(settings), async (stage) => {
    const { network } = stage;
    let restart: Promise<number> | undefined;
    const crash = async (): Promise<number> => {
      const began = performance.now();
      await stage.expectEnd(async () => {
        network.sequencer?.signal('SIGKILL');
        await network.sequencer?.exited;
        await network.startSequencer();
      });
      return performance.now() - began;
    };
    const { senders } = shape;
    const result = await runLoad(
      bench,
      stage,
      shape,
      {
        phases: [
          warmUp(settings, senders),
          { kind: 'closed', name: 'sending to an empty database', seconds, senders, settle: true },
          { kind: 'closed', name: 'filling it', seconds: 3_600, senders, untilMessages: prefill, settle: true },
          { kind: 'closed', name: 'sending to a grown database', seconds, senders },
          { kind: 'closed', name: CRASH, seconds: 60, senders, untilBroken: true },
        ],
        proofs: { perSecond: PROOFS_PER_SECOND, seconds: settings.quick ? 4 : 20 },
      },
      (what, done, total) => {
        bench.show(what, done, total);
        if (what !== CRASH || done < CRASH_AFTER_MS || restart !== undefined) return;
        restart = crash();
        // Where it fails, whoever awaits it below says so, or the load process before.
        restart.catch(() => {});
      },
    );
    if (restart === undefined) throw new Error('the load ended before the crash');
    const restartMs = await restart;
    const empty = phaseOf(result, 'sending to an empty database');
    const grown = phaseOf(result, 'sending to a grown database');
    const { proofs } = result;
    const overhead = await diskOverhead(stage, result.acknowledged, shape.payload);
    return {
      json: {
        prefilled: prefill,
        emptyMessagesPerSecond: empty.messagesPerSecond,
        messagesPerSecond: grown.messagesPerSecond,
        ofEmpty: Math.round((grown.messagesPerSecond / empty.messagesPerSecond) * 1_000) / 1_000,
        restartMs: Math.round(restartMs),
        proof: proofs,
        diskOverheadBytes: overhead,
        eventLoopStallMs: worstStall([grown]),
        rssBytes: grown.server.rssBytes.at(-1),
        ...verdictJson(result),
        ...shape,
      },
      rows: [
        {
          figure: `accepted with ${formatCount(prefill)} messages stored`,
          value: grown.messagesPerSecond,
          unit: 'messages/s',
          beside: { what: 'an empty database', value: empty.messagesPerSecond },
        },
        { figure: 'SIGKILL under load to ready again', value: restartMs / 1_000, unit: 's' },
        { figure: 'one message proof over HTTP, p50', value: proofs?.p50Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'one message proof over HTTP, p99', value: proofs?.p99Ms ?? Number.NaN, unit: 'ms' },
        { figure: 'on disk beside each message', value: overhead, unit: 'bytes' },
        { figure: 'event loop stall, maximum', value: worstStall([grown]), unit: 'ms' },
        ...verdictRows(result),
      ],
      notes: [
        `proofs of random messages of the whole log from a sequencer that did nothing else, ${PROOFS_PER_SECOND} planned a second; everything was checked after the crash`,
        ...loadNotes(result, shape),
      ],
      healthy: isKept(result),
    };
  });
}

export const grown: Scenario = {
  name: 'grown',
  about: '20 million messages stored: the rate against an empty database, restart, proofs, disk (about 10 minutes)',
  byDefault: false,
  run,
};
