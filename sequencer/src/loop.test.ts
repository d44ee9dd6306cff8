import { afterEach, expect, test } from 'vitest';
import { Loop, type LoopOptions } from './loop.js';
import type { Log } from './ports.js';

const events: string[] = [];
const note = (event: string, facts: Record<string, unknown> = {}) =>
  void events.push([event, facts.code].filter(Boolean).join(' '));
const log: Log = { info: note, warn: note, error: note };
const never = new Promise<never>(() => {});

class Trouble extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

let loop: Loop | undefined;
afterEach(async () => {
  await loop?.stop();
  events.length = 0;
});

const start = (round: LoopOptions['round'], more: Partial<LoopOptions> = {}) => {
  loop = new Loop({
    name: 'l1',
    round,
    intervalMs: 1,
    maxBackoffMs: 2,
    retries: (error) => error instanceof Trouble,
    onFatal: (error) => void events.push(`fatal ${(error as Error).message}`),
    clock: { now: () => 0, monotonic: () => 0 },
    log,
    ...more,
  });
  return loop;
};

/** Resolves when the round is asked for the `count`th time; each round ends as `end` says. */
const rounds = (count: number, end: (round: number) => void = () => {}, more: Partial<LoopOptions> = {}) =>
  new Promise<void>((resolve) => {
    let round = 0;
    start(async () => {
      if (++round === count) resolve();
      end(round);
    }, more);
  });

test('rounds follow one another', () => rounds(5));

test('trouble is told once for each reason, and its end', async () => {
  await rounds(8, (round) => {
    if (round <= 3) throw new Trouble('l1.timeout');
    if (round <= 5) throw new Trouble('l1.unreachable');
  });
  expect(events).toEqual(['l1.failing l1.timeout', 'l1.failing l1.unreachable', 'l1.recovered']);
});

test('what cannot be retried ends the loop', async () => {
  await new Promise<void>((resolve) => {
    start(() => Promise.reject(new Error('disk')), { onFatal: () => resolve() });
  });
  await loop?.stop();
});

test('waking starts the next round at once', async () => {
  let started = 0;
  await new Promise<void>((resolve) => {
    const it = start(
      async () => {
        started++;
        queueMicrotask(() => it.wake());
        if (started === 100) resolve();
      },
      { intervalMs: 3_600_000 },
    );
  });
  expect(started).toBe(100);
});

test('a wake during a round is not lost', async () => {
  const seen: number[] = [];
  await new Promise<void>((resolve) => {
    const it = start(
      async () => {
        seen.push(seen.length);
        if (seen.length === 1) queueMicrotask(() => it.wake());
        else resolve();
        await Promise.resolve().then(() => {});
      },
      { intervalMs: 3_600_000 },
    );
  });
  expect(seen).toEqual([0, 1]);
});

test('stopping lets an endless call go, and nothing runs afterwards', async () => {
  let after = false;
  await new Promise<void>((resolve) => {
    start(async (until) => {
      resolve();
      await until(never);
      after = true;
    });
  });
  await loop?.stop();
  expect(after).toBe(false);
});

test('stopping ends the pause between rounds', async () => {
  await rounds(1, () => {}, { intervalMs: 3_600_000 });
  await loop?.stop();
});
