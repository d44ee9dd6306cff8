import { fromHex, type Hex, MAX_MESSAGES, readBundle } from '@sealpost/prover';
import type { Database } from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import { type FullEntry, type Place, StoreFullError } from '../ports.js';
import { type Postings, placesInRun, planMerge, type Run, TAIL_POSTINGS, Tail, type TopicSalt, topicKey } from '../topics.js';
import type { BundleFile } from './bundle-file.js';
import { entryPages } from './entries.js';
import type { Fences, IndexRequest } from './index-worker.js';
import { RunReader, removeStrayRuns } from './run-files.js';
import type { Write } from './sqlite-writer.js';

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

export interface TopicIndexDeps {
  readonly reader: Database;
  readonly bundles: BundleFile;
  /** Where the runs are. */
  readonly folder: string;
  readonly salt: TopicSalt;
  readonly laneCount: number;
  readonly ask: <T>(request: IndexRequest) => Promise<T>;
  readonly write: (write: Write) => Promise<unknown>;
  readonly onFatal: (error: Error) => void;
}

/** Keeps the topic index of `topics.ts`: answers from runs and tail, and has runs made and merged beside the log. */
export class TopicIndex {
  private readonly lanes: LaneIndex[];
  private readonly pages = new LRUCache<string, Postings>({ max: MAX_PAGES });
  private readonly open = new Map<number, RunReader>();
  private nextRun: number;
  private working: Promise<void> | undefined;
  private closing = false;
  /** The last job found no room on the disk: the next begins when the log found some. */
  private noRoom = false;

  constructor(private readonly deps: TopicIndexDeps) {
    const { reader, folder, laneCount } = deps;
    const runs = readRuns(reader);
    removeStrayRuns(folder, new Set(runs.map(({ id }) => id)));
    this.nextRun = 1 + Math.max(0, ...runs.map(({ id }) => id));
    this.lanes = Array.from({ length: laneCount }, (_, lane) => {
      const index: LaneIndex = { runs: runs.filter((run) => run.lane === lane), tail: new Tail(), tailBytes: 0 };
      this.readTail(lane, index);
      return index;
    });
    this.tidy();
  }

  keyOf(topic: Hex): number {
    return topicKey(this.deps.salt, fromHex(topic, 32), 0);
  }

  /** Messages that are durable now and follow on all before. */
  added(lane: number, keys: Float64Array, places: Float64Array, bytes: number): void {
    const index = this.lanes[lane] as LaneIndex;
    index.tail.add(keys, places);
    index.tailBytes += bytes;
    this.noRoom = false;
    this.tidy();
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
    for (const run of this.open.values()) run.close();
  }

  private page(run: Run, number: number): Postings {
    const key = `${run.id}/${number}`;
    let page = this.pages.get(key);
    if (page === undefined) {
      let file = this.open.get(run.id);
      if (file === undefined) {
        file = new RunReader(this.deps.folder, run.id);
        this.open.set(run.id, file);
      }
      page = file.page(number);
      this.pages.set(key, page);
    }
    return page;
  }

  /** What came after the newest run, read from the log: after a crash, or at any start. */
  private readTail(lane: number, index: LaneIndex): void {
    const { reader, bundles, salt } = this.deps;
    const end = index.runs.at(-1)?.endPlace ?? 0;
    const firstSequence = BigInt(Math.floor(end / MAX_MESSAGES));
    for (const { entries } of entryPages(reader, bundles, { lane, firstSequence })) {
      for (const entry of entries) {
        const { keys, places } = postingsOf(salt, entry);
        const from = places.findIndex((place) => place >= end);
        if (from >= 0) index.tail.add(keys.subarray(from), places.subarray(from));
        index.tailBytes += entry.bytes;
      }
    }
  }

  private isDue({ tail, tailBytes }: LaneIndex): boolean {
    return tail.size >= TAIL_POSTINGS || (tail.size > 0 && tailBytes >= TAIL_BYTES);
  }

