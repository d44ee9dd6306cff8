import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { entryPrefix, toHex } from '@sealpost/prover';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordBytes } from '../src/adapters/append-record.js';
import { bundleFilePath } from '../src/adapters/bundle-file.js';
import { runFolder } from '../src/adapters/run-files.js';
import { positionOf } from '../src/adapters/schema.js';
import { createStore, loadStore } from '../src/adapters/sqlite.js';
import type { FullEntry } from '../src/ports.js';
import { Account, message, topicOf } from './bundles.js';
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

test('the database is in WAL mode and strict, and an orderly end leaves three things to copy', async () => {
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
  // Beside the lock.
  expect(readdirSync(folder).sort()).toEqual(['store', 'store-bundles', 'store-topics', 'store.lock']);
  rmSync(folder, { recursive: true });
});

const ALICE = new Account('alice');

test('the bundle file holds appends, their entries as batch files have them; half an append is cut off', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  const bundles = bundleFilePath(path);
  const group = (sequence: bigint) => groupOf(0, sequence, [ALICE.sign({ nonce: sequence, messages: [`message ${sequence}`] })]);
  let store = await createStore(path, genesisOf(1));
  await store.appendGroups([group(0n)], []);
  await store.close();
  const whole = readFileSync(bundles);
  const { bytes, bundle } = group(0n).entries[0] as FullEntry;
  expect(whole.subarray(recordBytes(1))).toEqual(
    Buffer.concat([entryPrefix({ void: 0, previous: 0n, bundle: { length: bytes } }), bundle]),
  );

  appendFileSync(bundles, 'half an append that no receipt was given for');
  store = await loadStore(path);
  await store.appendGroups([group(1n)], []);
  expect(entriesOf(store.entryPages(0, 0n, 2)).map(({ bundle: own }) => Buffer.from(own))).toEqual(
    [group(0n), group(1n)].map(({ entries }) => Buffer.from((entries[0] as FullEntry).bundle)),
  );
  await store.close();
  expect(readFileSync(bundles)).toHaveLength(2 * whole.length);
  rmSync(folder, { recursive: true });
});

