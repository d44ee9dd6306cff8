import { describe, expect, test } from 'vitest';
import { corruptions, type Json } from '../test/corrupt.js';
import { DOMAIN, highS, INCLUDE_BY, keyOf, makeLog, sign, TERM } from '../test/log.js';
import {
  buildReceipt,
  domainSeparator,
  type Hex,
  ProtocolError,
  type Receipt,
  type ReceiptTerms,
  receiptDigest,
  receiptFromJson,
  receiptToJson,
  toHex,
  verifyReceipt,
} from './index.js';

const log = makeLog(6, [1, 11]);
const groups = log.batches;
const receipts = groups.flatMap((group) => group.receipts);
const terms: ReceiptTerms = {
  ...DOMAIN,
  signer: log.sequencer.address,
  term: TERM,
  latestBlock: INCLUDE_BY,
  maxIncludeDelay: 0n,
};
const honest = receipts[5] as Receipt;

const parsed = (receipt: Receipt): Json => JSON.parse(JSON.stringify(receiptToJson(receipt))) as Json;

/** The step at which a receipt is refused. */
function step(receipt: Receipt, against: ReceiptTerms = terms): unknown {
  try {
    verifyReceipt(receipt, against);
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'receipt.invalid') return error.facts.step;
    throw error;
  }
  return 'accepted';
}

/** Signed anew by the sequencer: only the rule under test is broken. */
function resigned(change: Partial<Receipt>): Receipt {
  const receipt = { ...honest, ...change };
  return { ...receipt, signature: sign(receiptDigest(domainSeparator(DOMAIN), receipt), log.sequencer.secret) };
}

test('every receipt of every group holds, through JSON too', () => {
  for (const receipt of receipts) {
    expect(receiptFromJson(parsed(receipt))).toEqual(receipt);
    expect(step(receipt)).toBe('accepted');
  }
  expect(step(resigned({}))).toBe('accepted');
});

test('every corruption of every field is refused', () => {
  let count = 0;
  for (const receipt of [receipts[0], receipts[1], honest, receipts.at(-1)] as Receipt[]) {
    for (const { name, value } of corruptions(parsed(receipt))) {
      const verify = () => verifyReceipt(receiptFromJson(value), { ...terms, maxIncludeDelay: 2n ** 70n });
      // What no corruption of a receipt's own fields can change is which bundle and lane the caller asked about.
      expect(verify, name).toThrow(expect.objectContaining({ code: expect.stringMatching(/^receipt\.(malformed|invalid)$/) }));
      count++;
    }
  }
  expect(count).toBeGreaterThan(600);
});

describe('each check of §7 by itself', () => {
  test('void', () => {
    const [entry] = groups[1]?.entries ?? [];
    expect(step({ ...honest, void: 1 })).toBe('void');
    expect(entry?.void).toBe(0);
  });

  test('another term than the contract’s, even signed', () => {
    expect(step(resigned({ term: 2 }))).toBe('term');
    expect(step(resigned({ term: 0 }))).toBe('term');
    expect(step(honest, { ...terms, term: 2 })).toBe('term');
    expect(step(resigned({ term: 2 }), { ...terms, term: 2 })).toBe('accepted');
  });

  test('a deadline later than the contract allows', () => {
    expect(step(honest, { ...terms, latestBlock: 100n, maxIncludeDelay: INCLUDE_BY - 100n })).toBe('accepted');
    expect(step(honest, { ...terms, latestBlock: 100n, maxIncludeDelay: INCLUDE_BY - 101n })).toBe('includeBy');
    expect(step(resigned({ includeBy: INCLUDE_BY + 1n }))).toBe('includeBy');
    expect(step(resigned({ includeBy: 2n ** 64n - 1n }))).toBe('includeBy');
  });

  test('a place that the path does not lead to', () => {
    expect(step({ ...honest, sequence: honest.sequence + 1n })).toBe('path');
    expect(step({ ...honest, sequence: honest.firstSequence - 1n })).toBe('path');
    expect(step({ ...honest, sequence: honest.sequence + 2n ** 32n })).toBe('path');
    expect(step(resigned({ firstSequence: honest.firstSequence + 1n }))).toBe('path');
    expect(step(resigned({ count: 0 }))).toBe('path');
    expect(step(resigned({ root: toHex(new Uint8Array(32)) }))).toBe('path');
    expect(step({ ...honest, path: honest.path.slice(1) })).toBe('path');
    expect(step({ ...honest, previous: honest.previous + 1n })).toBe('path');
    expect(step({ ...honest, bundleHash: (receipts[4] as Receipt).bundleHash })).toBe('path');
  });

  test('somebody else’s signature, in another form, over another lane, chain or contract', () => {
    expect(step(honest, { ...terms, signer: keyOf('other').address })).toBe('signature');
    expect(step(honest, { ...terms, signer: `0x${'00'.repeat(20)}` })).toBe('signature');
    expect(step({ ...honest, signature: highS(honest.signature) })).toBe('signature');
    expect(step({ ...honest, signature: '0x' })).toBe('signature');
    expect(step({ ...honest, lane: 1 })).toBe('signature');
    expect(step(honest, { ...terms, chainId: 1n })).toBe('signature');
    expect(step(honest, { ...terms, settlement: `0x${'33'.repeat(20)}` })).toBe('signature');
    expect(step({ ...honest, includeBy: INCLUDE_BY - 1n })).toBe('signature');
  });

  test('a signer that is retired, beyond what it can have signed before', () => {
    const delay = { latestBlock: INCLUDE_BY, maxIncludeDelay: 100n };
    const replaced = { ...terms, ...delay, signer: keyOf('next').address };
    const retired = (at: bigint, signer = terms.signer) => step(honest, { ...replaced, retired: { signer, at } });
    expect(step(honest, replaced)).toBe('signature');
    expect(retired(INCLUDE_BY)).toBe('accepted');
    expect(retired(INCLUDE_BY - 100n)).toBe('accepted');
    expect(retired(INCLUDE_BY - 101n)).toBe('signature');
    expect(retired(INCLUDE_BY, keyOf('other').address)).toBe('signature');
  });

  test('the signer’s letters may be of either case', () => {
    expect(step(honest, { ...terms, signer: `0x${terms.signer.slice(2).toUpperCase()}` as Hex })).toBe('accepted');
  });
});

test('a group has no receipt for an entry beyond it', () => {
  const group = groups[1];
  if (group === undefined) throw new Error('no group');
  for (const index of [-1, group.entries.length, 0.5, Number.NaN]) {
    expect(() => buildReceipt(honest, honest.signature, group.tree, index, honest)).toThrow(
      expect.objectContaining({ code: 'value.malformed' }),
    );
  }
});
