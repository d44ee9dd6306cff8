import { settlementAbi } from '@sealpost/contracts';
import type { Hex } from '@sealpost/prover';
import { createWalletClient, http } from 'viem';
import { expect, test } from 'vitest';
import { roleAccount } from '../accounts.js';
import { l1Client } from '../deployment.js';
import type { Network } from '../network.js';
import { startLoad, startNetwork, until } from './stage.js';

const contractOf = (network: Network) => ({ address: network.settlement, abi: settlementAbi }) as const;

/** The header of a committed batch, from the contract's own log. */
async function headerOf(network: Network, number: bigint) {
  const events = await l1Client(network.l1Url).getContractEvents({
    ...contractOf(network),
    eventName: 'BatchCommitted',
    args: { lane: 0, number },
    fromBlock: 0n,
    strict: true,
  });
  const [event] = events;
  if (event === undefined) throw new Error(`batch ${number} is not committed`);
  return event.args.header;
}

async function demand(network: Network, header: Awaited<ReturnType<typeof headerOf>>, indexes: readonly number[]) {
  const { account } = roleAccount('direct');
  const l1 = l1Client(network.l1Url);
  const wallet = createWalletClient({ account, transport: http(network.l1Url) });
  const first = await l1.getTransactionCount({ address: account.address });
  const hashes: Hex[] = [];
  for (const [at, index] of indexes.entries()) {
    const call = { ...contractOf(network), functionName: 'demandCommitted', args: [header, index], chain: null } as const;
    hashes.push(await wallet.writeContract({ ...call, value: 10n ** 16n, nonce: first + at, gas: 200_000n }));
  }
  for (const hash of hashes) expect((await l1.waitForTransactionReceipt({ hash })).status).toBe('success');
}

const isAnswered = async (network: Network, sequence: bigint): Promise<boolean> => {
  const call = { ...contractOf(network), functionName: 'demandOf', args: [0, 1, sequence] } as const;
  const [, , answered] = await l1Client(network.l1Url).readContract(call);
  return answered;
};

test('whatever is demanded is answered, also after a SIGKILL, and the fee is earned', async () => {
  const network = await startNetwork();
  const load = await startLoad(network, { senders: 8 });
  await load.more(100);
  await load.stop();
  const header = await until('a batch of some entries', async () => {
    for (let number = 1n; ; number++) {
      const candidate = await headerOf(network, number).catch(() => undefined);
      if (candidate === undefined || candidate.count >= 4) return candidate;
    }
  });
  const before = header.firstSequence;
  await demand(network, header, [0, header.count - 1]);
  await until(
    'both answers',
    async () => (await isAnswered(network, before)) && isAnswered(network, before + BigInt(header.count - 1)),
  );
  // While nobody is there to answer.
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await demand(network, header, [1, 2]);
  expect(await isAnswered(network, before + 1n)).toBe(false);
  await network.startSequencer();
  await until('the other answers', async () => (await isAnswered(network, before + 1n)) && isAnswered(network, before + 2n));
  const owed = await l1Client(network.l1Url).readContract({
    ...contractOf(network),
    functionName: 'owed',
    args: [roleAccount('receipts').account.address],
  });
  expect(owed).toBe(4n * 10n ** 16n);
  await until('the follower to have seen them', async () =>
    (await (await fetch(`${network.url}/metrics`)).text()).includes('\nsealpost_demands_open 0\n'),
  );
});
