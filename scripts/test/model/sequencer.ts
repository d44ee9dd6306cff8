import {
  type BatchHeader,
  batchHash,
  bundleHash,
  bundleStructHash,
  encodeBatchFile,
  frameBundle,
  fromHex,
  type Hex,
  join,
  type Receipt,
  toHex,
  ZERO_ADDRESS,
  ZERO_HASH,
} from '@sealpost/prover';
import { nativeHashing, nativePrimitives } from '@sealpost/sequencer/adapters/native';
import { submissionOfFrames } from '@sealpost/sequencer/admission';
import { RequestError } from '@sealpost/sequencer/errors';
import { settledBlock } from '@sealpost/sequencer/follower';
import { carriedTogether, commitOf, dueBundles, readForced } from '@sealpost/sequencer/inbox';
import { openingOf } from '@sealpost/sequencer/openings';
import type {
  Clock,
  CommitGroup,
  Demand,
  ForcedPlace,
  FullEntry,
  GroupRecord,
  L1View,
  LaneStanding,
  SealedBatch,
  SignedStatement,
  Store,
  Term,
} from '@sealpost/sequencer/ports';
import { type PromiseTerms, promiseDeadline, ReceiptBook } from '@sealpost/sequencer/receipts';
import { type BatchDigest, digestBatch, MAX_FORCED_PER_BATCH, planSeal } from '@sealpost/sequencer/sealer';
import { type Ledger, planGroups } from '@sealpost/sequencer/sequencer';
import { type Body, verifiedBody, verifyBundles } from '@sealpost/sequencer/verifier';
import { type ReadFile, rememberedRecover } from './archive.js';
import { type Chain, max, type Tip } from './chain.js';
import { LANES, type ModelOperator, PARAMETERS, type Person, registration, SEPARATOR } from './people.js';
import type { Forced, State, Transaction } from './settlement.js';
import type { World } from './world.js';

/** Where a process is killed while it takes bundles. A power failure takes what is not synced, too. */
export type Crash = 'never' | 'before signing' | 'before answering' | 'after answering' | 'power';

/** What becomes of a commit that is given to the L1. */
export type Posting = 'now' | 'lost' | 'late';

const MAX_L1_AGE_MS = 120_000;
const FILE_HEADER_BYTES = 23;

/** What a lane's log is on the disk of a sequencer that runs it for a term. */
interface LaneLog extends Term {
  /** By sequence; those are missing that an earlier operator withheld. */
  readonly entries: (FullEntry | undefined)[];
  readonly groups: GroupRecord[];
}

const NO_TERM: Term = { term: 0, firstSequence: 0n };

/** Who may act, as of a block. */
function standings({ number, state }: Tip): LaneStanding[] {
  return state.lanes.map(({ term, poster }, lane) => {
    const {
      operator = ZERO_ADDRESS,
      endBlock = 0n,
      beginBlock = 0n,
      firstSequence = 0n,
    } = state.terms.get(`${lane}/${term}`) ?? {};
    const kept = state.operators.get(`${lane}/${operator}`);
    const isOver = endBlock !== 0n && number >= endBlock;
    return {
      term,
      firstSequence,
      beginBlock,
      poster: isOver ? ZERO_ADDRESS : poster,
      receiptSigner: kept?.signer ?? ZERO_ADDRESS,
      exitRequestedAt: kept?.exitRequestedAt ?? 0n,
    };
  });
}

const headersOf = (state: State, lane: number) =>
  Array.from({ length: Number(state.lanes[lane]?.head.number ?? 0n) }, (_, at) => state.headers.get(`${lane}/${at + 1}`)).flatMap(
    (header) => header ?? [],
  );

/**
 * A sequencer that does what the protocol says, over a chain in memory: the real one's pure parts (order, receipts, inbox, sealing,
 * answers), driven step by step. What is on its disk survives a crash; the rest is made anew.
 */
