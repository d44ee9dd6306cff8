import { domainSeparator } from '@sealpost/prover';
import { submissionOfFrames } from '../../sequencer/dist/admission.js';
import { Thread } from '../../sequencer/dist/threads.js';
import { type Body, type VerifierData, VerifierPool } from '../../sequencer/dist/verifier.js';
import { LoadSender, makeRegion } from '../presigned.js';
import type { ProcessLine } from './scenario.js';
import { VERIFY_WORKER, type VerifyingPlan } from './verifying-plan.js';

// The sequencer's verifying threads with nothing before or behind them: bundles verified a second, by so many threads. A process of
// its own, told by its first argument.

const DOMAIN = { chainId: 31_337n, settlement: '0x5fbdb2315678afecb367f032d93f642f64180aa3' } as const;
const DAY_SECONDS = 86_400n;
const BODIES = 64;
const WARM_UP_SECONDS = 0.5;

const { workers, bundle, payload, seconds } = JSON.parse(process.argv[2] ?? '{}') as VerifyingPlan;
const sender = new LoadSender(DOMAIN, 0, BigInt(Math.floor(Date.now() / 1_000)) + DAY_SECONDS);
const region = makeRegion({ count: bundle, payloadBytes: payload, lane: 0, laneCount: 1 });
const bodies = Array.from({ length: BODIES }, () => submissionOfFrames(Buffer.concat(sender.sign(region).parts)).body as Body);

/** Every body again as soon as it is verified, for so long. */
async function verifiedPerSecond(pool: VerifierPool, forSeconds: number): Promise<number> {
  const began = performance.now();
  const until = began + forSeconds * 1_000;
  let verified = 0;
  await Promise.all(
    bodies.map(async (body) => {
      while (performance.now() < until) {
        const { verdicts } = await pool.verify(body);
        if (verdicts.some((verdict) => 'refused' in verdict)) throw new Error('a good bundle was refused');
        verified++;
      }
    }),
  );
  return Math.round((verified * 1_000) / (performance.now() - began));
}

const bundlesPerSecond: number[] = [];
for (const count of workers) {
  const data: VerifierData = { separator: domainSeparator(DOMAIN), laneCount: 1 };
  const pool = new VerifierPool(Array.from({ length: count }, () => new Thread(VERIFY_WORKER, data)));
  await verifiedPerSecond(pool, WARM_UP_SECONDS);
  bundlesPerSecond.push(await verifiedPerSecond(pool, seconds));
  await pool.close();
}
process.stdout.write(`${JSON.stringify({ result: bundlesPerSecond } satisfies ProcessLine<number[]>)}\n`);
