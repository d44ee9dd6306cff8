import { Aes128Gcm, CipherSuite, HkdfSha256 } from '@hpke/core';
import { DhkemX25519HkdfSha256 } from '@hpke/dhkem-x25519';
import { XWing } from '@hpke/hybridkem-x-wing';
import { ascii, concat, fromHex, type Hex, sha256, toHex, uintBytes } from '@sealpost/prover';
import { describe, expect, it } from 'vitest';
import {
  encryptionKeysFrom,
  generateEncryptionKeys,
  inboxTopic,
  isPublicKey,
  maxPlaintextBytes,
  Opener,
  sealMessages,
} from '../src/index.js';

const domain = { chainId: 31_337n, settlement: '0x5fbdb2315678afecb367f032d93f642f64180aa3' as Hex };
const alice: Hex = '0x90f79bf6eb2c4f870365e785982e1f101e93b906';
const mallory: Hex = '0x15d34aaf54267db7d7c367839aaf71a00a2c6a65';
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const seal = (to: Hex, ...texts: string[]) =>
  sealMessages(
    domain,
    alice,
    texts.map((one, index) => ({ to, plaintext: ascii(one), index })),
  );

describe.each([
  ['x25519', 1, 32, 32],
  ['x-wing', 2, 1_216, 1_120],
] as const)('%s', (suite, id, publicKeyBytes, encBytes) => {
  it('opens every message of a bundle alone, in any order', async () => {
    const keys = await generateEncryptionKeys(suite);
    expect(fromHex(keys.publicKey).length).toBe(publicKeyBytes);
    const messages = await seal(keys.publicKey, 'one', '', 'three');
    for (const at of [2, 0, 1]) {
      const message = messages[at];
      if (message === undefined) throw new Error('missing');
      const opener = new Opener(keys, domain);
      expect(text(await opener.open({ sender: alice, ...message }))).toBe(['one', '', 'three'][at]);
    }
  });

  it('lays the payload out as version ‖ suite ‖ index ‖ enc ‖ ciphertext, one enc a bundle and recipient', async () => {
    const keys = await generateEncryptionKeys(suite);
    const [first, second] = await seal(keys.publicKey, 'a', 'bb');
    const payload = second?.payload as Uint8Array;
    expect([...payload.subarray(0, 6)]).toEqual([1, id, 0, 0, 0, 1]);
    expect(payload.length).toBe(6 + encBytes + 2 + 16);
    expect(payload.subarray(6, 6 + encBytes)).toEqual(first?.payload.subarray(6, 6 + encBytes));
    const [again] = await seal(keys.publicKey, 'a');
    expect(again?.payload.subarray(6, 6 + encBytes)).not.toEqual(first?.payload.subarray(6, 6 + encBytes));
    expect(first?.topic).toBe(toHex(sha256(concat(ascii('sealpost/1 inbox'), fromHex(keys.publicKey)))));
  });

  it('is what another implementation of the same steps opens', async () => {
    const keys = await generateEncryptionKeys(suite);
    const [message] = await seal(keys.publicKey, 'written down by hand');
    const payload = message?.payload as Uint8Array;
    const kem = suite === 'x25519' ? new DhkemX25519HkdfSha256() : new XWing();
    const hpke = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes128Gcm() });
    const context = await hpke.createRecipientContext({
      recipientKey: await hpke.kem.deserializePrivateKey(fromHex(keys.privateKey)),
      enc: payload.slice(6, 6 + encBytes),
      info: concat(ascii('sealpost/1'), uintBytes(31_337, 32), fromHex(domain.settlement)),
    });
    const topic = fromHex(inboxTopic(keys.publicKey));
    const secret = await context.export(concat(ascii('sealpost/1 key'), topic), 16);
    const key = await crypto.subtle.importKey('raw', secret, 'AES-GCM', false, ['decrypt']);
    const aad = concat(fromHex(alice), topic) as Uint8Array<ArrayBuffer>;
    const opened = await crypto.subtle.decrypt(
      { name: 'AES-GCM', iv: new Uint8Array(12), additionalData: aad },
      key,
      payload.slice(6 + encBytes),
    );
    expect(text(new Uint8Array(opened))).toBe('written down by hand');
  });

  it('refuses a copy under another sender, topic, key, network or index', async () => {
    const keys = await generateEncryptionKeys(suite);
    const other = await generateEncryptionKeys(suite);
    const [message] = await seal(keys.publicKey, 'for you');
    if (message === undefined) throw new Error('missing');
    const good = { sender: alice, ...message };
    const opener = new Opener(keys, domain);
    const flipped = (at: number) => {
      const payload = message.payload.slice();
      payload[at] = (payload[at] as number) ^ 1;
      return { ...good, payload };
    };
    const refused = { code: 'payload.unreadable' };
    await expect(opener.open({ ...good, sender: mallory })).rejects.toMatchObject(refused);
    await expect(opener.open({ ...good, topic: inboxTopic(other.publicKey) })).rejects.toMatchObject(refused);
    await expect(new Opener(other, domain).open(good)).rejects.toMatchObject(refused);
    await expect(new Opener(other, domain).open({ ...good, topic: inboxTopic(other.publicKey) })).rejects.toMatchObject(refused);
    await expect(new Opener(keys, { ...domain, chainId: 1n }).open(good)).rejects.toMatchObject(refused);
    await expect(new Opener(keys, { ...domain, settlement: mallory }).open(good)).rejects.toMatchObject(refused);
    for (const at of [0, 1, 5, 6, message.payload.length - 1])
      await expect(opener.open(flipped(at))).rejects.toMatchObject(refused);
    for (const length of [0, 1, 5, 6 + encBytes + 15]) {
      await expect(opener.open({ ...good, payload: message.payload.subarray(0, length) })).rejects.toMatchObject(refused);
    }
    expect(text(await opener.open(good))).toBe('for you');
  });

  it('derives the same public key from the private one', async () => {
    const keys = await generateEncryptionKeys(suite);
    expect(await encryptionKeysFrom(keys.privateKey, suite)).toEqual(keys);
  });
});

