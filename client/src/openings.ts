import { settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  batchHash,
  buildTree,
  decodeBatchFile,
  entryLeaf,
  fieldsOf,
  type Hex,
  type MessageProof,
  type Opening,
  openEntry,
  ProtocolError,
  readBundle,
  readCheckedHead,
  toHex,
  viewTree,
  ZERO_HASH,
} from '@sealpost/prover';
import { decodeEventLog } from 'viem';
import type { CallOptions } from './clock.js';
import { L1Error } from './errors.js';
import { BATCH_COMMITTED, type L1, word } from './l1.js';
import { logsOf, missingLogs } from './logs.js';

/** A batch as the contract's log tells of it. */
export interface CommittedBatch {
  readonly header: BatchHeader;
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
  const { entries, views } = readEntries(header, file);
  const [entry, bundle] = [entries[index], views[index]];
  if (entry === undefined || bundle === undefined) {
    throw new ProtocolError(
      'batch.malformed',
      `batch ${header.number} has ${entries.length} entries, there is no entry ${index}`,
    );
  }
  const tree = buildTree(entries.map((one) => entryLeaf(one)));
  if (toHex(tree.root) !== header.bundlesRoot) throw otherFile(header, `its entries make the root ${toHex(tree.root)}`);
  const fields = fieldsOf(bundle, toHex(viewTree(bundle).root));
  return openEntry({ void: entry.void, previous: entry.previous, bundle: fields }, header, tree, index);
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

function readEntries(header: BatchHeader, file: Uint8Array) {
  const { lane, number, firstSequence, entries } = decodeBatchFile(file);
  if (lane !== header.lane || number !== header.number || firstSequence !== header.firstSequence) {
    throw otherFile(header, `it is of batch ${number} of lane ${lane}`);
  }
  return { entries, views: entries.map(({ bundle }) => readBundle(bundle)) };
}

const otherFile = (header: BatchHeader, why: string) =>
  new ProtocolError('batch.malformed', `not the file of batch ${header.number} of lane ${header.lane}: ${why}`);

/** Batches of a lane as they were committed, in order, from a block on; with `number` only that one. */
export async function* committedBatches(
  l1: L1,
  lane: number,
  { fromBlock = 0n, number, ...call }: CallOptions & { fromBlock?: bigint; number?: bigint } = {},
): AsyncGenerator<CommittedBatch> {
  const latest = await l1.block('latest', call);
  if (latest === undefined) throw new L1Error('l1.rpc', 'the L1 node has no newest block');
  const topics = [BATCH_COMMITTED, word(lane), ...(number === undefined ? [] : [word(number)])];
  for await (const log of logsOf(l1, topics, { fromBlock, toBlock: latest.number, ...call })) {
    const { blockNumber, transactionHash } = log;
    const { args } = decodeEventLog({ abi: settlementAbi, eventName: 'BatchCommitted', data: log.data, topics: log.topics });
    yield { header: args.header, blockNumber, transactionHash };
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
