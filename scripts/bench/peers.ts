import { readFileSync } from 'node:fs';
import { HEADER_BYTES } from '@sealpost/prover';
import { formatCount } from '../terminal.js';
import type { AppendMode, AppendPlan, AppendResult } from './appends.js';
import type { MerkleContender, MerklePlan, MerkleResult } from './merkle.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';

const MERKLE = new URL('merkle.ts', import.meta.url);
const APPENDS = new URL('appends.ts', import.meta.url);

const TREE_LEAVES = 4_096;
const BUNDLE_MESSAGES = 256;
const SIGNATURE_BYTES = 65;
/** `length(4) ‖ 0x00 ‖ topic(32)`: what a message carries besides its payload. */
const MESSAGE_HEAD_BYTES = 37;

const CONTENDERS: Readonly<Record<MerkleContender, string>> = {
  'merkletreejs-noble': 'merkletreejs, noble’s SHA-256',
  'merkletreejs-native': 'merkletreejs, Node’s SHA-256',
  'prover-noble': 'prover, noble’s SHA-256',
  'prover-native': 'prover, Node’s SHA-256',
  sequencer: 'sequencer',
};

/** Ours is held against the peer with the same hash; the sequencer against the peer at its fastest. */
const PEERS: Partial<Record<MerkleContender, MerkleContender>> = {
  'prover-noble': 'merkletreejs-noble',
  'prover-native': 'merkletreejs-native',
  sequencer: 'merkletreejs-native',
};

const GROUPS = [1, 8, 16];

/** Odd, so that the middle one is a measurement. */
const TURNS = 3;

/** Who appends, and what each append awaits; the bare file is the limit of the others in its mode. */
const LOGS: readonly { readonly log: AppendPlan['log']; readonly mode: AppendMode; readonly groups: readonly number[] }[] = [
  { log: 'file', mode: 'no fsync', groups: GROUPS },
  { log: 'file', mode: 'fdatasync', groups: GROUPS },
  { log: 'hypercore', mode: 'no fsync', groups: GROUPS },
  { log: 'hypercore', mode: 'fdatasync', groups: GROUPS },
  { log: 'hypercore', mode: 'memtable flush', groups: [1, 16] },
];

/** What is installed, not what was asked for. */
const versionOf = (name: string): string =>
  (JSON.parse(readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url), 'utf8')) as { version: string })
    .version;

const medianOf = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};

/**
 * Lets contenders take turns, so that what else the machine does meanwhile, and how warm it is, meets each of them.
 * @returns what each one answered, by turn
 */
async function takeTurns<K, R>(contenders: readonly K[], turns: number, run: (contender: K) => Promise<R>): Promise<Map<K, R[]>> {
  const answers = new Map<K, R[]>(contenders.map((one) => [one, []]));
  for (let turn = 0; turn < turns; turn++) for (const one of contenders) answers.get(one)?.push(await run(one));
  return answers;
}

/** The middle of each figure; roots and paths are the same in every turn. */
function medianResult(answers: readonly MerkleResult[]): MerkleResult {
  const { pathsPerSecond, ...any } = answers[0] as MerkleResult;
  return {
    ...any,
    leavesPerSecond: medianOf(answers.map((one) => one.leavesPerSecond)),
    ...(pathsPerSecond === undefined ? {} : { pathsPerSecond: medianOf(answers.map((one) => one.pathsPerSecond ?? Number.NaN)) }),
  };
}

/** The same trees by merkletreejs and by ours, each in a process of its own. */
async function compareTrees(bench: Bench, ms: number) {
  const rows: Row[] = [];
  const json: Record<string, Record<string, Omit<MerkleResult, 'root' | 'paths'>>> = {};
  let same = true;
  for (const [task, size] of [['tree', TREE_LEAVES] as const, ['bundle', BUNDLE_MESSAGES] as const]) {
    // The sequencer has no tree over hashed leaves in its hot path: it goes from a bundle's bytes to a root.
    const contenders = (Object.keys(CONTENDERS) as MerkleContender[]).filter((one) => task === 'bundle' || one !== 'sequencer');
    const turns = await takeTurns(contenders, TURNS, (contender) => {
      bench.show(`${task} by ${CONTENDERS[contender]}`);
      const plan: MerklePlan = { contender, task, size, ms };
      return bench.inProcess<MerkleResult>(MERKLE, plan);
    });
    const results = new Map([...turns].map(([contender, answers]) => [contender, medianResult(answers)]));
    const first = results.get('merkletreejs-native');
    const unit = task === 'tree' ? 'leaves/s' : 'messages/s';
    const paths: Row[] = [];
    for (const [contender, result] of results) {
      if (result.root !== first?.root || result.paths !== first.paths) {
        same = false;
        bench.say(`${CONTENDERS[contender]} has another root or other paths of the ${task} than merkletreejs`);
      }
      const peer = PEERS[contender];
      const limit = peer === undefined ? undefined : results.get(peer);
      const beside = (value: number | undefined) =>
        peer === undefined || value === undefined ? {} : { beside: { what: CONTENDERS[peer], value } };
      const what =
        task === 'tree' ? `root of ${formatCount(size)} hashed leaves` : `root of a bundle of ${size} messages, from its bytes`;
      rows.push({
        figure: `${what}: ${CONTENDERS[contender]}`,
        value: result.leavesPerSecond,
        unit,
        ...beside(limit?.leavesPerSecond),
      });
      if (result.pathsPerSecond !== undefined) {
        const figure = `inclusion paths of that tree: ${CONTENDERS[contender]}`;
        paths.push({ figure, value: result.pathsPerSecond, unit: 'paths/s', ...beside(limit?.pathsPerSecond) });
      }
    }
    rows.push(...paths);
    json[task] = Object.fromEntries(
      [...results].map(([contender, { root: _root, paths: _paths, ...figures }]) => [contender, figures]),
    );
  }
  return { rows, json, same };
}

