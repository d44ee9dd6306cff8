import { fromHex, type Hex, MAX_MESSAGES, messageBytes, readBundle } from '@sealpost/prover';
import type { Database } from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import { type FullEntry, type Place, StoreFullError } from '../ports.js';
import type { Thread } from '../threads.js';
import {
  decodePage,
  type Postings,
  placesInRun,
  planMerge,
  type Run,
  TAIL_POSTINGS,
  Tail,
  type TopicSalt,
  topicKey,
} from '../topics.js';
import { entryPages } from './entries.js';
import type { IndexRequest, SortedRun } from './index-worker.js';
import type { Write } from './sqlite-writer.js';

/** A page's id: the run's above its number, in one integer key. */
export const PAGES_A_RUN = 2 ** 24;

// A run is also made when its messages take this much, so that reading the tail again after a crash stays short.
const TAIL_BYTES = 67_108_864;
// 16 MiB of pages.
const MAX_PAGES = 1_024;

interface LaneIndex {
  /** Oldest first, each beginning where the one before ends. */
  runs: Run[];
  readonly tail: Tail;
  tailBytes: number;
}

export const placeNumber = ({ sequence, index }: Place): number => Number(sequence) * MAX_MESSAGES + index;

/** The stored run rows. */
export function readRuns(database: Database): Run[] {
  const rows = database.prepare('SELECT * FROM topic_runs ORDER BY lane, first_place').all() as {
    id: number;
    lane: number;
    level: number;
    first_place: number;
    end_place: number;
    fences: Buffer;
  }[];
  return rows.map((row) => ({
    id: row.id,
    lane: row.lane,
    level: row.level,
    firstPlace: row.first_place,
    endPlace: row.end_place,
    fences: new Float64Array(new Uint8Array(row.fences).buffer),
  }));
}

/** Keeps the topic index of `topics.ts` in SQLite: answers from runs and tail, and makes and merges runs beside the log. */
export class TopicIndex {
  private readonly lanes: LaneIndex[];
  private readonly pages = new LRUCache<number, Postings>({ max: MAX_PAGES });
  private readonly selectPage;
  private nextRun: number;
  /** Runs whose pages are of no use any more: merged into others, or never finished. */
  private litter: number[];
  private working: Promise<void> | undefined;
  private closing = false;
  /** The last job found no room on the disk: the next begins when the log found some. */
  private noRoom = false;

  constructor(
    private readonly reader: Database,
    private readonly salt: TopicSalt,
    laneCount: number,
    private readonly indexer: Thread,
    private readonly write: (write: Write) => Promise<unknown>,
    private readonly onFatal: (error: Error) => void,
  ) {
    this.selectPage = reader.prepare('SELECT postings FROM topic_pages WHERE id = ?').pluck();
    const runs = readRuns(reader);
    const litter = reader.prepare('SELECT run FROM topic_litter').pluck().all() as number[];
    this.nextRun = 1 + Math.max(0, ...litter, ...runs.map(({ id }) => id));
    this.lanes = Array.from({ length: laneCount }, (_, lane) => {
      const index: LaneIndex = { runs: runs.filter((run) => run.lane === lane), tail: new Tail(), tailBytes: 0 };
      this.readTail(lane, index);
      return index;
    });
    this.litter = litter;
    if (litter.length > 0) this.work(() => this.dropLitter());
    for (let lane = 0; lane < laneCount; lane++) this.tidy(lane);
  }

  keyOf(topic: Hex): number {
    return topicKey(this.salt, fromHex(topic, 32), 0);
  }

  /** Messages that are durable now and follow on all before. */
  added(lane: number, keys: Float64Array, places: Float64Array, bytes: number): void {
    const index = this.lanes[lane] as LaneIndex;
    index.tail.add(keys, places);
    index.tailBytes += bytes;
    this.noRoom = false;
    this.tidy(lane);
  }

  placesOf(topic: Hex, lane: number, after: Place | undefined, limit: number): Place[] {
    const key = this.keyOf(topic);
    const from = after === undefined ? 0 : placeNumber(after) + 1;
    const { runs, tail } = this.lanes[lane] as LaneIndex;
    const places: Place[] = [];
    const take = (found: Iterable<number>): boolean => {
      for (const place of found) {
        places.push({ sequence: BigInt(Math.floor(place / MAX_MESSAGES)), index: place % MAX_MESSAGES });
        if (places.length === limit) return true;
      }
      return false;
    };
    for (const run of runs) {
      if (run.endPlace > from && take(placesInRun(run, key, from, (page) => this.page(run, page)))) return places;
    }
    take(tail.placesOf(key, from));
    return places;
  }

  /** Lets the run being made or merged go: the next start drops what is half written. */
  async close(): Promise<void> {
    this.closing = true;
    await this.working;
  }

  private page(run: Run, number: number): Postings {
    const id = run.id * PAGES_A_RUN + number;
    let page = this.pages.get(id);
    if (page === undefined) {
      page = decodePage(this.selectPage.get(id) as Buffer);
      this.pages.set(id, page);
    }
    return page;
  }

