import { type Hex, proofFromJson, type Receipt, VerifiedBundles, verifyMessageProof, verifyReceipt } from '@sealpost/prover';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { nativeRecover } from '../src/adapters/native.js';
import { auditLog } from './audit.js';
import { Account, DOMAIN, faulty, frames, SIGNATURE_FAULTS, type SignedBundle } from './bundles.js';
import { closeVerifiers, MAX_INCLUDE_DELAY, Pipeline, SIGNER, START } from './pipeline.js';

afterAll(closeVerifiers);

const LANES = 2;
const SENDERS = [new Account('alice'), new Account('bob'), new Account('carol')];
const VERIFY = { recover: nativeRecover };

/** One thing that a sender does, well or badly. `step` is how far from its next nonce it sets out. */
interface Act {
  readonly sender: number;
  readonly lane: number;
  readonly kind: 'next' | 'gap' | 'past' | 'again' | 'resigned' | 'changed' | 'expired' | 'forged' | 'garbage' | 'foreign lane';
  readonly count: number;
}

interface Trace {
  /** Bodies, sent without waiting for each other's answers. */
  readonly bodies: readonly (readonly Act[])[];
  /** After which bodies everything is waited for, and then sealed or loaded again. */
  readonly pauses: readonly { readonly after: number; readonly action: 'seal' | 'reload' | 'clock back' }[];
  readonly maxGroupBytes: number;
  readonly maxEntries: number;
}

const act = fc.record<Act>({
  sender: fc.nat(SENDERS.length - 1),
  lane: fc.nat(LANES - 1),
  kind: fc.oneof(
    { weight: 8, arbitrary: fc.constant('next' as const) },
    {
      weight: 5,
      arbitrary: fc.constantFrom('gap', 'past', 'again', 'resigned', 'changed', 'expired', 'forged', 'garbage', 'foreign lane'),
    },
  ),
  count: fc.integer({ min: 1, max: 5 }),
});
const trace = fc.record<Trace>({
  bodies: fc.array(fc.array(act, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 25 }),
  pauses: fc.array(fc.record({ after: fc.nat(24), action: fc.constantFrom('seal', 'reload', 'clock back') }), { maxLength: 3 }),
  maxGroupBytes: fc.constantFrom(1, 2_000, 1_000_000),
  maxEntries: fc.integer({ min: 1, max: 8 }),
});

/** PROTOCOL.md §6 in a few lines, knowing nothing of groups, stores and threads: what each bundle must become. */
class Model {
  readonly log: { lane: number; bundleHash: Hex; previous: bigint; signed: SignedBundle }[] = [];
  private readonly lanes = Array.from({ length: LANES }, () => ({ next: 0n, acceptedAt: 0n }));
  private readonly accounts = new Map<string, { nonce: bigint; previous: bigint }>();
  private readonly known = new Map<string, bigint>();

  judge(signed: SignedBundle, fault: string | undefined, now: bigint): string {
    const { lane: at, sender, nonce, expiry, messages } = signed.bundle;
    if (fault !== undefined) return fault;
    const lane = this.lanes[at] as (typeof this.lanes)[number];
    const structHash = Buffer.from(signed.structHash).toString('hex');
    const stands = this.known.get(`${sender}/${structHash}`);
    if (stands !== undefined) return `${at}/${stands}`;
    const acceptedAt = lane.acceptedAt > now ? lane.acceptedAt : now;
    if (expiry < acceptedAt) return 'bundle.expired';
    const account = this.accounts.get(`${sender}/${at}`) ?? { nonce: 0n, previous: 0n };
    if (nonce !== account.nonce) return `bundle.nonce ${account.nonce}`;
    const sequence = lane.next++;
    lane.acceptedAt = acceptedAt;
    this.accounts.set(`${sender}/${at}`, { nonce: nonce + BigInt(messages.length), previous: sequence + 1n });
    this.known.set(`${sender}/${structHash}`, sequence);
    this.log.push({ lane: at, bundleHash: signed.bundleHash, previous: account.previous, signed });
    return `${at}/${sequence}`;
  }

  nonceOf(sender: Hex, lane: number): bigint {
    return this.accounts.get(`${sender}/${lane}`)?.nonce ?? 0n;
  }
}

/** A bundle for an act, and what a verifier must say of it whatever the log holds. */
function signedFor({ sender, lane, kind, count }: Act, model: Model, past: readonly SignedBundle[], tag: string) {
  const account = SENDERS[sender] as Account;
  const next = model.nonceOf(account.address, lane);
  const own = past.filter(({ bundle }) => bundle.sender === account.address && bundle.lane === lane);
  const old = own[(count * 7) % Math.max(1, own.length)];
  const messages = Array.from({ length: count }, (_, index) => `${tag} ${index}`);
  const sign = (nonce: bigint, more: Parameters<Account['sign']>[0] = {}) =>
    account.sign({ lane, laneCount: LANES, nonce, messages, ...more });
  switch (kind) {
    case 'next':
      return { signed: sign(next) };
    case 'gap':
      return { signed: sign(next + BigInt(count)) };
    case 'past':
      return { signed: sign(next > 0n ? next - 1n : next) };
    case 'again':
      return { signed: old ?? sign(next) };
    case 'resigned':
      return { signed: old ? account.sign({ ...old.bundle, laneCount: LANES, entropy: tag }) : sign(next) };
    case 'changed':
      return { signed: old ? account.sign({ ...old.bundle, laneCount: LANES, postage: 1n }) : sign(next) };
    case 'expired':
      return { signed: sign(next, { expiry: START - 1n }) };
    case 'forged':
      return { signed: faulty(sign(next), SIGNATURE_FAULTS['the other v'] as never), fault: 'bundle.bad_signature' };
    case 'garbage':
      return { signed: { ...sign(next), bytes: new Uint8Array(150).fill(count) }, fault: 'bundle.malformed' };
    case 'foreign lane':
      return {
        signed: account.sign({
          lane,
          laneCount: LANES + 1,
          nonce: next,
          messages: [{ topic: `0x000${1 - lane}${'ab'.repeat(30)}`, payload: new Uint8Array() }],
        }),
        fault: 'bundle.wrong_lane',
      };
  }
}

