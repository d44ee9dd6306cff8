import { createWriteStream, existsSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type NetworkAccount, type Network as NetworkFile, writeNetwork } from '@sealpost/client/node';
import { developmentParameters } from '@sealpost/contracts';
import type { Address } from 'viem';
import { roleAccount, roleKey, type User, writeRoleKeys } from './accounts.js';
import { startAnvil } from './anvil.js';
import { type Deployment, ensureDeployment, l1Client, type Outcome, recordLog } from './deployment.js';
import type { Folder } from './folder.js';
import { writeUserKeys } from './keyfiles.js';
import { type Child, Family } from './processes.js';
import { Failure } from './terminal.js';

/** The sequencer's program. */
export const SEQUENCER = fileURLToPath(new URL('../sequencer/dist/main.js', import.meta.url));
const READY_MS = 120_000;

/** What a network is started with. */
export interface NetworkOptions {
  /** Where it keeps everything: made ours already (`Folder.acquire`), and released by `stop`. */
  readonly folder: Folder;
  /** 0: a free one. */
  readonly port?: number;
  /** 0: a free one. Unused with `l1Url`. */
  readonly l1Port?: number;
  /** A node that runs already; without it, anvil is started. */
  readonly l1Url?: string | undefined;
  readonly laneCount?: number;
  /** Seconds between the L1's blocks. */
  readonly blockTime?: number;
  readonly gasLimit?: number;
  /** More configuration for the sequencer (see sequencer/src/config.ts). */
  readonly sequencerEnv?: NodeJS.ProcessEnv;
  /** What stands before the sequencer's command line: `['sh', '-c', 'ulimit -f 100; exec "$@"', 'sh']`. */
  readonly sequencerPrefix?: readonly string[];
  /** Refuse instead of deploying where no contract was deployed before. */
  readonly deploy?: boolean;
  /** Make the log anew where it was lost. Without it, a log is made only for a network that never had one. */
  readonly create?: boolean;
  /** Called once processes can be started, long before everything is up. */
  readonly onBegun?: (network: Network) => void;
  /** Called with each line that the sequencer logs. */
  readonly onLog?: (line: string) => void;
  /** Called as each step begins. */
  readonly onStep?: (step: string) => void;
  /** Called with what a person should know. */
  readonly onNote?: (note: string) => void;
}

/**
 * An Ethereum node, the Settlement contract and a sequencer on one machine, with keys that everybody knows. Every process
 * is a child of this one and ends with it, in order; also if this process is killed (see `Family`).
 */
export class Network {
  private readonly family: Family;
  private log: WriteStream | undefined;
  private stopping: Promise<void> | undefined;
  accounts!: Record<User, NetworkAccount>;
  anvil: Child | undefined;
  sequencer: Child | undefined;
  l1Url = '';
  url = '';
  deployment!: Deployment;
  outcome: Outcome = 'deployed';

  private constructor(
    readonly folder: Folder,
    private readonly options: NetworkOptions,
  ) {
    this.family = new Family((children) => {
      if (this.stopping === undefined) folder.record(children);
    });
  }

  /**
   * Starts everything, or nothing: resolves when messages can be sent, and `network.json` says where.
   * @throws Failure that says what to do; nothing is left running then
   */
  static async start(options: NetworkOptions, signal?: AbortSignal): Promise<Network> {
    signal?.throwIfAborted();
    const network = new Network(options.folder, options);
    // Told to stop while starting: the children go first, and whatever waits for them fails.
    signal?.addEventListener('abort', () => void network.stop(), { once: true });
    options.onBegun?.(network);
    try {
      const keysFolder = options.folder.file('keys');
      writeRoleKeys(keysFolder);
      network.accounts = await writeUserKeys(keysFolder);
      if (options.l1Url === undefined) await network.startAnvil();
      else network.l1Url = options.l1Url;
      await network.deploy();
      await network.startSequencer();
      signal?.throwIfAborted();
      await network.announce();
      return network;
    } catch (error) {
      await network.stop();
      throw error;
    }
  }

