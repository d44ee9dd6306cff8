import { fileURLToPath } from 'node:url';
import { Family } from '../processes.js';
import { Failure } from '../terminal.js';
import type { AppendPlan } from './append-server.js';
import type { LoadPlan, LoadResult, PhaseResult } from './load-plan.js';
import { BUNDLES, percent, phaseOf, type Shape, SINGLES, shapeOf, TOPICS, warmUp } from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';

const LOAD = new URL('load.ts', import.meta.url);
const RECOVERIES = new URL('recoveries.ts', import.meta.url);
const SERVER = fileURLToPath(new URL('append-server.ts', import.meta.url));

/** What a server with nothing of ours in it, or nothing but verification, takes of a load. */
async function appended(bench: Bench, own: Shape, seconds: number, verifying: boolean): Promise<PhaseResult> {
  const { settings } = bench;
  const shape = shapeOf(settings, own);
  const result = await bench.withFolder(async (folder) => {
    const family = new Family();
    try {
      let onUrl: (url: string) => void = () => {};
      const url = new Promise<string>((resolve) => {
        onUrl = resolve;
      });
      const server = family.start('the server that only appends', {
        command: process.execPath,
        args: ['--import', 'tsx', SERVER, JSON.stringify({ folder, verifying } satisfies AppendPlan)],
        onLine: (line) => onUrl(line),
      });
      const ended = server.exited.then((): never => {
        throw new Failure(server.report(), 'look whether the disk of --data is full');
      });
      ended.catch(() => {});
      const plan: LoadPlan = {
        url: await Promise.race([url, ended]),
        pid: server.pid,
        bundle: shape.bundle,
        payload: shape.payload,
        topics: TOPICS,
        sample: 0,
        phases: [
          warmUp(settings, shape.senders),
          { kind: 'closed', name: 'appending', seconds: loadSeconds(settings, seconds, 1.5), senders: shape.senders },
        ],
      };
      return await Promise.race([bench.inProcess<LoadResult>(LOAD, plan), ended]);
    } finally {
      await family.stop();
    }
  });
  return phaseOf(result, 'appending');
}

/** The limits of this machine, with nothing of ours in them but the codec: appends that are on the disk, and signatures. */
async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  bench.show('recovering signatures');
  const { perSecond } = await bench.inProcess<{ perSecond: number }>(RECOVERIES, { seconds: settings.quick ? 0.5 : 2 });
  const bundles = await appended(bench, BUNDLES, 10, false);
  // Not in a quick run, which has a minute for everything.
  const singles = settings.quick ? undefined : await appended(bench, SINGLES, 5, true);
  const rows: Row[] = [
    { figure: 'bodies read, appended and synced, nothing else', value: bundles.messagesPerSecond, unit: 'messages/s' },
    { figure: 'signatures recovered by one core', value: perSecond, unit: '/s' },
  ];
  const notes = [
    'the same bodies, senders and load process as bundled, against node:http, a file, and one fdatasync a group; the load process ' +
      `used ${percent(bundles.generatorCpu)} of a core`,
  ];
  if (singles !== undefined) {
    rows.push({
      figure: 'bundles of one read, verified, appended and synced, nothing else',
      value: singles.messagesPerSecond,
      unit: 'messages/s',
      beside: { what: 'one core’s signature recoveries', value: perSecond },
    });
    notes.push(
      'bundles of one: those of single, with the sequencer’s verifying threads before the file; the load process used ' +
        `${percent(singles.generatorCpu)} of a core`,
    );
  }
  return {
    json: {
      messagesPerSecond: bundles.messagesPerSecond,
      recoveriesPerSecond: perSecond,
      singleMessagesPerSecond: singles?.messagesPerSecond,
      generatorCores: bundles.generatorCpu,
      ...shapeOf(settings, BUNDLES),
    },
    rows,
    notes,
    healthy: true,
  };
}

export const ceiling: Scenario = {
  name: 'ceiling',
  about: 'the limits of this machine: the same bodies only appended and synced, or verified before; signatures recovered (25 s)',
  byDefault: true,
  run,
};
