import { closeSync, fdatasyncSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { ENTRY_PREFIX_BYTES } from '@sealpost/prover';

/** Where the bundles of a database are: beside it, because they belong together. */
export const bundleFilePath = (databasePath: string): string => `${databasePath}-bundles`;

/** Bytes of an entry in the file before its bundle: `void(1) ‖ previous(8) ‖ length(4)`. */
export const BUNDLE_AT = ENTRY_PREFIX_BYTES;

/**
 * The bundles of a log in a file that only grows, each as a batch file has it (PROTOCOL.md §5), those of one append one after
 * the other behind its record (append-record.ts). In SQLite a bundle would be written twice, into the WAL and from there into
 * the database, and checksummed, and read again for the second time: that was half of all the work. What is not a whole append
 * was promised to nobody: at the next start it is cut off.
 */
export class BundleFile {
  private readonly descriptor: number;

  constructor(path: string, mode: 'read' | 'write') {
    this.descriptor = openSync(path, mode === 'read' ? 'r' : 'r+');
  }

  /** Bytes in the file, those that do not count among them. */
  get length(): number {
    return fstatSync(this.descriptor).size;
  }

  /** `length` bytes from `offset` on. */
  read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let at = 0; at < length; ) {
      const read = readSync(this.descriptor, bytes, at, length - at, offset + at);
      if (read === 0) throw new Error(`the bundle file ends at byte ${offset + at}, expected ${offset + length}`);
      at += read;
    }
    return bytes;
  }

  /** Not durable before `sync`. One that throws may have written a part. */
  write(bytes: Uint8Array, offset: number): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.descriptor, bytes, at, bytes.length - at, offset + at);
  }

  /** Returns when all that was written is on disk. */
  sync(): void {
    fdatasyncSync(this.descriptor);
  }

  truncate(length: number): void {
    ftruncateSync(this.descriptor, length);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}
