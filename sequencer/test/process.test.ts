import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hex } from '@sealpost/prover';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createSignedMark } from '../src/adapters/signed-mark.js';
import { type Anvil, deploySettlement, KEYS, startAnvil } from './anvil.js';
import { Account, frames, topicOf } from './bundles.js';
import { killRunning, Running } from './running.js';

const MAIN = new URL('../dist/main.js', import.meta.url).pathname;
const alice = new Account('alice');
const NEWS = topicOf('news');

let anvil: Anvil;
let settlement: Hex;
let folder: string;

beforeAll(async () => {
  anvil = await startAnvil({ blockTime: 0.1 });
  settlement = await deploySettlement(anvil);
  folder = mkdtempSync(join(tmpdir(), 'sealpost-process-'));
  for (const [name, key] of [
    ['poster', KEYS[0]],
    ['signer', KEYS[1]],
    ['other', KEYS[2]],
  ] as const) {
    writeFileSync(join(folder, `${name}.key`), `${key}\n`, { mode: 0o600 });
  }
  writeFileSync(join(folder, 'open.key'), KEYS[0]);
  chmodSync(join(folder, 'open.key'), 0o640);
});
// Each test has a database of its own, so each begins with a contract without batches.
let deployed: Hex;
beforeEach(async () => {
  if (deployed !== undefined) await anvil.rpc('evm_revert', [deployed]);
  deployed = await anvil.rpc<Hex>('evm_snapshot');
});
afterEach(killRunning);
afterAll(async () => {
  await anvil.stop();
  rmSync(folder, { recursive: true });
});

type Environment = Record<string, string | undefined>;
const base = (): Environment => ({
  PATH: process.env.PATH,
  SEALPOST_PORT: '0',
  SEALPOST_DATA: join(folder, 'data'),
  SEALPOST_L1_URL: anvil.url,
  SEALPOST_SETTLEMENT: settlement,
  SEALPOST_POSTER_KEY_FILE: join(folder, 'poster.key'),
  SEALPOST_SIGNER_KEY_FILE: join(folder, 'signer.key'),
  SEALPOST_VERIFY_WORKERS: '1',
  SEALPOST_SEAL_MAX_AGE_MS: '100',
});
const run = (environment: Environment = {}, args: readonly string[] = ['run', '--create']): Running => {
  const env = Object.fromEntries(Object.entries({ ...base(), ...environment }).filter(([, value]) => value !== undefined));
  return new Running(spawn(process.execPath, [MAIN, ...args], { env, cwd: folder }));
};
const data = (name: string) => ({ SEALPOST_DATA: join(folder, name) });
const post = (url: string, ...bundles: ReturnType<Account['sign']>[]) =>
  fetch(`${url}/v1/bundles`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/octet-stream' },
    body: frames(...bundles),
  });
const nonceOf = async (url: string): Promise<number> =>
  Number(((await (await fetch(`${url}/v1/accounts/${alice.address}`)).json()) as { nonce: string }).nonce);

/** Bundles for this contract: the shared fixture's domain is another address unless it is the deployer's first. */
const sign = (nonce: bigint, options: Parameters<Account['sign']>[0] = {}) =>
  alice.sign({ nonce, domain: { chainId: 31_337n, settlement }, ...options });

