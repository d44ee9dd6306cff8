import { Aes128Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { DhkemX25519HkdfSha256 as PortableX25519, X25519 } from '@hpke/dhkem-x25519';
import {
  ascii,
  concat,
  type Domain,
  equalBytes,
  fromHex,
  type Hex,
  MAX_PAYLOAD_BYTES,
  type Message,
  sha256,
  toHex,
  uintBytes,
} from '@sealpost/prover';
import { LocalError, SendError } from './errors.js';

/** How messages are sealed to a recipient: X25519, or X-Wing, which also withstands quantum computers. */
export type SuiteName = 'x25519' | 'x-wing';

/** An HPKE key pair. The private key is 32 bytes in both suites. */
export interface EncryptionKeys {
  readonly suite: SuiteName;
  readonly publicKey: Hex;
  readonly privateKey: Hex;
}

/** Payload = version(1) ‖ suite(1) ‖ index(4) ‖ enc ‖ ciphertext. */
const PAYLOAD_VERSION = 0x01;
const HEAD_BYTES = 6;
const TAG_BYTES = 16;
const KEY_BYTES = 16;
const INBOX_LABEL = /* @__PURE__ */ ascii('sealpost/1 inbox');
const INFO_LABEL = /* @__PURE__ */ ascii('sealpost/1');
const KEY_LABEL = /* @__PURE__ */ ascii('sealpost/1 key');

interface Suite {
  readonly name: SuiteName;
  readonly id: number;
  readonly publicKeyBytes: number;
  readonly encBytes: number;
  readonly hpke: () => Promise<CipherSuite>;
}

type Kem = ConstructorParameters<typeof CipherSuite>[0]['kem'];
const cipherSuite = (kem: Kem) => new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes128Gcm() });

/** The engine's own X25519 where it has one (twice as fast), else the same in JavaScript. */
let x25519: Promise<CipherSuite> | undefined;
const chooseX25519 = async (): Promise<CipherSuite> => {
  try {
    await globalThis.crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
    return cipherSuite(new DhkemX25519HkdfSha256());
  } catch {
    return cipherSuite(new PortableX25519());
  }
};

/** Loaded when the first such key is met: post-quantum keys are an option, and their code is a sixth of the whole client. */
const loadXWing = async () => new (await import('@hpke/hybridkem-x-wing')).XWing();
let xWing: Promise<CipherSuite> | undefined;

const SUITES: readonly Suite[] = [
  {
    name: 'x25519',
    id: 1,
    publicKeyBytes: 32,
    encBytes: 32,
    hpke: () => {
      x25519 ??= chooseX25519();
      return x25519;
    },
  },
  {
    name: 'x-wing',
    id: 2,
    publicKeyBytes: 1_216,
    encBytes: 1_120,
    hpke: () => {
      xWing ??= loadXWing().then(cipherSuite);
      return xWing;
    },
  },
];

const suiteOf = (name: SuiteName): Suite => {
  const suite = SUITES.find((one) => one.name === name);
  if (suite === undefined) throw new LocalError('key.malformed', `expected a suite, x25519 or x-wing, got ${String(name)}`);
  return suite;
};

/**
 * The suite of a public key, told by its length, and its bytes.
 * @throws key.malformed
 */
function suiteOfPublicKey(publicKey: Hex): { suite: Suite; bytes: Uint8Array } {
  const size = typeof publicKey === 'string' && /^0x[0-9a-fA-F]*$/.test(publicKey) ? (publicKey.length - 2) / 2 : -1;
  const suite = SUITES.find((one) => one.publicKeyBytes === size);
  if (suite === undefined) {
    throw new LocalError('key.malformed', 'expected a public key: 0x and 64 hex digits (X25519) or 2,432 (X-Wing)');
  }
  return { suite, bytes: fromHex(publicKey) };
}

/** True for hex of a length that some suite's public keys have. */
export function isPublicKey(value: unknown): value is Hex {
  try {
    suiteOfPublicKey(value as Hex);
    return true;
  } catch {
    return false;
  }
}

/** A new HPKE key pair, from the platform's randomness. */
export async function generateEncryptionKeys(name: SuiteName = 'x25519'): Promise<EncryptionKeys> {
  const hpke = await suiteOf(name).hpke();
  const pair = await hpke.kem.generateKeyPair();
  return {
    suite: name,
    publicKey: toHex(new Uint8Array(await hpke.kem.serializePublicKey(pair.publicKey))),
    privateKey: toHex(new Uint8Array(await hpke.kem.serializePrivateKey(pair.privateKey))),
  };
}

/**
 * The key pair of a private key of 32 bytes: X25519's scalar, or X-Wing's seed.
 * @throws key.malformed
 */
