import type { Hex } from '@sealpost/prover';
import { privateKeyToAccount } from 'viem/accounts';
import { describe, expect, test } from 'vitest';
import type { L1 } from '../src/ports.js';
import { type Anvil, deploySettlement, KEYS, sendTransaction } from './anvil.js';
import { fixtures, until, type World, type WorldOptions } from './l1-world.js';

const { chain, world, proxied } = fixtures();
const GWEI = 1_000_000_000n;
const hex = (value: bigint) => `0x${value.toString(16)}`;
const POSTER = privateKeyToAccount(KEYS[0]);

/** A chain that mines only when told. */
async function start(options: Partial<WorldOptions> = {}): Promise<{ anvil: Anvil; it: World }> {
  const anvil = await chain({});
  const settlement = await deploySettlement(anvil);
  const it = await world({ url: anvil.url, settlement, ...options });
  await until('a view', () => it.follower.view());
  return { anvil, it };
}

const nonce = async (anvil: Anvil) => Number(await anvil.rpc('eth_getTransactionCount', [POSTER.address, 'latest']));
const isPooled = async (it: World) => {
  const { pendingSend } = it.poster.status();
  return pendingSend !== undefined && (await it.l1.knows(pendingSend.transactionHash)) ? pendingSend : undefined;
};
const mineUntilCommitted = (anvil: Anvil, it: World, number: bigint) =>
  until(`batch ${number}`, async () => {
    if (it.rung() >= number) return true;
    await anvil.mine();
    await new Promise((resolve) => setTimeout(resolve, 20));
    return undefined;
  }).catch((error: Error) => {
    throw new Error(`${error.message}; ${it.story()}`);
  });

describe('a transaction that is not mined', () => {
  test('dropped from the pool: given again, unchanged', async () => {
    const { anvil, it } = await start();
    await it.seal();
    const { transactionHash } = await until('it in the pool', () => isPooled(it));
    await anvil.rpc('anvil_dropTransaction', [transactionHash]);
    await until('it in the pool again', () => (it.poster.status().attempts.published === 2 ? isPooled(it) : undefined));
    await mineUntilCommitted(anvil, it, 1n);
    expect(it.store.commitment(0, 1n)?.transactionHash).toBe(transactionHash);
    expect(await nonce(anvil)).toBe(1);
  });

  test('base fee times ten: replaced under its nonce', async () => {
    const { anvil, it } = await start();
    await it.seal();
    const first = await until('it in the pool', () => isPooled(it));
    await anvil.rpc('anvil_setNextBlockBaseFeePerGas', [hex(first.maxFeePerGas * 10n)]);
    await anvil.mine();
    const second = await until('its replacement', async () => {
      const pooled = await isPooled(it);
      return pooled && pooled.transactionHash !== first.transactionHash ? pooled : undefined;
    });
    expect(second.nonce).toBe(first.nonce);
    expect(second.maxFeePerGas).toBeGreaterThan(first.maxFeePerGas * 10n);
    await mineUntilCommitted(anvil, it, 1n);
    expect(it.poster.status().feeBumps).toBeGreaterThan(0);
    expect(await nonce(anvil)).toBe(1);
  });

  test('stuck: replaced, with what was sealed meanwhile, and only one of them is mined', async () => {
    const { anvil, it } = await start({ poster: { bumpAfterMs: 150, bumpAfterBlocks: 0 } });
    await it.seal();
    const first = await until('it in the pool', () => isPooled(it));
    await it.seal(2);
    const last = await until('a replacement', () => (it.poster.status().feeBumps > 0 ? isPooled(it) : undefined));
    expect(last).toMatchObject({ nonce: first.nonce, firstNumber: 1n, lastNumber: 3n });
    expect(last.maxFeePerGas * 10n).toBeGreaterThanOrEqual(first.maxFeePerGas * 11n);
    await mineUntilCommitted(anvil, it, 3n);
    expect(await nonce(anvil)).toBe(1);
  });

  test('fee cap reached: waits, and posts when the L1 is cheap again', async () => {
    const { anvil, it } = await start({ poster: { maxFeePerGas: 3n * GWEI } });
    await anvil.rpc('anvil_setNextBlockBaseFeePerGas', [hex(20n * GWEI)]);
    await anvil.mine();
    await it.seal();
    await until('it to wait', () => it.poster.status().waiting === 'fee cap');
    expect(it.store.sends()).toEqual([]);
    expect(it.count('post.fee_cap')).toBe(1);
    await anvil.rpc('anvil_setNextBlockBaseFeePerGas', [hex(GWEI)]);
    await anvil.mine();
    await mineUntilCommitted(anvil, it, 1n);
    expect(it.poster.status().waiting).toBeUndefined();
  });

  test('the wallet is empty: said so, and posted when it is not', async () => {
    const { anvil, it } = await start();
    await anvil.rpc('anvil_setBalance', [POSTER.address, '0x1000']);
    await it.seal();
    const { code, message } = await until('it to say so', () => it.poster.status().lastError);
    expect(code).toBe('l1.insufficient_funds');
    expect(message).toContain(`the posting account ${POSTER.address.toLowerCase()} has 4096 wei`);
    expect(it.poster.status()).toMatchObject({ walletWei: 4096n, backlogBatches: 1 });
    await anvil.rpc('anvil_setBalance', [POSTER.address, hex(10n ** 18n)]);
    await until('it to be well', () => it.poster.status().lastError === undefined);
    await mineUntilCommitted(anvil, it, 1n);
  });
});

