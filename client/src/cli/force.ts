import { createHash } from 'node:crypto';
import { formatMessageId } from '@sealpost/prover';
import type { Outbound, Rung, SealpostClient, SecretIdentity } from '../index.js';
import type { Forced, ForcedSender, ForcePlan, NonceOrigin, Placed } from '../settlement.js';
import { CliError } from './exit.js';
import { number, plural } from './output.js';
import type { Context } from './run.js';
import { connectSettlement, openOutbox, type Settings, timeoutMs } from './settings.js';
import { confirm, lazily, needAnswer } from './transaction.js';

/** A minute of blocks for finality, and as much for the batch. */
const PLACE_SECONDS = 300;

const ORIGINS: Record<NonceOrigin, string> = {
  outbox: 'the one after what this machine sent; if the account sent from elsewhere since, another is next',
  sequencer: 'as the sequencer tells it',
  log: 'as the L1 and the batch files tell it; what was accepted and is not committed is not counted',
  given: 'as you gave it',
};

/** Whose message goes through the L1. */
export interface ForceOrder {
  readonly client: SealpostClient;
  readonly identity: SecretIdentity;
  readonly message: Outbound | undefined;
}

/** `send --force`: through the contract's inbox. Run again, it goes on with what is signed, and pays nothing twice. */
export async function sendForced(
  context: Context,
  settings: Settings,
  { client, identity, message }: ForceOrder,
  options: Record<string, unknown>,
): Promise<0> {
  const { output, signal, flags } = context;
  needAnswer(context, options);
  const [settlement, outbox, { forceMessage, forcePending, waitForPlace }] = await Promise.all([
    connectSettlement(context, settings),
    openOutbox(context, settings, client),
    lazily(),
  ]);
  const sender: ForcedSender = { client, settlement, account: identity.account, outbox };
  const call = {
    signal,
    approve: (plan: ForcePlan) => approve(context, options, client, plan),
    onSigned: (hash: string) => output.say(`sending forceInclude as ${client.address}: ${hash} …`),
  };
  const forced: Forced[] = [];
  if (message === undefined) {
    for (let lane = 0; lane < client.laneCount; lane++) forced.push(...(await forcePending(sender, lane, call)));
  } else {
    const nonce = options.nonce as bigint | undefined;
    forced.push(...(await forceMessage(sender, message, { ...call, job: jobOf(message), nonce })));
  }
  if (forced.length === 0) {
    output.print('nothing was left behind');
    output.result({ bundles: [] });
    return 0;
  }
  for (const one of forced) output.say(await inboxSentence(one));
  const rung = (options.wait ?? 'accepted') as Rung;
  const placed: Placed[] = [];
  for (const one of forced) {
    output.progress(`waiting until the sequencer has given it a place, ${rung} …`);
    const place = await waitForPlace(sender, one, rung, { signal, timeoutMs: timeoutMs(flags, PLACE_SECONDS) });
    output.say(placeSentence(one, place));
    placed.push(place);
  }
  const facts = forced.map((one, at) => factsOf(client, one, placed[at] as Placed));
  for (const { id } of facts) output.print(id);
  output.result(message === undefined ? { bundles: facts } : facts.at(-1));
  if (message !== undefined && rung === 'accepted')
    output.say(`Next: sealpost proof ${facts.at(-1)?.id} --out message.proof.json`);
  return 0;
}

/** The same text to the same key is the same message as long as it waits in the outbox: run again, it goes on. */
function jobOf(message: Outbound): string {
  const content = message.payload ?? new TextEncoder().encode(message.text);
  return `forced ${createHash('sha256').update(content).digest('hex')} to ${message.to ?? message.topic}`;
}

async function approve(
  context: Context,
  options: Record<string, unknown>,
  client: SealpostClient,
  { lane, nonces, renewed, origin, fee, forcedDelay }: ForcePlan,
): Promise<void> {
  const { ether } = await lazily();
  const price = BigInt(nonces.length);
  const older = nonces.length - (origin === undefined ? 0 : 1);
  await confirm(context, options, [
    `${plural(nonces.length, 'bundle')} of ${client.address} into the inbox of lane ${lane}, with nonce ${nonces.join(', ')}.`,
    ...(older === 0 ? [] : [`${plural(older, 'of them was', 'of them were')} signed before and left behind, and must go first.`]),
    ...(renewed.length === 0
      ? []
      : [`Nonce ${renewed.join(', ')} would expire in the queue: the same messages are signed again with a longer life.`]),
    ...(origin === undefined
      ? []
      : [`Its nonce is ${nonces.at(-1)}, ${ORIGINS[origin]}. An entry whose nonce is not the next is void.`]),
    `It costs ${ether(price * fee.burned)}, which is burned, about ${ether(price * fee.consumer)} for who commits it, and the gas. ${ether(price * fee.value)} are sent along; what is too much comes back by: sealpost postage payout`,
    `The sequencer then has ${plural(forcedDelay, 'block')} to commit it.`,
  ]);
}

async function inboxSentence({ lane, nonce, entry, sent }: Forced): Promise<string> {
  if (entry === undefined) return `Nonce ${nonce} of lane ${lane} is in the log already: nothing is paid.`;
  const { ether } = await lazily();
  const how = sent === undefined ? 'was there before, nothing is paid' : `${ether(sent.fee)} of gas`;
  return `Forced: entry ${entry.index} of the inbox of lane ${lane}, to be committed by block ${number(entry.deadline)} (${how})`;
}

function placeSentence({ lane }: Forced, { verification, receipt }: Placed): string {
  const { sequence, rung, batch } = verification;
  if (receipt !== undefined) return `Accepted: entry ${sequence} of lane ${lane}, promised by L1 block ${receipt.includeBy}`;
  return `Proven: entry ${sequence} of lane ${lane}, ${rung}, batch ${batch?.number}, read from the L1 alone`;
}

function factsOf(
  client: SealpostClient,
  { lane, nonce, count, bundleHash, entry, sent }: Forced,
  { verification, receipt }: Placed,
) {
  if (client.address === undefined) throw new CliError(1, 'key.missing', 'no account', 'sealpost keys new');
  return {
    id: formatMessageId({ sender: client.address, lane, nonce }),
    sender: client.address,
    lane,
    nonce,
    count,
    sequence: verification.sequence,
    bundleHash,
    includeBy: receipt?.includeBy ?? null,
    rung: verification.rung,
    forced: entry === undefined ? null : { index: entry.index, deadline: entry.deadline, transactionHash: entry.transactionHash },
    sent: sent ?? null,
  };
}
