import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { ZERO_HASH } from '@sealpost/prover';
import { getContractAddress } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { describe, expect, test } from 'vitest';
import { L1Error } from '../src/ports.js';
import { type Anvil, deploySettlement, KEYS, startAnvil } from './anvil.js';
import { fixtures, until, type World } from './l1-world.js';
import type { Mood } from './proxy.js';

const { chain, world, proxied } = fixtures();

/** A port that nobody listens on (any more). */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Where `deploySettlement` always deploys to. */
const SETTLEMENT = getContractAddress({ from: privateKeyToAddress(KEYS[2]), nonce: 0n }).toLowerCase() as `0x${string}`;
const blockNumber = async (anvil: Anvil) => BigInt(await anvil.rpc<string>('eth_blockNumber'));

describe('committing and following', () => {
  test('a batch is committed, safe, then finalized, and its record forgotten', async () => {
    const anvil = await chain();
    const it = await world({ url: anvil.url, settlement: await deploySettlement(anvil) });
    await it.seal();
    await it.reaches(1n);
    await it.reaches(1n, 'safe');
    await it.reaches(1n, 'finalized');
    expect(await it.l1.head(0)).toMatchObject({ number: 1n, nextSequence: 3n });
    await until('no record of it', () => it.store.sends().length === 0);
    expect(it.poster.status()).toMatchObject({ backlogBatches: 0, attempts: { published: 1, mined: 1 }, lastError: undefined });
    expect(it.poster.status().walletWei).toBeLessThan(10_000n * 10n ** 18n);
    const { transactionHash } = it.store.commitment(0, 1n) ?? { transactionHash: ZERO_HASH };
    expect(await it.l1.outcome(transactionHash)).toMatchObject({ succeeded: true });
    expect(it.follower.status()).toMatchObject({ state: 'following', reorgs: 0, lastError: undefined });
  });

  test('what the contract was deployed with', async () => {
    const anvil = await chain();
    const settlement = await deploySettlement(anvil, { laneCount: 2 });
    const it = await world({ url: anvil.url, settlement, laneCount: 2 });
    const facts = await it.l1.settlement();
    const beginBlock = facts?.lanes[0]?.beginBlock as bigint;
    // The block of the deployment: there is code in it, and none before.
    const codeAt = (block: bigint) => anvil.rpc('eth_getCode', [settlement, `0x${block.toString(16)}`]);
    expect(await codeAt(beginBlock)).not.toBe('0x');
    expect(await codeAt(beginBlock - 1n)).toBe('0x');
    const lane = {
      term: 1,
      firstSequence: 0n,
      beginBlock,
      poster: it.l1.posterAddress,
      receiptSigner: privateKeyToAddress(KEYS[1]).toLowerCase(),
      exitRequestedAt: 0n,
    };
    expect(facts).toEqual({ laneCount: 2, maxIncludeDelay: 1_800n, lanes: [lane, lane] });
    expect(await it.l1.chainId()).toBe(31337n);
  });

  test('behind: several batches in one transaction, two lanes at once', async () => {
    const anvil = await chain({ blockTime: 0.1 });
    const it = await world({ url: anvil.url, settlement: await deploySettlement(anvil, { laneCount: 2 }), laneCount: 2 });
    await until('a view', () => it.follower.view());
    await it.poster.stop();
    await it.seal(7, 0);
    await it.seal(300, 1);
    await it.restart();
    await it.reaches(7n, 'committed', 0);
    await it.reaches(300n, 'committed', 1);
    const transactions = new Set<string>();
    for (let number = 1n; number <= 300n; number++) {
      for (const lane of [0, 1]) {
        const commitment = it.store.commitment(lane, number);
        if (commitment) transactions.add(`${lane} ${commitment.transactionHash}`);
      }
    }
    expect([...transactions].map((entry) => entry[0]).sort()).toEqual(['0', '1', '1']);
  });

  test('a contract with a batch that this database does not know is fatal', async () => {
    const anvil = await chain();
    const settlement = await deploySettlement(anvil);
    const first = await world({ url: anvil.url, settlement });
    await first.seal();
    await first.reaches(1n);
    const second = await world({ url: anvil.url, settlement });
    await until('the end of the follower', () => second.fatal.length > 0);
    expect(String(second.fatal[0])).toContain('lane 0: the contract holds a batch 1 that this database does not know');
    expect(second.follower.view()).toBeUndefined();
    await first.seal();
    await first.reaches(2n);
  });

  test('two sequencers on two databases: the one that loses says so', async () => {
    const anvil = await chain();
    const settlement = await deploySettlement(anvil);
    const [a, b] = [await world({ url: anvil.url, settlement }), await world({ url: anvil.url, settlement })];
    await until('both views', () => a.follower.view() && b.follower.view());
    await b.poster.stop();
    await a.seal();
    await b.seal();
    await until('the end of the follower', () => b.fatal.length > 0);
    expect(String(b.fatal[0])).toContain('has with another content');
    await a.reaches(1n);
    expect(a.fatal).toEqual([]);
  });

  test('catching up: hundreds of blocks while it was away', async () => {
    const anvil = await chain({ blockTime: 0.1 });
    const it = await world({
      url: anvil.url,
      settlement: await deploySettlement(anvil),
      follower: { windowBlocks: 16, logRangeBlocks: 50 },
    });
    await it.seal(2);
    await it.reaches(2n);
    await it.follower.stop();
    await anvil.mine(400);
    await it.restart();
    await it.reaches(2n, 'finalized');
    await it.seal();
    await it.reaches(3n);
    expect(it.count('l1.catching_up')).toBeGreaterThan(0);
    const kept = it.store.l1Blocks();
    expect(kept.length).toBeLessThan(60);
    expect(kept.every((block, at) => at === 0 || block.parentHash === kept[at - 1]?.hash)).toBe(true);
  });
});

