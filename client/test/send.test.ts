import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeBundle, type Hex, headOf, messageAt, readBundle, toHex } from '@sealpost/prover';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type ClientOptions,
  createClient,
  createIdentity,
  formatMessageId,
  memoryOutbox,
  type Outbox,
  type SealpostClient,
  type SecretIdentity,
  type SendError,
} from '../src/index.js';
import { fileOutbox } from '../src/node.js';
import { type Anvil, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

let anvil: Anvil;
let bob: SecretIdentity;
const models: ModelSequencer[] = [];
const folders: string[] = [];

beforeAll(async () => {
  anvil = await startAnvil();
  bob = await createIdentity();
}, 30_000);
afterEach(async () => {
  await Promise.all(models.splice(0).map((model) => model.stop()));
});
afterAll(async () => {
  await anvil?.stop();
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
});

const network = async (options: { laneCount?: number } = {}) => {
  const model = await ModelSequencer.start(anvil, options);
  models.push(model);
  return model;
};

const connect = (
  model: ModelSequencer,
  identity: SecretIdentity,
  options: Partial<ClientOptions> = {},
): Promise<SealpostClient> =>
  createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, random: () => 0, ...identity, ...options });

const to = (text: string) => ({ to: bob.keys.publicKey, text });
const texts = (count: number, from = 0) => Array.from({ length: count }, (_, index) => to(`message ${from + index}`));

async function inboxTexts(model: ModelSequencer, identity = bob): Promise<(string | undefined)[]> {
  const client = await connect(model, identity);
  const read: (string | undefined)[] = [];
  for await (const message of client.inbox({ follow: false })) read.push(message.text);
  return read;
}

describe('send', () => {
  it('seals, signs, verifies the receipt, and what was sent can be read', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    const first = await alice.send(to('one'));
    const second = await alice.send(to('two'));
    expect(first.id).toBe(`${alice.address}/0/0`);
    expect(second).toMatchObject({ nonce: 1n, sequence: 1n });
    expect(second.receipt.previous).toBe(1n);
    expect(await inboxTexts(model)).toEqual(['one', 'two']);
  });

  it('serializes concurrent calls of one client', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    const sent = await Promise.all(texts(12).map((message) => alice.send(message)));
    expect(sent.map(({ nonce }) => nonce)).toEqual(Array.from({ length: 12 }, (_, nonce) => BigInt(nonce)));
    expect(model.requests.filter(({ path }) => path.startsWith('/v1/accounts'))).toHaveLength(1);
  });

  it('publishes what is not sealed as it is', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    const topic: Hex = `0x${'ab'.repeat(32)}`;
    await alice.send({ topic, payload: Uint8Array.of(1, 2, 3) });
    const read = [];
    for await (const { payload, sender } of alice.topic(topic, { follow: false })) read.push({ payload: [...payload], sender });
    expect(read).toEqual([{ payload: [1, 2, 3], sender: alice.address }]);
  });

  it('needs an account, and refuses what does not fit', async () => {
    const model = await network();
    const { account: _, ...nobody } = await createIdentity();
    const reader = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, keys: nobody.keys });
    await expect(reader.send(to('x'))).rejects.toMatchObject({ code: 'send.no_account' });
    const alice = await connect(model, await createIdentity());
    await expect(alice.send(to('x'.repeat(65_483)))).rejects.toMatchObject({
      code: 'send.too_large',
      facts: { maxBytes: 65_482 },
    });
    await expect(alice.send({ to: '0x1234', text: 'x' })).rejects.toMatchObject({ code: 'key.malformed' });
    expect(model.messages()).toEqual([]);
  });

  it('refuses an account that signs for somebody else', async () => {
    const model = await network();
    const { account, keys } = await createIdentity();
    const { account: other } = await createIdentity();
    const liar = { address: account.address, signTypedData: other.signTypedData };
    const client = await connect(model, { account: liar, keys } as unknown as SecretIdentity);
    await expect(client.send(to('x'))).rejects.toMatchObject({ code: 'send.bad_signer' });
    expect(model.messages()).toEqual([]);
  });
});