it('never seals two messages of a bundle under one index', async () => {
  const { publicKey } = await generateEncryptionKeys();
  const twice = [0, 0].map((index) => ({ to: publicKey, plaintext: new Uint8Array(1), index }));
  await expect(sealMessages(domain, alice, twice)).rejects.toThrow(RangeError);
});

it('keeps one context a bundle and recipient, and forgets the oldest', async () => {
  const keys = await generateEncryptionKeys();
  const opener = new Opener(keys, domain, { maxContexts: 2 });
  const bundles = await Promise.all(['a', 'b', 'c'].map((one) => seal(keys.publicKey, one, one)));
  for (const message of [...bundles.flat(), ...bundles.flat().reverse()]) {
    expect(['a', 'b', 'c']).toContain(text(await opener.open({ sender: alice, ...message })));
  }
});

it('fills a payload to the last byte, and not beyond', async () => {
  const { publicKey } = await generateEncryptionKeys();
  const max = maxPlaintextBytes(publicKey);
  const [message] = await sealMessages(domain, alice, [{ to: publicKey, plaintext: new Uint8Array(max), index: 0 }]);
  expect(message?.payload.length).toBe(65_536);
  const over = [{ to: publicKey, plaintext: new Uint8Array(max + 1), index: 0 }];
  await expect(sealMessages(domain, alice, over)).rejects.toMatchObject({ code: 'send.too_large' });
});

it('knows a public key by its length', async () => {
  expect(isPublicKey(`0x${'11'.repeat(32)}`)).toBe(true);
  expect(isPublicKey(`0x${'11'.repeat(1_216)}`)).toBe(true);
  for (const bad of ['alice', '0x', `0x${'11'.repeat(20)}`, `0x${'zz'.repeat(32)}`, undefined, 7])
    expect(isPublicKey(bad)).toBe(false);
  await expect(seal(`0x${'00'.repeat(32)}`, 'to nobody')).rejects.toMatchObject({ code: 'key.malformed' });
});
