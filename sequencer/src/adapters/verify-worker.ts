import { serveThread } from '../threads.js';
import { type Body, type VerifierData, verifyBody } from '../verifier.js';
import { nativeRecover, nativeSha256 } from './native.js';

serveThread((data: VerifierData) => (bodies: readonly Body[]) => {
  const verified = bodies.map((body) => verifyBody(body, data, { hash: nativeSha256, recover: nativeRecover }));
  return { value: verified, transfer: bodies.map(({ buffer }) => buffer) };
});
