import { mkdir, open, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../clock.js';
import { Http } from '../http.js';
import { L1 } from '../l1.js';
import { readKeyFileInfo } from '../node.js';
import { decodeStatus } from '../status.js';
import type { ExitCode } from './exit.js';
import { size } from './output.js';
import type { Action, Context } from './run.js';
import { knownKeys, readSettings, type Settings } from './settings.js';

/** One thing that was looked at. */
interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'warning' | 'failed';
  readonly found: string;
  /** What to run, where something is wrong. */
  readonly next?: string | undefined;
  /** Something could not be reached, which is not the same as wrong. */
  readonly unreachable?: boolean;
}

const CALL_MS = 5_000;
const MIN_FREE_BYTES = 1_000_000_000;
const MAX_FSYNC_MS = 50;
const MAX_CLOCK_DRIFT_MS = 60_000;

/** Looks at everything that the other commands need, one line each, with what to do about it. */
export const doctor: Action = async (context) => {
  const { output } = context;
  const settings = await readSettings(context);
  const checks: (() => Promise<Finding | Finding[]>)[] = [
    async () => nodeVersion(),
    () => disk(settings),
    () => l1(context, settings),
    () => sequencer(context, settings),
    () => keyFiles(settings),
  ];
  const findings: Finding[] = [];
  for (const check of checks) {
    context.signal.throwIfAborted();
    for (const finding of [await check()].flat()) {
      findings.push(finding);
      const mark = { ok: output.paint('green', '✓'), warning: output.paint('yellow', '!'), failed: output.paint('red', '✗') }[
        finding.state
      ];
      output.print(`${mark} ${finding.check.padEnd(12)}${finding.found}`);
      if (finding.state !== 'ok' && finding.next !== undefined) output.print(`  ${''.padEnd(12)}Next: ${finding.next}`);
    }
  }
  const failed = findings.filter(({ state }) => state === 'failed');
  const exitCode: ExitCode = failed.length === 0 ? 0 : failed.every(({ unreachable }) => unreachable) ? 4 : 1;
  output.result({ healthy: failed.length === 0, findings }, exitCode === 0);
  return exitCode;
};

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const enough = major > 20 || (major === 20 && minor >= 19);
  return { check: 'node', state: enough ? 'ok' : 'failed', found: process.versions.node, next: 'install Node 20.19 or newer' };
}

async function disk(settings: Settings): Promise<Finding[]> {
  const folder = settings.network === undefined ? settings.userFolder : settings.data.value;
  const probe = join(folder, `.doctor-${process.pid}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = await statfs(folder);
    const free = bavail * bsize;
    const times: number[] = [];
    const file = await open(probe, 'wx', 0o600);
    try {
      for (let round = 0; round < 5; round++) {
        await file.write(Buffer.alloc(4_096, round), 0, 4_096, 4_096 * round);
        const started = performance.now();
        await file.sync();
        times.push(performance.now() - started);
      }
    } finally {
      await file.close();
      await rm(probe, { force: true });
    }
    const fsyncMs = times.sort((a, b) => a - b)[2] as number;
    return [
      {
        check: 'disk',
        state: free < MIN_FREE_BYTES ? 'warning' : 'ok',
        found: `${size(free)} free at ${folder}`,
        next: `df -h ${folder}`,
      },
      {
        check: 'fsync',
        state: fsyncMs > MAX_FSYNC_MS ? 'warning' : 'ok',
        found: `${fsyncMs.toFixed(1)} ms${fsyncMs < 0.05 ? ' (is it kept in memory only?)' : ''}`,
        next: 'a disk of its own, or a faster one: every receipt waits for an fsync',
      },
    ];
  } catch (error) {
    return [{ check: 'disk', state: 'failed', found: `${folder}: ${(error as Error).message}`, next: `ls -ld ${folder}` }];
  }
}

async function l1({ signal }: Context, settings: Settings): Promise<Finding[]> {
  const { l1Url, settlement } = settings;
  if (l1Url === undefined)
    return [{ check: 'L1', state: 'failed', found: 'no node is configured', next: 'npm start   (or --l1 <url>)' }];
  if (settlement === undefined) {
    return [
      { check: 'contract', state: 'failed', found: 'no contract is configured', next: 'npm start   (or --settlement <address>)' },
    ];
  }
  const call = { signal, timeoutMs: CALL_MS };
  try {
    const { http } = await import('viem');
    const transport = http(l1Url.value, { retryCount: 0, timeout: CALL_MS });
    const chainId = settings.chainId === undefined ? undefined : BigInt(settings.chainId);
    const node = await L1.connect({ transport, settlement: settlement.value, chainId, clock: systemClock }, call);
    const block = await node.block('latest', call);
    const drift = Math.abs(Date.now() - 1_000 * Number(block?.timestamp ?? 0n));
    const { chainId: chain, laneCount } = node.view;
    return [
      { check: 'L1', state: 'ok', found: `chain ${chain} at ${l1Url.value} (${l1Url.origin}), block ${block?.number}` },
      {
        check: 'contract',
        state: 'ok',
        found: `${settlement.value} (${settlement.origin}), ${laneCount} lane${laneCount === 1 ? '' : 's'}`,
      },
      {
        check: 'clock',
        state: drift > MAX_CLOCK_DRIFT_MS ? 'warning' : 'ok',
        found: `the newest block is ${Math.round(drift / 1_000)} s from this machine's clock`,
        next: 'set the clock, or look at whether the L1 stands still',
      },
    ];
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = error as { code?: string; message: string };
    const unreachable = code === 'l1.unreachable' || code === 'l1.timeout';
    const held = unreachable ? '' : await whoIsThere(l1Url.value);
    return [
      {
        check: unreachable ? 'L1' : 'contract',
        state: 'failed',
        found: `${message}${held}`,
        next: unreachable ? 'npm start   (or --l1 <url>)' : 'npm run reset, then npm start   (or check --settlement)',
        unreachable,
      },
    ];
  }
}