describe('it refuses to start, with one clear line and an exit code', () => {
  const key = (name: string) => join(folder, `${name}.key`);
  const rows: [string, () => Environment, number, RegExp][] = [
    [
      'no settings at all',
      () => ({ SEALPOST_L1_URL: '', SEALPOST_SETTLEMENT: '' }),
      2,
      /SEALPOST_L1_URL: must be set.*\n.*SEALPOST_SETTLEMENT: must be set/,
    ],
    [
      'a key that others can read',
      () => ({ SEALPOST_POSTER_KEY_FILE: key('open') }),
      1,
      /open\.key can be read by others: chmod 600/,
    ],
    ['a key that is not there', () => ({ SEALPOST_SIGNER_KEY_FILE: key('none') }), 1, /none\.key cannot be read: ENOENT/],
    [
      'another receipt signer',
      () => ({ SEALPOST_SIGNER_KEY_FILE: key('other') }),
      1,
      /the contract names 0x[0-9a-f]{40} as receipt signer of lane 0/,
    ],
    [
      'another poster',
      () => ({ SEALPOST_POSTER_KEY_FILE: key('other') }),
      1,
      /the contract names 0x[0-9a-f]{40} as poster of lane 0/,
    ],
    ['no contract', () => ({ SEALPOST_SETTLEMENT: `0x${'12'.repeat(20)}` }), 1, /there is no Settlement contract at 0x1212/],
    [
      'a port that is taken',
      () => ({ SEALPOST_PORT: String(anvil.port), ...data('port') }),
      1,
      /127.0.0.1:[0-9]+ is taken.*SEALPOST_PORT/,
    ],
  ];
  test.each(rows)('%s', async (_, environment, code, expected) => {
    const it = run(environment());
    expect(await it.exited).toEqual({ code, signal: null });
    expect(it.stderr).toMatch(expected);
    // For people: no stack, no secret.
    expect(it.stderr).not.toMatch(/\n {4}at /);
    for (const secret of KEYS) expect(it.stderr).not.toContain(secret.slice(2));
    expect(it.event('ready')).toBeUndefined();
  });

  test('no database, and none asked for', async () => {
    const it = run(data('never'), ['run']);
    expect(await it.exited).toEqual({ code: 1, signal: null });
    expect(it.stderr).toMatch(/^sealpost: .*sequencer\.sqlite is not there: create it first\n$/);
  });

  test('create makes it, a second create refuses, check prints settings and no secret', async () => {
    expect((await run(data('made'), ['create']).exited).code).toBe(0);
    const again = run(data('made'), ['create']);
    expect((await again.exited).code).toBe(1);
    expect(again.stderr).toMatch(/is already there/);
    const check = run({ SEALPOST_L1_URL: 'http://user:password@127.0.0.1:1' }, ['check']);
    expect((await check.exited).code).toBe(0);
    const printed = check.lines.map(({ text }) => text).join('\n');
    expect(printed).toMatch(/SEALPOST_PORT=0 /);
    expect(printed).not.toContain('password');
    const unknown = run({}, ['rnu']);
    expect((await unknown.exited).code).toBe(2);
  });

  test('the database of another contract', async () => {
    expect((await run(data('foreign'), ['create']).exited).code).toBe(0);
    // Of another operator, with the same posting account and receipt signer.
    const other = await deploySettlement(anvil, { operatorKey: KEYS[3] });
    const it = run({ ...data('foreign'), SEALPOST_SETTLEMENT: other });
    expect(await it.exited).toEqual({ code: 1, signal: null });
    expect(it.stderr).toMatch(/the database belongs to settlement 0x.* another SEALPOST_DATA/);
  });
});