/** The same blocks appended by a bare file and by hypercore, each in a process of its own. */
async function compareAppends(bench: Bench, ms: number) {
  const messages = bench.settings.bundle ?? BUNDLE_MESSAGES;
  const payload = bench.settings.payload ?? 256;
  const blockBytes = HEADER_BYTES + messages * (MESSAGE_HEAD_BYTES + payload) + SIGNATURE_BYTES;
  const rows: Row[] = [];
  const json: Record<string, unknown>[] = [];
  const limits = new Map<string, number>();
  const contenders = LOGS.flatMap(({ log, mode, groups }) => groups.map((group) => ({ log, mode, group })));
  const turns = await takeTurns(contenders, TURNS, ({ log, mode, group }) => {
    bench.show(`append by ${log}, ${mode}, ${group} at a time`);
    return bench.withFolder((folder) => {
      const plan: AppendPlan = { log, mode, group, blockBytes, folder, ms };
      return bench.inProcess<AppendResult>(APPENDS, plan);
    });
  });
  for (const [{ log, mode, group }, answers] of turns) {
    const blocksPerSecond = medianOf(answers.map((one) => one.blocksPerSecond));
    const appendMs = medianOf(answers.map((one) => one.appendMs));
    const messagesPerSecond = Math.round(blocksPerSecond * messages);
    const megabytesPerSecond = Math.round((blocksPerSecond * blockBytes) / 1e5) / 10;
    if (log === 'file') limits.set(`${mode} ${group}`, messagesPerSecond);
    const limit = log === 'file' ? undefined : limits.get(`${mode === 'no fsync' ? mode : 'fdatasync'} ${group}`);
    rows.push({
      figure: `append of ${group} bundle${group === 1 ? '' : 's'}, ${mode}: ${log} (${Math.round(megabytesPerSecond)} MB/s)`,
      value: messagesPerSecond,
      unit: 'messages/s',
      ...(limit === undefined ? {} : { beside: { what: 'bare file', value: limit } }),
    });
    json.push({
      log,
      fsync: mode,
      blocksAnAppend: group,
      messagesPerSecond,
      megabytesPerSecond,
      appendMs: Math.round(appendMs * 1_000) / 1_000,
    });
  }
  const bundled = bench.results.get('bundled')?.json.messagesPerSecond;
  if (typeof bundled === 'number') {
    const limit = limits.get('fdatasync 16');
    rows.push({
      figure: 'the whole sequencer, over HTTP, one sync a commit group before any receipt',
      value: bundled,
      unit: 'messages/s',
      ...(limit === undefined ? {} : { beside: { what: 'bare file, fdatasync, 16 bundles', value: limit } }),
    });
  }
  return { rows, json, blockBytes, hasBundled: typeof bundled === 'number' };
}

async function run(bench: Bench): Promise<Outcome> {
  const ms = loadSeconds(bench.settings, 1, 0.2) * 1_000;
  const trees = await compareTrees(bench, ms);
  const appends = await compareAppends(bench, ms);
  const versions = {
    hypercore: versionOf('hypercore'),
    hypercoreStorage: versionOf('hypercore-storage'),
    merkletreejs: versionOf('merkletreejs'),
  };
  return {
    json: { versions, merkle: trees.json, sameRootsAndPaths: trees.same, blockBytes: appends.blockBytes, appends: appends.json },
    rows: [...trees.rows, ...appends.rows],
    notes: [
      `Each figure is the middle one of ${TURNS}; contenders take turns, each time in a new process.`,
      `merkletreejs ${versions.merkletreejs} with RFC 9162's node hash, sortPairs and duplicateOdd off; ` +
        (trees.same ? 'every contender has the same roots and paths.' : 'NOT every contender has the same roots and paths.'),
      `hypercore ${versions.hypercore} as it is makes no fsync: an append awaits a RocksDB write without a sync, and flush() of ` +
        'its storage flushes a column family that holds no block. "fdatasync" syncs RocksDB\'s write-ahead log from outside after ' +
        'each append; "memtable flush" flushes the right column family, which is internal.',
      'An append of hypercore also hashes each block into a BLAKE2b tree and signs the root (Ed25519), once for all its blocks; ' +
        'hypercore can replicate them to peers, which Sealpost does not. It verifies no sender and indexes no message.',
      ...(appends.hasBundled
        ? [
            'The sequencer takes bundles over HTTP, recovers each signature, hashes each message, orders, indexes by topic, ' +
              'signs receipts, and seals and posts batches meanwhile; the load runs on the same machine.',
          ]
        : ['For the whole sequencer beside these figures: --scenario bundled --scenario peers.']),
    ],
    healthy: trees.same,
  };
}

export const peers: Scenario = {
  name: 'peers',
  about: 'Merkle trees beside merkletreejs, durable appends beside hypercore (3 min)',
  byDefault: false,
  run,
};
