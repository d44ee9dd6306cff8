import { type Block, type Deployed, type ErrorName, execute, type State, type Transaction } from './settlement.js';

export const BLOCK_SECONDS = 12n;
/** Blocks behind the newest that are final, while the L1 finalizes. */
const FINAL_DEPTH = 20n;

/** A block, and the contract's state after it. */
export interface Tip extends Block {
  readonly state: State;
}

/** What happened to the chain: enough to do the same to another one. */
export type Operation =
  | {
      readonly kind: 'transaction';
      readonly transaction: Transaction;
      readonly block: Block;
      readonly error: ErrorName | undefined;
    }
  | { readonly kind: 'mine'; readonly blocks: bigint; readonly first: Block }
  /** Blocks above this one are gone. */
  | { readonly kind: 'reorg'; readonly to: bigint };

interface Segment extends Tip {
  readonly transaction?: Transaction;
}

/** An L1 in memory: each transaction has a block of its own, blocks between them are empty, and any number can be taken back. */
export class Chain {
  readonly operations: Operation[] = [];
  finalizes = true;
  /** Seconds that the next block comes late. */
  haltSeconds = 0n;
  private readonly segments: Segment[];
  private height: bigint;
  private final: bigint;

  constructor(
    first: Tip,
    readonly deployed: Deployed,
  ) {
    this.segments = [first];
    this.height = first.number;
    this.final = first.number;
  }

  get latest(): Tip {
    return this.at(this.height);
  }

  get finalized(): bigint {
    return this.final;
  }

  /** A block of the chain. */
  at(number: bigint): Tip {
    const { timestamp, state, number: first } = this.segments.findLast((one) => one.number <= number) as Segment;
    return { number, timestamp: timestamp + BLOCK_SECONDS * (number - first), state };
  }

  /** The block that comes next. */
  next(): Block {
    const { number, timestamp } = this.latest;
    return { number: number + 1n, timestamp: timestamp + BLOCK_SECONDS + this.haltSeconds };
  }

  mine(blocks: bigint): void {
    const first = this.next();
    const { state } = this.latest;
    if (this.haltSeconds > 0n) this.segments.push({ ...first, state });
    this.advance(blocks);
    this.operations.push({ kind: 'mine', blocks, first });
  }

  /** Mines the transaction. Returns the custom error that it reverts with, if it does. */
  send(transaction: Transaction): ErrorName | undefined {
    const block = this.next();
    const { state: before } = this.latest;
    const result = execute(before, block, transaction, this.deployed);
    const error = typeof result === 'string' ? result : undefined;
    this.segments.push({ ...block, state: typeof result === 'string' ? before : result, transaction });
    this.advance(1n);
    this.operations.push({ kind: 'transaction', transaction, block, error });
    return error;
  }

  /** What the transaction would do in the next block. */
  try(transaction: Transaction): ErrorName | undefined {
    const result = execute(this.latest.state, this.next(), transaction, this.deployed);
    return typeof result === 'string' ? result : undefined;
  }

  /**
   * Takes back up to `depth` blocks that are not final, and mines at least one more than were taken back. `comesBack`: whether a
   * transaction out of them is mined again. The newest block's time does not go back, as slots follow the clock; of those before it,
   * it does.
   */
  reorg(depth: bigint, comesBack: (index: number) => boolean): void {
    const { number: old, timestamp } = this.latest;
    const to = max(old - depth, this.final);
    if (to === old) return;
    const dropped: Transaction[] = [];
    while ((this.segments.at(-1) as Segment).number > to) {
      const { transaction } = this.segments.pop() as Segment;
      if (transaction !== undefined) dropped.unshift(transaction);
    }
    this.height = to;
    this.operations.push({ kind: 'reorg', to });
    for (const [index, transaction] of dropped.entries()) if (comesBack(index)) this.send(transaction);
    if (this.height < old) this.mine(old - this.height);
    const late = timestamp - this.latest.timestamp;
    if (late > 0n) this.haltSeconds += late;
    this.mine(1n);
  }

  private advance(blocks: bigint): void {
    this.height += blocks;
    this.haltSeconds = 0n;
    const final = this.height - FINAL_DEPTH;
    if (this.finalizes && final > this.final) this.final = final;
  }
}

export const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
