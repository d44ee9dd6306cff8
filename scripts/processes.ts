import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Failure } from './terminal.js';

/** A process, and not another one that got its number later. */
export interface Identity {
  readonly pid: number;
  /** When it started, as the system tells it: opaque, only compared. */
  readonly started: string;
}

/** The identity of a running process; undefined if there is none, or only what is left of one. */
export function identify(pid: number): Identity | undefined {
  if (process.platform === 'linux') {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      // The command's name, in parentheses, may hold anything; fields are counted from behind it.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
      return { pid, started: `${boot}/${fields[19]}` };
    } catch {
      return undefined;
    }
  }
  const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env: { LC_ALL: 'C' } });
  const started = (stdout ?? '').trim();
  return started === '' ? undefined : { pid, started };
}

export const isRunning = (identity: Identity): boolean => identify(identity.pid)?.started === identity.started;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const LAST_LINES = 40;

/** One process that we started. */
export class Child {
  readonly identity: Identity;
  readonly exited: Promise<Exit>;
  exit: Exit | undefined;
  /** What it said last, on both streams: for the report of its end. */
  readonly lastLines: string[] = [];
  readonly lastErrors: string[] = [];

  constructor(
    readonly name: string,
    private readonly process: ChildProcess,
    onLine: ((line: string) => void) | undefined,
  ) {
    const { pid, stdout, stderr } = process;
    if (pid === undefined || stdout === null || stderr === null) throw new Failure(`${name} cannot be started`);
    this.identity = identify(pid) ?? { pid, started: '' };
    this.exited = new Promise((resolve) => {
      process.once('close', (code, signal) => {
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
    createInterface({ input: stdout }).on('line', (line) => {
      this.keep(this.lastLines, line);
      onLine?.(line);
    });
    createInterface({ input: stderr }).on('line', (line) => this.keep(this.lastErrors, line));
  }

  private keep(lines: string[], line: string): void {
    if (line.trim() === '') return;
    lines.push(line);
    if (lines.length > LAST_LINES) lines.shift();
  }

  get pid(): number {
    return this.identity.pid;
  }

  /** Sends a signal, if it still runs. */
  signal(signal: NodeJS.Signals): void {
    if (this.exit === undefined) this.process.kill(signal);
  }

  /** Asks it to end, insists after `graceMs`, and returns when it has ended. */
  async stop(signal: NodeJS.Signals, graceMs: number): Promise<Exit> {
    this.signal(signal);
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** One line that says how it ended and why. */
  report(): string {
    const how = this.exit?.signal ? `was ended by ${this.exit.signal}` : `ended with exit code ${this.exit?.code ?? '?'}`;
    const why = this.lastErrors.at(-1) ?? this.lastLines.at(-1);
    return `${this.name} ${how}${why === undefined ? '' : `: ${why}`}`;
  }
}

/**
 * Ends what its parent leaves behind. It reads process numbers from its standard input; when that closes without `done`,
 * the parent is gone without having stopped its children (SIGKILL, a crash), and it stops them, newest first: SIGTERM,
 * then SIGKILL after eleven seconds each. It has a session of its own, so that no signal for the parent's group reaches it.
 */
const WATCHDOG = `
trap '' INT TERM HUP
pids=''
while read -r word pid; do
  case "$word" in
    add) pids="$pid $pids" ;;
    drop) kept=''; for p in $pids; do [ "$p" = "$pid" ] || kept="$kept $p"; done; pids="$kept" ;;
    done) exit 0 ;;
  esac
done
for p in $pids; do
  kill -TERM "$p" 2>/dev/null || continue
  tries=0
  while kill -0 "$p" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -gt 110 ] && kill -KILL "$p" 2>/dev/null
    sleep 0.1
  done
done
`;

/** What a child is started with. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly onLine?: (line: string) => void;
}

/**
 * The processes of one network: each in a session of its own, so that ctrl-c reaches only us and the order of stopping
 * is ours; and all of them watched over, so that none outlives us for long, however we end.
 */
export class Family {
  private readonly watchdog: ChildProcess;
  private readonly watchdogExited: Promise<void>;
  private children: Child[] = [];
  private ended = false;

  constructor(private readonly onChange: (children: readonly Child[]) => void = () => {}) {
    this.watchdog = spawn('/bin/sh', ['-c', WATCHDOG], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    this.watchdogExited = new Promise((resolve) => {
      this.watchdog.once('close', () => resolve());
      this.watchdog.once('error', () => resolve());
    });
    // If somebody ends the watchdog, the children are still stopped by us.
    this.watchdog.stdin?.on('error', () => {});
  }

  /** @throws Failure once `stop` was called: nothing is born into an ending family */
  start(name: string, launch: Launch): Child {
    if (this.ended) throw new Failure(`${name} is not started: the network is being stopped`);
    const started = spawn(launch.command, [...launch.args], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(launch.env === undefined ? {} : { env: launch.env }),
      ...(launch.cwd === undefined ? {} : { cwd: launch.cwd }),
    });
    started.once('error', () => {});
    const child = new Child(name, started, launch.onLine);
    this.tell(`add ${child.pid}`);
    this.children = [...this.children, child];
    this.onChange(this.children);
    void child.exited.then(() => {
      this.tell(`drop ${child.pid}`);
      this.children = this.children.filter((other) => other !== child);
      this.onChange(this.children);
    });
    return child;
  }

  private tell(text: string): void {
    if (this.watchdog.stdin?.writable) this.watchdog.stdin.write(`${text}\n`);
  }

  /** Stops everything, newest first; returns when no process is left. */
  async stop(graceMs = 11_000): Promise<void> {
    this.ended = true;
    for (const child of [...this.children].reverse()) await child.stop('SIGTERM', graceMs);
    this.tell('done');
    this.watchdog.stdin?.end();
    await this.watchdogExited;
  }

  /** Ends everything at once. `stop` afterwards waits for the last of it. */
  kill(): void {
    for (const child of this.children) child.signal('SIGKILL');
  }
}
