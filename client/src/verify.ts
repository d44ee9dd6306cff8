import {
  type Facts,
  type Hex,
  type MessageProof,
  type ProofStep,
  ProtocolError,
  type ProvenMessage,
  proofFromJson,
  type ReceiptProof,
  type Recover,
  receiptProofFromJson,
  recoverWithNoble,
  VerifiedBundles,
  verifyMessageProof,
  verifyReceiptProof,
  ZERO_HASH,
} from '@sealpost/prover';
import type { CallOptions } from './clock.js';
import type { Commitment, L1 } from './l1.js';

/** Either kind of proof: down to the L1, or down to the sequencer's promise. */
export type Proof = MessageProof | ReceiptProof;

/** The finality ladder (PROTOCOL.md §10), lowest first. */
export const RUNGS = ['accepted', 'sealed', 'committed', 'safe', 'finalized'] as const;
export type Rung = (typeof RUNGS)[number];

/** True if `rung` is `wanted` or higher. */
export const isAtLeast = (rung: Rung, wanted: Rung): boolean => RUNGS.indexOf(rung) >= RUNGS.indexOf(wanted);

/** A check that was made. */
export interface VerifiedStep {
  readonly step: ProofStep;
  readonly held: true;
  /** What it means that it held, for people. */
  readonly meaning: string;
}

/** What a proof that holds says, with everything a sentence about it needs. */
export interface Verification extends ProvenMessage {
  /** The highest rung that was proven: `accepted` if the proof ends at a receipt, `sealed` if the L1 has nothing of it yet. */
  readonly rung: Rung;
  readonly steps: readonly VerifiedStep[];
  /** Unix seconds: the sender's deadline for being in the log. */
  readonly expiry: bigint;
  /** Absent while the proof ends at a receipt. */
  readonly batch?: {
    readonly number: bigint;
    readonly hash: Hex;
    /** Unix seconds: when its first bundle was accepted. */
    readonly timestamp: bigint;
    /** The L1 transaction that committed it; undefined if the node keeps no such log. */
    readonly commitment: Commitment | undefined;
  };
  /** The promise, if the proof ends at one: the L1 block by which the message is committed. */
  readonly includeBy?: bigint;
}

const MEANINGS: Record<ProofStep, string> = {
  domain: 'the proof is for this chain and this contract',
  message: 'the message is one of those the bundle counts',
  lane: 'topic, bundle and batch are of one lane, and the contract has it',
  messagePath: "the message is in the bundle, at its place (Merkle path to the bundle's root)",
  signature: 'the sender signed the bundle',
  void: 'the entry counts: it is not void',
  expiry: 'the bundle was accepted before it expired',
  bundlePath: "the bundle is in the batch, at its place (Merkle path to the header's root)",
  batchHash: 'the header hashes to the batch hash',
  slot: 'the Settlement contract on the L1 holds that hash',
  receipt: "the lane's sequencer signed a promise to include it",
};

/** In what order the steps of a proof are made, for showing those that were not reached. */
export const PROOF_STEPS: readonly ProofStep[] = [
  'domain',
  'message',
  'lane',
  'messagePath',
  'signature',
  'void',
  'expiry',
  'bundlePath',
  'batchHash',
  'slot',
];

/** What it means for people that a step holds. */
export const stepMeaning = (step: ProofStep): string => MEANINGS[step];

const MAX_REMEMBERED = 8_192;

/**
 * Signatures that were recovered before: the messages of one bundle share one, the receipts of one commit group another, and
 * a recovery in JavaScript costs a millisecond. Bounded; a cache of a pure function, so it cannot make a false thing true.
 * With it, bundles that were verified before, whose next message then costs no more than its own path.
 */
export class Recoveries {
  readonly verifiedBundles = new VerifiedBundles();
  readonly #known = new Map<string, Uint8Array | undefined>();
  readonly #recover: Recover;

  constructor(recover: Recover = recoverWithNoble) {
    this.#recover = recover;
  }

