import { beNice, serveThread } from '../threads.js';
import { type VerifierData, type VerifyAnswer, type VerifyCall, verifyBundles } from '../verifier.js';
import { nativePrimitives } from './native.js';

beNice(5);

serveThread((data: VerifierData) => ({ buffer, bounds }: VerifyCall) => {
  const findings = verifyBundles({ bytes: new Uint8Array(buffer), bounds }, data, nativePrimitives);
  return { value: { ...findings, buffer } satisfies VerifyAnswer, transfer: [buffer, findings.hashes.buffer as ArrayBuffer] };
});
