import { sha256 as nobleSha256 } from '@noble/hashes/sha2';
import { equalBytes, join } from './bytes.js';
import { ProtocolError } from './errors.js';

/**
 * SHA-256 of some bytes, as 32 bytes of its own. Native implementations may be passed in where there are any. It MUST NOT keep
 * or change `data`, whose memory is used again as soon as it returns.
 */
export type Sha256 = (data: Uint8Array) => Uint8Array;

export const sha256: Sha256 = (data) => nobleSha256(data);

const HASH_BYTES = 32;

/** `SHA256(0x00 ‖ data)`: RFC 9162 §2.1.1. What is already prefixed (messages, entries) is hashed as it is instead. */
export function leafHash(data: Uint8Array, hash: Sha256 = sha256): Uint8Array {
  const preimage = new Uint8Array(1 + data.length);
  preimage.set(data, 1);
  return hash(preimage);
}

/**
 * Owned by `nodeHash` while it runs. One for all, because V8 keeps arrays of more than 64 bytes outside its heap: to allocate
 * these 65 costs 0.6 µs, a quarter of hashing them in JavaScript and two thirds of hashing them natively.
 */
const nodePreimage = /* @__PURE__ */ new Uint8Array(1 + 2 * HASH_BYTES);

/**
 * `SHA256(0x01 ‖ left ‖ right)` of two hashes: RFC 9162 §2.1.1.
 * @throws value.malformed unless both are 32 bytes
 */
export function nodeHash(left: Uint8Array, right: Uint8Array, hash: Sha256 = sha256): Uint8Array {
  if (left.length !== HASH_BYTES || right.length !== HASH_BYTES) {
    throw malformed(`expected two hashes of ${HASH_BYTES} bytes, got ${left.length} and ${right.length}`);
  }
  nodePreimage[0] = 0x01;
  nodePreimage.set(left, 1);
  nodePreimage.set(right, 1 + HASH_BYTES);
  return hash(nodePreimage);
}

/**
 * Every node of a tree. Built once, it gives every path without hashing again. One piece of memory: an array object a node costs
 * more than the hash in it, and a sequencer keeps a thousand trees.
 */
export interface MerkleTree {
  readonly size: number;
  /** 32 bytes a node, level after level, the leaves first: above a level of n nodes is one of ⌈n/2⌉, above one node nothing. */
  readonly nodes: Uint8Array;
  readonly root: Uint8Array;
}

/**
 * The RFC 9162 §2.1 tree over leaf hashes of 32 bytes each. A lone node is promoted, never duplicated.
 * @throws value.malformed for no leaves (an empty tree proves nothing) or a leaf that is not 32 bytes
 */
export function buildTree(leaves: readonly Uint8Array[], hash: Sha256 = sha256): MerkleTree {
  const size = leaves.length;
  if (size === 0) throw malformed('a Merkle tree needs at least one leaf');
  for (const leaf of leaves) {
    if (leaf.length !== HASH_BYTES) throw malformed(`expected leaf hashes of ${HASH_BYTES} bytes, got one of ${leaf.length}`);
  }
  const all = [...leaves];
  let end = 0;
  for (let width = size; width > 1; width = Math.ceil(width / 2)) {
    let at = end;
    end += width;
    for (; at < end; at += 2) {
      const left = all[at] as Uint8Array;
      all.push(at + 1 < end ? nodeHash(left, all[at + 1] as Uint8Array, hash) : left);
    }
  }
  const nodes = join(all);
  return { size, nodes, root: nodes.subarray(-HASH_BYTES) };
}

/**
 * The siblings from leaf `index` up to the root (RFC 9162 §2.1.3.1), at most ⌈log2(size)⌉ hashes: views into the tree.
 * @throws value.malformed if the tree has no such leaf
 */
export function inclusionPath({ size, nodes }: MerkleTree, index: number): Uint8Array[] {
  if (!Number.isInteger(index) || index < 0 || index >= size) throw malformed(`expected a leaf below ${size}, got ${index}`);
  const path: Uint8Array[] = [];
  let at = index;
  let levelAt = 0;
  for (let width = size; width > 1; width = Math.ceil(width / 2)) {
    const sibling = at % 2 === 0 ? at + 1 : at - 1;
    if (sibling < width) path.push(nodes.subarray(HASH_BYTES * (levelAt + sibling), HASH_BYTES * (levelAt + sibling + 1)));
    levelAt += width;
    at = Math.floor(at / 2);
  }
  return path;
}

/**
 * True exactly if `path` leads from `leaf` at `index` to `root` in a tree of `size` leaves (RFC 9162 §2.1.3.2).
 * False, never an exception, for sizes, indices or hashes that cannot be.
 */
export function isIncluded(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
  hash: Sha256 = sha256,
): boolean {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false;
  if (leaf.length !== HASH_BYTES || root.length !== HASH_BYTES) return false;
  let node = leaf;
  let at = index;
  let last = size - 1;
  for (const sibling of path) {
    if (last === 0 || sibling.length !== HASH_BYTES) return false;
    if (at % 2 === 1 || at === last) {
      node = nodeHash(sibling, node, hash);
      // A node without a right sibling was promoted: climb to the level where it has a left one.
      while (at % 2 === 0 && at !== 0) {
        at = at / 2;
        last = Math.floor(last / 2);
      }
    } else {
      node = nodeHash(node, sibling, hash);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && equalBytes(node, root);
}

const malformed = (detail: string) => new ProtocolError('value.malformed', detail);
