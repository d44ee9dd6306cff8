/**
 * The topic index: where the messages of a topic are. One row a message in a B-tree would dirty another page for every
 * message, and that write amplification, not CPU, is what such an index costs. So the index is kept in *runs*: each holds
 * the messages of a contiguous stretch of a lane, sorted by topic key, and is written once, front to back. Runs of a
 * size are merged into one of the next size, so that a reader asks few of them. What is in no run yet is the *tail*, in
 * memory; after a crash it is read again from the log.
 *
 * A *place* is a message's position in its lane as one number: sequence × 4,096 + index. A *key* is 36 bits of a salted
 * hash of the topic; two topics may share one, and readers compare the topics themselves.
 */

/** Keys and places side by side: `keys[i]` is at `places[i]`. */
export interface Postings {
  readonly keys: Float64Array;
  readonly places: Float64Array;
}

/** A sorted run as it is stored, without its pages. */
export interface Run {
  readonly id: number;
  readonly lane: number;
  /** 0 for a run made of the tail, one more with each merge. */
  readonly level: number;
  /** Half open: every message of the lane in here is in this run. What the file has beyond its end was dropped with a term. */
  readonly firstPlace: number;
  readonly endPlace: number;
  /** First key of each page. */
  readonly fences: Float64Array;
}

/** Postings a page: 16 KiB. */
export const PAGE_POSTINGS = 1_024;
/** A key and a place, as doubles. */
export const POSTING_BYTES = 16;
/** Postings of the tail that make a run. */
export const TAIL_POSTINGS = 65_536;
/** Runs of a level that are merged into one of the next. */
export const FANOUT = 8;

const KEY_BITS = 36;
export const KEYS = 2 ** KEY_BITS;

/** A database's own secret, from which its topic keys are made: 128 bytes. */
export type TopicSalt = Uint32Array;
export const SALT_WORDS = 32;

/**
 * The key of the topic whose 32 bytes start at `at`. A keyed mixing of words, not a digest: it is made for every message, and
 * takes 50 ns where SHA-256 takes 400. The salt keeps others from aiming at a topic; who shares its key all the same makes its
 * pages slower, and nothing else.
 */
export function topicKey(salt: TopicSalt, bytes: Uint8Array, at: number): number {
  let high = 0;
  let low = 0;
  for (let word = 0; word < 8; word++) {
    const from = at + 4 * word;
    const value =
      ((bytes[from] as number) << 24) |
      ((bytes[from + 1] as number) << 16) |
      ((bytes[from + 2] as number) << 8) |
      (bytes[from + 3] as number);
    high = mixWord(high, value, salt[word] as number, salt[8 + word] as number);
    low = mixWord(low, value, salt[16 + word] as number, salt[24 + word] as number);
  }
  return (finish(high) >>> 0) * 2 ** (KEY_BITS - 32) + (finish(low) & (2 ** (KEY_BITS - 32) - 1));
}

/** MurmurHash3's round, with multipliers that are secret and differ from word to word. */
function mixWord(state: number, value: number, first: number, second: number): number {
  let mixed = Math.imul(value ^ first, first | 1);
  mixed = (mixed << 15) | (mixed >>> 17);
  const next = state ^ Math.imul(mixed, second | 1);
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe6546b64) | 0;
}

