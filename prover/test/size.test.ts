import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { proofToJson } from '../src/index.js';
import vectors from '../vectors/protocol.json' with { type: 'json' };
import { makeLog, type Position, positionsOf, proofAt } from './log.js';

const MAX_VERIFIER_BYTES = 20_000;

async function bundled(names: string, format: 'esm' | 'iife' = 'esm') {
  const result = await build({
    stdin: {
      contents: `export { ${names} } from './src/index.js'`,
      resolveDir: fileURLToPath(new URL('..', import.meta.url)),
      loader: 'ts',
    },
    bundle: true,
    minify: true,
    format,
    globalName: 'sealpost',
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const [file] = result.outputFiles;
  const [output] = Object.values(result.metafile.outputs);
  if (file === undefined || output === undefined) throw new Error('esbuild wrote nothing');
  const sources = Object.entries(output.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  return { text: file.text, bytes: brotliCompressSync(file.contents).length, sources: sources.map(([path]) => path) };
}

test(`all that verifies a proof is at most ${MAX_VERIFIER_BYTES} bytes of brotli, without IPFS and without receipts' text`, async () => {
  const { text, bytes, sources } = await bundled('verifyMessageProof, proofFromJson');
  expect(bytes).toBeLessThanOrEqual(MAX_VERIFIER_BYTES);
  expect(sources.filter((path) => /multiformats|dag-pb|unixfs|protons/.test(path))).toEqual([]);
  expect(text).not.toContain('Receipt(');
});

test('what hashes nothing drops every keccak', async () => {
  const { sources } = await bundled('parseMessageId');
  expect(sources.filter((path) => path.includes('noble/curves') || path.includes('sha3'))).toEqual([]);
});

test('a realm with nothing of Node builds CIDs and verifies proofs', async () => {
  const log = makeLog(7, [3]);
  const position = positionsOf(log)[0] as Position;
  const proof = proofToJson(proofAt(log, position));
  const { text } = await bundled('verifyMessageProof, proofFromJson, dataHash, dataCid, fromHex', 'iife');
  // What every browser and every runtime has beside the language itself; no Buffer, no process, no crypto.
  const realm = createContext({ TextEncoder, TextDecoder, atob, btoa, proof: JSON.stringify(proof), file: vectors.batch.file });
  const run = (code: string): unknown => runInContext(code, realm);
  run(text);
  expect(run('typeof Buffer + typeof process + typeof crypto')).toBe('undefinedundefinedundefined');
  expect(run('sealpost.dataCid(sealpost.dataHash([sealpost.fromHex(file)]))')).toBe(vectors.batch.cid);
  run('parsed = sealpost.proofFromJson(JSON.parse(proof))');
  const nonce = run('String(sealpost.verifyMessageProof(parsed, { ...parsed, laneCount: 1 }, parsed.batchHash).nonce)');
  expect(nonce).toBe(proof.bundle.nonce);
});
