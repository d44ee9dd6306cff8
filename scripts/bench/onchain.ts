import { randomBytes } from 'node:crypto';
import { developmentParameters, settlementAbi, settlementBytecode } from '@sealpost/contracts';
import { type BatchHeader, batchHash, type Hex } from '@sealpost/prover';
import { createWalletClient, http } from 'viem';
import { roleAccount } from '../accounts.js';
import { type Acknowledged, checkAcknowledged, type Verdict } from '../acknowledged.js';
import { l1Client, signRegistration } from '../deployment.js';
import { deployDirectMessages, directCall, sumGas } from '../direct.js';
import type { Network } from '../network.js';
import { LoadSender, makeRegion, type PresignedBundle } from '../presigned.js';
import { Failure, formatCount, plural } from '../terminal.js';
import { Wire } from '../wire.js';
import { BUNDLES, networkOptions, phaseOf, runLoad, type Shape, shapeOf, warmUp } from './loads.js';
import { type Bench, loadSeconds, type Outcome, type Scenario, type Stage } from './scenario.js';

/** Ethereum's main network: gas a block, seconds a block. */
const BLOCK_GAS = 60_000_000;
const BLOCK_SECONDS = 12;
/** More than any block here needs: what anvil can do is to be measured, not what its limit lets it. */
const GAS_LIMIT = 2_000_000_000;
/** A bundle may have 1 MiB; and a direct message's gas must fit a transaction. */
const MAX_REGION_BYTES = 1_000_000;
const MAX_PAYLOAD_BYTES = 16_384;
const LENGTH_BYTES = 4;
/** `length(4) ‖ 0x00 ‖ topic(32)`: what a message carries besides its payload. */
const MESSAGE_HEAD_BYTES = 37;
const SENDING = 'sending all it takes';
const DAY_SECONDS = 86_400n;
/** A raw transaction is half a kilobyte: a request of some of them stays under every limit. */
const TRANSACTIONS_A_REQUEST = 200;
/** More than a direct message takes: the transaction, its event, and EIP-7623's 40 gas for each byte of calldata. */
const TRANSACTION_GAS = 50_000n;
const BYTE_GAS = 50n;
const COMMIT_TIMEOUT_MS = 120_000;
/** Messages of single batches, committed through the sequencer: each one bundle, of empty messages, so that the largest may pass. */
const REAL_SIZES = [1, 16, 256, 4_096];
/** Entries that headers claim: the contract sees no more of a batch than its header. */
const HEADER_COUNTS = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576];
const BATCHES_A_COMMIT = [1, 2, 4, 16, 64, 255];

/** What a batch of some messages costs on the L1. */
export interface BatchCost {
  readonly messages: number;
  readonly gas: number;
  readonly gasPerMessage: number;
  /** True: of a batch that the sequencer sealed and posted. False: of a header with that count of one-message entries. */
  readonly sealed: boolean;
}

/** Messages a second that the main network's gas allows. */
export const perSecondOnMainnet = (gasPerMessage: number): number => BLOCK_GAS / BLOCK_SECONDS / gasPerMessage;

/** JSON-RPC calls in one request: the answers' results, in order. */
async function callAll<T>(url: string, method: string, params: readonly unknown[][]): Promise<T[]> {
  const calls = params.map((one, id) => ({ jsonrpc: '2.0', id, method, params: one }));
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(calls),
  });
  const results = (await answer.json()) as { id: number; result?: T; error?: { message: string } }[];
  results.sort((a, b) => a.id - b.id);
  return results.map(({ result, error }) => {
    if (result === undefined || result === null) throw new Error(`${method}: ${error?.message ?? 'no result'}`);
    return result;
  });
}

const mine = (url: string) => l1Client(url).request({ method: 'evm_mine' } as never);

