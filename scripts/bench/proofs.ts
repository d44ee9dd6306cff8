import type { CheckingPlan, CheckingResult } from './checking.js';
import { type Bench, loadSeconds, type Outcome, type Row, type Scenario } from './scenario.js';
import type { SealingPlan, SealingResult } from './sealing.js';

const CHECKING = new URL('checking.ts', import.meta.url);
const SEALING = new URL('sealing.ts', import.meta.url);

const BUNDLE_MESSAGES = 256;
const BATCH_ENTRIES = 4_096;
const PAYLOAD_BYTES = 256;

const HASHES = { noble: 'JavaScript', native: 'Node’s SHA-256 passed in' } as const;

async function run(bench: Bench): Promise<Outcome> {
  const { settings } = bench;
  const ms = loadSeconds(settings, 0.6, 0.15) * 1_000;
  const bundle = settings.bundle ?? BUNDLE_MESSAGES;
  const payload = settings.payload ?? PAYLOAD_BYTES;
  const rows: Row[] = [];
  const verified: Record<string, CheckingResult> = {};
  for (const hash of ['noble', 'native'] as const) {
    bench.show(`verifying proofs, ${HASHES[hash]}`);
    const plan: CheckingPlan = { hash, bundle, entries: BATCH_ENTRIES, payload, ms };
    const result = await bench.inProcess<CheckingResult>(CHECKING, plan);
    verified[hash] = result;
    const beside = { what: `its ${result.hashesAProof} hashes alone`, value: result.hashesOnlyPerSecond };
    rows.push(
      { figure: `proofs verified, one core: ${HASHES[hash]}`, value: result.knownPerSecond, unit: 'proofs/s', beside },
      { figure: `the same from a proof file's text: ${HASHES[hash]}`, value: result.fromTextPerSecond, unit: 'proofs/s', beside },
    );
  }
  const sent = await bench.withNetwork({}, async ({ network }) =>
    bench.withFolder((folder) => {
      bench.show('sealing, signing and sending');
      const { url, l1Url, chainId, settlement } = network;
      const plan: SealingPlan = { url, l1Url, chainId, settlement, payload, folder, ms };
      return bench.inProcess<SealingResult>(SEALING, plan);
    }),
  );
  const beside = { what: 'bare HPKE seals, one context', value: sent.sealsPerSecond };
  // The engine seals on threads of its own, so that the process may take more than one core.
  const perCore = Math.round(sent.memoryPerSecond / Math.max(1, sent.memoryCpu));
  rows.push(
    {
      figure: 'sendMany: sealed, signed, receipts verified; outbox in memory',
      value: sent.memoryPerSecond,
      unit: 'messages/s',
      beside,
    },
    { figure: 'the same, a second of one core', value: perCore, unit: 'messages/s', beside },
    { figure: 'the same, outbox of files with fsync', value: sent.filesPerSecond, unit: 'messages/s', beside },
  );
  return {
    json: {
      proofsPerSecond: verified.noble?.knownPerSecond,
      proofsPerSecondNative: verified.native?.knownPerSecond,
      sendManyPerSecond: sent.memoryPerSecond,
      sendManyPerCore: perCore,
      sealsPerSecond: sent.sealsPerSecond,
      verified,
      sent,
    },
    rows,
    notes: [
      `Proofs: bundles of ${bundle} messages in a batch of ${BATCH_ENTRIES}; the first proof of a bundle costs its signature and its ` +
        'place in the batch as well, which each further one is only compared with.',
      `sendMany: one recipient, ${payload} bytes a plaintext, one process (${Math.round(100 * sent.memoryCpu)} % of a core), while ` +
        'the sequencer takes them on the same machine.',
    ],
    healthy: true,
  };
}

export const proofs: Scenario = {
  name: 'proofs',
  about: 'proofs verified by one core, messages sealed and sent by one client (10 s)',
  byDefault: true,
  run,
};