describe('what the wire does', () => {
  const busy = { status: 503, problem: { code: 'busy', retryAfterMs: 20 }, headers: { 'retry-after': '1' } };
  it.each([
    ['busy', busy],
    ['unavailable', { ...busy, problem: { code: 'unavailable', retryAfterMs: 5 } }],
    ['a connection cut before the request was taken', 'cut before'],
    ['a connection cut after the bundle was accepted', 'cut after'],
    ['a proxy that answers in HTML', { status: 502, problem: {}, headers: { 'content-type': 'text/html' } }],
  ] as const)('%s: sent once in the end', async (_name, fault) => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    model.failNext(/bundles/, fault, 3);
    await alice.send(to('only once'));
    await alice.send(to('and the next'));
    expect(await inboxTexts(model)).toEqual(['only once', 'and the next']);
    expect(model.requests.filter(({ method }) => method === 'POST')).toHaveLength(5);
  });

  it('asks again no sooner than Retry-After says', async () => {
    const model = await network();
    const waits: number[] = [];
    const alice = await connect(model, await createIdentity(), {
      log: (event, facts) => {
        if (event === 'http.retry') waits.push(facts.waitMs as number);
      },
    });
    model.failNext(/bundles/, { status: 503, problem: { code: 'busy' }, headers: { 'retry-after': '1' } });
    await alice.send(to('x'));
    expect(waits).toEqual([1_000]);
  });

  it('does not try again what the protocol refuses', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    model.failNext(/bundles/, { status: 401, problem: { code: 'bundle.bad_signature', detail: 'no' } });
    await expect(alice.send(to('x'))).rejects.toMatchObject({
      code: 'send.refused',
      facts: { code: 'bundle.bad_signature', pending: false },
    });
    expect(model.requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
    expect((await alice.send(to('y'))).nonce).toBe(0n);
  });

  it('gives up after timeoutMs, keeps the bundle, and sends it first next time', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    model.faults.push((method) => (method === 'POST' ? 'cut before' : undefined));
    await expect(alice.send(to('late'), { timeoutMs: 150 })).rejects.toMatchObject({ code: 'timeout', facts: { pending: true } });
    model.faults.length = 0;
    await alice.send(to('later'));
    expect(await inboxTexts(model)).toEqual(['late', 'later']);
  });

  it('stops when the caller says so', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    model.faults.push((method) => (method === 'POST' ? 'cut before' : undefined));
    const stop = new AbortController();
    const sending = alice.send(to('x'), { signal: stop.signal });
    stop.abort(new Error('never mind'));
    await expect(sending).rejects.toThrow('never mind');
  });
});

