import { rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { audit, check, SOUND, startLoad, startNetwork, until } from './stage.js';

test('SIGKILL of the sequencer in a loop under load: nothing acknowledged is lost, moved or doubled', async () => {
  const network = await startNetwork({ laneCount: 3 });
  const load = await startLoad(network, { senders: 6 });
  for (let round = 0; round < 6; round++) {
    // Another moment of the pipeline each time: early in a group, while sealing, while posting.
    await load.more(1 + ((round * 37) % 90));
    network.sequencer?.signal('SIGKILL');
    await network.sequencer?.exited;
    await network.startSequencer();
  }
  await load.more(10);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(load.connectionErrors).toBeGreaterThan(0);
  const verdict = await load.verdict();
  expect(verdict).toMatchObject(SOUND);
  const log = await audit(network);
  expect(log).toMatchObject({ clean: true, mismatchCount: 0 });
  // At most what was sent when the load stopped was accepted without an answer.
  expect(log.messages - verdict.acknowledged).toBeLessThanOrEqual(6 * 8);
});

test('SIGTERM under load ends the sequencer within 10 s, and what it acknowledged is there afterwards', async () => {
  const network = await startNetwork();
  const load = await startLoad(network, { senders: 16, messages: 64 });
  await load.more(100);
  const began = performance.now();
  network.sequencer?.signal('SIGTERM');
  const exit = await network.sequencer?.exited;
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(exit).toEqual({ code: 0, signal: null });
  await network.startSequencer();
  await load.more(20);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(await load.verdict()).toMatchObject(SOUND);
});

test('the L1 away for a while under load: receipts go on, and everything is committed when it is back', async () => {
  const network = await startNetwork();
  const load = await startLoad(network);
  await load.more(20);
  await network.anvil?.stop('SIGTERM', 10_000);
  await load.more(50);
  await network.startAnvil();
  await load.more(20);
  await load.stop();
  expect(load.failures).toEqual([]);
  expect(await load.verdict()).toMatchObject(SOUND);
});

test('an L1 that forgot everything gets the same contract at the same address, and every batch again', async () => {
  const network = await startNetwork();
  const load = await startLoad(network);
  await load.more(30);
  await load.stop();
  expect(await load.verdict()).toMatchObject(SOUND);
  const { settlement } = network;
  const data = network.folder.path;
  await network.stop();
  rmSync(network.folder.file('anvil.json'));

  const again = await startNetwork({ data });
  expect(again.outcome).toBe('redeployed');
  expect(again.settlement).toBe(settlement);
  const verdict = await until('the log to be whole again', async () => {
    return await check(again, load.acknowledged);
  });
  expect(verdict).toMatchObject(SOUND);
});
