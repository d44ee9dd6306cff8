import {
  dataHash,
  decodeBatchFile,
  type Hex,
  proofFromJson,
  receiptProofFromJson,
  verifyMessageProof,
  verifyReceiptProof,
} from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { collidingTopics, DOMAIN, frames, message, topicOf } from './bundles.js';
import { type Pipeline, type PipelineOptions, SIGNER, START, viewAt } from './pipeline.js';

import { alice, bob, NEWS, open, problemOf, shortProblem, TERMS, VERIFY } from './requests.js';

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
      owed: '0',
      price: { perMessage: '0', perByte: '0' },
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
    await it.store.applyL1({ blocks: [], commitments: [commitment], forced: [], demands: [], answered: [] });
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
      price: { perMessage: '0', perByte: '0' },
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
