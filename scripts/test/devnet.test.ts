import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Network as NetworkFile } from '@sealpost/client/node';
import { expect, onTestFinished, test } from 'vitest';
import { anvilBinary } from '../anvil.js';
import { readJson } from '../folder.js';
import { LoadSender, makeRegion } from '../presigned.js';
import { type Identity, identify, isRunning } from '../processes.js';
import { Wire } from '../wire.js';
import { temporaryFolder, until } from './stage.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Command {
  readonly child: ChildProcess;
  /** Both streams, in the order in which they came. */
  output: string;
  readonly exited: Promise<number | null>;
}

/** Runs one of the commands as npm does, without the build before it. */
function run(script: string, env: NodeJS.ProcessEnv, args: readonly string[] = []): Command {
  const child = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts', `${script}.ts`), ...args], {
    cwd: ROOT,
    env: { ...process.env, CI: '1', SEALPOST_PORT: '0', SEALPOST_L1_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that a test can send a signal to all of it, as a terminal does.
    detached: true,
  });
  const command: Command = { child, output: '', exited: new Promise((resolve) => child.once('close', resolve)) };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      command.output += text;
    });
  }
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await command.exited;
  });
  return command;
}

interface Started extends Command {
  readonly network: NetworkFile;
  /** The command itself, anvil and the sequencer. */
  readonly processes: readonly Identity[];
}

const networkOf = (data: string) => readJson(join(data, 'network.json')) as NetworkFile | undefined;

async function start(data: string, env: NodeJS.ProcessEnv = {}): Promise<Started> {
  const command = run('devnet', { SEALPOST_DATA: data, ...env });
  await until(`the network in ${data}`, () => {
    if (command.child.exitCode !== null) throw new Error(command.output);
    return command.output.includes('ctrl-c stops');
  });
  const network = networkOf(data) as NetworkFile;
  const { owner, children } = readJson(join(data, 'running.json')) as { owner: Identity; children: Identity[] };
  return Object.assign(command, { network, processes: [owner, ...children] });
}

const allGone = (processes: readonly Identity[]) => until('every process to be gone', () => !processes.some(isRunning), 20_000);

/** Sends one bundle of four messages; answers with the sequence it got. */
async function sendOne({ url, chainId, settlement }: NetworkFile, key: Uint8Array, nonce: bigint): Promise<string> {
  const now = BigInt(Math.floor(Date.now() / 1_000));
  const sender = new LoadSender({ chainId: BigInt(chainId), settlement }, 0, now + 86_400n, key);
  const wire = new Wire(url);
  const answer = await wire.post(
    '/v1/bundles',
    sender.sign(makeRegion({ count: 4, payloadBytes: 32, lane: 0, laneCount: 1 }), nonce).parts,
  );
  wire.close();
  const body = answer.body.toString('utf8');
  expect(answer.status, body).toBe(200);
  return (JSON.parse(body) as { results: { receipt: { sequence: string } }[] }).results[0]?.receipt.sequence ?? '';
}

const committed = async ({ url }: NetworkFile): Promise<number> => {
  const { lanes } = (await (await fetch(`${url}/v1/status`)).json()) as { lanes: { committed: string }[] };
  return Number(lanes[0]?.committed);
};

test('npm start: a screen, a second start refused, ctrl-c leaves no process, and the next start resumes', async () => {
  const data = temporaryFolder();
  const key = Uint8Array.from({ length: 32 }, (_, at) => at + 1);
  const first = await start(data);
  expect(first.processes).toHaveLength(3);
  expect(first.output).toContain(`HTTP        ${first.network.url}`);
  expect(first.output).toContain('0x5FbD…0aa3');
  expect(Object.keys(first.network.accounts)).toContain('alice');
  expect(await sendOne(first.network, key, 0n)).toBe('0');

  const second = run('devnet', { SEALPOST_DATA: data });
  expect(await second.exited).toBe(1);
  expect(second.output).toContain(`already running, pid ${first.child.pid}, ${first.network.url}`);
  const reset = run('reset', { SEALPOST_DATA: data });
  expect(await reset.exited).toBe(1);
  expect(reset.output).toContain(`pid ${first.child.pid}`);

  await until('the commit', async () => (await committed(first.network)) === 1);
  // As a terminal does: to every process of the group.
  process.kill(-(first.child.pid as number), 'SIGINT');
  expect(await first.exited).toBe(0);
  await allGone(first.processes);
  expect(networkOf(data)).toBeUndefined();

  const again = await start(data);
  expect(again.output).toContain('(resumed)');
  expect(again.network.settlement).toBe(first.network.settlement);
  expect(await committed(again.network)).toBe(1);
  expect(await sendOne(again.network, key, 4n)).toBe('1');
  again.child.kill('SIGTERM');
  expect(await again.exited).toBe(0);
  await allGone(again.processes);

  const dropped = run('reset', { SEALPOST_DATA: data });
  expect(await dropped.exited).toBe(0);
  expect(existsSync(data)).toBe(false);
});

test('killed as a whole tree, or as the parent alone, the next start goes on with everything acknowledged', async () => {
  const data = temporaryFolder();
  const key = Uint8Array.from({ length: 32 }, (_, at) => at + 2);
  const first = await start(data);
  expect(await sendOne(first.network, key, 0n)).toBe('0');
  for (const { pid } of first.processes) process.kill(pid, 'SIGKILL');
  await allGone(first.processes);

  const second = await start(data);
  expect(await sendOne(second.network, key, 4n)).toBe('1');
  // Only the parent: its watchdog stops the others.
  second.child.kill('SIGKILL');
  const third = await start(data);
  await allGone(second.processes);
  expect(await sendOne(third.network, key, 8n)).toBe('2');
  await until('every bundle to be committed', async () => (await committed(third.network)) === 3);

  // Gone for good: the same address again, and every batch posted again.
  process.kill(third.child.pid as number, 'SIGTERM');
  expect(await third.exited).toBe(0);
  rmSync(join(data, 'anvil.json'));
  const fourth = await start(data);
  expect(fourth.output).toContain('deployed again');
  expect(fourth.network.settlement).toBe(first.network.settlement);
  await until('every bundle to be committed again', async () => (await committed(fourth.network)) === 3);
  fourth.child.kill('SIGINT');
  expect(await fourth.exited).toBe(0);
  await allGone(fourth.processes);
});

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
  expect(await taken.exited).toBe(1);
  expect(taken.output).toContain(`port ${port} is taken: ${port} answers as a web server, tea-pot`);
  expect(taken.output).toContain(`SEALPOST_PORT=${port + 1}`);
  const bad = run('devnet', { SEALPOST_DATA: data, SEALPOST_LANES: 'many' });
  expect(await bad.exited).toBe(2);
  expect(bad.output).toContain('SEALPOST_LANES');
  expect(identify(taken.child.pid as number)).toBeUndefined();
});
