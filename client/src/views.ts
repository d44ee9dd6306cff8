import { isIncludedAbi } from '@sealpost/contracts';
import { concat, fromHex, type Hex, keccakText, toHex, uintWord } from '@sealpost/prover';
import { encodeAbiParameters } from 'viem';

/** A word of an answer: a number, a bigint, 32 bytes, an address, or true and false. */
type Word = 'number' | 'bigint' | 'bytes32' | 'address' | 'bool';

/**
 * The contract's functions that a client reads, with the words of their answers. Nothing in them is of dynamic length, so that
 * they need none of an ABI library's 3 kB, a twentieth of what a page loads; a test holds them against the ABI.
 */
export const VIEWS = {
  'laneCount()': ['number'],
  'maxIncludeDelay()': ['bigint'],
  'minBond()': ['bigint'],
  'head(uint16)': ['bigint', 'bigint', 'bigint', 'bigint'],
  'batchHash(uint16,uint64)': ['bytes32'],
  'term(uint16)': ['number'],
  'termOf(uint16,uint32)': ['address', 'bigint', 'bigint', 'bigint', 'number', 'bool', 'bigint'],
  'operator(uint16)': ['address'],
  'operatorOf(uint16,address)': ['bigint', 'bigint', 'address', 'address'],
  'isReceiptSigner(uint16,uint32,address)': ['bool'],
  'signerRetiredAt(uint16,address,address)': ['bigint'],
} as const satisfies Readonly<Record<string, readonly Word[]>>;

/** A function that is only read. */
export type View = keyof typeof VIEWS;

const WORD_BYTES = 32;

/** The call data of a view: numbers, and hex that is left-padded, as addresses are. */
export const encodeView = (view: View, args: readonly (number | bigint | Hex)[]): Hex =>
  toHex(concat(keccakText(view).subarray(0, 4), ...args.map((arg) => uintWord(BigInt(arg), WORD_BYTES))));

/**
 * What a view answered: one value, or several.
 * @throws value.malformed if these are not its words
 */
export function decodeView(view: View, answer: Hex): unknown {
  const words: readonly Word[] = VIEWS[view];
  const bytes = fromHex(answer, WORD_BYTES * words.length);
  const values = words.map((word, at) => decodeWord(word, bytes.subarray(WORD_BYTES * at, WORD_BYTES * (at + 1))));
  return values.length === 1 ? values[0] : values;
}

function decodeWord(word: Word, bytes: Uint8Array): unknown {
  const hex = toHex(bytes);
  if (word === 'bytes32') return hex;
  if (word === 'address') return `0x${hex.slice(-40)}`;
  const value = BigInt(hex);
  if (word === 'bigint') return value;
  return word === 'bool' ? value === 1n : Number(value);
}

/** First four bytes of the hash of `isIncluded`'s signature. */
export const IS_INCLUDED: Hex = '0x180185e4';

/** The call data of `isIncluded`, the one whose argument is of dynamic length. */
export const encodeIsIncluded = (proof: unknown): Hex =>
  `${IS_INCLUDED}${encodeAbiParameters(isIncludedAbi[0].inputs, [proof] as never).slice(2)}` as Hex;
