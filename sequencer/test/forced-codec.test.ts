import { developmentParameters, settlementAbi } from '@sealpost/contracts';
import {
  type BundleView,
  buildTree,
  type Domain,
  domainSeparator,
  frameBundle,
  fromHex,
  HEADER_BYTES,
  type Hex,
  join,
  MAX_PAYLOAD_BYTES,
  MESSAGE_PREFIX_BYTES,
  type Message,
  ProtocolError,
  readBundle,
  splitFrames,
  toHex,
  typedDataDigest,
  uintBytes,
  viewOf,
  viewStructHash,
  viewTree,
} from '@sealpost/prover';
import fc from 'fast-check';
import secp256k1 from 'secp256k1';
import { decodeErrorResult, encodeFunctionData, toEventSelector } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { nativePrimitives, nativeSha256 } from '../src/adapters/native.js';
import { verifyBundles } from '../src/verifier.js';
import { type Anvil, deploySettlement, KEYS, startAnvil } from './anvil.js';
import { Account, topicOf } from './bundles.js';

// forceInclude reads framed bundles by itself, in Solidity. It must take what we take: a bundle that only one side can read would
// be forced on a sequencer that cannot include it, or could not be forced at all.

const LANES = 2;
const MAX_FRAMED_BYTES = 98_304;
const SIGNATURE_BYTES = 65;
const FRAME_BYTES = 4;
/** Time of the block that judges: in the future of whichever clock runs the chain. */
const NOW = 3_000_000_000n;
const EARLIEST_EXPIRY = NOW + developmentParameters.minForcedLife;
const CASES = 400;
const FIXED_SEED = 8_304;
const RANDOM_SEED = Math.floor(Math.random() * 2 ** 31);

const alice = new Account('alice of the inbox');
let anvil: Anvil;
let settlement: Hex;
let domain: Domain;

beforeAll(async () => {
  anvil = await startAnvil();
  settlement = await deploySettlement(anvil, { laneCount: LANES });
  domain = { chainId: 31_337n, settlement };
  await anvil.rpc('evm_setNextBlockTimestamp', [Number(NOW)]);
  await anvil.mine();
});
afterAll(() => anvil?.stop());

interface Case {
  readonly name: string;
  readonly framed: Uint8Array;
}

type Verdict = 'taken' | 'MalformedBundle' | 'BundleTooLong' | 'BadSignature' | 'ExpiresTooSoon';

const ERRORS: Readonly<Record<string, Verdict>> = {
  'bundle.malformed': 'MalformedBundle',
  // Of a payload: what is longer than the inbox takes is refused by its length.
  'bundle.too_large': 'MalformedBundle',
  'bundle.wrong_lane': 'MalformedBundle',
  'bundle.bad_signature': 'BadSignature',
};

/** What the sequencer's own code says of it, and §8's rules of length and expiry. */
function ourVerdict(framed: Uint8Array): { verdict: Verdict; bundleHash?: Hex } {
  if (framed.length > MAX_FRAMED_BYTES) return { verdict: 'BundleTooLong' };
  let bundles: Uint8Array[];
  try {
    bundles = splitFrames(framed);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { verdict: 'MalformedBundle' };
  }
  if (bundles.length !== 1) return { verdict: 'MalformedBundle' };
  const body = { bytes: framed, bounds: Uint32Array.of(FRAME_BYTES, framed.length) };
  const data = { separator: domainSeparator(domain), laneCount: LANES };
  const { hashes, refusals } = verifyBundles(body, data, nativePrimitives);
  const refusal = refusals.get(0);
  if (refusal) return { verdict: ERRORS[refusal.refused.code] as Verdict };
  if (viewOf(framed).getBigUint64(FRAME_BYTES + 31) < EARLIEST_EXPIRY) return { verdict: 'ExpiresTooSoon' };
  return { verdict: 'taken', bundleHash: toHex(hashes.subarray(32, 64)) };
}

