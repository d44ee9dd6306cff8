import type { Hex } from '@sealpost/prover';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createClient, createIdentity, type SealpostClient, type SecretIdentity } from '../src/index.js';
import { readEvents } from '../src/stream.js';
import { type Anvil, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

let anvil: Anvil;
let alice: SecretIdentity;
let bob: SecretIdentity;
let model: ModelSequencer;
let sender: SealpostClient;
let events: string[];

beforeAll(async () => {
  anvil = await startAnvil();
  alice = await createIdentity();
  bob = await createIdentity();
}, 30_000);
afterEach(() => model.stop());
afterAll(() => anvil?.stop());

const begin = async () => {
  model = await ModelSequencer.start(anvil);
  events = [];
  const log = (event: string) => void events.push(event);
  const base = { url: model.url, l1: anvil.transport, settlement: model.settlement, random: () => 0, log };
  sender = await createClient({ ...base, ...alice });
  return createClient({ ...base, ...bob });
};
const send = (...texts: string[]) => sender.sendMany(texts.map((text) => ({ to: bob.keys.publicKey, text })));

/** Reads until `count` messages are there. */
async function take(reader: SealpostClient, count: number, options: Parameters<SealpostClient['inbox']>[0] = {}) {
  const texts: (string | undefined)[] = [];
  for await (const { text } of reader.inbox(options)) {
    texts.push(text);
    if (texts.length === count) break;
  }
  return texts;
}
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
};

describe('inbox', () => {
  it('reads the past page by page, then live, without gap or repetition', async () => {
    const reader = await begin();
    await send('1', '2', '3', '4', '5');
    const reading = take(reader, 8, { pageSize: 2 });
    await until(() => model.openStreams === 1);
    await send('6', '7', '8');
    expect(await reading).toEqual(['1', '2', '3', '4', '5', '6', '7', '8']);
    await until(() => model.openStreams === 0);
  });

  it('goes on where it was when the stream breaks, with Last-Event-ID', async () => {
    const reader = await begin();
    await send('1');
    const reading = take(reader, 3);
    await until(() => model.openStreams === 1);
    await send('2');
    model.cutStreams();
    await until(() => model.requests.filter(({ path }) => path.includes('/stream')).length === 2 && model.openStreams === 1);
    await send('3');
    expect(await reading).toEqual(['1', '2', '3']);
    const [, second] = model.requests.filter(({ path }) => path.includes('/stream'));
    expect(second?.headers['last-event-id']).toBe('1.0');
    expect(events).toContain('topic.reconnect');
  });

  it('resumes from a cursor', async () => {
    const reader = await begin();
    await send('1', '2', '3');
    let cursor = '';
    for await (const message of reader.inbox({ follow: false })) {
      if (message.text === '2') cursor = message.cursor;
    }
    expect(await take(reader, 1, { after: cursor, follow: false })).toEqual(['3']);
  });

  it('filters by sender, whatever the sequencer gives', async () => {
    const reader = await begin();
    await send('from alice');
    await reader.send({ to: bob.keys.publicKey, text: 'from bob' });
    const read = await take(reader, 9, { follow: false, senders: [bob.account.address] });
    expect(read).toEqual(['from bob']);
  });

  it('ends with the caller’s signal, and leaves no connection', async () => {
    const reader = await begin();
    const stop = new AbortController();
    const reading = take(reader, 1, { signal: stop.signal });
    await until(() => model.openStreams === 1);
    stop.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
    await until(() => model.openStreams === 0);
  });

  it('passes over what was not sealed to it, and says so in the log', async () => {
    const reader = await begin();
    const { inboxTopic } = await import('../src/index.js');
    await sender.send({ topic: inboxTopic(bob.keys.publicKey), payload: Uint8Array.of(1, 1, 0) });
    await send('real');
    expect(await take(reader, 9, { follow: false })).toEqual(['real']);
    expect(events).toContain('inbox.unreadable');
  });

  it('needs keys', async () => {
    await begin();
    const reader = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement });
    await expect(take(reader, 1)).rejects.toMatchObject({
      code: 'key.missing',
      message: expect.stringMatching(/keys: await generateEncryptionKeys\(\).*keys\.publicKey/s),
    });
  });
});

