import type { Hex } from '@sealpost/prover';
import { isTakeoverSettled } from './follower.js';
import type { L1, L1View, LaneHead, LaneStanding, Store, Term } from './ports.js';

/** The number alone is not enough: a reorg may let the same term begin elsewhere. */
export const isSameTerm = (one: Term, other: Term): boolean =>
  one.term === other.term && one.firstSequence === other.firstSequence;

/** What decides how a lane's log goes on. */
export interface LaneObservation {
  readonly standing: LaneStanding;
  readonly chain: Pick<L1View, 'latest' | 'finalized'>;
  /** The contract's. */
  readonly head: Pick<LaneHead, 'number' | 'nextSequence'>;
  /** The term in which the log's entries that are not committed were accepted. */
  readonly accepted: Term | undefined;
  /** Where the log ends. */
  readonly nextSequence: bigint;
  /** The newest batch that log and contract have in common. */
  readonly common: Pick<LaneHead, 'number' | 'nextSequence'>;
}

export type TermPlan =
  /** The log is of the running term. */
  | { readonly kind: 'go on' }
  /** Another term: what is behind the batch is dropped. */
  | { readonly kind: 'begin'; readonly lastNumber: bigint; readonly droppedEntries: bigint }
  /** Entries would be dropped, and a reorg may yet take the takeover away, and with it the reason. */
  | { readonly kind: 'wait' }
  /** The contract has batches of the terms before that the log lacks. */
  | { readonly kind: 'import' }
  /** The running term was served from another database. */
  | { readonly kind: 'older' };

/**
 * How a lane's log goes on in the running term (PROTOCOL.md §10: a takeover drops what is accepted or sealed but not committed).
 * In a term that the log is not of nothing was accepted from this database; so all that is committed must be of terms before.
 */
export function planTerm({ standing, chain, head, accepted, nextSequence, common }: LaneObservation): TermPlan {
  if (accepted !== undefined && isSameTerm(accepted, standing)) return { kind: 'go on' };
  if (head.nextSequence > standing.firstSequence) return { kind: 'older' };
  if (common.number < head.number) return { kind: 'import' };
  const droppedEntries = nextSequence - common.nextSequence;
  if (droppedEntries > 0n && !isTakeoverSettled(standing, chain)) return { kind: 'wait' };
  return { kind: 'begin', lastNumber: common.number, droppedEntries };
}

/** The newest batch of a lane that log and contract have in common; number 0 for none. */
export async function commonBatch(
  lane: number,
  store: Pick<Store, 'batch' | 'lastBatch'>,
  slot: (number: bigint) => Promise<Hex>,
  headNumber: bigint,
): Promise<LaneObservation['common']> {
  const last = store.lastBatch(lane)?.header.number ?? 0n;
  // A batch names its parent: where one is in common, all before it are. Those that are not were sealed and never committed.
  for (let number = last < headNumber ? last : headNumber; number > 0n; number--) {
    const batch = store.batch(lane, number);
    if (batch === undefined) throw new Error(`lane ${lane}: the database has batch ${last}, but no batch ${number}`);
    const { firstSequence, count } = batch.header;
    if ((await slot(number)) === batch.batchHash) return { number, nextSequence: firstSequence + BigInt(count) };
  }
  return { number: 0n, nextSequence: 0n };
}

/** Where the L1 stands, as far as a start needs it: there is no follower yet. */
export async function readChain(l1: Pick<L1, 'block'>): Promise<LaneObservation['chain']> {
  const latest = await l1.block('latest');
  if (latest === undefined) throw new Error('the node has no newest block');
  return { latest, finalized: (await l1.block('finalized'))?.number ?? 0n };
}