const transaction = (framed: Uint8Array) => ({
  from: privateKeyToAddress(KEYS[3]),
  to: settlement,
  value: '0xde0b6b3a7640000',
  gas: '0x1c9c380',
  data: encodeFunctionData({ abi: settlementAbi, functionName: 'forceInclude', args: [toHex(framed)] }),
});

/** What the contract says, a hundred to a request. */
async function contractVerdicts(cases: readonly Case[]): Promise<string[]> {
  const verdicts: string[] = [];
  for (let first = 0; first < cases.length; first += 100) {
    const calls = cases.slice(first, first + 100).map(({ framed }, id) => ({
      jsonrpc: '2.0',
      id,
      method: 'eth_call',
      params: [transaction(framed), 'latest'],
    }));
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(anvil.url, { method: 'POST', headers, body: JSON.stringify(calls) });
    const answers = (await response.json()) as { id: number; error?: { message: string; data?: Hex } }[];
    expect(answers).toHaveLength(calls.length);
    for (const { error } of answers.sort((one, other) => one.id - other.id)) {
      if (!error) verdicts.push('taken');
      else if (!error.data || error.data === '0x') verdicts.push(error.message);
      else verdicts.push(decodeErrorResult({ abi: settlementAbi, data: error.data }).errorName);
    }
  }
  return verdicts;
}

/** Holds both verdicts against each other, and returns how often each was given. */
async function compare(cases: readonly Case[]): Promise<Map<Verdict, number>> {
  const theirs = await contractVerdicts(cases);
  const counts = new Map<Verdict, number>();
  for (const [index, { name, framed }] of cases.entries()) {
    const { verdict } = ourVerdict(framed);
    // The bytes, so that a failure can become a named test.
    expect(theirs[index], `${name}: ${toHex(framed).slice(0, 4_000)}`).toBe(verdict);
    counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  }
  return counts;
}

/** Signs the bytes anew, where they can still be read: else a changed byte would only ever show as a bad signature. */
function resigned(framed: Uint8Array): Uint8Array {
  try {
    const copy = framed.slice();
    const view = readBundle(copy.subarray(FRAME_BYTES));
    const structHash = viewStructHash(view, viewTree(view, nativeSha256).root);
    const { signature, recid } = secp256k1.ecdsaSign(typedDataDigest(domainSeparator(domain), structHash), alice.key);
    copy.set(signature, copy.length - SIGNATURE_BYTES);
    copy[copy.length - 1] = 27 + recid;
    return copy;
  } catch (error) {
    if (error instanceof ProtocolError) return framed;
    throw error;
  }
}

interface Shape {
  readonly lane?: number;
  readonly nonce?: bigint;
  readonly expiry?: bigint;
  readonly postage?: bigint;
  readonly payloads?: readonly number[];
}

function framedBundle({ lane = 0, nonce = 0n, expiry = EARLIEST_EXPIRY, postage = 0n, payloads = [5] }: Shape): Uint8Array {
  const messages = payloads.map((length, index): Message => {
    const topic = topicOf(`topic ${index}`, lane, LANES);
    return { topic, payload: new Uint8Array(length).fill(index) };
  });
  return frameBundle(alice.sign({ lane, nonce, expiry, postage, messages, domain }).bytes);
}

/** Where numbers stand that say how the rest is read: the frame's length, the count, each message's length. */
function lengthsIn(framed: Uint8Array): number[] {
  const places = [0, FRAME_BYTES + 55];
  const view = viewOf(framed);
  let at = FRAME_BYTES + HEADER_BYTES;
  while (at + 4 + SIGNATURE_BYTES < framed.length) {
    places.push(at);
    at += 4 + view.getUint32(at);
  }
  return places;
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  lane: fc.nat(LANES - 1),
  nonce: fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 50n }), fc.constantFrom(0n, 2n ** 64n - 50n)),
  expiry: fc.oneof(fc.constantFrom(EARLIEST_EXPIRY, EARLIEST_EXPIRY - 1n, EARLIEST_EXPIRY + 1n), fc.bigInt(0n, 2n ** 64n - 1n)),
  postage: fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
  payloads: fc.array(fc.nat(80), { minLength: 1, maxLength: 9 }),
});

