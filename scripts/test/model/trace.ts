import { frameBundle, type Hex, type Opening, type SignedReceipt, toHex } from '@sealpost/prover';
import fc from 'fast-check';
import {
  FAR_AWAY,
  LANES,
  makeBundle,
  OPERATORS,
  PARAMETERS,
  REPORTER,
  registration,
  type SignedBundle,
  USERS,
} from './people.js';
import { headersOf } from './reporter.js';
import type { Crash, Posting, SequencerModel } from './sequencer.js';
import type { Call } from './settlement.js';
import type { World } from './world.js';

const SENDS = ['next', 'gap', 'past', 'again', 'resigned', 'changed', 'expired', 'brief', 'forged', 'foreign lane'] as const;
const CRASHES: readonly Crash[] = ['never', 'before signing', 'before answering', 'after answering', 'power'];
const POSTINGS: readonly Posting[] = ['now', 'lost', 'late'];
const MANGLES = [
  'none',
  'path',
  'sequence',
  'leaf',
  'term',
  'lane',
  'signature',
  'include by',
  'count',
  'void',
  'previous',
  'two others',
] as const;
const PROOFS = ['equivocation', 'replacement', 'false entry', 'false entry alone', 'broken', 'unanswered', 'answer'] as const;

interface Send {
  readonly user: number;
  readonly lane: number;
  readonly kind: (typeof SENDS)[number];
  readonly count: number;
}

/** One thing that happens. Numbers are taken modulo what there is to choose from. */
export type Step =
  | { readonly do: 'nothing' }
  | { readonly do: 'send'; readonly body: readonly Send[]; readonly crash: Crash }
  | { readonly do: 'force'; readonly send: Send }
  | { readonly do: 'mine'; readonly blocks: number }
  | { readonly do: 'tick' | 'crash' | 'rotate' | 'finality'; readonly operator: number }
  | { readonly do: 'halt'; readonly seconds: number }
  | { readonly do: 'clock'; readonly operator: number; readonly seconds: number }
  | { readonly do: 'lag'; readonly operator: number; readonly blocks: number }
  | { readonly do: 'posting'; readonly operator: number; readonly posting: Posting }
  | { readonly do: 'reorg'; readonly depth: number; readonly lost: number }
  | { readonly do: 'exit' | 'take over' | 'come back' | 'hand over'; readonly lane: number; readonly operator: number }
  | { readonly do: 'demand'; readonly what: 'committed' | 'promised'; readonly which: number }
  | {
      readonly do: 'accuse';
      readonly proof: (typeof PROOFS)[number];
      readonly one: number;
      readonly other: number;
      readonly mangle: (typeof MANGLES)[number];
    };

const operator = fc.nat(OPERATORS.length - 1);
const lane = fc.nat(LANES.length - 1);
const any = fc.nat(1_000);
const send = fc.record<Send>({
  user: fc.nat(USERS.length - 1),
  lane,
  kind: fc.oneof({ weight: 3, arbitrary: fc.constant('next' as const) }, { weight: 2, arbitrary: fc.constantFrom(...SENDS) }),
  count: fc.integer({ min: 1, max: 3 }),
});
const crash = fc.oneof(
  { weight: 4, arbitrary: fc.constant('never' as const) },
  { weight: 1, arbitrary: fc.constantFrom(...CRASHES) },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  // What any other step shrinks to.
  { withCrossShrink: true },
  { weight: 1, arbitrary: fc.constant({ do: 'nothing' as const }) },
  {
    weight: 14,
    arbitrary: fc.record({ do: fc.constant('send' as const), body: fc.array(send, { minLength: 1, maxLength: 3 }), crash }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('force' as const), send }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('mine' as const),
      blocks: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 800 })),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('tick' as const), operator }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('crash' as const, 'rotate' as const, 'finality' as const), operator }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('halt' as const), seconds: fc.integer({ min: 1, max: 10_000 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('clock' as const), operator, seconds: fc.integer({ min: -5_000, max: 5_000 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('lag' as const), operator, blocks: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('posting' as const), operator, posting: fc.constantFrom(...POSTINGS) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('reorg' as const),
      depth: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 20, max: 140 })),
      lost: fc.nat(7),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom('exit' as const, 'take over' as const, 'come back' as const, 'hand over' as const),
      lane,
      operator,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('demand' as const),
      what: fc.constantFrom('committed' as const, 'promised' as const),
      which: any,
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('accuse' as const),
      proof: fc.constantFrom(...PROOFS),
      one: any,
      other: any,
      mangle: fc.constantFrom(...MANGLES),
    }),
  },
);

