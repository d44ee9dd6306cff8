import { BUNDLES, SINGLES } from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';
import type { VerifyingPlan } from './verifying-plan.js';

const VERIFYING = new URL('verifying.ts', import.meta.url);
const WORKERS = [1, 2] as const;

/** What another verifying thread adds, on as many cores as the machine has. */
async function run(bench: Bench): Promise<Outcome> {
  const seconds = loadSeconds(bench.settings, 4, 1);
  const rows: Row[] = [];
  const json: Record<string, number[]> = {};
  for (const [name, { bundle, payload }] of Object.entries({ single: SINGLES, bundled: BUNDLES })) {
    bench.show(`verifying, ${name}`);
    const plan: VerifyingPlan = { workers: WORKERS, bundle, payload, seconds };
    const bundlesPerSecond = await bench.inProcess<number[]>(VERIFYING, plan);
    json[name] = bundlesPerSecond;
    const [one = Number.NaN, two = Number.NaN] = bundlesPerSecond;
    rows.push(
      { figure: `bundles of ${bundle}, one thread`, value: one, unit: 'verified/s' },
      { figure: `bundles of ${bundle}, two threads`, value: two, unit: 'verified/s', beside: { what: 'one thread', value: one } },
    );
  }
  return {
    json,
    rows,
    notes: ['two virtual cores that share a physical one give less than twice as much, whatever runs on them'],
    healthy: true,
  };
}

export const workers: Scenario = {
  name: 'workers',
  about: 'bundles verified a second by one and by two threads (20 s)',
  byDefault: false,
  run,
};
