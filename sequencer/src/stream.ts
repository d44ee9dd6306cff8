import type { Live } from './live.js';
import type { LogReader, MessageRecord, TopicQuery } from './reader.js';

export interface StreamDeps {
  readonly reader: LogReader;
  readonly live: Live;
  readonly topicKey: number;
  readonly query: TopicQuery;
  readonly limits: { readonly stallMs: number; readonly heartbeatMs: number };
  readonly signal: AbortSignal;
  readonly toJson: (message: MessageRecord) => unknown;
  readonly onStalled: () => void;
}

// What waits for a reader at the most; a page, and the system's socket buffers, come on top (PROTOCOL.md §11).
const MAX_BEHIND_BYTES = 1_048_576;

/**
 * A topic as Server-Sent Events: the past, then live, on one cursor. The log is read as fast as the reader takes it. A
 * reader that stays 1 MiB behind for `stallMs` is closed: it comes back with Last-Event-ID.
 */
export function streamTopic({ reader, live, topicKey, query, limits, signal, toJson, onStalled }: StreamDeps): Response {
  const encoder = new TextEncoder();
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

  async function* events(): AsyncGenerator<string> {
    let after = query.after ?? 0n;
    yield ': sealpost\n\n';
    while (!closed && !live.ended) {
      const page = await reader.page({ ...query, after, maxBytes: MAX_BEHIND_BYTES }, ended.signal);
      for (const message of page.messages) {
        yield `id: ${message.cursor}\nevent: message\ndata: ${JSON.stringify(toJson(message))}\n\n`;
      }
      // Places that were passed over (other senders) are not passed over again.
      const moved = page.next !== after;
      after = page.next;
      if (!moved && !(await happened(limits.heartbeatMs)) && !closed && !live.ended) yield `: ${after}\n\n`;
    }
  }

  const body = new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        const run = async () => {
          for await (const event of events()) {
            controller.enqueue(encoder.encode(event));
            if (!closed && (controller.desiredSize ?? 0) <= 0) {
              await new Promise<void>((resolve) => {
                const timer = setTimeout(resolve, limits.stallMs);
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
            if (closed) return;
          }
        };
        run()
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