export class SequencerModel {
  /** Blocks that its view is behind the newest. */
  lag = 0n;
  /** Milliseconds that its clock is wrong. */
  skewMs = 0;
  posting: Posting = 'now';
  maxEntries = 4;
  signer: number;
  tickedAt = 0n;
  protected readonly logs = new Map<number, LaneLog>();
  /** On disk, by the event that told of the bundle: a reorg that brings it back makes another. */
  private readonly places = new Map<Forced, bigint>();
  /** Places that a power failure takes. */
  private unsynced: Forced[] = [];
  protected view: (L1View & { readonly tip: Tip }) | undefined;
  protected book: ReceiptBook;
  private readonly clock: Clock;
  private readonly terms: PromiseTerms;

  constructor(
    readonly operator: ModelOperator,
    protected readonly world: World,
  ) {
    this.signer = 0;
    this.clock = { now: () => Number(world.seconds) * 1_000 + this.skewMs, monotonic: () => world.monotonicMs };
    this.terms = {
      view: () => this.view,
      clock: this.clock,
      maxIncludeDelay: PARAMETERS.maxIncludeDelay,
      maxL1AgeMs: MAX_L1_AGE_MS,
    };
    this.book = this.openBook();
  }

  protected get chain(): Chain {
    return this.world.chain;
  }

  protected get key(): Person {
    return this.operator.signers[this.signer] as Person;
  }

  /** The term that it runs a lane for; undefined while it does not. */
  termOf(lane: number): number | undefined {
    return this.logs.get(lane)?.term;
  }

  private beginningOf(lane: number): Term {
    return this.logs.get(lane) ?? NO_TERM;
  }

  /** The next nonce of an account, as `GET /v1/accounts` tells it. */
  nextNonce(sender: Hex, lane: number): bigint {
    return this.ledger().account(sender, lane).nonce;
  }

  /** All that a running process does by itself: follow, begin where it may, take what is due in the inbox, commit, answer. */
  tick(): void {
    this.tickedAt = this.chain.latest.number;
    this.follow();
    this.register();
    for (const lane of LANES) this.begin(lane);
    this.take([], 'never');
    for (const lane of LANES) this.commit(lane);
    this.answerDemands();
  }

  /** Takes a body of bundles; returns the receipts that it gives out. */
  submit(bundles: readonly Uint8Array[], crash: Crash): Receipt[] {
    this.follow();
    try {
      promiseDeadline(this.terms);
    } catch (error) {
      if (error instanceof RequestError) return [];
      throw error;
    }
    const { body } = submissionOfFrames(join(bundles.map(frameBundle)));
    if (body === undefined) return [];
    return this.take([body], crash);
  }

  /** The process is killed, and started again. */
  reload(isPowerFailure = false): void {
    this.view = undefined;
    this.book = this.openBook();
    if (isPowerFailure) for (const forced of this.unsynced) this.places.delete(forced);
    this.unsynced = [];
    this.follow();
  }

  /** Registers the next receipt signer, and signs with it from then on. */
  rotate(): void {
    if (this.signer + 1 >= this.operator.signers.length) return;
    this.signer++;
    this.reload();
    this.register();
  }

  // ---- Follower ----------------------------------------------------------------------------------------------------

  protected follow(): void {
    const { latest, finalized } = this.chain;
    const behind = latest.number - this.lag;
    const seen = this.view?.latest.number ?? behind;
    // Not further back than it has seen: its own blocks do not go away but by a reorg, which leaves more than there were.
    const number = max(behind, seen);
    const tip = this.chain.at(number);
    const hash: Hex = `0x${tip.number.toString(16)}${this.world.reorgs.toString(16).padStart(4, '0')}`;
    const moved = this.view?.latest.hash !== hash;
    const final = finalized < number ? finalized : tip.number;
    const lanes = tip.state.lanes.map(({ head: { number: committed, nextSequence } }) => {
      const rung = { number: committed, nextSequence };
      return { committed: rung, safe: rung, finalized: rung };
    });
    this.view = {
      tip,
      latest: { number, hash, parentHash: ZERO_HASH, timestamp: tip.timestamp },
      safe: final,
      finalized: final,
      movedAt: moved || this.view === undefined ? this.clock.monotonic() : this.view.movedAt,
      lanes,
      standings: standings(tip),
    };
  }

