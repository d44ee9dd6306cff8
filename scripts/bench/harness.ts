import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Folder } from '../folder.js';
import { Network } from '../network.js';
import { bar, Failure, type Progress, say } from '../terminal.js';
import type { Bench, BenchNetworkOptions, BenchSettings, Outcome, ProcessLine, Stage } from './scenario.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const END_MS = 2_000;

/** What a temporary folder is called, before the pid of the benchmark that made it. */
const FOLDER = 'sealpost-bench-';

/** Removes the folders of benchmarks that were killed: nobody else would, and a soak leaves tens of gigabytes. */
function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(FOLDER) ? Number(/^\d+(?=-)/.exec(name.slice(FOLDER.length))?.[0]) : Number.NaN;
    if (Number.isNaN(pid) || isRunning(pid)) continue;
    rmSync(join(parent, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process is one, too.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** The surroundings of one scenario: networks, folders and processes that end with it. */
export class Harness implements Bench {
  private readonly children = new Set<ChildProcess>();

  constructor(
    private readonly name: string,
    readonly settings: BenchSettings,
    readonly results: ReadonlyMap<string, Outcome>,
    private readonly progress: Progress,
    readonly signal: AbortSignal,
  ) {}

  show(what: string, done?: number, total?: number): void {
    const detail =
      done === undefined || total === undefined
        ? ''
        : `${bar(done, total)} ${total <= 0 ? 0 : Math.min(100, Math.floor((100 * done) / total))} %`;
    this.progress.show(`${this.name}: ${what}`, detail);
  }

  say(text: string): void {
    this.progress.clear();
    say(text);
  }

  async withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
    sweep(this.settings.parent);
    const folder = mkdtempSync(join(this.settings.parent, `${FOLDER}${process.pid}-`));
    try {
      return await use(folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  withNetwork<T>(options: BenchNetworkOptions, use: (stage: Stage) => Promise<T>): Promise<T> {
    return this.withFolder(async (path) => {
      const folder = new Folder(path);
      await folder.acquire();
      const network = await Network.start({ ...options, folder, onStep: (step) => this.show(step) }, this.signal);
      try {
        let fail: (failure: Failure) => void = () => {};
        const broken = new Promise<never>((_, reject) => {
          fail = reject;
        });
        broken.catch(() => {});
        // An end that was expected since the watch began fails nothing.
        let watches = 0;
        const watch = () => {
          const own = ++watches;
          void network.broken().then((end) => {
            if (own === watches)
              fail(new Failure(end, 'has the machine memory left, and the disk of --data room? Then run it again'));
          });
        };
        watch();
        const stage: Stage = {
          network,
          data: folder.file('sequencer'),
          expectEnd: async (stop) => {
            watches++;
            try {
              return await stop();
            } finally {
              if (network.sequencer?.exit === undefined) watch();
            }
          },
        };
        return await Promise.race([use(stage), broken]);
      } finally {
        // Where the network broke, somebody may still be talking to it.
        for (const child of this.children) child.kill('SIGKILL');
        await network.stop();
      }
    });
  }

  async inProcess<Result>(
    script: URL,
    plan: unknown,
    onProgress: (what: string, done: number, total: number) => void = (what, done, total) => this.show(what, done, total),
  ): Promise<Result> {
    this.signal.throwIfAborted();
    const path = fileURLToPath(script);
    const child = spawn(process.execPath, ['--import', 'tsx', path, JSON.stringify(plan)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: ROOT,
    });
    this.children.add(child);
    let result: Result | undefined;
    const errors: string[] = [];
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text) as ProcessLine<Result>;
      if ('result' in line) result = line.result;
      else onProgress(line.progress, line.done, line.total);
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      errors.push(line);
      if (errors.length > 100) errors.shift();
    });
    // It opened nothing that has to be closed in order; what ignores SIGTERM is ended.
    let insist: NodeJS.Timeout | undefined;
    const abort = () => {
      child.kill('SIGTERM');
      insist = setTimeout(() => child.kill('SIGKILL'), END_MS);
    };
    this.signal.addEventListener('abort', abort, { once: true });
    try {
      const end = await new Promise<string>((resolve, reject) => {
        child.once('error', reject);
        child.once('close', (code, signal) => resolve(signal === null ? `with exit code ${code}` : `by ${signal}`));
      });
      this.signal.throwIfAborted();
      if (end !== 'with exit code 0' || result === undefined) {
        const said = errors.slice(-20).join('\n');
        throw new Failure(
          `${path.slice(ROOT.length)} ended ${end}${said === '' ? '' : `: ${said}`}`,
          'if that does not say why: has the machine memory left, and the disk of --data room?',
        );
      }
      return result;
    } finally {
      clearTimeout(insist);
      this.children.delete(child);
      this.signal.removeEventListener('abort', abort);
    }
  }
}
