import { rmSync } from 'node:fs';
import { type Hex, type Receipt, verifyReceipt } from '@sealpost/prover';
import { afterAll, describe, expect, test } from 'vitest';
import { nativeRecover } from '../src/adapters/native.js';
import type { Commitment, L1Block, SendRecord, Store } from '../src/ports.js';
import type { Outcome } from '../src/sequencer.js';
import { auditLog } from './audit.js';
import { Account, DOMAIN, type SignedBundle } from './bundles.js';
import { blockAt, closeVerifiers, MAX_INCLUDE_DELAY, ManualClock, Pipeline, SIGNER } from './pipeline.js';

afterAll(closeVerifiers);

const WRITES = ['appendGroups', 'appendBatch', 'applyL1', 'recordSend', 'forgetSends'] as const;
type Write = (typeof WRITES)[number];
/** `lost`: the machine died before the write was on disk. `persisted`: right after, before anybody was told. */
type Fate = 'lost' | 'persisted';

/** A store whose `fatal`th write is the process's last moment. */
function mortal(store: Store, fatal: number, fate: Fate, done: Write[]): { store: Store; death: Promise<void> } {
  let dead = false;
  let die = () => {};
  const death = new Promise<void>((resolve) => {
    die = resolve;
  });
  const wrapped = new Proxy(store, {
    get: (target, name: keyof Store) => {
      const member = target[name];
      if (typeof member !== 'function') return member;
      const method = (member as (...args: unknown[]) => unknown).bind(target);
      if (!WRITES.includes(name as Write)) return method;
      return async (...args: unknown[]) => {
        if (dead) return new Promise(() => {});
        if (done.length === fatal) {
          dead = true;
          if (fate === 'persisted') await method(...args);
          die();
          // Whoever waits for this write is never told: it died, too.
          return new Promise(() => {});
        }
        done.push(name as Write);
        return method(...args);
      };
    },
  });
  return { store: wrapped, death };
}

const [alice, bob] = [new Account('alice'), new Account('bob')];
const LANES = 2;
const on = (account: Account, lane: number, nonce: bigint, count = 2): SignedBundle =>
  account.sign({
    lane,
    laneCount: LANES,
    nonce,
    messages: Array.from({ length: count }, (_, index) => `${account.name} ${lane}/${nonce} ${index}`),
  });
/** What the clients want to have in the log, body by body. */
const BODIES: readonly (readonly SignedBundle[])[] = [
  [on(alice, 0, 0n), on(bob, 0, 0n, 1)],
  [on(alice, 0, 2n), on(alice, 1, 0n)],
  [on(bob, 1, 0n, 3)],
  [on(alice, 0, 4n), on(bob, 0, 1n)],
];

/** The sequencer's clients: they remember what was acknowledged, and send again what was not. */
class Clients {
  readonly receipts = new Map<SignedBundle, Receipt>();

  note(bundles: readonly SignedBundle[], outcomes: readonly Outcome[]): void {
    outcomes.forEach((outcome, index) => {
      if ('error' in outcome) throw outcome.error;
      const bundle = bundles[index] as SignedBundle;
      const { receipt } = outcome;
      verifyReceipt(
        receipt,
        { ...DOMAIN, signer: SIGNER.address, term: 1, latestBlock: 100n, maxIncludeDelay: MAX_INCLUDE_DELAY },
        { recover: nativeRecover },
      );
      expect(receipt.bundleHash).toBe(bundle.bundleHash);
      // Acknowledged once, it stands there for good.
      const { sequence, previous } = this.receipts.get(bundle) ?? receipt;
      expect([receipt.sequence, receipt.previous]).toEqual([sequence, previous]);
      this.receipts.set(bundle, receipt);
    });
  }
}

const block = (number: bigint): L1Block => blockAt(number, 1_900_000_000n + number);

