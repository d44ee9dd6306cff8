import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { largestAllocation } from '../test/allocations.js';
import { corruptions, type Json } from '../test/corrupt.js';
import { entryAt, makeLog, type Position, positionsOf, proofAt, receiptProofAt } from '../test/log.js';
import {
  type Bundle,
  batchHash,
  bundleFromJson,
  bundleStructHash,
  bundleToJson,
  concat,
  dataHash,
  decodeBatchFile,
  decodeBatchHeader,
  decodeBundle,
  encodeBatchFile,
  encodeBundle,
  encodeMessage,
  equalBytes,
  fieldsOf,
  formatMessageId,
  frameBundle,
  fromBase64,
  fromHex,
  HEADER_BYTES,
  type Hex,
  headerToJson,
  messageBytes,
  normalizeHex,
  ProtocolError,
  parseMessageId,
  parseUint,
  proofFromJson,
  proofToJson,
  readBundle,
  receiptFromJson,
  receiptProofFromJson,
  receiptProofToJson,
  receiptToJson,
  splitFrames,
  toBase64,
  toHex,
  uintBytes,
  uintWord,
  viewOf,
} from './index.js';

/** How `run` ended: with a value, or with a ProtocolError. Anything else fails the test. */
function outcome<T>(run: () => T): T | ProtocolError {
  try {
    return run();
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw new Error(`expected a ProtocolError, got ${error}`, { cause: error });
  }
}

const refusedAs = (code: string) => expect.objectContaining({ name: 'ProtocolError', code });

const log = makeLog(8, [1, 6]);
const position = positionsOf(log).find((at) => entryAt(at).view.count > 2) as Position;
const { view } = entryAt(position);
const entries = position.batch.entries.map((entry) => ({ void: entry.void, previous: entry.previous, bundle: entry.view.bytes }));
const file = encodeBatchFile({ lane: 0, number: 2n, firstSequence: 1n, entries });
const frames = concat(...entries.map(({ bundle }) => frameBundle(bundle)));

const byteDecoders: [string, (bytes: Uint8Array) => unknown, Uint8Array][] = [
  ['readBundle', readBundle, view.bytes],
  ['decodeBundle', decodeBundle, view.bytes],
  ['splitFrames', splitFrames, frames],
  ['decodeBatchFile', decodeBatchFile, file],
];

const jsonOf = (value: unknown): Json => JSON.parse(JSON.stringify(value)) as Json;
const receiptProof = receiptProofAt(log, position);
const jsonDecoders: [string, (value: unknown) => unknown, Json][] = [
  ['bundleFromJson', bundleFromJson, jsonOf(bundleToJson(decodeBundle(view.bytes)))],
  ['decodeBatchHeader', decodeBatchHeader, jsonOf(headerToJson(position.batch.header))],
  ['receiptFromJson', receiptFromJson, jsonOf(receiptToJson(receiptProof.receipt))],
  ['proofFromJson', proofFromJson, jsonOf(proofToJson(proofAt(log, position)))],
  ['receiptProofFromJson', receiptProofFromJson, jsonOf(receiptProofToJson(receiptProof))],
];

const valueDecoders: [string, (value: unknown) => unknown][] = [
  ['parseMessageId', parseMessageId],
  ['fromHex', fromHex],
  ['fromHex of 32 bytes', (value) => fromHex(value, 32)],
  ['normalizeHex', (value) => normalizeHex(value, 20)],
  ['fromBase64', fromBase64],
  ['parseUint 64', (value) => parseUint(value, 64)],
  ['parseUint 128', (value) => parseUint(value, 128)],
];

/** Small things (a word, a hash, an object's field) may be larger than a tiny input; nothing else may. */
const SMALL_BYTES = 256;
const withinInput = (run: () => unknown, inputBytes: number) => {
  const largest = largestAllocation(() => outcome(run));
  expect(largest).toBeLessThanOrEqual(Math.max(inputBytes, SMALL_BYTES));
};

