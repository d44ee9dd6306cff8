import { bundlePrice, equalBytes, type Hex, type MerkleTree, type Receipt, toHex } from '@sealpost/prover';
import { LRUCache } from 'lru-cache';
import { RequestError, unavailable } from './errors.js';
import { type EntryContent, readForced } from './inbox.js';
import {
  type Clock,
  type CommitGroup,
  type Entry,
  type ForcedBundle,
  type ForcedPlace,
  type FullEntry,
  type Hashing,
  type L1View,
  type Log,
  type Store,
  StoreFullError,
} from './ports.js';
import { refusePostage, type Tariff } from './postage.js';
import { type PromiseTerms, promiseDeadline, type ReceiptBook } from './receipts.js';
import type { Body, VerifiedBody, VerifiedHead } from './verifier.js';

/** What became of one bundle of a body. */
export type Outcome = { readonly receipt: Receipt } | { readonly error: RequestError };

/** Where an account stands on a lane: its next nonce, and 1 + the sequence of its latest entry, 0 if there is none (§6). */
export interface AccountState {
  readonly nonce: bigint;
  readonly previous: bigint;
}

/** What deciding about bundles reads: the durable log, with what is already decided in this group on top. */
export interface Ledger {
  account(sender: Hex, lane: number): AccountState;
  /** The entry that is not void and starts at this nonce. */
  entryAt(sender: Hex, lane: number, nonce: bigint): Pick<Entry, 'sequence' | 'structHash'> | undefined;
  tail(lane: number): { nextSequence: bigint; acceptedAt: bigint };
  /** Wei that the sender owes on the lane so far, cumulative. */
  owed(sender: Hex, lane: number): bigint;
}

/** One bundle's decision: it stands at a sequence (newly, or since before), or it is refused. */
export type Decision = { readonly lane: number; readonly sequence: bigint } | { readonly error: RequestError };

/** A bundle out of the inbox, and its place there. */
export interface ForcedArrival extends EntryContent {
  readonly index: bigint;
}

export interface GroupPlan {
  readonly groups: readonly { readonly lane: number; readonly firstSequence: bigint; readonly entries: readonly FullEntry[] }[];
  /** For each body, one decision a bundle, in order. */
  readonly decisions: readonly (readonly Decision[])[];
  /** How far accounts got: to be remembered once the groups are durable. */
  readonly accounts: ReadonlyMap<string, AccountState>;
  /** What they owe then, likewise; empty where nothing is asked. */
  readonly owed: ReadonlyMap<string, bigint>;
  /** Where the forced bundles stand. */
  readonly forced: readonly ForcedPlace[];
}

const accountKey = (sender: Hex, lane: number): string => `${sender}/${lane}`;

/**
 * Decides about verified bundles, in order: known, expired, nonce, postage (§6), rate, and gives sequences and acceptance times.
 * Pure: nothing is taken until the plan's groups are durable. `now` is min(own clock, newest L1 block), unix seconds.
 * `forced` bundles come first, each with a place of its own: void unless its nonce is the next (§8). `whyNot`: why a lane
 * takes nothing over HTTP any more (§7). Without a `tariff` nobody looks at postage.
 */
