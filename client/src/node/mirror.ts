import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BatchHeader, Domain } from '@sealpost/prover';
import { receiptsName } from '../receipts.js';
import type { BatchSource } from '../watch.js';
import { systemCode, writeFileAtomically } from './files.js';

/** Batch files in a folder: `<folder>/<chainId>-<settlement>/lane-<lane>/<number>.batch`, each with exactly its bytes (PROTOCOL.md §5). */
export interface Mirror extends BatchSource {
  /** The file is durable once it resolves. One that is there is left alone: its bytes are what the L1 says, or it is put right. */
  put(header: BatchHeader, file: Uint8Array): Promise<void>;
  /** Whether it has a file for each of a lane's batches up to a number. */
  hasAll(lane: number, number: bigint): Promise<boolean>;
}

/** A copy of a log's batch files: for a standby that may have to take the lane over, and for whoever checks the log again. */
export function fileMirror(folder: string, domain: Domain): Mirror {
  const own = join(folder, receiptsName(domain));
  const pathOf = ({ lane, number }: BatchHeader) => join(own, `lane-${lane}`, `${number}.batch`);
  const kept = async (header: BatchHeader): Promise<Uint8Array | undefined> => {
    try {
      return await readFile(pathOf(header));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  };
  return {
    name: folder,
    get: kept,
    async hasAll(lane, number) {
      const names = new Set(
        await readdir(join(own, `lane-${lane}`)).catch((error) => {
          if (systemCode(error) === 'ENOENT') return [];
          throw error;
        }),
      );
      for (let one = 1n; one <= number; one++) if (!names.has(`${one}.batch`)) return false;
      return true;
    },
    async put(header, file) {
      const there = await kept(header);
      if (there !== undefined && Buffer.compare(there, file) === 0) return;
      await writeFileAtomically(pathOf(header), file);
    },
  };
}
