import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { type SubscribersPlan, type SubscribersResult, systemMs } from './fanout-plan.js';
import { NUMBER_BYTES } from './numbered.js';
import type { ProcessLine } from './scenario.js';

// The subscribers of the scenario `fanout`: raw sockets, and of each event only its cursor and the number that its payload
// begins with are looked at, because 100,000 JSON.parse a second would be most of a core.

const ID = Buffer.from('id: ');
const PAYLOAD = Buffer.from('"payload":"');
const LINE_END = 10;
const NUMBER_DIGITS = (NUMBER_BYTES / 3) * 4;
/** Nothing for so long: what is missing does not come any more. */
const QUIET_MS = 15_000;
/** Until the first event: senders sign first. */
const FIRST_MS = 300_000;

/** The value of each base64 digit by its character code. */
const DIGITS = new Uint8Array(256);
for (const [value, digit] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  DIGITS[digit.charCodeAt(0)] = value;
}

/** One stream, whose every message must come exactly once, in order. */
class Subscriber {
  delivered = 0;
  repeated = 0;
  disordered = 0;
  private rest: Buffer = Buffer.alloc(0);
  private cursor = 0;
  private next = 0;

  /** @param times where this subscriber's times of delivery go, by a message's number */
  constructor(
    private readonly times: Float64Array,
    private readonly payloadDigits: number,
  ) {}

  /** Takes what came; keeps nothing of `bytes`. */
  take(bytes: Buffer, now: number): void {
    const data = this.rest.length === 0 ? bytes : Buffer.concat([this.rest, bytes]);
    let at = 0;
    for (;;) {
      const id = data.indexOf(ID, at);
      if (id < 0) {
        // Perhaps the beginning of one.
        at = Math.max(at, data.length - ID.length + 1);
        break;
      }
      const payload = data.indexOf(PAYLOAD, id);
      const end = payload + PAYLOAD.length + this.payloadDigits;
      at = id;
      if (payload < 0 || end > data.length) break;
      this.event(data, id + ID.length, payload + PAYLOAD.length, now);
      at = end;
    }
    this.rest = at < data.length ? Buffer.from(data.subarray(at)) : Buffer.alloc(0);
  }

  private event(data: Buffer, cursorAt: number, numberAt: number, now: number): void {
    let cursor = 0;
    for (let at = cursorAt; data[at] !== LINE_END; at++) cursor = cursor * 10 + (data[at] as number) - 48;
    let number = 0;
    for (let at = numberAt; at < numberAt + NUMBER_DIGITS; at++) number = number * 64 + (DIGITS[data[at] as number] as number);
    if (number >= this.times.length) throw new Error(`expected a message below ${this.times.length}, got ${number}`);
    if (this.times[number] !== 0) {
      this.repeated++;
      return;
    }
    if (cursor <= this.cursor || number < this.next) this.disordered++;
    this.cursor = cursor;
    this.next = number + 1;
    this.times[number] = now;
    this.delivered++;
  }
}

async function run(plan: SubscribersPlan): Promise<SubscribersResult> {
  const { hostname, port } = new URL(plan.url);
  const { topics, perTopic, messages } = plan;
  const payloadDigits = Math.ceil(plan.payload / 3) * 4;
  const expected = perTopic * messages.reduce((sum, count) => sum + count, 0);
  const times = new Float64Array(expected);
  const subscribers: Subscriber[] = [];
  const sockets: Socket[] = [];
  // One for all: what a read brings is taken before the next read.
  const buffer = Buffer.alloc(65_536);
  let [closed, bytes, firstAt, lastAt] = [0, 0, 0, systemMs()];
  let cpuBefore = process.cpuUsage();
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {});
  const subscribe = (topic: string, subscriber: Subscriber) =>
    new Promise<void>((resolve, reject) => {
      let isOpen = false;
      const take = (length: number, from: Buffer): boolean => {
        const received = from.subarray(0, length);
        if (!isOpen) {
          isOpen = true;
          const head = received.toString('latin1', 0, 64);
          if (!head.startsWith('HTTP/1.1 200')) reject(new Error(`the stream of ${topic} answered ${head}`));
          resolve();
        }
        bytes += length;
        const now = systemMs();
        const before = subscriber.delivered;
        try {
          subscriber.take(received, now);
        } catch (error) {
          fail(error as Error);
        }
        if (subscriber.delivered > before) {
          lastAt = now;
          if (firstAt === 0) {
            firstAt = now;
            cpuBefore = process.cpuUsage();
          }
        }
        return true;
      };
      const socket = connect({ host: hostname, port: Number(port), noDelay: true, onread: { buffer, callback: take as never } });
      sockets.push(socket);
      socket.once('connect', () => socket.write(`GET /v1/topics/${topic}/stream HTTP/1.1\r\nhost: ${hostname}:${port}\r\n\r\n`));
      socket.once('error', (error) => [reject(error), fail(error)]);
      socket.once('close', () => closed++);
    });
  let start = 0;
  for (const [index, topic] of topics.entries()) {
    const count = messages[index] as number;
    const opening: Promise<void>[] = [];
    for (let each = 0; each < perTopic; each++, start += count) {
      const subscriber = new Subscriber(times.subarray(start, start + count), payloadDigits);
      subscribers.push(subscriber);
      opening.push(subscribe(topic, subscriber));
    }
    await Promise.all(opening);
  }
  const sum = (of: (subscriber: Subscriber) => number) => subscribers.reduce((total, one) => total + of(one), 0);
  const isOver = () =>
    sum(({ delivered }) => delivered) === expected || systemMs() - lastAt > (firstAt === 0 ? FIRST_MS : QUIET_MS);
  const over = (async () => {
    while (!isOver()) await new Promise((wake) => setTimeout(wake, 100));
  })();
  await Promise.race([over, failed]);
  const cpu = process.cpuUsage(cpuBefore);
  const result = {
    delivered: sum(({ delivered }) => delivered),
    repeated: sum(({ repeated }) => repeated),
    disordered: sum(({ disordered }) => disordered),
    closed,
    bytes,
    cpu: (cpu.user + cpu.system) / 1e3 / Math.max(1, lastAt - firstAt),
  };
  for (const socket of sockets) socket.destroy();
  writeFileSync(plan.file, Buffer.from(times.buffer));
  return result;
}

const line: ProcessLine<SubscribersResult> = { result: await run(JSON.parse(process.argv[2] ?? '{}') as SubscribersPlan) };
process.stdout.write(`${JSON.stringify(line)}\n`);
