import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import * as browser from '../src/index.js';
import * as node from '../src/node.js';

it('the public list changes only on purpose', () => {
  expect({
    '@sealpost/client': Object.keys(browser).sort(),
    '@sealpost/client/node': Object.keys(node).sort(),
  }).toMatchSnapshot();
});

const MAX_BROWSER_BYTES = 60 * 1024;

async function bundle(contents: string) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)), loader: 'js' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error('no output');
  return { text: file.text, bytes: brotliCompressSync(file.contents).length, inputs: Object.keys(metafile.inputs) };
}

describe('in a browser', () => {
  const entry = JSON.stringify(fileURLToPath(new URL('../dist/index.js', import.meta.url)));

  it('the whole client fits its budget, without node:* and without WASM', async () => {
    const { bytes, text } = await bundle(
      `import { createClient, createIdentity, memoryOutbox } from ${entry}; import { http } from 'viem'; globalThis.app = { createClient, createIdentity, memoryOutbox, http };`,
    );
    expect(bytes).toBeLessThanOrEqual(MAX_BROWSER_BYTES);
    expect(text).not.toMatch(/["']node:/);
    expect(text).not.toContain('WebAssembly');
  }, 30_000);

  it('importing it does nothing, so nothing is left of what is not used', async () => {
    const { bytes } = await bundle(`import { isAtLeast } from ${entry}; globalThis.app = isAtLeast;`);
    expect(bytes).toBeLessThan(4_096);
  }, 30_000);
});
