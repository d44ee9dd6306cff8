import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { settlementAbi } from '@sealpost/contracts';
import {
  type BatchHeader,
  batchHash,
  buildReceipt,
  buildTree,
  bundleHash,
  bundleStructHash,
  claimAfter,
  type Domain,
  dataHash,
  domainSeparator,
  encodeBatchFile,
  entryHash,
  fieldsOf,
  type Hex,
  NO_CLAIM,
  readBundle,
  receiptDigest,
  receiptToJson,
  splitFrames,
  toHex,
  viewTree,
  ZERO_HASH,
} from '@sealpost/prover';
import { createWalletClient, http, type PrivateKeyAccount } from 'viem';
import { l1Client } from '../deployment.js';

/** What it does wrong, once it begins to. */
export type Lie =
  | 'equivocate'
  | 'reorder'
  | 'drop'
  | 'stall'
  | 'withhold a batch'
  | 'skip a nonce'
  | 'replay'
  | 'forge a signature'
  | 'mark void wrongly';

/** An entry as it will stand in a batch. */
interface Entry {
  void: 0 | 1;
  previous: bigint;
  bundle: Uint8Array;
  sender: Hex;
}

export interface CrookedOptions {
  readonly l1Url: string;
  readonly domain: Domain;
  readonly lane: number;
  /** Commits, too. */
  readonly operator: PrivateKeyAccount;
  readonly signer: PrivateKeyAccount;
  /** Blocks that its receipts give it. */
  readonly includeIn: bigint;
}

/**
 * A sequencer of one lane that can lie: real HTTP, real signatures, real commits, a log in memory. It is honest until it is told
 * to `lie`. It answers no demands.
 */
export class CrookedSequencer {
  url = '';
  private readonly server: Server;
  private readonly files = new Map<bigint, Uint8Array>();
  private readonly accounts = new Map<Hex, { next: bigint; previous: bigint }>();
  /** All entries that have a place. */
  private readonly entries: Entry[] = [];
  private committed = 0;
  private head: { header: BatchHeader; hash: Hex } | undefined;
  private lie: Lie | undefined;
  private withheld: bigint | undefined;
  private turn: Promise<unknown> = Promise.resolve();

  private constructor(private readonly options: CrookedOptions) {
    this.server = createServer((request, response) => {
      this.answer(request)
        .catch((error: Error) => ({
          status: 500,
          body: JSON.stringify({ code: 'internal', status: 500, detail: error.message }),
        }))
        .then(({ status, body }) => response.writeHead(status).end(body));
    });
  }

