import type { Fractions } from './fractions.js';

/**
 * Fractions of the limits measured in the same run below which it is the software that has become slow, not the machine. Short
 * loads reach 0.3 and 0.3 on two quiet cores; with bundles inside SQLite, and a message between threads for each of them, it
 * was 0.13 and 0.15.
 */
export const FLOORS: Required<Fractions> = { ceiling: 0.16, recoveries: 0.16 };

const NAMES: Record<keyof Fractions, string> = {
  ceiling: 'bundled, of the same bodies only appended and synced',
  recoveries: 'single, of one core’s signature recoveries',
};

/** What the runs so far say. */
export interface Judgement {
  readonly passed: boolean;
  /** One for each fraction: the best that it was, and the floor. */
  readonly lines: readonly string[];
}

/** Each fraction passes if it reached its floor in any run: noise makes a run slow, never fast. One never measured fails. */
export function judge(runs: readonly Fractions[], floors: Required<Fractions> = FLOORS): Judgement {
  let passed = true;
  const lines = (Object.keys(NAMES) as (keyof Fractions)[]).map((name) => {
    const measured = runs.flatMap((run) => run[name] ?? []);
    const best = Math.max(...measured);
    const holds = measured.length > 0 && best >= floors[name];
    passed &&= holds;
    const got = measured.length === 0 ? 'was not measured' : best.toFixed(2);
    return `${NAMES[name]}: ${got}, the floor is ${floors[name]}${holds ? '' : ': TOO SLOW'}`;
  });
  return { passed, lines };
}