describe('nonces', () => {
  it('two clients of one account: nobody’s message is lost, doubled or left out', async () => {
    const model = await network();
    const identity = await createIdentity();
    const [phone, laptop] = await Promise.all([connect(model, identity), connect(model, identity)]);
    const phoneTexts = texts(6).map((_, index) => `phone ${index}`);
    const laptopTexts = texts(6).map((_, index) => `laptop ${index}`);
    await Promise.all([
      ...phoneTexts.map((text) => (phone as SealpostClient).send(to(text))),
      ...laptopTexts.map((text) => (laptop as SealpostClient).send(to(text))),
    ]);
    const read = await inboxTexts(model);
    expect([...read].sort()).toEqual([...phoneTexts, ...laptopTexts].sort());
    expect(read.filter((text) => text?.startsWith('phone'))).toEqual(phoneTexts);
  });

  it('signs again under another nonce only with the other entry’s proof in hand', async () => {
    const model = await network();
    const identity = await createIdentity();
    const alice = await connect(model, identity);
    await alice.send(to('first'));
    model.failNext(/bundles/, { status: 409, problem: { code: 'bundle.nonce', expected: '5', detail: 'a lie' } }, 1);
    await expect(alice.send(to('second'))).rejects.toMatchObject({
      code: 'send.nonce_unclear',
      facts: { nonce: '1', pending: true },
    });
    // The bundle stayed as it was signed, and goes first.
    await alice.send(to('third'));
    expect(await inboxTexts(model)).toEqual(['first', 'second', 'third']);
  });

  it('takes a 409 about an entry that is our own bundle as its receipt', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    model.faults.push((method) => {
      const posts = model.requests.filter((request) => request.method === 'POST').length;
      if (method !== 'POST' || posts > 2) return undefined;
      return posts === 1 ? 'cut after' : { status: 409, problem: { code: 'bundle.nonce', expected: '1', detail: 'forgetful' } };
    });
    const sent = await alice.send(to('mine'));
    expect(sent).toMatchObject({ nonce: 0n, sequence: 0n });
    expect(model.messages()).toHaveLength(1);
  });

  it('stops when the sequencer has lost what it gave receipts for', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    await alice.send(to('one'));
    await alice.send(to('two'));
    model.lanes[0]?.entries.splice(1);
    await expect(alice.send(to('three'))).rejects.toMatchObject({
      code: 'send.nonce_behind',
      facts: { nonce: '2', expected: '1' },
    });
  });

  it('signs an expired bundle again at its own nonce, with the same messages', async () => {
    const model = await network();
    const outbox = memoryOutbox();
    const identity = await createIdentity();
    const alice = await connect(model, identity, { outbox, expirySeconds: -10 });
    model.now = () => 0n;
    model.faults.push((method) => (method === 'POST' ? 'cut before' : undefined));
    await expect(alice.send(to('old'), { timeoutMs: 60 })).rejects.toMatchObject({ code: 'timeout' });
    model.faults.length = 0;
    model.now = () => BigInt(Math.floor(Date.now() / 1_000));
    const later = await connect(model, identity, { outbox });
    await later.send(to('new'));
    expect(await inboxTexts(model)).toEqual(['old', 'new']);
  });

  it('gives up on a sequencer for which everything is expired', async () => {
    const model = await network();
    model.now = () => 1n << 62n;
    const alice = await connect(model, await createIdentity());
    await expect(alice.send(to('x'))).rejects.toMatchObject({ code: 'send.refused', facts: { pending: true } });
  });
});

describe('what is not the sequencer’s word', () => {
  it.each([
    ['a proxy’s 404', { status: 404, html: '<h1>Not Found</h1>' }],
    ['a firewall’s 403', { status: 403, html: '<h1>Forbidden</h1>' }],
    ['a proxy’s 429', { status: 429, html: '<h1>Slow down</h1>' }],
    ['a captive portal’s 200', { status: 200, html: '<html>' }],
    ['JSON of somebody else', { status: 404, problem: { error: 'no route' } }],
    ['a problem of another kind', { status: 404, problem: { code: 'not_found', detail: 'no route' } }],
  ])('%s: nothing is dropped, nothing doubled', async (_name, answer) => {
    const model = await network();
    const outbox = memoryOutbox();
    const alice = await connect(model, await createIdentity(), { outbox, maxMessagesPerBundle: 2 });
    // Of the first bundle it is not known whether the sequencer has it.
    model.failNext(/bundles/, 'cut after');
    let posts = 0;
    model.faults.push((method) => (method === 'POST' && ++posts > 1 ? answer : undefined));
    await expect(alice.sendMany(texts(3), { job: 'three' })).rejects.toMatchObject({
      code: expect.stringMatching(/network.bad_answer|not_found/),
      facts: { pending: true },
    });
    model.faults.length = 0;
    expect(await alice.sendMany(texts(3), { job: 'three' })).toMatchObject({ count: 0, skipped: 3 });
    await alice.send(to('after'));
    expect(await inboxTexts(model)).toEqual(['message 0', 'message 1', 'message 2', 'after']);
  });

  it('a proxy’s 413 for many bundles: one by one', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 2 });
    model.failNext(/bundles/, { status: 413, html: '<h1>Request Entity Too Large</h1>' });
    await alice.sendMany(texts(5));
    expect(await inboxTexts(model)).toEqual(texts(5).map(({ text }) => text));
  });
});

