import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ESCAPES, type Escape, LIES, LiarModel, type Lie } from './model/liar.js';
import { DOMAIN, PARAMETERS, start, USERS } from './model/people.js';
import { SequencerModel } from './model/sequencer.js';
import type { Deployed } from './model/settlement.js';
import { STEPS, type Step, steps, Trace } from './model/trace.js';
import { World } from './model/world.js';

const DEPLOYED: Deployed = { domain: DOMAIN, parameters: PARAMETERS, baseFee: 7n };
const FIRST = start(DEPLOYED, { number: 10n, timestamp: 1_800_000_000n });

/** What somebody could hold against an honest sequencer during a trace, if anything. */
function honest(trace: readonly Step[]): string | undefined {
  const world = new World(FIRST, DEPLOYED, (operator, of) => new SequencerModel(operator, of));
  const run = new Trace(world);
  for (const step of trace) {
    run.do(step);
    world.wake();
    const complaint = world.complaint() ?? world.alarm();
    if (complaint !== undefined) return complaint;
  }
  return world.settle() ?? world.complaint(undefined, true) ?? world.alarm();
}

const property = fc.property(steps, (trace) => {
  expect(honest(trace)).toBeUndefined();
});

test.each([
  ['fixed', { seed: 20_261_126 }],
  ['random', {}],
])('nobody can hold anything against honest sequencers: 500 traces of 50 steps, a %s seed', (_, seed) => {
  fc.assert(property, { numRuns: 500, ...seed });
});

/** How long who sleeps does: with the longest step behind it still inside of every window. */
const LATE_BLOCKS = PARAMETERS.evidenceWindow - 100n;

interface Plan {
  readonly lie: Lie;
  readonly escape: Escape;
  /** The step after which it is told, as soon as it can be. */
  readonly after: number;
  /** Whether who reports it sleeps at first. */
  readonly late: boolean;
}

/** Why a lie is not proven, or what it did to others, if anything. */
function lying(trace: readonly Step[], { lie, escape: flight, after, late }: Plan): string | undefined {
  const LANE = 0;
  const world = new World(FIRST, DEPLOYED, (operator, of) => new LiarModel(operator, of));
  const run = new Trace(world);
  const { chain } = world;
  let told: { readonly term: number; readonly operator: string; readonly block: bigint } | undefined;
  const tell = () => {
    const liar = world.running(LANE) as LiarModel | undefined;
    const term = liar?.termOf(LANE);
    if (liar === undefined || term === undefined || !liar.lie(lie, LANE)) return;
    told = { term, operator: liar.operator.address, block: chain.latest.number };
    liar.tick();
    liar.escape(flight, LANE);
  };
  /** Reports what there is, unless it is too early for who sleeps. */
  const report = (now = !late) => {
    if (told === undefined || (!now && chain.latest.number < told.block + LATE_BLOCKS)) return;
    const { term } = told;
    for (const found of world.findings()) if (found.lane === LANE && found.term === term) chain.send(found.transaction);
  };
  for (const [at, step] of trace.entries()) {
    // Not so much at once that nobody could report in time.
    if (told === undefined) run.do(step);
    else if (step.do !== 'hand over') run.do(step.do === 'mine' ? { ...step, blocks: Math.min(step.blocks, 300) } : step);
    world.wake();
    if (at >= after && told === undefined) tell();
    report();
  }
  world.recover();
  for (let round = 0; told === undefined && round < 200; round++) {
    world.mine(20n);
    world.tick();
    world.helpOn(LANE);
    tell();
  }
  if (told === undefined) return 'the lie was not told';
  const { term, operator } = told;
  const isLiars = (lane: number, of: number) =>
    lane === LANE && chain.latest.state.terms.get(`${lane}/${of}`)?.operator === operator;
  const charged = () => {
    const kept = chain.latest.state.terms.get(`${LANE}/${term}`);
    // A silence costs the penalty; every other lie the whole bond, whatever silences it brings with it.
    const isSilence = lie === 'stall' || lie === 'withhold';
    return kept?.slashed || (isSilence && (kept?.unanswered ?? 0) > 0) ? kept : undefined;
  };
  for (let round = 0; charged() === undefined && round < 100; round++) {
    // Somebody else takes the lane where its term is over: the offence stays that of the term it was done in.
    if (flight === 'take over') world.helpOn(LANE);
    report(true);
    world.mine(20n);
    world.tick();
  }
  const kept = charged();
  if (kept === undefined) return `the lie was not proven: ${lie}`;
  if ((chain.latest.state.taken.get(kept.operator) ?? 0n) === 0n) return 'it cost nothing';
  const stuck = kept.slashed ? world.settle(isLiars) : undefined;
  if (stuck !== undefined) return stuck;
  // Whoever runs the lane now goes on with the same accounts; then the liar shows what it had withheld of them.
  run.do({ do: 'send', body: USERS.map((_, user) => ({ user, lane: LANE, kind: 'next', count: 1 })), crash: 'never' });
  world.mine(PARAMETERS.answerDelay);
  world.tick();
  for (const sequencer of world.sequencers) (sequencer as LiarModel).reveal();
  return world.complaint(isLiars, true) ?? world.alarm(isLiars);
}

describe.each(LIES)('a sequencer that lies (%s) is charged, and nobody else', (lie) => {
  const plan = fc.record<Plan>({
    lie: fc.constant(lie),
    escape: fc.constantFrom(...ESCAPES),
    after: fc.nat(STEPS - 1),
    late: fc.boolean(),
  });
  const proven = fc.property(steps, plan, (trace, how) => {
    expect(lying(trace, how)).toBeUndefined();
  });

  test.each([
    ['fixed', { seed: 20_261_126 }],
    ['random', {}],
  ])('35 traces of 50 steps, a %s seed', (_, seed) => {
    fc.assert(proven, { numRuns: 35, ...seed });
  });
});
