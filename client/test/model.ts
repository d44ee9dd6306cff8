import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Parameters } from '@sealpost/contracts';
import {
  type BatchHeader,
  type BundleView,
  batchHash,
  buildBundleProof,
  buildMessageProof,
  buildReceipt,
  buildTree,
  bundleHash,
  bundlePrice,
  bundleStructHash,
  type Domain,
  dataCid,
  dataHash,
  domainSeparator,
  encodeBatchFile,
  entryHash,
  FREE,
  fieldsOf,
  formatMessageId,
  type Hex,
  headerToJson,
  type MerkleTree,
  messageAt,
  type Price,
  priceToJson,
  proofToJson,
  type Receipt,
  readBundle,
  receiptDigest,
  receiptProofToJson,
  receiptToJson,
  splitFrames,
  toBase64,
  toHex,
  topicLane,
  verifyBundleSignature,
  viewTree,
  ZERO_HASH,
} from '@sealpost/prover';
import { sign } from 'viem/accounts';
import { type Anvil, receiptKey } from './anvil.js';

/** One entry of the model's log. */
interface Entry {
  readonly void: 0 | 1;
  readonly previous: bigint;
  readonly bundle: Uint8Array;
  readonly view: BundleView;
  readonly tree: MerkleTree;
  readonly structHash: Hex;
  readonly hash: Hex;
  readonly leaf: Uint8Array;
  receipt: Receipt;
}

interface Lane {
  readonly entries: Entry[];
  readonly batches: { header: BatchHeader; tree: MerkleTree; file: Uint8Array }[];
}

/** What goes wrong with a request: an answer of another kind, or a connection cut before or after the work was done. */
export type Fault =
  | { readonly status: number; readonly problem: Record<string, unknown>; readonly headers?: Record<string, string> }
  | { readonly status: number; readonly html: string }
  | 'cut before'
  | 'cut after';

/**
 * A sequencer as PROTOCOL.md describes it, in memory, behind a real HTTP server, made to misbehave on demand: for what a good
 * one never does. The good one is met in the end-to-end tests.
 */
