import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fractionsOf, recoveriesOf } from './bench/fractions.js';
import { Harness } from './bench/harness.js';
import { SCENARIOS } from './bench/registry.js';
import { figureText } from './bench/report.js';
import type { BenchSettings, Outcome } from './bench/scenario.js';
import { readFlags, readNumber } from './settings.js';
import { Failure, Progress, paint, print, runCommand, say, table } from './terminal.js';

const HELP = `
npm run bench: what this machine does, each figure beside the limit that was measured in the same run. Each scenario has
processes of its own, and a network of its own on free ports in a temporary folder. Highest rates are closed loops: a sender
sends its next bundle when it has the last one's receipt. Every latency is of an open loop: requests are planned on a clock,
and latency counts from the planned time. Afterwards every acknowledged bundle is looked for in the batch files and held
against the L1, and a sample of messages is fetched and proven one by one.

Scenarios
${table(SCENARIOS.map(({ name, about, byDefault }) => [`  ${name}`, `${about}${byDefault ? '' : '; only by name'}`]))}

Flags
  --scenario NAME   only this one, repeatable
  --seconds S       length of each load (each scenario's own)
  --senders N       parallel senders (bundled: 16, single: 64)
  --bundle N        messages a bundle, 1 to 4096 (bundled: 256, single: 1)
  --payload BYTES   bytes a payload, up to 65536 (256)
  --prefill N       messages stored before grown measures (20 million)
  --sample N        messages to fetch and prove one by one after a load (500)
  --data FOLDER     where the temporary folders are made: choose the disk that is to be measured (${tmpdir()})
  --quick           short: all that runs without being named takes less than a minute
  --json            results as one last line of JSON

Examples
  npm run bench
  npm run bench -- --scenario bundled --seconds 30 --senders 32
  npm run bench -- --quick --json | tail -1

Without --scenario, all that is not marked "only by name". --json has each scenario's figures under its name, and fractions of
the limits that were measured in the same run.

Exit code: 0 if nothing acknowledged was lost and everything was provable.
`;

const TMPFS = 0x01021994;

/** Milliseconds that one small write takes to be on the disk: the median of twenty. */
function measureSync(folder: string): number {
  const name = join(folder, `sealpost-bench-sync-${process.pid}`);
  let file: number | undefined;
  try {
    file = openSync(name, 'w');
    const times: number[] = [];
    for (let at = 0; at < 20; at++) {
      const began = performance.now();
      writeSync(file, Buffer.alloc(4_096, at));
      fdatasyncSync(file);
      times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b)[10] ?? Number.NaN;
  } finally {
    if (file !== undefined) closeSync(file);
    rmSync(name, { force: true });
  }
}

