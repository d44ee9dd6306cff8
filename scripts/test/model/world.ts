import { type Receipt, type SignedReceipt, signedReceipt } from '@sealpost/prover';
import { nativeSha256 } from '@sealpost/sequencer/adapters/native';
import { Archive } from './archive.js';
import { Chain, type Tip } from './chain.js';
import { BOND, LANES, type ModelOperator, OPERATORS, PARAMETERS, REPORTER, registration } from './people.js';
import { type Finding, findings, headersOf } from './reporter.js';
import type { SequencerModel } from './sequencer.js';
import { type Deployed, Revert, Settlement, sequenceOf, type Transaction } from './settlement.js';

/** Most blocks that a sequencer does nothing of itself: an outage that every delay has room for. */
const MAX_OUTAGE_BLOCKS = 60n;

/** An L1, the sequencers of all operators, and what everybody else has: receipts, batch files, and ill will. */
export class World {
  readonly chain: Chain;
  readonly archive = new Archive();
  readonly sequencers: readonly SequencerModel[];
  readonly receipts: { readonly receipt: Receipt; readonly signed: SignedReceipt }[] = [];
  /** Commits that were given to the L1 and are in no block. */
  readonly pool: Transaction[] = [];
  readonly answerFee: bigint;
  reorgs = 0;
  private swept = { receipts: 0, headers: new Set<object>() };

  constructor(first: Tip, deployed: Deployed, create: (operator: ModelOperator, world: World) => SequencerModel) {
    this.chain = new Chain(first, deployed);
    this.answerFee = 200_000n * deployed.baseFee + 1n;
    this.sequencers = OPERATORS.map((operator) => create(operator, this));
    // More than any view is behind.
    this.chain.mine(10n);
    this.tick();
  }

  /** Unix seconds, as a right clock tells them. */
  get seconds(): bigint {
    return this.chain.latest.timestamp + this.chain.haltSeconds;
  }

  get monotonicMs(): number {
    return Number(this.seconds) * 1_000 + this.reorgs * 1_000_000;
  }

  /** Whose sequencer runs a lane, as far as it knows itself. */
  running(lane: number): SequencerModel | undefined {
    const { state, number } = this.chain.latest;
    const term = state.lanes[lane]?.term ?? 0;
    const { operator, endBlock = 0n } = state.terms.get(`${lane}/${term}`) ?? {};
    if (endBlock !== 0n && number + 1n >= endBlock) return undefined;
    return this.sequencers.find((one) => one.operator.address === operator && one.termOf(lane) === term);
  }

  give(receipts: readonly Receipt[]): void {
    for (const receipt of receipts) this.receipts.push({ receipt, signed: signedReceipt(receipt, nativeSha256) });
  }

  tick(): void {
    for (const sequencer of this.sequencers) sequencer.tick();
  }

  /** Blocks come; nobody's outage lasts too long. */
  mine(blocks: bigint): void {
    for (let left = blocks; left > 0n; left -= 20n) {
      this.chain.mine(left < 20n ? left : 20n);
      this.wake();
    }
  }

  wake(): void {
    for (const sequencer of this.sequencers) {
      if (this.chain.latest.number - sequencer.tickedAt > MAX_OUTAGE_BLOCKS) sequencer.tick();
    }
  }

  reorg(depth: bigint, comesBack: (index: number) => boolean): void {
    this.reorgs++;
    this.chain.reorg(depth, comesBack);
    for (const transaction of this.pool.splice(0)) this.chain.send(transaction);
    for (const sequencer of this.sequencers) if (depth > MAX_OUTAGE_BLOCKS / 2n) sequencer.tick();
    this.wake();
  }

  /** Whether somebody who is not excused has lost, or could lose now, something for an offence: says what. */
  complaint(excused: (lane: number, term: number) => boolean = () => false, isWhole = false): string | undefined {
    const { state } = this.chain.latest;
    for (const [key, { slashed, unanswered, operator }] of state.terms) {
      const [lane, term] = key.split('/').map(Number) as [number, number];
      if ((slashed || unanswered > 0) && !excused(lane, term)) return `term ${key} of ${operator} was charged`;
    }
    return this.sweep(excused, isWhole);
  }

  /** What the finders make of what was given out and published. */
  findings(): Finding[] {
    const receipts = this.receipts.map(({ receipt }) => receipt);
    return findings(this.chain, this.archive, receipts, this.answerFee);
  }

  /** What the finders have to say of those who are not excused. */
  alarm(excused: (lane: number, term: number) => boolean = () => false): string | undefined {
    // A demand is a question: a reorg may make an honest sequencer so late that it is asked, never so late that it cannot answer.
    const found = this.findings().find(
      ({ lane, term, transaction }) => transaction.to.startsWith('prove') && !excused(lane, term),
    );
    return found && `${found.transaction.to} of term ${found.lane}/${found.term}`;
  }

