import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hex, Receipt } from '@sealpost/prover';
import { afterAll, describe, expect, test } from 'vitest';
import { StoreFullError } from '../src/ports.js';
import type { Outcome } from '../src/sequencer.js';
import { Account, type SignedBundle } from './bundles.js';
import { closeVerifiers, markIn, Pipeline } from './pipeline.js';

afterAll(closeVerifiers);

const LANES = 2;
const [alice, bob] = [new Account('alice'), new Account('bob')];
const on = (account: Account, lane: number, nonce: bigint, text = ''): SignedBundle =>
  account.sign({ lane, laneCount: LANES, nonce, messages: [`${account.name} ${lane}/${nonce} ${text}`] });
const BODIES: readonly (readonly SignedBundle[])[] = [
  [on(alice, 0, 0n), on(bob, 0, 0n)],
  [on(alice, 0, 1n), on(alice, 1, 0n)],
  [on(bob, 1, 0n)],
  [on(alice, 0, 2n), on(bob, 0, 1n)],
];

/** The files of a database, and nothing else: what a backup holds. */
const databaseFiles = (folder: string): string[] => readdirSync(folder).filter((name) => name.startsWith('sequencer.sqlite'));

function copyDatabase(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of databaseFiles(to)) rmSync(join(to, name), { recursive: true });
  for (const name of databaseFiles(from)) cpSync(join(from, name), join(to, name), { recursive: true });
}

const endsOf = ({ store }: Pipeline): bigint[] => [0, 1].map((lane) => store.tail(lane).nextSequence);

/** Every statement that clients have, by the sequences that it promises: a second one with other leaves is the offence. */
class Promises {
  private readonly bundles = new Map<string, Hex>();
  /** By lane: 1 + the highest sequence promised. */
  readonly ends = [0n, 0n];

  note(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) if ('receipt' in outcome) this.take(outcome.receipt);
  }

  private take({ lane, sequence, bundleHash }: Receipt): void {
    const place = `${lane}/${sequence}`;
    expect(this.bundles.get(place) ?? bundleHash).toBe(bundleHash);
    this.bundles.set(place, bundleHash);
    if (sequence >= (this.ends[lane] as bigint)) this.ends[lane] = sequence + 1n;
  }
}

/** The process dies in its `nth` raise of a mark: right before it, or right after, with nothing signed or nothing given away. */
interface Death {
  readonly nth: number;
  readonly when: 'before the mark' | 'after the mark';
}

/** A day up to its end or to a death, with a backup before each body. */
async function live(root: string, death?: Death) {
  const folder = join(root, 'live');
  mkdirSync(folder);
  const promises = new Promises();
  const backups: { readonly path: string; readonly ends: readonly bigint[] }[] = [];
  let raises = 0;
  let die = () => {};
  const died = new Promise<'died'>((resolve) => {
    die = () => resolve('died');
  });
  const first = await Pipeline.open({ laneCount: LANES, digestHere: true });
  await first.stop();
  copyDatabase(first.folder, folder);
  cpSync(markIn(first.folder), markIn(folder));
  rmSync(first.folder, { recursive: true });
  const it = await Pipeline.open({
    folder,
    digestHere: true,
    wrapSigned: (signed) => ({
      raise: (lane, next) => {
        const isLast = raises++ === death?.nth;
        if (isLast && death?.when === 'before the mark') die();
        else signed.raise(lane, next);
        if (isLast) {
          die();
          throw new Error('died');
        }
      },
    }),
  });
  for (const [index, bundles] of BODIES.entries()) {
    const path = join(root, `backup-${index}`);
    copyDatabase(folder, path);
    backups.push({ path, ends: endsOf(it) });
    const outcomes = await Promise.race([it.submit(...bundles), died]);
    if (outcomes === 'died') break;
    promises.note(outcomes);
  }
  const ends = endsOf(it);
  const marks = [0, 1].map((lane) => it.signed.markOf(lane).nextSequence);
  await it.abandon();
  return { folder, promises, backups, ends, marks, raises };
}

const temporary = (): string => mkdtempSync(join(tmpdir(), 'sealpost-restore-'));

