import { serveThread } from '../threads.js';
import { type Body, type VerifierData, verifyBody } from '../verifier.js';
import { nativePrimitives } from './native.js';

serveThread((data: VerifierData) => (bodies: readonly Body[]) => {
  const verified = bodies.map((body) => verifyBody(body, data, nativePrimitives));
  return { value: verified, transfer: bodies.map(({ buffer }) => buffer) };
});