/** A valid input with a few bytes overwritten, dropped, doubled, or a length field set to an extreme. */
const mutated = (valid: Uint8Array) =>
  fc
    .array(
      fc.oneof(
        fc.record({ kind: fc.constant('set' as const), at: fc.nat(valid.length - 1), value: fc.nat(255) }),
        fc.record({
          kind: fc.constant('word' as const),
          at: fc.nat(valid.length - 1),
          value: fc.constantFrom(0, 1, 33, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff),
        }),
        fc.record({ kind: fc.constant('drop' as const), at: fc.nat(valid.length - 1), value: fc.nat(64) }),
        fc.record({ kind: fc.constant('cut' as const), at: fc.nat(valid.length - 1), value: fc.constant(0) }),
        fc.record({ kind: fc.constant('double' as const), at: fc.nat(valid.length - 1), value: fc.nat(64) }),
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((changes) => {
      let bytes = Array.from(valid);
      for (const { kind, at, value } of changes) {
        if (kind === 'set') bytes[at % Math.max(1, bytes.length)] = value;
        else if (kind === 'word') bytes.splice(at, 4, ...uintBytes(value, 4));
        else if (kind === 'drop') bytes.splice(at, value);
        else if (kind === 'cut') bytes = bytes.slice(0, at);
        else bytes.splice(at, 0, ...bytes.slice(at, at + value));
      }
      return Uint8Array.from(bytes);
    });

describe.each(byteDecoders)('%s', (_, decode, valid) => {
  const within = (bytes: Uint8Array) => withinInput(() => decode(bytes), bytes.length);

  test('takes what is valid, also at an odd place in its buffer', () => {
    const shifted = concat(Uint8Array.of(1, 2, 3), valid, Uint8Array.of(4)).subarray(3, 3 + valid.length);
    expect(decode(shifted)).toEqual(decode(valid));
  });

  test('survives arbitrary bytes, each length from 0 on', () => {
    for (let size = 0; size < 400; size++) within(new Uint8Array(size).fill(size % 3));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), within), { numRuns: 500 });
  });

  test('survives arbitrary bytes after a right beginning', () => {
    fc.assert(
      fc.property(fc.nat(valid.length), fc.uint8Array({ maxLength: 400, size: 'max' }), (kept, rest) =>
        within(concat(valid.subarray(0, kept), rest)),
      ),
      { numRuns: 500 },
    );
  });

  test('survives valid bytes that were tampered with, and every truncation', () => {
    for (let size = 0; size < Math.min(valid.length, 1_000); size++) within(valid.slice(0, size));
    fc.assert(fc.property(mutated(valid), within), { numRuns: 1_500 });
  });
});

const HOSTILE: unknown[] = [
  undefined,
  null,
  true,
  0,
  -0,
  -1,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
  1e308,
  0n,
  2n ** 64n,
  '',
  ' ',
  '\0',
  '0',
  '-0',
  '+1',
  '00',
  '0x',
  '0X00',
  '1e3',
  '18446744073709551616',
  '340282366920938463463374607431768211456',
  '\u0661',
  '\u{1f4a9}',
  '\ud800',
  'AA==',
  'AA=A',
  'A===',
  '====',
  'AB==',
  'AAB=',
  '__proto__',
  'constructor',
  [],
  [[]],
  [null],
  {},
  { length: 5 },
  Symbol('symbol'),
  () => 1,
  new Date(Number.NaN),
  new Uint8Array(4),
  new Map(),
  Object.create(null),
  JSON.parse('{"__proto__": {"lane": 0, "sender": "0x", "messages": []}}'),
  JSON.parse('{"constructor": {"prototype": {"lane": 0}}}'),
];

function nested(depth: number, close: (inner: Json) => Json): Json {
  let value: Json = 'bottom';
  for (let level = 0; level < depth; level++) value = close(value);
  return value;
}
const DEEP: Json[] = [
  nested(100_000, (inner) => [inner]),
  nested(100_000, (inner) => ({ messages: inner })),
  nested(100_000, (inner) => ({ bundle: inner })),
];

