import { ceiling } from './ceiling.js';
import { onchain } from './onchain.js';
import { peers } from './peers.js';
import type { Scenario } from './scenario.js';
import { bundled, single } from './sustained.js';

/** Every scenario, in the order in which they run: a limit before what is held against it. */
export const SCENARIOS: readonly Scenario[] = [ceiling, bundled, single, onchain, peers];
