import { readFile } from 'node:fs/promises';
import { type Receipt, receiptFromJson, receiptProofFromJson, signedReceipt, ZERO_ADDRESS } from '@sealpost/prover';
import type { CommittedBatch, DemandState } from '../settlement.js';
import { CliError, usageError } from './exit.js';
import { number, plural } from './output.js';
import type { Action, Context } from './run.js';
import { connect, timeoutMs } from './settings.js';
import {
  call,
  check,
  chooseLane,
  confirm,
  type Desk,
  lazily,
  needAnswer,
  openDesk,
  openSender,
  printTable,
  send,
  sentRow,
  whenBlock,
} from './transaction.js';

/** Asks the operator, in the contract, to open an entry, for a fee to whoever does. No answer is an offence (PROTOCOL.md §7). */
export const demand: Action = async (context, _args, options) => {
  const { output } = context;
  needAnswer(context, options);
  const promised = options.receipt === undefined ? undefined : await readReceipt(String(options.receipt));
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = promised?.lane ?? chooseLane(context, desk, options.lane);
  const sequence = needSequence(context, options);
  const account = await openSender(context, desk, options);
  const { batchOfSequence, demandCommitted, demandPromised, ether } = await lazily();
  // What is committed is demanded as that: the contract takes a receipt only for what is not.
  const batch = await batchOfSequence(settlement.l1, lane, sequence, call(context));
  if (batch === undefined && promised === undefined) {
    throw new CliError(
      1,
      'demand.not_committed',
      `entry ${sequence} of lane ${lane} is not committed: only what was promised can be demanded then, by its receipt`,
      `sealpost demand --lane ${lane} --sequence ${sequence} --receipt <file>   (of sealpost proof <id> --wait accepted --out <file>)`,
    );
  }
  const fee = await settlement.answerFee(call(context));
  const term = batch?.header.term ?? (promised as Receipt).term;
  const intent =
    batch === undefined
      ? demandPromised(sequence, signedReceipt(promised as Receipt), fee)
      : demandCommitted(batch.header, Number(sequence - batch.header.firstSequence), fee);
  await check(context, desk, account.address, intent);
  const { answerDelay, penalty } = settlement.parameters;
  await confirm(context, options, [
    `This demands entry ${sequence} of lane ${lane}, ${batch === undefined ? 'promised and not committed' : `of batch ${batch.header.number}`}.`,
    `It costs ${ether(fee)} and the gas: the fee goes to whoever opens the entry within ${plural(answerDelay, 'block')}, or back to you.`,
    `Without an answer the operator of term ${term} loses ${ether(penalty)}, a tenth of it to you, once somebody proves it.`,
  ]);
  const sent = await send(context, desk, account, intent);
  const state = await settlement.demand(lane, term, sequence, call(context));
  printTable(context, await sentenceOf(state), [...(await rows(state)), sentRow(sent)]);
  output.result({ demand: state, sent });
  output.say(`  Next: sealpost answer --lane ${lane} --sequence ${sequence}   (by anybody who has the batch file)`);
  return 0;
};

/** Opens a demanded entry, and earns the fee: by anybody who has its batch file. */
export const answer: Action = async (context, _args, options) => {
  const { output } = context;
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const sequence = needSequence(context, options);
  const { answer: answerCall, batchOfSequence, ether, openingOfFile } = await lazily();
  const batch = await batchOfSequence(settlement.l1, lane, sequence, call(context));
  if (batch === undefined) {
    throw new CliError(
      1,
      'demand.not_committed',
      `entry ${sequence} of lane ${lane} is not committed: there is nothing to show yet`,
      `sealpost status   (how far lane ${lane} is)`,
    );
  }
  const { header } = batch;
  const before = await settlement.demand(lane, header.term, sequence, call(context));
  if (before.demander === ZERO_ADDRESS || before.answered || before.block > before.deadline) {
    throw new CliError(1, 'demand.not_open', await sentenceOf(before), `sealpost demand --lane ${lane} --sequence ${sequence}`);
  }
  const account = await openSender(context, desk, options);
  const file = await batchFileOf(context, desk, batch, options.file);
  const intent = answerCall(openingOfFile(header, file, Number(sequence - header.firstSequence)));
  await check(context, desk, account.address, intent);
  const sent = await send(context, desk, account, intent);
  const state = await settlement.demand(lane, header.term, sequence, call(context));
  printTable(context, `${await sentenceOf(state)} ${account.address.toLowerCase()} earned ${ether(before.fee)} by it.`, [
    ...(await rows(state)),
    sentRow(sent),
  ]);
  output.result({ demand: state, earned: before.fee, sent });
  output.say('  Next: sealpost postage payout   (fetches it)');
  return 0;
};

/**
 * A batch file, from a file or from the sequencer, or mirror, that is configured. Whoever uses it holds it against the header.
 * @throws CliError file.missing
 */
async function batchFileOf(
  context: Context,
  { settings }: Desk,
  { header: { lane, number: batch } }: CommittedBatch,
  file: unknown,
): Promise<Uint8Array> {
  if (file !== undefined) return readWhole(String(file));
  const client = await connect(context, settings);
  return client.batchFile(lane, batch, { signal: context.signal, timeoutMs: timeoutMs(context.flags, 120) });
}

/**
 * A file's bytes.
 * @throws CliError file.missing
 */
export async function readWhole(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new CliError(1, 'file.missing', `${path} cannot be read`, `ls -l ${path}`, { cause });
  }
}

/** A receipt of its own, or in the proof that ends at it. */
async function readReceipt(path: string): Promise<Receipt> {
  const text = new TextDecoder().decode(await readWhole(path));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CliError(1, 'file.malformed', `${path}: expected a receipt as JSON`, `head ${path}`, { cause });
  }
  const isProof = typeof value === 'object' && value !== null && Object.hasOwn(value, 'receipt');
  return isProof ? receiptProofFromJson(value).receipt : receiptFromJson(value);
}

function needSequence({ output }: Context, options: Record<string, unknown>): bigint {
  if (options.sequence !== undefined) return options.sequence as bigint;
  throw usageError('which entry? --sequence takes its place in the lane', `sealpost ${output.command} --sequence 0`);
}

async function sentenceOf({ lane, term, sequence, demander, deadline, answered, charged, block }: DemandState): Promise<string> {
  const entry = `Entry ${sequence} of lane ${lane}, term ${term},`;
  if (demander === ZERO_ADDRESS) return `${entry} was not demanded.`;
  if (answered) return `${entry} was demanded and is opened.`;
  if (block <= deadline) return `${entry} is demanded, to be opened by ${whenBlock(deadline, block)}.`;
  return `${entry} was demanded and not opened by block ${number(deadline)}${charged ? ': the penalty is taken' : ''}.`;
}

async function rows({ demander, fee, deadline, block }: DemandState): Promise<(readonly [string, string])[]> {
  const { ether } = await lazily();
  return [
    ['demanded by', demander],
    ['fee', ether(fee)],
    ['deadline', whenBlock(deadline, block)],
    ['at', `block ${number(block)}`],
  ];
}
