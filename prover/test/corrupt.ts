// Corruptions of a JSON object, made by walking it: no field can be forgotten, because none is named.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export interface Corruption {
  /** Where and how, as a test's message shows it: `header.count: + 1`. */
  readonly name: string;
  readonly value: Json;
}

const HEX = /^0x[0-9a-f]*$/;
const DECIMAL = /^[0-9]+$/;

/** Every corruption of every value inside `json`, each in its own copy of the whole. None means the same as the original. */
export function* corruptions(json: Json, at = ''): Generator<Corruption> {
  for (const [how, value] of replacements(json)) {
    // An empty payload cannot be emptied: what changes nothing is no corruption.
    if (value !== json) yield { name: `${at || 'whole'}: ${how}`, value };
  }
  if (Array.isArray(json)) {
    for (const [index, item] of json.entries()) {
      for (const inner of corruptions(item, `${at}[${index}]`)) yield { ...inner, value: json.with(index, inner.value) };
    }
  } else if (typeof json === 'object' && json !== null) {
    for (const [name, item] of Object.entries(json)) {
      const { [name]: _, ...rest } = json;
      const place = at === '' ? name : `${at}.${name}`;
      yield { name: `${place}: missing`, value: rest };
      for (const inner of corruptions(item, place)) yield { ...inner, value: { ...json, [name]: inner.value } };
    }
  }
}

function* replacements(json: Json): Generator<[string, Json]> {
  yield ['null', null];
  yield ['true', true];
  if (typeof json === 'number') yield* ofNumber(json);
  else if (typeof json === 'string') yield* ofText(json);
  else if (Array.isArray(json)) yield* ofList(json);
  else yield* [['an empty object', {}] as [string, Json], ['in an array', [json]] as [string, Json]];
}

function* ofNumber(json: number): Generator<[string, Json]> {
  yield ['+ 1', json + 1];
  yield ['- 1', json - 1];
  yield ['doubled and one', 2 * json + 1];
  yield ['+ 2^16', json + 65_536];
  yield ['+ 2^32', json + 2 ** 32];
  yield ['2^53', 2 ** 53];
  yield ['1e308', 1e308];
  yield ['NaN', Number.NaN];
  yield ['a half more', json + 0.5];
  yield ['as text', String(json)];
  yield ['in an array', [json]];
}

function* ofText(json: string): Generator<[string, Json]> {
  yield ['empty', ''];
  yield ['a number', 1];
  yield ['an object', { toString: json }];
  yield ['space before', ` ${json}`];
  yield ['line break after', `${json}\n`];
  yield ['zero byte after', `${json}\0`];
  if (HEX.test(json)) {
    for (let digit = 2; digit < json.length; digit += Math.max(1, Math.floor(json.length / 5))) {
      yield [`digit ${digit} changed`, changeDigit(json, digit)];
    }
    if (json.length > 2) yield ['last digit changed', changeDigit(json, json.length - 1)];
    if (json.length > 2) yield ['last byte dropped', json.slice(0, -2)];
    yield ['a byte appended', `${json}00`];
    yield ['a byte inserted', `0x00${json.slice(2)}`];
    yield ['half a byte', `${json}0`];
    yield ['no prefix', json.slice(2) || 'x'];
    yield ['prefix 0X', `0X${json.slice(2)}`];
    yield ['no digit', `${json.slice(0, -1)}g`];
    if (/[1-9a-f]/.test(json.slice(2))) yield ['all zero', `0x${'0'.repeat(json.length - 2)}`];
  } else if (DECIMAL.test(json)) {
    yield ['+ 1', String(BigInt(json) + 1n)];
    yield ['- 1', String(BigInt(json) - 1n)];
    yield ['+ 2^64', String(BigInt(json) + 2n ** 64n)];
    yield ['+ 2^128', String(BigInt(json) + 2n ** 128n)];
    yield ['+ 2^256', String(BigInt(json) + 2n ** 256n)];
    yield ['largest of 64 bits', json === '18446744073709551615' ? '1' : '18446744073709551615'];
    yield ['leading zero', `0${json}`];
    yield ['sign', `+${json}`];
    yield ['hex', `0x${BigInt(json).toString(16)}`];
    yield ['exponent', `${json}e0`];
    yield ['fraction', `${json}.0`];
    yield ['a number', Number(json)];
  } else {
    // Base64: only payloads are left.
    yield ['first digit changed', (json.startsWith('A') ? 'B' : 'A') + json.slice(1)];
    yield ['three bytes dropped', json.slice(4)];
    yield ['three bytes appended', `AAAA${json}`];
    yield ['one padding more', `${json}=`];
    yield ['url alphabet', `-_--${json}`];
    yield ['padding in the middle', `AA==${json}`];
    yield ['no base64', `${json.slice(0, -1)}\u00e9`];
    yield ['not latin', `${json.slice(0, -1)}\u4e00`];
  }
}

function* ofList(json: Json[]): Generator<[string, Json]> {
  const stranger = `0x${'5a'.repeat(32)}`;
  yield ['an object', { ...json }];
  yield ['one more at the end', [...json, stranger]];
  yield ['one more at the start', [stranger, ...json]];
  yield ['33 more', [...json, ...Array.from({ length: 33 }, () => stranger)]];
  if (json.length > 0) {
    yield ['emptied', []];
    yield ['last one twice', [...json, json.at(-1) as Json]];
    yield ['in an array', [json]];
  }
  for (const index of json.keys()) {
    yield [`without ${index}`, json.filter((_, other) => other !== index)];
    if (index > 0) {
      const swapped = [...json];
      [swapped[index - 1], swapped[index]] = [json[index] as Json, json[index - 1] as Json];
      yield [`${index - 1} and ${index} swapped`, swapped];
    }
  }
}

function changeDigit(hex: string, at: number): string {
  const digit = (Number.parseInt(hex.charAt(at), 16) ^ 1).toString(16);
  return hex.slice(0, at) + digit + hex.slice(at + 1);
}