export function planGroups(
  bodies: readonly VerifiedBody[],
  ledger: Ledger,
  now: bigint,
  waitForRate: (sender: Hex, messages: number) => number = () => 0,
  forced: readonly ForcedArrival[] = [],
  whyNot: (lane: number) => string | undefined = () => undefined,
  tariff?: Tariff,
): GroupPlan {
  const entries = new Map<number, FullEntry[]>();
  const accounts = new Map<string, AccountState>();
  const owed = new Map<string, bigint>();
  const planned = new Map<string, FullEntry>();

  /** Puts an entry behind the last one of its lane. */
  const enter = (content: EntryContent, isVoid: 0 | 1, account: AccountState): FullEntry => {
    const { lane, sender, nonce, count } = content;
    const group = entries.get(lane) ?? [];
    const last = group.at(-1) ?? tailOf(lane);
    const sequence = last.sequence + 1n;
    const acceptedAt = last.acceptedAt > now ? last.acceptedAt : now;
    const entry: FullEntry = { ...content, sequence, void: isVoid, previous: account.previous, acceptedAt };
    if (group.length === 0) entries.set(lane, group);
    group.push(entry);
    if (isVoid === 0) {
      planned.set(`${sender}/${lane}/${nonce}`, entry);
      accounts.set(accountKey(sender, lane), { nonce: nonce + BigInt(count), previous: sequence + 1n });
    }
    return entry;
  };

  const decide = (head: VerifiedHead, structHash: Uint8Array, bundleHash: Uint8Array, bundle: Uint8Array): Decision => {
    const { lane, sender, nonce } = head;
    const known = planned.get(`${sender}/${lane}/${nonce}`) ?? ledger.entryAt(sender, lane, nonce);
    if (known !== undefined && equalBytes(known.structHash, structHash)) return { lane, sequence: known.sequence };
    const why = whyNot(lane);
    if (why !== undefined) return { error: unavailable(why) };
    const last = entries.get(lane)?.at(-1) ?? tailOf(lane);
    const acceptedAt = last.acceptedAt > now ? last.acceptedAt : now;
    if (head.expiry < acceptedAt) {
      return refuse('bundle.expired', `expected an expiry of at least ${acceptedAt}, got ${head.expiry}`, {
        expiry: String(head.expiry),
        now: String(acceptedAt),
      });
    }
    const account = accountOf(sender, lane);
    if (nonce !== account.nonce) {
      return refuse('bundle.nonce', `expected nonce ${account.nonce}, got ${nonce}`, { expected: String(account.nonce) });
    }
    if (tariff !== undefined) {
      const before = owed.get(accountKey(sender, lane)) ?? ledger.owed(sender, lane);
      const price = bundlePrice(tariff.price, head.count, bundle.length);
      const error = refusePostage(head.postage, before, price, () => tariff.carried(sender, lane));
      if (error !== undefined) return { error };
    }
    const waitMs = waitForRate(sender, head.count);
    if (waitMs > 0) {
      return { error: new RequestError('rate_limited', `the rate of ${sender} is passed: wait ${waitMs} ms`, {}, waitMs) };
    }
    if (tariff !== undefined) owed.set(accountKey(sender, lane), head.postage);
    const content = { lane, sender, nonce, count: head.count, structHash, bundleHash, bytes: bundle.length, bundle };
    return { lane, sequence: enter(content, 0, account).sequence };
  };

  const accountOf = (sender: Hex, lane: number) => accounts.get(accountKey(sender, lane)) ?? ledger.account(sender, lane);

  const tails = new Map<number, { sequence: bigint; acceptedAt: bigint }>();
  const tailOf = (lane: number) => {
    let tail = tails.get(lane);
    if (tail === undefined) {
      const { nextSequence, acceptedAt } = ledger.tail(lane);
      tail = { sequence: nextSequence - 1n, acceptedAt };
      tails.set(lane, tail);
    }
    return tail;
  };

  const places = forced.map(({ index, ...content }): ForcedPlace => {
    const account = accountOf(content.sender, content.lane);
    const { lane, sequence } = enter(content, content.nonce === account.nonce ? 0 : 1, account);
    return { lane, index, sequence };
  });
  const decisions = bodies.map(({ bytes, bounds, verdicts, hashes }) =>
    verdicts.map((verdict, index): Decision => {
      if ('refused' in verdict) {
        const { code, message, facts } = verdict.refused;
        return { error: new RequestError(code as RequestError['code'], message, facts) };
      }
      const [structHash, bundleHash] = [hashes.subarray(64 * index), hashes.subarray(64 * index + 32)];
      const bundle = bytes.subarray(bounds[2 * index], bounds[2 * index + 1]);
      return decide(verdict, structHash.subarray(0, 32), bundleHash.subarray(0, 32), bundle);
    }),
  );
  const groups = [...entries].map(([lane, group]) => ({
    lane,
    firstSequence: (group[0] as FullEntry).sequence,
    entries: group,
  }));
  return { groups, decisions, accounts, owed, forced: places };
}

const refuse = (code: RequestError['code'], message: string, facts: Record<string, string>): Decision => ({
  error: new RequestError(code, message, facts),
});

