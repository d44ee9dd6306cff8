import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Genesis, Term } from '../ports.js';
import { createSignedMark, loadSignedMark, type SignedMarkFile, type TermEnd } from './signed-mark.js';

const GENESIS: Genesis = {
  chainId: 31_337n,
  settlement: `0x${'5f'.repeat(20)}`,
  laneCount: 3,
  signer: `0x${'a1'.repeat(20)}`,
};
const BLOCK = 4_096;
const SLOT = 32;
const HEAD = 96;

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealpost-mark-'));
  path = join(folder, 'signed.mark');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Of a log that ends there on each lane. */
const at =
  (...ends: readonly number[]) =>
  (lane: number): TermEnd => ({ term: 1, firstSequence: 0n, nextSequence: BigInt(ends[lane] as number) });
const EMPTY = at(0, 0, 0);
const marksOf = (mark: SignedMarkFile) => [0, 1, 2].map((lane) => Number(mark.markOf(lane).nextSequence));
/** What the next process reads. */
const stored = () => marksOf(loadSignedMark(path, GENESIS));

function begun(endOf = EMPTY): SignedMarkFile {
  const mark = createSignedMark(path, GENESIS, endOf);
  mark.begin(endOf);
  return mark;
}

function overwrite(offset: number, bytes: Uint8Array): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

