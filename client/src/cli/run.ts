import type { Command } from 'commander';
import { CliError, type ExitCode, toCliError } from './exit.js';
import { Output } from './output.js';

/** What every command's action is given beside its own arguments. */
export interface Context {
  readonly output: Output;
  readonly flags: GlobalFlags;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
}

/** Options that every command has. */
export interface GlobalFlags {
  readonly url?: string;
  readonly l1?: string;
  readonly settlement?: string;
  readonly data?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** False with --no-input. */
  readonly input?: boolean;
  /** False with --no-color. */
  readonly color?: boolean;
  readonly timeout?: number;
}

/** What a command's action returns: an exit code, or nothing for 0. */
export type Action = (
  context: Context,
  args: readonly unknown[],
  options: Record<string, unknown>,
) => Promise<ExitCode | undefined>;

const INTERRUPTED = Symbol('interrupted');

/** Runs the program on `argv` and sets the exit code. The only place that looks at signals and writes errors. */
export async function run(
  createProgram: (act: (action: () => Promise<Action>) => (...args: unknown[]) => Promise<void>) => Command,
  argv: readonly string[],
): Promise<void> {
  const interrupt = new AbortController();
  process.once('SIGINT', () => {
    interrupt.abort(INTERRUPTED);
    // A second one does not wait for anything.
    process.once('SIGINT', () => process.exit(130));
  });
  // `sealpost inbox | head` closes our stdout: that is not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  let output = new Output('', { json: argv.includes('--json'), quiet: false, color: false });
  const act =
    (load: () => Promise<Action>) =>
    async (...args: unknown[]) => {
      const command = args.at(-1) as Command;
      const flags = command.optsWithGlobals() as GlobalFlags;
      const env = process.env;
      const color = flags.color !== false && !env.NO_COLOR && env.TERM !== 'dumb';
      output = new Output(pathOf(command), { json: flags.json === true, quiet: flags.quiet === true, color });
      const action = await load();
      const code = await action({ output, flags, signal: interrupt.signal, env }, args.slice(0, -2), command.opts());
      output.clearProgress();
      process.exitCode = code ?? 0;
    };
  try {
    await createProgram(act).parseAsync(argv, { from: 'user' });
  } catch (error) {
    output.clearProgress();
    if (interrupt.signal.aborted) {
      process.exitCode = 130;
      return;
    }
    const { code, exitCode, message } = error as { code?: string; exitCode?: number; message?: string };
    if (typeof code === 'string' && code.startsWith('commander.')) {
      process.exitCode = exitCode === 0 ? 0 : 2;
      if (exitCode !== 0 && output.json) {
        output.failure({ code: 'usage', message: String(message).replace(/^error: /, ''), next: 'sealpost --help' }, 2);
      }
      return;
    }
    const failure = toCliError(error, output.command);
    const { facts } = (failure.cause ?? {}) as { facts?: unknown };
    output.failure(
      { code: failure.code, message: failure.message, next: failure.next, ...(facts === undefined ? {} : { facts }) },
      failure.exitCode,
    );
    process.exitCode = failure.exitCode;
    if (process.env.SEALPOST_DEBUG && !(error instanceof CliError)) process.stderr.write(`${(error as Error).stack}\n`);
  }
}

/** `keys new` of `sealpost keys new`. */
function pathOf(command: Command): string {
  const names: string[] = [];
  for (let one: Command | null = command; one?.parent; one = one.parent) names.unshift(one.name());
  return names.join(' ');
}
