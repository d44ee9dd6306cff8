import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Failure, runCommand, say } from '../terminal.js';
import type { Fractions } from './fractions.js';
import { judge } from './guard.js';

// The regression guard of CI: ratios only, never times, because machines differ. Runs a short benchmark, and up to two more while
// all were too slow. Expects everything to be built.

const BENCH = fileURLToPath(new URL('../bench.ts', import.meta.url));
const RUNS = 3;
// Longer than a quick run's loads: in its first seconds a process is half as fast as later.
const FLAGS = ['--scenario', 'ceiling', '--scenario', 'bundled', '--scenario', 'single', '--quick', '--seconds', '4', '--json'];

/** @throws Failure if the benchmark fails, which it also does when something acknowledged was lost */
async function measure(): Promise<Fractions> {
  const child = spawn(process.execPath, ['--import', 'tsx', BENCH, ...FLAGS], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Failure(`the benchmark ended with exit code ${code}`, `npm run bench -- ${FLAGS.join(' ')}`);
  return (JSON.parse(output.trim().split('\n').at(-1) ?? '') as { fractions: Fractions }).fractions;
}

await runCommand(async () => {
  const runs: Fractions[] = [];
  for (;;) {
    runs.push(await measure());
    const { passed, lines } = judge(runs);
    for (const line of lines) say(line);
    if (passed) return 0;
    if (runs.length === RUNS)
      throw new Failure('slower than it was, against limits of this very machine', 'npm run bench, before and after');
    say('once more: something else may have kept the machine busy');
  }
});
