import { type BatchHeader, batchHash, type Hex, type Sha256, ZERO_HASH } from '@sealpost/prover';
import { type BatchSource, findFile } from './batch-files.js';
import type { CallOptions } from './clock.js';
import type { L1 } from './l1.js';
import { missingLogs } from './logs.js';
import { committedBatches } from './openings.js';
import type { DemandState } from './settlement.js';

/** A committed batch whose file nobody gave. */
export interface MissingFile {
  readonly header: BatchHeader;
  /** Block of its commit. */
  readonly committedAt: bigint;
  readonly reason: string;
}

/** What of a lane's batch files is to be had. */
export interface LaneFiles {
  /** The last batch that was looked for: all up to it were. */
  readonly number: bigint;
  readonly nextSequence: bigint;
  /** Files that were new to the mirror. */
  readonly mirrored: number;
  readonly missing: readonly MissingFile[];
}

export interface LaneFilesOptions extends CallOptions {
  /** Asked in this order. */
  readonly sources: readonly BatchSource[];
  readonly hash: Sha256;
  /** Told of each file with the name of its source, which a mirror may keep. @returns whether it was kept */
  readonly onFile: (header: BatchHeader, file: Uint8Array, source: string) => Promise<boolean>;
  readonly onProgress: (number: bigint, of: bigint, missing: number) => void;
  /** Not above the contract's deployment. */
  readonly fromBlock?: bigint | undefined;
}

/**
 * Looks for the file of every committed batch of a lane, each held against its header, and the headers against the contract's
 * head. One file is in memory at a time.
 * @throws L1Error if the node's logs are not the whole lane
 */
export async function findLaneFiles(l1: L1, lane: number, options: LaneFilesOptions): Promise<LaneFiles> {
  const { sources, hash, onFile, onProgress, fromBlock = 0n, ...call } = options;
  const head = await l1.head(lane, call);
  const missing: MissingFile[] = [];
  let [number, nextSequence, mirrored] = [0n, 0n, 0];
  let newest: Hex = ZERO_HASH;
  for await (const { header, blockNumber } of committedBatches(l1, lane, { fromBlock, ...call })) {
    if (header.number !== number + 1n || header.parentHash !== newest) throw missingLogs(lane, number + 1n);
    const found = await findFile(sources, header, hash, call);
    if (!('bytes' in found)) missing.push({ header, committedAt: blockNumber, reason: found.reason });
    else if (await onFile(header, found.bytes, found.source)) mirrored++;
    number = header.number;
    nextSequence = header.firstSequence + BigInt(header.count);
    newest = batchHash(header);
    onProgress(number, number > head.number ? number : head.number, missing.length);
    call.signal?.throwIfAborted();
  }
  const isWhole = number >= head.number && (number === 0n || (await l1.slot(lane, number, call)).committed === newest);
  if (!isWhole) throw missingLogs(lane, number + 1n);
  return { number, nextSequence, mirrored, missing };
}

/**
 * What is to be done about a committed entry that nobody has (PROTOCOL.md §7):
 * - `demand`: it was never demanded as committed;
 * - `wait`: a demand is open, and may be answered still;
 * - `charge`: nobody answered in time, and what that costs was not taken, or the fee not given back;
 * - `charge and demand`: the same of a demand by a receipt, which says nothing of the committed entry and is in the way of another;
 * - `opened`: an answer opened it, on the L1;
 * - `withheld`: nobody can cite it as evidence any more.
 */
export type DemandStep = 'demand' | 'wait' | 'charge' | 'charge and demand' | 'opened' | 'withheld';

/** What the step for an entry depends on, beside its demand. */
export interface EntryFacts {
  /** Block of the commit of its batch. */
  readonly committedAt: bigint;
  /** Blocks that a demand leaves for the answer. */
  readonly answerDelay: bigint;
  /** Whether the whole bond was taken for the term of its batch. */
  readonly slashed: boolean;
}

