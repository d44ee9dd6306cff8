import { createHash, hash } from 'node:crypto';
import {
  buildTree,
  inclusionPath,
  join,
  type MerkleTree,
  readBundle,
  type Sha256,
  sha256,
  toHex,
  viewTree,
} from '@sealpost/prover';
import { MerkleTree as PeerTree } from 'merkletreejs';
import { nativeMessagesRoot } from '../../sequencer/dist/adapters/native.js';
import { LoadSender, makeRegion } from '../presigned.js';
import type { ProcessLine } from './scenario.js';

// One contender at Merkle trees: a process of its own, so that none runs on code that another one made fast or slow. Told by
// its first argument, answers on stdout. Run by peers.ts.

/** Who builds the tree, and with whose SHA-256. */
export type MerkleContender = 'merkletreejs-noble' | 'merkletreejs-native' | 'prover-noble' | 'prover-native' | 'sequencer';

/** What a process is told. */
export interface MerklePlan {
  readonly contender: MerkleContender;
  /** `tree`: over leaves that are hashed already, and the paths of all of them. `bundle`: over a bundle's messages as they arrive. */
  readonly task: 'tree' | 'bundle';
  /** Leaves of the tree, or messages of the bundle. */
  readonly size: number;
  /** How long each of its parts is measured. */
  readonly ms: number;
}

/** What it answers. */
export interface MerkleResult {
  /** Leaves that became part of a root, a second. */
  readonly leavesPerSecond: number;
  /** Paths read from a built tree, a second; none where only a root is made. */
  readonly pathsPerSecond?: number;
  /** The same for every contender, or one of them is wrong. */
  readonly root: string;
  /** Digest of all paths: the same, too. */
  readonly paths?: string;
}

const nativeSha256: Sha256 = (data) => hash('sha256', data, 'buffer');
const scratch = Buffer.alloc(65, 0x01);

/** The peer's node hash, RFC 9162's, as cheap as it can be given: without an allocation where the hash allows it. */
const pairHash = (sha: Sha256) => (pair: Buffer) => {
  scratch.set(pair, 1);
  return Buffer.from(sha(scratch));
};

const peerTree = (leaves: readonly Buffer[], sha: Sha256) =>
  new PeerTree([...leaves], pairHash(sha), { sortPairs: false, duplicateOdd: false, hashLeaves: false });

/** The same leaves in every process. */
const sameLeaves = (size: number): Buffer[] =>
  Array.from({ length: size }, (_, at) => createHash('sha256').update(`leaf ${at}`).digest());

/** Calls `once` for a while, after a shorter while that does not count; how many it did a second, at `amount` a call. */
function rate(ms: number, amount: number, once: () => unknown): number {
  for (const until = performance.now() + ms / 3; performance.now() < until; ) once();
  const began = performance.now();
  let done = 0;
  let now = began;
  for (; now - began < ms; now = performance.now()) {
    once();
    done += amount;
  }
  return Math.round((done / (now - began)) * 1_000);
}

const digestOf = (paths: Iterable<readonly Uint8Array[]>): string => {
  const digest = createHash('sha256');
  for (const path of paths) for (const node of path) digest.update(node);
  return digest.digest('hex');
};

/** A tree over hashed leaves, and every path in it. */
function measureTree({ contender, size, ms }: MerklePlan): MerkleResult {
  const leaves = sameLeaves(size);
  const sha = contender.endsWith('-noble') ? sha256 : nativeSha256;
  if (contender.startsWith('merkletreejs')) {
    const pathsOf = (tree: PeerTree) => leaves.map((leaf, at) => tree.getProof(leaf, at));
    const tree = peerTree(leaves, sha);
    return {
      leavesPerSecond: rate(ms, size, () => peerTree(leaves, sha).getRoot()),
      pathsPerSecond: rate(ms, size, () => pathsOf(tree)),
      root: tree.getRoot().toString('hex'),
      paths: digestOf(pathsOf(tree).map((path) => path.map(({ data }) => data))),
    };
  }
  const pathsOf = (tree: MerkleTree) => leaves.map((_, at) => inclusionPath(tree, at));
  const tree = buildTree(leaves, sha);
  return {
    leavesPerSecond: rate(ms, size, () => buildTree(leaves, sha)),
    pathsPerSecond: rate(ms, size, () => pathsOf(tree)),
    root: Buffer.from(tree.root).toString('hex'),
    paths: digestOf(pathsOf(tree)),
  };
}

/** The root of one bundle, from its bytes: what is done for every bundle that arrives. */
function measureBundle({ contender, size, ms }: MerklePlan): MerkleResult {
  const topic = `0x${'00'.repeat(32)}` as const;
  const payload = (at: number) => createHash('sha512').update(`payload ${at}`).digest();
  const region = makeRegion({ count: size, payloadBytes: 256, lane: 0, laneCount: 1, topic });
  // Its payloads are random: the same ones in every process instead. Each message is length(4) ‖ 0x00 ‖ topic(32) ‖ payload(256).
  const bytes = Buffer.from(region.bytes);
  for (let at = 0; at < size; at++) for (let part = 0; part < 4; part++) payload(at).copy(bytes, at * 293 + 37 + part * 64);
  const key = new Uint8Array(32).fill(7);
  const sender = new LoadSender({ chainId: 1n, settlement: `0x${'11'.repeat(20)}` }, 0, 1n, key);
  const frame = join(sender.sign({ ...region, bytes }).parts);
  const view = readBundle(frame.subarray(4));
  const messages = Array.from({ length: size }, (_, at) => bytes.subarray(at * 293 + 4, (at + 1) * 293));
  const rootOf = {
    'merkletreejs-noble': () =>
      peerTree(
        messages.map((one) => Buffer.from(sha256(one))),
        sha256,
      ).getRoot(),
    'merkletreejs-native': () =>
      peerTree(
        messages.map((one) => hash('sha256', one, 'buffer')),
        nativeSha256,
      ).getRoot(),
    'prover-noble': () => viewTree(view, sha256).root,
    'prover-native': () => viewTree(view, nativeSha256).root,
    sequencer: () => nativeMessagesRoot(view),
  }[contender];
  return { leavesPerSecond: rate(ms, size, rootOf), root: toHex(rootOf()).slice(2) };
}

const plan = JSON.parse(process.argv[2] ?? '{}') as MerklePlan;
const line: ProcessLine<MerkleResult> = { result: plan.task === 'tree' ? measureTree(plan) : measureBundle(plan) };
process.stdout.write(`${JSON.stringify(line)}\n`);
