import type { HttpBindings } from '@hono/node-server';
import { OpenAPIHono } from '@hono/zod-openapi';
import {
  type Domain,
  type Hex,
  headerToJson,
  MAX_BUNDLE_BYTES,
  MAX_MESSAGES,
  MAX_PAYLOAD_BYTES,
  type Price,
  priceToJson,
  proofToJson,
  receiptProofToJson,
} from '@sealpost/prover';
import { cors } from 'hono/cors';
import { ROUTES, SUBMIT_BODY } from './api.js';
import { RequestError, unavailable } from './errors.js';
import type { Live } from './live.js';
import type { Metrics } from './metrics.js';
import { TopicPages } from './pages.js';
import type { Log, Store } from './ports.js';
import type { BatchRecord, LogReader, MessageRecord, TopicQuery } from './reader.js';
import { EXPOSED_HEADERS, problemReply, problemToJson, toResponse } from './replies.js';
import type { Sequencer } from './sequencer.js';
import { streamTopic } from './stream.js';
import { type Arriving, failureReply, type Submit, type SubmitLimits } from './submit.js';

export interface HttpDeps {
  readonly store: Store;
  readonly sequencer: Sequencer;
  readonly submit: Submit;
  readonly reader: LogReader;
  readonly live: Live;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly domain: Domain;
  readonly signer: Hex;
  readonly version: string;
  readonly termOf: (lane: number) => number;
  readonly readiness: () => Readiness;
  readonly limits: HttpLimits;
  readonly price: Price;
}

/** Whether promises can be kept now, and what stands in the way. */
export interface Readiness {
  readonly ready: boolean;
  /** Per check: `ok`, or what is wrong. */
  readonly checks: Readonly<Record<string, string>>;
  readonly backlogBatches: number;
  /** Balance of the posting account, decimal; null until it was seen. */
  readonly walletWei: string | null;
}

export interface HttpLimits extends SubmitLimits {
  /** Long polls and event streams open at once. */
  readonly maxWaiting: number;
  /** How long an event stream's reader may take nothing, milliseconds. */
  readonly stallMs: number;
  /** A comment on an idle event stream, milliseconds. */
  readonly heartbeatMs: number;
}

