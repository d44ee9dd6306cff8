import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { dataCid, dataHash, type Hex } from '@sealpost/prover';
import { type BatchFiles, ImportError } from '../import.js';
import type { Genesis } from '../ports.js';
import { nativeHashing } from './native.js';

const CHUNK_BYTES = 1_048_576;

/**
 * Batch files in a folder, as `sealpost watch --mirror` writes them: `<chain id>-<contract>/lane-<lane>/<number>.batch`, each with
 * the bytes of PROTOCOL.md §5.
 */
export function mirroredFiles(folder: string, { chainId, settlement }: Pick<Genesis, 'chainId' | 'settlement'>): BatchFiles {
  return ({ lane, number, firstSequence, count, dataHash: expected }) => {
    const path = join(folder, `${chainId}-${settlement}`, `lane-${lane}`, `${number}.batch`);
    const fault = (what: string, cause?: unknown) =>
      new ImportError(
        `lane ${lane}: ${path} ${what}: batch ${number}, entries ${firstSequence} to ${firstSequence + BigInt(count) - 1n}, cannot be imported. ` +
          `Fetch it from whoever has it, with \`sealpost watch --mirror ${folder}\`, and run this again: it goes on there. ` +
          'Where nobody has it any more nobody can serve the log: do not take the lane over',
        { cause },
      );
    const parts = () => partsOf(path, fault);
    let got: Hex;
    try {
      got = dataHash(parts(), nativeHashing.sha256);
    } catch (error) {
      if (error instanceof ImportError) throw error;
      throw fault('is no batch file', error);
    }
    if (got !== expected) throw fault(`is ${dataCid(got)}, expected ${dataCid(expected)}: remove it`);
    return parts();
  };
}

/** A file's bytes, a piece at a time, each in memory of its own. */
function* partsOf(path: string, fault: (what: string, cause: unknown) => ImportError): Generator<Uint8Array> {
  const open = () => {
    try {
      return openSync(path, 'r');
    } catch (error) {
      const isAway = (error as { code?: string }).code === 'ENOENT';
      throw fault(isAway ? 'is not there' : `cannot be read (${(error as Error).message})`, error);
    }
  };
  const descriptor = open();
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      const read = readSync(descriptor, chunk, 0, CHUNK_BYTES, null);
      if (read === 0) return;
      yield chunk.subarray(0, read);
    }
  } finally {
    closeSync(descriptor);
  }
}
