import { createHash } from 'node:crypto';
import type { MessageProof } from '@sealpost/prover';
import { MerkleTree } from 'merkletreejs';
import { isReceiptProof, type Proof } from '../verify.js';

/** One Merkle path, judged by somebody else's code. */
export interface Opinion {
  readonly path: 'messagePath' | 'bundlePath' | 'receiptPath';
  readonly holds: boolean;
}

const sha256 = (...parts: (Uint8Array | string)[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const bytes = (hex: string): Buffer => Buffer.from(hex.slice(2), 'hex');
const uint = (value: bigint | number, size: number): Buffer => bytes(`0x${value.toString(16).padStart(2 * size, '0')}`);

/**
 * A second opinion on a proof's paths: merkletreejs climbs them, with hashes of Node's own crypto, from leaves made here again.
 * Only what lies left and right is ours, from index and size (RFC 9162 §2.1.3.2). `bundleHash` is the one the proof was verified
 * for.
 */
export function secondOpinion(proof: Proof, bundleHash: string): Opinion[] {
  const { message, bundle } = proof;
  const leaf = sha256(Uint8Array.of(0), bytes(message.topic), message.payload);
  const opinions: Opinion[] = [
    { path: 'messagePath', holds: climbs(leaf, proof.messageIndex, bundle.count, proof.messagePath, bundle.messagesRoot) },
  ];
  const entryOf = (isVoid: number, previous: bigint) => sha256(Uint8Array.of(0, isVoid), uint(previous, 8), bytes(bundleHash));
  if (isReceiptProof(proof)) {
    const { receipt } = proof;
    const index = Number(receipt.sequence - receipt.firstSequence);
    const entry = entryOf(receipt.void, receipt.previous);
    opinions.push({ path: 'receiptPath', holds: climbs(entry, index, receipt.count, receipt.path, receipt.root) });
  } else {
    const { header, bundleIndex, bundlePath } = proof as MessageProof;
    const entry = entryOf(proof.void, proof.previous);
    opinions.push({ path: 'bundlePath', holds: climbs(entry, bundleIndex, header.count, bundlePath, header.bundlesRoot) });
  }
  return opinions;
}

function climbs(leaf: Buffer, index: number, size: number, path: readonly string[], root: string): boolean {
  const sides = siblingSides(index, size);
  if (sides === undefined || sides.length !== path.length) return false;
  const node = (pair: Buffer) => sha256(Uint8Array.of(1), pair);
  const tree = new MerkleTree([], node, { hashLeaves: false, sortPairs: false });
  const steps = path.map((hash, at) => ({ position: sides[at] as 'left' | 'right', data: bytes(hash) }));
  return tree.verify(steps, leaf, bytes(root));
}

/** On which side each sibling of leaf `index` lies in a tree of `size`, from the leaf up; a promoted node has none. */
function siblingSides(index: number, size: number): ('left' | 'right')[] | undefined {
  if (!(index >= 0 && index < size)) return undefined;
  const sides: ('left' | 'right')[] = [];
  for (let at = index, width = size; width > 1; at = Math.floor(at / 2), width = Math.ceil(width / 2)) {
    if (at % 2 === 1) sides.push('left');
    else if (at + 1 < width) sides.push('right');
  }
  return sides;
}
