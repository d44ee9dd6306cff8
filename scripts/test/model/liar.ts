import { type BatchHeader, buildReceipt, type Receipt, type ReceiptStatement, receiptDigest, toHex } from '@sealpost/prover';
import { nativeHashing } from '@sealpost/sequencer/adapters/native';
import type { CommitGroup, FullEntry } from '@sealpost/sequencer/ports';
import { max } from './chain.js';
import { FAR_AWAY, makeBundle, PARAMETERS, type Person, SEPARATOR, type SignedBundle, USERS } from './people.js';
import { SequencerModel } from './sequencer.js';

/** What a sequencer that is otherwise honest may do wrong once. */
export const LIES = [
  'equivocate',
  'reorder',
  'drop',
  'replace',
  'stall',
  'withhold',
  'skip a nonce',
  'replay',
  'forge',
  'mark a valid one void',
  'no previous',
  'an earlier previous',
  'a later previous',
  "another's previous",
  'a void previous',
] as const;
export type Lie = (typeof LIES)[number];

/** How it tries to get away. */
export const ESCAPES = ['none', 'rotate', 'exit', 'take over'] as const;
export type Escape = (typeof ESCAPES)[number];

const [ALICE, BOB] = USERS as readonly Person[] as readonly [Person, Person];

/** The honest sequencer, with one lie in it. */
export class LiarModel extends SequencerModel {
  /** Lanes. */
  private stalled: number | undefined;
  private withheld: number | undefined;
  private readonly hidden: (() => void)[] = [];

  /** Tells the lie on a lane that it runs. False where it cannot now: nothing has happened then but honest promises. */
  lie(lie: Lie, lane: number): boolean {
    const log = this.logs.get(lane);
    if (log === undefined || this.whyNot(lane) !== undefined) return false;
    const { entries } = log;
    switch (lie) {
      case 'equivocate': {
        const [receipt] = this.promise(lane, ALICE);
        if (receipt === undefined) return false;
        const other = makeBundle({ sender: ALICE, lane, nonce: 0n, count: 1, expiry: FAR_AWAY, text: 'another' });
        this.world.give([this.promiseElse(receipt, other)]);
        return true;
      }
      case 'reorder': {
        const at = this.promisePair(lane);
        if (at === undefined) return false;
        const [one, other] = entries.slice(at) as [FullEntry, FullEntry];
        entries.splice(at, 2, { ...other, sequence: one.sequence }, { ...one, sequence: other.sequence });
        return true;
      }
      case 'drop': {
        const at = this.promisePair(lane);
        if (at === undefined) return false;
        const other = entries[at + 1] as FullEntry;
        entries.splice(at, 2, { ...other, sequence: other.sequence - 1n });
        return true;
      }
      case 'replace': {
        const [receipt] = this.promise(lane, ALICE);
        if (receipt === undefined) return false;
        const entry = entries.pop() as FullEntry;
        this.insert(lane, this.next(lane, ALICE, 'replaced'), 0, entry.previous);
        return true;
      }
      case 'stall':
        if (this.promise(lane, ALICE).length === 0) return false;
        this.stalled = lane;
        return true;
      case 'withhold':
        if (this.promise(lane, ALICE).length === 0) return false;
        this.withheld = lane;
        return true;
      case 'skip a nonce': {
        const { nonce, previous } = this.ledger().account(ALICE.address, lane);
        this.insert(lane, makeBundle({ sender: ALICE, lane, nonce: nonce + 1n, count: 1, expiry: FAR_AWAY }), 0, previous);
        return true;
      }
      case 'replay': {
        const last = this.next(lane, ALICE);
        this.insert(lane, last, 0, this.ledger().account(ALICE.address, lane).previous);
        this.insert(lane, last, 0, this.ledger().account(ALICE.address, lane).previous);
        return true;
      }
      case 'forge': {
        const { nonce, previous } = this.ledger().account(ALICE.address, lane);
        this.insert(lane, makeBundle({ sender: ALICE, lane, nonce, count: 1, expiry: FAR_AWAY, fault: 'forged' }), 0, previous);
        return true;
      }
      case 'mark a valid one void':
        this.insert(lane, this.next(lane, ALICE), 1, this.ledger().account(ALICE.address, lane).previous);
        return true;
      case 'no previous':
        this.insertNext(lane, ALICE);
        this.insert(lane, this.next(lane, ALICE), 0, 0n);
        return true;
      case 'an earlier previous': {
        const earlier = this.insertNext(lane, ALICE);
        this.insertNext(lane, ALICE);
        this.insert(lane, this.next(lane, ALICE), 0, earlier + 1n);
        return true;
      }
      case 'a later previous':
        this.insert(lane, this.next(lane, ALICE), 0, BigInt(entries.length) + 1n);
        return true;
      case "another's previous":
        this.insertNext(lane, ALICE);
        this.insert(lane, this.next(lane, ALICE), 0, this.insertNext(lane, BOB) + 1n);
        return true;
      case 'a void previous': {
        const { nonce, previous } = this.ledger().account(ALICE.address, lane);
        const gap = makeBundle({ sender: ALICE, lane, nonce: nonce + 1n, count: 1, expiry: FAR_AWAY });
        const isVoid = this.insert(lane, gap, 1, previous);
        this.insert(lane, this.next(lane, ALICE), 0, isVoid + 1n);
        return true;
      }
    }
  }

