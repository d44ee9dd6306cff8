import { fileURLToPath } from 'node:url';
import { Family } from '../processes.js';
import { Failure } from '../terminal.js';
import type { LoadPlan, LoadResult } from './load-plan.js';
import { BUNDLES, percent, phaseOf, shapeOf, TOPICS, warmUp } from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Scenario } from './scenario.js';

const LOAD = new URL('load.ts', import.meta.url);
const RECOVERIES = new URL('recoveries.ts', import.meta.url);
const SERVER = fileURLToPath(new URL('append-server.ts', import.meta.url));

/** The limits of this machine, with nothing of ours in them: appends that are on the disk, and signatures recovered. */
async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  bench.show('recovering signatures');
  const { perSecond } = await bench.inProcess<{ perSecond: number }>(RECOVERIES, { seconds: settings.quick ? 0.5 : 2 });
  const shape = shapeOf(settings, BUNDLES);
  const result = await bench.withFolder(async (folder) => {
    const family = new Family();
    try {
      let onUrl: (url: string) => void = () => {};
      const url = new Promise<string>((resolve) => {
        onUrl = resolve;
      });
      const server = family.start('the server that only appends', {
        command: process.execPath,
        args: ['--import', 'tsx', SERVER, JSON.stringify({ folder })],
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
          { kind: 'closed', name: 'appending', seconds: loadSeconds(settings, 10, 1.5), senders: shape.senders },
        ],
      };
      return await Promise.race([bench.inProcess<LoadResult>(LOAD, plan), ended]);
    } finally {
      await family.stop();
    }
  });
  const { messagesPerSecond, generatorCpu } = phaseOf(result, 'appending');
  return {
    json: { messagesPerSecond, recoveriesPerSecond: perSecond, generatorCores: generatorCpu, ...shape },
    rows: [
      { figure: 'bodies read, appended and synced, nothing else', value: messagesPerSecond, unit: 'messages/s' },
      { figure: 'signatures recovered by one core', value: perSecond, unit: '/s' },
    ],
    notes: [
      `the same bodies, senders and load process as bundled, against node:http, a file, and one fdatasync a group; ` +
        `the load process used ${percent(generatorCpu)} of a core`,
    ],
    healthy: true,
  };
}

export const ceiling: Scenario = {
  name: 'ceiling',
  about: 'the limits of this machine: the same bodies only appended and synced; signatures recovered (12 s)',
  byDefault: true,
  run,
};
