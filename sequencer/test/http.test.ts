import {
  type Bundle,
  bundleToJson,
  dataHash,
  decodeBatchFile,
  frameBundle,
  type Hex,
  join,
  MAX_MESSAGES,
  proofFromJson,
  receiptFromJson,
  receiptProofFromJson,
  verifyMessageProof,
  verifyReceipt,
  verifyReceiptProof,
} from '@sealpost/prover';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { nativeRecover } from '../src/adapters/native.js';
import { StoreFullError } from '../src/ports.js';
import type { VerifiedBody } from '../src/verifier.js';
import {
  Account,
  collidingTopics,
  DOMAIN,
  faulty,
  frames,
  message,
  SIGNATURE_FAULTS,
  type SignedBundle,
  topicOf,
} from './bundles.js';
import { closeVerifiers, MAX_INCLUDE_DELAY, Pipeline, type PipelineOptions, SIGNER, START, viewAt } from './pipeline.js';

const [alice, bob] = [new Account('alice'), new Account('bob')];
const NEWS = topicOf('news');
const TERMS = { ...DOMAIN, signer: SIGNER.address, term: 1, latestBlock: 100n, maxIncludeDelay: MAX_INCLUDE_DELAY };
const VERIFY = { recover: nativeRecover };

const pipelines: Pipeline[] = [];
afterEach(async () => {
  for (const pipeline of pipelines.splice(0)) {
    expect(pipeline.fatal).toEqual([]);
    expect(pipeline.events.filter(({ event }) => event === 'http.failed')).toEqual([]);
    await pipeline.close();
  }
});
afterAll(closeVerifiers);

async function open(options: PipelineOptions = {}): Promise<Pipeline> {
  const pipeline = await Pipeline.open(options);
  pipelines.push(pipeline);
  return pipeline;
}

interface Problem {
  readonly status: number;
  readonly code: string;
  readonly [fact: string]: unknown;
}

/** The problem that a response is, after the checks that hold for every one. */
async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const problem = (await response.json()) as Problem;
  expect(problem).toMatchObject({
    type: `urn:sealpost:error:${problem.code}`,
    title: expect.stringMatching(/./),
    status: response.status,
    detail: expect.stringMatching(/./),
  });
  const retryAfter = response.headers.get('retry-after');
  if (problem.retryAfterMs === undefined) expect(retryAfter).toBeNull();
  else {
    expect(retryAfter).toMatch(/^[1-9][0-9]*$/);
    expect(Number(retryAfter) * 1_000).toBeGreaterThanOrEqual(problem.retryAfterMs as number);
  }
  return problem;
}
const shortProblem = async (response: Response) => {
  const { status, code } = await problemOf(response);
  return `${status} ${code}`;
};
interface Results {
  readonly results: { readonly receipt?: unknown; readonly error?: Problem }[];
}
const resultsOf = async (response: Response) => ((await response.json()) as Results).results;
const receiptsOf = async (response: Response) =>
  (await resultsOf(response)).map(({ receipt }) => {
    const read = receiptFromJson(receipt);
    verifyReceipt(read, TERMS, VERIFY);
    return read;
  });

/** A bundle's bytes with some of them changed. */
function patched(signed: SignedBundle, at: number, bytes: readonly number[]): Uint8Array<ArrayBuffer> {
  const copy = signed.bytes.slice();
  copy.set(bytes, at);
  return new Uint8Array(frameBundle(copy));
}

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