/** One change, as a function of the bytes it meets. `pick` chooses a place, whatever their number. */
const changes = fc.record({
  kind: fc.constantFrom('byte', 'head', 'length', 'near', 'cut', 'drop', 'double', 'append', 'lane of a topic', 'signature'),
  pick: fc.nat(),
  value: fc.nat(255),
  word: fc.constantFrom(0, 1, 32, 33, 34, 4_096, 4_097, 65_569, 65_570, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff),
});

function changed(framed: Uint8Array, { kind, pick, value, word }: { kind: string; pick: number; value: number; word: number }) {
  const bytes = framed.slice();
  if (bytes.length < FRAME_BYTES + HEADER_BYTES + SIGNATURE_BYTES) return bytes;
  const view = viewOf(bytes);
  const lengths = lengthsIn(framed);
  const length = lengths[pick % lengths.length] as number;
  const at = pick % bytes.length;
  if (kind === 'byte') bytes[at] = value;
  else if (kind === 'head') bytes[FRAME_BYTES + (pick % HEADER_BYTES)] = value;
  else if (kind === 'length') view.setUint32(length, word);
  else if (kind === 'near') view.setUint32(length, (view.getUint32(length) + (value % 9) - 4) >>> 0);
  else if (kind === 'cut') return bytes.subarray(0, at);
  else if (kind === 'drop') return join([bytes.subarray(0, at), bytes.subarray(at + 1 + (value % 70))]);
  else if (kind === 'double') return join([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - 1 - (value % 70)))]);
  else if (kind === 'append') return join([bytes, new Uint8Array(1 + (value % 70)).fill(value)]);
  else if (kind === 'lane of a topic') bytes[Math.min((lengths[2] as number) + 6, bytes.length - 1)] = value;
  else bytes[bytes.length - 1 - (pick % SIGNATURE_BYTES)] = value;
  return bytes;
}

/** A bundle, changed none to three times; the frame and the signature are then often made to fit again. */
const corrupted: fc.Arbitrary<Case> = fc
  .record({ shape: shapes, all: fc.array(changes, { maxLength: 3 }), reframe: fc.boolean(), resign: fc.boolean() })
  .map(({ shape, all, reframe, resign }) => {
    let framed = all.reduce(changed, framedBundle(shape));
    if (reframe && framed.length >= FRAME_BYTES) framed = frameBundle(framed.subarray(FRAME_BYTES));
    if (resign) framed = resigned(framed);
    return { name: all.map(({ kind }) => kind).join(', ') || 'as it is', framed };
  });

const set = (framed: Uint8Array, at: number, ...values: number[]) => {
  const bytes = framed.slice();
  bytes.set(values, at);
  return bytes;
};

/** What alone is wrong with a bundle that is otherwise consistent, signature included: nothing else can be why it is refused. */
const FAULTS = [
  'nothing',
  'its version',
  'its lane',
  'the topic of a message',
  'the first byte of a message',
  'the length of a message',
  'bytes behind its messages',
  'a count too large',
  'a count too small',
  'no message',
  'its nonce',
  'its sender',
] as const;

