import fc from 'fast-check';
import { MerkleTree as Oracle } from 'merkletreejs';
import { describe, expect, test } from 'vitest';
import { randomBytes, randomFrom } from '../test/log.js';
import { buildTree, inclusionPath, isIncluded, nodeHash, sha256 } from './index.js';

const leavesOf = (size: number): Uint8Array[] => {
  const random = randomFrom(size);
  return Array.from({ length: size }, () => randomBytes(random, 32));
};

const oracleOf = (leaves: readonly Uint8Array[]) => {
  const hashPair = (pair: unknown): Buffer => {
    const preimage = new Uint8Array(65).fill(0x01, 0, 1);
    preimage.set(pair as Uint8Array, 1);
    return Buffer.from(sha256(preimage));
  };
  return new Oracle(
    leaves.map((leaf) => Buffer.from(leaf)),
    hashPair,
    { sortPairs: false, duplicateOdd: false, hashLeaves: false },
  );
};

/** On which side each sibling stands, bottom up, straight from RFC 9162 §2.1.3.1's recursive PATH(m, D_n). */
function sides(index: number, size: number): string {
  if (size === 1) return '';
  let split = 1;
  while (2 * split < size) split *= 2;
  return index < split ? `${sides(index, split)}R` : `${sides(index - split, size - split)}L`;
}

function compareWithOracle(size: number, indices: Iterable<number>): void {
  const leaves = leavesOf(size);
  const tree = buildTree(leaves);
  const oracle = oracleOf(leaves);
  expect(Buffer.compare(tree.root, oracle.getRoot())).toBe(0);
  for (const index of indices) {
    const leaf = leaves[index] as Uint8Array;
    const path = inclusionPath(tree, index);
    const expected = oracle.getProof(Buffer.from(leaf), index) as { position: 'left' | 'right'; data: Buffer }[];
    const equal =
      path.length === expected.length && path.every((node, at) => Buffer.compare(node, expected[at]?.data as Buffer) === 0);
    expect(equal, `path of ${index} in ${size}`).toBe(true);
    expect(expected.map(({ position }) => (position === 'left' ? 'L' : 'R')).join('')).toBe(sides(index, size));
    expect(isIncluded(leaf, index, size, path, tree.root), `${index} in ${size}`).toBe(true);
    expect(path.length).toBeLessThanOrEqual(Math.ceil(Math.log2(size)));
  }
}

describe('against merkletreejs', () => {
  test('every size from 1 to 300: root, and every path', () => {
    for (let size = 1; size <= 300; size++) compareWithOracle(size, Array(size).keys());
  });

  test('random larger sizes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 301, max: 5_000 }), fc.nat(), (size, seed) => {
        const random = randomFrom(seed);
        compareWithOracle(size, [0, size - 1, ...Array.from({ length: 20 }, () => random(size))]);
      }),
      { numRuns: 25 },
    );
  });
});

