import { describe, expect, test } from 'vitest';
import { sign } from '../test/log.js';
import vectors from '../vectors/protocol.json' with { type: 'json' };
import rfc6962 from '../vectors/rfc6962-inclusion.json' with { type: 'json' };
import {
  type BatchHeader,
  type Bundle,
  batchHash,
  buildBundleProof,
  buildMessageProof,
  buildReceipt,
  buildTree,
  bundleDigest,
  bundleFromJson,
  bundleHash,
  bundleStructHash,
  bundleToJson,
  type Domain,
  dataCid,
  dataHash,
  decodeBatchFile,
  decodeBatchHeader,
  decodeBundle,
  domainSeparator,
  encodeBatchFile,
  encodeBundle,
  entryHash,
  fieldsOf,
  fromHex,
  type Hex,
  headerToJson,
  inclusionPath,
  isIncluded,
  leafHash,
  messageLeaf,
  messagesTree,
  readBundle,
  receiptDigest,
  receiptFromJson,
  receiptToJson,
  toHex,
  verifyBundleSignature,
  verifyMessageProof,
  verifyReceipt,
  viewTree,
} from './index.js';

const hex = (text: string) => text as Hex;
const domain: Domain = { chainId: BigInt(vectors.domain.chainId), settlement: hex(vectors.domain.verifyingContract) };

const bundleOf = (vector: (typeof vectors.bundles)[number]): Bundle => ({
  lane: vector.lane,
  sender: hex(vector.sender),
  nonce: BigInt(vector.nonce),
  expiry: BigInt(vector.expiry),
  postage: BigInt(vector.postage),
  messages: vector.messages.map(({ topic, payload }) => ({ topic: hex(topic), payload: fromHex(payload) })),
  signature: hex(vector.signature),
});

test('domain separator', () => {
  expect(toHex(domainSeparator(domain))).toBe(vectors.domain.separator);
});

describe.each(vectors.bundles)('bundle: $name', (vector) => {
  const bundle = bundleOf(vector);
  const encoded = fromHex(vector.encoded);
  const view = readBundle(encoded);
  const fields = fieldsOf(view, hex(vector.messagesRoot));

  test('leaves and messagesRoot', () => {
    expect(bundle.messages.map((message) => toHex(messageLeaf(message)))).toEqual(vector.messages.map(({ leaf }) => leaf));
    expect(toHex(messagesTree(bundle.messages).root)).toBe(vector.messagesRoot);
    expect(toHex(viewTree(view).root)).toBe(vector.messagesRoot);
  });

  test('structHash, digest, signature and bundleHash', () => {
    const structHash = bundleStructHash(fields);
    expect(toHex(structHash)).toBe(vector.structHash);
    const digest = bundleDigest(domain, fields);
    expect(toHex(digest)).toBe(vector.digest);
    expect(sign(digest, fromHex(vector.privateKey))).toBe(vector.signature);
    verifyBundleSignature(domain, fields);
    expect(toHex(bundleHash(fields.sender, structHash, view.signature))).toBe(vector.bundleHash);
  });

  test('bytes and JSON, both ways', () => {
    expect(toHex(encodeBundle(bundle))).toBe(vector.encoded);
    expect(decodeBundle(encoded)).toEqual(bundle);
    expect(bundleFromJson(JSON.parse(JSON.stringify(bundleToJson(bundle))))).toEqual(bundle);
  });
});

