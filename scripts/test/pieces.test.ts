import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { anvilBinary } from '../anvil.js';
import { identify } from '../processes.js';
import { networkOf, run, sendOne, start } from './commands.js';
import { temporaryFolder, until } from './stage.js';

test('on an Ethereum node of one’s own: npm run deploy, npm run sequencer, npm start; another chain is refused', async () => {
  const data = temporaryFolder();
  const anvil = spawn(anvilBinary(), ['--port', '0', '--block-time', '0.2', '--slots-in-an-epoch', '2'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => void anvil.kill('SIGKILL'));
  let said = '';
  anvil.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const l1 = `http://${(await until('anvil', () => /Listening on (\S+)/.exec(said)))[1]}`;
  const env = { SEALPOST_DATA: data, SEALPOST_L1_URL: l1 };

  const early = run('sequencer', env);
  expect(await early.exited).toBe(1);
  expect(early.output).toContain('npm run deploy');
  const deploy = run('deploy', env);
  expect(await deploy.exited, deploy.output).toBe(0);
  const check = run('sequencer', env, ['check']);
  expect(await check.exited, check.output).toBe(0);
  const sequencer = run('sequencer', env);
  const network = await until('network.json', () => {
    if (sequencer.child.exitCode !== null) throw new Error(sequencer.output);
    return networkOf(data);
  });
  const key = Uint8Array.from({ length: 32 }, (_, at) => at + 3);
  expect(await sendOne(network, key, 0n)).toBe('0');
  sequencer.child.kill('SIGINT');
  expect(await sequencer.exited).toBe(0);

  const whole = await start(data, { SEALPOST_L1_URL: l1 });
  expect(whole.output).toContain('your node');
  expect(whole.network.l1Url).toBe(l1);
  expect(await sendOne(whole.network, key, 4n)).toBe('1');
  whole.child.kill('SIGINT');
  expect(await whole.exited).toBe(0);

  // Another chain of the same id, whose deployer has sent something: nothing is deployed there.
  const other = spawn(anvilBinary(), ['--port', '0', '--block-time', '0.2'], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void other.kill('SIGKILL'));
  let answer = '';
  other.stdout.setEncoding('utf8').on('data', (text: string) => {
    answer += text;
  });
  const otherL1 = `http://${(await until('anvil', () => /Listening on (\S+)/.exec(answer)))[1]}`;
  await fetch(otherL1, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'anvil_setNonce',
      params: ['0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266', '0x5'],
    }),
  });
  const refused = run('devnet', { SEALPOST_DATA: data, SEALPOST_L1_URL: otherL1 });
  expect(await refused.exited).toBe(1);
  expect(refused.output).toContain('another chain than the log');

  const lanes = run('devnet', { SEALPOST_DATA: data, SEALPOST_L1_URL: l1, SEALPOST_LANES: '3' });
  expect(await lanes.exited).toBe(1);
  expect(lanes.output).toContain('SEALPOST_LANES=1');
});

test('a taken port is named with who holds it; settings that make no sense are refused', async () => {
  const server = createServer((_, response) => response.setHeader('server', 'tea-pot').end('short and stout'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const data = temporaryFolder();
  const taken = run('devnet', { SEALPOST_DATA: data, SEALPOST_PORT: String(port) });
  const bad = run('devnet', { SEALPOST_DATA: temporaryFolder(), SEALPOST_LANES: 'many' });
  expect(await taken.exited).toBe(1);
  expect(taken.output).toContain(`port ${port} is taken: ${port} answers as a web server, tea-pot`);
  expect(taken.output).toContain(`SEALPOST_PORT=${port + 1}`);
  expect(await bad.exited).toBe(2);
  expect(bad.output).toContain('SEALPOST_LANES');
  expect(identify(taken.child.pid as number)).toBeUndefined();
});
