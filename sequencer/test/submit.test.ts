import {
  type Bundle,
  bundleToJson,
  frameBundle,
  type Hex,
  join,
  MAX_MESSAGES,
  receiptFromJson,
  receiptProofFromJson,
  verifyReceiptProof,
} from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { StoreFullError } from '../src/ports.js';
import type { VerifiedBody } from '../src/verifier.js';
import { DOMAIN, faulty, frames, message, SIGNATURE_FAULTS, type SignedBundle, topicOf } from './bundles.js';
import { START } from './pipeline.js';
import type { Results } from './requests.js';
import { alice, bob, NEWS, open, patched, problemOf, receiptsOf, resultsOf, shortProblem, TERMS, VERIFY } from './requests.js';

describe('POST /v1/bundles', () => {
  test('frames: 200, a verifiable receipt each, in order', async () => {
    const it = await open();
    const bundles = [alice.sign({ messages: ['a', 'b'] }), bob.sign(), alice.sign({ nonce: 2n })];
    const response = await it.post(frames(...bundles));
    expect(response.status).toBe(200);
    const receipts = await receiptsOf(response);
    expect(receipts.map(({ sequence, previous, bundleHash, includeBy }) => [sequence, previous, bundleHash, includeBy])).toEqual([
      [0n, 0n, bundles[0]?.bundleHash, 1_000n],
      [1n, 0n, bundles[1]?.bundleHash, 1_000n],
      [2n, 1n, bundles[2]?.bundleHash, 1_000n],
    ]);
  });

  test('JSON: one object or an array; upper case hex is taken, lower case given', async () => {
    const it = await open();
    const upper = (hex: string) => `0x${hex.slice(2).toUpperCase()}`;
    const json = bundleToJson(alice.sign().bundle);
    const shouted = {
      ...json,
      sender: upper(json.sender),
      signature: upper(json.signature),
      messages: json.messages.map(({ topic, payload }) => ({ topic: upper(topic), payload })),
    };
    const one = await it.post(JSON.stringify(shouted));
    expect(one.status).toBe(200);
    const [receipt] = await resultsOf(one);
    expect(JSON.stringify(receipt)).not.toMatch(/0x[0-9a-f]*[A-F]/);
    const two = await it.post(JSON.stringify([bundleToJson(alice.sign({ nonce: 1n }).bundle), bundleToJson(bob.sign().bundle)]));
    expect(await receiptsOf(two)).toHaveLength(2);
    const frame = await it.post(frames(alice.sign()));
    expect(await receiptsOf(frame)).toMatchObject([{ sequence: 0n }]);
  });

  test('some: 207, each with its own result, in the order of the request', async () => {
    const it = await open();
    const response = await it.post(
      frames(alice.sign({ nonce: 5n }), alice.sign(), faulty(bob.sign(), SIGNATURE_FAULTS['high s'] as never)),
    );
    expect(response.status).toBe(207);
    const results = await resultsOf(response);
    expect(results.map(({ receipt, error }) => error?.code ?? typeof receipt)).toEqual([
      'bundle.nonce',
      'object',
      'bundle.bad_signature',
    ]);
    expect(results[0]?.error).toMatchObject({ status: 409, expected: '0', type: 'urn:sealpost:error:bundle.nonce' });
  });

  test('none of several: the first error itself, and the results', async () => {
    const it = await open();
    const response = await it.post(frames(alice.sign({ nonce: 5n }), alice.sign({ expiry: 1n })));
    const problem = await problemOf(response);
    expect(problem).toMatchObject({ status: 409, code: 'bundle.nonce', expected: '0' });
    expect((problem.results as Results['results']).map(({ error }) => error?.code)).toEqual(['bundle.nonce', 'bundle.expired']);
    expect(await problemOf(await it.post(frames(alice.sign({ nonce: 5n }))))).not.toHaveProperty('results');
  });

  test('a resubmission gets the first receipt, also with another signature, also expired meanwhile', async () => {
    const it = await open();
    const expiry = START + 10n;
    const [first] = await receiptsOf(await it.post(frames(alice.sign({ expiry }))));
    it.l1At(200n, START + 60n);
    it.clock.advance(60_000);
    expect(await receiptsOf(await it.post(frames(alice.sign({ expiry }))))).toEqual([first]);
    const other = alice.sign({ expiry, entropy: 'other' });
    expect(await receiptsOf(await it.post(frames(other)))).toEqual([first]);
    // §6: the receipt names another bundleHash; the proof shows the bundle that stands, with its own valid signature.
    expect(first?.bundleHash).not.toBe(other.bundleHash);
    const proof = receiptProofFromJson(await it.json(`/v1/messages/${alice.address}/0/0/proof?anchor=receipt`));
    expect(verifyReceiptProof(proof, { ...DOMAIN, laneCount: 1 }, TERMS, VERIFY)).toMatchObject({
      bundleHash: first?.bundleHash,
    });
  });

  describe('400 bundle.malformed', () => {
    const good = alice.sign();
    const json = bundleToJson(good.bundle);
    const octets: [string, Uint8Array<ArrayBuffer>][] = [
      ['an empty body', new Uint8Array()],
      ['half a length', new Uint8Array(3)],
      ['a frame of nothing', new Uint8Array(4)],
      ['a truncated frame', frames(good).slice(0, -1)],
      ['a frame longer than the body', new Uint8Array([0xff, 0xff, 0xff, 0xff, 1])],
      ['bytes after the last frame', new Uint8Array([...frames(good), 0])],
      ['a bundle cut short inside its frame', new Uint8Array(frameBundle(good.bytes.slice(0, -1)))],
      ['a bundle with a trailing byte', new Uint8Array(frameBundle(new Uint8Array([...good.bytes, 0])))],
      ['another version', patched(good, 0, [2])],
      [
        'the zero sender',
        patched(
          good,
          3,
          Array.from({ length: 20 }, () => 0),
        ),
      ],
      ['no messages', patched(good, 55, [0, 0, 0, 0])],
      ['4,097 messages', patched(good, 55, [0, 0, 0x10, 0x01])],
      [
        'nonce + count = 2^64',
        patched(
          good,
          23,
          Array.from({ length: 8 }, () => 0xff),
        ),
      ],
      ['a message shorter than its topic', patched(good, 59, [0, 0, 0, 32])],
      ['a message that does not begin with 0', patched(good, 63, [1])],
    ];
    const texts: [string, string][] = [
      ['no JSON', '{'],
      ['an empty text', ''],
      ['an empty array', '[]'],
      ['null', 'null'],
      ['a number', '7'],
      ['an array in an array', JSON.stringify([[json]])],
      ['a missing field', JSON.stringify({ ...json, signature: undefined })],
      ['a nonce that is a number', JSON.stringify({ ...json, nonce: 0 })],
      ['a nonce with a leading zero', JSON.stringify({ ...json, nonce: '00' })],
      ['a nonce with a sign', JSON.stringify({ ...json, nonce: '+0' })],
      ['a nonce of 2^64', JSON.stringify({ ...json, nonce: String(2n ** 64n) })],
      ['a nonce beyond anything', JSON.stringify({ ...json, nonce: '9'.repeat(10_000) })],
      ['nonce + count = 2^64', JSON.stringify({ ...json, nonce: String(2n ** 64n - 1n) })],
      ['a postage of 2^128', JSON.stringify({ ...json, postage: String(2n ** 128n) })],
      ['a lane of 65536', JSON.stringify({ ...json, lane: 65_536 })],
      ['a lane that is a text', JSON.stringify({ ...json, lane: '0' })],
      ['a topic of 31 bytes', JSON.stringify({ ...json, messages: [{ topic: `0x${'ab'.repeat(31)}`, payload: '' }] })],
      ['a payload without padding', JSON.stringify({ ...json, messages: [{ topic: NEWS, payload: 'YQ' }] })],
      ['a payload in base64url', JSON.stringify({ ...json, messages: [{ topic: NEWS, payload: '-_==' }] })],
      ['no messages', JSON.stringify({ ...json, messages: [] })],
      [
        '4,097 messages',
        JSON.stringify({ ...json, messages: Array.from({ length: MAX_MESSAGES + 1 }, () => ({ topic: NEWS, payload: '' })) }),
      ],
      ['the zero sender', JSON.stringify({ ...json, sender: `0x${'00'.repeat(20)}` })],
      ['a signature of 64 bytes', JSON.stringify({ ...json, signature: json.signature.slice(0, -2) })],
    ];
    test('and nothing is taken', async () => {
      const it = await open();
      for (const [name, bytes] of octets) {
        expect([name, await shortProblem(await it.post(bytes))]).toEqual([name, '400 bundle.malformed']);
      }
      for (const [name, text] of texts) {
        expect([name, await shortProblem(await it.post(text))]).toEqual([name, '400 bundle.malformed']);
      }
      const notUtf8 = await it.post(new Uint8Array([0x7b, 0xff, 0x7d]), 'json');
      expect(await shortProblem(notUtf8)).toBe('400 bundle.malformed');
      const typeless = await it.app.request('/v1/bundles', {
        method: 'POST',
        body: frames(good),
        headers: { 'Content-Type': 'text/plain' },
      });
      expect(await shortProblem(typeless)).toBe('400 bundle.malformed');
      const silent = await it.app.request('/v1/bundles', { method: 'POST' });
      expect(await shortProblem(silent)).toBe('400 bundle.malformed');
      expect(it.store.tail(0).nextSequence).toBe(0n);
      // The whole body or nothing: a good bundle before garbage is not taken either.
      expect(await it.json(`/v1/accounts/${alice.address}`)).toMatchObject({ nonce: '0' });
    });

    test('says what was expected and where', async () => {
      const it = await open();
      const problem = await problemOf(await it.post(JSON.stringify([json, { ...json, nonce: 'x' }])));
      expect(problem.at).toBe('[1].nonce');
      expect(problem.detail).toContain('decimal');
      expect(await problemOf(await it.post(patched(good, 0, [2])))).toMatchObject({
        at: 0,
        detail: expect.stringContaining('version'),
      });
    });

    test('a large body of nothing is refused for its first fault, not for each', async () => {
      const it = await open();
      const many = Array.from({ length: 1_000_000 }, () => 0);
      const before = process.memoryUsage().heapUsed;
      for (const body of [many, { ...json, messages: many }, [{ ...json, messages: many }]]) {
        const problem = await problemOf(await it.post(JSON.stringify(body)));
        expect([problem.status, problem.code]).toEqual([400, 'bundle.malformed']);
      }
      // A list of a million faults takes 250 MB.
      expect(process.memoryUsage().heapUsed - before).toBeLessThan(200_000_000);
    });

    test('a malformed bundle among good ones is refused alone, if the body splits', async () => {
      const it = await open();
      const body = new Uint8Array(join([patched(good, 0, [9]), frames(good)]));
      const response = await it.post(body);
      expect(response.status).toBe(207);
      expect((await resultsOf(response)).map(({ error }) => error?.code)).toEqual(['bundle.malformed', undefined]);
    });
  });

  test('401 bundle.bad_signature', async () => {
    const it = await open();
    for (const [name, fault] of Object.entries(SIGNATURE_FAULTS)) {
      const bad = faulty(alice.sign(), fault);
      expect([name, await shortProblem(await it.post(frames(bad)))]).toEqual([name, '401 bundle.bad_signature']);
      expect([name, await shortProblem(await it.post(JSON.stringify(bundleToJson(bad.bundle))))]).toEqual([
        name,
        '401 bundle.bad_signature',
      ]);
    }
    const foreign = [
      alice.sign({ domain: { ...DOMAIN, chainId: 1n } }),
      alice.sign({ domain: { ...DOMAIN, settlement: `0x${'11'.repeat(20)}` } }),
    ];
    for (const bundle of foreign) expect(await shortProblem(await it.post(frames(bundle)))).toBe('401 bundle.bad_signature');
    expect(await shortProblem(await it.post(patched(alice.sign(), 3, [1])))).toBe('401 bundle.bad_signature');
    expect(await shortProblem(await it.post(patched(alice.sign(), 100, [1])))).toBe('401 bundle.bad_signature');
  });

  test('413 bundle.too_large: payload, bundle, body', async () => {
    const it = await open({ http: { maxBodyBytes: 2_000_000 } });
    const large: Bundle = { ...alice.sign().bundle, messages: [{ topic: NEWS, payload: new Uint8Array(65_537) }] };
    expect(await shortProblem(await it.post(JSON.stringify(bundleToJson(large))))).toBe('413 bundle.too_large');
    const many = { ...large, messages: Array.from({ length: 17 }, () => ({ topic: NEWS, payload: new Uint8Array(65_000) })) };
    expect(await shortProblem(await it.post(JSON.stringify(bundleToJson(many))))).toBe('413 bundle.too_large');
    expect(await problemOf(await it.post(new Uint8Array(2_000_001)))).toMatchObject({ status: 413, maxBytes: 2_000_000 });
  });

  test('413 while reading: a body of unknown length is not read on after the limit', async () => {
    const it = await open({ http: { maxBodyBytes: 100_000 } });
    let given = 0;
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        given += 10_000;
        controller.enqueue(new Uint8Array(10_000));
      },
      cancel: () => {
        cancelled = true;
      },
    });
    const headers = { 'Content-Type': 'application/octet-stream' };
    const response = await it.app.request('/v1/bundles', {
      method: 'POST',
      headers,
      body: endless,
      duplex: 'half',
    } as RequestInit);
    expect(await shortProblem(response)).toBe('413 bundle.too_large');
    expect(cancelled).toBe(true);
    expect(given).toBeLessThan(200_000);
  });

  test('a body that breaks off is malformed, and takes no room afterwards', async () => {
    const it = await open({ http: { maxQueueBytes: 1_000 } });
    for (let tries = 0; tries < 20; tries++) {
      const broken = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(new Uint8Array(500)),
        pull: (controller) => controller.error(new Error('the client is gone')),
      });
      const headers = { 'Content-Type': 'application/octet-stream' };
      const response = await it.app.request('/v1/bundles', {
        method: 'POST',
        headers,
        body: broken,
        duplex: 'half',
      } as RequestInit);
      expect(await shortProblem(response)).toBe('400 bundle.malformed');
    }
    expect((await it.post(frames(alice.sign()))).status).toBe(200);
  });

  test('422: expired, wrong lane, a lane that is not there', async () => {
    const it = await open({ laneCount: 2 });
    const codeOf = async (bundle: SignedBundle) => shortProblem(await it.post(frames(bundle)));
    expect(await codeOf(alice.sign({ laneCount: 2, expiry: START - 1n }))).toBe('422 bundle.expired');
    expect(await codeOf(alice.sign({ lane: 1, laneCount: 2, messages: [message(topicOf('x', 0, 2), '')] }))).toBe(
      '422 bundle.wrong_lane',
    );
    expect(await codeOf(alice.sign({ lane: 2, laneCount: 2 }))).toBe('422 bundle.wrong_lane');
    expect((await it.post(frames(alice.sign({ lane: 1, laneCount: 2, expiry: START })))).status).toBe(200);
  });

  test('the order of checks: size, lane, signature, known, expiry, nonce', async () => {
    const it = await open();
    const bad = SIGNATURE_FAULTS['high s'] as (signature: Hex) => Hex;
    const codeOf = async (bundle: SignedBundle) => (await problemOf(await it.post(frames(bundle)))).code;
    expect(await codeOf(faulty(alice.sign({ lane: 3, expiry: 1n, nonce: 9n }), bad))).toBe('bundle.wrong_lane');
    expect(await codeOf(faulty(alice.sign({ expiry: 1n, nonce: 9n }), bad))).toBe('bundle.bad_signature');
    expect(await codeOf(alice.sign({ expiry: 1n, nonce: 9n }))).toBe('bundle.expired');
    expect(await codeOf(alice.sign({ nonce: 9n }))).toBe('bundle.nonce');
  });

  test('429 rate_limited with Retry-After, then it goes on', async () => {
    const it = await open({ rate: [10, 20] });
    expect((await it.post(frames(alice.sign({ messages: Array.from({ length: 20 }, () => 'x') })))).status).toBe(200);
    const problem = await problemOf(await it.post(frames(alice.sign({ nonce: 20n }))));
    expect(problem).toMatchObject({ status: 429, code: 'rate_limited', retryAfterMs: 100 });
    it.clock.advance(100);
    expect((await it.post(frames(alice.sign({ nonce: 20n })))).status).toBe(200);
  });

  test('503 busy before the first bundle is taken, for the whole body', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const it = await open({
      http: { maxQueueBytes: 1_000 },
      wrapVerify: (verify) => async (body) => {
        await held;
        return verify(body);
      },
    });
    const first = it.post(frames(alice.sign({ messages: ['x'.repeat(800)] })));
    await expect.poll(() => it.sequencer.queuedBytes).toBeGreaterThan(900);
    const problem = await problemOf(await it.post(frames(bob.sign(), bob.sign({ nonce: 1n }))));
    expect(problem).toMatchObject({ status: 503, code: 'busy' });
    expect(problem.retryAfterMs).toBeGreaterThan(0);
    const declared = await it.app.request('/v1/bundles', {
      method: 'POST',
      headers: { 'Content-Type': 'application/octet-stream', 'Content-Length': '5000' },
      body: new Uint8Array(5_000),
    });
    expect(await shortProblem(declared)).toBe('503 busy');
    release();
    expect((await first).status).toBe(200);
    expect((await it.post(frames(bob.sign(), bob.sign({ nonce: 1n })))).status).toBe(200);
  });

  test('503 unavailable: no L1 head, a stale one, stopping', async () => {
    const it = await open({ maxL1AgeMs: 60_000 });
    const { view } = it;
    it.view = undefined;
    expect(await problemOf(await it.post(frames(alice.sign())))).toMatchObject({
      status: 503,
      code: 'unavailable',
      retryAfterMs: 1_000,
    });
    it.view = view;
    it.clock.advance(60_001);
    expect(await shortProblem(await it.post(frames(alice.sign())))).toBe('503 unavailable');
    it.l1At(101n, START + 60n);
    expect((await it.post(frames(alice.sign()))).status).toBe(200);
    await it.sequencer.stop();
    expect(await shortProblem(await it.post(frames(alice.sign({ nonce: 1n }))))).toBe('503 unavailable');
  });

  test('503 unavailable on a full disk: nothing of it stands, what stood is still answered, and room helps', async () => {
    let full = false;
    const it = await open({
      wrapStore: (store) =>
        new Proxy(store, {
          get: (target, name: keyof typeof store) =>
            name === 'appendGroups' && full
              ? () => Promise.reject(new StoreFullError('no room'))
              : typeof target[name] === 'function'
                ? (target[name] as () => unknown).bind(target)
                : target[name],
        }),
    });
    const [first] = await receiptsOf(await it.post(frames(alice.sign())));
    full = true;
    const response = await it.post(
      frames(alice.sign(), alice.sign({ nonce: 1n }), alice.sign({ nonce: 7n }), bob.sign({ nonce: 3n })),
    );
    expect(response.status).toBe(207);
    const results = await resultsOf(response);
    expect(results.map(({ error }) => error?.code)).toEqual([undefined, 'unavailable', 'unavailable', 'unavailable']);
    expect(receiptFromJson(results[0]?.receipt)).toEqual(first);
    expect(it.sequencer.hasRoom).toBe(false);
    expect(await problemOf(await it.post(frames(alice.sign({ nonce: 1n }))))).toMatchObject({ status: 503, retryAfterMs: 5_000 });
    expect(await it.json(`/v1/accounts/${alice.address}`)).toMatchObject({ nonce: '1' });
    expect(it.events.filter(({ event }) => event === 'store.full')).toHaveLength(1);
    full = false;
    expect(await receiptsOf(await it.post(frames(alice.sign({ nonce: 1n }))))).toMatchObject([{ sequence: 1n, previous: 1n }]);
    expect(it.sequencer.hasRoom).toBe(true);
  });

  test('nonces are judged in the order in which bodies arrived, whatever order verification ends in', async () => {
    // Verification ends in reverse: each body waits until the one behind it is verified.
    const COUNT = 40;
    const ended: (() => void)[] = [];
    const waits = Array.from(
      { length: COUNT + 1 },
      (_, index) => new Promise<void>((resolve) => ended.splice(index, 1, resolve)),
    );
    let asked = 0;
    const it = await open({
      wrapVerify:
        (verify) =>
        async (body): Promise<VerifiedBody> => {
          const index = asked++;
          const verified = await verify(body);
          if (index + 1 < COUNT) await waits[index + 1];
          ended[index]?.();
          return verified;
        },
    });
    const answers = await Promise.all(
      Array.from({ length: COUNT }, (_, nonce) => it.submit(alice.sign({ nonce: BigInt(nonce) }))),
    );
    expect(answers.map(([outcome]) => outcome && 'receipt' in outcome && outcome.receipt.sequence)).toEqual(
      Array.from({ length: COUNT }, (_, nonce) => BigInt(nonce)),
    );
  });
});
