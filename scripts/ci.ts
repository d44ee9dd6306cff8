import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countTests, failedTests } from './counts.js';
import { formatSeconds, print, runCommand, say } from './terminal.js';

// What CI does once everything is installed, run by .ci/run. Every step's output is shown as it comes; the tests are counted
// from the log that turbo keeps of each task, which holds the summary of vitest or of forge. A log without a summary, or
// with no test in it, is a failure: nothing passes by not having run.

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const STEPS = [
  { name: 'lint', command: ['npm', 'run', '--silent', 'lint'] },
  { name: 'typecheck', command: ['npm', 'run', '--silent', 'typecheck'] },
  { name: 'build', command: ['npm', 'run', '--silent', 'build'] },
  { name: 'test', command: ['npm', 'test', '--silent'] },
  { name: 'demo', command: ['npm', 'run', '--silent', 'demo', '--', '--json'] },
  { name: 'bench', command: ['node', '--import', 'tsx', 'scripts/bench/guard-run.ts'] },
] as const;

/** Where turbo keeps what each task of `npm test` printed. */
const LOGS: Readonly<Record<string, string>> = {
  prover: 'prover/.turbo/turbo-test.log',
  contracts: 'contracts/.turbo/turbo-test.log',
  sequencer: 'sequencer/.turbo/turbo-test.log',
  client: 'client/.turbo/turbo-test.log',
  'end to end': '.turbo/turbo-test$colon$e2e.log',
};

/** Runs a step in our terminal; its environment says that this is CI, and that no earlier result counts. */
async function runStep(command: readonly string[]): Promise<boolean> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, CI: '1', TURBO_FORCE: 'true' } });
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code === 0));
  });
}

await runCommand(async () => {
  for (const file of Object.values(LOGS)) rmSync(join(ROOT, file), { force: true });
  let passed = 0;
  let failed = 0;
  const blame: string[] = [];
  for (const { name, command } of STEPS) {
    say(`\n── ${name}`);
    const began = performance.now();
    const isGood = await runStep(command);
    const failedBefore = failed;
    if (name === 'test') {
      for (const [part, file] of Object.entries(LOGS)) {
        const path = join(ROOT, file);
        const log = existsSync(path) ? readFileSync(path, 'utf8') : '';
        const count = countTests(log);
        if (count === undefined || count.passed + count.failed === 0) {
          say(`${part}: no test ran, or none was counted`);
          failed++;
          continue;
        }
        say(`${part}: ${count.passed} passed, ${count.failed} failed`);
        blame.push(...failedTests(log).map((test) => `${part}: ${test}`));
        passed += count.passed;
        failed += count.failed;
      }
    }
    // A step that fails without a failed test to show for it counts as one.
    if (!isGood && failed === failedBefore) failed++;
    say(`── ${name} ${isGood ? 'passed' : 'FAILED'} in ${formatSeconds(performance.now() - began)}`);
    if (!isGood && name === 'build') break;
  }
  // At the end, where whoever looks at a long log looks first.
  for (const test of blame) say(`FAILED ${test}`);
  print(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
});
