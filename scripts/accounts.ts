import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesToHex, type Hex } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';

/** The words that every anvil starts with. Everybody knows them, so everybody has the keys of a development network. */
const MNEMONIC = 'test test test test test test test test test test test junk';

/** Who is which of anvil's ten rich accounts. */
const POSITIONS = { operator: 0, poster: 1, receipts: 2, direct: 9 } as const;
export const USERS = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank'] as const;
const FIRST_USER = 3;

export type Role = keyof typeof POSITIONS;
export type User = (typeof USERS)[number];

function account(position: number) {
  const derived = mnemonicToAccount(MNEMONIC, { addressIndex: position });
  const { privateKey } = derived.getHdKey();
  if (privateKey === null) throw new Error('a derived account has a private key');
  return { account: derived, privateKey: bytesToHex(privateKey) };
}

/** An account that runs the network. */
export const roleAccount = (role: Role) => account(POSITIONS[role]);

/** The Ethereum account of a user of the development network, and the seed of the key that opens what is sent to it. */
export const userAccount = (user: User) => ({
  ...account(FIRST_USER + USERS.indexOf(user)),
  seed: `0x${createHash('sha256').update(`sealpost development key of ${user}`).digest('hex')}` as Hex,
});

/** Roles whose keys lie in a network's folder: the sequencer's two, and that of who runs its lanes. */
const KEPT = ['operator', 'poster', 'receipts'] as const satisfies Role[];

/** Where a role's key lies. */
export const roleKey = (folder: string, role: (typeof KEPT)[number]): string => join(folder, `${role}.key`);

/** Writes the keys of those who run the network: 32 bytes of hex a file, for its owner only. */
export function writeRoleKeys(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const role of KEPT) {
    const file = roleKey(folder, role);
    writeFileSync(file, `${roleAccount(role).privateKey}\n`, { mode: 0o600 });
    chmodSync(file, 0o600);
  }
}
