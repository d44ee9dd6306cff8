import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import * as audit from '../src/audit.js';
import * as browser from '../src/index.js';
import * as node from '../src/node.js';
import * as postage from '../src/postage.js';
import * as settlement from '../src/settlement.js';
import * as watch from '../src/watch.js';

it('the public list changes only on purpose', () => {
  expect({
    '@sealpost/client': Object.keys(browser).sort(),
    '@sealpost/client/audit': Object.keys(audit).sort(),
    '@sealpost/client/node': Object.keys(node).sort(),
    '@sealpost/client/postage': Object.keys(postage).sort(),
    '@sealpost/client/settlement': Object.keys(settlement).sort(),
    '@sealpost/client/watch': Object.keys(watch).sort(),
  }).toMatchSnapshot();
});

const MAX_BROWSER_BYTES = 60 * 1024;

/** What a page loads at once: everything but the post-quantum suite, which is imported when the first such key is met. */
async function bundle(contents: string) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)), loader: 'js' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: ['@hpke/hybridkem-x-wing'],
    write: false,
    metafile: true,
  });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path));
  const [file] = outputFiles;
  if (file === undefined) throw new Error('no output');
  return { bytes: brotliCompressSync(file.contents).length, text: file.text, imports };
}

describe('in a browser', () => {
  const entry = JSON.stringify(fileURLToPath(new URL('../dist/index.js', import.meta.url)));

  it('the whole client fits its budget, without node:* and without WASM', async () => {
    const { bytes, text, imports } = await bundle(`export * from ${entry}; export { http } from 'viem';`);
    expect(bytes).toBeLessThanOrEqual(MAX_BROWSER_BYTES);
    // @hpke looks for Node's crypto, in a try, only where globalThis has none.
    expect([...new Set(imports)].sort()).toEqual(['@hpke/hybridkem-x-wing', 'crypto']);
    expect(text.includes('WebAssembly')).toBe(false);
  }, 30_000);

  it('what pays postage runs there, too, and is loaded by whoever pays', async () => {
    const own = JSON.stringify(fileURLToPath(new URL('../dist/postage.js', import.meta.url)));
    const { imports } = await bundle(`export * from ${own};`);
    expect(imports).toEqual([]);
  }, 30_000);

  it('importing it does nothing, so nothing is left of what is not used', async () => {
    const { bytes } = await bundle(`import { isAtLeast } from ${entry}; globalThis.app = isAtLeast;`);
    expect(bytes).toBeLessThan(4_096);
  }, 30_000);
});
