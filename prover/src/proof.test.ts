import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { corruptions, type Json } from '../test/corrupt.js';
import {
  DOMAIN,
  entryAt,
  highS,
  INCLUDE_BY,
  type Key,
  keyOf,
  type Log,
  makeLog,
  type Position,
  positionsOf,
  proofAt,
  randomFrom,
  receiptProofAt,
  sign,
  TERM,
} from '../test/log.js';
import {
  batchHash,
  bundleDigest,
  bundleHash,
  bundleStructHash,
  entryHash,
  fromHex,
  type Hex,
  type MessageProof,
  messageAt,
  messageLeaf,
  type ProofStep,
  ProtocolError,
  proofFromJson,
  proofToContract,
  proofToJson,
  type ReceiptProof,
  receiptProofFromJson,
  receiptProofToJson,
  toHex,
  VerifiedBundles,
  verifyMessageProof,
  verifyReceiptProof,
  ZERO_HASH,
} from './index.js';

const parsed = (value: unknown): Json => JSON.parse(JSON.stringify(value)) as Json;

const viewOf = (log: Log) => ({ ...log.domain, laneCount: log.laneCount });
const termsOf = (log: Log) => ({
  signer: log.sequencer.address,
  term: TERM,
  latestBlock: INCLUDE_BY - 900n,
  maxIncludeDelay: 1_800n,
});

const verified = (log: Log, { batch }: Position, json: unknown) =>
  verifyMessageProof(proofFromJson(json), viewOf(log), batch.hash);
const promised = (log: Log, json: unknown) => verifyReceiptProof(receiptProofFromJson(json), viewOf(log), termsOf(log));

/** Several senders, lanes, sizes of bundles and of batches, one entry in a batch and one message in a bundle included. */
const logs = [makeLog(1, [1, 7, 20]), makeLog(2, [13], 3, 5), makeLog(3, [2, 1, 5], 65_535, 65_536)];

function sample(log: Log, count: number): Position[] {
  const random = randomFrom(count);
  const all = positionsOf(log);
  return Array.from({ length: count }, () => all[random(all.length)] as Position);
}

function refusal(run: () => unknown, name = 'it'): ProtocolError {
  try {
    run();
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw new Error(`expected a ProtocolError, got ${error}`, { cause: error });
  }
  throw new Error(`accepted: ${name}`);
}

describe.each(logs)('an honest log of lane $batches.0.header.lane', (log) => {
  test('every message: proof and receipt proof hold, as values and through JSON, and say what was sent', () => {
    const cache = new VerifiedBundles();
    for (const position of positionsOf(log)) {
      const entry = entryAt(position);
      const proof = proofAt(log, position);
      const receiptProof = receiptProofAt(log, position);
      const says = {
        ...messageAt(entry.view, position.messageIndex),
        sender: entry.view.sender,
        lane: entry.view.lane,
        nonce: entry.view.nonce + BigInt(position.messageIndex),
        bundleHash: entry.bundleHash,
        sequence: entry.sequence,
      };
      expect(proofFromJson(parsed(proofToJson(proof)))).toEqual(proof);
      expect(receiptProofFromJson(parsed(receiptProofToJson(receiptProof)))).toEqual(receiptProof);
      expect(verifyMessageProof(proof, viewOf(log), position.batch.hash, { verifiedBundles: cache })).toEqual(says);
      expect(verifyReceiptProof(receiptProof, viewOf(log), termsOf(log), { verifiedBundles: cache })).toEqual(says);
    }
    expect(cache.size).toBe(log.batches.flatMap(({ entries }) => entries).length);
  });

  test('every corruption of every field of a proof is refused', () => {
    let count = 0;
    for (const position of sample(log, 2)) {
      const honest = parsed(proofToJson(proofAt(log, position)));
      for (const { name, value } of corruptions(honest)) {
        expect(refusal(() => verified(log, position, value), name).code, name).toMatch(/^proof\.(malformed|invalid)$/);
        count++;
      }
    }
    expect(count).toBeGreaterThan(500);
  });

  test('every corruption of every field of a receipt proof is refused', () => {
    let count = 0;
    for (const position of sample(log, 2)) {
      const honest = parsed(receiptProofToJson(receiptProofAt(log, position)));
      for (const { name, value } of corruptions(honest)) {
        expect(refusal(() => promised(log, value), name).code, name).toMatch(/^proof\.(malformed|invalid)$/);
        count++;
      }
    }
    expect(count).toBeGreaterThan(500);
  });

  test('a receipt of another bundle, honest by itself, is no receipt of this one', () => {
    const all = positionsOf(log).map((position) => receiptProofAt(log, position));
    const strangers = all.filter(({ receipt }) => receipt.bundleHash !== all[0]?.receipt.bundleHash);
    expect(strangers.length).toBeGreaterThan(0);
    for (const { receipt } of strangers.slice(0, 5)) {
      const spliced = { ...(all[0] as ReceiptProof), receipt };
      const error = refusal(() => verifyReceiptProof(spliced, viewOf(log), termsOf(log)));
      expect(error.facts.step).toBe('receipt');
    }
  });

  test('parts of two honest proofs never make a third', () => {
    const all = sample(log, 6).map((position) => ({ position, proof: proofToJson(proofAt(log, position)) }));
    for (const { position, proof } of all) {
      for (const { proof: other } of all) {
        for (const field of Object.keys(proof) as (keyof typeof proof)[]) {
          if (JSON.stringify(proof[field]) === JSON.stringify(other[field])) continue;
          refusal(() => verified(log, position, { ...proof, [field]: other[field] }));
        }
      }
    }
  });
});

