import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Address, Hex } from 'viem';
import { type User, userAccount } from './accounts.js';

/** How `network.json` names a user: who signs, what to seal to, and where both keys lie. */
export interface UserKeys {
  readonly address: Address;
  readonly publicKey: Hex;
  readonly keyFile: string;
}

/** Writes a user's key file. */
export function writeUserKeys(folder: string, user: User): UserKeys {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { account, seed } = userAccount(user);
  const keyFile = join(folder, `${user}.json`);
  writeFileSync(keyFile, JSON.stringify({ seed }), { mode: 0o600 });
  return { address: account.address, publicKey: seed, keyFile };
}
