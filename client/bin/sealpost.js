#!/usr/bin/env node
// Committed, because npm links no bin whose file is absent at install; the program itself is the build.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const program = new URL('../dist/cli.js', import.meta.url);
if (existsSync(fileURLToPath(program))) {
  await import(program.href);
} else {
  process.stderr.write('sealpost: not built yet\n  Next: npm run build\n');
  process.exitCode = 1;
}