describe('a bundle that is refused for good', () => {
  const outboxes = [
    ['memory', async () => memoryOutbox()],
    [
      'files',
      async () => {
        const folder = await mkdtemp(join(tmpdir(), 'sealpost-send-'));
        folders.push(folder);
        return fileOutbox({ folder });
      },
    ],
  ] as const;

  it.each(outboxes)(
    'takes those behind it along, hands their messages back, and leaves the lane free: %s',
    async (_name, make) => {
      const model = await network();
      const alice = await connect(model, await createIdentity(), { outbox: await make(), maxMessagesPerBundle: 2 });
      await alice.send(to('before'));
      model.refuse = ({ nonce }) => (nonce === 1n ? 'bundle.too_large' : undefined);
      const error = await alice.sendMany(texts(5)).catch((reason: unknown) => reason);
      expect(error).toMatchObject({
        code: 'send.refused',
        facts: { nonce: '1', code: 'bundle.too_large', bundles: 3, messages: 5, earlier: false, pending: false },
      });
      model.refuse = () => undefined;
      await alice.send(to('after'));
      await alice.sendMany((error as SendError).unsent ?? []);
      expect(await inboxTexts(model)).toEqual(['before', 'after', ...texts(5).map(({ text }) => text)]);
    },
  );

  it.each(outboxes)('a job goes on in front of it: %s', async (_name, make) => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { outbox: await make(), maxMessagesPerBundle: 2 });
    model.refuse = ({ nonce }) => (nonce === 2n ? 'bundle.malformed' : undefined);
    await expect(alice.sendMany(texts(7), { job: 'seven' })).rejects.toMatchObject({ code: 'send.refused' });
    model.refuse = () => undefined;
    expect(await alice.sendMany(texts(7), { job: 'seven' })).toMatchObject({ skipped: 2, count: 5 });
    expect(await inboxTexts(model)).toEqual(texts(7).map(({ text }) => text));
  });

  it('left by an earlier call: says so, and the next call goes through', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 2 });
    const stop = new AbortController();
    model.faults.push((method) => {
      if (method !== 'POST') return undefined;
      stop.abort();
      return 'cut before';
    });
    await expect(alice.sendMany(texts(4), { signal: stop.signal })).rejects.toMatchObject({ name: 'AbortError' });
    model.faults.length = 0;
    model.refuse = () => 'bundle.wrong_lane';
    await expect(alice.send(to('new'))).rejects.toMatchObject({ code: 'send.refused', facts: { earlier: true, messages: 4 } });
    model.refuse = () => undefined;
    await alice.send(to('new'));
    expect(await inboxTexts(model)).toEqual(['new']);
  });
});

