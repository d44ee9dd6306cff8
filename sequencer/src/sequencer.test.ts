import { type Hex, toHex } from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { Account, type SignedBundle, verified as verifiedBody } from '../test/bundles.js';
import type { Entry } from './ports.js';
import { type AccountState, type GroupPlan, type Ledger, planGroups } from './sequencer.js';

const [alice, bob] = [new Account('alice'), new Account('bob')];
const NOW = 1_000n;
const LANES = 2;
const verified = (...bundles: readonly SignedBundle[]) => verifiedBody(LANES, ...bundles);
const sign = (account: Account, nonce: bigint, options: Parameters<Account['sign']>[0] = {}) =>
  account.sign({ laneCount: LANES, nonce, ...options });

type Known = Pick<Entry, 'sequence' | 'structHash'>;

/** A log that holds what it is told to. */
function ledgerOf(
  accounts: Record<string, AccountState> = {},
  entries: Record<string, Known> = {},
  tails: Record<number, { nextSequence: bigint; acceptedAt: bigint }> = {},
  owed: Record<string, bigint> = {},
): Ledger {
  return {
    account: (sender, lane) => accounts[`${sender}/${lane}`] ?? { nonce: 0n, previous: 0n },
    entryAt: (sender, lane, nonce) => entries[`${sender}/${lane}/${nonce}`],
    tail: (lane) => tails[lane] ?? { nextSequence: 0n, acceptedAt: 0n },
    owed: (sender, lane) => owed[`${sender}/${lane}`] ?? 0n,
  };
}

/** A decision as a row of a table shows it. */
const shown = (plan: GroupPlan) =>
  plan.decisions.map((decisions) =>
    decisions.map((decision) =>
      'error' in decision
        ? `${decision.error.code}${decision.error.facts.expected === undefined ? '' : ` ${decision.error.facts.expected}`}`
        : `${decision.lane}/${decision.sequence}`,
    ),
  );
const claims = (plan: GroupPlan) =>
  plan.groups.map(({ lane, firstSequence, entries }) => [
    lane,
    firstSequence,
    entries.map(({ sequence, previous, acceptedAt }) => [sequence, previous, acceptedAt]),
  ]);