/** The HTTP API of PROTOCOL.md §11 as a value: it never listens, and is tested by `app.request`. */
export function createApp(deps: HttpDeps): OpenAPIHono {
  const { store, sequencer, submit, reader, live, metrics, limits } = deps;
  const price = priceToJson(deps.price);
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (result.success) return;
      const [issue] = result.error.issues;
      const at = issue?.path.join('.') ?? '';
      throw new RequestError('request.invalid', `${at}: ${issue?.message ?? 'not valid'}`, { at });
    },
  });
  const pages = new TopicPages(reader, live, messageToJson);

  app.onError((error, context) => toResponse(failureReply(error, deps.log, context.req.path)));
  app.notFound((context) =>
    toResponse(problemReply(new RequestError('not_found', `there is no ${context.req.method} ${context.req.path}`))),
  );

  app.use(
    '*',
    cors({
      origin: '*',
      allowMethods: ['GET', 'POST'],
      allowHeaders: ['Content-Type', 'Last-Event-ID', 'Range', 'If-None-Match'],
      exposeHeaders: EXPOSED_HEADERS,
    }),
  );

  app.openAPIRegistry.registerPath({ ...ROUTES.submit, request: { body: SUBMIT_BODY } });
  app.post(ROUTES.submit.path, async (context) => toResponse(await submit(arrivingOnWeb(context.req.raw))));

  app.openapi(ROUTES.account, (context) => {
    const { address } = context.req.valid('param');
    const lane = checkLane(context.req.valid('query').lane ?? 0);
    const nonce = String(sequencer.account(address, lane).nonce);
    return context.json({ address, lane, nonce, owed: String(sequencer.owed(address, lane)), price } as never);
  });

  const topicQuery = (
    topic: Hex,
    query: {
      after?: 'latest' | bigint | undefined;
      limit?: number | undefined;
      sender?: Hex[] | undefined;
      proofs?: '0' | '1' | undefined;
    },
  ): TopicQuery => ({
    topic,
    after: query.after === 'latest' ? reader.latestCursor(topic) : query.after,
    limit: query.limit ?? 100,
    senders: new Set(query.sender),
    proofs: query.proofs === '1',
  });

  app.openapi(ROUTES.messages, async (context) => {
    const { topic } = context.req.valid('param');
    const valid = context.req.valid('query');
    let query = topicQuery(topic, valid);
    let page = await pages.read(query, context.req.raw.signal);
    if (page.count === 0 && (valid.wait ?? 0) > 0) {
      if (live.size >= limits.maxWaiting) throw unavailableForWaiting();
      const deadline = performance.now() + (valid.wait ?? 0) * 1_000;
      let wake = () => {};
      let woken = false;
      const { signal } = context.req.raw;
      const onAbort = () => wake();
      signal.addEventListener('abort', onAbort);
      const unwatch = live.watch(store.topicKey(topic), () => {
        woken = true;
        wake();
      });
      try {
        // Watching first, then reading again: what came in between is not missed.
        for (;;) {
          query = { ...query, after: page.next };
          page = await pages.read(query, signal);
          const leftMs = deadline - performance.now();
          if (page.count > 0 || leftMs <= 0 || live.ended || signal.aborted) break;
          if (!woken) {
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, leftMs);
              wake = () => {
                clearTimeout(timer);
                resolve();
              };
            });
          }
          woken = false;
        }
      } finally {
        unwatch();
        signal.removeEventListener('abort', onAbort);
      }
    }
    return context.body(page.body(), 200, { 'Content-Type': 'application/json' }) as never;
  });

  app.openapi(ROUTES.stream, (context) => {
    const { topic } = context.req.valid('param');
    const valid = context.req.valid('query');
    if (live.size >= limits.maxWaiting) throw unavailableForWaiting();
    const lastEventId = context.req.header('last-event-id');
    if (lastEventId !== undefined && !/^(0|[1-9][0-9]{0,15})$/.test(lastEventId)) {
      throw new RequestError('request.invalid', 'Last-Event-ID: expected a cursor that this API gave out');
    }
    const query = topicQuery(topic, lastEventId === undefined ? valid : { ...valid, after: BigInt(lastEventId) });
    return streamTopic({
      pages,
      live,
      topicKey: store.topicKey(topic),
      query,
      limits,
      signal: context.req.raw.signal,
      // A reader that takes nothing does not take the end of the stream either: its socket is closed under it.
      onStalled: () => (context.env as Partial<HttpBindings> | undefined)?.outgoing?.destroy(),
    });
  });

  app.openapi(ROUTES.message, (context) => context.json(messageToJson(reader.message(context.req.valid('param'))) as never));

  app.openapi(ROUTES.proof, (context) => {
    const id = context.req.valid('param');
    const json =
      context.req.valid('query').anchor === 'receipt'
        ? receiptProofToJson(reader.proofOfReceipt(id))
        : proofToJson(reader.proof(id));
    return context.json(json as never);
  });

  app.openapi(ROUTES.batches, (context) => {
    const { lane, before, limit } = context.req.valid('query');
    const batches = reader.batches(checkLane(lane ?? 0), before, limit ?? 20);
    const oldest = batches.at(-1)?.header.number ?? 1n;
    return context.json({ batches: batches.map(batchToJson), next: oldest > 1n ? String(oldest) : null } as never);
  });

  app.openapi(ROUTES.batch, (context) => {
    const { lane, number } = context.req.valid('param');
    return context.json(batchToJson(reader.batch(lane, number)) as never);
  });

  app.openapi(ROUTES.batchData, (context) => {
    const { lane, number } = context.req.valid('param');
    const batch = reader.batch(lane, number);
    const etag = `"${batch.header.dataHash}"`;
    const headers: Record<string, string> = {
      'Content-Type': 'application/octet-stream',
      'Accept-Ranges': 'bytes',
      ETag: etag,
      'Cache-Control': batch.status === 'finalized' ? 'public, max-age=31536000, immutable' : 'no-cache',
    };
    if (namesEtag(context.req.header('if-none-match'), etag)) return new Response(null, { status: 304, headers }) as never;
    const ifRange = context.req.header('if-range');
    const range = ifRange === undefined || ifRange === etag ? context.req.header('range') : undefined;
    const found = parseRange(range, batch.bytes);
    if (found === undefined) {
      const error = new RequestError('request.invalid', `Range: the file has ${batch.bytes} bytes`, { bytes: batch.bytes });
      const body = JSON.stringify({ ...problemToJson(error), status: 416 });
      return new Response(body, {
        status: 416,
        headers: { 'Content-Type': 'application/problem+json', 'Content-Range': `bytes */${batch.bytes}` },
      }) as never;
    }
    const { start, end } = found;
    headers['Content-Length'] = String(end - start);
    const partial = end - start < batch.bytes;
    if (partial) headers['Content-Range'] = `bytes ${start}-${end - 1}/${batch.bytes}`;
    const parts = reader.batchFile(batch, start, end);
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        const { value, done } = parts.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: () => {
        parts.return(undefined);
      },
    });
    return new Response(body, { status: partial ? 206 : 200, headers }) as never;
  });

  app.openapi(ROUTES.status, (context) => {
    const { genesis } = store;
    return context.json({
      version: deps.version,
      chainId: String(deps.domain.chainId),
      settlement: deps.domain.settlement,
      sequencer: deps.signer,
      laneCount: genesis.laneCount,
      lanes: reader.heads().map((heads) => ({
        lane: heads.lane,
        term: deps.termOf(heads.lane),
        accepted: String(heads.accepted),
        sealed: String(heads.sealed),
        committed: String(heads.committed),
        safe: String(heads.safe),
        finalized: String(heads.finalized),
        batch: Number(heads.batch),
      })),
      limits: {
        maxPayloadBytes: MAX_PAYLOAD_BYTES,
        maxMessagesPerBundle: MAX_MESSAGES,
        maxBundleBytes: MAX_BUNDLE_BYTES,
        maxBodyBytes: limits.maxBodyBytes,
      },
      price,
    } as never);
  });

  app.get('/healthz', (context) => context.json({ alive: true }));
  app.get('/readyz', (context) => {
    const readiness = deps.readiness();
    return context.json(readiness, readiness.ready ? 200 : 503);
  });
  app.get('/metrics', async (context) => context.text(await metrics.text(), 200, { 'Content-Type': metrics.contentType }));
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'Sealpost', version: deps.version, description: 'The HTTP API of a Sealpost sequencer: PROTOCOL.md §11.' },
  });

  function checkLane(lane: number): number {
    const { laneCount } = store.genesis;
    if (lane >= laneCount) throw new RequestError('request.invalid', `lane: expected a lane below ${laneCount}, got ${lane}`);
    return lane;
  }

  const unavailableForWaiting = () =>
    unavailable(`${limits.maxWaiting} readers are waiting already: poll without wait, or come back`, 5_000);

  return app;
}