/** Messages one transaction each: signed before, then sent and mined as fast as the node takes them. */
async function measureDirect(bench: Bench, l1Url: string, messages: readonly Uint8Array[]) {
  const l1 = l1Client(l1Url);
  const { account } = roleAccount('direct');
  const to = await deployDirectMessages(l1Url);
  const [chainId, nonce, { baseFeePerGas }] = await Promise.all([
    l1.getChainId(),
    l1.getTransactionCount({ address: account.address }),
    l1.getBlock(),
  ]);
  const maxFeePerGas = 4n * (baseFeePerGas ?? 0n) + 2_000_000_000n;
  const raw: Hex[] = [];
  for (const [at, message] of messages.entries()) {
    if (at % 100 === 0) {
      bench.signal.throwIfAborted();
      bench.show('signing direct transactions', at, messages.length);
    }
    const data = directCall(message);
    const fees = {
      maxFeePerGas,
      maxPriorityFeePerGas: 1_000_000_000n,
      gas: TRANSACTION_GAS + BYTE_GAS * BigInt(data.length / 2),
    };
    raw.push(await account.signTransaction({ type: 'eip1559', chainId, nonce: nonce + at, to, data, ...fees }));
  }
  const hashes: Hex[] = [];
  const began = performance.now();
  for (let at = 0; at < raw.length; at += TRANSACTIONS_A_REQUEST) {
    bench.signal.throwIfAborted();
    bench.show('sending direct transactions', at, raw.length);
    const some = raw.slice(at, at + TRANSACTIONS_A_REQUEST).map((one) => [one]);
    // One request at a time, each mined: many at once make anvil lose track of its pool.
    hashes.push(...(await callAll<Hex>(l1Url, 'eth_sendRawTransaction', some)));
    await mine(l1Url);
  }
  const seconds = (performance.now() - began) / 1_000;
  let gas = 0;
  for (let at = 0; at < hashes.length; at += TRANSACTIONS_A_REQUEST) {
    const some = hashes.slice(at, at + TRANSACTIONS_A_REQUEST).map((one) => [one]);
    for (const receipt of await callAll<{ gasUsed: Hex; status: Hex }>(l1Url, 'eth_getTransactionReceipt', some)) {
      if (receipt.status !== '0x1') throw new Error('a direct message failed');
      gas += Number(receipt.gasUsed);
    }
  }
  return { messages: messages.length, seconds, gasPerMessage: gas / messages.length };
}

/** Every batch that the contract knows, with the transaction that brought it. */
async function committedBatches(network: Network) {
  const logs = await l1Client(network.l1Url).getContractEvents({
    address: network.settlement,
    abi: settlementAbi,
    eventName: 'BatchCommitted',
    fromBlock: 0n,
    strict: true,
  });
  return logs.map(({ args, transactionHash }) => ({ entries: args.header.count, transactionHash }));
}

/** Sends one bundle alone. @throws what the sequencer answered instead of a receipt */
async function sendAlone(url: string, bundle: PresignedBundle): Promise<Acknowledged> {
  const wire = new Wire(url);
  try {
    const answer = await wire.post('/v1/bundles', bundle.parts);
    const text = answer.body.toString('utf8');
    const receipt = (JSON.parse(text) as { results?: { receipt?: unknown }[] }).results?.[0]?.receipt;
    if (answer.status !== 200 || receipt === undefined) throw new Error(`refused: ${answer.status} ${text.slice(0, 300)}`);
    const { sender, nonce, region, bundleHash } = bundle;
    return { sender, lane: 0, nonce, count: region.count, bundleHash, receipt };
  } finally {
    wire.close();
  }
}

/** Batches of one bundle each, through the sequencer: what the commit of each one costs. */
async function measureSizes(bench: Bench, network: Network) {
  const domain = { chainId: BigInt(network.chainId), settlement: network.settlement };
  const { timestamp } = await l1Client(network.l1Url).getBlock();
  const verdicts: Verdict[] = [];
  const costs: BatchCost[] = [];
  // The first batch of a lane pays for the slot of its head, which every later one finds: it is none of the sizes.
  for (const [at, messages] of [1, ...REAL_SIZES].entries()) {
    bench.signal.throwIfAborted();
    bench.show('committing batches of known sizes', at, 1 + REAL_SIZES.length);
    const region = makeRegion({ count: messages, payloadBytes: 0, lane: 0, laneCount: 1 });
    const acknowledged = await sendAlone(network.url, new LoadSender(domain, 0, timestamp + DAY_SECONDS).sign(region));
    const { url, l1Url } = network;
    const options = { ...domain, url, l1Url, laneCount: 1, sample: 1, timeoutMs: COMMIT_TIMEOUT_MS };
    verdicts.push(await checkAcknowledged([acknowledged], options));
    const batch = (await committedBatches(network)).at(-1);
    if (batch?.entries !== 1) throw new Error(`expected a batch of one bundle, got ${batch?.entries}`);
    const gas = await sumGas(l1Url, [batch.transactionHash]);
    if (at > 0) costs.push({ messages, gas, gasPerMessage: gas / messages, sealed: true });
  }
  return { costs, verdicts };
}

