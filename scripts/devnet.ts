import { readFileSync } from 'node:fs';
import { l1Client } from './deployment.js';
import { Folder } from './folder.js';
import { Network } from './network.js';
import { choosePort } from './ports.js';
import { readFlags, readSettings } from './settings.js';
import { Failure, formatBytes, formatSeconds, Progress, paint, print, runCommand, say, shortHex } from './terminal.js';

const HELP = `
npm start: a local Sealpost network that stays up until ctrl-c: an Ethereum node (anvil), the Settlement contract, a
sequencer. State is kept: the next start goes on where this one ended.

Environment
  SEALPOST_PORT      port of the HTTP API, on 127.0.0.1 (7325; 0: any free one)
  SEALPOST_L1_PORT   port of anvil, on 127.0.0.1 (8545; 0: any free one)
  SEALPOST_L1_URL    an Ethereum development node of yours to use instead of starting one
  SEALPOST_DATA      folder of the network (.sealpost)
  SEALPOST_LANES     number of lanes, fixed when the network is first started (1)
  Every other SEALPOST_ variable goes to the sequencer: npm run sequencer -- check

Examples
  npm start
  SEALPOST_PORT=8000 npm start
  SEALPOST_DATA=/tmp/second SEALPOST_PORT=0 SEALPOST_L1_PORT=0 npm start
  npx anvil --block-time 1     and in another terminal:     SEALPOST_L1_URL=http://127.0.0.1:8545 npm start
  npm run reset                drops the network's state
`;

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

async function devnet(): Promise<number | undefined> {
  if (readFlags(HELP, {}) === undefined) return 0;
  const settings = readSettings();
  const began = performance.now();
  const progress = new Progress();
  const abort = new AbortController();
  const stopped = new AbortController();
  let network: Network | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (abort.signal.aborted) {
      say('\nStopping now.');
      network?.kill();
      return;
    }
    progress.clear();
    say(`\n${signal === 'SIGINT' ? 'Stopping' : `Stopping (${signal})`}; ctrl-c again stops at once.`);
    abort.abort(new Failure('stopped before it was ready', undefined, 130));
    stopped.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);

  // Asked before the ports are: the network that holds them may be this very one.
  const folder = new Folder(settings.data);
  await folder.acquire((names) => progress.show(`Waiting for what the last network left behind: ${names}`));
  const notes: string[] = [];
  try {
    const http = await choosePort(settings.port, 'SEALPOST_PORT');
    const l1 =
      settings.l1Url === undefined ? await choosePort(settings.l1Port, 'SEALPOST_L1_PORT', new Set([http.port])) : undefined;
    for (const said of [http.said, l1?.said]) if (said !== undefined) notes.push(said);
    network = await Network.start(
      {
        folder,
        port: http.port,
        l1Port: l1?.port ?? 0,
        l1Url: settings.l1Url,
        laneCount: settings.laneCount,
        onBegun: (begun) => {
          network = begun;
        },
        onStep: (step) => progress.show(step),
        onNote: (note) => notes.push(note),
      },
      abort.signal,
    );
  } catch (error) {
    progress.clear();
    folder.release();
    if (abort.signal.aborted) return 130;
    throw error;
  }
  progress.clear();
  try {
    await showScreen(network, performance.now() - began, notes);
    const end = await Promise.race([
      network.broken(),
      new Promise<undefined>((resolve) => {
        if (stopped.signal.aborted) resolve(undefined);
        stopped.signal.addEventListener('abort', () => resolve(undefined), { once: true });
      }),
    ]);
    if (end !== undefined && !abort.signal.aborted) {
      throw new Failure(end, `more in ${folder.shown}/log.jsonl; npm start resumes where it was`);
    }
    return 0;
  } finally {
    const began = performance.now();
    await network.stop();
    say(`Stopped in ${formatSeconds(performance.now() - began)}; state is kept in ${folder.shown}.`);
  }
}

async function showScreen(network: Network, tookMs: number, notes: readonly string[]): Promise<void> {
  const { folder } = network;
  const [block, lanes] = await Promise.all([l1Client(network.l1Url).getBlockNumber(), readLanes(network.url)]);
  const outcome = { deployed: 'new', resumed: 'resumed', redeployed: 'deployed again' }[network.outcome];
  const shownLanes = lanes.slice(0, 3).map(({ lane, batch }) => `lane ${lane} at batch ${batch}`);
  if (lanes.length > 3) shownLanes.push('…');
  const ready = `local network ready in ${formatSeconds(tookMs)}`;
  const l1 = `chain ${network.chainId}, ${network.anvil === undefined ? 'your node' : 'anvil'}, block ${block}, ${network.l1Url}`;
  const rows = [
    ['HTTP', network.url, l1],
    ['Settlement', shortHex(network.settlement), `${shownLanes.join(', ')} (${outcome})`],
    ['Data', `${folder.shown} (${formatBytes(folder.bytes())})`, 'npm run reset empties it'],
    ['Log', `${folder.shown}/log.jsonl`, 'Metrics /metrics   Health /readyz'],
  ] as const;
  const [first, second] = [0, 1].map((at) => Math.max(...rows.map((row) => row[at as 0 | 1].length))) as [number, number];
  print(`${paint('bold', `Sealpost ${version}`)} · ${ready}\n`);
  for (const [name, value, more] of rows) {
    print(`  ${paint('dim', name.padEnd(first + 2))}${value.padEnd(second + 2)}${paint('dim', more)}`);
  }
  print();
  for (const note of notes) print(`  ${paint('yellow', note)}`);
  print('  The keys of this network are public. Never use them elsewhere.\n');
  print(
    `  Next:  ${paint('cyan', 'npx sealpost send --to alice "hello"')}      ${paint('cyan', 'npx sealpost inbox --as alice --watch')}`,
  );
  print(`         ${paint('cyan', "import { createClient } from '@sealpost/client'")}`);
  print(`  ${paint('dim', 'ctrl-c stops (state kept)')}`);
}

async function readLanes(url: string): Promise<{ lane: number; batch: string | number }[]> {
  const answer = await fetch(`${url}/v1/status`, { signal: AbortSignal.timeout(5_000) });
  return ((await answer.json()) as { lanes: { lane: number; batch: string | number }[] }).lanes;
}

await runCommand(devnet);
