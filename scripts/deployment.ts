import { type Parameters, settlementAbi, settlementBytecode } from '@sealpost/contracts';
import { type Domain, domainSeparator, registrationDigest, toHex } from '@sealpost/prover';
import {
  type Address,
  createPublicClient,
  createWalletClient,
  defineChain,
  getContractAddress,
  type HDAccount,
  type Hex,
  http,
  isAddress,
  type PrivateKeyAccount,
} from 'viem';
import { type Folder, readJson, writeAtomically } from './folder.js';
import { Failure } from './terminal.js';

/** Chains on which everybody has everybody's keys: only there are the well-known ones used. */
const DEVELOPMENT_CHAINS: readonly number[] = [31_337, 1_337];

/** The contract that a folder's log belongs to. Written down before it is deployed. */
export interface Deployment {
  readonly version: 2;
  readonly chainId: number;
  readonly settlement: Address;
  /** Who deployed it, and runs all lanes at first. */
  readonly operator: Address;
  readonly laneCount: number;
  readonly poster: Address;
  readonly receiptSigner: Address;
  /** Written once the sequencer has its database: from then on a missing one is lost, not new. */
  readonly logCreated?: true;
}

/** What the contract is deployed with. */
export interface DeploymentOptions {
  readonly operator: HDAccount | PrivateKeyAccount;
  readonly laneCount: number;
  readonly parameters: Parameters;
  readonly poster: Address;
  /** Signs receipts, and its own registration. */
  readonly receipts: HDAccount | PrivateKeyAccount;
}

/** An L1 for scripts: nothing cached, nothing waited for longer than it takes. */
export function l1Client(url: string) {
  return createPublicClient({ transport: http(url, { timeout: 10_000, retryCount: 1 }), cacheTime: 0, pollingInterval: 50 });
}

/** @throws Failure that says what to start */
export async function readChainId(url: string): Promise<number> {
  try {
    return await l1Client(url).getChainId();
  } catch (error) {
    const reason = (error as { shortMessage?: string }).shortMessage ?? (error as Error).message;
    throw new Failure(
      `no Ethereum node answers at ${url}: ${reason.split('\n')[0]}`,
      'npx anvil --block-time 1, or point SEALPOST_L1_URL at a node that runs',
    );
  }
}

export function readDeployment(folder: Folder): Deployment | undefined {
  const deployment = readJson(folder.file('deployment.json')) as Deployment | undefined;
  return deployment?.version === 2 && isAddress(deployment.settlement) ? deployment : undefined;
}

/** @returns the deployment as it is written down now */
export function recordLog(folder: Folder, deployment: Deployment): Deployment {
  const recorded: Deployment = { ...deployment, logCreated: true };
  writeDeployment(folder, recorded);
  return recorded;
}

const writeDeployment = (folder: Folder, deployment: Deployment): void =>
  writeAtomically(folder.file('deployment.json'), `${JSON.stringify(deployment, null, 2)}\n`);

/** How it came that the contract stands. */
export type Outcome = 'deployed' | 'resumed' | 'redeployed';

/**
 * Makes sure that the contract of the folder's log stands on the L1: deploys it the first time, finds it the next, and
 * deploys it again where the L1 forgot everything (no code at the address, and the deployer's nonce is 0 again, so that
 * the same address comes out).
 * @throws Failure for any other disagreement between folder and L1: nothing is changed then
 */
