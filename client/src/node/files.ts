import { randomBytes } from 'node:crypto';
import { type FileHandle, link, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Makes the names in a folder durable: what was renamed or unlinked in it stays so after a power cut. */
export async function syncFolder(path: string): Promise<void> {
  // Windows cannot open folders; its renames are journaled.
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export interface WriteOptions {
  readonly mode?: number;
  /** Refuses, with EEXIST, to replace a file. */
  readonly exclusive?: boolean;
}

/**
 * Writes a whole file or nothing: into a temporary file beside it, to disk, then under its name. A crash at any point leaves
 * the old file or the new one, and perhaps a `.tmp` that nobody reads.
 */
export async function writeFileAtomically(path: string, data: Uint8Array | string, options: WriteOptions = {}): Promise<void> {
  const { mode = 0o644, exclusive = false } = options;
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.${randomBytes(8).toString('hex')}.tmp`);
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'wx', mode);
    await file.writeFile(data);
    await file.sync();
    await file.close();
    file = undefined;
    if (exclusive) {
      // A link fails where a rename would replace.
      await link(temporary, path);
      await unlink(temporary);
    } else await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    await file?.close().catch(() => {});
    await unlink(temporary).catch(() => {});
    throw error;
  }
}

/** The `code` of a system error, such as ENOENT. */
export const systemCode = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;
