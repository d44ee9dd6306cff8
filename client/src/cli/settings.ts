import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, isAbsolute, join, resolve } from 'node:path';
import type { LocalAccount } from 'viem';
import type { Hex, L1, Log, Outbox, Postage, ReceiptKeeper, SealpostClient, SecretIdentity } from '../index.js';
import {
  type KeyFileInfo,
  type Network,
  type NetworkAccount,
  readAccount,
  readKeyFile,
  readKeyFileInfo,
  readNetwork,
} from '../node.js';
import type { Settlement } from '../settlement.js';
import { CliError, usageError } from './exit.js';
import { singleLine } from './output.js';
import { readPassphrase } from './passphrase.js';
import type { Context, GlobalFlags } from './run.js';

/** Where a setting came from, for `doctor` and for errors. */
export type Origin = 'flag' | 'environment' | 'network.json' | 'user file' | 'default';

export interface Setting<T> {
  readonly value: T;
  readonly origin: Origin;
}

/** What the user's own file may say: `$XDG_CONFIG_HOME/sealpost/config.json`. */
interface UserFile {
  readonly url?: string;
  readonly l1Url?: string;
  readonly settlement?: Hex;
  /** Names for public keys. */
  readonly contacts?: Readonly<Record<string, Hex>>;
}

/** Everything a command works with: flags, then environment, then the project's network, then the user's file. */
export interface Settings {
  readonly url: Setting<string> | undefined;
  readonly l1Url: Setting<string> | undefined;
  readonly settlement: Setting<Hex> | undefined;
  readonly chainId: number | undefined;
  readonly data: Setting<string>;
  readonly network: Network | undefined;
  readonly contacts: Readonly<Record<string, Hex>>;
  readonly userFolder: string;
}

const DEFAULT_TIMEOUT_SECONDS = 60;

export const timeoutMs = (flags: GlobalFlags, otherwise = DEFAULT_TIMEOUT_SECONDS): number =>
  1_000 * (flags.timeout ?? otherwise);

/** XDG Base Directory Specification: a relative path does not count. */
const userFolder = (env: NodeJS.ProcessEnv): string => {
  const base = env.XDG_CONFIG_HOME;
  return join(base && isAbsolute(base) ? base : join(env.HOME || homedir(), '.config'), 'sealpost');
};

export async function readSettings({ flags, env }: Context): Promise<Settings> {
  const folder = userFolder(env);
  const file = await readUserFile(join(folder, 'config.json'));
  const data: Setting<string> = flags.data
    ? { value: flags.data, origin: 'flag' }
    : env.SEALPOST_DATA
      ? { value: env.SEALPOST_DATA, origin: 'environment' }
      : { value: '.sealpost', origin: 'default' };
  const network = await readNetwork(data.value);
  const pick = <T extends string>(
    flag: string | undefined,
    variable: string | undefined,
    project: T | undefined,
    user: T | undefined,
  ): Setting<T> | undefined => {
    if (flag) return { value: flag as T, origin: 'flag' };
    if (variable) return { value: variable as T, origin: 'environment' };
    if (project) return { value: project, origin: 'network.json' };
    if (user) return { value: user, origin: 'user file' };
    return undefined;
  };
  const settlement = pick<Hex>(flags.settlement, env.SEALPOST_SETTLEMENT, network?.settlement, file.settlement);
  if (settlement !== undefined && !/^0x[0-9a-fA-F]{40}$/.test(settlement.value)) {
    throw usageError(`the settlement (${settlement.origin}): expected an address, got ${settlement.value}`, 'sealpost doctor');
  }
  return {
    url: url(pick(flags.url, env.SEALPOST_URL, network?.url, file.url), '--url'),
    l1Url: url(pick(flags.l1, env.SEALPOST_L1_URL, network?.l1Url, file.l1Url), '--l1'),
    settlement,
    // The chain is checked where the project names it together with the contract.
    chainId: settlement?.origin === 'network.json' ? network?.chainId : undefined,
    data,
    network,
    contacts: file.contacts ?? {},
    userFolder: folder,
  };
}

function url(setting: Setting<string> | undefined, flag: string): Setting<string> | undefined {
  if (setting === undefined) return undefined;
  try {
    if (/^https?:$/.test(new URL(setting.value).protocol)) return setting;
  } catch {
    // Falls through to the same advice.
  }
  throw usageError(
    `${flag} (${setting.origin}): expected an http:// or https:// address, got ${setting.value}`,
    'sealpost doctor',
  );
}