  /** Makes runs of tails that are long enough, then merges what should be merged. One job at a time. */
  private tidy(): void {
    if (this.working !== undefined || this.noRoom || this.closing) return;
    const lane = this.lanes.findIndex((index) => this.isDue(index) || planMerge(index.runs) !== undefined);
    if (lane < 0) return;
    this.working = this.tidyLane(lane)
      .catch((error: Error) => {
        if (error instanceof StoreFullError) this.noRoom = true;
        else if (!this.closing) this.deps.onFatal(error);
      })
      .finally(() => {
        this.working = undefined;
        this.tidy();
      });
  }

  private async tidyLane(lane: number): Promise<void> {
    await this.makeRuns();
    const merged = planMerge((this.lanes[lane] as LaneIndex).runs);
    if (merged !== undefined) await this.mergeRuns(lane, merged);
  }

  /** A run of every tail that is long enough. */
  private async makeRuns(): Promise<void> {
    for (const [lane, index] of this.lanes.entries()) if (this.isDue(index) && !this.closing) await this.makeRun(lane, index);
  }

  private async makeRun(lane: number, index: LaneIndex): Promise<void> {
    const postings = index.tail.oldest(TAIL_POSTINGS);
    const count = postings.keys.length;
    const firstPlace = index.runs.at(-1)?.endPlace ?? 0;
    const endPlace = (postings.places[count - 1] as number) + 1;
    const share = count / index.tail.size;
    const id = this.nextRun++;
    const fences = await this.deps.ask<Fences>({ kind: 'sort', run: id, postings });
    const run: Run = { id, lane, level: 0, firstPlace, endPlace, fences };
    await this.deps.write({ kind: 'run', run, replaces: [] });
    // A crash before this line leaves the run or not; either way the tail is what the log has after the newest run.
    index.runs = [...index.runs, run];
    index.tail.drop(count);
    index.tailBytes -= index.tailBytes * share;
  }

  private async mergeRuns(lane: number, merged: readonly Run[]): Promise<void> {
    const { ask, write } = this.deps;
    const index = this.lanes[lane] as LaneIndex;
    const id = this.nextRun++;
    const replaces = merged.map((old) => old.id);
    await ask({ kind: 'merge', run: id, runs: merged.map(({ id, endPlace }) => ({ id, endPlace })) });
    let fences: Fences | undefined;
    while (fences === undefined) {
      if (this.closing) return;
      fences = await ask<Fences | undefined>({ kind: 'next' });
      // A long merge does not keep the tail growing.
      await this.makeRuns();
    }
    const [oldest, newest] = [merged[0] as Run, merged.at(-1) as Run];
    const run: Run = { id, lane, level: oldest.level + 1, firstPlace: oldest.firstPlace, endPlace: newest.endPlace, fences };
    await write({ kind: 'run', run, replaces });
    // A crash before this line leaves files that no row names: the next start drops them.
    index.runs = index.runs.flatMap((old) => (old.id === replaces[0] ? [run] : replaces.includes(old.id) ? [] : [old]));
    for (const old of replaces) {
      this.open.get(old)?.close();
      this.open.delete(old);
    }
    await ask({ kind: 'drop', runs: replaces });
  }
}

/** The postings of one entry: none if it is void. */
export function postingsOf(salt: TopicSalt, entry: Pick<FullEntry, 'void' | 'sequence' | 'bundle'>): Postings {
  if (entry.void !== 0) return { keys: new Float64Array(), places: new Float64Array() };
  const keys = keysOf(salt, entry.bundle);
  const first = placeNumber({ sequence: entry.sequence, index: 0 });
  return { keys, places: keys.map((_, index) => first + index) };
}

/** The topic keys of a bundle's messages. */
export function keysOf(salt: TopicSalt, bundle: Uint8Array): Float64Array {
  const view = readBundle(bundle);
  const keys = new Float64Array(view.count);
  for (let index = 0; index < view.count; index++) keys[index] = topicKey(salt, bundle, (view.bounds[2 * index] as number) + 1);
  return keys;
}
