import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { identityFrom, type SecretIdentity } from '@sealpost/client';
import { type NetworkAccount, readKeyFileInfo, writeKeyFile } from '@sealpost/client/node';
import { USERS, type User, userAccount } from './accounts.js';

/** Who a user of the development network is. Everybody can know these keys. */
export function userIdentity(user: User): Promise<SecretIdentity> {
  const { privateKey, seed } = userAccount(user);
  return identityFrom({ accountKey: privateKey, encryptionKey: seed });
}

/** Makes sure that every user has a key file in the folder, and tells of them as `network.json` does. */
export async function writeUserKeys(folder: string): Promise<Record<User, NetworkAccount>> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const accounts = await Promise.all(
    USERS.map(async (user): Promise<[User, NetworkAccount]> => {
      const identity = await userIdentity(user);
      const keyFile = join(folder, `${user}.json`);
      const { address } = identity.account;
      const { publicKey } = identity.keys;
      if (!(await isKeyFileOf(keyFile, address, publicKey)))
        await writeKeyFile(keyFile, identity, { passphrase: '', overwrite: true });
      await chmod(keyFile, 0o600);
      return [user, { address, publicKey, keyFile }];
    }),
  );
  return Object.fromEntries(accounts) as Record<User, NetworkAccount>;
}

async function isKeyFileOf(file: string, address: string, publicKey: string): Promise<boolean> {
  try {
    const info = await readKeyFileInfo(file);
    return info.address === address.toLowerCase() && info.publicKey === publicKey;
  } catch {
    // Missing, or cut short by a crash: these keys can be written again.
    return false;
  }
}
