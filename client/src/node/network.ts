import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hex } from '@sealpost/prover';
import { LocalError } from '../errors.js';
import { systemCode, writeFileAtomically } from './files.js';

/** An account of the development network. Its keys are public knowledge. */
export interface NetworkAccount {
  readonly address: Hex;
  readonly publicKey: Hex;
  /** Relative to the folder of network.json, or absolute. */
  readonly keyFile: string;
}

/** What a running local network says of itself in `network.json`. */
export interface Network {
  readonly version: 1;
  readonly url: string;
  readonly l1Url: string;
  readonly chainId: number;
  readonly settlement: Hex;
  readonly pid?: number | undefined;
  readonly accounts: Readonly<Record<string, NetworkAccount>>;
}

/** Where `npm start` keeps its state, and whatever `SEALPOST_DATA` says instead. */
export const dataFolder = (env: NodeJS.ProcessEnv = process.env): string => env.SEALPOST_DATA || '.sealpost';

/**
 * The running network's description; undefined if there is none in the folder.
 * @throws network.malformed
 */
export async function readNetwork(folder = dataFolder()): Promise<Network | undefined> {
  const path = join(folder, 'network.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw new LocalError('network.malformed', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const network = JSON.parse(text) as Network;
    if (network.version !== 1) throw new Error(`expected version 1, got ${network.version}`);
    for (const name of ['url', 'l1Url'] as const) new URL(network[name]);
    if (!/^0x[0-9a-fA-F]{40}$/.test(network.settlement)) throw new Error('settlement: expected an address');
    if (!Number.isSafeInteger(network.chainId)) throw new Error('chainId: expected a number');
    return { ...network, accounts: network.accounts ?? {} };
  } catch (cause) {
    throw new LocalError('network.malformed', `${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Writes `network.json` whole or not at all: whoever reads it finds a network that is ready. */
export async function writeNetwork(network: Network, folder = dataFolder()): Promise<void> {
  await writeFileAtomically(join(folder, 'network.json'), `${JSON.stringify(network, null, 2)}\n`);
}
