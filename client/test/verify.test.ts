import { readFileSync } from 'node:fs';
import { type Hex, proofFromJson, sha256, toHex, ZERO_HASH } from '@sealpost/prover';
import { encodeAbiParameters, keccak256 } from 'viem';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secondOpinion } from '../src/cli/oracle.js';
import { type Clock, L1, type MessageProof, systemClock, verifyProof } from '../src/index.js';
import { type Anvil, startAnvil } from './anvil.js';

interface Vectors {
  domain: { chainId: string; verifyingContract: Hex };
  bundles: { name: string; messages: { topic: Hex; payload: Hex }[] }[];
  batch: { header: Record<string, unknown>; entries: { bundle: string }[]; batchHash: Hex; proofs: Record<string, unknown>[] };
}

const vectors = JSON.parse(readFileSync(new URL('../../prover/vectors/protocol.json', import.meta.url), 'utf8')) as Vectors;
const base64 = (hex: string) => Buffer.from(hex.slice(2), 'hex').toString('base64');

/** The vectors' proofs leave out what their bundle and batch say; here they are whole. */
function wholeProof(vector: Record<string, unknown>): { proof: MessageProof; valid: boolean } {
  const entry = vectors.batch.entries[vector.bundleIndex as number] as Record<string, unknown> & { bundle: string };
  const bundle = vectors.bundles.find(({ name }) => name === entry.bundle) as unknown as Record<string, unknown> &
    Vectors['bundles'][0];
  const message = bundle.messages[vector.messageIndex as number] as { topic: Hex; payload: Hex };
  const { lane, sender, nonce, expiry, postage, messagesRoot, signature } = bundle;
  const json = {
    version: 1,
    chainId: vectors.domain.chainId,
    settlement: vectors.domain.verifyingContract,
    message: { topic: message.topic, payload: base64(message.payload) },
    messageIndex: vector.messageIndex,
    messagePath: vector.messagePath,
    bundle: { lane, sender, nonce, expiry, postage, count: bundle.messages.length, messagesRoot, signature },
    void: entry.void,
    previous: String(entry.previous),
    bundleIndex: vector.bundleIndex,
    bundlePath: vector.bundlePath,
    header: headerJson(),
    batchHash: vectors.batch.batchHash,
  };
  return { proof: proofFromJson(json), valid: vector.valid === true };
}

function headerJson() {
  const { header } = vectors.batch;
  const numbers = ['lane', 'term', 'count'];
  return Object.fromEntries(
    Object.entries(header).map(([name, value]) => [name, numbers.includes(name) ? Number(value) : String(value)]),
  );
}

