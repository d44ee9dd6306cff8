import { fromHex, messageBytes, readBundle } from '@sealpost/prover';
import SqliteDatabase from 'better-sqlite3';
import type { CommitGroup, L1Step, SealedBatch, SendRecord, SignedStatement } from '../ports.js';
import { type Answer, serveThread } from '../threads.js';
import { configure, positionOf, topicKeyOf } from './schema.js';

/** What the writer's thread is asked to make durable: the writing half of `Store`. */
export type Write =
  | { readonly kind: 'groups'; readonly groups: readonly CommitGroup[]; readonly signed: readonly SignedStatement[] }
  | { readonly kind: 'batch'; readonly batch: SealedBatch }
  | { readonly kind: 'l1'; readonly step: L1Step }
  | { readonly kind: 'send'; readonly send: SendRecord }
  | { readonly kind: 'forget'; readonly transactionHashes: readonly string[] }
  | { readonly kind: 'close' };

export interface WriterData {
  readonly path: string;
  /** Test hook of the disk-full day: SQLite's own page limit, 0 for none. */
  readonly maxPages: number;
}

/**
 * Every durable write of the process happens here, one transaction each, in the order of the calls. The thread exists
 * because a commit waits for the disk: HTTP and ordering go on meanwhile.
 */
serveThread(({ path, maxPages }: WriterData) => {
  const database = new SqliteDatabase(path, { fileMustExist: true });
  configure(database);
  if (maxPages > 0) database.pragma(`max_page_count = ${maxPages}`);
  const salt = database.prepare('SELECT topic_salt FROM genesis').pluck().get() as Buffer;

  const insertEntry = database.prepare(
    `INSERT INTO entries (position, lane, void, previous, accepted_at, sender, nonce, count, struct_hash, bundle_hash, bundle)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertMessage = database.prepare('INSERT INTO messages (topic_key, position, message_index) VALUES (?, ?, ?)');
  const insertGroup = database.prepare('INSERT INTO groups (position, count, root) VALUES (?, ?, ?)');
  const signGroup = database.prepare('UPDATE groups SET include_by = ?, signature = ? WHERE position = ?');
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
  const insertSend = database.prepare(
    `INSERT INTO sends (transaction_hash, nonce, lane, first_number, last_number, max_fee_per_gas,
       max_priority_fee_per_gas, raw, sent_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const forgetSend = database.prepare('DELETE FROM sends WHERE transaction_hash = ?');

  const appendGroups = database.transaction((groups: readonly CommitGroup[], signed: readonly SignedStatement[]) => {
    const keys: number[] = [];
    for (const group of groups) {
      for (const entry of group.entries) {
        const position = positionOf(entry.lane, entry.sequence);
        insertEntry.run(
          position,
          entry.lane,
          entry.void,
          Number(entry.previous),
          Number(entry.acceptedAt),
          fromHex(entry.sender),
          Number(entry.nonce),
          entry.count,
          entry.structHash,
          entry.bundleHash,
          entry.bundle,
        );
        if (entry.void !== 0) continue;
        const view = readBundle(entry.bundle);
        for (let index = 0; index < view.count; index++) {
          const key = topicKeyOf(salt, messageBytes(view, index).subarray(1, 33));
          insertMessage.run(key, position, index);
          keys.push(key);
        }
      }
      insertGroup.run(positionOf(group.lane, group.firstSequence), group.entries.length, fromHex(group.root));
    }
    for (const { lane, firstSequence, includeBy, signature } of signed) {
      signGroup.run(Number(includeBy), fromHex(signature), positionOf(lane, firstSequence));
    }
    return keys;
  });

  const appendBatch = database.transaction(({ header, batchHash, bytes, messages }: SealedBatch) => {
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

  const applyL1 = database.transaction(({ keepUpTo, keepFrom, blocks, commitments }: L1Step) => {
    if (keepUpTo !== undefined) {
      forgetBlocksAbove.run(Number(keepUpTo));
      forgetCommitmentsAbove.run(Number(keepUpTo));
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

  return (write: Write): Answer => {
    switch (write.kind) {
      case 'groups': {
        const keys = Float64Array.from(appendGroups(write.groups, write.signed));
        return { value: keys, transfer: [keys.buffer] };
      }
      case 'batch':
        return { value: appendBatch(write.batch) };
      case 'l1':
        return { value: applyL1(write.step) };
      case 'send':
        return { value: recordSend(write.send) };
      case 'forget':
        return { value: forgetSends(write.transactionHashes) };
      case 'close':
        return { value: database.close() && undefined };
    }
  };
});
