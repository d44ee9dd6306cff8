import { describe, expect, test } from 'vitest';
import { Account, verified } from '../test/bundles.js';
import { emptyLanes, viewAt } from '../test/pipeline.js';
import { type Deposit, L1Error } from './ports.js';
import { carriedBy, Deposits } from './postage.js';

const account = (deposit: bigint, redeemed = 0n, withdrawing = 0n): Deposit => ({ deposit, redeemed, withdrawing });

describe('carriedBy: what an operator can count on', () => {
  const rows: [string, Deposit, Deposit, bigint][] = [
    ['nothing was deposited', account(0n), account(0n), 0n],
    ['a final deposit', account(10n), account(10n), 10n],
    ['a deposit that is not final does not count', account(0n), account(10n), 0n],
    ['nor does the part that was added to it', account(10n), account(15n), 10n],
    ['a redemption moves it from the deposit to what is redeemed', account(10n), account(3n, 7n), 10n],
    ['long after it', account(3n, 7n), account(3n, 7n), 10n],
    ['a withdrawal counts as soon as it is asked for', account(10n), account(10n, 0n, 4n), 6n],
    ['also of a deposit that is not final', account(10n), account(15n, 0n, 8n), 2n],
    ['a withdrawal of more than there is', account(10n), account(10n, 0n, 99n), 0n],
    ['it leaves what is redeemed', account(10n, 5n), account(10n, 5n, 99n), 5n],
    ['a withdrawal that was fetched, and is not final', account(10n, 0n, 5n), account(5n), 5n],
    ['and filled up again', account(10n, 0n, 5n), account(10n), 5n],
    ['a withdrawal that was called off counts until that is final', account(10n, 0n, 5n), account(10n), 5n],
  ];
  test.each(rows)('%s', (_, settled, latest, expected) => {
    expect(carriedBy(settled, latest)).toBe(expected);
  });
});

describe('Deposits', () => {
  const alice = new Account('alice');
  const key = { lane: 0, sender: alice.address };
  const body = () => verified(1, alice.sign());
  /** A contract at each block, of which the last five are not final. */
  function world() {
    const it = { block: 100n, asked: [] as bigint[], at: (_: bigint): Deposit | Promise<Deposit> => account(10n) };
    const view = () => ({ ...viewAt(it.block, 1n, emptyLanes(1)), finalized: it.block - 5n });
    const depositOf = async (_lane: number, _sender: string, block: bigint) => {
      it.asked.push(block);
      return it.at(block);
    };
    return { it, deposits: new Deposits({ l1: { depositOf }, view, waitMs: 20 }) };
  }

  test('an account is unknown until it was asked for, then known without a question', async () => {
    const { it, deposits } = world();
    expect(deposits.carried(alice.address, 0)).toBeUndefined();
    const given = body();
    expect(await deposits.before(given)).toBe(given);
    expect(deposits.carried(alice.address, 0)).toBe(10n);
    it.block = 200n;
    await deposits.before(body());
    expect(await deposits.latest(key)).toEqual(account(10n));
    expect(it.asked).toEqual([100n, 95n]);
  });

  test('a change is read anew, and again once it may be final', async () => {
    const { it, deposits } = world();
    await deposits.before(body());
    it.block = 110n;
    it.at = (block) => account(block < 108n ? 10n : 30n);
    deposits.changed([key]);
    expect(deposits.carried(alice.address, 0)).toBeUndefined();
    await deposits.before(body());
    expect(deposits.carried(alice.address, 0)).toBe(10n);
    it.block = 114n;
    expect(deposits.carried(alice.address, 0)).toBeUndefined();
    await deposits.before(body());
    expect(deposits.carried(alice.address, 0)).toBe(30n);
  });

  test('an answer that was under way when a change was told of is not kept', async () => {
    const { it, deposits } = world();
    let answer = (_: Deposit) => {};
    it.at = () =>
      new Promise<Deposit>((resolve) => {
        answer = resolve;
      });
    const latest = deposits.latest(key);
    deposits.changed([key]);
    it.at = () => account(3n);
    answer(account(10n));
    await latest;
    expect(deposits.carried(alice.address, 0)).toBeUndefined();
    expect(await deposits.latest(key)).toEqual(account(3n));
    expect(deposits.carried(alice.address, 0)).toBe(3n);
  });

  test('a body waits for a bounded time, and not at all behind an L1 that answers nobody', async () => {
    const { it, deposits } = world();
    it.at = () => new Promise<Deposit>(() => {});
    await deposits.before(body());
    expect(deposits.carried(alice.address, 0)).toBeUndefined();
    deposits.changed('any');
    it.at = () => Promise.reject(new L1Error('l1.unreachable', 'no answer'));
    await deposits.before(body());
    await expect(deposits.latest(key)).rejects.toMatchObject({ code: 'l1.unreachable' });
    it.at = () => account(10n);
    await deposits.latest(key);
    expect(deposits.carried(alice.address, 0)).toBe(10n);
  });

  test('a bundle that is refused anyway costs no question', async () => {
    const { it, deposits } = world();
    const { bundle, ...rest } = alice.sign();
    const bytes = rest.bytes.slice();
    bytes[bytes.length - 1] = 29;
    await deposits.before(verified(1, { ...rest, bundle, bytes }));
    expect(it.asked).toEqual([]);
  });
});
