import type { BatchHeader } from './batch.js';
import type { BundleFields } from './bundle.js';
import { fromHex, type Hex, lowerHex } from './bytes.js';
import type { Domain } from './signature.js';

/** An entry's place in a batch: everything that a path through the batch and a batch hash were made of. */
export interface EntryPlace {
  readonly previous: bigint;
  readonly bundleIndex: number;
  readonly bundlePath: readonly Hex[];
  readonly header: BatchHeader;
}

/** A bundle whose signature holds, and where it was found to be. */
export interface VerifiedBundle {
  readonly bundleHash: Hex;
  /** The bytes of its `messagesRoot`. */
  readonly root: Uint8Array;
  /** The batch hash, if this is the very place that was last verified. */
  batchHashAt(place: EntryPlace): Hex | undefined;
  /** MUST only be told of what was verified: the path leads from the entry, not void, to the header's root; the header's hash. */
  standsAt(place: EntryPlace, batchHash: Hex): void;
}

/**
 * Bundles that were verified, for those who verify many proofs: all messages of a bundle share its signature, its place in the
 * batch and the batch's header, so that each further one costs its own path in the bundle and comparisons.
 *
 * Nothing is believed that was not checked: what is remembered is compared with what a proof says field by field and hash by
 * hash, and anything that differs in one character is verified from the start. Values are copied in, so that changing a proof
 * afterwards changes nothing here. Bounded: the bundle that was added first is forgotten first.
 */
export class VerifiedBundles {
  // By signature only to find them: `find` compares all there is.
  readonly #bundles = new Map<Hex, Known>();
  readonly #maxBundles: number;

  constructor({ maxBundles = 1_024 }: { maxBundles?: number } = {}) {
    this.#maxBundles = maxBundles;
  }

  get size(): number {
    return this.#bundles.size;
  }

  /** The bundle with exactly these fields, signed for this domain; undefined if it has to be verified. */
  find(domain: Domain, fields: BundleFields): VerifiedBundle | undefined {
    const known = this.#bundles.get(fields.signature);
    return known?.isFor(domain) && isSame(BUNDLE_FIELDS, known.fields, fields) ? known : undefined;
  }

  /** MUST only be told of bundles whose signature was verified for this domain, and of their own hash. */
  add(domain: Domain, fields: BundleFields, bundleHash: Hex): VerifiedBundle {
    const known = new Known(domain, fields, bundleHash);
    this.#bundles.delete(fields.signature);
    if (this.#bundles.size >= this.#maxBundles) this.#bundles.delete(this.#bundles.keys().next().value as Hex);
    this.#bundles.set(fields.signature, known);
    return known;
  }
}

class Known implements VerifiedBundle {
  readonly fields: BundleFields;
  readonly root: Uint8Array;
  readonly #chainId: bigint;
  readonly #settlement: Hex;
  #place: EntryPlace | undefined;
  #batchHash: Hex | undefined;

  constructor(
    domain: Domain,
    fields: BundleFields,
    readonly bundleHash: Hex,
  ) {
    this.#chainId = domain.chainId;
    this.#settlement = lowerHex(domain.settlement);
    this.fields = { ...fields };
    this.root = fromHex(fields.messagesRoot, 32);
  }

  isFor({ chainId, settlement }: Domain): boolean {
    return chainId === this.#chainId && lowerHex(settlement) === this.#settlement;
  }

  batchHashAt({ previous, bundleIndex, bundlePath, header }: EntryPlace): Hex | undefined {
    const place = this.#place;
    const isThere =
      place !== undefined &&
      place.previous === previous &&
      place.bundleIndex === bundleIndex &&
      place.bundlePath.length === bundlePath.length &&
      place.bundlePath.every((node, at) => node === bundlePath[at]) &&
      isSame(HEADER_FIELDS, place.header, header);
    return isThere ? this.#batchHash : undefined;
  }

  standsAt({ previous, bundleIndex, bundlePath, header }: EntryPlace, batchHash: Hex): void {
    this.#place = { previous, bundleIndex, bundlePath: [...bundlePath], header: { ...header } };
    this.#batchHash = batchHash;
  }
}

const namesOf = <T>(names: Record<keyof T & string, true>) => Object.keys(names) as (keyof T & string)[];

// The compiler refuses a list that lacks a field: one that is not compared would be one that is not verified.
const BUNDLE_FIELDS = /* @__PURE__ */ namesOf<BundleFields>({
  lane: true,
  sender: true,
  nonce: true,
  expiry: true,
  postage: true,
  count: true,
  messagesRoot: true,
  signature: true,
});
const HEADER_FIELDS = /* @__PURE__ */ namesOf<BatchHeader>({
  lane: true,
  term: true,
  number: true,
  parentHash: true,
  firstSequence: true,
  count: true,
  bundlesRoot: true,
  inboxCount: true,
  timestamp: true,
  dataHash: true,
});

/** Fields are strings, numbers and bigints, whose `===` is by value. */
const isSame = <T>(names: readonly (keyof T)[], a: T, b: T): boolean => names.every((name) => a[name] === b[name]);