const faulty: fc.Arbitrary<Case> = fc
  .record({
    fault: fc.constantFrom(...FAULTS),
    lengths: fc.array(fc.nat(60), { minLength: 1, maxLength: 6 }),
    lane: fc.nat(LANES - 1),
    pick: fc.nat(),
    value: fc.integer({ min: 1, max: 255 }),
  })
  .map(({ fault, lengths, lane, pick, value }) => {
    const messages = lengths.map(
      (length): Uint8Array => set(new Uint8Array(MESSAGE_PREFIX_BYTES + length), 1, 0, lane + LANES * (value >> 2)),
    );
    const chosen = pick % messages.length;
    const message = messages[chosen] as Uint8Array;
    if (fault === 'the topic of a message') message[2] = lane + 1;
    if (fault === 'the first byte of a message') message[0] = value;
    if (fault === 'the length of a message') messages[chosen] = message.subarray(0, value % MESSAGE_PREFIX_BYTES);
    const head = new Uint8Array(HEADER_BYTES);
    const view = viewOf(head);
    head[0] = fault === 'its version' ? value + Number(value === 1) : 1;
    view.setUint16(1, fault === 'its lane' ? lane + LANES * value : lane);
    if (fault !== 'its sender') head.set(fromHex(alice.address), 3);
    view.setBigUint64(23, fault === 'its nonce' ? 2n ** 64n - BigInt(1 + (value % messages.length)) : BigInt(value));
    view.setBigUint64(31, EARLIEST_EXPIRY);
    const counts = { 'a count too large': 1, 'a count too small': -1, 'no message': -messages.length };
    view.setUint32(55, messages.length + (counts[fault as keyof typeof counts] ?? 0));
    const root = buildTree(messages.map(nativeSha256), nativeSha256).root;
    // Of the view, only its bytes are asked for.
    const structHash = viewStructHash({ bytes: head } as BundleView, root);
    const { signature, recid } = secp256k1.ecdsaSign(typedDataDigest(domainSeparator(domain), structHash), alice.key);
    const encoded = messages.flatMap((one) => [uintBytes(one.length, 4), one]);
    const behind = new Uint8Array(fault === 'bytes behind its messages' ? value : 0);
    return { name: fault, framed: frameBundle(join([head, ...encoded, behind, signature, Uint8Array.of(27 + recid)])) };
  });

test.each([
  ['a fixed seed', FIXED_SEED],
  ['a random seed', RANDOM_SEED],
])('the contract takes the bundles that we take, and refuses the others for the same reason: %s, %i', async (_, seed) => {
  const cases = fc.sample(fc.oneof({ arbitrary: corrupted, weight: 2 }, { arbitrary: faulty, weight: 1 }), {
    numRuns: CASES,
    seed,
  });
  const counts = await compare(cases);
  // Cases of one kind only would show little.
  const kinds: readonly Verdict[] = ['taken', 'MalformedBundle', 'BadSignature', 'ExpiresTooSoon'];
  for (const kind of kinds) expect(counts.get(kind), kind).toBeGreaterThan(5);
});

/** `framed` would be `total` bytes long with a last message that fills it up. */
const ofLength = (total: number) =>
  framedBundle({
    payloads: [60_000, total - FRAME_BYTES - HEADER_BYTES - SIGNATURE_BYTES - 2 * (4 + MESSAGE_PREFIX_BYTES) - 60_000],
  });