test('a lane whose batches the contract refuses: said so, and the other lanes go on', async () => {
  const anvil = await chain({ blockTime: 0.1 });
  const it = await world({ url: anvil.url, settlement: await deploySettlement(anvil, { laneCount: 2 }), laneCount: 2 });
  await it.seal(1, 0, { term: 7 });
  await it.seal(1, 1);
  await it.reaches(1n, 'committed', 1);
  expect(it.poster.status()).toMatchObject({
    backlogBatches: 1,
    lastError: { code: 'l1.reverted', message: 'eth_estimateGas: WrongTerm(number 1, expected 1, got 7)' },
  });
  await it.seal(1, 1);
  await it.reaches(2n, 'committed', 1);
  expect(it.count('post.refused')).toBe(1);
  expect(it.rung('committed', 0)).toBe(0n);
});

describe("another process uses the posting account's nonce", () => {
  test('its transaction waits in the pool: ours comes after it', async () => {
    const { anvil, it } = await start();
    await sendTransaction(anvil, POSTER, { nonce: 0, to: POSTER.address });
    await it.seal();
    expect(await until('ours in the pool', () => isPooled(it))).toMatchObject({ nonce: 1 });
    await mineUntilCommitted(anvil, it, 1n);
    expect(await nonce(anvil)).toBe(2);
  });

  test('its transaction takes the place of ours in the pool', async () => {
    const { anvil, it } = await start();
    await it.seal();
    const first = await until('ours in the pool', () => isPooled(it));
    await sendTransaction(anvil, POSTER, { nonce: first.nonce, to: POSTER.address, maxFeePerGas: 90n * GWEI });
    await until('ours under the next nonce', () => it.store.sends().some(({ nonce }) => nonce === first.nonce + 1));
    await mineUntilCommitted(anvil, it, 1n);
    await until('it to be noticed', () => it.count('post.nonce_taken') === 1);
    expect(it.poster.status()).toMatchObject({ backlogBatches: 0, attempts: { nonce_taken: 1 } });
    expect(await nonce(anvil)).toBe(2);
  });

  test('its transaction was mined in the place of ours', async () => {
    const { anvil, it } = await start();
    await it.seal();
    const first = await until('ours in the pool', () => isPooled(it));
    await it.poster.stop();
    await anvil.rpc('anvil_dropTransaction', [first.transactionHash]);
    await sendTransaction(anvil, POSTER, { nonce: first.nonce, to: POSTER.address });
    await anvil.mine();
    await it.restart();
    await mineUntilCommitted(anvil, it, 1n);
    expect(it.count('post.nonce_taken')).toBe(1);
    expect(await nonce(anvil)).toBe(2);
  });

  test('it commits our batches itself: nothing is posted twice', async () => {
    const { anvil, it } = await start();
    await it.poster.stop();
    await it.seal(2);
    const headers = it.store.batchesFrom(0, 1n, 2).map(({ header }) => header);
    const fees = { maxFeePerGas: 9n * GWEI, maxPriorityFeePerGas: GWEI };
    const { raw } = await it.l1.signCommit({ headers, forced: [] }, { nonce: 0, gas: 400_000n, ...fees });
    await it.l1.broadcast(raw);
    await anvil.mine();
    await it.restart();
    await it.reaches(2n);
    await until('a look', () => it.poster.status().walletWei);
    expect(it.store.sends()).toEqual([]);
    expect(await nonce(anvil)).toBe(1);
  });
});

