import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { Failure, isInteractive } from './terminal.js';

const HOST = '127.0.0.1';
const ASK_MS = 1_000;
const TRIES = 100;

/** Whether nobody listens on the port, now. */
const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(new Failure(`port ${port} cannot be used: ${error.message}`, 'choose another one'));
    });
    server.listen(port, HOST, () => server.close(() => resolve(true)));
  });

/**
 * The port to use for what `variable` configures: the wanted one, or, in a terminal, the next free one. 0 stays 0: the
 * system chooses.
 * @throws Failure that names who holds the port
 */
export async function choosePort(
  wanted: number,
  variable: string,
  taken: ReadonlySet<number> = new Set(),
): Promise<{ port: number; said?: string }> {
  if (wanted === 0 || (!taken.has(wanted) && (await isFree(wanted)))) return { port: wanted };
  const holder = await describeHolder(wanted);
  if (!isInteractive()) {
    throw new Failure(`port ${wanted} is taken: ${holder}`, `stop it, or choose another port: ${variable}=${wanted + 1}`);
  }
  for (let port = wanted + 1; port < Math.min(wanted + TRIES, 65_536); port++) {
    if (!taken.has(port) && (await isFree(port))) return { port, said: `Port ${wanted} is taken: ${holder}. Using ${port}.` };
  }
  throw new Failure(`ports ${wanted} to ${wanted + TRIES - 1} are taken; the first: ${holder}`, `choose another: ${variable}=…`);
}

/** Who listens on a port, as well as can be told: what it answers as, and the process. */
export async function describeHolder(port: number): Promise<string> {
  const owner = processOn(port);
  const by = owner === undefined ? '' : ` (pid ${owner.pid}, ${owner.command})`;
  const [chainId, status, server] = await Promise.all([askChainId(port), askSealpost(port), askServer(port)]);
  if (chainId !== undefined) return `${port} answers as an Ethereum node, chain ${chainId}${by}`;
  if (status !== undefined) return `${port} answers as a Sealpost sequencer, version ${status}${by}`;
  if (server !== undefined) return `${port} answers as a web server${server === '' ? '' : `, ${server}`}${by}`;
  return `something listens on ${port}${by}`;
}

async function askChainId(port: number): Promise<number | undefined> {
  try {
    const answer = await fetch(`http://${HOST}:${port}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId', params: [] }),
      signal: AbortSignal.timeout(ASK_MS),
    });
    const { result } = (await answer.json()) as { result?: unknown };
    return typeof result === 'string' && result.startsWith('0x') ? Number(result) : undefined;
  } catch {
    return undefined;
  }
}

async function askSealpost(port: number): Promise<string | undefined> {
  try {
    const answer = await fetch(`http://${HOST}:${port}/v1/status`, { signal: AbortSignal.timeout(ASK_MS) });
    const { version, settlement } = (await answer.json()) as { version?: unknown; settlement?: unknown };
    return typeof version === 'string' && typeof settlement === 'string' ? version : undefined;
  } catch {
    return undefined;
  }
}

async function askServer(port: number): Promise<string | undefined> {
  try {
    const answer = await fetch(`http://${HOST}:${port}/`, { signal: AbortSignal.timeout(ASK_MS) });
    await answer.body?.cancel();
    return answer.headers.get('server') ?? '';
  } catch {
    return undefined;
  }
}

/** The process that listens, from /proc; undefined elsewhere, and for processes we may not look into. */
function processOn(port: number): { pid: number; command: string } | undefined {
  try {
    const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const sockets = new Set<string>();
    for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
      for (const line of readFileSync(table, 'latin1').split('\n').slice(1)) {
        const fields = line.trim().split(/\s+/);
        // State 0A is LISTEN.
        if (fields[1]?.endsWith(suffix) && fields[3] === '0A') sockets.add(`socket:[${fields[9]}]`);
      }
    }
    if (sockets.size === 0) return undefined;
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
          if (sockets.has(readlinkSync(`/proc/${pid}/fd/${descriptor}`))) {
            return { pid: Number(pid), command: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() };
          }
        }
      } catch {
        // Ended meanwhile, or somebody else's.
      }
    }
  } catch {
    // No /proc here.
  }
  return undefined;
}
