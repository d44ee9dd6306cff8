import { type Acknowledged, checkAcknowledged } from '../acknowledged.js';
import { l1Client } from '../deployment.js';
import { Histogram } from '../histogram.js';
import { LoadSender, makeRegion, type Region } from '../presigned.js';
import { Failure } from '../terminal.js';
import { Wire } from '../wire.js';
import { Arrivals, openLoop } from './arrivals.js';
import { type Drive, quantiles, runClosed, runOpen } from './drive.js';
import { type LoadPlan, type LoadResult, NO_NETWORK, type PhaseResult, type Quantiles } from './load-plan.js';
import type { ProcessLine } from './scenario.js';
import { Submitter } from './submitters.js';

// The load generator: a process of its own, so that its work is not the server's. Told by its first argument, a LoadPlan.

const tell = (line: ProcessLine<LoadResult>) => process.stdout.write(`${JSON.stringify(line)}\n`);
const progress = (what: string, done: number, total: number) => tell({ progress: what, done, total });

const DAY_SECONDS = 86_400n;
/** Bundles that are signed before a phase: what goes beyond is signed while it runs, 60 µs each. */
const MAX_SIGNED_AHEAD = 200_000;
/** Of what the rate before asks for, so many times as much is signed ahead: a server that is still warming up gets faster. */
const SPARE = 1.5;
/** Bundles signed before anything is known about the rate. */
const FIRST_SIGNED = 1_024;
/** Bundles a second, at most, whose arrival on a stream is looked at. */
const WATCHED_PER_SECOND = 200;
const REGION_BYTES = 200_000_000;
const COMMIT_MS = 600_000;
const PROOF_CONNECTIONS = 8;

/** Messages for bundles: they share their messages' bytes, so that hours of load fit into memory. */
class Regions {
  private drawn = 0;
  private readonly all: readonly Region[];
  /** One draw in so many is a watched region; 0: none. */
  private watchEvery = 0;
  readonly watched: readonly Region[];

  constructor({ bundle, payload, topics, network }: LoadPlan, watched: number) {
    const count = Math.max(1, Math.min(Math.ceil(topics / bundle), Math.ceil(REGION_BYTES / (bundle * payload + 1))));
    const made: Region[] = [];
    for (let at = 0; at < count; at++) {
      if (at % 256 === 0) progress('making messages', at, count);
      made.push(makeRegion({ count: bundle, payloadBytes: payload, lane: 0, laneCount: network?.laneCount ?? 1 }));
    }
    this.all = made;
    this.watched = made.slice(0, watched);
  }

  /** From now on, about `WATCHED_PER_SECOND` of so many bundles a second are on watched topics. */
  expect(bundlesPerSecond: number, watchers: number): void {
    this.watchEvery = watchers === 0 ? 0 : Math.max(1, Math.round(bundlesPerSecond / WATCHED_PER_SECOND));
  }

  readonly draw = (): Region => {
    const at = this.drawn++;
    const [from, index] =
      this.watchEvery > 0 && at % this.watchEvery === 0 ? [this.watched, at / this.watchEvery] : [this.all, at];
    return from[index % from.length] as Region;
  };
}

/** Brings every sender to its share of `bundles` signed ahead. */
function signAhead(submitters: readonly Submitter[], bundles: number): void {
  const each = Math.ceil(Math.min(bundles, MAX_SIGNED_AHEAD) / submitters.length);
  for (const [at, submitter] of submitters.entries()) {
    if (at % 8 === 0) progress('signing bundles', at, submitters.length);
    while (submitter.signedAhead < each) submitter.sign();
  }
}

