import type { Live } from './live.js';
import type { LogReader, MessageRecord, TopicQuery } from './reader.js';

/** Messages of a topic as somebody asked for them, rendered once for all who asked for the same. */
export interface TopicPage {
  readonly count: number;
  /** The cursor to go on from. */
  readonly next: bigint;
  /** Nothing came behind `next` when this was read. */
  readonly isLast: boolean;
  /** As Server-Sent Events, in pieces of whole events. */
  events(): readonly Uint8Array[];
  /** As the JSON of PROTOCOL.md §11. */
  body(): string;
}

/** One reading, and those who wait for it. */
interface Reading {
  readonly page: Promise<TopicPage>;
  readonly askers: AbortSignal[];
}

// Progress of a slow reader is seen a piece at a time.
const PIECE_BYTES = 65_536;

/**
 * Reads and renders pages of topics, once for readers that want the same page in the same turn of the event loop: subscribers
 * of one topic, who are woken together. Nothing is kept longer than the reading and the rest of its turn, so no status is older,
 * and a page that ended at the log's end is not given to anybody who comes after further messages were added.
 */
export class TopicPages {
  private readings = new Map<string, Reading>();
  private moment = 0;

  constructor(
    private readonly reader: LogReader,
    private readonly live: Live,
    private readonly toJson: (message: MessageRecord) => unknown,
  ) {}

  /**
   * The page, unless `signal` says that nobody wants it any more: then what was found so far.
   * @throws request.invalid for a cursor beyond anything that can be stored
   */
  read(query: TopicQuery, signal: AbortSignal): Promise<TopicPage> {
    if (this.moment !== this.live.moment) {
      this.readings = new Map();
      this.moment = this.live.moment;
    }
    const { topic, after, limit, senders, proofs, maxBytes } = query;
    const key = `${topic} ${after} ${limit} ${proofs} ${maxBytes} ${senders.size === 0 ? '' : [...senders].sort()}`;
    let reading = this.readings.get(key);
    // One that everybody left was given up before its end.
    if (reading === undefined || reading.askers.every(({ aborted }) => aborted)) {
      reading = this.begin(query, key, signal);
    } else {
      reading.askers.push(signal);
    }
    return reading.page;
  }

  private begin(query: TopicQuery, key: string, signal: AbortSignal): Reading {
    const askers = [signal];
    const wanted = {
      get aborted() {
        return askers.every(({ aborted }) => aborted);
      },
    };
    const { readings } = this;
    const reading: Reading = {
      askers,
      page: this.reader
        .page(query, wanted)
        .then(({ messages, next }) => this.render(query, messages, next))
        .finally(() => {
          setImmediate(() => {
            if (readings.get(key) === reading) readings.delete(key);
          });
        }),
    };
    readings.set(key, reading);
    return reading;
  }

  private render({ limit, maxBytes }: TopicQuery, messages: readonly MessageRecord[], next: bigint): TopicPage {
    const bytes = messages.reduce((sum, { payload }) => sum + payload.length, 0);
    let json: string[] | undefined;
    let events: Uint8Array[] | undefined;
    const rendered = () => {
      json ??= messages.map((message) => JSON.stringify(this.toJson(message)));
      return json;
    };
    return {
      count: messages.length,
      next,
      isLast: messages.length < limit && (maxBytes === undefined || bytes < maxBytes),
      events: () => {
        events ??= piecesOf(rendered().map((data, at) => `id: ${messages[at]?.cursor}\nevent: message\ndata: ${data}\n\n`));
        return events;
      },
      body: () => `{"messages":[${rendered().join(',')}],"next":"${next}"}`,
    };
  }
}

/** Joins events up to a piece's size; a longer one is a piece of its own. */
function piecesOf(events: readonly string[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let text = '';
  for (const event of events) {
    if (text !== '' && text.length + event.length > PIECE_BYTES) {
      pieces.push(Buffer.from(text));
      text = '';
    }
    text += event;
  }
  if (text !== '') pieces.push(Buffer.from(text));
  return pieces;
}