describe('planGroups: nonces', () => {
  const first = sign(alice, 0n, { messages: ['a', 'b', 'c'] });
  const again = sign(alice, 0n, { messages: ['a', 'b', 'c'], entropy: 'other' });
  const stood = ledgerOf(
    { [`${alice.address}/0`]: { nonce: 3n, previous: 8n } },
    { [`${alice.address}/0/0`]: { sequence: 7n, structHash: first.structHash } },
    { 0: { nextSequence: 9n, acceptedAt: 900n } },
  );
  const fresh = ledgerOf();

  test('two signatures over one bundle are two bundleHashes and one structHash', () => {
    expect(toHex(again.structHash)).toBe(toHex(first.structHash));
    expect(again.bundleHash).not.toBe(first.bundleHash);
  });

  const rows: [string, Ledger, SignedBundle[], string[]][] = [
    ['a fresh account begins with nonce 0', fresh, [first], ['0/0']],
    ['a fresh account that begins with a gap', fresh, [sign(alice, 1n)], ['bundle.nonce 0']],
    ['the next nonce is nonce + count', fresh, [first, sign(alice, 3n)], ['0/0', '0/1']],
    ['a gap inside a body', fresh, [first, sign(alice, 4n), sign(alice, 3n)], ['0/0', 'bundle.nonce 3', '0/1']],
    ['a nonce inside the previous bundle', fresh, [first, sign(alice, 1n)], ['0/0', 'bundle.nonce 3']],
    ['the same bundle twice in one body stands once', fresh, [first, first], ['0/0', '0/0']],
    ['the same with another signature, in one body', fresh, [first, again], ['0/0', '0/0']],
    ['the same nonce with other content, in one body', fresh, [first, sign(alice, 0n)], ['0/0', 'bundle.nonce 3']],
    ['after a restart it goes on from the log', stood, [sign(alice, 3n)], ['0/9']],
    ['a replay of what stands gets its sequence', stood, [first], ['0/7']],
    ['a replay with another signature gets its sequence', stood, [again], ['0/7']],
    ['a nonce that stands with other content', stood, [sign(alice, 0n)], ['bundle.nonce 3']],
    [
      'a nonce that stands with another expiry',
      stood,
      [sign(alice, 0n, { messages: ['a', 'b', 'c'], expiry: 5_000n })],
      ['bundle.nonce 3'],
    ],
    ['a replay, then the next', stood, [first, sign(alice, 3n)], ['0/7', '0/9']],
    ['accounts do not know each other', stood, [sign(bob, 0n), sign(bob, 3n)], ['0/9', 'bundle.nonce 1']],
    ['lanes do not know each other', stood, [sign(alice, 0n, { lane: 1 }), sign(alice, 3n)], ['1/0', '0/9']],
  ];
  test.each(rows)('%s', (_, ledger, bundles, expected) => {
    expect(shown(planGroups([verified(...bundles)], ledger, NOW))).toEqual([expected]);
    // Cut into bodies of one, nothing changes: bodies are judged in the order in which they came.
    expect(
      shown(
        planGroups(
          bundles.map((bundle) => verified(bundle)),
          ledger,
          NOW,
        ),
      ).flat(),
    ).toEqual(expected);
  });

  test('expected is a decimal string, and says where to go on', () => {
    const [decision] = planGroups([verified(sign(alice, 9n))], stood, NOW).decisions[0] ?? [];
    expect(decision).toMatchObject({ error: { code: 'bundle.nonce', facts: { expected: '3' } } });
  });

  test('previous is 1 + the sequence of the account before, on its lane, over groups and lanes', () => {
    const plan = planGroups(
      [verified(sign(alice, 3n), sign(bob, 0n)), verified(sign(alice, 0n, { lane: 1 }), sign(alice, 4n), sign(bob, 1n))],
      stood,
      NOW,
    );
    expect(claims(plan)).toEqual([
      [
        0,
        9n,
        [
          [9n, 8n, NOW],
          [10n, 0n, NOW],
          [11n, 10n, NOW],
          [12n, 11n, NOW],
        ],
      ],
      [1, 0n, [[0n, 0n, NOW]]],
    ]);
    expect(plan.accounts).toEqual(
      new Map([
        [`${alice.address}/0`, { nonce: 5n, previous: 12n }],
        [`${bob.address}/0`, { nonce: 2n, previous: 13n }],
        [`${alice.address}/1`, { nonce: 1n, previous: 1n }],
      ]),
    );
  });

  test('a plan of refusals only has no group', () => {
    const plan = planGroups([verified(sign(alice, 1n))], fresh, NOW);
    expect(plan.groups).toEqual([]);
    expect(plan.accounts.size).toBe(0);
  });

  test('planning changes nothing: the same again gives the same', () => {
    const bodies = [verified(first, sign(alice, 3n), sign(bob, 1n))];
    expect(shown(planGroups(bodies, fresh, NOW))).toEqual(shown(planGroups(bodies, fresh, NOW)));
  });
});

