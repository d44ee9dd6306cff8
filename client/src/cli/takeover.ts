import type { LocalAccount } from 'viem';
import type { Hex } from '../index.js';
import { fileMirror } from '../node.js';
import type { LaneState, Settlement, SettlementCall, SettlementParameters, TakeoverPlan } from '../settlement.js';
import type { DemandPlan, LaneFiles, MissingEntry, MissingFile } from '../takeover.js';
import { usageError } from './exit.js';
import { laneRows } from './operator.js';
import { number, plural } from './output.js';
import type { Action, Context } from './run.js';
import { nativeSha256, readFromBlock } from './settings.js';
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
} from './transaction.js';

/** Takes a lane over once every entry of it is to be had, or is no evidence any more (PROTOCOL.md §7). */
export const operatorTakeover: Action = async (context, _args, options) => {
  const { output } = context;
  readFromBlock(context, options);
  if (options.maxDemands === 0) {
    throw usageError('--max-demands: expected at least 1', 'sealpost operator takeover --demand --max-demands 16');
  }
  needAnswer(context, options);
  const desk = await openDesk(context);
  const { settlement } = desk;
  const lane = chooseLane(context, desk, options.lane);
  const account = await openSender(context, desk, options);
  const operator = account.address.toLowerCase() as Hex;
  const { ether, planTakeover, takeOver } = await lazily();
  const intent = takeOver(lane);
  const planNow = async () => {
    const state = await settlement.lane(lane, call(context));
    const plan = planTakeover(state, await settlement.operator(lane, operator, call(context)), settlement.parameters);
    if (!plan.allowed) throw plan.error;
    await check(context, desk, operator, intent);
    return { state, plan };
  };
  // Files may take long to fetch, and demands cost: not for a lane that cannot be had.
  await planNow();
  const files = await findFiles(context, desk, lane, options);
  const isWhole = files.missing.length === 0;
  if (!isWhole && options.demand === true) await demandMissing(context, desk, account, files, options);
  else if (!isWhole && options.anyway !== true) throw await missingError(lane, files, undefined);
  const { state, plan } = await planNow();
  if (!isWhole) {
    output.warn(
      `the files of ${plural(files.missing.length, 'batch', 'batches')} of lane ${lane} are missing: the sequencer's import cannot pass them`,
    );
  }
  await confirm(context, options, [
    `Lane ${lane} may be taken: ${why(plan, state, settlement.parameters, ether)}.`,
    plan.ousted === undefined
      ? 'It costs nobody anything.'
      : `It costs ${plan.ousted} ${ether(plan.taken)} of its bond of ${ether(state.operator.bond)}; ${ether(plan.reward)} of that go to ${operator}, the rest is burned.`,
    `What was accepted on the lane and is not committed is dropped: the log goes on at entry ${number(state.nextSequence)}.`,
  ]);
  const sent = await send(context, desk, account, intent);
  const after = await settlement.lane(lane, call(context));
  printTable(context, `${operator} runs lane ${lane} now: term ${after.term} begins at entry ${number(after.firstSequence)}.`, [
    ...(await laneRows(after, settlement.parameters)),
    sentRow(sent),
  ]);
  output.result({
    lane,
    term: after.term,
    firstSequence: after.firstSequence,
    operator: after.operator,
    cause: plan.cause,
    ousted: plan.ousted ?? null,
    taken: plan.taken,
    reward: plan.reward,
    batches: files.number,
    mirrored: files.mirrored,
    missing: files.missing.map(({ header }) => header.number),
    sent,
  });
  if (after.firstSequence > files.nextSequence) {
    output.warn(`entries ${files.nextSequence} to ${after.firstSequence - 1n} were committed meanwhile: fetch their files now`);
    output.say(`  Next: sealpost watch --lane ${lane} --mirror <folder>`);
  }
  return 0;
};

