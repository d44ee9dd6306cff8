import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  FANOUT,
  KEYS,
  lowerBound,
  mergeRuns,
  PAGE_POSTINGS,
  type Postings,
  pagesOf,
  placesInRun,
  planMerge,
  type Run,
  SALT_WORDS,
  sortPostings,
  Tail,
  topicKey,
} from './topics.js';

/** Postings in order of place, of few keys, so that keys repeat within and across pages. */
const postings = (keys: readonly number[], firstPlace = 0): Postings => ({
  keys: Float64Array.from(keys),
  places: Float64Array.from(keys, (_, at) => firstPlace + 3 * at),
});

const placesByScan = ({ keys, places }: Postings, key: number, from: number): number[] =>
  [...places].filter((place, at) => keys[at] === key && place >= from);

function stored(sorted: Postings): { run: Run; pages: Postings[] } {
  const pages = [...pagesOf(sorted)];
  const fences = Float64Array.from(pages, ({ keys }) => keys[0] as number);
  return { run: { id: 1, lane: 0, level: 0, firstPlace: 0, endPlace: 1e9, fences }, pages };
}

const manyKeys = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 5_000 });

describe('runs', () => {
  test('a run gives exactly the places of a key, in order, from anywhere on', () => {
    fc.assert(
      fc.property(manyKeys, fc.nat(7), fc.nat(16_000), (keys, key, from) => {
        const given = postings(keys);
        const { run, pages } = stored(sortPostings(given));
        const found = [...placesInRun(run, key, from, (page) => pages[page] as Postings)];
        expect(found).toEqual(placesByScan(given, key, from));
      }),
      { numRuns: 200 },
    );
  });

  test('a key that fills a run is read on from anywhere in a few pages', () => {
    const count = 100 * PAGE_POSTINGS;
    const { run, pages } = stored(sortPostings(postings(new Array(count).fill(5))));
    for (const at of [0, 1, PAGE_POSTINGS, 50 * PAGE_POSTINGS + 7, count - 1]) {
      let read = 0;
      const found = placesInRun(run, 5, 3 * at, (page) => {
        read++;
        return pages[page] as Postings;
      });
      expect(found.next().value).toBe(3 * at);
      expect(read).toBeLessThanOrEqual(9);
    }
  });

  test('merged runs are the run of all of them, in full pages', () => {
    fc.assert(
      fc.property(fc.array(manyKeys, { minLength: 1, maxLength: FANOUT }), (lists) => {
        let firstPlace = 0;
        const parts = lists.map((keys) => {
          const part = postings(keys, firstPlace);
          firstPlace += 3 * keys.length;
          return part;
        });
        const whole = sortPostings(postings(lists.flat()));
        const merged = Array.from(mergeRuns(parts.map((part) => pagesOf(sortPostings(part)))), ({ keys, places }) => ({
          keys: keys.slice(),
          places: places.slice(),
        }));
        expect(merged.flatMap(({ keys }) => [...keys])).toEqual([...whole.keys]);
        expect(merged.flatMap(({ places }) => [...places])).toEqual([...whole.places]);
        expect(merged.slice(0, -1).every(({ keys }) => keys.length === PAGE_POSTINGS)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test('the largest keys and places come through sorting exactly', () => {
    const given: Postings = {
      keys: Float64Array.of(KEYS - 1, 0, KEYS - 1),
      places: Float64Array.of(1, 2 ** 49 - 2, 2 ** 49 - 1),
    };
    const sorted = sortPostings(given);
    expect([[...sorted.keys], [...sorted.places]]).toEqual([
      [0, KEYS - 1, KEYS - 1],
      [2 ** 49 - 2, 1, 2 ** 49 - 1],
    ]);
  });

  test('more postings than the sort can number are refused', () => {
    expect(() => sortPostings({ keys: new Float64Array(2 ** 17 + 1), places: new Float64Array(2 ** 17 + 1) })).toThrow(
      RangeError,
    );
  });
});

describe('planMerge', () => {
  const runs = (...levels: readonly number[]): Run[] =>
    levels.map((level, at) => ({ id: at + 1, lane: 0, level, firstPlace: at, endPlace: at + 1, fences: new Float64Array(1) }));
  const rows: readonly [string, readonly number[], readonly number[] | undefined][] = [
    ['nothing', [], undefined],
    ['one too few', Array(FANOUT - 1).fill(0), undefined],
    ['enough of the lowest level', Array(FANOUT).fill(0), [1, 2, 3, 4, 5, 6, 7, 8]],
    ['larger ones before them stay', [2, 1, ...Array(FANOUT).fill(0)], [3, 4, 5, 6, 7, 8, 9, 10]],
    ['the oldest first', [...Array(FANOUT).fill(1), ...Array(FANOUT).fill(0)], [1, 2, 3, 4, 5, 6, 7, 8]],
    ['another level between them parts them', [0, 0, 0, 0, 1, 0, 0, 0, 0], undefined],
  ];
  test.each(rows)('%s', (_, levels, ids) => {
    expect(planMerge(runs(...levels))?.map(({ id }) => id)).toEqual(ids);
  });
});

test('the tail gives what was added and not dropped, however it grows', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(manyKeys, fc.nat(3_000)), { maxLength: 30 }), (steps) => {
      const tail = new Tail();
      let expected: Postings = postings([]);
      let place = 0;
      for (const [keys, dropped] of steps) {
        const added = postings(keys, place);
        place += 3 * keys.length;
        tail.add(added.keys, added.places);
        expected = {
          keys: Float64Array.of(...expected.keys, ...added.keys),
          places: Float64Array.of(...expected.places, ...added.places),
        };
        const gone = Math.min(dropped, tail.size);
        expect(tail.oldest(gone)).toEqual({ keys: expected.keys.slice(0, gone), places: expected.places.slice(0, gone) });
        tail.drop(gone);
        expected = { keys: expected.keys.slice(gone), places: expected.places.slice(gone) };
        expect(tail.size).toBe(expected.keys.length);
        for (const from of [0, place / 2]) expect([...tail.placesOf(3, from)]).toEqual(placesByScan(expected, 3, from));
      }
    }),
    { numRuns: 30 },
  );
});

test('lowerBound finds the first that is not below', () => {
  const values = Float64Array.of(1, 3, 3, 3, 9);
  expect([0, 1, 2, 3, 4, 9, 10].map((value) => lowerBound(values, value))).toEqual([0, 0, 1, 1, 4, 4, 5]);
});

describe('topic keys', () => {
  const salt = Uint32Array.from({ length: SALT_WORDS }, (_, at) => Math.imul(at + 1, 0x9e3779b1));
  const topic = (fill: (at: number) => number) => Uint8Array.from({ length: 32 }, (_, at) => fill(at));

  test('each bit of a topic and each word of the salt changes the key', () => {
    const zero = topicKey(
      salt,
      topic(() => 0),
      0,
    );
    const keys = new Set([zero]);
    for (let bit = 0; bit < 256; bit++)
      keys.add(
        topicKey(
          salt,
          topic((at) => (at === bit >> 3 ? 1 << (bit & 7) : 0)),
          0,
        ),
      );
    expect(keys.size).toBe(257);
    for (let word = 0; word < SALT_WORDS; word++) {
      const other = salt.slice();
      other[word] = (other[word] as number) ^ 0x00f0_0000;
      expect(
        topicKey(
          other,
          topic((at) => at * 7),
          0,
        ),
      ).not.toBe(
        topicKey(
          salt,
          topic((at) => at * 7),
          0,
        ),
      );
    }
  });

  test('topics that count up spread over the keys as chance would', () => {
    const buckets = new Array(64).fill(0);
    for (let at = 0; at < 64_000; at++) {
      const bytes = new Uint8Array(32);
      new DataView(bytes.buffer).setUint32(28, at);
      const key = topicKey(salt, bytes, 0);
      expect(key >= 0 && key < KEYS && Number.isInteger(key)).toBe(true);
      buckets[Math.floor(key / (KEYS / 64))]++;
    }
    // 1,000 a bucket is expected, with a deviation of 32.
    expect(Math.min(...buckets)).toBeGreaterThan(800);
    expect(Math.max(...buckets)).toBeLessThan(1_200);
  });
});
