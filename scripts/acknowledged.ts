import { settlementAbi } from '@sealpost/contracts';
import {
  batchHash,
  buildTree,
  bundleHash,
  bundleStructHash,
  type Domain,
  dataHash,
  decodeBatchFile,
  decodeBatchHeader,
  domainSeparator,
  entryHash,
  fieldsOf,
  fromHex,
  type Hex,
  isIncluded,
  proofFromJson,
  readBundle,
  receiptDigest,
  receiptFromJson,
  recoverSigner,
  type SettlementView,
  toHex,
  verifyMessageProof,
} from '@sealpost/prover';
import { l1Client } from './deployment.js';
import { nativeMessagesRoot, nativeRecover, nativeSha256 } from './presigned.js';
import { type Answer, Wire } from './wire.js';

/** A bundle whose receipt was given. */
export interface Acknowledged {
  readonly sender: Hex;
  readonly lane: number;
  readonly nonce: bigint;
  readonly count: number;
  readonly bundleHash: Hex;
  /** As JSON: parsed when it is checked, not while the load runs. */
  readonly receipt: unknown;
}

/** What became of them, counted in messages. */
export interface Verdict {
  readonly acknowledged: number;
  /** Not in the log at the sequence that was promised, or not to be had. */
  readonly lost: number;
  /** In the log, but something between the message and the L1 does not hold. */
  readonly unprovable: number;
  /** More than one entry of the log holds them. */
  readonly doubled: number;
  /** Of the messages, these were also fetched one by one and their proofs verified, as a reader does. */
  readonly sampled: number;
  readonly batches: number;
  /** What was wrong first, for people. */
  readonly complaints: readonly string[];
}

