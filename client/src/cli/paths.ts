import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CliError } from './exit.js';

/**
 * A file that a person names is written where they said: a folder that is not there is more likely a slip than a wish.
 * @throws CliError
 */
export async function needFolderOf(path: string): Promise<void> {
  const folder = dirname(path);
  const parent = await stat(folder).catch(() => undefined);
  if (parent === undefined) throw new CliError(1, 'file.missing', `there is no folder ${folder}`, `mkdir -p ${folder}`);
  if (!parent.isDirectory()) throw new CliError(1, 'file.missing', `${folder} is no folder`, `ls -l ${folder}`);
  const there = await stat(path).catch(() => undefined);
  if (there?.isDirectory()) throw new CliError(1, 'file.folder', `${path} is a folder: --out takes a file`, `ls ${path}`);
}
