import { fromHex } from '@sealpost/prover';
import SqliteDatabase from 'better-sqlite3';
import type { CommitGroup, L1Step, SealedBatch, SendRecord, SignedStatement } from '../ports.js';
import { type Answer, serveThread } from '../threads.js';
import type { Run, TopicSalt } from '../topics.js';
import { configure, positionOf, saltOf } from './schema.js';
import { concatDoubles, PAGES_A_RUN, postingsOf } from './topic-index.js';

/** What the writer's thread is asked to make durable: the writing half of `Store`. */
export type Write =
  | { readonly kind: 'groups'; readonly groups: readonly CommitGroup[]; readonly signed: readonly SignedStatement[] }
  | { readonly kind: 'batch'; readonly batch: SealedBatch }
  | { readonly kind: 'l1'; readonly step: L1Step }
  | { readonly kind: 'send'; readonly send: SendRecord }
  | { readonly kind: 'forget'; readonly transactionHashes: readonly string[] }
  /** A run of the topic index with its pages, in place of others; their pages, and pages already there, are litter or not. */
  | { readonly kind: 'run'; readonly run: Run; readonly pages: readonly Uint8Array[]; readonly replaces: readonly number[] }
  /** Some pages of a run that has no row yet. */
  | { readonly kind: 'pages'; readonly run: number; readonly firstPage: number; readonly pages: readonly Uint8Array[] }
  /** Drops some pages of a run that is litter; answers whether there are more. */
  | { readonly kind: 'litter'; readonly run: number }
  | { readonly kind: 'close' };

export interface WriterData {
  readonly path: string;
  /** Test hook of the disk-full day: SQLite's own page limit, 0 for none. */
  readonly maxPages: number;
}

// A page is five of SQLite's: dropping this many dirties a few hundred.
const DROPPED_PAGES = 64;

/**
 * Every durable write of the process happens here, one transaction each, in the order of the calls. The thread exists
 * because a commit waits for the disk: HTTP and ordering go on meanwhile.
 */
serveThread(({ path, maxPages }: WriterData) => {
  const database = new SqliteDatabase(path, { fileMustExist: true });
  configure(database);
  if (maxPages > 0) database.pragma(`max_page_count = ${maxPages}`);
  const salt: TopicSalt = saltOf(database);

  const insertEntry = database.prepare(
    `INSERT INTO entries (position, lane, void, previous, accepted_at, sender, nonce, count, struct_hash, bundle_hash, bundle)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
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
    const keys: Float64Array[] = [];
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
        keys.push(postingsOf(salt, entry).keys);
      }
      insertGroup.run(positionOf(group.lane, group.firstSequence), group.entries.length, fromHex(group.root));
    }
    for (const { lane, firstSequence, includeBy, signature } of signed) {
      signGroup.run(Number(includeBy), fromHex(signature), positionOf(lane, firstSequence));
    }
    return concatDoubles(keys);
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

  const insertRun = database.prepare(
    'INSERT INTO topic_runs (id, lane, level, first_place, end_place, fences) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const deleteRun = database.prepare('DELETE FROM topic_runs WHERE id = ?');
  const insertPage = database.prepare('INSERT INTO topic_pages (id, postings) VALUES (?, ?)');
  const deletePages = database.prepare(
    'DELETE FROM topic_pages WHERE id IN (SELECT id FROM topic_pages WHERE id >= ? AND id < ? LIMIT ?)',
  );
  const insertLitter = database.prepare('INSERT OR IGNORE INTO topic_litter (run) VALUES (?)');
  const deleteLitter = database.prepare('DELETE FROM topic_litter WHERE run = ?');

  const insertPages = (run: number, firstPage: number, pages: readonly Uint8Array[]) => {
    pages.forEach((page, index) => {
      insertPage.run(run * PAGES_A_RUN + firstPage + index, page);
    });
  };

  const addPages = database.transaction((run: number, firstPage: number, pages: readonly Uint8Array[]) => {
    insertLitter.run(run);
    insertPages(run, firstPage, pages);
  });

  const addRun = database.transaction((run: Run, pages: readonly Uint8Array[], replaces: readonly number[]) => {
    insertPages(run.id, 0, pages);
    insertRun.run(
      run.id,
      run.lane,
      run.level,
      run.firstPlace,
      run.endPlace,
      Buffer.from(run.fences.buffer, run.fences.byteOffset, run.fences.byteLength),
    );
    deleteLitter.run(run.id);
    for (const id of replaces) {
      deleteRun.run(id);
      insertLitter.run(id);
    }
  });

  const dropPages = database.transaction((run: number): boolean => {
    const { changes } = deletePages.run(run * PAGES_A_RUN, (run + 1) * PAGES_A_RUN, DROPPED_PAGES);
    if (changes === DROPPED_PAGES) return true;
    deleteLitter.run(run);
    return false;
  });

  return (write: Write): Answer => {
    switch (write.kind) {
      case 'groups': {
        const keys = appendGroups(write.groups, write.signed);
        return { value: keys, transfer: [keys.buffer as ArrayBuffer] };
      }
      case 'batch':
        return { value: appendBatch(write.batch) };
      case 'l1':
        return { value: applyL1(write.step) };
      case 'send':
        return { value: recordSend(write.send) };
      case 'forget':
        return { value: forgetSends(write.transactionHashes) };
      case 'run':
        return { value: addRun(write.run, write.pages, write.replaces) };
      case 'pages':
        return { value: addPages(write.run, write.firstPage, write.pages) };
      case 'litter':
        return { value: dropPages(write.run) };
      case 'close':
        database.close();
        return { value: undefined };
    }
  };
});
