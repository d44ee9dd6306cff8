import { readBundle, toHex, viewTree } from '@sealpost/prover';
import { expect, test } from 'vitest';
import { Arrivals, Dispatcher } from '../bench/arrivals.js';
import { fractionsOf } from '../bench/fractions.js';
import { growthOf, median } from '../bench/growth.js';
import { judge } from '../bench/guard.js';
import { loadSeconds } from '../bench/scenario.js';
import { LoadSender, makeRegion, nativeMessagesRoot, nativeSha256 } from '../presigned.js';

test('arrivals are evenly spaced from the start, and there are as many as the rate asks for', () => {
  const arrivals = new Arrivals(1_000, 8, 2);
  expect(arrivals.total).toBe(16);
  expect([0, 1, 15].map((index) => arrivals.at(index))).toEqual([1_000, 1_125, 2_875]);
  expect([999, 1_000, 1_124, 1_125, 2_000, 2_875, 9_999].map((now) => arrivals.dueBy(now))).toEqual([0, 1, 1, 2, 9, 16, 16]);
  expect(new Arrivals(0, 0.1, 1).total).toBe(1);
});

test('latency counts from the planned time: what no worker was free for waits in order, and is not planned anew', () => {
  const dispatcher = new Dispatcher(new Arrivals(0, 1_000, 0.006), ['a', 'b']);
  expect(dispatcher.plan(0)).toEqual([{ worker: 'a', plannedAt: 0 }]);
  expect(dispatcher.nextAt).toBe(1);
  // The clock was looked at late: everything due is handed out, or waits, with its own time.
  expect(dispatcher.plan(3.5)).toEqual([{ worker: 'b', plannedAt: 1 }]);
  expect(dispatcher.backlog).toBe(2);
  expect(dispatcher.next('b')).toBe(2);
  expect(dispatcher.next('a')).toBe(3);
  expect(dispatcher.next('b')).toBeUndefined();
  expect(dispatcher.plan(100)).toEqual([{ worker: 'b', plannedAt: 4 }]);
  expect(dispatcher.nextAt).toBeUndefined();
  expect(dispatcher.drop()).toBe(1);
  expect(dispatcher.next('a')).toBeUndefined();
});

test('the worker that has been idle longest is next', () => {
  const dispatcher = new Dispatcher(new Arrivals(0, 1_000, 1), ['a', 'b', 'c']);
  expect(dispatcher.plan(1).map(({ worker }) => worker)).toEqual(['a', 'b']);
  dispatcher.next('b');
  dispatcher.next('a');
  expect(dispatcher.plan(4).map(({ worker }) => worker)).toEqual(['c', 'b', 'a']);
});

test('growth is the rise of a fitted line as a share of its start; a peak does not move the medians', () => {
  const line = Array.from({ length: 101 }, (_, at) => 200 + at * 0.2);
  expect(growthOf(line).fitted).toBeCloseTo(0.1, 9);
  const flat = Array.from({ length: 100 }, (_, at) => (at === 97 ? 5_000 : 300));
  expect(growthOf(flat).ofMedians).toBe(0);
  expect(growthOf(line.toReversed()).fitted).toBeLessThan(0);
  expect(growthOf([1, 2, 3]).fitted).toBeNaN();
  expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
});

test('a fraction is there when both of its parts were measured', () => {
  const of = (results: Record<string, Record<string, unknown>>) =>
    fractionsOf(new Map(Object.entries(results).map(([name, json]) => [name, { json }])));
  const ceiling = { messagesPerSecond: 600_000, recoveriesPerSecond: 20_000 };
  expect(of({ ceiling, bundled: { messagesPerSecond: 180_000 }, single: { messagesPerSecond: 9_000 } })).toEqual({
    ceiling: 0.3,
    recoveries: 0.45,
  });
  expect(of({ ceiling, single: { messagesPerSecond: 9_000 } })).toEqual({ recoveries: 0.45 });
  expect(of({ bundled: { messagesPerSecond: 180_000 } })).toEqual({});
  expect(of({ ceiling: { messagesPerSecond: 0 }, bundled: { messagesPerSecond: 1 } })).toEqual({});
});

test('the guard takes the better of its runs for each fraction, fails below a floor and for what was not measured', () => {
  const floors = { ceiling: 0.2, recoveries: 0.3 };
  expect(judge([{ ceiling: 0.2, recoveries: 0.3 }], floors).passed).toBe(true);
  expect(judge([{ ceiling: 0.19, recoveries: 0.9 }], floors).passed).toBe(false);
  expect(judge([{ ceiling: 0.9, recoveries: 0.29 }], floors).passed).toBe(false);
  expect(
    judge(
      [
        { ceiling: 0.1, recoveries: 0.5 },
        { ceiling: 0.5, recoveries: 0.1 },
      ],
      floors,
    ).passed,
  ).toBe(true);
  expect(judge([{ ceiling: 0.5 }], floors).passed).toBe(false);
  expect(judge([], floors).passed).toBe(false);
  expect(judge([{ ceiling: 0.1, recoveries: 0.5 }], floors).lines[0]).toContain('0.10, the floor is 0.2: TOO SLOW');
});

test('a load is as long as --seconds says, else short with --quick, else its own length', () => {
  const settings = { seconds: undefined, quick: false } as Parameters<typeof loadSeconds>[0];
  expect(loadSeconds(settings, 30, 2)).toBe(30);
  expect(loadSeconds({ ...settings, quick: true }, 30, 2)).toBe(2);
  expect(loadSeconds({ ...settings, quick: true, seconds: 5 }, 30, 2)).toBe(5);
});

test('the root that is computed quickly is the prover’s, for any number of messages', () => {
  const sender = new LoadSender({ chainId: 1n, settlement: `0x${'11'.repeat(20)}` }, 0, 10n);
  for (const count of [1, 2, 3, 5, 8, 13, 256]) {
    const region = makeRegion({ count, payloadBytes: 5, lane: 0, laneCount: 1 });
    const [head, messages, signed] = sender.sign(region).parts;
    const view = readBundle(Buffer.concat([head, messages, signed]).subarray(4));
    expect(nativeMessagesRoot(view)).toBe(toHex(viewTree(view, nativeSha256).root));
    expect(nativeMessagesRoot(view)).toBe(region.root);
  }
});