describe('planGroups: order of checks', () => {
  const old = sign(alice, 0n, { expiry: 10n });
  const ledger = (structHash: Uint8Array) =>
    ledgerOf(
      { [`${alice.address}/0`]: { nonce: 1n, previous: 1n } },
      { [`${alice.address}/0/0`]: { sequence: 0n, structHash } },
      { 0: { nextSequence: 1n, acceptedAt: 5n } },
    );
  const never = () => 1_000;

  test.each<[string, Ledger, SignedBundle, string]>([
    ['known comes before expired: a late retry gets its receipt', ledger(old.structHash), old, '0/0'],
    ['expired comes before nonce', ledger(new Uint8Array(32)), sign(alice, 9n, { expiry: 10n }), 'bundle.expired'],
    ['nonce comes before the rate: a refused bundle uses none of it', ledgerOf(), sign(alice, 9n), 'bundle.nonce 0'],
    ['the rate comes last', ledgerOf(), sign(alice, 0n), 'rate_limited'],
  ])('%s', (_, held, bundle, expected) => {
    expect(shown(planGroups([verified(bundle)], held, NOW, never))).toEqual([[expected]]);
  });

  test('what the verifier refused stays refused, with its code', () => {
    const wrongLane = alice.sign({ laneCount: LANES, lane: 5 });
    const plan = planGroups([verified(wrongLane, sign(alice, 0n))], ledgerOf(), NOW);
    expect(shown(plan)).toEqual([['bundle.wrong_lane', '0/0']]);
  });

  test('a bundle over the rate is refused, what follows it has a gap', () => {
    const asked: [Hex, number][] = [];
    const rate = (sender: Hex, messages: number) => {
      asked.push([sender, messages]);
      return asked.length === 2 ? 250 : 0;
    };
    const plan = planGroups(
      [verified(sign(alice, 0n), sign(alice, 1n, { messages: ['a', 'b'] }), sign(alice, 3n))],
      ledgerOf(),
      NOW,
      rate,
    );
    expect(shown(plan)).toEqual([['0/0', 'rate_limited', 'bundle.nonce 1']]);
    expect(asked).toEqual([
      [alice.address, 1],
      [alice.address, 2],
    ]);
    expect(plan.decisions[0]?.[1]).toMatchObject({ error: { retryAfterMs: 250 } });
  });
});

describe('planGroups: acceptance times', () => {
  const at = (acceptedAt: bigint) => ledgerOf({}, {}, { 0: { nextSequence: 4n, acceptedAt } });
  test.each<[string, bigint, bigint, bigint, string]>([
    ['time goes on', 900n, NOW, 2_000n, '1000'],
    ['the clock went back: the last time stands', 1_500n, NOW, 2_000n, '1500'],
    ['an expiry in the very second is good', 900n, NOW, 1_000n, '1000'],
    ['an expiry one second ago is not', 900n, NOW, 999n, 'bundle.expired'],
    ['expired against the last time, though the clock went back', 1_500n, NOW, 1_499n, 'bundle.expired'],
    ['just not expired against the last time', 1_500n, NOW, 1_500n, '1500'],
    ['a lane without entries takes the time as it is', 0n, NOW, 2_000n, '1000'],
  ])('%s', (_, last, now, expiry, expected) => {
    const plan = planGroups([verified(sign(alice, 0n, { expiry }))], at(last), now);
    expect(String(plan.groups[0]?.entries[0]?.acceptedAt ?? shown(plan)[0]?.[0])).toBe(expected);
  });

  test('expired says what was compared', () => {
    const [decision] = planGroups([verified(sign(alice, 0n, { expiry: 7n }))], at(0n), NOW).decisions[0] ?? [];
    expect(decision).toMatchObject({ error: { facts: { expiry: '7', now: '1000' } } });
  });
});

