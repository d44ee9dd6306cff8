import type { Hex } from '@sealpost/prover';
import { expect, test } from 'vitest';
import type { Live } from './live.js';
import { TopicPages } from './pages.js';
import type { LogReader, MessageRecord, TopicQuery } from './reader.js';

const TOPIC: Hex = `0x${'11'.repeat(32)}`;
const [ALICE, BOB] = [`0x${'aa'.repeat(20)}`, `0x${'bb'.repeat(20)}`] as const;
const QUERY: TopicQuery = { topic: TOPIC, after: 5n, limit: 100, senders: new Set(), proofs: false };
const nobodyLeaves = () => new AbortController().signal;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A log whose readings end when the test says so. */
class Readings {
  readonly live = { moment: 0 };
  readonly begun: { query: TopicQuery; wanted: { readonly aborted: boolean } | undefined; end: () => void }[] = [];
  messages: MessageRecord[] = [];
  readonly pages = new TopicPages(
    {
      page: (query: TopicQuery, wanted?: { readonly aborted: boolean }) =>
        new Promise((resolve) => {
          const { messages } = this;
          this.begun.push({ query, wanted, end: () => resolve({ messages, next: BigInt(this.begun.length) }) });
        }),
    } as unknown as LogReader,
    this.live as Live,
    ({ cursor, payload }) => ({ cursor, payload: Buffer.from(payload).toString('latin1') }),
  );
}

const messageOf = (cursor: number, bytes = 1) =>
  ({ cursor: String(cursor), payload: new Uint8Array(bytes).fill(120) }) as unknown as MessageRecord;

test('who asks for the same in one turn shares a reading; who asks for something else has one of their own', async () => {
  const { pages, begun } = new Readings();
  const first = pages.read(QUERY, nobodyLeaves());
  const second = pages.read({ ...QUERY }, nobodyLeaves());
  expect(begun).toHaveLength(1);
  begun[0]?.end();
  const page = await first;
  expect(await second).toBe(page);
  // Still in the same turn.
  expect(await pages.read(QUERY, nobodyLeaves())).toBe(page);
  const others: Partial<TopicQuery>[] = [
    { topic: `0x${'12'.repeat(32)}` },
    { after: 6n },
    { after: undefined },
    { limit: 10 },
    { proofs: true },
    { maxBytes: 9 },
    { senders: new Set([ALICE]) },
    { senders: new Set([ALICE, BOB]) },
  ];
  for (const other of others) void pages.read({ ...QUERY, ...other }, nobodyLeaves());
  expect(begun).toHaveLength(1 + others.length);
  void pages.read({ ...QUERY, senders: new Set([BOB, ALICE]) }, nobodyLeaves());
  expect(begun).toHaveLength(1 + others.length);
});

test('a page is read anew in the next turn: what it says of its messages may have changed', async () => {
  const { pages, begun } = new Readings();
  const first = pages.read(QUERY, nobodyLeaves());
  begun[0]?.end();
  await first;
  await nextTurn();
  void pages.read(QUERY, nobodyLeaves());
  expect(begun).toHaveLength(2);
});

test('a reading begun before messages were added is not shared with who came after, nor the other way round', async () => {
  const { pages, begun, live } = new Readings();
  const early = pages.read(QUERY, nobodyLeaves());
  live.moment++;
  const late = pages.read(QUERY, nobodyLeaves());
  expect(begun).toHaveLength(2);
  begun[1]?.end();
  expect((await late).next).toBe(2n);
  begun[0]?.end();
  await early;
  // The end of the early one took nothing away from the late one.
  expect(await pages.read(QUERY, nobodyLeaves())).toBe(await late);
});

test('a reading goes on while one of its askers is there, and is not joined once all have left', () => {
  const { pages, begun } = new Readings();
  const [one, other] = [new AbortController(), new AbortController()];
  void pages.read(QUERY, one.signal);
  void pages.read(QUERY, other.signal);
  one.abort();
  expect(begun.map(({ wanted }) => wanted?.aborted)).toEqual([false]);
  other.abort();
  expect(begun.map(({ wanted }) => wanted?.aborted)).toEqual([true]);
  void pages.read(QUERY, nobodyLeaves());
  expect(begun.map(({ wanted }) => wanted?.aborted)).toEqual([true, false]);
});

test('a reading that fails, fails for all who wait for it, and for nobody later', async () => {
  const readings = new Readings();
  const failing = new TopicPages(
    { page: () => Promise.reject(new Error('a cursor beyond the end')) } as unknown as LogReader,
    readings.live as Live,
    () => ({}),
  );
  const both = [failing.read(QUERY, nobodyLeaves()), failing.read(QUERY, nobodyLeaves())];
  for (const one of both) await expect(one).rejects.toThrow('a cursor beyond the end');
});

test('events come in pieces of whole events; a longer one is a piece of its own', async () => {
  const readings = new Readings();
  readings.messages = [
    ...Array.from({ length: 100 }, (_, at) => messageOf(at, 1_500)),
    messageOf(100, 200_000),
    ...Array.from({ length: 3 }, (_, at) => messageOf(101 + at)),
  ];
  const reading = readings.pages.read({ ...QUERY, limit: 1_000 }, nobodyLeaves());
  readings.begun[0]?.end();
  const page = await reading;
  const pieces = page.events().map((piece) => Buffer.from(piece).toString());
  expect(pieces).toHaveLength(5);
  for (const piece of pieces) expect(piece).toMatch(/^id: .*\n\n$/s);
  expect(pieces.filter(({ length }) => length > 65_536)).toHaveLength(1);
  expect(
    [...pieces.join('').matchAll(/^id: (\d+)\nevent: message\ndata: \{"cursor":"(\d+)",.*\}\n$/gm)].map(([, id]) => id),
  ).toEqual(readings.messages.map(({ cursor }) => cursor));
  expect(JSON.parse(page.body())).toMatchObject({ messages: readings.messages.map(({ cursor }) => ({ cursor })), next: '1' });
  expect(page.events()).toBe(page.events());
});

test.each([
  { limit: 3, maxBytes: undefined, isLast: true },
  { limit: 2, maxBytes: undefined, isLast: false },
  { limit: 3, maxBytes: 21, isLast: true },
  { limit: 3, maxBytes: 20, isLast: false },
])(
  'two messages of ten bytes, at most $limit and $maxBytes bytes: the last page is $isLast',
  async ({ limit, maxBytes, isLast }) => {
    const readings = new Readings();
    readings.messages = [messageOf(0, 10), messageOf(1, 10)];
    const reading = readings.pages.read({ ...QUERY, limit, ...(maxBytes === undefined ? {} : { maxBytes }) }, nobodyLeaves());
    readings.begun[0]?.end();
    expect(await reading).toMatchObject({ count: 2, isLast });
  },
);