describe('isIncluded refuses', () => {
  const any = fc.integer({ min: 1, max: 600 }).chain((size) => fc.record({ size: fc.constant(size), index: fc.nat(size - 1) }));

  test('another index, always; another size, unless its path has the very same shape', () => {
    fc.assert(
      fc.property(any, fc.nat(700), fc.nat(700), ({ size, index }, otherIndex, otherSize) => {
        const leaves = leavesOf(size);
        const { root, ...tree } = buildTree(leaves);
        const path = inclusionPath({ root, ...tree }, index);
        const leaf = leaves[index] as Uint8Array;
        for (const [i, n] of [
          [otherIndex, size],
          [index + 1, size],
          [index - 1, size],
          [index, otherSize],
          [index, size + 1],
          [index, size - 1],
          [otherIndex, otherSize],
        ] as const) {
          // Leaf 0 of 3 and leaf 0 of 4 hash alike: a path does not commit to the size, so size is always signed or committed elsewhere.
          const same = i >= 0 && i < n && sides(i, n) === sides(index, size);
          if (n === size && i !== index) expect(same).toBe(false);
          expect(isIncluded(leaf, i, n, path, root), `${index} of ${size} as ${i} of ${n}`).toBe(same);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('another leaf, another root, and every change of the path', () => {
    fc.assert(
      fc.property(any, fc.nat(255), fc.nat(31), ({ size, index }, flip, at) => {
        const leaves = leavesOf(size);
        const tree = buildTree(leaves);
        const path = inclusionPath(tree, index);
        const leaf = leaves[index] as Uint8Array;
        const changed = (bytes: Uint8Array) => bytes.with(at, (bytes[at] as number) ^ (flip || 1));
        expect(isIncluded(changed(leaf), index, size, path, tree.root)).toBe(false);
        expect(isIncluded(leaf, index, size, path, changed(tree.root))).toBe(false);
        expect(isIncluded(leaf, index, size, [...path, tree.root], tree.root)).toBe(false);
        expect(isIncluded(leaf, index, size, [leaf, ...path], tree.root)).toBe(false);
        for (const [step, node] of path.entries()) {
          expect(isIncluded(leaf, index, size, path.with(step, changed(node)), tree.root)).toBe(false);
          expect(isIncluded(leaf, index, size, path.toSpliced(step, 1), tree.root)).toBe(false);
          expect(isIncluded(leaf, index, size, path.toSpliced(step, 0, node), tree.root)).toBe(false);
          expect(isIncluded(leaf, index, size, path.with(step, node.subarray(1)), tree.root)).toBe(false);
          if (step > 0) {
            const swapped = path.with(step, path[step - 1] as Uint8Array).with(step - 1, node);
            expect(isIncluded(leaf, index, size, swapped, tree.root)).toBe(false);
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  test('a path longer than its tree is high, though it hashes to the root', () => {
    const [leaf, other] = leavesOf(2) as [Uint8Array, Uint8Array];
    expect(isIncluded(leaf, 0, 1, [other], nodeHash(other, leaf))).toBe(false);
    expect(isIncluded(leaf, 0, 1, [other], nodeHash(leaf, other))).toBe(false);
    expect(isIncluded(leaf, 1, 2, [other, other], nodeHash(other, nodeHash(other, leaf)))).toBe(false);
    expect(isIncluded(leaf, 1, 2, [other], nodeHash(other, leaf))).toBe(true);
  });

  test('an inner node as a leaf', () => {
    const leaves = leavesOf(8);
    const tree = buildTree(leaves);
    const inner = nodeHash(leaves[0] as Uint8Array, leaves[1] as Uint8Array);
    // As a path it holds, one level up: only the prefixes 0x00 and 0x01 keep a node from being passed off as a leaf.
    expect(isIncluded(inner, 0, 4, inclusionPath(tree, 0).slice(1), tree.root)).toBe(true);
    expect(isIncluded(inner, 0, 8, inclusionPath(tree, 0), tree.root)).toBe(false);
    expect(isIncluded(inner, 0, 8, inclusionPath(tree, 0).slice(1), tree.root)).toBe(false);
  });

  test('sizes, indices and hashes that cannot be, without an exception', () => {
    const [leaf] = leavesOf(1) as [Uint8Array];
    expect(isIncluded(leaf, 0, 1, [], leaf)).toBe(true);
    for (const odd of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53), 1e308]) {
      expect(isIncluded(leaf, odd, 1, [], leaf)).toBe(false);
      expect(isIncluded(leaf, 0, odd, [], leaf)).toBe(false);
      expect(isIncluded(leaf, odd, odd, [leaf], leaf)).toBe(false);
    }
    expect(isIncluded(leaf, 0, 0, [], leaf)).toBe(false);
    for (const size of [0, 31, 33, 64]) {
      const wrong = new Uint8Array(size);
      expect(isIncluded(wrong, 0, 1, [], wrong)).toBe(false);
      expect(isIncluded(leaf, 0, 2, [wrong], leaf)).toBe(false);
    }
  });
});

test('a tree of nothing, of leaves that are no hashes, or a leaf it has not: value.malformed', () => {
  const malformed = expect.objectContaining({ code: 'value.malformed' });
  expect(() => buildTree([])).toThrow(malformed);
  expect(() => buildTree([new Uint8Array(31)])).toThrow(malformed);
  expect(() => buildTree([new Uint8Array(32), new Uint8Array(33)])).toThrow(malformed);
  expect(() => nodeHash(new Uint8Array(31), new Uint8Array(32))).toThrow(malformed);
  expect(() => nodeHash(new Uint8Array(32), new Uint8Array(33))).toThrow(malformed);
  const tree = buildTree(leavesOf(3));
  for (const index of [-1, 3, 1.5, Number.NaN, 2 ** 53]) expect(() => inclusionPath(tree, index)).toThrow(malformed);
});

test('building a tree leaves its leaves as they were', () => {
  const leaves = leavesOf(5);
  const before = leaves.map((leaf) => leaf.slice());
  const { nodes } = buildTree(leaves);
  nodes.fill(0xff);
  expect(leaves).toEqual(before);
});
