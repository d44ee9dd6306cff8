import { RequestError } from './errors.js';

/** One event of a `text/event-stream`. */
export interface ServerEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
}

/** An event has at most one message with its proof; more than this is no event of ours. */
const MAX_EVENT_CHARACTERS = 4_194_304;

/**
 * The events of a body of Server-Sent Events (WHATWG HTML §9.2), comments included as events named ``. Ends when the body
 * ends; throws what reading it throws.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let pending = '';
  let event = 'message';
  let data: string[] = [];
  let dataLength = 0;
  let id: string | undefined;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += decoder.decode(value, { stream: true });
      if (pending.length + dataLength > MAX_EVENT_CHARACTERS) {
        throw new RequestError('network.bad_answer', `an event of more than ${MAX_EVENT_CHARACTERS} characters`);
      }
      // A CR at the end may be half of a CRLF: it waits for the next chunk.
      const lines = pending.split(/\r\n|\n|\r(?!$)/);
      pending = lines.pop() as string;
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) yield { event, data: data.join('\n'), id };
          event = 'message';
          data = [];
          dataLength = 0;
          continue;
        }
        if (line.startsWith(':')) {
          yield { event: '', data: '', id };
          continue;
        }
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
        if (field === 'data') {
          data.push(text);
          dataLength += text.length;
        } else if (field === 'event') event = text;
        else if (field === 'id' && !text.includes('\0')) id = text;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