/** MurmurHash3's finalizer: each bit of the state reaches each bit of the key. */
function finish(state: number): number {
  let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/** Sorts postings that are in order of place by (key, place). At most 131,072: more do not fit the sort's numbers. */
export function sortPostings({ keys, places }: Postings): Postings {
  // Key above ordinal in one double of 53 bits: the typed array's own sort is ten times faster than one with a comparator.
  const ordinals = 2 ** (53 - KEY_BITS);
  if (keys.length > ordinals) throw new RangeError(`expected at most ${ordinals} postings, got ${keys.length}`);
  const packed = new Float64Array(keys.length);
  for (let at = 0; at < keys.length; at++) packed[at] = (keys[at] as number) * ordinals + at;
  packed.sort();
  const sorted = { keys: new Float64Array(keys.length), places: new Float64Array(keys.length) };
  for (let at = 0; at < packed.length; at++) {
    const value = packed[at] as number;
    sorted.keys[at] = Math.floor(value / ordinals);
    sorted.places[at] = places[value % ordinals] as number;
  }
  return sorted;
}

/** Cuts sorted postings into pages; the last may be shorter. */
export function* pagesOf({ keys, places }: Postings): Generator<Postings> {
  for (let at = 0; at < keys.length; at += PAGE_POSTINGS) {
    yield { keys: keys.subarray(at, at + PAGE_POSTINGS), places: places.subarray(at, at + PAGE_POSTINGS) };
  }
}

/** The first index whose value is not below `value`. */
export function lowerBound(values: Float64Array, value: number, from = 0, to = values.length): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Places of `key` in a run, not below `fromPlace`, in order. Reads one page where the key is rare; where it fills many, a few
 * to find the first one wanted.
 */
export function* placesInRun(run: Run, key: number, fromPlace: number, readPage: (page: number) => Postings): Generator<number> {
  // The page before the first fence that is not below the key may end with the key.
  let first = Math.max(0, lowerBound(run.fences, key) - 1);
  // Pages after it that begin with the key are in order of their first place: the last of those not above `fromPlace`.
  let above = lowerBound(run.fences, key + 1);
  while (above - first > 1) {
    const middle = (first + above) >>> 1;
    if ((readPage(middle).places[0] as number) <= fromPlace) first = middle;
    else above = middle;
  }
  for (let page = first; page < run.fences.length; page++) {
    if ((run.fences[page] as number) > key) return;
    const { keys, places } = readPage(page);
    const start = lowerBound(keys, key);
    const end = lowerBound(keys, key + 1, start);
    for (let at = lowerBound(places, fromPlace, start, end); at < end; at++) {
      if ((places[at] as number) >= run.endPlace) return;
      yield places[at] as number;
    }
    if (end < keys.length) return;
  }
}

/**
 * Merges runs that follow each other in their lane, given as pages in order; yields full pages of the merged run. A page is there
 * until the next one is asked for, on both sides: new memory for each would be 64 MiB of garbage outside V8's heap, which
 * knows too late that it is there.
 */
export function* mergeRuns(runs: readonly Iterator<Postings>[]): Generator<Postings> {
  const cursors = runs.map((pages) => ({ pages, page: undefined as Postings | undefined, at: 0 }));
  const advance = (cursor: (typeof cursors)[number]) => {
    cursor.at++;
    if (cursor.page !== undefined && cursor.at < cursor.page.keys.length) return;
    const next = cursor.pages.next();
    cursor.page = next.done ? undefined : next.value;
    cursor.at = 0;
  };
  for (const cursor of cursors) advance(cursor);
  const out = { keys: new Float64Array(PAGE_POSTINGS), places: new Float64Array(PAGE_POSTINGS) };
  let filled = 0;
  for (;;) {
    let least: (typeof cursors)[number] | undefined;
    let leastKey = Number.POSITIVE_INFINITY;
    // Of equal keys the earlier run's come first: its places are lower.
    for (const cursor of cursors) {
      if (cursor.page !== undefined && (cursor.page.keys[cursor.at] as number) < leastKey) {
        least = cursor;
        leastKey = cursor.page.keys[cursor.at] as number;
      }
    }
    if (least === undefined) break;
    out.keys[filled] = leastKey;
    out.places[filled] = (least.page as Postings).places[least.at] as number;
    advance(least);
    if (++filled === PAGE_POSTINGS) {
      yield out;
      filled = 0;
    }
  }
  if (filled > 0) yield { keys: out.keys.subarray(0, filled), places: out.places.subarray(0, filled) };
}

/** The runs of a lane, oldest first, that should be merged now: the oldest `FANOUT` neighbours of one level. */
export function planMerge(runs: readonly Run[]): readonly Run[] | undefined {
  for (let end = FANOUT; end <= runs.length; end++) {
    const group = runs.slice(end - FANOUT, end);
    if (group.every(({ level }) => level === group[0]?.level)) return group;
  }
  return undefined;
}

/** What is in no run yet: postings in order of place, in memory. */
export class Tail {
  private keys = new Float64Array(TAIL_POSTINGS);
  private places = new Float64Array(TAIL_POSTINGS);
  private start = 0;
  private end = 0;

  get size(): number {
    return this.end - this.start;
  }

  /** Adds messages that follow on all before. */
  add(keys: Float64Array, places: Float64Array): void {
    if (this.end + keys.length > this.keys.length) this.makeRoom(keys.length);
    this.keys.set(keys, this.end);
    this.places.set(places, this.end);
    this.end += keys.length;
  }

  /** The oldest postings, for a run; they stay here until `drop`. */
  oldest(count: number): Postings {
    const end = Math.min(this.end, this.start + count);
    return { keys: this.keys.slice(this.start, end), places: this.places.slice(this.start, end) };
  }

  /** Forgets the oldest: they are in a run now. */
  drop(count: number): void {
    this.start += count;
  }

  *placesOf(key: number, fromPlace: number): Generator<number> {
    for (let at = lowerBound(this.places, fromPlace, this.start, this.end); at < this.end; at++) {
      if (this.keys[at] === key) yield this.places[at] as number;
    }
  }

  private makeRoom(count: number): void {
    const capacity = Math.max(TAIL_POSTINGS, 2 * (this.size + count));
    const [keys, places] = [new Float64Array(capacity), new Float64Array(capacity)];
    keys.set(this.keys.subarray(this.start, this.end));
    places.set(this.places.subarray(this.start, this.end));
    [this.keys, this.places, this.end, this.start] = [keys, places, this.size, 0];
  }
}
