import { settlementAbi } from '@sealpost/contracts';
import { batchHash, fromHex, type Hex } from '@sealpost/prover';
import { decodeErrorResult, decodeEventLog, decodeFunctionResult, encodeFunctionData, keccak256, toEventSelector } from 'viem';
import { type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import { getHttpRpcClient } from 'viem/utils';
import type {
  Commit,
  CommittedBatch,
  Fees,
  ForcedBundle,
  L1,
  L1Block,
  LaneHead,
  LaneStanding,
  PostageKey,
  SettlementEvents,
  TransactionOutcome,
} from '../ports.js';
import { L1Error } from '../ports.js';

export interface L1Options {
  /** JSON-RPC over HTTP. May hold a secret (user, password, API key): errors name its host only. */
  readonly url: string;
  /** Address of the Settlement contract. */
  readonly settlement: Hex;
  /** 32 bytes. Signs here and is shown nowhere. */
  readonly posterKey: Hex;
  /** 32 bytes; likewise. */
  readonly openerKey: Hex;
  /** Milliseconds until a call is given up, its whole answer included. */
  readonly timeoutMs: number;
  readonly fetch?: typeof fetch | undefined;
}

/** Most of a message by a node that an error repeats: nodes answer with whole calldatas, proxies with whole pages. */
const MAX_DETAIL_CHARACTERS = 300;
const BATCH_COMMITTED = toEventSelector(event('BatchCommitted'));
const BUNDLE_FORCED = toEventSelector(event('BundleForced'));
const ENTRY_DEMANDED = toEventSelector(event('EntryDemanded'));
const ENTRY_OPENED = toEventSelector(event('EntryOpened'));
const STANDING_CHANGES = ['OperatorChanged', 'ReceiptSignerChanged', 'TermBegan', 'TermEnded', 'BondTaken'].map((name) =>
  toEventSelector(event(name)),
);
const DEPOSIT_CHANGES = ['PostageDeposited', 'WithdrawalRequested', 'PostageWithdrawn', 'PostageRedeemed'].map((name) =>
  toEventSelector(event(name)),
);
const HASH = /^0x[0-9a-f]{64}$/;
const ADDRESS = /^0x[0-9a-f]{40}$/;

/**
 * An Ethereum node over JSON-RPC. Each call is asked once: no cache, no retry, no local nonce; whoever calls decides what
 * an error means. What a node answers is checked before it is used; an answer that makes no sense is `l1.unreachable`,
 * as if there had been none.
 */
export function createL1(options: L1Options): L1 {
  const settlement = options.settlement.toLowerCase() as Hex;
  const account = accountOf(options.posterKey);
  const opener = accountOf(options.openerKey);
  const call = createCall(options);
  let chainId: bigint | undefined;

  const read = async (
    functionName:
      | 'laneCount'
      | 'maxIncludeDelay'
      | 'head'
      | 'batchHash'
      | 'inboxLength'
      | 'term'
      | 'termOf'
      | 'operator'
      | 'operatorOf'
      | 'postageOf',
    args: unknown[],
    block?: bigint,
  ) => {
    const data = encodeFunctionData({ abi: settlementAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]);
    const result = await call('eth_call', [{ to: settlement, data }, block === undefined ? 'latest' : toQuantity(block)]);
    if (result === '0x' && block !== undefined) return undefined;
    if (result === '0x') throw new L1Error('l1.rpc', `no contract answers at ${settlement}`);
    return checked('eth_call', () =>
      decodeFunctionResult({ abi: settlementAbi, functionName, data: hexOf(result), args } as Parameters<
        typeof decodeFunctionResult
      >[0]),
    ) as unknown;
  };

  const standings = async (laneCount: number): Promise<LaneStanding[]> => {
    const lanes: LaneStanding[] = [];
    for (let lane = 0; lane < laneCount; lane++) {
      const term = (await read('term', [lane])) as number;
      // Zero where there is none: then everything of it is zero, too.
      const operator = (await read('operator', [lane])) as Hex;
      const [, exitRequestedAt, poster, signer] = (await read('operatorOf', [lane, operator])) as [bigint, bigint, Hex, Hex];
      const began = (await read('termOf', [lane, term])) as readonly [Hex, bigint, bigint, bigint, number, boolean, bigint];
      lanes.push({
        term,
        firstSequence: began[1],
        beginBlock: began[6],
        poster: poster.toLowerCase() as Hex,
        receiptSigner: signer.toLowerCase() as Hex,
        exitRequestedAt,
      });
    }
    return lanes;
  };

  const transactionCount = async ({ address }: PrivateKeyAccount, which: 'latest' | 'pending'): Promise<number> => {
    const answer = await call('eth_getTransactionCount', [address, which]);
    return checked('eth_getTransactionCount', () => Number(quantity(answer)));
  };

  const estimateGas = async ({ address }: PrivateKeyAccount, data: Hex): Promise<bigint> => {
    // At `latest`, not at `pending`: what waits in the pool may be the very transaction that this one replaces.
    const answer = await call('eth_estimateGas', [{ from: address, to: settlement, data }, 'latest']);
    return checked('eth_estimateGas', () => quantity(answer));
  };

  const events = async (filter: Record<string, unknown>): Promise<SettlementEvents> => {
    const topics = [[BATCH_COMMITTED, BUNDLE_FORCED, ENTRY_DEMANDED, ENTRY_OPENED, ...STANDING_CHANGES, ...DEPOSIT_CHANGES]];
    const result = await call('eth_getLogs', [{ address: settlement, topics, ...filter }]);
    return checked('eth_getLogs', () => {
      if (!Array.isArray(result)) throw new Error('expected an array');
      const logs = result.map(record).filter((log) => log.removed !== true);
      const of = (topic: Hex) => logs.filter((log) => (log.topics as unknown[] | undefined)?.[0] === topic);
      return {
        commitments: of(BATCH_COMMITTED).map((log) => commitmentOf(log, settlement)),
        forced: of(BUNDLE_FORCED).map((log) => forcedBundleOf(log, settlement)),
        demands: of(ENTRY_DEMANDED).map((log) => {
          const { lane, term, sequence, deadline } = eventOf(log, settlement, 'EntryDemanded').args;
          return { lane, term, sequence, deadline, blockNumber: quantity(log.blockNumber) };
        }),
        answered: of(ENTRY_OPENED).map((log) => {
          const { lane, term, sequence } = eventOf(log, settlement, 'EntryOpened').args;
          return { lane, term, sequence, blockNumber: quantity(log.blockNumber) };
        }),
        standingsChanged: STANDING_CHANGES.some((topic) => of(topic).length > 0),
        deposits: DEPOSIT_CHANGES.flatMap(of).map(depositKeyOf),
      };
    });
  };

  return {
    posterAddress: account.address.toLowerCase() as Hex,

    async chainId() {
      const answer = await call('eth_chainId', []);
      const id = checked('eth_chainId', () => quantity(answer));
      chainId ??= id;
      return id;
    },

    async settlement() {
      const code = await call('eth_getCode', [settlement, 'latest']);
      if (checked('eth_getCode', () => hexOf(code)) === '0x') return undefined;
      const laneCount = (await read('laneCount', [])) as number;
      const maxIncludeDelay = (await read('maxIncludeDelay', [])) as bigint;
      return { laneCount, maxIncludeDelay, lanes: await standings(laneCount) };
    },

    standings,

    async block(which) {
      const byHash = typeof which === 'string' && which.startsWith('0x');
      const method = byHash ? 'eth_getBlockByHash' : 'eth_getBlockByNumber';
      const tag = which === 'safe' || which === 'finalized';
      const result = await call(method, [typeof which === 'bigint' ? toQuantity(which) : which, false]).catch(
        (error: unknown) => {
          // A node that does not know a tag yet (nothing finalized so far, an old chain) answers with an error.
          if (error instanceof L1Error && error.code === 'l1.rpc' && (tag || /unknown block|not found/i.test(error.message)))
            return null;
          throw error;
        },
      );
      return result === null ? undefined : checked(method, () => blockOf(record(result)));
    },

    eventsIn: (blockHash) => events({ blockHash }),

    eventsBetween: (from, to) => events({ fromBlock: toQuantity(from), toBlock: toQuantity(to) }),

    async head(lane): Promise<LaneHead> {
      const [number, nextSequence, timestamp] = (await read('head', [lane])) as [bigint, bigint, bigint, bigint];
      return { number, nextSequence, timestamp };
    },

    async depositOf(lane, sender, block) {
      const state = (await read('postageOf', [lane, sender], block)) as readonly bigint[] | undefined;
      const [deposit = 0n, redeemed = 0n, withdrawing = 0n] = state ?? [];
      return { deposit, redeemed, withdrawing };
    },
    batchHash: async (lane, number) => (await read('batchHash', [lane, number])) as Hex,

    inboxLength: async (lane) => (await read('inboxLength', [lane])) as bigint,

    posterNonce: (which) => transactionCount(account, which),

    async posterBalance() {
      const answer = await call('eth_getBalance', [account.address, 'latest']);
      return checked('eth_getBalance', () => quantity(answer));
    },

    async fees() {
      const [latest, priorityFee] = await Promise.all([
        call('eth_getBlockByNumber', ['latest', false]),
        // Not every node has an opinion; the caller has a least tip.
        call('eth_maxPriorityFeePerGas', []).catch((error: unknown) => {
          if (error instanceof L1Error && error.code === 'l1.rpc') return '0x0';
          throw error;
        }),
      ]);
      return checked('fees', () => ({
        baseFeePerGas: quantity(record(latest).baseFeePerGas),
        priorityFeePerGas: quantity(priorityFee),
      }));
    },

    estimateCommit: (commit) => estimateGas(account, commitData(commit)),

    async signCommit(commit, { nonce, gas, maxFeePerGas, maxPriorityFeePerGas }) {
      chainId ??= await this.chainId();
      const raw = await sign(account, commitData(commit), settlement, chainId, nonce, gas, {
        maxFeePerGas,
        maxPriorityFeePerGas,
      });
      return { hash: keccak256(raw), raw };
    },

    async broadcast(raw) {
      await call('eth_sendRawTransaction', [raw]);
    },

    async outcome(transactionHash): Promise<TransactionOutcome | undefined> {
      const result = await call('eth_getTransactionReceipt', [transactionHash]);
      if (result === null) return undefined;
      return checked('eth_getTransactionReceipt', () => {
        const receipt = record(result);
        return {
          blockNumber: quantity(receipt.blockNumber),
          blockHash: hashOf(receipt.blockHash),
          succeeded: quantity(receipt.status) === 1n,
          gasUsed: quantity(receipt.gasUsed),
        };
      });
    },

    async knows(transactionHash) {
      return (await call('eth_getTransactionByHash', [transactionHash])) !== null;
    },

    openerNonce: (which) => transactionCount(opener, which),

    async sendOpening(purpose, opening, { nonce, maxFeePerGas, maxPriorityFeePerGas }) {
      chainId ??= await this.chainId();
      const data = encodeFunctionData({ abi: settlementAbi, functionName: purpose, args: [opening] });
      const gas = ((await estimateGas(opener, data)) * 6n) / 5n;
      const fees = { maxFeePerGas, maxPriorityFeePerGas };
      const raw = await sign(opener, data, settlement, chainId, nonce, gas, fees);
      await this.broadcast(raw);
      return keccak256(raw);
    },
  };
}

function accountOf(key: Hex): PrivateKeyAccount {
  try {
    return privateKeyToAccount(key);
  } catch {
    // Without its cause: that one may quote the key.
    throw new Error('a key that pays for transactions: expected 0x and 64 hex digits, a valid secp256k1 key');
  }
}

const commitData = ({ headers, forced }: Commit): Hex =>
  encodeFunctionData({ abi: settlementAbi, functionName: 'commit', args: [headers, forced] });

const sign = (
  account: PrivateKeyAccount,
  data: Hex,
  to: Hex,
  chainId: bigint,
  nonce: number,
  gas: bigint,
  fees: Fees,
): Promise<Hex> =>
  account.signTransaction({
    type: 'eip1559',
    chainId: Number(chainId),
    nonce,
    gas,
    to,
    value: 0n,
    data,
    ...fees,
  });

// ---- JSON-RPC -------------------------------------------------------------------------------------------------------

type Call = (method: string, params: readonly unknown[]) => Promise<unknown>;

function createCall({ url, timeoutMs, fetch }: L1Options): Call {
  const host = hostOf(url);
  const client = getHttpRpcClient(url, { timeout: timeoutMs, ...(fetch === undefined ? {} : { fetchFn: fetch }) });
  return async (method, params) => {
    let answer: { result?: unknown; error?: { code?: unknown; message?: unknown; data?: unknown } };
    try {
      answer = (await client.request({ body: { method, params: [...params] } })) as typeof answer;
    } catch (error) {
      throw transportError(error, method, host, timeoutMs);
    }
    if (typeof answer !== 'object' || answer === null || (answer.result === undefined && typeof answer.error !== 'object')) {
      throw new L1Error('l1.unreachable', `${method}: ${host} answered something that is not JSON-RPC`);
    }
    if (answer.error) throw rpcError(answer.error, method);
    return answer.result;
  };
}

/** Where the node is, without what may be secret in its URL. */
function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    throw new Error('the L1 URL: expected http://… or https://…');
  }
}

