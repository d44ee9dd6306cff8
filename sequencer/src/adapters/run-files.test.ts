import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PAGE_POSTINGS, POSTING_BYTES, type Postings, pagesOf } from '../topics.js';
import { bytesOfRuns, RunReader, RunWriter, removeRun, removeStrayRuns } from './run-files.js';

const folder = mkdtempSync(join(tmpdir(), 'sealpost-runs-'));
afterAll(() => rmSync(folder, { recursive: true }));

const COUNT = 2 * PAGE_POSTINGS + 3;
const postings: Postings = {
  keys: Float64Array.from({ length: COUNT }, (_, at) => 2 ** 35 + at),
  places: Float64Array.from({ length: COUNT }, (_, at) => 2 ** 48 + 7 * at),
};

test('a run gives its pages back, the last one shorter', () => {
  const writer = new RunWriter(folder, 12);
  const pages = [...pagesOf(postings)];
  for (const page of pages) writer.add(page);
  expect([...writer.finish()]).toEqual([0, 1, 2].map((page) => postings.keys[page * PAGE_POSTINGS]));
  const reader = new RunReader(folder, 12);
  expect(reader.pages).toBe(3);
  expect([0, 1, 2].map((page) => reader.page(page))).toEqual(pages);
  expect(
    Array.from(reader.all(Number.POSITIVE_INFINITY), ({ keys, places }) => ({ keys: keys.slice(), places: places.slice() })),
  ).toEqual(pages);
  // Without what was dropped behind it since.
  const half = [...reader.all(2 ** 48 + 7 * 1_500)].map(({ keys }) => keys.length);
  expect(half).toEqual([PAGE_POSTINGS, 1_500 - PAGE_POSTINGS]);
  reader.close();
  expect(bytesOfRuns(folder)).toBe(COUNT * POSTING_BYTES);
  removeRun(folder, 12);
  expect(existsSync(join(folder, '12.run'))).toBe(false);
});

test('a run that is abandoned, or that no row names, goes', () => {
  const writer = new RunWriter(folder, 1);
  for (const page of pagesOf(postings)) writer.add(page);
  writer.abandon();
  for (const id of [2, 3]) new RunWriter(folder, id).finish();
  removeStrayRuns(folder, new Set([3]));
  expect(readdirSync(folder)).toEqual(['3.run']);
});
