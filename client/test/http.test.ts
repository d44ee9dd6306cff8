import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Http, problemError } from '../src/http.js';
import {
  type Clock,
  L1Error,
  type NetworkState,
  type Observation,
  planRetry,
  planStatus,
  RequestError,
  systemClock,
} from '../src/index.js';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Time that passes only by sleeping. */
function fakeClock(): Clock & { slept: number[] } {
  let now = 1_000_000;
  const slept: number[] = [];
  return {
    slept,
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        // Deadlines and limits are not waited for here: only backoff is.
        if (ms >= 30_000) return;
        slept.push(ms);
        now += ms;
        setImmediate(resolve);
      }),
  };
}

const http = (url: string, options: { clock?: Clock; fetch?: typeof fetch; random?: () => number } = {}) =>
  new Http({ url, fetch: globalThis.fetch, clock: systemClock, random: () => 0, log: () => {}, ...options });

describe('planRetry', () => {
  const api = (code: string, status: number, retryAfterMs?: number) => new RequestError(code, code, { status, retryAfterMs });
  it.each([
    ['busy', api('busy', 503), 0, 1, 200],
    ['busy, third time', api('busy', 503), 2, 1, 800],
    ['busy, for ever', api('busy', 503), 40, 1, 10_000],
    ['jitter goes down to nothing', api('busy', 503), 5, 0, 0],
    ['Retry-After is a floor', api('busy', 503, 3_000), 0, 0, 3_000],
    ['Retry-After with jitter on top', api('unavailable', 503, 3_000), 2, 1, 3_200],
    ['unavailable', api('unavailable', 503), 0, 1, 200],
    ['rate limited', api('rate_limited', 429, 2_000), 0, 0, 2_000],
    ['internal: submitting again is safe', api('internal', 500), 0, 1, 200],
    ['no answer', api('network.unreachable', 0), 0, 1, 200],
    ['a proxy without its server', api('network.bad_answer', 502), 0, 1, 200],
    ['a proxy that refuses', api('network.bad_answer', 403), 0, 1, undefined],
    ['an answer that is none', api('network.bad_answer', 200), 0, 1, undefined],
    ['nonce', api('bundle.nonce', 409), 0, 1, undefined],
    ['malformed', api('bundle.malformed', 400), 0, 1, undefined],
    ['expired', api('bundle.expired', 422), 0, 1, undefined],
    ['not found', api('not_found', 404), 0, 1, undefined],
    ['our own deadline', api('timeout', 0), 0, 1, undefined],
    ['an L1 that is silent', new L1Error('l1.unreachable', ''), 0, 1, 200],
    ['an L1 that refuses', new L1Error('l1.rpc', ''), 0, 1, undefined],
    ['a bug', new TypeError('x is not a function'), 0, 1, undefined],
  ] as const)('%s', (_name, error, attempt, random, expected) => {
    expect(planRetry(error, attempt, () => random)).toBe(expected);
  });
});

