import {
  type BundleView,
  badSignature,
  bundleHash,
  bundleStructHash,
  fieldsOf,
  type Hex,
  ProtocolError,
  type Recover,
  readBundle,
  recoverSigner,
  type Sha256,
  toHex,
  typedDataDigest,
  verifyLane,
} from '@sealpost/prover';
import type { Thread } from './threads.js';

/** One request body of framed bundles: a buffer of its own, and where each bundle lies in it. */
export interface Body {
  readonly buffer: ArrayBuffer;
  /** For bundle i: offset at [2i], end at [2i + 1]. */
  readonly bounds: Uint32Array;
}

/** A bundle that is well formed, on its lane, and signed by its sender; or why it is not. */
export type Verdict = VerifiedHead | Refusal;

export interface VerifiedHead {
  readonly lane: number;
  readonly sender: Hex;
  readonly nonce: bigint;
  readonly expiry: bigint;
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
  readonly hash: Sha256;
  readonly recover: Recover;
  readonly messagesRoot: (view: BundleView) => Uint8Array;
}

/**
 * Judges every bundle of a body by all that depends on nothing but its bytes (§6): form, sizes, lane, signature, in this
 * order. Never throws for what a sender sent.
 */
export function verifyBody(
  body: Body,
  { separator, laneCount }: VerifierData,
  { hash, recover, messagesRoot }: Primitives,
): VerifiedBody {
  const count = body.bounds.length / 2;
  const hashes = new Uint8Array(64 * count);
  const verdicts: Verdict[] = [];
  for (let index = 0; index < count; index++) {
    const start = body.bounds[2 * index] as number;
    const bytes = new Uint8Array(body.buffer, start, (body.bounds[2 * index + 1] as number) - start);
    try {
      const view = readBundle(bytes);
      verifyLane(view, laneCount);
      const structHash = bundleStructHash(fieldsOf(view, toHex(messagesRoot(view))));
      verifySender(view, typedDataDigest(separator, structHash), recover);
      hashes.set(structHash, 64 * index);
      hashes.set(bundleHash(view.sender, structHash, view.signature, hash), 64 * index + 32);
      verdicts.push({ lane: view.lane, sender: view.sender, nonce: view.nonce, expiry: view.expiry, count: view.count });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      verdicts.push({ refused: { code: error.code, message: error.message, facts: error.facts } });
    }
  }
  return { ...body, verdicts, hashes };
}

function verifySender(view: BundleView, digest: Uint8Array, recover: Recover): void {
  const signer = recoverSigner(digest, view.signature, recover);
  if (signer !== view.sender) throw badSignature(`expected the signature of the sender ${view.sender}, got that of ${signer}`);
}

// One message between threads costs about as much as a signature: small bodies travel together, but not so many that one
// thread is full while another is idle.
const MAX_BODIES_PER_CALL = 32;
const MAX_BYTES_PER_CALL = 1_048_576;

interface Waiting {
  readonly body: Body;
  readonly resolve: (body: VerifiedBody) => void;
  readonly reject: (error: Error) => void;
}

/** Verifies bodies on worker threads, each body on whichever is free first. The order of the answers is not promised. */
export class VerifierPool {
  private readonly waiting: Waiting[] = [];
  private readonly idle: Thread[];

  constructor(private readonly threads: readonly Thread[]) {
    this.idle = [...threads];
  }

  /** Takes the body's buffer over and gives it back in the answer. Rejects only if a thread dies: that is fatal. */
  verify(body: Body): Promise<VerifiedBody> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ body, resolve, reject });
      this.dispatch();
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }

  private dispatch(): void {
    while (this.waiting.length > 0) {
      const thread = this.idle.pop();
      if (thread === undefined) return;
      void this.run(thread, this.takeCall());
    }
  }

  private takeCall(): Waiting[] {
    const taken: Waiting[] = [];
    const most = Math.max(1, Math.min(MAX_BODIES_PER_CALL, Math.ceil(this.waiting.length / this.threads.length)));
    let bytes = 0;
    while (taken.length < most && bytes < MAX_BYTES_PER_CALL) {
      const next = this.waiting.shift();
      if (next === undefined) break;
      taken.push(next);
      bytes += next.body.buffer.byteLength;
    }
    return taken;
  }

  private async run(thread: Thread, taken: readonly Waiting[]): Promise<void> {
    const bodies = taken.map(({ body }) => body);
    try {
      const verified = await thread.call<VerifiedBody[]>(
        bodies,
        bodies.map(({ buffer }) => buffer),
      );
      this.idle.push(thread);
      taken.forEach(({ resolve }, index) => {
        resolve(verified[index] as VerifiedBody);
      });
    } catch (error) {
      for (const { reject } of taken) reject(error as Error);
    }
    this.dispatch();
  }
}
