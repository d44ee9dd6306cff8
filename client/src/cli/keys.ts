import { join } from 'node:path';
import type { SuiteName } from '../index.js';
import { readKeyFileInfo, writeKeyFile } from '../node.js';
import { CliError, usageError } from './exit.js';
import { readNewPassphrase } from './passphrase.js';
import { needFolderOf } from './paths.js';
import type { Action } from './run.js';
import { chooseKey, keysFolder, knownKeys, projectAccount, readSettings } from './settings.js';

export const keysNew: Action = async (context, [name], options) => {
  const { output } = context;
  const settings = await readSettings(context);
  if (!/^[\w.-]{1,64}$/.test(String(name)) || String(name).startsWith('.')) {
    throw usageError(`a name has letters, digits, _ . and -, got '${name}'`, 'sealpost keys new work');
  }
  const path = typeof options.out === 'string' ? options.out : join(keysFolder(settings), `${name}.json`);
  if (typeof options.out === 'string') await needFolderOf(path);
  const existing = await readKeyFileInfo(path).catch((error: { code?: string }) => error.code);
  if (existing !== 'key.missing') {
    throw new CliError(1, 'key.exists', `${path} exists: a key that is overwritten is lost`, `sealpost keys new ${name}-2`);
  }
  if (options.out === undefined && projectAccount(settings, String(name)) !== undefined) {
    output.warn(`this development network has an account '${name}', which the name stands for while it runs: not for this key`);
  }
  const passphrase = options.passphrase === false ? '' : await readNewPassphrase(context, options);
  const { createIdentity } = await import('../keys.js');
  const identity = await createIdentity({ suite: options.suite as SuiteName });
  output.progress('encrypting the key file …');
  await writeKeyFile(path, identity, { passphrase });
  const { address } = identity.account;
  const { publicKey, suite } = identity.keys;
  output.print(`name        ${name}`);
  output.print(`address     ${address.toLowerCase()}`);
  output.print(`public key  ${publicKey}`);
  output.print(`file        ${path}`);
  output.result({ name, address: address.toLowerCase(), publicKey, suite, file: path, passphrase: passphrase !== '' });
  if (passphrase === '') output.warn('anybody who can read the file has the key: for tests only');
  output.say('Others write to you by your public key. There is no copy of this file anywhere: make one.');
  return 0;
};

export const keysShow: Action = async (context, [name]) => {
  const { output } = context;
  const settings = await readSettings(context);
  const keys = name === undefined ? await knownKeys(settings) : [await chooseKey(context, settings, String(name))];
  if (keys.length === 0) throw new CliError(1, 'key.missing', 'there is no key yet', 'sealpost keys new');
  const shown: object[] = [];
  let unreadable: unknown;
  for (const { name: keyName, path, development } of keys) {
    try {
      const { address, publicKey, suite, needsPassphrase } = await readKeyFileInfo(path);
      shown.push({ name: keyName, address, publicKey, suite, file: path, passphrase: needsPassphrase, development });
      output.print(`${output.paint('bold', keyName)}${development ? '  (of the development network)' : ''}`);
      output.print(`  address     ${address}`);
      output.print(
        `  public key  ${publicKey.length > 80 ? `${publicKey.slice(0, 66)}… (${suite}, whole with --json)` : publicKey}`,
      );
      output.print(`  file        ${path}`);
    } catch (error) {
      if (keys.length === 1) throw error;
      unreadable ??= error;
      output.warn((error as Error).message);
    }
  }
  if (shown.length === 0) throw unreadable;
  output.result({ keys: shown });
  return 0;
};
