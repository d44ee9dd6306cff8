import { afterEach, expect, test } from 'vitest';
import { type Anvil, deploySettlement, startAnvil } from './anvil.js';
import { World } from './l1-world.js';

const opened: { close?: () => Promise<void>; stop?: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await (thing.close?.() ?? thing.stop?.());
});

async function chain(options: Parameters<typeof startAnvil>[0] = { blockTime: 0.1 }): Promise<Anvil> {
  const anvil = await startAnvil(options);
  opened.push(anvil);
  return anvil;
}

async function world(options: Parameters<typeof World.create>[0]): Promise<World> {
  const created = await World.create(options);
  opened.push(created);
  return created;
}

test('a batch is committed, safe, then finalized', async () => {
  const anvil = await chain();
  const settlement = await deploySettlement(anvil);
  const it = await world({ url: anvil.url, settlement });
  await it.seal();
  await it.reaches(1n);
  await it.reaches(1n, 'safe');
  await it.reaches(1n, 'finalized');
  expect(await it.l1.head(0)).toMatchObject({ number: 1n, nextSequence: 3n });
  expect(it.fatal).toEqual([]);
  expect(it.poster.status()).toMatchObject({ backlogBatches: 0, attempts: { published: 1, mined: 1 }, lastError: undefined });
});
