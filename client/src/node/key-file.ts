import { randomBytes, randomUUID, type ScryptOptions, scrypt } from 'node:crypto';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type Hex, toHex } from '@sealpost/prover';
import type * as Keystore from 'ox/Keystore';
import type { LocalAccount } from 'viem';
import { LocalError } from '../errors.js';
import type { SecretIdentity } from '../keys.js';
import type { SuiteName } from '../seal.js';
import { systemCode, writeFileAtomically } from './files.js';

/**
 * A key file is a Web3 Secret Storage v3 container (as geth and cast write it) with the account's key in `crypto`, so other
 * wallets open it; beside it, `sealpost` holds the HPKE key in a second container of the same kind, under the same passphrase
 * with a salt of its own:
 *
 *     { "version": 3, "id": …, "address": …, "crypto": {…},
 *       "sealpost": { "version": 1, "suite": "x25519", "publicKey": "0x…", "passphrase": "set" | "empty", "crypto": {…} } }
 *
 * `passphrase: "empty"` marks keys of development networks: encrypted with the empty passphrase and light scrypt, one format
 * for all. Address and public key are not authenticated by the container, so reading derives both again and compares.
 */
interface KeyFile {
  readonly version: 3;
  readonly id: string;
  /** Without 0x, as the format has it. */
  readonly address: string;
  readonly crypto: Keystore.Keystore['crypto'];
  readonly sealpost: {
    readonly version: 1;
    readonly suite: SuiteName;
    readonly publicKey: Hex;
    readonly passphrase: 'set' | 'empty';
    readonly crypto: Keystore.Keystore['crypto'];
  };
}

/** What a key file says without its passphrase. Not verified. */
export interface KeyFileInfo {
  readonly address: Hex;
  readonly publicKey: Hex;
  readonly suite: SuiteName;
  readonly needsPassphrase: boolean;
}

export interface KeyFileOptions {
  /** Empty: a development key, readable by anybody who can read the file. */
  readonly passphrase: string;
  /** scrypt's cost: 2^17 unless given, and 2^10 for the empty passphrase, which no cost protects. */
  readonly scryptN?: number | undefined;
  /** Replaces a file that is there. */
  readonly overwrite?: boolean | undefined;
}

const scryptAsync = promisify<string, Uint8Array, number, ScryptOptions, Buffer>(scrypt);
const KEY_BYTES = 32;
/** With r 8 and p 1: 128 MB and half a second (OWASP's recommendation). */
const SCRYPT_N = 131_072;
const LIGHT_SCRYPT_N = 1_024;
/** A file that asks for more memory than this (128·N·r bytes) is refused, not obeyed. */
const MAX_SCRYPT_BYTES = 1_073_741_824;
const MAX_FILE_BYTES = 65_536;
const GROUP_OR_WORLD = 0o077;

/**
 * Writes an identity, encrypted, whole or not at all, readable by its owner only.
 * @throws key.exists
 */
export async function writeKeyFile(path: string, identity: SecretIdentity, options: KeyFileOptions): Promise<void> {
  const { passphrase, overwrite = false } = options;
  const n = options.scryptN ?? (passphrase === '' ? LIGHT_SCRYPT_N : SCRYPT_N);
  const [accountSection, encryptionSection] = await Promise.all([
    encrypt(identity.accountKey, passphrase, n),
    encrypt(identity.keys.privateKey, passphrase, n),
  ]);
  const file: KeyFile = {
    version: 3,
    id: randomUUID(),
    address: identity.account.address.slice(2).toLowerCase(),
    crypto: accountSection,
    sealpost: {
      version: 1,
      suite: identity.keys.suite,
      publicKey: identity.keys.publicKey,
      passphrase: passphrase === '' ? 'empty' : 'set',
      crypto: encryptionSection,
    },
  };
  try {
    await writeFileAtomically(path, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600, exclusive: !overwrite });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    throw new LocalError('key.exists', `${path} exists: a key that is overwritten is lost`, { facts: { path } });
  }
}