export const STEPS = 50;
export const steps: fc.Arbitrary<readonly Step[]> = fc.array(step, { minLength: STEPS, maxLength: STEPS });

const at = <T>(list: readonly T[], index: number): T | undefined => list[index % list.length];

/** Reorgs of a trace, and of them deep ones: together with the outages they must fit into answerDelay. */
const MAX_REORGS = 5;
const MAX_SHALLOW_DEPTH = 20;

/** Does one step after the other, and calls `after` behind each. */
export class Trace {
  private reorgs = 0;
  private deepReorgs = 0;
  /** The last bundle that somebody sent on a lane. */
  private readonly sent = new Map<string, SignedBundle>();

  constructor(readonly world: World) {}

  do(step: Step): void {
    const { world } = this;
    const { chain } = world;
    const sequencer = 'operator' in step ? (world.sequencers[step.operator] as SequencerModel) : undefined;
    switch (step.do) {
      case 'nothing':
        break;
      case 'send':
        this.send(step.body, step.crash);
        break;
      case 'force':
        this.force(step.send);
        break;
      case 'mine':
        world.mine(BigInt(step.blocks));
        break;
      case 'tick':
        sequencer?.tick();
        break;
      case 'crash':
        sequencer?.reload();
        break;
      case 'rotate':
        sequencer?.rotate();
        break;
      case 'finality':
        chain.finalizes = !chain.finalizes;
        break;
      case 'halt':
        chain.haltSeconds += BigInt(step.seconds);
        break;
      case 'clock':
        if (sequencer) sequencer.skewMs = 1_000 * step.seconds;
        break;
      case 'lag':
        if (sequencer) sequencer.lag = BigInt(step.blocks);
        break;
      case 'posting':
        if (sequencer) sequencer.posting = step.posting;
        break;
      case 'reorg':
        this.reorg(step.depth, step.lost);
        break;
      case 'exit':
      case 'take over':
      case 'come back':
      case 'hand over':
        this.change(step.do, step.lane, sequencer as SequencerModel);
        break;
      case 'demand':
        this.demand(step.what, step.which);
        break;
      case 'accuse': {
        const call = this.accusation(step);
        if (call !== undefined) chain.send({ ...call, from: REPORTER.address, value: 0n });
      }
    }
  }

  // ---- Users -------------------------------------------------------------------------------------------------------

  private send(body: readonly Send[], crash: Crash): void {
    const sequencer = this.world.running(body[0]?.lane ?? 0);
    if (sequencer === undefined) return;
    const bundles = body.flatMap((one) => this.bundle(one, sequencer) ?? []);
    if (bundles.length === 0) return;
    this.world.give(
      sequencer.submit(
        bundles.map(({ bytes }) => bytes),
        crash,
      ),
    );
  }

  private force(one: Send): void {
    const { chain } = this.world;
    const bundle = this.bundle(one, this.world.running(one.lane));
    const { inboxLength, head } = chain.latest.state.lanes[one.lane] as World['chain']['latest']['state']['lanes'][number];
    // More than a commit takes would be another trace.
    if (bundle === undefined || inboxLength - head.inboxCount > 20n) return;
    const fee = 60_000n * chain.deployed.baseFee + PARAMETERS.inboxFee * 2n;
    const framed = toHex(frameBundle(bundle.bytes));
    chain.send({ to: 'forceInclude', args: [framed], from: REPORTER.address, value: fee });
  }

