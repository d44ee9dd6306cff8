import type { Facts } from '@sealpost/prover';

/** Reasons why a request is not done, beside the `bundle.*` codes of the prover (PROTOCOL.md §11). */
export type RequestCode =
  | 'bundle.malformed'
  | 'bundle.too_large'
  | 'bundle.bad_signature'
  | 'bundle.wrong_lane'
  | 'bundle.expired'
  | 'bundle.nonce'
  | 'bundle.postage'
  | 'request.invalid'
  | 'not_found'
  | 'proof.not_sealed'
  | 'rate_limited'
  | 'busy'
  | 'unavailable'
  | 'internal';

/** A request that is not done, said so that the caller knows what to do now. `retryAfterMs` is there where waiting helps. */
export class RequestError extends Error {
  override readonly name = 'RequestError';

  constructor(
    readonly code: RequestCode,
    message: string,
    readonly facts: Facts = {},
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

/** Nothing can be promised now; nothing was taken. */
export const unavailable = (message: string, retryAfterMs = 1_000): RequestError =>
  new RequestError('unavailable', message, {}, retryAfterMs);
