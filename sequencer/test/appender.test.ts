import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Appender } from '../src/adapters/appender.js';
import { BundleFile } from '../src/adapters/bundle-file.js';
import { packGroups } from '../src/adapters/packed-groups.js';
import { recoverAppends } from '../src/adapters/recovery.js';
import { configure, migrate } from '../src/adapters/schema.js';
import { Account } from './bundles.js';
import { groupOf } from './store.compliance.js';

/** A real bundle file that tells what is done to it, in which order, and fails where it is told to. */
class Told extends BundleFile {
  readonly calls: string[] = [];
  fails: 'write' | 'sync' | 'truncate' | undefined;

  constructor(
    path: string,
    private readonly rowsSeen: () => number,
  ) {
    super(path, 'write');
  }

  private tell(name: 'write' | 'sync' | 'truncate'): void {
    this.calls.push(`${name} with ${this.rowsSeen()} rows`);
    if (this.fails === name) throw Object.assign(new Error(`no room to ${name}`), { code: 'ENOSPC' });
  }

  override write(bytes: Uint8Array, offset: number): void {
    super.write(bytes.subarray(0, this.fails === 'write' ? 10 : bytes.length), offset);
    this.tell('write');
  }

  override sync(): void {
    try {
      this.tell('sync');
    } finally {
      // Once: what is taken back is synced, too.
      if (this.fails === 'sync') this.fails = undefined;
    }
    super.sync();
  }

  override truncate(length: number): void {
    this.tell('truncate');
    super.truncate(length);
  }
}

const ALICE = new Account('alice');
const packed = (sequence: bigint) => packGroups([groupOf(0, sequence, [ALICE.sign({ nonce: sequence })])], []);

let folder: string;
let database: Database.Database;
let reader: Database.Database;
let file: Told;
const path = () => join(folder, 'store-bundles');
const rows = () => reader.prepare('SELECT count(*) FROM entries').pluck().get() as number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealpost-appender-'));
  database = new Database(join(folder, 'store'));
  configure(database);
  migrate(database);
  database.prepare("INSERT INTO genesis VALUES (1, '1', '0x', 1, '0x', x'00')").run();
  reader = new Database(join(folder, 'store'), { readonly: true });
  writeFileSync(path(), '');
  file = new Told(path(), rows);
});
afterEach(() => {
  file.close();
  reader.close();
  database.close();
  rmSync(folder, { recursive: true });
});

test('the file is written and synced before the rows are committed', () => {
  const appender = new Appender(database, file, 0, 0);
  appender.append(packed(0n));
  expect(rows()).toBe(1);
  appender.append(packed(1n));
  expect(file.calls).toEqual(['write with 0 rows', 'sync with 0 rows', 'write with 1 rows', 'sync with 1 rows']);
  expect(statSync(path()).size).toBe(packed(0n).records.length + packed(1n).records.length);
});

test.each(['write', 'sync'] as const)('no room to %s: nothing is left, for good, and the next append goes on', (what) => {
  const appender = new Appender(database, file, 0, 0);
  appender.append(packed(0n));
  const size = statSync(path()).size;
  file.fails = what;
  expect(() => appender.append(packed(1n))).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(file.calls.slice(-2)).toEqual(['truncate with 1 rows', 'sync with 1 rows']);
  expect(rows()).toBe(1);
  expect(statSync(path()).size).toBe(size);
  file.fails = undefined;
  appender.append(packed(1n));
  expect(rows()).toBe(2);
});

test('no room for the rows: the file is as long as before', () => {
  const appender = new Appender(database, file, 0, 0);
  database.pragma(`max_page_count = ${database.pragma('page_count', { simple: true })}`);
  let refused: unknown;
  let sequence = 0n;
  let size = 0;
  // Until the pages that are there are full.
  for (; refused === undefined; sequence++) {
    size = statSync(path()).size;
    try {
      appender.append(packed(sequence));
    } catch (error) {
      refused = error;
    }
  }
  expect(refused).toMatchObject({ code: 'SQLITE_FULL' });
  expect(rows()).toBe(Number(sequence) - 1);
  expect(statSync(path()).size).toBe(size);
});

test('what failed and cannot be taken back is no lack of room', () => {
  const appender = new Appender(database, file, 0, 0);
  file.fails = 'truncate';
  database.exec("CREATE TRIGGER refuse BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'no'); END");
  let failure: unknown;
  try {
    appender.append(packed(0n));
  } catch (error) {
    failure = error;
  }
  expect(failure).toMatchObject({ message: expect.stringContaining('could not be taken back') });
  expect(failure).not.toHaveProperty('code');
});

test('a commit that fails, nobody knows how: the file keeps the append, and the next start decides', () => {
  database.exec(`CREATE TABLE parents (id INTEGER PRIMARY KEY);
    CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER orphan AFTER INSERT ON groups BEGIN INSERT INTO children VALUES (7); END`);
  database.pragma('foreign_keys = ON');
  const appender = new Appender(database, file, 0, 0);
  expect(() => appender.append(packed(0n))).toThrow(expect.objectContaining({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' }));
  expect(statSync(path()).size).toBe(packed(0n).records.length);
  database.exec('ROLLBACK; DROP TRIGGER orphan');
  expect(recoverAppends(database, file)).toEqual({ appends: 1, cutBytes: 0 });
  expect(rows()).toBe(1);
});

test('an append is made durable again before its rows are', () => {
  file.write(packed(0n).records, 0);
  file.calls.length = 0;
  expect(recoverAppends(database, file)).toEqual({ appends: 1, cutBytes: 0 });
  expect(file.calls).toEqual(['write with 0 rows', 'sync with 0 rows']);
  expect(rows()).toBe(1);
});

test('an append whose rows cannot be is cut off', () => {
  new Appender(database, file, 0, 0).append(packed(0n));
  const size = statSync(path()).size;
  // The nonce is taken.
  const again = packGroups([groupOf(0, 1n, [ALICE.sign({ nonce: 0n })])], []).records;
  file.write(again, size);
  expect(recoverAppends(database, file)).toEqual({ appends: 0, cutBytes: again.length });
  expect(rows()).toBe(1);
});
