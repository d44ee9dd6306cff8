import { settlementAbi } from '@sealpost/contracts';
import { type Evidence, type Hex, lowerHex, type Opening } from '@sealpost/prover';
import { decodeFunctionData } from 'viem';
import { build, read, type SettlementCall } from './calls.js';
import type { CallOptions } from './clock.js';
import type { L1 } from './l1.js';

/** What the contract keeps of a term (PROTOCOL.md §7). */
export interface TermState {
  readonly operator: Hex;
  /** Receipts below are no evidence. */
  readonly firstSequence: bigint;
  /** The first block that is not in it; 0 while its end is open. */
  readonly endBlock: bigint;
  /** The committed head at its end; while it lasts, the committed head. */
  readonly endSequence: bigint;
  /** Demands and broken promises that were charged. */
  readonly unanswered: number;
  /** Whether the whole bond was taken for it: then nothing more can be. */
  readonly slashed: boolean;
}

/** The contract's own words for the offences that `Evidence` proves, and for a demand that nobody answered. */
export type Offence = Evidence['offence'] | 'unanswered demand';

/** A term of a lane. Zeros for one that does not exist. */
export async function readTerm(l1: L1, lane: number, term: number, call: CallOptions = {}): Promise<TermState> {
  const [operator, firstSequence, endBlock, endSequence, unanswered, slashed] = (await read(
    l1,
    'termOf',
    [lane, term],
    'latest',
    call,
  )) as readonly [Hex, bigint, bigint, bigint, number, boolean, bigint];
  return { operator: lowerHex(operator), firstSequence, endBlock, endSequence, unanswered, slashed };
}

/** Whether an account's receipts bind the operator of a term, now. */
export const isReceiptSigner = async (
  l1: L1,
  lane: number,
  term: number,
  signer: Hex,
  call: CallOptions = {},
): Promise<boolean> => (await read(l1, 'isReceiptSigner', [lane, term, signer], 'latest', call)) as boolean;

/** Shows the contract an offence. */
export function proveOffence(evidence: Evidence): SettlementCall {
  switch (evidence.offence) {
    case 'equivocation':
      return build('proveEquivocation', [evidence.sequence, evidence.one, evidence.other]);
    case 'replacement':
      return build('proveReplacement', [
        evidence.sequence,
        evidence.promised,
        evidence.header,
        evidence.entryHash,
        evidence.path,
      ]);
    case 'false entry':
      return build('proveFalseEntry', [evidence.entry, evidence.others]);
    case 'broken promise':
      return build('proveBroken', [evidence.sequence, evidence.promised]);
  }
}

/** Charges a demand that nobody answered in time. */
export const proveUnanswered = (lane: number, term: number, sequence: bigint): SettlementCall =>
  build('proveUnanswered', [lane, term, sequence]);

/** The opening that a transaction answered with; undefined if it is not a plain call of `answer`. */
export function openingIn(input: Hex): Opening | undefined {
  try {
    const { functionName, args } = decodeFunctionData({ abi: settlementAbi, data: input });
    return functionName === 'answer' ? (args[0] as Opening) : undefined;
  } catch {
    return undefined;
  }
}
