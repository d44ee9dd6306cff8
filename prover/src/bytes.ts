import { type ProtocolCode, ProtocolError } from './errors.js';

/** `0x` followed by an even number of hex digits. Given out in lower case, taken in either. */
export type Hex = `0x${string}`;

export const ZERO_ADDRESS: Hex = '0x0000000000000000000000000000000000000000';
export const ZERO_HASH: Hex = '0x0000000000000000000000000000000000000000000000000000000000000000';

// One character class under one star: every engine runs it in constant stack, also over hundreds of megabytes.
const HEX = /^0x[0-9a-fA-F]*$/;

/** The same hex in lower case, as everything is given out (§11). */
export const lowerHex = (hex: Hex): Hex => hex.toLowerCase() as Hex;

const HEX_DIGITS = '0123456789abcdef';
/** The character code of each hex digit by its value. */
const HEX_CODES: Uint8Array = /* @__PURE__ */ Uint8Array.from(HEX_DIGITS, (digit) => digit.charCodeAt(0));
/** The value of each hex digit by its character code, of either case. */
const HEX_VALUES: Uint8Array = /* @__PURE__ */ (() => {
  const values = new Uint8Array(128);
  for (const digits of [HEX_DIGITS, HEX_DIGITS.toUpperCase()]) {
    for (let value = 0; value < digits.length; value++) values[digits.charCodeAt(value)] = value;
  }
  return values;
})();

/** Lower-case hex of some bytes. */
export function toHex(bytes: Uint8Array): Hex {
  const code = (at: number, shift: 0 | 4) => HEX_CODES[((bytes[at] as number) >> shift) & 15] as number;
  let hex = '0x';
  let at = 0;
  // Eight characters at a time: half as long as one byte at a time, whose string is a chain of small ones (0.13 µs, 0.26 for
  // 32 bytes; twice that until it was first read).
  for (; at + 4 <= bytes.length; at += 4) {
    hex += String.fromCharCode(
      code(at, 4),
      code(at, 0),
      code(at + 1, 4),
      code(at + 1, 0),
      code(at + 2, 4),
      code(at + 2, 0),
      code(at + 3, 4),
      code(at + 3, 0),
    );
  }
  for (; at < bytes.length; at++) hex += String.fromCharCode(code(at, 4), code(at, 0));
  return hex as Hex;
}

/**
 * The bytes of a hex string.
 * @throws `code` if it is not `0x` hex, or not of `size` bytes where a size is given
 */
export function fromHex(text: unknown, size?: number, code: ProtocolCode = 'value.malformed', at: Place = 'value'): Uint8Array {
  if (typeof text !== 'string' || text.length % 2 !== 0 || !HEX.test(text)) {
    throw wrong(code, at, 'expected 0x and an even number of hex digits');
  }
  if (size !== undefined && text.length !== 2 + 2 * size) {
    throw wrong(code, at, `expected ${size} bytes, got ${(text.length - 2) / 2}`);
  }
  const bytes = new Uint8Array(text.length / 2 - 1);
  for (let at = 0, digit = 2; at < bytes.length; at++, digit += 2) {
    bytes[at] = ((HEX_VALUES[text.charCodeAt(digit)] as number) << 4) | (HEX_VALUES[text.charCodeAt(digit + 1)] as number);
  }
  return bytes;
}

/**
 * The same hex in lower case.
 * @throws `code` if it is not `0x` hex of `size` bytes
 */
export function normalizeHex(text: unknown, size: number, code: ProtocolCode = 'value.malformed', at: Place = 'value'): Hex {
  if (typeof text !== 'string' || text.length !== 2 + 2 * size || !HEX.test(text)) {
    throw wrong(code, at, `expected 0x and ${2 * size} hex digits`);
  }
  return lowerHex(text as Hex);
}

// String.fromCharCode takes its characters as arguments; 8 KiB at a time stays far below every engine's limit.
const CHARACTERS = 8192;

/** Standard base64 with padding (RFC 4648 §4). */
export function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.length; at += CHARACTERS) {
    binary += String.fromCharCode(...bytes.subarray(at, at + CHARACTERS));
  }
  return btoa(binary);
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const NO_DIGIT = 64;
/** The value of each base64 digit by its character code. */
const DIGIT_VALUES: Uint8Array = /* @__PURE__ */ (() => {
  const values = new Uint8Array(128).fill(NO_DIGIT);
  for (let value = 0; value < DIGITS.length; value++) values[DIGITS.charCodeAt(value)] = value;
  return values;
})();

/**
 * The bytes of standard, padded base64 (RFC 4648 §4), in its one canonical form. A loop and not a regular expression with
 * `atob`: V8 overflows its stack on the obvious expression over 16 MB, and nothing but the result is allocated here.
 * @throws `code` otherwise
 */
export function fromBase64(text: unknown, code: ProtocolCode = 'value.malformed', at: Place = 'value'): Uint8Array {
  const fail = () => wrong(code, at, 'expected standard base64 with padding');
  if (typeof text !== 'string' || text.length % 4 !== 0) throw fail();
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  let rest = 0;
  let bits = 0;
  let filled = 0;
  for (let index = 0; index < text.length - padding; index++) {
    const value = DIGIT_VALUES[text.charCodeAt(index)] ?? NO_DIGIT;
    if (value === NO_DIGIT) throw fail();
    rest = (rest << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[filled++] = rest >> bits;
      rest &= (1 << bits) - 1;
    }
  }
  // The last digit before the padding may carry bits that decode to nothing: two texts for one value.
  if (rest !== 0) throw fail();
  return bytes;
}

