import { settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  batchHash,
  decodeBatchFile,
  type Hex,
  type MessageProof,
  type Opening,
  ProtocolError,
  readCheckedHead,
  sha256,
  ZERO_HASH,
} from '@sealpost/prover';
import { decodeEventLog } from 'viem';
import { openBatch, openingFrom } from './batch-files.js';
import type { CallOptions } from './clock.js';
import { L1Error } from './errors.js';
import { BATCH_COMMITTED, type L1, word } from './l1.js';
import { logsOf, missingLogs } from './logs.js';

/** A batch as the contract's log tells of it. */
export interface CommittedBatch {
  readonly header: BatchHeader;
  /** As the contract has it in the batch's slot. */
  readonly hash: Hex;
  readonly blockNumber: bigint;
  readonly transactionHash: Hex;
}

/** The opening that a message proof contains. */
export const openingOfProof = ({ header, bundleIndex, void: isVoid, previous, bundle, bundlePath }: MessageProof): Opening => ({
  header,
  index: bundleIndex,
  void: isVoid,
  previous,
  bundle,
  path: bundlePath,
});

/**
 * A committed entry out of its batch file. The file may come from anybody: it is held against the header.
 * @throws batch.malformed if it is not the file of this batch, or has no such entry
 */
export function openingOfFile(header: BatchHeader, file: Uint8Array, index: number): Opening {
  const batch = openBatch(header, file, sha256);
  if (index < 0 || index >= batch.entries.length) {
    const detail = `batch ${header.number} has ${batch.entries.length} entries, there is no entry ${index}`;
    throw new ProtocolError('batch.malformed', detail);
  }
  return openingFrom(batch, index);
}

/** Where a sender's latest entry that is not void stands in a batch file; undefined if it has none there. */
export function latestEntryOf(sender: Hex, file: Uint8Array): { index: number; next: bigint } | undefined {
  const { entries } = decodeBatchFile(file);
  for (let index = entries.length - 1; index >= 0; index--) {
    const entry = entries[index];
    if (entry === undefined || entry.void === 1) continue;
    const head = readCheckedHead(entry.bundle);
    if (head.sender === sender) return { index, next: head.nonce + BigInt(head.count) };
  }
  return undefined;
}

/** Batches of a lane as they were committed, in order, in the blocks from one to another, both included; with `number` only that one. */
export async function* committedBatches(
  l1: L1,
  lane: number,
  {
    fromBlock = 0n,
    toBlock,
    number,
    ...call
  }: CallOptions & { fromBlock?: bigint | undefined; toBlock?: bigint; number?: bigint } = {},
): AsyncGenerator<CommittedBatch> {
  const to = toBlock ?? (await l1.block('latest', call))?.number;
  if (to === undefined) throw new L1Error('l1.rpc', 'the L1 node has no newest block');
  const topics = [BATCH_COMMITTED, word(lane), ...(number === undefined ? [] : [word(number)])];
  for await (const log of logsOf(l1, topics, { fromBlock, toBlock: to, ...call })) {
    const { blockNumber, transactionHash } = log;
    const { args } = decodeEventLog({ abi: settlementAbi, eventName: 'BatchCommitted', data: log.data, topics: log.topics });
    yield { header: args.header, hash: args.batchHash, blockNumber, transactionHash };
  }
}

/**
 * A committed batch by its number, its header held against the slot.
 * @throws L1Error if the node does not find the commit
 */
export async function committedBatch(l1: L1, lane: number, number: bigint, call: CallOptions = {}): Promise<CommittedBatch> {
  const { committed } = await l1.slot(lane, number, call);
  if (committed !== ZERO_HASH) {
    for await (const batch of committedBatches(l1, lane, { number, ...call })) {
      if (batchHash(batch.header) === committed) return batch;
    }
  }
  throw missingLogs(lane, number);
}

/** The committed batch that has an entry; undefined if the lane is not committed that far. */
export async function batchOfSequence(
  l1: L1,
  lane: number,
  sequence: bigint,
  call: CallOptions = {},
): Promise<CommittedBatch | undefined> {
  const head = await l1.head(lane, call);
  if (sequence >= head.nextSequence) return undefined;
  // Batches are without gaps: half of them are left at each look.
  let [low, high] = [1n, head.number];
  for (;;) {
    const batch = await committedBatch(l1, lane, (low + high) / 2n, call);
    const { number, firstSequence, count } = batch.header;
    if (sequence < firstSequence) high = number - 1n;
    else if (sequence >= firstSequence + BigInt(count)) low = number + 1n;
    else return batch;
    if (low > high) throw new L1Error('l1.rpc', `the L1 node's logs of lane ${lane} contradict its head`);
  }
}
