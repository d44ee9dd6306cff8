import { spawn } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Folder } from './folder.js';
import { Network } from './network.js';
import { type LoadLine, type LoadPlan, type LoadResult, SCENARIOS, type Scenario } from './scenarios.js';
import { readFlags, readNumber } from './settings.js';
import { bar, Failure, formatCount, Progress, paint, print, runCommand, say, table } from './terminal.js';

const HELP = `
npm run bench: how many messages a second this machine accepts, durably. For each scenario a network of its own on free ports
in a temporary folder; a load process with presigned bundles, each sender sending its next one when it has the last one's
receipt (closed loop); then every acknowledged bundle is looked for in the batch files and held against the L1, and a sample
of messages is fetched and proven one by one.

Flags
  --scenario NAME   only this one, repeatable: ${SCENARIOS.map(({ name }) => name).join(', ')}
  --seconds S       length of the load (10)
  --senders N       parallel senders (${SCENARIOS.map(({ name, plan }) => `${name}: ${plan.senders}`).join(', ')})
  --bundle N        messages a bundle, 1 to 4096 (${SCENARIOS.map(({ name, plan }) => `${name}: ${plan.bundle}`).join(', ')})
  --payload BYTES   bytes a payload, up to 65536 (256)
  --sample N        messages to fetch and prove one by one afterwards (500)
  --data FOLDER     where the temporary folders are made: choose the disk that is to be measured (${tmpdir()})
  --quick           two seconds each
  --json            results as one last line of JSON

Examples
  npm run bench
  npm run bench -- --scenario bundled --seconds 30 --senders 32
  npm run bench -- --quick --json | tail -1

Exit code: 0 if nothing acknowledged was lost and everything was provable.
`;

const LOAD = fileURLToPath(new URL('bench-load.ts', import.meta.url));
const TMPFS = 0x01021994;

/** Milliseconds that one small write takes to be on the disk: the median of twenty. */
function measureSync(folder: string): number {
  const file = openSync(join(folder, 'sync'), 'w');
  const times: number[] = [];
  for (let at = 0; at < 20; at++) {
    const began = performance.now();
    writeSync(file, Buffer.alloc(4_096, at));
    fdatasyncSync(file);
    times.push(performance.now() - began);
  }
  closeSync(file);
  rmSync(join(folder, 'sync'));
  return times.sort((a, b) => a - b)[10] ?? Number.NaN;
}

async function load(
  plan: LoadPlan,
  onLine: (what: string, done: number, total: number) => void,
  signal: AbortSignal,
): Promise<LoadResult> {
  // What has to go through the shell's argument limit is small: numbers and two addresses.
  const child = spawn(process.execPath, ['--import', 'tsx', LOAD, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    signal,
  });
  let result: LoadResult | undefined;
  const errors: string[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = JSON.parse(text) as LoadLine;
    if ('result' in line) result = line.result;
    else onLine(line.progress, line.done, line.total);
  });
  createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0 || result === undefined)
    throw new Failure(`the load process failed (exit code ${code}):\n${errors.slice(-20).join('\n')}`);
  return result;
}

const STEPS: Readonly<Record<string, string>> = {
  messages: 'making messages',
  signing: 'signing bundles',
  load: 'sending',
  receipts: 'checking receipts',
  commits: 'waiting for commits',
  batches: 'holding batches against the L1',
  sample: 'proving messages one by one',
};