async function waitUntil(wire: () => Wire, path: string, isGood: (status: number, body: string) => boolean): Promise<void> {
  const deadline = performance.now() + COMMIT_MS;
  for (;;) {
    const one = wire();
    try {
      const { status, body } = await one.get(path);
      if (isGood(status, body.toString('utf8'))) return;
    } catch {
      // Not there at the moment: asked again.
    } finally {
      one.close();
    }
    if (performance.now() > deadline) throw new Error(`${path} did not say what was waited for within ${COMMIT_MS / 1_000} s`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

async function drivePhases(plan: LoadPlan, drive: Drive, regions: Regions): Promise<PhaseResult[]> {
  const results: PhaseResult[] = [];
  let maximum: number | undefined;
  const wire = () => new Wire(plan.url);
  for (const phase of plan.phases) {
    const senders = drive.submitters.slice(0, phase.senders);
    if (phase.kind === 'closed') {
      regions.expect(0, 0);
      const left = (phase.untilMessages ?? Number.POSITIVE_INFINITY) - drive.acknowledged.length * plan.bundle;
      const likely = Math.min(left, (maximum ?? 0) * phase.seconds * SPARE) / plan.bundle;
      signAhead(senders, maximum === undefined ? FIRST_SIGNED : likely);
      const result = await runClosed(drive, phase);
      maximum = result.messagesPerSecond;
      results.push(result);
    } else {
      const rate = 'ofMaximum' in phase.rate ? phase.rate.ofMaximum * (maximum ?? 0) : phase.rate.messagesPerSecond;
      regions.expect(rate / plan.bundle, phase.watchers);
      signAhead(senders, (rate * phase.seconds) / plan.bundle);
      results.push(await runOpen(drive, phase, rate, plan.bundle));
    }
    if (phase.kind === 'closed' && phase.untilBroken === true) {
      for (const submitter of drive.submitters) submitter.close();
      progress('waiting for the restart', 0, 1);
      await waitUntil(wire, '/readyz', (status) => status === 200);
    }
    if (phase.kind === 'closed' && phase.settle === true) {
      progress('waiting for commits', 0, 1);
      await waitUntil(wire, '/v1/status', (_, body) =>
        (JSON.parse(body) as { lanes: { accepted: string; committed: string }[] }).lanes.every(
          ({ accepted, committed }) => accepted === committed,
        ),
      );
    }
  }
  return results;
}

/** Proofs of random messages of the whole log, planned on a clock. */
async function fetchProofs(
  plan: LoadPlan,
  acknowledged: readonly Acknowledged[],
): Promise<(Quantiles & { failed: number }) | undefined> {
  if (plan.proofs === undefined) return undefined;
  const { perSecond, seconds } = plan.proofs;
  const latencies = new Histogram();
  let failed = 0;
  const wires = Array.from({ length: PROOF_CONNECTIONS }, () => new Wire(plan.url));
  const arrivals = new Arrivals(performance.now() + 100, perSecond, seconds);
  await openLoop(
    arrivals,
    wires,
    async (wire, plannedAt) => {
      const one = acknowledged[Math.floor(Math.random() * acknowledged.length)] as Acknowledged;
      const nonce = one.nonce + BigInt(Math.floor(Math.random() * one.count));
      const { status } = await wire.get(`/v1/messages/${one.sender}/${one.lane}/${nonce}/proof`);
      latencies.record(performance.now() - plannedAt);
      if (status !== 200) failed++;
      if (latencies.count % 50 === 0) progress('fetching proofs', latencies.count, arrivals.total);
    },
    Number.POSITIVE_INFINITY,
  );
  for (const wire of wires) wire.close();
  return { ...quantiles(latencies), failed };
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  const { network } = plan;
  const domain = network === undefined ? NO_NETWORK : { chainId: BigInt(network.chainId), settlement: network.settlement };
  const now = network === undefined ? 0n : (await l1Client(network.l1Url).getBlock()).timestamp;
  const regions = new Regions(plan, Math.max(0, ...plan.phases.map((phase) => (phase.kind === 'open' ? phase.watchers : 0))));
  const submitters = Array.from(
    { length: Math.max(...plan.phases.map(({ senders }) => senders)) },
    () => new Submitter(plan.url, new LoadSender(domain, 0, now + DAY_SECONDS), regions.draw),
  );
  const drive: Drive = { url: plan.url, pid: plan.pid, submitters, acknowledged: [], watched: regions.watched, progress };
  const phases = await drivePhases(plan, drive, regions);
  for (const submitter of submitters) submitter.close();
  const nothing = { acknowledged: 0, lost: 0, unprovable: 0, doubled: 0, sampled: 0, batches: 0, complaints: [] };
  const verdict =
    network === undefined
      ? nothing
      : await checkAcknowledged(drive.acknowledged, {
          ...domain,
          url: plan.url,
          l1Url: network.l1Url,
          laneCount: network.laneCount,
          sample: plan.sample,
          timeoutMs: COMMIT_MS,
          onProgress: (what, done, total) => progress(STEPS[what] ?? what, done, total),
        });
  const proofs = await fetchProofs(plan, drive.acknowledged);
  return { phases, ...verdict, ...(proofs === undefined ? {} : { proofs }) };
}

const STEPS: Readonly<Record<string, string>> = {
  receipts: 'checking receipts',
  commits: 'waiting for commits',
  batches: 'holding batches against the L1',
  sample: 'proving messages one by one',
};

try {
  tell({ result: await run(JSON.parse(process.argv[2] ?? '{}') as LoadPlan) });
} catch (error) {
  process.stderr.write(`${error instanceof Failure ? error.message : (error as Error).stack}\n`);
  // Connections and timers of what did not fail are still there.
  process.exit(1);
}