/** Never with the library's error as its cause: that one quotes URL and request. */
function transportError(error: unknown, method: string, host: string, timeoutMs: number): L1Error {
  const { name, status, code, details } = error as { name?: string; status?: number; code?: unknown; details?: unknown };
  if (name === 'TimeoutError') return new L1Error('l1.timeout', `${method}: ${host} did not answer within ${timeoutMs} ms`);
  if (name === 'RpcRequestError' && status !== undefined && status < 500 && status !== 429) {
    return rpcError({ code, message: details, data: (error as { data?: unknown }).data }, method);
  }
  if (name === 'ResponseBodyTooLargeError') return new L1Error('l1.rpc', `${method}: the answer is too large`);
  if (status !== undefined) return new L1Error('l1.unreachable', `${method}: ${host} answered HTTP ${status}`);
  const reason = causeCode(error);
  return new L1Error('l1.unreachable', `${method}: ${host} is unreachable${reason === undefined ? '' : ` (${reason})`}`);
}

/** ECONNREFUSED, ENOTFOUND, UND_ERR_SOCKET …, at the bottom of a chain of causes. */
function causeCode(error: unknown): string | undefined {
  let found: string | undefined;
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const code = (at as { code?: unknown }).code;
    if (typeof code === 'string') found = code;
    if (at instanceof SyntaxError) found = 'not JSON';
  }
  return found;
}

