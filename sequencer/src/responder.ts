import type { DueOpening, OpeningSource } from './openings.js';
import type { Demand, L1View, Store } from './ports.js';

export interface ResponderOptions {
  readonly store: Pick<Store, 'openDemands' | 'batchOf'>;
  readonly view: () => L1View | undefined;
}

/**
 * Answers what somebody demanded in the contract (PROTOCOL.md §7), because no answer costs a penalty. Which demands are open is
 * what the follower has seen.
 */
export class Responder implements OpeningSource {
  readonly purpose = 'answer';

  constructor(private readonly options: ResponderOptions) {}

  /** Demands that nobody has answered yet. */
  get open(): number {
    return this.demands().length;
  }

  /** Those whose entry is in a committed batch of the demanded term: before, there is nothing to show. */
  due(): DueOpening[] {
    const { store, view } = this.options;
    return this.demands().flatMap(({ lane, term, sequence, deadline }) => {
      const header = store.batchOf(lane, sequence)?.header;
      const committed = view()?.lanes[lane]?.committed.number ?? 0n;
      if (header === undefined || header.term !== term || committed < header.number) return [];
      return [{ key: `${lane}/${term}/${sequence}`, lane, sequence, facts: { term, deadline } }];
    });
  }

  private demands(): Demand[] {
    const latest = this.options.view()?.latest.number;
    return latest === undefined ? [] : this.options.store.openDemands(latest);
  }
}
