import { developmentParameters, settlementAbi } from '@sealpost/contracts';
import { type Hex, ZERO_ADDRESS } from '@sealpost/prover';
import { encodeErrorResult } from 'viem';
import { describe, expect, it } from 'vitest';
import { explainRefusal, type LaneState, type OperatorState, planTakeover, type Refusal } from '../src/settlement.js';

const ETHER = 10n ** 18n;
const ONE: Hex = `0x${'11'.repeat(20)}`;
const TWO: Hex = `0x${'22'.repeat(20)}`;

const operator = (change: Partial<OperatorState> = {}): OperatorState => ({
  address: ONE,
  bond: 5n * ETHER,
  exitRequestedAt: 0n,
  poster: ONE,
  signer: ONE,
  owed: 0n,
  ...change,
});
const caller = (change: Partial<OperatorState> = {}) => operator({ address: TWO, ...change });
const lane = (change: Partial<LaneState> = {}): LaneState => ({
  lane: 3,
  block: 10_000n,
  term: 1,
  firstSequence: 0n,
  beginBlock: 5n,
  nextSequence: 40n,
  endBlock: 0n,
  slashed: false,
  operator: operator(),
  running: true,
  poster: ONE,
  posterOwed: 0n,
  waiting: 0n,
  oldest: undefined,
  ...change,
});
/** With a takeoverDelay of 120: others may take the lane from block 10,000 on if the deadline was 9,879. */
const waiting = (deadline: bigint) => ({ waiting: 1n, oldest: { index: 7n, deadline } });

describe('planTakeover', () => {
  it.each<[string, LaneState, OperatorState, string]>([
    ['nothing is wrong', lane(), caller(), 'settlement.no_cause'],
    ['a forced entry is not due yet', lane(waiting(10_050n)), caller(), 'settlement.no_cause'],
    ['a forced entry is overdue by as much as is borne', lane(waiting(9_880n)), caller(), 'settlement.no_cause'],
    ['it is one block more', lane(waiting(9_879n)), caller(), 'overdue 1'],
    ['the term is too young for it', lane({ ...waiting(1n), beginBlock: 9_880n }), caller(), 'settlement.no_cause'],
    ['the term is old enough for it', lane({ ...waiting(1n), beginBlock: 9_879n }), caller(), 'overdue 1'],
    ['the bond is below the least', lane({ operator: operator({ bond: 5n * ETHER - 1n }) }), caller(), 'bond 1'],
    ['the bond is less than the penalty', lane({ operator: operator({ bond: ETHER / 2n }) }), caller(), 'bond 0.5'],
    ['the first operator never came', lane({ operator: operator({ bond: 0n, poster: ZERO_ADDRESS }) }), caller(), 'bond 0'],
    ['the term is over', lane({ running: false, endBlock: 9_000n }), caller(), 'vacant 0'],
    ['the operator leaves, and is there still', lane({ endBlock: 10_001n }), caller(), 'settlement.no_cause'],
    ['it runs the lane itself', lane(waiting(1n)), operator(), 'settlement.runs_already'],
    ['it ran the lane itself', lane({ running: false, endBlock: 9_000n }), operator(), 'vacant 0'],
    ['it never registered', lane(waiting(1n)), caller({ poster: ZERO_ADDRESS, bond: 0n }), 'settlement.not_operator'],
    ['its bond was taken', lane(waiting(1n)), caller({ bond: 4n * ETHER }), 'settlement.bond_too_small'],
    ['it leaves', lane(waiting(1n)), caller({ exitRequestedAt: 9_999n }), 'settlement.leaving'],
  ])('%s', (_, state, who, expected) => {
    const plan = planTakeover(state, who, developmentParameters);
    expect(plan.allowed ? `${plan.cause} ${Number(plan.taken) / 1e18}` : plan.error.code).toBe(expected);
    if (plan.allowed) expect(plan.reward).toBe(plan.taken / 10n);
  });

  it('tells from which block on there is a cause', () => {
    const plan = planTakeover(lane(waiting(10_050n)), caller(), developmentParameters);
    expect(plan).toMatchObject({ allowed: false, error: { facts: { from: '10171' } } });
    expect(plan.allowed ? '' : plan.error.message).toContain(
      'due by block 10,050, so that others may take the lane from block 10,171 on, 171 blocks from now',
    );
  });
});

