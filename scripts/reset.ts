import { Folder } from './folder.js';
import { readFlags, readSettings } from './settings.js';
import { formatBytes, print, runCommand, say } from './terminal.js';

const HELP = `
npm run reset: drops the state of the local network: chain, log, keys, records. Refuses while the network runs.

Environment
  SEALPOST_DATA   folder of the network (.sealpost)

Examples
  npm run reset
  SEALPOST_DATA=/tmp/second npm run reset
`;

await runCommand(async () => {
  if (readFlags(HELP, {}) === undefined) return 0;
  const folder = new Folder(readSettings().data);
  const bytes = folder.bytes();
  const rest = folder.reset();
  print(bytes === 0 ? `${folder.shown} was empty already.` : `${folder.shown}: ${formatBytes(bytes)} dropped.`);
  if (rest.length > 0) say(`Left where it was, because no network put it there: ${rest.join(', ')}`);
  return 0;
});
