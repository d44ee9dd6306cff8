import { readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { Network } from '../network.js';
import { LoadSender, makeRegion, type PresignedBundle } from '../presigned.js';
import { Wire } from '../wire.js';
import { SOUND, startLoad, startNetwork, until } from './stage.js';

const TOPIC = `0x${'5e'.repeat(32)}` as const;
const BUNDLE = 250;
const EVENTS = 10_000;

function newSender(network: Network): LoadSender {
  const expiry = BigInt(Math.floor(Date.now() / 1_000)) + 86_400n;
  return new LoadSender({ chainId: BigInt(network.chainId), settlement: network.settlement }, 0, expiry);
}

const bundleOf = (sender: LoadSender, count: number): PresignedBundle =>
  sender.sign(makeRegion({ count, payloadBytes: 256, lane: 0, laneCount: 1, topic: TOPIC }));

/** Events of a stream as they come; `destroy` ends it. */
async function openStream(
  url: string,
  lastEventId?: string,
): Promise<{ response: IncomingMessage; ids: string[]; nonces: number[] }> {
  const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${url}/v1/topics/${TOPIC}/stream`, { headers }, resolve).once('error', reject);
  });
  onTestFinished(() => void response.destroy());
  response.on('error', () => {});
  const ids: string[] = [];
  const nonces: number[] = [];
  let rest = '';
  response.setEncoding('utf8').on('data', (text: string) => {
    const events = (rest + text).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) {
      const id = /^id: ?(.*)$/m.exec(event)?.[1];
      const data = /^data: ?(.*)$/m.exec(event)?.[1];
      if (id === undefined || data === undefined) continue;
      ids.push(id);
      nonces.push(Number((JSON.parse(data) as { nonce: string }).nonce));
    }
  });
  return { response, ids, nonces };
}

/** Resident memory of a process, in megabytes; undefined where there is no /proc. */
function residentMegabytes(pid: number): number | undefined {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024;
  } catch {
    return undefined;
  }
}

test('10,000 events to a reader that stops reading: it is closed, memory stays, and others get every event once', async () => {
  const network = await startNetwork({ sequencerEnv: { SEALPOST_STALL_MS: '500' } });
  const pid = network.sequencer?.pid ?? 0;
  const sender = newSender(network);
  const wire = new Wire(network.url);
  onTestFinished(() => wire.close());
  const send = async (count: number) => {
    for (let sent = 0; sent < count; sent += BUNDLE) {
      const answer = await wire.post('/v1/bundles', bundleOf(sender, BUNDLE).parts);
      expect(answer.status, answer.body.toString('utf8')).toBe(200);
    }
  };
  await send(BUNDLE);

  const good = await openStream(network.url);
  // Twenty readers that take nothing any more after the first events.
  const stalled: { socket: Socket; isClosed: boolean }[] = [];
  for (let at = 0; at < 20; at++) {
    const socket = connect(Number(new URL(network.url).port), '127.0.0.1');
    const reader = { socket, isClosed: false };
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => {});
    socket.write(`GET /v1/topics/${TOPIC}/stream HTTP/1.1\r\nhost: x\r\n\r\n`);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.pause();
    stalled.push(reader);
  }
  const before = residentMegabytes(pid);
  await send(EVENTS - BUNDLE);
  await until('every event', () => good.nonces.length >= EVENTS);
  expect(good.nonces).toEqual(Array.from({ length: EVENTS }, (_, at) => at));

  // The server's side of the connections is closed: what is left to read ends.
  const waiting = async () => {
    const text = await (await fetch(`${network.url}/metrics`)).text();
    return Number(/^sealpost_\w*(?:waiting|readers)\w* (\d+)/m.exec(text)?.[1]);
  };
  await until('the stalled readers to be closed', async () => (await waiting()) <= 1);
  const after = residentMegabytes(pid);
  // Twenty times 1 MiB of backlog, and what 10,000 messages cost anyway.
  if (before !== undefined && after !== undefined) expect(after - before).toBeLessThan(200);

  // Resumed where another one broke off: exactly the rest.
  const cut = await openStream(network.url, good.ids[6_999]);
  await until('the rest', () => cut.nonces.length >= EVENTS - 7_000);
  expect(cut.nonces).toEqual(Array.from({ length: EVENTS - 7_000 }, (_, at) => 7_000 + at));
});

test('slow and vanishing clients: the slow are cut off, the vanished leave a log that is whole, others do not notice', async () => {
  const network = await startNetwork({ sequencerEnv: { SEALPOST_REQUEST_TIMEOUT_MS: '1500' } });
  const port = Number(new URL(network.url).port);
  const open = (text: string | Uint8Array): { socket: Socket; state: { isClosed: boolean } } => {
    const socket = connect(port, '127.0.0.1');
    const state = { isClosed: false };
    socket.on('error', () => {});
    socket.on('close', () => {
      state.isClosed = true;
    });
    socket.resume();
    onTestFinished(() => void socket.destroy());
    socket.write(text);
    return { socket, state };
  };
  const slow: ReturnType<typeof open>[] = [];
  for (let at = 0; at < 50; at++) {
    slow.push(open('POST /v1/bundles HTTP/1.1\r\nhost: x\r\ncontent-le'));
    slow.push(
      open('POST /v1/bundles HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000\r\n\r\nabc'),
    );
  }
  const load = await startLoad(network, { senders: 2 });
  await load.more(10);

  // Whole bundles whose senders hang up without waiting for the answer.
  const sender = newSender(network);
  const bundles: PresignedBundle[] = [];
  for (let at = 0; at < 20; at++) {
    const bundle = bundleOf(sender, 4);
    bundles.push(bundle);
    const length = bundle.parts.reduce((sum, part) => sum + part.length, 0);
    const head = `POST /v1/bundles HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: ${length}\r\n\r\n`;
    const { socket } = open(Buffer.concat([Buffer.from(head), ...bundle.parts]));
    await new Promise<void>((resolve) => socket.end(resolve));
    socket.destroy();
  }
  // Sent again by a patient client: each stands in the log once, whether it had been taken before or not.
  const wire = new Wire(network.url);
  onTestFinished(() => wire.close());
  const sequences = new Set<string>();
  for (const bundle of bundles) {
    const answer = await wire.post('/v1/bundles', bundle.parts);
    expect(answer.status, answer.body.toString('utf8')).toBe(200);
    sequences.add(
      (JSON.parse(answer.body.toString('utf8')) as { results: { receipt: { sequence: string } }[] }).results[0]?.receipt
        .sequence ?? '',
    );
  }
  expect(sequences.size).toBe(bundles.length);
  const account = (await (await fetch(`${network.url}/v1/accounts/${sender.address}?lane=0`)).json()) as { nonce: string };
  expect(account.nonce).toBe(String(4 * bundles.length));

  await until('the slow to be cut off', () => slow.every(({ state }) => state.isClosed), 45_000);
  await load.more(10);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(await load.verdict()).toMatchObject(SOUND);
});
