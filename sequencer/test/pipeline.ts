import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { domainSeparator, FREE, type Hex } from '@sealpost/prover';
import { createSigner, nativeHashing } from '../src/adapters/native.js';
import { createSignedMark, loadSignedMark, type SignedMarkFile } from '../src/adapters/signed-mark.js';
import { createStore, loadStore, type StoreOptions } from '../src/adapters/sqlite.js';
import { AccountRates, submissionOfFrames } from '../src/admission.js';
import { createApp, type HttpLimits, type Readiness } from '../src/http.js';
import { dueBundles } from '../src/inbox.js';
import { Live } from '../src/live.js';
import { Metrics } from '../src/metrics.js';
import type { Clock, Genesis, L1Block, L1View, Log, SealedBatch, SignedMark, Store, Term } from '../src/ports.js';
import type { Tariff } from '../src/postage.js';
import { LogReader } from '../src/reader.js';
import { ReceiptBook } from '../src/receipts.js';
import { type BatchDigest, digestBatch, Sealer, type SealLimits } from '../src/sealer.js';
import { type Outcome, Sequencer } from '../src/sequencer.js';
import { createSubmit, type Submit, submitFirst } from '../src/submit.js';
import { Thread } from '../src/threads.js';
import { type Body, type VerifiedBody, VerifierPool } from '../src/verifier.js';
import { Account, DOMAIN, frames, type SignedBundle } from './bundles.js';

export const SIGNER = createSigner(`0x${Buffer.from(new Account('sequencer').key).toString('hex')}`);
const FIRST_TERM: Term = { term: 1, firstSequence: 0n };
export const MAX_INCLUDE_DELAY = 1_800n;
/** Unix seconds at which every test's clock and L1 start. */
export const START = 1_900_000_000n;

export const genesisOf = (laneCount: number): Genesis => ({ ...DOMAIN, laneCount, signer: SIGNER.address });

/** A clock that goes when it is told to. */
export class ManualClock implements Clock {
  ms = Number(START) * 1_000;
  monotonicMs = 1_000;

  now(): number {
    return this.ms;
  }

  monotonic(): number {
    return this.monotonicMs;
  }

  advance(ms: number): void {
    this.ms += ms;
    this.monotonicMs += ms;
  }
}

export const blockAt = (number: bigint, timestamp: bigint): L1Block => ({
  number,
  hash: `0x${number.toString(16).padStart(64, '0')}`,
  parentHash: `0x${(number - 1n).toString(16).padStart(64, '0')}`,
  timestamp,
});

/** What a follower would have seen: an L1 at `number`, and how many entries and batches of each lane stand on which rung. */
export function viewAt(number: bigint, timestamp: bigint, lanes: L1View['lanes'], movedAt = 1_000): L1View {
  return { latest: blockAt(number, timestamp), safe: number, finalized: number, movedAt, lanes, standings: [] };
}

const NOTHING = { number: 0n, nextSequence: 0n };
export const emptyLanes = (laneCount: number): L1View['lanes'] =>
  Array.from({ length: laneCount }, () => ({ committed: NOTHING, safe: NOTHING, finalized: NOTHING }));

const pools = new Map<number, VerifierPool>();

/** Verifying threads, shared by all pipelines of a test file with as many lanes. */
export function verifiers(laneCount: number): VerifierPool {
  let pool = pools.get(laneCount);
  if (pool === undefined) {
    const data = { separator: domainSeparator(DOMAIN), laneCount };
    const script = new URL('../src/adapters/verify-worker.js', import.meta.url);
    pool = new VerifierPool([new Thread(script, data), new Thread(script, data)]);
    pools.set(laneCount, pool);
  }
  return pool;
}

export async function closeVerifiers(): Promise<void> {
  await Promise.all([...pools.values()].map((pool) => pool.close()));
  pools.clear();
}

export interface PipelineOptions {
  readonly laneCount?: number;
  /** Over a database that is there, instead of a new one in a temporary folder. */
  readonly folder?: string;
  /** Of all lanes; their first if absent. */
  readonly term?: Term;
  readonly seal?: Partial<SealLimits>;
  readonly http?: Partial<HttpLimits>;
  readonly store?: StoreOptions;
  /** Digests batches on this thread: for tests that open very many pipelines. */
  readonly digestHere?: boolean;
  readonly maxL1AgeMs?: number;
  readonly maxGroupBytes?: number;
  /** Messages a second and at once. */
  readonly rate?: readonly [number, number];
  readonly clock?: ManualClock;
  /** What bundles cost; nothing if absent. */
  readonly tariff?: Tariff;
  /** Lets a test stand between everything and the store. */
  readonly wrapStore?: (store: Store) => Store;
  /** Lets a test stand between the receipts and the mark of what is signed. */
  readonly wrapSigned?: (signed: SignedMark) => SignedMark;
  /** Lets a test hold back or reorder verification. */
  readonly wrapVerify?: (verify: (body: Body) => Promise<VerifiedBody>) => (body: Body) => Promise<VerifiedBody>;
  readonly readiness?: () => Readiness;
}

