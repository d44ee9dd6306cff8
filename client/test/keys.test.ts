import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hex } from '@sealpost/prover';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentity, identityFrom } from '../src/index.js';
import { readKeyFile, readKeyFileInfo, readNetwork, writeKeyFile, writeNetwork } from '../src/node.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealpost-keys-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const scryptN = 1_024;
let count = 0;
const fresh = () => join(folder, `${count++}.json`);

describe('key files', () => {
  it.each(['x25519', 'x-wing'] as const)('keep an identity of suite %s under a passphrase', async (suite) => {
    const path = fresh();
    const identity = await createIdentity({ suite });
    await writeKeyFile(path, identity, { passphrase: 'correct horse', scryptN });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const text = await readFile(path, 'utf8');
    expect(text).not.toContain(identity.accountKey.slice(2));
    expect(text).not.toContain(identity.keys.privateKey.slice(2));
    expect(await readKeyFileInfo(path)).toEqual({
      address: identity.account.address.toLowerCase(),
      publicKey: identity.keys.publicKey,
      suite,
      needsPassphrase: true,
    });
    const read = await readKeyFile(path, async () => 'correct horse');
    expect({ accountKey: read.accountKey, keys: read.keys }).toEqual({ accountKey: identity.accountKey, keys: identity.keys });
    await expect(readKeyFile(path, 'wrong horse')).rejects.toMatchObject({ code: 'key.passphrase' });
  });

  it('are not overwritten by chance', async () => {
    const path = fresh();
    await writeKeyFile(path, await createIdentity(), { passphrase: '' });
    const before = await readFile(path, 'utf8');
    await expect(writeKeyFile(path, await createIdentity(), { passphrase: '' })).rejects.toMatchObject({ code: 'key.exists' });
    expect(await readFile(path, 'utf8')).toBe(before);
    await writeKeyFile(path, await createIdentity(), { passphrase: '', overwrite: true });
    expect(await readFile(path, 'utf8')).not.toBe(before);
  });

  it('ask for no passphrase where there is none', async () => {
    const path = fresh();
    const identity = await createIdentity();
    await writeKeyFile(path, identity, { passphrase: '' });
    const read = await readKeyFile(path, () => Promise.reject(new Error('asked')));
    expect(read.accountKey).toBe(identity.accountKey);
    expect((await readKeyFileInfo(path)).needsPassphrase).toBe(false);
  });

  it.each([0o640, 0o604, 0o660])('are refused with mode %o', async (mode) => {
    const path = fresh();
    await writeKeyFile(path, await createIdentity(), { passphrase: '' });
    await chmod(path, mode);
    await expect(readKeyFile(path, '')).rejects.toMatchObject({ code: 'key.permissions', facts: { path } });
  });

  it('are refused when they are missing, no key file, or ask for too much', async () => {
    await expect(readKeyFile(fresh(), '')).rejects.toMatchObject({ code: 'key.missing' });
    const path = fresh();
    await writeKeyFile(path, await createIdentity(), { passphrase: '' });
    const good = JSON.parse(await readFile(path, 'utf8'));
    const kdf = (kdfparams: object) => ({
      ...good,
      crypto: { ...good.crypto, kdfparams: { ...good.crypto.kdfparams, ...kdfparams } },
    });
    const bad: unknown[] = ['{', {}, [], { ...good, version: 4 }, { ...good, address: '0x' }, { ...good, sealpost: undefined }];
    bad.push(
      { ...good, crypto: undefined },
      kdf({ n: 2 ** 31 }),
      kdf({ n: -1 }),
      kdf({ r: 2 ** 20 }),
      kdf({ p: 4_096 }),
      'x'.repeat(70_000),
    );
    for (const content of bad) {
      await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
      await expect(readKeyFile(path, '')).rejects.toMatchObject({ code: 'key.malformed' });
    }
  });

  it('tell when address, public key or a ciphertext was changed', async () => {
    const path = fresh();
    await writeKeyFile(path, await createIdentity(), { passphrase: '' });
    const good = JSON.parse(await readFile(path, 'utf8'));
    const other = await createIdentity();
    const write = (content: object) => writeFile(path, JSON.stringify(content));
    await write({ ...good, address: other.account.address.slice(2) });
    await expect(readKeyFile(path, '')).rejects.toMatchObject({ code: 'key.mismatch' });
    await write({ ...good, sealpost: { ...good.sealpost, publicKey: other.keys.publicKey } });
    await expect(readKeyFile(path, '')).rejects.toMatchObject({ code: 'key.mismatch' });
    const flipped = good.crypto.ciphertext.replace(/^./, (digit: string) => (digit === '0' ? '1' : '0'));
    await write({ ...good, crypto: { ...good.crypto, ciphertext: flipped } });
    await expect(readKeyFile(path, '')).rejects.toMatchObject({ code: 'key.passphrase' });
  });

  it('open what other wallets write: the vector of Web3 Secret Storage', async () => {
    // The scrypt vector of the Web3 Secret Storage definition, and a section of ours under the same passphrase.
    const crypto = {
      cipher: 'aes-128-ctr',
      cipherparams: { iv: '83dbcc02d8ccb40e466191a123791e0e' },
      ciphertext: 'd172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c',
      kdf: 'scrypt',
      kdfparams: { dklen: 32, n: 262_144, p: 8, r: 1, salt: 'ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19' },
      mac: '2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097',
    };
    const path = fresh();
    const secret: Hex = '0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d';
    const identity = await identityFrom({ accountKey: secret, encryptionKey: `0x${'11'.repeat(32)}` });
    await writeKeyFile(path, identity, { passphrase: 'testpassword', scryptN });
    const file = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...file, crypto }));
    expect((await readKeyFile(path, 'testpassword')).accountKey).toBe(secret);
  }, 60_000);
});

it('an identity is made of two keys, and says which one is wrong', async () => {
  const good: Hex = `0x${'11'.repeat(32)}`;
  const { account, keys } = await identityFrom({ accountKey: good, encryptionKey: good });
  expect(account.address).toBe('0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A');
  // RFC 7748 §6.1 in code: the public key of a clamped scalar.
  expect(keys.publicKey).toBe('0x7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13');
  for (const bad of ['0x', '0x11', `0x${'00'.repeat(32)}`, `0x${'ff'.repeat(32)}`] as Hex[]) {
    const failure = await identityFrom({ accountKey: bad, encryptionKey: good }).catch((error: Error) => error);
    expect(failure).toMatchObject({ code: 'key.malformed' });
    expect(JSON.stringify(failure) + String(failure)).not.toContain('ffffffff');
  }
  await expect(identityFrom({ accountKey: good, encryptionKey: '0x11' })).rejects.toMatchObject({ code: 'key.malformed' });
});

describe('network.json', () => {
  const network = {
    version: 1,
    url: 'http://127.0.0.1:7325',
    l1Url: 'http://127.0.0.1:8545',
    chainId: 31_337,
    settlement: '0x5FbDB2315678afecb367f032d93F642f64180aa3',
    pid: 1,
    accounts: {},
  } as const;

  it('is what was written, or nothing', async () => {
    const data = join(folder, 'network');
    expect(await readNetwork(data)).toBeUndefined();
    await writeNetwork(network, data);
    expect(await readNetwork(data)).toEqual(network);
  });

  it('is refused when it is not what it should be', async () => {
    for (const bad of [{ version: 2 }, { url: 'x' }, { settlement: '0x12' }, { chainId: 'one' }]) {
      await writeNetwork({ ...network, ...bad } as never, folder);
      await expect(readNetwork(folder)).rejects.toMatchObject({ code: 'network.malformed' });
    }
  });
});
