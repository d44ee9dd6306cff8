import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';

const children = new Set<ChildProcess>();

/** Ends what is still running, and waits for its end: for after each test. */
export async function killRunning(): Promise<void> {
  for (const child of children) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One sequencer, or what refuses to be one. */
export class Running {
  readonly lines: Record<string, unknown>[] = [];
  stderr = '';
  readonly exited: Promise<Exit>;

  constructor(readonly child: ChildProcess) {
    children.add(child);
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.lines.push(line.startsWith('{') ? JSON.parse(line) : { text: line });
    });
    child.stderr?.on('data', (data) => {
      this.stderr += data;
    });
    this.exited = once(child, 'close').then(([code, signal]) => {
      children.delete(child);
      return { code, signal };
    });
  }

  event(name: string): Record<string, unknown> | undefined {
    return this.lines.find(({ event }) => event === name);
  }

  /** The URL, once it is ready. */
  async ready(): Promise<string> {
    const ended = this.exited.then(({ code }) => {
      throw new Error(`the sequencer ended with ${code}: ${this.stderr}`);
    });
    ended.catch(() => undefined);
    await Promise.race([expect.poll(() => this.event('ready')).toBeDefined(), ended]);
    const url = this.event('ready')?.url as string;
    await Promise.race([expect.poll(async () => (await fetch(`${url}/readyz`)).status).toBe(200), ended]);
    return url;
  }
}
