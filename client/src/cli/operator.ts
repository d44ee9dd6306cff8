import { ZERO_ADDRESS } from '@sealpost/prover';
import type { Hex } from '../index.js';
import type { LaneState, OperatorState, Settlement, SettlementParameters } from '../settlement.js';
import { usageError } from './exit.js';
import { number, plural } from './output.js';
import type { Action, Context } from './run.js';
import { openAccount } from './settings.js';
import {
  call,
  check,
  chooseLane,
  chooseLanes,
  confirm,
  findAddress,
  lazily,
  needAnswer,
  openDesk,
  openSender,
  printTable,
  readAddress,
  send,
  sentRow,
  whenBlock,
} from './transaction.js';

export const operatorStatus: Action = async (context, _args, options) => {
  const { output } = context;
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lanes = chooseLanes(context, desk, options.lane);
  const { ether, takeoverFrom } = await lazily();
  const { parameters } = settlement;
  const other =
    options.operator === undefined ? undefined : await findAddress(context, desk, String(options.operator), '--operator');
  const shown: object[] = [];
  for (const lane of lanes) {
    const state = await settlement.lane(lane, call(context));
    if (shown.length > 0) output.print();
    const about =
      other === undefined || other === state.operator.address ? undefined : await settlement.operator(lane, other, call(context));
    printTable(context, await laneSentence(state, parameters), await laneRows(state, parameters));
    if (about !== undefined) {
      output.print();
      printTable(context, otherSentence(lane, about, parameters, ether), await operatorRows(about, state.block, parameters));
    }
    shown.push({
      ...state,
      operator: withBondFreeFrom(state.operator, parameters),
      takeoverFrom: takeoverFrom(state, parameters) ?? null,
      oldest: state.oldest ?? null,
      ...(about === undefined ? {} : { other: withBondFreeFrom(about, parameters) }),
    });
  }
  const { chainId, settlement: address } = settlement.view;
  output.result({ settlement: address, chainId, parameters, lanes: shown });
  return 0;
};

export const operatorRegister: Action = async (context, _args, options) => {
  const { output } = context;
  const poster = options.poster === undefined ? undefined : await readAddress(context, options.poster, '--poster');
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const operator = account.address.toLowerCase() as Hex;
  const { ether, register } = await lazily();
  const before = await settlement.operator(lane, operator, call(context));
  const isNew = before.poster === ZERO_ADDRESS;
  if (isNew && (poster === undefined || options.signerKey === undefined)) {
    throw usageError(
      `${operator} is new on lane ${lane}: a posting account, a receipt signer's key file and a bond of at least ${ether(settlement.parameters.minBond)} are needed`,
      `sealpost operator register --lane ${lane} --bond <ether> --poster <address> --signer-key <file>`,
    );
  }
  const bond = (options.bond as bigint | undefined) ?? 0n;
  if (!isNew && poster === undefined && options.signerKey === undefined && bond === 0n) {
    throw usageError(
      `${operator} is registered on lane ${lane}, and nothing is to change`,
      `sealpost operator status --lane ${lane}`,
    );
  }
  const signer =
    options.signerKey === undefined ? undefined : await openSigner(context, settlement, { lane, operator }, options.signerKey);
  const intent = register(lane, { poster: poster ?? before.poster, bond, ...(signer === undefined ? {} : { signer }) });
  const sent = await send(context, desk, account, intent);
  const after = await settlement.operator(lane, operator, call(context));
  const rotated = !isNew && after.signer !== before.signer;
  printTable(
    context,
    isNew
      ? `${operator} is an operator of lane ${lane} now, with a bond of ${ether(after.bond)}.`
      : rotated
        ? `${operator} has another receipt signer on lane ${lane} from this block on.`
        : `${operator} is registered on lane ${lane} as it is to be, with a bond of ${ether(after.bond)}.`,
    [...(await operatorRows(after, sent.blockNumber, settlement.parameters)), sentRow(sent)],
  );
  output.result({ lane, operator: after, rotated, retired: rotated ? before.signer : null, sent });
  if (rotated) {
    const binds = settlement.parameters.maxIncludeDelay + settlement.parameters.evidenceWindow;
    output.say(
      `Receipts of ${before.signer} bind for ${plural(binds, 'more block')}. Start the sequencer with the new key file now.`,
    );
  }
  const state = await settlement.lane(lane, call(context));
  if (!state.running || state.operator.address !== operator) {
    output.say(`It runs nothing yet. Next: sealpost operator takeover --lane ${lane}, when the lane may be taken.`);
  }
  return 0;
};

