import { directMessagesAbi, directMessagesBytecode } from '@sealpost/contracts';
import { createWalletClient, encodeFunctionData, type Hex, http } from 'viem';
import { roleAccount } from './accounts.js';
import { l1Client } from './deployment.js';

/** Deploys the contract for direct messages, on a chain that mines when it is told to. */
export async function deployDirectMessages(l1Url: string): Promise<Hex> {
  const l1 = l1Client(l1Url);
  const { account } = roleAccount('direct');
  const wallet = createWalletClient({ account, transport: http(l1Url, { timeout: 10_000 }) });
  const hash = await wallet.deployContract({ abi: directMessagesAbi, bytecode: directMessagesBytecode, chain: null });
  await l1.request({ method: 'evm_mine' } as never);
  const { contractAddress } = await l1.waitForTransactionReceipt({ hash });
  if (!contractAddress) throw new Error('the contract for direct messages was not deployed');
  return contractAddress;
}

/** The call that puts a message on the L1. */
export const directCall = (message: Uint8Array): Hex =>
  encodeFunctionData({
    abi: directMessagesAbi,
    functionName: 'post',
    args: [`0x${Buffer.from(message).toString('hex')}`],
  });

/**
 * What it costs to put messages on the L1 without a rollup: one transaction each, to a contract that emits the message's
 * hash. Measured, not quoted: the mean gas of the messages given.
 */
export async function measureDirectGas(l1Url: string, messages: readonly Uint8Array[]): Promise<number> {
  const l1 = l1Client(l1Url);
  const { account } = roleAccount('direct');
  const wallet = createWalletClient({ account, transport: http(l1Url, { timeout: 10_000 }) });
  const to = await deployDirectMessages(l1Url);
  const nonce = await l1.getTransactionCount({ address: account.address });
  const hashes: Hex[] = [];
  // One after the other: eight at once confuse anvil.
  for (const [at, message] of messages.entries()) {
    hashes.push(await wallet.sendTransaction({ to, data: directCall(message), nonce: nonce + at, chain: null }));
  }
  await l1.request({ method: 'evm_mine' } as never);
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