  private bundle({ user, lane, kind, count }: Send, sequencer: SequencerModel | undefined): SignedBundle | undefined {
    const sender = USERS[user] as (typeof USERS)[number];
    const next = sequencer?.nextNonce(sender.address, lane) ?? 0n;
    const now = this.world.chain.latest.timestamp;
    const options = { sender, lane, nonce: next, count, expiry: FAR_AWAY };
    const last = this.sent.get(`${user}/${lane}`);
    const nonce = last?.fields.nonce ?? 0n;
    switch (kind) {
      case 'next':
        this.sent.set(`${user}/${lane}`, makeBundle(options));
        return this.sent.get(`${user}/${lane}`);
      case 'gap':
        return makeBundle({ ...options, nonce: next + 1n });
      case 'past':
        return makeBundle({ ...options, nonce: 0n, text: 'past' });
      case 'again':
        return last;
      case 'resigned':
        return last && makeBundle({ ...options, nonce, count: last.fields.count, fault: 'resigned' });
      case 'changed':
        return makeBundle({ ...options, nonce, text: 'changed' });
      case 'expired':
        return makeBundle({ ...options, expiry: now - 1n });
      case 'brief':
        return makeBundle({ ...options, expiry: now + 70n });
      case 'forged':
      case 'foreign lane':
        return makeBundle({ ...options, fault: kind });
    }
  }

  // ---- The L1 ------------------------------------------------------------------------------------------------------

  private reorg(depth: number, lost: number): void {
    const isDeep = depth > MAX_SHALLOW_DEPTH;
    if (this.reorgs >= MAX_REORGS || (isDeep && this.deepReorgs > 0)) return;
    const { latest } = this.world.chain;
    // Nobody signs in a term before its beginning is 128 deep: a deeper reorg than that may take back all but it.
    const deepest = Math.min(depth, 128);
    this.reorgs++;
    if (isDeep) this.deepReorgs++;
    const begins = [...latest.state.terms.values()].some(({ beginBlock }) => beginBlock > latest.number - BigInt(depth));
    this.world.reorg(BigInt(begins ? deepest : depth), (index) => (index & 7) !== lost);
  }

  // ---- Operators ---------------------------------------------------------------------------------------------------

  private change(
    what: 'exit' | 'take over' | 'come back' | 'hand over',
    lane: number,
    { operator, signer }: SequencerModel,
  ): void {
    const { chain } = this.world;
    const from = operator.address;
    if (what === 'hand over') {
      // All of it: who runs the lane leaves, and this one is there when the term is over.
      const leaving = this.world.running(lane)?.operator;
      if (leaving === undefined || leaving === operator) return;
      chain.send({ to: 'requestExit', args: [lane], from: leaving.address, value: 0n });
      this.world.mine(PARAMETERS.maxIncludeDelay);
      chain.send({ to: 'takeOver', args: [lane], from, value: 0n });
    } else if (what === 'exit') chain.send({ to: 'requestExit', args: [lane], from, value: 0n });
    else if (what === 'take over') chain.send({ to: 'takeOver', args: [lane], from, value: 0n });
    else {
      const refused = chain.send({ to: 'withdrawBond', args: [lane], from, value: 0n });
      if (refused === undefined) chain.send(registration(operator, lane, signer, PARAMETERS.minBond));
    }
  }

  // ---- Reporters ---------------------------------------------------------------------------------------------------

  private get headers() {
    return LANES.flatMap((lane) => headersOf(this.world.chain.latest.state, lane));
  }

  private demand(what: 'committed' | 'promised', which: number): void {
    const { chain, receipts, answerFee } = this.world;
    const header = at(this.headers, which);
    const promised = at(receipts, which);
    const paid = { from: REPORTER.address, value: answerFee };
    if (what === 'committed' && header !== undefined) {
      chain.send({ to: 'demandCommitted', args: [header, which % header.count], ...paid });
    } else if (what === 'promised' && promised !== undefined) {
      chain.send({ to: 'demandPromised', args: [promised.receipt.sequence, promised.signed], ...paid });
    }
  }

