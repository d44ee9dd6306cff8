import { systemClock } from '../clock.js';
import { Http } from '../http.js';
import { decodeStatus, type SequencerStatus } from '../status.js';
import { toCliError } from './exit.js';
import { number, short } from './output.js';
import type { Action, Context } from './run.js';
import { connect, readSettings, type Settings, timeoutMs } from './settings.js';

export const status: Action = async (context) => {
  const { output, flags, signal } = context;
  const settings = await readSettings(context);
  const call = { signal, timeoutMs: timeoutMs(flags, 15) };
  const read = await readBoth(context, settings).catch(async (error) => {
    signal.throwIfAborted();
    const { exitCode } = toCliError(error, 'status');
    const isL1 = String((error as { code?: string }).code).startsWith('l1.');
    // What the sequencer says of itself is worth having, where it is marked as nothing more than that.
    if (!isL1 || exitCode !== 4 || settings.url === undefined) throw error;
    const http = new Http({
      url: settings.url.value,
      fetch: globalThis.fetch,
      clock: systemClock,
      random: () => 0,
      log: () => {},
    });
    const said = decodeStatus(await http.getJson('v1/status', call).catch(() => Promise.reject(error)));
    return { said, error };
  });
  const { said } = read;
  if ('error' in read) {
    const { code, message, next } = toCliError(read.error, 'status');
    output.print(`sequencer   ${settings.url?.value}  ${said.version}  (what it says: nothing of it is verified)`);
    output.print(`contract    ${said.settlement} on chain ${said.chainId}  (unverified)`);
    output.print(`L1          not reached: ${settings.l1Url?.value}`);
    for (const lane of said.lanes) output.print(`${rungsOf(lane)}, unverified)`);
    output.result({ url: settings.url?.value, sequencer: said, verified: false, l1: { error: { code, message } } }, false);
    output.warn(message);
    output.say(`  Next: ${next}`);
    return 4;
  }
  const { client, latest, finalized, heads } = read;
  const agrees = said.settlement === client.settlement && said.chainId === client.chainId;
  output.print(`sequencer   ${settings.url?.value}  ${said.version}`);
  output.print(`contract    ${client.settlement} on chain ${client.chainId}`);
  output.print(
    `L1          block ${number(latest?.number ?? 0n)}, finalized ${finalized === undefined ? 'unknown' : number(finalized.number)}`,
  );
  for (const [at, lane] of said.lanes.entries()) {
    output.print(`${rungsOf(lane)})`);
    output.print(
      `            batch ${number(heads[at]?.number ?? 0n)} on the L1, ${number(heads[at]?.nextSequence ?? 0n)} entries committed`,
    );
  }
  if (!agrees) {
    output.warn(
      `the sequencer serves ${short(said.settlement)} on chain ${said.chainId}, which is another network than the configured one`,
    );
  }
  output.result(
    {
      url: settings.url?.value,
      sequencer: said,
      verified: true,
      agrees,
      l1: { block: latest?.number, timestamp: latest?.timestamp, finalized: finalized?.number },
      committed: heads.map((head, at) => ({ lane: said.lanes[at]?.lane, ...head })),
    },
    agrees,
  );
  return agrees ? 0 : 1;
};

/** What the sequencer says, beside what the L1 says. */
async function readBoth(context: Context, settings: Settings) {
  const call = { signal: context.signal, timeoutMs: timeoutMs(context.flags, 15) };
  const client = await connect(context, settings);
  const [said, latest, finalized] = await Promise.all([
    client.status(call),
    client.l1.block('latest', call),
    client.l1.block('finalized', call).catch(() => undefined),
  ]);
  const heads = await Promise.all(said.lanes.map(({ lane }) => client.l1.head(lane, call)));
  return { client, said, latest, finalized, heads };
}

/** A lane's line, up to the last bracket. */
function rungsOf(lane: SequencerStatus['lanes'][number]): string {
  const rungs = (['accepted', 'sealed', 'committed', 'safe', 'finalized'] as const).map(
    (rung) => `${rung} ${number(lane[rung])}`,
  );
  return `lane ${lane.lane}      ${rungs.join('  ')}  (entries`;
}