export interface SequencerDeps {
  readonly store: Store;
  readonly book: ReceiptBook;
  readonly verify: (body: Body) => Promise<VerifiedBody>;
  readonly view: () => L1View | undefined;
  readonly terms: PromiseTerms;
  readonly clock: Clock;
  readonly log: Log;
  readonly hashing: Hashing;
  /** Bytes of bundles that one commit group holds at the most; one body always fits. */
  readonly maxGroupBytes: number;
  /** How long an account must wait before this many more messages, milliseconds; 0 to go on. */
  readonly waitForRate?: (sender: Hex, messages: number) => number;
  /** What bundles cost; undefined where they are free. */
  readonly tariff?: Tariff | undefined;
  /** The inbox's bundles that may get a place in the log now, the next ones of each lane in order (§8). */
  readonly forcedDue?: () => readonly ForcedBundle[];
  /** Called when groups are durable, with the topic keys of their messages. */
  readonly onAppended: (groups: readonly CommitGroup[], topicKeys: Float64Array) => void;
  /** The state on disk is unknown: the process must end and load again. */
  readonly onFatal: (error: Error) => void;
}

// A group that is this large waits for no more.
const GROUP_BODIES = 32;
const GROUP_BYTES = 1_048_576;

/** What is durable and cannot be promised now is refused for now: the same bundle, sent again, gets its receipt. */
function orRefused<T>(promise: () => T, refused: (error: { error: RequestError }) => T): T {
  try {
    return promise();
  } catch (error) {
    if (error instanceof RequestError) return refused({ error });
    throw error;
  }
}

interface Ticket {
  readonly bytes: number;
  verified: VerifiedBody | undefined;
  readonly resolve: (outcomes: Outcome[]) => void;
  readonly reject: (error: Error) => void;
}

/** Bodies that share a write. */
interface PlannedGroups {
  readonly tickets: readonly Ticket[];
  readonly plan: GroupPlan;
  readonly groups: readonly CommitGroup[];
  /** Of each group, over its entryHashes. */
  readonly trees: readonly MerkleTree[];
}

// An account takes about 150 bytes: 15 MB. Those not here are looked up in the store.
const MAX_ACCOUNTS = 100_000;

/**
 * The single writer of the log: judges nonces in the order in which whole bodies arrived, gives sequences, and answers
 * once the group is on disk. While one group waits for the disk, the next one gathers.
 */
export class Sequencer {
  private readonly queue: Ticket[] = [];
  private readonly accounts = new LRUCache<string, AccountState>({ max: MAX_ACCOUNTS });
  /** Likewise: what they owe, of those who were asked for it. */
  private readonly owedBy = new LRUCache<string, bigint>({ max: MAX_ACCOUNTS });
  /** Of lanes that were written to, so that a group costs no look-up. */
  private readonly tails = new Map<number, ReturnType<Store['tail']>>();
  private bytesQueued = 0;
  /** Bodies with the verifying threads. */
  private verifying = 0;
  private stopping = false;
  private running = false;
  private due = false;
  private onIdle: (() => void) | undefined;
  /** The inbox may have bundles that can get a place. */
  private inboxDue = false;
  /** The last write found no room; the next that succeeds clears it. */
  private noRoom = false;

  constructor(private readonly deps: SequencerDeps) {}

  /** Bytes of bodies that arrived and are not answered yet. */
  get queuedBytes(): number {
    return this.bytesQueued;
  }

  /** False after a write that found no room on the disk, until one succeeds. */
  get hasRoom(): boolean {
    return !this.noRoom;
  }

  /**
   * Takes a whole body. Resolves with one outcome a bundle, in order; a receipt among
   * them means that the entry is durable.
   * @throws unavailable before anything is taken, if nothing can be promised now or the sequencer is stopping
   */
  submit(body: Body): Promise<Outcome[]> {
    if (this.stopping) throw unavailable('the sequencer is stopping');
    promiseDeadline(this.deps.terms);
    return new Promise((resolve, reject) => {
      const ticket: Ticket = { bytes: body.bytes.length, verified: undefined, resolve, reject };
      this.queue.push(ticket);
      this.bytesQueued += ticket.bytes;
      this.verifying++;
      this.deps.verify(body).then(
        (verified) => {
          ticket.verified = verified;
          this.verifying--;
          this.wake();
        },
        (error: Error) => this.deps.onFatal(error),
      );
    });
  }

