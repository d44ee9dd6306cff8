import { describe, expect, test } from 'vitest';
import { type Anvil, deploySettlement } from './anvil.js';
import { fixtures, until, type World } from './l1-world.js';

const { chain, world } = fixtures();

const reorg = (anvil: Anvil, depth: number) => anvil.rpc('anvil_reorg', [depth, []]);
const height = async (anvil: Anvil) => Number(await anvil.rpc('eth_blockNumber'));

/** A chain that mines only when told, long enough to be cut, with one batch in it. */
async function start(blocks = 30): Promise<{ anvil: Anvil; it: World }> {
  const anvil = await chain({});
  const settlement = await deploySettlement(anvil);
  await anvil.mine(blocks);
  return { anvil, it: await world({ url: anvil.url, settlement }) };
}

/** Mines until something is so; a block a look, so that the poster's wait for block time ends, too. */
const mineUntil = (anvil: Anvil, what: string, condition: () => boolean | Promise<boolean>) =>
  until(what, async () => {
    for (let look = 0; look < 20; look++) {
      if (await condition()) return true;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await anvil.mine();
    return undefined;
  });

const sealAndCommit = async (anvil: Anvil, it: World, count = 1) => {
  await it.seal(count);
  const last = it.store.lastBatch(0)?.header.number ?? 0n;
  // One block and no more, so that the commit is in the newest one: this is what a reorg of one block takes away.
  await mineUntil(anvil, `batch ${last} in the pool`, async () => {
    const send = it.store.sends().find(({ lastNumber }) => lastNumber === last);
    return send !== undefined && (it.rung() >= last || (await it.l1.knows(send.transactionHash)));
  });
  await anvil.mine();
  await it.reaches(last);
};

/** The store, the contract and the node agree on every batch, and each was committed as it was sealed. */
async function isWhole(it: World, count: bigint): Promise<void> {
  expect(it.fatal).toEqual([]);
  expect(await it.l1.head(0)).toMatchObject({ number: count });
  for (let number = 1n; number <= count; number++) {
    const commitment = it.store.commitment(0, number);
    expect(commitment?.batchHash).toBe(it.store.batch(0, number)?.batchHash);
    if (commitment) expect((await it.l1.block(commitment.blockNumber))?.hash).toBe(commitment.blockHash);
  }
}

describe('reorgs that the follower sees', () => {
  test.each([1, 20])('%i blocks: what was in them is posted again', async (depth) => {
    const { anvil, it } = await start();
    await sealAndCommit(anvil, it);
    if (depth > 4) await anvil.mine(6);
    for (let batch = 0; batch < 3; batch++) await sealAndCommit(anvil, it);
    await until('the follower at the head', async () => Number(it.follower.view()?.latest.number) === (await height(anvil)));
    const before = it.store.commitment(0, 4n)?.blockHash;
    await reorg(anvil, depth);
    await until('the reorg', () => it.follower.status().reorgs > 0);
    await mineUntil(anvil, 'everything again', () => it.rung() === 4n);
    expect(it.store.commitment(0, 4n)?.blockHash).not.toBe(before);
    await isWhole(it, 4n);
    expect(it.count('l1.finality_broken') > 0).toBe(depth > 4);
    expect(it.follower.status().deepestReorgBlocks).toBeGreaterThanOrEqual(depth);
    await sealAndCommit(anvil, it);
    await mineUntil(anvil, 'finality', () => it.rung('finalized') === 5n);
    await isWhole(it, 5n);
  });

  test('blocks without commits: nothing is posted again', async () => {
    const { anvil, it } = await start();
    await sealAndCommit(anvil, it);
    await anvil.mine(6);
    await until('the follower at the head', async () => Number(it.follower.view()?.latest.number) === (await height(anvil)));
    const { attempts } = it.poster.status();
    await reorg(anvil, 2);
    await until('the reorg', () => it.follower.status().reorgs === 1);
    await anvil.mine(3);
    await until('the follower at the head', async () => Number(it.follower.view()?.latest.number) === (await height(anvil)));
    expect(it.poster.status().attempts.published).toBe(attempts.published);
    await isWhole(it, 1n);
  });

  test('again and again while batches are sealed', async () => {
    const anvil = await chain({ blockTime: 0.1 });
    const settlement = await deploySettlement(anvil);
    await anvil.mine(20);
    const it = await world({ url: anvil.url, settlement });
    for (let round = 0; round < 6; round++) {
      await it.seal(2);
      await it.reaches(BigInt(round) * 2n + 1n);
      await reorg(anvil, [1, 3, 2, 8, 1, 2][round] ?? 1);
    }
    await it.reaches(12n, 'finalized');
    await isWhole(it, 12n);
    expect(it.follower.status().reorgs).toBeGreaterThan(0);
  });
});

describe('reorgs while the sequencer is away', () => {
  test.each([1, 20])('%i blocks, above the last block it saw', async (depth) => {
    const { anvil, it } = await start();
    await sealAndCommit(anvil, it, 2);
    const seen = it.follower.view()?.latest.hash;
    await it.follower.stop();
    await anvil.mine(depth + 2);
    await reorg(anvil, depth);
    await it.restart();
    await mineUntil(anvil, 'a view', () => it.follower.view() !== undefined);
    expect(it.follower.status().reorgs).toBe(0);
    expect(it.store.l1Blocks().some(({ hash }) => hash === seen)).toBe(true);
    await isWhole(it, 2n);
  });

  test.each([1, 20])('%i blocks, below the last block it saw', async (depth) => {
    const { anvil, it } = await start();
    await sealAndCommit(anvil, it, 2);
    await sealAndCommit(anvil, it, 3);
    await Promise.all([it.follower.stop(), it.poster.stop()]);
    await reorg(anvil, depth);
    await it.restart();
    await mineUntil(anvil, 'a view', () => it.follower.view() !== undefined);
    await mineUntil(anvil, 'everything again', () => it.rung() === 5n);
    expect(it.follower.status().reorgs).toBe(1);
    await isWhole(it, 5n);
  });

  test('deeper than what is kept, development chain: all is read again', async () => {
    const { anvil, it } = await start(60);
    await it.restart({ follower: { windowBlocks: 4 } });
    await sealAndCommit(anvil, it, 2);
    for (let batch = 0; batch < 12; batch++) await sealAndCommit(anvil, it);
    await Promise.all([it.follower.stop(), it.poster.stop()]);
    expect(it.store.l1Blocks().length).toBeLessThan(8);
    await reorg(anvil, 20);
    await it.restart();
    await mineUntil(anvil, 'everything again', () => it.rung() === 14n);
    await isWhole(it, 14n);
  });
});