describe('planGroups: postage', () => {
  const price = { perMessage: 100n, perByte: 1n };
  const cost = (bundle: SignedBundle) => 100n * BigInt(bundle.bundle.messages.length) + BigInt(bundle.bytes.length);
  const tariffOf = (carried: bigint | undefined) => ({ price, carried: () => carried });
  const one = cost(sign(alice, 0n));
  const owing = ledgerOf({}, {}, {}, { [`${alice.address}/0`]: 1_000n });
  const rows: [string, Ledger, bigint | undefined, SignedBundle[], string[]][] = [
    ['exactly its price', ledgerOf(), one, [sign(alice, 0n, { postage: one })], ['0/0']],
    ['one wei too little', ledgerOf(), one, [sign(alice, 0n, { postage: one - 1n })], [`bundle.postage ${one}`]],
    ['a gift on top', ledgerOf(), one + 7n, [sign(alice, 0n, { postage: one + 7n })], ['0/0']],
    [
      'a gift that the deposit does not carry',
      ledgerOf(),
      one,
      [sign(alice, 0n, { postage: one + 7n })],
      [`bundle.postage ${one}`],
    ],
    ['what is owed so far comes on top', owing, 9_999n, [sign(alice, 0n, { postage: one })], [`bundle.postage ${1_000n + one}`]],
    [
      'the second of a body owes for both',
      owing,
      9_999n,
      [sign(alice, 0n, { postage: 1_000n + one }), sign(alice, 1n, { postage: 1_000n + one })],
      ['0/0', `bundle.postage ${1_000n + 2n * one}`],
    ],
    [
      'a refused one adds nothing',
      ledgerOf(),
      9_999n,
      [sign(alice, 0n, { postage: 1n }), sign(alice, 0n, { postage: one })],
      [`bundle.postage ${one}`, '0/0'],
    ],
    [
      'the deposit is of one, the second is not carried',
      ledgerOf(),
      one,
      [sign(alice, 0n, { postage: one }), sign(alice, 1n, { postage: 2n * one })],
      ['0/0', `bundle.postage ${2n * one}`],
    ],
    ['a nonce that is not the next goes first', ledgerOf(), one, [sign(alice, 4n)], ['bundle.nonce 0']],
    [
      'a replay costs nothing',
      ledgerOf(),
      one,
      [sign(alice, 0n, { postage: one }), sign(alice, 0n, { postage: one })],
      ['0/0', '0/0'],
    ],
    ['nobody knows what was deposited', ledgerOf(), undefined, [sign(alice, 0n, { postage: one })], ['unavailable']],
    ['lanes have accounts of their own', owing, one, [sign(alice, 0n, { lane: 1, postage: one })], ['1/0']],
  ];
  test.each(rows)('%s', (_, ledger, carried, bundles, expected) => {
    const plan = planGroups([verified(...bundles)], ledger, NOW, undefined, [], undefined, tariffOf(carried));
    expect(shown(plan).flat()).toEqual(expected);
  });

  test('a price by byte counts the encoded bundle, without a frame’s length', () => {
    const long = sign(alice, 0n, { messages: ['x'.repeat(1_000), 'y'] });
    expect(cost(long)).toBe(200n + 59n + 2n * 37n + 1_001n + 65n);
    const plan = planGroups([verified(long)], ledgerOf(), NOW, undefined, [], undefined, tariffOf(0n));
    expect(shown(plan).flat()).toEqual([`bundle.postage ${cost(long)}`]);
  });

  test('a deposit that is too small says what there is', () => {
    const bundle = sign(alice, 0n, { postage: 1_000n + one });
    const [decision] = planGroups([verified(bundle)], owing, NOW, undefined, [], undefined, tariffOf(1_001n)).decisions[0] ?? [];
    const facts = { expected: String(1_000n + one), available: '1' };
    expect(decision).toMatchObject({ error: { code: 'bundle.postage', facts } });
  });

  test('a forced bundle is not asked for anything, and owes nothing', () => {
    const forced = sign(alice, 0n, { postage: 5n });
    const { bundle, bytes, structHash, bundleHash } = forced;
    const content = {
      lane: 0,
      sender: alice.address,
      nonce: 0n,
      count: 1,
      structHash,
      bundleHash: structHash,
      bytes: bytes.length,
    };
    expect(bundle.postage).toBe(5n);
    expect(bundleHash).not.toBe(toHex(structHash));
    const next = sign(alice, 1n, { postage: one });
    const arrival = { ...content, bundle: bytes, index: 0n };
    const plan = planGroups([verified(next)], ledgerOf(), NOW, undefined, [arrival], undefined, tariffOf(one));
    expect(plan.groups[0]?.entries).toHaveLength(2);
    expect(shown(plan).flat()).toEqual(['0/1']);
    expect([...plan.owed]).toEqual([[`${alice.address}/0`, one]]);
  });

  test('where it is free, postage is looked at by nobody', () => {
    const plan = planGroups([verified(sign(alice, 0n, { postage: 2n ** 127n }), sign(alice, 1n))], owing, NOW);
    expect(shown(plan).flat()).toEqual(['0/0', '0/1']);
    expect(plan.owed.size).toBe(0);
  });
});
