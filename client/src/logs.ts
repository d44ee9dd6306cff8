import type { Hex } from '@sealpost/prover';
import type { CallOptions } from './clock.js';
import { L1Error } from './errors.js';
import type { L1 } from './l1.js';

/** A log of the contract's. */
export interface L1Log {
  readonly data: Hex;
  readonly topics: [Hex, ...Hex[]];
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
}

/** Where to look for logs: from one block to another, both included. */
export interface LogRange extends CallOptions {
  readonly fromBlock: bigint;
  readonly toBlock: bigint;
  /** Blocks asked for at once: all, unless given. Halved as often as a node refuses that many. */
  readonly maxBlocks?: bigint;
}

/**
 * The contract's logs with these topics (null: any; several: one of them), in the order of the L1.
 * @throws L1Error
 */
export async function* logsOf(
  l1: L1,
  topics: readonly (Hex | readonly Hex[] | null)[],
  { fromBlock, toBlock, maxBlocks = toBlock + 1n, ...call }: LogRange,
): AsyncGenerator<L1Log> {
  let range = maxBlocks;
  for (let from = fromBlock; from <= toBlock; ) {
    const to = from + range - 1n < toBlock ? from + range - 1n : toBlock;
    const filter = {
      address: l1.view.settlement,
      topics,
      fromBlock: `0x${from.toString(16)}`,
      toBlock: `0x${to.toString(16)}`,
    };
    let logs: (Omit<L1Log, 'blockNumber'> & { readonly blockNumber: Hex })[];
    try {
      logs = (await l1.request('eth_getLogs', [filter], call)) as typeof logs;
    } catch (error) {
      if (!(error instanceof L1Error) || error.code !== 'l1.rpc' || range === 1n) throw error;
      range = range / 2n > 1n ? range / 2n : 1n;
      continue;
    }
    for (const { data, topics: of, blockNumber, transactionHash } of logs) {
      yield { data, topics: of, blockNumber: BigInt(blockNumber), transactionHash };
    }
    from = to + 1n;
  }
}

/** The contract numbers batches without gaps, so a gap in its logs is the node's. */
export const missingLogs = (lane: number, number: bigint) =>
  new L1Error('l1.rpc', `the L1 node has no log of the commit of batch ${number} on lane ${lane}: use one that keeps all logs`, {
    facts: { lane, number: String(number) },
  });
