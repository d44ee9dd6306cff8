import { randomBytes } from 'node:crypto';
import secp256k1 from 'secp256k1';
import { nativeRecover } from '../presigned.js';

// How many signatures one core recovers a second, with nothing else: a process of its own. Told by its first argument for how
// long.

const { seconds } = JSON.parse(process.argv[2] ?? '{}') as { seconds: number };
const CASES = 256;
const WARM_UP = 2_000;
const EACH_LOOK = 64;

const cases = Array.from({ length: CASES }, () => {
  const digest = randomBytes(32);
  const { signature, recid } = secp256k1.ecdsaSign(digest, randomBytes(32));
  return { digest, signature, recid };
});
let at = 0;
const recoverNext = () => {
  const { digest, signature, recid } = cases[at++ % CASES] as (typeof cases)[number];
  if (nativeRecover(digest, signature, recid as 0 | 1) === undefined) throw new Error('a good signature was not recovered');
};
for (let warm = 0; warm < WARM_UP; warm++) recoverNext();
const began = performance.now();
at = 0;
while (performance.now() - began < seconds * 1_000) for (let each = 0; each < EACH_LOOK; each++) recoverNext();
const perSecond = Math.round((at * 1_000) / (performance.now() - began));
process.stdout.write(`${JSON.stringify({ result: { perSecond } })}\n`);
