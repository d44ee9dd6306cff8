import { beNice, serveThread } from '../threads.js';
import { mergeRuns, type Postings, pagesOf, type Run, sortPostings } from '../topics.js';
import { RunReader, RunWriter, removeRun, WRITE_PAGES } from './run-files.js';

/** What the indexing thread is asked. A merge goes on with each `next`, so that sorting need not wait for its end. */
export type IndexRequest =
  | { readonly kind: 'sort'; readonly run: number; readonly postings: Postings }
  | { readonly kind: 'merge'; readonly run: number; readonly runs: readonly Pick<Run, 'id' | 'endPlace'>[] }
  | { readonly kind: 'next' }
  | { readonly kind: 'drop'; readonly runs: readonly number[] };

/** A run that is on disk: the first key of each of its pages. */
export type Fences = Float64Array<ArrayBuffer>;

interface Merge {
  readonly readers: readonly RunReader[];
  readonly writer: RunWriter;
  readonly pages: Iterator<Postings>;
}

beNice(10);

/** Sorts and merges runs of the topic index, from files into files. */
serveThread(({ folder }: { folder: string }) => {
  let merge: Merge | undefined;

  const endMerge = () => {
    for (const reader of merge?.readers ?? []) reader.close();
    merge = undefined;
  };

  /** A file that finds no room goes, and the error with its code to whoever asked. */
  const orAbandon = <T>(writer: RunWriter, write: () => T): T => {
    try {
      return write();
    } catch (error) {
      writer.abandon();
      throw error;
    }
  };

  const sort = (run: number, postings: Postings): Fences => {
    const writer = new RunWriter(folder, run);
    return orAbandon(writer, () => {
      for (const page of pagesOf(sortPostings(postings))) writer.add(page);
      return writer.finish();
    });
  };

  /** As many pages as are written at once, some ten milliseconds; undefined while there is more to merge. */
  const step = ({ pages, writer }: Merge): Fences | undefined => {
    for (let added = 0; added < WRITE_PAGES; added++) {
      const next = pages.next();
      if (next.done) return writer.finish();
      writer.add(next.value);
    }
    return undefined;
  };

  return (request: IndexRequest) => {
    switch (request.kind) {
      case 'sort': {
        const fences = sort(request.run, request.postings);
        return { value: fences, transfer: [fences.buffer] };
      }
      case 'merge': {
        const readers = request.runs.map(({ id }) => new RunReader(folder, id));
        const pages = readers.map((reader, index) => reader.all((request.runs[index] as Run).endPlace));
        merge = { readers, writer: new RunWriter(folder, request.run), pages: mergeRuns(pages) };
        return { value: undefined };
      }
      case 'next': {
        const current = merge as Merge;
        try {
          const fences = orAbandon(current.writer, () => step(current));
          if (fences !== undefined) endMerge();
          return { value: fences };
        } catch (error) {
          endMerge();
          throw error;
        }
      }
      case 'drop':
        for (const id of request.runs) removeRun(folder, id);
        return { value: undefined };
    }
  };
});
