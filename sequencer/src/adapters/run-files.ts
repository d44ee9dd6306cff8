import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { PAGE_POSTINGS, POSTING_BYTES, type Postings } from '../topics.js';

/** Where the runs of a database's topic index are: a file each, because each is written once, read in pages, and dropped whole. */
export const runFolder = (databasePath: string): string => `${databasePath}-topics`;

const runPath = (folder: string, id: number): string => join(folder, `${id}.run`);

const PAGE_BYTES = PAGE_POSTINGS * POSTING_BYTES;

/** What was made or removed in a folder is so after a power cut, too. */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

/** Pages that are written and synced at once: 1 MiB, some milliseconds. */
export const WRITE_PAGES = 64;

/** A run being written, page by page. Half written it is litter: `removeStrayRuns` drops it at the next start. */
export class RunWriter {
  private readonly fences: number[] = [];
  private readonly descriptor: number;
  private readonly buffer = new Float64Array((WRITE_PAGES * PAGE_BYTES) / 8);
  /** Numbers in the buffer. */
  private filled = 0;

  constructor(
    private readonly folder: string,
    private readonly id: number,
  ) {
    this.descriptor = openSync(runPath(folder, id), 'w');
  }

  /** Adds a page, which is not kept; every one but the run's last must be full. As bytes it is all keys, then all places. */
  add({ keys, places }: Postings): void {
    this.buffer.set(keys, this.filled);
    this.buffer.set(places, this.filled + keys.length);
    this.filled += 2 * keys.length;
    this.fences.push(keys[0] as number);
    if (this.filled === this.buffer.length) this.flush();
  }

  /** Makes the run durable and returns the first key of each page. */
  finish(): Float64Array<ArrayBuffer> {
    if (this.filled > 0) this.flush();
    closeSync(this.descriptor);
    syncFolder(this.folder);
    return Float64Array.from(this.fences);
  }

  private flush(): void {
    const bytes = new Uint8Array(this.buffer.buffer, 0, 8 * this.filled);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.descriptor, bytes, at);
    // At once and not all at the end: a commit group's own sync would wait for what has gathered in the system by then.
    fdatasyncSync(this.descriptor);
    this.filled = 0;
  }

  /** Ends without a run: what there is of it goes. */
  abandon(): void {
    closeSync(this.descriptor);
    removeRun(this.folder, this.id);
  }
}

/** An open run. */
export class RunReader {
  private readonly descriptor: number;
  readonly pages: number;
  private readonly bytes: number;

  constructor(folder: string, id: number) {
    this.descriptor = openSync(runPath(folder, id), 'r');
    this.bytes = fstatSync(this.descriptor).size;
    this.pages = Math.ceil(this.bytes / PAGE_BYTES);
  }

  /** A page, in new memory or in that of a page before. */
  page(number: number, memory = new Float64Array(PAGE_BYTES / 8)): Postings {
    const length = Math.min(PAGE_BYTES, this.bytes - number * PAGE_BYTES);
    const page = memory.subarray(0, length / 8);
    const read = readSync(this.descriptor, page, 0, length, number * PAGE_BYTES);
    if (read !== length) throw new Error(`a run of the topic index ends ${length - read} bytes too early`);
    return { keys: page.subarray(0, page.length / 2), places: page.subarray(page.length / 2) };
  }

  /** What is below `endPlace`, in pages in order, each in the memory of the one before: it is gone with the next. */
  *all(endPlace: number): Generator<Postings> {
    const memory = new Float64Array(PAGE_BYTES / 8);
    for (let page = 0; page < this.pages; page++) {
      const { keys, places } = this.page(page, memory);
      let kept = 0;
      for (let at = 0; at < keys.length; at++) {
        if ((places[at] as number) >= endPlace) continue;
        keys[kept] = keys[at] as number;
        places[kept++] = places[at] as number;
      }
      if (kept > 0) yield { keys: keys.subarray(0, kept), places: places.subarray(0, kept) };
    }
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

export const hasRun = (folder: string, id: number): boolean => existsSync(runPath(folder, id));

export const removeRun = (folder: string, id: number): void => rmSync(runPath(folder, id), { force: true });

/** Removes what a crash left: runs half written, or merged into others. */
export function removeStrayRuns(folder: string, ids: ReadonlySet<number>): void {
  for (const name of readdirSync(folder)) {
    if (name.endsWith('.run') && !ids.has(Number.parseInt(name, 10))) rmSync(join(folder, name));
  }
}

export function bytesOfRuns(folder: string): number {
  let bytes = 0;
  for (const name of readdirSync(folder)) bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}
