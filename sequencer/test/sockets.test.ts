import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { Account, frames, message, topicOf } from './bundles.js';
import { closeVerifiers, Pipeline, type PipelineOptions } from './pipeline.js';

const [alice, bob] = [new Account('alice'), new Account('bob')];
const NEWS = topicOf('news');

const pipelines: Pipeline[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const pipeline of pipelines.splice(0)) {
    expect(pipeline.fatal).toEqual([]);
    await pipeline.close();
  }
});
afterAll(closeVerifiers);

interface Served {
  readonly it: Pipeline;
  readonly url: string;
  readonly port: number;
  connections(): Promise<number>;
}

async function serve(options: PipelineOptions & { requestTimeoutMs?: number } = {}): Promise<Served> {
  const it = await Pipeline.open(options);
  pipelines.push(it);
  const { server, url, port } = await it.listen(options);
  const connections = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));
  return { it, url, port, connections };
}

/** A connection of our own, with everything that came over it. */
function dial(port: number): { socket: Socket; received: () => string; closed: Promise<unknown> } {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => {});
  return {
    socket,
    received: () => Buffer.concat(chunks).toString('latin1'),
    closed: new Promise((resolve) => socket.once('close', resolve)),
  };
}

const head = (length: number | 'chunked', path = '/v1/bundles') =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n${length === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`}\r\n\r\n`;

interface SseEvent {
  readonly id: string;
  readonly message: { readonly payload: string; readonly nonce: string; readonly sender: string };
}

/** Events and comments of a stream, as they come. */
async function* eventsOf(response: Response): AsyncGenerator<SseEvent | string> {
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  let rest = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    rest += decoder.decode(chunk, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    yield* blocks.map(eventOf);
  }
}

function eventOf(block: string): SseEvent | string {
  if (block.startsWith(':')) return block;
  const [id = '', event, data = ''] = block.split('\n');
  expect(event).toBe('event: message');
  return { id: id.slice('id: '.length), message: JSON.parse(data.slice('data: '.length)) };
}

async function take(events: AsyncGenerator<SseEvent | string>, count: number): Promise<SseEvent[]> {
  const taken: SseEvent[] = [];
  for await (const event of events) {
    if (typeof event !== 'string') taken.push(event);
    if (taken.length === count) break;
  }
  return taken;
}
const texts = (events: readonly SseEvent[]) => events.map(({ message }) => Buffer.from(message.payload, 'base64').toString());

test('a body that comes too slowly is cut off, and takes no room afterwards', async () => {
  const { it, url, port, connections } = await serve({ requestTimeoutMs: 200, http: { maxQueueBytes: 2_000 } });
  const slow = [dial(port), dial(port), dial(port)];
  slow[0]?.socket.write(head(1_900));
  slow[1]?.socket.write(head('chunked'));
  slow[2]?.socket.write('POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Ty');
  slow[0]?.socket.write(Buffer.alloc(900));
  slow[1]?.socket.write(`384\r\n${'x'.repeat(900)}\r\n`);
  await Promise.all(slow.map(({ closed }) => closed));
  for (const { received } of slow) expect(received()).toMatch(/^(HTTP\/1.1 408 |$)/);
  await expect.poll(connections).toBe(0);
  const response = await fetch(`${url}/v1/bundles`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/octet-stream' },
    body: frames(alice.sign({ messages: ['x'.repeat(1_500)] })),
  });
  expect(response.status).toBe(200);
  expect(it.sequencer.queuedBytes).toBe(0);
});

test('a declared body over the limit is answered 413 without being read', async () => {
  const { port } = await serve({ http: { maxBodyBytes: 10_000 } });
  const { socket, received } = dial(port);
  socket.write(head(1_000_000_000));
  await expect.poll(received).toMatch(/^HTTP\/1.1 413 .*bundle\.too_large/s);
});

