import { createRoute, z } from '@hono/zod-openapi';
import { type Bundle, fromBase64, type Hex, MAX_MESSAGES } from '@sealpost/prover';
import type { RequestCode } from './errors.js';

/** HTTP status and title of every code (PROTOCOL.md §11). */
export const PROBLEMS: Readonly<Record<RequestCode, { readonly status: number; readonly title: string }>> = {
  'bundle.malformed': { status: 400, title: 'The body or bundle is malformed' },
  'bundle.too_large': { status: 413, title: 'A size limit is passed' },
  'bundle.bad_signature': { status: 401, title: 'The signature is not the sender’s' },
  'bundle.expired': { status: 422, title: 'The bundle is expired' },
  'bundle.nonce': { status: 409, title: 'The nonce is not the next one' },
  'bundle.postage': { status: 402, title: 'The postage is too low, or the deposit does not carry it' },
  'bundle.wrong_lane': { status: 422, title: 'The bundle is on the wrong lane' },
  'request.invalid': { status: 400, title: 'A query or path value is not valid' },
  not_found: { status: 404, title: 'There is nothing here' },
  'proof.not_sealed': { status: 404, title: 'The message is in no batch yet' },
  rate_limited: { status: 429, title: 'The account’s rate is passed' },
  busy: { status: 503, title: 'Too busy to take this now' },
  unavailable: { status: 503, title: 'Nothing can be promised now' },
  internal: { status: 500, title: 'Something went wrong' },
};

const hex = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-fA-F]{${2 * bytes}}$`), `expected 0x and ${2 * bytes} hex digits`)
    .transform((text) => text.toLowerCase() as Hex)
    .openapi({ type: 'string', pattern: `^0x[0-9a-fA-F]{${2 * bytes}}$` });

const uint = (bits: 64 | 128) =>
  z
    .string()
    .regex(/^(0|[1-9][0-9]{0,38})$/, 'expected a decimal string without sign or leading zero')
    .refine((text) => /^[0-9]{1,39}$/.test(text) && BigInt(text) >> BigInt(bits) === 0n, `expected a number below 2^${bits}`)
    .transform((text) => BigInt(text))
    .openapi({ type: 'string', pattern: '^(0|[1-9][0-9]*)$', description: `decimal, below 2^${bits}` });

const count = (max: number) => z.number().int().min(0).max(max);
const lane = count(0xffff);

const base64 = z
  .string()
  .transform((text, context) => {
    try {
      return fromBase64(text);
    } catch {
      context.addIssue({ code: 'custom', message: 'expected standard base64 with padding' });
      return z.NEVER;
    }
  })
  .openapi({ type: 'string', format: 'byte' });

/** A query's decimal integer within bounds. */
const queryNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^(0|[1-9][0-9]{0,9})$/, `expected a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `expected a whole number from ${min} to ${max}`)
    .openapi({ type: 'integer', minimum: min, maximum: max });

export const BundleSchema = z
  .object({
    lane,
    sender: hex(20),
    nonce: uint(64),
    expiry: uint(64),
    postage: uint(128),
    messages: z.array(z.object({ topic: hex(32), payload: base64 })),
    signature: hex(65),
  })
  .openapi('Bundle') satisfies z.ZodType<Bundle>;

const ReceiptSchema = z
  .object({
    lane,
    term: count(0xffff_ffff),
    sequence: uint(64),
    void: count(1),
    previous: uint(64),
    bundleHash: hex(32),
    firstSequence: uint(64),
    count: count(0xffff_ffff),
    root: hex(32),
    includeBy: uint(64),
    path: z.array(hex(32)),
    signature: hex(65),
  })
  .openapi('Receipt');

const ProblemSchema = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    code: z.enum(Object.keys(PROBLEMS) as [RequestCode, ...RequestCode[]]),
    detail: z.string(),
    retryAfterMs: z.number().int().optional(),
  })
  .openapi('Problem');

const HeaderSchema = z
  .object({
    lane,
    term: count(0xffff_ffff),
    number: uint(64),
    parentHash: hex(32),
    firstSequence: uint(64),
    count: count(0xffff_ffff),
    bundlesRoot: hex(32),
    inboxCount: uint(64),
    timestamp: uint(64),
    dataHash: hex(32),
  })
  .openapi('BatchHeader');