/** Everything between HTTP and disk, wired as main.ts does, with a clock and an L1 view that a test sets. */
export class Pipeline {
  readonly clock: ManualClock;
  readonly live = new Live();
  readonly events: { level: 'info' | 'warn' | 'error'; event: string; facts: Record<string, unknown> }[] = [];
  readonly fatal: unknown[] = [];
  readonly sealedBatches: SealedBatch[] = [];
  readonly sealer: Sealer;
  readonly sequencer: Sequencer;
  readonly reader: LogReader;
  readonly metrics: Metrics;
  readonly book: ReceiptBook;
  readonly app: ReturnType<typeof createApp>;
  private readonly submitted: Submit;
  view: L1View | undefined;
  private digester: Thread | undefined;
  private readonly servers: Server[] = [];
  private onSeal: () => void = () => {};

  private constructor(
    readonly store: Store,
    readonly signed: SignedMarkFile,
    readonly folder: string,
    private readonly options: PipelineOptions,
  ) {
    const { laneCount } = store.genesis;
    this.clock = options.clock ?? new ManualClock();
    const { clock, live } = this;
    this.view = viewAt(100n, START, emptyLanes(laneCount), clock.monotonicMs);
    const view = () => this.view;
    const note =
      (level: 'info' | 'warn' | 'error') =>
      (event: string, facts: Record<string, unknown> = {}) =>
        void this.events.push({ level, event, facts });
    const log: Log = { info: note('info'), warn: note('warn'), error: note('error') };
    const onFatal = (error: unknown) => {
      this.fatal.push(error);
      this.onSeal();
    };
    const term = options.term ?? FIRST_TERM;
    const termOf = () => term.term;
    this.sealer = new Sealer({
      store,
      digest: async (request) => {
        if (options.digestHere) {
          const { lane, firstSequence, count } = request;
          return digestBatch(request, store.entryPages(lane, firstSequence, count), nativeHashing);
        }
        this.digester ??= new Thread(new URL('../src/adapters/digest-worker.js', import.meta.url), { path: pathIn(folder) });
        return this.digester.call<BatchDigest>(request);
      },
      clock,
      log,
      limits: { maxEntries: 4_096, maxBytes: 67_108_864, maxAgeMs: 1_000_000, ...options.seal },
      termOf,
      view,
      onSealed: (batch) => {
        this.sealedBatches.push(batch);
        this.onSeal();
      },
      onFatal,
    });
    const terms = { view, clock, maxIncludeDelay: MAX_INCLUDE_DELAY, maxL1AgeMs: options.maxL1AgeMs ?? 0 };
    const separator = domainSeparator(DOMAIN);
    const mark = options.wrapSigned?.(signed) ?? signed;
    this.book = new ReceiptBook({
      store,
      signer: SIGNER,
      signed: mark,
      separator,
      terms,
      termOf: () => term,
      hashing: nativeHashing,
    });
    const rates = options.rate && new AccountRates(...options.rate, () => clock.monotonic());
    const verify = (body: Body) => verifiers(laneCount).verify(body);
    this.sequencer = new Sequencer({
      store,
      book: this.book,
      verify: options.wrapVerify?.(verify) ?? verify,
      view,
      terms,
      clock,
      log,
      hashing: nativeHashing,
      maxGroupBytes: options.maxGroupBytes ?? 8_388_608,
      tariff: options.tariff,
      forcedDue: () => {
        const standing = { ...term, beginBlock: 0n, poster: SIGNER.address, receiptSigner: SIGNER.address, exitRequestedAt: 0n };
        const standings = Array.from({ length: laneCount }, () => standing);
        return dueBundles(store, this.view && { ...this.view, standings }, () => term);
      },
      ...(rates === undefined ? {} : { waitForRate: (sender: Hex, messages: number) => rates.take(sender, messages) }),
      onAppended: (groups, topicKeys) => {
        for (const { lane, entries } of groups) {
          this.sealer.added(
            lane,
            entries.map(({ bytes }) => bytes),
          );
        }
        live.added(topicKeys);
      },
      onFatal,
    });
    const { book, sequencer, sealer } = this;
    const sealed = (lane: number) => sealer.sealed(lane);
    this.reader = new LogReader({ store, book, domain: DOMAIN, hashing: nativeHashing, view, sealed });
    this.metrics = new Metrics(
      {
        heads: () => this.reader.heads(),
        queuedBytes: () => sequencer.queuedBytes,
        unsealedEntries: () => sealer.unsealed,
        waitingReaders: () => live.size,
        diskBytes: () => store.bytesOnDisk(),
        l1: () => undefined,
        openings: () => ({ demands: 0, given: { answer: 0, redeem: 0 } }),
        poster: () => ({ walletWei: undefined, backlogBatches: 0, attempts: {}, feeBumps: 0 }),
      },
      clock,
    );
    const limits = {
      maxBodyBytes: 16_777_216,
      maxQueueBytes: 67_108_864,
      maxWaiting: 1_000,
      stallMs: 15_000,
      heartbeatMs: 15_000,
      ...options.http,
    };
    this.submitted = createSubmit({ sequencer, metrics: this.metrics, log, limits });
    this.app = createApp({
      store,
      sequencer,
      submit: this.submitted,
      reader: this.reader,
      live,
      metrics: this.metrics,
      log,
      domain: DOMAIN,
      signer: SIGNER.address,
      version: '0.0.0-test',
      termOf,
      price: options.tariff?.price ?? FREE,
      readiness: options.readiness ?? (() => ({ ready: true, checks: {}, backlogBatches: 0, walletWei: null })),
      limits,
    });
  }

