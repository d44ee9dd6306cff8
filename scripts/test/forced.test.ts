import { readFileSync } from 'node:fs';
import { settlementAbi } from '@sealpost/contracts';
import { concat, type Hex, toHex } from '@sealpost/prover';
import { createWalletClient, http } from 'viem';
import { expect, test } from 'vitest';
import { roleAccount } from '../accounts.js';
import { l1Client } from '../deployment.js';
import type { Network } from '../network.js';
import { LoadSender, makeRegion, type PresignedBundle } from '../presigned.js';
import { audit, SOUND, startLoad, startNetwork, until } from './stage.js';

const contractOf = (network: Network) => ({ address: network.settlement, abi: settlementAbi }) as const;

async function newSender(network: Network, lane = 0): Promise<LoadSender> {
  const { timestamp } = await l1Client(network.l1Url).getBlock();
  const domain = { chainId: BigInt(network.chainId), settlement: network.settlement };
  return new LoadSender(domain, lane, timestamp + 86_400n);
}

const message = (lane = 0, laneCount = 1) => makeRegion({ count: 1, payloadBytes: 32, lane, laneCount });

/** Puts bundles into the contract's inbox, in order, and waits until they are in blocks. */
async function force(network: Network, bundles: readonly PresignedBundle[]): Promise<void> {
  const l1 = l1Client(network.l1Url);
  const { account } = roleAccount('direct');
  const wallet = createWalletClient({ account, transport: http(network.l1Url, { timeout: 20_000 }) });
  const first = await l1.getTransactionCount({ address: account.address, blockTag: 'pending' });
  const hashes: Hex[] = [];
  for (const [at, { parts }] of bundles.entries()) {
    const framed = toHex(concat(...parts));
    const call = { ...contractOf(network), functionName: 'forceInclude', args: [framed], chain: null } as const;
    hashes.push(await wallet.writeContract({ ...call, value: 10n ** 17n, gas: 200_000n, nonce: first + at }));
  }
  for (const hash of hashes) {
    const { status } = await l1.waitForTransactionReceipt({ hash, timeout: 60_000 });
    expect(status).toBe('success');
  }
}

const consumed = async (network: Network, lane = 0): Promise<bigint> => {
  const [, , , inboxCount] = await l1Client(network.l1Url).readContract({
    ...contractOf(network),
    functionName: 'head',
    args: [lane],
  });
  return inboxCount;
};

const nextNonce = async (network: Network, sender: Hex, lane = 0): Promise<bigint> => {
  const answer = await fetch(`${network.url}/v1/accounts/${sender}?lane=${lane}`);
  return BigInt(((await answer.json()) as { nonce: string }).nonce);
};

test('a forced bundle is in the log, readable and provable, and one whose nonce is not the next is void', async () => {
  const network = await startNetwork({ laneCount: 2 });
  const [alice, bob] = [await newSender(network, 1), await newSender(network, 1)];
  const first = alice.sign(message(1, 2));
  const skipped = bob.sign(message(1, 2), 7n);
  const second = alice.sign(message(1, 2), 1n);
  await force(network, [first, skipped, second]);
  await until('the inbox to be consumed', async () => (await consumed(network, 1)) === 3n);
  expect(await nextNonce(network, alice.address, 1)).toBe(2n);
  expect(await nextNonce(network, bob.address, 1)).toBe(0n);
  // The commit paid whoever posted it.
  const owed = await l1Client(network.l1Url).readContract({
    ...contractOf(network),
    functionName: 'owed',
    args: [roleAccount('poster').account.address],
  });
  expect(owed).toBeGreaterThan(0n);
  const proof = await until('its proof', async () => {
    const answer = await fetch(`${network.url}/v1/messages/${alice.address}/1/1/proof`);
    return answer.ok ? answer.json() : undefined;
  });
  expect(proof).toMatchObject({ void: 0, previous: '1' });
  // Sent over HTTP as well, it is the entry that is there already.
  const again = await fetch(`${network.url}/v1/bundles`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: Buffer.from(concat(...second.parts)),
  });
  expect(await again.json()).toMatchObject({ results: [{ receipt: { sequence: '2', void: 0 } }] });
  expect(await audit(network)).toMatchObject({ clean: true, entries: 3, messages: 2 });
});

test('1,000 forced bundles that are overdue after an outage, under load, with a SIGKILL: all are consumed, commits go on', async () => {
  const network = await startNetwork();
  const load = await startLoad(network, { senders: 4 });
  await load.more(20);
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  const sender = await newSender(network);
  await force(
    network,
    Array.from({ length: 1_000 }, (_, nonce) => sender.sign(message(), BigInt(nonce))),
  );
  // Past the deadline of all of them: no commit is taken that does not consume 64.
  await l1Client(network.l1Url).request({ method: 'anvil_mine', params: ['0x50'] } as never);
  await network.startSequencer();
  await until('some to be consumed', async () => (await consumed(network)) > 100n, 150_000);
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await network.startSequencer();
  await load.more(50);
  await until('all to be consumed', async () => (await consumed(network)) === 1_000n, 150_000);
  expect(await nextNonce(network, sender.address)).toBe(1_000n);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(await load.verdict()).toMatchObject(SOUND);
  expect(await audit(network)).toMatchObject({ clean: true });
});

test('a reorg takes a forced bundle with the commit that consumed it: its entry stays, sealed anew; it comes back as void', async () => {
  const network = await startNetwork();
  const [alice, bob] = [await newSender(network), await newSender(network)];
  const forced = bob.sign(message());
  const before = await l1Client(network.l1Url).getBlockNumber();
  await force(network, [forced]);
  await until('the inbox to be consumed', async () => (await consumed(network)) === 1n);
  const sent = await fetch(`${network.url}/v1/bundles`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: Buffer.from(concat(...alice.sign(message()).parts)),
  });
  expect(await sent.json()).toMatchObject({ results: [{ receipt: { sequence: '1' } }] });
  const l1 = l1Client(network.l1Url);
  const headOf = (blockNumber: bigint) =>
    l1.readContract({ ...contractOf(network), functionName: 'head', args: [0], blockNumber });
  await until('both entries on the L1', async () => (await headOf(await l1.getBlockNumber()))[1] === 2n);
  const depth = (await l1.getBlockNumber()) - before;
  await l1.request({ method: 'anvil_reorg', params: [Number(depth), []] } as never);
  // Dead and alive again on the way: what is to be sealed anew is found by whoever comes.
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await network.startSequencer();
  const log = () => readFileSync(network.folder.file('log.jsonl'), 'utf8');
  await until('the batches to be sealed anew', () => log().includes('"batch.unsealed"'), 120_000);
  await until('both entries on the L1 again', async () => (await headOf(await l1.getBlockNumber()))[1] === 2n, 120_000);
  expect(await consumed(network)).toBe(0n);
  expect(await nextNonce(network, bob.address)).toBe(1n);
  await force(network, [forced]);
  await until('the inbox to be consumed again', async () => (await consumed(network)) === 1n, 120_000);
  expect(await nextNonce(network, bob.address)).toBe(1n);
  expect(await audit(network)).toMatchObject({ clean: true, entries: 3, messages: 2 });
});