  get chainId(): number {
    return this.deployment.chainId;
  }

  get settlement(): Address {
    return this.deployment.settlement;
  }

  /** Starts anvil: again on the port it had, if it ran before. */
  async startAnvil(): Promise<void> {
    this.options.onStep?.('Starting anvil');
    const { child, url, said } = await startAnvil(this.family, {
      port: this.l1Url === '' ? (this.options.l1Port ?? 0) : Number(new URL(this.l1Url).port),
      blockTime: this.options.blockTime ?? 1,
      stateFile: this.folder.file('anvil.json'),
      cacheFolder: this.folder.file('anvil-cache'),
      ...(this.options.gasLimit === undefined ? {} : { gasLimit: this.options.gasLimit }),
    });
    if (said !== undefined) this.options.onNote?.(said);
    this.anvil = child;
    this.l1Url = url;
  }

  /** Finds the contract, or deploys it. */
  async deploy(): Promise<void> {
    this.options.onStep?.('Looking for the Settlement contract');
    const mine = async () => {
      await l1Client(this.l1Url).request({ method: 'evm_mine' } as never);
    };
    const { deployment, outcome } = await ensureDeployment(
      this.folder,
      this.l1Url,
      {
        operator: roleAccount('operator').account,
        laneCount: this.options.laneCount ?? 1,
        parameters: developmentParameters,
        poster: roleAccount('poster').account.address,
        receipts: roleAccount('receipts').account,
      },
      { ...(this.anvil === undefined ? {} : { mine }), mayDeploy: this.options.deploy ?? true },
    );
    this.deployment = deployment;
    this.outcome = outcome;
    if (outcome === 'redeployed') {
      this.options.onNote?.(
        `The L1 had forgotten the contract: deployed again at ${deployment.settlement}; everything is posted again.`,
      );
    }
  }

  /** Starts the sequencer and waits until it can keep promises: again on the port it had, if it ran before. */
  async startSequencer({
    env = {},
    prefix = this.options.sequencerPrefix ?? [],
    waitForL1 = true,
  }: {
    env?: NodeJS.ProcessEnv;
    prefix?: readonly string[];
    waitForL1?: boolean;
  } = {}): Promise<Child> {
    this.options.onStep?.('Starting the sequencer');
    if (this.log === undefined) {
      this.log = createWriteStream(this.folder.file('log.jsonl'), { flags: 'a' });
      // A full disk ends the sequencer, which says so, and not this process, which has to stop what it started.
      this.log.once('error', (error) => {
        this.options.onNote?.(`the log can no longer be written: ${error.message}`);
        this.log?.on('error', () => {});
      });
    }
    const { log } = this;
    let onReady: (url: string) => void = () => {};
    const ready = new Promise<string>((resolve) => {
      onReady = resolve;
    });
    const create = this.options.create === true || this.deployment.logCreated !== true;
    const [command = process.execPath, ...args] = [
      ...prefix,
      process.execPath,
      SEQUENCER,
      'run',
      ...(create ? ['--create'] : []),
    ];
    const child = this.family.start('sequencer', {
      command,
      args,
      env: {
        ...process.env,
        ...sequencerEnvironment(this.folder, this.deployment, this.l1Url),
        SEALPOST_PORT: this.url === '' ? String(this.options.port ?? 0) : new URL(this.url).port,
        SEALPOST_LOG: 'json',
        ...this.options.sequencerEnv,
        ...env,
      },
      onLine: (line) => {
        log.write(`${line}\n`);
        this.options.onLog?.(line);
        if (!line.includes('"ready"')) return;
        try {
          const event = JSON.parse(line) as { event?: unknown; url?: unknown };
          if (event.event === 'ready' && typeof event.url === 'string') onReady(event.url);
        } catch {
          // Half a line, from a process that was killed.
        }
      },
    });
    this.sequencer = child;
    const url = await Promise.race([ready, child.exited.then(() => undefined), sleep(READY_MS, undefined, { ref: false })]);
    if (url === undefined) {
      if (child.exit === undefined) {
        await child.stop('SIGTERM', 11_000);
        throw new Failure(
          `the sequencer was not ready within ${READY_MS / 1_000} s`,
          `look into ${this.folder.file('log.jsonl')}`,
        );
      }
      const isLost = !create && !existsSync(join(this.folder.file('sequencer'), 'sequencer.sqlite'));
      throw new Failure(
        child.report(),
        isLost
          ? 'put the database back from a backup; or npm run sequencer -- --create for an empty log, or npm run reset'
          : `more in ${this.folder.file('log.jsonl')}`,
      );
    }
    if (this.deployment.logCreated !== true) this.deployment = recordLog(this.folder, this.deployment);
    this.url = url;
    if (waitForL1) await this.waitUntilReady(child);
    return child;
  }

