import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { type Clock, systemClock } from '../clock.js';
import { LocalError } from '../errors.js';
import {
  checkPlace,
  checkReplacement,
  inOrder,
  jobProgress,
  laterHead,
  type Outbox,
  type OutboxHead,
  type OutboxLane,
  type OutboxRecord,
  outboxName,
} from '../outbox.js';
import { syncFolder, systemCode, writeFileAtomically } from './files.js';

export interface FileOutboxOptions {
  readonly folder: string;
  readonly clock?: Clock | undefined;
}

const LOCK_POLL_MS = 25;
const FORMAT = 'sealpost-outbox/1';

/**
 * An outbox of files, one folder an account, lane and network; every step is on disk (fsync) before it counts:
 *
 * - `<nonce>.bundle`: a signed bundle, with a line of JSON and its digest before the bytes
 * - `head.json`: the next nonce and the last receipt
 * - `jobs/<digest>.json`: how far a named job is
 * - `refused/`: bundles that the sequencer refused for good, and those that were signed behind them; never read
 * - `lock`: who has the folder; a lock whose process is gone is taken over
 *
 * Bundles are encrypted messages: nothing in here can be read without the recipients' keys.
 */
export function fileOutbox({ folder, clock = systemClock }: FileOutboxOptions): Outbox {
  return {
    async open(key, { signal }) {
      const own = join(folder, outboxName(key));
      await mkdir(own, { recursive: true, mode: 0o700 });
      const unlock = await lock(join(own, 'lock'), clock, signal);
      try {
        return await FileLane.load(own, unlock);
      } catch (error) {
        await unlock();
        throw error;
      }
    },
  };
}

class FileLane implements OutboxLane {
  readonly #folder: string;
  readonly #records: Map<bigint, OutboxRecord>;
  readonly #unlock: () => Promise<void>;
  #head: OutboxHead | undefined;

  private constructor(
    folder: string,
    head: OutboxHead | undefined,
    records: Map<bigint, OutboxRecord>,
    unlock: () => Promise<void>,
  ) {
    this.#folder = folder;
    this.#head = head;
    this.#records = records;
    this.#unlock = unlock;
  }

  static async load(folder: string, unlock: () => Promise<void>): Promise<FileLane> {
    const names = await readdir(folder);
    const head = names.includes('head.json') ? decodeHead(await readFile(join(folder, 'head.json'), 'utf8')) : undefined;
    const records = new Map<bigint, OutboxRecord>();
    const replaced = new Set<bigint>();
    for (const name of names) {
      if (!/^\d{20}\.bundle$/.test(name)) continue;
      const { record, replaces } = decodeRecord(await readFile(join(folder, name)), name);
      records.set(record.nonce, record);
      if (replaces !== undefined) replaced.add(replaces);
    }
    const lane = new FileLane(folder, head, records, unlock);
    // A crash in `replace`, after the new bundle was there and before the old one was gone.
    for (const nonce of replaced) if (records.has(nonce)) await lane.#forget(nonce);
    // A crash in `accept`, after the head moved.
    for (const record of [...records.values()]) {
      if (head !== undefined && record.nonce + BigInt(record.count) <= head.next && record.nonce < head.next) {
        await lane.#acceptJob(record);
        await lane.#forget(record.nonce);
      }
    }
    return lane;
  }

  get head(): OutboxHead | undefined {
    return this.#head;
  }

