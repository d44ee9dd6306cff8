import { readBundle } from '@sealpost/prover';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createClient, memoryOutbox, systemClock } from '../src/index.js';
import {
  type ForcedSender,
  type ForcePlan,
  forceMessage,
  forcePending,
  inboxEntries,
  Settlement,
  waitForPlace,
} from '../src/settlement.js';
import { type Anvil, devAccount, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

// One of anvil's rich accounts: who forces pays.
const { account } = devAccount(6);
const sender = account.address.toLowerCase() as `0x${string}`;
const NOWHERE = { topic: `0x${'00'.repeat(32)}` } as const;
const text = (words: string) => ({ ...NOWHERE, payload: new TextEncoder().encode(words) });
const HOUR = 3_600;

let anvil: Anvil;
let model: ModelSequencer;

beforeAll(async () => {
  anvil = await startAnvil();
  await anvil.request('evm_setIntervalMining', [0]);
  await anvil.request('evm_setAutomine', [true]);
}, 30_000);
beforeEach(async () => {
  await model?.stop();
  model = await ModelSequencer.start(anvil);
});
afterAll(async () => {
  await model?.stop();
  await anvil?.stop();
});

/** The same account's next process has the same outbox. */
async function connect(outbox = memoryOutbox(), expirySeconds = HOUR): Promise<ForcedSender> {
  const { url, settlement } = model;
  const client = await createClient({ url, l1: anvil.transport, settlement, account, outbox, expirySeconds, random: () => 0 });
  const contract = await Settlement.connect({ transport: anvil.transport, settlement, clock: systemClock });
  return { client, settlement: contract, account, outbox };
}

/** Bundles are refused by somebody on the way. */
const refuseBundles = () => model.failNext(/bundles/, { status: 403, html: '<h1>no</h1>' }, Number.POSITIVE_INFINITY);
const inInbox = ({ settlement }: ForcedSender) => inboxEntries(settlement, 0, sender);

async function left({ client, outbox }: ForcedSender) {
  const { chainId, settlement } = client;
  const lane = await outbox.open({ chainId, settlement, sender, lane: 0 }, { signal: new AbortController().signal });
  await lane.close();
  return lane.pending;
}

describe('forceMessage', () => {
  it('asks before anything is signed', async () => {
    const forcing = await connect();
    let plan: ForcePlan | undefined;
    const declined = forceMessage(forcing, text('no'), {
      approve: (asked) => {
        plan = asked;
        throw new Error('declined');
      },
    });
    await expect(declined).rejects.toThrow('declined');
    expect(plan).toMatchObject({ lane: 0, nonces: [0n], renewed: [], origin: 'sequencer', forcedDelay: 60n });
    expect(plan?.fee.value).toBeGreaterThanOrEqual((plan?.fee.consumer ?? 0n) + (plan?.fee.burned ?? 0n));
    expect(await left(forcing)).toEqual([]);
    expect(await inInbox(forcing)).toEqual([]);
  });

  it('called again with the same job goes on with the same bundle, and asks and pays for nothing', async () => {
    const first = await connect();
    const [one] = await forceMessage(first, text('once'), { job: 'once' });
    expect(one).toMatchObject({ nonce: 0n, entry: { index: 0n } });
    const again = await connect(first.outbox);
    const approve = () => expect.unreachable('nothing is to be paid');
    expect(await forceMessage(again, text('once'), { job: 'once', approve })).toEqual([{ ...one, sent: undefined }]);
    // Another one comes behind it.
    const both = await forceMessage(again, text('twice'));
    expect(both).toMatchObject([
      { nonce: 0n, sent: undefined },
      { nonce: 1n, entry: { index: 1n } },
    ]);
    const waiting = waitForPlace(again, both[1] as (typeof both)[1], 'accepted', { timeoutMs: 1_500 });
    await expect(waiting).rejects.toMatchObject({ code: 'forced.waiting', facts: { nonce: '1', index: '1' } });
    expect(await inInbox(again)).toHaveLength(2);
  });

  it('does not believe a sequencer that knows of less than it gave receipts for', async () => {
    const forcing = await connect();
    await forcing.client.send(text('accepted'));
    model.failNext(/accounts/, { status: 200, problem: { nonce: '0' }, headers: { 'content-type': 'application/json' } });
    await expect(forceMessage(forcing, text('next'))).rejects.toMatchObject({ code: 'send.nonce_behind' });
    await model.stop();
    const [forced] = await forceMessage(forcing, text('next'), { approve: ({ origin }) => expect(origin).toBe('outbox') });
    expect(forced).toMatchObject({ nonce: 1n });
  });
});

describe('forcePending', () => {
  it('takes what was refused as it is, if it lives long enough', async () => {
    refuseBundles();
    const forcing = await connect();
    await expect(forcing.client.send(text('refused'))).rejects.toMatchObject({ facts: { pending: true } });
    const [record] = await left(forcing);
    expect(await forcePending(forcing, 0)).toMatchObject([{ nonce: 0n, bundle: record?.bundle, entry: { index: 0n } }]);
    expect((await inInbox(forcing))[0]?.bundle).toEqual(record?.bundle);
  });

  it('signs the same messages anew at the same nonce, where they would expire in the queue', async () => {
    refuseBundles();
    const forcing = await connect(memoryOutbox(), 30);
    await expect(forcing.client.send(text('short'))).rejects.toMatchObject({ facts: { pending: true } });
    const before = readBundle((await left(forcing))[0]?.bundle as Uint8Array);
    const approve = ({ renewed, origin }: ForcePlan) => expect({ renewed, origin }).toEqual({ renewed: [0n], origin: undefined });
    const [forced] = await forcePending(forcing, 0, { approve });
    const after = readBundle(forced?.bundle as Uint8Array);
    expect(after.bytes.subarray(after.bounds[0], after.bounds[1])).toEqual(
      before.bytes.subarray(before.bounds[0], before.bounds[1]),
    );
    expect({ nonce: after.nonce, lane: after.lane }).toEqual({ nonce: before.nonce, lane: before.lane });
    expect(after.expiry).toBeGreaterThan(before.expiry + 86_400n);
    expect((await left(forcing))[0]?.bundle).toEqual(after.bytes);
  });

  it('pays nothing for what the log has already: only the answer was lost', async () => {
    model.failNext(/bundles/, 'cut after');
    refuseBundles();
    const forcing = await connect();
    await expect(forcing.client.send(text('lost'))).rejects.toMatchObject({ facts: { pending: true } });
    const approve = () => expect.unreachable('nothing is to be paid');
    const [forced] = await forcePending(forcing, 0, { approve });
    expect(forced).toMatchObject({ nonce: 0n, entry: undefined });
    expect(await inInbox(forcing)).toEqual([]);
    const placed = await waitForPlace(forcing, forced as NonNullable<typeof forced>);
    expect(placed).toMatchObject({ verification: { sequence: 0n, rung: 'accepted' }, receipt: { previous: 0n } });
    expect(await left(forcing)).toEqual([]);
  });

  it('refuses what no transaction can carry, before anything is paid', async () => {
    refuseBundles();
    const forcing = await connect();
    const large = { ...NOWHERE, payload: new Uint8Array(50_000) };
    await expect(forcing.client.sendMany([large, large])).rejects.toMatchObject({ facts: { pending: true } });
    await expect(forcePending(forcing, 0)).rejects.toMatchObject({ code: 'forced.too_large', facts: { maxBytes: 98_304 } });
    expect(await left(forcing)).toHaveLength(1);
    expect(await inInbox(forcing)).toEqual([]);
  });
});
