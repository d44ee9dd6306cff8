import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BatchHeader, batchHash, type Hex, toHex, ZERO_HASH } from '@sealpost/prover';
import { privateKeyToAddress } from 'viem/accounts';
import { afterEach, vi } from 'vitest';
import { nativeHashing } from '../src/adapters/native.js';
import { createStore, loadStore } from '../src/adapters/sqlite.js';
import { createL1 } from '../src/adapters/viem.js';
import { defaultFollowerConfig, Follower, type FollowerConfig } from '../src/follower.js';
import type { Clock, L1, Log, Store } from '../src/ports.js';
import { defaultPosterConfig, Poster, type PosterConfig } from '../src/poster.js';
import { type Anvil, type AnvilOptions, KEYS, startAnvil } from './anvil.js';
import { type NodeProxy, startProxy } from './proxy.js';

export const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

/** Polls: the thing waited for is another process's doing. */
export async function until<T>(what: string, condition: () => T | Promise<T>, timeoutMs = 30_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export interface WorldOptions {
  readonly url: string;
  readonly settlement: Hex;
  readonly laneCount?: number;
  readonly timeoutMs?: number;
  readonly follower?: Partial<FollowerConfig>;
  readonly poster?: Partial<PosterConfig>;
  /** Lets a test stand between a stage and the L1, to stop time at a certain call. */
  readonly wrap?: (l1: L1) => L1;
}

/** The real store, adapter, follower and poster, wired as main.ts does, over a database in a temporary folder. */
export class World {
  readonly events: { event: string; facts: Record<string, unknown> }[] = [];
  readonly fatal: unknown[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), 'sealpost-l1-'));
  l1!: L1;
  store!: Store;
  follower!: Follower;
  poster!: Poster;

  private constructor(private options: WorldOptions) {}

  static async create(options: WorldOptions): Promise<World> {
    const world = new World(options);
    const { settlement, laneCount = 1 } = options;
    const signer = privateKeyToAddress(KEYS[1]).toLowerCase() as Hex;
    world.store = await createStore(world.path, { chainId: 31337n, settlement, laneCount, signer });
    world.run();
    return world;
  }

  private get path(): string {
    return join(this.folder, 'db.sqlite');
  }

  private run(): void {
    const { url, settlement, timeoutMs = 2_000, wrap = (l1) => l1 } = this.options;
    const note = (event: string, facts: Record<string, unknown> = {}) => void this.events.push({ event, facts });
    const log: Log = { info: note, warn: note, error: note };
    const onFatal = (error: unknown) => void this.fatal.push(error);
    const { store } = this;
    const l1 = wrap(createL1({ url, settlement, posterKey: KEYS[0], openerKey: KEYS[1], timeoutMs }));
    this.l1 = l1;
    const following = { ...defaultFollowerConfig, pollMs: 20, maxBackoffMs: 200, behindGraceMs: 500, ...this.options.follower };
    this.follower = new Follower({ l1, store, clock, log, onFatal, config: following });
    const view = () => this.follower.view();
    const posting = { ...defaultPosterConfig, pollMs: 20, maxBackoffMs: 200, bumpAfterMs: 500, ...this.options.poster };
    this.poster = new Poster({ l1, store, view, hashing: nativeHashing, clock, log, onFatal, config: posting });
    this.follower.onChange(() => this.poster.notify());
  }

  /** As after a crash or a restart: everything new, over the same database. */
  async restart(options: Partial<WorldOptions> = {}): Promise<void> {
    await this.stop();
    await this.restartStopped(options);
  }

  /** The same, if `stop` was called already. */
  async restartStopped(options: Partial<WorldOptions> = {}): Promise<void> {
    this.options = { ...this.options, ...options };
    this.store = await loadStore(this.path);
    this.run();
  }

  async stop(): Promise<void> {
    await Promise.all([this.poster.stop(), this.follower.stop()]);
    await this.store.close();
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true });
  }

  /** Seals batches whose content is of no interest here, at the time of the newest L1 block. */
  async seal(count = 1, lane = 0, more: Partial<BatchHeader> = {}): Promise<void> {
    const view = await until('a view', () => this.follower.view());
    for (let sealed = 0; sealed < count; sealed++) {
      const parent = this.store.lastBatch(lane);
      const at = view.latest.timestamp;
      const header: BatchHeader = {
        lane,
        term: 1,
        number: (parent?.header.number ?? 0n) + 1n,
        parentHash: parent?.batchHash ?? ZERO_HASH,
        firstSequence: parent ? parent.header.firstSequence + BigInt(parent.header.count) : 0n,
        count: 3,
        bundlesRoot: toHex(crypto.getRandomValues(new Uint8Array(32))),
        inboxCount: 0n,
        timestamp: parent && parent.header.timestamp > at ? parent.header.timestamp : at,
        dataHash: toHex(crypto.getRandomValues(new Uint8Array(32))),
        ...more,
      };
      await this.store.appendBatch({ header, batchHash: batchHash(header), bytes: 100, messages: 3 }, new Uint8Array(32));
    }
    this.poster.notify();
  }

  rung(rung: 'committed' | 'safe' | 'finalized' = 'committed', lane = 0): bigint {
    return this.follower.view()?.lanes[lane]?.[rung].number ?? -1n;
  }

  /** Waits for a rung to reach a batch. */
  async reaches(number: bigint, rung: 'committed' | 'safe' | 'finalized' = 'committed', lane = 0): Promise<void> {
    await until(`batch ${number} ${rung}`, () => this.rung(rung, lane) >= number).catch((error: Error) => {
      throw new Error(`${error.message}; ${this.story()}`);
    });
  }

  count(event: string): number {
    return this.events.filter((noted) => noted.event === event).length;
  }

  /** For a failing test: what happened, in one line. */
  story(): string {
    const words = (value: unknown) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v));
    const { pendingSend, ...status } = this.poster.status();
    return words({
      status,
      nonce: pendingSend?.nonce,
      fatal: this.fatal.map(String),
      view: this.follower.view(),
      events: this.events.slice(-12),
    });
  }
}

/** Makes what a test needs, and takes it away after the test, last in, first out. */
export function fixtures() {
  vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
  return {
    async chain(options: AnvilOptions = { blockTime: 0.1 }): Promise<Anvil> {
      const anvil = await startAnvil(options);
      closers.push(() => anvil.stop('SIGKILL'));
      return anvil;
    },
    async world(options: WorldOptions): Promise<World> {
      const it = await World.create(options);
      closers.push(() => it.close());
      return it;
    },
    async proxied(target: string): Promise<NodeProxy> {
      const proxy = await startProxy(target);
      closers.push(() => proxy.close());
      return proxy;
    },
  };
}
