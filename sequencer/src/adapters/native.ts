import { hash } from 'node:crypto';
import { createRequire } from 'node:module';
import {
  type BundleView,
  fromHex,
  type Hex,
  type Keccak256,
  type MerkleTree,
  messageBytes,
  publicKeyAddress,
  type Recover,
  type Sha256,
  toHex,
} from '@sealpost/prover';
import { createKeccak } from 'hash-wasm';
import secp256k1 from 'secp256k1';
import type { EntryClaims, Hashing, Signer } from '../ports.js';
import type { Primitives } from '../verifier.js';

/** OpenSSL's SHA-256. */
export const nativeSha256: Sha256 = (data) => hash('sha256', data, 'buffer');

// Digests travel as strings of 32 characters, one a byte: to allocate a Buffer for a digest costs more than to make it, 1.76 µs
// a leaf against 0.35.
const digest = (data: Uint8Array): string => hash('sha256', data, 'binary');

const HASH_BYTES = 32;
const pair = Buffer.alloc(1 + 2 * HASH_BYTES);
pair[0] = 0x01;

function levelAbove(level: readonly string[]): string[] {
  const above: string[] = [];
  for (let at = 0; at + 1 < level.length; at += 2) {
    pair.write(level[at] as string, 1, 'latin1');
    pair.write(level[at + 1] as string, 1 + HASH_BYTES, 'latin1');
    above.push(digest(pair));
  }
  if (level.length % 2 === 1) above.push(level[level.length - 1] as string);
  return above;
}

/** The tree that the prover's `buildTree` gives. */
function treeOf(leaves: readonly string[]): MerkleTree {
  const levels = [leaves];
  for (let level = leaves; level.length > 1; levels.push(level)) level = levelAbove(level);
  const nodes = Buffer.from(levels.map((level) => level.join('')).join(''), 'latin1');
  return { size: leaves.length, nodes, root: nodes.subarray(-HASH_BYTES) };
}

function leavesOf(view: BundleView): string[] {
  const leaves: string[] = [];
  for (let index = 0; index < view.count; index++) leaves.push(digest(messageBytes(view, index)));
  return leaves;
}

/** The root over a bundle's messages: what the verifying threads spend most of their time on. */
export function nativeMessagesRoot(view: BundleView): Uint8Array {
  let level = leavesOf(view);
  while (level.length > 1) level = levelAbove(level);
  return Buffer.from(level[0] as string, 'latin1');
}

const claims = Buffer.alloc(1 + 1 + 8 + HASH_BYTES);

function entryLeaf({ void: isVoid, previous, bundleHash }: EntryClaims): string {
  claims[1] = isVoid;
  claims.writeBigUInt64BE(previous, 2);
  claims.set(bundleHash, 10);
  return digest(claims);
}

function splitHashes({ buffer, byteOffset, length }: Uint8Array): string[] {
  const all = Buffer.from(buffer, byteOffset, length).toString('latin1');
  return Array.from({ length: length / HASH_BYTES }, (_, at) => all.slice(HASH_BYTES * at, HASH_BYTES * (at + 1)));
}

const wasmKeccak = await createKeccak(256);

/** Keccak-256 in WebAssembly: 1 µs for a bundle's fields, against 11 in JavaScript. */
export const fastKeccak256: Keccak256 = (data) => wasmKeccak.init().update(data).digest('binary');

/** SHA-256 and its trees by OpenSSL. */
export const nativeHashing: Hashing = {
  sha256: nativeSha256,
  keccak256: fastKeccak256,
  messagesTree: (view) => treeOf(leavesOf(view)),
  entriesTree: (entries) => treeOf(entries.map(entryLeaf)),
  leavesTree: (leaves) => treeOf(splitHashes(leaves)),
};

/** libsecp256k1's recovery: 50 µs against 1 ms and more in JavaScript. */
export const nativeRecover: Recover = (message, compact, recovery) => {
  try {
    return secp256k1.ecdsaRecover(compact, recovery, message, false);
  } catch {
    // r is no point's x coordinate, or the point is at infinity: nobody's signature.
    return undefined;
  }
};

/** What verifying threads work with. */
export const nativePrimitives: Primitives = {
  sha256: nativeSha256,
  keccak256: fastKeccak256,
  recover: nativeRecover,
  messagesRoot: nativeMessagesRoot,
};

/** Whether secp256k1 runs as machine code: the package falls back to JavaScript, 20 times slower, without a word. */
export function isSecp256k1Native(): boolean {
  const require = createRequire(import.meta.url);
  try {
    require('secp256k1/bindings.js');
    return true;
  } catch {
    return false;
  }
}

/** A receipt signer over a private key of 32 bytes. */
export function createSigner(privateKey: Hex): Signer {
  const key = fromHex(privateKey, 32);
  return {
    address: publicKeyAddress(secp256k1.publicKeyCreate(key, false)),
    sign: (message) => {
      const { signature, recid } = secp256k1.ecdsaSign(message, key);
      return `${toHex(signature)}${recid === 0 ? '1b' : '1c'}`;
    },
  };
}