/** The step for an entry, as Evidence.sol decides it. */
export function stepOf(demand: DemandState, { committedAt, answerDelay, slashed }: EntryFacts): DemandStep {
  if (demand.deadline === 0n) return 'demand';
  if (demand.answered) return 'opened';
  if (demand.block <= demand.deadline) return 'wait';
  // A receipt demands only what is not committed, so that the block tells the kinds apart; in the block of the commit it may be
  // either, and the contract refuses what is one demand too many.
  const wasPromised = demand.deadline - answerDelay <= committedAt;
  if (demand.fee !== 0n || !(demand.charged || slashed)) return wasPromised ? 'charge and demand' : 'charge';
  return wasPromised ? 'demand' : 'withheld';
}

/** An entry that nobody has. */
export interface MissingEntry {
  readonly header: BatchHeader;
  readonly index: number;
  readonly step: DemandStep;
  /** Of its demand; 0 if there is none. */
  readonly deadline: bigint;
}

export interface DemandPlan {
  /** Entries with something to be sent for, in order. */
  readonly due: readonly MissingEntry[];
  /** How many of those are demanded: each costs the fee. */
  readonly demands: number;
  readonly waiting: number;
  /** The last block of the last answer that is waited for, 0 if none is. */
  readonly answersBy: bigint;
  readonly opened: number;
  readonly withheld: number;
  /** Entries for which a later run is needed: `maxDemands` are demanded in this one. */
  readonly later: bigint;
}

const demands = ({ step }: MissingEntry): boolean => step === 'demand' || step === 'charge and demand';

/**
 * What a run does about the entries of missing batches.
 * @param entries as many as were looked at, from the first on
 * @param total entries of all missing batches
 */
export function planDemands(entries: readonly MissingEntry[], total: bigint, maxDemands: number): DemandPlan {
  const due: MissingEntry[] = [];
  const plan = { demands: 0, waiting: 0, answersBy: 0n, opened: 0, withheld: 0, later: total - BigInt(entries.length) };
  for (const entry of entries) {
    if (entry.step === 'opened') plan.opened++;
    else if (entry.step === 'withheld') plan.withheld++;
    else if (entry.step === 'wait') {
      plan.waiting++;
      if (entry.deadline > plan.answersBy) plan.answersBy = entry.deadline;
    } else if (!demands(entry)) due.push(entry);
    else if (plan.demands === maxDemands) plan.later++;
    else {
      plan.demands++;
      due.push(entry);
    }
  }
  return { due, ...plan };
}

/** Entries whose demands are read at once. */
const READ_AT_ONCE = 16;

/**
 * The entries of missing batches, in order, each with its step: until `maxDemands` more than are demanded already are found, so
 * that a batch of a million is not read for the sake of a few.
 */
export async function readMissingEntries(
  missing: readonly MissingFile[],
  maxDemands: number,
  step: (file: MissingFile, index: number) => Promise<MissingEntry>,
): Promise<MissingEntry[]> {
  const entries: MissingEntry[] = [];
  let found = 0;
  for (const file of missing) {
    for (let from = 0; from < file.header.count; from += READ_AT_ONCE) {
      if (found >= maxDemands) return entries;
      const length = Math.min(READ_AT_ONCE, file.header.count - from);
      const read = await Promise.all(Array.from({ length }, (_, at) => step(file, from + at)));
      found += read.filter(demands).length;
      entries.push(...read);
    }
  }
  return entries;
}

/** `2, 5–9`, of numbers that ascend; the first ranges of many. */
export function rangesOf(numbers: readonly bigint[], maxRanges = 20): string {
  const ranges: [bigint, bigint][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last?.[1] === number - 1n) last[1] = number;
    else ranges.push([number, number]);
  }
  const shown = ranges.slice(0, maxRanges).map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`));
  return `${shown.join(', ')}${ranges.length > maxRanges ? ' …' : ''}`;
}
