import { readdirSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MAX_BUNDLE_BYTES } from '@sealpost/prover';
import { Failure, formatBytes, formatCount, plural } from '../terminal.js';
import type { LoadPlan, LoadResult, PhaseResult } from './load-plan.js';
import type { Bench, BenchSettings, Row, Stage } from './scenario.js';

/** What a load is made of, unless flags say otherwise. */
export interface Shape {
  readonly senders: number;
  readonly bundle: number;
  readonly payload: number;
}

export const BUNDLES: Shape = { senders: 16, bundle: 256, payload: 256 };
export const SINGLES: Shape = { senders: 64, bundle: 1, payload: 256 };

export const TOPICS = 20_000;
/** In an open loop, so that it is not a sender's own order that makes its next bundle wait. */
export const OPEN_SENDERS = 256;
export const WATCHERS = 16;
const LOAD = new URL('load.ts', import.meta.url);
/** Type byte and topic, beside the payload (PROTOCOL.md §3). */
const MESSAGE_HEAD_BYTES = 33;
const LENGTH_BYTES = 4;
/** Version to count, and the signature (PROTOCOL.md §3). */
const BUNDLE_HEAD_BYTES = 59 + 65;

/** @throws Failure for bundles that no sequencer takes (PROTOCOL.md §3) */
export function shapeOf(settings: BenchSettings, own: Shape): Shape {
  const { senders = own.senders, bundle = own.bundle, payload = own.payload } = settings;
  const bytes = BUNDLE_HEAD_BYTES + bundle * (LENGTH_BYTES + MESSAGE_HEAD_BYTES + payload);
  if (bytes > MAX_BUNDLE_BYTES)
    throw new Failure(
      `a bundle of ${plural(bundle, 'message')} of ${payload} bytes has ${formatCount(bytes)} bytes, ${formatCount(MAX_BUNDLE_BYTES)} is the most`,
      'less with --bundle or --payload',
      2,
    );
  return { senders, bundle, payload };
}

/** Load that warms both sides up, and tells about how many bundles what follows needs; it is not measured. */
export const warmUp = ({ quick }: BenchSettings, senders: number) =>
  ({ kind: 'closed', name: 'warming up', seconds: quick ? 0.7 : 2, senders }) as const;

/** The most that a closed loop reaches, for what is planned as a share of it. */
export const findMaximum = (seconds: number, senders: number) =>
  ({ kind: 'closed', name: 'finding the maximum', seconds, senders }) as const;

/** An open loop at half of the maximum, with watchers on topics. */
export const halfLoad = (seconds: number) =>
  ({
    kind: 'open',
    name: 'sending half of that',
    seconds,
    senders: OPEN_SENDERS,
    rate: { ofMaximum: 0.5 },
    watchers: WATCHERS,
  }) as const;

/** Batches are sealed and mined more often where all has to be over soon: what is waited for at the end is the L1. */
export const networkOptions = ({ quick }: BenchSettings) => ({ blockTime: quick ? 0.25 : 1 });

/** Runs load against a network, in a process of its own. */
export function runLoad(
  bench: Bench,
  { network }: Stage,
  shape: Shape,
  rest: Pick<LoadPlan, 'phases'> & Partial<LoadPlan>,
  onProgress?: (what: string, done: number, total: number) => void,
): Promise<LoadResult> {
  const plan: LoadPlan = {
    url: network.url,
    pid: network.sequencer?.pid ?? 0,
    network: { l1Url: network.l1Url, chainId: network.chainId, settlement: network.settlement, laneCount: 1 },
    bundle: shape.bundle,
    payload: shape.payload,
    topics: TOPICS,
    sample: bench.settings.sample,
    ...rest,
  };
  return bench.inProcess<LoadResult>(LOAD, plan, onProgress);
}

/** @throws Error if the load process did not run it */
export function phaseOf(result: Pick<LoadResult, 'phases'>, name: string): PhaseResult {
  const phase = result.phases.find((one) => one.name === name);
  if (phase === undefined) throw new Error(`the load process ran no phase ${name}`);
  return phase;
}

export function folderBytes(folder: string): number {
  let total = 0;
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const stats = statSync(join(folder, entry), { throwIfNoEntry: false });
    if (stats?.isFile()) total += stats.size;
  }
  return total;
}

/**
 * Bytes on disk for each message beyond its encoding and its length: stops the network, so that everything that the sequencer
 * still had in its write-ahead log is where it stays.
 */