  // ---- Terms -------------------------------------------------------------------------------------------------------

  /** That the contract has the signer that this sequencer signs with: a reorg may have taken its registration away. */
  private register(): void {
    for (const lane of LANES) {
      const kept = this.chain.latest.state.operators.get(`${lane}/${this.operator.address}`);
      if (kept === undefined || kept.exitRequestedAt > 0n || kept.bond < PARAMETERS.minBond) continue;
      if (kept.signer !== this.key.address) this.chain.send(registration(this.operator, lane, this.signer, 0n));
    }
  }

  /** Begins to run a lane once the takeover is final and everything that is committed is known, or can be cited by nobody (§7). */
  private begin(lane: number): void {
    const view = this.view;
    const standing = view?.standings[lane];
    if (view === undefined || standing === undefined) return;
    const { state } = view.tip;
    const term = state.terms.get(`${lane}/${standing.term}`);
    const isMine = term?.operator === this.operator.address && standing.poster === this.operator.poster.address;
    if (!isMine || this.termOf(lane) === standing.term || term.beginBlock > settledBlock(view)) return;
    const entries: (FullEntry | undefined)[] = [];
    for (const header of headersOf(state, lane)) {
      const file = this.world.archive.read(header);
      if (file === undefined && !this.isLost(header)) return;
      for (let index = 0; index < header.count; index++) {
        entries.push(file === undefined ? undefined : logEntry(header, file, index));
      }
    }
    this.logs.set(lane, { term: standing.term, firstSequence: standing.firstSequence, entries, groups: [] });
  }

  /** Whether nobody can cite these positions any more, for good. Demands them if nobody did. */
  private isLost(header: BatchHeader): boolean {
    const { lane, term, firstSequence, count } = header;
    const settled = this.view === undefined ? 0n : settledBlock(this.view);
    let isLost = true;
    for (let index = 0; index < count; index++) {
      const demand = this.chain.latest.state.demands.get(`${lane}/${term}/${firstSequence + BigInt(index)}`);
      if (demand === undefined || !demand.committed) {
        this.chain.send({
          to: 'demandCommitted',
          args: [header, index],
          from: this.operator.address,
          value: this.world.answerFee,
        });
      }
      isLost &&= demand?.committed === true && !demand.answered && demand.deadline < settled;
    }
    return isLost;
  }

  // ---- Order and receipts ------------------------------------------------------------------------------------------

  /** One commit group a lane: the inbox's bundles that are due first, then the bodies. */
  private take(bodies: readonly Body[], crash: Crash): Receipt[] {
    const store = { forcedWaiting: this.forcedWaiting } as unknown as Store;
    const due = dueBundles(store, this.view, (lane) => this.beginningOf(lane));
    const forced = due
      .filter(({ lane }) => this.runs(lane))
      .map((bundle) => ({ ...readForced(bundle, nativeHashing), index: bundle.index, event: bundle }));
    const verified = bodies.map((body) => {
      const primitives = { ...nativePrimitives, recover: rememberedRecover };
      return verifiedBody(body, verifyBundles(body, { separator: SEPARATOR, laneCount: LANES.length }, primitives));
    });
    const plan = planGroups(verified, this.ledger(), this.now(), undefined, forced, (lane) => this.whyNot(lane));
    const groups = plan.groups.map((group): CommitGroup => {
      return { ...group, root: toHex(nativeHashing.entriesTree(group.entries).root) };
    });
    this.append(groups, this.book.toSave());
    for (const [at, { sequence }] of plan.forced.entries()) {
      const event = forced[at]?.event as Forced;
      this.places.set(event, sequence);
      this.unsynced.push(event);
    }
    if (crash === 'before signing' || crash === 'power') {
      this.reload(crash === 'power');
      return [];
    }
    const receipts = plan.decisions.flat().flatMap((decision): Receipt[] => {
      if ('error' in decision) return [];
      const { lane, sequence } = decision;
      try {
        return [this.book.receiptOf(this.logs.get(lane)?.entries[Number(sequence)] as FullEntry)];
      } catch (error) {
        if (error instanceof RequestError) return [];
        throw error;
      }
    });
    if (crash !== 'never') this.reload();
    return crash === 'before answering' ? [] : receipts;
  }