export async function encryptionKeysFrom(privateKey: Hex, name: SuiteName = 'x25519'): Promise<EncryptionKeys> {
  const suite = suiteOf(name);
  const hpke = await suite.hpke();
  try {
    const bytes = fromHex(privateKey, 32);
    if (name === 'x-wing') {
      const { publicKey } = await (await loadXWing()).generateKeyPairDerand(bytes);
      return { suite: name, publicKey: toHex(new Uint8Array(await hpke.kem.serializePublicKey(publicKey))), privateKey };
    }
    // Whatever the engine, the portable implementation derives the public key.
    const portable = new X25519(new HkdfSha256());
    const secret = await portable.importKey('raw', bytes.buffer as ArrayBuffer, false);
    const publicKey = await portable.derivePublicKey(secret);
    return { suite: name, publicKey: toHex(new Uint8Array(await portable.serializePublicKey(publicKey))), privateKey };
  } catch (cause) {
    throw new LocalError('key.malformed', `expected a private key of 32 bytes for ${name}`, { cause });
  }
}

/** Where messages to a public key are found: SHA256("sealpost/1 inbox" ‖ publicKey). */
export const inboxTopic = (publicKey: Hex): Hex => toHex(sha256(concat(INBOX_LABEL, suiteOfPublicKey(publicKey).bytes)));

/** How many bytes sealing adds to a plaintext. */
export const sealedOverhead = (publicKey: Hex): number => HEAD_BYTES + suiteOfPublicKey(publicKey).suite.encBytes + TAG_BYTES;

/** The largest plaintext that fits one message to this key. */
export const maxPlaintextBytes = (publicKey: Hex): number => MAX_PAYLOAD_BYTES - sealedOverhead(publicKey);

/** @throws send.too_large unless a plaintext of so many bytes fits one message, which sealing makes `overhead` bytes longer */
export function checkPlaintext(bytes: number, overhead: number): void {
  const maxBytes = MAX_PAYLOAD_BYTES - overhead;
  if (bytes > maxBytes) {
    const message = `a message: expected at most ${maxBytes} bytes, got ${bytes}`;
    throw new SendError('send.too_large', message, { facts: { bytes, maxBytes } });
  }
}

const infoOf = ({ chainId, settlement }: Domain): Uint8Array =>
  concat(INFO_LABEL, uintBytes(chainId, 32), fromHex(settlement, 20));

const aadOf = (sender: Hex, topic: Uint8Array): Uint8Array => concat(fromHex(sender, 20), topic);

const gcm = (index: number, aad: Uint8Array) => ({
  name: 'AES-GCM',
  iv: uintBytes(index, 12) as Uint8Array<ArrayBuffer>,
  additionalData: aad as Uint8Array<ArrayBuffer>,
  tagLength: 8 * TAG_BYTES,
});

/** The exported secret as a key that WebCrypto holds. */
const importKey = (secret: ArrayBuffer, usage: 'encrypt' | 'decrypt') =>
  globalThis.crypto.subtle.importKey('raw', secret, 'AES-GCM', false, [usage]);

/** A message of a bundle before it is sealed; `index` is its place in the bundle. */
export interface Unsealed {
  readonly to: Hex;
  readonly plaintext: Uint8Array;
  readonly index: number;
}

/**
 * Seals messages of ONE bundle. There is one HPKE context for each recipient, made here and forgotten at the end: its
 * exported key therefore belongs to this call, and no nonce repeats under it as long as no index does, which is checked.
 * @throws key.malformed, send.too_large
 */
export async function sealMessages(domain: Domain, sender: Hex, messages: readonly Unsealed[]): Promise<Message[]> {
  const seen = new Set<number>();
  for (const { index } of messages) {
    if (seen.has(index)) throw new RangeError(`index ${index} twice in one bundle would repeat a nonce`);
    seen.add(index);
  }
  const info = infoOf(domain);
  const contexts = new Map<Hex, Promise<SealingContext>>();
  return Promise.all(
    messages.map(async ({ to, plaintext, index }) => {
      const recipient = to.toLowerCase() as Hex;
      let opening = contexts.get(recipient);
      if (opening === undefined) {
        opening = sealingContext(recipient, info, sender);
        contexts.set(recipient, opening);
      }
      const context = await opening;
      checkPlaintext(plaintext.length, HEAD_BYTES + context.enc.length + TAG_BYTES);
      const ciphertext = await globalThis.crypto.subtle.encrypt(
        gcm(index, context.aad),
        context.key,
        plaintext as Uint8Array<ArrayBuffer>,
      );
      const head = Uint8Array.of(PAYLOAD_VERSION, context.suite);
      return { topic: context.topic, payload: concat(head, uintBytes(index, 4), context.enc, new Uint8Array(ciphertext)) };
    }),
  );
}

interface SealingContext {
  readonly suite: number;
  readonly topic: Hex;
  readonly enc: Uint8Array;
  readonly key: CryptoKey;
  readonly aad: Uint8Array;
}