describe('vectors made by an independent implementation, against a real L1 slot', () => {
  let anvil: Anvil;
  let l1: L1;

  beforeAll(async () => {
    anvil = await startAnvil();
    // The first contract of anvil's first account: the vectors' address.
    const settlement = await anvil.deploy();
    expect(settlement).toBe(vectors.domain.verifyingContract.toLowerCase());
    const number = BigInt(vectors.batch.header.number as string);
    const inner = keccak256(encodeAbiParameters([{ type: 'uint16' }, { type: 'uint256' }], [0, 0n]));
    const slot = keccak256(encodeAbiParameters([{ type: 'uint64' }, { type: 'bytes32' }], [number, inner]));
    await anvil.request('anvil_setStorageAt', [settlement, slot, vectors.batch.batchHash]);
    l1 = await L1.connect({ transport: anvil.transport, settlement, clock: systemClock, maxSlotAgeMs: 0 });
  }, 30_000);
  afterAll(() => anvil?.stop());

  it('one who gives up waiting takes the others’ read along no more', async () => {
    // No time at all is over before any node can answer.
    const clock: Clock = {
      now: () => systemClock.now(),
      sleep: async (ms, signal) => (ms === 0 ? undefined : await systemClock.sleep(ms, signal)),
    };
    const shared = await L1.connect({ transport: anvil.transport, settlement: l1.view.settlement, clock });
    const impatient = new AbortController();
    const hasty = shared.slot(0, 1n, { signal: impatient.signal });
    const patient = shared.slot(0, 1n);
    const hastyLog = shared.commitment(0, 1n, vectors.batch.batchHash, { signal: impatient.signal });
    const patientLog = shared.commitment(0, 1n, vectors.batch.batchHash);
    impatient.abort(new Error('enough'));
    await expect(hasty).rejects.toThrow('enough');
    await expect(hastyLog).rejects.toThrow('enough');
    expect((await patient).committed).toBe(vectors.batch.batchHash);
    expect(await patientLog).toBeUndefined();
    await expect(shared.slot(0, 9n, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'l1.timeout' });
  });

  it('reads the slot', async () => {
    expect((await l1.slot(0, 1n)).committed).toBe(vectors.batch.batchHash);
    expect((await l1.slot(0, 2n)).committed).toBe(ZERO_HASH);
  });

  it('agrees with each proof, with the contract, and with merkletreejs', async () => {
    const seen = { valid: 0, invalid: 0 };
    for (const vector of vectors.batch.proofs) {
      const { proof, valid } = wholeProof(vector);
      const outcome = await verifyProof(proof, l1).catch((error: { code?: string }) => error);
      expect('rung' in outcome, JSON.stringify(vector.name ?? vector)).toBe(valid);
      expect(await l1.isIncluded(proof)).toBe(valid);
      if ('rung' in outcome) expect(secondOpinion(proof, outcome.bundleHash).every(({ holds }) => holds)).toBe(true);
      else expect(outcome).toMatchObject({ code: 'proof.invalid' });
      seen[valid ? 'valid' : 'invalid']++;
    }
    expect(seen.valid).toBeGreaterThan(0);
  });

  it('names the step that fails, and merkletreejs sees each false path too', async () => {
    const { proof } = wholeProof(
      vectors.batch.proofs.find(({ valid, messagePath }) => valid && (messagePath as []).length > 0) ?? {},
    );
    const good = await verifyProof(proof, l1);
    const flip = (hex: Hex): Hex => `0x${hex[2] === '0' ? '1' : '0'}${hex.slice(3)}`;
    const broken: [string, MessageProof][] = [
      ['domain', { ...proof, chainId: 1n }],
      ['domain', { ...proof, settlement: `0x${'11'.repeat(20)}` }],
      ['message', { ...proof, messageIndex: proof.bundle.count }],
      ['messagePath', { ...proof, message: { ...proof.message, payload: Uint8Array.of(1) } }],
      ['messagePath', { ...proof, messagePath: proof.messagePath.map(flip) }],
      ['messagePath', { ...proof, messagePath: proof.messagePath.slice(1) }],
      ['signature', { ...proof, bundle: { ...proof.bundle, nonce: proof.bundle.nonce - 1n } }],
      ['void', { ...proof, void: 1 }],
      ['expiry', { ...proof, header: { ...proof.header, timestamp: proof.bundle.expiry + 1n } }],
      ['bundlePath', { ...proof, bundlePath: proof.bundlePath.map(flip) }],
      ['bundlePath', { ...proof, previous: proof.previous + 1n }],
      ['batchHash', { ...proof, batchHash: flip(proof.batchHash) }],
      ['slot', { ...proof, ...renumbered(proof) }],
    ];
    for (const [step, bad] of broken) {
      await expect(verifyProof(bad, l1), step).rejects.toMatchObject({ code: 'proof.invalid', facts: { step } });
      const opinion = secondOpinion(bad, good.bundleHash);
      if (step.endsWith('Path')) expect(opinion.find(({ path }) => path === step)?.holds).toBe(false);
    }
  });

  it('says that it could not check, where the L1 does not answer', async () => {
    const { proof } = wholeProof(vectors.batch.proofs.find(({ valid }) => valid) ?? {});
    const broken = new Error('cable');
    const failing = await L1.connect({ transport: anvil.transport, settlement: l1.view.settlement, clock: systemClock });
    failing.slot = () => Promise.reject(broken);
    await expect(verifyProof(proof, failing)).rejects.toBe(broken);
  });

  it('refuses another chain, no contract, and a contract that is none of ours', async () => {
    const clock = systemClock;
    const { transport } = anvil;
    const { settlement } = l1.view;
    await expect(L1.connect({ transport, settlement, clock, chainId: 1n })).rejects.toMatchObject({ code: 'l1.wrong_chain' });
    const empty: Hex = `0x${'22'.repeat(20)}`;
    await expect(L1.connect({ transport, settlement: empty, clock })).rejects.toMatchObject({ code: 'l1.no_contract' });
    await anvil.request('anvil_setCode', [empty, '0x60006000fd']);
    await expect(L1.connect({ transport, settlement: empty, clock })).rejects.toMatchObject({ code: 'l1.foreign_contract' });
    await expect(L1.connect({ transport, settlement: '0x12' as Hex, clock })).rejects.toMatchObject({ code: 'l1.no_contract' });
  });
});

/** A header that hashes to what the proof names, at a number where nothing is committed. */
function renumbered(proof: MessageProof) {
  const header = { ...proof.header, number: 9n };
  const { lane, term, number, parentHash, firstSequence, count, bundlesRoot, inboxCount, timestamp, dataHash } = header;
  const types = ['uint16', 'uint32', 'uint64', 'bytes32', 'uint64', 'uint32', 'bytes32', 'uint64', 'uint64', 'bytes32'];
  const values = [lane, term, number, parentHash, firstSequence, count, bundlesRoot, inboxCount, timestamp, dataHash];
  return { header, batchHash: keccak256(encodeAbiParameters(types.map((type) => ({ type })) as never, values as never)) };
}

it('climbs trees of every shape as merkletreejs does', async () => {
  const { buildTree, inclusionPath, entryHash } = await import('@sealpost/prover');
  const { proof } = wholeProof(vectors.batch.proofs.find(({ valid }) => valid) ?? {});
  const identity = sha256(Uint8Array.of(7));
  for (let size = 1; size <= 40; size++) {
    for (let index = 0; index < size; index++) {
      const leaves = Array.from({ length: size }, (_, at) =>
        at === index ? entryHash(0, 3n, identity) : sha256(Uint8Array.of(at)),
      );
      const tree = buildTree(leaves);
      const whole: MessageProof = {
        ...proof,
        previous: 3n,
        bundleIndex: index,
        bundlePath: inclusionPath(tree, index).map(toHex),
        header: { ...proof.header, count: size, bundlesRoot: toHex(tree.root) },
      };
      const at = (one: MessageProof) => secondOpinion(one, toHex(identity)).find(({ path }) => path === 'bundlePath')?.holds;
      expect(at(whole)).toBe(true);
      if (size > 1) expect(at({ ...whole, bundleIndex: (index + 1) % size })).toBe(false);
    }
  }
});