const arrivingOnWeb = ({ headers, body }: Request): Arriving => ({
  header: (name) => headers.get(name) ?? undefined,
  read: async (take) => {
    for await (const chunk of body ?? []) take(chunk as Uint8Array);
  },
});

/** By the platform: 0.3 µs for 256 bytes, where the prover's, which runs everywhere, takes 10. */
const base64 = ({ buffer, byteOffset, length }: Uint8Array): string => Buffer.from(buffer, byteOffset, length).toString('base64');

/** The JSON object `message` of §11. */
export const messageToJson = (message: MessageRecord) => ({
  sender: message.sender,
  lane: message.lane,
  nonce: String(message.nonce),
  topic: message.topic,
  payload: base64(message.payload),
  sequence: String(message.sequence),
  index: message.index,
  status: message.status,
  expired: message.expired,
  batch: message.batch === undefined ? null : Number(message.batch),
  cursor: message.cursor,
  ...(message.proof === undefined ? {} : { proof: receiptProofToJson(message.proof) }),
});

/** The JSON object `batch` of §11. */
const batchToJson = (batch: BatchRecord) => ({
  header: headerToJson(batch.header),
  batchHash: batch.batchHash,
  cid: batch.cid,
  status: batch.status,
  transactionHash: batch.transactionHash,
  blockNumber: batch.blockNumber === null ? null : String(batch.blockNumber),
  bytes: batch.bytes,
  messages: batch.messages,
});

/** RFC 9110 §13.1.2: weakly compared, because proxies that compress make entity tags weak. */
const namesEtag = (ifNoneMatch: string | undefined, etag: string): boolean =>
  (ifNoneMatch ?? '').split(',').some((given) => ['*', etag, `W/${etag}`].includes(given.trim()));

/**
 * One range of RFC 9110 §14, half open; the whole file for anything else than one range of bytes; undefined for a range
 * beyond the file.
 */
function parseRange(range: string | undefined, bytes: number): { start: number; end: number } | undefined {
  const whole = { start: 0, end: bytes };
  const match = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/.exec(range ?? '');
  const [, first, last] = match ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return whole;
  const start = first === '' ? Math.max(0, bytes - Number(last)) : Number(first);
  const end = first === '' || last === '' ? bytes : Math.min(bytes, Number(last) + 1);
  if (first !== '' && last !== '' && Number(last) < Number(first)) return whole;
  if (start >= end) return undefined;
  return { start, end };
}
