import { readFileSync } from 'node:fs';
import { bundlePrice, MAX_BUNDLE_BYTES, MAX_MESSAGES } from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { ConfigError, configReference, describeConfig, parseConfig, SETTINGS } from './config.js';

const SECRET = 'https://user:password@node.example/v2/key-of-the-operator';
const REQUIRED = {
  SEALPOST_L1_URL: SECRET,
  SEALPOST_SETTLEMENT: '0x5FbDB2315678afecb367f032d93F642f64180aa3',
  SEALPOST_POSTER_KEY_FILE: 'poster.key',
  SEALPOST_SIGNER_KEY_FILE: 'signer.key',
};
const complaint = (environment: Record<string, string>): string => {
  try {
    parseConfig(environment);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('expected a complaint');
};

describe('parseConfig', () => {
  test('with what must be given, everything else has its default', () => {
    const config = parseConfig(REQUIRED);
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 7325,
      sealMaxEntries: 4_096,
      sealMaxBytes: 67_108_864,
      sealMaxAgeMs: 1_000,
      maxQueueBytes: 67_108_864,
      maxBodyBytes: 16_777_216,
      stopDeadlineMs: 10_000,
      maxL1AgeMs: 'auto',
      maxFeePerGas: 500_000_000_000n,
      settlement: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
    });
    expect(Object.values(config)).not.toContain(undefined);
  });

  test('an empty value is as good as none', () => {
    expect(parseConfig({ ...REQUIRED, SEALPOST_PORT: '' }).port).toBe(7325);
  });

  test('everything that is missing is named, with what it means', () => {
    const text = complaint({});
    for (const env of Object.keys(REQUIRED)) expect(text).toContain(env);
    expect(text.split('\n')).toHaveLength(4);
    expect(text).toContain(SETTINGS.settlement.meaning);
  });

  test.each([
    ['SEALPOST_PORT', '65536'],
    ['SEALPOST_PORT', '-1'],
    ['SEALPOST_PORT', '80 '],
    ['SEALPOST_PORT', '8e1'],
    ['SEALPOST_PORT', '0x50'],
    ['SEALPOST_L1_URL', 'ftp://node'],
    ['SEALPOST_L1_URL', 'node:8545'],
    ['SEALPOST_SETTLEMENT', '0x5fbdb2315678afecb367f032d93f642f64180a'],
    ['SEALPOST_SETTLEMENT', 'sealpost.eth'],
    ['SEALPOST_SEAL_MAX_ENTRIES', '0'],
    ['SEALPOST_SEAL_MAX_ENTRIES', '1048577'],
    ['SEALPOST_SEAL_MAX_BYTES', '1024'],
    ['SEALPOST_SEAL_MAX_AGE_MS', '1.5'],
    ['SEALPOST_MAX_L1_AGE_MS', 'off'],
    ['SEALPOST_MAX_FEE_GWEI', '1,5'],
    ['SEALPOST_MAX_FEE_GWEI', '-2'],
    ['SEALPOST_MAX_FEE_GWEI', '0.0000000001'],
    ['SEALPOST_PRICE_PER_MESSAGE', '0.1'],
    ['SEALPOST_PRICE_PER_MESSAGE', '1e15'],
    ['SEALPOST_PRICE_PER_BYTE', '-1'],
    ['SEALPOST_PRICE_PER_BYTE', String(2n ** 96n)],
    ['SEALPOST_REDEEM_FACTOR', '0'],
    ['SEALPOST_L1_START_BLOCK', '99999999999999999999'],
    ['SEALPOST_LOG', 'loud'],
    ['SEALPOST_DATA', 'a\0b'],
  ])('%s=%j is refused, and named', (env, value) => {
    const text = complaint({ ...REQUIRED, [env]: value });
    expect(text.split('\n')).toHaveLength(1);
    expect(text).toContain(`${env}: expected`);
  });

  test('several wrong values are named together', () => {
    expect(complaint({ ...REQUIRED, SEALPOST_PORT: 'x', SEALPOST_LOG: 'y' }).split('\n')).toHaveLength(2);
  });

  test.each([
    ['2', 2_000_000_000n],
    ['0.5', 500_000_000n],
    ['0.000000001', 1n],
    ['12.25', 12_250_000_000n],
  ])('%s gwei', (text, wei) => {
    expect(parseConfig({ ...REQUIRED, SEALPOST_MAX_FEE_GWEI: text }).maxFeePerGas).toBe(wei);
  });

  test('prices are wei, exactly', () => {
    const largest = 2n ** 96n - 1n;
    const config = parseConfig({ ...REQUIRED, SEALPOST_PRICE_PER_MESSAGE: String(largest), SEALPOST_PRICE_PER_BYTE: '1' });
    expect([config.pricePerMessage, config.pricePerByte]).toEqual([largest, 1n]);
    // The largest bundle at the largest price is still a postage.
    expect(bundlePrice({ perMessage: largest, perByte: largest }, MAX_MESSAGES, MAX_BUNDLE_BYTES) < 2n ** 128n).toBe(true);
  });

  test('a value that may be a secret is never repeated', () => {
    expect(complaint({ ...REQUIRED, SEALPOST_L1_URL: 'ws://password@node' })).not.toContain('password');
  });
});

test('describeConfig shows what is in force, and no secret', () => {
  const text = describeConfig({ ...REQUIRED, SEALPOST_PORT: '1234' });
  expect(text).toMatch(/^SEALPOST_PORT=1234 +port to listen on.*[^)]$/m);
  expect(text).toMatch(/^SEALPOST_L1_URL=\(set\) /m);
  expect(text).toMatch(/^SEALPOST_LOG=json .*\(default\)$/m);
  expect(text).not.toContain('password');
  expect(text).not.toContain('key-of-the-operator');
  expect(describeConfig({})).toMatch(/^SEALPOST_SETTLEMENT=\(not set\)/m);
});

test('every setting has a name of its own, a meaning, and a default that it accepts itself', () => {
  const settings = Object.values(SETTINGS);
  expect(new Set(settings.map(({ env }) => env)).size).toBe(settings.length);
  for (const { env, meaning, fallback, parse } of settings) {
    expect(env).toMatch(/^SEALPOST_[A-Z0-9_]+$/);
    expect(meaning.length).toBeGreaterThan(5);
    if (fallback !== undefined) expect(() => parse(fallback)).not.toThrow();
    expect(configReference()).toContain(`| \`${env}\` |`);
  }
});

test('the README shows the reference as it is', () => {
  expect(readFileSync(new URL('../README.md', import.meta.url), 'utf8')).toContain(`\n${configReference()}\n`);
});