test('what stands at a bound is judged alike', async () => {
  const framed = framedBundle({ payloads: [0, 7] });
  const withSignature = (signature: Hex) => set(framed, framed.length - SIGNATURE_BYTES, ...fromHex(signature));
  const payload = (length: number) => {
    const bundle = framedBundle({ payloads: [MAX_PAYLOAD_BYTES] });
    const end = bundle.length - SIGNATURE_BYTES;
    const longer = join([bundle.subarray(0, end), new Uint8Array(length - MAX_PAYLOAD_BYTES), bundle.subarray(end)]);
    viewOf(longer).setUint32(FRAME_BYTES + HEADER_BYTES, MESSAGE_PREFIX_BYTES + length);
    return frameBundle(longer.subarray(FRAME_BYTES));
  };
  const nonceAt = (nonce: bigint) => {
    const bytes = framed.slice();
    viewOf(bytes).setBigUint64(FRAME_BYTES + 23, nonce);
    return resigned(bytes);
  };
  const named: [Verdict, string, Uint8Array][] = [
    ['taken', 'two messages, one without a payload', framed],
    ['MalformedBundle', 'nothing', new Uint8Array()],
    ['MalformedBundle', 'three bytes', new Uint8Array(3)],
    ['MalformedBundle', 'an empty frame', new Uint8Array(4)],
    ['MalformedBundle', 'two bundles', join([framed, framed])],
    ['MalformedBundle', 'a bundle without its frame', framed.subarray(FRAME_BYTES)],
    ['MalformedBundle', 'a head and a signature of no message', frameBundle(set(new Uint8Array(124), 0, 1, 0, 0, 1))],
    ['taken', 'as long as the inbox takes', ofLength(MAX_FRAMED_BYTES)],
    ['BundleTooLong', 'a byte longer', ofLength(MAX_FRAMED_BYTES + 1)],
    ['taken', 'the longest payload', payload(MAX_PAYLOAD_BYTES)],
    ['MalformedBundle', 'a payload that is a byte longer', payload(MAX_PAYLOAD_BYTES + 1)],
    ['taken', 'as many messages as fit', framedBundle({ payloads: new Array(2_653).fill(0) })],
    ['taken', 'the last nonce', nonceAt(2n ** 64n - 3n)],
    ['MalformedBundle', 'nonce + count = 2^64', nonceAt(2n ** 64n - 2n)],
    ['MalformedBundle', 'nonce + count over 2^64', nonceAt(2n ** 64n - 1n)],
    ['ExpiresTooSoon', 'a second too short a life', framedBundle({ expiry: EARLIEST_EXPIRY - 1n })],
    ['taken', 'the last expiry', framedBundle({ expiry: 2n ** 64n - 1n })],
    ['taken', 'the largest postage', framedBundle({ postage: 2n ** 128n - 1n })],
    ['taken', 'the last lane', framedBundle({ lane: LANES - 1 })],
    ['MalformedBundle', 'a lane that there is not', resigned(set(framed, FRAME_BYTES + 1, 0, LANES))],
    ['MalformedBundle', 'another lane than that of its topics', resigned(set(framed, FRAME_BYTES + 1, 0, 1))],
    ['MalformedBundle', 'the zero address', set(framed, FRAME_BYTES + 3, ...new Uint8Array(20))],
    ['BadSignature', 'another sender', resigned(set(framed, FRAME_BYTES + 3, 0xff))],
    ['BadSignature', 'a signature of zeros', withSignature(`0x${'00'.repeat(65)}`)],
    ['BadSignature', 'a signature of ones', withSignature(`0x${'ff'.repeat(65)}`)],
    ...['00', '01', '1a', '1d', 'ff'].map((v): [Verdict, string, Uint8Array] => [
      'BadSignature',
      `v 0x${v}`,
      set(framed, framed.length - 1, Number.parseInt(v, 16)),
    ]),
  ];
  await compare(named.map(([, name, bytes]) => ({ name, framed: bytes })));
  for (const [verdict, name, bytes] of named) expect(ourVerdict(bytes).verdict, name).toBe(verdict);
});

test('what is taken stands in the inbox under the bundleHash that we give it', async () => {
  const cases = fc
    .sample(shapes, { numRuns: 20, seed: FIXED_SEED })
    .map((shape) => framedBundle({ ...shape, expiry: NOW + 9_999n }));
  for (const framed of cases) await anvil.rpc('eth_sendTransaction', [transaction(framed)]);
  const forced = toEventSelector('BundleForced(uint16,uint64,address,bytes32,uint64,bytes)');
  await anvil.mine(20);
  const logs = await anvil.rpc<{ data: Hex }[]>('eth_getLogs', [{ fromBlock: '0x0', address: settlement, topics: [forced] }]);
  const got = logs.map(({ data }) => data.slice(0, 66));
  expect(got).toEqual(cases.map((framed) => ourVerdict(framed).bundleHash));
});
