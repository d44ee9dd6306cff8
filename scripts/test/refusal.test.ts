import { spawn } from 'node:child_process';
import { cpSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { Folder } from '../folder.js';
import { Network, SEQUENCER, sequencerEnvironment } from '../network.js';
import { SOUND, startLoad, startNetwork, temporaryFolder, until } from './stage.js';

/** Runs the sequencer to its end. */
async function runSequencer(env: NodeJS.ProcessEnv): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [SEQUENCER, 'run', '--create'], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stderr };
}

test('a second sequencer on one database refuses to start, and the first goes on', async () => {
  const network = await startNetwork();
  const env = {
    ...sequencerEnvironment(network.folder, network.deployment, network.l1Url),
    SEALPOST_PORT: '0',
    SEALPOST_LOG: 'json',
  };
  const { code, stderr } = await runSequencer(env);
  expect(code).not.toBe(0);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).toMatch(/database/i);
  const load = await startLoad(network);
  await load.more(5);
  await load.stop();
  expect(await load.verdict()).toMatchObject(SOUND);
});

test('a database of another contract is refused before anything is written', async () => {
  const first = await startNetwork();
  await first.stop();
  const data = temporaryFolder();
  cpSync(first.folder.file('sequencer'), new Folder(data).file('sequencer'), { recursive: true });
  const folder = new Folder(data);
  await folder.acquire();
  await expect(Network.start({ folder, blockTime: 0.2, laneCount: 2 })).rejects.toThrow(/database belongs to/);
  // Refused, and free for the next one.
  expect(folder.owner()).toBeUndefined();
});

test('a folder that cannot be written is refused in one line', async () => {
  const network = await startNetwork();
  const { code, stderr } = await runSequencer({
    ...sequencerEnvironment(network.folder, network.deployment, network.l1Url),
    SEALPOST_PORT: '0',
    // The superuser writes nearly everywhere; not here.
    SEALPOST_DATA: process.platform === 'linux' ? '/proc/sealpost' : '/dev/null/sealpost',
  });
  expect(code).not.toBe(0);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  await expect(new Folder(process.platform === 'linux' ? '/proc/sealpost' : '/dev/null/x').acquire()).rejects.toThrow(
    /cannot be written/,
  );
});

test('a full disk: nothing acknowledged is lost, and the log goes on when there is room again', async () => {
  // dash and bash disagree about the unit, so the limit is half a megabyte or a whole one; the log's files reach it either way.
  const network = await startNetwork({ sequencerPrefix: ['sh', '-c', 'ulimit -f 1024; exec "$@"', 'sh'] });
  const load = await startLoad(network, { senders: 2, messages: 16, payloadBytes: 4_096 });
  await until('the limit', () => (load.refusals.get('unavailable') ?? 0) >= 3 || network.sequencer?.exit !== undefined);
  const before = load.acknowledged.length;
  expect(before).toBeGreaterThan(0);
  await network.sequencer?.stop('SIGTERM', 10_000);
  await network.startSequencer({ prefix: [] });
  await load.more(10);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(await load.verdict()).toMatchObject(SOUND);
});