describe('receipts', () => {
  const send = async (change: (model: ModelSequencer) => void) => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    await alice.send(to('good'));
    change(model);
    return alice.send(to('bad'));
  };
  const refused = (step: string) => ({ name: 'ProtocolError', code: 'receipt.invalid', facts: { step } });

  it('of another signer', async () => {
    const stranger = await createIdentity();
    await expect(
      send((model) => {
        model.signingKey = stranger.accountKey;
      }),
    ).rejects.toMatchObject(refused('signature'));
  });

  it('with a deadline further away than the contract allows', async () => {
    await expect(
      send((model) => {
        model.includeDelay = 5_000n;
      }),
    ).rejects.toMatchObject(refused('includeBy'));
  });

  it.each([
    ['term', { term: 2 }, 'term'],
    ['void', { void: 1 as const }, 'void'],
    ['sequence', { sequence: 7n }, 'path'],
    ['includeBy', { includeBy: 1n }, 'signature'],
    ['lane', { lane: 3 }, 'lane'],
  ])('with a false %s', async (_name, change, step) => {
    await expect(
      send((model) => {
        model.forge = (receipt) => ({ ...receipt, ...change });
      }),
    ).rejects.toMatchObject(refused(step));
  });

  it('whose previous is not our last entry', async () => {
    const model = await network();
    const identity = await createIdentity();
    const alice = await connect(model, identity);
    await alice.send(to('one'));
    const append = model.append.bind(model);
    model.append = (bundles, lane) => append(bundles, lane, { previous: 0n });
    await expect(alice.send(to('two'))).rejects.toMatchObject(refused('previous'));
  });

  it('of another bundle: refused, unless the proof shows our own messages under another signature', async () => {
    await expect(
      send((model) => {
        const [first] = model.lanes[0]?.entries ?? [];
        model.forge = (receipt) => (receipt.sequence === 1n && first ? first.receipt : receipt);
      }),
    ).rejects.toMatchObject({ code: 'proof.invalid' });
  });

  it('for a signer that does not sign twice alike (§6)', async () => {
    const model = await network();
    const identity = await createIdentity();
    // The same message, signed before with other randomness: the log has it under that signature.
    const outbox = memoryOutbox();
    const alice = await connect(model, identity, { outbox });
    model.faults.push((method) => (method === 'POST' ? 'cut before' : undefined));
    await expect(alice.send(to('twice'), { timeoutMs: 60 })).rejects.toMatchObject({ code: 'timeout' });
    const key = { chainId: 31_337n, settlement: model.settlement, sender: alice.address as Hex, lane: 0 };
    const lane = await outbox.open(key, { signal: new AbortController().signal });
    const [pending] = lane.pending;
    await lane.close();
    const view = readBundle(pending?.bundle as Uint8Array);
    const messages = [messageAt(view, 0)];
    const again = await signWithOtherRandomness(identity, model, view, messages);
    expect(toHex(again)).not.toBe(toHex(pending?.bundle as Uint8Array));
    await model.append([again]);
    // Only now: what was given up may still be arriving.
    model.faults.length = 0;
    const [accepted] = await alice.resume();
    expect(accepted).toMatchObject({ nonce: 0n, count: 1 });
    expect(accepted?.bundleHash).toBe(model.lanes[0]?.entries[0]?.hash);
    expect(model.messages()).toHaveLength(1);
  });
});

