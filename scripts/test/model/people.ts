import { createHash } from 'node:crypto';
import { developmentParameters, type Parameters } from '@sealpost/contracts';
import {
  type BundleFields,
  bundleHash,
  bundleStructHash,
  type Domain,
  domainSeparator,
  encodeBundle,
  fieldsOf,
  fromHex,
  type Hex,
  readBundle,
  registrationDigest,
  toHex,
  typedDataDigest,
} from '@sealpost/prover';
import { createSigner, fastKeccak256, nativeMessagesRoot, nativeSha256 } from '@sealpost/sequencer/adapters/native';
import secp256k1 from 'secp256k1';
import { getContractAddress } from 'viem';
import type { Tip } from './chain.js';
import { type Block, type Deployed, execute, genesis, type State, type Transaction } from './settlement.js';

/** Somebody with a key and an account on the L1. */
export interface Person {
  readonly name: string;
  readonly address: Hex;
  readonly sign: (digest: Uint8Array) => Hex;
  /** Another signature of the same key over the same digest. */
  readonly resign: (digest: Uint8Array) => Hex;
}

export function person(name: string): Person {
  const key = createHash('sha256').update(`sealpost model ${name}`).digest();
  const { address, sign } = createSigner(toHex(key));
  const resign = (digest: Uint8Array): Hex => {
    const { signature, recid } = secp256k1.ecdsaSign(digest, key, { data: Buffer.alloc(32, 1) });
    return `${toHex(signature)}${recid === 0 ? '1b' : '1c'}`;
  };
  return { name, address, sign, resign };
}

export const LANES = [0, 1] as const;
export const DEPLOYER = person('deployer');
export const REPORTER = person('reporter');
export const USERS = ['alice', 'bob', 'carol'].map(person);

/** Who may run lanes: each with an account that posts, and receipt signers to rotate through. */
export const OPERATORS = ['first', 'second', 'third'].map((name) => ({
  ...person(name),
  poster: person(`${name}'s poster`),
  signers: [0, 1, 2, 3].map((at) => person(`${name}'s signer ${at}`)),
}));
export type ModelOperator = (typeof OPERATORS)[number];

const ETHER = 10n ** 18n;
export const BOND = 10n * ETHER;

/**
 * Small, in the proportions of a main network: what is final, or 128 blocks deep, is so long before anything is overdue, and a reorg
 * and an outage together fit every delay.
 */
export const PARAMETERS: Parameters = {
  ...developmentParameters,
  maxIncludeDelay: 600n,
  answerDelay: 300n,
  evidenceWindow: 600n,
  exitDelay: 1_500n,
  takeoverDelay: 200n,
  forcedDelay: 200n,
  withdrawDelay: 901n,
};

export const DOMAIN: Domain = {
  chainId: 31_337n,
  settlement: getContractAddress({ from: DEPLOYER.address, nonce: 0n }).toLowerCase() as Hex,
};
export const SEPARATOR = domainSeparator(DOMAIN);

/** The first operator runs every lane; all of them are registered. */
export const FIRST_OPERATORS: readonly Hex[] = LANES.map(() => (OPERATORS[0] as ModelOperator).address);

/** How an operator registers on a lane, with one of its signers. */
export const registration = (operator: ModelOperator, lane: number, signer: number, value: bigint): Transaction => {
  const { address, sign } = operator.signers[signer] as Person;
  const digest = registrationDigest(SEPARATOR, { lane, operator: operator.address, signer: address });
  return {
    to: 'register',
    args: [lane, operator.poster.address, address, sign(digest)],
    from: operator.address,
    value,
  };
};

/** What is done right after the deployment. */
export const REGISTRATIONS: readonly Transaction[] = LANES.flatMap((lane) =>
  OPERATORS.map((operator) => registration(operator, lane, 0, BOND)),
);

/** The block of the last registration. */
export function start(deployed: Deployed, deployment: Block): Tip {
  let tip: Tip = { ...deployment, state: genesis(FIRST_OPERATORS, deployment) };
  for (const transaction of REGISTRATIONS) {
    const block = { number: tip.number + 1n, timestamp: tip.timestamp + 12n };
    tip = { ...block, state: execute(tip.state, block, transaction, deployed) as State };
  }
  return tip;
}

/** A bundle, signed or not quite. */
export interface SignedBundle {
  readonly bytes: Uint8Array;
  readonly fields: BundleFields;
  readonly structHash: Uint8Array;
  readonly bundleHash: Uint8Array;
}

export interface BundleOptions {
  readonly sender: Person;
  readonly lane: number;
  readonly nonce: bigint;
  readonly count: number;
  readonly expiry: bigint;
  /** What distinguishes messages, and signatures over the same ones. */
  readonly text?: string;
  readonly fault?: 'forged' | 'foreign lane' | 'resigned';
}

export const FAR_AWAY = 4_000_000_000n;

const NO_SIGNATURE: Hex = `0x${'00'.repeat(65)}`;
const made = new Map<string, SignedBundle>();

/** The same bundle for the same options, made once. */
export function makeBundle(options: BundleOptions): SignedBundle {
  const { sender, lane, nonce, count, expiry, text = '', fault } = options;
  const key = [sender.name, lane, nonce, count, expiry, text, fault].join('/');
  let bundle = made.get(key);
  if (bundle === undefined) {
    bundle = signBundle(options);
    // Many traces make the same ones; not so many that memory fills.
    if (made.size > 20_000) made.clear();
    made.set(key, bundle);
  }
  return bundle;
}

function signBundle({ sender, lane, nonce, count, expiry, text = '', fault }: BundleOptions): SignedBundle {
  const topicLane = fault === 'foreign lane' ? 1 - lane : lane;
  const topic: Hex = `0x000${topicLane}${'ab'.repeat(30)}`;
  const messages = Array.from({ length: count }, (_, at) => ({ topic, payload: new TextEncoder().encode(`${text}${at}`) }));
  const unsigned = { lane, sender: sender.address, nonce, expiry, postage: 0n, messages, signature: NO_SIGNATURE };
  const view = readBundle(encodeBundle(unsigned));
  const structHash = bundleStructHash(fieldsOf(view, toHex(nativeMessagesRoot(view))), fastKeccak256);
  const digest = typedDataDigest(SEPARATOR, structHash, fastKeccak256);
  // Another's signature, or one over something else: both recover to somebody who is not the sender.
  const signature =
    fault === 'forged' ? REPORTER.sign(digest) : fault === 'resigned' ? sender.resign(digest) : sender.sign(digest);
  const bytes = encodeBundle({ ...unsigned, signature });
  return {
    bytes,
    fields: { ...fieldsOf(view, toHex(nativeMessagesRoot(view))), signature },
    structHash,
    bundleHash: bundleHash(sender.address, structHash, fromHex(signature), nativeSha256),
  };
}
