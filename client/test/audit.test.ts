import { encodeBatchFile, type Hex, type MerkleTree } from '@sealpost/prover';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type AuditCheck, auditLog } from '../src/audit.js';
import { createClient, createIdentity, type SealpostClient } from '../src/index.js';
import { type Anvil, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

let anvil: Anvil;
let model: ModelSequencer;
let client: SealpostClient;
const topic: Hex = `0x${'00'.repeat(32)}`;

beforeAll(async () => {
  anvil = await startAnvil();
}, 30_000);
afterEach(() => model.stop());
afterAll(() => anvil?.stop());

const begin = async (options: { laneCount?: number } = {}) => {
  model = await ModelSequencer.start(anvil, options);
  client = await createClient({ url: model.url, l1: anvil.transport, settlement: model.settlement, ...(await createIdentity()) });
};
const send = (...texts: string[]) => client.sendMany(texts.map((text) => ({ topic, payload: new TextEncoder().encode(text) })));
const audit = () => auditLog({ l1: client.l1, batchFile: (lane, number, call) => client.batchFile(lane, number, call) });
const lane = () => model.lanes[0] as ModelSequencer['lanes'][0];

describe('auditLog', () => {
  it('re-derives a log that is right', async () => {
    await begin();
    await send('1', '2');
    await send('3');
    await model.settle();
    await send('4');
    await model.settle();
    const seen: number[] = [];
    const report = await auditLog({
      l1: client.l1,
      batchFile: (one, number, call) => client.batchFile(one, number, call),
      onProgress: ({ batches }) => seen.push(batches),
    });
    expect(report).toMatchObject({ batches: 2, entries: 3, messages: 4, accounts: 1, mismatchCount: 0, voidEntries: 0 });
    expect(report.lanes).toMatchObject([{ lane: 0, batches: 2n, entries: 3n }]);
    expect(seen).toEqual([1, 2]);
  });

  it('of nothing is nothing', async () => {
    await begin({ laneCount: 2 });
    expect(await audit()).toMatchObject({ batches: 0, mismatchCount: 0 });
  });

  it('accepts a void entry that is void', async () => {
    await begin();
    await send('1');
    const bundle = lane().entries[0]?.bundle as Uint8Array;
    await model.append([bundle], 0, { void: 1, previous: 1n });
    await model.settle();
    expect(await audit()).toMatchObject({ entries: 2, messages: 1, voidEntries: 1, mismatchCount: 0 });
  });

  const falseClaims: [string, AuditCheck[], (bundle: Uint8Array) => Promise<unknown>][] = [
    ['a replayed bundle that is said to count', ['entry.void'], (bundle) => model.append([bundle], 0, { void: 0, previous: 1n })],
    [
      'a good bundle that is said to be void',
      ['entry.void'],
      async (bundle) => {
        lane().entries.length = 0;
        await model.append([bundle], 0, { void: 1 });
      },
    ],
    [
      'a previous that skips',
      ['entry.previous'],
      async (bundle) => {
        lane().entries.length = 0;
        await model.append([bundle], 0, { previous: 5n });
      },
    ],
    [
      'a signature that is none',
      ['entry.void'],
      async (bundle) => {
        const forged = bundle.slice();
        forged[forged.length - 20] = (forged[forged.length - 20] as number) ^ 1;
        lane().entries.length = 0;
        await model.append([forged]);
      },
    ],
  ];
  it.each(falseClaims)('%s', async (_name, checks, change) => {
    await begin();
    await send('1');
    await change(lane().entries[0]?.bundle as Uint8Array);
    await model.settle();
    const report = await audit();
    expect([...new Set(report.mismatches.map(({ check }) => check))]).toEqual(checks);
    expect(report.mismatches[0]).toMatchObject({ lane: 0, batch: 1n });
  });

  it.each<[string, AuditCheck[], Partial<Record<string, unknown>>]>([
    ['a root of something else', ['file.bundlesRoot'], { bundlesRoot: `0x${'11'.repeat(32)}` }],
    ['a content address of something else', ['file.dataHash'], { dataHash: `0x${'11'.repeat(32)}` }],
    ['a count that is not the file’s', ['file.place'], { count: 7 }],
  ])('a header with %s', async (_name, checks, change) => {
    await begin();
    await send('1', '2');
    const header = model.seal(0, (good) => ({ ...good, ...change }));
    await anvil.commit(model.settlement, [header]);
    expect((await audit()).mismatches.map(({ check }) => check)).toEqual(checks);
  });

  it('a file that was changed, cut, or is another batch’s', async () => {
    await begin();
    await send('1');
    await model.settle();
    await send('2');
    await model.settle();
    const [first, second] = lane().batches as { file: Uint8Array; tree: MerkleTree }[];
    const good = second?.file as Uint8Array;
    const put = (file: Uint8Array) => Object.assign(second as object, { file });
    const checks = async () => [...new Set((await audit()).mismatches.map(({ check }) => check))];
    put(good.subarray(0, -1));
    expect(await checks()).toEqual(['file.dataHash', 'file.form']);
    put(first?.file as Uint8Array);
    expect(await checks()).toEqual(['file.dataHash', 'file.place', 'entry.void', 'entry.previous', 'file.bundlesRoot']);
    const entries = lane().entries.slice(1);
    put(
      encodeBatchFile({ lane: 0, number: 2n, firstSequence: 1n, entries: entries.map((entry) => ({ ...entry, previous: 0n })) }),
    );
    expect(await checks()).toEqual(['file.dataHash', 'entry.previous', 'file.bundlesRoot']);
    put(good);
    expect(await checks()).toEqual([]);
  });

  it('says that it could not check, where a file is withheld or the L1 forgot its logs', async () => {
    await begin();
    await send('1');
    await model.settle();
    const withheld = () => Promise.reject(new Error('gone'));
    await expect(auditLog({ l1: client.l1, batchFile: withheld })).rejects.toThrow('gone');
    const block = (await anvil.blockNumber()) + 1n;
    const late = auditLog({
      l1: client.l1,
      batchFile: (one, number, call) => client.batchFile(one, number, call),
      fromBlock: block,
    });
    await expect(late).rejects.toMatchObject({ code: 'l1.rpc', facts: { number: '1' } });
  });
});
