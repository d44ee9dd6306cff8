import type { Live } from './live.js';
import type { TopicPages } from './pages.js';
import type { TopicQuery } from './reader.js';

export interface StreamDeps {
  readonly pages: TopicPages;
  readonly live: Live;
  readonly topicKey: number;
  readonly query: TopicQuery;
  readonly limits: { readonly stallMs: number; readonly heartbeatMs: number };
  readonly signal: AbortSignal;
  readonly onStalled: () => void;
}

// What waits for a reader at the most; a piece of a page, and the system's socket buffers, come on top (PROTOCOL.md §11).
const MAX_BEHIND_BYTES = 1_048_576;

/**
 * A topic as Server-Sent Events: the past, then live, on one cursor. The log is read as fast as the reader takes it. A
 * reader that stays 1 MiB behind for `stallMs` is closed: it comes back with Last-Event-ID.
 */
export function streamTopic({ pages, live, topicKey, query, limits, signal, onStalled }: StreamDeps): Response {
  let wake = () => {};
  let onTaken = () => {};
  let woken = false;
  const signalWork = () => {
    woken = true;
    wake();
  };
  let closed = false;
  const ended = new AbortController();
  const close = () => {
    closed = true;
    ended.abort();
    onTaken();
    signalWork();
  };
  const unwatch = live.watch(topicKey, signalWork);
  signal.addEventListener('abort', close, { once: true });

  /** Resolves true when something happened, false after `waitMs` of nothing. */
  const happened = async (waitMs: number): Promise<boolean> => {
    if (!woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const did = woken;
    woken = false;
    return did;
  };

  /** Gives a piece to the reader, and waits while it is behind: false if it stalled, or left. */
  const give = async (controller: ReadableStreamDefaultController<Uint8Array>, piece: Uint8Array): Promise<boolean> => {
    controller.enqueue(piece);
    if (!closed && (controller.desiredSize ?? 0) <= 0) {
      await new Promise<void>((resolve) => {
        // One look at the sockets before the verdict: the reader may have taken it while this process was busy.
        const timer = setTimeout(() => setImmediate(resolve), limits.stallMs);
        onTaken = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if ((controller.desiredSize ?? 0) <= 0 && !closed) {
        closed = true;
        onStalled();
      }
    }
    return !closed;
  };

  const run = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    let after = query.after ?? 0n;
    controller.enqueue(Buffer.from(': sealpost\n\n'));
    while (!closed && !live.ended) {
      const page = await pages.read({ ...query, after, maxBytes: MAX_BEHIND_BYTES }, ended.signal);
      if (closed) return;
      for (const piece of page.events()) if (!(await give(controller, piece))) return;
      after = page.next;
      if (!page.isLast || (await happened(limits.heartbeatMs)) || live.ended) continue;
      if (!(await give(controller, Buffer.from(`: ${after}\n\n`)))) return;
    }
  };

  // A web stream takes 9 µs a piece, half of what the system's write does: one path for sockets and `app.request` is worth it.
  const body = new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        run(controller)
          .then(() => controller.close())
          .catch((error) => controller.error(error))
          .catch(() => undefined)
          .finally(unwatch);
      },
      pull: () => onTaken(),
      cancel: close,
    },
    new ByteLengthQueuingStrategy({ highWaterMark: MAX_BEHIND_BYTES }),
  );
  return new Response(body, {
    headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no' },
  });
}