describe('yields nothing that it has not verified', () => {
  const other = `0x${'ab'.repeat(32)}`;
  const inProof = (change: (proof: Record<string, unknown>) => unknown) => (message: Record<string, unknown>) => ({
    ...message,
    proof: { ...(message.proof as object), ...(change(message.proof as Record<string, unknown>) as object) },
  });
  it.each([
    ['no proof', ({ proof: _, ...message }: Record<string, unknown>) => message],
    ['another payload', inProof(({ message }) => ({ message: { ...(message as object), payload: 'AAAA' } }))],
    ['another topic', inProof(({ message }) => ({ message: { ...(message as object), topic: other } }))],
    ['another sender', inProof(({ bundle }) => ({ bundle: { ...(bundle as object), sender: `0x${'11'.repeat(20)}` } }))],
    ['another signature', inProof(({ bundle }) => ({ bundle: { ...(bundle as object), signature: `0x${'11'.repeat(65)}` } }))],
    ['another place', inProof(({ receipt }) => ({ receipt: { ...(receipt as object), sequence: '9' } }))],
    [
      'a receipt by nobody',
      inProof(({ receipt }) => ({ receipt: { ...(receipt as object), signature: `0x${'22'.repeat(65)}` } })),
    ],
    ['another network', inProof(() => ({ chainId: '1' }))],
    ['rubbish', () => ({ cursor: 7 })],
  ])('%s', async (_name, tamper) => {
    const reader = await begin();
    await send('bad', 'good');
    let first = true;
    model.tamper = (message) => {
      const changed = first ? (tamper as (message: Record<string, unknown>) => Record<string, unknown>)(message) : message;
      first = false;
      return changed;
    };
    expect(await take(reader, 9, { follow: false })).toEqual(['good']);
    expect(events).toContain('topic.refused');
  });

  it('the outer fields are never believed: they come from the verified bundle', async () => {
    const reader = await begin();
    await send('hello');
    model.tamper = (message) => ({ ...message, sender: `0x${'11'.repeat(20)}`, nonce: '77', payload: 'AAAA', sequence: '9' });
    for await (const message of reader.inbox({ follow: false })) {
      expect(message).toMatchObject({ text: 'hello', sender: sender.address, nonce: 0n, sequence: 0n });
    }
  });

  it('a message that is given twice is read once', async () => {
    const reader = await begin();
    await send('1', '2');
    const seen: Record<string, unknown>[] = [];
    model.tamper = (message) => {
      seen.push(message);
      return { ...(seen[0] as object), cursor: message.cursor };
    };
    expect(await take(reader, 9, { follow: false })).toEqual(['1']);
  });
});

it('a cursor that stands still is an error, not a loop', async () => {
  const reader = await begin();
  await send('1', '2');
  model.tamper = (message) => ({ ...message, cursor: '-1.-1' });
  await expect(take(reader, 9, { follow: false, after: '-1.-1' })).rejects.toMatchObject({ code: 'network.bad_answer' });
});

describe('waitFor', () => {
  it('climbs the ladder, each rung proven against the L1', async () => {
    const reader = await begin();
    const { bundles } = await send('x');
    const id = { sender: sender.address as Hex, lane: 0, nonce: bundles[0]?.nonce as bigint };
    expect((await reader.waitFor(id, 'accepted')).rung).toBe('accepted');
    const sealed = reader.waitFor(id, 'sealed');
    const header = model.seal();
    expect((await sealed).rung).toBe('sealed');
    expect((await reader.verifyMessage(id)).rung).toBe('sealed');
    const committed = reader.waitFor(id, 'committed');
    await anvil.commit(model.settlement, [header]);
    expect(await committed).toMatchObject({ sender: sender.address, batch: { number: 1n } });
    expect((await reader.waitFor(id, 'finalized')).rung).toBe('finalized');
    expect(await reader.isIncluded(await reader.proof(id))).toBe(true);
  });

  it('throws the proof that the promise was broken', async () => {
    const reader = await begin();
    model.includeDelay = 0n;
    const sent = await sender.send({ to: bob.keys.publicKey, text: 'x' });
    await expect(reader.waitFor(sent.id, 'committed')).rejects.toMatchObject({
      code: 'receipt.broken',
      facts: { sequence: '0' },
    });
  });

  it('gives up in time', async () => {
    const reader = await begin();
    const sent = await sender.send({ to: bob.keys.publicKey, text: 'x' });
    await expect(reader.waitFor(sent.id, 'committed', { timeoutMs: 120 })).rejects.toMatchObject({ code: 'timeout' });
  });

  it('throws where the L1 holds another batch', async () => {
    const reader = await begin();
    const sent = await sender.send({ to: bob.keys.publicKey, text: 'x' });
    const header = model.seal();
    await anvil.commit(model.settlement, [{ ...header, bundlesRoot: `0x${'33'.repeat(32)}` }]);
    await expect(reader.waitFor(sent.id, 'committed')).rejects.toMatchObject({ code: 'proof.invalid', facts: { step: 'slot' } });
  });
});

describe('server-sent events', () => {
  const read = async (...chunks: string[]) => {
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(encoder.encode(chunk));
        controller.close();
      },
    });
    const all = [];
    for await (const event of readEvents(body)) all.push(event);
    return all;
  };
  it.each([
    ['one', ['event: message\nid: 4\ndata: {}\n\n'], [{ event: 'message', data: '{}', id: '4' }]],
    [
      'cut anywhere',
      ['ev', 'ent: mess', 'age\r', '\nid: 4\r\nda', 'ta: {', '}\r\n', '\r\n'],
      [{ event: 'message', data: '{}', id: '4' }],
    ],
    ['several lines of data', ['data: a\ndata:b\n\n'], [{ event: 'message', data: 'a\nb', id: undefined }]],
    ['a comment', [': still here\n\n'], [{ event: '', data: '', id: undefined }]],
    [
      'an id that stays',
      ['id: 1\ndata: a\n\ndata: b\n\n'],
      [
        { event: 'message', data: 'a', id: '1' },
        { event: 'message', data: 'b', id: '1' },
      ],
    ],
    ['half an event', ['data: a\n'], []],
  ])('%s', async (_name, chunks, expected) => {
    await begin();
    expect(await read(...chunks)).toEqual(expected);
  });

  it('an event without end is refused, not collected', async () => {
    await begin();
    await expect(read(`data: ${'x'.repeat(4_200_000)}`)).rejects.toMatchObject({ code: 'network.bad_answer' });
  });
});