describe('it ends in order', () => {
  test('SIGTERM with requests, long polls and event streams open: all answered, everything acknowledged there', async () => {
    const first = run({ ...data('term'), SEALPOST_SEAL_MAX_AGE_MS: '60000', SEALPOST_STOP_DEADLINE_MS: '60000' });
    const url = await first.ready();
    const stream = await fetch(`${url}/v1/topics/${NEWS}/stream`);
    const streamed = stream.text();
    const polled = fetch(`${url}/v1/topics/${NEWS}/messages?after=latest&wait=30&sender=0x${'11'.repeat(20)}`).then((response) =>
      response.json(),
    );
    // Bodies keep coming, one after the other on each connection, until nobody listens any more.
    let acknowledged = 0;
    const refused: number[] = [];
    const sending = (async () => {
      for (let nonce = 0n; ; nonce++) {
        const response = await post(url, sign(nonce)).catch(() => undefined);
        if (response === undefined) return;
        if (response.status !== 200) refused.push(response.status);
        else acknowledged++;
      }
    })();
    await expect.poll(() => acknowledged).toBeGreaterThan(5);
    const startedAt = performance.now();
    first.child.kill('SIGTERM');
    expect(await first.exited).toEqual({ code: 0, signal: null });
    // Not the deadline: nobody was waited for in vain.
    expect(performance.now() - startedAt).toBeLessThan(25_000);
    expect(await streamed).toContain('event: message');
    expect(await polled).toMatchObject({ messages: [] });
    await sending;
    expect(refused.filter((status) => status !== 503)).toEqual([]);
    expect(first.event('stopped')).toMatchObject({ clean: true });

    const second = run(data('term'), ['run']);
    const again = await second.ready();
    expect(await nonceOf(again)).toBe(acknowledged);
    // And it is committed, though it was never sealed before the stop.
    interface Lane {
      readonly lanes: { readonly committed: string }[];
    }
    await expect
      .poll(async () => ((await (await fetch(`${again}/v1/status`)).json()) as Lane).lanes[0]?.committed)
      .toBe(String(acknowledged));
  });

  test('SIGTERM while a client sends half a body and another reads nothing: within the deadline', async () => {
    const it = run({ ...data('half'), SEALPOST_STOP_DEADLINE_MS: '10000' });
    const url = await it.ready();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      'POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nhalf',
    );
    await once(socket, 'connect');
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    const startedAt = performance.now();
    it.child.kill('SIGTERM');
    expect((await it.exited).code).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(11_000);
    socket.destroy();
  });

  test('a second SIGTERM ends it now, and what was acknowledged is there', async () => {
    const it = run({ ...data('twice'), SEALPOST_STOP_DEADLINE_MS: '60000' });
    const url = await it.ready();
    expect((await post(url, sign(0n))).status).toBe(200);
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      'POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nhalf',
    );
    await once(socket, 'connect');
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    it.child.kill('SIGTERM');
    await expect.poll(() => it.event('stopping')).toBeDefined();
    it.child.kill('SIGTERM');
    expect((await it.exited).code).toBe(1);
    const again = run(data('twice'), ['run']);
    expect(await nonceOf(await again.ready())).toBe(1);
    socket.destroy();
  });

  test('SIGTERM while it waits for an L1 that does not answer', async () => {
    const silent: Server = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { port: number };
    for (const l1 of ['http://127.0.0.1:1', `http://127.0.0.1:${port}`]) {
      const it = run({ ...data('waiting'), SEALPOST_L1_URL: l1, SEALPOST_L1_TIMEOUT_MS: '300' });
      await expect.poll(() => it.event('l1.waiting')).toBeDefined();
      it.child.kill('SIGTERM');
      expect(await it.exited).toEqual({ code: 0, signal: null });
      expect(it.stderr).toBe('');
    }
    silent.close();
  });
});

