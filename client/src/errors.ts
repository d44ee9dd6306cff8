import type { Facts, Hex, Message } from '@sealpost/prover';

export { type Facts, ProtocolError } from '@sealpost/prover';

/** What every error of this package carries beside its message. */
export interface ErrorDetails {
  readonly facts?: Facts | undefined;
  /** Where the code is explained. */
  readonly docsUrl?: string | undefined;
  readonly cause?: unknown;
}

/**
 * Base of all errors that are not the protocol's own (`ProtocolError`: a malformed or false bundle, receipt or proof).
 * `code` is stable and for programs; `facts` never hold payloads or keys.
 */
export class SealpostError extends Error {
  override readonly name: string = 'SealpostError';
  readonly code: string;
  readonly facts: Facts;
  readonly docsUrl?: string;

  constructor(code: string, message: string, { facts = {}, docsUrl, cause }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.facts = facts;
    if (docsUrl !== undefined) this.docsUrl = docsUrl;
  }
}

/** The sequencer could not be asked, or answered with an error: `code` is the one of PROTOCOL.md §11, or one of those below. */
export class RequestError extends SealpostError {
  override readonly name = 'RequestError';
  /** HTTP status; 0 if there was no answer. */
  readonly status: number;
  /** How long the sequencer asked us to wait. */
  readonly retryAfterMs?: number;
  /** The problem document as it came, for callers that read more out of it (`results` of several bundles). */
  readonly problem?: Readonly<Record<string, unknown>>;

  constructor(
    code: 'network.unreachable' | 'network.bad_answer' | 'timeout' | (string & {}),
    message: string,
    details: ErrorDetails & { status?: number; retryAfterMs?: number | undefined; problem?: Record<string, unknown> } = {},
  ) {
    super(code, message, details);
    this.status = details.status ?? 0;
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs;
    if (details.problem !== undefined) this.problem = details.problem;
  }
}

/** The L1 node could not be asked, or is not the one that was meant. */
export class L1Error extends SealpostError {
  override readonly name = 'L1Error';

  constructor(
    code: 'l1.unreachable' | 'l1.timeout' | 'l1.rpc' | 'l1.wrong_chain' | 'l1.no_contract' | 'l1.foreign_contract',
    message: string,
    details: ErrorDetails = {},
  ) {
    super(code, message, details);
  }
}

/**
 * A message was not sent, or it is not known yet whether it was. `facts.pending` is true (here, and in a `RequestError`) if the
 * signed bundle stays in the outbox: it is submitted again, unchanged, before anything else of this account on its lane. Where
 * the sequencer does not take it, `forcePending` of `@sealpost/client/settlement` sends it through the L1.
 */
export class SendError extends SealpostError {
  override readonly name = 'SendError';
  /** With `send.refused`: the messages that are not sent and wait nowhere, as they were sealed: `sendMany` takes them as they are. */
  readonly unsent?: readonly Message[];

  constructor(
    code:
      | 'send.no_account'
      | 'send.refused'
      | 'send.nonce_behind'
      | 'send.nonce_unclear'
      | 'send.postage_limit'
      | 'send.postage_unclear'
      | 'send.postage_unfunded'
      | 'send.too_large'
      | 'send.bad_signer',
    message: string,
    details: ErrorDetails & { unsent?: readonly Message[] | undefined } = {},
  ) {
    super(code, message, details);
    if (details.unsent !== undefined) this.unsent = details.unsent;
  }
}

/** A promise of the sequencer that the L1 shows to be broken (PROTOCOL.md §7). */
export class BrokenPromiseError extends SealpostError {
  override readonly name = 'BrokenPromiseError';

  constructor(facts: { lane: number; sequence: string; includeBy: string; latestBlock: string; bundleHash: Hex }) {
    super(
      'receipt.broken',
      `the sequencer promised entry ${facts.sequence} of lane ${facts.lane} by L1 block ${facts.includeBy}; block ${facts.latestBlock} is there and the entry is not`,
      { facts },
    );
  }
}

/** A key, key file, payload, outbox or a watch's progress that cannot be used as asked. */
export class LocalError extends SealpostError {
  override readonly name = 'LocalError';

  constructor(
    code:
      | 'key.malformed'
      | 'key.missing'
      | 'key.exists'
      | 'key.permissions'
      | 'key.passphrase'
      | 'key.mismatch'
      | 'key.unreadable'
      | 'payload.unreadable'
      | 'outbox.busy'
      | 'outbox.conflict'
      | 'outbox.damaged'
      | 'watch.damaged'
      | 'network.malformed'
      | 'network.missing',
    message: string,
    details: ErrorDetails = {},
  ) {
    super(code, message, details);
  }
}
