import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { developmentParameters } from '@sealpost/contracts';
import { type BatchHeader, type Hex, type Receipt, signedReceipt } from '@sealpost/prover';
import type { LocalAccount } from 'viem';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { proveOffence } from '../src/evidence.js';
import { createClient, createIdentity, memoryReceipts, type SealpostClient, systemClock } from '../src/index.js';
import { receiptsName } from '../src/receipts.js';
import {
  answer,
  demandPromised,
  openingOfFile,
  register,
  requestExit,
  Settlement,
  type SettlementCall,
  signRegistration,
} from '../src/settlement.js';
import { type Anvil, devAccount, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

const BIN = fileURLToPath(new URL('../bin/sealpost.js', import.meta.url));
const ETHER = 10n ** 18n;
/** Short enough to be mined at once. */
const DELAYS = { maxIncludeDelay: 30n, answerDelay: 10n, evidenceWindow: 5n, exitDelay: 60n, withdrawDelay: 60n };
/** Runs lane 0 of each contract that is deployed here. */
const operator = devAccount(0).account;
const newcomer = devAccount(1);
const stranger = devAccount(2).account;
const topic: Hex = `0x${'00'.repeat(32)}`;

let folder: string;
let anvil: Anvil;
let model: ModelSequencer;
let client: SealpostClient;
let settlement: Settlement;

beforeAll(async () => {
  anvil = await startAnvil();
  // A block for each transaction and none without: figures are known, however busy the machine is.
  await anvil.request('evm_setIntervalMining', [0]);
  await anvil.request('evm_setAutomine', [true]);
}, 30_000);
afterAll(() => anvil?.stop());

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealpost-takeover-'));
  await writeFile(join(folder, 'newcomer.key'), `${newcomer.key}\n`, { mode: 0o600 });
  model = await ModelSequencer.start(anvil, { parameters: { ...developmentParameters, ...DELAYS } });
  model.includeDelay = 10n;
  settlement = await Settlement.connect({ transport: anvil.transport, settlement: model.settlement, clock: systemClock });
  const options = { url: model.url, l1: anvil.transport, settlement: model.settlement, receipts: memoryReceipts() };
  client = await createClient({ ...options, ...(await createIdentity()) });
  const { address } = newcomer.account;
  const registration = await signRegistration(settlement.domainSeparator, {
    lane: 0,
    operator: address,
    signer: newcomer.account,
  });
  const bond = developmentParameters.minBond;
  await transact(newcomer.account, register(0, { poster: address, signer: { address, registration }, bond }));
}, 30_000);
afterEach(async () => {
  await model?.stop();
  await rm(folder, { recursive: true, force: true });
});

const transact = (account: LocalAccount, intent: SettlementCall) => settlement.send(account, intent);
const mine = (blocks: bigint) => anvil.request('anvil_mine', [`0x${blocks.toString(16)}`]);

/** A batch with so many entries, each of one message. */
async function batch(entries: number): Promise<BatchHeader> {
  for (let at = 0; at < entries; at++) await client.send({ topic, payload: Uint8Array.of(at) });
  return model.settle();
}

/** The operator goes, so that the lane may be taken. */
async function vacate(): Promise<void> {
  await transact(operator, requestExit(0));
  await mine(DELAYS.maxIncludeDelay);
}

/** Nobody has the files of these batches. */
const withhold = (...numbers: number[]) =>
  model.faults.push((_method, url) =>
    numbers.some((number) => url.pathname.endsWith(`/${number}/data`))
      ? { status: 404, problem: { code: 'not_found', detail: 'no such batch' } }
      : undefined,
  );

/** The command's envelope and what it says. */
async function takeover(flags = ''): Promise<{ envelope: Record<string, never>; err: string }> {
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: join(folder, 'home'),
    SEALPOST_DATA: join(folder, 'data'),
    SEALPOST_URL: model.url,
    SEALPOST_L1_URL: anvil.url,
    SEALPOST_SETTLEMENT: model.settlement,
  };
  const line = `operator takeover --as newcomer.key --yes --json ${flags}`.trim();
  const child = spawn(process.execPath, [BIN, ...line.split(' ')], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  await new Promise((resolve) => child.once('close', resolve));
  return { envelope: JSON.parse(out), err };
}

const TAKEN = {
  ok: true,
  data: { lane: 0, term: 2, cause: 'vacant', operator: { address: newcomer.account.address.toLowerCase() } },
};

