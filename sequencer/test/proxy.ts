import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Call {
  readonly method: string;
  params: unknown[];
}

/** How a node misbehaves, until told otherwise. */
export type Mood =
  | 'well'
  /** Answers nothing. */
  | 'silent'
  | 'http 500'
  | 'garbage'
  /** JSON-RPC errors for everything. */
  | 'errors'
  /** Answers as if the newest block were this one. */
  | { readonly behind: bigint };

export interface NodeProxy {
  readonly url: string;
  mood: Mood;
  /** Asked at every call: true loses the request, `answer` lets the node do it and loses what it says. */
  lose: (method: string) => boolean | 'answer';
  /** Asked at every call: true refuses it with a JSON-RPC error. */
  refuse: (method: string, params: readonly unknown[]) => boolean;
  readonly methods: string[];
  close(): Promise<void>;
}

/** A real HTTP server between a sequencer and its node. */
export async function startProxy(target: string): Promise<NodeProxy> {
  const hex = (number: bigint) => `0x${number.toString(16)}`;
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const call = JSON.parse(body) as Call;
    const { mood } = proxy;
    proxy.methods.push(call.method);
    const json = (answer: unknown) =>
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ jsonrpc: '2.0', id: 1, ...(answer as object) }));
    if (mood === 'silent') return;
    if (mood === 'http 500') return void response.writeHead(500).end('internal server error');
    if (mood === 'garbage')
      return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"jsonrpc":"2.0","res');
    if (mood === 'errors') return void json({ error: { code: -32603, message: 'internal error' } });
    if (typeof mood === 'object') {
      const tags: Record<string, bigint> = { latest: mood.behind, safe: mood.behind - 2n, finalized: mood.behind - 4n };
      call.params = call.params.map((param) => (typeof param === 'string' && param in tags ? hex(tags[param] ?? 0n) : param));
    }
    if (proxy.refuse(call.method, call.params)) return void json({ error: { code: -32005, message: 'ask for less' } });
    const lost = proxy.lose(call.method);
    if (lost === true) return void response.socket?.destroy();
    try {
      const answer = await fetch(target, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(call),
      });
      const text = await answer.text();
      if (lost === 'answer') return void response.socket?.destroy();
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
    } catch {
      response.socket?.destroy();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: NodeProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mood: 'well',
    lose: () => false,
    refuse: () => false,
    methods: [],
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