const bundleProof = {
  version: z.literal(1),
  chainId: uint(64),
  settlement: hex(20),
  message: z.object({ topic: hex(32), payload: base64 }),
  messageIndex: count(MAX_MESSAGES - 1),
  messagePath: z.array(hex(32)),
  bundle: z.object({
    sender: hex(20),
    lane,
    nonce: uint(64),
    expiry: uint(64),
    postage: uint(128),
    count: count(MAX_MESSAGES),
    messagesRoot: hex(32),
    signature: hex(65),
  }),
};

const ProofSchema = z
  .object({
    ...bundleProof,
    void: count(1),
    previous: uint(64),
    bundleIndex: count(0xffff_ffff),
    bundlePath: z.array(hex(32)),
    header: HeaderSchema,
    batchHash: hex(32),
  })
  .openapi('MessageProof');

const ReceiptProofSchema = z.object({ ...bundleProof, receipt: ReceiptSchema }).openapi('ReceiptProof');

const StatusEnum = z.enum(['accepted', 'sealed', 'committed', 'safe', 'finalized']);

const MessageSchema = z
  .object({
    sender: hex(20),
    lane,
    nonce: uint(64),
    topic: hex(32),
    payload: base64,
    sequence: uint(64),
    index: count(MAX_MESSAGES - 1),
    status: StatusEnum,
    expired: z.boolean(),
    batch: z.number().int().nullable(),
    cursor: z.string(),
    proof: ReceiptProofSchema.optional(),
  })
  .openapi('Message');

const BatchSchema = z
  .object({
    header: HeaderSchema,
    batchHash: hex(32),
    cid: z.string(),
    status: StatusEnum,
    // The type is said again: `hex` and `uint` say theirs by hand, and null would not be among them.
    transactionHash: hex(32)
      .nullable()
      .openapi({ type: ['string', 'null'] }),
    blockNumber: uint(64)
      .nullable()
      .openapi({ type: ['string', 'null'] }),
    bytes: z.number().int(),
    messages: z.number().int(),
  })
  .openapi('Batch');

const PriceSchema = z.object({ perMessage: uint(128), perByte: uint(128) }).openapi('Price');

const StatusSchema = z
  .object({
    version: z.string(),
    chainId: uint(64),
    settlement: hex(20),
    sequencer: hex(20),
    laneCount: z.number().int(),
    lanes: z.array(
      z.object({
        lane,
        term: count(0xffff_ffff),
        accepted: uint(64),
        sealed: uint(64),
        committed: uint(64),
        safe: uint(64),
        finalized: uint(64),
        batch: z.number().int(),
      }),
    ),
    limits: z.object({
      maxPayloadBytes: z.number().int(),
      maxMessagesPerBundle: z.number().int(),
      maxBundleBytes: z.number().int(),
      maxBodyBytes: z.number().int(),
    }),
    price: PriceSchema,
  })
  .openapi('Status');

const json = (schema: z.ZodType, description: string) => ({ description, content: { 'application/json': { schema } } });
const problem = (description: string) => ({ description, content: { 'application/problem+json': { schema: ProblemSchema } } });
const refused = { 400: problem('request.invalid'), 404: problem('not_found') };

const laneParam = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,4})$/, 'expected a lane')
  .transform(Number)
  .refine((lane) => lane <= 0xffff, 'expected a lane below 65536')
  .openapi({ type: 'integer' });
const messageParams = z.object({ sender: hex(20), lane: laneParam, nonce: uint(64) });
const batchParams = z.object({ lane: laneParam, number: uint(64) });

const topicQuery = z.object({
  after: z.union([z.literal('latest'), uint(64)]).optional(),
  limit: queryNumber(1, 1_000).optional(),
  wait: queryNumber(0, 30).optional(),
  sender: z.union([hex(20).transform((sender) => [sender]), z.array(hex(20)).max(100)]).optional(),
  proofs: z.enum(['0', '1']).optional(),
});

const ResultsSchema = z.object({
  results: z.array(z.union([z.object({ receipt: ReceiptSchema }), z.object({ error: ProblemSchema })])),
});

