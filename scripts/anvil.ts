import { existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child, Family } from './processes.js';
import { Failure } from './terminal.js';

const require = createRequire(import.meta.url);

/**
 * The real anvil. Not what `npx anvil` runs: that is a wrapper, and a wrapper that is killed leaves anvil behind.
 * @throws Failure if there is none for this platform
 */
export function anvilBinary(): string {
  const system = { linux: 'linux', darwin: 'darwin', win32: 'win32' }[platform() as string];
  const processor = { x64: 'amd64', arm64: 'arm64' }[arch() as string];
  const wrapper = createRequire(require.resolve('@foundry-rs/anvil/package.json'));
  for (const from of [require, wrapper]) {
    try {
      return from.resolve(`@foundry-rs/anvil-${system}-${processor}/bin/anvil${system === 'win32' ? '.exe' : ''}`);
    } catch {
      // Hoisted or not: one of the two knows.
    }
  }
  throw new Failure(
    `there is no anvil for ${platform()} ${arch()} in node_modules`,
    'npm ci; if it stays so, run an Ethereum node of your own and set SEALPOST_L1_URL',
  );
}

/** How an anvil is started. */
export interface AnvilOptions {
  /** 0: a free one. */
  readonly port: number;
  /** Seconds; fractions work. */
  readonly blockTime: number;
  /** Where the chain is kept. */
  readonly stateFile: string;
  /** Where anvil puts old states that do not fit into its memory; emptied at start. */
  readonly cacheFolder: string;
  readonly gasLimit?: number;
}

const READY_MS = 30_000;
const MEGABYTE = 1_000_000;

/**
 * Starts anvil and waits until it listens. The chain is read from `stateFile` if there is one, and written to it every
 * second, or less often once writing it takes long: a file grows by 1.7 kB a block. What a kill loses of the chain, the
 * sequencer posts again. A file that is no whole JSON (killed while writing) is moved aside, and the chain starts anew.
 */
export async function startAnvil(family: Family, options: AnvilOptions): Promise<{ child: Child; url: string; said?: string }> {
  let said: string | undefined;
  let bytes = 0;
  if (existsSync(options.stateFile)) {
    bytes = statSync(options.stateFile).size;
    if (!isWhole(options.stateFile)) {
      const aside = options.stateFile.replace(/\.json$/, '.damaged.json');
      renameSync(options.stateFile, aside);
      said = `The chain's file was cut short; it is kept as ${aside}. A new chain is started.`;
      bytes = 0;
    }
  }
  rmSync(options.cacheFolder, { recursive: true, force: true });
  const interval = bytes < 20 * MEGABYTE ? 1 : bytes < 100 * MEGABYTE ? 5 : 30;
  let onListening: (url: string) => void = () => {};
  const listening = new Promise<string>((resolve) => {
    onListening = resolve;
  });
  const child = family.start('anvil', {
    command: anvilBinary(),
    args: [
      ...['--host', '127.0.0.1', '--port', String(options.port), '--hardfork', 'osaka'],
      ...['--block-time', String(options.blockTime), '--slots-in-an-epoch', '2'],
      ...['--gas-limit', String(options.gasLimit ?? 60_000_000)],
      ...['--state', options.stateFile, '--state-interval', String(interval), '--cache-path', options.cacheFolder],
    ],
    onLine: (line) => {
      const address = /^Listening on (\S+)/.exec(line)?.[1];
      if (address !== undefined) onListening(`http://${address}`);
    },
  });
  const url = await Promise.race([listening, child.exited.then(() => undefined), sleep(READY_MS, undefined, { ref: false })]);
  if (url === undefined) {
    if (child.exit === undefined) await child.stop('SIGKILL', 0);
    throw new Failure(child.report(), 'npm run reset starts over with a new chain');
  }
  return said === undefined ? { child, url } : { child, url, said };
}

function isWhole(file: string): boolean {
  try {
    JSON.parse(readFileSync(file, 'utf8'));
    return true;
  } catch {
    return false;
  }
}
