import type {
  BatchHeader,
  BundleFields,
  BundleView,
  Hex,
  Keccak256,
  MerkleTree,
  ReceiptStatement,
  Sha256,
} from '@sealpost/prover';

/** Time as this machine tells it. */
export interface Clock {
  /** Unix milliseconds; may jump either way. */
  now(): number;
  /** Milliseconds that only grow; the zero is arbitrary. */
  monotonic(): number;
}

/** Signs receipts. The key never leaves the adapter. */
export interface Signer {
  readonly address: Hex;
  /** 65 bytes r ‖ s ‖ v, low s, over a digest of 32 bytes. MUST be deterministic (RFC 6979). */
  sign(digest: Uint8Array): Hex;
}

/** The hashes and trees of PROTOCOL.md §3 and §4, as fast as the platform makes them. */
export interface Hashing {
  readonly sha256: Sha256;
  readonly keccak256: Keccak256;
  /** Over a bundle's messages. */
  messagesTree(view: BundleView): MerkleTree;
  /** Over entryHashes, in sequence order: the same in receipts and batches. At least one entry. */
  entriesTree(entries: readonly EntryClaims[]): MerkleTree;
  /** Over entryHashes that are there already, 32 bytes each. */
  leavesTree(leaves: Uint8Array): MerkleTree;
}

/** What an entryHash is made of (§3). */
export type EntryClaims = Pick<Entry, 'void' | 'previous' | 'bundleHash'>;

/** One structured line per event: `log('batch.sealed', {number, count})`. MUST NOT be given payloads or keys. */
export interface Log {
  info(event: string, facts?: Record<string, unknown>): void;
  warn(event: string, facts?: Record<string, unknown>): void;
  error(event: string, facts?: Record<string, unknown>): void;
}

// ---- Store ----------------------------------------------------------------------------------------------------------

/** What a database belongs to, for good. Compared with configuration and contract at every start. */
export interface Genesis {
  readonly chainId: bigint;
  readonly settlement: Hex;
  readonly laneCount: number;
  readonly signer: Hex;
}

/** An entry without its bundle's bytes. */
export interface Entry {
  readonly lane: number;
  readonly sequence: bigint;
  readonly void: 0 | 1;
  readonly previous: bigint;
  /** Unix seconds (PROTOCOL.md §4). */
  readonly acceptedAt: bigint;
  readonly sender: Hex;
  readonly nonce: bigint;
  readonly count: number;
  readonly structHash: Uint8Array;
  readonly bundleHash: Uint8Array;
  /** Length of the encoded bundle. */
  readonly bytes: number;
}

/** An entry with its encoded bundle. */
export interface FullEntry extends Entry {
  readonly bundle: Uint8Array;
}

/** Entries that follow each other on a lane, together as a batch file has them. */
export interface EntryPage {
  readonly entries: readonly FullEntry[];
  /** `void(1) ‖ previous(8) ‖ framed bundle` of each entry (PROTOCOL.md §5); the bundles above are views into it. */
  readonly bytes: Uint8Array;
}

/** Entries of one lane that become durable together and are promised by one receipt statement (§7). */
export interface CommitGroup {
  readonly lane: number;
  readonly firstSequence: bigint;
  /** Merkle root over the entryHashes. */
  readonly root: Hex;
  /** At least one; all were accepted at the same time. */
  readonly entries: readonly FullEntry[];
}

/** A commit group as stored; its signature is absent if it was lost in a crash before it was written down, or never made. */
export interface GroupRecord {
  readonly lane: number;
  readonly firstSequence: bigint;
  readonly count: number;
  readonly root: Hex;
  readonly signed?: { readonly term: number; readonly includeBy: bigint; readonly signature: Hex } | undefined;
}

/** A term of a lane (§7). Before it is final a reorg may let the same number begin elsewhere. */
export interface Term {
  readonly term: number;
  /** The committed head where it began. */
  readonly firstSequence: bigint;
}

/** A receipt statement with its signature, to be written down with the next group. */
export interface SignedStatement extends ReceiptStatement {
  readonly signature: Hex;
}

/** A message's place: position of its entry, then its index in the bundle. Orders a topic (§12). */
export interface Place {
  readonly sequence: bigint;
  readonly index: number;
}

