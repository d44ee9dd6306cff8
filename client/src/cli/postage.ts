import { decodeBatchFile, type Opening } from '@sealpost/prover';
import type { Hex } from '../index.js';
import type { PostageState } from '../settlement.js';
import { failedStep } from '../verify.js';
import { readWhole } from './demand.js';
import { CliError, usageError } from './exit.js';
import { number, plural } from './output.js';
import type { Action, Context } from './run.js';
import { connect, need } from './settings.js';
import {
  call,
  check,
  chooseLane,
  chooseLanes,
  confirm,
  type Desk,
  findAddress,
  lazily,
  openDesk,
  openSender,
  printTable,
  readAddress,
  send,
  sentRow,
  whenBlock,
} from './transaction.js';

type Ether = (wei: bigint) => string;

export const postageStatus: Action = async (context, _args, options) => {
  const { output } = context;
  const desk = await openDesk(context);
  const lanes = chooseLanes(context, desk, options.lane);
  const sender = await findAddress(context, desk, (options.as ?? undefined) as string | undefined, '--as');
  const { ether } = await lazily();
  const shown: PostageState[] = [];
  for (const lane of lanes) {
    const state = await desk.settlement.postage(lane, sender, call(context));
    if (shown.length > 0) output.print();
    printTable(context, sentence(state, ether), rows(state, ether));
    shown.push(state);
  }
  const { chainId, settlement } = desk.settlement.view;
  output.result({ settlement, chainId, sender, lanes: shown });
  return 0;
};

export const postageQuote: Action = async (context, _args, options) => {
  const { output } = context;
  const desk = await openDesk(context);
  const url = need(desk.settings.url, 'sequencer', '--url', 'SEALPOST_URL');
  const lane = chooseLane(context, desk, options.lane);
  const sender = await findAddress(context, desk, (options.as ?? undefined) as string | undefined, '--as');
  const [{ quotePostage, priceOf }, { sealedOverhead }, { ether }] = await Promise.all([
    import('../postage.js'),
    import('../seal.js'),
    lazily(),
  ]);
  const [{ price, owed }, state] = await Promise.all([
    quotePostage({ url, sender, lane }, call(context)),
    desk.settlement.postage(lane, sender, call(context)),
  ]);
  const [messages, bytes] = [BigInt(options.messages as number), options.bytes as number];
  // To a key of the usual kind: X25519.
  const one = priceOf(price, [bytes + sealedOverhead(`0x${'00'.repeat(32)}`)]);
  const { deposit, redeemed, withdrawing } = state;
  const carried = redeemed + (deposit > withdrawing ? deposit - withdrawing : 0n);
  const available = carried > owed ? carried - owed : 0n;
  const cost = messages * one;
  const missing = cost > available ? cost - available : 0n;
  const isFree = price.perMessage + price.perByte === 0n;
  printTable(
    context,
    isFree
      ? `Messages are free on lane ${lane}.`
      : `A message of ${plural(bytes, 'byte')}, sealed and sent alone, costs ${ether(one)} on lane ${lane}.`,
    [
      ['price', `${ether(price.perMessage)} a message, ${ether(price.perByte)} a byte of its bundle`],
      [plural(messages, 'message'), ether(cost)],
      ['owed so far', `${ether(owed)}, of which ${ether(owed > redeemed ? owed - redeemed : 0n)} are not redeemed yet`],
      ['available', one === 0n ? ether(available) : `${ether(available)}, enough for ${plural(available / one, 'such message')}`],
    ],
  );
  output.result({ lane, sender, price, messages, bytes, perMessage: one, cost, owed, available, missing, state });
  if (isFree) return 0;
  if (missing > 0n)
    output.say(`  Next: sealpost postage deposit ${ether(missing).split(' ')[0]} --lane ${lane}   (it counts once it is final)`);
  else output.say(`  Next: sealpost send --max-postage ${ether(one).split(' ')[0]} …`);
  return 0;
};