export async function diskOverhead(stage: Stage, messages: number, payload: number): Promise<number> {
  await stage.expectEnd(() => stage.network.stop());
  const encoded = MESSAGE_HEAD_BYTES + payload + LENGTH_BYTES;
  return Math.round((folderBytes(stage.data) / messages - encoded) * 10) / 10;
}

/** What became of everything acknowledged, for the line of JSON. */
export const verdictJson = ({ acknowledged, lost, unprovable, doubled, sampled, batches }: LoadResult) => ({
  acknowledged,
  lost,
  unprovable,
  doubled,
  provenOneByOne: sampled,
  batches,
});

/** Kept: nothing lost, doubled or unprovable; every event of the watched streams came; no refusal but 503 with Retry-After. */
export const isKept = ({ lost, unprovable, doubled, phases, proofs }: LoadResult): boolean =>
  lost === 0 &&
  unprovable === 0 &&
  doubled === 0 &&
  (proofs?.failed ?? 0) === 0 &&
  phases.every(({ unseen, rude }) => unseen === 0 && rude === 0);

/** Rows that every load has. */
export const verdictRows = ({ acknowledged, lost, unprovable }: LoadResult): Row[] => [
  { figure: 'lost or unprovable', value: lost + unprovable, unit: `of ${formatCount(acknowledged)} messages` },
];

/** The longest stall of the server's event loop over some phases; NaN if it did not tell. */
export const worstStall = (phases: readonly PhaseResult[]): number =>
  Math.max(...phases.map(({ server }) => server.stallMs ?? Number.NaN));

/** What a reader needs beside the figures of a load. */
export function loadNotes(result: LoadResult, shape: Shape): string[] {
  const refused = new Map<string, number>();
  for (const phase of result.phases)
    for (const [why, times] of Object.entries(phase.refused)) refused.set(why, (refused.get(why) ?? 0) + times);
  const late = result.phases.reduce((sum, { signedLate, name }) => sum + (name === 'warming up' ? 0 : signedLate), 0);
  const most = (one: PhaseResult, other: PhaseResult) => (one.messagesPerSecond > other.messagesPerSecond ? one : other);
  const closed = result.phases.filter(({ accept }) => accept === undefined).reduce(most);
  const open = result.phases.flatMap(({ name, acceptOfAll }) => (acceptOfAll === undefined ? [] : [{ name, acceptOfAll }]));
  return [
    `${plural(shape.senders, 'sender')}, ${plural(shape.bundle, 'message')} of ${shape.payload} bytes a bundle; ` +
      `${result.lost + result.unprovable === 0 ? 'all' : formatCount(result.acknowledged - result.lost - result.unprovable)} of ` +
      `${formatCount(result.acknowledged)} acknowledged messages were found in the batch files and held against the L1, ` +
      `${formatCount(result.sampled)} were proven one by one`,
    `at its most the load process used ${percent(closed.generatorCpu)} of a core` +
      (closed.server.cpu === undefined ? '' : `, the sequencer ${percent(closed.server.cpu)}`),
    ...(open.length === 0
      ? []
      : [
          'latencies are without the first second of an open loop, its run-in (a quarter of one shorter than 4 s); with it, p99 and ' +
            `maximum are ${open.map(({ name, acceptOfAll: { p99Ms, maxMs } }) => `${p99Ms} and ${maxMs} ms ${name}`).join(', ')}`,
        ]),
    ...[...refused].map(([why, times]) => `sent again after ${why}: ${plural(times, 'bundle')}`),
    ...(late > 0 ? [`${plural(late, 'bundle')} had to be signed while the load ran`] : []),
    ...result.complaints,
  ];
}

export const percent = (share: number): string => `${Math.round(100 * share)} %`;

/** @throws Failure unless the disk has room for so much */
export function requireRoom({ parent }: BenchSettings, bytes: number): void {
  const { bavail, bsize } = statfsSync(parent);
  if (bavail * bsize < bytes)
    throw new Failure(
      `${parent} has room for ${formatBytes(bavail * bsize)}, this needs ${formatBytes(bytes)}`,
      'choose another disk with --data, or less with --seconds or --prefill',
    );
}

/** What so many messages take on disk, generously: their bytes, what is stored beside them, and logs until they are folded in. */
export const roomFor = (messages: number, payload: number): number =>
  Math.ceil(messages * (MESSAGE_HEAD_BYTES + payload + LENGTH_BYTES + 100)) + 1e9;

/** The maximum that this run has found for bundles, if it has. */
export function knownMaximum(bench: Bench): number | undefined {
  const value = bench.results.get('bundled')?.json.messagesPerSecond;
  return typeof value === 'number' ? value : undefined;
}
