import { createHash } from 'node:crypto';
import {
  type BatchHeader,
  batchHash,
  bundleHash,
  bundleStructHash,
  dataHash,
  decodeBatchFile,
  decodeBundle,
  domainSeparator,
  fromHex,
  type Hex,
  type Message,
  recoverSigner,
  toHex,
  topicLane,
  typedDataDigest,
  ZERO_HASH,
} from '@sealpost/prover';
import { nativeRecover } from '../src/adapters/native.js';
import { DOMAIN } from './bundles.js';
import type { Pipeline } from './pipeline.js';

/** An entry as the batch files tell it. */
export interface AuditedEntry {
  readonly lane: number;
  readonly sequence: bigint;
  readonly sender: Hex;
  readonly nonce: bigint;
  readonly previous: bigint;
  readonly bundleHash: Hex;
  readonly messages: readonly Message[];
}

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** RFC 9162 §2.1.1, word for word: MTH over leaf hashes. */
function treeHash(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 1) return leaves[0] as Uint8Array;
  let split = 1;
  while (2 * split < leaves.length) split *= 2;
  return sha256(Uint8Array.of(1), treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split)));
}

const uint64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`audit: ${what}`);
}

/**
 * Re-derives every hash, signature, nonce, claim and header of a log from its batch files, and holds them against the
 * headers: what an auditor would do, with as little of the sequencer's own code as there can be.
 * @throws if anything does not hold, or an entry is in no batch
 */
export function auditLog({ store, reader }: Pick<Pipeline, 'store' | 'reader'>): AuditedEntry[] {
  const { laneCount } = store.genesis;
  const audited: AuditedEntry[] = [];
  for (let lane = 0; lane < laneCount; lane++) {
    const accounts = new Map<Hex, { nonce: bigint; previous: bigint }>();
    let parent: Pick<BatchHeader, 'term' | 'number' | 'firstSequence' | 'count' | 'timestamp'> & { hash: Hex } = {
      term: 1,
      number: 0n,
      firstSequence: 0n,
      count: 0,
      timestamp: 0n,
      hash: ZERO_HASH,
    };
    for (const batch of store.batchesFrom(lane, 1n, 1_000_000)) {
      const { header } = batch;
      const at = `batch ${header.number} of lane ${lane}`;
      must(header.lane === lane && header.term >= parent.term && header.inboxCount === 0n, `${at}: lane, term, inboxCount`);
      must(header.number === parent.number + 1n && header.parentHash === parent.hash, `${at}: does not follow its parent`);
      must(header.firstSequence === parent.firstSequence + BigInt(parent.count), `${at}: firstSequence`);
      must(header.timestamp >= parent.timestamp, `${at}: its time is below its parent's`);
      must(batchHash(header) === batch.batchHash, `${at}: batchHash`);
      const file = Buffer.concat([...reader.batchFile(batch, 0, batch.bytes)]);
      must(file.length === batch.bytes && dataHash([file]) === header.dataHash, `${at}: dataHash`);
      const { entries, ...head } = decodeBatchFile(file);
      must(
        head.lane === lane && head.number === header.number && head.firstSequence === header.firstSequence,
        `${at}: file header`,
      );
      must(entries.length === header.count, `${at}: count`);
      const leaves = entries.map((entry, index) => {
        const sequence = header.firstSequence + BigInt(index);
        const which = `entry ${lane}/${sequence}`;
        const bundle = decodeBundle(entry.bundle);
        const { sender, nonce, messages, signature } = bundle;
        const messagesRoot = toHex(
          treeHash(messages.map(({ topic, payload }) => sha256(Uint8Array.of(0), fromHex(topic), payload))),
        );
        const structHash = bundleStructHash({ ...bundle, count: messages.length, messagesRoot });
        const digest = typedDataDigest(domainSeparator(DOMAIN), structHash);
        must(recoverSigner(digest, fromHex(signature), nativeRecover) === sender, `${which}: signature`);
        must(bundle.lane === lane && messages.every(({ topic }) => topicLane(topic, laneCount) === lane), `${which}: lane`);
        must(bundle.expiry >= header.timestamp, `${which}: expired`);
        const account = accounts.get(sender) ?? { nonce: 0n, previous: 0n };
        must(entry.void === 0 && nonce === account.nonce, `${which}: nonce ${nonce}, expected ${account.nonce}`);
        must(entry.previous === account.previous, `${which}: previous ${entry.previous}, expected ${account.previous}`);
        accounts.set(sender, { nonce: nonce + BigInt(messages.length), previous: sequence + 1n });
        const identity = sha256(Uint8Array.of(0), fromHex(sender), structHash, fromHex(signature));
        must(toHex(identity) === toHex(bundleHash(sender, structHash, fromHex(signature))), `${which}: bundleHash`);
        audited.push({ lane, sequence, sender, nonce, previous: entry.previous, bundleHash: toHex(identity), messages });
        return sha256(Uint8Array.of(0, entry.void), uint64(entry.previous), identity);
      });
      must(toHex(treeHash(leaves)) === header.bundlesRoot, `${at}: bundlesRoot`);
      must(store.entry(lane, header.firstSequence)?.acceptedAt === header.timestamp, `${at}: timestamp`);
      must(
        entries.reduce((sum, { bundle }) => sum + decodeBundle(bundle).messages.length, 0) === batch.messages,
        `${at}: messages`,
      );
      parent = { ...header, hash: batch.batchHash };
    }
    const { nextSequence } = store.tail(lane);
    must(nextSequence === parent.firstSequence + BigInt(parent.count), `lane ${lane}: entries in no batch`);
  }
  return audited;
}