describe('a power failure', () => {
  const TOPIC = topicOf('power');
  /** Appends on two lanes: one, the other, both at once. */
  const APPENDS = [[0], [1], [0, 1], [0, 1]];
  const appends = (upTo = APPENDS.length) => {
    const next = [0n, 0n];
    return [...APPENDS, [1, 0]].slice(0, upTo).map((lanes, at) =>
      lanes.map((lane) => {
        const first = next[lane] as bigint;
        next[lane] = first + 2n;
        const bundle = (nonce: bigint) =>
          ALICE.sign({ lane, nonce, postage: 10n * nonce + 1n, messages: [message(TOPIC, `append ${at}, ${nonce}`)] });
        return groupOf(lane, first, [bundle(first), bundle(first + 1n)]);
      }),
    );
  };

  /** A store with those appends as it is on the disk while it is open, in a folder of its own for each try. */
  let folder: string;
  let tries = 0;
  /** Where each append ends in the bundle file. */
  const ends: number[] = [];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sealpost-power-'));
    const path = join(folder, 'open', 'store');
    const store = await createStore(path, genesisOf(2));
    for (const groups of appends()) {
      await store.appendGroups(groups, []);
      ends.push(statSync(bundleFilePath(path)).size);
    }
    cpSync(join(folder, 'open'), join(folder, 'failed'), { recursive: true });
    await store.close();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const after = (damage: (path: string) => void): string => {
    const copy = join(folder, `try-${tries++}`);
    cpSync(join(folder, 'failed'), copy, { recursive: true });
    rmSync(join(copy, 'store-shm'), { force: true });
    damage(join(copy, 'store'));
    return join(copy, 'store');
  };
  /** That so many appends are there, whole, and that the log goes on. */
  const holds = async (path: string, count: number) => {
    for (const start of ['first', 'second']) {
      const store = await loadStore(path);
      const there = appends().slice(0, count).flat();
      for (const lane of [0, 1]) {
        const groups = there.filter((group) => group.lane === lane);
        const entries = groups.flatMap((group) => group.entries);
        expect(store.tail(lane).nextSequence, start).toBe(BigInt(entries.length));
        expect(entriesOf(store.entryPages(lane, 0n, 100)).map(plain)).toEqual(entries.map(plain));
        const last = entries.at(-1);
        expect(store.voucherOf(ALICE.address, lane)).toEqual(
          last && { lane, sender: ALICE.address, postage: 10n * last.nonce + 1n, sequence: last.sequence },
        );
        for (const { firstSequence, root, entries: own } of groups) {
          expect(store.groupOf(lane, firstSequence + 1n)).toMatchObject({ firstSequence, root, count: own.length });
        }
        for (const { sender, nonce, sequence } of entries) {
          expect(store.entryByNonce(sender, lane, nonce)?.sequence).toBe(sequence);
        }
      }
      expect(store.placesOf(TOPIC, 0, undefined, 100)).toHaveLength(
        there.filter(({ lane }) => lane === 0).flatMap(({ entries }) => entries).length,
      );
      // And the log goes on.
      if (start === 'second') await store.appendGroups(appends(count + 1)[count] ?? [], []);
      await store.close();
    }
    if (count < APPENDS.length) expect(statSync(bundleFilePath(path)).size).toBe(ends[count]);
  };
  const plain = ({ bundle, structHash, bundleHash, ...rest }: FullEntry) => ({
    ...rest,
    bundle: toHex(bundle),
    structHash: toHex(structHash),
    bundleHash: toHex(bundleHash),
  });

  test('takes any end of the WAL: every append is made again from the bundle file', async () => {
    const whole = readFileSync(join(folder, 'failed', 'store-wal'));
    const FRAME = 24 + 4_096;
    const frames = (whole.length - 32) / FRAME;
    expect(frames).toBeGreaterThan(8);
    const cuts = Array.from({ length: frames }, (_, frame) => 32 + frame * FRAME);
    for (const length of [0, ...cuts, (cuts.at(-1) ?? 0) + 100]) {
      await holds(
        after((path) => writeFileSync(`${path}-wal`, whole.subarray(0, length))),
        APPENDS.length,
      );
    }
  });

  test('with the last append torn: it is gone as a whole, those before it are there', async () => {
    const whole = readFileSync(bundleFilePath(join(folder, 'failed', 'store')));
    const [start, end] = ends.slice(-2) as [number, number];
    const cut = (length: number) => whole.subarray(0, length);
    const flipped = (at: number) => {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8((bytes[at] as number) ^ 1, at);
      return bytes;
    };
    const zeroed = Buffer.concat([cut(start + 200), Buffer.alloc(end - start - 200)]);
    const torn = [
      ...[1, 23, 24, 100, recordBytes(2), recordBytes(2) + 7, end - start - 1].map((bytes) => cut(start + bytes)),
      ...Array.from({ length: 12 }, (_, step) => flipped(start + Math.floor((step * (end - start)) / 12))),
      zeroed,
    ];
    for (const bytes of torn) {
      await holds(
        after((path) => {
          rmSync(`${path}-wal`);
          writeFileSync(bundleFilePath(path), bytes);
        }),
        APPENDS.length - 1,
      );
    }
  });

  test('with an append torn that others follow: they were durable, so that it is damage, and is said', async () => {
    const whole = readFileSync(bundleFilePath(join(folder, 'failed', 'store')));
    const middle = ((ends[1] as number) + (ends[2] as number)) >> 1;
    const path = after((path) => {
      rmSync(`${path}-wal`);
      whole.writeUInt8((whole[middle] as number) ^ 1, middle);
      writeFileSync(bundleFilePath(path), whole);
    });
    const size = statSync(bundleFilePath(path)).size;
    await expect(loadStore(path)).rejects.toMatchObject({
      code: 'store.damaged',
      message: expect.stringContaining('damaged between'),
    });
    expect(statSync(bundleFilePath(path)).size).toBe(size);
  });

  test('what was made again, and what was cut off, is said', async () => {
    const recoveries: unknown[] = [];
    const path = after((path) => {
      rmSync(`${path}-wal`);
      appendFileSync(bundleFilePath(path), 'half an append');
    });
    const onRecovery = (recovery: unknown) => void recoveries.push(recovery);
    for (let start = 0; start < 2; start++) await (await loadStore(path, { onRecovery })).close();
    expect(recoveries).toEqual([{ appends: APPENDS.length, cutBytes: 14 }]);
  });

  test('a whole append that does not go on where its lane ends is not taken', async () => {
    const whole = readFileSync(bundleFilePath(join(folder, 'failed', 'store')));
    await holds(
      after((path) => writeFileSync(bundleFilePath(path), Buffer.concat([whole, whole.subarray(ends[2])]))),
      APPENDS.length,
    );
  });
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

test('a database of before there were vouchers gets them, for what comes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-store-'));
  const path = join(folder, 'store');
  const first = await createStore(path, genesisOf(1));
  await first.appendGroups([groupOf(0, 0n, [ALICE.sign()])], []);
  await first.close();
  change(path, 'DROP TABLE vouchers; DROP TABLE lane_terms; ALTER TABLE groups DROP COLUMN term; PRAGMA user_version = 3');
  const store = await loadStore(path);
  expect(store.voucherOf(ALICE.address, 0)).toBeUndefined();
  await store.appendGroups([groupOf(0, 1n, [ALICE.sign({ nonce: 1n, postage: 7n })])], []);
  expect(store.vouchers(undefined, 2)).toEqual([{ lane: 0, sender: ALICE.address, postage: 7n, sequence: 1n }]);
  await store.close();
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