describe('letter case of hex is no corruption', () => {
  const log = logs[0] as Log;
  const position = sample(log, 1)[0] as Position;
  const upper = (value: Json): Json => {
    if (typeof value === 'string' && /^0x[0-9a-f]{40,}$/.test(value)) return `0x${value.slice(2).toUpperCase()}`;
    if (Array.isArray(value)) return value.map(upper);
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, upper(inner)]));
    }
    return value;
  };

  test('taken in either, given out in lower', () => {
    const honest = proofToJson(proofAt(log, position));
    const shouted = upper(parsed(honest));
    expect(shouted).not.toEqual(honest);
    expect(verified(log, position, shouted)).toEqual(verified(log, position, honest));
    // Also where typed values skip proofFromJson, such as a checksummed address out of a wallet.
    const typed = { ...proofAt(log, position), ...(shouted as unknown as Pick<MessageProof, 'settlement' | 'batchHash'>) };
    const { settlement, batchHash: hash } = proofToJson({
      ...proofAt(log, position),
      settlement: typed.settlement,
      batchHash: typed.batchHash,
    });
    expect({ settlement, hash }).toEqual({ settlement: honest.settlement, hash: honest.batchHash });
    const receiptProof = parsed(receiptProofToJson(receiptProofAt(log, position)));
    expect(promised(log, upper(receiptProof))).toEqual(promised(log, receiptProof));
  });
});