/** min(own clock, newest L1 block), unix seconds. */
const nowOf = ({ clock }: Pipeline): bigint => {
  const own = BigInt(clock.ms) / 1_000n;
  return own < START ? own : START;
};

async function follow({ bodies, pauses, maxGroupBytes, maxEntries }: Trace): Promise<void> {
  const model = new Model();
  const receipts = new Map<string, Receipt>();
  const past: SignedBundle[] = [];
  const options = { laneCount: LANES, digestHere: true, maxGroupBytes, seal: { maxEntries } };
  let it = await Pipeline.open(options);
  try {
    const answers: Promise<void>[] = [];
    for (const [index, acts] of bodies.entries()) {
      const expected: string[] = [];
      const bundles = acts.map((one, at) => {
        const { signed, fault } = signedFor(one, model, past, `${index}.${at}`);
        if (fault === undefined) past.push(signed);
        expected.push(model.judge(signed, fault, nowOf(it)));
        return signed;
      });
      const check = async () => {
        const outcomes = await it.submitBytes(frames(...bundles));
        const got = outcomes.map((outcome) =>
          'receipt' in outcome
            ? `${outcome.receipt.lane}/${outcome.receipt.sequence}`
            : `${outcome.error.code}${outcome.error.code === 'bundle.nonce' ? ` ${outcome.error.facts.expected}` : ''}`,
        );
        expect(got).toEqual(expected);
        for (const outcome of outcomes) {
          if (!('receipt' in outcome)) continue;
          const { receipt } = outcome;
          verifyReceipt(
            receipt,
            { ...DOMAIN, signer: SIGNER.address, term: 1, latestBlock: 100n, maxIncludeDelay: MAX_INCLUDE_DELAY },
            VERIFY,
          );
          const key = `${receipt.lane}/${receipt.sequence}`;
          // One sequence, one entry, whoever asks and whenever.
          const { bundleHash, previous } = receipts.get(key) ?? receipt;
          expect([receipt.bundleHash, receipt.previous]).toEqual([bundleHash, previous]);
          receipts.set(key, receipt);
        }
      };
      answers.push(check());
      for (const pause of pauses) {
        if (pause.after !== index) continue;
        await Promise.all(answers);
        if (pause.action === 'seal') await it.seal();
        if (pause.action === 'clock back') it.clock.ms -= 3_600_000;
        if (pause.action === 'reload') {
          await it.stop();
          it = await Pipeline.open({ ...options, folder: it.folder });
        }
      }
    }
    await Promise.all(answers);
    await it.seal();
    expect(it.fatal).toEqual([]);

    // The log is the model's, gapless, each account a list; nothing else is in it.
    const audited = auditLog(it);
    for (let lane = 0; lane < LANES; lane++) {
      const stands = model.log.filter((entry) => entry.lane === lane);
      expect(
        audited
          .filter((entry) => entry.lane === lane)
          .map(({ sequence, bundleHash, previous }) => [sequence, bundleHash, previous]),
      ).toEqual(stands.map(({ bundleHash, previous }, sequence) => [BigInt(sequence), bundleHash, previous]));
      expect([...receipts.values()].filter((receipt) => receipt.lane === lane)).toHaveLength(stands.length);
    }
    // Every accepted message is there and proven to its batch.
    const verifiedBundles = new VerifiedBundles();
    for (const { signed } of model.log) {
      const { sender, lane, nonce, messages } = signed.bundle;
      for (const [index, { payload }] of messages.entries()) {
        const path = `/v1/messages/${sender}/${lane}/${nonce + BigInt(index)}`;
        const proof = proofFromJson(await it.json(`${path}/proof`));
        const committed = it.store.batch(lane, proof.header.number)?.batchHash as Hex;
        const proven = verifyMessageProof(proof, { ...DOMAIN, laneCount: LANES }, committed, { ...VERIFY, verifiedBundles });
        expect(Buffer.from(proven.payload)).toEqual(Buffer.from(payload));
      }
    }
  } finally {
    await it.close();
  }
}

test('any trace of bodies becomes the log of §6, and the log audits clean', async () => {
  await fc.assert(fc.asyncProperty(trace, follow), { numRuns: 6, seed: 7_325 });
  await fc.assert(fc.asyncProperty(trace, follow), { numRuns: 6 });
});
