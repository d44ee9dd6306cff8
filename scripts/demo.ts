import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient, failedStep, isAtLeast, RUNGS, type SealpostClient, type SentMany } from '@sealpost/client';
import { formatMessageId, type Hex, type MessageProof } from '@sealpost/prover';
import { http } from 'viem';
import type { User } from './accounts.js';
import { measureDirectGas, sumGas } from './direct.js';
import { Folder } from './folder.js';
import { userIdentity } from './keyfiles.js';
import { Network } from './network.js';
import { readFlags, readNumber } from './settings.js';
import { type Findings, type Scene, tell } from './story.js';
import { bar, Failure, formatCount, Progress, plural, print, runCommand, say } from './terminal.js';

const HELP = `
npm run demo: the whole of Sealpost in one go. On a network of its own (free ports, a temporary folder, gone afterwards) several
senders seal the lines of a text file to several recipients; every receipt is checked, every recipient opens everything, every
message is proven against the L1 and some by the contract itself, and corrupted proofs are refused.

Flags
  --messages N   how many messages, 20 to 200000 (2100); lines are repeated if the file has fewer
  --input FILE   the text file (scripts/demo.txt: licences of the Free Software Foundation, free to copy verbatim)
  --json         one last line of JSON: messages, accepted, opened, proofsVerified, lost, corruptedProofRefused, batches,
                 l1GasPerMessage, directGasPerMessage, seconds

Examples
  npm run demo
  npm run demo -- --messages 10000
  npm run demo -- --input README.md --json | tail -1

Exit code: 0 only if nothing was lost and every proof held.
`;

const SENDERS = ['alice', 'bob', 'carol'] as const satisfies readonly User[];
const RECIPIENTS = ['dave', 'erin', 'frank'] as const satisfies readonly User[];
const MESSAGES_A_BUNDLE = 32;
const ON_CHAIN = 20;
const DIRECT = 20;
const PARALLEL_PROOFS = 16;
const OPEN_TIMEOUT_MS = 120_000;
const FINALITY_TIMEOUT_MS = 60_000;

/** A line on its way from one user to another. */
interface Letter {
  readonly from: (typeof SENDERS)[number];
  readonly to: (typeof RECIPIENTS)[number];
  readonly text: string;
}

function readLetters(file: string, count: number | undefined): Letter[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failure(`${file} cannot be read: ${(error as Error).message}`, 'choose a text file: --input FILE', 2);
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new Failure(`${file} has no line of text`, 'choose another file: --input FILE', 2);
  const long = lines.findIndex((line) => Buffer.byteLength(line) > 60_000);
  if (long >= 0) throw new Failure(`line ${long + 1} of ${file} is over 60,000 bytes`, 'choose a file with shorter lines', 2);
  return Array.from({ length: count ?? lines.length }, (_, at) => ({
    from: SENDERS[at % SENDERS.length] as Letter['from'],
    to: RECIPIENTS[Math.floor(at / SENDERS.length) % RECIPIENTS.length] as Letter['to'],
    text: lines[at % lines.length] as string,
  }));
}

/** Runs `work` over the items, some at a time. */
async function inParallel<T>(items: readonly T[], parallel: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const loops = Array.from({ length: Math.min(parallel, items.length) }, async () => {
    for (let at = next++; at < items.length; at = next++) await work(items[at] as T);
  });
  await Promise.all(loops);
}