/** Looks for the lane's batch files in the mirror first, then on servers, and says what there is. */
async function findFiles(
  context: Context,
  { settlement, settings }: Desk,
  lane: number,
  options: Record<string, unknown>,
): Promise<LaneFiles> {
  const { output, signal } = context;
  const { httpSource } = await import('../watch.js');
  const { findLaneFiles } = await import('../takeover.js');
  const mirror = options.mirror === undefined ? undefined : fileMirror(String(options.mirror), settlement.view);
  const urls = (options.server as string[] | undefined) ?? (settings.url === undefined ? [] : [settings.url.value]);
  const files = await findLaneFiles(settlement.l1, lane, {
    sources: [...(mirror === undefined ? [] : [mirror]), ...urls.map((url) => httpSource(url))],
    hash: nativeSha256,
    fromBlock: readFromBlock(context, options),
    onFile: async (header, file, source) => {
      if (mirror === undefined || source === mirror.name) return false;
      await mirror.put(header, file);
      return true;
    },
    onProgress: (batch, of, missing) => {
      const wanting = missing === 0 ? '' : `, ${number(missing)} missing`;
      output.progress(`batch file ${number(batch)} of ${number(of)}${wanting}`, Number(batch), Number(of));
    },
    signal,
  });
  const there = files.number - BigInt(files.missing.length);
  const kept = files.mirrored === 0 ? '' : `, ${number(files.mirrored)} of them new in ${options.mirror}`;
  output.say(`${number(there)} of ${plural(files.number, 'batch file')} of lane ${lane} are there and true${kept}.`);
  for (const { header, reason } of files.missing.slice(0, MAX_SHOWN)) {
    output.say(`  batch ${header.number}, ${plural(header.count, 'entry', 'entries')}, is missing: ${reason}`);
  }
  if (files.missing.length > MAX_SHOWN) output.say(`  … and ${number(files.missing.length - MAX_SHOWN)} more`);
  return files;
}

/** Missing batches that are told with their reasons. */
const MAX_SHOWN = 20;

/**
 * Demands entries that nobody has and charges demands that nobody answered. Returns once all are settled and the lane is to be
 * taken without them.
 * @throws SettlementError takeover.waiting, takeover.missing
 */
async function demandMissing(
  context: Context,
  desk: Desk,
  account: LocalAccount,
  files: LaneFiles,
  options: Record<string, unknown>,
): Promise<void> {
  const { output } = context;
  const { settlement } = desk;
  const lane = (files.missing[0] as MissingFile).header.lane;
  const { ether, SettlementError } = await lazily();
  const { planDemands, readMissingEntries } = await import('../takeover.js');
  const maxDemands = Number(options.maxDemands);
  const total = files.missing.reduce((sum, { header }) => sum + BigInt(header.count), 0n);
  const refused = new Set<bigint>();
  const read = async () => {
    const stepNow = await stepReader(context, settlement, files, refused);
    return planDemands(await readMissingEntries(files.missing, maxDemands, stepNow), total, maxDemands);
  };
  const before = await read();
  const { due, demands } = before;
  const { answerDelay } = settlement.parameters;
  if (due.length > 0) {
    const fee = demands === 0 ? 0n : await settlement.answerFee(call(context));
    const charges = due.filter(({ step }) => step !== 'demand').length;
    await confirm(context, options, [
      `Of ${plural(total, 'entry', 'entries')} in missing batches, ${number(before.opened)} were opened by answers, and ${number(before.withheld)} cannot be cited any more.`,
      ...(charges === 0 ? [] : [`${plural(charges, 'demand')} that nobody answered in time: charged now.`]),
      ...(demands === 0
        ? []
        : [
            `${plural(demands, 'entry is', 'entries are')} demanded now, for ${ether(fee)} each, ${ether(BigInt(demands) * fee)} in all, and the gas.`,
            `The fees go to whoever opens an entry within ${plural(answerDelay, 'block')}, or back to you.`,
          ]),
    ]);
    for (const [at, entry] of due.entries()) {
      output.progress(`entry ${at + 1} of ${due.length}`, at, due.length);
      if (!(await settle(context, desk, account, entry, fee))) refused.add(sequenceOf(entry));
    }
  }
  const now = due.length === 0 ? before : await read();
  const charged = due.filter(({ step }) => step !== 'demand').length;
  const facts = { ...factsOf(lane, files, await ranges(files)), ...figures(now), demanded: demands - refused.size, charged };
  if (now.waiting > 0) {
    throw new SettlementError(
      'takeover.waiting',
      `lane ${lane} is not taken: ${plural(now.waiting, 'entry is', 'entries are')} demanded, to be opened by block ${number(now.answersBy)}${rest(now)}`,
      `the same command again, after block ${number(now.answersBy)}`,
      { facts },
    );
  }
  if (now.due.length > 0 || now.later > 0n) {
    throw new SettlementError(
      'takeover.waiting',
      `lane ${lane} is not taken: ${plural(BigInt(now.due.length) + now.later, 'entry is', 'entries are')} to be demanded or charged still`,
      'the same command again   (--max-demands: how many at once)',
      { facts },
    );
  }
  if (options.anyway !== true) throw await missingError(lane, files, now, facts);
  output.say(settledSentence(now));
}

const sequenceOf = ({ header, index }: Pick<MissingEntry, 'header' | 'index'>): bigint => header.firstSequence + BigInt(index);

/**
 * Sends what the step of an entry asks for. What somebody else charged meanwhile needs nothing more.
 * @returns false if the contract takes no further demand of the entry
 */
