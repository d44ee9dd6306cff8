import { createHash } from 'node:crypto';
import { keccak256, type MerkleTree, readBundle, viewTree } from '@sealpost/prover';
import { MerkleTree as PeerTree } from 'merkletreejs';
import { expect, test } from 'vitest';
import { Account, message, topicOf } from '../../test/bundles.js';
import { fastKeccak256, nativeHashing, nativeMessagesRoot } from './native.js';

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const bytesOf = ({ nodes }: MerkleTree) => Buffer.from(nodes);

test('trees over entries: leaves as §3 says, nodes as an independent library has them', () => {
  for (const count of [1, 2, 3, 5, 8, 13, 64, 100]) {
    const entries = Array.from({ length: count }, (_, index) => ({
      void: (index % 3 === 0 ? 1 : 0) as 0 | 1,
      previous: BigInt(index) * 2n ** 40n,
      bundleHash: sha256(Buffer.from(`bundle ${index}`)),
    }));
    const leaves = entries.map(({ void: isVoid, previous, bundleHash }) => {
      const claims = Buffer.alloc(10);
      claims[1] = isVoid;
      claims.writeBigUInt64BE(previous, 2);
      return sha256(claims, bundleHash);
    });
    const peer = new PeerTree(leaves, (pair: Buffer) => sha256(Buffer.of(1), pair));
    const tree = nativeHashing.entriesTree(entries);
    expect(tree.size).toBe(count);
    expect(Buffer.from(tree.root)).toEqual(peer.getRoot());
    expect(bytesOf(tree)).toEqual(Buffer.concat(peer.getLayers().flat()));
    expect(bytesOf(nativeHashing.leavesTree(Buffer.concat(leaves)))).toEqual(bytesOf(tree));
  }
});

test('trees over a bundle’s messages are the prover’s', () => {
  for (const count of [1, 2, 7, 33]) {
    const messages = Array.from({ length: count }, (_, index) => message(topicOf(`${index}`), 'x'.repeat(97 * index)));
    const view = readBundle(new Account('alice').sign({ messages }).bytes);
    const expected = viewTree(view);
    expect(bytesOf(nativeHashing.messagesTree(view))).toEqual(bytesOf(expected));
    expect(Buffer.from(nativeMessagesRoot(view))).toEqual(Buffer.from(expected.root));
  }
});

test('keccak in WebAssembly is noble’s, for every length around its block', () => {
  for (let length = 0; length < 300; length++) {
    const data = Buffer.alloc(length, length);
    expect(Buffer.from(fastKeccak256(data))).toEqual(Buffer.from(keccak256(data)));
  }
});
