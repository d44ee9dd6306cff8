import { hash } from 'node:crypto';
import { createRequire } from 'node:module';
import { fromHex, type Hex, publicKeyAddress, type Recover, type Sha256, toHex } from '@sealpost/prover';
import secp256k1 from 'secp256k1';
import type { Signer } from '../ports.js';

/** OpenSSL's SHA-256. */
export const nativeSha256: Sha256 = (data) => hash('sha256', data, 'buffer');

/** libsecp256k1's recovery: 50 µs against 1 ms and more in JavaScript. */
export const nativeRecover: Recover = (digest, compact, recovery) => {
  try {
    return secp256k1.ecdsaRecover(compact, recovery, digest, false);
  } catch {
    // r is no point's x coordinate, or the point is at infinity: nobody's signature.
    return undefined;
  }
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
    sign: (digest) => {
      const { signature, recid } = secp256k1.ecdsaSign(digest, key);
      return `${toHex(signature)}${recid === 0 ? '1b' : '1c'}`;
    },
  };
}