/** Every route, with the schemas that judge its input: what `/openapi.json` is made of. */
export const ROUTES = {
  submit: createRoute({
    method: 'post',
    path: '/v1/bundles',
    summary: 'Submit one or more signed bundles',
    responses: {
      200: json(ResultsSchema, 'All were accepted: durable, with a signed receipt each'),
      207: json(ResultsSchema, 'Some were accepted'),
      400: problem('bundle.malformed'),
      401: problem('bundle.bad_signature'),
      402: problem('bundle.postage, with `expected`; with `available` where the deposit is too small'),
      409: problem('bundle.nonce, with `expected`'),
      413: problem('bundle.too_large'),
      422: problem('bundle.expired, bundle.wrong_lane'),
      429: problem('rate_limited'),
      503: problem('busy, unavailable'),
    },
  }),
  account: createRoute({
    method: 'get',
    path: '/v1/accounts/{address}',
    summary: 'What an account’s next bundle on a lane is judged by: nonce, postage owed so far, price',
    request: { params: z.object({ address: hex(20) }), query: z.object({ lane: queryNumber(0, 0xffff).optional() }) },
    responses: {
      200: json(
        z.object({ address: hex(20), lane, nonce: uint(64), owed: uint(128), price: PriceSchema }).openapi('Account'),
        'The account',
      ),
      ...refused,
    },
  }),
  messages: createRoute({
    method: 'get',
    path: '/v1/topics/{topic}/messages',
    summary: 'Messages of a topic, in order, after a cursor',
    request: { params: z.object({ topic: hex(32) }), query: topicQuery },
    responses: { 200: json(z.object({ messages: z.array(MessageSchema), next: z.string() }), 'A page'), ...refused },
  }),
  stream: createRoute({
    method: 'get',
    path: '/v1/topics/{topic}/stream',
    summary: 'The same, live, as Server-Sent Events',
    request: { params: z.object({ topic: hex(32) }), query: topicQuery },
    responses: {
      200: { description: 'Events `message`; id = cursor', content: { 'text/event-stream': { schema: z.string() } } },
      ...refused,
    },
  }),
  message: createRoute({
    method: 'get',
    path: '/v1/messages/{sender}/{lane}/{nonce}',
    summary: 'One message, with its status',
    request: { params: messageParams },
    responses: { 200: json(MessageSchema, 'The message'), ...refused },
  }),
  proof: createRoute({
    method: 'get',
    path: '/v1/messages/{sender}/{lane}/{nonce}/proof',
    summary: 'A message’s proof, to the L1 or to its receipt',
    request: { params: messageParams, query: z.object({ anchor: z.enum(['receipt']).optional() }) },
    responses: { 200: json(z.union([ProofSchema, ReceiptProofSchema]), 'The proof'), ...refused, 503: problem('unavailable') },
  }),
  batches: createRoute({
    method: 'get',
    path: '/v1/batches',
    summary: 'Batches of a lane, newest first',
    request: {
      query: z.object({
        lane: queryNumber(0, 0xffff).optional(),
        before: uint(64).optional(),
        limit: queryNumber(1, 100).optional(),
      }),
    },
    responses: { 200: json(z.object({ batches: z.array(BatchSchema), next: z.string().nullable() }), 'A page'), ...refused },
  }),
  batch: createRoute({
    method: 'get',
    path: '/v1/batches/{lane}/{number}',
    summary: 'One batch',
    request: { params: batchParams },
    responses: { 200: json(BatchSchema, 'The batch'), ...refused },
  }),
  batchData: createRoute({
    method: 'get',
    path: '/v1/batches/{lane}/{number}/data',
    summary: 'The batch file; range requests',
    request: { params: batchParams },
    responses: {
      200: {
        description: 'The file',
        content: { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } },
      },
      206: {
        description: 'A part of it',
        content: { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } },
      },
      416: problem('request.invalid'),
      ...refused,
    },
  }),
  status: createRoute({
    method: 'get',
    path: '/v1/status',
    summary: 'Chain, contract, lanes with their heads, limits',
    responses: { 200: json(StatusSchema, 'The status') },
  }),
} as const;

/** The schema of `POST /v1/bundles` bodies, for the description only: bodies are read with a limit, not parsed by a router. */
export const SUBMIT_BODY = {
  content: {
    'application/octet-stream': { schema: z.string().openapi({ format: 'binary', description: 'length(4) ‖ bundle, repeated' }) },
    'application/json': { schema: z.union([BundleSchema, z.array(BundleSchema)]) },
  },
  required: true,
};
