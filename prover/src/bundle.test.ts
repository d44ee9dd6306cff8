import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DOMAIN, keyOf, signBundle } from '../test/log.js';
import {
  bundleStructHash,
  concat,
  encodeBundle,
  encodeMessage,
  fieldsOf,
  frameBundle,
  type Hex,
  type Message,
  readBundle,
  splitFrames,
  toHex,
  topicLane,
  uintBytes,
  verifyLane,
  viewOf,
  viewStructHash,
} from './index.js';

const key = keyOf('bundle');
const topicOn = (first: number): Hex => toHex(concat(uintBytes(first, 2), new Uint8Array(30).fill(7)));
const bundleOf = (lane: number, messages: Message[]) =>
  encodeBundle(signBundle(DOMAIN, key.secret, { lane, sender: key.address, nonce: 1n, expiry: 2n, postage: 3n, messages }));
const text = (topic: Hex): Message => ({ topic, payload: Uint8Array.of(1, 2, 3) });
const two = bundleOf(0, [text(topicOn(1)), text(topicOn(2))]);

test('a bundle’s struct hash is the same from its bytes and from its fields, and covers every signed field', () => {
  const root = new Uint8Array(32).fill(9);
  const hashOf = (bytes: Uint8Array) => toHex(viewStructHash(readBundle(bytes), root));
  const fromFields = (bytes: Uint8Array) => toHex(bundleStructHash(fieldsOf(readBundle(bytes), toHex(root))));
  // A byte of the lane, the sender, nonce, expiry and postage: the struct's words, but for the count.
  for (const at of [1, 2, 3, 22, 23, 30, 31, 38, 39, 54]) {
    const bytes = two.slice();
    bytes[at] = (bytes[at] as number) ^ 0x5a;
    expect(hashOf(bytes)).toBe(fromFields(bytes));
    expect(hashOf(bytes)).not.toBe(hashOf(two));
  }
  const one = bundleOf(0, [text(topicOn(1))]);
  expect(hashOf(one)).toBe(fromFields(one));
  expect(hashOf(one)).not.toBe(hashOf(two));
});

describe('malformed (§3), each where it is', () => {
  const changed = (change: (bytes: Uint8Array, view: DataView) => void) => {
    const bytes = two.slice();
    change(bytes, viewOf(bytes));
    return bytes;
  };
  // Header of 59, then per message a length of 4 and 36 encoded bytes, then the signature of 65.
  test.each<[string, Uint8Array, number]>([
    ['version 0', changed((bytes) => bytes.set([0], 0)), 0],
    ['version 2', changed((bytes) => bytes.set([2], 0)), 0],
    ['zero sender', changed((bytes) => bytes.fill(0, 3, 23)), 3],
    ['a length of 32', changed((_, view) => view.setUint32(59, 32)), 63],
    ['a length beyond the end', changed((_, view) => view.setUint32(99, 0xffffffff)), 103],
    ['a length that reaches into the signature', changed((_, view) => view.setUint32(99, 37)), 103],
    ['a wrong leading byte', changed((bytes) => bytes.set([1], 63)), 63],
    ['a trailing byte', concat(two, Uint8Array.of(0)), 139],
    ['a missing byte', two.subarray(0, -1), 103],
    ['a message less than counted', changed((_, view) => view.setUint32(55, 1)), 99],
    ['a message more than counted', changed((_, view) => view.setUint32(55, 3)), 59],
    ['nothing', new Uint8Array(0), 0],
    ['a header alone', two.subarray(0, 59), 0],
  ])('%s', (_, bytes, at) => {
    expect(() => readBundle(bytes)).toThrow(
      expect.objectContaining({ code: 'bundle.malformed', facts: expect.objectContaining({ at }) }),
    );
  });

  test.each<[string, (view: DataView) => void]>([
    ['a zero count', (view) => view.setUint32(55, 0)],
    ['a count over 4,096', (view) => view.setUint32(55, 4_097)],
    ['nonce + count of 2^64', (view) => view.setBigUint64(23, 2n ** 64n - 2n)],
  ])('%s', (_, change) => {
    expect(() => readBundle(changed((__, view) => change(view)))).toThrow(expect.objectContaining({ code: 'bundle.malformed' }));
  });

  test('form is judged before size: a payload too large in a bundle that is malformed elsewhere is malformed', () => {
    const message = encodeMessage({ topic: topicOn(1), payload: new Uint8Array(65_536) });
    const long = concat(uintBytes(message.length + 1, 4), message, Uint8Array.of(0));
    const bundle = concat(two.subarray(0, 55), uintBytes(1, 4), long, two.subarray(-65));
    expect(() => readBundle(bundle)).toThrow(expect.objectContaining({ code: 'bundle.too_large' }));
    expect(() => readBundle(concat(bundle, Uint8Array.of(0)))).toThrow(expect.objectContaining({ code: 'bundle.malformed' }));
  });

  test('the largest nonce that leaves room', () => {
    expect(readBundle(changed((_, view) => view.setBigUint64(23, 2n ** 64n - 3n))).nonce).toBe(2n ** 64n - 3n);
  });
});

describe('frames', () => {
  test('split as they were joined', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { minLength: 1, maxLength: 20 }), (bundles) => {
        expect(splitFrames(concat(...bundles.map(frameBundle)))).toEqual(bundles);
      }),
    );
  });

  test.each([
    ['no frame', new Uint8Array(0)],
    ['half a length', concat(frameBundle(two), Uint8Array.of(0, 0, 0))],
    ['a frame cut short', frameBundle(two).subarray(0, -1)],
    ['a byte after the last frame', concat(frameBundle(two), Uint8Array.of(1))],
    ['the largest length', new Uint8Array(8).fill(255)],
  ])('%s is no body', (_, body) => {
    expect(() => splitFrames(body)).toThrow(expect.objectContaining({ code: 'bundle.malformed' }));
  });
});

describe('lanes (§12)', () => {
  test('a topic’s lane is its first two bytes mod laneCount, from hex and from bytes alike', () => {
    fc.assert(
      fc.property(fc.nat(65_535), fc.integer({ min: 1, max: 65_536 }), (first, laneCount) => {
        const lane = first % laneCount;
        expect(topicLane(topicOn(first), laneCount)).toBe(lane);
        const view = readBundle(bundleOf(lane, [text(topicOn(first))]));
        verifyLane(view, laneCount);
        const wrong = readBundle(bundleOf((lane + 1) % 65_536, [text(topicOn(first))]));
        expect(() => verifyLane(wrong, laneCount)).toThrow(expect.objectContaining({ code: 'bundle.wrong_lane' }));
      }),
      { numRuns: 60 },
    );
  });

  test('every message counts, and a lane must be there', () => {
    const last = readBundle(bundleOf(1, [text(topicOn(1)), text(topicOn(4)), text(topicOn(5))]));
    expect(() => verifyLane(last, 3)).toThrow(
      expect.objectContaining({ code: 'bundle.wrong_lane', facts: { lane: 1, laneCount: 3, index: 2 } }),
    );
    expect(() => verifyLane(readBundle(bundleOf(3, [text(topicOn(3))])), 3)).toThrow('below 3');
  });
});