/** What answers at an address, for a port that somebody else has. */
async function whoIsThere(url: string): Promise<string> {
  try {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId', params: [] });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(url, { method: 'POST', body, headers, signal: AbortSignal.timeout(CALL_MS) });
    const { result } = (await answer.json()) as { result?: string };
    return result === undefined ? '' : ` (${new URL(url).host} answers as an Ethereum node, chain ${Number(result)})`;
  } catch {
    return ` (${new URL(url).host} answers, but not as an Ethereum node)`;
  }
}

async function sequencer({ signal }: Context, settings: Settings): Promise<Finding[]> {
  const { url, settlement } = settings;
  if (url === undefined)
    return [{ check: 'sequencer', state: 'failed', found: 'none is configured', next: 'npm start   (or --url <url>)' }];
  const http = new Http({ url: url.value, fetch: globalThis.fetch, clock: systemClock, random: () => 0, log: () => {} });
  try {
    const status = decodeStatus(await http.getJson('v1/status', { signal, timeoutMs: CALL_MS }));
    const same = settlement === undefined || status.settlement === settlement.value.toLowerCase();
    const findings: Finding[] = [
      {
        check: 'sequencer',
        state: same ? 'ok' : 'failed',
        found: same
          ? `${status.version} at ${url.value} (${url.origin})`
          : `it serves ${status.settlement}, not ${settlement?.value}`,
        next: 'check --url and --settlement',
      },
    ];
    const ready = await fetch(new URL('readyz', url.value.endsWith('/') ? url.value : `${url.value}/`), {
      signal: AbortSignal.timeout(CALL_MS),
    });
    const said = await ready.text();
    findings.push({
      check: 'ready',
      state: ready.ok ? 'ok' : 'warning',
      found: ready.ok ? 'it can keep its promises' : `it cannot promise now: ${said.slice(0, 200)}`,
      next: `curl ${url.value}/readyz`,
    });
    return findings;
  } catch (error) {
    signal.throwIfAborted();
    return [
      {
        check: 'sequencer',
        state: 'failed',
        found: (error as Error).message,
        next: 'npm start   (or --url <url>)',
        unreachable: true,
      },
    ];
  }
}

async function keyFiles(settings: Settings): Promise<Finding[]> {
  const keys = await knownKeys(settings);
  if (keys.length === 0) return [{ check: 'keys', state: 'warning', found: 'there is no key yet', next: 'sealpost keys new' }];
  const findings: Finding[] = [];
  for (const { name, path } of keys) {
    try {
      await readKeyFileInfo(path);
    } catch (error) {
      const mode = await stat(path).catch(() => undefined);
      const next = mode !== undefined && (mode.mode & 0o077) !== 0 ? `chmod 600 ${path}` : 'sealpost keys show';
      findings.push({ check: 'keys', state: 'failed', found: `${name}: ${(error as Error).message}`, next });
    }
  }
  return findings.length > 0 ? findings : [{ check: 'keys', state: 'ok', found: keys.map(({ name }) => name).join(', ') }];
}
