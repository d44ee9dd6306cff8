import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Wire } from '../wire.js';
import type { Observation } from './load-plan.js';

const SAMPLE_MS = 1_000;
/** How often the sequencer's monitor looks (prom-client's default): a loop that never stalls is seen as this long. */
const MONITOR_MS = 10;

/** Resident memory of a process, bytes; 0 if it is gone. */
export function residentBytes(pid: number): number {
  try {
    if (process.platform === 'linux')
      return 1_024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
    return 1_024 * Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' }).trim());
  } catch {
    return 0;
  }
}

/** Watches a server's process from outside: its memory once a second, and what its /metrics say at the start and at the end. */
export class Observer {
  private readonly wire: Wire;
  private readonly rssBytes: number[] = [];
  private timer: NodeJS.Timeout | undefined;
  private cpuSeconds: number | undefined;
  private beganAt = 0;

  constructor(
    url: string,
    private readonly pid: number,
  ) {
    this.wire = new Wire(url);
  }

  async begin(): Promise<void> {
    // Asking also makes the sequencer's monitor begin anew: it tells the longest stall since it was asked last.
    this.cpuSeconds = (await this.scrape())?.cpuSeconds;
    this.rssBytes.push(residentBytes(this.pid));
    this.beganAt = performance.now();
    this.timer = setInterval(() => this.rssBytes.push(residentBytes(this.pid)), SAMPLE_MS);
  }

  async end(): Promise<Observation> {
    clearInterval(this.timer);
    this.rssBytes.push(residentBytes(this.pid));
    const seconds = (performance.now() - this.beganAt) / 1_000;
    const now = await this.scrape();
    this.wire.close();
    const cpu =
      now === undefined || this.cpuSeconds === undefined || !(now.cpuSeconds >= this.cpuSeconds)
        ? undefined
        : (now.cpuSeconds - this.cpuSeconds) / seconds;
    return { cpu, stallMs: now?.stallMs, rssBytes: this.rssBytes };
  }

  private async scrape(): Promise<{ cpuSeconds: number; stallMs: number } | undefined> {
    try {
      const { status, body } = await this.wire.get('/metrics');
      if (status !== 200) return undefined;
      const text = body.toString('utf8');
      const read = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
      return {
        cpuSeconds: read('process_cpu_seconds_total'),
        stallMs: Math.max(0, read('nodejs_eventloop_lag_max_seconds') * 1_000 - MONITOR_MS),
      };
    } catch {
      return undefined;
    }
  }
}