/** What poster and follower write down about a batch, as they do: send, then the block that holds it, then forgetting. */
async function settle(store: Store, at: bigint): Promise<void> {
  const batch = store.lastBatch(0);
  if (batch === undefined) return;
  const { number } = batch.header;
  const transactionHash: Hex = `0x${number.toString(16).padStart(64, '7')}`;
  const send: SendRecord = {
    transactionHash,
    nonce: Number(number),
    lane: 0,
    firstNumber: number,
    lastNumber: number,
    maxFeePerGas: 1n,
    maxPriorityFeePerGas: 1n,
    raw: '0x02',
    sentAt: 1,
  };
  if (store.commitment(0, number) === undefined) {
    if (!store.sends().some((sent) => sent.transactionHash === transactionHash)) await store.recordSend(send);
    const commitment: Commitment = {
      lane: 0,
      number,
      batchHash: batch.batchHash,
      transactionHash,
      blockNumber: at,
      blockHash: block(at).hash,
    };
    await store.applyL1({
      keepUpTo: at - 1n,
      blocks: [block(at)],
      commitments: [commitment],
      forced: [],
      demands: [],
      answered: [],
    });
  }
  const sent = store.sends().map((one) => one.transactionHash);
  if (sent.length > 0) await store.forgetSends(sent);
}

/** The whole day, from wherever the log stands: sends what is not acknowledged, seals, settles. */
async function live(it: Pipeline, clients: Clients): Promise<void> {
  for (const [index, bundles] of BODIES.entries()) {
    if (!bundles.every((bundle) => clients.receipts.has(bundle))) clients.note(bundles, await it.submit(...bundles));
    if (index % 2 === 1) {
      await it.seal();
      await settle(it.store, BigInt(10 + index));
    }
  }
}

async function open(folder?: string, wrapStore?: (store: Store) => Store): Promise<Pipeline> {
  return Pipeline.open({
    laneCount: LANES,
    digestHere: true,
    clock: new ManualClock(),
    ...(folder === undefined ? {} : { folder }),
    ...(wrapStore === undefined ? {} : { wrapStore }),
  });
}

async function check(it: Pipeline, clients: Clients): Promise<void> {
  expect(it.fatal).toEqual([]);
  const audited = auditLog(it);
  const wanted = BODIES.flat();
  expect(clients.receipts.size).toBe(wanted.length);
  expect(audited).toHaveLength(wanted.length);
  for (const [bundle, receipt] of clients.receipts) {
    const stands = audited.filter(({ bundleHash }) => bundleHash === bundle.bundleHash);
    expect(stands).toMatchObject([{ lane: receipt.lane, sequence: receipt.sequence, previous: receipt.previous }]);
    // Asked again, the same answer.
    clients.note([bundle], await it.submit(bundle));
  }
  expect(it.store.sends()).toEqual([]);
  const last = it.store.lastBatch(0);
  expect(it.store.commitment(0, last?.header.number ?? 0n)?.batchHash).toBe(last?.batchHash);
}

async function writesOfAnOrdinaryDay(): Promise<Write[]> {
  const done: Write[] = [];
  const it = await open(undefined, (store) => mortal(store, Number.POSITIVE_INFINITY, 'lost', done).store);
  const clients = new Clients();
  await live(it, clients);
  await it.stop();
  const again = await open(it.folder);
  await check(again, clients);
  await again.close();
  return done;
}

const day = await writesOfAnOrdinaryDay();

test('an ordinary day writes everything there is to write', () => {
  expect(new Set(day)).toEqual(new Set(WRITES));
  expect(day.length).toBeGreaterThanOrEqual(14);
});

describe.each<Fate>(['lost', 'persisted'])('the process dies, and the write was %s', (fate) => {
  test.each(day.map((write, index) => [index, write] as const))('write %i, %s', async (fatal) => {
    const clients = new Clients();
    const done: Write[] = [];
    let death: Promise<void> | undefined;
    const first = await open(undefined, (store) => {
      const it = mortal(store, fatal, fate, done);
      death = it.death;
      return it.store;
    });
    const lived = live(first, clients)
      .then(() => first.sequencer.stop())
      .then(() => 'lived');
    lived.catch(() => undefined);
    expect(await Promise.race([lived, (death as Promise<void>).then(() => 'died')])).toBe('died');
    const acknowledged = new Map(clients.receipts);
    await first.abandon();

    const second = await open(first.folder);
    try {
      for (const [bundle, { sequence }] of acknowledged) {
        expect(second.store.entryByNonce(bundle.bundle.sender, bundle.bundle.lane, bundle.bundle.nonce)?.sequence).toBe(sequence);
      }
      await live(second, clients);
      await second.seal();
      await settle(second.store, 99n);
      await check(second, clients);
    } finally {
      await second.stop();
      rmSync(first.folder, { recursive: true });
    }
  });
});