/** What geth, Nethermind, Erigon, Besu, Reth and anvil say, in order: the first that fits. */
const REASONS: readonly (readonly [RegExp, L1Error['code']])[] = [
  [/nonce too low|nonce is too low|old ?nonce|invalid nonce.*expected/i, 'l1.nonce_too_low'],
  [/already known|already imported|known transaction|AlreadyKnown|transaction already/i, 'l1.already_known'],
  [/insufficient ?(funds|balance)|insufficient MaxFee|upfront cost exceeds/i, 'l1.insufficient_funds'],
  [
    /underpriced|fee too low|fee cap less than block base fee|max fee per gas less than block base fee|FeeTooLow/i,
    'l1.underpriced',
  ],
  [/too many requests|rate limit|limit exceeded/i, 'l1.unreachable'],
  [/execution reverted|^reverted|VM Exception|^revert/i, 'l1.reverted'],
];

function rpcError(error: { code?: unknown; message?: unknown; data?: unknown }, method: string): L1Error {
  const message = typeof error.message === 'string' ? error.message : 'no reason given';
  const custom = customError(error.data);
  const code = custom !== undefined || error.code === 3 ? 'l1.reverted' : REASONS.find(([words]) => words.test(message))?.[1];
  return new L1Error(code ?? 'l1.rpc', `${method}: ${custom ?? printable(message)}`);
}

