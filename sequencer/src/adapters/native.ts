import { hash } from 'node:crypto';
import { createRequire } from 'node:module';
import {
  type BundleView,
  fromHex,
  type Hex,
  messageBytes,
  publicKeyAddress,
  type Recover,
  type Sha256,
  toHex,
} from '@sealpost/prover';
import secp256k1 from 'secp256k1';
import type { Signer } from '../ports.js';
import type { Primitives } from '../verifier.js';

/** OpenSSL's SHA-256. */
export const nativeSha256: Sha256 = (data) => hash('sha256', data, 'buffer');

const scratch = Buffer.alloc(65);
scratch[0] = 0x01;

/**
 * The root over a bundle's messages, as `viewTree` gives it. Hashes travel as strings of 32 characters: to allocate a Buffer
 * for a digest costs more than to make it, 1.76 µs a leaf against 0.35.
 */
export function nativeMessagesRoot(view: BundleView): Uint8Array {
  let level: string[] = [];
  for (let index = 0; index < view.count; index++) level.push(hash('sha256', messageBytes(view, index), 'binary'));
  while (level.length > 1) {
    const above: string[] = [];
    for (let at = 0; at + 1 < level.length; at += 2) {
      scratch.write(level[at] as string, 1, 'latin1');
      scratch.write(level[at + 1] as string, 33, 'latin1');
      above.push(hash('sha256', scratch, 'binary'));
    }
    if (level.length % 2 === 1) above.push(level[level.length - 1] as string);
    level = above;
  }
  return Buffer.from(level[0] as string, 'latin1');
}

/** libsecp256k1's recovery: 50 µs against 1 ms and more in JavaScript. */
export const nativeRecover: Recover = (digest, compact, recovery) => {
  try {
    return secp256k1.ecdsaRecover(compact, recovery, digest, false);
  } catch {
    // r is no point's x coordinate, or the point is at infinity: nobody's signature.
    return undefined;
  }
};

/** What verifying threads work with. */
export const nativePrimitives: Primitives = { hash: nativeSha256, recover: nativeRecover, messagesRoot: nativeMessagesRoot };

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
    sign: (digest) => {
      const { signature, recid } = secp256k1.ecdsaSign(digest, key);
      return `${toHex(signature)}${recid === 0 ? '1b' : '1c'}`;
    },
  };
}