/** A sealed batch: its header, and what the API tells about it. */
export interface SealedBatch {
  readonly header: BatchHeader;
  readonly batchHash: Hex;
  /** Length of the batch file. */
  readonly bytes: number;
  /** Messages in entries that are not void. */
  readonly messages: number;
}

/** Where the L1 has a batch. */
export interface Commitment {
  readonly lane: number;
  readonly number: bigint;
  readonly batchHash: Hex;
  readonly transactionHash: Hex;
  readonly blockNumber: bigint;
  readonly blockHash: Hex;
}

/** A bundle in the contract's inbox (§8), as the L1 has it. */
export interface ForcedBundle {
  readonly lane: number;
  /** Its place in the lane's inbox, from 0. */
  readonly index: bigint;
  readonly bundleHash: Hex;
  /** The last L1 block that may commit without it. */
  readonly deadline: bigint;
  /** As encoded in §3, without its frame; the contract has checked all of it but the nonce. */
  readonly bundle: Uint8Array;
  readonly blockNumber: bigint;
}

/** The inbox's bundle `index` stands at `sequence` of the log. */
export interface ForcedPlace {
  readonly lane: number;
  readonly index: bigint;
  readonly sequence: bigint;
}

/** Whose postage: a sender on a lane. */
export interface PostageKey {
  readonly lane: number;
  readonly sender: Hex;
}

/** The entry by which a sender owes the most on a lane. */
export interface Voucher extends PostageKey {
  /** Wei, cumulative (PROTOCOL.md §3). */
  readonly postage: bigint;
  readonly sequence: bigint;
}

/** Somebody paid for an entry to be opened in the contract: once for a position, or once more after that demand is over (§7). */
export interface Demand {
  readonly lane: number;
  readonly term: number;
  readonly sequence: bigint;
  /** The last L1 block of the answer. */
  readonly deadline: bigint;
  readonly blockNumber: bigint;
}

/** A demand was answered. */
export type Answered = Omit<Demand, 'deadline'>;

/** A commit transaction that was, or is about to be, given to the L1. */
export interface SendRecord {
  readonly transactionHash: Hex;
  readonly nonce: number;
  readonly lane: number;
  readonly firstNumber: bigint;
  readonly lastNumber: bigint;
  readonly maxFeePerGas: bigint;
  readonly maxPriorityFeePerGas: bigint;
  /** The signed transaction, so that it can be given again unchanged. */
  readonly raw: Hex;
  /** Unix milliseconds. */
  readonly sentAt: number;
}

/**
 * The durable log. One process, one writer: a second `open` of the same database MUST fail.
 *
 * Every method that returns a promise writes; it resolves only when what it wrote is on disk (fsync), and either all of it is
 * there or nothing; but signatures that are written down with groups a power failure may take: they are made anew. Writes take
 * effect in the order of the calls. Reads see every write that has resolved.
 * A write that rejects with code `store.full` has certainly left nothing behind; any other rejection leaves the state
 * unknown, and the process MUST end and load again.
 */
export interface Store {
  readonly genesis: Genesis;

  // Written at the start only, before the store is opened: `StoreOptions.begin`.

  /** The term in which the entries of a lane that are not committed were accepted; undefined if none of ours ever began there. */
  termOf(lane: number): Term | undefined;

  // Written by the sequencer only.

