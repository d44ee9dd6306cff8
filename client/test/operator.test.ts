import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { developmentParameters, type Parameters, settlementAbi } from '@sealpost/contracts';
import { encodeBundle, frameBundle, type Hex, messagesTree, toHex } from '@sealpost/prover';
import { createWalletClient, http, publicActions } from 'viem';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUNDLE_TYPES, createIdentity, systemClock } from '../src/index.js';
import { writeKeyFile } from '../src/node.js';
import { payOut, Settlement } from '../src/settlement.js';
import { type Anvil, devAccount, startAnvil } from './anvil.js';

const BIN = fileURLToPath(new URL('../bin/sealpost.js', import.meta.url));
const ETHER = 10n ** 18n;
/** Runs lane 0 of each contract that is deployed here, is its posting account and signs its receipts. */
const first = devAccount(0);
const second = devAccount(1);
const poster = devAccount(2).account.address.toLowerCase() as Hex;
const signer = devAccount(3);
const nextSigner = devAccount(4);
const lower = (address: string) => address.toLowerCase() as Hex;
const FIRST = lower(first.account.address);
const SECOND = lower(second.account.address);

/** Short enough to be mined at once. */
const PARAMETERS: Parameters = {
  ...developmentParameters,
  maxIncludeDelay: 30n,
  answerDelay: 5n,
  evidenceWindow: 5n,
  exitDelay: 60n,
  takeoverDelay: 20n,
  forcedDelay: 10n,
  withdrawDelay: 50n,
};

