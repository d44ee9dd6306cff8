import { expect, test } from 'vitest';
import { DOMAIN, type LogEntry, makeLog, sign } from '../test/log.js';
import {
  type AccountClaim,
  type BatchEntry,
  buildReceipt,
  buildTree,
  claimAfter,
  domainSeparator,
  entryLeaf,
  equivocation,
  falseClaim,
  type Hex,
  isIncluded,
  type JudgedEntry,
  judgeEntry,
  judgeFields,
  NO_CLAIM,
  openEntry,
  type Receipt,
  receiptDigest,
  receiptLeaf,
  receiptSigner,
  replacement,
  toHex,
} from './index.js';

const log = makeLog(21, [4, 9]);
const entries = log.batches.flatMap((batch) => batch.entries);
const fileEntry = ({ view, previous }: LogEntry): BatchEntry => ({ void: 0, previous, bundle: view.bytes });
const judged = entries.map((entry) => judgeEntry(fileEntry(entry), 0, DOMAIN));

test('an honest log has no false claim, and every leaf is what the entry says', () => {
  const accounts = new Map<Hex, AccountClaim>();
  for (const [index, entry] of judged.entries()) {
    const account = accounts.get(entry.bundle.sender) ?? NO_CLAIM;
    expect(falseClaim(entry, BigInt(index), account)).toBeUndefined();
    accounts.set(entry.bundle.sender, claimAfter(entry, BigInt(index), account));
    expect(entry.leaf).toEqual(entries[index]?.leaf);
    expect(entryLeaf(fileEntry(entries[index] as LogEntry))).toEqual(entry.leaf);
    expect(judgeFields(entry, 0, DOMAIN)).toEqual(entry);
  }
});

/** An entry at sequence 20 of a sender whose latest one, at 9, ended before nonce 5. */
const account: AccountClaim = { next: 5n, previous: 10n };
const entry = (claims: { void: number; previous: bigint; nonce: bigint; fault?: string }) => ({
  void: claims.void,
  previous: claims.previous,
  bundle: { ...(judged[0] as JudgedEntry).bundle, nonce: claims.nonce },
  fault: claims.fault,
});

test.each<[string, Parameters<typeof entry>[0], AccountClaim, bigint | 'alone' | 'true']>([
  ['next nonce, counts', { void: 0, previous: 10n, nonce: 5n }, account, 'true'],
  ['other nonce, void', { void: 1, previous: 10n, nonce: 4n }, account, 'true'],
  ['bad signature, void', { void: 1, previous: 10n, nonce: 5n, fault: 'bad' }, account, 'true'],
  ['first nonce of a new account', { void: 0, previous: 0n, nonce: 0n }, NO_CLAIM, 'true'],
  ['other nonce of a new account, void', { void: 1, previous: 0n, nonce: 3n }, NO_CLAIM, 'true'],
  ['a void byte that is none', { void: 2, previous: 10n, nonce: 5n }, account, 'alone'],
  ['bad signature, counts', { void: 0, previous: 10n, nonce: 5n, fault: 'bad' }, account, 'alone'],
  ['a previous that is not before it', { void: 1, previous: 21n, nonce: 5n }, account, 'alone'],
  ['other nonce of a new account, counts', { void: 0, previous: 0n, nonce: 3n }, NO_CLAIM, 'alone'],
  ['first nonce of a new account, void', { void: 1, previous: 0n, nonce: 0n }, NO_CLAIM, 'alone'],
  ['a nonce too high, counts', { void: 0, previous: 10n, nonce: 6n }, account, 9n],
  ['a replay, counts', { void: 0, previous: 10n, nonce: 4n }, account, 9n],
  ['next nonce, void', { void: 1, previous: 10n, nonce: 5n }, account, 9n],
  ['an earlier previous, by which it is next', { void: 0, previous: 7n, nonce: 5n }, account, 9n],
  ['no previous though there is one, void', { void: 1, previous: 0n, nonce: 5n }, account, 9n],
  ['no previous though there is one, and by that false alone', { void: 0, previous: 0n, nonce: 5n }, account, 'alone'],
  ['the place of a void one, or of another sender', { void: 0, previous: 15n, nonce: 5n }, account, 14n],
  ['the same of a new account', { void: 1, previous: 15n, nonce: 0n }, NO_CLAIM, 14n],
])('%s', (_name, claims, before, expected) => {
  const found = falseClaim(entry(claims), 20n, before);
  expect(found === undefined ? 'true' : (found.other ?? 'alone')).toBe(expected);
});

test('faults do not hang on the nonce: lane, count, signature', () => {
  const { bundle } = judged[0] as JudgedEntry;
  const faultOf = (change: Partial<typeof bundle>, lane = 0) =>
    judgeFields({ void: 0, previous: 0n, bundle: { ...bundle, ...change } }, lane, DOMAIN).fault;
  expect(faultOf({})).toBeUndefined();
  expect(faultOf({}, 1)).toContain('lane 0');
  expect(faultOf({ count: 0 })).toContain('0 messages');
  expect(faultOf({ count: 4_097 })).toContain('4097 messages');
  expect(faultOf({ nonce: 2n ** 64n - BigInt(bundle.count) })).toContain('2^64');
  expect(faultOf({ expiry: bundle.expiry + 1n })).toContain('signature');
});

test('an opening leads to the root; a receipt is held against the tree and against another receipt', () => {
  const batch = log.batches[1] as (typeof log.batches)[1];
  const index = 5;
  const opening = openEntry(judged[4 + index] as JudgedEntry, batch.header, batch.tree, index);
  const path = opening.path.map((node) => Uint8Array.from(Buffer.from(node.slice(2), 'hex')));
  expect(isIncluded(judged[4 + index]?.leaf as Uint8Array, index, batch.header.count, path, batch.tree.root)).toBe(true);

  const receipt = batch.receipts[index] as Receipt;
  expect(receiptSigner(receipt, DOMAIN)).toBe(log.sequencer.address);
  expect(receiptLeaf(receipt)).toBe(toHex(judged[4 + index]?.leaf as Uint8Array));
  expect(replacement(receipt, batch.header, batch.tree)).toBeUndefined();
  expect(equivocation(receipt, receipt)).toBeUndefined();

  // The same place promised to another entry, alone in its group.
  const other = batch.entries[index + 1] as LogEntry;
  const tree = buildTree([other.leaf]);
  const statement = { ...receipt, firstSequence: receipt.sequence, count: 1, root: toHex(tree.root) };
  const signature = sign(receiptDigest(domainSeparator(DOMAIN), statement), log.sequencer.secret);
  const lie = buildReceipt(statement, signature, tree, 0, other);
  expect(receiptSigner(lie, DOMAIN)).toBe(log.sequencer.address);
  expect(equivocation(receipt, lie)).toMatchObject({ offence: 'equivocation', sequence: receipt.sequence });
  expect(replacement(lie, batch.header, batch.tree)).toMatchObject({
    offence: 'replacement',
    entryHash: receiptLeaf(receipt),
    promised: { entryHash: toHex(other.leaf) },
  });
  // Of another term, lane or place they say nothing to each other.
  expect(equivocation(receipt, { ...lie, term: 2 })).toBeUndefined();
  expect(replacement({ ...lie, term: 2 }, batch.header, batch.tree)).toBeUndefined();
  expect(replacement({ ...lie, sequence: 0n }, batch.header, batch.tree)).toBeUndefined();
  // A path that leads elsewhere is no receipt at all.
  expect(() => receiptSigner({ ...lie, bundleHash: receipt.bundleHash }, DOMAIN)).toThrow('path');
});
