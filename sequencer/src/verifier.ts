import {
  type BundleView,
  badSignature,
  type Hex,
  type Keccak256,
  ProtocolError,
  type Recover,
  readBundle,
  readCheckedHead,
  recoverSigner,
  type Sha256,
  typedDataDigest,
  verifyLane,
  viewBundleHash,
  viewStructHash,
} from '@sealpost/prover';
import type { Thread } from './threads.js';

/** One request body of framed bundles, and where each bundle lies in it. */
export interface Body {
  readonly bytes: Uint8Array;
  /** For bundle i: offset in `bytes` at [2i], end at [2i + 1]. */
  readonly bounds: Uint32Array;
}

/** A bundle that is well formed, on its lane, and signed by its sender; or why it is not. */
export type Verdict = VerifiedHead | Refusal;

export interface VerifiedHead {
  readonly lane: number;
  readonly sender: Hex;
  readonly nonce: bigint;
  readonly expiry: bigint;
  readonly postage: bigint;
  readonly count: number;
}

export interface Refusal {
  readonly refused: { readonly code: string; readonly message: string; readonly facts: ProtocolError['facts'] };
}

export interface VerifiedBody extends Body {
  readonly verdicts: readonly Verdict[];
  /** For bundle i: structHash(32) ‖ bundleHash(32) at 64i, zeros where it was refused. */
  readonly hashes: Uint8Array;
}

/** What a verifying thread must know beforehand. */
export interface VerifierData {
  readonly separator: Uint8Array;
  readonly laneCount: number;
}

/** The primitives, native where there are any. */
export interface Primitives {
  readonly sha256: Sha256;
  readonly keccak256: Keccak256;
  readonly recover: Recover;
  readonly messagesRoot: (view: BundleView) => Uint8Array;
}

/** What is known of bundles that were looked at, as it travels between threads: flat, because to clone objects costs more. */
export interface Findings {
  readonly hashes: Uint8Array;
  /** By the bundle's place. */
  readonly refusals: ReadonlyMap<number, Refusal>;
}

/**
 * Judges bundles by all that depends on nothing but their bytes (§6): form, sizes, lane, signature, in this order. Never throws
 * for what a sender sent.
 */
export function verifyBundles({ bytes, bounds }: Body, { separator, laneCount }: VerifierData, primitives: Primitives): Findings {
  const { sha256, keccak256, recover, messagesRoot } = primitives;
  const count = bounds.length / 2;
  const hashes = new Uint8Array(HASHES_BYTES * count);
  const refusals = new Map<number, Refusal>();
  for (let index = 0; index < count; index++) {
    try {
      const view = readBundle(bytes.subarray(bounds[2 * index], bounds[2 * index + 1]));
      verifyLane(view, laneCount);
      const { sender } = view;
      const structHash = viewStructHash(view, messagesRoot(view), keccak256);
      const signer = recoverSigner(typedDataDigest(separator, structHash, keccak256), view.signature, recover, keccak256);
      if (signer !== sender) {
        throw badSignature(`expected the signature of the sender ${sender}, got that of ${signer}`);
      }
      hashes.set(structHash, HASHES_BYTES * index);
      hashes.set(viewBundleHash(view, structHash, sha256), HASHES_BYTES * index + 32);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      refusals.set(index, { refused: { code: error.code, message: error.message, facts: error.facts } });
    }
  }
  return { hashes, refusals };
}

/** What was found of bundles `first` to `first + n` is this body's. */
export function verifiedBody({ bytes, bounds }: Body, { hashes, refusals }: Findings, first = 0): VerifiedBody {
  const count = bounds.length / 2;
  const verdicts: Verdict[] = [];
  for (let index = 0; index < count; index++) {
    verdicts.push(refusals.get(first + index) ?? readCheckedHead(bytes.subarray(bounds[2 * index], bounds[2 * index + 1])));
  }
  return { bytes, bounds, verdicts, hashes: hashes.subarray(HASHES_BYTES * first, HASHES_BYTES * (first + count)) };
}

/** structHash(32) ‖ bundleHash(32). */
const HASHES_BYTES = 64;

/** Bodies one after the other in one buffer: one message between threads costs about as much as a signature. */
export interface VerifyCall {
  readonly buffer: ArrayBuffer;
  /** Of all their bundles, in `buffer`. */
  readonly bounds: Uint32Array;
}

export interface VerifyAnswer extends Findings {
  readonly buffer: ArrayBuffer;
}

// What travels together at the most: enough that messages between threads cost little, not so much that one thread is full
// while another is idle.
const MAX_BODIES_PER_CALL = 16;
const MAX_BYTES_PER_CALL = 1_048_576;
// While a thread works on one call, the next already waits there: it never idles for a round trip.
const CALLS_PER_THREAD = 2;

interface Waiting {
  readonly body: Body;
  readonly resolve: (body: VerifiedBody) => void;
  readonly reject: (error: Error) => void;
}

/** Verifies bodies on worker threads, each body on whichever is free first. The order of the answers is not promised. */
export class VerifierPool {
  private waiting: Waiting[] = [];

  constructor(private readonly threads: readonly Thread[]) {}

  /** Resolves to the body with its verdicts, its bytes in new memory. Rejects only if a thread dies: that is fatal. */
  verify(body: Body): Promise<VerifiedBody> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ body, resolve, reject });
      // Soon, so that bodies which arrive together travel together.
      if (this.waiting.length === 1) setImmediate(() => this.dispatch());
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }

  private dispatch(): void {
    while (this.waiting.length > 0) {
      const thread = this.threads.reduce((least, one) => (one.pending < least.pending ? one : least));
      if (thread.pending >= CALLS_PER_THREAD) return;
      void this.run(thread, this.takeCall());
    }
  }

  private takeCall(): Waiting[] {
    const most = Math.min(MAX_BODIES_PER_CALL, Math.ceil(this.waiting.length / this.threads.length));
    let bytes = 0;
    let taken = 0;
    while (taken < most && bytes < MAX_BYTES_PER_CALL) bytes += (this.waiting[taken++] as Waiting).body.bytes.length;
    return this.waiting.splice(0, taken);
  }

  private async run(thread: Thread, taken: readonly Waiting[]): Promise<void> {
    const call = packBodies(taken.map(({ body }) => body));
    try {
      const answer = await thread.call<VerifyAnswer>(call, [call.buffer]);
      this.dispatch();
      let at = 0;
      let first = 0;
      for (const { body, resolve } of taken) {
        const bytes = new Uint8Array(answer.buffer, at, body.bytes.length);
        resolve(verifiedBody({ bytes, bounds: body.bounds }, answer, first));
        at += body.bytes.length;
        first += body.bounds.length / 2;
      }
    } catch (error) {
      for (const { reject } of taken) reject(error as Error);
    }
  }
}

function packBodies(bodies: readonly Body[]): VerifyCall {
  let size = 0;
  let count = 0;
  for (const { bytes, bounds } of bodies) {
    size += bytes.length;
    count += bounds.length;
  }
  // Not zeroed first: every byte is written.
  const whole = Buffer.allocUnsafeSlow(size);
  const all = new Uint32Array(count);
  let at = 0;
  let filled = 0;
  for (const { bytes, bounds } of bodies) {
    whole.set(bytes, at);
    for (const bound of bounds) all[filled++] = at + bound;
    at += bytes.length;
  }
  return { buffer: whole.buffer as ArrayBuffer, bounds: all };
}
