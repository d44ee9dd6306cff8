import { spawn } from 'node:child_process';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { settlementAbi } from '@sealpost/contracts';
import { expect, onTestFinished, test } from 'vitest';
import { l1Client } from '../deployment.js';
import type { Network } from '../network.js';
import { audit, sealpost, startNetwork, until } from './stage.js';

const SEALPOST = fileURLToPath(new URL('../../client/bin/sealpost.js', import.meta.url));

/** A front of the real sequencer that does not serve one sender: neither its bundles nor, if `deaf`, anything about it. */
async function startCensor(network: Network, sender: string) {
  const censor = { url: '', deaf: false, refused: 0 };
  const bytes = Buffer.from(sender.slice(2), 'hex');
  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const isAbout = body.includes(bytes) || (censor.deaf && incoming.url?.toLowerCase().includes(sender));
    if (isAbout) {
      censor.refused++;
      outgoing.writeHead(403, { 'content-type': 'text/html' }).end('<h1>no</h1>');
      return;
    }
    const { method, url, headers } = incoming;
    const onward = request(new URL(url ?? '/', network.url), { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    onward.once('error', () => outgoing.destroy());
    onward.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  censor.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return censor;
}

/** How many bundles were ever paid for. */
const inboxLength = (network: Network): Promise<bigint> =>
  l1Client(network.l1Url).readContract({
    address: network.settlement,
    abi: settlementAbi,
    functionName: 'inboxLength',
    args: [0],
  });

/** Runs the command line, and kills it as soon as it says this. */
async function killAt(network: Network, said: RegExp, args: readonly string[]): Promise<string> {
  const home = join(network.folder.path, 'home');
  const child = spawn(process.execPath, [SEALPOST, '--data', network.folder.path, ...args], {
    env: { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, XDG_STATE_HOME: home },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (said.test(stderr)) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.once('close', resolve));
  expect(child.signalCode, stderr).toBe('SIGKILL');
  return stderr;
}

const dataOf = ({ code, stdout, stderr }: { code: number | null; stdout: string; stderr: string }) => {
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout).data as Record<string, unknown>;
};

test('send --force: what the sequencer refuses of one sender is in the log, killed half way and run again it is paid for once', async () => {
  const network = await startNetwork();
  const bob = network.accounts.bob.address.toLowerCase();
  const censor = await startCensor(network, bob);
  const send = (...args: string[]) => sealpost(network, ['send', '--url', censor.url, '--as', 'bob', ...args]);

  // Refused over HTTP: the message is kept, and the next line says how it gets in.
  const refused = await send('--to', 'alice', 'first');
  expect(refused.code, refused.stderr).toBe(4);
  expect(refused.stderr).toContain('with --force it goes through the L1');
  expect(censor.refused).toBeGreaterThan(0);

  const forced = await send('--force', '--resume', '--yes');
  expect(forced.code, forced.stderr).toBe(0);
  expect(forced.stdout).toBe(`${bob}/0/0\n`);
  expect(forced.stderr).toMatch(/Forced: entry 0 of the inbox of lane 0, to be committed by block [\d,]+/);
  expect(await inboxLength(network)).toBe(1n);

  // Killed when its transaction goes out, and once more when it is in a block: the same bundle, paid for once.
  const second = ['--force', '--yes', '--to', 'alice', 'second'];
  await killAt(network, /sending forceInclude/, ['send', '--url', censor.url, '--as', 'bob', ...second]);
  const killed = await killAt(network, /Forced: entry 1 /, ['send', '--url', censor.url, '--as', 'bob', ...second]);
  expect(killed).toContain('Forced: entry 1 of the inbox of lane 0');
  const done = await send(...second, '--json', '--wait', 'committed');
  expect(done.stderr).toContain('was there before, nothing is paid');
  expect(dataOf(done)).toMatchObject({ id: `${bob}/0/1`, sequence: '1', includeBy: null, forced: { index: '1' } });
  expect(await inboxLength(network)).toBe(2n);

  // A sequencer that shows nothing of the sender either: the L1 alone tells the place, and what this machine sent the nonce.
  censor.deaf = true;
  const third = dataOf(await send('--force', '--yes', '--to', 'alice', 'third', '--json'));
  expect(third).toMatchObject({ id: `${bob}/0/2`, sequence: '2', includeBy: null, forced: { index: '2' } });
  expect(['committed', 'safe', 'finalized']).toContain(third.rung);
  expect(await inboxLength(network)).toBe(3n);

  // All is done: nothing is left behind, nothing is paid for.
  expect((await send('--force', '--resume', '--yes')).stdout).toBe('nothing was left behind\n');
  expect(await inboxLength(network)).toBe(3n);
  const inbox = await sealpost(network, ['inbox', '--as', 'alice', '--json']);
  const texts = inbox.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).data.text);
  expect(texts.filter((text) => text !== undefined)).toEqual(['first', 'second', 'third']);
  expect(await audit(network)).toMatchObject({ clean: true, entries: 3, messages: 3 });
});

test('send --force without a sequencer that answers: the nonce comes from the log, or is asked for', async () => {
  const network = await startNetwork();
  const bob = network.accounts.bob.address.toLowerCase();
  const censor = await startCensor(network, bob);
  dataOf(await sealpost(network, ['send', '--as', 'bob', '--to', 'alice', 'by HTTP', '--wait', 'committed', '--json']));
  // Another machine of bob's, which knows nothing of what the first one sent.
  const elsewhere = (...args: string[]) =>
    sealpost(network, ['send', '--settlement', network.settlement, '--as', 'bob', '--to', 'alice', '--force', '--yes', ...args]);
  const nobody = await elsewhere('--url', 'http://127.0.0.1:9', '--timeout', '20', 'x');
  expect(nobody.code, nobody.stderr).toBe(1);
  expect(nobody.stderr).toContain('Next: sealpost send --force --nonce');
  expect(await inboxLength(network)).toBe(0n);
  censor.deaf = true;
  const sent = await elsewhere('--url', censor.url, '--json', 'by the log');
  expect(sent.stderr).toContain('as the L1 and the batch files tell it');
  expect(dataOf(sent)).toMatchObject({ id: `${bob}/0/1`, sequence: '1' });

  // A nonce that is not the next is void, and said to be.
  const gap = await elsewhere('--url', network.url, '--nonce', '9', 'too far');
  expect(gap.code, gap.stderr).toBe(1);
  expect(gap.stderr).toContain('the forced bundle of nonce 9 on lane 0 says nothing in the log');
  await until('both to be consumed', async () => (await inboxLength(network)) === 2n);
  expect(await audit(network)).toMatchObject({ clean: true, entries: 3, messages: 2 });
});
