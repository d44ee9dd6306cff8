import { connect, type Socket } from 'node:net';
import type { Hex } from '@sealpost/prover';
import { Histogram } from '../histogram.js';

interface Expected {
  readonly plannedAt: number;
  /** False in the run-in: it has to come, and is in no histogram. */
  readonly isMeasured: boolean;
  acceptedAt?: number;
  seenAt?: number;
}

/**
 * Readers of topics' event streams, which tell how long after its receipt a message is there. Raw sockets, for the reason that
 * Wire gives.
 */
export class Watchers {
  /** From the receipt to the event; 0 where the event was here first. */
  readonly readable = new Histogram();
  /** From the planned time to the event. */
  readonly plannedToReadable = new Histogram();
  private readonly expected = new Map<string, Expected>();
  private readonly sockets: Socket[] = [];
  private failure: Error | undefined;

  /** Resolves when every stream is open: what is sent from now on is seen. */
  static async open(url: string, topics: readonly Hex[]): Promise<Watchers> {
    const watchers = new Watchers();
    await Promise.all(topics.map((topic) => watchers.follow(url, topic)));
    return watchers;
  }

  /** A message on a watched topic is about to be sent. */
  sending(sender: Hex, nonce: bigint, sent: Pick<Expected, 'plannedAt' | 'isMeasured'>): void {
    this.expected.set(`${sender}/${nonce}`, { ...sent });
  }

  /** Its receipt is here. */
  accepted(sender: Hex, nonce: bigint, acceptedAt: number): void {
    const one = this.expected.get(`${sender}/${nonce}`);
    if (one === undefined) return;
    one.acceptedAt = acceptedAt;
    this.settle(`${sender}/${nonce}`, one);
  }

  private settle(key: string, { plannedAt, isMeasured, acceptedAt, seenAt }: Expected): void {
    if (acceptedAt === undefined || seenAt === undefined) return;
    this.expected.delete(key);
    if (!isMeasured) return;
    this.readable.record(Math.max(0, seenAt - acceptedAt));
    this.plannedToReadable.record(seenAt - plannedAt);
  }

  /** Waits for what was accepted and is not seen yet, closes the streams. @returns how many never came */
  async close(waitMs: number): Promise<number> {
    const accepted = () => [...this.expected.values()].filter((one) => one.acceptedAt !== undefined).length;
    const deadline = performance.now() + waitMs;
    while (this.failure === undefined && accepted() > 0 && performance.now() < deadline) {
      await new Promise((wake) => setTimeout(wake, 5));
    }
    for (const socket of this.sockets) socket.destroy();
    if (this.failure !== undefined) throw this.failure;
    return accepted();
  }

  private follow(url: string, topic: Hex): Promise<void> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.sockets.push(socket);
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        this.failure ??= error;
        reject(error);
      };
      let buffered: Buffer = Buffer.alloc(0);
      let text = '';
      let isOpen = false;
      socket.once('connect', () => {
        socket.write(`GET /v1/topics/${topic}/stream?after=latest HTTP/1.1\r\nhost: ${hostname}:${port}\r\n\r\n`, 'latin1');
      });
      socket.on('data', (chunk: Buffer) => {
        const at = performance.now();
        buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk]);
        if (!isOpen) {
          const end = buffered.indexOf('\r\n\r\n');
          if (end < 0) return;
          const head = buffered.toString('latin1', 0, end);
          if (!head.startsWith('HTTP/1.1 200')) return fail(new Error(`the stream of ${topic} answered ${head.slice(9, 40)}`));
          buffered = buffered.subarray(end + 4);
          isOpen = true;
          resolve();
        }
        // Chunks of RFC 9112 §7.1: their size in hex, a line end, the bytes, a line end.
        for (;;) {
          const lineEnd = buffered.indexOf('\r\n');
          if (lineEnd < 0) break;
          const size = Number.parseInt(buffered.toString('latin1', 0, lineEnd), 16);
          if (buffered.length < lineEnd + 2 + size + 2) break;
          text += buffered.toString('latin1', lineEnd + 2, lineEnd + 2 + size);
          buffered = buffered.subarray(lineEnd + 2 + size + 2);
        }
        const end = text.lastIndexOf('\n\n');
        if (end < 0) return;
        for (const event of text.slice(0, end).split('\n\n')) this.take(event, at);
        text = text.slice(end + 2);
      });
      socket.once('error', fail);
      socket.once('close', () => {
        if (!isOpen) reject(new Error(`the stream of ${topic} was closed`));
      });
      socket.once('end', () => fail(new Error(`the stream of ${topic} ended`)));
    });
  }

  private take(event: string, seenAt: number): void {
    const data = /^data: (.*)$/m.exec(event)?.[1];
    if (data === undefined) return;
    const { sender, nonce } = JSON.parse(data) as { sender: Hex; nonce: string };
    const one = this.expected.get(`${sender}/${nonce}`);
    if (one === undefined) return;
    one.seenAt = seenAt;
    this.settle(`${sender}/${nonce}`, one);
  }
}