  /** Any two things as evidence, true ones or with something wrong about them. */
  private accusation({ proof, one, other, mangle }: Extract<Step, { do: 'accuse' }>): Call | undefined {
    const { receipts, archive, chain } = this.world;
    const promised = at(receipts, one);
    const against = at(receipts, other);
    const openings = this.headers.flatMap((header) => archive.openings(header));
    const entry = at(openings, one);
    const beside = at(openings, other);
    const demand = at([...chain.latest.state.demands.keys()], one)
      ?.split('/')
      .map(Number);
    const sequence = (promised?.receipt.sequence ?? 0n) + (mangle === 'sequence' ? 1n : 0n);
    switch (proof) {
      case 'equivocation':
        if (promised === undefined || against === undefined) return undefined;
        return { to: 'proveEquivocation', args: [sequence, promised.signed, mangleReceipt(against.signed, mangle)] };
      case 'replacement': {
        if (promised === undefined || beside === undefined) return undefined;
        const signed = mangleReceipt(promised.signed, mangle);
        const header = mangle === 'two others' ? { ...beside.header, number: beside.header.number + 1n } : beside.header;
        return { to: 'proveReplacement', args: [sequence, signed, header, OTHER_LEAF, beside.path] };
      }
      case 'false entry':
        if (entry === undefined || beside === undefined) return undefined;
        return {
          to: 'proveFalseEntry',
          args: [mangleOpening(entry, mangle), mangle === 'two others' ? [beside, beside] : [beside]],
        };
      case 'false entry alone':
        return entry && { to: 'proveFalseEntry', args: [mangleOpening(entry, mangle), []] };
      case 'broken':
        return promised && { to: 'proveBroken', args: [sequence, mangleReceipt(promised.signed, mangle)] };
      case 'unanswered': {
        const [lane = 0, term = 1, of = 0] = demand ?? [];
        return { to: 'proveUnanswered', args: [lane, term, BigInt(of)] };
      }
      case 'answer':
        return entry && { to: 'answer', args: [mangleOpening(entry, mangle)] };
    }
  }
}

const OTHER_LEAF: Hex = `0x${'5a'.repeat(32)}`;

function mangleReceipt(signed: SignedReceipt, mangle: (typeof MANGLES)[number]): SignedReceipt {
  const { receipt, signature, path } = signed;
  switch (mangle) {
    case 'path':
      return { ...signed, path: [...path, OTHER_LEAF] };
    case 'leaf':
      return { ...signed, entryHash: OTHER_LEAF };
    case 'term':
      return { ...signed, receipt: { ...receipt, term: receipt.term + 1 } };
    case 'lane':
      return { ...signed, receipt: { ...receipt, lane: 1 - receipt.lane } };
    case 'include by':
      return { ...signed, receipt: { ...receipt, includeBy: 0n } };
    case 'count':
      return { ...signed, receipt: { ...receipt, count: receipt.count + 1 } };
    case 'signature':
      return { ...signed, signature: `${signature.slice(0, -2)}${signature.endsWith('1b') ? '1c' : '1b'}` as Hex };
    default:
      return signed;
  }
}

function mangleOpening(entry: Opening, mangle: (typeof MANGLES)[number]): Opening {
  switch (mangle) {
    case 'path':
      return { ...entry, path: entry.path.slice(1) };
    case 'sequence':
      return { ...entry, index: entry.index + 1 };
    case 'leaf':
      return { ...entry, bundle: { ...entry.bundle, messagesRoot: OTHER_LEAF } };
    case 'term':
      return { ...entry, header: { ...entry.header, term: entry.header.term + 1 } };
    case 'lane':
      return { ...entry, bundle: { ...entry.bundle, lane: 1 - entry.bundle.lane } };
    case 'signature':
      return { ...entry, bundle: { ...entry.bundle, signature: OTHER_LEAF } };
    case 'void':
      return { ...entry, void: entry.void + 1 };
    case 'previous':
      return { ...entry, previous: entry.previous + 1n };
    case 'count':
      return { ...entry, header: { ...entry.header, count: entry.header.count + 1 } };
    default:
      return entry;
  }
}
