import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { settlementAbi } from '@sealpost/contracts';
import { frameBundle, type Hex, toHex } from '@sealpost/prover';
import { decodeFunctionResult, encodeFunctionData } from 'viem';
import { type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Anvil, deploySettlement, KEYS, sendTransaction, startAnvil } from './anvil.js';
import { Account, type BundleOptions, frames } from './bundles.js';
import { killRunning, Running } from './running.js';

const MAIN = new URL('../dist/main.js', import.meta.url).pathname;
/** Wei a message. A redemption takes about a tenth of it. */
const PRICE = 10n ** 15n;
const alice = new Account('alice');
const [payer, operator, signer] = [KEYS[3], KEYS[2], KEYS[1]].map((key) => privateKeyToAccount(key)) as [
  PrivateKeyAccount,
  PrivateKeyAccount,
  PrivateKeyAccount,
];

let anvil: Anvil;
let settlement: Hex;
let folder: string;

beforeAll(async () => {
  // Blocks come when the test says so: what is final, and what is only in a block, is known.
  anvil = await startAnvil();
  settlement = await deploySettlement(anvil);
  await anvil.rpc('anvil_setBalance', [alice.address, '0xde0b6b3a7640000']);
  folder = mkdtempSync(join(tmpdir(), 'sealpost-postage-'));
  writeFileSync(join(folder, 'poster.key'), KEYS[0], { mode: 0o600 });
  writeFileSync(join(folder, 'signer.key'), KEYS[1], { mode: 0o600 });
});
afterEach(killRunning);
afterAll(async () => {
  await anvil.stop();
  rmSync(folder, { recursive: true });
});

const run = (environment: Record<string, string> = {}): Running => {
  const env = {
    PATH: process.env.PATH,
    SEALPOST_PORT: '0',
    SEALPOST_DATA: join(folder, 'data'),
    SEALPOST_L1_URL: anvil.url,
    SEALPOST_SETTLEMENT: settlement,
    SEALPOST_POSTER_KEY_FILE: join(folder, 'poster.key'),
    SEALPOST_SIGNER_KEY_FILE: join(folder, 'signer.key'),
    SEALPOST_VERIFY_WORKERS: '1',
    SEALPOST_SEAL_MAX_AGE_MS: '100',
    SEALPOST_L1_POLL_MS: '20',
    SEALPOST_PRICE_PER_MESSAGE: String(PRICE),
    ...environment,
  };
  return new Running(spawn(process.execPath, [MAIN, 'run', '--create'], { env, cwd: folder }));
};
/** So high that only what cannot wait is redeemed. */
const PATIENT = { SEALPOST_REDEEM_FACTOR: '1000000' };

async function kill(it: Running): Promise<void> {
  it.child.kill('SIGKILL');
  expect((await it.exited).signal).toBe('SIGKILL');
}

const bundle = (options: BundleOptions) => alice.sign({ domain: { chainId: 31_337n, settlement }, ...options });
async function post(url: string, options: BundleOptions): Promise<Record<string, unknown> & { status: number }> {
  const headers = { 'Content-Type': 'application/octet-stream' };
  const response = await fetch(`${url}/v1/bundles`, { method: 'POST', headers, body: frames(bundle(options)) });
  return { ...((await response.json()) as object), status: response.status };
}
const account = async (url: string) =>
  (await (await fetch(`${url}/v1/accounts/${alice.address}`)).json()) as { nonce: string; owed: string };

/** A call of the contract, mined at once. */
async function call(from: PrivateKeyAccount, functionName: string, args: readonly unknown[], value = 0n): Promise<void> {
  const data = encodeFunctionData({ abi: settlementAbi, functionName, args } as never);
  const nonce = Number(await anvil.rpc<Hex>('eth_getTransactionCount', [from.address, 'latest']));
  const hash = await sendTransaction(anvil, from, { nonce, to: settlement, data, value, gas: 300_000n });
  await anvil.mine();
  expect(await anvil.rpc('eth_getTransactionReceipt', [hash])).toMatchObject({ status: '0x1' });
}

async function read<T>(functionName: 'owed' | 'postageOf', args: readonly unknown[]): Promise<T> {
  const data = encodeFunctionData({ abi: settlementAbi, functionName, args } as never);
  const result = await anvil.rpc<Hex>('eth_call', [{ to: settlement, data }, 'latest']);
  return decodeFunctionResult({ abi: settlementAbi, functionName, data: result } as never) as T;
}
const payout = () => read<bigint>('owed', [operator.address]);
const transactions = async (tag: 'latest' | 'pending') =>
  Number(await anvil.rpc<Hex>('eth_getTransactionCount', [signer.address, tag]));

/** The sequencer has seen the newest block. */
async function seen(url: string): Promise<void> {
  const newest = Number(await anvil.rpc<Hex>('eth_blockNumber'));
  await expect.poll(async () => metric(url, 'sealpost_l1_block')).toBeGreaterThanOrEqual(newest);
}
async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]);
}
/** A block for each look, until it is so. */
const mineUntil = (condition: () => Promise<unknown>) =>
  expect
    .poll(async () => {
      await anvil.mine();
      return condition();
    })
    .toBeTruthy();