export class ModelSequencer {
  readonly lanes: Lane[];
  /** Asked before each request; the first that answers decides. */
  readonly faults: ((method: string, url: URL, body: Uint8Array) => Fault | undefined)[] = [];
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers']; bundles: number }[] = [];
  /** Changes receipts before they are given out. */
  forge: (receipt: Receipt) => Receipt = (receipt) => receipt;
  /** Changes the messages of topics before they are given out. */
  tamper: (message: Record<string, unknown>) => Record<string, unknown> = (message) => message;
  /** Codes for bundles that are to be refused for good. */
  refuse: (bundle: BundleView) => string | undefined = () => undefined;
  /** What bundles cost, and the highest postage that anybody's deposit carries. */
  price: Price = FREE;
  carried = 2n ** 128n;
  /** Changes what it says that an account owes. */
  claim: (owed: bigint) => bigint = (owed) => owed;
  signingKey: Hex = receiptKey;
  includeDelay = 900n;
  /** Unix seconds; what expiry is compared with. */
  now = () => BigInt(Math.floor(Date.now() / 1_000));
  readonly #server: Server;
  readonly #streams = new Set<ServerResponse>();
  readonly #wake = new Set<() => void>();
  #order: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly anvil: Anvil,
    readonly domain: Domain,
    readonly laneCount: number,
  ) {
    this.lanes = Array.from({ length: laneCount }, () => ({ entries: [], batches: [] }));
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error) => response.destroy(error));
    });
  }

  static async start(anvil: Anvil, options: { laneCount?: number; parameters?: Parameters } = {}): Promise<ModelSequencer> {
    const { laneCount = 1 } = options;
    const settlement = await anvil.deploy({ ...options, laneCount });
    const model = new ModelSequencer(anvil, { chainId: 31_337n, settlement }, laneCount);
    await new Promise<void>((resolve) => model.#server.listen(0, '127.0.0.1', resolve));
    return model;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get settlement(): Hex {
    return this.domain.settlement;
  }

  async stop(): Promise<void> {
    this.cutStreams();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The next request of this kind goes wrong. */
  failNext(path: RegExp, fault: Fault, times = 1): void {
    let left = times;
    this.faults.push((_method, url) => {
      if (left === 0 || !path.test(url.pathname)) return undefined;
      left--;
      return fault;
    });
  }

  cutStreams(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Every message of the log, in order, as `nonce:payload length`. */
  messages(lane = 0): { id: string; payload: Uint8Array }[] {
    return (this.lanes[lane] as Lane).entries.flatMap(({ view }) =>
      Array.from({ length: view.count }, (_, index) => ({
        id: formatMessageId({ sender: view.sender, lane, nonce: view.nonce + BigInt(index) }),
        payload: messageAt(view, index).payload,
      })),
    );
  }

  /** Appends a bundle whatever it is; `claims` may be false. */
  async append(bundles: readonly Uint8Array[], lane = 0, claims: { void?: 0 | 1; previous?: bigint } = {}): Promise<Entry[]> {
    const { entries } = this.lanes[lane] as Lane;
    const firstSequence = BigInt(entries.length);
    const added = bundles.map((bundle, index): Entry => {
      const view = readBundle(bundle);
      const tree = viewTree(view);
      const structHash = bundleStructHash(fieldsOf(view, toHex(tree.root)));
      const hash = bundleHash(view.sender, structHash, view.signature);
      const earlier = [...entries, ...bundles.slice(0, index).map((one) => ({ void: 0, view: readBundle(one) }))];
      const last = earlier.findLastIndex((entry) => entry.void === 0 && entry.view.sender === view.sender);
      const isVoid = claims.void ?? 0;
      const previous = claims.previous ?? BigInt(last + 1);
      const leaf = entryHash(isVoid, previous, hash);
      const rest = { structHash: toHex(structHash), hash: toHex(hash), leaf, receipt: undefined as unknown as Receipt };
      return { void: isVoid, previous, bundle, view, tree, ...rest };
    });
    const tree = buildTree(added.map(({ leaf }) => leaf));
    const includeBy = (await this.anvil.blockNumber()) + this.includeDelay;
    const statement = { lane, term: 1, firstSequence, count: added.length, root: toHex(tree.root), includeBy };
    const digest = toHex(receiptDigest(domainSeparator(this.domain), statement));
    const signature = await sign({ hash: digest, privateKey: this.signingKey, to: 'hex' });
    for (const [index, entry] of added.entries()) {
      entry.receipt = buildReceipt(statement, signature, tree, index, {
        void: entry.void,
        previous: entry.previous,
        bundleHash: entry.hash,
      });
    }
    entries.push(...added);
    for (const wake of this.#wake) wake();
    return added;
  }

  /** Seals what is not sealed into one batch. */
  seal(lane = 0, change: (header: BatchHeader) => BatchHeader = (header) => header): BatchHeader {
    const { entries, batches } = this.lanes[lane] as Lane;
    const last = batches.at(-1)?.header;
    const firstSequence = last === undefined ? 0n : last.firstSequence + BigInt(last.count);
    const sealed = entries.slice(Number(firstSequence));
    const tree = buildTree(sealed.map(({ leaf }) => leaf));
    const number = (last?.number ?? 0n) + 1n;
    const file = encodeBatchFile({ lane, number, firstSequence, entries: sealed });
    const header = change({
      lane,
      term: 1,
      number,
      parentHash: last === undefined ? ZERO_HASH : batchHash(last),
      firstSequence,
      count: sealed.length,
      bundlesRoot: toHex(tree.root),
      inboxCount: 0n,
      timestamp: (last?.timestamp ?? 1_600_000_000n) + 1n,
      dataHash: dataHash([file]),
    });
    batches.push({ header, tree, file });
    return header;
  }

  /** Seals and commits. */
  async settle(lane = 0): Promise<BatchHeader> {
    const header = this.seal(lane);
    await this.anvil.commit(this.settlement, [header]);
    return header;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = new Uint8Array(Buffer.concat(chunks));
    const url = new URL(request.url ?? '/', this.url);
    const method = request.method ?? 'GET';
    let bundles = 0;
    if (method === 'POST') bundles = splitFrames(body).length;
    this.requests.push({ method, path: url.pathname + url.search, headers: request.headers, bundles });
    const fault = this.faults.map((one) => one(method, url, body)).find((one) => one !== undefined);
    if (fault === 'cut before') {
      request.socket.destroy();
      return;
    }
    if (typeof fault === 'object' && 'html' in fault) {
      response.writeHead(fault.status, { 'content-type': 'text/html' }).end(fault.html);
      return;
    }
    if (typeof fault === 'object') {
      const head = { 'content-type': 'application/problem+json', ...fault.headers };
      response.writeHead(fault.status, head).end(JSON.stringify({ status: fault.status, ...fault.problem }));
      return;
    }
    const answer = await this.#answer(method, url, body, response);
    if (fault === 'cut after') {
      request.socket.destroy();
      return;
    }
    if (answer === undefined) return;
    const { status, value } = answer;
    if (value instanceof Uint8Array) response.writeHead(status, { 'content-type': 'application/octet-stream' }).end(value);
    else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  }

  async #answer(
    method: string,
    url: URL,
    body: Uint8Array,
    response: ServerResponse,
  ): Promise<{ status: number; value: unknown } | undefined> {
    const [, , kind, a, b, c, d] = url.pathname.split('/');
    if (method === 'POST' && kind === 'bundles') {
      // One body after the other, as they arrived (§12).
      const answer = this.#order.then(() => this.#submit(body));
      this.#order = answer.catch(() => {});
      return answer;
    }
    if (kind === 'accounts') return ok(this.#account(a as Hex, Number(url.searchParams.get('lane') ?? 0)));
    if (kind === 'messages')
      return this.#message(a as Hex, Number(b), BigInt(c ?? 0), d === 'proof', url.searchParams.get('anchor'));
    if (kind === 'topics' && b === 'messages') return ok(this.#page(a as Hex, url));
    if (kind === 'topics' && b === 'stream') {
      this.#stream(a as Hex, url, response);
      return undefined;
    }
    if (kind === 'batches' && b !== undefined) {
      const batch = this.lanes[Number(a)]?.batches[Number(b) - 1];
      if (batch === undefined) return notFound;
      return ok(c === 'data' ? batch.file : this.#batchJson(batch));
    }
    if (kind === 'batches')
      return ok({ batches: this.lanes[0]?.batches.map((batch) => this.#batchJson(batch)).reverse(), next: null });
    if (kind === 'status') return ok(this.#status());
    return notFound;
  }

  async #submit(body: Uint8Array): Promise<{ status: number; value: unknown }> {
    const results: Record<string, unknown>[] = [];
    for (const bundle of splitFrames(body)) results.push(await this.#submitOne(bundle));
    const accepted = results.filter((result) => 'receipt' in result).length;
    if (accepted === results.length) return ok({ results });
    if (accepted > 0) return { status: 207, value: { results } };
    const first = results[0]?.error as { status: number };
    return { status: first.status, value: results.length > 1 ? { ...first, results } : first };
  }

  async #submitOne(bundle: Uint8Array): Promise<Record<string, unknown>> {
    const view = readBundle(bundle);
    const fields = fieldsOf(view, toHex(viewTree(view).root));
    const error = (status: number, code: string, facts = {}) => ({
      error: { type: 'about:blank', title: code, detail: code, status, code, ...facts },
    });
    const refused = this.refuse(view);
    if (refused !== undefined) return error(400, refused);
    if (view.lane >= this.laneCount) return error(422, 'bundle.wrong_lane');
    try {
      verifyBundleSignature(this.domain, fields);
    } catch {
      return error(401, 'bundle.bad_signature');
    }
    const structHash = toHex(bundleStructHash(fields));
    const { entries } = this.lanes[view.lane] as Lane;
    const known = entries.find(
      (entry) => entry.void === 0 && entry.structHash === structHash && entry.view.sender === view.sender,
    );
    if (known !== undefined) return { receipt: receiptToJson(this.forge(known.receipt)) };
    if (view.expiry < this.now()) return error(422, 'bundle.expired');
    const { nonce } = this.#account(view.sender, view.lane);
    if (String(view.nonce) !== nonce) return error(409, 'bundle.nonce', { expected: nonce });
    const owed = this.#owed(view.sender, view.lane);
    const asked = owed + bundlePrice(this.price, view.count, bundle.length);
    const expected = String(asked);
    if (view.postage < asked) return error(402, 'bundle.postage', { expected });
    if (view.postage > this.carried) return error(402, 'bundle.postage', { expected, available: String(this.carried - owed) });
    const [entry] = await this.append([bundle], view.lane);
    return { receipt: receiptToJson(this.forge((entry as Entry).receipt)) };
  }

  #account(address: Hex, lane: number) {
    const last = this.lanes[lane]?.entries.findLast((entry) => entry.void === 0 && entry.view.sender === address);
    const nonce = String(last === undefined ? 0n : last.view.nonce + BigInt(last.view.count));
    return { address, lane, nonce, owed: String(this.claim(this.#owed(address, lane))), price: priceToJson(this.price) };
  }

  #owed(sender: Hex, lane: number): bigint {
    let owed = 0n;
    for (const { view } of this.lanes[lane]?.entries ?? []) {
      if (view.sender === sender && view.postage > owed) owed = view.postage;
    }
    return owed;
  }

  #find(sender: Hex, lane: number, nonce: bigint): Entry | undefined {
    return this.lanes[lane]?.entries.find(
      ({ void: isVoid, view }) =>
        isVoid === 0 && view.sender === sender && view.nonce <= nonce && nonce < view.nonce + BigInt(view.count),
    );
  }

  #receiptProof(entry: Entry, index: number) {
    return { ...buildBundleProof(this.domain, entry.view, entry.tree, index), receipt: this.forge(entry.receipt) };
  }

  #message(sender: Hex, lane: number, nonce: bigint, proof: boolean, anchor: string | null) {
    const entry = this.#find(sender, lane, nonce);
    if (entry === undefined) return notFound;
    const index = Number(nonce - entry.view.nonce);
    if (!proof) return ok(this.#messageJson(entry, index, false));
    if (anchor === 'receipt') return ok(receiptProofToJson(this.#receiptProof(entry, index)));
    const { sequence } = entry.receipt;
    const batch = this.lanes[lane]?.batches.find(({ header }) => sequence < header.firstSequence + BigInt(header.count));
    if (batch === undefined) {
      const value = {
        type: 'about:blank',
        title: 'not sealed',
        detail: 'not sealed',
        status: 404,
        code: 'proof.not_sealed',
        retryAfterMs: 10,
      };
      return { status: 404, value };
    }
    const inner = buildBundleProof(this.domain, entry.view, entry.tree, index);
    return ok(proofToJson(buildMessageProof(inner, entry, batch, Number(sequence - batch.header.firstSequence))));
  }

  #messageJson(entry: Entry, index: number, proofs: boolean): Record<string, unknown> {
    const { sender, lane, nonce } = entry.view;
    const { topic, payload } = messageAt(entry.view, index);
    return this.tamper({
      sender,
      lane,
      nonce: String(nonce + BigInt(index)),
      topic,
      payload: toBase64(payload),
      sequence: String(entry.receipt.sequence),
      index,
      status: 'accepted',
      expired: false,
      batch: null,
      cursor: `${entry.receipt.sequence}.${index}`,
      ...(proofs ? { proof: receiptProofToJson(this.#receiptProof(entry, index)) } : {}),
    });
  }

  #after(topic: Hex, url: URL, limit: number): Record<string, unknown>[] {
    const lane = this.lanes[topicLane(topic, this.laneCount)] as Lane;
    const all = lane.entries.flatMap((entry) =>
      entry.void === 1
        ? []
        : Array.from({ length: entry.view.count }, (_, index) => ({ entry, index })).filter(
            (one) => messageAt(one.entry.view, one.index).topic === topic,
          ),
    );
    const after = url.searchParams.get('after');
    const [sequence = -1, index = -1] = after === null ? [] : after.split('.').map(Number);
    return all
      .filter(
        ({ entry, index: at }) =>
          Number(entry.receipt.sequence) > sequence || (Number(entry.receipt.sequence) === sequence && at > index),
      )
      .slice(0, limit)
      .map((one) => this.#messageJson(one.entry, one.index, true));
  }

  #page(topic: Hex, url: URL) {
    const messages = this.#after(topic, url, Number(url.searchParams.get('limit') ?? 100));
    return { messages, next: messages.at(-1)?.cursor ?? url.searchParams.get('after') ?? '-1.-1' };
  }

  #stream(topic: Hex, url: URL, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': hello\n\n');
    this.#streams.add(response);
    const push = () => {
      for (const message of this.#after(topic, url, 1_000)) {
        response.write(`event: message\nid: ${message.cursor}\ndata: ${JSON.stringify(message)}\n\n`);
        url.searchParams.set('after', String(message.cursor));
      }
    };
    push();
    this.#wake.add(push);
    response.once('close', () => {
      this.#streams.delete(response);
      this.#wake.delete(push);
    });
  }

  #batchJson({ header, file }: Lane['batches'][number]) {
    return {
      header: headerToJson(header),
      batchHash: batchHash(header),
      cid: dataCid(header.dataHash),
      status: 'sealed',
      transactionHash: null,
      blockNumber: null,
      bytes: file.length,
      messages: 0,
    };
  }

  #status() {
    return {
      version: 'model',
      chainId: String(this.domain.chainId),
      settlement: this.settlement,
      sequencer: ZERO_HASH.slice(0, 42),
      laneCount: this.laneCount,
      lanes: this.lanes.map(({ entries, batches }, lane) => {
        const head = batches.at(-1)?.header;
        const sealed = String(head === undefined ? 0n : head.firstSequence + BigInt(head.count));
        const rungs = { accepted: String(entries.length), sealed, committed: sealed, safe: '0', finalized: '0' };
        return { lane, term: 1, ...rungs, batch: batches.length };
      }),
      limits: { maxPayloadBytes: 65_536, maxMessagesPerBundle: 4_096, maxBundleBytes: 1_048_576, maxBodyBytes: 16_777_216 },
      price: priceToJson(this.price),
    };
  }
}

const ok = (value: unknown) => ({ status: 200, value });
const notFound = {
  status: 404,
  value: { type: 'about:blank', title: 'unknown', detail: 'unknown', status: 404, code: 'not_found' },
};