async function bench(): Promise<number | undefined> {
  const flags = readFlags(HELP, {
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
    scenario: { type: 'string', multiple: true },
    seconds: { type: 'string' },
    senders: { type: 'string' },
    bundle: { type: 'string' },
    payload: { type: 'string' },
    prefill: { type: 'string' },
    sample: { type: 'string' },
    data: { type: 'string' },
  } as const);
  if (flags === undefined) return 0;
  for (const name of flags.scenario ?? []) {
    if (!SCENARIOS.some((one) => one.name === name))
      throw new Failure(`there is no scenario ${name}`, `one of ${SCENARIOS.map((one) => one.name).join(', ')}`, 2);
  }
  const chosen = SCENARIOS.filter(({ name, byDefault }) => flags.scenario?.includes(name) ?? byDefault);
  const whole = (flag: 'senders' | 'bundle' | 'payload' | 'prefill', min: number, max: number) =>
    flags[flag] === undefined ? undefined : Math.floor(readNumber(flag, flags[flag], min, min, max));
  const quick = flags.quick === true;
  const settings: BenchSettings = {
    seconds: flags.seconds === undefined ? undefined : readNumber('seconds', flags.seconds, 1, 0.2, 86_400),
    senders: whole('senders', 1, 4_096),
    bundle: whole('bundle', 1, 4_096),
    payload: whole('payload', 0, 65_536),
    prefill: whole('prefill', 1, 1e10),
    sample: Math.floor(readNumber('sample', flags.sample, quick ? 50 : 500, 0, 1_000_000)),
    parent: flags.data ?? tmpdir(),
    quick,
  };
  if (!statSync(settings.parent, { throwIfNoEntry: false })?.isDirectory())
    throw new Failure(`there is no folder ${settings.parent}`, 'make it, or choose another --data', 2);

  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => abort.abort(new Failure('interrupted', undefined, 130)));
  const progress = new Progress();
  const began = performance.now();
  let syncMs: number;
  try {
    syncMs = measureSync(settings.parent);
  } catch (error) {
    throw new Failure(`${settings.parent} cannot be written: ${(error as Error).message}`, 'choose another folder with --data');
  }
  const results = new Map<string, Outcome>();
  for (const scenario of chosen) {
    try {
      results.set(scenario.name, await scenario.run(new Harness(scenario.name, settings, results, progress, abort.signal)));
    } catch (error) {
      throw abort.signal.aborted ? abort.signal.reason : error;
    } finally {
      progress.clear();
    }
  }
  const healthy = [...results.values()].every((one) => one.healthy);
  report(results, settings, syncMs, healthy, flags.json === true);
  if (flags.json) print(JSON.stringify(summary(results, settings, syncMs, (performance.now() - began) / 1_000)));
  return healthy ? 0 : 1;
}

/** The table for people: on stdout, unless that is for the line of JSON. */
function report(
  results: ReadonlyMap<string, Outcome>,
  { parent, quick }: BenchSettings,
  syncMs: number,
  healthy: boolean,
  aside: boolean,
): void {
  const talk = aside ? say : print;
  const rows = [...results].flatMap(([name, { rows }]) =>
    rows.map(({ figure, value, unit, beside }, at) => [
      at === 0 ? name : '',
      figure,
      figureText(value),
      unit,
      ...(beside === undefined ? [] : [`${(value / beside.value).toFixed(2)} of`, figureText(beside.value), beside.what]),
    ]),
  );
  talk();
  talk(table(rows, [2, 4, 5]));
  talk();
  for (const [name, { notes }] of results) for (const note of notes ?? []) talk(`${name}: ${note}`);
  talk(
    `fsync: for each commit group the bundle file (fdatasync) before any receipt, and SQLite’s WAL (synchronous=FULL) for all that is not in it; a 4 kB write takes ${syncMs.toFixed(2)} ms in ${parent}` +
      (statfsSync(parent).type === TMPFS ? ', which is memory: nothing is durable there, choose a disk with --data' : ''),
  );
  if (quick) talk('A quick run: every way is walked, but its figures are of moments. None to rely on.');
  const checked = [...results].filter(([, { json }]) => 'acknowledged' in json).map(([name]) => name);
  if (!healthy) talk(paint('red', 'Something was lost, not provable, or not as promised.'));
  else if (checked.length > 0)
    talk(paint('green', `Nothing acknowledged was lost; everything is provable: ${checked.join(', ')}.`));
}

/** The line of `--json`. */
function summary(results: ReadonlyMap<string, Outcome>, settings: BenchSettings, syncMs: number, seconds: number) {
  const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
  return {
    ...Object.fromEntries([...results].map(([name, { json }]) => [name, json])),
    recoveriesPerSecond: recoveriesOf(results),
    fractions: fractionsOf(results),
    notes: Object.fromEntries([...results].map(([name, { notes = [] }]) => [name, notes])),
    figures: [...results].flatMap(([scenario, { rows }]) => rows.map((row) => ({ scenario, ...row }))),
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    machine: { cpu: cpus()[0]?.model.trim(), cores: cpus().length, memoryBytes: totalmem(), node: process.version },
    date: new Date().toISOString(),
    version,
    fsyncMs: Math.round(syncMs * 1_000) / 1_000,
    quick: settings.quick,
    tookSeconds: Math.round(seconds * 10) / 10,
  };
}

await runCommand(bench);
