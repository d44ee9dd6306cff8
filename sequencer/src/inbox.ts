import { type BatchHeader, inclusionPath, readBundle, toHex, viewBundleHash, viewStructHash } from '@sealpost/prover';
import { isTakeoverSettled, settledBlock } from './follower.js';
import type {
  Commit,
  Entry,
  ForcedBundle,
  ForcedEntry,
  ForcedPlace,
  FullEntry,
  Hashing,
  L1View,
  LaneStanding,
  SealedBatch,
  Store,
  Term,
} from './ports.js';
import { isSameTerm } from './terms.js';

const MAX_FORCED_PER_COMMIT = 128;
/** Bundles of a lane's inbox that one append takes: as many as one commit need consume. */
const AT_ONCE = 64;

/**
 * The next bundles of every lane's inbox that have no place in the log and may get one, in order: final, or deep enough (§8), on
 * lanes that are in the term that `termOf` says, whose takeover is final too.
 */
export function dueBundles(
  store: Pick<Store, 'forcedWaiting'>,
  view: L1View | undefined,
  termOf: (lane: number) => Term,
): ForcedBundle[] {
  if (view === undefined) return [];
  const upTo = settledBlock(view);
  if (upTo < 0n) return [];
  const isOpen = (standing: LaneStanding, lane: number) =>
    isSameTerm(standing, termOf(lane)) && isTakeoverSettled(standing, view);
  return view.standings.flatMap((standing, lane) => (isOpen(standing, lane) ? store.forcedWaiting(lane, upTo, AT_ONCE) : []));
}

/** What an entry is made of, but its place and its claims. */
export type EntryContent = Pick<
  FullEntry,
  'lane' | 'sender' | 'nonce' | 'count' | 'structHash' | 'bundleHash' | 'bytes' | 'bundle'
>;

/**
 * What an entry's bundle says, and its hashes.
 * @throws bundle.malformed, bundle.too_large
 */
export function readContent(bundle: Uint8Array, hashing: Hashing): EntryContent {
  const view = readBundle(bundle);
  const { lane, sender, nonce, count } = view;
  const structHash = viewStructHash(view, hashing.messagesTree(view).root, hashing.keccak256);
  const bundleHash = viewBundleHash(view, structHash, hashing.sha256);
  return { lane, sender, nonce, count, structHash, bundleHash, bytes: bundle.length, bundle };
}

/**
 * A bundle of the inbox, read and hashed. Its form, lane and signature are what the contract has checked.
 * @throws Error if it is not the bundle that the contract told of: the L1's node answers something else than the chain
 */
export function readForced({ lane, index, bundleHash, bundle }: ForcedBundle, hashing: Hashing): EntryContent {
  const content = readContent(bundle, hashing);
  if (toHex(content.bundleHash) !== bundleHash || content.lane !== lane) {
    throw new Error(`bundle ${index} of the inbox of lane ${lane} is not the one with hash ${bundleHash}`);
  }
  return content;
}

/**
 * Where a batch of these entries has the inbox's next bundles, after the `consumed` ones: those are not among them even where a reorg
 * gave them another place since.
 */
export const forcedOf = (
  { lane, firstSequence, count }: Pick<BatchHeader, 'lane' | 'firstSequence' | 'count'>,
  consumed: bigint,
  store: Pick<Store, 'forcedIn'>,
): ForcedPlace[] => store.forcedIn(lane, firstSequence, firstSequence + BigInt(count)).filter(({ index }) => index >= consumed);

/**
 * The first of these batches, which follow the one that brought the inbox to `consumed`, that no commit can carry any more: a reorg took
 * forced bundles that it counts, and they are not in the inbox, or have another place in the log (§8).
 */
export function firstUnfit(
  batches: readonly SealedBatch[],
  consumed: bigint,
  store: Pick<Store, 'forcedIn'>,
): SealedBatch | undefined {
  let next = consumed;
  return batches.find(({ header }) => {
    const isFit = forcedOf(header, next, store).every(({ index }) => index === next++) && next === header.inboxCount;
    next = header.inboxCount;
    return !isFit;
  });
}

/**
 * The first of these batches that one commit carries: up to the one that brings its forced entries to this number. With 64 in a
 * batch and 255 batches that is below 14 million gas; and it is never fewer than the 64 that let a commit pass whatever else
 * is overdue (§8), so that no cut can keep the lane from committing.
 */
export function carriedTogether(batches: readonly SealedBatch[], store: Pick<Store, 'forcedIn'>): SealedBatch[] {
  let forced = 0;
  const carried: SealedBatch[] = [];
  for (const batch of batches) {
    carried.push(batch);
    forced += forcedOf(batch.header, 0n, store).length;
    if (forced >= MAX_FORCED_PER_COMMIT) break;
  }
  return carried;
}

/**
 * What a commit of these batches carries: their headers, and where they have the inbox's next bundles (§8).
 */
export function commitOf(
  batches: readonly SealedBatch[],
  store: Pick<Store, 'forcedIn' | 'entries' | 'leavesOf' | 'batch'>,
  hashing: Hashing,
): Commit {
  const forced = batches.flatMap(({ header: of }, header): ForcedEntry[] => {
    const { lane, number, firstSequence } = of;
    const places = forcedOf(of, store.batch(lane, number - 1n)?.header.inboxCount ?? 0n, store);
    if (places.length === 0) return [];
    const tree = hashing.leavesTree(store.leavesOf(lane, number));
    return places.map(({ sequence }: ForcedPlace) => {
      const { void: isVoid, previous } = store.entries(lane, sequence, 1)[0] as Entry;
      const index = Number(sequence - firstSequence);
      return { header, index, void: isVoid, previous, path: inclusionPath(tree, index).map(toHex) };
    });
  });
  return { headers: batches.map(({ header }) => header), forced };
}