let folder: string;
let anvil: Anvil;
let settlement: Hex;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealpost-operator-'));
  anvil = await startAnvil();
  const keys = { first, second, signer, 'next-signer': nextSigner };
  // A block for each transaction and none without: figures are known, however busy the machine is.
  await anvil.request('evm_setIntervalMining', [0]);
  await anvil.request('evm_setAutomine', [true]);
  settlement = await anvil.deploy({ parameters: PARAMETERS });
  for (const [name, { key }] of Object.entries(keys)) await writeFile(join(folder, `${name}.key`), `${key}\n`, { mode: 0o600 });
}, 30_000);
afterAll(async () => {
  await anvil?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

const environment = () => ({
  PATH: process.env.PATH ?? '',
  HOME: join(folder, 'home'),
  SEALPOST_DATA: join(folder, 'data'),
  SEALPOST_L1_URL: anvil.url,
  SEALPOST_SETTLEMENT: settlement,
  COLUMNS: '100',
});

function spawned(file: string, args: readonly string[], answer?: { to: RegExp; with: string }): Promise<Ran> {
  const child = spawn(file, args, { env: environment(), cwd: folder });
  let out = '';
  let err = '';
  let answered = answer === undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    if (answered || !answer?.to.test(out)) return;
    answered = true;
    child.stdin.write(answer.with);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  if (answer === undefined) child.stdin.end();
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

const run = (line: string) => spawned(process.execPath, [BIN, ...line.split(' ')]);

/** A command that must work, and its data. */
async function data(line: string) {
  const { code, out, err } = await run(`${line} --json`);
  if (code !== 0) throw new Error(`sealpost ${line}: ${code}\n${err}`);
  const envelope = JSON.parse(out);
  expect(envelope).toMatchObject({ version: 1, command: line.split(' ').slice(0, 2).join(' '), ok: true });
  return envelope.data;
}

/** A command that must fail: its error, its exit code, and the last line of its talk. */
async function failure(line: string) {
  const { out, err, code } = await run(`${line} --json`);
  const { ok, exitCode, error } = JSON.parse(out);
  expect({ ok, exitCode }).toEqual({ ok: false, exitCode: code });
  expect(err.trim().split('\n').at(-1)).toBe(`  Next: ${error.next}`);
  return { ...error, exitCode };
}

/** Lets the chain grow until it has this block. */
async function mineTo(block: bigint): Promise<void> {
  const missing = block - (await anvil.blockNumber());
  if (missing > 0n) await anvil.request('anvil_mine', [`0x${missing.toString(16)}`]);
}

/** What the contract says of a lane, read by the SDK. */
const laneState = async () => (await connect()).lane(0);
const connect = () => Settlement.connect({ transport: anvil.transport, settlement, clock: systemClock });

const balance = async (account: Hex) => BigInt((await anvil.request('eth_getBalance', [account, 'latest'])) as Hex);
const REGISTER = `operator register --lane 0 --bond 5 --poster ${poster} --signer-key signer.key --as second.key`;

/** A bundle that its sender forces into the inbox, with so much life that it can wait. */
async function forceBundle(): Promise<void> {
  const { account } = await createIdentity();
  const messages = [{ topic: `0x${'00'.repeat(32)}` as Hex, payload: Uint8Array.of(1, 2, 3) }];
  const head = {
    sender: lower(account.address),
    lane: 0,
    nonce: 0n,
    expiry: BigInt(Math.floor(Date.now() / 1_000)) + 1_000_000n,
    postage: 0n,
  };
  const message = { ...head, count: 1, messagesRoot: toHex(messagesTree(messages).root) };
  const domain = { name: 'Sealpost', version: '1', chainId: 31_337, verifyingContract: settlement };
  const signature = await account.signTypedData({ domain, types: BUNDLE_TYPES, primaryType: 'Bundle', message });
  const framed = toHex(frameBundle(encodeBundle({ ...head, messages, signature })));
  const wallet = createWalletClient({ account: first.account, transport: http(anvil.url), pollingInterval: 50 }).extend(
    publicActions,
  );
  const call = { address: settlement, abi: settlementAbi, functionName: 'forceInclude', chain: null, value: ETHER } as const;
  const receipt = await wallet.waitForTransactionReceipt({ hash: await wallet.writeContract({ ...call, args: [framed] }) });
  if (receipt.status !== 'success') throw new Error('forceInclude reverted');
}

describe('operator', () => {
  it('status says in a sentence who runs the lane, then everything else', async () => {
    const { code, out } = await run('operator status');
    expect(code).toBe(0);
    const [sentence, ...lines] = out.trimEnd().split('\n');
    expect(sentence).toBe(`Lane 0 is run by ${FIRST}, in term 1, with a bond of 5 ETH.`);
    expect(lines.map((line) => line.slice(0, 19).trim())).toEqual([
      'operator',
      'term',
      'bond',
      'exit',
      'posting account',
      'receipt signer',
      'forced entries',
      'takeover',
      'owed',
      'at',
    ]);
    expect(out).toContain('forced entries   none waits');
    expect(await data('operator status')).toMatchObject({
      settlement,
      chainId: '31337',
      lanes: [{ lane: 0, term: 1, running: true, takeoverFrom: null, operator: { address: FIRST, bond: String(5n * ETHER) } }],
    });
  });

  it('from one operator to the next: register, rotate, exit, take over, withdraw, payout', async () => {
    settlement = await anvil.deploy({ parameters: PARAMETERS });
    const registered = await run(REGISTER);
    expect(registered.code).toBe(0);
    expect(registered.out).toMatch(new RegExp(`^${SECOND} is an operator of lane 0 now, with a bond of 5 ETH\\.\n`));
    expect(registered.err).toContain('Next: sealpost operator takeover --lane 0');
    expect((await data(`operator status --operator ${SECOND}`)).lanes).toMatchObject([
      { other: { address: SECOND, poster, signer: lower(signer.account.address) } },
    ]);

    // Another signer, and more bond: what is not said stays.
    expect(await data('operator rotate --signer-key next-signer.key --as second.key')).toMatchObject({
      rotated: true,
      retired: lower(signer.account.address),
      operator: { poster, signer: lower(nextSigner.account.address), bond: String(5n * ETHER) },
    });
    const more = await data('operator register --bond 0.5 --as second.key');
    expect(more).toMatchObject({ rotated: false, operator: { poster, bond: String(55n * (ETHER / 10n)) } });

    const noCause = await failure('operator takeover --as second.key --yes');
    expect(noCause).toMatchObject({ exitCode: 1, code: 'settlement.no_cause', next: 'sealpost operator status --lane 0' });
    expect(noCause.message).toContain('its bond is 5 ETH, at least 5 ETH is needed, and no forced entry waits');
    expect(await failure('operator takeover --as first.key --yes')).toMatchObject({ code: 'settlement.runs_already' });
    expect(await failure('operator withdraw --as first.key --yes')).toMatchObject({ code: 'settlement.not_leaving' });

    const left = await data('operator exit --as first.key --yes');
    const asked = BigInt(left.sent.blockNumber);
    const { maxIncludeDelay, exitDelay } = PARAMETERS;
    expect(left).toMatchObject({
      termEndBlock: String(asked + maxIncludeDelay),
      operator: { exitRequestedAt: String(asked), bondFreeFrom: String(asked + exitDelay) },
    });
    expect((await run('operator status')).out).toMatch(/^Lane 0 is run by .* leaves it at block [\d,]+\.\n/);
    const again = await failure('operator exit --as first.key --yes');
    expect(again).toMatchObject({ code: 'settlement.leaving', facts: { since: String(asked) } });
    expect(again.message).toContain(`from block ${(asked + exitDelay).toLocaleString('en-US')} on`);
    const early = await failure('operator withdraw --as first.key --yes');
    expect(early).toMatchObject({ code: 'settlement.too_early', facts: { from: String(asked + exitDelay) } });

    await mineTo(asked + maxIncludeDelay);
    expect((await run('operator status')).out).toMatch(/^Lane 0 has no operator: term 1, of 0x[0-9a-f]{40}, ended at block /);
    const taken = await run('operator takeover --as second.key --yes');
    expect(taken).toMatchObject({
      code: 0,
      out: expect.stringContaining(`${SECOND} runs lane 0 now: term 2 begins at entry 0.`),
    });
    expect(taken.err).toContain('Lane 0 may be taken: it has no operator since block');
    expect(taken.err).toContain('It costs nobody anything.');

    await mineTo(asked + exitDelay);
    const withdrawn = await data('operator withdraw --as first.key --yes');
    expect(withdrawn).toMatchObject({ bond: String(5n * ETHER), owed: String(5n * ETHER) });
    // Anybody may send it: here it is the other operator, so that the balance is only added to.
    const before = await balance(FIRST);
    expect(await data(`postage payout --account ${FIRST} --as second.key`)).toMatchObject({
      account: FIRST,
      amount: String(5n * ETHER),
    });
    expect((await balance(FIRST)) - before).toBe(5n * ETHER);
    expect(await failure(`postage payout --account ${FIRST} --as second.key`)).toMatchObject({
      exitCode: 1,
      code: 'settlement.nothing_owed',
      message: `the contract owes ${FIRST} nothing`,
    });
  }, 240_000);

  it('takes over for a forced entry that is overdue, and says what it costs', async () => {
    settlement = await anvil.deploy({ parameters: PARAMETERS });
    await data(REGISTER);
    await forceBundle();
    const [waiting] = (await data('operator status')).lanes;
    const from = BigInt(waiting.oldest.deadline) + PARAMETERS.takeoverDelay + 1n;
    expect(waiting).toMatchObject({ waiting: '1', oldest: { index: '0' }, takeoverFrom: String(from) });
    const early = await failure('operator takeover --as second.key --yes');
    expect(early).toMatchObject({ code: 'settlement.no_cause', facts: { from: String(from) } });

    await mineTo(from);
    const overdue = await run('operator status');
    expect(overdue.out).toMatch(/^Lane 0 is run by .*; others may take it over, for a forced entry that is overdue\.\n/);
    expect(overdue.out).toMatch(/forced entries +1 waits; the oldest, 0, is overdue by 21 blocks\n/);
    const { code, err } = await run('operator takeover --as second.key --yes');
    expect(code).toBe(0);
    expect(err).toMatch(/Lane 0 may be taken: forced entry 0 is overdue by 21 blocks, and more than 20 are enough\./);
    expect(err).toContain(`It costs ${FIRST} 1 ETH of its bond of 5 ETH; 0.1 ETH of that go to ${SECOND}, the rest is burned.`);
    const [after] = (await data(`operator status --operator first.key`)).lanes;
    expect(after).toMatchObject({
      term: 2,
      operator: { address: SECOND, owed: String(ETHER / 10n) },
      other: { address: FIRST, bond: String(4n * ETHER) },
    });
    // Below the least bond it may not come back, and is told how much is missing.
    expect(await failure('operator takeover --as first.key --yes')).toMatchObject({
      code: 'settlement.bond_too_small',
      message: 'a bond of 4 ETH holds no lane: at least 5 ETH is needed, 1 ETH more',
      next: 'sealpost operator register --bond 1',
    });
  });

  it('is refused with figures', async () => {
    settlement = await anvil.deploy({ parameters: PARAMETERS });
    expect(await failure(REGISTER.replace('--bond 5', '--bond 2'))).toMatchObject({
      exitCode: 1,
      code: 'settlement.bond_too_small',
      facts: { min: String(5n * ETHER), got: String(2n * ETHER) },
    });
    const stranger = await failure('operator takeover --as second.key --yes');
    expect(stranger).toMatchObject({ code: 'settlement.not_operator' });
    expect(stranger.next).toMatch(/^sealpost operator register --lane 0 --bond 5 /);
    const poor = await createIdentity();
    await writeKeyFile(join(folder, 'poor.json'), poor, { passphrase: '' });
    const funds = await failure(REGISTER.replace('second.key', 'poor.json'));
    expect(funds).toMatchObject({ exitCode: 1, code: 'settlement.funds' });
    expect(funds.message).toContain('has 0 ETH, and 5 ETH and its gas are needed');
  });

  it('asks a person, and takes only a yes', async () => {
    settlement = await anvil.deploy({ parameters: PARAMETERS });
    const asked = (answer: string) =>
      spawned('python3', ['-c', TERMINAL, process.execPath, BIN, 'operator', 'exit', '--as', 'first.key'], {
        to: /Send it\? \[y\/N\] /,
        with: answer,
      });
    const refused = await asked('n\n');
    expect(refused.out).toContain('this cannot be taken back');
    expect(refused.out).toContain('nothing was sent');
    expect(refused.code).toBe(1);
    expect((await asked('\u0003')).code).toBe(130);
    expect(await laneState()).toMatchObject({ operator: { exitRequestedAt: 0n } });
    expect((await asked('y\n')).code).toBe(0);
    const { operator, block } = await laneState();
    expect(operator.exitRequestedAt).toBe(block);
  });
});

/** Runs a command on a terminal of its own, which our stdin and stdout are connected with, and ends as it ends. */
const TERMINAL = `
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
`;

describe('key files', () => {
  it.each([
    ['the operator', REGISTER.replace('second.key', 'open.key')],
    ['the receipt signer', REGISTER.replace('signer.key', 'open.key')],
  ])('of %s is refused when others can read it', async (_, line) => {
    const open = join(folder, 'open.key');
    await writeFile(open, second.key, { mode: 0o600 });
    await chmod(open, 0o640);
    const error = await failure(line);
    expect(error).toMatchObject({ exitCode: 1, code: 'key.permissions', next: 'chmod 600 open.key' });
    expect(error.message).toContain('mode 640');
  });

  it('that hold no key are refused, and not repeated', async () => {
    const secrets = ['12'.repeat(31), '00'.repeat(32)];
    for (const secret of secrets) {
      await writeFile(join(folder, 'bad.key'), secret, { mode: 0o600 });
      const { code, out, err } = await run(`operator exit --as bad.key --yes --json`);
      expect(code).toBe(1);
      expect(JSON.parse(out)).toMatchObject({ error: { code: 'key.malformed' } });
      expect(out + err).not.toContain(secret);
    }
  });
});

describe('postage', () => {
  it('is deposited, asked back, fetched and paid out', async () => {
    expect((await run(`postage status --as ${SECOND}`)).out).toMatch(new RegExp(`^${SECOND} has no deposit on lane 0\\.\n`));
    expect(await data('postage deposit 1.5 --as second.key')).toMatchObject({
      sender: SECOND,
      deposited: String(15n * (ETHER / 10n)),
      state: { deposit: String(15n * (ETHER / 10n)), redeemed: '0' },
    });
    expect(await data(`postage deposit 0.5 --for ${SECOND} --as first.key`)).toMatchObject({
      sender: SECOND,
      state: { deposit: String(2n * ETHER) },
    });

    expect(await failure('postage withdraw --as second.key')).toMatchObject({
      exitCode: 1,
      code: 'settlement.no_withdrawal',
      next: 'sealpost postage withdraw <ether> --lane 0',
    });
    const tooMuch = await failure('postage withdraw 3 --as second.key');
    expect(tooMuch).toMatchObject({ exitCode: 2, next: 'sealpost postage withdraw 2 --lane 0' });

    await data('postage withdraw 1 --as second.key');
    // What is under way is not replaced unasked.
    expect(await failure('postage withdraw 2 --as second.key --no-input')).toMatchObject({ exitCode: 2, code: 'usage' });
    const replaced = await data('postage withdraw 1.25 --as second.key --yes');
    const from = BigInt(replaced.sent.blockNumber) + PARAMETERS.withdrawDelay;
    expect(replaced.state).toMatchObject({ withdrawing: String(125n * (ETHER / 100n)), withdrawableFrom: String(from) });
    expect((await run('postage status --as second.key')).out).toMatch(
      new RegExp(`^${SECOND} has a deposit of 2 ETH on lane 0, of which 1\\.25 ETH are on their way back\\.\n`),
    );
    expect(await failure('postage withdraw --as second.key')).toMatchObject({
      code: 'settlement.too_early',
      facts: { from: String(from) },
    });

    await mineTo(from);
    const fetched = await data('postage withdraw --as second.key');
    expect(fetched).toMatchObject({
      withdrawn: String(125n * (ETHER / 100n)),
      state: { deposit: String(75n * (ETHER / 100n)), withdrawing: '0', withdrawableFrom: '0' },
    });
    const before = await balance(SECOND);
    const paid = await data('postage payout --as second.key');
    expect(paid.amount).toBe(String(125n * (ETHER / 100n)));
    expect((await balance(SECOND)) - before).toBe(125n * (ETHER / 100n) - BigInt(paid.sent.fee));

    await data('postage withdraw 0.5 --as second.key');
    const ended = await data('postage withdraw 0 --as second.key --yes');
    expect(ended.state).toMatchObject({ withdrawing: '0', withdrawableFrom: '0' });
  });
});

describe('usage errors', () => {
  it.each([
    ['operator exit --as first.key --no-input', 'nobody to ask', 'sealpost operator exit … --yes'],
    ['operator takeover --as first.key --no-input', 'nobody to ask', 'sealpost operator takeover … --yes'],
    [
      'operator takeover --as first.key --demand --max-demands 0 --yes',
      'expected at least 1',
      'sealpost operator takeover --demand --max-demands 16',
    ],
    ['operator takeover --as first.key --from-block x --yes', 'expected a block number', 'sealpost operator takeover --help'],
    ['operator withdraw --as first.key', 'nobody to ask', 'sealpost operator withdraw … --yes'],
    ['operator status --lane 1', 'there is no lane 1: the contract has only lane 0', 'sealpost operator status --lane 0'],
    ['operator register --as second.key', 'a bond of at least 5 ETH are needed', 'sealpost operator register --lane 0'],
    ['operator register --as first.key', 'nothing is to change', 'sealpost operator status --lane 0'],
    ['operator register --bond much --as first.key', 'Expected an amount of ether', 'sealpost operator register --help'],
    ['operator register --bond -1 --as first.key', 'Expected an amount of ether', 'sealpost operator register --help'],
    ['operator register --poster 0x12 --as first.key', 'expected an address', 'sealpost operator register --help'],
    [
      `operator register --poster ${devAccount(2).account.address.replace('3C', '3c')} --as first.key`,
      'whose checksum is false',
      'sealpost operator register --help',
    ],
    ['operator rotate --as first.key', "required option '--signer-key <file>' not specified", 'sealpost operator rotate --help'],
    ['operator register --key 0x11', 'unknown option', 'sealpost operator register --help'],
    ['postage deposit --as first.key', "missing required argument 'ether'", 'sealpost postage deposit --help'],
    ['postage deposit 0 --as first.key', 'a deposit of nothing', 'sealpost postage deposit 0.1'],
    ['postage deposit 1.0000000000000000001', 'Expected an amount of ether', 'sealpost postage deposit --help'],
    [`postage status --as 0x${'00'.repeat(20)}`, 'expected an address', 'sealpost postage status --help'],
  ])('%s', async (line, message, next) => {
    const { code, out, err } = await run(line);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
    expect(err.trim().split('\n').at(-1)).toContain(`Next: ${next}`);
  });

  it('with more than one lane, which one must be said', async () => {
    const one = settlement;
    settlement = await anvil.deploy({ laneCount: 2, parameters: PARAMETERS });
    expect((await data('operator status')).lanes).toHaveLength(2);
    expect(await failure('operator exit --as first.key --yes')).toMatchObject({
      exitCode: 2,
      message: 'which lane? the contract has 2: 0 to 1',
    });
    settlement = one;
  });
});

describe('an L1 that', () => {
  it('is not there', async () => {
    expect(await failure('operator status --l1 http://127.0.0.1:9')).toMatchObject({ exitCode: 4, code: 'l1.unreachable' });
  });

  it('changes before the block comes: the transaction is refused there, and says why', async () => {
    settlement = await anvil.deploy({ parameters: PARAMETERS });
    // What it sends beyond the fee is owed to it.
    await forceBundle();
    const contract = await connect();
    await anvil.request('evm_setAutomine', [false]);
    try {
      const both = Promise.allSettled([first, second].map(({ account }) => contract.send(account, payOut(FIRST))));
      let pending = 0;
      for (let asked = 0; pending < 2 && asked < 10_000; asked++) {
        pending = Number(((await anvil.request('txpool_status', [])) as { pending: Hex }).pending);
      }
      await anvil.request('anvil_mine', ['0x1']);
      const results = await both;
      expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      const { reason } = results.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
      expect(reason).toMatchObject({ name: 'SettlementError', code: 'settlement.nothing_owed' });
      expect(reason.message).toMatch(/^the transaction 0x[0-9a-f]{64} was refused in block \d+: the contract owes 0x/);
    } finally {
      await anvil.request('evm_setAutomine', [true]);
    }
  });

  // The last one: it changes how anvil makes blocks.
  it('makes no blocks leaves open what was sent, and says so', async () => {
    await anvil.request('evm_setAutomine', [false]);
    const open = await failure('postage deposit 1 --as second.key --timeout 3');
    expect(open).toMatchObject({ exitCode: 4, code: 'settlement.unconfirmed' });
    const hash = open.facts.transactionHash;
    expect(open.next).toContain(hash);
    await anvil.request('anvil_mine', ['0x1']);
    expect(await anvil.request('eth_getTransactionReceipt', [hash])).toMatchObject({ status: '0x1' });
  });
});