  static async start(options: CrookedOptions): Promise<CrookedSequencer> {
    const crooked = new CrookedSequencer(options);
    await new Promise<void>((resolve) => crooked.server.listen(0, '127.0.0.1', resolve));
    crooked.url = `http://127.0.0.1:${(crooked.server.address() as AddressInfo).port}`;
    return crooked;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  /** From the next request on. */
  begin(lie: Lie): void {
    this.lie = lie;
  }

  /** Commits what has a place and is in no batch, as it is or as the lie has it. */
  async commit(): Promise<void> {
    const { domain, lane, operator, l1Url } = this.options;
    const entries = this.entries.slice(this.committed);
    if (this.lie === 'stall' || entries.length === 0) return;
    if (this.lie === 'reorder') entries.reverse();
    if (this.lie === 'drop') entries.shift();
    const l1 = l1Client(l1Url);
    const { timestamp } = await l1.getBlock();
    const number = (this.head?.header.number ?? 0n) + 1n;
    const firstSequence = this.head === undefined ? 0n : this.head.header.firstSequence + BigInt(this.head.header.count);
    const file = encodeBatchFile({ lane, number, firstSequence, entries });
    const header: BatchHeader = {
      lane,
      term: 1,
      number,
      parentHash: this.head?.hash ?? ZERO_HASH,
      firstSequence,
      count: entries.length,
      bundlesRoot: toHex(buildTree(entries.map(leafOf)).root),
      inboxCount: 0n,
      timestamp,
      dataHash: dataHash([file]),
    };
    const wallet = createWalletClient({ account: operator, transport: http(l1Url) });
    const call = { address: domain.settlement, abi: settlementAbi, functionName: 'commit', args: [[header], []] } as const;
    const hash = await wallet.writeContract({ ...call, chain: null });
    const { status } = await l1.waitForTransactionReceipt({ hash });
    if (status !== 'success') throw new Error(`the commit ${hash} was refused`);
    this.head = { header, hash: batchHash(header) };
    this.committed = this.entries.length;
    this.files.set(number, file);
    if (this.lie === 'withhold a batch') this.withheld = number;
  }

  private async answer(request: IncomingMessage): Promise<{ status: number; body: string | Uint8Array }> {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    const { lane } = this.options;
    const missing = { status: 404, body: JSON.stringify({ code: 'not_found', status: 404, detail: 'no such thing' }) };
    const account = /^\/v1\/accounts\/(0x[0-9a-f]{40})$/.exec(pathname)?.[1] as Hex | undefined;
    if (account !== undefined && searchParams.get('lane') === String(lane)) {
      const { next } = this.accounts.get(account) ?? NO_CLAIM;
      return { status: 200, body: JSON.stringify({ address: account, lane, nonce: String(next) }) };
    }
    const batch = new RegExp(`^/v1/batches/${lane}/(\\d+)/data$`).exec(pathname)?.[1];
    if (batch !== undefined) {
      const file = BigInt(batch) === this.withheld ? undefined : this.files.get(BigInt(batch));
      return file === undefined ? missing : { status: 200, body: file };
    }
    if (request.method !== 'POST' || pathname !== '/v1/bundles') return missing;
    const parts: Uint8Array[] = [];
    for await (const part of request) parts.push(part);
    const frames = splitFrames(new Uint8Array(Buffer.concat(parts)));
    // One after the other, as every sequencer takes them.
    const results = this.turn.then(() => this.accept(frames));
    this.turn = results.catch(() => {});
    return { status: 200, body: JSON.stringify({ results: await results }) };
  }

  private async accept(frames: readonly Uint8Array[]): Promise<unknown[]> {
    const results: unknown[] = [];
    for (const bundle of frames) results.push(await this.acceptOne(bundle));
    return results;
  }

  private async acceptOne(bundle: Uint8Array): Promise<unknown> {
    const entry = this.place(bundle, 0);
    let sequence = BigInt(this.entries.length);
    if (this.lie === 'equivocate' && this.entries.length > this.committed) sequence -= 1n;
    else this.entries.push(entry);
    if (this.lie === 'mark void wrongly') {
      entry.void = 1;
      return { error: { code: 'unavailable', status: 503, detail: 'not now', retryAfterMs: 60_000 } };
    }
    if (this.lie === 'replay') this.entries.push(this.place(bundle, 0));
    if (this.lie === 'forge a signature')
      this.entries.push(this.place(forged(bundle, this.accounts.get(entry.sender)?.next ?? 0n), 0));
    return { receipt: await this.promise(entry, sequence) };
  }

  /** An entry that follows on its sender's latest, whatever its nonce. */
  private place(bundle: Uint8Array, isVoid: 0 | 1): Entry {
    const view = readBundle(bundle);
    const account = this.accounts.get(view.sender) ?? NO_CLAIM;
    const entry: Entry = { void: isVoid, previous: account.previous, bundle, sender: view.sender };
    const fields = fieldsOf(view, toHex(viewTree(view).root));
    this.accounts.set(view.sender, claimAfter({ void: 0, bundle: fields }, BigInt(this.entries.length), account));
    return entry;
  }

  private async promise(entry: Entry, sequence: bigint): Promise<unknown> {
    const { l1Url, lane, domain, signer, includeIn } = this.options;
    const tree = buildTree([leafOf(entry)]);
    const statement = {
      lane,
      term: 1,
      firstSequence: sequence,
      count: 1,
      root: toHex(tree.root),
      includeBy: (await l1Client(l1Url).getBlockNumber()) + includeIn,
    };
    const signature = await signer.sign({ hash: toHex(receiptDigest(domainSeparator(domain), statement)) });
    return receiptToJson(buildReceipt(statement, signature, tree, 0, { ...entry, bundleHash: toHex(hashOf(entry.bundle)) }));
  }
}

const hashOf = (bundle: Uint8Array): Uint8Array => {
  const view = readBundle(bundle);
  return bundleHash(view.sender, bundleStructHash(fieldsOf(view, toHex(viewTree(view).root))), view.signature);
};

const leafOf = (entry: Entry): Uint8Array => entryHash(entry.void, entry.previous, hashOf(entry.bundle));

/** The same bundle with the next nonce, under a signature that was made for another. */
function forged(bundle: Uint8Array, nonce: bigint): Uint8Array {
  const copy = bundle.slice();
  new DataView(copy.buffer).setBigUint64(23, nonce);
  return copy;
}