async function runScenario(
  scenario: Scenario,
  overrides: Partial<LoadPlan>,
  settings: { seconds: number; sample: number; parent: string },
  progress: Progress,
  signal: AbortSignal,
): Promise<{ result: LoadResult; syncMs: number; isMemory: boolean; plan: LoadPlan }> {
  const data = mkdtempSync(join(settings.parent, 'sealpost-bench-'));
  try {
    const syncMs = measureSync(data);
    const isMemory = statfsSync(data).type === TMPFS;
    const folder = new Folder(data);
    await folder.acquire();
    const network = await Network.start({ folder, onStep: (step) => progress.show(`${scenario.name}: ${step}`) }, signal);
    try {
      const plan: LoadPlan = {
        ...scenario.plan,
        ...overrides,
        url: network.url,
        l1Url: network.l1Url,
        chainId: network.chainId,
        settlement: network.settlement,
        laneCount: 1,
        seconds: settings.seconds,
        sample: settings.sample,
        topics: 20_000,
      };
      const show = (what: string, done: number, total: number) =>
        progress.show(
          `${scenario.name}: ${STEPS[what] ?? what}`,
          `${bar(done, total)} ${total === 0 ? 0 : Math.floor((100 * done) / total)} %`,
        );
      const broken = network.broken().then((end): never => {
        throw new Failure(end, `more in ${folder.file('log.jsonl')}`);
      });
      broken.catch(() => {});
      const result = await Promise.race([load(plan, show, signal), broken]);
      return { result, syncMs, isMemory, plan };
    } finally {
      await network.stop();
    }
  } finally {
    rmSync(data, { recursive: true, force: true });
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
    sample: { type: 'string' },
    data: { type: 'string' },
  } as const);
  if (flags === undefined) return 0;
  const names = flags.scenario ?? SCENARIOS.map(({ name }) => name);
  const scenarios = names.map((name) => {
    const scenario = SCENARIOS.find((one) => one.name === name);
    if (scenario === undefined)
      throw new Failure(`there is no scenario ${name}`, `one of ${SCENARIOS.map((one) => one.name).join(', ')}`, 2);
    return scenario;
  });
  const seconds = readNumber('seconds', flags.seconds, flags.quick ? 2 : 10, 0.2, 3_600);
  const whole = (flag: 'senders' | 'bundle' | 'payload', max: number) =>
    flags[flag] === undefined ? {} : { [flag]: Math.floor(readNumber(flag, flags[flag], 1, flag === 'payload' ? 0 : 1, max)) };
  const overrides: Partial<LoadPlan> = { ...whole('senders', 4_096), ...whole('bundle', 4_096), ...whole('payload', 65_536) };
  const sample = Math.floor(readNumber('sample', flags.sample, 500, 0, 1_000_000));
  const parent = flags.data ?? tmpdir();

  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => abort.abort(new Failure('interrupted', undefined, 130)));
  const progress = new Progress();
  const results: Record<string, LoadResult> = {};
  const rows: string[][] = [
    ['', 'messages/s', 'p50 ms', 'p99 ms', 'acknowledged', 'lost', 'unprovable', 'one by one', 'batches', 'generator'],
  ];
  let sync = '';
  for (const scenario of scenarios) {
    let outcome: Awaited<ReturnType<typeof runScenario>>;
    try {
      outcome = await runScenario(scenario, overrides, { seconds, sample, parent }, progress, abort.signal);
    } catch (error) {
      progress.clear();
      throw abort.signal.aborted ? abort.signal.reason : error;
    }
    progress.clear();
    const { result, syncMs, isMemory, plan } = outcome;
    results[scenario.name] = result;
    rows.push([
      scenario.name,
      formatCount(result.messagesPerSecond),
      result.p50Ms.toFixed(1),
      result.p99Ms.toFixed(1),
      formatCount(result.acknowledged),
      formatCount(result.lost),
      formatCount(result.unprovable),
      formatCount(result.sampled),
      formatCount(result.batches),
      `${Math.round(100 * result.generatorCpu)} %`,
    ]);
    say(
      `${scenario.name}: ${plan.senders} senders, ${plan.bundle} message(s) of ${plan.payload} bytes a bundle, ${result.seconds.toFixed(1)} s, ` +
        `${formatCount(result.messagesPerSecond)} messages/s`,
    );
    const refused = Object.entries(result.refused).map(([why, times]) => `${why} × ${times}`);
    if (refused.length > 0) say(`  sent again after: ${refused.join(', ')}`);
    if (result.exhausted) say('  ended early: every presigned bundle was sent');
    for (const complaint of result.complaints) say(`  ${complaint}`);
    sync =
      `fsync: SQLite WAL with synchronous=FULL, one a commit group, before any receipt; a 4 kB write takes ${syncMs.toFixed(2)} ms in ${parent}` +
      (isMemory ? ', which is memory: nothing is durable there, choose a disk with --data' : '');
  }
  const healthy = Object.values(results).every((one) => one.lost === 0 && one.unprovable === 0 && one.doubled === 0);
  const talk = flags.json ? say : print;
  talk();
  talk(table(rows, [1, 2, 3, 4, 5, 6, 7, 8, 9]));
  talk();
  talk(sync);
  talk(
    'Every acknowledged bundle was looked for in the batch files and held against the L1; "one by one": messages proven over HTTP.',
  );
  talk(
    healthy
      ? paint('green', 'Nothing acknowledged was lost; everything is provable.')
      : paint('red', 'Something was lost, doubled or not provable.'),
  );
  if (flags.json) {
    const shown = Object.entries(results).map(([name, one]) => {
      const { messagesPerSecond, p50Ms, p99Ms, acknowledged, lost, unprovable } = one;
      return [name, { messagesPerSecond, p50Ms, p99Ms, acknowledged, lost, unprovable }];
    });
    print(JSON.stringify(Object.fromEntries(shown)));
  }
  return healthy ? 0 : 1;
}

await runCommand(bench);
