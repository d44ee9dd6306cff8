import { randomBytes } from 'node:crypto';
import {
  batchHash,
  buildBundleProof,
  buildMessageProof,
  buildTree,
  bundleHash,
  bundleStructHash,
  entryHash,
  fieldsOf,
  type Hex,
  join,
  MESSAGE_PREFIX_BYTES,
  proofFromJson,
  proofToJson,
  readBundle,
  type Sha256,
  sha256,
  toHex,
  VerifiedBundles,
  verifyMessageProof,
  viewTree,
  ZERO_HASH,
} from '@sealpost/prover';
import { LoadSender, makeRegion, nativeSha256 } from '../presigned.js';
import type { ProcessLine } from './scenario.js';

// Proofs of messages, verified on one core: a process of its own. Told by its first argument, answers on stdout. Run by
// proofs.ts.

/** What a process is told. */
export interface CheckingPlan {
  /** Whose SHA-256: the prover's own, in JavaScript, or Node's, passed in. */
  readonly hash: 'noble' | 'native';
  /** Messages a bundle. */
  readonly bundle: number;
  /** Entries of the batch. */
  readonly entries: number;
  readonly payload: number;
  /** How long each figure is measured. */
  readonly ms: number;
}

/** What it answers: proofs a second. */
export interface CheckingResult {
  /** Bundles that are known but for their messages: signature and place in the batch were verified with an earlier message. */
  readonly knownPerSecond: number;
  /** From the text of a proof file. */
  readonly fromTextPerSecond: number;
  /** Nothing but the hashes of such a proof, over the same bytes. */
  readonly hashesOnlyPerSecond: number;
  /** SHA-256s of such a proof. */
  readonly hashesAProof: number;
}

/** As many bundles as their messages leave the caches of a core no illusions, the rest of the batch strangers. */
const BUNDLES = 8;
const DOMAIN = { chainId: 31_337n, settlement: `0x${'5f'.repeat(20)}` as Hex };

function makeProofs({ bundle, entries, payload }: CheckingPlan) {
  const sender = new LoadSender(DOMAIN, 0, 1_900_000_000n, randomBytes(32));
  const leaves: Uint8Array[] = Array.from({ length: entries }, () => new Uint8Array(randomBytes(32)));
  const bundles = Array.from({ length: Math.min(BUNDLES, entries) }, (_, at) => {
    const region = makeRegion({ count: bundle, payloadBytes: payload, lane: 0, laneCount: 1 });
    const view = readBundle(join(sender.sign(region).parts).subarray(4));
    const tree = viewTree(view, nativeSha256);
    const identity = bundleHash(view.sender, bundleStructHash(fieldsOf(view, toHex(tree.root))), view.signature);
    const bundleIndex = Math.floor((at * entries) / BUNDLES);
    leaves[bundleIndex] = entryHash(0, BigInt(at), identity);
    return { view, tree, bundleIndex, claims: { void: 0 as const, previous: BigInt(at) } };
  });
  const tree = buildTree(leaves, nativeSha256);
  const header = {
    lane: 0,
    term: 1,
    number: 1n,
    parentHash: ZERO_HASH,
    firstSequence: 0n,
    count: entries,
    bundlesRoot: toHex(tree.root),
    inboxCount: 0n,
    timestamp: 1_800_000_000n,
    dataHash: ZERO_HASH,
  };
  const texts = bundles.flatMap((one) =>
    Array.from({ length: bundle }, (_, index) => {
      const inner = buildBundleProof(DOMAIN, one.view, one.tree, index);
      return JSON.stringify(proofToJson(buildMessageProof(inner, one.claims, { tree, header }, one.bundleIndex)));
    }),
  );
  return { texts, committed: batchHash(header) };
}

/** Calls `all`, which does `count`, for a while after once that does not count; how many a second. */
function rate(ms: number, count: number, all: () => void): number {
  all();
  const began = performance.now();
  let done = 0;
  let now = began;
  for (; now - began < ms; now = performance.now()) {
    all();
    done += count;
  }
  return Math.round((done * 1_000) / (now - began));
}

function measure(plan: CheckingPlan): CheckingResult {
  const { texts, committed } = makeProofs(plan);
  // Parsed one by one, as they come from the network: no two proofs share a string.
  const proofs = texts.map((text) => proofFromJson(JSON.parse(text)));
  const hash: Sha256 = plan.hash === 'native' ? nativeSha256 : sha256;
  const settlement = { ...DOMAIN, laneCount: 1 };
  const options = { hash, verifiedBundles: new VerifiedBundles() };
  const path = proofs[0]?.messagePath.length ?? 0;
  const leaf = new Uint8Array(randomBytes(MESSAGE_PREFIX_BYTES + plan.payload));
  const node = new Uint8Array(randomBytes(65));
  return {
    knownPerSecond: rate(plan.ms, proofs.length, () => {
      for (const proof of proofs) verifyMessageProof(proof, settlement, committed, options);
    }),
    fromTextPerSecond: rate(plan.ms, texts.length, () => {
      for (const text of texts) verifyMessageProof(proofFromJson(JSON.parse(text)), settlement, committed, options);
    }),
    hashesOnlyPerSecond: rate(plan.ms, proofs.length, () => {
      for (let at = 0; at < proofs.length; at++) {
        hash(leaf);
        for (let level = 0; level < path; level++) hash(node);
      }
    }),
    hashesAProof: 1 + path,
  };
}

const line: ProcessLine<CheckingResult> = { result: measure(JSON.parse(process.argv[2] ?? '{}') as CheckingPlan) };
process.stdout.write(`${JSON.stringify(line)}\n`);