test('an endless chunked body is answered 413, and its connection ends', async () => {
  const { port, connections } = await serve({ http: { maxBodyBytes: 1_000_000 } });
  const { socket, received, closed } = dial(port);
  socket.write(head('chunked'));
  const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`;
  let sent = 0;
  const send = () => {
    while (!socket.destroyed && sent < 200_000_000) {
      sent += chunk.length;
      if (!socket.write(chunk)) return;
    }
  };
  socket.on('drain', send);
  send();
  await expect.poll(received).toMatch(/^HTTP\/1.1 413 .*bundle\.too_large/s);
  await closed;
  // What the system's buffers took, and the 16 MiB that are read and dropped so that the answer arrives; not all there was.
  expect(sent).toBeLessThan(100_000_000);
  await expect.poll(connections).toBe(0);
});

test('clients that vanish in the middle of a request', async () => {
  const { it, url, port, connections } = await serve({ http: { maxQueueBytes: 5_000 } });
  for (let round = 0; round < 10; round++) {
    const clients = Array.from({ length: 5 }, () => dial(port));
    for (const [index, { socket }] of clients.entries()) {
      socket.write(head(4_000));
      socket.write(Buffer.alloc(100 * index));
    }
    await expect.poll(connections).toBe(5);
    for (const { socket } of clients) socket.resetAndDestroy();
    await expect.poll(connections).toBe(0);
  }
  const response = await fetch(`${url}/v1/bundles`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/octet-stream' },
    body: frames(alice.sign({ messages: ['x'.repeat(4_000)] })),
  });
  expect(response.status).toBe(200);
  expect(it.events.filter(({ level }) => level === 'error')).toEqual([]);
});

test('a client that vanishes before its answer: what it sent stands, and is answered again', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { it, port, connections } = await serve({
    wrapVerify: (verify) => async (body) => {
      await held;
      return verify(body);
    },
  });
  const { socket } = dial(port);
  const body = frames(alice.sign());
  socket.write(head(body.length));
  socket.write(body);
  await expect.poll(() => it.sequencer.queuedBytes).toBe(body.length);
  socket.resetAndDestroy();
  await expect.poll(connections).toBe(0);
  release();
  await expect.poll(() => it.store.tail(0).nextSequence).toBe(1n);
  const [again] = await it.submit(alice.sign());
  expect(again).toMatchObject({ receipt: { sequence: 0n } });
});

test('clients that vanish while they wait: nobody is waited for any more', async () => {
  const { it, url } = await serve();
  const gone = new AbortController();
  const polls = Array.from({ length: 20 }, (_, index) =>
    fetch(`${url}/v1/topics/${NEWS}/${index % 2 === 0 ? 'messages?wait=30' : 'stream'}`, { signal: gone.signal }).catch(
      () => undefined,
    ),
  );
  await expect.poll(() => it.live.size).toBe(20);
  gone.abort();
  await Promise.all(polls);
  await expect.poll(() => it.live.size).toBe(0);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

test('a client that vanishes in the middle of a batch file', async () => {
  const { it, port, connections } = await serve();
  for (let nonce = 0n; nonce < 160n; nonce += 16n) {
    await it.submit(alice.sign({ nonce, messages: Array.from({ length: 16 }, () => 'x'.repeat(60_000)) }));
  }
  await it.seal();
  const { socket, received } = dial(port);
  socket.write('GET /v1/batches/0/1/data HTTP/1.1\r\nHost: x\r\n\r\n');
  await expect.poll(() => received().length).toBeGreaterThan(100_000);
  socket.resetAndDestroy();
  await expect.poll(connections).toBe(0);
  expect((await it.get('/v1/batches/0/1/data')).status).toBe(200);
  expect(it.events.filter(({ level }) => level === 'error')).toEqual([]);
});

test('pipelined requests are answered in order; garbage ends the connection, not the server', async () => {
  const { it, port, url } = await serve();
  const body = frames(alice.sign());
  const piped = dial(port);
  piped.socket.write(
    Buffer.concat([Buffer.from(head(body.length)), body, Buffer.from('GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n')]),
  );
  const statuses = () => [...piped.received().matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status);
  await expect.poll(statuses).toEqual(['200', '404']);
  piped.socket.write('\x16\x03\x01\x02\x00\x01\x00 this is no HTTP\r\n\r\n');
  await piped.closed;
  expect(statuses()).toEqual(['200', '404', '400']);
  expect(it.store.tail(0).nextSequence).toBe(1n);
  for (const garbage of [
    '\0\0\0\0',
    'GET / HTTP/9.9\r\n\r\n',
    'POST /v1/bundles HTTP/1.1\r\nContent-Length: x\r\n\r\n',
    'x'.repeat(100_000),
  ]) {
    const { socket, closed } = dial(port);
    socket.write(garbage);
    await closed;
  }
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

test('a stream: the past, then live, without gap or repetition while writers write', async () => {
  const { it, url } = await serve();
  const MESSAGES = 300;
  const write = async (from: number, to: number) => {
    for (let nonce = from; nonce < to; nonce++) await it.submit(alice.sign({ nonce: BigInt(nonce), messages: [`${nonce}`] }));
  };
  await write(0, 100);
  const writing = write(100, MESSAGES);
  const readers = await Promise.all(
    Array.from({ length: 4 }, async (_, index) => {
      const after = index === 3 ? '?after=latest' : '';
      return take(eventsOf(await fetch(`${url}/v1/topics/${NEWS}/stream${after}`)), index === 3 ? 20 : MESSAGES);
    }),
  );
  await writing;
  const expected = Array.from({ length: MESSAGES }, (_, nonce) => `${nonce}`);
  for (const events of readers.slice(0, 3)) expect(texts(events)).toEqual(expected);
  const latest = texts(readers[3] as SseEvent[]);
  expect(latest).toEqual(expected.slice(Number(latest[0]), Number(latest[0]) + 20));
  await expect.poll(() => it.live.size).toBe(0);
});

test('forty streams of four topics, more than can be woken each time: every message exactly once, in order', async () => {
  const { it, url } = await serve();
  const topics = Array.from({ length: 4 }, (_, at) => topicOf(`shared ${at}`));
  const [BUNDLES, EACH] = [100, 2];
  const streams = await Promise.all(
    Array.from({ length: 40 }, (_, at) => fetch(`${url}/v1/topics/${topics[at % topics.length]}/stream?after=latest`)),
  );
  const reading = streams.map((stream) => take(eventsOf(stream), BUNDLES * EACH));
  for (let bundle = 0; bundle < BUNDLES; bundle++) {
    const messages = Array.from({ length: EACH }, (_, at) =>
      topics.map((topic) => message(topic, `${bundle * EACH + at}`)),
    ).flat();
    await it.submit(alice.sign({ nonce: BigInt(bundle * messages.length), messages }));
  }
  const expected = Array.from({ length: BUNDLES * EACH }, (_, at) => `${at}`);
  for (const events of await Promise.all(reading)) expect(texts(events)).toEqual(expected);
  await expect.poll(() => it.live.size).toBe(0);
});

test('a stream is resumed from Last-Event-ID, which wins over after', async () => {
  const { it, url } = await serve();
  for (let nonce = 0n; nonce < 10n; nonce++)
    await it.submit(alice.sign({ nonce, messages: [`a${nonce}`] }), bob.sign({ nonce, messages: [`b${nonce}`] }));
  const stream = (headers: Record<string, string>, query = '') => fetch(`${url}/v1/topics/${NEWS}/stream${query}`, { headers });
  const first = await take(eventsOf(await stream({})), 7);
  const rest = await take(eventsOf(await stream({ 'Last-Event-ID': first.at(-1)?.id ?? '' }, '?after=0')), 13);
  expect(texts([...first, ...rest])).toEqual(Array.from({ length: 10 }, (_, nonce) => [`a${nonce}`, `b${nonce}`]).flat());
  const bobs = await take(
    eventsOf(await stream({ 'Last-Event-ID': first.at(-1)?.id ?? '' }, `?sender=${bob.address}&proofs=1`)),
    7,
  );
  expect(texts(bobs)).toEqual(['b3', 'b4', 'b5', 'b6', 'b7', 'b8', 'b9']);
  expect(bobs[0]?.message).toHaveProperty('proof.receipt.signature');
  for (const id of ['x', '-1', '01', '99999999999999999']) expect((await stream({ 'Last-Event-ID': id })).status).toBe(400);
});

test('an idle stream says that it lives, and ends when the sequencer stops', async () => {
  const { it, url } = await serve({ http: { heartbeatMs: 20 } });
  const events = eventsOf(await fetch(`${url}/v1/topics/${NEWS}/stream`));
  const comments: string[] = [];
  for await (const event of events) {
    expect(event).toMatch(/^:/);
    comments.push(event as string);
    if (comments.length === 4) it.live.end();
  }
  expect(comments.length).toBeGreaterThanOrEqual(4);
  await expect.poll(() => it.live.size).toBe(0);
});

test('10,000 events to a reader that stops reading: it is closed, little is held for it, and it can resume', async () => {
  const { it, port, connections } = await serve({ http: { stallMs: 250 } });
  const PER_BUNDLE = 400;
  const bundles = Array.from({ length: 25 }, (_, index) => {
    const first = index * PER_BUNDLE;
    const messages = Array.from({ length: PER_BUNDLE }, (_, at) => message(NEWS, `${first + at} ${'x'.repeat(2_000)}`));
    return alice.sign({ nonce: BigInt(first), messages });
  });
  for (const bundle of bundles) await it.submit(bundle);
  const before = process.memoryUsage();
  const { socket, received } = dial(port);
  socket.pause();
  socket.write(`GET /v1/topics/${NEWS}/stream HTTP/1.1\r\nHost: x\r\n\r\n`);
  await expect.poll(() => it.live.size).toBe(1);
  await expect.poll(() => it.live.size, { timeout: 8_000 }).toBe(0);
  const held = process.memoryUsage();
  expect(held.arrayBuffers + held.heapUsed - before.arrayBuffers - before.heapUsed).toBeLessThan(64_000_000);
  await expect.poll(connections).toBe(0);

  socket.resume();
  await once(socket, 'close');
  const ids = [...received().matchAll(/^id: (\d+)$/gm)].map(([, id]) => id as string);
  expect(ids.length).toBeLessThan(10_000);
  // Of the last event only a part may have come: resume from the one before it.
  const got = Math.max(0, ids.length - 1);
  const headers: Record<string, string> = got === 0 ? {} : { 'Last-Event-ID': ids[got - 1] as string };
  // Not over a socket: its buffers of megabytes hide for longer than this test's `stallMs` that a reader reads.
  const rest = await take(eventsOf(await it.get(`/v1/topics/${NEWS}/stream`, headers)), 10_000 - got);
  expect(rest.map(({ message }) => Number(message.nonce))).toEqual(
    Array.from({ length: 10_000 - got }, (_, index) => got + index),
  );
});

test('a reader that is slow, but reads, is not closed', async () => {
  const it = await Pipeline.open({ http: { stallMs: 400 } });
  pipelines.push(it);
  const messages = (from: number) => Array.from({ length: 16 }, (_, at) => message(NEWS, `${from + at} ${'x'.repeat(60_000)}`));
  for (let nonce = 0; nonce < 80; nonce += 16) await it.submit(alice.sign({ nonce: BigInt(nonce), messages: messages(nonce) }));
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const reader = ((await it.get(`/v1/topics/${NEWS}/stream`)).body as ReadableStream<Uint8Array>).getReader();
  let events = 0;
  while (events < 80) {
    const { value, done } = await reader.read();
    expect(done).toBe(false);
    events += [...new TextDecoder().decode(value).matchAll(/^id: /gm)].length;
    // 80 events, each taken 300 ms after the one before: with 1 MiB waiting all along.
    await vi.advanceTimersByTimeAsync(300);
  }
  vi.useRealTimers();
  await reader.cancel();
  await expect.poll(() => it.live.size).toBe(0);
});
