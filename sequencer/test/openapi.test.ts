import { bundleToJson } from '@sealpost/prover';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Account, frames, topicOf } from './bundles.js';
import { closeVerifiers, Pipeline } from './pipeline.js';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Schema = { readonly [keyword: string]: Json };
interface Operation {
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema: Schema }> }>;
  readonly parameters?: { readonly name: string; readonly in: string; readonly required?: boolean; readonly schema: Schema }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Schema }> };
}
interface Description {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, Schema> };
}

const [alice, bob] = [new Account('alice'), new Account('bob')];
const NEWS = topicOf('news');
let it: Pipeline;
let description: Description;

beforeAll(async () => {
  it = await Pipeline.open();
  description = await it.json<Description>('/openapi.json');
  await it.submit(alice.sign({ messages: ['a', 'b'] }));
  await it.seal();
  await it.submit(bob.sign());
});
afterAll(async () => {
  await it.close();
  await closeVerifiers();
});

const KEYWORDS = new Set([
  ...['type', 'properties', 'required', 'items', 'anyOf', 'enum', 'const', 'pattern', 'format', 'minimum', 'maximum', '$ref'],
  ...['minItems', 'maxItems', 'additionalProperties', 'description', 'exclusiveMinimum'],
]);

function resolve(ref: string): Schema {
  const name = /^#\/components\/schemas\/(\w+)$/.exec(ref)?.[1];
  const found = name === undefined ? undefined : description.components.schemas[name];
  if (found === undefined) throw new Error(`${ref} leads nowhere`);
  return found;
}

/** What of JSON Schema the description uses, judged strictly: nothing may be there that the schema does not name. */
function complaints(value: Json | undefined, schema: Schema, at = '$'): string[] {
  const unknown = Object.keys(schema).filter((keyword) => !KEYWORDS.has(keyword));
  if (unknown.length > 0) return [`${at}: the schema says ${unknown}, which this test does not understand`];
  if (typeof schema.$ref === 'string') return complaints(value, resolve(schema.$ref), at);
  if (Array.isArray(schema.anyOf)) {
    const branches = schema.anyOf.map((branch) => complaints(value, branch as Schema, at));
    return branches.some((found) => found.length === 0) ? [] : branches.flat();
  }
  if (value === undefined) return [`${at}: is missing`];
  if ('const' in schema && value !== schema.const) return [`${at}: is not ${schema.const}`];
  if (Array.isArray(schema.enum) && !schema.enum.includes(value)) return [`${at}: ${value} is none of ${schema.enum}`];
  const types = schema.type === undefined ? [] : [schema.type].flat();
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  if (types.length > 0 && !types.includes(type) && !(type === 'number' && types.includes('integer') && Number.isInteger(value))) {
    return [`${at}: ${type} instead of ${types}`];
  }
  if (typeof value === 'string' && typeof schema.pattern === 'string' && !new RegExp(schema.pattern).test(value)) {
    return [`${at}: ${value} does not match ${schema.pattern}`];
  }
  if (typeof value === 'number') {
    if (typeof schema.minimum === 'number' && value < schema.minimum) return [`${at}: ${value} is below ${schema.minimum}`];
    if (typeof schema.maximum === 'number' && value > schema.maximum) return [`${at}: ${value} is above ${schema.maximum}`];
  }
  if (Array.isArray(value))
    return value.flatMap((item, index) => complaints(item, (schema.items ?? {}) as Schema, `${at}[${index}]`));
  if (value === null || typeof value !== 'object') return [];
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  const required = (schema.required ?? []) as string[];
  return [
    ...required.filter((name) => !(name in value)).map((name) => `${at}.${name}: is missing`),
    ...Object.entries(value).flatMap(([name, member]) => {
      const own = properties[name];
      if (own !== undefined) return complaints(member, own, `${at}.${name}`);
      return schema.additionalProperties === undefined ? [`${at}.${name}: is not described`] : [];
    }),
  ];
}

/** A real response held against what the description says about its route and status. */
async function complaintsOf(route: string, method: string, response: Response): Promise<string[]> {
  const described = description.paths[route]?.[method]?.responses[String(response.status)];
  if (described === undefined) return [`${method} ${route}: ${response.status} is not described`];
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  const schema = described.content?.[type]?.schema;
  if (schema === undefined) return [`${method} ${route}: ${response.status} as ${type} is not described`];
  if (!type.endsWith('json')) return [];
  return complaints((await response.json()) as Json, schema).map(
    (complaint) => `${method} ${route} ${response.status} ${complaint}`,
  );
}