/** A receipt signer, with its own signature that it is the operator's. */
async function openSigner(context: Context, settlement: Settlement, who: { lane: number; operator: Hex }, file: unknown) {
  const path = String(file);
  // The passphrase that the flags give is that of the operator's key.
  const signer = await openAccount(context, { name: path, path, development: false }, {});
  const { signRegistration } = await lazily();
  const registration = await signRegistration(settlement.domainSeparator, { ...who, signer });
  return { address: signer.address.toLowerCase() as Hex, registration };
}

/** Anybody may add to any operator's bond: after a penalty, say, so that nobody takes its lane. */
export const operatorBond: Action = async (context, [amount], options) => {
  const { output } = context;
  const wei = amount as bigint;
  if (wei === 0n) throw usageError('a bond of nothing changes nothing', 'sealpost operator bond 1');
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const operator =
    options.operator === undefined
      ? (account.address.toLowerCase() as Hex)
      : await findAddress(context, desk, String(options.operator), '--operator');
  const { addBond, ether } = await lazily();
  const intent = addBond(lane, operator, wei);
  await check(context, desk, account.address, intent);
  const sent = await send(context, desk, account, intent);
  const after = await settlement.operator(lane, operator, call(context));
  printTable(context, `${operator} has ${ether(wei)} more of a bond on lane ${lane}.`, [
    ...(await operatorRows(after, sent.blockNumber, settlement.parameters)),
    sentRow(sent),
  ]);
  output.result({ lane, operator: withBondFreeFrom(after, settlement.parameters), added: wei, sent });
  return 0;
};

export const operatorExit: Action = async (context, _args, options) => {
  const { output } = context;
  needAnswer(context, options);
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const operator = account.address.toLowerCase() as Hex;
  const { ether, requestExit } = await lazily();
  const intent = requestExit(lane);
  const state = await settlement.lane(lane, call(context));
  await check(context, desk, operator, intent);
  const { exitDelay, maxIncludeDelay } = settlement.parameters;
  const runs = state.running && state.operator.address === operator;
  const { bond } = await settlement.operator(lane, operator, call(context));
  await confirm(context, options, [
    `${operator} leaves lane ${lane}: this cannot be taken back.`,
    runs
      ? `It runs the lane: its receipts end at once, its term ${plural(maxIncludeDelay, 'block')} later; what it promised is to be committed until then.`
      : 'It does not run the lane.',
    `Its bond of ${ether(bond)} is free ${plural(exitDelay, 'block')} later, about block ${number(state.block + exitDelay)}.`,
  ]);
  const sent = await send(context, desk, account, intent);
  const after = await settlement.operator(lane, operator, call(context));
  const { endBlock } = await settlement.lane(lane, call(context));
  const free = after.exitRequestedAt + exitDelay;
  printTable(context, `${operator} asked to leave lane ${lane}; its bond is free from block ${number(free)} on.`, [
    ...(runs ? ([['term ends', whenBlock(endBlock, sent.blockNumber)]] as const) : []),
    ...(await operatorRows(after, sent.blockNumber, settlement.parameters)),
    sentRow(sent),
  ]);
  output.result({ lane, operator: withBondFreeFrom(after, settlement.parameters), termEndBlock: runs ? endBlock : null, sent });
  output.say(
    'Until then its entries can still be demanded, and its sequencer ends with the lane: keep a copy of the batch files, and answer.',
  );
  output.say('  Next: sealpost watch --mirror <folder> --answer --as <the same>   (from now on)');
  output.say(`        sealpost operator withdraw --lane ${lane}   (from block ${number(free)} on)`);
  return 0;
};

export const operatorWithdraw: Action = async (context, _args, options) => {
  const { output } = context;
  needAnswer(context, options);
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const operator = account.address.toLowerCase() as Hex;
  const { ether, withdrawBond } = await lazily();
  const intent = withdrawBond(lane);
  await check(context, desk, operator, intent);
  const { bond } = await settlement.operator(lane, operator, call(context));
  await confirm(context, options, [`The bond of ${ether(bond)} on lane ${lane} becomes a payout of ${operator}.`]);
  const sent = await send(context, desk, account, intent);
  const { owed } = await settlement.operator(lane, operator, call(context));
  printTable(context, `The bond of ${ether(bond)} is ${operator}'s again, and waits in the contract.`, [
    ['owed', ether(owed)],
    sentRow(sent),
  ]);
  output.result({ lane, operator, bond, owed, sent });
  output.say('  Next: sealpost postage payout   (fetches it)');
  return 0;
};

