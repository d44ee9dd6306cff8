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

/** Whose messages are verified, bundle after bundle; the other entries of the batch are random hashes. */
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
  const texts = bundles.map((one) =>
    Array.from({ length: bundle }, (_, index) => {
      const inner = buildBundleProof(DOMAIN, one.view, one.tree, index);
      return JSON.stringify(proofToJson(buildMessageProof(inner, one.claims, { tree, header }, one.bundleIndex)));
    }),
  );
  return { bundles: texts, committed: batchHash(header) };
}

const ROUNDS = 9;

/**
 * How many of each a second, `count` at a call, for `ms` each. They take turns, a slice each round, and the median slice counts:
 * whatever else the machine does for a while, it does to all of them.
 */
function rates<Name extends string>(
  ms: number,
  count: number,
  works: Record<Name, (round: number) => void>,
): Record<Name, number> {
  const entries = Object.entries(works) as [Name, (round: number) => void][];
  const slices = new Map<Name, number[]>(entries.map(([name]) => [name, []]));
  // The first round warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, work] of entries) {
      const began = performance.now();
      let calls = 0;
      let now = began;
      for (; now - began < ms / ROUNDS; now = performance.now()) work(calls++);
      if (round > 0) slices.get(name)?.push((calls * count * 1_000) / (now - began));
    }
  }
  const median = (values: number[]) => values.sort((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
  return Object.fromEntries(entries.map(([name]) => [name, Math.round(median(slices.get(name) ?? []))])) as Record<Name, number>;
}

function measure(plan: CheckingPlan): CheckingResult {
  const { bundles, committed } = makeProofs(plan);
  // Parsed one by one, as they come from the network: no two proofs share a string.
  const parsed = bundles.map((texts) => texts.map((text) => proofFromJson(JSON.parse(text))));
  const hash: Sha256 = plan.hash === 'native' ? nativeSha256 : sha256;
  const settlement = { ...DOMAIN, laneCount: 1 };
  const options = { hash, verifiedBundles: new VerifiedBundles() };
  const path = parsed[0]?.[0]?.messagePath.length ?? 0;
  const leaf = new Uint8Array(randomBytes(MESSAGE_PREFIX_BYTES + plan.payload));
  const node = new Uint8Array(randomBytes(65));
  for (const [proof] of parsed) if (proof !== undefined) verifyMessageProof(proof, settlement, committed, options);
  const figures = rates(plan.ms, plan.bundle, {
    knownPerSecond: (at) => {
      for (const proof of parsed[at % parsed.length] ?? []) verifyMessageProof(proof, settlement, committed, options);
    },
    fromTextPerSecond: (at) => {
      for (const text of bundles[at % bundles.length] ?? [])
        verifyMessageProof(proofFromJson(JSON.parse(text)), settlement, committed, options);
    },
    hashesOnlyPerSecond: () => {
      for (let proof = 0; proof < plan.bundle; proof++) {
        hash(leaf);
        for (let level = 0; level < path; level++) hash(node);
      }
    },
  });
  return { ...figures, hashesAProof: 1 + path };
}

const line: ProcessLine<CheckingResult> = { result: measure(JSON.parse(process.argv[2] ?? '{}') as CheckingPlan) };
process.stdout.write(`${JSON.stringify(line)}\n`);