describe.each(jsonDecoders)('%s', (_, decode, valid) => {
  test('takes what is valid, with fields it does not know', () => {
    expect(decode({ ...(valid as object), unknown: 1, toString: 2 })).toEqual(decode(valid));
  });

  test('survives values that are no such object', () => {
    for (const value of [...HOSTILE, ...DEEP]) expect(outcome(() => decode(value))).toBeInstanceOf(ProtocolError);
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withNullPrototype: true }), (value) => void outcome(() => decode(value))),
      { numRuns: 1_000 },
    );
  });

  test('survives hostile values in every place of a valid object', () => {
    // Every place of the walk, each with every hostile value: the walk's own replacements name the places.
    for (const place of places(valid)) {
      for (const value of [...HOSTILE, ...DEEP]) outcome(() => decode(replaced(valid, place, value)));
    }
  });

  test('survives every corruption, allocating no more than the text has', () => {
    for (const { value } of corruptions(valid)) withinInput(() => decode(value), JSON.stringify(value).length);
  });

  test('inherited fields are no fields', () => {
    expect(() => decode(Object.create(valid as object))).toThrow(ProtocolError);
    expect(() => decode(JSON.parse(`{"__proto__": ${JSON.stringify(valid)}}`))).toThrow(ProtocolError);
  });
});

function* places(json: Json, above: readonly string[] = []): Generator<readonly string[]> {
  if (typeof json !== 'object' || json === null) return;
  for (const [name, inner] of Object.entries(json)) {
    yield [...above, name];
    yield* places(inner, [...above, name]);
  }
}

function replaced(json: Json, [name, ...below]: readonly string[], value: unknown): unknown {
  if (name === undefined) return value;
  const inner = replaced((json as Record<string, Json>)[name] as Json, below, value);
  return Array.isArray(json) ? json.with(Number(name), inner as Json) : { ...(json as object), [name]: inner };
}

describe.each(valueDecoders)('%s', (_, decode) => {
  test('survives any value', () => {
    for (const value of [...HOSTILE, ...DEEP]) outcome(() => decode(value));
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.string({ unit: 'binary' })), (value) => void outcome(() => decode(value))),
      { numRuns: 1_000 },
    );
  });
});

