import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { proofToJson } from '@sealpost/prover';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient, createIdentity } from '../src/index.js';
import { type Anvil, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

const BIN = fileURLToPath(new URL('../bin/sealpost.js', import.meta.url));
let folder: string;
let anvil: Anvil;
let model: ModelSequencer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealpost-cli-verify-'));
  anvil = await startAnvil();
  model = await ModelSequencer.start(anvil);
}, 30_000);
afterAll(async () => {
  await model?.stop();
  await anvil?.stop();
  await rm(folder, { recursive: true, force: true });
});

function verify(file: string): Promise<{ code: number | null; out: string; err: string }> {
  const args = [BIN, 'verify', file, '--l1', anvil.url, '--settlement', model.settlement];
  const child = spawn(process.execPath, args, { env: { PATH: process.env.PATH ?? '', HOME: folder }, cwd: folder });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err })));
}

it('a proof whose batch is not on the L1 yet is neither true nor false', async () => {
  const alice = await createIdentity();
  const client = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, ...alice });
  const sent = await client.send({ to: alice.keys.publicKey, text: 'soon' });
  const header = model.seal();
  const file = join(folder, 'soon.proof.json');
  const proof = proofToJson(await sent.proof());
  await writeFile(file, JSON.stringify(proof));
  const early = await verify(file);
  expect(early).toMatchObject({ code: 4, out: '' });
  expect(early.err).toContain('not on the L1 yet: nothing is committed as batch 1 of lane 0');
  expect(early.err).toContain(`Next: sealpost proof ${sent.id} --wait committed --out ${file}`);
  // What is false without the L1's word is false before it, too.
  const lie = join(folder, 'lie.proof.json');
  await writeFile(lie, JSON.stringify({ ...proof, message: { ...proof.message, payload: 'AAAA' } }));
  expect((await verify(lie)).code).toBe(3);
  await anvil.commit(model.settlement, [header]);
  expect((await verify(file)).code).toBe(0);
});
