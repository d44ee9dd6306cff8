import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { positionOf } from '../src/adapters/schema.js';
import { createStore, loadStore } from '../src/adapters/sqlite.js';
import { genesisOf } from './pipeline.js';
import { storeCompliance } from './store.compliance.js';

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
  // An orderly end leaves one file to copy, beside the lock.
  expect(readdirSync(folder).sort()).toEqual(['store', 'store.lock']);
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