/**
 * What a key file says of itself.
 * @throws key.missing, key.permissions, key.malformed
 */
export async function readKeyFileInfo(path: string): Promise<KeyFileInfo> {
  const { address, sealpost } = await load(path);
  return {
    address: `0x${address.toLowerCase()}`,
    publicKey: sealpost.publicKey,
    suite: sealpost.suite,
    needsPassphrase: sealpost.passphrase !== 'empty',
  };
}

/**
 * The identity in a key file. `passphrase` is asked only if the file has one.
 * @throws key.missing, key.permissions, key.malformed, key.passphrase, key.mismatch
 */
export async function readKeyFile(path: string, passphrase: string | (() => Promise<string>)): Promise<SecretIdentity> {
  const file = await load(path);
  const given = file.sealpost.passphrase === 'empty' ? '' : typeof passphrase === 'string' ? passphrase : await passphrase();
  const [accountKey, encryptionKey] = await Promise.all([
    decrypt(file.crypto, given, path),
    decrypt(file.sealpost.crypto, given, path),
  ]);
  const { identityFrom } = await import('../keys.js');
  const identity = await identityFrom({ accountKey, encryptionKey, suite: file.sealpost.suite });
  if (
    identity.account.address.toLowerCase() !== `0x${file.address.toLowerCase()}` ||
    identity.keys.publicKey !== file.sealpost.publicKey.toLowerCase()
  ) {
    throw new LocalError('key.mismatch', `${path} was changed: its address or public key is not that of its keys`, {
      facts: { path },
    });
  }
  return identity;
}

/**
 * The account in a key file: one as above, or the 32 bytes as hex that sequencers have their keys in. `passphrase` is asked only
 * if the file has one.
 * @throws as readKeyFile
 */
export async function readAccount(path: string, passphrase: string | (() => Promise<string>)): Promise<LocalAccount> {
  const bare = await readBareKey(path);
  return bare ?? (await readKeyFile(path, passphrase)).account;
}

/**
 * The address of a key file's account. Of an encrypted one it is what the file says, not verified.
 * @throws key.missing, key.permissions, key.malformed
 */
export async function readAccountAddress(path: string): Promise<Hex> {
  const bare = await readBareKey(path);
  return bare === undefined ? (await readKeyFileInfo(path)).address : (bare.address.toLowerCase() as Hex);
}

/** Undefined for a file that is no bare key. */
async function readBareKey(path: string): Promise<LocalAccount | undefined> {
  const text = (await readOwn(path)).trim();
  if (text.startsWith('{')) return undefined;
  if (!/^(0x)?[0-9a-fA-F]{64}$/.test(text)) {
    throw malformed(path, 'expected 32 bytes as hex, or JSON as `sealpost keys new` writes it');
  }
  const { privateKeyToAccount } = await import('viem/accounts');
  try {
    return privateKeyToAccount(`0x${text.replace(/^0x/, '')}`);
  } catch {
    // The cause's message may quote the key.
    throw malformed(path, 'its 32 bytes are no private key');
  }
}

async function load(path: string): Promise<KeyFile> {
  const text = await readOwn(path);
  let file: Partial<KeyFile>;
  try {
    file = JSON.parse(text) as Partial<KeyFile>;
  } catch (cause) {
    throw malformed(path, 'expected JSON', cause);
  }
  if (file?.version !== 3 || typeof file.address !== 'string' || !/^[0-9a-fA-F]{40}$/.test(file.address)) {
    throw malformed(path, 'expected a Web3 Secret Storage v3 container with an address');
  }
  const { sealpost } = file;
  if (sealpost?.version !== 1 || typeof sealpost.publicKey !== 'string' || !['x25519', 'x-wing'].includes(sealpost.suite)) {
    throw malformed(path, "expected a 'sealpost' section of version 1, as `sealpost keys new` writes it");
  }
  for (const section of [file.crypto, sealpost.crypto]) checkSection(section, path);
  return file as KeyFile;
}

