import { randomBytes } from 'node:crypto';
import { closeSync, fdatasyncSync, fsyncSync, openSync, readdirSync, writevSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { ProcessLine } from './scenario.js';

// One contender at appending blocks to a log: a process of its own. Told by its first argument, answers on stdout. Run by
// peers.ts.

/** What an append awaits before the next one begins. */
export type AppendMode =
  /** Bytes are handed to the system: a power cut loses them. */
  | 'no fsync'
  /** The system says that the bytes are on the disk. */
  | 'fdatasync'
  /** hypercore only: RocksDB writes its table of recent writes out as a file, with everything that takes. */
  | 'memtable flush';

/** What a process is told. */
export interface AppendPlan {
  readonly log: 'file' | 'hypercore';
  readonly mode: AppendMode;
  /** Blocks an append; one wait for the disk for all of them. */
  readonly group: number;
  readonly blockBytes: number;
  /** An empty folder, on the disk that is measured. */
  readonly folder: string;
  readonly ms: number;
}

/** What it answers. */
export interface AppendResult {
  readonly blocksPerSecond: number;
  /** Mean time of one append of a group. */
  readonly appendMs: number;
}

/** Appends a group of blocks, and returns when it is as safe as the mode says. */
interface Log {
  append(blocks: readonly Buffer[]): Promise<void> | void;
  close(): Promise<void> | void;
}

/** The part of hypercore's interface that is used here; it comes without types. */
interface Hypercore {
  ready(): Promise<void>;
  append(blocks: readonly Buffer[]): Promise<unknown>;
  close(): Promise<void>;
  readonly core: { readonly storage: { readonly store: { readonly db: { flush(): Promise<void> } } } };
}

/** The least that makes bytes durable: nothing is hashed, indexed or signed. */
function openFile(folder: string, mode: AppendMode): Log {
  const file = openSync(join(folder, 'log'), 'a');
  return {
    append: (blocks) => {
      let length = 0;
      for (const block of blocks) length += block.length;
      const written = writevSync(file, blocks as Buffer[]);
      if (written !== length) throw new Error(`${written} of ${length} bytes were written`);
      if (mode === 'fdatasync') fdatasyncSync(file);
    },
    close: () => closeSync(file),
  };
}

/**
 * hypercore 11 over its own storage, RocksDB. Its append awaits a RocksDB write with default options: into the write-ahead
 * log without a sync. Nothing in its interface asks for one: `flush` of its storage flushes the default column family, where
 * no block is, so it does not reach the disk either. Durable are therefore two ways around it: fdatasync of the write-ahead
 * log's file, which holds all of an append once it returns; and a flush of the column family that has the blocks.
 */
async function openHypercore(folder: string, mode: AppendMode): Promise<Log> {
  const Core = createRequire(import.meta.url)('hypercore') as new (folder: string) => Hypercore;
  const core = new Core(folder);
  await core.ready();
  const tables = join(folder, 'db');
  const files = new Map<string, number>();
  const syncLog = () => {
    const names = readdirSync(tables).filter((name) => name.endsWith('.log'));
    for (const name of names) {
      if (files.has(name)) continue;
      files.set(name, openSync(join(tables, name), 'r+'));
      // A new file is found after a power cut only if its folder was synced.
      const directory = openSync(tables, 'r');
      fsyncSync(directory);
      closeSync(directory);
    }
    for (const [name, file] of files) {
      // What RocksDB has removed stands, synced, in its tables.
      if (names.includes(name)) fdatasyncSync(file);
      else {
        closeSync(file);
        files.delete(name);
      }
    }
  };
  return {
    append: async (blocks) => {
      await core.append(blocks);
      if (mode === 'fdatasync') syncLog();
      else if (mode === 'memtable flush') await core.core.storage.store.db.flush();
    },
    close: async () => {
      for (const file of files.values()) closeSync(file);
      await core.close();
    },
  };
}

async function measure({ log: which, mode, group, blockBytes, folder, ms }: AppendPlan): Promise<AppendResult> {
  // More than one group of them, so that no two appends in a row are of the same bytes; random, so that nothing compresses.
  const blocks = Array.from({ length: group * 4 }, () => randomBytes(blockBytes));
  const log = which === 'file' ? openFile(folder, mode) : await openHypercore(folder, mode);
  let next = 0;
  const append = async () => {
    await log.append(blocks.slice(next, next + group));
    next = (next + group) % blocks.length;
  };
  try {
    for (const until = performance.now() + ms / 3; performance.now() < until; ) await append();
    const began = performance.now();
    let appends = 0;
    let now = began;
    for (; now - began < ms; now = performance.now()) {
      await append();
      appends++;
    }
    return { blocksPerSecond: (appends * group * 1_000) / (now - began), appendMs: (now - began) / appends };
  } finally {
    await log.close();
  }
}

const line: ProcessLine<AppendResult> = { result: await measure(JSON.parse(process.argv[2] ?? '{}') as AppendPlan) };
process.stdout.write(`${JSON.stringify(line)}\n`);