describe('each check of §9 by itself, on a proof that is otherwise consistent', () => {
  const log = makeLog(9, [4, 4]);
  const position = positionsOf(log).findLast(({ batch }) => batch.header.number === 2n) as Position;
  const keys = [0, 1, 2].map((index) => keyOf(`sender 9 ${index}`));
  const sender = keys.find(({ address }) => address === entryAt(position).view.sender) as Key;
  const honest = proofAt(log, position);
  const steps: ProofStep[] = [
    'domain',
    'message',
    'lane',
    'messagePath',
    'signature',
    'void',
    'expiry',
    'bundlePath',
    'batchHash',
    'slot',
  ];

  /** Signed anew by its sender and put alone into a batch whose hash is on the L1: only the rule under test is broken. */
  function resealed(
    change: Partial<MessageProof['bundle']>,
    header: Partial<MessageProof['header']> = {},
    entry: Partial<Pick<MessageProof, 'void' | 'previous'>> = {},
  ): MessageProof {
    const unsigned = { ...honest.bundle, count: 1, messagesRoot: '0x' as Hex, ...change };
    unsigned.messagesRoot = change.messagesRoot ?? toHex(messageLeaf(honest.message));
    const bundle = { ...unsigned, signature: sign(bundleDigest(DOMAIN, unsigned), sender.secret) };
    return sealed({ ...honest, ...entry, bundle, messageIndex: 0, messagePath: [] }, header);
  }

  function sealed(proof: MessageProof, header: Partial<MessageProof['header']> = {}): MessageProof {
    const { bundle } = proof;
    const identity = bundleHash(bundle.sender, bundleStructHash(bundle), fromHex(bundle.signature));
    const bundlesRoot = toHex(entryHash(proof.void, proof.previous, identity));
    const resealedHeader = { ...proof.header, count: 1, bundlesRoot, ...header };
    return { ...proof, bundleIndex: 0, bundlePath: [], header: resealedHeader, batchHash: batchHash(resealedHeader) };
  }

  const stepOf = (proof: MessageProof, committed = proof.batchHash, laneCount = 1) =>
    refusal(() => verifyMessageProof(proof, { ...DOMAIN, laneCount }, committed)).facts.step;

  test('the steps are told in order, and all of them', () => {
    const held: ProofStep[] = [];
    verifyMessageProof(honest, viewOf(log), position.batch.hash, { onStep: (step) => held.push(step) });
    expect(held).toEqual(steps);
    const promisedSteps: ProofStep[] = [];
    verifyReceiptProof(receiptProofAt(log, position), viewOf(log), termsOf(log), { onStep: (step) => promisedSteps.push(step) });
    expect(promisedSteps).toEqual([...steps.slice(0, 5), 'receipt']);
  });

  test('signed anew and sealed again it holds: what follows fails for its own reason only', () => {
    const proof = resealed({});
    expect(verifyMessageProof(proof, viewOf(log), proof.batchHash).sequence).toBe(honest.header.firstSequence);
  });

  test('chain and contract are the verifier’s, not the proof’s', () => {
    const elsewhere = { chainId: 1n, settlement: `0x${'11'.repeat(20)}` as Hex };
    expect(refusal(() => verifyMessageProof(honest, { ...elsewhere, laneCount: 1 }, honest.batchHash)).facts.step).toBe('domain');
    const claimed = { ...honest, ...elsewhere };
    expect(stepOf(claimed)).toBe('domain');
    expect(refusal(() => verifyMessageProof(claimed, { ...elsewhere, laneCount: 1 }, honest.batchHash)).facts.step).toBe(
      'signature',
    );
  });

  test.each([
    ['count 0', { count: 0 }],
    ['count 4,097', { count: 4_097 }],
    ['nonce + count is 2^64', { nonce: 2n ** 64n - 1n }],
  ])('%s', (_, change) => {
    expect(stepOf(resealed(change))).toBe('message');
  });

  test('the largest nonce there is holds', () => {
    const proof = resealed({ nonce: 2n ** 64n - 2n });
    expect(verifyMessageProof(proof, viewOf(log), proof.batchHash).nonce).toBe(2n ** 64n - 2n);
  });

  test('a message index beyond the count; a payload over 65,536 bytes', () => {
    expect(stepOf({ ...honest, messageIndex: honest.bundle.count })).toBe('message');
    expect(stepOf({ ...honest, message: { ...honest.message, payload: new Uint8Array(65_537) } })).toBe('message');
  });

  test('a lane that is not there, that is not the topic’s, or not the batch’s', () => {
    expect(stepOf(resealed({ lane: 1 }, { lane: 1 }))).toBe('lane');
    const topicLane = Number.parseInt(honest.message.topic.slice(2, 6), 16) % 7;
    const right = resealed({ lane: topicLane }, { lane: topicLane });
    expect(verifyMessageProof(right, { ...DOMAIN, laneCount: 7 }, right.batchHash).lane).toBe(topicLane);
    const other = (topicLane + 1) % 7;
    expect(stepOf(resealed({ lane: other }, { lane: other }), undefined, 7)).toBe('lane');
    expect(stepOf(resealed({ lane: topicLane }, { lane: other }), undefined, 7)).toBe('lane');
    expect(stepOf(resealed({ lane: other }, { lane: topicLane }), undefined, 7)).toBe('lane');
  });

  test('a message that is not under messagesRoot', () => {
    expect(stepOf(resealed({ messagesRoot: ZERO_HASH }))).toBe('messagePath');
  });

  test('a signature of someone else, of the zero address, in the other form', () => {
    const stranger = keyOf('stranger');
    expect(stepOf(sealed({ ...resealed({}), bundle: { ...resealed({}).bundle, sender: stranger.address } }))).toBe('signature');
    expect(stepOf(resealed({ sender: `0x${'00'.repeat(20)}` }))).toBe('signature');
    const { bundle } = resealed({});
    expect(stepOf(sealed({ ...resealed({}), bundle: { ...bundle, signature: highS(bundle.signature) } }))).toBe('signature');
  });

  test('void', () => {
    expect(stepOf(resealed({}, {}, { void: 1 }))).toBe('void');
  });

  test('expiry: the batch’s own second still counts, one second earlier does not', () => {
    const { timestamp } = honest.header;
    const last = resealed({ expiry: timestamp });
    verifyMessageProof(last, viewOf(log), last.batchHash);
    expect(stepOf(resealed({ expiry: timestamp - 1n }))).toBe('expiry');
  });

  test('an entry that is not under bundlesRoot; another previous; another batch hash; another slot; an empty slot', () => {
    expect(stepOf(resealed({}, { bundlesRoot: ZERO_HASH }))).toBe('bundlePath');
    expect(stepOf({ ...resealed({}), previous: 999n })).toBe('bundlePath');
    expect(stepOf({ ...honest, batchHash: ZERO_HASH })).toBe('batchHash');
    expect(stepOf(honest, (log.batches[0] as (typeof log.batches)[number]).hash)).toBe('slot');
    expect(stepOf(honest, ZERO_HASH)).toBe('slot');
  });

  test('proofToContract carries everything but what the verifier brings itself', () => {
    const { version, chainId, settlement, batchHash: hash, message, ...rest } = honest;
    expect(proofToContract(honest)).toEqual({ ...rest, topic: message.topic, payload: toHex(message.payload) });
  });

  test('typed values that no JSON has: NaN, fractions, negative numbers, numbers that do not fit', () => {
    for (const odd of [Number.NaN, 0.5, -1, Number.POSITIVE_INFINITY, 2 ** 53]) {
      refusal(() => verifyMessageProof({ ...honest, messageIndex: odd }, viewOf(log), honest.batchHash));
      refusal(() => verifyMessageProof({ ...honest, bundleIndex: odd }, viewOf(log), honest.batchHash));
      refusal(() => verifyMessageProof({ ...honest, bundle: { ...honest.bundle, count: odd } }, viewOf(log), honest.batchHash));
      refusal(() => verifyMessageProof({ ...honest, bundle: { ...honest.bundle, lane: odd } }, viewOf(log), honest.batchHash));
      refusal(() => verifyMessageProof({ ...honest, header: { ...honest.header, term: odd } }, viewOf(log), honest.batchHash));
    }
    for (const odd of [-1n, 2n ** 64n, 2n ** 256n]) {
      refusal(() => verifyMessageProof({ ...honest, previous: odd }, viewOf(log), honest.batchHash));
      refusal(() => verifyMessageProof({ ...honest, header: { ...honest.header, number: odd } }, viewOf(log), honest.batchHash));
      refusal(() => verifyMessageProof({ ...honest, bundle: { ...honest.bundle, nonce: odd } }, viewOf(log), honest.batchHash));
    }
  });
});