  get pending(): readonly OutboxRecord[] {
    return inOrder(this.#records.values());
  }

  async jobDone(name: string): Promise<number> {
    return jobProgress(name, await this.#acceptedOf(name), this.#records.values());
  }

  async put(record: OutboxRecord): Promise<void> {
    checkPlace(record, this.#head, this.#records.values());
    await writeFileAtomically(this.#pathOf(record.nonce), encodeRecord(record), { mode: 0o600, exclusive: true });
    this.#records.set(record.nonce, record);
  }

  async replace(nonce: bigint, record: OutboxRecord): Promise<void> {
    checkReplacement(nonce, record, this.#head, this.#records.values());
    // The new file names the old one, so that there is no moment at which both count. At the same nonce it is one rename.
    const replaces = record.nonce === nonce ? undefined : nonce;
    await writeFileAtomically(this.#pathOf(record.nonce), encodeRecord(record, replaces), { mode: 0o600 });
    this.#records.set(record.nonce, record);
    if (replaces !== undefined) await this.#forget(nonce);
  }

  async accept(nonce: bigint, next: OutboxHead): Promise<void> {
    const record = this.#records.get(nonce);
    const head = laterHead(this.#head, next);
    // The job before the head, the head before the bundle: a crash between two of them leaves a bundle that is submitted once
    // more, is answered with the same receipt, and ends up here again.
    if (record !== undefined) await this.#acceptJob(record);
    await writeFileAtomically(join(this.#folder, 'head.json'), encodeHead(head), { mode: 0o600 });
    this.#head = head;
    await this.#forget(nonce);
  }

  async drop(nonce: bigint): Promise<void> {
    const record = this.#records.get(nonce);
    if (record === undefined) return;
    // Out of the way for ever, and not thrown away: it may be the only copy.
    const refused = join(this.#folder, 'refused');
    await mkdir(refused, { recursive: true, mode: 0o700 });
    const path = this.#pathOf(nonce);
    await rename(path, join(refused, `${basename(path, '.bundle')}-${digestOf(record.bundle).slice(0, 16)}.bundle`));
    await syncFolder(refused);
    await syncFolder(this.#folder);
    this.#records.delete(nonce);
  }

  async close(): Promise<void> {
    await this.#unlock();
  }

  async #acceptJob(record: OutboxRecord): Promise<void> {
    if (record.job === undefined) return;
    const { name, done } = record.job;
    if (((await this.#acceptedOf(name)) ?? 0) >= done) return;
    await writeFileAtomically(this.#jobPath(name), JSON.stringify({ version: 1, name, done }), { mode: 0o600 });
  }

  async #acceptedOf(name: string): Promise<number | undefined> {
    try {
      const { done } = JSON.parse(await readFile(this.#jobPath(name), 'utf8')) as { done?: unknown };
      if (typeof done === 'number' && Number.isSafeInteger(done) && done >= 0) return done;
      throw damaged(this.#jobPath(name));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error instanceof LocalError ? error : damaged(this.#jobPath(name), error);
    }
  }

  /**
   * Only of a bundle that `load` forgets as well, by the head behind it or by the one that replaced it: a file that a power cut
   * brings back changes nothing, so there is no fsync to wait for.
   */
  async #forget(nonce: bigint): Promise<void> {
    await unlink(this.#pathOf(nonce)).catch((error) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
    this.#records.delete(nonce);
  }

  #pathOf(nonce: bigint): string {
    return join(this.#folder, `${String(nonce).padStart(20, '0')}.bundle`);
  }

  #jobPath(name: string): string {
    return join(this.#folder, 'jobs', `${createHash('sha256').update(name).digest('hex')}.json`);
  }
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function encodeRecord(record: OutboxRecord, replaces?: bigint): Uint8Array {
  const { nonce, count, bundle, job } = record;
  const head = {
    format: FORMAT,
    nonce: String(nonce),
    count,
    job,
    replaces: replaces === undefined ? undefined : String(replaces),
    sha256: digestOf(bundle),
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), bundle]);
}

function decodeRecord(file: Buffer, name: string): { record: OutboxRecord; replaces: bigint | undefined } {
  const end = file.indexOf(0x0a);
  const bundle = new Uint8Array(file.subarray(end + 1));
  try {
    const head = JSON.parse(file.subarray(0, end).toString('utf8')) as Record<string, unknown>;
    if (head.format !== FORMAT || head.sha256 !== digestOf(bundle)) throw new Error('not what was written');
    const record = {
      nonce: BigInt(head.nonce as string),
      count: Number(head.count),
      bundle,
      job: head.job as { name: string; done: number } | undefined,
    };
    return { record, replaces: head.replaces === undefined ? undefined : BigInt(head.replaces as string) };
  } catch (cause) {
    // Never skipped: it may be the only copy of a signed message, and its nonce must not be signed again.
    throw damaged(name, cause);
  }
}

const encodeHead = (head: OutboxHead): string =>
  JSON.stringify({
    version: 1,
    next: String(head.next),
    receipt: head.receipt === undefined ? undefined : { term: head.receipt.term, sequence: String(head.receipt.sequence) },
    postage: head.postage === undefined ? undefined : String(head.postage),
  });

function decodeHead(text: string): OutboxHead {
  try {
    const { version, next, receipt, postage } = JSON.parse(text) as {
      version: number;
      next: string;
      receipt?: { term: number; sequence: string };
      postage?: string;
    };
    if (version !== 1) throw new Error(`version ${version}`);
    return {
      next: BigInt(next),
      receipt: receipt === undefined ? undefined : { term: receipt.term, sequence: BigInt(receipt.sequence) },
      postage: postage === undefined ? undefined : BigInt(postage),
    };
  } catch (cause) {
    throw damaged('head.json', cause);
  }
}

const damaged = (name: string, cause?: unknown) =>
  new LocalError('outbox.damaged', `the outbox file ${name} is damaged: restore it, or move the folder away`, { cause });

/**
 * Takes a lock file, waiting for whoever has it. A lock of a process that is gone is broken by one alone: whoever holds the
 * lock's own lock looks once more, and removes what it saw. Nothing is moved aside and put back, so that a new lock is never
 * taken from its owner.
 */
async function lock(path: string, clock: Clock, signal: AbortSignal): Promise<() => Promise<void>> {
  const own: Holder = { ...self(), id: randomBytes(8).toString('hex') };
  const mine = `${JSON.stringify(own)}\n`;
  const temporary = `${path}.${own.id}`;
  await writeFile(temporary, mine, { flag: 'wx', mode: 0o600 });
  try {
    for (;;) {
      signal.throwIfAborted();
      if (await linked(temporary, path)) return () => unlockOwn(path, mine);
      if (isStale(await read(path)) && (await breakStale(temporary, path, mine))) continue;
      await clock.sleep(LOCK_POLL_MS, signal);
    }
  } finally {
    await unlink(temporary).catch(() => {});
  }
}

/** The whole content appears with the name: nobody sees an empty lock. False if the name is taken. */
async function linked(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Removes a lock whose process is gone. False if somebody else is at it. */
async function breakStale(temporary: string, path: string, mine: string): Promise<boolean> {
  const breaking = `${path}.breaking`;
  if (!(await linked(temporary, breaking))) {
    // Of a process that ended in these few lines: a lock like the other, and broken like it.
    return isStale(await read(breaking)) && breakStale(temporary, breaking, mine);
  }
  try {
    // Only whoever has `breaking` removes another's lock, so what is stale now is so until it is gone.
    if (isStale(await read(path))) await unlink(path).catch(() => {});
    return true;
  } finally {
    await unlockOwn(breaking, mine);
  }
}

const read = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);

async function unlockOwn(path: string, mine: string): Promise<void> {
  if ((await read(path)) === mine) await unlink(path).catch(() => {});
}

/** Who has a lock: a process, and not another one that got its number later. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, as the system tells it: opaque, only compared. Absent where it does not. */
  readonly started?: string | undefined;
  readonly id?: string;
}

const self = (): Holder => ({ pid: process.pid, host: hostname(), started: startOf(process.pid) });

/** Fixed when a process starts, so that a step of the clock changes nothing. Undefined if there is no such process, or no telling. */
function startOf(pid: number): string | undefined {
  if (process.platform === 'win32') return undefined;
  if (process.platform !== 'linux') {
    const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env: { LC_ALL: 'C' } });
    return stdout?.trim() || undefined;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command's name, in parentheses, may hold anything; fields are counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}/${fields[19]}`;
  } catch {
    return undefined;
  }
}

function isStale(text: string | undefined): boolean {
  if (text === undefined) return false;
  let holder: Partial<Holder>;
  try {
    holder = JSON.parse(text);
  } catch {
    return true;
  }
  // Another machine's processes cannot be seen from here.
  if (holder.host !== hostname() || typeof holder.pid !== 'number') return false;
  if (holder.started !== undefined) return startOf(holder.pid) !== holder.started;
  try {
    process.kill(holder.pid, 0);
    return false;
  } catch (error) {
    return systemCode(error) === 'ESRCH';
  }
}
