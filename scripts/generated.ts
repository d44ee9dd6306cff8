import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Writes a generated file; with --check writes nothing, and fails with `complaint` if the file is not what it would be. */
export function writeOrCheck(target: URL, text: string, complaint: string): void {
  if (!process.argv.includes('--check')) {
    writeFileSync(target, text);
    return;
  }
  if (existsSync(target) && readFileSync(target, 'utf8') === text) return;
  process.stderr.write(`${complaint}\n`);
  process.exitCode = 1;
}
