import { createHash } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { formatMessageId } from '@sealpost/prover';
import type { Hex, Outbound, Rung, SealpostClient } from '../index.js';
import { CliError, usageError } from './exit.js';
import { sendForced } from './force.js';
import { number, plural } from './output.js';
import type { Action, Context } from './run.js';
import { chooseKey, connect, explainReset, findRecipient, openKey, readSettings, timeoutMs } from './settings.js';

const SEE_EXAMPLE = 'sealpost send --to alice "hello"';

export const send: Action = async (context, [text], options) => {
  const { output, flags, signal } = context;
  const settings = await readSettings(context);
  const as = typeof options.as === 'string' ? options.as : undefined;
  const call = { signal, timeoutMs: timeoutMs(flags) };
  const force = options.force === true;
  if (force && options.file !== undefined) {
    throw usageError('--force sends one message: each takes a transaction of its own', 'sealpost send --force --help');
  }
  const { payPostage } = await import('../postage.js');
  // Without leave it pays nothing, and says what it would cost before anything is signed.
  const postage = payPostage({ maxPerMessage: (options.maxPostage as bigint | undefined) ?? 0n });
  if (options.nonce !== undefined && (!force || options.resume === true)) {
    throw usageError('--nonce is for a new message that is forced', 'sealpost send --force --help');
  }
  if (options.resume === true) {
    const identity = await openKey(context, await chooseKey(context, settings, as), options);
    const client = await connect(context, settings, identity, postage);
    if (force) return sendForced(context, settings, { client, identity, message: undefined }, options);
    const bundles = await client.resume(call).catch((error) => explainReset(context, settings, client, error));
    const messages = bundles.reduce((sum, { count }) => sum + count, 0);
    output.print(
      `${plural(messages, 'message')} that ${messages === 1 ? 'was' : 'were'} left behind ${messages === 1 ? 'is' : 'are'} sent`,
    );
    output.result({ messages, bundles: bundles.map(bundleFacts) });
    return 0;
  }
  if (typeof options.to !== 'string') throw usageError('to whom? --to takes a name or a public key', SEE_EXAMPLE);
  if ((text === undefined) === (options.file === undefined)) {
    throw usageError(
      text === undefined ? 'nothing to send: a text, - for stdin, or --file' : 'either a text or --file, not both',
      SEE_EXAMPLE,
    );
  }
  const { publicKey, name } = await findRecipient(context, settings, options.to);
  const identity = await openKey(context, await chooseKey(context, settings, as, publicKey), options);
  const wait = options.wait as Rung | undefined;
  if (typeof options.file === 'string') {
    const client = await connect(context, settings, identity, postage);
    const order = { file: options.file, to: publicKey, name, again: options.again === true, wait };
    return sendFile(context, client, order).catch((error) => explainReset(context, settings, client, error));
  }
  const message: Outbound = text === '-' ? { to: publicKey, payload: await readStdin() } : { to: publicKey, text: String(text) };
  const client = await connect(context, settings, identity, postage);
  if (force) {
    return sendForced(context, settings, { client, identity, message }, options).catch((error) =>
      explainReset(context, settings, client, error),
    );
  }
  const sent = await client.send(message, call).catch((error) => explainReset(context, settings, client, error));
  output.say(`Accepted: entry ${sent.sequence} of lane ${sent.lane}, promised by L1 block ${sent.receipt.includeBy}`);
  const proven =
    wait === undefined || wait === 'accepted'
      ? undefined
      : await sent.waitFor(wait, { signal, timeoutMs: timeoutMs(flags, 300) });
  if (proven !== undefined) output.say(`Proven: ${proven.rung}, batch ${proven.batch?.number}`);
  output.print(sent.id);
  output.result({
    id: sent.id,
    sender: sent.sender,
    lane: sent.lane,
    nonce: sent.nonce,
    sequence: sent.sequence,
    bundleHash: sent.bundleHash,
    includeBy: sent.receipt.includeBy,
    rung: proven?.rung ?? 'accepted',
  });
  if (proven === undefined) output.say(`Next: sealpost proof ${sent.id} --out message.proof.json`);
  return 0;
};

interface FileOrder {
  readonly file: string;
  readonly to: Hex;
  readonly name: string;
  readonly again: boolean;
  readonly wait: Rung | undefined;
}

