import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BUNDLE_TYPES, createIdentity } from '@sealpost/client';
import { settlementAbi } from '@sealpost/contracts';
import { encodeBundle, frameBundle, type Hex, lowerHex, messagesTree, toHex } from '@sealpost/prover';
import { expect, test } from 'vitest';
import { roleAccount } from '../accounts.js';
import { l1Client } from '../deployment.js';
import type { Network } from '../network.js';
import { sealpost, startNetwork, temporaryFolder, until } from './stage.js';

const ETHER = 10n ** 18n;

async function data(network: Network, ...args: string[]) {
  const { code, stdout, stderr } = await sealpost(network, [...args, '--json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout).data;
}

async function failure(network: Network, ...args: string[]) {
  const { code, stdout } = await sealpost(network, [...args, '--json']);
  return { exitCode: code, ...JSON.parse(stdout).error };
}

/** A sender that owes more with each bundle: a client that pays postage, as far as the contract is concerned. */
async function payingSender(network: Network) {
  const { account } = await createIdentity();
  const sender = lowerHex(account.address);
  let nonce = 0n;
  const send = async (postage: bigint): Promise<void> => {
    const { timestamp } = await l1Client(network.l1Url).getBlock();
    const messages = [{ topic: `0x${'00'.repeat(32)}` as Hex, payload: Uint8Array.of(1, 2, 3) }];
    const head = { sender, lane: 0, nonce, expiry: timestamp + 86_400n, postage };
    const message = { ...head, count: 1, messagesRoot: toHex(messagesTree(messages).root) };
    const domain = { name: 'Sealpost', version: '1', chainId: network.chainId, verifyingContract: network.settlement };
    const signature = await account.signTypedData({ domain, types: BUNDLE_TYPES, primaryType: 'Bundle', message });
    const answer = await fetch(`${network.url}/v1/bundles`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.from(frameBundle(encodeBundle({ ...head, messages, signature }))),
    });
    expect(answer.status, await answer.text()).toBe(200);
    nonce++;
  };
  return { sender, send };
}

/** The batch file with an entry, once it is committed. */
async function batchFileOf(network: Network, sequence: bigint): Promise<Uint8Array> {
  const batch = await until(`entry ${sequence} to be committed`, async () => {
    const { batches } = (await (await fetch(`${network.url}/v1/batches?lane=0`)).json()) as {
      batches: { status: string; header: { number: string; firstSequence: string; count: number } }[];
    };
    return batches.find(({ status, header: { firstSequence, count } }) => {
      const first = BigInt(firstSequence);
      return status !== 'sealed' && first <= sequence && sequence < first + BigInt(count);
    });
  });
  return new Uint8Array(await (await fetch(`${network.url}/v1/batches/0/${batch.header.number}/data`)).arrayBuffer());
}

test('what a sender owes, a bond and a demand, each by command: redeem, bond, demand, answer', async () => {
  // By hand, before the sequencer finds it worth its gas.
  const network = await startNetwork({ sequencerEnv: { SEALPOST_REDEEM_FACTOR: '1000000' } });
  const operator = lowerHex(roleAccount('operator').account.address);
  const { sender, send } = await payingSender(network);
  await data(network, 'postage', 'deposit', '0.1', '--for', sender, '--as', 'bob');
  await send(ETHER / 100n);
  const first = await batchFileOf(network, 0n);
  // Anybody may: here it is alice, who has nothing to do with it.
  const redeem = ['postage', 'redeem', '--sender', sender, '--as', 'alice'];
  expect(await data(network, ...redeem)).toMatchObject({ sequence: '0', paid: String(ETHER / 100n) });
  expect(await failure(network, ...redeem)).toMatchObject({ exitCode: 1, code: 'settlement.nothing_to_redeem' });
  await send((3n * ETHER) / 100n);
  const file = join(temporaryFolder(), '2.batch');
  writeFileSync(file, await batchFileOf(network, 1n));
  expect(await data(network, ...redeem, '--file', file)).toMatchObject({ sequence: '1', paid: String((2n * ETHER) / 100n) });
  const owed = await l1Client(network.l1Url).readContract({
    address: network.settlement,
    abi: settlementAbi,
    functionName: 'owed',
    args: [operator],
  });
  expect(owed).toBe((3n * ETHER) / 100n);

  const bonded = BigInt((await data(network, 'operator', 'status')).lanes[0].operator.bond);
  expect(await data(network, 'operator', 'bond', '1', '--operator', operator, '--as', 'bob')).toMatchObject({
    operator: { address: operator, bond: String(bonded + ETHER) },
  });
  expect(await failure(network, 'operator', 'bond', '1', '--as', 'bob')).toMatchObject({ code: 'settlement.not_operator' });

  // The sequencer answers by itself; when it is gone, whoever has the file does.
  expect(await data(network, 'demand', '--sequence', '0', '--as', 'alice', '--yes')).toMatchObject({ demand: { sequence: '0' } });
  const answer = ['answer', '--as', 'bob', '--sequence'];
  await until('the sequencer to answer', async () => {
    const { code, message } = await failure(network, 'demand', '--sequence', '0', '--as', 'alice', '--yes');
    expect(code).toBe('settlement.already_demanded');
    expect(message).toContain('entry 0 is demanded already');
    return (await failure(network, ...answer, '0')).message.includes('was demanded and is opened');
  });
  await network.sequencer?.stop('SIGTERM', 10_000);
  expect(await failure(network, ...answer, '1', '--file', file)).toMatchObject({ exitCode: 1, code: 'demand.not_open' });
  const demanded = await data(network, 'demand', '--lane', '0', '--sequence', '1', '--as', 'alice', '--yes');
  const other = join(temporaryFolder(), '1.batch');
  writeFileSync(other, first);
  expect(await failure(network, ...answer, '1', '--file', other)).toMatchObject({ code: 'batch.malformed' });
  expect(await data(network, ...answer, '1', '--file', file)).toMatchObject({
    demand: { answered: true, fee: '0' },
    earned: demanded.demand.fee,
  });
});