async function readUserFile(path: string): Promise<UserFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    return {};
  }
  try {
    return JSON.parse(text) as UserFile;
  } catch {
    throw new CliError(1, 'config.malformed', `${path}: expected JSON`, `edit ${path}`);
  }
}

/**
 * A setting that a command cannot do without.
 * @throws CliError naming every way to give it
 */
export function need<T>(setting: Setting<T> | undefined, what: string, flag: string, variable: string, next = 'npm start'): T {
  if (setting !== undefined) return setting.value;
  throw new CliError(
    1,
    'config.missing',
    `no ${what}: no local network runs here, and neither ${flag} nor ${variable} is given`,
    next,
  );
}

/**
 * The block of `--from-block`; undefined if it is not given.
 * @throws CliError usage
 */
export function readFromBlock({ output }: Context, { fromBlock }: Record<string, unknown>): bigint | undefined {
  if (fromBlock === undefined) return undefined;
  if (/^\d{1,18}$/.test(String(fromBlock))) return BigInt(String(fromBlock));
  throw usageError(`--from-block: expected a block number, got ${fromBlock}`, `sealpost ${output.command} --help`);
}

/** SHA-256 by the platform. */
export const nativeSha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();

/** A client of the configured network; with an identity it can also send and open, and pay with `postage`. */
export async function connect(
  context: Context,
  settings: Settings,
  identity?: SecretIdentity,
  postage?: Postage,
): Promise<SealpostClient> {
  const url = need(settings.url, 'sequencer', '--url', 'SEALPOST_URL');
  const l1Url = need(settings.l1Url, 'L1 node', '--l1', 'SEALPOST_L1_URL');
  const settlement = need(settings.settlement, 'Settlement contract', '--settlement', 'SEALPOST_SETTLEMENT');
  const [{ createClient }, { http }] = await Promise.all([import('../index.js'), import('viem')]);
  const outbox: Outbox = { open: async (key, call) => (await openOutbox(context, settings, client)).open(key, call) };
  let keeper: Promise<ReceiptKeeper> | undefined;
  const receipts: ReceiptKeeper = {
    keep: async (domain, receipt) => {
      keeper ??= openReceipts(context, settings, client);
      return (await keeper).keep(domain, receipt);
    },
  };
  const client = await createClient(
    {
      url,
      l1: http(l1Url, { retryCount: 2 }),
      settlement,
      chainId: settings.chainId,
      log: sayRetries(context),
      outbox,
      receipts,
      postage,
      ...(identity === undefined ? {} : { account: identity.account, keys: identity.keys }),
    },
    { signal: context.signal, timeoutMs: timeoutMs(context.flags, 15) },
  );
  return client;
}

/** The configured contract, for those who have money in it. No sequencer is asked. */
export async function connectSettlement(context: Context, settings: Settings): Promise<Settlement> {
  const l1Url = need(settings.l1Url, 'L1 node', '--l1', 'SEALPOST_L1_URL');
  const settlement = need(settings.settlement, 'Settlement contract', '--settlement', 'SEALPOST_SETTLEMENT');
  const [{ Settlement: Contract }, { systemClock }, { http }] = await Promise.all([
    import('../settlement.js'),
    import('../clock.js'),
    import('viem'),
  ]);
  const chainId = settings.chainId === undefined ? undefined : BigInt(settings.chainId);
  const options = { transport: http(l1Url, { retryCount: 2 }), settlement, chainId, clock: systemClock };
  return Contract.connect(options, { signal: context.signal, timeoutMs: timeoutMs(context.flags, 15) });
}

/** Waiting is told once, then shown where something can be redrawn. */
function sayRetries({ output }: Context): Log {
  let said = false;
  return (event, facts) => {
    if (event !== 'http.retry' && event !== 'topic.reconnect') return;
    const why = whyAgain(facts);
    if (!said) output.say(`${why}, trying again (Ctrl-C stops)`);
    else output.progress(`${why}, attempt ${Number(facts.attempt) + 2} …`);
    said = true;
  };
}

function whyAgain({ code, detail }: Readonly<Record<string, unknown>>): string {
  if (code === 'busy' || code === 'rate_limited') return 'the sequencer is busy';
  // Which may last: the operator leaves, the lane has none, the L1 stands still. The sequencer's own words say so.
  if (code === 'unavailable') return `the sequencer is not available: ${singleLine(String(detail))}`;
  return 'the sequencer does not answer';
}