async function play(
  network: Network,
  letters: readonly Letter[],
  source: string,
  progress: Progress,
  began: number,
): Promise<[Findings, Scene]> {
  const options = { url: network.url, l1: http(network.l1Url), settlement: network.settlement, chainId: network.chainId };
  const clients = new Map<User, SealpostClient>();
  for (const user of [...SENDERS, ...RECIPIENTS]) {
    const { account, keys } = await userIdentity(user);
    clients.set(user, await createClient({ ...options, account, keys, maxMessagesPerBundle: MESSAGES_A_BUNDLE }));
  }
  const client = (user: User) => clients.get(user) as SealpostClient;

  // Recipients read while senders send.
  const opened = new Map<string, { text: string | undefined; by: User }>();
  const reading = new AbortController();
  let repeated = 0;
  const readers = RECIPIENTS.map(async (user) => {
    try {
      for await (const message of client(user).inbox({ signal: reading.signal })) {
        if (opened.has(message.id)) repeated++;
        opened.set(message.id, { text: message.text, by: user });
      }
    } catch (error) {
      if (!reading.signal.aborted) throw error;
    }
  });
  const failed = Promise.all(readers).then(() => new Promise<never>(() => {}));
  failed.catch(() => {});

  const sendingBegan = performance.now();
  let accepted = 0;
  const expected = new Map<string, Letter>();
  const sent: SentMany[] = [];
  let firstId: string | undefined;
  const ladder: Scene['ladder'][number][] = [];
  let climbing: Promise<void> | undefined;
  const climb = async (id: string, since: number) => {
    for (const rung of RUNGS) {
      const { rung: reached, batch, includeBy } = await client(SENDERS[0]).waitFor(id, rung, { timeoutMs: FINALITY_TIMEOUT_MS });
      if (!isAtLeast(reached, rung)) continue;
      const note =
        rung === 'accepted'
          ? `to be committed by L1 block ${includeBy}`
          : rung === 'committed'
            ? `batch ${batch?.number}, L1 block ${batch?.commitment?.blockNumber ?? '?'}`
            : '';
      ladder.push({ rung, ms: performance.now() - since, note });
    }
  };
  await Promise.race([
    failed,
    Promise.all(
      SENDERS.map(async (user) => {
        const own = letters.filter(({ from }) => from === user);
        let before = 0;
        const many = await client(user).sendMany(
          own.map(({ to, text }) => ({ to: network.accounts[to].publicKey, text })),
          {
            onProgress: ({ messages }) => {
              accepted += messages - before;
              before = messages;
              if (firstId === undefined && user === SENDERS[0]) {
                firstId = formatMessageId({ sender: client(user).address as Hex, lane: 0, nonce: 0n });
                climbing = climb(firstId, sendingBegan);
                climbing.catch(() => {});
              }
              progress.show(
                'Sending',
                `${bar(accepted, letters.length)} ${formatCount(accepted)} of ${formatCount(letters.length)}`,
              );
            },
          },
        );
        sent.push(many);
        for (const [at, id] of many.ids().entries()) expected.set(formatMessageId(id), own[at] as Letter);
      }),
    ),
  ]);
  const sendingMs = performance.now() - sendingBegan;

  const deadline = performance.now() + OPEN_TIMEOUT_MS;
  while (opened.size < expected.size && performance.now() < deadline) {
    progress.show('Opening', `${bar(opened.size, expected.size)} ${formatCount(opened.size)} of ${formatCount(expected.size)}`);
    await Promise.race([failed, new Promise((wake) => setTimeout(wake, 20))]);
  }
  reading.abort();
  await Promise.all(readers);
  const openedRight = new Set<string>();
  for (const [id, letter] of expected) {
    const message = opened.get(id);
    if (message?.text === letter.text && message.by === letter.to) openedRight.add(id);
  }

  progress.show('Waiting for the L1');
  for (const many of sent) await many.waitFor('committed', { timeoutMs: FINALITY_TIMEOUT_MS });

  // Each recipient proves what it received: the proof comes from the sequencer, the judgement from prover and L1.
  const provingBegan = performance.now();
  const proven = new Set<string>();
  const complaints: string[] = [];
  const proofs: [string, MessageProof][] = [];
  await inParallel([...expected], PARALLEL_PROOFS, async ([id, letter]) => {
    try {
      const proof = await client(letter.to).proof(id);
      const verification = await client(letter.to).verify(proof);
      if (isAtLeast(verification.rung, 'committed') && formatMessageId(verification) === id) proven.add(id);
      else complaints.push(`${id}: only ${verification.rung}`);
      proofs.push([id, proof]);
    } catch (error) {
      complaints.push(`${id}: ${(error as Error).message}`);
    }
    progress.show('Proving', `${bar(proven.size, expected.size)} ${formatCount(proven.size)} of ${formatCount(expected.size)}`);
  });
  const provingMs = performance.now() - provingBegan;

  progress.show('Asking the contract');
  const judge = client(RECIPIENTS[0]);
  let onChain = 0;
  for (let at = 0; at < ON_CHAIN && at < proofs.length; at++) {
    const [id, proof] = proofs[Math.floor((at * proofs.length) / ON_CHAIN) % proofs.length] as [string, MessageProof];
    if (await judge.isIncluded(proof)) onChain++;
    else complaints.push(`${id}: isIncluded says no`);
  }
  const example = proofs.find(([id]) => id === firstId) ?? proofs[0];
  if (example === undefined) throw new Failure(`no message could be proven: ${complaints[0] ?? 'no reason given'}`);
  const refusals = await corrupt(judge, example[1]);

  progress.show('Measuring gas');
  const { batches } = await judge.status().then(({ lanes }) => readBatches(judge, lanes.length));
  const transactions = new Set(batches.flatMap(({ transactionHash }) => (transactionHash === null ? [] : [transactionHash])));
  const commitGas = await sumGas(network.l1Url, transactions);
  const payloads = Array.from(
    { length: DIRECT },
    (_, at) => proofs[Math.floor((at * proofs.length) / DIRECT)]?.[1].message.payload,
  );
  const directGas = await measureDirectGas(
    network.l1Url,
    payloads.filter((payload) => payload !== undefined),
  );

  progress.show('Waiting for finality');
  for (const many of sent) await many.waitFor('finalized', { timeoutMs: FINALITY_TIMEOUT_MS });
  await climbing;
  progress.clear();
  if (repeated > 0) complaints.push(`${plural(repeated, 'message')} came twice`);
  for (const complaint of complaints.slice(0, 10)) say(complaint);

  const lost = letters.length - [...expected.keys()].filter((id) => openedRight.has(id) && proven.has(id)).length;
  const findings: Findings = {
    messages: letters.length,
    accepted,
    opened: openedRight.size,
    proofsVerified: proven.size,
    lost,
    corruptedProofRefused: refusals.every(({ isRefused }) => isRefused) && onChain === Math.min(ON_CHAIN, proofs.length),
    batches: batches.length,
    l1GasPerMessage: Math.round((10 * commitGas) / letters.length) / 10,
    directGasPerMessage: Math.round(directGas),
    seconds: Math.round((performance.now() - began) / 100) / 10,
  };
  return [
    findings,
    {
      source,
      senders: SENDERS,
      recipients: RECIPIENTS,
      bundles: sent.reduce((sum, { bundles }) => sum + bundles.length, 0),
      commits: transactions.size,
      commitGas,
      sentPerSecond: (accepted / sendingMs) * 1_000,
      verifiedPerSecond: (proven.size / provingMs) * 1_000,
      onChain,
      refusals: refusals.map(({ what, isRefused }) => `${what}${isRefused ? '' : ' WAS ACCEPTED'}`),
      ladder,
      proof: example[1],
      text: expected.get(example[0])?.text ?? '',
    },
  ];
}

