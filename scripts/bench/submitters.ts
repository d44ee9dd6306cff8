import type { Acknowledged } from '../acknowledged.js';
import type { LoadSender, PresignedBundle, Region } from '../presigned.js';
import { Wire } from '../wire.js';

/** An acknowledged bundle with its answer as it came: JSON is parsed when it is checked, not while the load runs. */
export class Kept implements Acknowledged {
  readonly sender;
  readonly nonce;
  readonly count;
  readonly bundleHash;

  constructor(
    { sender, nonce, region, bundleHash }: PresignedBundle,
    readonly lane: number,
    private readonly answer: Buffer,
  ) {
    this.sender = sender;
    this.nonce = nonce;
    this.count = region.count;
    this.bundleHash = bundleHash;
  }

  get receipt(): unknown {
    return (JSON.parse(this.answer.toString('utf8')) as { results?: { receipt?: unknown }[] }).results?.[0]?.receipt;
  }
}

/** One sender with a connection of its own and the bundles that it signed ahead: one at a time, in the order of their nonces. */
export class Submitter {
  private readonly ahead: PresignedBundle[] = [];
  private wire: Wire | undefined;
  /** Bundles that were signed when they were needed. */
  signedLate = 0;

  constructor(
    private readonly url: string,
    private readonly sender: LoadSender,
    private readonly draw: () => Region,
  ) {}

  get signedAhead(): number {
    return this.ahead.length;
  }

  sign(): void {
    this.ahead.push(this.sender.sign(this.draw()));
  }

  /** The bundle that is to be sent next; the same one until it is `done`. */
  get current(): PresignedBundle {
    if (this.ahead.length === 0) {
      this.signedLate++;
      this.sign();
    }
    return this.ahead[0] as PresignedBundle;
  }

  done(): void {
    this.ahead.shift();
  }

  get lane(): number {
    return this.sender.lane;
  }

  get connection(): Wire {
    this.wire ??= new Wire(this.url);
    return this.wire;
  }

  close(): void {
    this.wire?.close();
    this.wire = undefined;
  }
}
