import { readFile } from 'node:fs/promises';
import { formatMessageId, type Hex, ProtocolError, proofToJson, receiptProofToJson } from '@sealpost/prover';
import { systemClock } from '../clock.js';
import {
  decodeProof,
  failedStep,
  isNotYetCommitted,
  isReceiptProof,
  PROOF_STEPS,
  type Proof,
  type Rung,
  stepMeaning,
  type Verification,
  verifyProof,
} from '../verify.js';
import { CliError } from './exit.js';
import { date, number, type Output } from './output.js';
import { needFolderOf } from './paths.js';
import type { Action } from './run.js';
import { connect, need, readSettings, timeoutMs } from './settings.js';

export const proof: Action = async (context, [id], options) => {
  const { output, signal, flags } = context;
  const settings = await readSettings(context);
  if (typeof options.out === 'string') await needFolderOf(options.out);
  const client = await connect(context, settings);
  const message = client.message(String(id));
  const wait = options.wait as Rung;
  output.progress(`waiting until ${wait} …`);
  const verification = await message.waitFor(wait, { signal, timeoutMs: timeoutMs(flags, 120) });
  const call = { signal, timeoutMs: timeoutMs(flags) };
  const fetched: Proof = wait === 'accepted' ? await client.receiptProof(message, call) : await message.proof(call);
  const json = isReceiptProof(fetched) ? receiptProofToJson(fetched) : proofToJson(fetched);
  // What is written is what was verified: the proof may have been made anew since.
  if (verification.rung !== 'sealed') await client.verify(fetched, call);
  const text = `${JSON.stringify(json, null, 2)}\n`;
  if (typeof options.out === 'string') {
    const { writeFileAtomically } = await import('../node/files.js');
    await writeFileAtomically(options.out, text);
    output.print(options.out);
  } else if (!output.json) {
    process.stdout.write(text);
  }
  output.result({
    id: message.id,
    rung: verification.rung,
    ...(options.out === undefined ? { proof: json } : { file: options.out }),
  });
  output.say(sentence(verification, client.chainId));
  if (typeof options.out === 'string') output.say(`Next: sealpost verify ${options.out}`);
  return 0;
};

/** All of it holds but what only the L1 can say, and the L1 says nothing yet: neither true nor false. */
function notYet(proof: Proof, file: string): CliError {
  const { sender, lane, nonce } = proof.bundle;
  const id = formatMessageId({ sender, lane, nonce: nonce + BigInt(proof.messageIndex) });
  const batch = isReceiptProof(proof) ? '' : `: nothing is committed as batch ${proof.header.number} of lane ${lane}`;
  return new CliError(
    4,
    'proof.not_committed',
    `not on the L1 yet${batch}; the proof is neither true nor false so far`,
    `sealpost proof ${id} --wait committed --out ${file === '-' ? 'message.proof.json' : file}`,
  );
}

/**
 * A proof of another network than the configured one is not false: it cannot be checked here.
 * @throws CliError
 */
function refuseOtherNetwork(proof: Proof, settlement: Hex, chainId: bigint | undefined, file: string): void {
  const isOurs = proof.settlement.toLowerCase() === settlement.toLowerCase() && (chainId ?? proof.chainId) === proof.chainId;
  if (isOurs) return;
  const configured = chainId === undefined ? settlement : `${settlement} on chain ${chainId}`;
  throw new CliError(
    4,
    'proof.other_network',
    `this proof is for contract ${proof.settlement} on chain ${proof.chainId}, not for the configured ${configured}: it could not be checked here`,
    `sealpost verify ${file} --settlement ${proof.settlement} --l1 <a node of chain ${proof.chainId}>   (if you trust that contract)`,
  );
}

export const verify: Action = async (context, [file]) => {
  const { output, signal, flags } = context;
  const settings = await readSettings(context);
  const text = await readText(String(file));
  const whole = `sealpost verify ${file} --l1 <url> --settlement <address>`;
  const l1Url = need(settings.l1Url, 'L1 node', '--l1', 'SEALPOST_L1_URL', whole);
  const settlement = need(settings.settlement, 'Settlement contract', '--settlement', 'SEALPOST_SETTLEMENT', whole);
  const next = 'sealpost proof <id> --out <file>   (a new one from the sequencer)';
  const decoded = decode(text, output, next);
  const [{ L1 }, { http }] = await Promise.all([import('../l1.js'), import('viem')]);
  const call = { signal, timeoutMs: timeoutMs(flags, 30) };
  const chainId = settings.chainId === undefined ? undefined : BigInt(settings.chainId);
  refuseOtherNetwork(decoded, settlement, chainId, String(file));
  const l1 = await L1.connect({ transport: http(l1Url), settlement, chainId, clock: systemClock }, call).catch((error) => {
    // Where it cannot be asked, nothing is found true or false.
    const { code, message } = error as { code?: string; message: string };
    if (!['l1.no_contract', 'l1.foreign_contract', 'l1.wrong_chain'].includes(String(code))) throw error;
    throw new CliError(4, String(code), `the proof could not be checked here: ${message}`, whole, { cause: error });
  });
  refuseOtherNetwork(decoded, settlement, l1.view.chainId, String(file));
  // Read before the proof is judged: if the batch comes in between, the proof holds, or the next look tells.
  const slot = isReceiptProof(decoded) ? undefined : await l1.slot(decoded.header.lane, decoded.header.number, call);
  let verification: Verification;
  try {
    verification = await verifyProof(decoded, l1, call);
  } catch (error) {
    const step = failedStep(error);
    if (step === undefined) throw error;
    if (slot !== undefined && isNotYetCommitted(error, slot.committed)) throw notYet(decoded, String(file));
    const { message } = error as Error;
    const steps = stepList(decoded, step);
    output.print(`${output.paint('red', 'This proof is false')}: ${message}.`);
    output.print();
    for (const one of steps) output.print(stepLine(output, one));
    output.result({ valid: false, failedStep: step, message, steps }, false);
    output.say('  Next: sealpost proof <id> --out <file>   (a new one from the sequencer)');
    return 3;
  }
  const { secondOpinion } = await import('./oracle.js');
  const opinions = secondOpinion(decoded, verification.bundleHash);
  const disagrees = opinions.find(({ holds }) => !holds);
  if (disagrees !== undefined) {
    throw new CliError(
      3,
      'proof.disputed',
      `merkletreejs does not follow the ${disagrees.path}: one of two verifiers is wrong`,
      'report this',
    );
  }
  output.print(output.paint('bold', sentence(verification, l1.view.chainId)));
  output.print();
  for (const { step, meaning } of verification.steps) output.print(stepLine(output, { step, meaning, held: true }));
  output.print(
    stepLine(output, {
      step: 'second opinion',
      meaning: `merkletreejs climbs ${opinions.length} of ${opinions.length} paths to the same roots`,
      held: true,
    }),
  );
  output.print();
  for (const [name, value] of bytesOf(decoded, verification)) output.print(`  ${name.padEnd(14)}${value}`);
  const { payload, commitment: _, ...facts } = { ...verification, commitment: undefined };
  output.result({
    valid: true,
    sentence: sentence(verification, l1.view.chainId),
    ...facts,
    payloadBytes: payload.length,
    secondOpinion: opinions,
  });
  return 0;
};

