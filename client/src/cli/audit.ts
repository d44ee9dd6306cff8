import type { Mismatch } from '../audit.js';
import { number, plural, size } from './output.js';
import type { Action } from './run.js';
import { connect, nativeSha256, readFromBlock, readSettings, timeoutMs } from './settings.js';

const MAX_SHOWN = 50;

export const audit: Action = async (context, _args, options) => {
  const { output, signal, flags } = context;
  const fromBlock = readFromBlock(context, options);
  const settings = await readSettings(context);
  const client = await connect(context, settings);
  const { auditLog } = await import('../audit.js');
  const started = performance.now();
  let shown = 0;
  const report = await auditLog({
    l1: client.l1,
    // A file has up to 256 MiB; a sequencer that is silent for so long is not going to answer.
    batchFile: (lane, batch, call) => client.batchFile(lane, batch, { ...call, timeoutMs: timeoutMs(flags) }),
    signal,
    ...(options.lane === undefined ? {} : { lanes: [options.lane as number] }),
    fromBlock,
    hash: nativeSha256,
    onProgress: ({ batches, totalBatches, messages, mismatches }) => {
      const wrong = mismatches > 0 ? `, ${plural(mismatches, 'mismatch', 'mismatches')}` : '';
      output.progress(
        `batch ${number(batches)} of ${number(totalBatches)}, ${plural(messages, 'message')}${wrong}`,
        batches,
        totalBatches,
      );
    },
    onMismatch: (mismatch) => {
      output.item('mismatch', mismatch);
      if (shown++ < MAX_SHOWN) output.print(`${output.paint('red', '✗')} ${describe(mismatch)}`);
      else if (shown === MAX_SHOWN + 1) output.say('  … more are counted (--json shows all)');
    },
  });
  const seconds = (performance.now() - started) / 1_000;
  const { mismatches: _, ...facts } = report;
  const clean = report.mismatchCount === 0;
  const what = `${plural(report.batches, 'batch', 'batches')}, ${plural(report.entries, 'bundle')}, ${plural(report.messages, 'message')} of ${plural(report.accounts, 'account')}`;
  output.print(
    clean
      ? `${output.paint('green', '✓')} The log is what the L1 says: ${what}, every hash, signature, nonce, link and address re-derived.`
      : `${output.paint('red', '✗')} The log is false: ${plural(report.mismatchCount, 'mismatch', 'mismatches')} in ${what}.`,
  );
  for (const { lane, batches, entries, headHash } of report.lanes)
    output.print(
      `  lane ${lane}: ${plural(entries, 'entry', 'entries')} in ${plural(batches, 'batch', 'batches')}, head ${headHash}`,
    );
  if (report.voidEntries > 0) output.print(`  ${plural(report.voidEntries, 'entry is', 'entries are')} void`);
  if (report.expiredEntries > 0) output.print(`  ${plural(report.expiredEntries, 'bundle')} expired before acceptance`);
  if (report.misplacedMessages > 0)
    output.print(
      `  ${plural(report.misplacedMessages, 'message is', 'messages are')} on a topic of another lane: nobody can prove them`,
    );
  output.say(`${size(report.bytes)} in ${seconds.toFixed(1)} s, up to L1 block ${number(report.block)}`);
  output.item('report', { ...facts, clean, seconds });
  if (!clean) output.say('  Next: sealpost audit --json > audit.jsonl   (the evidence)');
  return clean ? 0 : 3;
};

function describe({ check, lane, batch, entry, expected, got }: Mismatch): string {
  const where = `lane ${lane}, batch ${batch}${entry === undefined ? '' : `, entry ${entry}`}`;
  return `${check}  ${where}: expected ${expected}, got ${got}`;
}
