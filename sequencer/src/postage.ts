import type { Hex, Price } from '@sealpost/prover';
import { LRUCache } from 'lru-cache';
import { RequestError, unavailable } from './errors.js';
import { settledBlock } from './follower.js';
import type { Deposit, L1, L1View, PostageKey } from './ports.js';
import type { VerifiedBody } from './verifier.js';

// ---- Pure -----------------------------------------------------------------------------------------------------------

/** What bundles cost, and what is known of those who pay. */
export interface Tariff {
  readonly price: Price;
  /** The highest postage that a sender's deposit carries (see `carriedBy`); undefined while the L1 has not said. */
  carried(sender: Hex, lane: number): bigint | undefined;
}

/**
 * Why a bundle's postage is not taken; undefined if it is: at least what its sender owes so far and its own price, and no more
 * than the deposit carries. What is above the price is the sender's gift. `carried` is asked only if it is enough.
 */
export function refusePostage(
  postage: bigint,
  owed: bigint,
  price: bigint,
  carried: () => bigint | undefined,
): RequestError | undefined {
  const expected = owed + price;
  const facts = { expected: String(expected) };
  if (postage < expected) {
    const detail = `expected a postage of at least ${expected} wei, ${owed} owed so far and ${price} for this bundle, got ${postage}`;
    return new RequestError('bundle.postage', detail, facts);
  }
  const most = carried();
  if (most === undefined) return unavailable('the L1 has not said yet what this sender has deposited: send this again');
  if (postage <= most) return undefined;
  const available = most > owed ? most - owed : 0n;
  const detail = `the deposit has ${available} wei for this bundle, which adds ${postage - owed}: deposit more; it counts once it is final on the L1`;
  return new RequestError('bundle.postage', detail, { ...facts, available: String(available) });
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** Redeemed and still redeemable, if the sender takes `withdrawing` out first. Redemptions leave it as it is. */
const reach = ({ deposit, redeemed }: Deposit, withdrawing: bigint): bigint => redeemed + deposit - min(deposit, withdrawing);

/**
 * The highest postage that an operator can count on being paid: deposits as far as they are final, less withdrawals as soon as
 * they are asked for. `settled` is the account at the final block, `latest` at the newest.
 */
export const carriedBy = (settled: Deposit, latest: Deposit): bigint =>
  min(reach(settled, max(settled.withdrawing, latest.withdrawing)), reach(latest, latest.withdrawing));

const NOTHING: Deposit = { deposit: 0n, redeemed: 0n, withdrawing: 0n };

const isSame = (a: Deposit, b: Deposit): boolean =>
  a.deposit === b.deposit && a.redeemed === b.redeemed && a.withdrawing === b.withdrawing;

// ---- What the L1 says -----------------------------------------------------------------------------------------------

// A known account takes about 560 bytes: 56 MB.
const MAX_ACCOUNTS = 100_000;
/** Questions to the L1 about accounts that go on at once: whoever comes when there are more is refused for now. */
const MAX_READING = 256;
/** Milliseconds that a body waits for them; bodies that came after it wait, too. */
const WAIT_MS = 500;

interface Known {
  readonly settled: Deposit;
  readonly latest: Deposit;
  /** The block that `settled` was read at. */
  readonly settledAt: bigint;
}

export interface DepositsOptions {
  readonly l1: Pick<L1, 'depositOf'>;
  readonly view: () => L1View | undefined;
  readonly waitMs?: number;
}

/**
 * What senders have deposited, as the contract says. An account is read once, and again when the follower has seen a change of
 * it, or when a change may have become final; what cannot be read is unknown, and never guessed.
 */
export class Deposits {
  private readonly known = new LRUCache<string, Known>({ max: MAX_ACCOUNTS });
  private readonly reading = new Map<string, Promise<Known>>();
  /** The last answer of the L1 was none: then nobody waits for the next. */
  private isFailing = false;

  constructor(private readonly options: DepositsOptions) {}

  /** As in `Tariff`. */
  carried(sender: Hex, lane: number): bigint | undefined {
    const known = this.fresh(keyOf({ lane, sender }));
    return known === undefined ? undefined : carriedBy(known.settled, known.latest);
  }

  /**
   * An account at the newest block that was seen.
   * @throws L1Error
   */
  async latest(account: PostageKey): Promise<Deposit> {
    return (this.fresh(keyOf(account)) ?? (await this.read(account))).latest;
  }

  /** Resolves to the body once the accounts of its senders are known, or will not be within a bounded time. Never rejects. */
  async before(body: VerifiedBody): Promise<VerifiedBody> {
    const unknown = new Map<string, Promise<unknown>>();
    for (const verdict of body.verdicts) {
      if ('refused' in verdict) continue;
      const { lane, sender } = verdict;
      const key = keyOf({ lane, sender });
      if (unknown.has(key) || this.fresh(key) !== undefined) continue;
      if (this.reading.size >= MAX_READING && !this.reading.has(key)) continue;
      // Whoever comes back for it says why it failed.
      unknown.set(
        key,
        this.read({ lane, sender }).catch(() => {}),
      );
    }
    if (unknown.size === 0 || this.isFailing) return body;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.options.waitMs ?? WAIT_MS);
    });
    await Promise.race([Promise.all(unknown.values()), patience]);
    clearTimeout(timer);
    return body;
  }

  /** The contract told of changes in these accounts; `any`: perhaps in all of them. */
  changed(accounts: readonly PostageKey[] | 'any'): void {
    if (accounts === 'any') {
      this.known.clear();
      this.reading.clear();
      return;
    }
    for (const key of accounts.map(keyOf)) {
      this.known.delete(key);
      // What is being read now may be of before: it is not kept.
      this.reading.delete(key);
    }
  }

  private fresh(key: string): Known | undefined {
    const known = this.known.get(key);
    const view = this.options.view();
    if (known === undefined || view === undefined) return undefined;
    return isSame(known.settled, known.latest) || known.settledAt === settledBlock(view) ? known : undefined;
  }

  private read(account: PostageKey): Promise<Known> {
    const key = keyOf(account);
    const under = this.reading.get(key);
    if (under !== undefined) return under;
    const reading = this.ask(account);
    this.reading.set(key, reading);
    const end = (known?: Known) => {
      this.isFailing = known === undefined;
      if (this.reading.get(key) !== reading) return;
      this.reading.delete(key);
      if (known !== undefined) this.known.set(key, known);
    };
    reading.then(end, () => end());
    return reading;
  }

  private async ask({ lane, sender }: PostageKey): Promise<Known> {
    const view = this.options.view();
    if (view === undefined) throw unavailable('no L1 block was seen yet');
    const { l1 } = this.options;
    const settledAt = settledBlock(view);
    const latest = await l1.depositOf(lane, sender, view.latest.number);
    const settled = settledAt < 0n ? NOTHING : await l1.depositOf(lane, sender, settledAt);
    return { settled, latest, settledAt };
  }
}

const keyOf = ({ lane, sender }: PostageKey): string => `${sender}/${lane}`;