/** `WrongNumber(expected 3, got 2)` from the data of a revert; nodes put it at `data` or at `data.data`. */
function customError(data: unknown): string | undefined {
  const bytes = typeof data === 'object' && data !== null ? (data as { data?: unknown }).data : data;
  if (typeof bytes !== 'string' || !/^0x[0-9a-fA-F]{8}/.test(bytes)) return undefined;
  try {
    const { abiItem, errorName, args } = decodeErrorResult({ abi: settlementAbi, data: bytes as Hex });
    const named = (args ?? []).map((value, index) => `${('inputs' in abiItem && abiItem.inputs[index]?.name) || index} ${value}`);
    return `${errorName}(${named.join(', ')})`;
  } catch {
    return undefined;
  }
}

const printable = (text: string): string => text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, MAX_DETAIL_CHARACTERS);

// ---- Answers --------------------------------------------------------------------------------------------------------

/** @throws l1.unreachable where the answer has not the form it must have */
function checked<T>(method: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw new L1Error('l1.unreachable', `${method}: the answer makes no sense: ${printable((error as Error).message)}`);
  }
}

function event(name: string) {
  const found = settlementAbi.find((item) => item.type === 'event' && item.name === name);
  if (found?.type !== 'event') throw new Error(`the ABI has no event ${name}`);
  return found;
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('expected an object');
  return value as Record<string, unknown>;
}