  /** Whether its term runs, as far as it knows; if it asked to leave it promises nothing, and still takes what is forced. */
  private runs(lane: number): boolean {
    const standing = this.view?.standings[lane];
    return standing !== undefined && standing.term === this.termOf(lane) && standing.poster !== ZERO_ADDRESS;
  }

  protected whyNot(lane: number): string | undefined {
    return this.termOf(lane) === undefined ? 'not ours' : this.book.whyNot(lane);
  }

  /** The one durable write of an append: groups, and the signatures of those before. */
  protected append(groups: readonly CommitGroup[], signed: readonly SignedStatement[]): void {
    for (const { lane, term, firstSequence, includeBy, signature } of signed) {
      const kept = this.logs.get(lane)?.groups ?? [];
      const at = kept.findIndex((group) => group.firstSequence === firstSequence);
      if (kept[at] !== undefined) kept[at] = { ...kept[at], signed: { term, includeBy, signature } };
    }
    this.book.saved(signed);
    for (const { lane, firstSequence, root, entries } of groups) {
      const log = this.logs.get(lane);
      log?.entries.push(...entries);
      log?.groups.push({ lane, firstSequence, count: entries.length, root });
    }
  }

  private openBook(): ReceiptBook {
    const store = {
      groupOf: (lane: number, sequence: bigint) =>
        this.logs
          .get(lane)
          ?.groups.find((one) => sequence >= one.firstSequence && sequence < one.firstSequence + BigInt(one.count)),
      entries: (lane: number, first: bigint, count: number) => this.entries(lane, first, count),
    };
    return new ReceiptBook({
      store: store as unknown as Store,
      signer: this.key,
      signed: { raise: () => {} },
      separator: SEPARATOR,
      terms: this.terms,
      termOf: (lane) => this.beginningOf(lane),
      hashing: nativeHashing,
    });
  }

  protected entries(lane: number, first: bigint, count: number): FullEntry[] {
    return (this.logs.get(lane)?.entries.slice(Number(first), Number(first) + count) ?? []) as FullEntry[];
  }

  protected ledger(): Ledger {
    const latestOf = (sender: Hex, lane: number, isIt: (entry: FullEntry) => boolean = () => true) =>
      this.logs.get(lane)?.entries.findLast((entry) => entry?.void === 0 && entry.sender === sender && isIt(entry));
    return {
      account: (sender, lane) => {
        const entry = latestOf(sender, lane);
        if (entry === undefined) return { nonce: 0n, previous: 0n };
        return { nonce: entry.nonce + BigInt(entry.count), previous: entry.sequence + 1n };
      },
      entryAt: (sender, lane, nonce) => latestOf(sender, lane, (entry) => entry.nonce === nonce),
      owed: () => 0n,
      tail: (lane) => {
        const entries = this.logs.get(lane)?.entries ?? [];
        const committed = this.chain.latest.state.lanes[lane]?.head.timestamp ?? 0n;
        return { nextSequence: BigInt(entries.length), acceptedAt: entries.at(-1)?.acceptedAt ?? committed };
      },
    };
  }

