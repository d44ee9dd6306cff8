import { bundlePrice, FREE, type Hex, lowerHex, type Price, priceFromJson, Reader } from '@sealpost/prover';
import { type CallOptions, systemClock } from './clock.js';
import { type RequestError, SendError } from './errors.js';
import { Http } from './http.js';
import { bytesInBody, bytesInBundle, type PayingAccount, type Postage } from './send.js';

/** What the sequencer says about an account's next bundle on a lane. Nothing is verified. */
export interface Quote {
  /** The account's next nonce. */
  readonly nonce: bigint;
  /** Wei, cumulative: what its bundles so far have cost. */
  readonly owed: bigint;
  readonly price: Price;
}

export interface PostageOptions {
  /** The most that a message may cost, in wei, as an average of those in its bundle. */
  readonly maxPerMessage: bigint;
}

/** How many of an account's entries are looked at for one that shows what it owes: those out of the inbox owe nothing. */
const MAX_LOOKS_BACK = 64;

/** What a bundle of messages with these payloads costs, in wei. A text sealed to an X25519 key is 54 bytes longer as a payload. */
export const priceOf = (price: Price, payloadBytes: readonly number[]): bigint =>
  bundlePrice(
    price,
    payloadBytes.length,
    // A frame's length is not paid for.
    bytesInBody(payloadBytes.reduce((sum, bytes) => sum + bytesInBundle(bytes), 0)) - 4,
  );

/**
 * Asks the sequencer at `url` what an account's next bundle on a lane is judged by.
 * @throws value.malformed, and what every request may
 */
export function quotePostage(
  {
    url,
    sender,
    lane = 0,
    fetch = globalThis.fetch,
  }: { url: string; sender: Hex; lane?: number; fetch?: typeof globalThis.fetch },
  call: CallOptions = {},
): Promise<Quote> {
  const http = new Http({ url, fetch, clock: systemClock, random: Math.random, log: () => {} });
  return readQuote(http, sender, lane, call);
}

async function readQuote(http: Http, sender: Hex, lane: number, call: CallOptions): Promise<Quote> {
  const answer = await http.getJson(`v1/accounts/${lowerHex(sender)}`, { ...call, query: { lane } });
  const json = new Reader(answer, 'value.malformed', 'account');
  return {
    nonce: json.field('nonce').uint(64),
    // A sequencer that knows of no postage asks for none.
    owed: json.has('owed') ? json.field('owed').uint(128) : 0n,
    price: json.has('price') ? priceFromJson(json.field('price')) : FREE,
  };
}

/**
 * For `createClient`: pays what the sequencer asks, up to `maxPerMessage` a message, out of the account's deposit (PROTOCOL.md §3).
 *
 * Postage is cumulative, so a sequencer that lies about what is owed so far would be paid for what nobody sent. So its word counts
 * up to what the account is known to have signed before: by the outbox, or by an entry of the log whose signature and receipt are
 * verified. A bundle adds to that at most `maxPerMessage` for each of its messages, whatever the sequencer says and however often
 * it refuses: what is signed again has the same messages and the same nonce, and only one of them can ever be in the log.
 */
export function payPostage({ maxPerMessage }: PostageOptions): Postage {
  return async (account, bundles, refused) => {
    const quote = await readQuote(account.http, account.sender, account.lane, account.call);
    const costs = bundles.map((messages) => {
      const payloads = messages.map(({ payload }) => payload.length);
      return checkLimit(account, priceOf(quote.price, payloads), payloads.length, maxPerMessage);
    });
    let owed = await checkOwed(account, quote);
    const postages = costs.map((cost) => {
      owed += cost;
      return owed;
    });
    // Asked for again as it was signed: then it is the deposit.
    if (refused !== undefined && refused.postage === postages[0]) throw unfunded(account, refused.error, costs[0] as bigint);
    return postages;
  };
}

/** @throws send.postage_limit */
function checkLimit({ lane, pending }: PayingAccount, cost: bigint, count: number, maxPerMessage: bigint): bigint {
  const messages = BigInt(count);
  if (cost <= maxPerMessage * messages) return cost;
  const price = (cost + messages - 1n) / messages;
  const allowed = maxPerMessage === 0n ? 'nothing' : `${maxPerMessage} wei`;
  throw new SendError('send.postage_limit', `a message costs ${price} wei on lane ${lane}, and ${allowed} may be paid for it`, {
    facts: { lane, price: String(price), maxPerMessage: String(maxPerMessage), messages: count, pending },
  });
}

/** @throws send.postage_unclear */
async function checkOwed({ lane, known, pending, entryAt }: PayingAccount, { nonce, owed }: Quote): Promise<bigint> {
  if (owed <= known) return owed;
  for (let looks = 0, end = nonce; end > 0n && looks < MAX_LOOKS_BACK; looks++) {
    const entry = await entryAt(end - 1n);
    if (entry === undefined) break;
    if (entry.fields.postage >= owed) return owed;
    end = entry.fields.nonce;
  }
  throw new SendError(
    'send.postage_unclear',
    `the sequencer says that this account owes ${owed} wei on lane ${lane}, and shows no bundle that does: nothing is signed for it`,
    { facts: { lane, owed: String(owed), pending } },
  );
}

function unfunded({ lane }: PayingAccount, error: RequestError, cost: bigint): SendError {
  const { available } = error.facts;
  const left = typeof available === 'string' && /^\d{1,39}$/.test(available) ? BigInt(available) : 0n;
  const facts = { lane, price: String(cost), missing: String(cost > left ? cost - left : 0n), pending: true };
  return new SendError('send.postage_unfunded', `the sequencer does not take the postage: ${error.message}`, {
    facts,
    cause: error,
  });
}
