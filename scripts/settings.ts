import { parseArgs } from 'node:util';
import { Failure, print } from './terminal.js';

/** What `npm start` and its relatives read from the environment. */
export interface Settings {
  readonly data: string;
  readonly port: number;
  readonly l1Port: number;
  readonly l1Url: string | undefined;
  readonly laneCount: number;
}

export const DEFAULT_DATA = '.sealpost';

/** @throws Failure naming the variable and what it takes */
export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  const l1Url = env.SEALPOST_L1_URL || undefined;
  if (l1Url !== undefined && !/^https?:\/\//.test(l1Url)) throw bad('SEALPOST_L1_URL', 'an http:// or https:// address', l1Url);
  return {
    data: env.SEALPOST_DATA || DEFAULT_DATA,
    port: readWhole(env, 'SEALPOST_PORT', 7_325, 0, 65_535),
    l1Port: readWhole(env, 'SEALPOST_L1_PORT', 8_545, 0, 65_535),
    l1Url,
    laneCount: readWhole(env, 'SEALPOST_LANES', 1, 1, 65_535),
  };
}

function readWhole(env: NodeJS.ProcessEnv, name: string, otherwise: number, min: number, max: number): number {
  const text = env[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) throw bad(name, `a whole number from ${min} to ${max}`, text);
  return value;
}

const bad = (name: string, expected: string, got: string) =>
  new Failure(`${name}: expected ${expected}, got ${JSON.stringify(got)}`, `unset ${name} to get the default`, 2);

/** A flag that takes a value (`string`) or none (`boolean`). */
type Flags = Record<string, { readonly type: 'string' | 'boolean'; readonly multiple?: boolean; readonly short?: string }>;

/**
 * The flags of a command; undefined after `--help`, which is answered here.
 * @throws Failure with exit code 2 for what the command does not know
 */
export function readFlags<const F extends Flags>(help: string, flags: F, args = process.argv.slice(2)) {
  const options = { ...flags, help: { type: 'boolean', short: 'h' }, 'no-color': { type: 'boolean' } } as const;
  try {
    const { values } = parseArgs({ args, options, allowPositionals: false });
    if ((values as { help?: boolean }).help) {
      print(help.trim());
      return undefined;
    }
    return values;
  } catch (error) {
    throw new Failure((error as Error).message.split('. ')[0] ?? 'usage', 'see --help', 2);
  }
}

/** @throws Failure with exit code 2 */
export function readNumber(flag: string, text: string | undefined, otherwise: number, min: number, max: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (text.trim() === '' || !(value >= min && value <= max)) {
    throw new Failure(`--${flag}: expected a number from ${min} to ${max}, got ${JSON.stringify(text)}`, 'see --help', 2);
  }
  return value;
}