  /** min(own clock, newest L1 block), unix seconds (§4). */
  protected now(): bigint {
    const own = BigInt(Math.floor(this.clock.now() / 1_000));
    const l1 = this.view?.latest.timestamp ?? 0n;
    return own < l1 ? own : l1;
  }

  // ---- Inbox -------------------------------------------------------------------------------------------------------

  private readonly forcedWaiting = (lane: number, upToBlock: bigint, limit: number): Forced[] =>
    [...(this.view?.tip.state.inbox.values() ?? [])]
      .filter((forced) => forced.lane === lane && forced.blockNumber <= upToBlock && !this.places.has(forced))
      .sort((a, b) => Number(a.index - b.index))
      .slice(0, limit);

  /** Where the inbox's bundles stand that the L1 has now. */
  private readonly forcedIn = (lane: number, first: bigint, end: bigint): ForcedPlace[] =>
    [...this.chain.latest.state.inbox.values()]
      .flatMap((forced) => {
        const sequence = this.places.get(forced);
        const isIn = forced.lane === lane && sequence !== undefined && sequence >= first && sequence < end;
        return isIn ? [{ lane, index: forced.index, sequence }] : [];
      })
      .sort((a, b) => Number(a.index - b.index));

  // ---- Sealer and poster -------------------------------------------------------------------------------------------

  /** Seals what the contract does not have yet, anew each time, and commits it. */
  protected commit(lane: number): void {
    const { state, timestamp } = this.chain.latest;
    const log = this.logs.get(lane);
    const standing = standings({ ...this.chain.next(), state })[lane];
    if (log === undefined || standing?.term !== log.term || standing.poster !== this.operator.poster.address) return;
    this.unsynced = [];
    const sealed = this.seal(lane, log, state, timestamp);
    const store = {
      forcedIn: this.forcedIn,
      entries: (of: number, first: bigint, count: number) => this.entries(of, first, count),
      leavesOf: (_: number, batch: bigint) => sealed.leaves.get(batch) as Uint8Array,
      batch: (_: number, number: bigint) =>
        sealed.batches.find(({ header }) => header.number === number) ??
        ({ header: { inboxCount: state.lanes[lane]?.head.inboxCount } } as SealedBatch),
    };
    const carried = carriedTogether(sealed.batches, store);
    if (carried.length === 0) return;
    const { headers, forced } = commitOf(carried, store, nativeHashing);
    const transaction: Transaction = { to: 'commit', args: [headers, forced], from: this.operator.poster.address, value: 0n };
    const posting = this.posting;
    this.posting = 'now';
    if (posting === 'late') this.world.pool.push(transaction);
    else if (posting === 'now') this.chain.send(transaction);
  }

  private seal(lane: number, { term, entries }: LaneLog, { lanes, batchHashes }: State, blockTime: bigint) {
    const { head } = lanes[lane] as State['lanes'][number];
    const batches: SealedBatch[] = [];
    const leaves = new Map<bigint, Uint8Array>();
    let { number, nextSequence: firstSequence, inboxCount } = head;
    let parentHash = batchHashes.get(`${lane}/${number}`) ?? ZERO_HASH;
    for (;;) {
      const rest = entries.slice(Number(firstSequence)) as FullEntry[];
      const limits = { maxEntries: this.maxEntries, maxBytes: 1_000_000, maxAgeMs: 0 };
      const plan = planSeal({ bundleBytes: rest.map(({ bytes }) => bytes), oldestAgeMs: 0 }, limits);
      if (!('seal' in plan)) break;
      const chosen = rest.slice(0, plan.seal);
      const count = chosen.length;
      const forced = this.forcedIn(lane, firstSequence, firstSequence + BigInt(count));
      if (forced.length > MAX_FORCED_PER_BATCH) throw new Error('the model forces fewer');
      const digest = digestOf(lane, number + 1n, chosen);
      if (digest.timestamp > blockTime) break;
      number += 1n;
      inboxCount += BigInt(forced.length);
      const { bundlesRoot, dataHash, timestamp } = digest;
      const header = { lane, term, number, parentHash, firstSequence, count, bundlesRoot, inboxCount, timestamp, dataHash };
      parentHash = batchHash(header);
      batches.push({ header, batchHash: parentHash, bytes: digest.bytes, messages: digest.messages });
      leaves.set(number, digest.leaves);
      firstSequence += BigInt(count);
      this.publish(header, chosen);
    }
    return { batches, leaves };
  }

