import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { entryPrefix } from '@sealpost/prover';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { bundleFilePath } from '../src/adapters/bundle-file.js';
import { runFolder } from '../src/adapters/run-files.js';
import { positionOf } from '../src/adapters/schema.js';
import { createStore, loadStore } from '../src/adapters/sqlite.js';
import type { FullEntry } from '../src/ports.js';
import { Account } from './bundles.js';
import { genesisOf } from './pipeline.js';
import { entriesOf, groupOf, storeCompliance } from './store.compliance.js';

function change(path: string, ...statements: readonly string[]): void {
  const database = new Database(path, { fileMustExist: true });
  for (const statement of statements) database.exec(statement);
  database.close();
}

storeCompliance('SqliteStore', {
  create: createStore,
  load: loadStore,
  makeNewer: (path) => change(path, 'PRAGMA user_version = 999'),
  removeGenesis: (path) => change(path, 'DELETE FROM genesis'),
});

test('the database is in WAL mode, and every commit is synced', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  const store = await createStore(path, genesisOf(1));
  const reader = new Database(path, { readonly: true });
  expect(reader.pragma('journal_mode', { simple: true })).toBe('wal');
  expect(
    reader.prepare("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%STRICT%'").pluck().get(),
  ).toBe(0);
  reader.close();
  await store.close();
  // An orderly end leaves three things to copy, beside the lock.
  expect(readdirSync(folder).sort()).toEqual(['store', 'store-bundles', 'store-topics', 'store.lock']);
  rmSync(folder, { recursive: true });
});

const ALICE = new Account('alice');

test('the bundle file is what batch files hold, and what a crash leaves behind its end is written over', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  const bundles = bundleFilePath(path);
  const group = (sequence: bigint) => groupOf(0, sequence, [ALICE.sign({ nonce: sequence, messages: [`message ${sequence}`] })]);
  let store = await createStore(path, genesisOf(1));
  await store.appendGroups([group(0n)], []);
  await store.close();
  const whole = readFileSync(bundles);
  const { bytes, bundle } = group(0n).entries[0] as FullEntry;
  expect(whole).toEqual(Buffer.concat([entryPrefix({ void: 0, previous: 0n, bundle: { length: bytes } }), bundle]));

  appendFileSync(bundles, 'half an entry that no receipt was given for');
  store = await loadStore(path);
  await store.appendGroups([group(1n)], []);
  expect(entriesOf(store.entryPages(0, 0n, 2)).map(({ bundle: own }) => Buffer.from(own))).toEqual(
    [group(0n), group(1n)].map(({ entries }) => Buffer.from((entries[0] as FullEntry).bundle)),
  );
  await store.close();
  expect(readFileSync(bundles)).toHaveLength(2 * whole.length);
  rmSync(folder, { recursive: true });
});

test('a bundle file that is cut off or away is said, and bundles without their database are not made away with', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  const store = await createStore(path, genesisOf(1));
  await store.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
  await store.close();
  const whole = readFileSync(bundleFilePath(path));
  writeFileSync(bundleFilePath(path), whole.subarray(1));
  await expect(loadStore(path)).rejects.toMatchObject({ code: 'store.damaged', message: expect.stringContaining('cut off') });
  rmSync(bundleFilePath(path));
  await expect(loadStore(path)).rejects.toMatchObject({ code: 'store.damaged', message: expect.stringContaining('missing') });
  writeFileSync(bundleFilePath(path), whole);
  rmSync(path);
  await expect(createStore(path, genesisOf(1))).rejects.toMatchObject({ code: 'store.exists' });
  expect(readFileSync(bundleFilePath(path))).toEqual(whole);
  rmSync(folder, { recursive: true });
});

test('a topic index that is not whole is said', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  await (await createStore(path, genesisOf(1))).close();
  change(path, "INSERT INTO topic_runs VALUES (3, 0, 0, 0, 1, x'')");
  await expect(loadStore(path)).rejects.toMatchObject({ code: 'store.damaged', message: expect.stringContaining('not whole') });
  change(path, 'DELETE FROM topic_runs');
  rmSync(runFolder(path), { recursive: true });
  await expect(loadStore(path)).rejects.toMatchObject({ code: 'store.damaged', message: expect.stringContaining('not whole') });
  rmSync(folder, { recursive: true });
});

test('a database of before the first release is refused by its version', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  await (await createStore(path, genesisOf(1))).close();
  change(path, 'PRAGMA user_version = 1');
  await expect(loadStore(path)).rejects.toMatchObject({ code: 'store.damaged', message: expect.stringContaining('version 1') });
  rmSync(folder, { recursive: true });
});

test('runs of the topic index that a crash left are dropped at the next start', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  await (await createStore(path, genesisOf(1))).close();
  writeFileSync(join(runFolder(path), '7.run'), 'half a run');
  await (await loadStore(path)).close();
  expect(readdirSync(runFolder(path))).toEqual([]);
  rmSync(folder, { recursive: true });
});

test('positions: lanes do not touch, and a sequence that does not fit is refused', () => {
  expect(positionOf(0, 2n ** 37n - 1n)).toBe(positionOf(1, 0n) - 1);
  expect(Number.isSafeInteger(positionOf(0xffff, 2n ** 37n - 1n))).toBe(true);
  expect(() => positionOf(0, 2n ** 37n)).toThrow(RangeError);
});

test('a process killed while it makes the database leaves none under its name, and the next one makes it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  // Dies where the tables are about to be made: the latest moment before anything is whole.
  const script = `
    import Database from 'better-sqlite3';
    Database.prototype.transaction = () => process.kill(process.pid, 'SIGKILL');
    const { createStore } = await import(${JSON.stringify(new URL('../dist/adapters/sqlite.js', import.meta.url).href)});
    await createStore(${JSON.stringify(path)}, { chainId: 1n, settlement: '0x', laneCount: 1, signer: '0x' });`;
  const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname });
  expect(signal).toBe('SIGKILL');
  expect(existsSync(path)).toBe(false);
  await (await createStore(path, genesisOf(1))).close();
  rmSync(folder, { recursive: true });
});
