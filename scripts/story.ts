import type { Rung } from '@sealpost/client';
import {
  bundleHash,
  bundleStructHash,
  entryHash,
  fromHex,
  type Hex,
  type MessageProof,
  messageLeaf,
  nodeHash,
  toHex,
} from '@sealpost/prover';
import { formatCount, formatSeconds, paint, plural, shortHex, table } from './terminal.js';

/** What a demonstration found. */
export interface Findings {
  readonly messages: number;
  readonly accepted: number;
  readonly opened: number;
  readonly proofsVerified: number;
  readonly lost: number;
  readonly corruptedProofRefused: boolean;
  readonly batches: number;
  readonly l1GasPerMessage: number;
  readonly directGasPerMessage: number;
  readonly seconds: number;
}

/** What makes it a story. */
export interface Scene {
  readonly source: string;
  readonly senders: readonly string[];
  readonly recipients: readonly string[];
  readonly bundles: number;
  readonly commits: number;
  readonly commitGas: number;
  readonly sentPerSecond: number;
  readonly verifiedPerSecond: number;
  readonly onChain: number;
  readonly refusals: readonly string[];
  /** Milliseconds from sending to each rung, of one message. */
  readonly ladder: readonly { readonly rung: Rung; readonly ms: number; readonly note: string }[];
  readonly proof: MessageProof;
  readonly text: string;
}

const CLIMB: Record<Rung, string> = {
  accepted: 'on disk at the sequencer, which signed a receipt',
  sealed: 'in a batch',
  committed: 'the batch’s hash is on the L1',
  safe: 'the L1 calls the block safe',
  finalized: 'the L1 calls the block final',
};

/** The summary, for a person. */
export function tell(findings: Findings, scene: Scene): string {
  const { messages, l1GasPerMessage, directGasPerMessage } = findings;
  const mark = (isGood: boolean) => (isGood ? paint('green', '✓') : paint('red', '✗'));
  const checks: [boolean, string][] = [
    [
      findings.accepted === messages,
      `${formatCount(findings.accepted)} of ${formatCount(messages)} accepted, every receipt verified`,
    ],
    [findings.opened === messages, `${formatCount(findings.opened)} opened by whom they were sealed to, word for word`],
    [
      findings.proofsVerified === messages,
      `${formatCount(findings.proofsVerified)} proven against the L1, from the message to the storage slot`,
    ],
    [scene.onChain > 0, `${formatCount(scene.onChain)} of them proven again by the contract itself (isIncluded)`],
    [findings.corruptedProofRefused, `corrupted proofs refused: ${scene.refusals.join(', ')}`],
    [findings.lost === 0, `${formatCount(findings.lost)} lost`],
  ];
  const lines = [
    paint('bold', `${plural(messages, 'message')}, sealed end to end`),
    '',
    `  ${scene.senders.join(', ')} sent the lines of ${scene.source} to ${scene.recipients.join(', ')}.`,
    `  ${plural(scene.bundles, 'signature')} · ${plural(findings.batches, 'batch', 'batches')} · ${plural(scene.commits, 'L1 transaction')} · ${findings.seconds.toFixed(1)} s in all`,
    '',
    ...checks.map(([isGood, text]) => `  ${mark(isGood)} ${text}`),
    '',
    paint('bold', 'What it cost on Ethereum'),
    '',
    indent(
      table(
        [
          [
            'through Sealpost',
            `${l1GasPerMessage.toFixed(1)}`,
            `gas a message (${formatCount(scene.commitGas)} for all commits)`,
          ],
          ['directly', `${formatCount(directGasPerMessage)}`, 'gas a message (one transaction each, measured with 20 of them)'],
          ['', `${formatCount(directGasPerMessage / l1GasPerMessage)}×`, 'as much'],
        ],
        [1],
      ),
    ),
    '',
    paint('bold', 'How fast'),
    '',
    indent(
      table(
        [
          ['sealed, signed, sent, receipts verified', formatCount(scene.sentPerSecond), 'messages/s'],
          ['fetched and proven', formatCount(scene.verifiedPerSecond), 'messages/s'],
        ],
        [1],
      ),
    ),
    '',
    paint('bold', 'One message on its way to finality'),
    '',
    ...scene.ladder.map(
      ({ rung, ms, note }, at) =>
        `  ${' '.repeat(at * 2)}${at === 0 ? '' : '└ '}${paint('bold', rung)} after ${formatSeconds(ms)}: ${CLIMB[rung]}${note === '' ? '' : ` (${note})`}`,
    ),
    '',
    paint('bold', 'Its proof'),
    '',
    drawProof(scene.proof, scene.text),
  ];
  return lines.join('\n');
}