  protected publish(header: SealedBatch['header'], entries: readonly FullEntry[]): void {
    this.world.archive.publish(header, entries);
  }

  // ---- Responder ---------------------------------------------------------------------------------------------------

  /** Answers what is demanded of any term of its operator's, and of others' while it has the entry. */
  private answerDemands(): void {
    const view = this.view;
    if (view === undefined) return;
    const { state, number } = view.tip;
    for (const [key, { answered, deadline, blockNumber }] of state.demands) {
      if (answered || deadline < number) continue;
      const [lane, term, sequence] = key.split('/') as [string, string, string];
      const demand: Demand = { lane: Number(lane), term: Number(term), sequence: BigInt(sequence), deadline, blockNumber };
      const entry = this.open(demand, view);
      if (entry !== undefined) this.chain.send({ to: 'answer', args: [entry], from: this.key.address, value: 0n });
    }
  }

  protected open(demand: Demand, view: L1View & { readonly tip: Tip }): ReturnType<typeof openingOf> {
    const headers = headersOf(view.tip.state, demand.lane);
    const header = headers.find((one) => demand.sequence - one.firstSequence < BigInt(one.count));
    const file = header === undefined ? undefined : this.world.archive.read(header);
    if (header === undefined || file === undefined) return undefined;
    const index = Number(demand.sequence - header.firstSequence);
    const store = {
      batchOf: () => ({ header, batchHash: batchHash(header), bytes: 0, messages: 0 }),
      leavesOf: () => file.tree.nodes.subarray(0, 32 * file.tree.size),
      entry: () => file.entries[index] as FullEntry | undefined,
    };
    return openingOf(demand, { store, hashing: nativeHashing });
  }
}

const digests = new Map<string, BatchDigest>();

/** The digest of a batch, made once: each tick seals anew. */
function digestOf(lane: number, number: bigint, entries: readonly FullEntry[]): BatchDigest {
  const [{ sequence: firstSequence, acceptedAt }] = entries as [FullEntry];
  const key = [lane, number, firstSequence, acceptedAt, toHex(nativeHashing.entriesTree(entries).root)].join('/');
  let digest = digests.get(key);
  if (digest === undefined) {
    const file = { lane, number, firstSequence, entries };
    const bytes = encodeBatchFile(file).subarray(FILE_HEADER_BYTES);
    digest = digestBatch({ ...file, count: entries.length }, [{ entries, bytes }], nativeHashing);
    if (digests.size > 10_000) digests.clear();
    digests.set(key, digest);
  }
  return digest;
}

/** An entry of the log as a sequencer keeps it that takes the log over. */
function logEntry({ lane, firstSequence, timestamp }: BatchHeader, { entries, judged }: ReadFile, index: number): FullEntry {
  const { void: isVoid, previous, bundle } = entries[index] as ReadFile['entries'][number];
  const { bundle: fields } = judged[index] as ReadFile['judged'][number];
  const structHash = bundleStructHash(fields, nativeHashing.keccak256);
  const { sender, nonce, count, signature } = fields;
  const identity = bundleHash(sender, structHash, fromHex(signature), nativeHashing.sha256);
  const content = { lane, sender, nonce, count, structHash, bundleHash: identity, bytes: bundle.length, bundle };
  return { ...content, void: isVoid, previous, sequence: firstSequence + BigInt(index), acceptedAt: timestamp };
}
