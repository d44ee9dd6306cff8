import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure, Progress, runCommand, say } from './terminal.js';

// What the commands import is built by turbo, from its cache where nothing changed: about half a second. Then the command
// runs in this very process, so that ctrl-c has one process to reach.

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const COMMANDS = ['devnet', 'deploy', 'sequencer', 'audit', 'demo', 'bench'] as const;
const SLOW_MS = 1_000;

async function build(): Promise<void> {
  const require = createRequire(import.meta.url);
  const turbo = join(dirname(require.resolve('turbo/package.json')), 'bin', 'turbo');
  const progress = new Progress();
  const slow = setTimeout(() => progress.show('Building …'), SLOW_MS);
  const output: string[] = [];
  const child = spawn(process.execPath, [turbo, 'run', 'build', '--output-logs=errors-only', '--ui=stream'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
  });
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => output.push(text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(slow);
  progress.clear();
  if (code === 0) return;
  say(output.join('').trim());
  throw new Failure('the build failed, see above', 'npm ci, then npm run build');
}

const [name, ...rest] = process.argv.slice(2);
const command = COMMANDS.find((one) => one === name);
process.argv.splice(2, process.argv.length - 2, ...rest);
if (command === undefined) {
  say(`usage: run.ts ${COMMANDS.join('|')}`);
  process.exitCode = 2;
} else {
  await runCommand(async () => {
    await build();
    return 0;
  });
  if (process.exitCode === 0) await import(`./${command}.js`);
}