  /** What came after the newest run, read from the log: after a crash, or at any start. */
  private readTail(lane: number, index: LaneIndex): void {
    const end = index.runs.at(-1)?.endPlace ?? 0;
    const firstSequence = BigInt(Math.floor(end / MAX_MESSAGES));
    for (const page of entryPages(this.reader, { lane, firstSequence })) {
      for (const entry of page) {
        const { keys, places } = postingsOf(this.salt, entry);
        const from = places.findIndex((place) => place >= end);
        if (from >= 0) index.tail.add(keys.subarray(from), places.subarray(from));
        index.tailBytes += entry.bytes;
      }
    }
  }

  /** Makes a run of a tail that is long enough, then merges what should be merged. One job at a time. */
  private tidy(lane: number): void {
    const index = this.lanes[lane] as LaneIndex;
    const due = index.tail.size >= TAIL_POSTINGS || index.tailBytes >= TAIL_BYTES;
    if (this.working !== undefined || this.noRoom || !(due || planMerge(index.runs) !== undefined)) return;
    this.work(async () => {
      await this.dropLitter();
      if (due) await this.makeRun(lane, index);
      const merged = planMerge(index.runs);
      if (merged !== undefined) await this.mergeRuns(lane, index, merged);
    });
  }

  private work(job: () => Promise<void>): void {
    if (this.closing) return;
    this.working = job()
      .catch((error: Error) => {
        if (error instanceof StoreFullError) this.noRoom = true;
        else if (!this.closing) this.onFatal(error);
      })
      .finally(() => {
        this.working = undefined;
        this.lanes.forEach((_, lane) => {
          this.tidy(lane);
        });
      });
  }

  private async makeRun(lane: number, index: LaneIndex): Promise<void> {
    const postings = index.tail.oldest(TAIL_POSTINGS);
    const count = postings.keys.length;
    const firstPlace = index.runs.at(-1)?.endPlace ?? 0;
    const endPlace = (postings.places[count - 1] as number) + 1;
    const share = count / index.tail.size;
    const { pages, fences } = await this.indexer.call<SortedRun>({ kind: 'sort', postings } satisfies IndexRequest);
    const run: Run = { id: this.nextRun++, lane, level: 0, firstPlace, endPlace, fences };
    await this.write({ kind: 'run', run, pages, replaces: [] });
    // A crash before this line leaves the run or not; either way the tail is what the log has after the newest run.
    index.runs = [...index.runs, run];
    index.tail.drop(count);
    index.tailBytes -= index.tailBytes * share;
  }

  private async mergeRuns(lane: number, index: LaneIndex, merged: readonly Run[]): Promise<void> {
    const id = this.nextRun++;
    // Until its row is written, what there is of it is litter: also if a full disk ends the merge.
    this.litter.push(id);
    const level = (merged[0] as Run).level + 1;
    const fences: Float64Array[] = [];
    let firstPage = 0;
    await this.indexer.call({
      kind: 'merge',
      runs: merged.map((run) => ({ id: run.id, pages: run.fences.length })),
    } satisfies IndexRequest);
    for (;;) {
      const part = await this.indexer.call<SortedRun>({ kind: 'next' } satisfies IndexRequest);
      if (part.pages.length === 0) break;
      if (this.closing) return;
      await this.write({ kind: 'pages', run: id, firstPage, pages: part.pages });
      firstPage += part.pages.length;
      fences.push(part.fences);
    }
    const run: Run = {
      id,
      lane,
      level,
      firstPlace: (merged[0] as Run).firstPlace,
      endPlace: (merged.at(-1) as Run).endPlace,
      fences: concatDoubles(fences),
    };
    const replaces = merged.map((old) => old.id);
    await this.write({ kind: 'run', run, pages: [], replaces });
    this.litter = this.litter.filter((litter) => litter !== id);
    index.runs = index.runs.flatMap((old) => (old.id === replaces[0] ? [run] : replaces.includes(old.id) ? [] : [old]));
    this.litter.push(...replaces);
    await this.dropLitter();
  }

  private async dropLitter(): Promise<void> {
    for (let run = this.litter[0]; run !== undefined && !this.closing; run = this.litter[0]) {
      const more = (await this.write({ kind: 'litter', run })) as boolean;
      if (!more) this.litter.shift();
    }
  }
}

/** The postings of one entry: none if it is void. */
export function postingsOf(salt: TopicSalt, entry: Pick<FullEntry, 'void' | 'sequence' | 'bundle'>): Postings {
  if (entry.void !== 0) return { keys: new Float64Array(), places: new Float64Array() };
  const view = readBundle(entry.bundle);
  const keys = new Float64Array(view.count);
  const places = new Float64Array(view.count);
  for (let index = 0; index < view.count; index++) {
    keys[index] = topicKey(salt, messageBytes(view, index), 1);
    places[index] = placeNumber({ sequence: entry.sequence, index });
  }
  return { keys, places };
}

export function concatDoubles(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
