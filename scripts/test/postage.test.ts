import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { settlementAbi } from '@sealpost/contracts';
import { expect, test } from 'vitest';
import { roleAccount, roleKey } from '../accounts.js';
import { l1Client } from '../deployment.js';
import { audit, sealpost, startNetwork, until } from './stage.js';

const PER_MESSAGE = 10n ** 15n;
const PER_BYTE = 10n ** 9n;

test('by the command line: a quote, a refusal that says what to do, a deposit, messages paid for, and the operator has its money', async () => {
  const network = await startNetwork({
    sequencerEnv: { SEALPOST_PRICE_PER_MESSAGE: String(PER_MESSAGE), SEALPOST_PRICE_PER_BYTE: String(PER_BYTE) },
  });
  const run = async (line: string) => {
    const { code, stdout, stderr } = await sealpost(network, line.split(' '));
    return { code, stdout, stderr };
  };
  /** The data of a command that did what it was told to. */
  const data = async <T>(line: string): Promise<T> => {
    const { code, stdout, stderr } = await run(`${line} --json`);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    return (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { data: T }).data;
  };

  const hello = 'send --as bob --to alice hello';
  const free = await run(hello);
  expect(free.code).toBe(1);
  expect(free.stderr).toMatch(/a message costs \d+ wei on lane 0, and nothing may be paid for it/);
  expect(free.stderr).toMatch(/Next: sealpost send … --max-postage 0\.001\d+ /);

  // 59 + 65 of its bundle, 37 of its message, 54 of its seal, and five letters.
  const one = PER_MESSAGE + 220n * PER_BYTE;
  const quote = await data<Record<string, unknown>>('postage quote --as bob --bytes 5 --messages 3');
  expect(quote).toMatchObject({
    perMessage: String(one),
    cost: String(3n * one),
    owed: '0',
    available: '0',
    missing: String(3n * one),
  });
  const shown = await run('postage quote --as bob --bytes 5');
  expect(shown.stdout).toContain('A message of 5 bytes, sealed and sent alone, costs 0.00100022 ETH on lane 0.');
  expect(shown.stderr).toContain('Next: sealpost postage deposit 0.00100022 --lane 0');

  const unfunded = await run(`${hello} --max-postage 0.002`);
  expect(unfunded.code).toBe(1);
  expect(unfunded.stderr).toContain(
    'Next: sealpost postage deposit 0.00100022 --lane 0   (final, it counts: sealpost send --resume)',
  );
  await data('postage deposit 0.1 --as bob');
  const l1 = l1Client(network.l1Url);
  const { number } = await l1.getBlock();
  await until('it to be final', async () => (await l1.getBlock({ blockTag: 'finalized' })).number >= number);
  await until('the sequencer to have seen that', async () => (await run('send --resume --as bob')).code === 0);

  const lines = Array.from({ length: 40 }, (_, at) => `line ${at}`);
  const file = join(network.folder.path, 'lines.txt');
  writeFileSync(file, `${lines.join('\n')}\n`);
  await data(`send --as bob --to alice --file ${file} --max-postage 0.002`);
  const inbox = await run('inbox --as alice --json');
  const texts = inbox.stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { data: { text?: string } }).data.text);
  expect(texts.filter((text) => text !== undefined)).toEqual(['hello', ...lines]);

  // All of it is owed, and comes to the operator, who has it paid out.
  const { owed } = await data<{ owed: string }>('postage quote --as bob');
  const bundle = 40n * PER_MESSAGE + PER_BYTE * BigInt(124 + lines.reduce((sum, line) => sum + 37 + 54 + line.length, 0));
  expect(owed).toBe(String(one + bundle));
  const operator = roleAccount('operator').account.address;
  const state = async (who: string) => {
    const { lanes } = await data<{ lanes: { owed: string; redeemed: string; deposit: string }[] }>(`postage status --as ${who}`);
    return lanes[0] as (typeof lanes)[number];
  };
  const payout = { address: network.settlement, abi: settlementAbi, functionName: 'owed', args: [operator] } as const;
  await until('all of it to be redeemed', async () => String(await l1.readContract(payout)) === owed, 60_000);
  expect(await state('bob')).toMatchObject({ redeemed: owed, deposit: String(10n ** 17n - BigInt(owed)) });
  const key = roleKey(network.folder.file('keys'), 'operator');
  expect(await data(`postage payout --as ${key}`)).toMatchObject({ account: operator.toLowerCase(), amount: owed });
  expect(await audit(network)).toMatchObject({ clean: true, messages: 41 });
});
