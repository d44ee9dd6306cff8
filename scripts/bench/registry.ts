import { bundled, single } from './closed.js';
import { peers } from './peers.js';
import type { Scenario } from './scenario.js';

/** Every scenario, in the order in which they run: a ceiling before what is held against it. */
export const SCENARIOS: readonly Scenario[] = [bundled, single, peers];
