import type { Outcome } from './scenario.js';

/** What was reached, as shares of the limits that were measured in the same run. */
export interface Fractions {
  /** `bundled`, of the same bodies only appended and synced. */
  readonly ceiling?: number;
  /** `single`, of the signatures that one core recovers. */
  readonly recoveries?: number;
}

type Results = ReadonlyMap<string, Pick<Outcome, 'json'>>;

const figure = (results: Results, scenario: string, name: string): number | undefined => {
  const value = results.get(scenario)?.json[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
};

const share = (part: number | undefined, whole: number | undefined): number | undefined =>
  part === undefined || whole === undefined || whole <= 0 ? undefined : Math.round((part / whole) * 1_000) / 1_000;

/** A fraction is there if both of its parts were measured. */
export function fractionsOf(results: Results): Fractions {
  const ceiling = share(figure(results, 'bundled', 'messagesPerSecond'), figure(results, 'ceiling', 'messagesPerSecond'));
  const recoveries = share(figure(results, 'single', 'messagesPerSecond'), recoveriesOf(results));
  return { ...(ceiling === undefined ? {} : { ceiling }), ...(recoveries === undefined ? {} : { recoveries }) };
}

export const recoveriesOf = (results: Results): number | undefined => figure(results, 'ceiling', 'recoveriesPerSecond');
