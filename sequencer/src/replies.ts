import { PROBLEMS } from './api.js';
import type { RequestError } from './errors.js';

/** An answer, before it is anybody's object: a web Response, or what Node's own takes. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const EXPOSED_HEADERS = ['Retry-After', 'ETag', 'Content-Range', 'Accept-Ranges'];
const CORS_HEADERS = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': EXPOSED_HEADERS.join(',') };
const JSON_HEADERS = { ...CORS_HEADERS, 'Content-Type': 'application/json' };

/** The JSON object `error` of §11 (RFC 9457). */
export function problemToJson(error: RequestError) {
  const { status, title } = PROBLEMS[error.code];
  const retry = error.retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(error.retryAfterMs) };
  return {
    ...error.facts,
    type: `urn:sealpost:error:${error.code}`,
    title,
    status,
    code: error.code,
    detail: error.message,
    ...retry,
  };
}

export function problemReply(error: RequestError, extra: object = {}): Reply {
  const retryAfter =
    error.retryAfterMs === undefined ? {} : { 'Retry-After': String(Math.max(1, Math.ceil(error.retryAfterMs / 1_000))) };
  return {
    status: PROBLEMS[error.code].status,
    headers: { ...CORS_HEADERS, 'Content-Type': 'application/problem+json', ...retryAfter },
    body: JSON.stringify({ ...problemToJson(error), ...extra }),
  };
}

export const jsonReply = (status: number, value: unknown): Reply => ({
  status,
  headers: JSON_HEADERS,
  body: JSON.stringify(value),
});

export const toResponse = ({ status, headers, body }: Reply): Response => new Response(body, { status, headers });