  /** Listening is not yet promising: that needs a look at the L1. */
  private async waitUntilReady(child: Child): Promise<void> {
    const deadline = performance.now() + READY_MS;
    while (child.exit === undefined && performance.now() < deadline) {
      try {
        const answer = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(5_000) });
        const { checks } = (await answer.json()) as { checks?: { l1?: unknown } };
        // Whatever else is not well is for the person who reads /readyz; it does not keep anybody from sending.
        if (answer.ok || checks?.l1 === 'ok') return;
      } catch {
        // Busy: asked again.
      }
      await sleep(20);
    }
    if (child.exit !== undefined) throw new Failure(child.report(), `more in ${this.folder.file('log.jsonl')}`);
    await child.stop('SIGTERM', 11_000);
    throw new Failure(`the sequencer saw no L1 within ${READY_MS / 1_000} s`, `look into ${this.folder.file('log.jsonl')}`);
  }

  /** Writes `network.json`: from here on the command line finds the network. */
  private async announce(): Promise<void> {
    const file: NetworkFile = {
      version: 1,
      url: this.url,
      l1Url: this.l1Url,
      chainId: this.chainId,
      settlement: this.settlement,
      pid: process.pid,
      accounts: this.accounts,
    };
    await writeNetwork(file, this.folder.path);
  }

  /** Resolves with one line that says which process ended, and how, when one does without having been asked. */
  async broken(): Promise<string> {
    const children = [this.anvil, this.sequencer].filter((child) => child !== undefined);
    const child = await Promise.race(children.map((one) => one.exited.then(() => one)));
    return child.report();
  }

  /** Stops everything in order, the sequencer before its L1; returns when nothing is left. Idempotent. */
  stop(): Promise<void> {
    this.stopping ??= (async () => {
      await this.family.stop();
      await new Promise<void>((resolve) => {
        if (this.log === undefined || this.log.destroyed) resolve();
        else this.log.end(resolve);
      });
      this.folder.release();
    })();
    return this.stopping;
  }

  /** Ends everything now; `stop` then returns soon. */
  kill(): void {
    this.family.kill();
  }
}

/**
 * glibc gives each thread arenas of its own, and what bundles leave in them is not given back: at twice the maximum load the process
 * had 670 MB, with one arena 625. To fix its thresholds as well costs a fifth of the rate.
 */
const ALLOCATOR = { MALLOC_ARENA_MAX: '1' };

/** What the sequencer of a folder is told by its environment. */
export const sequencerEnvironment = (folder: Folder, deployment: Deployment, l1Url: string) => ({
  ...ALLOCATOR,
  SEALPOST_HOST: '127.0.0.1',
  SEALPOST_DATA: folder.file('sequencer'),
  SEALPOST_L1_URL: l1Url,
  SEALPOST_SETTLEMENT: deployment.settlement,
  SEALPOST_POSTER_KEY_FILE: roleKey(folder.file('keys'), 'poster'),
  SEALPOST_SIGNER_KEY_FILE: roleKey(folder.file('keys'), 'receipts'),
});
