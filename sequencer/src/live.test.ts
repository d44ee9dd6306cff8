import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Live } from './live.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

interface Reader {
  readonly topic: number;
  readonly wokenAt: number[];
  readonly leave: () => void;
}

const watch = (live: Live, topic: number): Reader => {
  const wokenAt: number[] = [];
  return { topic, wokenAt, leave: live.watch(topic, () => wokenAt.push(performance.now())) };
};

const audience = (live: Live, topics: number, perTopic: number): Reader[] =>
  Array.from({ length: topics * perTopic }, (_, index) => watch(live, index % topics));

/** Messages on all of these topics every millisecond. */
async function busy(live: Live, topics: number, ms: number): Promise<void> {
  const keys = Float64Array.from({ length: topics }, (_, topic) => topic);
  for (let at = 0; at < ms; at++) {
    live.added(keys);
    await vi.advanceTimersByTimeAsync(1);
  }
}

const gaps = ({ wokenAt }: Reader): number[] => wokenAt.slice(1).map((at, index) => at - (wokenAt[index] as number));

test('a few readers are woken at once, once for each adding, and only those of its topics', () => {
  const live = new Live();
  const [one, other] = [watch(live, 1), watch(live, 2)];
  live.added(Float64Array.of(1, 1, 1, 3));
  live.added(Float64Array.of(1));
  expect([one.wokenAt.length, other.wokenAt.length]).toEqual([2, 0]);
  one.leave();
  live.added(Float64Array.of(1, 2));
  expect([one.wokenAt.length, other.wokenAt.length, live.size]).toEqual([2, 1, 1]);
});

test.each([
  { topics: 2, perTopic: 10, gapMs: 2 },
  { topics: 20, perTopic: 5, gapMs: 10 },
  { topics: 100, perTopic: 10, gapMs: 100 },
  { topics: 1, perTopic: 1_000, gapMs: 100 },
])('$topics busy topics with $perTopic readers each: all in turn, every $gapMs ms', async ({ topics, perTopic, gapMs }) => {
  const live = new Live();
  const readers = audience(live, topics, perTopic);
  await busy(live, topics, 1_000);
  const wakings = readers.reduce((sum, { wokenAt }) => sum + wokenAt.length, 0);
  expect(wakings).toBeGreaterThan(9_900);
  expect(wakings).toBeLessThanOrEqual(10_250);
  // The first turns come out of the lull before.
  for (const reader of readers) expect(Math.max(...gaps(reader).slice(1))).toBeLessThanOrEqual(gapMs + 1);
});

test('readers of one topic are woken in one turn', async () => {
  const live = new Live();
  const readers = audience(live, 100, 10);
  await busy(live, 100, 500);
  for (let topic = 0; topic < 100; topic++) {
    const own = readers.filter((reader) => reader.topic === topic).map(({ wokenAt }) => wokenAt.join());
    expect(new Set(own).size).toBe(1);
  }
});

test('a reader of a quiet topic does not stand in line behind busy ones', async () => {
  const live = new Live();
  audience(live, 100, 10);
  const quiet = watch(live, 1_000);
  await busy(live, 100, 300);
  live.added(Float64Array.of(1_000));
  const addedAt = performance.now();
  await busy(live, 100, 100);
  expect(quiet.wokenAt.map((at) => at - addedAt)).toEqual([1]);
});

test('who stands in line is woken although nothing more comes, and not after leaving', async () => {
  const live = new Live();
  const readers = audience(live, 1, 1_000);
  live.added(Float64Array.of(0));
  const woken = () => readers.filter(({ wokenAt }) => wokenAt.length === 1).length;
  expect(woken()).toBe(250);
  for (const { leave } of readers.slice(900)) leave();
  await vi.runAllTimersAsync();
  expect(woken()).toBe(900);
});

test('the end wakes everybody, in line or not, for the last time', async () => {
  const live = new Live();
  const readers = audience(live, 2, 500);
  live.added(Float64Array.of(0));
  live.end();
  expect(live.ended).toBe(true);
  for (const { wokenAt } of readers) expect(wokenAt.length).toBeGreaterThanOrEqual(1);
  expect(vi.getTimerCount()).toBe(0);
});
