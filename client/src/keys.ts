import { type Hex, toHex } from '@sealpost/prover';
import { type LocalAccount, privateKeyToAccount } from 'viem/accounts';
import { LocalError } from './errors.js';
import { type EncryptionKeys, encryptionKeysFrom, generateEncryptionKeys, type SuiteName } from './seal.js';

/**
 * Who one is on Sealpost: an Ethereum account that signs what is sent, and an HPKE key pair that opens what is received.
 * They are independent: losing one tells nothing about the other.
 */
export interface Identity {
  readonly account: LocalAccount;
  readonly keys: EncryptionKeys;
}

/** An identity with its account's key, so that it can be written to a key file. */
export interface SecretIdentity extends Identity {
  readonly accountKey: Hex;
}

const ACCOUNT_KEY_BYTES = 32;

/** A new identity, from the platform's randomness. */
export async function createIdentity({ suite = 'x25519' }: { suite?: SuiteName } = {}): Promise<SecretIdentity> {
  for (;;) {
    const accountKey = toHex(globalThis.crypto.getRandomValues(new Uint8Array(ACCOUNT_KEY_BYTES)));
    try {
      return { accountKey, account: privateKeyToAccount(accountKey), keys: await generateEncryptionKeys(suite) };
    } catch (error) {
      // 32 random bytes are no private key once in 2^128 times.
      if (error instanceof LocalError) throw error;
    }
  }
}

/**
 * The identity of two private keys of 32 bytes each.
 * @throws key.malformed
 */
export async function identityFrom(secrets: {
  accountKey: Hex;
  encryptionKey: Hex;
  suite?: SuiteName | undefined;
}): Promise<SecretIdentity> {
  const { accountKey, encryptionKey, suite = 'x25519' } = secrets;
  let account: LocalAccount;
  try {
    account = privateKeyToAccount(accountKey);
  } catch (cause) {
    // The cause's message may quote the key.
    throw new LocalError('key.malformed', 'expected an account key of 32 bytes', { facts: { name: (cause as Error).name } });
  }
  return { accountKey, account, keys: await encryptionKeysFrom(encryptionKey, suite) };
}