/** The chain id of every local network. */
const LOCAL_CHAIN = 31_337n;

/**
 * Signed bundles, receipts and what a watch has checked are state, not configuration; beside a local network they go when it is
 * reset. Other local networks look all alike (chain id, often the contract's address, too): what tells one from the next is their
 * first block.
 */
export async function stateFolder({ env, signal }: Context, settings: Settings, l1: L1, name: string): Promise<string> {
  if (settings.settlement?.origin === 'network.json') return join(settings.data.value, name);
  const base = env.XDG_STATE_HOME;
  const folder = join(base && isAbsolute(base) ? base : join(env.HOME || homedir(), '.local', 'state'), 'sealpost', name);
  if (l1.view.chainId !== LOCAL_CHAIN) return folder;
  const genesis = await l1.block(0n, { signal });
  return genesis === undefined ? folder : join(folder, `local-${genesis.hash.slice(2, 18)}`);
}

/** Where a client's signed bundles wait. */
export async function openOutbox(context: Context, settings: Settings, client: SealpostClient): Promise<Outbox> {
  const { fileOutbox } = await import('../node.js');
  return fileOutbox({ folder: await stateFolder(context, settings, client.l1, 'outbox') });
}

/** Receipts of this user on this network, for a watch to hold the sequencer to them. */
async function openReceipts(context: Context, settings: Settings, client: SealpostClient): Promise<ReceiptKeeper> {
  const { fileReceipts } = await import('../node.js');
  return fileReceipts({ folder: await stateFolder(context, settings, client.l1, 'receipts') });
}

/** What a nonce behind ours means where networks come and go. Anything else is thrown as it is. */
export async function explainReset(context: Context, settings: Settings, client: SealpostClient, error: unknown): Promise<never> {
  const { code, facts } = error as { code?: string; facts?: { lane?: number; expected?: string; nonce?: string } };
  if (code !== 'send.nonce_behind' || client.chainId !== LOCAL_CHAIN || client.address === undefined) throw error;
  const { outboxName } = await import('../index.js');
  const { chainId, settlement, address: sender } = client;
  const own = join(
    await stateFolder(context, settings, client.l1, 'outbox'),
    outboxName({ chainId, settlement, sender, lane: facts?.lane ?? 0 }),
  );
  throw new CliError(
    1,
    code,
    `the sequencer's next nonce of this account is ${facts?.expected}, ours is ${facts?.nonce}: either this local network was made anew since, or the sequencer lost what it promised`,
    `rm -r ${own}   (if the network was made anew: forgets what was signed for the old one)`,
    { cause: error },
  );
}

/** A key file that a name stands for. */
export interface KnownKey {
  readonly name: string;
  readonly path: string;
  readonly development: boolean;
}

export const keysFolder = (settings: Settings): string => join(settings.userFolder, 'keys');

/** Those of the local network first, then the user's own: of two with one name the project's counts. */
export async function knownKeys(settings: Settings): Promise<KnownKey[]> {
  const folder = keysFolder(settings);
  const names = await readdir(folder).catch(() => []);
  const own = names
    .filter((name) => name.endsWith('.json'))
    .map((name) => ({ name: basename(name, '.json'), path: join(folder, name) }));
  const project = Object.entries(settings.network?.accounts ?? {}).map(([name, { keyFile }]) => ({
    name,
    path: resolve(settings.data.value, keyFile),
  }));
  return [
    ...project.map((key) => ({ ...key, development: true })),
    ...own.sort((a, b) => (a.name < b.name ? -1 : 1)).map((key) => ({ ...key, development: false })),
  ];
}

/**
 * Whose keys to use: `--as`, else the user's `default`, else (on a development network) the first account that is not `except`.
 * @throws CliError listing the names there are
 */