export interface CheckOptions extends Domain {
  readonly url: string;
  readonly l1Url: string;
  readonly laneCount: number;
  /** Messages to fetch one by one. */
  readonly sample: number;
  readonly timeoutMs: number;
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

const MAX_COMPLAINTS = 10;

/**
 * Checks *every* acknowledged bundle: its receipt is signed by the contract's signer, its entry stands at the promised
 * sequence in a batch file whose hash, content address and header are those in the L1's slot, and nowhere else. A sample
 * of messages is fetched and proven one by one, as a reader would. Waits until the last one is committed.
 */
export async function checkAcknowledged(acknowledged: readonly Acknowledged[], options: CheckOptions): Promise<Verdict> {
  const complaints: string[] = [];
  const complain = (text: string) => void (complaints.length < MAX_COMPLAINTS && complaints.push(text));
  const wire = new Wire(options.url);
  try {
    const bad = new Set<Acknowledged>();
    const missing = new Set<Acknowledged>();
    let doubled = 0;
    const bySequence = new Map<string, Acknowledged>();
    await checkReceipts(acknowledged, options, (one, why) => {
      bad.add(one);
      complain(`receipt of ${one.sender}/${one.lane}/${one.nonce}: ${why}`);
    });
    const ends = new Map<number, bigint>();
    for (const one of acknowledged) {
      const { sequence } = receiptFromJson(one.receipt);
      bySequence.set(`${one.lane}/${sequence}`, one);
      missing.add(one);
      if (sequence >= (ends.get(one.lane) ?? 0n)) ends.set(one.lane, sequence + 1n);
    }
    await waitForCommitted(wire, ends, options);

    const known = new Map(acknowledged.map((one) => [one.bundleHash, one]));
    const seen = new Set<string>();
    let batches = 0;
    for (const [lane, end] of ends) {
      for await (const batch of readBatches(wire, lane, end, options)) {
        batches++;
        if (batch.problem !== undefined) complain(`batch ${batch.number} of lane ${lane}: ${batch.problem}`);
        for (const [index, entry] of batch.entries.entries()) {
          const one = known.get(entry.bundleHash);
          if (one === undefined) continue;
          if (seen.has(entry.bundleHash)) {
            doubled += one.count;
            complain(`${one.sender}/${one.lane}/${one.nonce} stands twice in the log`);
          }
          seen.add(entry.bundleHash);
          const at = `${lane}/${batch.firstSequence + BigInt(index)}`;
          if (bySequence.get(at) !== one) {
            complain(`${one.sender}/${one.lane}/${one.nonce} stands at ${at}, another place than its receipt says`);
            continue;
          }
          missing.delete(one);
          if (batch.problem !== undefined || !entry.sound) bad.add(one);
        }
      }
    }
    for (const one of missing) complain(`${one.sender}/${one.lane}/${one.nonce} is not in the log where its receipt says`);

    const sampled = await checkSample(wire, acknowledged, options, (one, why) => {
      complain(`${one.sender}/${one.lane}/${one.nonce}: ${why}`);
      bad.add(one);
    });
    const count = (ones: Iterable<Acknowledged>) => [...ones].reduce((sum, one) => sum + one.count, 0);
    for (const one of missing) bad.delete(one);
    return {
      acknowledged: count(acknowledged),
      lost: count(missing),
      unprovable: count(bad),
      doubled,
      sampled,
      batches,
      complaints,
    };
  } finally {
    wire.close();
  }
}

/** Every receipt leads from its entry to a root that the contract's signer signed; each statement is recovered once. */
async function checkReceipts(
  acknowledged: readonly Acknowledged[],
  options: CheckOptions,
  onBad: (one: Acknowledged, why: string) => void,
): Promise<void> {
  const l1 = l1Client(options.l1Url);
  const separator = domainSeparator(options);
  const signers = new Map<string, string>();
  const verified = new Map<string, boolean>();
  for (const [at, one] of acknowledged.entries()) {
    if (at % 2_000 === 0) {
      options.onProgress?.('receipts', at, acknowledged.length);
      await new Promise((next) => setImmediate(next));
    }
    const receipt = receiptFromJson(one.receipt);
    const term = `${receipt.lane}/${receipt.term}`;
    let signer = signers.get(term);
    if (signer === undefined) {
      signer = (
        await l1.readContract({
          address: options.settlement,
          abi: settlementAbi,
          functionName: 'receiptSigner',
          args: [receipt.lane, receipt.term],
        })
      ).toLowerCase();
      signers.set(term, signer);
    }
    const digest = receiptDigest(separator, receipt);
    const statement = `${toHex(digest)}${receipt.signature}`;
    let holds = verified.get(statement);
    if (holds === undefined) {
      holds = recoverSigner(digest, fromHex(receipt.signature), nativeRecover) === signer;
      verified.set(statement, holds);
    }
    const leaf = entryHash(receipt.void, receipt.previous, fromHex(receipt.bundleHash), nativeSha256);
    const path = receipt.path.map((node) => fromHex(node));
    const index = Number(receipt.sequence - receipt.firstSequence);
    if (!holds) onBad(one, 'not signed by the contract’s receipt signer');
    else if (receipt.bundleHash !== one.bundleHash) onBad(one, `names another bundle, ${receipt.bundleHash}`);
    else if (!isIncluded(leaf, index, receipt.count, path, fromHex(receipt.root), nativeSha256)) onBad(one, 'its path is wrong');
  }
}

async function waitForCommitted(wire: Wire, ends: ReadonlyMap<number, bigint>, options: CheckOptions): Promise<void> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const { lanes } = json(await wire.get('/v1/status')) as { lanes: { lane: number; committed: string }[] };
    let behind = 0n;
    let total = 0n;
    for (const [lane, end] of ends) {
      const committed = BigInt(lanes.find((one) => one.lane === lane)?.committed ?? 0);
      total += end;
      if (committed < end) behind += end - committed;
    }
    if (behind === 0n) return;
    options.onProgress?.('commits', Number(total - behind), Number(total));
    if (performance.now() > deadline)
      throw new Error(`${behind} entries were not committed within ${options.timeoutMs / 1_000} s`);
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

interface ReadBatch {
  readonly number: bigint;
  readonly firstSequence: bigint;
  /** Why nothing in it can be proven, if so. */
  readonly problem: string | undefined;
  readonly entries: readonly { readonly bundleHash: Hex; readonly sound: boolean }[];
}

/** The batches of a lane up to `end`, each compared with the L1's slot. */
async function* readBatches(wire: Wire, lane: number, end: bigint, options: CheckOptions): AsyncGenerator<ReadBatch> {
  const l1 = l1Client(options.l1Url);
  let sequence = 0n;
  for (let number = 1n; sequence < end; number++) {
    options.onProgress?.('batches', Number(sequence), Number(end));
    const header = decodeBatchHeader((json(await wire.get(`/v1/batches/${lane}/${number}`)) as { header: unknown }).header);
    const answer = await wire.get(`/v1/batches/${lane}/${number}/data`);
    if (answer.status !== 200) throw new Error(`batch ${number} of lane ${lane}: its file answers ${answer.status}`);
    const file = decodeBatchFile(answer.body);
    const slot = await l1.readContract({
      address: options.settlement,
      abi: settlementAbi,
      functionName: 'batchHash',
      args: [lane, number],
    });
    const leaves: Uint8Array[] = [];
    const entries = file.entries.map((entry) => {
      const view = readBundle(entry.bundle);
      const fields = fieldsOf(view, nativeMessagesRoot(view));
      const hash = bundleHash(view.sender, bundleStructHash(fields), view.signature, nativeSha256);
      leaves.push(entryHash(entry.void, entry.previous, hash, nativeSha256));
      return { bundleHash: toHex(hash), sound: entry.void === 0 };
    });
    let problem: string | undefined;
    if (slot !== batchHash(header)) problem = `the L1 holds ${slot}, its header hashes to ${batchHash(header)}`;
    else if (header.firstSequence !== sequence) problem = `starts at ${header.firstSequence}, expected ${sequence}`;
    else if (header.count !== entries.length) problem = `has ${entries.length} entries, its header says ${header.count}`;
    else if (toHex(buildTree(leaves, nativeSha256).root) !== header.bundlesRoot) problem = 'its entries do not hash to its root';
    else if (dataHash([answer.body], nativeSha256) !== header.dataHash) problem = 'its file does not hash to its content address';
    yield { number, firstSequence: file.firstSequence, problem, entries };
    if (header.count < 1) return;
    sequence += BigInt(header.count);
  }
}

async function checkSample(
  wire: Wire,
  acknowledged: readonly Acknowledged[],
  options: CheckOptions,
  onBad: (one: Acknowledged, why: string) => void,
): Promise<number> {
  const l1 = l1Client(options.l1Url);
  const settlement: SettlementView = { chainId: options.chainId, settlement: options.settlement, laneCount: options.laneCount };
  const slots = new Map<string, Hex>();
  const total = Math.min(options.sample, acknowledged.length);
  for (let at = 0; at < total; at++) {
    options.onProgress?.('sample', at, total);
    const one = acknowledged[Math.floor((at * acknowledged.length) / total)] as Acknowledged;
    const nonce = one.nonce + BigInt(at % one.count);
    try {
      const id = `${one.sender}/${one.lane}/${nonce}`;
      const message = json(await wire.get(`/v1/messages/${id}`)) as { topic: Hex; payload: string };
      const proof = proofFromJson(json(await wire.get(`/v1/messages/${id}/proof`)));
      const slot = `${proof.header.lane}/${proof.header.number}`;
      let committed = slots.get(slot);
      if (committed === undefined) {
        committed = await l1.readContract({
          address: options.settlement,
          abi: settlementAbi,
          functionName: 'batchHash',
          args: [proof.header.lane, proof.header.number],
        });
        slots.set(slot, committed);
      }
      const proven = verifyMessageProof(proof, settlement, committed, { recover: nativeRecover, hash: nativeSha256 });
      if (proven.nonce !== nonce || proven.sender !== one.sender || proven.topic !== message.topic)
        onBad(one, 'the proof is of another message');
      if (Buffer.from(proven.payload).toString('base64') !== message.payload) onBad(one, 'the proof is of another payload');
    } catch (error) {
      onBad(one, (error as Error).message);
    }
  }
  return total;
}

function json(answer: Answer): unknown {
  const text = answer.body.toString('utf8');
  if (answer.status !== 200) throw new Error(`answered ${answer.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text);
}