async function sendFile(context: Context, client: SealpostClient, order: FileOrder): Promise<0> {
  const { output, signal, flags } = context;
  const { maxPlaintextBytes } = await import('../seal.js');
  const fromStdin = order.file === '-';
  // Only what can be read twice is: a pipe (`--file <(…)`) is gone after once.
  const isRepeatable = !fromStdin && (await isRegularFile(order.file));
  // What is sent once is known by content and recipient: run again after an interruption, it goes on; run again after the end,
  // it has nothing to do. Lines from stdin are gone after an interruption: their bundles are in the outbox all the same.
  const content = isRepeatable ? await readThrough(order.file, signal) : undefined;
  if (content?.lines === 0) output.warn(`${order.file} is empty: there is nothing to send`);
  const job = content === undefined || order.again ? undefined : `file ${content.digest} to ${order.to}`;
  const maxBytes = maxPlaintextBytes(order.to);
  let started = performance.now();
  let shown = 0;
  let isSending = false;
  // Judged by the bytes: U+FFFD in a line may also be what somebody wrote.
  const notUtf8 = () => new CliError(1, 'file.malformed', `${order.file} is no UTF-8 text`, `iconv -t utf-8 ${order.file}`);
  const messages = async function* (): AsyncGenerator<Outbound> {
    let at = 0;
    const input = fromStdin ? process.stdin : createReadStream(order.file);
    const isUtf8 = watchUtf8(input);
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (!isUtf8()) throw notUtf8();
      at++;
      const bytes = Buffer.byteLength(line);
      if (bytes > maxBytes) {
        const before = isSending
          ? `${plural(shown, 'message')} before it ${shown === 1 ? 'was' : 'were'} sent (sealpost send --resume sends what is signed and left behind)`
          : 'nothing was sent';
        throw new CliError(
          1,
          'send.too_large',
          `line ${number(at)} of ${fromStdin ? 'stdin' : order.file} has ${number(bytes)} bytes, and a message to ${order.name} at most ${number(maxBytes)}: ${before}`,
          isRepeatable ? `sed -n ${at}p ${order.file}   (cut it into several lines, then the same command)` : SEE_EXAMPLE,
        );
      }
      yield { to: order.to, text: line };
    }
    // Half a character at the end makes no line.
    if (!isUtf8()) throw notUtf8();
  };
  if (isRepeatable) for await (const _ of messages()) signal.throwIfAborted();
  isSending = true;
  started = performance.now();
  const sent = await client.sendMany(messages(), {
    signal,
    job,
    ...(flags.timeout === undefined ? {} : { timeoutMs: timeoutMs(flags) }),
    onProgress: ({ messages: done, skipped }) => {
      shown = done;
      const rate = Math.round(done / ((performance.now() - started) / 1_000));
      const more = skipped > 0 ? `, ${number(skipped)} before` : '';
      output.progress(`${plural(done, 'message')} to ${order.name}, ${number(rate)}/s${more}`, done + skipped, content?.lines);
    },
  });
  output.clearProgress();
  for (const bundle of sent.bundles) output.item('bundle', bundleFacts(bundle));
  if (order.wait !== undefined && order.wait !== 'accepted' && sent.count > 0) {
    output.progress(`waiting until ${order.wait} …`);
    await sent.waitFor(order.wait, { signal, timeoutMs: timeoutMs(flags, 300) });
    output.say(`Proven: every bundle is ${order.wait}`);
  }
  const seconds = (performance.now() - started) / 1_000;
  if (sent.skipped > 0) output.say(`${plural(sent.skipped, 'line')} had been sent before (--again sends them again)`);
  const ids = sent.ids();
  const [first, last] = [ids.at(0), ids.at(-1)];
  const range = first === undefined || last === undefined ? '' : `: ${formatMessageId(first)} to ${formatMessageId(last)}`;
  output.print(`${plural(shown, 'message')} in ${plural(sent.bundles.length, 'bundle')}, ${seconds.toFixed(1)} s${range}`);
  output.item('summary', { messages: sent.count, skipped: sent.skipped, bundles: sent.bundles.length, seconds });
  return 0;
}

/** Whether all bytes of a stream so far were UTF-8. Listens from now on, so before whoever splits it into lines. */
function watchUtf8(input: NodeJS.ReadableStream): () => boolean {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let isWhole = true;
  const check = (chunk?: Buffer | string) => {
    try {
      if (typeof chunk !== 'string') decoder.decode(chunk, { stream: chunk !== undefined });
    } catch {
      isWhole = false;
    }
  };
  input.on('data', check);
  input.on('end', () => check());
  return () => isWhole;
}

const bundleFacts = (bundle: { lane: number; nonce: bigint; count: number; bundleHash: Hex; receipt: { sequence: bigint } }) => ({
  lane: bundle.lane,
  nonce: bundle.nonce,
  count: bundle.count,
  bundleHash: bundle.bundleHash,
  sequence: bundle.receipt.sequence,
});

/** False for a pipe or a device; there is no sense in a folder. */
async function isRegularFile(path: string): Promise<boolean> {
  let facts: Stats;
  try {
    facts = await stat(path);
  } catch (cause) {
    throw new CliError(1, 'file.missing', `${path} cannot be read`, `ls -l ${path}`, { cause });
  }
  if (facts.isDirectory()) throw new CliError(1, 'file.folder', `${path} is a folder: --file takes a text file`, `ls ${path}`);
  return facts.isFile();
}

/** A file's digest and how many lines it has. */
async function readThrough(path: string, signal: AbortSignal): Promise<{ digest: string; lines: number }> {
  const hash = createHash('sha256');
  let lines = 0;
  let last = 0x0a;
  try {
    for await (const chunk of createReadStream(path, { signal }) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) lines++;
      last = chunk.at(-1) ?? last;
    }
  } catch (cause) {
    signal.throwIfAborted();
    throw new CliError(1, 'file.missing', `${path} cannot be read`, `ls -l ${path}`, { cause });
  }
  return { digest: hash.digest('hex'), lines: last === 0x0a ? lines : lines + 1 };
}

/** All of stdin as one message, without one newline at the end, which the shell adds. */
async function readStdin(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    size += chunk.length;
    if (size > 65_536)
      throw new CliError(1, 'send.too_large', 'a message has at most 65,536 bytes', 'sealpost send --to … --file -');
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  return new Uint8Array(bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes);
}
