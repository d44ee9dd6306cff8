import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { startL1 } from './l1-thread.js';

test('the L1 on a thread: values and errors as they are, and a call that hangs holds up no other', async () => {
  const hanging: ServerResponse[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { method } = JSON.parse(body) as { method: string };
    const reply = (answer: object) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id: 1, ...answer }));
    if (method === 'eth_getBalance') hanging.push(response);
    else if (method === 'eth_chainId') reply({ result: '0x7a69' });
    else if (method === 'eth_getTransactionByHash') reply({ result: null });
    else reply({ error: { code: -32000, message: 'nonce too low' } });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const { l1, close } = startL1({
    url: `http://127.0.0.1:${port}`,
    settlement: `0x${'5e'.repeat(20)}`,
    posterKey: `0x${'4b'.repeat(32)}`,
    openerKey: `0x${'4c'.repeat(32)}`,
    timeoutMs: 5_000,
  });
  try {
    const balance = l1.posterBalance().catch((error: unknown) => error);
    await expect.poll(() => hanging.length, { timeout: 10_000 }).toBe(1);
    expect(await l1.chainId()).toBe(31337n);
    expect(await l1.knows(`0x${'11'.repeat(32)}`)).toBe(false);
    await expect(l1.broadcast('0x02')).rejects.toMatchObject({
      name: 'L1Error',
      code: 'l1.nonce_too_low',
      message: 'eth_sendRawTransaction: nonce too low',
    });
    hanging[0]?.socket?.destroy();
    expect(await balance).toMatchObject({ name: 'L1Error', code: 'l1.unreachable' });
  } finally {
    await close();
    server.closeAllConnections();
    server.close();
  }
  await expect(l1.chainId()).rejects.toMatchObject({ code: 'thread.died' });
});
