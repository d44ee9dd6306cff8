import SqliteDatabase from 'better-sqlite3';
import { serveThread } from '../threads.js';
import { decodePage, encodePage, mergeRuns, type Postings, pagesOf, sortPostings } from '../topics.js';
import { PAGES_A_RUN } from './topic-index.js';

/** What the indexing thread is asked: `merge` begins, each `next` gives some of the merged run, no pages at its end. */
export type IndexRequest =
  | { readonly kind: 'sort'; readonly postings: Postings }
  | { readonly kind: 'merge'; readonly runs: readonly { readonly id: number; readonly pages: number }[] }
  | { readonly kind: 'next' };

export interface SortedRun {
  /** As stored (topics.ts). */
  readonly pages: readonly Uint8Array[];
  readonly fences: Float64Array;
}

// Written in one transaction each: 1 MiB, which keeps the log's own commits waiting for a few milliseconds at most.
const PAGES_A_PART = 64;

/** Sorts and merges runs of the topic index over a reading connection of its own; writes nothing. */
serveThread(({ path }: { path: string }) => {
  const database = new SqliteDatabase(path, { readonly: true });
  const select = database.prepare('SELECT postings FROM topic_pages WHERE id = ?').pluck();
  let merging: Iterator<Postings> = [][Symbol.iterator]();

  function* stored({ id, pages }: { id: number; pages: number }): Generator<Postings> {
    for (let page = 0; page < pages; page++) yield decodePage(select.get(id * PAGES_A_RUN + page) as Buffer);
  }

  const encode = (pages: readonly Postings[]) => {
    const encoded = pages.map(encodePage);
    const fences = Float64Array.from(pages, ({ keys }) => keys[0] as number);
    return {
      value: { pages: encoded, fences } satisfies SortedRun,
      transfer: [...encoded.map(({ buffer }) => buffer as ArrayBuffer), fences.buffer],
    };
  };

  return (request: IndexRequest) => {
    switch (request.kind) {
      case 'sort':
        return encode([...pagesOf(sortPostings(request.postings))]);
      case 'merge':
        merging = mergeRuns(request.runs.map(stored));
        return { value: undefined };
      case 'next': {
        const pages: Postings[] = [];
        while (pages.length < PAGES_A_PART) {
          const next = merging.next();
          if (next.done) break;
          pages.push(next.value);
        }
        return encode(pages);
      }
    }
  };
});
