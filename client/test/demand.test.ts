import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { developmentParameters } from '@sealpost/contracts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient, createIdentity, receiptProofToJson, receiptToJson } from '../src/index.js';
import { type Anvil, devAccount, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

const BIN = fileURLToPath(new URL('../bin/sealpost.js', import.meta.url));
const DELAYS = { maxIncludeDelay: 30n, answerDelay: 20n, evidenceWindow: 5n, exitDelay: 60n, withdrawDelay: 60n };

let folder: string;
let anvil: Anvil;
let model: ModelSequencer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealpost-demand-'));
  anvil = await startAnvil();
  await anvil.request('evm_setIntervalMining', [0]);
  await anvil.request('evm_setAutomine', [true]);
  model = await ModelSequencer.start(anvil, { parameters: { ...developmentParameters, ...DELAYS } });
  model.includeDelay = 3n;
  for (const [name, at] of [
    ['demander', 1],
    ['answerer', 2],
  ] as const) {
    await writeFile(join(folder, `${name}.key`), `${devAccount(at).key}\n`, { mode: 0o600 });
  }
}, 30_000);
afterAll(async () => {
  await model?.stop();
  await anvil?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A command's envelope. */
async function run(line: string) {
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: join(folder, 'home'),
    SEALPOST_DATA: join(folder, 'data'),
    SEALPOST_URL: model.url,
    SEALPOST_L1_URL: anvil.url,
    SEALPOST_SETTLEMENT: model.settlement,
  };
  const child = spawn(process.execPath, [BIN, ...line.split(' '), '--json'], {
    env,
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  await new Promise((resolve) => child.once('close', resolve));
  return JSON.parse(out);
}

it('what was promised, is due and not committed is demanded by its receipt, and answered once it is committed', async () => {
  const { account, keys } = await createIdentity();
  const client = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, account });
  const sent = await client.send({ to: keys.publicKey, text: 'hello' });
  await writeFile(join(folder, 'receipt.json'), JSON.stringify(receiptToJson(sent.receipt)));
  await writeFile(join(folder, 'proof.json'), JSON.stringify(receiptProofToJson(await client.receiptProof(sent))));
  const demand = 'demand --sequence 0 --as demander.key --yes';
  const refused = await run(demand);
  expect(refused).toMatchObject({ exitCode: 1, error: { code: 'demand.not_committed' } });
  expect(refused.error.next).toContain('--receipt <file>');
  const early = await run(`${demand} --receipt receipt.json`);
  expect(early).toMatchObject({ exitCode: 1, error: { code: 'settlement.not_due', facts: { sequence: '0' } } });
  expect(early.error.message).toContain(`promised by block ${sent.receipt.includeBy}`);
  await anvil.request('anvil_mine', ['0x4']);

  const made = await run(`${demand} --receipt proof.json`);
  expect(made).toMatchObject({
    ok: true,
    data: { demand: { lane: 0, term: 1, sequence: '0', answered: false, charged: false } },
  });
  expect(await run('answer --sequence 0 --as answerer.key')).toMatchObject({
    exitCode: 1,
    error: { code: 'demand.not_committed' },
  });
  await model.settle();
  const answered = await run('answer --sequence 0 --as answerer.key');
  expect(answered).toMatchObject({ ok: true, data: { demand: { answered: true }, earned: made.data.demand.fee } });
  expect(await run('demand --as demander.key --yes')).toMatchObject({ exitCode: 2, error: { code: 'usage' } });
});