export async function ensureDeployment(
  folder: Folder,
  l1Url: string,
  options: DeploymentOptions,
  { mine, mayDeploy = true }: { mine?: () => Promise<void>; mayDeploy?: boolean } = {},
): Promise<{ deployment: Deployment; outcome: Outcome }> {
  const l1 = l1Client(l1Url);
  const chainId = await readChainId(l1Url);
  const recorded = readDeployment(folder);
  const resetHint = `start the node that has it, or drop the log with npm run reset, or use another folder: SEALPOST_DATA=…`;
  if (recorded === undefined) {
    if (!mayDeploy) throw new Failure(`no contract was deployed for ${folder.shown} yet`, 'npm run deploy');
    if (!DEVELOPMENT_CHAINS.includes(chainId)) {
      throw new Failure(
        `the node at ${l1Url} is of chain ${chainId}; the keys used here are public, so anybody could act in their name there`,
        'use a development chain (npx anvil --block-time 1), or deploy with keys of your own: contracts/script',
      );
    }
    const nonce = await l1.getTransactionCount({ address: options.operator.address });
    const deployment: Deployment = {
      version: 2,
      chainId,
      settlement: getContractAddress({ from: options.operator.address, nonce: BigInt(nonce) }),
      operator: options.operator.address,
      laneCount: options.laneCount,
      poster: options.poster,
      receiptSigner: options.receipts.address,
    };
    // Before the transaction: a crash in between looks like an L1 that forgot, and is repaired like one.
    writeDeployment(folder, deployment);
    await deploy(l1Url, deployment, options, nonce, mine);
    return { deployment, outcome: 'deployed' };
  }
  if (recorded.chainId !== chainId) {
    throw new Failure(
      `the log in ${folder.shown} belongs to chain ${recorded.chainId}; the node at ${l1Url} is of chain ${chainId}`,
      resetHint,
    );
  }
  if (recorded.laneCount !== options.laneCount) {
    throw new Failure(
      `the log in ${folder.shown} has ${recorded.laneCount} lane(s), asked for: ${options.laneCount}; lanes are fixed at deployment`,
      `SEALPOST_LANES=${recorded.laneCount}, or drop the log with npm run reset`,
    );
  }
  const { settlement } = recorded;
  const code = await l1.getCode({ address: settlement });
  if (code !== undefined && code !== '0x') {
    // A crash may have come between deployment and registration.
    await register(l1Url, recorded, options, mine);
    await checkContract(l1Url, recorded, folder, resetHint);
    return { deployment: recorded, outcome: 'resumed' };
  }
  const nonce = await l1.getTransactionCount({ address: recorded.operator });
  const again = getContractAddress({ from: recorded.operator, nonce: BigInt(nonce) });
  const isOurs = recorded.operator.toLowerCase() === options.operator.address.toLowerCase();
  if (again.toLowerCase() !== settlement.toLowerCase() || !isOurs) {
    throw new Failure(
      `the node at ${l1Url} has nothing at ${settlement}, where the log in ${folder.shown} is settled, and its operator ${recorded.operator} ` +
        `has sent ${nonce} transaction(s) there: this is another chain than the log's`,
      resetHint,
    );
  }
  await deploy(l1Url, recorded, options, nonce, mine);
  return { deployment: recorded, outcome: 'redeployed' };
}