describe('sendMany', () => {
  it('signs many messages once, and splits at the limits', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 100 });
    const seen: number[] = [];
    const sent = await alice.sendMany(texts(250), { onProgress: ({ messages }) => seen.push(messages) });
    expect(sent.bundles.map(({ count }) => count)).toEqual([100, 100, 50]);
    expect(seen).toEqual([100, 200, 250]);
    expect(sent.ids().map(formatMessageId)).toEqual(texts(250).map((_, nonce) => `${alice.address}/0/${nonce}`));
    expect(await inboxTexts(model)).toEqual(texts(250).map(({ text }) => text));
    // One body of three bundles: they fit.
    expect(model.requests.filter(({ method }) => method === 'POST').map(({ bundles }) => bundles)).toEqual([3]);
  });

  it('splits by bytes: no bundle over a mebibyte', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity());
    const large = { to: bob.keys.publicKey, payload: new Uint8Array(60_000) };
    const sent = await alice.sendMany(Array.from({ length: 40 }, () => large));
    expect(sent.bundles.map(({ count }) => count)).toEqual([17, 17, 6]);
    for (const { bundle } of model.lanes[0]?.entries ?? []) expect(bundle.length).toBeLessThanOrEqual(1_048_576);
  });

  it('splits by lane and keeps each lane’s order', async () => {
    const model = await network({ laneCount: 3 });
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 4 });
    const messages = Array.from({ length: 60 }, (_, index) => ({
      topic: `0x${((index * 7) % 5).toString(16).padStart(4, '0')}${'00'.repeat(30)}` as Hex,
      payload: Uint8Array.of(index),
    }));
    const sent = await alice.sendMany(messages);
    expect(sent.count).toBe(60);
    const ids = sent.ids();
    for (const [index, { topic }] of messages.entries()) {
      const lane = Number.parseInt(topic.slice(2, 6), 16) % 3;
      expect(ids[index]?.lane).toBe(lane);
      const inLane = model.messages(lane).find(({ id }) => id === formatMessageId(ids[index] as (typeof ids)[0]));
      expect([...(inLane?.payload ?? [])]).toEqual([index]);
    }
  });

  it('retries what was refused for now, without losing the order', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 10 });
    let posts = 0;
    model.faults.push((method) => {
      if (method !== 'POST') return undefined;
      posts++;
      return posts % 3 === 0
        ? undefined
        : posts % 3 === 1
          ? 'cut after'
          : { status: 503, problem: { code: 'busy', retryAfterMs: 1 } };
    });
    await alice.sendMany(texts(500));
    expect(await inboxTexts(model)).toEqual(texts(500).map(({ text }) => text));
  });

  it.each([
    ['one client', 'one', 'memory'],
    ['two clients on one outbox', 'two', 'memory'],
    ['two clients on one folder', 'two', 'files'],
  ])('two calls over two lanes in opposite order both end: %s', async (_name, clients, kind) => {
    const model = await network({ laneCount: 2 });
    const folder = await mkdtemp(join(tmpdir(), 'sealpost-send-'));
    folders.push(folder);
    const outbox = () => (kind === 'files' ? fileOutbox({ folder }) : shared);
    const shared = memoryOutbox();
    const identity = await createIdentity();
    const first = await connect(model, identity, { outbox: outbox() });
    const second = clients === 'one' ? first : await connect(model, identity, { outbox: outbox() });
    const on = (lane: number) => ({ topic: `0x000${lane}${'00'.repeat(30)}` as Hex, payload: Uint8Array.of(lane) });
    // Each gives its second message only after the other has given its first.
    let given = 0;
    let go = () => {};
    const both = new Promise<void>((resolve) => {
      go = resolve;
    });
    const source = async function* (...lanes: number[]) {
      for (const lane of lanes) {
        yield on(lane);
        if (++given === 2) go();
        await both;
      }
    };
    const call = { timeoutMs: 20_000 };
    const sent = await Promise.all([first.sendMany(source(0, 1), call), second.sendMany(source(1, 0), call)]);
    expect(sent.map(({ count }) => count)).toEqual([2, 2]);
    expect([model.messages(0).length, model.messages(1).length]).toEqual([2, 2]);
  });

  it('two calls with one job send it once', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 2 });
    const sent = await Promise.all([1, 2].map(() => alice.sendMany(texts(300), { job: 'one' })));
    expect(sent.map(({ count }) => count).reduce((sum, count) => sum + count)).toBe(300);
    expect(sent.map(({ count, skipped }) => count + skipped)).toEqual([300, 300]);
    expect(await inboxTexts(model)).toEqual(texts(300).map(({ text }) => text));
  });

  it('stops the whole when the source fails, and what was accepted stays', async () => {
    const model = await network();
    const alice = await connect(model, await createIdentity(), { maxMessagesPerBundle: 2 });
    const source = async function* () {
      yield* texts(5);
      throw new Error('the file is gone');
    };
    await expect(alice.sendMany(source())).rejects.toThrow('the file is gone');
    await alice.send(to('after'));
    const read = await inboxTexts(model);
    expect(read.at(-1)).toBe('after');
    expect(new Set(read).size).toBe(read.length);
  });
});

