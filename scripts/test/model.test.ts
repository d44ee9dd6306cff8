import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DOMAIN, PARAMETERS, start } from './model/people.js';
import { SequencerModel } from './model/sequencer.js';
import type { Deployed } from './model/settlement.js';
import { type Step, steps, Trace } from './model/trace.js';
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
