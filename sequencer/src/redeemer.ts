import { readCheckedHead } from '@sealpost/prover';
import type { Until } from './loop.js';
import type { DueOpening, Offer, OpeningSource } from './openings.js';
import type { Deposit, Entry, L1View, PostageKey, Store, Voucher } from './ports.js';
import type { Deposits } from './postage.js';

/** What one redemption takes, as contracts/snapshots has it for a batch of 64, rounded up. */
const REDEEM_GAS = 70_000n;
/** Accounts that one round looks at, beside those that are due. */
const PAGE = 32;
/** Redemptions that are due at once; more are found when these are done. */
const MAX_DUE = 256;
/** How many forced entries in a row are passed over in search of one that owes. */
const MAX_STEPS = 256;
/** Blocks until what the contract refused is tried again. */
const RETRY_BLOCKS = 32n;

// ---- Pure -----------------------------------------------------------------------------------------------------------

/** What there is to be had of an account by one entry. */
export interface Claim {
  /** The entry's, in wei. */
  readonly postage: bigint;
  readonly account: Deposit;
  /** We are about to hand the lane over, or have: what is not redeemed soon the next operator gets. */
  readonly leaving: boolean;
}

/** What a redemption pays now, in wei. */
export function amountOf({ postage, account: { deposit, redeemed } }: Omit<Claim, 'leaving'>): bigint {
  const unpaid = postage > redeemed ? postage - redeemed : 0n;
  return unpaid < deposit ? unpaid : deposit;
}

/** Whether waiting for more may cost what is there: we leave, or the sender withdraws so much that the rest is too little. */
export function isUrgent(claim: Claim): boolean {
  const { deposit, withdrawing } = claim.account;
  return claim.leaving || (withdrawing > 0n && deposit < withdrawing + amountOf(claim));
}

/**
 * Whether to redeem now: if it pays `factor` times its gas, or, where waiting may cost it, at least its gas. `gasPrice` in wei
 * a gas.
 */
export function isWorthIt(claim: Claim, gasPrice: bigint, factor: number): boolean {
  const cost = REDEEM_GAS * gasPrice;
  const amount = amountOf(claim);
  return amount > 0n && amount >= cost * (isUrgent(claim) ? 1n : BigInt(factor));
}

type LogReads = Pick<Store, 'entryByNonce' | 'entries' | 'entry' | 'forcedIn'>;

/**
 * The latest entry below `end` by which the sender owes, for when the voucher itself is not yet below it: undefined if there is
 * none, or not within reach. Entries that are not void have sequences that grow with their nonces.
 */
export function voucherBelow(store: LogReads, voucher: Voucher, end: bigint): Pick<Voucher, 'postage' | 'sequence'> | undefined {
  const { lane, sender } = voucher;
  if (voucher.sequence < end) return voucher;
  let low = 0n;
  let high = store.entries(lane, voucher.sequence, 1)[0]?.nonce ?? 0n;
  let found: Entry | undefined;
  while (low < high) {
    const entry = store.entryByNonce(sender, lane, (low + high) / 2n);
    if (entry === undefined) return undefined;
    if (entry.sequence < end) {
      found = entry;
      low = entry.nonce + BigInt(entry.count);
    } else high = entry.nonce;
  }
  for (let steps = 0; found !== undefined && steps < MAX_STEPS; steps++) {
    const { sequence, previous } = found;
    if (store.forcedIn(lane, sequence, sequence + 1n).length === 0) {
      const full = store.entry(lane, sequence);
      return full && { sequence, postage: readCheckedHead(full.bundle).postage };
    }
    found = previous === 0n ? undefined : store.entries(lane, previous - 1n, 1)[0];
  }
  return undefined;
}

// ---- Driver ---------------------------------------------------------------------------------------------------------

export interface RedeemerOptions {
  readonly store: LogReads & Pick<Store, 'vouchers'>;
  readonly deposits: Deposits;
  readonly view: () => L1View | undefined;
  readonly termOf: (lane: number) => number;
  /** A redemption waits until it pays this many times its gas. */
  readonly factor: number;
}

/**
 * Gets what senders owe out of their deposits (PROTOCOL.md §3), when it is worth the gas. Keeps nothing: what is owed the log
 * says, what is paid the contract; a few accounts a round are compared, all of them in turn.
 */
export class Redeemer implements OpeningSource {
  readonly purpose = 'redeem';
  private after: PostageKey | undefined;
  /** Accounts that were due in the last round: looked at in every round until they are not. */
  private open = new Map<string, Voucher>();
  /** What the contract refused: the entry, and when. */
  private readonly refusals = new Map<string, { readonly sequence: bigint; readonly block: bigint }>();

  constructor(private readonly options: RedeemerOptions) {}

  async due(until: Until, offer: () => Promise<Offer>): Promise<DueOpening[]> {
    const { store, view } = this.options;
    const seen = view();
    if (seen === undefined) return [];
    const page = store.vouchers(this.after, PAGE);
    const vouchers = new Map(this.open);
    for (const voucher of page) if (vouchers.size < MAX_DUE) vouchers.set(keyOf(voucher), voucher);
    const due = new Map<string, DueOpening>();
    const open = new Map<string, Voucher>();
    for (const [key, voucher] of vouchers) {
      const one = await this.claim(key, voucher, seen, until, offer);
      if (one === undefined) continue;
      due.set(key, one);
      open.set(key, voucher);
    }
    // Not before: a round that the L1 cut short looks at the same accounts again.
    this.open = open;
    this.after = page.length < PAGE ? undefined : page.at(-1);
    return [...due.values()];
  }

  refused({ key, sequence }: DueOpening): void {
    const block = this.options.view()?.latest.number ?? 0n;
    this.refusals.set(key, { sequence, block });
  }

  /** What is to be redeemed of an account now. */
  private async claim(
    key: string,
    voucher: Voucher,
    view: L1View,
    until: Until,
    offer: () => Promise<Offer>,
  ): Promise<DueOpening | undefined> {
    const { store, deposits, termOf, factor } = this.options;
    const { lane, sender } = voucher;
    const account = await until(deposits.latest(voucher));
    if (amountOf({ postage: voucher.postage, account }) === 0n) {
      this.refusals.delete(key);
      return undefined;
    }
    const standing = view.standings[lane];
    const leaving = standing !== undefined && (standing.exitRequestedAt > 0n || standing.term !== termOf(lane));
    const { baseFeePerGas, priorityFeePerGas } = await until(offer());
    const gasPrice = baseFeePerGas + priorityFeePerGas;
    const all = { postage: voucher.postage, account, leaving };
    if (!isWorthIt(all, gasPrice, factor)) return undefined;
    const rungs = view.lanes[lane];
    const end = (isUrgent(all) ? rungs?.committed : rungs?.finalized)?.nextSequence ?? 0n;
    const delivered = voucherBelow(store, voucher, end);
    if (delivered === undefined || !isWorthIt({ ...all, postage: delivered.postage }, gasPrice, factor)) return undefined;
    const { sequence, postage } = delivered;
    const refusal = this.refusals.get(key);
    if (refusal?.sequence === sequence && view.latest.number < refusal.block + RETRY_BLOCKS) return undefined;
    return { key, lane, sequence, facts: { sender, postage, wei: amountOf({ postage, account }) } };
  }
}

const keyOf = ({ lane, sender }: PostageKey): string => `${sender}/${lane}`;