async function readBatches(client: SealpostClient, laneCount: number) {
  const batches: { transactionHash: Hex | null }[] = [];
  for (let lane = 0; lane < laneCount; lane++) {
    let before: bigint | undefined;
    do {
      const page = await client.batches({ lane, before, limit: 100 });
      batches.push(...page.batches);
      before = page.next;
    } while (before !== undefined);
  }
  return { batches };
}

/** Offers false proofs to the verifier and to the contract; both must say no to each. */
async function corrupt(client: SealpostClient, proof: MessageProof): Promise<{ what: string; isRefused: boolean }[]> {
  const flip = (hex: Hex): Hex => `${hex.slice(0, -1)}${hex.endsWith('0') ? '1' : '0'}` as Hex;
  const payload = Uint8Array.from(proof.message.payload);
  payload[payload.length - 1] = (payload.at(-1) ?? 0) ^ 1;
  const [firstNode, ...others] = proof.messagePath;
  const corruptions: [string, MessageProof][] = [
    ['another payload', { ...proof, message: { ...proof.message, payload } }],
    ['another place', { ...proof, messageIndex: proof.messageIndex ^ 1 }],
    ['another sender', { ...proof, bundle: { ...proof.bundle, sender: flip(proof.bundle.sender) } }],
    ['another batch', { ...proof, header: { ...proof.header, bundlesRoot: flip(proof.header.bundlesRoot) } }],
  ];
  if (firstNode !== undefined) corruptions.push(['another path', { ...proof, messagePath: [flip(firstNode), ...others] }]);
  const outcomes: { what: string; isRefused: boolean }[] = [];
  for (const [what, corrupted] of corruptions) {
    const step = await client.verify(corrupted).then(
      () => undefined,
      (error) => failedStep(error),
    );
    const included = await client.isIncluded(corrupted);
    outcomes.push({ what, isRefused: step !== undefined && !included });
  }
  return outcomes;
}

async function demo(): Promise<number | undefined> {
  const flags = readFlags(HELP, { messages: { type: 'string' }, input: { type: 'string' }, json: { type: 'boolean' } });
  if (flags === undefined) return 0;
  const began = performance.now();
  const input = flags.input ?? fileURLToPath(new URL('demo.txt', import.meta.url));
  const letters = readLetters(input, Math.floor(readNumber('messages', flags.messages, 2_100, 20, 200_000)));
  const abort = new AbortController();
  const interrupted = new Promise<never>((_, reject) => {
    const stop = (signal: NodeJS.Signals) => {
      const reason = new Failure('interrupted', undefined, signal === 'SIGINT' ? 130 : 143);
      abort.abort(reason);
      reject(reason);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
  });
  interrupted.catch(() => {});
  const progress = new Progress();
  const data = mkdtempSync(join(tmpdir(), 'sealpost-demo-'));
  let network: Network | undefined;
  try {
    const folder = new Folder(data);
    await folder.acquire();
    network = await Network.start({ folder, onStep: (step) => progress.show(step) }, abort.signal);
    const broken = network.broken().then((end): never => {
      throw new Failure(end, 'run it again with a larger disk or fewer messages, or report it');
    });
    broken.catch(() => {});
    const [findings, scene] = await Promise.race([play(network, letters, basename(input), progress, began), broken, interrupted]);
    await network.stop();
    (flags.json ? say : print)(`\n${tell(findings, scene)}\n`);
    if (flags.json) print(JSON.stringify(findings));
    const { messages, accepted, opened, proofsVerified, lost, corruptedProofRefused } = findings;
    const isWhole =
      accepted === messages && opened === messages && proofsVerified === messages && lost === 0 && corruptedProofRefused;
    return isWhole ? 0 : 1;
  } catch (error) {
    progress.clear();
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    progress.clear();
    await network?.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

await runCommand(demo);