describe('a crash, and a new poster on the same store', () => {
  /** An L1 whose broadcasts never come back, before or after the node has got the transaction. */
  const frozen = (reaches: boolean) => (l1: L1) => ({
    ...l1,
    broadcast: async (raw: Hex) => {
      if (reaches) await l1.broadcast(raw);
      await new Promise<never>(() => {});
    },
  });
  const well = { wrap: (l1: L1) => l1 };

  test('between recording and giving', async () => {
    const { anvil, it } = await start({ wrap: frozen(false) });
    await it.seal();
    const [send] = await until('the record', () => (it.store.sends().length > 0 ? it.store.sends() : undefined));
    await it.restart(well);
    await until('it in the pool', () => isPooled(it));
    await mineUntilCommitted(anvil, it, 1n);
    expect(it.store.commitment(0, 1n)?.transactionHash).toBe(send?.transactionHash);
    expect(await nonce(anvil)).toBe(1);
  });

  test('between giving and everything else', async () => {
    const { anvil, it } = await start({ wrap: frozen(true) });
    await it.seal();
    const { transactionHash } = await until('it in the pool', () => isPooled(it));
    await it.restart(well);
    await until('it to be recognised', () => it.poster.status().attempts.already_known === 1);
    await mineUntilCommitted(anvil, it, 1n);
    expect(it.store.commitment(0, 1n)?.transactionHash).toBe(transactionHash);
    expect(await nonce(anvil)).toBe(1);
  });

  test('between giving and everything else, and it was mined meanwhile', async () => {
    const { anvil, it } = await start({ wrap: frozen(true) });
    await it.seal();
    await until('it in the pool', () => isPooled(it));
    await it.stop();
    await anvil.mine(8);
    await it.restartStopped(well);
    await it.reaches(1n, 'finalized');
    await until('its record to be forgotten', () => it.store.sends().length === 0);
    expect(it.poster.status().attempts.mined).toBe(1);
    expect(await nonce(anvil)).toBe(1);
  });

  test('the record is there, the fees are not enough any more', async () => {
    const { anvil, it } = await start({ wrap: frozen(false) });
    await it.seal();
    await until('the record', () => it.store.sends().length > 0);
    await it.stop();
    await anvil.rpc('anvil_setNextBlockBaseFeePerGas', [hex(60n * GWEI)]);
    await anvil.mine();
    await it.restartStopped(well);
    await mineUntilCommitted(anvil, it, 1n);
    expect(await nonce(anvil)).toBe(1);
  });

  test('the answer to the giving was lost: it is not sent beside itself', async () => {
    const anvil = await chain({});
    const settlement = await deploySettlement(anvil);
    const proxy = await proxied(anvil.url);
    proxy.lose = (method) => (method === 'eth_sendRawTransaction' ? 'answer' : false);
    const it = await world({ url: proxy.url, settlement });
    await it.seal();
    await until('attempts', () => (it.poster.status().attempts.unreachable ?? 0) > 1);
    proxy.lose = () => false;
    await until('it to be recognised', () => it.poster.status().attempts.already_known === 1);
    await mineUntilCommitted(anvil, it, 1n);
    expect(await nonce(anvil)).toBe(1);
    expect(it.poster.status()).toMatchObject({ feeBumps: 0, lastError: undefined });
  });
});