describe('Http', () => {
  it('backs off further each time, on an injected fetch', async () => {
    const clock = fakeClock();
    let calls = 0;
    const fetch = async () => {
      if (++calls < 5) throw new TypeError('fetch failed');
      return Response.json({ fine: true });
    };
    expect(await http('http://sealpost.test', { clock, fetch: fetch as never, random: () => 1 }).getJson('v1/status')).toEqual({
      fine: true,
    });
    expect(clock.slept).toEqual([200, 400, 800, 1_600]);
  });

  it('takes retryAfterMs from the body, or else Retry-After from the header', async () => {
    const clock = fakeClock();
    let calls = 0;
    const url = await serve((_request, response) => {
      calls++;
      if (calls === 3) return response.end('{}');
      const body = { code: 'busy', ...(calls === 1 ? { retryAfterMs: 70 } : {}) };
      response.writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '2' }).end(JSON.stringify(body));
    });
    await http(url, { clock }).getJson('x');
    expect(clock.slept).toEqual([70, 2_000]);
  });

  it('tells the problem, its facts and where it is explained', async () => {
    const url = await serve((_request, response) => {
      const problem = {
        type: 'https://example.org/nonce',
        title: 'T',
        status: 409,
        code: 'bundle.nonce',
        detail: 'D',
        expected: '7',
        extra: {},
      };
      response.writeHead(409, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
    });
    await expect(http(url).getJson('x')).rejects.toMatchObject({
      name: 'RequestError',
      code: 'bundle.nonce',
      message: 'D',
      status: 409,
      facts: { expected: '7' },
      docsUrl: 'https://example.org/nonce',
    });
  });

  it('gives the reason at once when the sequencer asks for more time than there is', async () => {
    const url = await serve((_request, response) => {
      response.writeHead(503, { 'retry-after': '600' }).end('{"code":"unavailable","detail":"stopping"}');
    });
    await expect(http(url).getJson('x', { timeoutMs: 5_000 })).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterMs: 600_000,
    });
  });

  it('times out on a server that says nothing, and names the last failure', async () => {
    const url = await serve(() => {});
    await expect(http(url).getJson('x', { timeoutMs: 60 })).rejects.toMatchObject({ code: 'timeout', facts: { timeoutMs: 60 } });
    await expect(http('http://127.0.0.1:9').getJson('x', { timeoutMs: 60 })).rejects.toMatchObject({
      code: expect.stringMatching(/timeout|unreachable/),
    });
  });

  it('an answer may take longer than any silence in it; silence is the end of an attempt', async () => {
    // One limit fires whenever the test says so: the latest one that nobody cancelled.
    const limits: { ms: number; pass: () => void; cancelled: boolean }[] = [];
    const clock: Clock = {
      now: () => Date.now(),
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          const limit = { ms, pass: resolve, cancelled: false };
          signal?.addEventListener('abort', () => {
            limit.cancelled = true;
            reject(signal.reason);
          });
          if (ms < 1_000) resolve();
          else limits.push(limit);
        }),
    };
    let calls = 0;
    let more: (text?: string) => void = () => {};
    const started = new Promise<void>((resolve) => {
      more = () => resolve();
    });
    const url = await serve((_request, response) => {
      if (++calls > 1) return response.end('all of it');
      response.write('first ');
      more();
      more = (text) => (text === undefined ? response.write('more ') : response.end(text));
    });
    const live = () => limits.filter(({ ms, cancelled }) => ms === 30_000 && !cancelled);
    const reading = http(url, { clock }).getBytes('x', 100, { timeoutMs: 600_000 });
    await started;
    // Each part starts the limit anew: those before it are cancelled.
    for (let parts = 2; parts < 5; parts++) {
      await vi.waitFor(() => expect(limits.filter(({ ms }) => ms === 30_000).length).toBe(parts + 1));
      expect(live()).toHaveLength(1);
      more();
    }
    await vi.waitFor(() => expect(limits.filter(({ ms }) => ms === 30_000).length).toBe(6));
    live()[0]?.pass();
    expect(new TextDecoder().decode(await reading)).toBe('all of it');
    expect(calls).toBe(2);
    expect(live()).toEqual([]);
  });

  it('an injected fetch need not say where an answer is from', async () => {
    let calls = 0;
    const fetch = async () => {
      if (++calls > 1) return new Response('<html>');
      return new Response(
        new ReadableStream({
          pull(controller) {
            controller.error(new TypeError('terminated'));
          },
        }),
      );
    };
    await expect(http('http://sealpost.test', { fetch: fetch as never }).getJson('x')).rejects.toMatchObject({
      code: 'network.bad_answer',
      message: expect.stringContaining('http://sealpost.test/'),
    });
    expect(calls).toBe(2);
  });

  it('throws the caller’s own reason', async () => {
    const url = await serve(() => {});
    const stop = new AbortController();
    const asking = http(url).getJson('x', { signal: stop.signal });
    stop.abort(new Error('never mind'));
    await expect(asking).rejects.toThrow('never mind');
    await expect(http(url).getJson('x', { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before');
  });

  it('asks again when the connection breaks in the middle of an answer', async () => {
    let calls = 0;
    const url = await serve((request, response) => {
      if (++calls > 1) return response.end('{"n":1}');
      response.writeHead(200, { 'content-length': '100' });
      response.write('{"n"', () => request.socket.destroy());
    });
    expect(await http(url).getJson('x')).toEqual({ n: 1 });
  });

  it('refuses answers that are no JSON, too long, or redirected', async () => {
    const html = await serve((_request, response) => response.end('<html>'));
    await expect(http(html).getJson('x')).rejects.toMatchObject({ code: 'network.bad_answer' });
    const long = await serve((_request, response) => response.end('x'.repeat(1_000)));
    await expect(http(long).getBytes('x', 999)).rejects.toMatchObject({ code: 'network.bad_answer' });
    const chunked = await serve((_request, response) => {
      response.write('x'.repeat(600));
      response.end('x'.repeat(600));
    });
    await expect(http(chunked).getBytes('x', 999)).rejects.toMatchObject({ code: 'network.bad_answer' });
    const elsewhere = await serve((_request, response) => response.writeHead(302, { location: html }).end());
    await expect(http(elsewhere).getJson('x', { timeoutMs: 50 })).rejects.toMatchObject({ name: 'RequestError' });
  });

  it('keeps the path of a base URL', async () => {
    const url = await serve((request, response) => response.end(JSON.stringify({ path: request.url })));
    expect(
      await http(`${url}/behind/a/proxy`).getJson('v1/x', { query: { sender: ['a', 'b'], after: undefined, limit: 3 } }),
    ).toEqual({
      path: '/behind/a/proxy/v1/x?sender=a&sender=b&limit=3',
    });
    expect(() => http('not a url')).toThrow(RequestError);
  });
});

it('a problem among several results becomes the same error', () => {
  expect(problemError({ code: 'bundle.nonce', detail: 'd', expected: '3', status: 409 }, 409)).toMatchObject({
    code: 'bundle.nonce',
    status: 409,
    facts: { expected: '3' },
  });
});

describe('planStatus', () => {
  const lane = (accepted: bigint, committed: bigint) =>
    ({
      lanes: [{ lane: 0, term: 1, accepted, sealed: committed, committed, safe: 0n, finalized: 0n, batch: 1n }],
    }) as unknown as Observation['sequencer'];
  const at = (seconds: number, accepted: bigint, committed: bigint, l1Age = 1): Observation => ({
    at: 1_000 * seconds,
    sequencer: lane(accepted, committed),
    l1Timestamp: BigInt(seconds - l1Age),
  });
  it.each<[string, Observation[], NetworkState]>([
    ['nothing seen yet', [], 'connecting'],
    ['the sequencer is silent', [{ ...at(1_000, 1n, 1n), sequencer: undefined }], 'connecting'],
    ['the L1 node is silent', [{ ...at(1_000, 1n, 1n), l1Timestamp: undefined }], 'connecting'],
    ['all is well', [at(1_000, 5n, 5n)], 'live'],
    ['entries wait, but not for long', [at(1_000, 5n, 1n), at(1_060, 9n, 1n)], 'live'],
    ['entries wait too long', [at(1_000, 5n, 1n), at(1_060, 9n, 1n), at(1_130, 9n, 4n)], 'behind'],
    ['those that waited are there, newer ones wait', [at(1_000, 5n, 1n), at(1_130, 9n, 5n)], 'live'],
    ['the L1 stands still', [at(1_000, 5n, 5n, 61)], 'l1-lagging'],
  ])('%s', (_name, observations, expected) => {
    expect(planStatus(observations)).toBe(expected);
  });
});