  /** Takes nothing more, answers what was taken, and writes down the last signatures. */
  async stop(): Promise<void> {
    this.stopping = true;
    if (this.bytesQueued > 0) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve;
      });
    }
    const signed = this.deps.book.toSave();
    if (signed.length === 0) return;
    try {
      await this.deps.store.appendGroups([], signed);
      this.deps.book.saved(signed);
    } catch (error) {
      // No room: the signatures are made anew after the next start, which is no offence (§7).
      if (!(error instanceof StoreFullError)) throw error;
      this.deps.log.warn('store.full', { message: error.message });
    }
  }

  /** The L1 moved: the inbox is looked at with the next group, which is now if nothing else is. */
  inboxChanged(): void {
    this.inboxDue = true;
    if (!this.stopping) this.wake();
  }

  /** Soon, so that bodies which were verified together are committed together. */
  private wake(): void {
    if (this.due || this.running) return;
    this.due = true;
    setImmediate(() => {
      this.due = false;
      void this.run();
    });
  }

  /**
   * One group after the other goes to the disk. The answers of a group are made while the disk works on the next: they take
   * about as long as it does.
   */
  private async run(): Promise<void> {
    this.running = true;
    try {
      let answer = () => {};
      for (;;) {
        const tickets = this.takeVerified();
        const forced = this.takeForced();
        if (tickets.length === 0 && forced.length === 0) break;
        const planned = this.plan(tickets, forced);
        const writing = this.write(planned);
        answer();
        const failure = await writing;
        answer = () => this.answer(planned, failure);
      }
      answer();
    } catch (error) {
      this.deps.onFatal(error as Error);
    }
    this.running = false;
    if (this.bytesQueued === 0) this.onIdle?.();
  }

  /**
   * Bodies from the queue's front, up to the first that is still being verified: arrival decides, not verification. None while
   * more are about to be verified than are there: a group costs a signature and a sync, however small it is.
   */
  private takeVerified(): Ticket[] {
    let bytes = 0;
    let taken = 0;
    for (const ticket of this.queue) {
      if (ticket.verified === undefined || (taken > 0 && bytes + ticket.bytes > this.deps.maxGroupBytes)) break;
      bytes += ticket.bytes;
      taken++;
    }
    if (taken < Math.min(this.verifying, GROUP_BODIES) && bytes < GROUP_BYTES) return [];
    return this.queue.splice(0, taken);
  }

  /** What is due in the inbox: the group before this one is on disk, so what has a place says so. */
  private takeForced(): ForcedArrival[] {
    if (!this.inboxDue || this.stopping) return [];
    const due = this.deps.forcedDue?.() ?? [];
    // Until there is nothing left: a group takes no more than a part of a long queue.
    this.inboxDue = due.length > 0;
    return due.map((bundle) => ({ ...readForced(bundle, this.deps.hashing), index: bundle.index }));
  }

  private plan(tickets: readonly Ticket[], forced: readonly ForcedArrival[]): PlannedGroups {
    const { hashing, waitForRate, book, tariff } = this.deps;
    const bodies = tickets.map(({ verified }) => verified as VerifiedBody);
    const plan = planGroups(bodies, this.ledger(), this.now(), waitForRate, forced, (lane) => book.whyNot(lane), tariff);
    const trees = plan.groups.map(({ entries }) => hashing.entriesTree(entries));
    const groups = plan.groups.map((group, index): CommitGroup => ({ ...group, root: toHex((trees[index] as MerkleTree).root) }));
    return { tickets, plan, groups, trees };
  }

  /** Resolves when the groups are durable; to the error that all of their bundles get if there was no room for them. */
  private async write({ plan, groups }: PlannedGroups): Promise<RequestError | undefined> {
    if (groups.length === 0) return undefined;
    const { store, book, log, onAppended } = this.deps;
    const signed = book.toSave();
    try {
      // A crash before this resolves leaves either nothing or all of the groups, and no receipt was given.
      const topicKeys = await store.appendGroups(groups, signed, plan.forced);
      // A crash from here on leaves entries without a written signature: it is made anew over the same leaves.
      book.saved(signed);
      for (const [key, state] of plan.accounts) this.accounts.set(key, state);
      for (const [key, wei] of plan.owed) this.owedBy.set(key, wei);
      for (const { lane, entries } of groups) {
        const { sequence, acceptedAt } = entries.at(-1) as FullEntry;
        this.tails.set(lane, { nextSequence: sequence + 1n, acceptedAt });
      }
      this.noRoom = false;
      onAppended(groups, topicKeys);
      return undefined;
    } catch (error) {
      if (!(error instanceof StoreFullError)) throw error;
      if (!this.noRoom) log.error('store.full', { message: error.message });
      this.noRoom = true;
      // Not again at once: when the L1 has moved.
      this.inboxDue = false;
      return unavailable('the disk is full: nothing of this was taken', 5_000);
    }
  }

  private answer({ tickets, plan, groups, trees }: PlannedGroups, failure: RequestError | undefined): void {
    const { book, store } = this.deps;
    // Forced bundles alone: nobody waits for a receipt.
    if (tickets.length === 0) return;
    const made = new Map<number, { firstSequence: bigint; outcomes: readonly Outcome[] }>();
    for (const [index, group] of groups.entries()) {
      const { lane, firstSequence, entries } = group;
      const outcomes =
        failure === undefined
          ? orRefused<readonly Outcome[]>(
              () => book.receiptsOf(group, trees[index] as MerkleTree).map((receipt) => ({ receipt })),
              (error) => entries.map(() => error),
            )
          : entries.map(() => ({ error: failure }));
      made.set(lane, { firstSequence, outcomes });
    }
    tickets.forEach(({ bytes, resolve }, index) => {
      this.bytesQueued -= bytes;
      const outcomes = (plan.decisions[index] as readonly Decision[]).map((decision): Outcome => {
        if ('error' in decision) {
          // The nonce that it says is expected counts bundles that were not taken.
          return failure !== undefined && decision.error.code === 'bundle.nonce' ? { error: failure } : decision;
        }
        const { lane, sequence } = decision;
        const group = made.get(lane);
        if (group !== undefined && sequence >= group.firstSequence) {
          return group.outcomes[Number(sequence - group.firstSequence)] as Outcome;
        }
        return orRefused<Outcome>(
          () => ({ receipt: book.receiptOf(store.entries(lane, sequence, 1)[0] as Entry) }),
          (error) => error,
        );
      });
      resolve(outcomes);
    });
  }

  private ledger(): Ledger {
    const { store } = this.deps;
    return {
      tail: (lane) => this.tails.get(lane) ?? store.tail(lane),
      account: (sender, lane) => this.account(sender, lane),
      owed: (sender, lane) => this.owed(sender, lane),
      entryAt: (sender, lane, nonce) => {
        // What is not below the account's next nonce is not in the log: no need to look.
        if (nonce >= this.account(sender, lane).nonce) return undefined;
        const entry = store.entryByNonce(sender, lane, nonce);
        return entry?.nonce === nonce ? entry : undefined;
      },
    };
  }

  /** Where an account stands, as far as it is durable (§11, `GET /v1/accounts`). */
  account(sender: Hex, lane: number): AccountState {
    const key = accountKey(sender, lane);
    let state = this.accounts.get(key);
    if (state === undefined) {
      const entry = this.deps.store.lastEntryOf(sender, lane);
      state =
        entry === undefined
          ? { nonce: 0n, previous: 0n }
          : { nonce: entry.nonce + BigInt(entry.count), previous: entry.sequence + 1n };
      this.accounts.set(key, state);
    }
    return state;
  }

  /** Wei that a sender owes on a lane by its durable entries, cumulative (§3): the highest postage of those that are not forced. */
  owed(sender: Hex, lane: number): bigint {
    const key = accountKey(sender, lane);
    const known = this.owedBy.get(key);
    if (known !== undefined) return known;
    const wei = this.deps.store.voucherOf(sender, lane)?.postage ?? 0n;
    // While nothing is asked, entries do not say what they add.
    if (this.deps.tariff !== undefined) this.owedBy.set(key, wei);
    return wei;
  }

  /** min(own clock, newest L1 block seen), unix seconds (§4): a clock that is wrong can only be too early. */
  private now(): bigint {
    const own = BigInt(Math.floor(this.deps.clock.now() / 1_000));
    const l1 = this.deps.view()?.latest.timestamp ?? 0n;
    return own < l1 ? own : l1;
  }
}