describe('batch', () => {
  const { batch } = vectors;
  const header: BatchHeader = {
    ...batch.header,
    number: BigInt(batch.header.number),
    parentHash: hex(batch.header.parentHash),
    firstSequence: BigInt(batch.header.firstSequence),
    bundlesRoot: hex(batch.header.bundlesRoot),
    inboxCount: BigInt(batch.header.inboxCount),
    timestamp: BigInt(batch.header.timestamp),
    dataHash: hex(batch.header.dataHash),
  };
  const entries = batch.entries.map((entry) => {
    const vector = vectors.bundles.find(({ name }) => name === entry.bundle);
    if (vector === undefined) throw new Error(`no bundle ${entry.bundle}`);
    const view = readBundle(fromHex(vector.encoded));
    const isVoid: 0 | 1 = entry.void === 1 ? 1 : 0;
    return { vector, view, void: isVoid, previous: BigInt(entry.previous), bundleHash: hex(vector.bundleHash) };
  });
  const leaves = entries.map((entry) => entryHash(entry.void, entry.previous, fromHex(entry.bundleHash)));
  const tree = buildTree(leaves);

  test('entryHashes and bundlesRoot', () => {
    expect(leaves.map(toHex)).toEqual(batch.entries.map((entry) => entry.entryHash));
    expect(toHex(tree.root)).toBe(header.bundlesRoot);
  });

  test('batchHash, and the header as JSON', () => {
    expect(batchHash(header)).toBe(batch.batchHash);
    expect(decodeBatchHeader(JSON.parse(JSON.stringify(headerToJson(header))))).toEqual(header);
  });

  test('file, both ways, dataHash and CID', () => {
    const file = {
      lane: header.lane,
      number: header.number,
      firstSequence: header.firstSequence,
      entries: entries.map(({ void: isVoid, previous, view }) => ({ void: isVoid, previous, bundle: view.bytes })),
    };
    const bytes = fromHex(batch.file);
    expect(toHex(encodeBatchFile(file))).toBe(batch.file);
    expect(decodeBatchFile(bytes)).toEqual(file);
    expect(dataHash([bytes])).toBe(header.dataHash);
    expect(dataCid(header.dataHash)).toBe(batch.cid);
  });

  test.each(batch.proofs)('proof of message $messageIndex of entry $bundleIndex, valid: $valid', (vector) => {
    const entry = entries[vector.bundleIndex];
    if (entry === undefined) throw new Error('no such entry');
    const inner = buildBundleProof(domain, entry.view, viewTree(entry.view), vector.messageIndex);
    const proof = buildMessageProof(inner, entry, { tree, header }, vector.bundleIndex);
    expect(proof.messagePath).toEqual(vector.messagePath);
    expect(proof.bundlePath).toEqual(vector.bundlePath);
    const verify = () => verifyMessageProof(proof, { ...domain, laneCount: 1 }, hex(batch.batchHash));
    if (vector.valid) {
      expect(verify()).toMatchObject({
        sender: entry.vector.sender,
        nonce: BigInt(entry.vector.nonce) + BigInt(vector.messageIndex),
        topic: entry.vector.messages[vector.messageIndex]?.topic,
        bundleHash: entry.bundleHash,
        sequence: header.firstSequence + BigInt(vector.bundleIndex),
      });
    } else {
      expect(verify).toThrow(expect.objectContaining({ code: 'proof.invalid', facts: { step: 'void' } }));
    }
  });

  test('receipt: digest, signature, paths; entries that are void are refused', () => {
    const { receipt } = vectors;
    const statement = {
      lane: receipt.lane,
      term: receipt.term,
      firstSequence: BigInt(receipt.firstSequence),
      count: receipt.count,
      root: hex(receipt.root),
      includeBy: BigInt(receipt.includeBy),
    };
    const digest = receiptDigest(domainSeparator(domain), statement);
    expect(toHex(digest)).toBe(receipt.digest);
    expect(sign(digest, fromHex(receipt.signerPrivateKey))).toBe(receipt.signature);
    const terms = { ...domain, signer: hex(receipt.signer), term: 1, latestBlock: statement.includeBy, maxIncludeDelay: 0n };
    for (const [index, entry] of entries.entries()) {
      const given = buildReceipt(statement, hex(receipt.signature), tree, index, entry);
      expect(given.path).toEqual(receipt.paths[index]);
      expect(receiptFromJson(JSON.parse(JSON.stringify(receiptToJson(given))))).toEqual(given);
      if (entry.void === 0) verifyReceipt(given, terms);
      else expect(() => verifyReceipt(given, terms)).toThrow(expect.objectContaining({ facts: { step: 'void' } }));
    }
  });
});

test('unixfs: three chunks', () => {
  const file = Uint8Array.from({ length: vectors.unixfs.size }, (_, index) => (index * 31 + 7) % 256);
  const digest = dataHash([file]);
  expect(digest).toBe(vectors.unixfs.dataHash);
  expect(dataCid(digest)).toBe(vectors.unixfs.cid);
});

describe('RFC 6962 inclusion, the transparency logs’ own cases', () => {
  const bytes = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

  test('all 71 are here, of both kinds', () => {
    expect(rfc6962.cases).toHaveLength(71);
    expect(rfc6962.cases.filter(({ wantErr }) => !wantErr)).toHaveLength(5);
  });

  test.each(rfc6962.cases)('$name', ({ leafIdx, treeSize, root, leafHash: leaf, proof, wantErr }) => {
    expect(isIncluded(bytes(leaf), leafIdx, treeSize, (proof ?? []).map(bytes), bytes(root))).toBe(!wantErr);
  });

  test('leaf hash of nothing and of one byte (RFC 9162 §2.1.1), and paths we build ourselves', () => {
    expect(toHex(leafHash(new Uint8Array(0)))).toBe('0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d');
    expect(toHex(leafHash(Uint8Array.of(0)))).toBe('0x96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7');
    // The well-known test log of eight entries that the Certificate Transparency projects share.
    const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
    const tree = buildTree(inputs.map((input) => leafHash(fromHex(`0x${input}`))));
    expect(toHex(tree.root)).toBe('0x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328');
    expect(isIncluded(leafHash(fromHex('0x40414243')), 5, 8, inclusionPath(tree, 5), tree.root)).toBe(true);
  });
});