  /**
   * Adds groups, at most one a lane, whose entries follow on their lanes' last ones, and writes down signatures of groups added
   * before, and which of the entries are out of the inbox. Resolves to the topic keys of the messages added, for whoever waits
   * for them. A power failure may take the places in the inbox, never the entries: those bundles are entered again, as void.
   */
  appendGroups(
    groups: readonly CommitGroup[],
    signed: readonly SignedStatement[],
    forced?: readonly ForcedPlace[],
  ): Promise<Float64Array>;
  /** Bundles of the inbox that have no place in the log yet, of blocks up to this one, in order. */
  forcedWaiting(lane: number, upToBlock: bigint, limit: number): ForcedBundle[];
  /** The entries from `firstSequence` on, below `endSequence`, that are out of the inbox, in order. */
  forcedIn(lane: number, firstSequence: bigint, endSequence: bigint): ForcedPlace[];
  /** The next sequence of a lane, and the acceptance time of its last entry (0 if there is none). */
  tail(lane: number): { nextSequence: bigint; acceptedAt: bigint };
  /** The latest entry of an account that is not void. */
  lastEntryOf(sender: Hex, lane: number): Entry | undefined;
  /** The entry that is not void and whose bundle holds the message with this nonce. */
  entryByNonce(sender: Hex, lane: number, nonce: bigint): Entry | undefined;
  /** Of an account's entries that are neither void nor out of the inbox, the one with the highest postage; undefined if that is 0. */
  voucherOf(sender: Hex, lane: number): Voucher | undefined;
  /** Vouchers of all accounts, in an order of their own, behind that of `after`. */
  vouchers(after: PostageKey | undefined, limit: number): Voucher[];
  entry(lane: number, sequence: bigint): FullEntry | undefined;
  /** Entries from `firstSequence` on, in order: at least one if there is any, at most `maxCount`. */
  entries(lane: number, firstSequence: bigint, maxCount: number): Entry[];
  /** `count` entries with their bundles, in order, a page of a few MiB at a time. */
  entryPages(lane: number, firstSequence: bigint, count: number): Iterable<EntryPage>;
  /** The commit group that an entry belongs to. */
  groupOf(lane: number, sequence: bigint): GroupRecord | undefined;

  /** A number that stands for a topic inside this database. Different topics may share one, very rarely. */
  topicKey(topic: Hex): number;
  /** Where messages of a topic (or of one that shares its key) are, after a place, in order. */
  placesOf(topic: Hex, lane: number, after: Place | undefined, limit: number): Place[];

  // Written by the sealer only.

  /** `leaves` are the entryHashes of its entries, in order, 32 bytes each: what proofs are made of. */
  appendBatch(batch: SealedBatch, leaves: Uint8Array): Promise<void>;
  /** Forgets the batches of a lane from this number on; their entries stay, and are in no batch. None of them MUST be committed. */
  unseal(lane: number, from: bigint): Promise<void>;
  /** The `leaves` of a batch that is there. */
  leavesOf(lane: number, number: bigint): Uint8Array;
  batch(lane: number, number: bigint): SealedBatch | undefined;
  /** The newest batch of a lane. */
  lastBatch(lane: number): SealedBatch | undefined;
  /** The batch that holds an entry. */
  batchOf(lane: number, sequence: bigint): SealedBatch | undefined;
  /** Batches with number < `before`, newest first. */
  batches(lane: number, before: bigint | undefined, limit: number): SealedBatch[];
  /** Batches with number ≥ `from`, oldest first. */
  batchesFrom(lane: number, from: bigint, limit: number): SealedBatch[];

  // Written by the follower only.

  /**
   * One step of following the L1, all or nothing: forgets blocks, commitments, forced bundles, demands and answers above
   * `keepUpTo`, then adds.
   * Blocks below `keepFrom` are forgotten too (the others are kept for good).
   */
  applyL1(step: L1Step): Promise<void>;
  /** The followed blocks that are still kept, oldest first. */
  l1Blocks(): L1Block[];
  commitment(lane: number, number: bigint): Commitment | undefined;
  /** Demands that are not answered, whose deadline is not before this block, the most urgent first. */
  openDemands(block: bigint): Demand[];
  /** The newest commitment of a lane in a block with number ≤ `upToBlock`. */
  lastCommitment(lane: number, upToBlock: bigint): Commitment | undefined;

  // Written by the poster only.

  /** Before a transaction is given to the L1: a crash between this and the giving is repaired by giving it again. */
  recordSend(send: SendRecord): Promise<void>;
  /** Sends not yet forgotten, oldest first. */
  sends(): SendRecord[];
  forgetSends(transactionHashes: readonly Hex[]): Promise<void>;

  /** Bytes on disk, all files of the database together. */
  bytesOnDisk(): number;
  /** Lets writes that were called finish, then closes. Nothing may be called afterwards. */
  close(): Promise<void>;
}

export interface L1Step {
  readonly keepUpTo?: bigint | undefined;
  readonly keepFrom?: bigint | undefined;
  readonly blocks: readonly L1Block[];
  readonly commitments: readonly Commitment[];
  readonly forced: readonly ForcedBundle[];
  readonly demands: readonly Demand[];
  readonly answered: readonly Answered[];
}

