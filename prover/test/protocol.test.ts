import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const page = readFileSync(new URL('../PROTOCOL.md', import.meta.url), 'utf8');

test("PROTOCOL.md's walk-through by hand works as it is printed", () => {
  const [, walk] = /```bash\n([\s\S]*?)```/.exec(page) ?? [];
  if (walk === undefined) throw new Error('no walk-through');
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const run = (script: string) => execFileSync('bash', ['-u', '-c', script], { cwd: root, encoding: 'utf8' }).trim().split('\n');
  expect(run(walk)).toEqual([
    'ok messagesRoot',
    'ok lane',
    'ok signature',
    'ok bundlesRoot',
    'ok batchHash',
    'ok expiry',
    'sequence 2, message 0x9fc79bf023910ca07f775cfc4ca2bf8f2bbc826b/0/1',
  ]);
  // And it is no ritual: with another payload its first comparison says so.
  const [beginning = ''] = walk.replace('payload=0x616761696e', 'payload=0x616761696f').split('# §12');
  expect(run(beginning).join()).toMatch(/^WRONG messagesRoot/);
});

test('every section that the code cites is on the page', () => {
  for (let section = 1; section <= 12; section++) expect(page).toMatch(new RegExp(`^## ${section}\\. `, 'm'));
});
