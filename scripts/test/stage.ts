import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { type Acknowledged, checkAcknowledged, type Verdict } from '../acknowledged.js';
import { l1Client } from '../deployment.js';
import { Folder } from '../folder.js';
import { Network, type NetworkOptions } from '../network.js';
import { LoadSender, makeRegion, type PresignedBundle } from '../presigned.js';
import { Wire } from '../wire.js';

/** A folder that goes when the test ends. */
export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sealpost-e2e-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Waits for a condition: no fixed sleeps, and a name for what never came. */
export async function until<T>(what: string, condition: () => T | Promise<T>, timeoutMs = 30_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== null && value !== false) return value as NonNullable<T>;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

/** Fast settings: five blocks a second, a batch as soon as there is something. */
const FAST = { blockTime: 0.2, sequencerEnv: { SEALPOST_SEAL_MAX_AGE_MS: '100' } } as const;

/** A network that ends with the test. */
export async function startNetwork(options: Partial<NetworkOptions> & { data?: string } = {}): Promise<Network> {
  const { data = temporaryFolder(), sequencerEnv, ...rest } = options;
  const folder = new Folder(data);
  await folder.acquire();
  const network = await Network.start({ ...FAST, folder, ...rest, sequencerEnv: { ...FAST.sequencerEnv, ...sequencerEnv } });
  onTestFinished(() => network.stop());
  return network;
}

/** Load in this process: each sender in a closed loop, sending the very same bytes again until they are acknowledged. */
export class Load {
  readonly acknowledged: Acknowledged[] = [];
  /** Codes of answers that were not receipts. */
  readonly refusals = new Map<string, number>();
  /** What no retry can mend. */
  readonly failures: string[] = [];
  connectionErrors = 0;
  private readonly ended: Promise<unknown>;
  private stopping = false;

  constructor(
    private readonly network: Network,
    options: { senders?: number; messages?: number; payloadBytes?: number; expiry: bigint },
  ) {
    const { senders = 4, messages = 8, payloadBytes = 64, expiry } = options;
    const domain = { chainId: BigInt(network.chainId), settlement: network.settlement };
    const { laneCount } = network.deployment;
    const loops = Array.from({ length: senders }, async (_, index) => {
      const lane = index % laneCount;
      const sender = new LoadSender(domain, lane, expiry);
      const wire = new Wire(network.url);
      while (!this.stopping)
        await this.acknowledge(wire, sender.sign(makeRegion({ count: messages, payloadBytes, lane, laneCount })), lane);
      wire.close();
    });
    this.ended = Promise.all(loops);
  }

  private async acknowledge(wire: Wire, bundle: PresignedBundle, lane: number): Promise<void> {
    while (!this.stopping) {
      try {
        const answer = await wire.post('/v1/bundles', bundle.parts);
        const body = JSON.parse(answer.body.toString('utf8')) as { results?: { receipt?: unknown }[]; code?: string };
        const receipt = body.results?.[0]?.receipt;
        if (receipt !== undefined) {
          const { sender, nonce, region, bundleHash } = bundle;
          this.acknowledged.push({ sender, lane, nonce, count: region.count, bundleHash, receipt });
          return;
        }
        const code = body.code ?? String(answer.status);
        this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
        if (answer.status !== 503) {
          this.failures.push(answer.body.toString('utf8'));
          this.stopping = true;
        }
      } catch {
        this.connectionErrors++;
      }
      await new Promise((wake) => setTimeout(wake, 5));
    }
  }

  /** Waits until so many more bundles are acknowledged. */
  async more(bundles: number): Promise<void> {
    const goal = this.acknowledged.length + bundles;
    await until(`${bundles} more receipts`, () => this.acknowledged.length >= goal || this.failures.length > 0);
  }

  async stop(): Promise<readonly Acknowledged[]> {
    this.stopping = true;
    await this.ended;
    return this.acknowledged;
  }

  /** Holds everything that was acknowledged against the log and the L1. */
  verdict(sample = 20): Promise<Verdict> {
    return check(this.network, this.acknowledged, sample);
  }
}

export const check = (network: Network, acknowledged: readonly Acknowledged[], sample = 20): Promise<Verdict> =>
  checkAcknowledged(acknowledged, {
    url: network.url,
    l1Url: network.l1Url,
    chainId: BigInt(network.chainId),
    settlement: network.settlement,
    laneCount: network.deployment.laneCount,
    sample,
    timeoutMs: 40_000,
  });

/** Starts load on a network; it stops with the test. */
export async function startLoad(
  network: Network,
  options: { senders?: number; messages?: number; payloadBytes?: number } = {},
): Promise<Load> {
  const { timestamp } = await l1Client(network.l1Url).getBlock();
  const load = new Load(network, { ...options, expiry: timestamp + 86_400n });
  onTestFinished(async () => void (await load.stop()));
  return load;
}

/** Nothing lost, nothing doubled, everything provable. */
export const SOUND = { lost: 0, unprovable: 0, doubled: 0, complaints: [] };

/** The command line's program. */
export const SEALPOST = fileURLToPath(new URL('../../client/bin/sealpost.js', import.meta.url));

/** Runs the command line against a network's folder, with a home of its own. */
export async function sealpost(
  network: Network,
  args: readonly string[],
  { input = '' }: { input?: string } = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const home = join(network.folder.path, 'home');
  const child = spawn(process.execPath, [SEALPOST, '--data', network.folder.path, ...args], {
    env: { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, XDG_STATE_HOME: home },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}

/** The whole log, re-derived from the L1 and the batch files: what `sealpost audit` finds. */
export async function audit(
  network: Network,
): Promise<{ clean: boolean; mismatchCount: number; entries: number; messages: number }> {
  const { code, stdout, stderr } = await sealpost(network, ['audit', '--json']);
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (code !== 0) throw new Error(`audit ended with ${code}: ${stderr}${stdout}`);
  return (JSON.parse(last) as { data: { clean: boolean; mismatchCount: number; entries: number; messages: number } }).data;
}
