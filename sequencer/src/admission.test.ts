import { describe, expect, test } from 'vitest';
import { Account, frames } from '../test/bundles.js';
import { AccountRates, admit, inSlotOrder, submissionOfBundles, submissionOfFrames } from './admission.js';
import { RequestError } from './errors.js';

const alice = new Account('alice');
const retryOf = (act: () => void): number | undefined => {
  try {
    act();
    return undefined;
  } catch (error) {
    expect(error).toMatchObject({ code: 'busy' });
    return (error as RequestError).retryAfterMs;
  }
};

describe('admit', () => {
  test.each<[string, number, number, number, number | undefined, number?]>([
    ['an empty queue takes any body', 0, 99_999, 0, undefined],
    ['room for all of it', 400, 600, 0, undefined],
    ['one byte too many', 400, 601, 0, 100],
    ['full', 1_000, 1, 0, 500],
    ['a fast machine: soon again', 1_000, 1, 100, 100],
    ['a slow machine: in the time until half of it is gone', 1_000, 1, 0.25, 500],
    ['never longer than ten seconds', 1_000_000, 1, 1, 10_000],
    ['others were refused before: after them', 1_000, 1, 1, 2_000, 1_500],
  ])('%s', (_, queuedBytes, bodyBytes, drainedBytesPerMs, expected, refusedBytes = 0) => {
    expect(retryOf(() => admit({ queuedBytes, maxQueueBytes: 1_000, drainedBytesPerMs, refusedBytes }, bodyBytes))).toBe(
      expected,
    );
  });
});

describe('AccountRates', () => {
  const rates = (perSecond: number, burst: number) => {
    const clock = { ms: 0 };
    return { clock, rates: new AccountRates(perSecond, burst, () => clock.ms) };
  };

  test('the burst at once, then as much as time brings', () => {
    const it = rates(10, 20);
    expect(it.rates.take('a', 20)).toBe(0);
    expect(it.rates.take('a', 1)).toBe(100);
    it.clock.ms += 50;
    expect(it.rates.take('a', 1)).toBe(50);
    it.clock.ms += 50;
    expect(it.rates.take('a', 1)).toBe(0);
  });

  test('being refused costs nothing', () => {
    const it = rates(10, 20);
    it.rates.take('a', 20);
    for (let tries = 0; tries < 100; tries++) expect(it.rates.take('a', 5)).toBe(500);
    it.clock.ms += 500;
    expect(it.rates.take('a', 5)).toBe(0);
  });

  test('accounts do not pay for each other', () => {
    const it = rates(10, 20);
    expect(it.rates.take('a', 20)).toBe(0);
    expect(it.rates.take('b', 20)).toBe(0);
  });

  test('a bundle larger than the burst passes a full bucket, and is paid for afterwards', () => {
    const it = rates(10, 20);
    expect(it.rates.take('a', 40)).toBe(0);
    expect(it.rates.take('a', 1)).toBe(2_100);
    it.clock.ms += 1e9;
    expect(it.rates.take('a', 40)).toBe(0);
  });
});

describe('submissions', () => {
  test('frames are views into the body, in order', () => {
    const bytes = frames(alice.sign(), alice.sign({ nonce: 1n, messages: ['two', 'three'] }));
    const { body, slots } = submissionOfFrames(bytes);
    expect(slots).toEqual([0, 1]);
    expect(body?.bytes).toBe(bytes);
    const [start = 0, end = 0] = body?.bounds ?? [];
    expect([start, body?.bounds[2]]).toEqual([4, end + 4]);
    expect(body?.bounds[3]).toBe(bytes.length);
  });

  test('bundles from JSON that have no bytes are refused for themselves', () => {
    const good = alice.sign().bundle;
    const { body, slots } = submissionOfBundles([{ ...good, messages: [] }, good, { ...good, sender: `0x${'00'.repeat(20)}` }]);
    expect(slots).toEqual([expect.any(RequestError), 0, expect.any(RequestError)]);
    expect(body?.bounds).toHaveLength(2);
    expect(inSlotOrder(slots, ['answer'])).toEqual([
      { error: expect.objectContaining({ code: 'bundle.malformed' }) },
      'answer',
      { error: expect.objectContaining({ code: 'bundle.malformed' }) },
    ]);
    expect(submissionOfBundles([{ ...good, messages: [] }]).body).toBeUndefined();
  });
});