async function settle(context: Context, desk: Desk, account: LocalAccount, entry: MissingEntry, fee: bigint): Promise<boolean> {
  const { header, index, step } = entry;
  const { demandCommitted, SettlementError } = await lazily();
  const { proveUnanswered } = await import('../evidence.js');
  const isTaken = async (intent: SettlementCall, unless: string) => {
    try {
      await send(context, desk, account, intent);
      return true;
    } catch (error) {
      if (!(error instanceof SettlementError) || error.code !== unless) throw error;
      return false;
    }
  };
  if (step !== 'demand') {
    await isTaken(proveUnanswered(header.lane, header.term, sequenceOf(entry)), 'settlement.already_charged');
  }
  return step === 'charge' || isTaken(demandCommitted(header, index, fee), 'settlement.already_demanded');
}

/** Reads what became of an entry, and says what is to be done: no demand where one was `refused`, for it was demanded before. */
async function stepReader(context: Context, settlement: Settlement, files: LaneFiles, refused: ReadonlySet<bigint>) {
  const { readTerm } = await import('../evidence.js');
  const { stepOf } = await import('../takeover.js');
  const { answerDelay } = settlement.parameters;
  const terms = new Map<number, boolean>();
  for (const { header } of files.missing) {
    if (terms.has(header.term)) continue;
    terms.set(header.term, (await readTerm(settlement.l1, header.lane, header.term, call(context))).slashed);
  }
  return async ({ header, committedAt }: MissingFile, index: number): Promise<MissingEntry> => {
    const sequence = sequenceOf({ header, index });
    const demand = await settlement.demand(header.lane, header.term, sequence, call(context));
    const step = stepOf(demand, { committedAt, answerDelay, slashed: terms.get(header.term) === true });
    const isSettled = step === 'demand' && refused.has(sequence);
    return { header, index, step: isSettled ? 'withheld' : step, deadline: demand.deadline };
  };
}

const ranges = async ({ missing }: LaneFiles) => {
  const { rangesOf } = await import('../takeover.js');
  return rangesOf(missing.map(({ header }) => header.number));
};

const factsOf = (lane: number, { number: batches, missing, mirrored }: LaneFiles, which: string) => ({
  lane,
  batches: String(batches),
  missing: missing.length,
  missingBatches: which,
  missingEntries: missing.reduce((sum, { header }) => sum + header.count, 0),
  mirrored,
});

const figures = ({ waiting, answersBy, opened, withheld, later }: DemandPlan) => ({
  waiting,
  answersBy: String(answersBy),
  opened,
  withheld,
  later: String(later),
});

const rest = ({ demands, later }: DemandPlan): string => {
  const left = BigInt(demands) + later;
  return left === 0n ? '' : `; ${plural(left, 'more is', 'more are')} to be demanded by then or before, by the same command`;
};

const settledSentence = ({ withheld, opened }: DemandPlan): string =>
  `${plural(withheld, 'entry that nobody opened is', 'entries that nobody opened are')} useless as evidence from now on; answers opened ${number(opened)}.`;

/** Why a lane is not taken without some of its files. */
async function missingError(lane: number, files: LaneFiles, settled: DemandPlan | undefined, facts?: object) {
  const { SettlementError } = await lazily();
  const which = await ranges(files);
  const batches = `${files.missing.length === 1 ? 'batch' : 'batches'} ${which}`;
  const [reason, next] =
    settled === undefined
      ? [
          'evidence can cite their entries against what the next operator says of an account, which it could not know, and the sequencer’s import cannot pass them',
          'the same command with --server <url> of whoever has them, or with --demand   (makes what nobody opens useless as evidence)',
        ]
      : [
          `${settledSentence(settled)} The sequencer’s import cannot pass the missing files`,
          'the same command with --anyway, or with --server <url> of whoever has the files',
        ];
  return new SettlementError(
    'takeover.missing',
    `lane ${lane} is not taken: nobody has the files of ${batches}: ${reason}`,
    next,
    {
      facts: { ...factsOf(lane, files, which), ...facts },
    },
  );
}

function why(
  plan: Extract<TakeoverPlan, { allowed: true }>,
  state: LaneState,
  { minBond, takeoverDelay }: SettlementParameters,
  ether: (wei: bigint) => string,
): string {
  const { operator, oldest, block } = state;
  switch (plan.cause) {
    case 'vacant':
      return `it has no operator since block ${number(state.endBlock)}`;
    case 'bond':
      return `the bond of ${operator.address} is ${ether(operator.bond)}, and at least ${ether(minBond)} is needed`;
    case 'overdue':
      return `forced entry ${oldest?.index} is overdue by ${plural(block - (oldest?.deadline ?? 0n), 'block')}, and more than ${number(takeoverDelay)} are enough`;
  }
}
