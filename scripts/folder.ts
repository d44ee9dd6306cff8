import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { type Child, type Identity, identify, isRunning } from './processes.js';
import { Failure } from './terminal.js';

/**
 * Everything that a network keeps, and the only things that a reset removes. The outbox is the command line's (sealpost send):
 * it counts nonces of a log that a reset drops.
 */
const CONTENT = [
  'anvil.json',
  'anvil-cache',
  'deployment.json',
  'keys',
  'log.jsonl',
  'network.json',
  'outbox',
  'running.json',
  'sequencer',
] as const;

/** Who runs a network: written while it runs, so that a second start, and the next one after a crash, know. */
interface Running {
  readonly version: 1;
  readonly owner: Identity;
  readonly children: readonly (Identity & { readonly name: string })[];
}

/** Writes a file so that a reader, or a crash, sees the old one or the new one, whole; on disk, name included, when it returns. */
export function writeAtomically(file: string, text: string, mode = 0o644): void {
  const next = `${file}.${process.pid}.tmp`;
  const written = openSync(next, 'w', mode);
  try {
    writeFileSync(written, text);
    fsyncSync(written);
  } finally {
    closeSync(written);
  }
  renameSync(next, file);
  // Windows cannot open folders; its renames are journaled.
  if (process.platform === 'win32') return;
  const folder = openSync(dirname(file), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** A JSON file's value; undefined if there is none, or not a whole one. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** mkdir with its parents. Not Node's `recursive`, which never ends where making a folder says ENOENT, as /proc does. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  if (!existsSync(dirname(path))) makeFolder(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** A network's folder: what it keeps over restarts, and the lock that says who uses it. */
export class Folder {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
  }

  /** As a person wrote it. */
  get shown(): string {
    const path = relative(process.cwd(), this.path);
    return path === '' || path.startsWith('..') ? this.path : path;
  }

  file(name: (typeof CONTENT)[number]): string {
    return join(this.path, name);
  }

  get isNew(): boolean {
    return !existsSync(this.file('deployment.json'));
  }

  /** Bytes of everything in it. */
  bytes(): number {
    let total = 0;
    for (const entry of existsSync(this.path) ? readdirSync(this.path, { recursive: true, encoding: 'utf8' }) : []) {
      const stats = statSync(join(this.path, entry), { throwIfNoEntry: false });
      if (stats?.isFile()) total += stats.size;
    }
    return total;
  }

  /** Who uses the folder now. */
  owner(): Identity | undefined {
    const running = this.running();
    return running !== undefined && isRunning(running.owner) ? running.owner : undefined;
  }

  private running(): Running | undefined {
    const running = readJson(this.file('running.json')) as Running | undefined;
    return running?.version === 1 ? running : undefined;
  }

  /**
   * Makes the folder ours. Processes that a killed owner left behind are waited for, then ended.
   * @throws Failure while somebody else uses it
   */
  async acquire(onWait: (names: string) => void = () => {}): Promise<void> {
    try {
      makeFolder(this.path);
      // A file, not access(): the superuser is told yes also where nothing can be written.
      writeFileSync(join(this.path, `.${process.pid}.tmp`), '');
      rmSync(join(this.path, `.${process.pid}.tmp`));
    } catch (error) {
      throw new Failure(
        `the folder ${this.path} cannot be written: ${(error as Error).message}`,
        'choose another one: SEALPOST_DATA=…',
      );
    }
    const self = identify(process.pid);
    if (self === undefined) throw new Error('this process cannot find itself');
    const lock = this.file('running.json');
    const mine = `${lock}.${process.pid}`;
    writeFileSync(mine, JSON.stringify({ version: 1, owner: self, children: [] } satisfies Running));
    try {
      for (;;) {
        try {
          // A link is made whole or not at all, and not over another one.
          linkSync(mine, lock);
          return;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        }
        const owner = this.owner();
        if (owner !== undefined) throw this.alreadyRunning(owner);
        const left = this.running();
        await this.endLeftovers(left?.children ?? [], onWait);
        // Two starts may be here at once; only one can move what both have read, and it moves nothing newer.
        const moved = `${lock}.${process.pid}.old`;
        try {
          renameSync(lock, moved);
        } catch {
          continue;
        }
        const taken = readJson(moved) as Running | undefined;
        if (taken !== undefined && isRunning(taken.owner)) {
          renameSync(moved, lock);
          throw this.alreadyRunning(taken.owner);
        }
        rmSync(moved, { force: true });
      }
    } finally {
      rmSync(mine, { force: true });
    }
  }

  private alreadyRunning(owner: Identity): Failure {
    const network = readJson(this.file('network.json')) as { url?: string; pid?: number } | undefined;
    const where = network?.pid === owner.pid && network.url !== undefined ? `, ${network.url}` : '';
    return new Failure(
      `already running, pid ${owner.pid}${where} (${this.shown})`,
      `npx sealpost status, or stop it: kill ${owner.pid}, or use another folder: SEALPOST_DATA=…`,
    );
  }

  private async endLeftovers(children: Running['children'], onWait: (names: string) => void): Promise<void> {
    // Their watchdog is stopping them in order, if it lives; if not, it is for us to ask, and then to insist.
    const since = performance.now();
    let asked = false;
    for (let alive = children.filter(isRunning); alive.length > 0; alive = alive.filter(isRunning)) {
      onWait(alive.map(({ name, pid }) => `${name}, pid ${pid}`).join('; '));
      const waitedMs = performance.now() - since;
      if (waitedMs > 16_000) for (const { pid } of alive) process.kill(pid, 'SIGKILL');
      else if (waitedMs > 3_000 && !asked) {
        asked = true;
        for (const { pid } of alive) process.kill(pid, 'SIGTERM');
      }
      await new Promise((wake) => setTimeout(wake, 50));
    }
  }

  /** Writes down which processes are ours, for the start after a crash. */
  record(children: readonly Child[]): void {
    const owner = identify(process.pid);
    if (owner === undefined) return;
    const running: Running = { version: 1, owner, children: children.map(({ name, identity }) => ({ name, ...identity })) };
    writeAtomically(this.file('running.json'), JSON.stringify(running));
  }

  /** Lets the next one in. */
  release(): void {
    rmSync(this.file('network.json'), { force: true });
    rmSync(this.file('running.json'), { force: true });
  }

  /**
   * Removes what a network keeps, and nothing else; the folder too, if that empties it.
   * @returns names of what was there besides
   * @throws Failure while a network runs in it
   */
  reset(): string[] {
    const owner = this.owner();
    if (owner !== undefined) {
      throw new Failure(
        `a network runs in ${this.shown}, pid ${owner.pid}`,
        `stop it first (ctrl-c, or kill ${owner.pid}), then npm run reset`,
      );
    }
    if (!existsSync(this.path)) return [];
    for (const name of CONTENT) rmSync(join(this.path, name), { recursive: true, force: true });
    for (const name of readdirSync(this.path)) {
      if (/^(?:\.\d+|.+\.json\.\d+(?:\.old)?|.+\.\d+)\.tmp$|^running\.json\.\d+(?:\.old)?$/.test(name))
        rmSync(join(this.path, name));
    }
    const rest = readdirSync(this.path);
    if (rest.length === 0) rmSync(this.path, { recursive: true });
    return rest;
  }
}