/** The parts one after the other, in new memory. */
export const concat = (...parts: readonly Uint8Array[]): Uint8Array => join(parts);

/** `concat` of a list, however long it is. */
export function join(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Not in constant time: nothing compared here is secret. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}

export const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

/**
 * An unsigned integer as `size` big-endian bytes.
 * @throws `code` if it is negative, not whole, or does not fit
 */
export function uintBytes(
  value: bigint | number,
  size: number,
  code: ProtocolCode = 'value.malformed',
  at: Place = 'value',
): Uint8Array {
  return putUint(new Uint8Array(size), value, size, code, at);
}

/**
 * An unsigned integer of `size` bytes as the ABI and EIP-712 encode it: 32 bytes.
 * @throws value.malformed if it does not fit into `size` bytes
 */
export const uintWord = (value: bigint | number, size: number): Uint8Array => putUint(new Uint8Array(32), value, size);

/**
 * An address as the ABI and EIP-712 encode it: 32 bytes.
 * @throws value.malformed unless hex of 20 bytes
 */
export function addressWord(address: Hex): Uint8Array {
  const word = new Uint8Array(32);
  word.set(fromHex(address, 20), 12);
  return word;
}

/** Writes an unsigned integer of at most `size` bytes to the end of `bytes`, which are zero. */
function putUint(
  bytes: Uint8Array,
  value: bigint | number,
  size: number,
  code: ProtocolCode = 'value.malformed',
  at: Place = 'value',
): Uint8Array {
  // Powers of two are exact in a number, and a bigint compares exactly with any: nothing is rounded here.
  if (!(typeof value === 'bigint' || Number.isSafeInteger(value)) || value < 0 || value >= 2 ** (8 * size)) {
    throw wrong(code, at, `expected an unsigned integer of ${8 * size} bits, got ${value}`);
  }
  let index = bytes.length;
  let rest = value;
  for (; rest > Number.MAX_SAFE_INTEGER; rest = BigInt(rest) >> 8n) bytes[--index] = Number(BigInt(rest) & 0xffn);
  // Nearly all are small from the start, and numbers are several times as fast as bigints.
  for (rest = Number(rest); rest > 0; rest = Math.floor(rest / 256)) bytes[--index] = rest;
  return bytes;
}

/** A view for reading big-endian integers out of `bytes`, whatever buffer they lie in. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * A decimal string as an unsigned integer: no sign, no leading zero, below 2^bits (PROTOCOL.md §11).
 * @throws `code` otherwise
 */
export function parseUint(text: unknown, bits: 64 | 128, code: ProtocolCode = 'value.malformed', at: Place = 'value'): bigint {
  if (typeof text === 'string' && /^(?:0|[1-9][0-9]{0,38})$/.test(text)) {
    const value = BigInt(text);
    if (value >> BigInt(bits) === 0n) return value;
  }
  throw wrong(code, at, `expected a decimal string below 2^${bits}, without sign or leading zero`);
}

/** Where a value stands, for an error's message. A reader puts its path together only when it is asked for it. */
type Place = string | Reader;

const wrong = (code: ProtocolCode, at: Place, detail: string) => new ProtocolError(code, `${at}: ${detail}`, { at: String(at) });

/** Reads values that came from outside (JSON) with a path in every error: `bundle.messages[3].topic: expected …`. */
export class Reader {
  constructor(
    private readonly value: unknown,
    private readonly code: ProtocolCode,
    private readonly name: string | number,
    private readonly parent?: Reader,
  ) {}

  /** The path. Made for errors only: to make it for every field was half of what reading a proof cost. */
  toString(): string {
    if (this.parent === undefined) return String(this.name);
    return `${this.parent}${typeof this.name === 'number' ? `[${this.name}]` : `.${this.name}`}`;
  }

  private fail(expected: string): ProtocolError {
    return wrong(this.code, this, `expected ${expected}`);
  }

  field(name: string): Reader {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.fail('an object');
    if (!Object.hasOwn(value, name)) throw wrong(this.code, `${this}.${name}`, 'missing');
    return new Reader((value as Record<string, unknown>)[name], this.code, name, this);
  }

  /** True if there is such a field: its own, not one that every object inherits. */
  has(name: string): boolean {
    return typeof this.value === 'object' && this.value !== null && Object.hasOwn(this.value, name);
  }

  items(maxItems: number): Reader[] {
    if (!Array.isArray(this.value)) throw this.fail('an array');
    if (this.value.length > maxItems) throw this.fail(`at most ${maxItems} items, got ${this.value.length}`);
    return this.value.map((item, index) => new Reader(item, this.code, index, this));
  }

  hex(size: number): Hex {
    return normalizeHex(this.value, size, this.code, this);
  }

  /** Hex of any size: for what is judged later, such as a signature. */
  anyHex(maxBytes: number): Hex {
    const text = this.value;
    if (typeof text !== 'string' || text.length % 2 !== 0 || !HEX.test(text)) {
      throw this.fail('0x and an even number of hex digits');
    }
    if (text.length > 2 + 2 * maxBytes) throw this.fail(`at most ${maxBytes} bytes`);
    return lowerHex(text as Hex);
  }

  base64(): Uint8Array {
    return fromBase64(this.value, this.code, this);
  }

  /** A decimal string. */
  uint(bits: 64 | 128): bigint {
    return parseUint(this.value, bits, this.code, this);
  }

  /** A JSON number: whole, 0 to `max`. */
  number(max: number): number {
    if (typeof this.value !== 'number' || !Number.isInteger(this.value) || this.value < 0 || this.value > max) {
      throw this.fail(`a whole number from 0 to ${max}`);
    }
    return this.value === 0 ? 0 : this.value;
  }
}