describe('what is raised', () => {
  test('is there for the next process at once, lane by lane, and nothing lowers it', () => {
    const mark = begun();
    for (const [lane, next, expected] of [
      [0, 5n, [5, 0, 0]],
      [2, 7n, [5, 0, 7]],
      [0, 6n, [6, 0, 7]],
      [0, 3n, [6, 0, 7]],
      [2, 9_007_199_254_740_993n, [6, 0, Number(9_007_199_254_740_993n)]],
    ] as const) {
      mark.raise(lane, next);
      expect(stored()).toEqual(expected);
    }
    mark.close();
    expect(loadSignedMark(path, GENESIS).markOf(2).nextSequence).toBe(9_007_199_254_740_993n);
  });

  test('a file made for a log that is there begins at its ends', () => {
    begun(at(4, 0, 2)).close();
    expect(stored()).toEqual([4, 0, 2]);
    expect(readdirSync(folder)).toEqual(['signed.mark']);
    expect(() => createSignedMark(path, GENESIS, EMPTY)).toThrow(expect.objectContaining({ code: 'store.exists' }));
  });

  test('nothing can be signed before the marks are compared, or after the end', () => {
    const unread = createSignedMark(path, GENESIS, at(4, 0, 0));
    expect(() => unread.raise(0, 1n)).toThrow('nothing may be signed');
    unread.begin(at(4, 0, 0));
    unread.raise(0, 5n);
    unread.close();
    expect(() => unread.raise(0, 5n)).toThrow('nothing may be signed');
  });

  test('in a folder that is away: refused, and not made', () => {
    const away = join(folder, 'not-mounted', 'signed.mark');
    expect(() => createSignedMark(away, GENESIS, EMPTY)).toThrow(expect.objectContaining({ code: 'store.unwritable' }));
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('compared with a log', () => {
  test.each<[string, number[], string | undefined]>([
    ['as it was signed', [5, 0, 7], undefined],
    ['with entries that nothing was signed for', [6, 1, 7], undefined],
    ['one lane one short', [5, 0, 6], 'lane 2: receipts up to sequence 6 were or may have been signed'],
    ['empty', [0, 0, 0], 'lane 0: receipts up to sequence 4 were or may have been signed'],
    ['longer on one lane, shorter on another', [4, 9, 9], 'the log ends before sequence 4'],
  ])('%s', (_, ends, refusal) => {
    const mark = begun();
    mark.raise(0, 5n);
    mark.raise(2, 7n);
    mark.release();
    const before = readFileSync(path);
    const again = loadSignedMark(path, GENESIS);
    if (refusal === undefined) {
      again.begin(at(...ends));
      again.close();
      // Marks that a power failure set back are right again.
      expect(stored()).toEqual(ends);
    } else {
      expect(() => again.begin(at(...ends))).toThrow(
        expect.objectContaining({ code: 'store.older', message: expect.stringContaining(refusal) }),
      );
      expect(() => again.raise(0, 1n)).toThrow('nothing may be signed');
      expect(readFileSync(path)).toEqual(before);
    }
  });
});

describe('compared with a log of another term', () => {
  const [second, moved] = [
    { term: 2, firstSequence: 5n },
    { term: 2, firstSequence: 3n },
  ];
  const ending = (term: Term, nextSequence: bigint) => (lane: number) =>
    lane === 0 ? { ...term, nextSequence } : at(0, 0, 0)(lane);

  test('it begins where the term begins, however far the one before was signed', () => {
    const mark = begun();
    mark.raise(0, 9n);
    mark.release();
    for (const nextSequence of [5n, 7n]) {
      const next = loadSignedMark(path, GENESIS);
      next.begin(ending(second, nextSequence));
      next.release();
      expect(loadSignedMark(path, GENESIS).markOf(0)).toEqual({ ...second, nextSequence });
    }
    expect(() => loadSignedMark(path, GENESIS).compare(ending(second, 6n))).toThrow('receipts up to sequence 6 were');
    expect(() => loadSignedMark(path, GENESIS).compare(ending({ term: 1, firstSequence: 0n }, 99n))).toThrow(
      'receipts of term 2',
    );
  });

  test('a term that a reorg lets begin elsewhere, with nothing signed in it, also when one of the two writes is lost', () => {
    begun().release();
    const first = loadSignedMark(path, GENESIS);
    first.begin(ending(second, 5n));
    first.release();
    const before = readFileSync(path);
    const again = loadSignedMark(path, GENESIS);
    again.begin(ending(moved, 3n));
    again.release();
    expect(loadSignedMark(path, GENESIS).markOf(0)).toEqual({ ...moved, nextSequence: 3n });
    const after = readFileSync(path);
    for (const area of [1, 2]) {
      writeFileSync(path, after);
      overwrite(area * BLOCK, before.subarray(area * BLOCK, area * BLOCK + SLOT));
      const third = loadSignedMark(path, GENESIS);
      third.begin(ending(moved, 4n));
      third.release();
      expect(loadSignedMark(path, GENESIS).markOf(0)).toEqual({ ...moved, nextSequence: 4n });
    }
  });
});

describe('a write that was torn', () => {
  const bytesOf = (mark: SignedMarkFile, next: bigint): { before: Buffer; after: Buffer } => {
    const before = readFileSync(path);
    mark.raise(1, next);
    mark.release();
    return { before, after: readFileSync(path) };
  };

  test('anywhere: the mark before is left, or the new one, and the next raise repairs it', () => {
    const mark = begun();
    mark.raise(1, 0x01_23_45_67n);
    const { before, after } = bytesOf(mark, 0xfe_dc_ba_98n);
    const from = after.findIndex((byte, index) => byte !== before[index]);
    const offset = from - (from % SLOT);
    for (let whole = 0; whole <= SLOT; whole++) {
      writeFileSync(path, before);
      overwrite(offset, after.subarray(offset, offset + whole));
      const again = loadSignedMark(path, GENESIS);
      const expected = whole === SLOT ? 0xfe_dc_ba_98n : 0x01_23_45_67n;
      expect(again.markOf(1).nextSequence).toBe(expected);
      // Term, first sequence and 4 zero bytes of the next one are as they were.
      expect(again.tornSlots).toBe(whole <= 16 || whole === SLOT ? 0 : 1);
      again.begin(at(0, 0xfe_dc_ba_98, 0));
      again.release();
      expect(loadSignedMark(path, GENESIS)).toMatchObject({ tornSlots: 0 });
      expect(loadSignedMark(path, GENESIS).markOf(1).nextSequence).toBe(0xfe_dc_ba_98n);
    }
  });

  test('a block lost while it was written leaves the mark before of every lane', () => {
    const mark = begun(at(10, 20, 30));
    for (const lane of [0, 1, 2]) mark.raise(lane, 100n);
    const { before, after } = bytesOf(mark, 200n);
    const changed = [...after.keys()].filter((index) => after[index] !== before[index]);
    const blocks = new Set(changed.map((index) => Math.floor(index / BLOCK)));
    expect(blocks.size).toBe(1);
    overwrite(BLOCK * ([...blocks][0] as number), Buffer.alloc(BLOCK, 0xee));
    const again = loadSignedMark(path, GENESIS);
    expect(again.tornSlots).toBe(3);
    expect(Number(again.markOf(1).nextSequence)).toBe(100);
  });
});

describe('refused', () => {
  const refusal = (expected: Partial<Genesis> = GENESIS): { code?: string; message?: string } => {
    try {
      loadSignedMark(path, expected);
    } catch (error) {
      return error as Error;
    }
    return {};
  };
  const other = (change: Partial<Genesis>) => ({ ...GENESIS, ...change });

  test.each<[string, Genesis, RegExp]>([
    ['another chain', other({ chainId: 1n }), /signed for chainId 31337, this L1 and configuration are chainId 1:/],
    ['another contract', other({ settlement: `0x${'11'.repeat(20)}` }), /settlement 0x5f.* are settlement 0x11/],
    ['another signer', other({ signer: `0x${'22'.repeat(20)}` }), /signer 0xa1.* are signer 0x22/],
    ['another number of lanes', other({ laneCount: 4 }), /laneCount 3.* laneCount 4/],
  ])('of %s, both named', (_, expected, message) => {
    begun().close();
    expect(refusal(expected)).toMatchObject({ code: 'store.foreign', message: expect.stringMatching(message) });
    expect(refusal({ settlement: GENESIS.settlement })).toEqual({});
  });

  test('half written, of any length', () => {
    begun(at(1, 2, 3)).close();
    const whole = readFileSync(path);
    for (const length of [0, 1, HEAD - 1, HEAD, BLOCK, BLOCK + SLOT, 2 * BLOCK, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, length));
      expect(refusal()).toMatchObject({ code: 'store.damaged', message: expect.stringContaining(`it has ${length} bytes`) });
    }
    writeFileSync(path, Buffer.concat([whole, Buffer.alloc(1)]));
    expect(refusal().code).toBe('store.damaged');
    writeFileSync(path, Buffer.alloc(whole.length));
    expect(refusal().message).toContain('does not begin as such a file does');
  });

  test('any changed byte of the head, and both slots of a lane', () => {
    begun(at(1, 2, 3)).close();
    const whole = readFileSync(path);
    for (let index = 0; index < HEAD; index++) {
      overwrite(index, Uint8Array.of((whole[index] as number) ^ 0x10));
      expect(refusal().code).toBe('store.damaged');
      overwrite(index, whole.subarray(index, index + 1));
    }
    // A slot of another lane is none of this one's.
    for (const area of [1, 2]) overwrite(area * BLOCK, whole.subarray(area * BLOCK + SLOT, area * BLOCK + 2 * SLOT));
    expect(refusal()).toMatchObject({
      code: 'store.damaged',
      message: expect.stringContaining('of lane 0 neither slot is whole'),
    });
  });

  test('no file but a folder', () => {
    path = folder;
    expect(refusal()).toMatchObject({ code: 'store.unwritable', message: expect.stringContaining('EISDIR') });
  });
});

/** What happens to a log and its mark, the log being as long on each lane as says its durable end. */
type Event =
  | { readonly kind: 'append'; readonly lane: number; readonly count: number; readonly sign: boolean }
  | { readonly kind: 'killed' }
  | { readonly kind: 'power failure' }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'backup' };

const append = fc.record({
  kind: fc.constant('append' as const),
  lane: fc.nat(2),
  count: fc.integer({ min: 1, max: 5 }),
  sign: fc.boolean(),
});
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 6, arbitrary: append },
  {
    weight: 4,
    arbitrary: fc.constantFrom<Event['kind']>('killed', 'power failure', 'stopped', 'backup').map((kind) => ({ kind }) as Event),
  },
);