const isFinal = async (url: string, entries: string) => {
  const { lanes } = (await (await fetch(`${url}/v1/status`)).json()) as { lanes: { finalized: string }[] };
  return lanes[0]?.finalized === entries;
};

test('a priced lane: refused, funded, accepted, redeemed once, over a SIGKILL; a forced bundle owes nothing; a withdrawal counts at once; who leaves redeems first', async () => {
  const first = run(PATIENT);
  let url = await first.ready();
  expect(await (await fetch(`${url}/v1/status`)).json()).toMatchObject({ price: { perMessage: String(PRICE), perByte: '0' } });

  // Underpaid, then not funded, then funded by what may still be taken back.
  expect(await post(url, {})).toMatchObject({ status: 402, code: 'bundle.postage', expected: String(PRICE) });
  const paid = { postage: PRICE };
  const unfunded = { status: 402, code: 'bundle.postage', expected: String(PRICE), available: '0' };
  expect(await post(url, paid)).toMatchObject(unfunded);
  await call(payer, 'depositPostage', [0, alice.address], 6n * PRICE);
  await seen(url);
  expect(await post(url, paid)).toMatchObject(unfunded);
  await anvil.mine(8);
  await seen(url);
  expect((await post(url, paid)).status).toBe(200);
  // The same once more is the same entry, and not charged again.
  expect((await post(url, paid)).status).toBe(200);
  expect(await post(url, { nonce: 1n, postage: PRICE })).toMatchObject({ status: 402, expected: String(2n * PRICE) });
  expect((await post(url, { nonce: 1n, postage: 2n * PRICE })).status).toBe(200);
  expect((await post(url, { nonce: 2n, postage: 3n * PRICE })).status).toBe(200);
  expect(await account(url)).toMatchObject({ nonce: '3', owed: String(3n * PRICE) });

  // Final, and not worth the gas by this setting.
  await mineUntil(() => isFinal(url, '3'));
  await seen(url);
  expect(await payout()).toBe(0n);
  await kill(first);
  expect(await transactions('pending')).toBe(0);

  // Another process finds what is owed; one that is killed between sending and its block leaves nothing to be sent twice.
  const second = run();
  url = await second.ready();
  await expect.poll(() => second.event('redeem.sent')).toMatchObject({ wei: String(3n * PRICE) });
  await kill(second);
  expect(await transactions('pending')).toBe(1);
  const third = run();
  url = await third.ready();
  await mineUntil(async () => (await payout()) === 3n * PRICE);
  await anvil.mine(8);
  await seen(url);
  expect(await account(url)).toMatchObject({ nonce: '3', owed: String(3n * PRICE) });
  await kill(third);
  expect(third.event('redeem.sent')).toBeUndefined();
  expect(await transactions('pending')).toBe(1);
  expect(await payout()).toBe(3n * PRICE);

  // Out of the inbox: its nonce counts, its postage does not.
  const fourth = run(PATIENT);
  url = await fourth.ready();
  const forced = bundle({ nonce: 3n, postage: 9n * PRICE });
  await call(payer, 'forceInclude', [toHex(frameBundle(forced.bytes))], 10n ** 17n);
  await mineUntil(async () => (await account(url)).nonce === '4');
  expect(await account(url)).toMatchObject({ owed: String(3n * PRICE) });
  expect((await post(url, { nonce: 4n, postage: 4n * PRICE })).status).toBe(200);

  // Of the three that are left one is owed. Withdrawing all of them counts from its block on, and is no reason to lose that one.
  await call(privateKeyToAccount(toHex(alice.key)), 'requestWithdrawal', [0, 3n * PRICE]);
  await seen(url);
  expect(await post(url, { nonce: 5n, postage: 5n * PRICE })).toMatchObject({ status: 402, available: '0' });
  await mineUntil(async () => (await payout()) === 4n * PRICE);
  const [deposit, redeemed] = await read<readonly bigint[]>('postageOf', [0, alice.address]);
  expect([deposit, redeemed]).toEqual([2n * PRICE, 4n * PRICE]);
  await anvil.mine(8);
  await seen(url);
  expect(await transactions('pending')).toBe(2);
  expect(await metric(url, 'sealpost_redemptions_total')).toBe(1);
  // Called off, the rest is there again, once that is final.
  await call(privateKeyToAccount(toHex(alice.key)), 'requestWithdrawal', [0, 0n]);
  await anvil.mine(8);
  await seen(url);
  expect((await post(url, { nonce: 5n, postage: 5n * PRICE })).status).toBe(200);

  // Who leaves redeems first: the next operator would be paid by the next voucher.
  await mineUntil(() => isFinal(url, '6'));
  await seen(url);
  expect(await payout()).toBe(4n * PRICE);
  await call(operator, 'requestExit', [0]);
  await mineUntil(async () => (await payout()) === 5n * PRICE);
});
