import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { anvilBinary } from '../anvil.js';
import { DOMAIN, PARAMETERS, start } from './model/people.js';
import { Replay } from './model/replay.js';
import { SequencerModel } from './model/sequencer.js';
import type { Deployed } from './model/settlement.js';
import { type Step, steps, Trace } from './model/trace.js';
import { World } from './model/world.js';

// Free gas, so that whatever is in the blocks, the base fee is what it was.
const DEPLOYED: Deployed = { domain: DOMAIN, parameters: PARAMETERS, baseFee: 0n };
const START_TIME = 3_000_000_000n;

const anvil = spawn(anvilBinary(), [
  ...['--port', '0', '--no-mining', '--hardfork', 'osaka', '--timestamp', String(START_TIME - 1n)],
  ...['--base-fee', '0', '--gas-price', '0'],
]);
let replay: Replay;
let first: ReturnType<typeof start>;

beforeAll(async () => {
  for await (const line of createInterface({ input: anvil.stdout })) {
    const address = /^Listening on (\S+)/.exec(line)?.[1];
    if (address === undefined) continue;
    replay = new Replay(`http://${address}`);
    break;
  }
  anvil.stdout.resume();
  first = start(DEPLOYED, await replay.deploy(START_TIME));
});

afterAll(() => {
  anvil.kill();
});

/** anvil takes a millisecond for an empty block: fewer of them, and one term that ends. */
function fewerBlocks(trace: readonly Step[]): Step[] {
  let handOvers = 0;
  return trace.map((step): Step => {
    if (step.do === 'mine') return { ...step, blocks: Math.min(step.blocks, 30) };
    return step.do === 'hand over' && handOvers++ > 0 ? { do: 'nothing' } : step;
  });
}

/** Where the contract does something else than its model, if anywhere. */
async function difference(trace: readonly Step[]): Promise<string | undefined> {
  const world = new World(first, DEPLOYED, (operator, of) => new SequencerModel(operator, of));
  const run = new Trace(world);
  for (const step of fewerBlocks(trace)) {
    run.do(step);
    world.wake();
  }
  const snapshot = await replay.snapshot();
  try {
    return (await replay.follow(world.chain.operations, world.chain.latest)) ?? world.complaint(undefined, true);
  } finally {
    await replay.revert(snapshot);
  }
}

test.each([
  ['fixed', { seed: 20_261_126 }],
  ['random', {}],
])('the contract does what its model does: 25 traces of 50 steps on anvil, a %s seed', async (_, seed) => {
  const property = fc.asyncProperty(steps, async (trace) => {
    expect(await difference(trace)).toBeUndefined();
  });
  await fc.assert(property, { numRuns: 25, ...seed });
});