async function laneSentence(state: LaneState, parameters: SettlementParameters): Promise<string> {
  const { lane, operator, term, endBlock, block } = state;
  const { ether, takeoverFrom } = await lazily();
  const who = operator.address;
  if (!state.running) {
    const how = state.slashed ? 'lost its bond' : 'ended';
    return `Lane ${lane} has no operator: term ${term}, of ${who}, ${how} at block ${number(endBlock)}. A bonded operator may take it over.`;
  }
  if (operator.poster === ZERO_ADDRESS) {
    return `Lane ${lane} is given to ${who}, which is not registered: nobody can commit, and a bonded operator may take it over.`;
  }
  const runs = `Lane ${lane} is run by ${who}, in term ${term}`;
  const from = takeoverFrom(state, parameters);
  if (from !== undefined && block >= from) return `${runs}; others may take it over, for a forced entry that is overdue.`;
  if (operator.bond < parameters.minBond) {
    return `${runs}; others may take it over, for a bond of ${ether(operator.bond)} where ${ether(parameters.minBond)} are needed.`;
  }
  if (endBlock !== 0n) return `${runs}, and leaves it at block ${number(endBlock)}.`;
  return `${runs}, with a bond of ${ether(operator.bond)}.`;
}

export async function laneRows(state: LaneState, parameters: SettlementParameters): Promise<(readonly [string, string])[]> {
  const { operator, block, term, endBlock, oldest, waiting } = state;
  const { ether, takeoverFrom } = await lazily();
  const end = endBlock === 0n ? '' : state.running ? `, until ${whenBlock(endBlock, block)}` : ', over';
  const from = takeoverFrom(state, parameters);
  const forced =
    oldest === undefined
      ? 'none waits'
      : `${number(waiting)} wait${waiting === 1n ? 's' : ''}; the oldest, ${oldest.index}, ${
          block > oldest.deadline
            ? `is overdue by ${plural(block - oldest.deadline, 'block')}`
            : `is to be committed by ${whenBlock(oldest.deadline, block)}`
        }`;
  const takeover = !state.running || operator.bond < parameters.minBond || (from !== undefined && block >= from);
  return [
    ['operator', operator.address],
    ['term', `${term}, from entry ${number(state.firstSequence)}${end}; committed up to ${number(state.nextSequence)}`],
    ...(await operatorRows(operator, block, parameters)).slice(0, -1),
    ['forced entries', forced],
    ['takeover', takeover ? 'allowed now' : from === undefined ? 'not allowed' : `allowed from ${whenBlock(from, block)}`],
    [
      'owed',
      `${ether(operator.owed)}${
        operator.poster === operator.address || operator.poster === ZERO_ADDRESS
          ? ''
          : `, and ${ether(state.posterOwed)} to the posting account`
      }`,
    ],
    ['at', `block ${number(block)}`],
  ];
}

async function operatorRows(
  state: OperatorState,
  block: bigint,
  parameters: SettlementParameters,
): Promise<(readonly [string, string])[]> {
  const { ether } = await lazily();
  const { minBond } = parameters;
  const isLeaving = state.exitRequestedAt !== 0n;
  return [
    ['bond', `${ether(state.bond)}, ${state.bond < minBond ? 'below' : 'at least'} the ${ether(minBond)} that are needed`],
    [
      'exit',
      isLeaving
        ? `asked for at block ${number(state.exitRequestedAt)}; the bond is free from ${whenBlock(state.exitRequestedAt + parameters.exitDelay, block)}`
        : 'not asked for',
    ],
    ['posting account', state.poster === ZERO_ADDRESS ? 'none' : state.poster],
    ['receipt signer', state.signer === ZERO_ADDRESS ? 'none' : state.signer],
    ['owed', ether(state.owed)],
  ];
}

function otherSentence(
  lane: number,
  state: OperatorState,
  { minBond }: SettlementParameters,
  ether: (wei: bigint) => string,
): string {
  const { address, bond } = state;
  if (state.poster === ZERO_ADDRESS) return `${address} never registered on lane ${lane}.`;
  if (state.exitRequestedAt !== 0n) return `${address} leaves lane ${lane}, which it does not run.`;
  return bond < minBond
    ? `${address} is registered on lane ${lane}, with a bond of ${ether(bond)}: too little to run it.`
    : `${address} is registered on lane ${lane}, and does not run it.`;
}

/** With the block of the bond, for programs. */
const withBondFreeFrom = (state: OperatorState, { exitDelay }: SettlementParameters) => ({
  ...state,
  bondFreeFrom: state.exitRequestedAt === 0n ? null : state.exitRequestedAt + exitDelay,
});
