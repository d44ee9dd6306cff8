import { createInterface } from 'node:readline';
import type { LocalAccount } from 'viem';
import type { Hex } from '../index.js';
import { readAccountAddress } from '../node.js';
import type { Sent, Settlement, SettlementCall } from '../settlement.js';
import { CliError, usageError } from './exit.js';
import { number } from './output.js';
import type { Context } from './run.js';
import { chooseKey, connectSettlement, openAccount, readSettings, type Settings, timeoutMs } from './settings.js';

/** Lanes that are shown without being asked for one by one. */
const MAX_LANES_SHOWN = 16;
/** Some blocks of the main network. */
const SEND_SECONDS = 180;

/** Whose time limit one question to the L1 has. */
export const call = ({ signal, flags }: Context) => ({ signal, timeoutMs: timeoutMs(flags, 15) });
/** viem and the whole ABI: loaded by the commands that need them only. */
export const lazily = () => import('../settlement.js');

/** What every command about money works with. */
export interface Desk {
  readonly settings: Settings;
  readonly settlement: Settlement;
}

export async function openDesk(context: Context): Promise<Desk> {
  const settings = await readSettings(context);
  return { settings, settlement: await connectSettlement(context, settings) };
}

/** The lane that is meant: the only one there is need not be named. */
export function chooseLane(context: Context, { settlement }: Desk, lane: unknown): number {
  const { laneCount } = settlement.view;
  if (lane === undefined && laneCount === 1) return 0;
  if (lane === undefined) {
    throw usageError(
      `which lane? the contract has ${laneCount}: 0 to ${laneCount - 1}`,
      `sealpost ${context.output.command} --lane 0`,
    );
  }
  if (Number(lane) >= laneCount) {
    const there = laneCount === 1 ? 'only lane 0' : `lanes 0 to ${laneCount - 1}`;
    throw usageError(`there is no lane ${lane}: the contract has ${there}`, `sealpost ${context.output.command} --lane 0`);
  }
  return Number(lane);
}

/** The lane that was asked for, else all, while they are few enough to read. */
export function chooseLanes(context: Context, desk: Desk, lane: unknown): number[] {
  const { laneCount } = desk.settlement.view;
  if (lane !== undefined || laneCount > MAX_LANES_SHOWN) return [chooseLane(context, desk, lane)];
  return Array.from({ length: laneCount }, (_, at) => at);
}

/**
 * An address that a person typed: money goes there, so a mistyped checksum is refused.
 * @throws CliError
 */
export async function readAddress(context: Context, text: unknown, flag: string): Promise<Hex> {
  const { isAddress, zeroAddress } = await import('viem');
  if (typeof text !== 'string' || !isAddress(text) || text === zeroAddress) {
    const isMistyped = /^0x[0-9a-fA-F]{40}$/.test(String(text)) && text !== zeroAddress;
    throw usageError(
      `${flag}: expected an address, got ${String(text).slice(0, 80)}${isMistyped ? ', whose checksum is false' : ''}`,
      `sealpost ${context.output.command} --help`,
    );
  }
  return text.toLowerCase() as Hex;
}

/** The address of whoever is meant: an address, a name, or a key file, of which no secret is needed. */
export async function findAddress(context: Context, { settings }: Desk, who: string | undefined, flag: string): Promise<Hex> {
  if (who?.startsWith('0x')) return readAddress(context, who, flag);
  const { path } = await chooseKey(context, settings, who);
  return (await readAccountAddress(path)).toLowerCase() as Hex;
}

/** Whose key signs: `--as`. */
export async function openSender(context: Context, { settings }: Desk, options: Record<string, unknown>): Promise<LocalAccount> {
  const key = await chooseKey(context, settings, options.as as string | undefined);
  return openAccount(context, key, options);
}

/**
 * Said first by what will ask, before anything is read or opened.
 * @throws CliError usage if there is neither `--yes` nor anybody to ask
 */
export function needAnswer({ output, flags }: Context, options: Record<string, unknown>): void {
  if (options.yes === true || (flags.input !== false && process.stdin.isTTY === true)) return;
  throw usageError('this asks before it sends, and there is nobody to ask', `sealpost ${output.command} … --yes`);
}

/**
 * Says what will be, and goes on only after a yes: by `--yes`, or of a person at a terminal.
 * @throws CliError usage, declined
 */
export async function confirm(context: Context, options: Record<string, unknown>, lines: readonly string[]): Promise<void> {
  const { output, signal } = context;
  needAnswer(context, options);
  // A person who is asked must see what for, also with -q.
  for (const line of lines) options.yes === true ? output.say(line) : process.stderr.write(`${line}\n`);
  if (options.yes === true) return;
  const answer = await ask('Send it? [y/N] ', signal);
  if (!/^y(es)?$/i.test(answer.trim())) {
    throw new CliError(1, 'declined', 'nothing was sent', `sealpost ${output.command} … --yes`);
  }
}

function ask(question: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    const end = (finish: () => void) => {
      signal.removeEventListener('abort', onAbort);
      lines.off('close', onClose);
      lines.close();
      finish();
    };
    const onAbort = () => end(() => reject(signal.reason));
    // The end of the input is no yes.
    const onClose = () => end(() => resolve(''));
    signal.addEventListener('abort', onAbort, { once: true });
    lines.once('close', onClose);
    // In raw mode Ctrl-C is a key, not a signal.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    lines.question(question, (answer) => end(() => resolve(answer)));
  });
}

/** Would the contract take it? Asked before a person is. */
export const check = (context: Context, { settlement }: Desk, from: Hex, intent: SettlementCall): Promise<void> =>
  settlement.check(from, intent, call(context));

/** Sends a call and waits for its block. */
export async function send(context: Context, { settlement }: Desk, account: LocalAccount, intent: SettlementCall): Promise<Sent> {
  const { output, flags, signal } = context;
  // Who presses Ctrl-C from here on knows what may still come.
  const onSigned = (hash: Hex) => output.say(`sending ${intent.functionName} as ${account.address.toLowerCase()}: ${hash} …`);
  return settlement.send(account, intent, { signal, timeoutMs: timeoutMs(flags, SEND_SECONDS), onSigned });
}

/** A command's data for people: a sentence, then aligned lines. */
export function printTable(context: Context, sentence: string, rows: readonly (readonly [string, string])[]): void {
  const { output } = context;
  output.print(sentence);
  const width = 2 + Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) output.print(`  ${name.padEnd(width)}${value}`);
}

/** The last line of what was sent. */
export const sentRow = ({ transactionHash, blockNumber }: Sent): readonly [string, string] => [
  'transaction',
  `${transactionHash}, in block ${number(blockNumber)}`,
];

/** `at block 1,200, in 30 blocks`, as seen from `block`. */
export const whenBlock = (from: bigint, block: bigint): string =>
  from > block
    ? `block ${number(from)}, in ${number(from - block)} block${from - block === 1n ? '' : 's'}`
    : `block ${number(from)}, which is there`;