/** Messages of the same shape through the sequencer: how many it takes, and what its commits of them cost. */
async function measureRollup(bench: Bench, stage: Stage, shape: Shape, seconds: number) {
  const { network } = stage;
  const { costs, verdicts } = await measureSizes(bench, network);
  const before = new Set((await committedBatches(network)).map((one) => one.transactionHash));
  const { settings } = bench;
  const load = await runLoad(bench, stage, shape, {
    phases: [warmUp(settings, shape.senders), { kind: 'closed', name: SENDING, seconds, senders: shape.senders }],
  });
  const batches = (await committedBatches(network)).filter((one) => !before.has(one.transactionHash));
  const transactions = new Set(batches.map((one) => one.transactionHash));
  const gas = await sumGas(network.l1Url, transactions);
  const checked = [...verdicts, load];
  for (const complaint of checked.flatMap((one) => one.complaints)) bench.say(`  ${complaint}`);
  const sum = (what: 'lost' | 'unprovable' | 'doubled') => checked.reduce((total, one) => total + one[what], 0);
  return {
    costs,
    messages: load.acknowledged,
    messagesPerSecond: phaseOf(load, SENDING).messagesPerSecond,
    batches: batches.length,
    transactions: transactions.size,
    gasPerMessage: gas / load.acknowledged,
    lost: sum('lost'),
    unprovable: sum('unprovable'),
    doubled: sum('doubled'),
  };
}

/** Commits of made-up headers to a contract of their own: by the count that a header claims, and by headers a transaction. */
async function measureCommits(bench: Bench, l1Url: string) {
  const l1 = l1Client(l1Url);
  const { account } = roleAccount('direct');
  const wallet = createWalletClient({ account, transport: http(l1Url, { timeout: 10_000 }) });
  const args = [[account.address], developmentParameters] as const;
  const deployment = await wallet.deployContract({ abi: settlementAbi, bytecode: settlementBytecode, args, chain: null });
  await mine(l1Url);
  const { contractAddress } = await l1.waitForTransactionReceipt({ hash: deployment });
  if (!contractAddress) throw new Error('the contract was not deployed');
  const { address } = account;
  const domain = { chainId: BigInt(await l1.getChainId()), settlement: contractAddress };
  const registration = await signRegistration(domain, 0, address, account);
  const register = { address: contractAddress, abi: settlementAbi, functionName: 'register', chain: null } as const;
  const registered = await wallet.writeContract({
    ...register,
    args: [0, address, address, registration],
    value: developmentParameters.minBond,
  });
  await mine(l1Url);
  await l1.waitForTransactionReceipt({ hash: registered });
  let parent: { readonly number: bigint; readonly hash: Hex; readonly end: bigint } = {
    number: 0n,
    hash: `0x${'00'.repeat(32)}`,
    end: 0n,
  };
  const digest = (): Hex => `0x${randomBytes(32).toString('hex')}`;
  const commit = async (counts: readonly number[]): Promise<number> => {
    bench.signal.throwIfAborted();
    const { timestamp } = await l1.getBlock();
    const headers: BatchHeader[] = counts.map((count) => {
      const { number, hash: parentHash, end: firstSequence } = parent;
      const roots = { bundlesRoot: digest(), dataHash: digest() };
      const header = {
        lane: 0,
        term: 1,
        number: number + 1n,
        parentHash,
        firstSequence,
        count,
        inboxCount: 0n,
        timestamp,
        ...roots,
      };
      parent = { number: header.number, hash: batchHash(header), end: firstSequence + BigInt(count) };
      return header;
    });
    const contract = { address: contractAddress, abi: settlementAbi, functionName: 'commit', args: [headers, []] } as const;
    const hash = await wallet.writeContract({ ...contract, gas: 16_000_000n, chain: null });
    await mine(l1Url);
    const { gasUsed, status } = await l1.waitForTransactionReceipt({ hash });
    if (status !== 'success') throw new Error(`a commit of ${counts.length} batches failed`);
    return Number(gasUsed);
  };
  // The first one of a lane pays for the slot of its head, which every later one finds.
  await commit([1]);
  const costs: BatchCost[] = [];
  for (const [at, messages] of HEADER_COUNTS.entries()) {
    bench.show('committing headers', at, HEADER_COUNTS.length + BATCHES_A_COMMIT.length);
    const gas = await commit([messages]);
    costs.push({ messages, gas, gasPerMessage: gas / messages, sealed: false });
  }
  const commits: { readonly batches: number; readonly gas: number; readonly gasPerBatch: number }[] = [];
  for (const [at, batches] of BATCHES_A_COMMIT.entries()) {
    bench.show('committing headers', HEADER_COUNTS.length + at, HEADER_COUNTS.length + BATCHES_A_COMMIT.length);
    const gas = await commit(Array.from({ length: batches }, () => 4_096));
    commits.push({ batches, gas, gasPerBatch: Math.round(gas / batches) });
  }
  return { costs, commits };
}

/** Four digits: gas a message spans six orders of magnitude. */
const rounded = (value: number): number => Number(value.toPrecision(4));

