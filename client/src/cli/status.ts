import { number, short } from './output.js';
import type { Action } from './run.js';
import { connect, readSettings, timeoutMs } from './settings.js';

export const status: Action = async (context) => {
  const { output, signal, flags } = context;
  const settings = await readSettings(context);
  const client = await connect(context, settings);
  const call = { signal, timeoutMs: timeoutMs(flags, 15) };
  const [said, latest, finalized] = await Promise.all([
    client.status(call),
    client.l1.block('latest', call),
    client.l1.block('finalized', call).catch(() => undefined),
  ]);
  const heads = await Promise.all(said.lanes.map(({ lane }) => client.l1.head(lane, call)));
  const agrees = said.settlement === client.settlement && said.chainId === client.chainId;
  output.print(`sequencer   ${settings.url?.value}  ${said.version}`);
  output.print(`contract    ${client.settlement} on chain ${client.chainId}`);
  output.print(
    `L1          block ${number(latest?.number ?? 0n)}, finalized ${finalized === undefined ? 'unknown' : number(finalized.number)}`,
  );
  for (const [at, lane] of said.lanes.entries()) {
    const rungs = (['accepted', 'sealed', 'committed', 'safe', 'finalized'] as const).map(
      (rung) => `${rung} ${number(lane[rung])}`,
    );
    output.print(`lane ${lane.lane}      ${rungs.join('  ')}  (entries)`);
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
      agrees,
      l1: { block: latest?.number, timestamp: latest?.timestamp, finalized: finalized?.number },
      committed: heads.map((head, at) => ({ lane: said.lanes[at]?.lane, ...head })),
    },
    agrees,
  );
  return agrees ? 0 : 1;
};