async function raisesOfADay(): Promise<number> {
  const root = temporary();
  const { raises } = await live(root);
  rmSync(root, { recursive: true });
  return raises;
}

const deaths: (readonly [string, Death | undefined])[] = [
  ['nowhere', undefined],
  ...Array.from({ length: await raisesOfADay() }, (_, nth) =>
    (['before the mark', 'after the mark'] as const).map((when) => [`${when} of statement ${nth}`, { nth, when }] as const),
  ).flat(),
];

describe.each(deaths)('the process dies %s', (_, death) => {
  test('the newest database is taken, every older one that lacks a promise is refused', async () => {
    const root = temporary();
    try {
      const { folder, promises, backups, ends, marks } = await live(root, death);
      for (const lane of [0, 1]) {
        expect(marks[lane]).toBeLessThanOrEqual(ends[lane] as bigint);
        expect(marks[lane]).toBeGreaterThanOrEqual(promises.ends[lane] as bigint);
      }
      const newest = join(root, 'newest');
      copyDatabase(folder, newest);
      const written = readFileSync(markIn(folder));

      const below = (ends: readonly bigint[], others: readonly bigint[]) =>
        ends.some((end, lane) => end < (others[lane] as bigint));
      const older = backups.filter((backup) => below(backup.ends, marks));
      expect(older).toEqual(expect.arrayContaining(backups.filter((backup) => below(backup.ends, promises.ends))));
      for (const backup of [older[0], older.at(-1)]) {
        if (backup === undefined) continue;
        copyDatabase(backup.path, folder);
        await expect(Pipeline.open({ folder, digestHere: true })).rejects.toMatchObject({ code: 'store.older' });
        expect(readFileSync(markIn(folder))).toEqual(written);
      }

      copyDatabase(newest, folder);
      const again = await Pipeline.open({ folder, digestHere: true });
      for (const bundles of BODIES) {
        const outcomes = await again.submit(...bundles);
        expect(outcomes.every((outcome) => 'receipt' in outcome)).toBe(true);
        promises.note(outcomes);
      }
      expect([0, 1].map((lane) => again.signed.markOf(lane).nextSequence)).toEqual(endsOf(again));
      await again.stop();
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

test('what it is for: without the mark, the older database promises a sequence for a second time', async () => {
  const root = temporary();
  const { folder, promises, backups } = await live(root);
  copyDatabase(backups[3]?.path as string, folder);
  rmSync(markIn(folder));
  const forked = await Pipeline.open({ folder, digestHere: true });
  const outcomes = await forked.submit(on(alice, 0, 2n, 'another'));
  expect(() => promises.note(outcomes)).toThrow();
  await forked.stop();
  rmSync(root, { recursive: true });
});

test('no room for the mark: nothing is promised; with room, the same bundle gets its receipt', async () => {
  let isFull = true;
  const it = await Pipeline.open({
    wrapSigned: (signed) => ({
      raise: (lane, next) => {
        if (isFull) throw new StoreFullError('no room');
        signed.raise(lane, next);
      },
    }),
  });
  const bundle = alice.sign({ nonce: 0n });
  expect(await it.submit(bundle)).toMatchObject([{ error: { code: 'unavailable', retryAfterMs: 5_000 } }]);
  expect(it.signed.markOf(0).nextSequence).toBe(0n);
  isFull = false;
  expect(await it.submit(bundle)).toMatchObject([{ receipt: { sequence: 0n } }]);
  expect(it.signed.markOf(0).nextSequence).toBe(1n);
  expect(it.fatal).toEqual([]);
  await it.close();
});

test('the mark cannot be written: the process ends, and nothing was signed', async () => {
  const it = await Pipeline.open();
  it.signed.release();
  void it.submit(alice.sign({ nonce: 0n }));
  await expect.poll(() => it.fatal).toHaveLength(1);
  expect(it.book.toSave()).toEqual([]);
  await it.abandon();
  const again = await Pipeline.open({ folder: it.folder });
  expect(await again.submit(alice.sign({ nonce: 0n }))).toMatchObject([{ receipt: { sequence: 0n } }]);
  await again.close();
});