async function checkContract(l1Url: string, recorded: Deployment, folder: Folder, next: string): Promise<void> {
  const l1 = l1Client(l1Url);
  const contract = { address: recorded.settlement, abi: settlementAbi } as const;
  try {
    const [laneCount, poster, signer] = await Promise.all([
      l1.readContract({ ...contract, functionName: 'laneCount' }),
      l1.readContract({ ...contract, functionName: 'poster', args: [0] }),
      l1.readContract({ ...contract, functionName: 'receiptSigner', args: [0, 1] }),
    ]);
    if (
      laneCount === recorded.laneCount &&
      poster.toLowerCase() === recorded.poster.toLowerCase() &&
      signer.toLowerCase() === recorded.receiptSigner.toLowerCase()
    ) {
      return;
    }
    if (laneCount === recorded.laneCount) {
      throw new Failure(
        `lane 0 of the contract at ${recorded.settlement} has another posting account or receipt signer than the keys of ${folder.shown}: it was taken over, or its keys were changed`,
        'run the sequencer with the keys that the contract names (npm run sequencer), or start over: npm run reset drops this log and its chain',
      );
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    // Another contract does not answer.
  }
  throw new Failure(`the contract at ${recorded.settlement} is not the one that the log in ${folder.shown} is settled on`, next);
}

async function deploy(
  l1Url: string,
  deployment: Deployment,
  options: DeploymentOptions,
  nonce: number,
  mine: (() => Promise<void>) | undefined,
): Promise<void> {
  const { operator, parameters } = options;
  const wallet = operatorsWallet(l1Url, deployment, operator);
  const firstOperators = Array.from({ length: deployment.laneCount }, () => operator.address);
  const hash = await wallet
    .deployContract({ abi: settlementAbi, bytecode: settlementBytecode, args: [firstOperators, parameters], nonce })
    .catch((error: unknown) => {
      throw refused(`Settlement cannot be deployed from ${operator.address}`, error);
    });
  await mine?.();
  const { status, contractAddress } = await l1Client(l1Url).waitForTransactionReceipt({ hash, timeout: 60_000 });
  if (status !== 'success' || contractAddress?.toLowerCase() !== deployment.settlement.toLowerCase()) {
    throw new Failure(`Settlement was not deployed: transaction ${hash} ${status}`, 'try again');
  }
  await register(l1Url, deployment, options, mine);
}

/** Makes the operator a bonded one on each lane where it is not yet: only then is there a poster, and a signer of receipts. */
async function register(
  l1Url: string,
  deployment: Deployment,
  { operator, receipts }: DeploymentOptions,
  mine: (() => Promise<void>) | undefined,
): Promise<void> {
  const { settlement, poster, chainId } = deployment;
  const l1 = l1Client(l1Url);
  const wallet = operatorsWallet(l1Url, deployment, operator);
  const waiting: Hex[] = [];
  for (let lane = 0; lane < deployment.laneCount; lane++) {
    const isRegistered = await l1
      .readContract({ address: settlement, abi: settlementAbi, functionName: 'operatorOf', args: [lane, operator.address] })
      .then(([bond]) => bond > 0n)
      // Another contract does not answer: what it is, is checked next.
      .catch(() => true);
    if (isRegistered) continue;
    const minBond = await l1.readContract({ address: settlement, abi: settlementAbi, functionName: 'minBond' });
    const registration = await signRegistration({ chainId: BigInt(chainId), settlement }, lane, operator.address, receipts);
    const sent = wallet.writeContract({
      address: settlement,
      abi: settlementAbi,
      functionName: 'register',
      args: [lane, poster, receipts.address, registration],
      value: 2n * minBond,
    });
    waiting.push(
      await sent.catch((error: unknown) => {
        throw refused(`${operator.address} cannot be registered as the operator of lane ${lane}`, error);
      }),
    );
  }
  if (waiting.length > 0) await mine?.();
  for (const hash of waiting) {
    const { status } = await l1.waitForTransactionReceipt({ hash, timeout: 60_000 });
    if (status !== 'success') throw new Failure(`the operator was not registered: transaction ${hash} ${status}`, 'try again');
  }
}

/** The receipt signer's own word that it signs for an operator (PROTOCOL.md §7). */
export function signRegistration(
  domain: Domain,
  lane: number,
  operator: Address,
  receipts: HDAccount | PrivateKeyAccount,
): Promise<Hex> {
  const digest = registrationDigest(domainSeparator(domain), { lane, operator, signer: receipts.address });
  return receipts.sign({ hash: toHex(digest) });
}

function operatorsWallet(l1Url: string, { chainId }: Deployment, operator: DeploymentOptions['operator']) {
  const chain = defineChain({
    id: chainId,
    name: 'L1',
    nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
    rpcUrls: { default: { http: [l1Url] } },
  });
  return createWalletClient({ account: operator, chain, transport: http(l1Url, { timeout: 10_000 }) });
}

function refused(what: string, error: unknown): Failure {
  const reason = (error as { shortMessage?: string }).shortMessage ?? (error as Error).message;
  return new Failure(`${what}: ${reason}`, 'does the account have ether on this chain?');
}