test('a provider that answers for ten blocks of logs at most', async () => {
  const anvil = await chain();
  const proxy = await proxied(anvil.url);
  const it = await world({ url: proxy.url, settlement: await deploySettlement(anvil), follower: { windowBlocks: 8 } });
  await it.seal();
  await it.reaches(1n, 'finalized');
  await it.follower.stop();
  await anvil.mine(60);
  proxy.refuse = (method, [filter]) => {
    const { fromBlock, toBlock } = (filter ?? {}) as { fromBlock?: string; toBlock?: string };
    return method === 'eth_getLogs' && Number(toBlock) - Number(fromBlock) >= 10;
  };
  await it.restart();
  await it.seal();
  await it.reaches(2n);
  expect(it.follower.status()).toMatchObject({ lastError: undefined, reorgs: 0 });
});

describe('an L1 that is not well', () => {
  test('down at start', async () => {
    const port = await freePort();
    const it = await world({ url: `http://127.0.0.1:${port}`, settlement: SETTLEMENT });
    await until('a failed look', () => it.follower.status().state === 'failing' && it.poster.status().lastError);
    expect(it.poster.status().lastError?.code).toBe('l1.unreachable');
    expect(it.follower.view()).toBeUndefined();
    const anvil = await chain({ blockTime: 0.1, port });
    await deploySettlement(anvil);
    await it.seal();
    await it.reaches(1n);
    expect(it.events.filter(({ event }) => event === 'l1.failing').length).toBeLessThanOrEqual(2);
    expect(it.count('l1.recovered')).toBeGreaterThan(0);
  });

  test('down for a while, back where it was', async () => {
    const port = await freePort();
    const it = await world({ url: `http://127.0.0.1:${port}`, settlement: SETTLEMENT });
    const options = { blockTime: 0.1, port, state: join(it.folder, 'chain.json') };
    const before = await startAnvil(options);
    await deploySettlement(before);
    await it.seal(2);
    await it.reaches(2n);
    await before.stop();
    await it.seal(3);
    await until('a failed look', () => it.follower.status().state === 'failing');
    expect(it.poster.status()).toMatchObject({ backlogBatches: 3 });
    const after = await chain(options);
    await it.reaches(5n);
    expect(await it.l1.head(0)).toMatchObject({ number: 5n });
    expect(await after.rpc('eth_getTransactionCount', [it.l1.posterAddress, 'latest'])).toBe(
      `0x${new Set(transactions(it)).size.toString(16)}`,
    );
  });

  test('restarted from an older state: what it forgot is posted again', async () => {
    const port = await freePort();
    const it = await world({ url: `http://127.0.0.1:${port}`, settlement: SETTLEMENT });
    const state = join(it.folder, 'chain.json');
    const options = { blockTime: 0.1, port, state };
    const older = await startAnvil(options);
    await deploySettlement(older);
    await it.seal(2);
    await it.reaches(2n);
    await older.stop();
    copyFileSync(state, `${state}.old`);
    const newer = await startAnvil(options);
    await it.seal(2);
    await it.reaches(4n, 'finalized');
    await newer.stop();
    copyFileSync(`${state}.old`, state);
    await chain(options);
    await until('the follower to go back', () => it.follower.status().reorgs > 0);
    await it.reaches(4n, 'finalized');
    expect(await it.l1.head(0)).toMatchObject({ number: 4n });
    expect(it.fatal).toEqual([]);
  });

  test('restarted from an older state, and it mines nothing by itself', async () => {
    const port = await freePort();
    const it = await world({ url: `http://127.0.0.1:${port}`, settlement: SETTLEMENT });
    const state = join(it.folder, 'chain.json');
    const options = { port, state };
    const older = await startAnvil(options);
    await deploySettlement(older);
    await until('a view', () => it.follower.view());
    await older.stop();
    copyFileSync(state, `${state}.old`);
    const newer = await startAnvil(options);
    await newer.mine(8);
    await until('the new head', () => it.follower.view()?.latest.number === 9n);
    await newer.stop();
    copyFileSync(`${state}.old`, state);
    const back = await chain(options);
    await until('the follower to go back', () => it.follower.view()?.latest.number === 1n);
    await it.seal();
    await until('the transaction in the pool', () => it.poster.status().attempts.published === 1);
    await back.mine();
    await it.reaches(1n);
  });

  test('a fresh chain: everything is posted again', async () => {
    const first = await startAnvil({ blockTime: 0.1 });
    const it = await world({ url: first.url, settlement: await deploySettlement(first) });
    await it.seal(3);
    await it.reaches(3n);
    await it.seal(2);
    await it.reaches(5n, 'finalized');
    await first.stop('SIGKILL');
    const fresh = await chain({ blockTime: 0.1, port: first.port });
    await deploySettlement(fresh);
    await until('the follower to go back', () => it.follower.status().reorgs > 0);
    await it.reaches(5n, 'finalized');
    expect(it.fatal).toEqual([]);
    expect(it.count('l1.went_back') + it.count('l1.finality_broken')).toBeGreaterThan(0);
  });

  test.each<[string, Mood, string]>([
    ['silent', 'silent', 'l1.timeout'],
    ['answering HTTP 500', 'http 500', 'l1.unreachable'],
    ['answering garbage', 'garbage', 'l1.unreachable'],
    ['answering errors', 'errors', 'l1.rpc'],
  ])('%s, then well again', async (_, mood, code) => {
    const anvil = await chain();
    const proxy = await proxied(anvil.url);
    const it = await world({ url: proxy.url, settlement: await deploySettlement(anvil), timeoutMs: 400 });
    await it.seal();
    await it.reaches(1n);
    await it.seal(2);
    proxy.mood = mood;
    it.events.length = 0;
    await until('both to notice', () => it.follower.status().state === 'failing' && it.poster.status().lastError);
    expect(it.follower.status().lastError?.code).toBe(code);
    expect(it.poster.status().lastError?.code).toBe(code);
    const asked = proxy.methods.length;
    await until('more attempts', () => proxy.methods.length >= asked + 4);
    expect(it.events.filter(({ event, facts }) => event === 'l1.failing' && facts.code === code)).toHaveLength(1);
    proxy.mood = 'well';
    await it.reaches(3n);
    expect(await it.l1.head(0)).toMatchObject({ number: 3n });
    expect(it.fatal).toEqual([]);
  });

  test('every twelfth call fails', async () => {
    const anvil = await chain();
    const proxy = await proxied(anvil.url);
    const it = await world({ url: proxy.url, settlement: await deploySettlement(anvil) });
    let calls = 0;
    proxy.lose = () => ++calls % 12 === 0;
    for (let number = 1n; number <= 3n; number++) {
      await it.seal();
      await it.reaches(number);
    }
    expect(new Set(transactions(it)).size).toBe(
      Number(await anvil.rpc('eth_getTransactionCount', [it.l1.posterAddress, 'latest'])),
    );
  });

  test('behind, and catching up: no reorg, nothing posted twice', async () => {
    const anvil = await chain();
    const proxy = await proxied(anvil.url);
    const settlement = await deploySettlement(anvil);
    const it = await world({ url: proxy.url, settlement, follower: { behindGraceMs: 60_000 } });
    await it.seal();
    await it.reaches(1n);
    const committedIn = it.store.commitment(0, 1n)?.blockNumber ?? 0n;
    await it.reaches(1n, 'safe');
    proxy.mood = { behind: committedIn - 1n };
    await until('it to notice', () => it.follower.status().state === 'behind');
    expect(it.rung()).toBe(1n);
    const nonce = await anvil.rpc('eth_getTransactionCount', [it.l1.posterAddress, 'latest']);
    const now = await blockNumber(anvil);
    await until('blocks to pass', async () => (await blockNumber(anvil)) > now + 3n);
    proxy.mood = 'well';
    await until('it to be well again', () => it.follower.status().state === 'following');
    expect(await anvil.rpc('eth_getTransactionCount', [it.l1.posterAddress, 'latest'])).toBe(nonce);
    expect(it.follower.status().reorgs).toBe(0);
    await it.seal();
    await it.reaches(2n);
  });

  test('stopping does not wait for an L1 that is silent', async () => {
    const anvil = await chain();
    const proxy = await proxied(anvil.url);
    const it = await world({ url: proxy.url, settlement: await deploySettlement(anvil), timeoutMs: 60_000 });
    await it.seal();
    await it.reaches(1n);
    const asked = proxy.methods.length;
    proxy.mood = 'silent';
    await it.seal();
    await until('both to ask', () => proxy.methods.length >= asked + 2);
    const before = performance.now();
    await Promise.all([it.poster.stop(), it.follower.stop()]);
    expect(performance.now() - before).toBeLessThan(20_000);
  });

  test('the contract is not there yet', async () => {
    const anvil = await chain();
    const it = await world({ url: anvil.url, settlement: SETTLEMENT });
    await until('a failed look', () => it.follower.status().lastError);
    expect(it.follower.status().lastError).toEqual({ code: 'l1.rpc', message: `no contract answers at ${SETTLEMENT}` });
    await deploySettlement(anvil);
    await until('a view', () => it.follower.view());
    expect(await it.l1.estimateCommit({ headers: [], forced: [] }).catch((error: unknown) => error)).toBeInstanceOf(L1Error);
  });
});

/** The transaction of each committed batch. */
const transactions = (it: World): string[] =>
  it.store.batches(0, undefined, 1_000).flatMap(({ header }) => it.store.commitment(0, header.number)?.transactionHash ?? []);
