import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { proofToJson } from '@sealpost/prover';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient, createIdentity } from '../src/index.js';
import { writeKeyFile } from '../src/node.js';
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

function run(args: readonly string[], stdin?: Uint8Array): Promise<{ code: number | null; out: string; err: string }> {
  const network = ['--url', model.url, '--l1', anvil.url, '--settlement', model.settlement];
  const child = spawn(process.execPath, [BIN, ...args, ...network], {
    env: { PATH: process.env.PATH ?? '', HOME: folder },
    cwd: folder,
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  child.stdin.end(stdin);
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
  const early = await run(['verify', file]);
  expect(early).toMatchObject({ code: 4, out: '' });
  expect(early.err).toContain('not on the L1 yet: nothing is committed as batch 1 of lane 0');
  expect(early.err).toContain(`Next: sealpost proof ${sent.id} --wait committed --out ${file}`);
  // What is false without the L1's word is false before it, too.
  const lie = join(folder, 'lie.proof.json');
  await writeFile(lie, JSON.stringify({ ...proof, message: { ...proof.message, payload: 'AAAA' } }));
  expect((await run(['verify', lie])).code).toBe(3);
  await anvil.commit(model.settlement, [header]);
  expect((await run(['verify', file])).code).toBe(0);
});

it('a file to send may hold U+FFFD, and nothing that is no UTF-8', async () => {
  const alice = await createIdentity();
  const key = join(folder, 'alice.json');
  await writeKeyFile(key, alice, { passphrase: '' });
  const send = ['send', '--as', key, '--to', alice.keys.publicKey, '--file'];
  const file = join(folder, 'lines.txt');
  await writeFile(file, 'was \ufffd here\nas it is\n');
  expect(await run([...send, file])).toMatchObject({ code: 0, out: expect.stringMatching(/^2 messages/) });
  const before = model.messages().length;
  const malformed = [
    [0x61, 0xff, 0x0a, 0x62],
    [0x61, 0x0a, 0xe2, 0x82],
    [0xed, 0xa0, 0x80],
  ].map((bytes) => Uint8Array.from(bytes));
  for (const bytes of malformed) {
    await writeFile(file, bytes);
    for (const sent of [await run([...send, file]), await run([...send, '-'], bytes)]) {
      expect(sent).toMatchObject({ code: 1, err: expect.stringContaining('is no UTF-8 text') });
    }
  }
  expect(model.messages().length).toBe(before);
});