/** A file that nobody else can read: mode and content of one and the same open file. */
async function readOwn(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { mode, size } = await file.stat();
      if (process.platform !== 'win32' && (mode & GROUP_OR_WORLD) !== 0) {
        throw new LocalError('key.permissions', `${path} is open to others (mode ${(mode & 0o777).toString(8)})`, {
          facts: { path, mode: (mode & 0o777).toString(8) },
        });
      }
      if (size > MAX_FILE_BYTES) throw malformed(path, `expected at most ${MAX_FILE_BYTES} bytes`);
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof LocalError) throw error;
    if (systemCode(error) === 'ENOENT') throw new LocalError('key.missing', `there is no key file ${path}`, { facts: { path } });
    throw new LocalError('key.unreadable', `${path} cannot be read: ${(error as Error).message}`, {
      facts: { path },
      cause: error,
    });
  }
}

function checkSection(section: Keystore.Keystore['crypto'] | undefined, path: string): void {
  if (section?.cipher !== 'aes-128-ctr' || section.kdf !== 'scrypt') throw malformed(path, 'expected aes-128-ctr under scrypt');
  const { n, r, p, dklen } = section.kdfparams as Keystore.ScryptDeriveOpts['kdfparams'];
  const bounded = [n, r, p].every((value) => Number.isSafeInteger(value) && value > 0) && dklen === 32;
  if (!bounded || 128 * n * r > MAX_SCRYPT_BYTES || p > 64) throw malformed(path, 'its scrypt parameters are out of bounds');
}

/** scrypt by the platform: several times faster than in JavaScript, and off the main thread. */
async function deriveKey(passphrase: string, salt: Uint8Array, { n, r, p }: { n: number; r: number; p: number }): Promise<Hex> {
  const options = { N: n, r, p, maxmem: 2 * MAX_SCRYPT_BYTES };
  return toHex(await scryptAsync(passphrase, salt, KEY_BYTES, options));
}

/** Loaded when a key is opened: what a file says without its passphrase needs none of it. */
const keystore = () => import('ox/Keystore');

async function encrypt(secret: Hex, passphrase: string, n: number): Promise<Keystore.Keystore['crypto']> {
  const salt = randomBytes(32);
  const kdfparams = { dklen: KEY_BYTES, n, r: 8, p: 1, salt: salt.toString('hex') };
  const key = await deriveKey(passphrase, salt, kdfparams);
  const { encrypt: encryptSection } = await keystore();
  return encryptSection(secret, key, { iv: new Uint8Array(randomBytes(16)), kdf: 'scrypt', kdfparams }).crypto;
}

async function decrypt(crypto: Keystore.Keystore['crypto'], passphrase: string, path: string): Promise<Hex> {
  const kdfparams = crypto.kdfparams as Keystore.ScryptDeriveOpts['kdfparams'];
  const { n, r, salt } = kdfparams;
  const { decrypt: decryptSection, toKeyAsync } = await keystore();
  // RFC 7914 §6 wants n below 2^(16 r), which OpenSSL enforces; wallets that write r 1 do not care.
  const key =
    n < 2 ** (16 * r)
      ? await deriveKey(passphrase, Buffer.from(salt, 'hex'), kdfparams)
      : await toKeyAsync({ version: 3, id: '', crypto }, { password: passphrase });
  try {
    return toHex(decryptSection({ version: 3, id: '', crypto }, key, { as: 'Bytes' }));
  } catch (cause) {
    throw new LocalError('key.passphrase', `${path}: the passphrase is not the one it was encrypted with`, {
      facts: { path, reason: (cause as Error).name },
    });
  }
}

const malformed = (path: string, why: string, cause?: unknown) =>
  new LocalError('key.malformed', `${path} is no key file: ${why}`, { facts: { path }, cause });
