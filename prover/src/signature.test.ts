import { secp256k1 } from '@noble/curves/secp256k1';
import { keccak_256 } from '@noble/hashes/sha3';
import { describe, expect, test, vi } from 'vitest';
import { DOMAIN, highS, keyOf, sign } from '../test/log.js';
import {
  type BundleFields,
  bundleDigest,
  bundleStructHash,
  concat,
  domainSeparator,
  fromHex,
  type Hex,
  type Keccak256,
  parseSignature,
  publicKeyAddress,
  recoverSigner,
  recoverWithNoble,
  sha256,
  toHex,
  typedDataDigest,
  uintBytes,
  verifyBundleSignature,
} from './index.js';

const key = keyOf('signer');
const digest = sha256(Uint8Array.of(1));
const good = fromHex(sign(digest, key.secret), 65);
const ORDER = secp256k1.CURVE.n;
const HALF = ORDER >> 1n;

const withV = (v: number) => good.with(64, v);
const withR = (r: bigint) => concat(uintBytes(r, 32), good.subarray(32));
const withS = (s: bigint) => concat(good.subarray(0, 32), uintBytes(s, 32), good.subarray(64));

const bad: [string, Uint8Array][] = [
  ['high s with v turned', fromHex(highS(toHex(good)))],
  ['high s', withS(ORDER - BigInt(toHex(good.subarray(32, 64))))],
  ['s just above half the order', withS(HALF + 1n)],
  ['s is the order', withS(ORDER)],
  ['s above the order', withS(ORDER + 1n)],
  ['s is 2^256 - 1', withS(2n ** 256n - 1n)],
  ['s is zero', withS(0n)],
  ['r is zero', withR(0n)],
  ['r is the order', withR(ORDER)],
  ['r above the order', withR(ORDER + 1n)],
  ['r is 2^256 - 1', withR(2n ** 256n - 1n)],
  ['all zero', new Uint8Array(65)],
  ['empty', new Uint8Array(0)],
  ['64 bytes (EIP-2098)', good.subarray(0, 64)],
  ['66 bytes', concat(good, Uint8Array.of(0))],
  ...[0, 1, 2, 26, 29, 30, 35, 36, 37, 255].map((v): [string, Uint8Array] => [`v ${v}`, withV(v)]),
];

describe('the one form that is allowed (§1)', () => {
  test.each(bad)('%s is refused before anything is recovered', (_, signature) => {
    const never = () => {
      throw new Error('recovered');
    };
    const refused = expect.objectContaining({ code: 'bundle.bad_signature' });
    expect(() => parseSignature(signature)).toThrow(refused);
    expect(() => recoverSigner(digest, signature, never)).toThrow(refused);
  });

  test('the bounds themselves are in', () => {
    for (const signature of [withS(1n), withS(HALF), withR(1n), withR(ORDER - 1n)]) {
      expect(parseSignature(signature).compact).toHaveLength(64);
    }
    expect([parseSignature(withV(27)).recovery, parseSignature(withV(28)).recovery]).toEqual([0, 1]);
  });

  test('an r that is no point is nobody’s signature, with every library', () => {
    // 5^3 + 7 is no square in the field: there is no point with x = 5.
    expect(recoverWithNoble(digest, withR(5n).subarray(0, 64), 0)).toBeUndefined();
    expect(() => recoverSigner(digest, withR(5n))).toThrow(expect.objectContaining({ code: 'bundle.bad_signature' }));
  });

  test('a point at infinity is nobody’s signature', () => {
    // With r·s⁻¹-style arithmetic out of the way: R = G and s = digest make Q = r⁻¹(sR - zG) = 0.
    const point = secp256k1.ProjectivePoint.BASE.toAffine();
    const compact = concat(uintBytes(point.x, 32), uintBytes(1n, 32));
    expect(recoverWithNoble(uintBytes(1n, 32), compact, point.y % 2n === 0n ? 0 : 1)).toBeUndefined();
  });

  test('the honest one recovers to its key, the other v to another', () => {
    expect(recoverSigner(digest, good)).toBe(key.address);
    const other = recoverSigner(digest, withV(good[64] === 27 ? 28 : 27));
    expect(other).not.toBe(key.address);
  });
});

describe('a bundle’s signature', () => {
  const fields = { sender: key.address, lane: 0, nonce: 3n, expiry: 4n, postage: 5n, count: 6, messagesRoot: toHex(digest) };
  const signed: BundleFields = { ...fields, signature: sign(bundleDigest(DOMAIN, fields), key.secret) };
  const refused = expect.objectContaining({ code: 'bundle.bad_signature' });

  test('holds, whatever the letter case of its sender', () => {
    verifyBundleSignature(DOMAIN, signed);
    verifyBundleSignature(DOMAIN, { ...signed, sender: `0x${signed.sender.slice(2).toUpperCase()}` });
  });

  test('does not hold on another chain or contract', () => {
    expect(() => verifyBundleSignature({ ...DOMAIN, chainId: 1n }, signed)).toThrow(refused);
    expect(() => verifyBundleSignature({ ...DOMAIN, settlement: `0x${'22'.repeat(20)}` }, signed)).toThrow(refused);
  });

  test.each<[string, Partial<BundleFields>]>([
    ['sender', { sender: keyOf('other').address }],
    ['zero sender', { sender: `0x${'00'.repeat(20)}` }],
    ['lane', { lane: 1 }],
    ['nonce', { nonce: 4n }],
    ['expiry', { expiry: 5n }],
    ['postage', { postage: 6n }],
    ['count', { count: 7 }],
    ['messagesRoot', { messagesRoot: toHex(sha256(digest)) }],
    ['no signature', { signature: '0x' }],
    ['a signature that is no hex', { signature: 'none' as Hex }],
  ])('does not hold for another %s', (_, change) => {
    expect(() => verifyBundleSignature(DOMAIN, { ...signed, ...change })).toThrow(refused);
  });
});

describe('a keccak256 that is passed in', () => {
  const unsigned = {
    lane: 0,
    sender: key.address,
    nonce: 7n,
    expiry: 2n ** 64n - 1n,
    postage: 2n ** 128n - 1n,
    count: 4_096,
    messagesRoot: toHex(digest),
  };
  const fields: BundleFields = { ...unsigned, signature: sign(bundleDigest(DOMAIN, unsigned), key.secret) };
  const publicKey = secp256k1.getPublicKey(key.secret, false);
  const calls: [string, number, (keccak?: Keccak256) => unknown][] = [
    ['bundleStructHash', 1, (keccak) => bundleStructHash(fields, keccak)],
    ['typedDataDigest', 1, (keccak) => typedDataDigest(domainSeparator(DOMAIN), digest, keccak)],
    ['bundleDigest', 2, (keccak) => bundleDigest(DOMAIN, fields, keccak)],
    ['publicKeyAddress', 1, (keccak) => publicKeyAddress(publicKey, keccak)],
    ['recoverSigner', 1, (keccak) => recoverSigner(digest, good, undefined, keccak)],
    ['verifyBundleSignature', 3, (keccak) => verifyBundleSignature(DOMAIN, fields, undefined, keccak)],
  ];

  test.each(calls)('%s hashes with it, and gives the same', (_, times, call) => {
    const keccak = vi.fn<Keccak256>(keccak_256);
    expect(call(keccak)).toEqual(call());
    expect(keccak).toHaveBeenCalledTimes(times);
  });
});
