import { join } from 'node:path';
import type { LocalAccount } from 'viem';
import { fileMirror, fileReceiptReader, readProgress, writeProgress } from '../node.js';
import { receiptsName } from '../receipts.js';
import type { LaneProgress, WatchEvent } from '../watch.js';
import { CliError, usageError } from './exit.js';
import { number, plural, size } from './output.js';
import type { Action, Context } from './run.js';
import { nativeSha256, readFromBlock, stateFolder } from './settings.js';
import { chooseLane, openDesk, openSender } from './transaction.js';

/** What was checked is written down so often at most: an account takes some hundred bytes. */
const SAVE_EVERY_MS = 60_000;

/**
 * Checks batch files, receipts and commits against each other until Ctrl-C, demands what is missing, and gives evidence to the
 * contract.
 */
export const watch: Action = async (context, _args, options) => {
  const { output, signal } = context;
  const fromBlock = readFromBlock(context, options);
  const desk = await openDesk(context);
  const { settlement, settings } = desk;
  const urls = [...(settings.url === undefined ? [] : [settings.url.value]), ...((options.server as string[] | undefined) ?? [])];
  const mirror = options.mirror === undefined ? undefined : fileMirror(String(options.mirror), settlement.view);
  if (urls.length === 0 && mirror === undefined) {
    throw new CliError(
      1,
      'config.missing',
      'nobody to have batch files from: no local network runs here, and neither --url nor --server is given',
      'sealpost watch --server https://…',
    );
  }
  if (options.answer === true && options.as === undefined) {
    throw usageError('--answer sends transactions: --as says whose', 'sealpost watch --answer --as <name>');
  }
  const reporter = options.as === undefined ? undefined : await openSender(context, desk, options);
  const { Watch, httpSource } = await import('../watch.js');
  const kept = [await stateFolder(context, settings, settlement.l1, 'receipts'), ...((options.receipts as string[]) ?? [])];
  const onDamaged = (path: string) => output.warn(`${path} has a line that is no receipt: it is left out`);
  const saved = join(await stateFolder(context, settings, settlement.l1, 'watch'), `${receiptsName(settlement.view)}.json`);
  const progress: LaneProgress[] = [];
  for (const lane of options.again === true ? [] : await readProgress(saved)) {
    // A mirror that lacks what an earlier watch has checked is filled from the beginning.
    if (mirror === undefined || (await mirror.hasAll(lane.lane, lane.number))) progress.push(lane);
    else output.say(`${mirror.name} has not every file of lane ${lane.lane}: it is checked from its beginning`);
  }
  let savedAt = Date.now();
  const save = async (lanes: readonly LaneProgress[]) => {
    savedAt = Date.now();
    await writeProgress(saved, lanes);
  };
  const talk = teller(context, reporter);
  const watching = new Watch({
    settlement,
    sources: [...(mirror === undefined ? [] : [mirror]), ...urls.map((url) => httpSource(url))],
    receipts: kept.map((folder) => fileReceiptReader(settlement.view, { folder, onDamaged })),
    reporter,
    answers: options.answer === true,
    lanes: options.lane === undefined ? undefined : [chooseLane(context, desk, options.lane)],
    fromBlock,
    progress,
    onProgress: async (lanes) => {
      if (Date.now() - savedAt >= SAVE_EVERY_MS) await save(lanes);
    },
    onBatch: mirror?.put,
    onEvent: talk,
    patienceMs: options.patience === undefined ? undefined : 1_000 * Number(options.patience),
    maxDemandFee: options.maxDemandFee as bigint | undefined,
    hash: nativeSha256,
  });
  const { chainId, settlement: address } = settlement.view;
  output.say(
    `Watching ${address} on chain ${chainId}, with batch files from ${[options.mirror, ...urls].filter(Boolean).join(', ')}`,
  );
  output.say(
    reporter === undefined
      ? 'What is found is only told: with --as, evidence is given to the contract, and what is missing is demanded.'
      : `${reporter.address.toLowerCase()} pays for demands and evidence, and has the rewards.`,
  );
  try {
    await watching.run(signal, { once: options.once === true });
  } finally {
    if (watching.progress !== undefined) await save(watching.progress);
  }
  const { offences, openDemands } = watching;
  if (options.once === true) {
    output.print(offences === 0 ? 'Nothing is wrong with what is settled.' : `${plural(offences, 'offence')} found.`);
    if (openDemands > 0) output.say(`${plural(openDemands, 'demand')} open: watch again after their deadlines.`);
  }
  output.item('end', { offences, openDemands });
  return offences > 0 ? 3 : options.once === true ? 0 : 130;
};

function teller({ output }: Context, reporter: LocalAccount | undefined): (event: WatchEvent) => void {
  let waiting: string | undefined;
  const bad = (line: string) => output.print(`${output.paint('red', '✗')} ${line}`);
  const good = (line: string) => output.print(`${output.paint('green', '✓')} ${line}`);
  return (event) => {
    if (event.type !== 'round' && event.type !== 'batch') output.item(event.type, event);
    const where = 'sequence' in event ? `entry ${event.sequence} of lane ${event.lane}, term ${event.term}` : '';
    switch (event.type) {
      case 'batch':
        output.item('batch', { lane: event.header.lane, number: event.header.number, bytes: event.bytes, source: event.source });
        output.progress(`lane ${event.header.lane}, batch ${number(event.header.number)}, ${size(event.bytes)}`);
        break;
      case 'missing': {
        const { lane, number: batch, count } = event.header;
        output.warn(
          `batch ${batch} of lane ${lane}, ${plural(count, 'entry', 'entries')}, is committed, and its file is missing: ${event.reason}`,
        );
        break;
      }
      case 'offence':
        bad(`${event.offence}: ${where}: ${event.reason}`);
        if (reporter === undefined) output.say('  Next: sealpost watch --as <name>   (gives the evidence to the contract)');
        break;
      case 'reported': {
        const { transactionHash, blockNumber } = event.sent;
        const taken = event.slashed ? 'the whole bond of its term is taken' : 'the penalty is taken';
        good(`${event.offence}: ${where}: proven in block ${number(blockNumber)}, ${taken}   ${transactionHash}`);
        break;
      }
      case 'refused':
        output.say(`${event.offence}: ${where}: not taken: ${event.reason}`);
        break;
      case 'demanded':
        output.print(`demanded: ${where}: to be opened by block ${number(event.deadline)}   ${event.sent.transactionHash}`);
        break;
      case 'opened':
        good(`opened what was demanded: ${where}   ${event.sent.transactionHash}`);
        break;
      case 'answered':
        good(`answered: ${where}`);
        break;
      case 'lapsed':
        output.say(`lapsed: ${where}: its term ended before it was due`);
        break;
      case 'receipt':
        output.say(`a receipt was left out: ${where}: ${event.reason}`);
        break;
      case 'reorg':
        output.warn(`the L1 took back what was final: lane ${event.lane} is checked from its beginning`);
        break;
      case 'waiting':
        if (event.reason !== waiting) output.say(`${event.reason}: trying again`);
        break;
      case 'round':
        output.progress(
          `block ${number(event.block)}: ${event.lanes.map(({ lane, batch, receipts }) => `lane ${lane} at batch ${number(batch)}, ${plural(receipts, 'receipt')} open`).join('; ')}`,
        );
        break;
    }
    waiting = event.type === 'waiting' ? event.reason : event.type === 'round' ? undefined : waiting;
  };
}