async function sealingContext(publicKey: Hex, info: Uint8Array, sender: Hex): Promise<SealingContext> {
  const { suite, bytes } = suiteOfPublicKey(publicKey);
  const hpke = await suite.hpke();
  const topic = inboxTopic(publicKey);
  const topicBytes = fromHex(topic);
  let context: Awaited<ReturnType<CipherSuite['createSenderContext']>>;
  try {
    const recipientPublicKey = await hpke.kem.deserializePublicKey(bytes);
    context = await hpke.createSenderContext({ recipientPublicKey, info });
  } catch (cause) {
    throw new LocalError('key.malformed', `${publicKey.slice(0, 20)}… is no public key anybody can be written to with`, {
      cause,
    });
  }
  const secret = await context.export(concat(KEY_LABEL, topicBytes), KEY_BYTES);
  return {
    suite: suite.id,
    topic,
    enc: new Uint8Array(context.enc),
    key: await importKey(secret, 'encrypt'),
    aad: aadOf(sender, topicBytes),
  };
}

/** Opens what was sealed to one key pair. Keeps the newest contexts, so that the messages of one bundle cost one decapsulation. */
export class Opener {
  readonly publicKey: Hex;
  readonly topic: Hex;
  readonly #keys: EncryptionKeys;
  readonly #suite: Suite;
  readonly #info: Uint8Array;
  readonly #topicBytes: Uint8Array;
  readonly #maxContexts: number;
  readonly #contexts = new Map<string, Promise<CryptoKey>>();
  #secret: Promise<CryptoKey> | undefined;

  constructor(keys: EncryptionKeys, domain: Domain, { maxContexts = 1_024 }: { maxContexts?: number } = {}) {
    this.#keys = keys;
    this.#suite = suiteOf(keys.suite);
    this.#info = infoOf(domain);
    this.#maxContexts = maxContexts;
    this.publicKey = keys.publicKey;
    this.topic = inboxTopic(keys.publicKey);
    this.#topicBytes = fromHex(this.topic);
  }

  /**
   * The plaintext. `sender` and `topic` MUST come from a bundle whose signature was verified, never from the payload: they
   * are what stops anybody from copying a ciphertext under another name.
   * @throws payload.unreadable, whatever the reason
   */
  async open(message: { sender: Hex; topic: Hex; payload: Uint8Array }): Promise<Uint8Array> {
    const { payload } = message;
    const { encBytes, id } = this.#suite;
    if (payload[0] !== PAYLOAD_VERSION || payload.length < HEAD_BYTES + encBytes + TAG_BYTES)
      throw unreadable('not a sealed payload');
    if (payload[1] !== id) throw unreadable(`it is sealed with suite ${payload[1]}, this key is of suite ${id}`);
    if (!equalBytes(fromHex(message.topic, 32), this.#topicBytes)) throw unreadable('it is not on the topic of this key');
    const index = new DataView(payload.buffer, payload.byteOffset, payload.length).getUint32(2);
    const enc = payload.subarray(HEAD_BYTES, HEAD_BYTES + encBytes);
    try {
      const key = await this.#keyOf(enc);
      const aad = aadOf(message.sender, this.#topicBytes);
      const ciphertext = payload.subarray(HEAD_BYTES + encBytes) as Uint8Array<ArrayBuffer>;
      return new Uint8Array(await globalThis.crypto.subtle.decrypt(gcm(index, aad), key, ciphertext));
    } catch (cause) {
      throw unreadable('it was not sealed to this key by this sender on this topic', cause);
    }
  }

  #keyOf(enc: Uint8Array): Promise<CryptoKey> {
    const name = toHex(enc);
    let key = this.#contexts.get(name);
    // Taken out and put back: a Map's order then is the order of last use.
    if (key !== undefined) this.#contexts.delete(name);
    else key = this.#decapsulate(enc);
    this.#contexts.set(name, key);
    if (this.#contexts.size > this.#maxContexts) this.#contexts.delete(this.#contexts.keys().next().value as string);
    return key;
  }

  async #decapsulate(enc: Uint8Array): Promise<CryptoKey> {
    const hpke = await this.#suite.hpke();
    this.#secret ??= hpke.kem.deserializePrivateKey(fromHex(this.#keys.privateKey, 32));
    const context = await hpke.createRecipientContext({
      recipientKey: await this.#secret,
      enc: enc.slice().buffer as ArrayBuffer,
      info: this.#info,
    });
    return importKey(await context.export(concat(KEY_LABEL, this.#topicBytes), KEY_BYTES), 'decrypt');
  }
}

const unreadable = (why: string, cause?: unknown) =>
  new LocalError('payload.unreadable', `the payload cannot be opened: ${why}`, { cause });
