import { developmentParameters, type Parameters } from '@sealpost/contracts';
import type { Hex } from '@sealpost/prover';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createClient, createIdentity, memoryOutbox, type SecretIdentity, systemClock } from '../src/index.js';
import { register, Settlement, signRegistration } from '../src/settlement.js';
import { type Anvil, devAccount, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

/** Short enough to be mined at once. */
const PARAMETERS: Parameters = {
  ...developmentParameters,
  maxIncludeDelay: 30n,
  answerDelay: 5n,
  evidenceWindow: 5n,
  exitDelay: 60n,
  withdrawDelay: 50n,
};
const operator = devAccount(0);
const next = devAccount(4);

let anvil: Anvil;
let model: ModelSequencer;
let bob: SecretIdentity;

beforeAll(async () => {
  anvil = await startAnvil();
  bob = await createIdentity();
  // A block for each transaction and none without: deadlines are known, however busy the machine is.
  await anvil.request('evm_setIntervalMining', [0]);
  await anvil.request('evm_setAutomine', [true]);
}, 30_000);
beforeEach(async () => {
  model = await ModelSequencer.start(anvil, { parameters: PARAMETERS });
  model.includeDelay = PARAMETERS.maxIncludeDelay / 2n;
});
afterEach(() => model.stop());
afterAll(() => anvil?.stop());

/** The operator's receipts are signed by another key from the block of this on. */
async function rotate(signer = next): Promise<void> {
  const settlement = await Settlement.connect({ transport: anvil.transport, settlement: model.settlement, clock: systemClock });
  const address = operator.account.address.toLowerCase() as Hex;
  const registration = await signRegistration(settlement.domainSeparator, { lane: 0, operator: address, signer: signer.account });
  await settlement.send(
    operator.account,
    register(0, { poster: address, signer: { address: signer.account.address, registration } }),
  );
}

const mine = (blocks: bigint) => anvil.request('anvil_mine', [`0x${blocks.toString(16)}`]);

async function sender(outbox = memoryOutbox()) {
  const identity = await createIdentity();
  const connect = () =>
    createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, outbox, random: () => 0, ...identity });
  return { client: await connect(), connect };
}

const to = (text: string) => ({ to: bob.keys.publicKey, text });

async function inboxTexts(): Promise<(string | undefined)[]> {
  const client = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, ...bob });
  const read: (string | undefined)[] = [];
  for await (const { text } of client.inbox({ follow: false })) read.push(text);
  return read;
}

describe('while the receipt signer changes', () => {
  it('a receipt that was signed just before is a promise still, and one of the new signer is one at once', async () => {
    const { client } = await sender();
    await client.send(to('before'));
    await rotate();
    // Signed in time, read too late: what the client knew and what the contract says now are both of another signer by turns.
    expect(await client.send(to('on its way'))).toMatchObject({ nonce: 1n });
    const late = await sender();
    expect(await late.client.send(to('of a client that knows the new one only'))).toMatchObject({ nonce: 0n });
    model.signingKey = next.key;
    expect(await client.send(to('after'))).toMatchObject({ nonce: 2n });
    expect(await inboxTexts()).toEqual(['before', 'on its way', 'of a client that knows the new one only', 'after']);
  });

  it('a receipt that the retired signer cannot have signed in time is refused, and so is one of a stranger', async () => {
    const { client, connect } = await sender();
    await client.send(to('before'));
    await rotate();
    await mine(PARAMETERS.maxIncludeDelay - model.includeDelay + 1n);
    // What the client had read of the contract is believed for a block of the main network: another one reads it now.
    await expect((await connect()).send(to('too late'))).rejects.toMatchObject({
      code: 'receipt.invalid',
      facts: { step: 'signature' },
    });
    model.signingKey = devAccount(5).key;
    const { client: other } = await sender();
    await expect(other.send(to('by nobody'))).rejects.toMatchObject({ code: 'receipt.invalid', facts: { step: 'signature' } });
  });

  it('what binds nobody any more is no promise to a sender, whatever its deadline says; what was read stays readable', async () => {
    const outbox = memoryOutbox();
    const { client, connect } = await sender(outbox);
    await client.send(to('old'));
    await rotate();
    await mine(PARAMETERS.maxIncludeDelay + PARAMETERS.evidenceWindow + 1n);
    expect(await inboxTexts()).toEqual(['old']);
    // Predated, as only whoever kept the retired key can.
    model.includeDelay = -(await anvil.blockNumber()) + 1n;
    await expect((await connect()).send(to('predated'))).rejects.toMatchObject({ code: 'receipt.invalid' });
    model.signingKey = next.key;
    model.includeDelay = 1n;
    const { client: other } = await sender();
    expect(await other.send(to('new'))).toMatchObject({ nonce: 0n });
  });

  it('a signer that comes back signs as if it had never been away', async () => {
    const { client } = await sender();
    await client.send(to('one'));
    await rotate();
    model.signingKey = next.key;
    await client.send(to('two'));
    await rotate(operator);
    model.signingKey = operator.key;
    expect(await client.send(to('three'))).toMatchObject({ nonce: 2n });
    expect(await inboxTexts()).toEqual(['one', 'two', 'three']);
  });
});