test('whatever happens: no false alarm, and every older log after a signature is noticed', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (events) => {
      rmSync(path, { force: true });
      let ends = [0, 0, 0];
      const signed = [0, 0, 0];
      const backups: number[][] = [];
      let mark = begun();
      /** What a power failure may leave of the file: it was synced then. */
      const synced = join(folder, 'synced');
      copyFileSync(path, synced);
      const start = () => {
        mark = loadSignedMark(path, GENESIS);
        mark.begin(at(...ends));
        copyFileSync(path, synced);
      };
      for (const it of events) {
        if (it.kind === 'append') {
          ends = ends.with(it.lane, (ends[it.lane] as number) + it.count);
          if (it.sign) {
            mark.raise(it.lane, BigInt(ends[it.lane] as number));
            signed[it.lane] = ends[it.lane] as number;
          }
        } else if (it.kind === 'backup') {
          backups.push(ends);
        } else {
          if (it.kind === 'stopped') mark.close();
          else mark.release();
          if (it.kind === 'power failure') copyFileSync(synced, path);
          start();
        }
        expect(marksOf(mark).every((value, lane) => value <= (ends[lane] as number))).toBe(true);
      }
      mark.release();
      for (const older of backups) {
        const isOlder = signed.some((next, lane) => next > (older[lane] as number));
        if (isOlder)
          expect(() => loadSignedMark(path, GENESIS).begin(at(...older))).toThrow(/lane [0-2]: receipts up to sequence/);
      }
      start();
      mark.close();
    }),
    { numRuns: 200 },
  );
});
