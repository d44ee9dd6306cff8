import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient, type InboxMessage, type SealpostClient } from '@sealpost/client';
import { topicLane } from '@sealpost/prover';
import { http } from 'viem';
import { expect, onTestFinished, test } from 'vitest';
import { USERS, type User } from '../accounts.js';
import { userIdentity } from '../keyfiles.js';
import type { Network } from '../network.js';
import { audit, sealpost, startNetwork, temporaryFolder, until } from './stage.js';

async function connect(network: Network, user: User): Promise<SealpostClient> {
  const { account, keys } = await userIdentity(user);
  const { url, settlement, chainId } = network;
  return await createClient({ url, l1: http(network.l1Url), settlement, chainId, account, keys, maxMessagesPerBundle: 16 });
}

test('SDK on three lanes: sent to everybody, read live, proven to finality, over a restart of the sequencer', async () => {
  const network = await startNetwork({ laneCount: 3 });
  const clients = new Map<User, SealpostClient>();
  for (const user of USERS) clients.set(user, await connect(network, user));
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const inboxes = new Map<User, InboxMessage[]>();
  const readers = USERS.map(async (user) => {
    const inbox: InboxMessage[] = [];
    inboxes.set(user, inbox);
    try {
      for await (const message of (clients.get(user) as SealpostClient).inbox({ signal: stop.signal })) inbox.push(message);
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    }
  });

  const alice = clients.get('alice') as SealpostClient;
  const letters = Array.from({ length: 120 }, (_, at) => ({ to: USERS[at % USERS.length] as User, text: `letter ${at}` }));
  const send = (from: number, to: number) =>
    alice.sendMany(letters.slice(from, to).map((letter) => ({ to: network.accounts[letter.to].publicKey, text: letter.text })));
  const first = await send(0, 60);
  // Clients and their streams live through it.
  network.sequencer?.signal('SIGKILL');
  await network.sequencer?.exited;
  await network.startSequencer();
  const second = await send(60, 120);
  expect(first.count + second.count).toBe(120);
  const lanes = new Set([...first.bundles, ...second.bundles].map(({ lane }) => lane));
  expect(lanes.size).toBeGreaterThan(1);

  await until('every letter', () => [...inboxes.values()].reduce((sum, inbox) => sum + inbox.length, 0) >= letters.length);
  for (const user of USERS) {
    const inbox = inboxes.get(user) ?? [];
    expect(inbox.map(({ text }) => text)).toEqual(letters.filter(({ to }) => to === user).map(({ text }) => text));
    for (const { topic, lane } of inbox) expect(topicLane(topic, 3)).toBe(lane);
  }
  await first.waitFor('finalized');
  await second.waitFor('finalized');
  const last = inboxes.get('bob')?.at(-1) as InboxMessage;
  expect(await last.verify()).toMatchObject({ rung: 'finalized', lane: last.lane, nonce: last.nonce });
  expect(await alice.isIncluded(await last.proof())).toBe(true);
  stop.abort();
  await Promise.all(readers);
  expect(await audit(network)).toMatchObject({ clean: true, messages: 120 });
});

test('command line: send, a file of lines, inbox, proof, verify without the sequencer, a false proof, audit', async () => {
  const network = await startNetwork();
  const files = temporaryFolder();
  const run = async (args: readonly string[], input?: string) => {
    const done = await sealpost(network, args, input === undefined ? {} : { input });
    expect(done.code, done.stderr).toBe(0);
    return done;
  };
  const json = async (args: readonly string[], input?: string) => {
    const { stdout } = await run([...args, '--json'], input);
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { data: Record<string, unknown> });
  };

  const [sent] = await json(['send', '--as', 'bob', '--to', 'alice', '--wait', 'committed', 'hello']);
  const id = String(sent?.data.id);
  expect(id).toMatch(/^0x[0-9a-f]{40}\/0\/0$/);
  const lines = Array.from({ length: 50 }, (_, at) => `line ${at}`);
  writeFileSync(join(files, 'lines.txt'), `${lines.join('\n')}\n`);
  await run(['send', '--as', 'bob', '--to', 'alice', '--file', join(files, 'lines.txt')]);
  await run(['send', '--as', 'bob', '--to', 'alice', '-'], 'from a pipe');
  const inbox = await json(['inbox', '--as', 'alice']);
  expect(inbox.map(({ data }) => data.text).filter((text) => text !== undefined)).toEqual(['hello', ...lines, 'from a pipe']);

  const file = join(files, 'hello.proof.json');
  await run(['proof', id, '--wait', 'finalized', '--out', file]);
  expect(await audit(network)).toMatchObject({ clean: true, messages: 52 });
  const { stdout: status } = await run(['status', '--json']);
  expect(JSON.parse(status)).toMatchObject({ version: 1 });

  // What is kept needs no sequencer.
  await network.sequencer?.stop('SIGTERM', 10_000);
  const verified = await run(['verify', file]);
  expect(verified.stdout).toContain('settled in batch 1');
  const proof = JSON.parse(readFileSync(file, 'utf8')) as { message: { payload: string } };
  proof.message.payload = Buffer.from('something else').toString('base64');
  writeFileSync(file, JSON.stringify(proof));
  const refused = await sealpost(network, ['verify', file]);
  expect(refused.code).toBe(3);
  expect(refused.stdout + refused.stderr).toContain('messagePath');
  // Neither could it be sent, nor is that the same as a false proof.
  expect((await sealpost(network, ['send', '--timeout', '2', '--as', 'bob', '--to', 'alice', 'too late'])).code).toBe(4);
});
