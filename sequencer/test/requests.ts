import { frameBundle, receiptFromJson, verifyReceipt } from '@sealpost/prover';
import { afterAll, afterEach, expect } from 'vitest';
import { nativeRecover } from '../src/adapters/native.js';
import { Account, DOMAIN, type SignedBundle, topicOf } from './bundles.js';
import { closeVerifiers, MAX_INCLUDE_DELAY, Pipeline, type PipelineOptions, SIGNER } from './pipeline.js';

export const [alice, bob] = [new Account('alice'), new Account('bob')];
export const NEWS = topicOf('news');
export const TERMS = { ...DOMAIN, signer: SIGNER.address, term: 1, latestBlock: 100n, maxIncludeDelay: MAX_INCLUDE_DELAY };
export const VERIFY = { recover: nativeRecover };

const pipelines: Pipeline[] = [];
afterEach(async () => {
  for (const pipeline of pipelines.splice(0)) {
    expect(pipeline.fatal).toEqual([]);
    expect(pipeline.events.filter(({ event }) => event === 'http.failed')).toEqual([]);
    await pipeline.close();
  }
});
afterAll(closeVerifiers);

export async function open(options: PipelineOptions = {}): Promise<Pipeline> {
  const pipeline = await Pipeline.open(options);
  pipelines.push(pipeline);
  return pipeline;
}

export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly [fact: string]: unknown;
}

/** The problem that a response is, after the checks that hold for every one. */
export async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const problem = (await response.json()) as Problem;
  expect(problem).toMatchObject({
    type: `urn:sealpost:error:${problem.code}`,
    title: expect.stringMatching(/./),
    status: response.status,
    detail: expect.stringMatching(/./),
  });
  const retryAfter = response.headers.get('retry-after');
  if (problem.retryAfterMs === undefined) expect(retryAfter).toBeNull();
  else {
    expect(retryAfter).toMatch(/^[1-9][0-9]*$/);
    expect(Number(retryAfter) * 1_000).toBeGreaterThanOrEqual(problem.retryAfterMs as number);
  }
  return problem;
}
export const shortProblem = async (response: Response) => {
  const { status, code } = await problemOf(response);
  return `${status} ${code}`;
};
export interface Results {
  readonly results: { readonly receipt?: unknown; readonly error?: Problem }[];
}
export const resultsOf = async (response: Response) => ((await response.json()) as Results).results;
export const receiptsOf = async (response: Response) =>
  (await resultsOf(response)).map(({ receipt }) => {
    const read = receiptFromJson(receipt);
    verifyReceipt(read, TERMS, VERIFY);
    return read;
  });

/** A bundle's bytes with some of them changed. */
export function patched(signed: SignedBundle, at: number, bytes: readonly number[]): Uint8Array<ArrayBuffer> {
  const copy = signed.bytes.slice();
  copy.set(bytes, at);
  return new Uint8Array(frameBundle(copy));
}