// Each starts several processes, one after the other.
describe('another database is put in the place of the newest', { timeout: 240_000 }, () => {
  const markOf = (name: string) => join(folder, name, 'signed.mark');
  const databaseFiles = (path: string) => readdirSync(path).filter((name) => name.startsWith('sequencer.sqlite'));
  /** All that a backup may hold: the database's files, by their name. */
  function copyDatabase(from: string, to: string): void {
    mkdirSync(join(folder, to), { recursive: true });
    for (const name of databaseFiles(join(folder, to))) rmSync(join(folder, to, name), { recursive: true });
    for (const name of databaseFiles(join(folder, from))) {
      cpSync(join(folder, from, name), join(folder, to, name), { recursive: true });
    }
  }
  async function accept(url: string, from: bigint, to: bigint): Promise<unknown[]> {
    const receipts: unknown[] = [];
    for (let nonce = from; nonce < to; nonce++) {
      const response = await post(url, sign(nonce));
      expect(response.status).toBe(200);
      receipts.push(await response.json());
    }
    return receipts;
  }
  async function stop(it: Running): Promise<void> {
    it.child.kill('SIGTERM');
    expect((await it.exited).code).toBe(0);
  }
  async function kill(it: Running): Promise<void> {
    it.child.kill('SIGKILL');
    expect((await it.exited).signal).toBe('SIGKILL');
  }
  const committed = async (url: string) =>
    ((await (await fetch(`${url}/v1/status`)).json()) as { lanes: { committed: string }[] }).lanes[0]?.committed;
  async function expectRefusal(it: Running, message: RegExp): Promise<void> {
    expect(await it.exited).toEqual({ code: 1, signal: null });
    expect(it.stderr).toMatch(message);
    expect(it.stderr.split('\n')).toHaveLength(2);
    expect(it.event('ready')).toBeUndefined();
  }
  /** Nothing is sealed, so that the L1 knows nothing. */
  const unsealed = { SEALPOST_SEAL_MAX_AGE_MS: '60000' };

  test('yesterday’s is refused and nothing is signed; with the newest it goes on', async () => {
    const first = run({ ...data('newest'), ...unsealed });
    await accept(await first.ready(), 0n, 2n);
    await stop(first);
    copyDatabase('newest', 'yesterday');
    expect(existsSync(markOf('yesterday'))).toBe(false);

    const second = run({ ...data('newest'), ...unsealed }, ['run']);
    const promised = await accept(await second.ready(), 2n, 5n);
    await kill(second);
    copyDatabase('newest', 'kept');

    copyDatabase('yesterday', 'newest');
    const mark = readFileSync(markOf('newest'));
    for (const args of [['run'], ['run', '--create']]) {
      await expectRefusal(
        run({ ...data('newest'), ...unsealed }, args),
        /^sealpost: lane 0: receipts up to sequence 4 were .*newest\/signed\.mark.* the log ends before sequence 2: .*Put the newest database back.*sealpost operator exit/,
      );
    }
    expect(readFileSync(markOf('newest'))).toEqual(mark);
    expect((await run(data('newest'), ['check']).exited).code).toBe(0);

    copyDatabase('kept', 'newest');
    const third = run({ ...data('newest'), ...unsealed }, ['run']);
    const url = await third.ready();
    expect(await nonceOf(url)).toBe(5);
    // The same promises, though the last signature was lost and is made again.
    const again = (await accept(url, 2n, 5n)) as typeof promised;
    const places = (answers: unknown[]) =>
      answers.map((answer) => JSON.stringify(answer).match(/"(sequence|bundleHash|root)":"[^"]*"/g));
    expect(places(again)).toEqual(places(promised));
    await stop(third);
  });

  test('an empty one: not even made', async () => {
    const first = run({ ...data('emptied'), ...unsealed });
    await accept(await first.ready(), 0n, 1n);
    await stop(first);
    copyDatabase('emptied', 'kept-full');
    for (const name of databaseFiles(join(folder, 'emptied'))) rmSync(join(folder, 'emptied', name), { recursive: true });
    for (const args of [['run', '--create'], ['create']]) {
      await expectRefusal(run(data('emptied'), args), /the log ends before sequence 0: an older database, or an empty one/);
    }
    expect(existsSync(join(folder, 'emptied', 'sequencer.sqlite'))).toBe(false);
    copyDatabase('kept-full', 'emptied');
    const again = run({ ...data('emptied'), ...unsealed }, ['run']);
    expect(await nonceOf(await again.ready())).toBe(1);
    await stop(again);
  });

  test('yesterday’s, with no mark: the L1 has more than the log', async () => {
    const first = run(data('markless'));
    const url = await first.ready();
    await accept(url, 0n, 1n);
    await expect.poll(() => committed(url)).toBe('1');
    await stop(first);
    copyDatabase('markless', 'markless-yesterday');
    const second = run(data('markless'), ['run']);
    const today = await second.ready();
    await accept(today, 1n, 3n);
    await expect.poll(() => committed(today)).toBe('3');
    await stop(second);
    copyDatabase('markless', 'markless-newest');

    copyDatabase('markless-yesterday', 'markless');
    rmSync(markOf('markless'));
    await expectRefusal(
      run(data('markless'), ['run']),
      /^sealpost: lane 0: the contract has batches up to sequence 2, but the log ends before sequence 1, and .*signed\.mark is not there: /,
    );
    expect(existsSync(markOf('markless'))).toBe(false);

    // The newest, as after an upgrade: made anew, loudly, and once.
    copyDatabase('markless-newest', 'markless');
    const third = run(data('markless'), ['run']);
    await third.ready();
    expect(third.event('signed.missing')).toMatchObject({ level: 'warn', path: markOf('markless') });
    await stop(third);
    const fourth = run(data('markless'), ['run']);
    await fourth.ready();
    expect(fourth.event('signed.missing')).toBeUndefined();
    await stop(fourth);
  });

  test('yesterday’s, with yesterday’s mark: the follower finds a batch that is not ours before anything is signed', async () => {
    const first = run(data('whole'));
    await accept(await first.ready(), 0n, 1n);
    await stop(first);
    cpSync(join(folder, 'whole'), join(folder, 'whole-yesterday'), { recursive: true });
    const second = run(data('whole'), ['run']);
    const url = await second.ready();
    await accept(url, 1n, 3n);
    await expect.poll(() => committed(url)).toBe('3');
    await stop(second);

    const it = run(data('whole-yesterday'), ['run']);
    await expect.poll(() => it.event('ready')).toBeDefined();
    const forked = it.event('ready')?.url as string;
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 10_000; attempt++) {
      const response = await post(forked, sign(1n, { messages: ['another'] })).catch(() => undefined);
      if (response === undefined) break;
      statuses.push(response.status);
    }
    expect(await it.exited).toEqual({ code: 1, signal: null });
    expect(it.stderr).toMatch(
      /the contract holds a batch 2 that this database does not know: another operator took the lane over, an old backup was restored/,
    );
    expect(statuses.filter((status) => status !== 503)).toEqual([]);
  });

  test('a mark of another contract, and one that is cut off', async () => {
    expect((await run(data('marked'), ['create']).exited).code).toBe(0);
    const path = markOf('marked');
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, 5_000));
    for (const args of [['run'], ['check']]) {
      const it = run(data('marked'), args);
      expect((await it.exited).code).toBe(1);
      expect(it.stderr).toMatch(/^sealpost: .*marked\/signed\.mark is damaged: it has 5000 bytes, expected 12288/);
    }
    const other = join(folder, 'other.mark');
    const genesis = {
      chainId: 31_337n,
      laneCount: 1,
      settlement: `0x${'77'.repeat(20)}`,
      signer: `0x${'88'.repeat(20)}`,
    } as const;
    createSignedMark(other, genesis, () => ({ term: 1, firstSequence: 0n, nextSequence: 0n })).release();
    for (const args of [['run'], ['check']]) {
      const it = run({ ...data('marked'), SEALPOST_SIGNED_FILE: other }, args);
      expect((await it.exited).code).toBe(1);
      expect(it.stderr).toMatch(
        /^sealpost: .*other\.mark says what was signed for settlement 0x7777.*, this L1 and configuration are settlement 0x/,
      );
    }
  });
});

test('a body that comes too slowly is cut off soon after SEALPOST_REQUEST_TIMEOUT_MS', async () => {
  const it = run({ ...data('slow'), SEALPOST_REQUEST_TIMEOUT_MS: '400' });
  const url = await it.ready();
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  socket.write(
    'POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nhalf',
  );
  const startedAt = performance.now();
  await once(socket, 'close');
  expect(performance.now() - startedAt).toBeLessThan(20_000);
  it.child.kill('SIGTERM');
  expect((await it.exited).code).toBe(0);
});