describe('verifiedBundles', () => {
  const log = makeLog(4, [3]);
  const position = positionsOf(log)[0] as Position;
  const honest = proofAt(log, position);

  test('saves the second recovery of a bundle, and only that', () => {
    const cache = new VerifiedBundles();
    let recoveries = 0;
    const recover = (): undefined => {
      recoveries++;
      return undefined;
    };
    verifyMessageProof(honest, viewOf(log), honest.batchHash, { verifiedBundles: cache });
    verifyMessageProof(honest, viewOf(log), honest.batchHash, { verifiedBundles: cache, recover });
    expect(recoveries).toBe(0);
    refusal(() => verifyMessageProof(honest, viewOf(log), honest.batchHash, { recover }));
    expect(recoveries).toBe(1);
  });

  test('is never poisoned: corrupted proofs are refused with it and add nothing false to it', () => {
    const cache = new VerifiedBundles();
    for (let round = 0; round < 2; round++) {
      for (const { name, value } of corruptions(parsed(proofToJson(honest)))) {
        const accepted = () =>
          verifyMessageProof(proofFromJson(value), viewOf(log), honest.batchHash, { verifiedBundles: cache });
        expect(refusal(accepted, name).code, name).toMatch(/^proof/);
      }
      // Corruptions of what comes after the signature leave the honest bundle in it, and nothing else.
      expect(cache.size).toBe(1);
      expect(cache.find(log.domain, honest.bundle)?.bundleHash).toBe(entryAt(position).bundleHash);
      // The second round knows the honest bundle's place from the start, too.
      verifyMessageProof(honest, viewOf(log), honest.batchHash, { verifiedBundles: cache });
    }
  });

  test('warm with every proof of a log: every message holds again, every corruption of any is refused as without it', () => {
    const random = makeLog(6, [5, 9]);
    const cache = new VerifiedBundles();
    const all = positionsOf(random);
    const check = (proof: MessageProof, { batch }: Position, verifiedBundles?: VerifiedBundles) =>
      verifyMessageProof(proof, viewOf(random), batch.hash, { verifiedBundles });
    const says = all.map((one) => check(proofAt(random, one), one, cache));
    expect(cache.size).toBe(14);
    for (const [at, one] of all.entries()) {
      expect(check(proofAt(random, one), one, cache)).toEqual(says[at]);
      expect(check(proofAt(random, one), one)).toEqual(says[at]);
    }
    // Of bundles of several messages, first and last: their paths differ, all else they share.
    const shared = all.filter((one) => entryAt(one).view.count > 3);
    expect(shared.length).toBeGreaterThan(4);
    for (const one of [shared[0] as Position, shared.at(-1) as Position]) {
      for (const { name, value } of corruptions(parsed(proofToJson(proofAt(random, one))))) {
        const judge = (known?: VerifiedBundles) => refusal(() => check(proofFromJson(value), one, known), name);
        const cold = judge();
        const warm = judge(cache);
        expect([warm.code, warm.facts], name).toEqual([cold.code, cold.facts]);
      }
      expect(check(proofAt(random, one), one, cache)).toEqual(check(proofAt(random, one), one));
    }
  });

  test('parts of two proofs that it knows never make a third, whatever the L1 holds', () => {
    const random = makeLog(7, [4, 4]);
    const cache = new VerifiedBundles();
    const all = positionsOf(random).map((one) => ({ hash: one.batch.hash, proof: proofAt(random, one) }));
    const check = (proof: MessageProof, committed: Hex) =>
      verifyMessageProof(proof, viewOf(random), committed, { verifiedBundles: cache });
    for (const { hash, proof } of all) check(proof, hash);
    const differ = (a: unknown, b: unknown) => JSON.stringify(a, text) !== JSON.stringify(b, text);
    const text = (_: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);
    for (const { hash, proof } of all.slice(0, 12)) {
      for (const { hash: otherHash, proof: other } of all) {
        for (const field of Object.keys(proof) as (keyof MessageProof)[]) {
          if (differ(proof[field], other[field])) refusal(() => check({ ...proof, [field]: other[field] }, hash), field);
        }
        for (const part of ['bundle', 'header'] as const) {
          for (const field of Object.keys(proof[part])) {
            const mixed = { ...proof[part], [field]: other[part][field as never] };
            if (differ(mixed, proof[part])) refusal(() => check({ ...proof, [part]: mixed }, hash), `${part}.${field}`);
          }
        }
        if (otherHash !== hash) expect(refusal(() => check(proof, otherHash)).facts.step).toBe('slot');
      }
      expect(refusal(() => check(proof, ZERO_HASH)).facts.step).toBe('slot');
      check(proof, hash);
    }
  });

  test('knows a bundle for one chain and one contract only', () => {
    const cache = new VerifiedBundles();
    verifyMessageProof(honest, viewOf(log), honest.batchHash, { verifiedBundles: cache });
    for (const other of [{ chainId: 1n }, { settlement: `0x${'11'.repeat(20)}` as Hex }]) {
      const view = { ...viewOf(log), ...other };
      const error = refusal(() =>
        verifyMessageProof({ ...honest, ...other }, view, honest.batchHash, { verifiedBundles: cache }),
      );
      expect(error.facts.step).toBe('signature');
    }
  });

  test('what is done to a proof afterwards changes nothing in it', () => {
    const cache = new VerifiedBundles();
    const mine = structuredClone(honest) as { -readonly [K in keyof MessageProof]: MessageProof[K] };
    verifyMessageProof(mine, viewOf(log), honest.batchHash, { verifiedBundles: cache });
    Object.assign(mine.header, { timestamp: mine.header.timestamp - 1n });
    Object.assign(mine.bundlePath, [`0x${'00'.repeat(32)}`]);
    Object.assign(mine.bundle, { expiry: mine.bundle.expiry + 1n });
    for (const part of ['header', 'bundlePath', 'bundle'] as const) {
      const changed = { ...honest, [part]: mine[part] };
      refusal(() => verifyMessageProof(changed, viewOf(log), honest.batchHash, { verifiedBundles: cache }), part);
    }
    verifyMessageProof(honest, viewOf(log), honest.batchHash, { verifiedBundles: cache });
  });

  test('forgets the bundle that was added first when it is full', () => {
    const cache = new VerifiedBundles({ maxBundles: 2 });
    const one = log.batches[0]?.entries.map((_, bundleIndex) =>
      proofAt(log, { ...position, bundleIndex, messageIndex: 0 }),
    ) as MessageProof[];
    for (const proof of one) verifyMessageProof(proof, viewOf(log), proof.batchHash, { verifiedBundles: cache });
    expect(cache.size).toBe(2);
    expect(one.map(({ bundle }) => cache.find(log.domain, bundle) !== undefined)).toEqual([false, true, true]);
  });

  test('a signature in another form is another bundle, and not in it', () => {
    const cache = new VerifiedBundles();
    verifyMessageProof(honest, viewOf(log), honest.batchHash, { verifiedBundles: cache });
    const bundle = { ...honest.bundle, signature: highS(honest.bundle.signature) };
    const error = refusal(() =>
      verifyMessageProof({ ...honest, bundle }, viewOf(log), honest.batchHash, { verifiedBundles: cache }),
    );
    expect(error.facts.step).toBe('signature');
    expect(error.message).toBe('signature: s of the signature is out of range or high (EIP-2)');
    expect(cache.size).toBe(1);
  });
});

test('what a recover hook throws for reasons of its own is not called a bad proof', () => {
  const log = makeLog(5, [1]);
  const position = positionsOf(log)[0] as Position;
  const broken = () => {
    throw new Error('worker is gone');
  };
  const proof: MessageProof = proofAt(log, position);
  const receiptProof: ReceiptProof = receiptProofAt(log, position);
  expect(() => verifyMessageProof(proof, viewOf(log), proof.batchHash, { recover: broken })).toThrow('worker is gone');
  expect(() => verifyReceiptProof(receiptProof, viewOf(log), termsOf(log), { recover: broken })).toThrow('worker is gone');
});

test('random logs: any message of any log is proven', () => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
      fc.nat(),
      fc.nat(8),
      (seed, sizes, pick, lane) => {
        const log = makeLog(seed, sizes, lane, 9);
        const all = positionsOf(log);
        const position = all[pick % all.length] as Position;
        expect(verified(log, position, parsed(proofToJson(proofAt(log, position)))).sequence).toBe(entryAt(position).sequence);
      },
    ),
    { numRuns: 25 },
  );
});
