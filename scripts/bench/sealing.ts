import { randomBytes } from 'node:crypto';
import { Aes128Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { createClient, generateEncryptionKeys, type Outbound } from '@sealpost/client';
import { fileOutbox } from '@sealpost/client/node';
import { http } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import type { ProcessLine } from './scenario.js';

// A client that seals, signs and sends as fast as one process can: a process of its own. Told by its first argument, answers on
// stdout. Run by proofs.ts.

/** What a process is told. */
export interface SealingPlan {
  readonly url: string;
  readonly l1Url: string;
  readonly chainId: number;
  readonly settlement: `0x${string}`;
  /** Bytes of a plaintext. */
  readonly payload: number;
  /** Where the outbox of files lies. */
  readonly folder: string;
  /** How long each figure is measured. */
  readonly ms: number;
}

/** What it answers: messages a second, each accepted, its receipt verified. */
export interface SealingResult {
  /** One recipient, the outbox in memory, and how much of a core it took. */
  readonly memoryPerSecond: number;
  readonly memoryCpu: number;
  /** The same with an outbox of files, every bundle on disk before it is sent. */
  readonly filesPerSecond: number;
  /** Bare seals by one context of the HPKE library, which is what a library's user would do for each message. */
  readonly sealsPerSecond: number;
}

/** Seals one after the other in one context: HPKE counts their nonces, so each waits for the one before. */
async function bareSeals(payload: number, ms: number): Promise<number> {
  const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes128Gcm() });
  const { publicKey } = await suite.kem.generateKeyPair();
  const context = await suite.createSenderContext({ recipientPublicKey: publicKey });
  const plaintext = new Uint8Array(randomBytes(payload)).buffer as ArrayBuffer;
  for (let warm = 0; warm < 500; warm++) await context.seal(plaintext);
  const began = performance.now();
  let done = 0;
  while (performance.now() - began < ms) {
    await context.seal(plaintext);
    done++;
  }
  return (done * 1_000) / (performance.now() - began);
}

/** Sends for a while; what was accepted counts until the last receipt is there. */
async function send(plan: SealingPlan, outbox?: ReturnType<typeof fileOutbox>): Promise<{ perSecond: number; cpu: number }> {
  const { url, l1Url, chainId, settlement, payload, ms } = plan;
  const account = privateKeyToAccount(generatePrivateKey());
  const client = await createClient({ url, l1: http(l1Url), chainId, settlement, account, outbox });
  const { publicKey: to } = await generateEncryptionKeys();
  const plaintext = new Uint8Array(randomBytes(payload));
  const until = async (end: () => boolean) => {
    const messages = function* (): Generator<Outbound> {
      while (!end()) yield { to, payload: plaintext };
    };
    return (await client.sendMany(messages())).count;
  };
  let warm = 0;
  await until(() => ++warm > 3_000);
  const before = process.cpuUsage();
  const began = performance.now();
  const count = await until(() => performance.now() - began > ms);
  const tookMs = performance.now() - began;
  const { user, system } = process.cpuUsage(before);
  return { perSecond: Math.round((count * 1_000) / tookMs), cpu: (user + system) / 1_000 / tookMs };
}

const plan = JSON.parse(process.argv[2] ?? '{}') as SealingPlan;
// Half before and half after, so that what else the machine does meanwhile is not held against one of them alone.
const sealsBefore = await bareSeals(plan.payload, plan.ms / 2);
const memory = await send(plan);
const files = await send(plan, fileOutbox({ folder: plan.folder }));
const result: SealingResult = {
  memoryPerSecond: memory.perSecond,
  memoryCpu: Math.round(memory.cpu * 100) / 100,
  filesPerSecond: files.perSecond,
  sealsPerSecond: Math.round((sealsBefore + (await bareSeals(plan.payload, plan.ms / 2))) / 2),
};
const line: ProcessLine<SealingResult> = { result };
process.stdout.write(`${JSON.stringify(line)}\n`);