export const postageDeposit: Action = async (context, [amount], options) => {
  const { output } = context;
  const wei = amount as bigint;
  if (wei === 0n) throw usageError('a deposit of nothing changes nothing', 'sealpost postage deposit 0.1');
  const given = options.for === undefined ? undefined : await readAddress(context, options.for, '--for');
  const desk = await openDesk(context);
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const sender = given ?? (account.address.toLowerCase() as Hex);
  const { depositPostage, ether } = await lazily();
  const sent = await send(context, desk, account, depositPostage(lane, sender, wei));
  const state = await desk.settlement.postage(lane, sender, call(context));
  printTable(context, `${sender} has ${ether(wei)} more for its postage on lane ${lane}.`, [
    ...rows(state, ether),
    sentRow(sent),
  ]);
  output.result({ lane, sender, deposited: wei, state, sent });
  return 0;
};

/** With an amount it begins a withdrawal; without, it fetches the one whose delay is over. */
export const postageWithdraw: Action = async (context, [amount], options) => {
  const { output } = context;
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const sender = account.address.toLowerCase() as Hex;
  const { ether, requestWithdrawal, withdrawPostage } = await lazily();
  const before = await settlement.postage(lane, sender, call(context));
  if (amount === undefined) {
    const intent = withdrawPostage(lane);
    await check(context, desk, sender, intent);
    const sent = await send(context, desk, account, intent);
    const state = await settlement.postage(lane, sender, call(context));
    const fetched = before.deposit - state.deposit;
    printTable(context, `${ether(fetched)} of the deposit on lane ${lane} are ${sender}'s again, and wait in the contract.`, [
      ...rows(state, ether),
      sentRow(sent),
    ]);
    output.result({ lane, sender, withdrawn: fetched, state, sent });
    output.say('  Next: sealpost postage payout   (fetches it)');
    return 0;
  }
  const wei = amount as bigint;
  if (wei > before.deposit) {
    throw usageError(
      `the deposit of ${sender} on lane ${lane} is ${ether(before.deposit)}, ${ether(wei)} cannot be withdrawn`,
      `sealpost postage withdraw ${ether(before.deposit).split(' ')[0]} --lane ${lane}`,
    );
  }
  const intent = requestWithdrawal(lane, wei);
  if (before.withdrawableFrom !== 0n) {
    const { withdrawing, withdrawableFrom, block } = before;
    await confirm(context, options, [
      `A withdrawal of ${ether(withdrawing)} is under way, to be fetched from ${whenBlock(withdrawableFrom, block)}.`,
      wei === 0n
        ? 'This ends it.'
        : `This takes its place, and the delay of ${plural(settlement.parameters.withdrawDelay, 'block')} begins again.`,
    ]);
  }
  const sent = await send(context, desk, account, intent);
  const state = await settlement.postage(lane, sender, call(context));
  printTable(
    context,
    wei === 0n
      ? `No withdrawal is under way on lane ${lane} any more.`
      : `${ether(wei)} of the deposit on lane ${lane} can be fetched from block ${number(state.withdrawableFrom)} on.`,
    [...rows(state, ether), sentRow(sent)],
  );
  output.result({ lane, sender, withdrawing: wei, state, sent });
  if (wei !== 0n) {
    output.say('Until then the operator can still redeem what it delivered.');
    output.say(`  Next: sealpost postage withdraw --lane ${lane}   (from block ${number(state.withdrawableFrom)} on)`);
  }
  return 0;
};

