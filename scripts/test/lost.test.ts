import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { anvilBinary } from '../anvil.js';
import { networkOf, run, sendOne } from './commands.js';
import { temporaryFolder, until } from './stage.js';

test('npm run sequencer makes a database once: a lost one is an error until --create says otherwise', async () => {
  const data = temporaryFolder();
  const anvil = spawn(anvilBinary(), ['--port', '0', '--block-time', '0.2'], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void anvil.kill('SIGKILL'));
  let said = '';
  anvil.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const l1 = `http://${(await until('anvil', () => /Listening on (\S+)/.exec(said)))[1]}`;
  const env = { SEALPOST_DATA: data, SEALPOST_L1_URL: l1 };
  const deploy = run('deploy', env);
  expect(await deploy.exited, deploy.output).toBe(0);
  const runUntilReady = async (args: readonly string[], use?: () => Promise<void>) => {
    const sequencer = run('sequencer', env, args);
    await until(
      'network.json',
      () => {
        if (sequencer.child.exitCode !== null) throw new Error(sequencer.output);
        return networkOf(data);
      },
      60_000,
    );
    await use?.();
    sequencer.child.kill('SIGINT');
    expect(await sequencer.exited).toBe(0);
  };

  await runUntilReady([]);
  await runUntilReady([]);
  const database = join(data, 'sequencer');
  rmSync(database, { recursive: true });
  for (const command of ['sequencer', 'devnet']) {
    const lost = run(command, env);
    expect(await lost.exited).toBe(1);
    expect(lost.output).toContain('sequencer.sqlite is not there');
    expect(lost.output).toContain('npm run sequencer -- --create');
  }
  await runUntilReady(['--create'], async () => {
    const network = networkOf(data);
    expect(network && (await sendOne(network, new Uint8Array(32).fill(7), 0n))).toBe('0');
  });
  await runUntilReady([]);
}, 240_000);