/** Errors of offences, demands and answers: who meets one must know what to do. */
const EVIDENCE: ReadonlySet<string> = new Set([
  'NotReceiptSigner',
  'NotInReceipt',
  'NotInBatch',
  'OtherTerm',
  'SameLeaf',
  'EntryIsTrue',
  'Withheld',
  'AlreadyCharged',
  'AlreadyDemanded',
  'NotDemanded',
  'AnswerFeeTooSmall',
  'NotDue',
  'NotBroken',
]);

describe('explainRefusal', () => {
  it.each<[Refusal, string, string]>([
    [
      { errorName: 'BondTooSmall', args: [5n * ETHER, 2n * ETHER] },
      'a bond of 2 ETH holds no lane: at least 5 ETH is needed, 3 ETH more',
      'sealpost operator register --bond 3',
    ],
    [
      { errorName: 'Leaving', args: [0, ONE, 1_000n] },
      `${ONE} asked to leave lane 0 at block 1,000: it can do nothing there but withdraw its bond, from block 3,520 on`,
      'sealpost operator withdraw --lane 0',
    ],
    [
      { errorName: 'TooEarly', args: [2_532n, 812n] },
      'it is block 812, and this can be done from block 2,532 on, 1,720 blocks from now',
      'the same command again, from block 2,532 on',
    ],
    [{ errorName: 'BadRegistration', args: [ONE, TWO] }, `not signed by the key of ${ONE}, but by that of ${TWO}`, 'sealpost'],
    [{ errorName: 'BadRegistration', args: [ONE, ZERO_ADDRESS] }, 'but by none', 'sealpost operator register'],
    [{ errorName: 'NoCause', args: [1, ONE] }, `${ONE} holds lane 1 by right`, 'sealpost operator status --lane 1'],
    [
      { errorName: 'OtherTerm', args: [1, 2] },
      'one of the two is of term 2 of lane 1, the other is not',
      'sealpost watch --lane 1',
    ],
    [{ errorName: 'OtherTerm', args: [1, 0] }, 'one of the two is of lane 1, the other is not', 'sealpost watch --lane 1'],
    [
      { errorName: 'SameLeaf', args: [`0x${'33'.repeat(32)}`] },
      `both name the same entry, 0x${'33'.repeat(32)}: they agree, and that is no offence`,
      'sealpost watch',
    ],
    [{ errorName: 'EntryIsTrue', args: [7n] }, 'entry 7 is as it has to be', 'sealpost audit'],
    [
      { errorName: 'AlreadyCharged', args: [1, 2] },
      'the whole bond is taken for term 2 of lane 1 already, or the penalty for this entry',
      'sealpost operator status --lane 1',
    ],
    [{ errorName: 'NotBroken', args: [7n] }, 'the promise of entry 7 is not broken', 'sealpost demand --sequence 7 --receipt'],
    [{ errorName: 'WrongTerm', args: [7n, 1, 2] }, 'the contract refused it: WrongTerm(7, 1, 2)', 'sealpost operator status'],
  ])('$0.errorName', (refusal, message, next) => {
    const error = explainRefusal(refusal, developmentParameters);
    expect(error.message).toContain(message);
    expect(error.next).toContain(next);
  });

  it('has a sentence, a code and something to run for every error of the contract', () => {
    const codes = new Set<string>();
    for (const item of settlementAbi) {
      if (item.type !== 'error') continue;
      const args = item.inputs.map(({ type }) => {
        if (type === 'address') return ONE;
        if (type === 'bytes32') return `0x${'33'.repeat(32)}`;
        return type === 'string' ? 'x' : /^uint(8|16|24|32)$/.test(type) ? 1 : 1n;
      });
      // What could not be encoded would not be what the contract answers.
      encodeErrorResult({ abi: [item], errorName: item.name, args } as never);
      const error = explainRefusal({ errorName: item.name, args } as unknown as Refusal, developmentParameters);
      if (EVIDENCE.has(item.name)) expect(error.message).not.toContain(item.name);
      expect(error.code).toMatch(/^settlement\.[a-z_]+$/);
      expect(error.message).not.toMatch(/undefined|NaN/);
      expect(error.next).not.toBe('');
      codes.add(error.code);
    }
    expect(codes.size).toBe(settlementAbi.filter(({ type }) => type === 'error').length);
  });
});
