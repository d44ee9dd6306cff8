import { closeSync, fdatasync, openSync, writev } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

// The least that a durable server can do: read bodies, append them to a file, and answer once they are on the disk; what arrives
// while the disk works is the next group. Its limit is the machine's. Told a folder by its first argument, it says where it
// listens, and ends on SIGTERM.

const { folder } = JSON.parse(process.argv[2] ?? '{}') as { folder: string };
const file = openSync(join(folder, 'appended'), 'a');
const sync = promisify(fdatasync);
const append = (buffers: Buffer[]) =>
  new Promise<void>((resolve, reject) => writev(file, buffers, (error) => (error === null ? resolve() : reject(error))));

/** `writev` takes no more at once (IOV_MAX). */
const MAX_BUFFERS = 1_024;
const ANSWER = '{"results":[]}';

let arrived: { chunks: Buffer[]; response: ServerResponse }[] = [];
let isWriting = false;

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
  request.on('end', () => {
    arrived.push({ chunks, response });
    if (isWriting) return;
    writeGroups().catch((error: Error) => {
      process.stderr.write(`${error.message}\n`);
      process.exit(1);
    });
  });
});

process.once('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  closeSync(file);
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
