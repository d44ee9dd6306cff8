import { spawn } from 'node:child_process';
import { readDeployment } from './deployment.js';
import { Folder } from './folder.js';
import { Network, SEQUENCER, sequencerEnvironment } from './network.js';
import { choosePort } from './ports.js';
import { readFlags, readSettings } from './settings.js';
import { Failure, paint, print, runCommand, say } from './terminal.js';

const HELP = `
npm run sequencer: the sequencer alone, on an Ethereum node that you run. Logs to the terminal; ctrl-c stops.

  npm run sequencer               runs it; the first time for a folder it makes the log's database, later a missing one is an error
  npm run sequencer -- --create   makes the database anew where it was lost, and runs: what it held and the L1 does not is gone
  npm run sequencer -- check      prints its configuration, secrets masked, and checks it
  npm run sequencer -- <command>  any other command of sequencer/dist/main.js, with the network's configuration

Environment
  SEALPOST_L1_URL   the node (http://127.0.0.1:8545)
  SEALPOST_PORT     port of the HTTP API (7325)
  SEALPOST_DATA     folder of the network (.sealpost), where npm run deploy left contract and keys
  Every other SEALPOST_ variable goes to the sequencer.

Examples
  npx anvil --block-time 1
  npm run deploy
  npm run sequencer
`;

await runCommand(async () => {
  const [command = 'run', ...rest] = process.argv.slice(2).filter((arg) => arg !== '--no-color');
  const settings = readSettings();
  const l1Url = settings.l1Url ?? 'http://127.0.0.1:8545';
  const folder = new Folder(settings.data);
  if (command !== 'run' && !command.startsWith('-')) return await pass([command, ...rest], folder, l1Url);
  const flags = readFlags(HELP, { create: { type: 'boolean' } }, command === 'run' ? rest : [command, ...rest]);
  if (flags === undefined) return 0;
  const abort = new AbortController();
  const stopped = new Promise<undefined>((resolve) => abort.signal.addEventListener('abort', () => resolve(undefined)));
  let network: Network | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (abort.signal.aborted) network?.kill();
      else say('Stopping; ctrl-c again stops at once.');
      abort.abort();
    });
  }
  await folder.acquire();
  try {
    const http = await choosePort(settings.port, 'SEALPOST_PORT');
    if (http.said !== undefined) say(http.said);
    network = await Network.start(
      {
        folder,
        port: http.port,
        l1Url,
        laneCount: readDeployment(folder)?.laneCount ?? settings.laneCount,
        deploy: false,
        create: flags.create === true,
        onBegun: (begun) => {
          network = begun;
        },
        onLog: (line) => print(process.stdout.isTTY ? pretty(line) : line),
        onNote: say,
      },
      abort.signal,
    );
  } catch (error) {
    folder.release();
    if (abort.signal.aborted) return 130;
    throw error;
  }
  try {
    const end = await Promise.race([network.broken(), stopped]);
    if (end !== undefined && !abort.signal.aborted) throw new Failure(end, `more in ${folder.shown}/log.jsonl`);
    return 0;
  } finally {
    await network.stop();
  }
});

/** Runs another of its commands in our terminal. */
async function pass(args: readonly string[], folder: Folder, l1Url: string): Promise<number> {
  const deployment = readDeployment(folder);
  if (deployment === undefined) throw new Failure(`no contract was deployed for ${folder.shown} yet`, 'npm run deploy');
  const env = { ...sequencerEnvironment(folder, deployment, l1Url), ...process.env };
  // The folder of the network is ours to read; the sequencer's own is inside it.
  env.SEALPOST_DATA = folder.file('sequencer');
  const child = spawn(process.execPath, [SEQUENCER, ...args], { stdio: 'inherit', env });
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** One log line for eyes: `12:00:01 batch.sealed number=3 count=40`. */
function pretty(line: string): string {
  try {
    const { time, level, event, pid: _pid, hostname: _hostname, ...facts } = JSON.parse(line) as Record<string, unknown>;
    const at = new Date(typeof time === 'number' || typeof time === 'string' ? time : Date.now()).toTimeString().slice(0, 8);
    const style =
      level === 'error' || level === 50 || level === 60 ? 'red' : level === 'warn' || level === 40 ? 'yellow' : 'bold';
    const rest = Object.entries(facts).map(
      ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    );
    return `${paint('dim', at)} ${paint(style, String(event ?? ''))} ${rest.join(' ')}`;
  } catch {
    return line;
  }
}