async function run(bench: Bench): Promise<Outcome> {
  const { quick, payload: payloadBytes = 256 } = bench.settings;
  if (payloadBytes > MAX_PAYLOAD_BYTES)
    throw new Failure(
      `onchain: a direct message of ${payloadBytes} bytes is over a transaction’s gas`,
      `--payload up to ${MAX_PAYLOAD_BYTES}`,
      2,
    );
  const bundle = Math.min(
    bench.settings.bundle ?? BUNDLES.bundle,
    Math.floor(MAX_REGION_BYTES / (payloadBytes + MESSAGE_HEAD_BYTES)),
  );
  const directMessages = quick ? 1_024 : 8_192;
  const seconds = loadSeconds(bench.settings, 10, 1);
  return bench.withNetwork({ ...networkOptions(bench.settings), gasLimit: GAS_LIMIT }, async (stage) => {
    const { network } = stage;
    const rollup = await measureRollup(bench, stage, { ...shapeOf(bench.settings, BUNDLES), bundle }, seconds);
    bench.show('making messages');
    const messages = Array.from({ length: Math.ceil(directMessages / bundle) }, () => {
      const { bytes, count } = makeRegion({ count: bundle, payloadBytes, lane: 0, laneCount: 1 });
      const length = bytes.length / count;
      return Array.from({ length: count }, (_, at) => bytes.subarray(at * length + LENGTH_BYTES, (at + 1) * length));
    }).flat();
    const direct = await measureDirect(bench, network.l1Url, messages);
    const { costs, commits } = await measureCommits(bench, network.l1Url);

    const directRate = direct.messages / direct.seconds;
    const lastBatch = costs.at(-1);
    const sizes = [...rollup.costs, ...costs].map((one) => ({ ...one, gasPerMessage: rounded(one.gasPerMessage) }));
    const onMainnet = (gasPerMessage: number) => rounded(perSecondOnMainnet(gasPerMessage));
    return {
      json: {
        payloadBytes,
        direct: {
          messages: direct.messages,
          gasPerMessage: rounded(direct.gasPerMessage),
          messagesPerSecond: Math.round(directRate),
          messagesPerSecondOnMainnet: onMainnet(direct.gasPerMessage),
        },
        rollup: {
          messages: rollup.messages,
          gasPerMessage: rounded(rollup.gasPerMessage),
          messagesPerSecond: rollup.messagesPerSecond,
          messagesPerSecondOnMainnet: onMainnet(rollup.gasPerMessage),
          batches: rollup.batches,
          transactions: rollup.transactions,
          lost: rollup.lost,
          unprovable: rollup.unprovable,
        },
        sizes,
        commits,
      },
      rows: [
        { figure: 'gas a message, each a transaction of its own', value: direct.gasPerMessage, unit: 'gas' },
        {
          figure: `gas a message, through the sequencer in ${plural(rollup.batches, 'batch', 'batches')}`,
          value: rollup.gasPerMessage,
          unit: 'gas',
        },
        {
          figure: `gas a message, in a batch of ${formatCount(lastBatch?.messages ?? 0)}`,
          value: lastBatch?.gasPerMessage ?? Number.NaN,
          unit: 'gas',
        },
        { figure: 'this anvil, directly', value: directRate, unit: 'messages/s' },
        {
          figure: 'this anvil, through the sequencer',
          value: rollup.messagesPerSecond,
          unit: 'messages/s',
          beside: { what: 'directly', value: directRate },
        },
        {
          figure: 'main network, directly: 60 M gas every 12 s',
          value: perSecondOnMainnet(direct.gasPerMessage),
          unit: 'messages/s',
        },
        {
          figure: 'main network, in batches as they were here',
          value: perSecondOnMainnet(rollup.gasPerMessage),
          unit: 'messages/s',
          beside: { what: 'directly', value: perSecondOnMainnet(direct.gasPerMessage) },
        },
      ],
      notes: [
        `${formatCount(direct.messages)} presigned transactions, ${TRANSACTIONS_A_REQUEST} a request, a block each: anvil’s own speed limits them here, ` +
          'gas on the main network, all of whose blocks they would fill.',
        `${formatCount(rollup.messages)} messages through the sequencer, as many as it takes: ${plural(rollup.transactions, 'transaction')} on the L1; ` +
          `lost ${rollup.lost}, unprovable ${rollup.unprovable}. Gas allows more than that: the sequencer is the limit.`,
        `The gas of a commit does not depend on the number of entries: batches of ${REAL_SIZES.map(formatCount).join(', ')} empty messages were sealed and ` +
          'posted by the sequencer, the other sizes are headers with that count, committed to the same contract.',
        'A direct message is in the L1’s calldata; the L1 holds of a batch its header only, and its file is kept and served by the sequencer.',
      ],
      healthy: rollup.lost === 0 && rollup.unprovable === 0 && rollup.doubled === 0,
    };
  });
}

export const onchain: Scenario = {
  name: 'onchain',
  about: 'the same messages as direct transactions to the same L1: messages a second, and gas (1 min)',
  byDefault: false,
  run,
};