/**
 * How far receipts of each lane were, or may have been, signed. Kept outside of the store, and of its backups: an older store in
 * the place of the newest would give sequences that are promised to other bundles, and ends before the mark.
 */
export interface SignedMark {
  /**
   * MUST have returned before a statement over sequences below `nextSequence` is signed; and these MUST be durable in the store
   * before it is called, so that the mark is never beyond the newest store. The end of the process does not take it back; a
   * power failure may.
   * @throws StoreFullError if there is no room now; after any other error the process MUST end. Either way nothing may be signed
   */
  raise(lane: number, nextSequence: bigint): void;
}

/** A durable write failed and left nothing behind: no room. Retried when there is room again. */
export class StoreFullError extends Error {
  override readonly name = 'StoreFullError';
  readonly code = 'store.full';
}

/** The store cannot be opened as asked: missing, already there, in use, another chain's, or not the newest. Nothing was changed. */
export class StoreOpenError extends Error {
  override readonly name = 'StoreOpenError';

  constructor(
    readonly code:
      | 'store.missing'
      | 'store.exists'
      | 'store.locked'
      | 'store.unwritable'
      | 'store.foreign'
      | 'store.damaged'
      | 'store.older',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

// ---- L1 -------------------------------------------------------------------------------------------------------------

export interface L1Block {
  readonly number: bigint;
  readonly hash: Hex;
  readonly parentHash: Hex;
  /** Unix seconds. */
  readonly timestamp: bigint;
}

/** What the Settlement contract was deployed with, and who may act on each lane. */
export interface SettlementFacts {
  readonly laneCount: number;
  readonly maxIncludeDelay: bigint;
  readonly lanes: readonly LaneStanding[];
}

/** Who may act on a lane, at the newest block (§7). */
export interface LaneStanding extends Term {
  /** The block in which the term began. */
  readonly beginBlock: bigint;
  /** Zero while the lane has no operator, or one that is not registered. */
  readonly poster: Hex;
  readonly receiptSigner: Hex;
  /** The block in which the operator asked to leave; 0 if it did not. */
  readonly exitRequestedAt: bigint;
}

/** A commitment as the contract told of it, with the header that it is of. */
export interface CommittedBatch extends Commitment {
  readonly header: BatchHeader;
}

/** What the contract told of, in the order of the chain. */
export interface SettlementEvents {
  readonly commitments: readonly CommittedBatch[];
  readonly forced: readonly ForcedBundle[];
  readonly demands: readonly Demand[];
  readonly answered: readonly Answered[];
  /** Who may act on some lane is perhaps not who it was. */
  readonly standingsChanged: boolean;
  /** Whose deposits are not what they were. */
  readonly deposits: readonly PostageKey[];
}

/** What the contract has of a sender on a lane, in wei. */
export interface Deposit {
  readonly deposit: bigint;
  /** Paid to operators so far, cumulative as postage is. */
  readonly redeemed: bigint;
  /** Of the deposit: asked for by the sender. */
  readonly withdrawing: bigint;
}

/** Where a commit has put the inbox's next bundle (§8): the contract's `ForcedEntry`. */
export interface ForcedEntry {
  /** Which header of the commit, from 0. */
  readonly header: number;
  /** Of the entry in that batch. */
  readonly index: number;
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly path: readonly Hex[];
}

/** An entry of a committed batch, opened: the contract's `Opening`. */
export interface Opening {
  readonly header: BatchHeader;
  readonly index: number;
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly bundle: BundleFields;
  readonly path: readonly Hex[];
}

/** What one commit transaction carries. */
export interface Commit {
  readonly headers: readonly BatchHeader[];
  readonly forced: readonly ForcedEntry[];
}

/** `Settlement.head(lane)` at the newest block. */
export interface LaneHead {
  readonly number: bigint;
  readonly nextSequence: bigint;
  readonly timestamp: bigint;
}

/** Fees of EIP-1559, in wei a gas. */
export interface Fees {
  readonly maxFeePerGas: bigint;
  readonly maxPriorityFeePerGas: bigint;
}

/** What became of a transaction that is in a block. */
export interface TransactionOutcome {
  readonly blockNumber: bigint;
  readonly blockHash: Hex;
  readonly succeeded: boolean;
  readonly gasUsed: bigint;
}

/** Why the L1 did not do what was asked. */
export class L1Error extends Error {
  override readonly name = 'L1Error';

  constructor(
    readonly code:
      | 'l1.unreachable'
      | 'l1.timeout'
      | 'l1.rpc'
      | 'l1.nonce_too_low'
      | 'l1.underpriced'
      | 'l1.already_known'
      | 'l1.insufficient_funds'
      | 'l1.reverted',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** An Ethereum node and the Settlement contract on it. Every call ends within a bounded time, or throws `L1Error`. */
export interface L1 {
  chainId(): Promise<bigint>;
  /** Nothing is deployed at the address: undefined. */
  settlement(): Promise<SettlementFacts | undefined>;
  /** Of lanes 0 to `laneCount` - 1. */
  standings(laneCount: number): Promise<readonly LaneStanding[]>;
  /** The block by tag, number or hash; undefined if the node has none such. MUST NOT be cached. */
  block(which: 'latest' | 'safe' | 'finalized' | bigint | Hex): Promise<L1Block | undefined>;
  /** What the contract told of in exactly this block, by its hash: correct across reorgs. */
  eventsIn(blockHash: Hex): Promise<SettlementEvents>;
  /** What it told of in a range of block numbers, both ends included: for catching up. */
  eventsBetween(from: bigint, to: bigint): Promise<SettlementEvents>;
  head(lane: number): Promise<LaneHead>;
  /** At a block by its number; nothing where the contract was not there yet. */
  depositOf(lane: number, sender: Hex, block: bigint): Promise<Deposit>;
  /** The slot of a batch at the newest block: zero where none is committed. */
  batchHash(lane: number, number: bigint): Promise<Hex>;
  /** How many bundles were ever put into a lane's inbox. */
  inboxLength(lane: number): Promise<bigint>;

  /** The account that commits batches. */
  readonly posterAddress: Hex;
  posterNonce(which: 'latest' | 'pending'): Promise<number>;
  posterBalance(): Promise<bigint>;
  /** The base fee of the newest block and the priority fee that the node suggests, wei a gas. */
  fees(): Promise<{ baseFeePerGas: bigint; priorityFeePerGas: bigint }>;
  /** The gas a commit needs; throws `l1.reverted` if the contract would refuse it now. */
  estimateCommit(commit: Commit): Promise<bigint>;
  /** Signs a commit without giving it away. */
  signCommit(commit: Commit, options: { nonce: number; gas: bigint } & Fees): Promise<{ hash: Hex; raw: Hex }>;
  /** Gives a signed transaction to the node; throws `L1Error` with the node's reason. */
  broadcast(raw: Hex): Promise<void>;
  /** undefined while it is in no block of the node's chain. */
  outcome(transactionHash: Hex): Promise<TransactionOutcome | undefined>;
  /** Whether the node knows the transaction at all (in a block or waiting). */
  knows(transactionHash: Hex): Promise<boolean>;

  /** Of the account that opens entries: the receipt signer's, whose key is at hand and sends nothing else. */
  openerNonce(which: 'latest' | 'pending'): Promise<number>;
  /** Signs a call that opens an entry, and gives it to the node; throws `l1.reverted` if the contract would refuse it now. */
  sendOpening(purpose: 'answer' | 'redeem', opening: Opening, options: { nonce: number } & Fees): Promise<Hex>;
}

/** What the follower last saw of the L1: facts for everyone else. Replaced as a whole, never changed in place. */
export interface L1View {
  readonly latest: L1Block;
  readonly safe: bigint;
  readonly finalized: bigint;
  /** When `latest` was last seen to be different, by the monotonic clock. */
  readonly movedAt: number;
  /** Per lane: number of the newest batch and next sequence on each rung (§10). */
  readonly lanes: readonly LaneRungs[];
  /** Per lane; as of a block not above `latest`, since when nothing told of a change. */
  readonly standings: readonly LaneStanding[];
}

export interface Rung {
  readonly number: bigint;
  readonly nextSequence: bigint;
}

export interface LaneRungs {
  readonly committed: Rung;
  readonly safe: Rung;
  readonly finalized: Rung;
}
