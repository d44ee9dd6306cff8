import { type Hex, MAX_BATCH_ENTRIES, MAX_BATCH_FILE_BYTES, MAX_BUNDLE_BYTES } from '@sealpost/prover';

/** A setting that is missing or not valid: which one, what was expected, what was got. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

interface Setting<T> {
  readonly env: string;
  /** What it means, with its unit. */
  readonly meaning: string;
  /** As it would be written; undefined if it must be given. */
  readonly fallback: string | undefined;
  readonly parse: (text: string) => T;
  /** Its value may hold a secret, and is not printed. */
  readonly secret?: true;
}

const whole =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || value < min || value > max)
      throw new ConfigError(`expected a whole number from ${min} to ${max}`);
    return value;
  };

const gwei = (text: string): bigint => {
  if (!/^[0-9]{1,9}(\.[0-9]{1,9})?$/.test(text)) throw new ConfigError('expected gwei, such as 2 or 0.5');
  const [units, fraction = ''] = text.split('.');
  return BigInt(units as string) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
};

/** Below 2^96: the most expensive bundle still fits a postage. */
const wei = (text: string): bigint => {
  if (!/^(0|[1-9][0-9]{0,28})$/.test(text) || BigInt(text) >> 96n > 0n)
    throw new ConfigError('expected wei, a whole number below 2^96');
  return BigInt(text);
};

const url = (text: string): string => {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new ConfigError('expected an http:// or https:// URL');
  return text;
};

const address = (text: string): Hex => {
  if (!/^0x[0-9a-fA-F]{40}$/.test(text)) throw new ConfigError('expected an address, 0x and 40 hex digits');
  return text.toLowerCase() as Hex;
};

const path = (text: string): string => {
  if (text === '' || text.includes('\0')) throw new ConfigError('expected a path');
  return text;
};

const oneOf =
  <const T extends string>(...names: readonly T[]) =>
  (text: string): T => {
    const found = names.find((name) => name === text);
    if (found === undefined) throw new ConfigError(`expected one of ${names.join(', ')}`);
    return found;
  };

const MAX_MS = 86_400_000;
const GIB = 1_073_741_824;