test('every $ref resolves, every path parameter is declared, operations have their responses', () => {
  expect(description.openapi).toBe('3.1.0');
  const refs = [...JSON.stringify(description).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref as string);
  expect(refs.length).toBeGreaterThan(10);
  for (const ref of refs) expect(() => resolve(ref)).not.toThrow();
  expect(Object.keys(description.paths).sort()).toEqual([
    '/v1/accounts/{address}',
    '/v1/batches',
    '/v1/batches/{lane}/{number}',
    '/v1/batches/{lane}/{number}/data',
    '/v1/bundles',
    '/v1/messages/{sender}/{lane}/{nonce}',
    '/v1/messages/{sender}/{lane}/{nonce}/proof',
    '/v1/status',
    '/v1/topics/{topic}/messages',
    '/v1/topics/{topic}/stream',
  ]);
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const operation of Object.values(methods)) {
      expect(Object.keys(operation.responses)).toContain('200');
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path').map(({ name }) => name);
      expect(declared.sort()).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort());
    }
  }
});

test('the bundle that clients send is described as they send it', () => {
  const schema = description.paths['/v1/bundles']?.post?.requestBody?.content['application/json']?.schema as Schema;
  const json = bundleToJson(alice.sign().bundle) as unknown as Json;
  expect(complaints(json, schema)).toEqual([]);
  expect(complaints([json, json], schema)).toEqual([]);
  expect(complaints({ ...(json as { [name: string]: Json }), nonce: 0 }, schema)).not.toEqual([]);
});

describe('real responses are as described', () => {
  const message = `/v1/messages/${alice.address}/0/0`;
  const unsealed = `/v1/messages/${bob.address}/0/0`;
  test.each<[string, string]>([
    ['/v1/accounts/{address}', `/v1/accounts/${alice.address}`],
    ['/v1/accounts/{address}', '/v1/accounts/x'],
    ['/v1/topics/{topic}/messages', `/v1/topics/${NEWS}/messages`],
    ['/v1/topics/{topic}/messages', `/v1/topics/${NEWS}/messages?proofs=1`],
    ['/v1/topics/{topic}/messages', `/v1/topics/${NEWS}/messages?limit=0`],
    ['/v1/messages/{sender}/{lane}/{nonce}', message],
    ['/v1/messages/{sender}/{lane}/{nonce}', unsealed],
    ['/v1/messages/{sender}/{lane}/{nonce}', `/v1/messages/${bob.address}/0/9`],
    ['/v1/messages/{sender}/{lane}/{nonce}/proof', `${message}/proof`],
    ['/v1/messages/{sender}/{lane}/{nonce}/proof', `${message}/proof?anchor=receipt`],
    ['/v1/messages/{sender}/{lane}/{nonce}/proof', `${unsealed}/proof`],
    ['/v1/batches', '/v1/batches'],
    ['/v1/batches', '/v1/batches?limit=x'],
    ['/v1/batches/{lane}/{number}', '/v1/batches/0/1'],
    ['/v1/batches/{lane}/{number}', '/v1/batches/0/7'],
    ['/v1/batches/{lane}/{number}/data', '/v1/batches/0/1/data'],
    ['/v1/batches/{lane}/{number}/data', '/v1/batches/0/7/data'],
    ['/v1/status', '/v1/status'],
  ])('GET %s as %s', async (route, path) => {
    expect(await complaintsOf(route, 'get', await it.get(path))).toEqual([]);
  });

  test('ranges', async () => {
    const route = '/v1/batches/{lane}/{number}/data';
    expect(await complaintsOf(route, 'get', await it.get('/v1/batches/0/1/data', { Range: 'bytes=0-1' }))).toEqual([]);
    expect(await complaintsOf(route, 'get', await it.get('/v1/batches/0/1/data', { Range: 'bytes=9999999-' }))).toEqual([]);
  });

  test('POST /v1/bundles', async () => {
    const bodies = [
      frames(alice.sign({ nonce: 2n })),
      frames(alice.sign({ nonce: 3n }), alice.sign({ nonce: 9n })),
      frames(alice.sign({ nonce: 9n })),
      frames(alice.sign({ nonce: 9n }), alice.sign({ nonce: 8n })),
      frames(alice.sign({ lane: 1 })),
      new Uint8Array(3),
    ];
    const statuses: number[] = [];
    for (const body of bodies) {
      const response = await it.post(body);
      statuses.push(response.status);
      expect(await complaintsOf('/v1/bundles', 'post', response)).toEqual([]);
    }
    expect(statuses).toEqual([200, 207, 409, 409, 422, 400]);
  });

  test('POST /v1/bundles where messages have a price', async () => {
    const priced = await Pipeline.open({ tariff: { price: { perMessage: 3n, perByte: 0n }, carried: () => 4n } });
    for (const postage of [2n, 5n]) {
      const response = await priced.post(frames(alice.sign({ postage })));
      expect(response.status).toBe(402);
      expect(await complaintsOf('/v1/bundles', 'post', response)).toEqual([]);
    }
    expect((await priced.post(frames(alice.sign({ postage: 4n })))).status).toBe(200);
    const price = { perMessage: '3', perByte: '0' };
    expect(await priced.json(`/v1/accounts/${alice.address}`)).toMatchObject({ nonce: '1', owed: '4', price });
    expect(await priced.json('/v1/status')).toMatchObject({ price });
    await priced.close();
  });
});