  protected override commit(lane: number): void {
    if (lane !== this.stalled) super.commit(lane);
  }

  protected override publish(header: BatchHeader, entries: readonly FullEntry[]): void {
    if (header.lane !== this.withheld) super.publish(header, entries);
    else this.hidden.push(() => super.publish(header, entries));
  }

  private next(lane: number, sender: Person, text?: string): SignedBundle {
    const { nonce } = this.ledger().account(sender.address, lane);
    return makeBundle({ sender, lane, nonce, count: 1, expiry: FAR_AWAY, ...(text === undefined ? {} : { text }) });
  }

  /** Honest promises, in one group. */
  private promise(lane: number, ...senders: readonly Person[]): Receipt[] {
    const bundles = senders.map((sender) => this.next(lane, sender).bytes);
    const receipts = this.submit(bundles, 'never');
    this.world.give(receipts);
    return receipts;
  }

  /** Where two entries stand that were promised to two users, the last ones of the log. */
  private promisePair(lane: number): number | undefined {
    const receipts = this.promise(lane, ALICE, BOB);
    return receipts.length === 2 ? Number(receipts[0]?.sequence) : undefined;
  }

  /** Another bundle at the sequence that a receipt is about. */
  private promiseElse(receipt: Receipt, { bundleHash }: SignedBundle): Receipt {
    const { lane, term, sequence: firstSequence, previous, includeBy } = receipt;
    const entry = { void: 0 as const, previous, bundleHash };
    const tree = nativeHashing.entriesTree([entry]);
    const statement: ReceiptStatement = { lane, term, firstSequence, count: 1, root: toHex(tree.root), includeBy };
    const signature = this.key.sign(receiptDigest(SEPARATOR, statement));
    return buildReceipt(statement, signature, tree, 0, { ...entry, bundleHash: toHex(bundleHash) });
  }

  private insertNext(lane: number, sender: Person): bigint {
    return this.insert(lane, this.next(lane, sender), 0, this.ledger().account(sender.address, lane).previous);
  }

  /** Puts an entry into the log with whatever claims. Returns its sequence. */
  private insert(lane: number, bundle: SignedBundle, isVoid: 0 | 1, previous: bigint): bigint {
    const { nextSequence: sequence, acceptedAt } = this.ledger().tail(lane);
    const { fields, structHash, bundleHash, bytes } = bundle;
    const { sender, nonce, count } = fields;
    const now = this.now();
    const entry: FullEntry = {
      ...{ lane, sequence, sender, nonce, count, structHash, bundleHash, bytes: bytes.length, bundle: bytes },
      ...{ void: isVoid, previous, acceptedAt: max(acceptedAt, now) },
    };
    const root = toHex(nativeHashing.entriesTree([entry]).root);
    const group: CommitGroup = { lane, firstSequence: sequence, root, entries: [entry] };
    this.append([group], []);
    return sequence;
  }

  /** Publishes what it withheld, now that others have built on the log without it. */
  reveal(): void {
    for (const publish of this.hidden.splice(0)) publish();
  }

  /** Gets away, as far as that goes. */
  escape(how: Escape, lane: number): void {
    if (how === 'rotate') this.rotate();
    else if (how !== 'none') this.chain.send({ to: 'requestExit', args: [lane], from: this.operator.address, value: 0n });
    // Its other self waits for the end of the term.
    if (how === 'take over') this.world.mine(PARAMETERS.maxIncludeDelay);
  }
}
