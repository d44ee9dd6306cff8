import type { Hex } from '@sealpost/prover';
import type { CallOptions } from './clock.js';
import { L1Error } from './errors.js';
import type { L1 } from './l1.js';

/** One log of the contract, as the node gives it. */
export interface RawLog {
  readonly data: Hex;
  readonly topics: [Hex, ...Hex[]];
  readonly blockNumber: Hex;
  readonly transactionHash: Hex;
}

/** Blocks asked for at once; halved when a node refuses that many. */
const RANGE = 50_000n;

/**
 * The contract's logs of some kinds, in the order of the chain, of the blocks from `from` to `to`, both included.
 * @param indexed further topics that they must have, in order: the contract's logs begin with the lane
 */
export async function* logsBetween(
  l1: L1,
  kinds: readonly Hex[],
  { from, to, indexed = [] }: { readonly from: bigint; readonly to: bigint; readonly indexed?: readonly Hex[] },
  call: CallOptions = {},
): AsyncGenerator<RawLog> {
  let range = RANGE;
  for (let start = from; start <= to; ) {
    const end = start + range - 1n < to ? start + range - 1n : to;
    const filter = {
      address: l1.view.settlement,
      topics: [kinds, ...indexed],
      fromBlock: `0x${start.toString(16)}`,
      toBlock: `0x${end.toString(16)}`,
    };
    let logs: RawLog[];
    try {
      logs = (await l1.request('eth_getLogs', [filter], call)) as RawLog[];
    } catch (error) {
      if (!(error instanceof L1Error) || error.code !== 'l1.rpc' || range === 1n) throw error;
      range = range / 2n > 1n ? range / 2n : 1n;
      continue;
    }
    yield* logs;
    start = end + 1n;
  }
}

/** The contract numbers batches without gaps, so a gap in its logs is the node's. */
export const missingLogs = (lane: number, number: bigint) =>
  new L1Error('l1.rpc', `the L1 node has no log of the commit of batch ${number} on lane ${lane}: use one that keeps all logs`, {
    facts: { lane, number: String(number) },
  });