  readonly recover: Recover = (digest, compact, recovery) => {
    const key = String.fromCharCode(...digest, ...compact, recovery);
    if (this.#known.has(key)) return this.#known.get(key);
    const publicKey = this.#recover(digest, compact, recovery);
    if (this.#known.size >= MAX_REMEMBERED) this.#known.delete(this.#known.keys().next().value as string);
    this.#known.set(key, publicKey);
    return publicKey;
  };
}

/** True for a proof that ends at a receipt. */
export const isReceiptProof = (proof: Proof): proof is ReceiptProof => 'receipt' in proof;

/**
 * A proof of either kind from JSON (a proof file, or the answer of `/proof`). Form only.
 * @throws proof.malformed
 */
export const decodeProof = (value: unknown): Proof =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, 'receipt')
    ? receiptProofFromJson(value)
    : proofFromJson(value);

/** Checks a proof that ends at a receipt, by what the contract says of the receipt's term. */
export const verifyPromised = (
  proof: ReceiptProof,
  l1: L1,
  options: Parameters<typeof verifyReceiptProof>[3],
  call: CallOptions,
): Promise<ProvenMessage> => l1.judge(proof.receipt, (terms) => verifyReceiptProof(proof, l1.view, terms, options), false, call);

/**
 * Checks a proof against the L1, every step of PROTOCOL.md §9. Chain and contract are those `l1` was made for; the sequencer is
 * not asked. Returns only if all of it holds.
 * @throws ProtocolError `proof.invalid` with `step` if it is false; L1Error if the L1 could not be asked, which says nothing
 */
export async function verifyProof(
  proof: Proof,
  l1: L1,
  { recoveries = new Recoveries(), ...call }: CallOptions & { recoveries?: Recoveries | undefined } = {},
): Promise<Verification> {
  const steps: VerifiedStep[] = [];
  const onStep = (step: ProofStep) => steps.push({ step, held: true, meaning: MEANINGS[step] });
  const options = { ...recoveries, onStep };
  const { expiry } = proof.bundle;
  if (isReceiptProof(proof)) {
    const proven = await verifyPromised(proof, l1, options, call);
    return { ...proven, rung: 'accepted', steps, expiry, includeBy: proof.receipt.includeBy };
  }
  const { lane, number, timestamp } = proof.header;
  const slot = await l1.slot(lane, number, call);
  const proven = verifyMessageProof(proof, l1.view, slot.committed, options);
  // Only for the sentence: a node that keeps no logs leaves it undefined.
  const commitment = await l1.commitment(lane, number, slot.committed, call).catch(() => undefined);
  call.signal?.throwIfAborted();
  return { ...proven, rung: slot.rung, steps, expiry, batch: { number, hash: slot.committed, timestamp, commitment } };
}

/**
 * Checks all of a proof but the L1's slot: what `sealed` means. The header is the sequencer's word and may still change.
 * @throws proof.invalid
 */
export function verifySealed(proof: MessageProof, l1: L1, recoveries = new Recoveries()): Verification {
  const steps: VerifiedStep[] = [];
  const onStep = (step: ProofStep) => {
    if (step !== 'slot') steps.push({ step, held: true, meaning: MEANINGS[step] });
  };
  const proven = verifyMessageProof(proof, l1.view, proof.batchHash, { ...recoveries, onStep });
  const { number, timestamp } = proof.header;
  const batch = { number, hash: proof.batchHash, timestamp, commitment: undefined };
  return { ...proven, rung: 'sealed', steps, expiry: proof.bundle.expiry, batch };
}

/** The first check that failed, if that is what the error says: the proof is false. Undefined: something else went wrong. */
export function failedStep(error: unknown): ProofStep | undefined {
  if (!(error instanceof ProtocolError) || error.code !== 'proof.invalid') return undefined;
  return (error.facts as Facts & { step?: ProofStep }).step;
}

/** True if all that is missing is the L1: nothing is committed at the batch's number yet. */
export const isNotYetCommitted = (error: unknown, committed: Hex): boolean =>
  failedStep(error) === 'slot' && committed === ZERO_HASH;