/** Pays the operator what a sender owes with its latest committed bundle: that is the voucher, and whoever has it may redeem it. */
export const postageRedeem: Action = async (context, _args, options) => {
  const { output } = context;
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const sender = await findAddress(context, desk, options.sender as string | undefined, '--sender');
  const account = await openSender(context, desk, options);
  const { ether, redeem } = await lazily();
  const opening = await voucherOf(context, desk, lane, sender, options);
  const { header, index, bundle } = opening;
  const intent = redeem(opening);
  const before = await settlement.postage(lane, sender, call(context));
  await check(context, desk, account.address, intent);
  const sent = await send(context, desk, account, intent);
  const state = await settlement.postage(lane, sender, call(context));
  const paid = state.redeemed - before.redeemed;
  printTable(context, `The operator of term ${header.term} got ${ether(paid)} of the deposit of ${sender} on lane ${lane}.`, [
    ['voucher', `entry ${header.firstSequence + BigInt(index)}, which owes ${ether(bundle.postage)} in all`],
    ...rows(state, ether),
    sentRow(sent),
  ]);
  output.result({ lane, sender, sequence: header.firstSequence + BigInt(index), paid, state, sent });
  return 0;
};

/** The sender's latest committed entry: out of a batch file, or as the sequencer proves it. */
async function voucherOf(
  context: Context,
  desk: Desk,
  lane: number,
  sender: Hex,
  { file }: Record<string, unknown>,
): Promise<Opening> {
  const { committedBatch, latestEntryOf, openingOfFile, openingOfProof } = await lazily();
  const { l1 } = desk.settlement;
  if (file !== undefined) {
    const bytes = await readWhole(String(file));
    const { header } = await committedBatch(l1, lane, decodeBatchFile(bytes).number, call(context));
    const latest = latestEntryOf(sender, bytes);
    if (latest !== undefined) return openingOfFile(header, bytes, latest.index);
    throw new CliError(1, 'voucher.missing', `${file} has no entry of ${sender}`, 'sealpost postage redeem --sender <who>');
  }
  const client = await connect(context, desk.settings);
  const { nonce } = await client.account(sender, { lane, ...call(context) });
  if (nonce === 0n) {
    throw new CliError(1, 'voucher.missing', `${sender} sent nothing on lane ${lane}`, 'sealpost postage status');
  }
  const proof = await client.proof({ sender, lane, nonce: nonce - 1n }, call(context));
  await client.verify(proof, call(context)).catch((error) => {
    if (failedStep(error) !== 'slot') throw error;
    throw new CliError(
      4,
      'voucher.not_committed',
      `the latest bundle of ${sender} is not committed yet`,
      'the same command again, in a moment',
    );
  });
  return openingOfProof(proof);
}

export const postagePayout: Action = async (context, _args, options) => {
  const { output } = context;
  const given = options.account === undefined ? undefined : await readAddress(context, options.account, '--account');
  const desk = await openDesk(context);
  const account = await openSender(context, desk, options);
  const to = given ?? (account.address.toLowerCase() as Hex);
  const { ether, payOut } = await lazily();
  const intent = payOut(to);
  await check(context, desk, account.address, intent);
  const amount = await desk.settlement.owed(to, call(context));
  const sent = await send(context, desk, account, intent);
  printTable(context, `The contract paid ${to} ${ether(amount)}.`, [sentRow(sent)]);
  output.result({ account: to, amount, sent });
  return 0;
};

function sentence({ sender, lane, deposit, withdrawing, withdrawableFrom, block }: PostageState, ether: Ether): string {
  if (deposit === 0n) return `${sender} has no deposit on lane ${lane}.`;
  const has = `${sender} has a deposit of ${ether(deposit)} on lane ${lane}`;
  if (withdrawableFrom === 0n) return `${has}.`;
  return `${has}, of which ${ether(withdrawing)} ${block < withdrawableFrom ? 'are on their way back' : 'can be fetched'}.`;
}

const rows = (state: PostageState, ether: Ether): (readonly [string, string])[] => [
  ['deposit', ether(state.deposit)],
  ['redeemed', `${ether(state.redeemed)}, by operators so far`],
  [
    'withdrawal',
    state.withdrawableFrom === 0n
      ? 'none under way'
      : `${ether(state.withdrawing)}, to be fetched from ${whenBlock(state.withdrawableFrom, state.block)}`,
  ],
  ['owed', ether(state.owed)],
  ['at', `block ${number(state.block)}`],
];