/** Every setting of the sequencer: the one table that parsing, `check` and the reference are made of. */
export const SETTINGS = {
  host: { env: 'SEALPOST_HOST', meaning: 'address to listen on', fallback: '127.0.0.1', parse: path },
  port: { env: 'SEALPOST_PORT', meaning: 'port to listen on; 0 takes a free one', fallback: '7325', parse: whole(0, 65_535) },
  data: { env: 'SEALPOST_DATA', meaning: 'folder of the database', fallback: '.sealpost', parse: path },
  signedFile: {
    env: 'SEALPOST_SIGNED_FILE',
    meaning:
      'file that says how far receipts were signed: best on another disk, never in a backup of the database; auto: signed.mark in SEALPOST_DATA',
    fallback: 'auto',
    parse: path,
  },
  l1Url: { env: 'SEALPOST_L1_URL', meaning: 'JSON-RPC of an Ethereum node', fallback: undefined, parse: url, secret: true },
  settlement: { env: 'SEALPOST_SETTLEMENT', meaning: 'address of the Settlement contract', fallback: undefined, parse: address },
  posterKeyFile: {
    env: 'SEALPOST_POSTER_KEY_FILE',
    meaning: 'file with the posting account’s key, 32 bytes as hex, readable by its owner only',
    fallback: undefined,
    parse: path,
  },
  signerKeyFile: {
    env: 'SEALPOST_SIGNER_KEY_FILE',
    meaning: 'file with the receipt signer’s key, likewise',
    fallback: undefined,
    parse: path,
  },
  sealMaxEntries: {
    env: 'SEALPOST_SEAL_MAX_ENTRIES',
    meaning: 'entries that make a batch',
    fallback: '4096',
    parse: whole(1, MAX_BATCH_ENTRIES),
  },
  sealMaxBytes: {
    env: 'SEALPOST_SEAL_MAX_BYTES',
    meaning: 'size of a batch file that makes a batch, bytes',
    fallback: '67108864',
    parse: whole(2 * MAX_BUNDLE_BYTES, MAX_BATCH_FILE_BYTES),
  },
  sealMaxAgeMs: {
    env: 'SEALPOST_SEAL_MAX_AGE_MS',
    meaning: 'age of the oldest unsealed entry that makes a batch, milliseconds (main network: 60000)',
    fallback: '1000',
    parse: whole(1, MAX_MS),
  },
  maxQueueBytes: {
    env: 'SEALPOST_MAX_QUEUE_BYTES',
    meaning: 'bodies waiting for their answer, bytes; beyond it clients get 503 busy',
    fallback: '67108864',
    parse: whole(1, 16 * GIB),
  },
  maxBodyBytes: {
    env: 'SEALPOST_MAX_BODY_BYTES',
    meaning: 'largest request body, bytes',
    fallback: '16777216',
    parse: whole(1_024, GIB),
  },
  maxGroupBytes: {
    env: 'SEALPOST_MAX_GROUP_BYTES',
    meaning: 'bodies that share one fsync, bytes',
    fallback: '8388608',
    parse: whole(1, GIB),
  },
  maxConnections: {
    env: 'SEALPOST_MAX_CONNECTIONS',
    meaning: 'connections open at once',
    fallback: '10000',
    parse: whole(1, 1_000_000),
  },
  maxWaiting: {
    env: 'SEALPOST_MAX_WAITING',
    meaning: 'long polls and event streams open at once; each may hold 2 MiB',
    fallback: '2000',
    parse: whole(1, 1_000_000),
  },
  requestTimeoutMs: {
    env: 'SEALPOST_REQUEST_TIMEOUT_MS',
    meaning: 'for a whole request to arrive, milliseconds',
    fallback: '30000',
    parse: whole(100, MAX_MS),
  },
  stallMs: {
    env: 'SEALPOST_STALL_MS',
    meaning: 'how long an event stream’s reader may stay 1 MiB behind, milliseconds',
    fallback: '15000',
    parse: whole(10, MAX_MS),
  },
  accountRate: {
    env: 'SEALPOST_ACCOUNT_RATE',
    meaning: 'messages a second that one account may send, ten seconds’ worth at once; 0 for no limit',
    fallback: '0',
    parse: whole(0, 1_000_000_000),
  },
  pricePerMessage: {
    env: 'SEALPOST_PRICE_PER_MESSAGE',
    meaning: 'postage of each message of a bundle, wei; with both prices 0 nobody looks at postage',
    fallback: '0',
    parse: wei,
  },
  pricePerByte: {
    env: 'SEALPOST_PRICE_PER_BYTE',
    meaning: 'postage of each byte of an encoded bundle, header and signature included, its frame’s length not, wei',
    fallback: '0',
    parse: wei,
  },
  redeemFactor: {
    env: 'SEALPOST_REDEEM_FACTOR',
    meaning: 'postage is redeemed once it pays this many times its gas, about 67,500; once, where waiting may lose it',
    fallback: '10',
    parse: whole(1, 1_000_000),
  },
  verifyWorkers: {
    env: 'SEALPOST_VERIFY_WORKERS',
    meaning: 'threads that check signatures; 0 for one less than there are cores, at least one',
    fallback: '0',
    parse: whole(0, 1_024),
  },
  maxL1AgeMs: {
    env: 'SEALPOST_MAX_L1_AGE_MS',
    meaning:
      'age of the newest L1 block beyond which nothing is promised, milliseconds; 0 for off; auto: off on chain 31337, else 60000',
    fallback: 'auto',
    parse: (text: string): number | 'auto' => (text === 'auto' ? text : whole(0, MAX_MS)(text)),
  },
  l1PollMs: {
    env: 'SEALPOST_L1_POLL_MS',
    meaning: 'between two looks at the L1, milliseconds; auto: 250 on chain 31337, else 2000',
    fallback: 'auto',
    parse: (text: string): number | 'auto' => (text === 'auto' ? text : whole(20, MAX_MS)(text)),
  },
  l1TimeoutMs: {
    env: 'SEALPOST_L1_TIMEOUT_MS',
    meaning: 'for one answer of the L1, milliseconds',
    fallback: '10000',
    parse: whole(100, MAX_MS),
  },
  l1StartBlock: {
    env: 'SEALPOST_L1_START_BLOCK',
    meaning: 'a block not above the contract’s deployment: where a log that knows no L1 block starts reading',
    fallback: '0',
    parse: whole(0, Number.MAX_SAFE_INTEGER),
  },
  maxFeePerGas: {
    env: 'SEALPOST_MAX_FEE_GWEI',
    meaning: 'most that a commit may pay, gwei a gas; beyond it posting waits',
    fallback: '500',
    parse: gwei,
  },
  bumpAfterMs: {
    env: 'SEALPOST_BUMP_AFTER_MS',
    meaning: 'for a commit to be mined before it is sent again at a higher fee, milliseconds',
    fallback: '30000',
    parse: whole(100, MAX_MS),
  },
  maxBacklogBatches: {
    env: 'SEALPOST_MAX_BACKLOG_BATCHES',
    meaning: 'sealed batches not yet committed beyond which /readyz says no',
    fallback: '300',
    parse: whole(1, 1_000_000),
  },
  stopDeadlineMs: {
    env: 'SEALPOST_STOP_DEADLINE_MS',
    meaning: 'for a graceful stop, milliseconds',
    fallback: '10000',
    parse: whole(100, MAX_MS),
  },
  log: { env: 'SEALPOST_LOG', meaning: 'json or pretty', fallback: 'json', parse: oneOf('json', 'pretty') },
} as const satisfies Readonly<Record<string, Setting<unknown>>>;

