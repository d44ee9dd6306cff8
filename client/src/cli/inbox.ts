import { formatMessageId, type Hex, toBase64 } from '@sealpost/prover';
import { usageError } from './exit.js';
import { number, short, singleLine, size } from './output.js';
import type { Action } from './run.js';
import { chooseKey, connect, openKey, readSettings, timeoutMs } from './settings.js';

export const inbox: Action = async (context, _args, options) => {
  const { output, signal, flags } = context;
  const settings = await readSettings(context);
  if (options.limit === 0) throw usageError('-n: expected at least 1, got 0', 'sealpost inbox -n 1');
  const senders = options.from as string[] | undefined;
  const addresses = senders?.map((from): Hex => {
    const known = settings.network?.accounts[from]?.address ?? from;
    if (!/^0x[0-9a-fA-F]{40}$/.test(known))
      throw usageError(`--from: expected an address or a name, got ${from}`, 'sealpost inbox --help');
    return known.toLowerCase() as Hex;
  });
  const key = await chooseKey(context, settings, typeof options.as === 'string' ? options.as : undefined);
  const client = await connect(context, settings, await openKey(context, key, options));
  const names = new Map(
    Object.entries(settings.network?.accounts ?? {}).map(([name, { address }]) => [address.toLowerCase(), name]),
  );
  const watch = options.watch === true;
  const limit = typeof options.limit === 'number' ? options.limit : Number.POSITIVE_INFINITY;
  let count = 0;
  if (watch) output.say(`${key.name}'s inbox, Ctrl-C to stop`);
  const after = typeof options.after === 'string' ? options.after : undefined;
  if (limit > 0) {
    const messages = client.inbox({ follow: watch, after, senders: addresses, signal });
    for await (const message of after === undefined ? messages : refusedCursor(messages, after)) {
      const rung = options.verify === true ? (await message.verify({ signal, timeoutMs: timeoutMs(flags) })).rung : undefined;
      const { text, plaintext, sender } = message;
      output.item('message', {
        id: formatMessageId(message),
        sender,
        lane: message.lane,
        nonce: message.nonce,
        sequence: message.sequence,
        index: message.index,
        cursor: message.cursor,
        status: message.status,
        expired: message.expired,
        ...(text === undefined ? { base64: toBase64(plaintext) } : { text }),
        ...(rung === undefined ? {} : { proven: rung }),
      });
      const from = names.get(sender) ?? short(sender);
      const body = text === undefined ? `(${size(plaintext.length)} that are no text)` : singleLine(text);
      const marks = [message.expired ? 'expired' : undefined, rung === undefined ? undefined : `proven: ${rung}`].filter(Boolean);
      output.print(
        `${output.paint('cyan', from)}  ${body}${marks.length > 0 ? `  ${output.paint('dim', `(${marks.join(', ')})`)}` : ''}`,
      );
      count++;
      if (count >= limit) break;
      if (!watch && count % 100 === 0) output.progress(`${number(count)} messages`);
    }
  }
  if (count === 0) output.say(`${key.name} has no messages${after === undefined ? '' : ' after that'}`);
  return 0;
};

/** What a cursor looks like is the sequencer's business: if it does not know it, the command line was wrong. */
async function* refusedCursor<T>(messages: AsyncIterable<T>, after: string): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    if ((error as { code?: string }).code !== 'request.invalid') throw error;
    throw usageError(
      `--after: ${after} is no cursor of this network: expected one as 'sealpost inbox --json' prints it, or latest`,
      'sealpost inbox --json | jq -r .data.cursor',
    );
  }
}
