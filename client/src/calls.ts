import { settlementAbi } from '@sealpost/contracts';
import type { Hex } from '@sealpost/prover';
import { decodeFunctionResult, encodeFunctionData } from 'viem';
import type { CallOptions } from './clock.js';
import { L1Error } from './errors.js';
import type { L1 } from './l1.js';

/** A call of the contract, to be tried by `check` and sent by `send`. */
export interface SettlementCall {
  readonly functionName: string;
  readonly data: Hex;
  /** Wei. */
  readonly value: bigint;
}

/**
 * Asks the contract at a block.
 * @throws l1.foreign_contract if what answers is no Settlement
 */
export async function read(
  l1: L1,
  functionName: string,
  args: readonly unknown[],
  tag: string,
  call: CallOptions,
): Promise<unknown> {
  const data = encodeFunctionData({ abi: settlementAbi, functionName, args } as never);
  const result = (await l1.request('eth_call', [{ to: l1.view.settlement, data }, tag], call)) as Hex;
  try {
    return decodeFunctionResult({ abi: settlementAbi, functionName, data: result } as never);
  } catch (cause) {
    const message = `${functionName}: the contract at ${l1.view.settlement} gave no answer that a Settlement gives`;
    throw new L1Error('l1.foreign_contract', message, { cause });
  }
}

/** A call of the contract, to be sent. */
export const build = (functionName: string, args: readonly unknown[], value = 0n): SettlementCall => ({
  functionName,
  data: encodeFunctionData({ abi: settlementAbi, functionName, args } as never),
  value,
});
