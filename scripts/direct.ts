import { directMessagesAbi, directMessagesBytecode } from '@sealpost/contracts';
import { createWalletClient, encodeFunctionData, type Hex, http } from 'viem';
import { roleAccount } from './accounts.js';
import { l1Client } from './deployment.js';

/**
 * What it costs to put messages on the L1 without a rollup: one transaction each, to a contract that emits the message's
 * hash. Measured, not quoted: the mean gas of the messages given.
 */
export async function measureDirectGas(l1Url: string, messages: readonly Uint8Array[]): Promise<number> {
  const l1 = l1Client(l1Url);
  const { account } = roleAccount('direct');
  const wallet = createWalletClient({ account, transport: http(l1Url, { timeout: 10_000 }) });
  const mine = () => l1.request({ method: 'evm_mine' } as never);
  const chain = null;
  const deployment = await wallet.deployContract({ abi: directMessagesAbi, bytecode: directMessagesBytecode, chain });
  await mine();
  const { contractAddress } = await l1.waitForTransactionReceipt({ hash: deployment });
  if (!contractAddress) throw new Error('the contract for direct messages was not deployed');
  const nonce = await l1.getTransactionCount({ address: account.address });
  const hashes: Hex[] = [];
  // One after the other: eight at once confuse anvil.
  for (const [at, message] of messages.entries()) {
    const data = encodeFunctionData({
      abi: directMessagesAbi,
      functionName: 'post',
      args: [`0x${Buffer.from(message).toString('hex')}`],
    });
    hashes.push(await wallet.sendTransaction({ to: contractAddress, data, nonce: nonce + at, chain }));
  }
  await mine();
  let gas = 0n;
  for (const hash of hashes) {
    const { gasUsed, status } = await l1.waitForTransactionReceipt({ hash });
    if (status !== 'success') throw new Error(`a direct message failed: ${hash}`);
    gas += gasUsed;
  }
  return Number(gas) / messages.length;
}

/** The gas of transactions, all together. */
export async function sumGas(l1Url: string, transactions: Iterable<Hex>): Promise<number> {
  const l1 = l1Client(l1Url);
  let gas = 0n;
  for (const hash of transactions) gas += (await l1.getTransactionReceipt({ hash })).gasUsed;
  return Number(gas);
}
