import { fromHex } from '@sealpost/prover';
import SqliteDatabase from 'better-sqlite3';
import type { L1Step, SealedBatch, SendRecord } from '../ports.js';
import { type Answer, serveThread } from '../threads.js';
import type { Run, TopicSalt } from '../topics.js';
import { Appender } from './appender.js';
import { BundleFile, bundleFilePath } from './bundle-file.js';
import { endOfBundles } from './entries.js';
import { type PackedGroups, topicKeysOf } from './packed-groups.js';
import { configure, saltOf } from './schema.js';

/** What the writer's thread is asked to make durable: the writing half of `Store`. */
export type Write =
  | ({ readonly kind: 'groups' } & PackedGroups)
  | { readonly kind: 'batch'; readonly batch: SealedBatch; readonly leaves: Uint8Array }
  | { readonly kind: 'unseal'; readonly lane: number; readonly from: bigint }
  | { readonly kind: 'l1'; readonly step: L1Step }
  | { readonly kind: 'send'; readonly send: SendRecord }
  | { readonly kind: 'forget'; readonly transactionHashes: readonly string[] }
  /** A run of the topic index, whose file is on disk already, in place of others. */
  | { readonly kind: 'run'; readonly run: Run; readonly replaces: readonly number[] }
  | { readonly kind: 'close' };

export interface WriterData {
  readonly path: string;
  /** Test hook of the disk-full day: how large database and bundle file may each become, 0 for no limit. */
  readonly maxBytes: number;
}

const PAGE_BYTES = 4_096;

// How SQLite commits appends, which the bundle file makes durable, and everything else, which nothing but the WAL does.
const APPENDS = 'synchronous = NORMAL';
const THE_REST = 'synchronous = FULL';

/**
 * Every durable write of the log happens here, one transaction each, in the order of the calls. The thread exists because a
 * commit waits for the disk: HTTP and ordering go on meanwhile.
 */