describe('round trips', () => {
  test('hex, base64, integers', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(fromHex(toHex(bytes))).toEqual(bytes);
        expect(fromHex(toHex(bytes).toUpperCase().replace('0X', '0x'))).toEqual(bytes);
        expect(fromBase64(toBase64(bytes))).toEqual(bytes);
      }),
    );
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), (value) => {
        expect(parseUint(String(value), 128)).toBe(value);
        expect(BigInt(toHex(uintBytes(value, 16)))).toBe(value);
        expect(uintWord(value, 16)).toEqual(uintBytes(value, 32));
      }),
    );
  });

  test('base64 agrees with the platform, and takes one text for one value only', () => {
    fc.assert(
      fc.property(fc.base64String({ maxLength: 40 }), fc.string({ maxLength: 8 }), (text, noise) => {
        for (const candidate of [text, noise, text + noise]) {
          const got = outcome(() => fromBase64(candidate));
          if (got instanceof ProtocolError) continue;
          expect(toBase64(got)).toBe(candidate);
          expect(String.fromCharCode(...got)).toBe(atob(candidate));
        }
        const canonical = btoa(atob(text));
        expect(toBase64(fromBase64(canonical))).toBe(canonical);
      }),
      { numRuns: 500 },
    );
  });

  test('whatever readBundle takes, encodeBundle gives back byte for byte', () => {
    fc.assert(
      fc.property(mutated(view.bytes), (bytes) => {
        const bundle = outcome(() => decodeBundle(bytes));
        if (!(bundle instanceof ProtocolError)) expect(equalBytes(encodeBundle(bundle), bytes)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test('whatever decodeBatchFile takes, encodeBatchFile gives back byte for byte', () => {
    fc.assert(
      fc.property(mutated(file), (bytes) => {
        const decoded = outcome(() => decodeBatchFile(bytes));
        if (!(decoded instanceof ProtocolError)) expect(equalBytes(encodeBatchFile(decoded), bytes)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  test('message ids', () => {
    const id = { sender: view.sender, lane: 65_535, nonce: 2n ** 64n - 1n };
    expect(parseMessageId(formatMessageId(id))).toEqual(id);
    expect(formatMessageId({ ...id, sender: `0x${id.sender.slice(2).toUpperCase()}` })).toBe(formatMessageId(id));
    for (const wrong of [
      `${id.sender}/65536/0`,
      `${id.sender}/0/18446744073709551616`,
      `${id.sender}/00/0`,
      `${id.sender}/0/-1`,
      `${id.sender}/0/0/`,
      ` ${id.sender}/0/0`,
      `${id.sender}/0/0\n`,
    ]) {
      expect(() => parseMessageId(wrong)).toThrow(refusedAs('value.malformed'));
    }
  });
});

describe('encoders given odd but typed values', () => {
  const bundle = decodeBundle(view.bytes);
  const { header } = position.batch;
  const ODD_NUMBERS = [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 16, 2 ** 32, 2 ** 53, 1e308];
  const ODD_BIGINTS = [-1n, 2n ** 64n, 2n ** 128n, 2n ** 256n, 2n ** 300n];
  const ODD_HEX = ['0x', '0x0', '0xzz', `0x${'00'.repeat(20)}`, `0x${'00'.repeat(33)}`, '00'] as Hex[];

  function oddOf<T extends object>(value: T): T[] {
    const variants: T[] = [];
    for (const [name, field] of Object.entries(value)) {
      const odd =
        typeof field === 'number'
          ? ODD_NUMBERS
          : typeof field === 'bigint'
            ? ODD_BIGINTS
            : typeof field === 'string'
              ? ODD_HEX
              : [];
      for (const instead of odd) variants.push({ ...value, [name]: instead });
    }
    return variants;
  }

  test('encodeBundle and bundleStructHash', () => {
    for (const odd of oddOf(bundle)) {
      const code = expect.stringMatching(/^bundle\.malformed$/);
      if (odd.postage === bundle.postage || odd.postage < 0n || odd.postage >= 2n ** 128n) {
        expect(() => encodeBundle(odd)).toThrow(expect.objectContaining({ code }));
      }
      outcome(() => bundleStructHash({ ...fieldsOf(view, header.parentHash), ...odd, count: 1 }));
    }
    for (const odd of ODD_NUMBERS) outcome(() => bundleStructHash({ ...fieldsOf(view, header.parentHash), count: odd }));
    const message = { topic: header.parentHash, payload: new Uint8Array(1) };
    const withMessages = (messages: Bundle['messages']) => () => encodeBundle({ ...bundle, messages });
    expect(withMessages([])).toThrow(refusedAs('bundle.malformed'));
    expect(withMessages(Array(4_097).fill(message))).toThrow(refusedAs('bundle.malformed'));
    expect(withMessages(Array(17).fill({ ...message, payload: new Uint8Array(65_536) }))).toThrow(refusedAs('bundle.too_large'));
    expect(withMessages([{ ...message, payload: new Uint8Array(65_537) }])).toThrow(refusedAs('bundle.too_large'));
    for (const topic of ODD_HEX) expect(withMessages([{ ...message, topic }])).toThrow(refusedAs('bundle.malformed'));
    expect(() => encodeMessage({ topic: '0x', payload: new Uint8Array(0) })).toThrow(refusedAs('bundle.malformed'));
  });

  test('a bundle of exactly 1,048,576 bytes passes both ways, one byte more does not', () => {
    const full = Array.from({ length: 15 }, () => ({ topic: header.parentHash, payload: new Uint8Array(65_536) }));
    const rest = 1_048_576 - HEADER_BYTES - 65 - 15 * (37 + 65_536) - 37;
    const filled = (payload: number) => ({
      ...bundle,
      nonce: 0n,
      messages: [...full, { topic: header.parentHash, payload: new Uint8Array(payload) }],
    });
    const bytes = encodeBundle(filled(rest));
    expect(bytes.length).toBe(1_048_576);
    expect(readBundle(bytes).count).toBe(16);
    expect(() => encodeBundle(filled(rest + 1))).toThrow(refusedAs('bundle.too_large'));
    const longer = concat(bytes.subarray(0, bytes.length - 65), Uint8Array.of(0), bytes.subarray(bytes.length - 65));
    viewOf(longer).setUint32(bytes.length - 65 - rest - 37, 33 + rest + 1);
    expect(() => readBundle(longer)).toThrow(refusedAs('bundle.too_large'));
  });

  test('batchHash and encodeBatchFile', () => {
    for (const odd of oddOf(header))
      expect(outcome(() => batchHash(odd))).toSatisfy(
        (got) => got instanceof ProtocolError || odd.term === 65_536 || odd.count === 65_536,
      );
    for (const odd of oddOf({ lane: 0, number: 2n, firstSequence: 1n }))
      expect(() => encodeBatchFile({ ...odd, entries })).toThrow(ProtocolError);
    for (const previous of ODD_BIGINTS)
      expect(() =>
        encodeBatchFile({ lane: 0, number: 2n, firstSequence: 1n, entries: [{ void: 0, previous, bundle: view.bytes }] }),
      ).toThrow(ProtocolError);
    expect(() => encodeBatchFile({ lane: 0, number: 1n, firstSequence: 0n, entries: [] })).toThrow(refusedAs('batch.malformed'));
    const short = [{ void: 0 as const, previous: 0n, bundle: new Uint8Array(123) }];
    expect(() => encodeBatchFile({ lane: 0, number: 1n, firstSequence: 0n, entries: short })).toThrow(
      refusedAs('batch.malformed'),
    );
    expect(() => dataHash([])).toThrow(refusedAs('batch.malformed'));
  });
});

describe('large and hostile', () => {
  const MB = 1_000_000;

  test('16 MB of text: base64 and hex, right and wrong at the very end', () => {
    const digits = 'A'.repeat(16 * MB);
    expect(fromBase64(digits).length).toBe(12 * MB);
    for (const tail of ['!', 'AAA!', 'AA==', 'A===', '=', '\u4e00\u4e00\u4e00\u4e00', 'AB==']) {
      if (tail === 'AA==') expect(fromBase64(digits + tail).length).toBe(12 * MB + 1);
      else expect(() => fromBase64(digits + tail)).toThrow(refusedAs('value.malformed'));
    }
    expect(fromHex(`0x${digits}`).length).toBe(8 * MB);
    for (const tail of ['g', 'ag', 'a']) expect(() => fromHex(`0x${digits}${tail}`)).toThrow(refusedAs('value.malformed'));
    expect(() => fromHex(`0x${digits}`, 32)).toThrow(refusedAs('value.malformed'));
    expect(() => parseUint('1'.repeat(16 * MB), 128)).toThrow(refusedAs('value.malformed'));
    expect(() => parseMessageId(digits)).toThrow(refusedAs('value.malformed'));
  });

  test('base64 of 16 MB overflowed the stack of a regular expression once', () => {
    const bytes = new Uint8Array(12 * MB).fill(0xa5);
    const text = toBase64(bytes);
    expect(text.length).toBe(16 * MB);
    withinInput(() => fromBase64(text), text.length);
    expect(equalBytes(fromBase64(text), bytes)).toBe(true);
    expect(() =>
      bundleFromJson({
        ...(jsonDecoders[0]?.[2] as object),
        messages: [{ topic: toHex(new Uint8Array(32)), payload: `${text}!` }],
      }),
    ).toThrow(refusedAs('bundle.malformed'));
  });

  test('16 MiB of empty frames cost no object each', () => {
    const body = new Uint8Array(16_777_216);
    withinInput(() => splitFrames(body), body.length);
    expect(() => splitFrames(body)).toThrow(refusedAs('bundle.malformed'));
    // A few frames that are too short are split all the same: each gets its own error.
    expect(splitFrames(new Uint8Array(4 * 1_024))).toHaveLength(1_024);
    expect(splitFrames(concat(new Uint8Array(4), frames, new Uint8Array(8)))).toHaveLength(entries.length + 3);
  });

  test('a body of as many of the smallest bundles as fit is split wholly', () => {
    const smallest = frameBundle(
      encodeBundle({
        ...decodeBundle(view.bytes),
        nonce: 0n,
        messages: [{ topic: toHex(new Uint8Array(32)), payload: new Uint8Array(0) }],
      }),
    );
    expect(smallest).toHaveLength(165);
    const count = Math.floor(16_777_216 / smallest.length);
    const body = new Uint8Array(count * smallest.length);
    for (let index = 0; index < count; index++) body.set(smallest, index * smallest.length);
    expect(splitFrames(body).length).toBe(count);
  });

  test('counts that the bytes cannot hold are refused before anything is allocated for them', () => {
    const bundle = view.bytes.slice();
    for (const count of [4_096, 4_097, 0xffffffff]) {
      viewOf(bundle).setUint32(55, count);
      withinInput(() => readBundle(bundle), bundle.length);
      expect(() => readBundle(bundle)).toThrow(refusedAs('bundle.malformed'));
    }
    const batch = file.slice();
    for (const count of [0, 7, 1_048_576, 1_048_577, 0xffffffff]) {
      viewOf(batch).setUint32(19, count);
      expect(() => decodeBatchFile(batch)).toThrow(refusedAs('batch.malformed'));
    }
    // Entry 0 is long enough for two; entry 1 is nothing but its prefix.
    const short = concat(file.subarray(0, 23), new Uint8Array(9), frameBundle(view.bytes), new Uint8Array(13));
    viewOf(short).setUint32(19, 2);
    expect(() => decodeBatchFile(short)).toThrow('entry 1: expected a bundle of at least 124 bytes, got 0');
    const empties = new Uint8Array(23 + 13 * 100_000);
    empties[0] = 1;
    viewOf(empties).setUint32(19, 100_000);
    expect(() => decodeBatchFile(empties)).toThrow(refusedAs('batch.malformed'));
  });

  test('arrays longer than any that is right', () => {
    const many = Array<Json>(MB).fill(toHex(new Uint8Array(32)));
    const proof = jsonDecoders[3]?.[2] as Record<string, Json>;
    expect(() => proofFromJson({ ...proof, messagePath: many })).toThrow(refusedAs('proof.malformed'));
    expect(() => bundleFromJson({ ...(jsonDecoders[0]?.[2] as object), messages: many })).toThrow(refusedAs('bundle.malformed'));
  });

  test('a value that has no string form could not be named in the error of parseMessageId once', () => {
    expect(() => parseMessageId(Object.create(null))).toThrow(refusedAs('value.malformed'));
  });

  test('an error never repeats a large input', () => {
    const huge = 'x'.repeat(MB);
    for (const [, decode] of [...jsonDecoders, ...valueDecoders]) {
      const got = outcome(() => decode(huge));
      if (got instanceof ProtocolError) expect(JSON.stringify([got.message, got.facts]).length).toBeLessThan(1_000);
    }
  });
});

describe('the instrument itself', () => {
  test('sees what a careless decoder would allocate', () => {
    const careless = (bytes: Uint8Array) => new Uint32Array(2 * viewOf(bytes).getUint32(55)).fill(0, 0, 1);
    const bytes = view.bytes.slice();
    viewOf(bytes).setUint32(55, 1_000_000);
    expect(largestAllocation(() => void careless(bytes))).toBe(8_000_000);
    expect(() => withinInput(() => careless(bytes), bytes.length)).toThrow('less than or equal');
    expect(largestAllocation(() => void Array(5_000))).toBe(40_000);
    expect(largestAllocation(() => void new ArrayBuffer(77))).toBe(77);
  });

  test('sees what the decoders allocate: bounds of messages, bytes of base64', () => {
    expect(largestAllocation(() => void readBundle(view.bytes))).toBe(8 * view.count);
    expect(largestAllocation(() => void fromBase64('A'.repeat(400)))).toBe(300);
    expect(messageBytes(view, 0)[0]).toBe(0);
  });

  test('outcome lets no other error pass', () => {
    expect(() => outcome(() => (undefined as unknown as { x: 1 }).x)).toThrow('expected a ProtocolError');
  });
});