it('with every file there it takes the lane, and the mirror has them all', async () => {
  await batch(2);
  await batch(1);
  await vacate();
  const own = join(folder, 'mirror', receiptsName(client.l1.view), 'lane-0');
  await mkdir(own, { recursive: true });
  await writeFile(join(own, '1.batch'), 'something else');
  const { envelope, err } = await takeover(`--mirror mirror --server http://127.0.0.1:9 --server ${model.url}`);
  expect(envelope).toMatchObject(TAKEN);
  expect(envelope).toMatchObject({ data: { firstSequence: '3', batches: '2', mirrored: 2, missing: [] } });
  expect(err).toContain('2 of 2 batch files of lane 0 are there and true, 2 of them new in mirror.');
  for (const number of [1, 2]) {
    expect(new Uint8Array(await readFile(join(own, `${number}.batch`)))).toEqual(model.lanes[0]?.batches[number - 1]?.file);
  }
}, 240_000);

it('without a file it does not; it demands, charges what nobody opens, and goes on only anyway', async () => {
  await batch(1);
  const header = await batch(3);
  await vacate();
  withhold(2);
  const file = model.lanes[0]?.batches[1]?.file as Uint8Array;

  const refused = (await takeover()).envelope;
  expect(refused).toMatchObject({
    exitCode: 1,
    error: { code: 'takeover.missing', facts: { missing: 1, missingBatches: '2', missingEntries: 3 } },
  });
  expect(refused).toMatchObject({ error: { next: expect.stringContaining('--demand') } });
  expect((await settlement.demand(0, 1, 1n)).deadline).toBe(0n);

  // Two now, one more by the next run, and none twice.
  const some = (await takeover('--demand --max-demands 2')).envelope;
  const { deadline } = await settlement.demand(0, 1, 2n);
  expect(some).toMatchObject({
    exitCode: 4,
    error: { code: 'takeover.waiting', facts: { demanded: 2, charged: 0, waiting: 2, answersBy: String(deadline) } },
  });
  expect(some).toMatchObject({ error: { next: `the same command again, after block ${deadline.toLocaleString('en-US')}` } });
  expect((await settlement.demand(0, 1, 3n)).deadline).toBe(0n);
  expect((await takeover('--demand')).envelope).toMatchObject({ error: { facts: { demanded: 1, waiting: 3, later: '0' } } });
  expect((await takeover('--demand')).envelope).toMatchObject({ error: { facts: { demanded: 0, waiting: 3 } } });
  await transact(stranger, answer(openingOfFile(header, file, 1)));

  await mine(DELAYS.answerDelay + 1n);
  const before = (await settlement.lane(0)).operator.bond;
  const charged = (await takeover('--demand')).envelope;
  expect(charged).toMatchObject({
    exitCode: 1,
    error: { code: 'takeover.missing', facts: { demanded: 0, charged: 2, opened: 1, withheld: 2, waiting: 0 } },
  });
  expect(charged).toMatchObject({ error: { next: expect.stringContaining('--anyway') } });
  expect(before - (await settlement.lane(0)).operator.bond).toBe(2n * ETHER);
  // What the newcomer could not know shows nothing against it.
  const entry = openingOfFile(header, file, 0);
  const evidence = proveOffence({ offence: 'false entry', lane: 0, term: 1, sequence: 1n, entry, others: [] });
  await expect(settlement.check(stranger.address, evidence)).rejects.toMatchObject({ code: 'settlement.withheld' });
  expect((await settlement.lane(0)).term).toBe(1);

  const { envelope, err } = await takeover('--demand --anyway');
  expect(envelope).toMatchObject(TAKEN);
  expect(envelope).toMatchObject({ data: { missing: ['2'], firstSequence: '4' } });
  expect(err).toContain('2 entries that nobody opened are useless as evidence from now on; answers opened 1.');
}, 240_000);

it('charges a demand by a receipt first, which is in the way of the demand of what was committed after it', async () => {
  model.includeDelay = 3n;
  const { receipt } = (await client.send({ topic, payload: Uint8Array.of(1) })) as { receipt: Receipt };
  await mine(4n);
  await transact(stranger, demandPromised(0n, signedReceipt(receipt), await settlement.answerFee()));
  await mine(DELAYS.answerDelay + 1n);
  await model.settle();
  await vacate();
  withhold(1);
  const { envelope } = await takeover('--demand');
  expect(envelope).toMatchObject({ exitCode: 4, error: { facts: { demanded: 1, charged: 1, waiting: 1 } } });
  expect(await settlement.demand(0, 1, 0n)).toMatchObject({
    demander: newcomer.account.address.toLowerCase(),
    answered: false,
    charged: true,
  });
  // In a hurry: nothing is waited for.
  const hurried = await takeover('--anyway');
  expect(hurried.envelope).toMatchObject(TAKEN);
  expect(hurried.err).toContain("the files of 1 batch of lane 0 are missing: the sequencer's import cannot pass them");
}, 240_000);
