import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Domain, type Receipt, receiptFromJson, receiptToJson } from '@sealpost/prover';
import { type Clock, systemClock } from '../clock.js';
import { type KeptReceipt, type ReceiptKeeper, type ReceiptReader, receiptsName } from '../receipts.js';
import { systemCode } from './files.js';

export interface FileReceiptsOptions {
  readonly folder: string;
  readonly clock?: Clock | undefined;
}

/** A file takes receipts for so long, or so many; then its writer begins another. */
const MAX_FILE_AGE_MS = 60_000;
const MAX_FILE_RECEIPTS = 8_192;
/** What is kept at the most, where nobody watches and so nothing is ever done: long beyond finality, and half a million receipts. */
const MAX_AGE_MS = 30 * 86_400_000;
const MAX_FILES = 50_000;
const MAX_BYTES = 1_073_741_824;
const MAX_FILE_BYTES = 16_777_216;
/** A file that nobody has written to for so long has no writer any more. */
const IDLE_MS = 10 * MAX_FILE_AGE_MS;
const READ_BYTES = 1_048_576;

interface Segment {
  readonly path: string;
  readonly begunAt: number;
  receipts: number;
}

/**
 * Keeps receipts in files, one JSON object a line, one folder a network; any number of processes may keep theirs in the same
 * folder. A line is written before `keep` resolves, without fsync: a power failure may take the newest ones. What no watch
 * removes goes after 30 days, or when there is more than a gibibyte of it, the oldest first.
 */
export function fileReceipts({ folder, clock = systemClock }: FileReceiptsOptions): ReceiptKeeper {
  const segments = new Map<string, Segment>();
  let waiting = new Map<string, string[]>();
  let writing: Promise<void> | undefined;

  const write = async (): Promise<void> => {
    // What comes in this turn is written together.
    await Promise.resolve();
    const batch = waiting;
    waiting = new Map();
    writing = undefined;
    for (const [network, lines] of batch) {
      let segment = segments.get(network);
      const isOver =
        segment !== undefined && (clock.now() - segment.begunAt > MAX_FILE_AGE_MS || segment.receipts >= MAX_FILE_RECEIPTS);
      if (segment === undefined || isOver) {
        const begunAt = clock.now();
        const name = `${String(begunAt).padStart(15, '0')}-${randomBytes(6).toString('hex')}.jsonl`;
        await mkdir(join(folder, network), { recursive: true, mode: 0o700 });
        await removeOldest(join(folder, network), begunAt);
        segment = { path: join(folder, network, name), begunAt, receipts: 0 };
        segments.set(network, segment);
      }
      segment.receipts += lines.length;
      try {
        await appendFile(segment.path, lines.join(''), { mode: 0o600 });
      } catch (error) {
        // Half a line may be there: nothing is written behind it.
        segments.delete(network);
        throw error;
      }
    }
  };

  return {
    keep(domain: Domain, receipt: Receipt) {
      const network = receiptsName(domain);
      const line = `${JSON.stringify(receiptToJson(receipt))}\n`;
      const lines = waiting.get(network);
      if (lines === undefined) waiting.set(network, [line]);
      else lines.push(line);
      writing ??= write();
      return writing;
    },
  };
}

/** Names begin with the time at which a file was begun. */
async function removeOldest(folder: string, now: number): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.jsonl')).sort();
  let bytes = 0;
  // Each has at most some 12 MB: few are below the limit together, whatever they have.
  if (names.length * MAX_FILE_BYTES <= MAX_BYTES && now - Number.parseInt(names[0] ?? '', 10) <= MAX_AGE_MS) return;
  for (const [age, name] of names.reverse().entries()) {
    const path = join(folder, name);
    // Another process may have removed it in this moment.
    bytes += await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
    if (age < MAX_FILES && bytes <= MAX_BYTES && now - Number.parseInt(name, 10) <= MAX_AGE_MS) continue;
    await unlink(path).catch(() => {});
  }
}

interface OpenFile {
  /** How far it was read. */
  offset: number;
  /** Given out, and not done. */
  open: number;
}

export interface FileReceiptReaderOptions extends FileReceiptsOptions {
  /** Told of lines that are no receipts: they are left out. */
  readonly onDamaged?: ((path: string, line: string) => void) | undefined;
}

/** Reads what processes keep in a folder, also while they do; a file whose receipts are all done is removed. */
export function fileReceiptReader(
  domain: Domain,
  { folder, clock = systemClock, onDamaged = () => {} }: FileReceiptReaderOptions,
): ReceiptReader {
  const own = join(folder, receiptsName(domain));
  const files = new Map<string, OpenFile>();

  const sweep = async (name: string, file: OpenFile): Promise<void> => {
    if (file.open > 0 || file.offset === 0) return;
    const path = join(own, name);
    // Gone already: by another reader, or by age.
    const there = await stat(path).catch(absent);
    if (there !== undefined && (there.size > file.offset || clock.now() - there.mtimeMs < IDLE_MS)) return;
    await unlink(path).catch(absent);
    files.delete(name);
  };

  return {
    async more(limit) {
      const fresh: KeptReceipt[] = [];
      const names = await readdir(own).catch((error) => {
        if (systemCode(error) === 'ENOENT') return [];
        throw error;
      });
      for (const name of names.filter((one) => one.endsWith('.jsonl')).sort()) {
        if (fresh.length >= limit) break;
        let file = files.get(name);
        if (file === undefined) {
          file = { offset: 0, open: 0 };
          files.set(name, file);
        }
        const owner = file;
        for (const line of await linesFrom(join(own, name), file, limit - fresh.length)) {
          const receipt = parse(line);
          if (receipt === undefined) {
            onDamaged(join(own, name), line);
            continue;
          }
          owner.open++;
          let isDone = false;
          const done = () => {
            if (!isDone) owner.open--;
            isDone = true;
          };
          fresh.push({ receipt, done });
        }
        if (fresh.length < limit) await sweep(name, file);
      }
      return fresh;
    },
  };
}

/** Whole lines that were not read before; a line that is being written is left for the next time. */
async function linesFrom(path: string, file: OpenFile, limit: number): Promise<string[]> {
  const lines: string[] = [];
  const handle = await open(path, 'r').catch(absent);
  if (handle === undefined) return lines;
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    while (lines.length < limit) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, file.offset);
      const read = buffer.subarray(0, bytesRead);
      let at = 0;
      for (let end = read.indexOf(0x0a, at); end >= 0 && lines.length < limit; end = read.indexOf(0x0a, at)) {
        lines.push(read.toString('utf8', at, end));
        at = end + 1;
      }
      file.offset += at;
      if (at === 0 || bytesRead < buffer.length) break;
    }
    return lines;
  } finally {
    await handle.close();
  }
}

function absent(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error;
}

function parse(line: string): Receipt | undefined {
  try {
    return receiptFromJson(JSON.parse(line));
  } catch {
    return undefined;
  }
}
