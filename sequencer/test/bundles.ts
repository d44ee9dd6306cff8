import { createHash } from 'node:crypto';
import {
  type Bundle,
  bundleHash,
  bundleStructHash,
  type Domain,
  domainSeparator,
  encodeBundle,
  fieldsOf,
  frameBundle,
  fromHex,
  type Hex,
  join,
  type Message,
  publicKeyAddress,
  readBundle,
  toHex,
  typedDataDigest,
  viewTree,
} from '@sealpost/prover';
import secp256k1 from 'secp256k1';
import { nativePrimitives, nativeSha256 } from '../src/adapters/native.js';
import { submissionOfFrames } from '../src/admission.js';
import type { Store } from '../src/ports.js';
import { type VerifiedBody, verifiedBody, verifyBundles } from '../src/verifier.js';

/** The chain and contract of every test that has no L1. */
export const DOMAIN: Domain = { chainId: 31_337n, settlement: '0x5fbdb2315678afecb367f032d93f642f64180aa3' };

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const UNSIGNED: Hex = `0x${'00'.repeat(65)}`;

/** A topic with a name, on a lane. */
export function topicOf(name: string, lane = 0, laneCount = 1): Hex {
  const topic = createHash('sha256').update(name).digest();
  const wanted = Math.floor(0xffff / laneCount) - 1;
  topic.writeUInt16BE((topic.readUInt16BE(0) % wanted) * laneCount + lane, 0);
  return toHex(topic);
}

export const message = (topic: Hex, text: string): Message => ({ topic, payload: new TextEncoder().encode(text) });

export interface SignedBundle {
  readonly bundle: Bundle;
  /** Encoded, not framed; a buffer of its own. */
  readonly bytes: Uint8Array;
  readonly structHash: Uint8Array;
  readonly bundleHash: Hex;
}

export interface BundleOptions {
  readonly nonce?: bigint;
  readonly lane?: number;
  /** Unix seconds; far away if absent. */
  readonly expiry?: bigint;
  readonly postage?: bigint;
  /** Texts go to the topic `topicOf('news', lane, laneCount)`. */
  readonly messages?: readonly (Message | string)[];
  readonly laneCount?: number;
  readonly domain?: Domain;
  /** Another one gives another valid signature over the same bundle. */
  readonly entropy?: string;
}

/** Somebody with a key. */
export class Account {
  readonly address: Hex;
  readonly key: Uint8Array;

  constructor(readonly name: string) {
    this.key = createHash('sha256').update(`sealpost test account ${name}`).digest();
    this.address = publicKeyAddress(secp256k1.publicKeyCreate(this.key, false));
  }

  sign(options: BundleOptions = {}): SignedBundle {
    const { nonce = 0n, lane = 0, expiry = 4_000_000_000n, postage = 0n, laneCount = 1, domain = DOMAIN, entropy } = options;
    const topic = topicOf('news', lane, laneCount);
    const messages = (options.messages ?? ['hello']).map((one) => (typeof one === 'string' ? message(topic, one) : one));
    const unsigned = { lane, sender: this.address, nonce, expiry, postage, messages, signature: UNSIGNED };
    const bytes = encodeBundle(unsigned);
    const view = readBundle(bytes);
    const structHash = bundleStructHash(fieldsOf(view, toHex(viewTree(view, nativeSha256).root)));
    const digest = typedDataDigest(domainSeparator(domain), structHash);
    const data = entropy === undefined ? undefined : createHash('sha256').update(entropy).digest();
    const { signature, recid } = secp256k1.ecdsaSign(digest, this.key, data === undefined ? undefined : { data });
    return withSignature(unsigned, structHash, `${toHex(signature)}${recid === 0 ? '1b' : '1c'}`);
  }
}

const withSignature = (bundle: Bundle, structHash: Uint8Array, signature: Hex): SignedBundle => {
  const signed = { ...bundle, signature };
  return {
    bundle: signed,
    bytes: encodeBundle(signed),
    structHash,
    bundleHash: toHex(bundleHash(bundle.sender, structHash, fromHex(signature), nativeSha256)),
  };
};

/** Two topics that share a key in this store: among a million, a few do by chance. */
export function collidingTopics(store: Pick<Store, 'topicKey'>): [Hex, Hex] {
  const byKey = new Map<number, Hex>();
  for (let at = 0; at < 10_000_000; at++) {
    // Two words that differ: topics that differ in one only never share a key.
    const words = [at, Math.imul(at, 0x9e3779b1) >>> 0].map((word) => word.toString(16).padStart(16, '0'));
    const topic: Hex = `0x${words.join('').padStart(64, '0')}`;
    const key = store.topicKey(topic);
    const other = byKey.get(key);
    if (other !== undefined) return [other, topic];
    byKey.set(key, topic);
  }
  throw new Error('no two topics share a key');
}

/** The same bundle with something wrong about its signature. */
export const SIGNATURE_FAULTS: Readonly<Record<string, (signature: Hex) => Hex>> = {
  'high s': (signature) => {
    const high = ORDER - BigInt(`0x${signature.slice(66, 130)}`);
    return `0x${signature.slice(2, 66)}${high.toString(16).padStart(64, '0')}${signature.endsWith('1b') ? '1c' : '1b'}`;
  },
  'v 0': (signature) => `${signature.slice(0, 130) as Hex}00`,
  'v 29': (signature) => `${signature.slice(0, 130) as Hex}1d`,
  'the other v': (signature) => `${signature.slice(0, 130) as Hex}${signature.endsWith('1b') ? '1c' : '1b'}`,
  'r 0': (signature) => `0x${'00'.repeat(32)}${signature.slice(66)}`,
  'r the order': (signature) => `0x${ORDER.toString(16)}${signature.slice(66)}`,
  's 0': (signature) => `${signature.slice(0, 66) as Hex}${'00'.repeat(32)}${signature.slice(130)}`,
  's the order': (signature) => `${signature.slice(0, 66) as Hex}${ORDER.toString(16)}${signature.slice(130)}`,
  'r on no curve point': (signature) => `0x${'00'.repeat(31)}05${signature.slice(66)}`,
};

export const faulty = ({ bundle, structHash }: SignedBundle, fault: (signature: Hex) => Hex): SignedBundle =>
  withSignature(bundle, structHash, fault(bundle.signature));

/** A request body of framed bundles, alone in its buffer. */
export const frames = (...bundles: readonly SignedBundle[]): Uint8Array<ArrayBuffer> =>
  new Uint8Array(join(bundles.map(({ bytes }) => frameBundle(bytes))));

/** What the verifying threads would say of a body of these bundles. */
export function verified(laneCount: number, ...bundles: readonly SignedBundle[]): VerifiedBody {
  const { body } = submissionOfFrames(frames(...bundles));
  if (body === undefined) throw new Error('expected a body with bundles');
  const data = { separator: domainSeparator(DOMAIN), laneCount };
  return verifiedBody(body, verifyBundles(body, data, nativePrimitives));
}