serveThread(({ path, maxBytes }: WriterData) => {
  const database = new SqliteDatabase(path, { fileMustExist: true });
  configure(database);
  database.pragma(APPENDS);
  if (maxBytes > 0) database.pragma(`max_page_count = ${Math.floor(maxBytes / PAGE_BYTES)}`);
  const salt: TopicSalt = saltOf(database);
  const bundles = new BundleFile(bundleFilePath(path), 'write');
  // What is no whole append was promised to nobody: those that are have their rows since the store was opened.
  const fileEnd = endOfBundles(database);
  bundles.truncate(fileEnd);
  const appender = new Appender(database, bundles, fileEnd, maxBytes);

  const insertBatch = database.prepare(
    `INSERT INTO batches (lane, number, term, parent_hash, first_sequence, count, bundles_root, inbox_count, timestamp,
       data_hash, batch_hash, bytes, messages) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const forgetBlocksAbove = database.prepare('DELETE FROM l1_blocks WHERE number > ?');
  const forgetBlocksBelow = database.prepare('DELETE FROM l1_blocks WHERE number < ?');
  const forgetCommitmentsAbove = database.prepare('DELETE FROM commitments WHERE block_number > ?');
  const insertBlock = database.prepare('INSERT INTO l1_blocks (number, hash, parent_hash, timestamp) VALUES (?, ?, ?, ?)');
  const insertCommitment = database.prepare(
    `INSERT INTO commitments (lane, number, batch_hash, transaction_hash, block_number, block_hash) VALUES (?, ?, ?, ?, ?, ?)`,
  );
  const forgetForcedAbove = database.prepare('DELETE FROM forced_bundles WHERE block_number > ?');
  const insertForced = database.prepare(
    `INSERT INTO forced_bundles (lane, inbox_index, bundle_hash, deadline, bundle, block_number) VALUES (?, ?, ?, ?, ?, ?)`,
  );
  const forgetDemandsAbove = database.prepare('DELETE FROM demands WHERE block_number > ?');
  const forgetAnswersAbove = database.prepare('UPDATE demands SET answered_block = NULL WHERE answered_block > ?');
  // Of a position that is demanded a second time (§7) the first demand is over: nobody can answer it any more.
  const insertDemand = database.prepare(
    'INSERT OR REPLACE INTO demands (lane, term, sequence, deadline, block_number) VALUES (?, ?, ?, ?, ?)',
  );
  const answerDemand = database.prepare('UPDATE demands SET answered_block = ? WHERE lane = ? AND term = ? AND sequence = ?');
  const insertSend = database.prepare(
    `INSERT INTO sends (transaction_hash, nonce, lane, first_number, last_number, max_fee_per_gas,
       max_priority_fee_per_gas, raw, sent_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const forgetSend = database.prepare('DELETE FROM sends WHERE transaction_hash = ?');

  const insertLeaves = database.prepare('INSERT INTO batch_leaves (lane, number, leaves) VALUES (?, ?, ?)');
  const appendBatch = database.transaction(({ header, batchHash, bytes, messages }: SealedBatch, leaves: Uint8Array) => {
    insertLeaves.run(header.lane, Number(header.number), leaves);
    insertBatch.run(
      header.lane,
      Number(header.number),
      header.term,
      fromHex(header.parentHash),
      Number(header.firstSequence),
      header.count,
      fromHex(header.bundlesRoot),
      Number(header.inboxCount),
      Number(header.timestamp),
      fromHex(header.dataHash),
      fromHex(batchHash),
      bytes,
      messages,
    );
  });

  const dropBatches = database.prepare('DELETE FROM batches WHERE lane = ? AND number >= ?');
  const dropLeaves = database.prepare('DELETE FROM batch_leaves WHERE lane = ? AND number >= ?');
  const unseal = database.transaction((lane: number, from: bigint) => {
    dropBatches.run(lane, Number(from));
    dropLeaves.run(lane, Number(from));
  });

  const applyL1 = database.transaction(({ keepUpTo, keepFrom, blocks, commitments, forced, demands, answered }: L1Step) => {
    if (keepUpTo !== undefined) {
      forgetBlocksAbove.run(Number(keepUpTo));
      forgetCommitmentsAbove.run(Number(keepUpTo));
      // One that has a place in the log keeps it there, as an entry like any other; if it comes back, it gets another (§8).
      forgetForcedAbove.run(Number(keepUpTo));
      forgetDemandsAbove.run(Number(keepUpTo));
      forgetAnswersAbove.run(Number(keepUpTo));
    }
    for (const { number, hash, parentHash, timestamp } of blocks) {
      insertBlock.run(Number(number), fromHex(hash), fromHex(parentHash), Number(timestamp));
    }
    for (const { lane, number, batchHash, transactionHash, blockNumber, blockHash } of commitments) {
      insertCommitment.run(
        lane,
        Number(number),
        fromHex(batchHash),
        fromHex(transactionHash),
        Number(blockNumber),
        fromHex(blockHash),
      );
    }
    for (const { lane, index, bundleHash, deadline, bundle, blockNumber } of forced) {
      insertForced.run(lane, Number(index), fromHex(bundleHash), Number(deadline), bundle, Number(blockNumber));
    }
    for (const { lane, term, sequence, deadline, blockNumber } of demands) {
      insertDemand.run(lane, term, Number(sequence), Number(deadline), Number(blockNumber));
    }
    for (const { lane, term, sequence, blockNumber } of answered) {
      answerDemand.run(Number(blockNumber), lane, term, Number(sequence));
    }
    if (keepFrom !== undefined) forgetBlocksBelow.run(Number(keepFrom));
  });

  const recordSend = database.transaction((send: SendRecord) => {
    insertSend.run(
      fromHex(send.transactionHash),
      send.nonce,
      send.lane,
      Number(send.firstNumber),
      Number(send.lastNumber),
      String(send.maxFeePerGas),
      String(send.maxPriorityFeePerGas),
      fromHex(send.raw),
      send.sentAt,
    );
  });

  const forgetSends = database.transaction((transactionHashes: readonly string[]) => {
    for (const transactionHash of transactionHashes) forgetSend.run(fromHex(transactionHash));
  });

  const insertRun = database.prepare(
    'INSERT INTO topic_runs (id, lane, level, first_place, end_place, fences) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const deleteRun = database.prepare('DELETE FROM topic_runs WHERE id = ?');

  const addRun = database.transaction((run: Run, replaces: readonly number[]) => {
    insertRun.run(
      run.id,
      run.lane,
      run.level,
      run.firstPlace,
      run.endPlace,
      Buffer.from(run.fences.buffer, run.fences.byteOffset, run.fences.byteLength),
    );
    for (const id of replaces) deleteRun.run(id);
  });

  const record = (write: Exclude<Write, { kind: 'groups' | 'close' }>): unknown => {
    switch (write.kind) {
      case 'batch':
        return appendBatch(write.batch, write.leaves);
      case 'unseal':
        return unseal(write.lane, write.from);
      case 'l1':
        return applyL1(write.step);
      case 'send':
        return recordSend(write.send);
      case 'forget':
        return forgetSends(write.transactionHashes);
      case 'run':
        return addRun(write.run, write.replaces);
    }
  };

  /** Synced, and with it what it rests on: the rows of all appends before it are in the same WAL. */
  const synced = <T>(act: () => T): T => {
    database.pragma(THE_REST);
    try {
      return act();
    } finally {
      database.pragma(APPENDS);
    }
  };

  return (write: Write): Answer => {
    switch (write.kind) {
      case 'groups': {
        // Signatures alone are in no file but the WAL.
        if (write.groups.length === 0) synced(() => appender.append(write));
        else appender.append(write);
        const keys = topicKeysOf(salt, write);
        return { value: keys, transfer: [keys.buffer] };
      }
      case 'close':
        database.close();
        bundles.close();
        return { value: undefined };
      default:
        return { value: synced(() => record(write)) };
    }
  };
});
