import fc from 'fast-check';
import { importBytes } from 'ipfs-unixfs-importer';
import { fixedSize } from 'ipfs-unixfs-importer/chunker';
import { balanced } from 'ipfs-unixfs-importer/layout';
import type { CID } from 'multiformats/cid';
import { describe, expect, test } from 'vitest';
import { randomFrom } from '../test/log.js';
import { dataCid, dataHash, fromHex, MAX_BATCH_FILE_BYTES, sha256, toHex } from './index.js';

const CHUNK = 1_048_576;

/** The CID that IPFS' own importer gives the same bytes, with the options of PROTOCOL.md §5. */
async function importedCid(content: Uint8Array | Iterable<Uint8Array>): Promise<string> {
  const { cid } = await importBytes(
    content,
    { put: async (key: CID) => key },
    {
      cidVersion: 1,
      rawLeaves: true,
      reduceSingleLeafToSelf: false,
      chunker: fixedSize({ chunkSize: CHUNK }),
      layout: balanced({ maxChildrenPerNode: 256 }),
    },
  );
  return cid.toString();
}

function fileOf(size: number): Uint8Array {
  const random = randomFrom(size);
  const words = new Uint32Array(Math.ceil(size / 4));
  for (let index = 0; index < words.length; index++) words[index] = random(2 ** 32);
  return new Uint8Array(words.buffer, 0, size);
}

function cut(file: Uint8Array, borders: readonly number[]): Uint8Array[] {
  const sorted = [0, ...borders.map((border) => border % (file.length + 1)).sort((a, b) => a - b), file.length];
  return sorted.slice(1).map((end, index) => file.subarray(sorted[index], end));
}

describe('against ipfs-unixfs-importer', () => {
  const sizes = [1, 2, 3, 1_000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3_333_333, 7 * CHUNK + 5];
  test.each(sizes)('%i bytes, however they are cut', async (size) => {
    const file = fileOf(size);
    const whole = dataHash([file]);
    expect(dataCid(whole)).toBe(await importedCid(file));
    fc.assert(
      fc.property(fc.array(fc.nat({ max: size }), { maxLength: 12 }), (borders) => {
        expect(dataHash(cut(file, borders))).toBe(whole);
      }),
      { numRuns: 3 },
    );
  });

  test('random sizes of a few MB, cut at random borders and at every chunk border', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 * CHUNK }), fc.array(fc.nat(), { maxLength: 30 }), async (size, borders) => {
        const file = fileOf(size);
        const digest = dataHash(cut(file, [...borders, CHUNK, 2 * CHUNK - 1, 3 * CHUNK + 1]));
        expect(dataCid(digest)).toBe(await importedCid(file));
      }),
      { numRuns: 6 },
    );
  });

  test('175 chunks, more than importers link from one node by default, and 256, the most there are', async () => {
    const chunk = fileOf(CHUNK);
    const chunkDigest = sha256(chunk);
    // Every full chunk is the same one here: hash it once.
    const hash = (data: Uint8Array) => (data.length === CHUNK ? chunkDigest : sha256(data));
    for (const count of [175, 256]) {
      const parts = Array<Uint8Array>(count).fill(chunk);
      expect(dataCid(dataHash(parts, hash))).toBe(await importedCid(parts));
    }
  });
});

test('no bytes and one byte too many are refused', () => {
  const malformed = expect.objectContaining({ code: 'batch.malformed' });
  expect(() => dataHash([])).toThrow(malformed);
  expect(() => dataHash([new Uint8Array(0)])).toThrow(malformed);
  const parts = [...Array<Uint8Array>(MAX_BATCH_FILE_BYTES / CHUNK).fill(new Uint8Array(CHUNK)), Uint8Array.of(1)];
  expect(() => dataHash(parts, () => new Uint8Array(32))).toThrow(malformed);
  expect(() => dataHash(parts.slice(0, -1), () => new Uint8Array(32))).not.toThrow();
});

test('the CID names dag-pb, sha2-256 and the digest, in base32', () => {
  const digest = toHex(sha256(fromHex('0x00')));
  expect(dataCid(digest)).toMatch(/^bafybei[a-z2-7]{52}$/);
  expect(() => dataCid('0x00')).toThrow(expect.objectContaining({ code: 'value.malformed' }));
});