export async function chooseKey(context: Context, settings: Settings, as: string | undefined, except?: Hex): Promise<KnownKey> {
  const keys = await knownKeys(settings);
  if (as !== undefined) {
    const [found, shadowed] = keys.filter(({ name }) => name === as);
    if (found !== undefined && shadowed !== undefined) {
      context.output.warn(`'${as}' is the key of this development network here; yours is --as ${shadowed.path}`);
    }
    if (found !== undefined) return found;
    if (/[/\\]|\.(json|key)$/.test(as)) return { name: as, path: as, development: false };
    throw unknownName(
      settings,
      `there is no key '${as}'`,
      as,
      keys.map(({ name }) => name),
    );
  }
  const own = keys.filter(({ development }) => !development);
  const chosen = own.find(({ name }) => name === 'default') ?? (own.length === 1 ? own[0] : undefined);
  if (chosen !== undefined) return chosen;
  if (except !== undefined) {
    for (const key of keys.filter(({ development }) => development)) {
      if (settings.network?.accounts[key.name]?.publicKey.toLowerCase() !== except.toLowerCase()) {
        context.output.say(`as ${key.name}, a key of this development network (--as changes it)`);
        return key;
      }
    }
  }
  if (keys.length > 0) {
    const names = keys.map(({ name }) => name).join(', ');
    throw new CliError(2, 'usage', `whose keys? there are ${names}`, `sealpost ${context.output.command} --as ${keys[0]?.name}`);
  }
  throw new CliError(1, 'key.missing', 'there is no key yet', 'sealpost keys new');
}

/** Opens a key, asking for its passphrase where it has one. */
export async function openKey(context: Context, key: KnownKey, options: Record<string, unknown>): Promise<SecretIdentity> {
  return readKeyFile(key.path, () => readPassphrase(context, options, `Passphrase of ${key.name}: `));
}

/** Opens a key for its account alone: also one that is nothing but 32 bytes as hex, as sequencers have them. */
export async function openAccount(context: Context, key: KnownKey, options: Record<string, unknown>): Promise<LocalAccount> {
  return readAccount(key.path, () => readPassphrase(context, options, `Passphrase of ${key.name}: `));
}

/** The account of the running network that has this name. */
export const projectAccount = ({ network }: Settings, name: string): NetworkAccount | undefined =>
  network !== undefined && Object.hasOwn(network.accounts, name) ? network.accounts[name] : undefined;

/**
 * The public key that `to` stands for: an account of the network, a contact, a key file's name, a public key, or the address of a known key.
 * @throws CliError
 */
export async function findRecipient(context: Context, settings: Settings, to: string): Promise<{ publicKey: Hex; name: string }> {
  const { isPublicKey } = await import('../seal.js');
  if (isPublicKey(to)) return { publicKey: to.toLowerCase() as Hex, name: to };
  const keys = await knownKeys(settings);
  const own = keys.find(({ name, development }) => name === to && !development);
  const contact = Object.hasOwn(settings.contacts, to) ? settings.contacts[to] : undefined;
  // The project goes before the user, as for every other setting.
  const account = projectAccount(settings, to);
  if (account !== undefined) {
    if (own !== undefined || contact !== undefined) {
      context.output.warn(`'${to}' is the account of this development network here; for your own '${to}' give the public key`);
    }
    return { publicKey: account.publicKey, name: to };
  }
  if (contact !== undefined) return { publicKey: contact, name: to };
  if (own !== undefined) return { publicKey: (await readKeyFileInfo(own.path)).publicKey, name: to };
  if (/^0x[0-9a-fA-F]{40}$/.test(to)) {
    for (const { name, path } of keys) {
      const info = await readKeyFileInfo(path).catch((): KeyFileInfo | undefined => undefined);
      if (info?.address === to.toLowerCase()) return { publicKey: info.publicKey, name };
    }
    throw new CliError(
      1,
      'key.missing',
      `${to} is an address: a message is sealed to a public key, which only its owner can tell`,
      'sealpost keys show   (on the recipient’s machine)',
    );
  }
  const names = [...Object.keys(settings.contacts), ...keys.map(({ name }) => name)];
  throw unknownName(settings, `nobody is called '${to}'`, to, names);
}

function unknownName(settings: Settings, message: string, name: string, names: readonly string[]): CliError {
  const hint = didYouMean(name, names);
  if (hint !== '' || settings.network !== undefined)
    return new CliError(1, 'key.missing', `${message}${hint}`, 'sealpost keys show');
  return new CliError(
    1,
    'key.missing',
    `${message}, and no local network runs here (looked into ${settings.data.value})`,
    'npm start',
  );
}

/** ` (did you mean alice?)`, for a name that is at most two edits away. */
export function didYouMean(given: string, names: readonly string[]): string {
  const near = names.map((name) => ({ name, distance: edits(given, name) })).sort((a, b) => a.distance - b.distance)[0];
  return near !== undefined && near.distance <= 2 ? `: did you mean ${near.name}?` : '';
}

function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
