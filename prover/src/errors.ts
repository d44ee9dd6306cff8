/** Values an error carries so that code can act on it: never payloads, never keys. */
export type Facts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Stable, machine-readable reasons. The `bundle.*` codes are those of the HTTP API (PROTOCOL.md §11). */
export type ProtocolCode =
  | 'bundle.malformed'
  | 'bundle.too_large'
  | 'bundle.bad_signature'
  | 'bundle.wrong_lane'
  | 'batch.malformed'
  | 'receipt.malformed'
  | 'receipt.invalid'
  | 'proof.malformed'
  | 'proof.invalid'
  | 'value.malformed';

/**
 * Bytes or values that break the protocol. The caller's fault, always: retrying the same input gives the same error.
 * `facts` says what was expected, what was got and where.
 */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';

  constructor(
    readonly code: ProtocolCode,
    message: string,
    readonly facts: Facts = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
