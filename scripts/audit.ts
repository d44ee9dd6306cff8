import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Network } from '@sealpost/client/node';
import { Folder, readJson } from './folder.js';
import { readSettings } from './settings.js';
import { print, runCommand } from './terminal.js';

const HELP = `
npm run audit: re-derives every hash, signature, nonce, content address and header of the running local network from the L1
and the batch files alone, and reports each mismatch. The same as sealpost audit, which works for any network.

Environment
  SEALPOST_DATA   folder of the network (.sealpost)

Examples
  npm run audit
  npm run audit -- --json
  npx sealpost audit --url https://… --l1 https://… --settlement 0x…

Exit code: 0 everything holds, 3 something is false, 4 could not be checked.
`;

const SEALPOST = fileURLToPath(new URL('../client/bin/sealpost.js', import.meta.url));

await runCommand(async () => {
  const args = process.argv.slice(2);
  if (args.includes('--help') || args.includes('-h')) {
    print(HELP.trim());
    return 0;
  }
  const network = readJson(new Folder(readSettings().data).file('network.json')) as Network | undefined;
  const env =
    network === undefined
      ? {}
      : { SEALPOST_URL: network.url, SEALPOST_L1_URL: network.l1Url, SEALPOST_SETTLEMENT: network.settlement };
  const child = spawn(process.execPath, [SEALPOST, 'audit', ...args], { stdio: 'inherit', env: { ...env, ...process.env } });
  return await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
});
