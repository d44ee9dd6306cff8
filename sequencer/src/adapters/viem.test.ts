import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { settlementAbi } from '@sealpost/contracts';
import { type BatchHeader, batchHash, type Hex, ZERO_HASH } from '@sealpost/prover';
import { encodeAbiParameters, encodeErrorResult, encodeEventTopics, getAbiItem } from 'viem';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { L1Error } from '../ports.js';
import { createL1 } from './viem.js';

const SETTLEMENT: Hex = `0x${'5e'.repeat(20)}`;
const KEY: Hex = `0x${'4b'.repeat(32)}`;

let server: Server;
let url: string;
let answer: (request: { method: string; params: unknown[] }, response: ServerResponse) => void;

beforeAll(async () => {
  server = createServer(async (request: IncomingMessage, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    answer(JSON.parse(body), response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://user:hunter2@127.0.0.1:${(server.address() as AddressInfo).port}/v2/api-key-1234`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const json = (response: ServerResponse, body: unknown, status = 200) =>
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(JSON.stringify({ jsonrpc: '2.0', id: 1, ...(body as object) }));
const result = (value: unknown) => (_: unknown, response: ServerResponse) => void json(response, { result: value });
const failure = (code: number, message: string, data?: unknown) => (_: unknown, response: ServerResponse) =>
  void json(response, { error: { code, message, data } });

const node = (timeoutMs = 2_000) => createL1({ url, settlement: SETTLEMENT, posterKey: KEY, openerKey: KEY, timeoutMs });
const failed = async (promise: Promise<unknown>): Promise<L1Error> => {
  const error = await promise.then(() => undefined).catch((thrown: unknown) => thrown);
  if (!(error instanceof L1Error)) throw new Error(`expected an L1Error, got ${error}`);
  return error;
};

beforeEach(() => {
  answer = failure(-32601, 'the method does not exist');
});

describe("a node's refusals", () => {
  test.each([
    ['geth', 'nonce too low: next nonce 5, tx nonce 4', 'l1.nonce_too_low'],
    ['anvil', 'nonce too low', 'l1.nonce_too_low'],
    ['besu', 'Nonce too low', 'l1.nonce_too_low'],
    ['nethermind', 'OldNonce, Current nonce: 5, nonce of rejected tx: 4', 'l1.nonce_too_low'],
    ['geth', 'already known', 'l1.already_known'],
    ['anvil', 'transaction already imported', 'l1.already_known'],
    ['nethermind', 'AlreadyKnown', 'l1.already_known'],
    ['besu', 'Known transaction', 'l1.already_known'],
    ['geth', 'replacement transaction underpriced: new tx gas fee cap 1 <= 2 queued', 'l1.underpriced'],
    ['geth', 'transaction underpriced: gas tip cap 0, minimum needed 1', 'l1.underpriced'],
    ['anvil', 'replacement transaction underpriced', 'l1.underpriced'],
    ['anvil', 'max fee per gas less than block base fee', 'l1.underpriced'],
    ['nethermind', 'FeeTooLow, MaxFeePerGas too low', 'l1.underpriced'],
    ['geth', 'insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1', 'l1.insufficient_funds'],
    ['anvil', 'Insufficient funds for gas * price + value', 'l1.insufficient_funds'],
    ['nethermind', 'InsufficientFunds, Account balance: 0, cumulative cost: 1', 'l1.insufficient_funds'],
    ['besu', 'Upfront cost exceeds account balance', 'l1.insufficient_funds'],
    ['a provider', 'request limit exceeded', 'l1.unreachable'],
    ['geth', 'exceeds block gas limit', 'l1.rpc'],
    ['anyone', 'internal error', 'l1.rpc'],
  ] as const)('%s: %s', async (_, message, code) => {
    answer = failure(-32000, message);
    expect((await failed(node().broadcast('0x02'))).code).toBe(code);
  });

  const revert = encodeErrorResult({ abi: settlementAbi, errorName: 'WrongNumber', args: [3n, 2n] });
  test.each([
    ['geth', failure(3, 'execution reverted', revert)],
    ['anvil', failure(3, 'execution reverted: custom error 0xbdbb1332: \u0000\u0000\u0003', revert)],
    ['behind a proxy', failure(-32000, 'execution reverted', { data: revert })],
    [
      'an error with its own HTTP status',
      (_: unknown, response: ServerResponse) =>
        void json(response, { error: { code: 3, message: 'execution reverted', data: revert } }, 400),
    ],
  ])('a revert is decoded: %s', async (_, give) => {
    answer = give;
    const error = await failed(node().estimateCommit({ headers: [], forced: [] }));
    expect(error).toMatchObject({ code: 'l1.reverted' });
    if (_ !== 'an error with its own HTTP status') expect(error.message).toBe('eth_estimateGas: WrongNumber(expected 3, got 2)');
  });
});

describe('a node that does not answer properly', () => {
  test.each([
    ['HTTP 500', (_: unknown, response: ServerResponse) => void response.writeHead(500).end('oops')],
    ['HTTP 429', (_: unknown, response: ServerResponse) => void response.writeHead(429).end('slow down')],
    [
      'HTTP 502 with a page',
      (_: unknown, response: ServerResponse) => void response.writeHead(502, { 'content-type': 'text/html' }).end('<html>'),
    ],
    [
      'not JSON',
      (_: unknown, response: ServerResponse) =>
        void response.writeHead(200, { 'content-type': 'application/json' }).end('{"resul'),
    ],
    ['an empty body', (_: unknown, response: ServerResponse) => void response.writeHead(200).end()],
    ['JSON of another kind', (_: unknown, response: ServerResponse) => void response.writeHead(200).end('[1]')],
    ['null', (_: unknown, response: ServerResponse) => void response.writeHead(200).end('null')],
    ['a dropped connection', (_: unknown, response: ServerResponse) => void response.socket?.destroy()],
    ['a result of another kind', result({ number: 'x' })],
    ['a number where a block should be', result(7)],
  ])('%s', async (_, give) => {
    answer = give;
    expect((await failed(node().block('latest'))).code).toBe('l1.unreachable');
  });

  test('a slow answer and a trickling one time out', async () => {
    answer = () => {};
    expect((await failed(node(30).posterBalance())).code).toBe('l1.timeout');
    answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{"jsonrpc"');
    expect((await failed(node(30).posterBalance())).code).toBe('l1.timeout');
  });

  test('nobody is there', async () => {
    const l1 = createL1({
      url: 'http://127.0.0.1:9',
      settlement: SETTLEMENT,
      posterKey: KEY,
      openerKey: KEY,
      timeoutMs: 1_000,
    });
    expect(await failed(l1.chainId())).toMatchObject({ code: 'l1.unreachable' });
  });

  test('errors name the host, and neither password, API key nor posting key', async () => {
    const errors: L1Error[] = [];
    for (const give of [failure(-32000, 'no'), (_: unknown, r: ServerResponse) => void r.writeHead(500).end(), () => {}]) {
      answer = give;
      errors.push(await failed(node(30).broadcast('0x02')));
    }
    for (const error of errors) {
      const shown = `${error.stack} ${JSON.stringify(error)} ${error.cause}`;
      expect(shown).not.toMatch(/hunter2|api-key-1234|4b4b4b4b/);
    }
    expect(errors.slice(1).every((error) => error.message.includes('127.0.0.1:'))).toBe(true);
    const bad = () => createL1({ url, settlement: SETTLEMENT, posterKey: `${KEY}4b4b`, openerKey: KEY, timeoutMs: 1 });
    expect(bad).toThrow('a key that pays for transactions: expected 0x and 64 hex digits');
  });
});

describe('answers', () => {
  test('a block by tag, number and hash; none', async () => {
    const asked: unknown[] = [];
    answer = ({ method, params }, response) => {
      // Calls that timed out in an earlier test may arrive only now.
      if (method.startsWith('eth_getBlock')) asked.push([method, params[0]]);
      json(response, { result: { number: '0x10', hash: `0x${'AA'.repeat(32)}`, parentHash: ZERO_HASH, timestamp: '0x5' } });
    };
    const block = { number: 16n, hash: `0x${'aa'.repeat(32)}`, parentHash: ZERO_HASH, timestamp: 5n };
    for (const which of ['latest', 16n, block.hash as Hex] as const) expect(await node().block(which)).toEqual(block);
    expect(asked).toEqual([
      ['eth_getBlockByNumber', 'latest'],
      ['eth_getBlockByNumber', '0x10'],
      ['eth_getBlockByHash', block.hash],
    ]);
    answer = result(null);
    expect(await node().block(99n)).toBeUndefined();
    answer = failure(-39001, 'safe block not found');
    expect(await node().block('safe')).toBeUndefined();
    answer = failure(-32000, "'finalized' tag not supported on pre-merge network");
    expect(await node().block('finalized')).toBeUndefined();
    expect((await failed(node().block('latest'))).code).toBe('l1.rpc');
  });

  const header: BatchHeader = {
    lane: 2,
    term: 1,
    number: 7n,
    parentHash: ZERO_HASH,
    firstSequence: 5n,
    count: 3,
    bundlesRoot: ZERO_HASH,
    inboxCount: 0n,
    timestamp: 9n,
    dataHash: ZERO_HASH,
  };
  const log = (claimed: Hex, more: object = {}) => {
    const event = getAbiItem({ abi: settlementAbi, name: 'BatchCommitted' });
    return {
      address: SETTLEMENT.toUpperCase().replace('0X', '0x'),
      topics: encodeEventTopics({ abi: [event], args: { lane: 2, number: 7n, batchHash: claimed } }),
      data: encodeAbiParameters([event.inputs[3]], [header]),
      transactionHash: ZERO_HASH,
      blockNumber: '0x3',
      blockHash: ZERO_HASH,
      ...more,
    };
  };

  test('a commitment comes from its header, and is held against the hash beside it', async () => {
    const hash = batchHash(header);
    answer = result([log(hash)]);
    expect(await node().eventsIn(ZERO_HASH)).toEqual({
      commitments: [
        { header, lane: 2, number: 7n, batchHash: hash, transactionHash: ZERO_HASH, blockNumber: 3n, blockHash: ZERO_HASH },
      ],
      forced: [],
      demands: [],
      answered: [],
      standingsChanged: false,
      deposits: [],
    });
    answer = result([log(`0x${'11'.repeat(32)}`)]);
    expect((await failed(node().eventsIn(ZERO_HASH))).message).toContain('has not the hash');
    answer = result([log(hash, { address: `0x${'66'.repeat(20)}` })]);
    expect((await failed(node().eventsBetween(0n, 5n))).message).toContain('a log of another contract');
    answer = result([log(hash, { removed: true })]);
    expect(await node().eventsIn(ZERO_HASH)).toEqual({
      commitments: [],
      forced: [],
      demands: [],
      answered: [],
      standingsChanged: false,
      deposits: [],
    });
  });

  test('no contract at the address', async () => {
    answer = result('0x');
    expect(await node().settlement()).toBeUndefined();
    expect((await failed(node().head(0))).message).toBe(`no contract answers at ${SETTLEMENT}`);
  });
});