describe('reading', () => {
  const OTHER = topicOf('other');
  async function filled(options: PipelineOptions = {}): Promise<Pipeline> {
    const it = await open(options);
    await it.submit(alice.sign({ messages: ['a0', message(OTHER, 'x'), 'a1'] }), bob.sign({ messages: ['b0'] }));
    await it.submit(alice.sign({ nonce: 3n, messages: ['a2'] }), bob.sign({ nonce: 1n, messages: ['b1', 'b2'] }));
    return it;
  }
  interface Page {
    readonly messages: { readonly payload: string; readonly cursor: string; readonly [field: string]: unknown }[];
    readonly next: string;
  }
  const texts = ({ messages }: Page) => messages.map(({ payload }) => Buffer.from(payload, 'base64').toString());
  const page = async (it: Pipeline, query = '', topic: string = NEWS) => it.json<Page>(`/v1/topics/${topic}/messages?${query}`);
  const ALL = ['a0', 'a1', 'b0', 'a2', 'b1', 'b2'];

  test('accounts', async () => {
    const it = await filled({});
    expect(await it.json(`/v1/accounts/${alice.address.toUpperCase().replace('0X', '0x')}?lane=0`)).toEqual({
      address: alice.address,
      lane: 0,
      nonce: '4',
    });
    expect(await it.json(`/v1/accounts/0x${'12'.repeat(20)}`)).toMatchObject({ nonce: '0' });
    for (const path of ['0x12', alice.address.slice(2), `${alice.address}00`]) {
      expect(await shortProblem(await it.get(`/v1/accounts/${path}`))).toBe('400 request.invalid');
    }
    for (const lane of ['1', '65536', '-1', '00', 'x', '']) {
      expect(await shortProblem(await it.get(`/v1/accounts/${alice.address}?lane=${lane}`))).toBe('400 request.invalid');
    }
  });

  test('a topic by pages: every size gives every message once, in order', async () => {
    const it = await filled();
    for (const limit of [1, 2, 3, 4, 6, 1_000]) {
      const seen: string[] = [];
      for (let after = '0'; ; ) {
        const found = await page(it, `after=${after}&limit=${limit}`);
        expect(found.messages.length).toBeLessThanOrEqual(limit);
        if (found.messages.length === 0) {
          expect(found.next).toBe(after);
          break;
        }
        expect(found.next).toBe(found.messages.at(-1)?.cursor);
        seen.push(...texts(found));
        after = found.next;
      }
      expect(seen).toEqual(ALL);
    }
    expect(texts(await page(it))).toEqual(ALL);
    expect(texts(await page(it, '', NEWS.toUpperCase().replace('0X', '0x')))).toEqual(ALL);
    expect(await page(it, '', topicOf('silent'))).toEqual({ messages: [], next: '0' });
  });

  test('a message as §11 describes it', async () => {
    const it = await filled();
    const [, second] = (await page(it)).messages;
    expect(second).toEqual({
      sender: alice.address,
      lane: 0,
      nonce: '2',
      topic: NEWS,
      payload: Buffer.from('a1').toString('base64'),
      sequence: '0',
      index: 2,
      status: 'accepted',
      expired: false,
      batch: null,
      cursor: expect.any(String),
    });
    expect(await it.json(`/v1/messages/${alice.address}/0/2`)).toEqual(second);
    await it.seal();
    expect(await it.json(`/v1/messages/${alice.address}/0/2`)).toEqual({ ...second, status: 'sealed', batch: 1 });
    const rungs = [
      { number: 1n, nextSequence: 4n },
      { number: 0n, nextSequence: 0n },
    ] as const;
    for (const [status, lanes] of [
      ['committed', { committed: rungs[0], safe: rungs[1], finalized: rungs[1] }],
      ['safe', { committed: rungs[0], safe: rungs[0], finalized: rungs[1] }],
      ['finalized', { committed: rungs[0], safe: rungs[0], finalized: rungs[0] }],
    ] as const) {
      it.view = viewAt(120n, START, [lanes]);
      expect(await it.json(`/v1/messages/${alice.address}/0/2`)).toMatchObject({ status });
    }
  });

  test('senders: one, several, none of them; the cursor passes over the others', async () => {
    const it = await filled();
    expect(texts(await page(it, `sender=${bob.address.toUpperCase().replace('0X', '0x')}`))).toEqual(['b0', 'b1', 'b2']);
    expect(texts(await page(it, `sender=${bob.address}&sender=${alice.address}`))).toEqual(ALL);
    const nobody = await page(it, `sender=0x${'99'.repeat(20)}`);
    expect(nobody).toMatchObject({ messages: [] });
    expect(texts(await page(it, `after=${nobody.next}`))).toEqual([]);
    const limited = await page(it, `sender=${alice.address}&limit=2`);
    expect(texts(limited)).toEqual(['a0', 'a1']);
    expect(texts(await page(it, `sender=${alice.address}&limit=2&after=${limited.next}`))).toEqual(['a2']);
  });

  test('after=latest: only what comes', async () => {
    const it = await filled();
    const latest = await page(it, 'after=latest');
    expect(latest.messages).toEqual([]);
    await it.submit(alice.sign({ nonce: 4n, messages: ['new'] }));
    expect(texts(await page(it, `after=${latest.next}`))).toEqual(['new']);
  });

  test('wait: answers as soon as one message exists, and with none at the end', async () => {
    const it = await open({ http: { maxWaiting: 2 } });
    const waiting = page(it, 'after=latest&wait=30');
    const choosy = page(it, `after=latest&wait=30&sender=${bob.address}`);
    await expect.poll(() => it.live.size).toBe(2);
    expect(await shortProblem(await it.get(`/v1/topics/${NEWS}/messages?wait=1`))).toBe('503 unavailable');
    await it.submit(alice.sign({ messages: [message(OTHER, 'x')] }));
    expect(it.live.size).toBe(2);
    await it.submit(alice.sign({ nonce: 1n, messages: ['first'] }));
    expect(texts(await waiting)).toEqual(['first']);
    expect(it.live.size).toBe(1);
    await it.submit(bob.sign({ messages: ['second'] }));
    expect(texts(await choosy)).toEqual(['second']);
    expect(it.live.size).toBe(0);
    // What is there already is not waited for; nothing comes: 200 with none, and a cursor.
    expect(texts(await page(it, 'wait=30&limit=1'))).toEqual(['first']);
    const startedAt = performance.now();
    const none = await page(it, 'after=latest&wait=1');
    expect(performance.now() - startedAt).toBeGreaterThan(950);
    expect(none).toEqual({ messages: [], next: expect.stringMatching(/^[1-9]/) });
  });

  test('a reader woken by others’ messages many times goes on waiting for its sender', async () => {
    const it = await open();
    const warnings: string[] = [];
    const onWarning = (warning: Error) => warnings.push(warning.name);
    process.on('warning', onWarning);
    const waiting = page(it, `after=latest&wait=30&sender=${bob.address}`);
    await expect.poll(() => it.live.size).toBe(1);
    for (let nonce = 0n; nonce < 15n; nonce++) {
      await it.submit(alice.sign({ nonce }));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await it.submit(bob.sign({ messages: ['mine'] }));
    expect(texts(await waiting)).toEqual(['mine']);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  test('wait ends at once when the sequencer stops', async () => {
    const it = await open();
    const waiting = page(it, 'wait=30');
    await expect.poll(() => it.live.size).toBe(1);
    it.live.end();
    expect(await waiting).toEqual({ messages: [], next: '0' });
  });

  test('proofs=1: each message proven to its receipt', async () => {
    const it = await filled();
    const { messages } = await page(it, 'proofs=1');
    expect(messages).toHaveLength(6);
    for (const { proof, payload, nonce, sender } of messages) {
      const read = receiptProofFromJson(proof);
      expect(verifyReceiptProof(read, { ...DOMAIN, laneCount: 1 }, TERMS, VERIFY)).toMatchObject({
        sender,
        nonce: BigInt(nonce as string),
      });
      expect(Buffer.from(read.message.payload).toString('base64')).toBe(payload);
    }
  });

  test('a page of small messages out of large bundles holds the messages, not the bundles', async () => {
    const it = await open();
    const filler = 'x'.repeat(60_000);
    const large = (nonce: bigint) =>
      alice.sign({ nonce, messages: ['small', ...Array.from({ length: 15 }, () => message(OTHER, filler))] });
    for (let at = 0n; at < 20n; at++) await it.submit(large(at * 16n));
    const { messages } = await it.reader.page({ topic: NEWS, after: undefined, limit: 100, senders: new Set(), proofs: true });
    expect(messages).toHaveLength(20);
    for (const { payload, proof } of messages) {
      expect(payload.buffer.byteLength).toBe(5);
      expect(proof?.message.payload.buffer.byteLength).toBe(5);
    }
  });

  test('a page that nobody waits for any more ends', async () => {
    const it = await open();
    await it.submit(alice.sign({ messages: Array.from({ length: 4_000 }, () => message(NEWS, '')) }));
    const left = new AbortController();
    const query = { topic: NEWS, after: undefined, limit: 1, senders: new Set([bob.address]), proofs: false };
    const page = it.reader.page(query, left.signal);
    left.abort();
    const { messages, next } = await page;
    expect(messages).toEqual([]);
    expect(next).toBeLessThan(4_000n);
    expect((await it.reader.page(query)).next).toBe(4_000n);
  });

  test('topics that share a key in the index are told apart', async () => {
    const it = await open();
    const [one, other] = collidingTopics(it.store);
    await it.submit(alice.sign({ messages: [message(one, 'mine'), message(other, 'foreign'), message(one, 'mine too')] }));
    expect(texts(await page(it, '', one))).toEqual(['mine', 'mine too']);
    const first = await page(it, 'limit=1', one);
    expect(texts(await page(it, `limit=1&after=${first.next}`, one))).toEqual(['mine too']);
  });

  test('bad queries: 400 request.invalid, and which value', async () => {
    const it = await filled();
    const queries = [
      ...['limit=0', 'limit=1001', 'limit=-1', 'limit=1.5', 'limit=x', 'limit=', 'limit=1&limit=2', 'limit=01'],
      ...['wait=31', 'wait=-1', 'wait=0.5', 'proofs=2', 'proofs=true', 'sender=0x12', 'sender=bob'],
      ...[
        'after=-1',
        'after=x',
        'after=00',
        'after=',
        `after=${2n ** 64n}`,
        `after=${2n ** 64n - 1n}`,
        'after=oldest',
        'after=1&after=2',
      ],
      Array.from({ length: 101 }, () => `sender=${bob.address}`).join('&'),
    ];
    for (const query of queries) {
      const problem = await problemOf(await it.get(`/v1/topics/${NEWS}/messages?${query}`));
      expect([query, problem.status, problem.code]).toEqual([query, 400, 'request.invalid']);
      expect(problem.detail).toContain(query.split('=')[0]);
    }
    for (const topic of ['0x', '0x12', NEWS.slice(2), `${NEWS}00`, '%ff']) {
      expect([topic, await shortProblem(await it.get(`/v1/topics/${topic}/messages`))]).toEqual([topic, '400 request.invalid']);
    }
  });

  test('404 not_found: messages, batches, routes, methods', async () => {
    const it = await filled();
    const paths = [
      `/v1/messages/${alice.address}/0/4`,
      `/v1/messages/${alice.address}/1/0`,
      `/v1/messages/${alice.address}/0/${2n ** 64n - 1n}`,
      `/v1/messages/${alice.address}/0/4/proof`,
      `/v1/messages/${alice.address}/0/4/proof?anchor=receipt`,
      '/v1/batches/0/1',
      '/v1/batches/0/0',
      '/v1/batches/7/1',
      `/v1/batches/0/${2n ** 63n}`,
      `/v1/batches/0/${2n ** 64n - 1n}`,
      `/v1/batches/0/${2n ** 64n - 1n}/data`,
      '/v1/nothing',
      '/',
    ];
    for (const path of paths) expect([path, await shortProblem(await it.get(path))]).toEqual([path, '404 not_found']);
    for (const [method, path] of [
      ['GET', '/v1/bundles'],
      ['DELETE', '/v1/bundles'],
      ['PUT', '/v1/status'],
      ['POST', '/v1/status'],
    ] as const) {
      expect([method, path, await shortProblem(await it.app.request(path, { method }))]).toEqual([method, path, '404 not_found']);
    }
    for (const path of [
      `/v1/messages/${alice.address}/x/0`,
      `/v1/messages/${alice.address}/0/-1`,
      `/v1/messages/0x12/0/0`,
      '/v1/batches/0/x',
      '/v1/batches/0/01',
      `/v1/batches/0/${2n ** 64n}`,
    ]) {
      expect([path, await shortProblem(await it.get(path))]).toEqual([path, '400 request.invalid']);
    }
  });

  test('a proof: not sealed yet, at once to the receipt, then to the batch', async () => {
    const it = await filled();
    const path = `/v1/messages/${bob.address}/0/2/proof`;
    const early = await it.get(path);
    expect(await problemOf(early)).toMatchObject({ status: 404, code: 'proof.not_sealed', retryAfterMs: 1_000 });
    expect(early.headers.get('retry-after')).toBe('1');
    verifyReceiptProof(receiptProofFromJson(await it.json(`${path}?anchor=receipt`)), { ...DOMAIN, laneCount: 1 }, TERMS, VERIFY);
    await it.seal();
    const proof = proofFromJson(await it.json(path));
    const proven = verifyMessageProof(proof, { ...DOMAIN, laneCount: 1 }, it.store.batch(0, 1n)?.batchHash as Hex, VERIFY);
    expect(proven).toMatchObject({ sender: bob.address, nonce: 2n, sequence: 3n });
    expect(await shortProblem(await it.get(`${path}?anchor=block`))).toBe('400 request.invalid');
    // The receipt stays what it was.
    verifyReceiptProof(receiptProofFromJson(await it.json(`${path}?anchor=receipt`)), { ...DOMAIN, laneCount: 1 }, TERMS, VERIFY);
  });

  test('batches by page, newest first', async () => {
    const it = await open({ seal: { maxEntries: 1 } });
    for (let nonce = 0n; nonce < 5n; nonce++) await it.submit(alice.sign({ nonce }));
    await it.seal();
    interface Batches {
      readonly batches: { readonly header: { readonly number: string } }[];
      readonly next: string | null;
    }
    const numbers = async (query: string) => {
      const { batches, next } = await it.json<Batches>(`/v1/batches?${query}`);
      return [batches.map(({ header }) => header.number).join(' '), next];
    };
    expect(await numbers('')).toEqual(['5 4 3 2 1', null]);
    expect(await numbers('limit=2')).toEqual(['5 4', '4']);
    expect(await numbers('limit=2&before=4')).toEqual(['3 2', '2']);
    expect(await numbers('limit=2&before=2')).toEqual(['1', null]);
    expect(await numbers('before=1')).toEqual(['', null]);
    expect(await numbers(`before=${2n ** 64n - 1n}&lane=0`)).toEqual(['5 4 3 2 1', null]);
    for (const query of ['limit=0', 'limit=101', 'before=x', 'lane=1']) {
      expect([query, await shortProblem(await it.get(`/v1/batches?${query}`))]).toEqual([query, '400 request.invalid']);
    }
    expect(await it.json('/v1/batches/0/5')).toMatchObject({
      status: 'sealed',
      transactionHash: null,
      blockNumber: null,
      messages: 1,
    });
    const commitment = {
      lane: 0,
      number: 5n,
      batchHash: it.store.lastBatch(0)?.batchHash as Hex,
      transactionHash: NEWS,
      blockNumber: 9n,
      blockHash: NEWS,
    };
    await it.store.applyL1({ blocks: [], commitments: [commitment] });
    expect(await it.json('/v1/batches/0/5')).toMatchObject({ transactionHash: NEWS, blockNumber: '9' });
  });

  test('the batch file: whole, in ranges, not modified, and how long it may be kept', async () => {
    const it = await filled();
    await it.seal();
    const path = '/v1/batches/0/1/data';
    const response = await it.get(path);
    const whole = new Uint8Array(await response.arrayBuffer());
    const { header, bytes } = it.store.batch(0, 1n) as NonNullable<ReturnType<typeof it.store.batch>>;
    expect(whole.length).toBe(bytes);
    expect(dataHash([whole])).toBe(header.dataHash);
    expect(decodeBatchFile(whole)).toMatchObject({ lane: 0, number: 1n, firstSequence: 0n, entries: { length: 4 } });
    const etag = `"${header.dataHash}"`;
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': String(bytes),
      'accept-ranges': 'bytes',
      'cache-control': 'no-cache',
      etag,
    });
    const ranged = async (range: string, headers: Record<string, string> = {}) => {
      const part = await it.get(path, { Range: range, ...headers });
      return [part.status, part.headers.get('content-range'), Buffer.from(await part.arrayBuffer())] as const;
    };
    const slice = (start: number, end?: number) => Buffer.from(whole.subarray(start, end));
    expect(await ranged('bytes=0-0')).toEqual([206, `bytes 0-0/${bytes}`, slice(0, 1)]);
    expect(await ranged('bytes=10-99')).toEqual([206, `bytes 10-99/${bytes}`, slice(10, 100)]);
    expect(await ranged('bytes=100-')).toEqual([206, `bytes 100-${bytes - 1}/${bytes}`, slice(100)]);
    expect(await ranged('bytes=-7')).toEqual([206, `bytes ${bytes - 7}-${bytes - 1}/${bytes}`, slice(bytes - 7)]);
    expect(await ranged(`bytes=5-${bytes + 1_000}`)).toEqual([206, `bytes 5-${bytes - 1}/${bytes}`, slice(5)]);
    for (const range of ['bytes=0-', 'bytes=-999999999', 'bytes=5-3', 'bytes=0-1,4-5', 'bytes=x', 'lines=0-1', 'bytes=-']) {
      expect([range, ...(await ranged(range))]).toEqual([range, 200, null, slice(0)]);
    }
    for (const range of [`bytes=${bytes}-`, `bytes=${bytes}-${bytes + 1}`, 'bytes=-0']) {
      const beyond = await it.get(path, { Range: range });
      expect([range, await shortProblem(beyond)]).toEqual([range, '416 request.invalid']);
      expect(beyond.headers.get('content-range')).toBe(`bytes */${bytes}`);
    }
    // Every range joins to the file.
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes; at += 50) parts.push((await ranged(`bytes=${at}-${at + 49}`))[2]);
    expect(Buffer.concat(parts)).toEqual(slice(0));

    expect((await ranged('bytes=0-0', { 'If-Range': etag }))[0]).toBe(206);
    expect((await ranged('bytes=0-0', { 'If-Range': '"other"' }))[0]).toBe(200);
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const unchanged = await it.get(path, { 'If-None-Match': known });
      expect([known, unchanged.status, await unchanged.text()]).toEqual([known, 304, '']);
      expect(unchanged.headers.get('etag')).toBe(etag);
    }
    expect((await it.get(path, { 'If-None-Match': '"other"' })).status).toBe(200);
    const head = await it.app.request(path, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, String(bytes), '']);
    const rung = { number: 1n, nextSequence: 4n };
    it.view = viewAt(200n, START, [{ committed: rung, safe: rung, finalized: rung }]);
    expect((await it.get(path)).headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  });

  test('status, health, readiness, metrics', async () => {
    let ready = true;
    const readiness = () => ({ ready, checks: { l1: ready ? 'ok' : 'not seen' }, backlogBatches: 3, walletWei: '7' });
    const it = await filled({ readiness });
    const rung = { number: 0n, nextSequence: 0n };
    it.view = viewAt(100n, START, [{ committed: { number: 1n, nextSequence: 2n }, safe: rung, finalized: rung }]);
    expect(await it.json('/v1/status')).toEqual({
      version: '0.0.0-test',
      chainId: '31337',
      settlement: DOMAIN.settlement,
      sequencer: SIGNER.address,
      laneCount: 1,
      lanes: [{ lane: 0, term: 1, accepted: '4', sealed: '0', committed: '2', safe: '0', finalized: '0', batch: 0 }],
      limits: { maxPayloadBytes: 65_536, maxMessagesPerBundle: 4_096, maxBundleBytes: 1_048_576, maxBodyBytes: 16_777_216 },
    });
    expect((await it.get('/healthz')).status).toBe(200);
    expect((await it.get('/readyz')).status).toBe(200);
    ready = false;
    const notReady = await it.get('/readyz');
    expect([notReady.status, await notReady.json()]).toEqual([
      503,
      { ready: false, checks: { l1: 'not seen' }, backlogBatches: 3, walletWei: '7' },
    ]);
    await it.post(frames(alice.sign({ nonce: 77n })));
    const metrics = await (await it.get('/metrics')).text();
    expect(metrics).toContain('sealpost_bundles_total{outcome="bundle.nonce"} 1');
    expect(metrics).toContain('sealpost_head_sequence{lane="0",rung="accepted"} 4');
  });

  test('CORS is open for reads and submission', async () => {
    const it = await open();
    const headers = { Origin: 'https://app.example' };
    for (const path of ['/v1/status', '/v1/nothing', `/v1/topics/${NEWS}/messages`]) {
      expect([path, (await it.get(path, headers)).headers.get('access-control-allow-origin')]).toEqual([path, '*']);
    }
    const refused = await it.app.request('/v1/bundles', { method: 'POST', headers });
    expect(refused.headers.get('access-control-allow-origin')).toBe('*');
    const preflight = await it.app.request('/v1/bundles', {
      method: 'OPTIONS',
      headers: { ...headers, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-methods')).toContain('POST');
    expect(preflight.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('content-type');
    expect((await it.get('/v1/status', headers)).headers.get('access-control-expose-headers')?.toLowerCase()).toContain(
      'retry-after',
    );
  });
});
