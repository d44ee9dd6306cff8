import { developmentParameters } from '@sealpost/contracts';
import { roleAccount, writeRoleKeys } from './accounts.js';
import { ensureDeployment } from './deployment.js';
import { Folder } from './folder.js';
import { readFlags, readSettings } from './settings.js';
import { Progress, print, runCommand } from './terminal.js';

const HELP = `
npm run deploy: puts the Settlement contract on an Ethereum development node that you run, registers its operator
with a bond, and puts the keys of a local network into its folder. Does nothing if it stands already.

Environment
  SEALPOST_L1_URL   the node (http://127.0.0.1:8545)
  SEALPOST_DATA     folder of the network (.sealpost)
  SEALPOST_LANES    number of lanes, fixed for good (1)

Flags
  --json            the deployment as one line of JSON

Examples
  npx anvil --block-time 1
  npm run deploy
  npm run sequencer
`;

const OUTCOMES = { deployed: 'deployed', resumed: 'stands already', redeployed: 'deployed again: the L1 had forgotten it' };

await runCommand(async () => {
  const flags = readFlags(HELP, { json: { type: 'boolean' } });
  if (flags === undefined) return 0;
  const settings = readSettings();
  const l1Url = settings.l1Url ?? 'http://127.0.0.1:8545';
  const folder = new Folder(settings.data);
  const progress = new Progress();
  await folder.acquire((names) => progress.show(`Waiting for what the last network left behind: ${names}`));
  try {
    progress.show(`Deploying to ${l1Url}`);
    writeRoleKeys(folder.file('keys'));
    const { deployment, outcome } = await ensureDeployment(folder, l1Url, {
      operator: roleAccount('operator').account,
      laneCount: settings.laneCount,
      parameters: developmentParameters,
      poster: roleAccount('poster').account.address,
      receipts: roleAccount('receipts').account,
    });
    progress.clear();
    if (flags.json) {
      print(JSON.stringify({ ...deployment, outcome }));
      return 0;
    }
    print(`Settlement ${deployment.settlement} on chain ${deployment.chainId}: ${OUTCOMES[outcome]}`);
    print(`Recorded in ${folder.shown}/deployment.json, with public keys for development only.`);
    print('Next: npm run sequencer');
    return 0;
  } finally {
    progress.clear();
    folder.release();
  }
});