  /**
   * Offers what is known as evidence, each with each: receipts with receipts, with headers, entries alone and with entries. All of
   * it, or what came since the last time with everything.
   */
  private sweep(excused: (lane: number, term: number) => boolean, isWhole: boolean): string | undefined {
    const { state } = this.chain.latest;
    const message = { from: REPORTER.address, value: this.answerFee };
    const contract = new Settlement(state, this.chain.next(), message, this.chain.deployed);
    const accepted = (what: string, prove: () => void): string | undefined => {
      try {
        prove();
        return `${what} was accepted`;
      } catch (error) {
        if (error instanceof Revert) return undefined;
        throw error;
      }
    };
    const isNewReceipt = (at: number) => isWhole || at >= this.swept.receipts;
    const blamed = this.receipts.filter(({ receipt: { lane, term } }) => !excused(lane, term));
    const headers = LANES.flatMap((lane) => headersOf(state, lane));
    for (const [at, { receipt, signed }] of this.receipts.entries()) {
      const { lane, term, sequence } = receipt;
      if (excused(lane, term)) continue;
      const name = `receipt ${lane}/${term}/${sequence}`;
      const broken = accepted(`broken promise, ${name}`, () => contract.proveBroken(sequence, signed));
      if (broken !== undefined) return broken;
      for (const [against, other] of blamed.entries()) {
        if (!isNewReceipt(at) && !isNewReceipt(against)) continue;
        const both = `equivocation, ${name} and ${other.receipt.lane}/${other.receipt.term}/${other.receipt.sequence}`;
        const found = accepted(both, () => contract.proveEquivocation(sequence, signed, other.signed));
        if (found !== undefined) return found;
      }
      for (const header of headers) {
        if (!isNewReceipt(at) && this.swept.headers.has(header)) continue;
        const index = Number(sequence - header.firstSequence);
        const openings = this.archive.openings(header);
        const opening = openings[index] ?? openings[0];
        const leaf = this.archive.read(header)?.judged[opening?.index ?? 0]?.leaf;
        if (opening === undefined || leaf === undefined) continue;
        const entryHash = `0x${Buffer.from(leaf).toString('hex')}` as const;
        const found = accepted(`replacement, ${name} and batch ${header.number}`, () =>
          contract.proveReplacement(sequence, signed, header, entryHash, opening.path),
        );
        if (found !== undefined) return found;
      }
    }
    const openings = headers.flatMap((header) => this.archive.openings(header));
    for (const entry of openings) {
      const { lane, term } = entry.header;
      if (excused(lane, term)) continue;
      const isOld = !isWhole && this.swept.headers.has(entry.header);
      const name = `entry ${lane}/${term}/${sequenceOf(entry)}`;
      const alone = isOld ? undefined : accepted(`false ${name}`, () => contract.proveFalseEntry(entry, []));
      if (alone !== undefined) return alone;
      for (const other of openings) {
        if (isOld && this.swept.headers.has(other.header)) continue;
        const found = accepted(`false ${name}, by ${sequenceOf(other)}`, () => contract.proveFalseEntry(entry, [other]));
        if (found !== undefined) return found;
      }
    }
    this.swept = { receipts: this.receipts.length, headers: new Set(headers) };
    return undefined;
  }

  /**
   * The L1 is well, everybody acts: every lane has an operator, and what was promised or forced is committed. Says what is stuck.
   */
  settle(excused: (lane: number, term: number) => boolean = () => false): string | undefined {
    this.recover();
    for (let round = 0; round < 200; round++) {
      this.mine(20n);
      this.tick();
      if (LANES.every((lane) => this.isSettled(lane, excused))) return undefined;
      for (const lane of LANES) this.helpOn(lane);
    }
    return 'something that was promised or forced is not committed';
  }

  /** The L1 finalizes, and every clock and view is right. */
  recover(): void {
    this.chain.finalizes = true;
    for (const sequencer of this.sequencers) {
      sequencer.lag = 0n;
      sequencer.skewMs = 0;
    }
  }

  /** An operator for a lane that has none. */
  helpOn(lane: number): void {
    const { state, number } = this.chain.latest;
    const { term } = state.lanes[lane] ?? { term: 0 };
    const { endBlock } = state.terms.get(`${lane}/${term}`) ?? { endBlock: 0n };
    if (endBlock === 0n || number + 1n < endBlock) return;
    for (const { operator, signer } of this.sequencers) {
      const kept = state.operators.get(`${lane}/${operator.address}`);
      if (kept === undefined || state.taken.has(operator.address)) continue;
      if (kept.exitRequestedAt > 0n) this.chain.send({ to: 'withdrawBond', args: [lane], from: operator.address, value: 0n });
      else if (kept.bond < PARAMETERS.minBond) this.chain.send(registration(operator, lane, signer, BOND));
      else if (this.chain.send({ to: 'takeOver', args: [lane], from: operator.address, value: 0n }) === undefined) return;
    }
  }

  private isSettled(lane: number, excused: (lane: number, term: number) => boolean): boolean {
    const { state } = this.chain.latest;
    const running = state.lanes[lane];
    if (this.running(lane) === undefined || running === undefined || excused(lane, running.term)) return false;
    const isPromised = ({ receipt }: World['receipts'][number]) =>
      receipt.lane === lane && receipt.term === running.term && receipt.sequence >= running.head.nextSequence;
    return !this.receipts.some(isPromised) && running.inboxLength === running.head.inboxCount;
  }
}