export type Config = { readonly [Name in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[Name]['parse']> };

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Every setting, checked before anything is touched.
 * @throws ConfigError naming every setting that is wrong
 */
export function parseConfig(environment: Environment): Config {
  const wrong: string[] = [];
  const entries = Object.entries(SETTINGS).map(([name, setting]: [string, Setting<unknown>]) => {
    const given = environment[setting.env];
    const text = given === undefined || given === '' ? setting.fallback : given;
    try {
      if (text === undefined) throw new ConfigError(`must be set: ${setting.meaning}`);
      return [name, setting.parse(text)];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const got = given === undefined || setting.secret ? '' : `, got ${JSON.stringify(given.slice(0, 100))}`;
      wrong.push(`${setting.env}: ${error.message}${got}`);
      return [name, undefined];
    }
  });
  if (wrong.length > 0) throw new ConfigError(wrong.join('\n'));
  return Object.fromEntries(entries) as Config;
}

/** The settings as they are in force, one a line, secrets left out: what `check` prints. */
export function describeConfig(environment: Environment): string {
  const lines = Object.values(SETTINGS).map(({ env, meaning, fallback, ...rest }: Setting<unknown>) => {
    const given = environment[env] !== undefined && environment[env] !== '';
    const text = given ? (rest.secret ? '(set)' : (environment[env] as string)) : (fallback ?? '(not set)');
    return [`${env}=${text}`, `${meaning}${given || fallback === undefined ? '' : ' (default)'}`] as const;
  });
  const width = Math.max(...lines.map(([text]) => text.length));
  return lines.map(([text, meaning]) => `${text.padEnd(width)}  ${meaning}`).join('\n');
}

/** The reference as a Markdown table: what sequencer/README.md shows. */
export const configReference = (): string =>
  [
    '| setting | meaning | default |',
    '| --- | --- | --- |',
    ...Object.values(SETTINGS).map(
      ({ env, meaning, fallback }) => `| \`${env}\` | ${meaning} | ${fallback === undefined ? 'required' : `\`${fallback}\``} |`,
    ),
  ].join('\n');