  static async open(options: PipelineOptions = {}): Promise<Pipeline> {
    const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'sealpost-pipeline-'));
    const store =
      options.folder === undefined
        ? await createStore(pathIn(folder), genesisOf(options.laneCount ?? 1), options.store)
        : await loadStore(pathIn(folder), options.store);
    try {
      const endOf = (lane: number) => ({ ...(options.term ?? FIRST_TERM), nextSequence: store.tail(lane).nextSequence });
      const path = markIn(folder);
      const signed = existsSync(path) ? loadSignedMark(path, store.genesis) : createSignedMark(path, store.genesis, endOf);
      signed.begin(endOf);
      return new Pipeline(options.wrapStore?.(store) ?? store, signed, folder, options);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** What becomes of bundles sent in one body. */
  submit(...bundles: readonly SignedBundle[]): Promise<Outcome[]> {
    return this.submitBytes(frames(...bundles));
  }

  submitBytes(bytes: Uint8Array): Promise<Outcome[]> {
    const { body } = submissionOfFrames(bytes);
    if (body === undefined) throw new Error('expected a body with bundles');
    return this.sequencer.submit(body);
  }

  post(bytes: Uint8Array<ArrayBuffer> | string, type = typeof bytes === 'string' ? 'json' : 'octet-stream'): Promise<Response> {
    const headers = { 'Content-Type': `application/${type}` };
    return Promise.resolve(this.app.request('/v1/bundles', { method: 'POST', headers, body: bytes }));
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return Promise.resolve(this.app.request(path, { headers }));
  }

  async json<T = Record<string, unknown>>(path: string): Promise<T> {
    return (await (await this.get(path)).json()) as T;
  }

  /** The L1's newest block, from now on. */
  l1At(number: bigint, timestamp: bigint): void {
    this.view = viewAt(number, timestamp, this.view?.lanes ?? emptyLanes(this.store.genesis.laneCount), this.clock.monotonicMs);
  }

  /** Every entry so far is in a batch when this resolves. */
  async seal(): Promise<void> {
    this.clock.monotonicMs += this.options.seal?.maxAgeMs ?? 1_000_000;
    await new Promise<void>((resolve, reject) => {
      this.onSeal = () => {
        if (this.fatal.length > 0) reject(this.fatal[0] as Error);
        else if (this.sealer.unsealed === 0) resolve();
      };
      this.sealer.start();
      this.onSeal();
    });
  }

  /** A listening server, as main.ts makes it; its URL. */
  async listen({ requestTimeoutMs = 30_000 } = {}): Promise<{ server: Server; url: string; port: number }> {
    const server = createServer(
      { connectionsCheckingInterval: 50 },
      submitFirst(this.submitted, getRequestListener(this.app.fetch)),
    );
    server.headersTimeout = requestTimeoutMs;
    server.requestTimeout = requestTimeoutMs;
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    return { server, url: `http://127.0.0.1:${port}`, port };
  }

  /** The end of a process that died: nothing is waited for but the release of what a dead process holds no more. */
  async abandon(): Promise<void> {
    void this.sealer.stop();
    await this.digester?.terminate();
    this.signed.release();
    await this.store.close();
  }

  /** An orderly end, in main.ts's order. The database stays, for the next `open`. */
  async stop(): Promise<void> {
    this.live.end();
    for (const server of this.servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    if (this.fatal.length === 0) await this.sequencer.stop();
    await this.sealer.stop();
    await this.digester?.terminate();
    this.signed.close();
    await this.store.close();
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true });
  }
}

export const markIn = (folder: string): string => join(folder, 'signed.mark');
export const pathIn = (folder: string): string => join(folder, 'sequencer.sqlite');
