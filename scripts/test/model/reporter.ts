import {
  type AccountClaim,
  type BatchHeader,
  brokenPromise,
  claimAfter,
  type Evidence,
  equivocation,
  falseClaim,
  falseEntry,
  type Hex,
  NO_CLAIM,
  type Opening,
  type Receipt,
  replacement,
  signedReceipt,
  toHex,
} from '@sealpost/prover';
import { nativeSha256 } from '@sealpost/sequencer/adapters/native';
import type { Archive } from './archive.js';
import type { Chain } from './chain.js';
import { LANES, REPORTER } from './people.js';
import type { Call, State, Transaction } from './settlement.js';

export const headersOf = (state: State, lane: number): BatchHeader[] =>
  Array.from({ length: Number(state.lanes[lane]?.head.number ?? 0n) }, (_, at) => state.headers.get(`${lane}/${at + 1}`)).flatMap(
    (header) => header ?? [],
  );

/** How evidence is given to the contract. */
export function proofOf(evidence: Evidence): Call {
  const { sequence } = evidence;
  switch (evidence.offence) {
    case 'equivocation':
      return { to: 'proveEquivocation', args: [sequence, evidence.one, evidence.other] };
    case 'replacement':
      return { to: 'proveReplacement', args: [sequence, evidence.promised, evidence.header, evidence.entryHash, evidence.path] };
    case 'false entry':
      return { to: 'proveFalseEntry', args: [evidence.entry, evidence.others] };
    case 'broken promise':
      return { to: 'proveBroken', args: [sequence, evidence.promised] };
  }
}

/** Whom a call is about. */
export interface Suspect {
  readonly lane: number;
  readonly term: number;
}

export interface Finding extends Suspect {
  readonly transaction: Transaction;
}

/**
 * Everything that the finders of the prover make of the receipts that were given out and the batch files that were published, and of
 * who answers demands: what somebody does who watches the lanes.
 */
export function findings(chain: Chain, archive: Archive, receipts: readonly Receipt[], fee: bigint): Finding[] {
  const { state } = chain.latest;
  const { number } = chain.next();
  const found: Finding[] = [];
  const tell = (suspect: Suspect, call: Call, value = 0n) => {
    if (state.terms.get(`${suspect.lane}/${suspect.term}`)?.slashed) return;
    const { lane, term } = suspect;
    found.push({ lane, term, transaction: { ...call, from: REPORTER.address, value } });
  };
  const prove = (evidence: Evidence | undefined) => evidence && tell(evidence, proofOf(evidence));

  const places = new Map<string, Receipt[]>();
  for (const receipt of receipts) {
    const place = `${receipt.lane}/${receipt.term}/${receipt.sequence}`;
    const others = places.get(place) ?? [];
    for (const other of others) prove(equivocation(other, receipt, nativeSha256));
    places.set(place, [...others, receipt]);
  }

  for (const lane of LANES) {
    const accounts = new Map<Hex, AccountClaim>();
    const openings: (Opening | undefined)[] = [];
    let isWhole = true;
    for (const header of headersOf(state, lane)) {
      const { term, firstSequence, count } = header;
      const file = archive.read(header);
      if (file === undefined || toHex(file.tree.root) !== header.bundlesRoot) {
        // From here on nobody knows what the log says of an account.
        isWhole = false;
        for (let index = 0; index < count; index++) {
          openings.push(undefined);
          const sequence = firstSequence + BigInt(index);
          if (state.demands.get(`${lane}/${term}/${sequence}`)?.committed !== true) {
            tell({ lane, term }, { to: 'demandCommitted', args: [header, index] }, fee);
          }
        }
        continue;
      }
      openings.push(...archive.openings(header));
      for (const [index, entry] of file.judged.entries()) {
        const sequence = firstSequence + BigInt(index);
        for (const receipt of places.get(`${lane}/${term}/${sequence}`) ?? []) {
          prove(replacement(receipt, header, file.tree, nativeSha256));
        }
        const account = accounts.get(entry.bundle.sender) ?? NO_CLAIM;
        const claim = falseClaim(entry, sequence, account);
        if (claim !== undefined && (isWhole || claim.other === undefined)) {
          const other = claim.other === undefined ? undefined : openings[Number(claim.other)];
          prove(falseEntry(openings[Number(sequence)] as Opening, other === undefined ? [] : [other]));
        }
        // What was demanded and not opened is cited by nobody (§7): whoever runs the lane now goes on without it.
        const demand = state.demands.get(`${lane}/${term}/${sequence}`);
        const isWithheld = demand?.committed === true && !demand.answered && number > demand.deadline;
        if (!isWithheld) accounts.set(entry.bundle.sender, claimAfter(entry, sequence, account));
      }
    }
  }

  for (const receipt of receipts) {
    const { lane, term, sequence, includeBy } = receipt;
    const running = state.lanes[lane];
    const kept = state.terms.get(`${lane}/${term}`);
    if (running === undefined || kept === undefined || includeBy >= number) continue;
    const demand = state.demands.get(`${lane}/${term}/${sequence}`);
    const isOver = kept.endBlock !== 0n && number >= kept.endBlock;
    const end = term === running.term ? running.head.nextSequence : state.terms.get(`${lane}/${term + 1}`)?.firstSequence;
    if (end === undefined || sequence < end || demand?.charged) continue;
    if (isOver && includeBy < kept.endBlock) prove(brokenPromise(receipt, nativeSha256));
    else if (!isOver && demand === undefined) {
      tell(receipt, { to: 'demandPromised', args: [sequence, signedReceipt(receipt, nativeSha256)] }, fee);
    }
  }
  for (const [key, { answered, deadline, charged, fee: kept }] of state.demands) {
    if (answered || number <= deadline || (charged && kept === 0n)) continue;
    const [lane, term, sequence] = key.split('/') as [string, string, string];
    const suspect = { lane: Number(lane), term: Number(term) };
    tell(suspect, { to: 'proveUnanswered', args: [suspect.lane, suspect.term, BigInt(sequence)] });
  }
  return found;
}
