import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ZERO_HASH } from '@sealpost/prover';
import { describe, expect, test } from 'vitest';
import { createStore } from '../src/adapters/sqlite.js';
import type { Voucher } from '../src/ports.js';
import { amountOf, type Claim, isUrgent, isWorthIt, voucherBelow } from '../src/redeemer.js';
import { Account, topicOf } from './bundles.js';
import { genesisOf } from './pipeline.js';
import { groupOf } from './store.compliance.js';

const GWEI = 10n ** 9n;
/** Of one redemption at one gwei a gas. */
const COST = 70_000n * GWEI;

describe('isWorthIt', () => {
  const claim = (more: Partial<Claim['account']> & { postage?: bigint; leaving?: boolean } = {}): Claim => {
    const { postage = 10n * COST, leaving = false, ...account } = more;
    return { postage, leaving, account: { deposit: 100n * COST, redeemed: 0n, withdrawing: 0n, ...account } };
  };
  const rows: [string, Claim, boolean][] = [
    ['ten times its gas', claim(), true],
    ['a wei less', claim({ postage: 10n * COST - 1n }), false],
    ['what is redeemed already does not count', claim({ redeemed: 1n }), false],
    ['nothing is owed', claim({ postage: 0n }), false],
    ['more was redeemed than this entry says', claim({ redeemed: 11n * COST }), false],
    ['the deposit is what there is', claim({ deposit: 9n * COST }), false],
    ['we leave: its gas is enough', claim({ postage: COST, leaving: true }), true],
    ['we leave, and it pays less than its gas', claim({ postage: COST - 1n, leaving: true }), false],
    ['a withdrawal that leaves enough is no hurry', claim({ postage: COST, withdrawing: 99n * COST }), false],
    ['one that would take what is owed is', claim({ postage: COST, withdrawing: 99n * COST + 1n }), true],
    ['the deposit is empty', claim({ deposit: 0n, leaving: true }), false],
  ];
  test.each(rows)('%s', (_, one, expected) => {
    expect(isWorthIt(one, GWEI, 10)).toBe(expected);
  });

  test('where gas costs nothing, nothing is still not redeemed', () => {
    expect(isWorthIt(claim({ postage: 0n }), 0n, 1)).toBe(false);
    expect(isWorthIt(claim({ postage: 1n }), 0n, 1)).toBe(true);
    expect(amountOf(claim({ postage: 5n, redeemed: 3n }))).toBe(2n);
    expect(isUrgent(claim({ postage: 0n, deposit: 0n, withdrawing: 5n }))).toBe(true);
  });
});

test('voucherBelow: the latest entry below the end that owes, whoever sent in between, void and forced ones passed over', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-redeemer-'));
  const store = await createStore(join(folder, 'store'), genesisOf(1));
  try {
    const [alice, bob] = [new Account('alice'), new Account('bob')];
    const two = { messages: [{ topic: topicOf('news'), payload: new Uint8Array() }, 'b'] };
    const entries = [
      alice.sign({ nonce: 0n, postage: 10n, ...two }),
      bob.sign({ nonce: 0n }),
      alice.sign({ nonce: 2n, postage: 20n, ...two }),
      { signed: alice.sign({ nonce: 9n, postage: 99n }), void: 1 as const },
      alice.sign({ nonce: 4n, postage: 30n, ...two }),
      // Out of the inbox.
      alice.sign({ nonce: 6n, postage: 0n, ...two }),
      alice.sign({ nonce: 8n, postage: 40n, ...two }),
    ];
    const inbox = { lane: 0, index: 0n, bundleHash: ZERO_HASH, deadline: 9n, bundle: new Uint8Array(1), blockNumber: 1n };
    await store.applyL1({ blocks: [], commitments: [], forced: [inbox], demands: [], answered: [] });
    const previous = [0n, 0n, 1n, 3n, 3n, 5n, 6n];
    const drafts = entries.map((entry, at) => ({
      previous: previous[at] as bigint,
      ...('signed' in entry ? entry : { signed: entry }),
    }));
    await store.appendGroups([groupOf(0, 0n, drafts)], [], [{ lane: 0, index: 0n, sequence: 5n }]);
    const voucher = store.voucherOf(alice.address, 0) as Voucher;
    expect(voucher).toMatchObject({ postage: 40n, sequence: 6n });
    const found = (end: bigint) => {
      const below = voucherBelow(store, voucher, end);
      return below && [below.sequence, below.postage];
    };
    expect([0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n, 99n].map(found)).toEqual([
      undefined,
      [0n, 10n],
      [0n, 10n],
      [2n, 20n],
      [2n, 20n],
      [4n, 30n],
      [4n, 30n],
      [6n, 40n],
      [6n, 40n],
    ]);
  } finally {
    await store.close();
    rmSync(folder, { recursive: true });
  }
});