function quantity(value: unknown): bigint {
  if (typeof value !== 'string' || !/^0x[0-9a-fA-F]+$/.test(value)) throw new Error('expected a quantity');
  return BigInt(value);
}

const toQuantity = (value: bigint): Hex => `0x${value.toString(16)}`;

function hexOf(value: unknown): Hex {
  if (typeof value !== 'string' || !/^0x(?:[0-9a-fA-F]{2})*$/.test(value)) throw new Error('expected bytes in hex');
  return value.toLowerCase() as Hex;
}

function hashOf(value: unknown): Hex {
  const hash = hexOf(value);
  if (!HASH.test(hash)) throw new Error('expected a hash');
  return hash;
}

const blockOf = (block: Record<string, unknown>): L1Block => ({
  number: quantity(block.number),
  hash: hashOf(block.hash),
  parentHash: hashOf(block.parentHash),
  timestamp: quantity(block.timestamp),
});

/** What a log of the contract says. */
function eventOf<Name extends 'BatchCommitted' | 'BundleForced' | 'EntryDemanded' | 'EntryOpened'>(
  log: Record<string, unknown>,
  settlement: Hex,
  eventName: Name,
) {
  const address = hexOf(log.address);
  if (!ADDRESS.test(address) || address !== settlement) throw new Error('a log of another contract');
  if (!Array.isArray(log.topics)) throw new Error('expected topics');
  const topics = log.topics.map(hashOf) as [Hex, ...Hex[]];
  return decodeEventLog({ abi: settlementAbi, eventName, data: hexOf(log.data), topics });
}

/** Whose deposit an event is about: all of them have lane and sender as their first two topics. */
function depositKeyOf({ topics }: Record<string, unknown>): PostageKey {
  const [, lane, sender] = (topics as unknown[]).map(hashOf);
  if (lane === undefined || sender === undefined) throw new Error('expected a lane and a sender');
  return { lane: Number(lane), sender: `0x${sender.slice(26)}` };
}

/** Length of a frame's length (PROTOCOL.md §3). */
const FRAME_BYTES = 4;

function forcedBundleOf(log: Record<string, unknown>, settlement: Hex): ForcedBundle {
  const { lane, index, bundleHash, deadline, framed } = eventOf(log, settlement, 'BundleForced').args;
  const bundle = fromHex(framed).subarray(FRAME_BYTES);
  return { lane, index, bundleHash, deadline, bundle, blockNumber: quantity(log.blockNumber) };
}

/** The batch hash is computed from the header in the event, and held against the one the contract put beside it. */
function commitmentOf(log: Record<string, unknown>, settlement: Hex): CommittedBatch {
  const { args } = eventOf(log, settlement, 'BatchCommitted');
  const { header } = args;
  const hash = batchHash(header);
  if (hash !== args.batchHash || header.number !== args.number || header.lane !== args.lane) {
    throw new Error(`the header of batch ${args.lane}/${args.number} has not the hash ${args.batchHash}`);
  }
  return {
    header,
    lane: header.lane,
    number: header.number,
    batchHash: hash,
    transactionHash: hashOf(log.transactionHash),
    blockNumber: quantity(log.blockNumber),
    blockHash: hashOf(log.blockHash),
  };
}