const indent = (text: string): string => text.replace(/^/gm, '  ');

/** A proof as a tree, read upwards from the message: at each step a sibling is hashed in, until the L1's slot is reached. */
export function drawProof(proof: MessageProof, text: string): string {
  const { bundle, header } = proof;
  const identity = bundleHash(bundle.sender, bundleStructHash(bundle), fromHex(bundle.signature));
  const entry = entryHash(proof.void, proof.previous, identity);
  const inner = climb(messageLeaf(proof.message), proof.messageIndex, bundle.count, proof.messagePath);
  const outer = climb(entry, proof.bundleIndex, header.count, proof.bundlePath);
  const trunk: string[] = [];
  const dim = (words: string) => paint('dim', words);
  trunk.push(
    `${paint('green', shortHex(proof.batchHash))}  ${dim(`the L1: Settlement.batchHash(${header.lane}, ${header.number})`)}`,
  );
  trunk.push(
    `└ ${dim(`keccak256 of header ${header.number}: entries ${header.firstSequence} to ${header.firstSequence + BigInt(header.count) - 1n}`)}`,
  );
  let depth = 1;
  const branch = (steps: Climb, root: string) => {
    trunk.push(`${'  '.repeat(depth)}${paint('cyan', shortHex(toHex(steps.nodes.at(-1) as Uint8Array)))}  ${dim(root)}`);
    for (let at = steps.siblings.length - 1; at >= 0; at--) {
      const { sibling, isLeft } = steps.siblings[at] as Climb['siblings'][number];
      trunk.push(`${'  '.repeat(depth)}├ ${dim(`${shortHex(sibling)}  hashed in on the ${isLeft ? 'left' : 'right'}`)}`);
      trunk.push(`${'  '.repeat(depth)}└ ${shortHex(toHex(steps.nodes[at] as Uint8Array))}`);
      depth++;
    }
  };
  branch(outer, `bundlesRoot of ${plural(header.count, 'bundle')}`);
  trunk.push(
    `${'  '.repeat(depth)}└ ${dim(`bundle of ${shortHex(bundle.sender)}, nonce ${bundle.nonce}, ${plural(bundle.count, 'message')}, one signature`)}`,
  );
  depth++;
  branch(inner, `messagesRoot of ${plural(bundle.count, 'message')}`);
  trunk.push(`${'  '.repeat(depth)}└ ${paint('bold', JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text))}`);
  return indent(trunk.join('\n'));
}

interface Climb {
  /** The node at each level, the leaf first, the root last. */
  readonly nodes: readonly Uint8Array[];
  /** What is hashed in at each level. */
  readonly siblings: readonly { readonly sibling: Hex; readonly isLeft: boolean }[];
}

/** The way up that `isIncluded` walks (RFC 9162 §2.1.3.2), with every node on it. */
function climb(leaf: Uint8Array, index: number, size: number, path: readonly Hex[]): Climb {
  const nodes = [leaf];
  const siblings: { sibling: Hex; isLeft: boolean }[] = [];
  let at = index;
  let last = size - 1;
  let node = leaf;
  for (const sibling of path) {
    const isLeft = at % 2 === 1 || at === last;
    node = isLeft ? nodeHash(fromHex(sibling), node) : nodeHash(node, fromHex(sibling));
    while (isLeft && at % 2 === 0 && at !== 0) {
      at = Math.floor(at / 2);
      last = Math.floor(last / 2);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
    nodes.push(node);
    siblings.push({ sibling, isLeft });
  }
  return { nodes, siblings };
}
