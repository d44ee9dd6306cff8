import { isIncludedAbi, settlementAbi } from '@sealpost/contracts';
import { decodeFunctionResult, encodeFunctionData, encodeFunctionResult, toFunctionSelector, toFunctionSignature } from 'viem';
import { expect, it } from 'vitest';
import { decodeView, encodeView, IS_INCLUDED, VIEWS, type View } from '../src/views.js';

const functions = settlementAbi.filter((item) => item.type === 'function');
const WORDS = { uint16: 'number', uint24: 'number', uint32: 'number', uint64: 'bigint', uint128: 'bigint' } as Record<
  string,
  string
>;

it.each(Object.keys(VIEWS) as View[])('%s is the contract’s, and its words are', (view) => {
  const item = functions.find((one) => toFunctionSignature(one) === view);
  if (item === undefined) throw new Error(`Settlement has no ${view}`);
  expect(VIEWS[view]).toEqual(item.outputs.map(({ type }) => WORDS[type] ?? type));
  const address = `0x${'ab'.repeat(20)}` as const;
  const args = item.inputs.map(({ type }) => (type === 'address' ? address : type === 'uint64' ? 2n ** 63n : 7));
  const abi = [item] as never;
  const call = { abi, functionName: item.name } as never;
  expect(encodeView(view, args)).toBe(encodeFunctionData({ ...(call as object), args } as never));
  const values = item.outputs.map(({ type }) =>
    type === 'address'
      ? address
      : type === 'bool'
        ? true
        : type === 'bytes32'
          ? `0x${'cd'.repeat(32)}`
          : WORDS[type] === 'number'
            ? 9
            : 2n ** 60n,
  );
  const result = values.length === 1 ? values[0] : values;
  const answer = encodeFunctionResult({ ...(call as object), result } as never);
  const decoded = decodeView(view, answer);
  expect(decoded).toEqual(result);
  const byLibrary = decodeFunctionResult({ ...(call as object), data: answer } as never) as unknown;
  expect(JSON.stringify(decoded, text).toLowerCase()).toBe(JSON.stringify(byLibrary, text).toLowerCase());
  expect(() => decodeView(view, `${answer}00`)).toThrow('bytes');
});

const text = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);

it('isIncluded has its selector', () => {
  expect(IS_INCLUDED).toBe(toFunctionSelector(isIncludedAbi[0]));
});
