import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Network as NetworkFile } from '@sealpost/client/node';
import { expect, onTestFinished } from 'vitest';
import { readJson } from '../folder.js';
import { LoadSender, makeRegion } from '../presigned.js';
import { type Identity, isRunning } from '../processes.js';
import { Wire } from '../wire.js';
import { until } from './stage.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Command {
  readonly child: ChildProcess;
  /** Both streams, in the order in which they came. */
  output: string;
  readonly exited: Promise<number | null>;
}

/** Runs one of the commands as npm does, without the build before it. */
export function run(script: string, env: NodeJS.ProcessEnv, args: readonly string[] = []): Command {
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

export interface Started extends Command {
  readonly network: NetworkFile;
  /** The command itself, anvil and the sequencer. */
  readonly processes: readonly Identity[];
}

export const networkOf = (data: string) => readJson(join(data, 'network.json')) as NetworkFile | undefined;

export async function start(data: string, env: NodeJS.ProcessEnv = {}): Promise<Started> {
  const command = run('devnet', { SEALPOST_DATA: data, ...env });
  await until(`the network in ${data}`, () => {
    if (command.child.exitCode !== null) throw new Error(command.output);
    return command.output.includes('ctrl-c stops');
  });
  const network = networkOf(data) as NetworkFile;
  const { owner, children } = readJson(join(data, 'running.json')) as { owner: Identity; children: Identity[] };
  return Object.assign(command, { network, processes: [owner, ...children] });
}

export const allGone = (processes: readonly Identity[]) =>
  until('every process to be gone', () => !processes.some(isRunning), 20_000);

/** Sends one bundle of four messages; answers with the sequence it got. */
export async function sendOne({ url, chainId, settlement }: NetworkFile, key: Uint8Array, nonce: bigint): Promise<string> {
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

export const committed = async ({ url }: NetworkFile): Promise<number> => {
  const { lanes } = (await (await fetch(`${url}/v1/status`)).json()) as { lanes: { committed: string }[] };
  return Number(lanes[0]?.committed);
};
