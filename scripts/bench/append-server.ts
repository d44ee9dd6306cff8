import { closeSync, fdatasync, openSync, writev } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { domainSeparator } from '@sealpost/prover';
import { submissionOfFrames } from '../../sequencer/dist/admission.js';
import { sparedCores, Thread } from '../../sequencer/dist/threads.js';
import { type VerifierData, VerifierPool } from '../../sequencer/dist/verifier.js';
import { NO_NETWORK } from './load-plan.js';
import { VERIFY_WORKER } from './verifying-plan.js';

// The least that a durable server can do: read bodies, append them to a file, and answer once they are on the disk; what arrives
// while the disk works is the next group. With `verifying`, bundles are verified first, by the sequencer's own verifying
// thread. Its limit is the machine's. Told an AppendPlan by its first argument, it says where it listens, and ends on SIGTERM.

export interface AppendPlan {
  readonly folder: string;
  readonly verifying: boolean;
}

const { folder, verifying } = JSON.parse(process.argv[2] ?? '{}') as AppendPlan;
const pool = verifying
  ? new VerifierPool(
      // As many as the sequencer has by default.
      Array.from(
        { length: sparedCores() },
        () => new Thread(VERIFY_WORKER, { separator: domainSeparator(NO_NETWORK), laneCount: 1 } satisfies VerifierData),
      ),
    )
  : undefined;
const file = openSync(join(folder, 'appended'), 'a');
const sync = promisify(fdatasync);
const append = (buffers: readonly Uint8Array[]) =>
  new Promise<void>((resolve, reject) => writev(file, buffers, (error) => (error === null ? resolve() : reject(error))));

/** `writev` takes no more at once (IOV_MAX). */
const MAX_BUFFERS = 1_024;
const ANSWER = '{"results":[]}';

let arrived: { chunks: readonly Uint8Array[]; response: ServerResponse }[] = [];
let isWriting = false;

async function verified(by: VerifierPool, chunks: readonly Buffer[]): Promise<Uint8Array[]> {
  const { body } = submissionOfFrames(Buffer.concat(chunks));
  if (body === undefined) throw new Error('expected bundles');
  const { bytes, verdicts } = await by.verify(body);
  if (verdicts.some((verdict) => 'refused' in verdict)) throw new Error('a good bundle was refused');
  return [bytes];
}

const fail = (error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
};

async function writeGroups(): Promise<void> {
  isWriting = true;
  while (arrived.length > 0) {
    const group = arrived;
    arrived = [];
    const chunks = group.flatMap((one) => one.chunks);
    for (let at = 0; at < chunks.length; at += MAX_BUFFERS) await append(chunks.slice(at, at + MAX_BUFFERS));
    await sync(file);
    for (const { response } of group)
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': ANSWER.length }).end(ANSWER);
  }
  isWriting = false;
}

const server = createServer((request, response) => {
  if (request.method !== 'POST') {
    response.writeHead(404, { 'content-length': 0 }).end();
    return;
  }
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => void chunks.push(chunk));
  const take = (whole: readonly Uint8Array[]) => {
    arrived.push({ chunks: whole, response });
    if (!isWriting) writeGroups().catch(fail);
  };
  request.on('end', () => (pool === undefined ? take(chunks) : void verified(pool, chunks).then(take).catch(fail)));
});

process.once('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  closeSync(file);
  void pool?.close();
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
