import { secp256k1 } from '@noble/curves/secp256k1';
import { keccak_256 } from '@noble/hashes/sha3';
import { addressWord, ascii, concat, type Hex, toHex, uintWord, ZERO_HASH } from './bytes.js';
import { ProtocolError } from './errors.js';

export const SIGNATURE_BYTES = 65;

/** Where the EIP-712 signatures hold: one chain, one Settlement contract. */
export interface Domain {
  readonly chainId: bigint;
  readonly settlement: Hex;
}

/** Recovers an uncompressed public key (65 bytes), or nothing. `compact` is r ‖ s, checked to be low-s before the call. */
export type Recover = (digest: Uint8Array, compact: Uint8Array, recovery: 0 | 1) => Uint8Array | undefined;

/**
 * keccak256 of some bytes, as 32 bytes. Faster implementations may be passed in where there are any. It MUST NOT keep or change
 * `data`, whose memory is used again as soon as it returns.
 */
export type Keccak256 = (data: Uint8Array) => Uint8Array;

export const keccak256: Keccak256 = (data) => keccak_256(data);

/** keccak256 of a text: EIP-712's type hashes and strings. */
export const keccakText = (text: string): Uint8Array => keccak256(ascii(text));

const DOMAIN_TYPE = /* @__PURE__ */ keccakText(
  'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)',
);
const DOMAIN_NAME = /* @__PURE__ */ keccakText('Sealpost');
const DOMAIN_VERSION = /* @__PURE__ */ keccakText('1');

/**
 * EIP-712's domain separator for `{name: "Sealpost", version: "1", chainId, verifyingContract}` (§3): 32 bytes.
 * @throws value.malformed
 */
export function domainSeparator(domain: Domain): Uint8Array {
  const { chainId, settlement } = domain;
  return keccak256(concat(DOMAIN_TYPE, DOMAIN_NAME, DOMAIN_VERSION, uintWord(chainId, 32), addressWord(settlement)));
}

/** EIP-712's digest: `keccak256(0x19 01 ‖ domainSeparator ‖ structHash)`. */
export const typedDataDigest = (separator: Uint8Array, structHash: Uint8Array, keccak: Keccak256 = keccak256): Uint8Array =>
  keccak(concat(Uint8Array.of(0x19, 0x01), separator, structHash));

// As hex, which sorts as the numbers do: to make numbers of r and s costs more than all the rest of the check.
const HALF_ORDER = '0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0';
const ORDER = '0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141';

/**
 * `r ‖ s` and the recovery bit of a signature in the one form that is allowed (§1): 65 bytes, v 27 or 28, r and s in
 * range, low s. Checked before recovering, because libraries and `ecrecover` accept more.
 * @throws bundle.bad_signature
 */
export function parseSignature(signature: Uint8Array): { compact: Uint8Array; recovery: 0 | 1 } {
  if (signature.length !== SIGNATURE_BYTES) throw badSignature(`expected a signature of 65 bytes, got ${signature.length}`);
  const v = signature[64];
  if (v !== 27 && v !== 28) throw badSignature(`expected a signature with v 27 or 28, got ${v}`);
  const r = toHex(signature.subarray(0, 32));
  const s = toHex(signature.subarray(32, 64));
  if (r === ZERO_HASH || r >= ORDER) throw badSignature('r of the signature is out of range');
  if (s === ZERO_HASH || s > HALF_ORDER) throw badSignature('s of the signature is out of range or high (EIP-2)');
  return { compact: signature.subarray(0, 64), recovery: v === 27 ? 0 : 1 };
}

/** `Recover` in pure JavaScript: about a millisecond. */
export const recoverWithNoble: Recover = (digest, compact, recovery) => {
  try {
    return secp256k1.Signature.fromCompact(compact).addRecoveryBit(recovery).recoverPublicKey(digest).toRawBytes(false);
  } catch {
    // r is no point's x coordinate, or the point is at infinity: nobody's signature.
    return undefined;
  }
};

/** The Ethereum address of an uncompressed public key of 65 bytes. */
export const publicKeyAddress = (publicKey: Uint8Array, keccak: Keccak256 = keccak256): Hex =>
  toHex(keccak(publicKey.subarray(1)).subarray(12));

/**
 * The address whose key made `signature` over `digest`; never the zero address.
 * @throws bundle.bad_signature if the form is wrong (§1) or nothing can be recovered
 */
export function recoverSigner(
  digest: Uint8Array,
  signature: Uint8Array,
  recover: Recover = recoverWithNoble,
  keccak: Keccak256 = keccak256,
): Hex {
  const { compact, recovery } = parseSignature(signature);
  const publicKey = recover(digest, compact, recovery);
  if (publicKey === undefined) throw badSignature('no key could have made the signature');
  return publicKeyAddress(publicKey, keccak);
}

/** The one error of everything that is wrong with a signature. Proofs and receipts put the name of their step before it. */
export const badSignature = (detail: string) => new ProtocolError('bundle.bad_signature', detail);