describe('after a crash', () => {
  const folder = async () => {
    const made = await mkdtemp(join(tmpdir(), 'sealpost-send-'));
    folders.push(made);
    return made;
  };

  /** An outbox whose process dies at its n-th durable step: with the step on disk, or lost. The caller hears of neither. */
  const dying = (inner: Outbox, steps: { left: number; lost?: boolean }): Outbox => ({
    async open(key, options) {
      const lane = await inner.open(key, options);
      const step = async (work: () => Promise<void>) => {
        const last = --steps.left <= 0;
        if (!last || !steps.lost) await work();
        if (last) throw new Error('killed');
      };
      return {
        get head() {
          return lane.head;
        },
        get pending() {
          return lane.pending;
        },
        jobDone: (name) => lane.jobDone(name),
        put: (record) => step(() => lane.put(record)),
        replace: (nonce, record) => step(() => lane.replace(nonce, record)),
        accept: (nonce, head) => step(() => lane.accept(nonce, head)),
        drop: (nonce) => step(() => lane.drop(nonce)),
        close: () => lane.close(),
      };
    },
  });

  it('at every durable step: the job goes on, every line is there once, in order', async () => {
    const lines = texts(23);
    const identity = await createIdentity();
    for (const { at, lost } of Array.from({ length: 24 }, (_, index) => ({ at: 1 + (index >> 1), lost: index % 2 === 0 }))) {
      const model = await network();
      const inner = fileOutbox({ folder: await folder() });
      const options = { maxMessagesPerBundle: 4 };
      const first = await connect(model, identity, { ...options, outbox: dying(inner, { left: at, lost }) });
      await expect(first.sendMany(lines, { job: 'lines' })).rejects.toThrow('killed');
      const second = await connect(model, identity, { ...options, outbox: inner });
      const sent = await second.sendMany(lines, { job: 'lines' });
      expect(sent.skipped + sent.count).toBe(23);
      expect(await inboxTexts(model)).toEqual(lines.map(({ text }) => text));
      const third = await second.sendMany(lines, { job: 'lines' });
      expect(third).toMatchObject({ count: 0, skipped: 23 });
    }
  }, 60_000);

  it('submits what was signed, unchanged', async () => {
    const model = await network();
    const identity = await createIdentity();
    const outbox = fileOutbox({ folder: await folder() });
    const first = await connect(model, identity, { outbox: dying(outbox, { left: 1 }) });
    await expect(first.send(to('signed'))).rejects.toThrow('killed');
    const key = { chainId: 31_337n, settlement: model.settlement, sender: first.address as Hex, lane: 0 };
    const lane = await outbox.open(key, { signal: new AbortController().signal });
    const signed = lane.pending[0]?.bundle as Uint8Array;
    await lane.close();
    const second = await connect(model, identity, { outbox });
    expect(await second.resume()).toHaveLength(1);
    expect(toHex(model.lanes[0]?.entries[0]?.bundle as Uint8Array)).toBe(toHex(signed));
  });
});

/** The other valid signature of the same digest: a different k. */
async function signWithOtherRandomness(
  identity: SecretIdentity,
  model: ModelSequencer,
  view: ReturnType<typeof readBundle>,
  messages: ReturnType<typeof messageAt>[],
): Promise<Uint8Array> {
  const { bundleDigest, fieldsOf, viewTree } = await import('@sealpost/prover');
  const { setSignEntropy, sign } = await import('viem/accounts');
  const digest = bundleDigest(model.domain, fieldsOf(view, toHex(viewTree(view).root)));
  // RFC 6979's extra entropy (§3.6) gives another k for the same key and digest. viem keeps it for the process: from here on
  // every signature of this file is made with it, and as valid as before.
  setSignEntropy(`0x${'07'.repeat(32)}`);
  const signature = await sign({ hash: toHex(digest), privateKey: identity.accountKey, to: 'hex' });
  return encodeBundle({ ...headOf(view), messages, signature });
}
