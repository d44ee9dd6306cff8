import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeBundle, type Hex, headOf, messageAt, readBundle, toHex } from '@sealpost/prover';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { createClient, createIdentity, memoryOutbox, type Outbox, type SecretIdentity } from '../src/index.js';
import { fileOutbox } from '../src/node.js';
import { payPostage, priceOf, quotePostage } from '../src/postage.js';
import { type Anvil, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

const TOPIC: Hex = `0x${'ab'.repeat(32)}`;
const PRICE = { perMessage: 100n, perByte: 1n };
const message = (bytes = 10) => ({ topic: TOPIC, payload: new Uint8Array(bytes).fill(7) });
/** Of one message of ten bytes: 100, and a byte each of 59 + 37 + 10 + 65. */
const ONE = 271n;

let anvil: Anvil;
let alice: SecretIdentity;
const models: ModelSequencer[] = [];
const folders: string[] = [];

beforeAll(async () => {
  anvil = await startAnvil();
  alice = await createIdentity();
}, 30_000);
afterEach(async () => {
  await Promise.all(models.splice(0).map((model) => model.stop()));
});
afterAll(async () => {
  await anvil?.stop();
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
});

async function network(price = PRICE): Promise<ModelSequencer> {
  const model = await ModelSequencer.start(anvil);
  model.price = price;
  models.push(model);
  return model;
}

const connect = (model: ModelSequencer, options: { maxPerMessage?: bigint; outbox?: Outbox } = {}) => {
  const { maxPerMessage, outbox } = options;
  const { url, settlement } = model;
  const postage = maxPerMessage === undefined ? undefined : payPostage({ maxPerMessage });
  return createClient({ url, l1: anvil.transport, settlement, random: () => 0, ...alice, postage, outbox });
};

const postages = (model: ModelSequencer) => model.lanes[0]?.entries.map(({ view }) => view.postage);

it('a price counts messages and the bytes of the bundle that they are signed in', async () => {
  expect(priceOf(PRICE, [10])).toBe(ONE);
  const bundle = { lane: 0, sender: alice.account.address, nonce: 0n, expiry: 0n, postage: 0n };
  const messages = [message(10), message(0), message(3_000)];
  const encoded = encodeBundle({ ...bundle, messages, signature: `0x${'11'.repeat(65)}` });
  expect(priceOf({ perMessage: 0n, perByte: 1n }, [10, 0, 3_000])).toBe(BigInt(encoded.length));
});

it('where messages are free, a client that could pay pays nothing', async () => {
  const model = await network({ perMessage: 0n, perByte: 0n });
  const client = await connect(model, { maxPerMessage: 10n ** 18n });
  await client.send(message());
  await client.send(message());
  expect(postages(model)).toEqual([0n, 0n]);
});

it('each bundle adds its own price, over calls, bodies and restarts', async () => {
  const model = await network();
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-postage-'));
  folders.push(folder);
  const outbox = () => fileOutbox({ folder });
  const { url, settlement } = model;
  const options = {
    url,
    l1: anvil.transport,
    settlement,
    ...alice,
    maxMessagesPerBundle: 2,
    postage: payPostage({ maxPerMessage: ONE }),
  };
  await (await createClient({ ...options, outbox: outbox() })).sendMany([message(), message(), message()]);
  const two = 200n + 59n + 2n * 47n + 65n;
  expect(postages(model)).toEqual([two, two + ONE]);
  await (await createClient({ ...options, outbox: outbox() })).send(message());
  expect(postages(model)?.at(-1)).toBe(two + 2n * ONE);
  // What it owes was in the outbox: no entry had to show it.
  expect(model.requests.filter(({ path }) => path.includes('/proof'))).toEqual([]);
  expect(await quotePostage({ url, sender: alice.account.address })).toEqual({ nonce: 4n, owed: two + 2n * ONE, price: PRICE });
});

it('more than is allowed is not signed at all', async () => {
  const model = await network();
  for (const maxPerMessage of [0n, ONE - 1n]) {
    const client = await connect(model, { maxPerMessage });
    await expect(client.send(message())).rejects.toMatchObject({
      code: 'send.postage_limit',
      facts: { lane: 0, price: String(ONE), maxPerMessage: String(maxPerMessage), messages: 1, pending: false },
    });
  }
  expect(model.requests.filter(({ bundles }) => bundles > 0)).toEqual([]);
});

it('a client that pays nobody is refused, and its bundle waits for one that does: sent once', async () => {
  const model = await network();
  const outbox = memoryOutbox();
  const poor = await connect(model, { outbox });
  const refusal = { code: 'bundle.postage', facts: { expected: String(ONE), pending: true } };
  await expect(poor.send(message())).rejects.toMatchObject(refusal);
  const mean = await connect(model, { outbox, maxPerMessage: 1n });
  await expect(mean.resume()).rejects.toMatchObject({ code: 'send.postage_limit', facts: { pending: true } });
  const rich = await connect(model, { outbox, maxPerMessage: ONE });
  expect(await rich.resume()).toMatchObject([{ nonce: 0n, count: 1 }]);
  expect(postages(model)).toEqual([ONE]);
  expect(model.messages()).toHaveLength(1);
});

it('a price that rises in between is signed anew under the same nonce, if it is allowed', async () => {
  const model = await network();
  const client = await connect(model, { maxPerMessage: 1_000n });
  // After the quote, before the bundles.
  let raised = false;
  model.faults.push((method) => {
    if (method === 'POST' && !raised) {
      raised = true;
      model.price = { perMessage: 200n, perByte: 1n };
    }
    return undefined;
  });
  const { bundles } = await client.sendMany([message(), message(20), message()]);
  expect(bundles).toHaveLength(1);
  expect(model.messages()).toHaveLength(3);
  expect(postages(model)).toEqual([600n + 59n + 3n * 37n + 40n + 65n]);
});

it('a sequencer that raises its price with every look gets no more signed than is allowed, and a few times only', async () => {
  const model = await network();
  const seen: bigint[] = [];
  model.faults.push((method, _, body) => {
    if (method !== 'POST') return undefined;
    seen.push(readBundle(body.subarray(4)).postage);
    model.price = { ...model.price, perMessage: model.price.perMessage + 1n };
    return { status: 402, problem: { code: 'bundle.postage', detail: 'more', expected: '1' } };
  });
  const client = await connect(model, { maxPerMessage: 10_000n });
  await expect(client.send(message())).rejects.toMatchObject({ code: 'send.refused', facts: { pending: true } });
  expect(seen).toEqual([ONE, ONE + 1n, ONE + 2n, ONE + 3n]);
});

it('what is owed is believed as far as it was signed: a lie is not paid', async () => {
  const model = await network();
  model.claim = (owed) => owed + 10n ** 18n;
  const unclear = { code: 'send.postage_unclear', facts: { owed: String(10n ** 18n), pending: false } };
  await expect((await connect(model, { maxPerMessage: ONE })).send(message())).rejects.toMatchObject(unclear);
  expect(model.requests.filter(({ bundles }) => bundles > 0)).toEqual([]);
  // Nor when it begins later.
  model.claim = (owed) => owed;
  const client = await connect(model, { maxPerMessage: ONE });
  await client.send(message());
  model.claim = (owed) => owed + 1n;
  await expect(client.send(message())).rejects.toMatchObject({ code: 'send.postage_unclear', facts: { owed: String(ONE + 1n) } });
  expect(postages(model)).toEqual([ONE]);
});

it('another device of the account finds what is owed in the log, behind entries that owe less', async () => {
  const model = await network();
  await (await connect(model, { maxPerMessage: ONE })).send(message());
  // Out of the inbox, say.
  const { lanes, domain } = model;
  const first = lanes[0]?.entries[0]?.view;
  if (first === undefined) throw new Error('expected an entry');
  const fields = { ...headOf(first), nonce: 1n, postage: 0n };
  const signature = await alice.account.signTypedData({
    domain: { name: 'Sealpost', version: '1', chainId: domain.chainId, verifyingContract: domain.settlement },
    types: (await import('../src/index.js')).BUNDLE_TYPES,
    primaryType: 'Bundle',
    message: { ...fields, count: 1, messagesRoot: toHex(lanes[0]?.entries[0]?.tree.root ?? new Uint8Array()) },
  });
  await model.append([encodeBundle({ ...fields, messages: [messageAt(first, 0)], signature })]);
  await (await connect(model, { maxPerMessage: ONE })).send(message());
  expect(postages(model)).toEqual([ONE, 0n, 2n * ONE]);
});

it('what the deposit does not carry waits, says what is missing, and goes once it is there', async () => {
  const model = await network();
  model.carried = ONE + 71n;
  const outbox = memoryOutbox();
  const client = await connect(model, { outbox, maxPerMessage: ONE });
  await client.send(message());
  await expect(client.send(message())).rejects.toMatchObject({
    code: 'send.postage_unfunded',
    facts: { lane: 0, price: String(ONE), missing: '200', pending: true },
  });
  model.carried += 200n;
  expect(await client.resume()).toMatchObject([{ nonce: 1n }]);
  expect(postages(model)).toEqual([ONE, 2n * ONE]);
});
