import { backpressure } from './backpressure.js';
import { ceiling } from './ceiling.js';
import { fanout } from './fanout.js';
import { grown } from './grown.js';
import { latency } from './latency.js';
import { onchain } from './onchain.js';
import { peers } from './peers.js';
import { proofs } from './proofs.js';
import { reads } from './reads.js';
import type { Scenario } from './scenario.js';
import { soak } from './soak.js';
import { bundled, single } from './sustained.js';
import { workers } from './workers.js';

/** Every scenario, in the order in which they run: a limit before what is held against it. */
export const SCENARIOS: readonly Scenario[] = [
  ceiling,
  bundled,
  single,
  latency,
  backpressure,
  grown,
  soak,
  workers,
  proofs,
  onchain,
  peers,
  fanout,
  reads,
];