/** What it says, in one sentence. */
export function sentence(verification: Verification, chainId: bigint): string {
  const { sender, batch, rung, includeBy } = verification;
  const message = `This message from ${sender}`;
  if (rung === 'accepted')
    return `${message} was accepted; the sequencer promised to settle it by L1 block ${number(includeBy ?? 0n)}.`;
  if (rung === 'sealed') return `${message} is sealed in batch ${batch?.number}, which is not on the L1 yet.`;
  const { commitment } = batch ?? {};
  const chain = chainId === 1n ? 'Ethereum block' : `block`;
  const where =
    commitment === undefined
      ? ''
      : ` on ${date(commitment.timestamp)}, ${chain} ${number(commitment.blockNumber)}${chainId === 1n ? '' : ` of chain ${chainId}`}`;
  const finality = { committed: 'a reorganization of the L1 can still move it', safe: 'is safe', finalized: 'is final' }[rung];
  return `${message} was settled in batch ${batch?.number}${where}, and ${rung === 'committed' ? 'is committed' : finality}.`;
}

interface Step {
  readonly step: string;
  readonly meaning: string;
  readonly held: boolean | undefined;
}

function stepList(decoded: Proof, failed: string): Step[] {
  const all = isReceiptProof(decoded)
    ? (['domain', 'message', 'lane', 'messagePath', 'signature', 'receipt'] as const)
    : PROOF_STEPS;
  const at = (all as readonly string[]).indexOf(failed);
  return all.map((step, index) => ({
    step,
    meaning: stepMeaning(step),
    held: index === at ? false : index < at ? true : undefined,
  }));
}

function stepLine(output: Output, { step, meaning, held }: Step): string {
  const mark = held === true ? output.paint('green', '✓') : held === false ? output.paint('red', '✗') : output.paint('dim', '·');
  const words = held === false ? `not true: ${meaning}` : held === undefined ? `not reached: ${meaning}` : meaning;
  return `  ${mark} ${step.padEnd(16)}${words}`;
}

function bytesOf(decoded: Proof, verification: Verification): [string, string][] {
  const { sender, lane, nonce, topic, payload, bundleHash, sequence, batch } = verification;
  const rows: [string, string][] = [
    ['message', `${sender}/${lane}/${nonce}`],
    ['topic', topic],
    ['payload', `${number(payload.length)} bytes, encrypted`],
    ['bundle', `${bundleHash}, message ${decoded.messageIndex} of ${decoded.bundle.count}`],
    ['messages root', decoded.bundle.messagesRoot],
    ['entry', `sequence ${sequence} of lane ${lane}`],
  ];
  if (!isReceiptProof(decoded) && batch !== undefined) {
    rows.push(['bundles root', `${decoded.header.bundlesRoot}, entry ${decoded.bundleIndex} of ${decoded.header.count}`]);
    rows.push(['batch', `${batch.hash}, number ${batch.number}`]);
    if (batch.commitment !== undefined) rows.push(['transaction', batch.commitment.transactionHash]);
  }
  return rows;
}

/** Whatever was read and is no proof, is a false one: a file that was cut or changed must not look as if it were not checked. */
function decode(text: string, output: Output, next: string): Proof {
  try {
    return decodeProof(JSON.parse(text));
  } catch (error) {
    if (!(error instanceof ProtocolError) && !(error instanceof SyntaxError)) throw error;
    const what = error instanceof SyntaxError ? 'it is no JSON' : error.message;
    output.print(`${output.paint('red', 'This is no proof')}: ${what}.`);
    throw new CliError(3, 'proof.malformed', `the proof does not even have its form (step: form): ${what}`, next);
  }
}

async function readText(file: string): Promise<string> {
  if (file === '-') {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  }
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new CliError(1, 'file.missing', `${file} cannot be read`, `ls -l ${file}`, { cause });
  }
}
