import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentity, type SecretIdentity } from '../src/index.js';
import { writeKeyFile, writeNetwork } from '../src/node.js';
import { type Anvil, startAnvil } from './anvil.js';
import { ModelSequencer } from './model.js';

const BIN = fileURLToPath(new URL('../bin/sealpost.js', import.meta.url));
let folder: string;
let home: string;
let anvil: Anvil;
let model: ModelSequencer;
let alice: SecretIdentity;
let sealer: NodeJS.Timeout;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealpost-cli-'));
  home = join(folder, 'home');
  anvil = await startAnvil();
  model = await ModelSequencer.start(anvil);
  alice = await createIdentity();
  const bob = await createIdentity();
  const accounts: Record<string, { address: `0x${string}`; publicKey: `0x${string}`; keyFile: string }> = {};
  for (const [name, identity] of Object.entries({ alice, bob })) {
    const keyFile = join(folder, 'data', `${name}.json`);
    await writeKeyFile(keyFile, identity, { passphrase: '' });
    accounts[name] = { address: identity.account.address, publicKey: identity.keys.publicKey, keyFile };
  }
  const network = {
    version: 1,
    url: model.url,
    l1Url: anvil.url,
    chainId: 31_337,
    settlement: model.settlement,
    accounts,
  } as const;
  await writeNetwork(network, join(folder, 'data'));
  // A sequencer seals what it has every now and then.
  let settling = Promise.resolve();
  sealer = setInterval(() => {
    settling = settling.then(async () => {
      const { entries, batches } = model.lanes[0] as ModelSequencer['lanes'][0];
      const head = batches.at(-1)?.header;
      if (BigInt(entries.length) > (head === undefined ? 0n : head.firstSequence + BigInt(head.count))) await model.settle();
    });
  }, 100);
}, 30_000);
afterAll(async () => {
  clearInterval(sealer);
  await model?.stop();
  await anvil?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(
  args: readonly string[],
  options: { stdin?: string; env?: Record<string, string>; interrupt?: RegExp } = {},
): Promise<Ran> {
  const env = { PATH: process.env.PATH ?? '', HOME: home, SEALPOST_DATA: join(folder, 'data'), COLUMNS: '100', ...options.env };
  const child = spawn(process.execPath, [BIN, ...args], { env, cwd: folder });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    if (options.interrupt?.test(out)) child.kill('SIGINT');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
    if (options.interrupt?.test(err)) child.kill('SIGINT');
  });
  child.stdin.end(options.stdin ?? '');
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

const json = (text: string) => JSON.parse(text);
const lines = (text: string) => text.trim().split('\n').map(json);

describe('help', () => {
  it.each([
    '--help',
    'keys new --help',
    'keys show --help',
    'send --help',
    'inbox --help',
    'proof --help',
    'verify --help',
    'status --help',
    'audit --help',
    'operator --help',
    'operator register --help',
    'operator bond --help',
    'operator takeover --help',
    'postage --help',
    'postage withdraw --help',
    'postage redeem --help',
    'demand --help',
    'answer --help',
    'doctor --help',
    'completion --help',
    'help exit-codes',
  ])('%s', async (line) => {
    const { code, out, err } = await run(line.split(' '));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatchSnapshot();
  });

  it('is the same by either way', async () => {
    expect((await run(['help', 'send'])).out).toBe((await run(['send', '--help'])).out);
    expect((await run(['help', 'nonsense'])).code).toBe(2);
  });

  it('imports nothing that it does not need', async () => {
    const importsOf = async (file: string) =>
      [...(await readFile(new URL(`../dist/${file}`, import.meta.url), 'utf8')).matchAll(/^import .*'([^']+)';$/gm)].map(
        ([, name]) => name,
      );
    expect(await importsOf('cli.js')).toEqual(['./cli/program.js', './cli/run.js']);
    expect(await importsOf('cli/program.js')).toEqual(['node:fs', 'commander', './exit.js']);
    expect(await importsOf('cli/run.js')).toEqual(['./exit.js', './output.js']);
    expect([...(await importsOf('cli/exit.js')), ...(await importsOf('cli/output.js'))]).toEqual([]);
  });

  it('tells its version', async () => {
    expect((await run(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('usage errors', () => {
  it.each([
    ['sendd', 'did you mean send?', 'sealpost --help'],
    ['send --too alice x', 'did you mean --to?', 'sealpost send --help'],
    ['verify', "missing required argument 'file'", 'sealpost verify --help'],
    ['send --to alice', 'nothing to send', 'sealpost send'],
    ['send hello', 'to whom?', 'sealpost send'],
    ['send --to alice --file x y', 'not both', 'sealpost send'],
    ['inbox', 'whose keys?', 'sealpost inbox --as alice'],
    ['inbox --as alice -n 0', 'expected at least 1', 'sealpost inbox -n 1'],
    ['proof nonsense', 'expected a message id', 'sealpost proof --help'],
    ['status --timeout soon', 'Expected a number of seconds', 'sealpost --help'],
    ['status --settlement 0x12', 'expected an address', 'sealpost doctor'],
    ['status --url ftp://x', 'expected an http:// or https:// address', 'sealpost doctor'],
    ['completion tcsh', 'expected a shell', 'sealpost completion bash'],
    ['keys new ../x', 'a name has', 'sealpost keys new work'],
  ])('%s', async (line, message, next) => {
    const { code, out, err } = await run(line.split(' '));
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
    expect(err.trim().split('\n').at(-1)).toContain(`Next: ${next}`);
  });

  it('in JSON, too', async () => {
    const { code, out } = await run(['send', 'x', '--json']);
    expect(code).toBe(2);
    expect(json(out)).toMatchObject({ version: 1, command: 'send', ok: false, exitCode: 2, error: { code: 'usage' } });
  });
});

describe('send, inbox, proof, verify', () => {
  it('from a message to the L1 and back', async () => {
    const sent = await run(['send', '--to', 'alice', '--as', 'bob', 'hello\nthere \u001b[31mred']);
    expect(sent.code).toBe(0);
    const id = sent.out.trim();
    expect(id).toMatch(/^0x[0-9a-f]{40}\/0\/\d+$/);
    expect(sent.err).toContain(`Next: sealpost proof ${id}`);

    const inbox = await run(['inbox', '--as', 'alice']);
    expect(inbox.code).toBe(0);
    expect(inbox.out).toContain('bob  hello\\nthere \\u{1b}[31mred\n');
    expect(inbox.out).not.toContain('\u001b');
    const [item] = lines((await run(['inbox', '--as', 'alice', '--json', '-n', '1'])).out);
    expect(item).toMatchObject({
      version: 1,
      command: 'inbox',
      type: 'message',
      data: { id, text: 'hello\nthere \u001b[31mred' },
    });

    const file = join(folder, 'hello.proof.json');
    const proof = await run(['proof', id, '--out', file]);
    expect(proof).toMatchObject({ code: 0, out: `${file}\n` });
    const verified = await run(['verify', file]);
    expect(verified.code).toBe(0);
    expect(verified.out).toMatch(
      /^This message from 0x[0-9a-f]{40} was settled in batch \d+ on \d+ \w+ \d{4}, block [\d,]+ of chain 31337, and is \w+\.\n/,
    );
    expect(verified.out).toContain('✓ slot');
    expect(verified.out).toContain('merkletreejs climbs 2 of 2 paths');
    expect(json((await run(['verify', file, '--json'])).out)).toMatchObject({
      ok: true,
      data: { valid: true, secondOpinion: [{ holds: true }, { holds: true }] },
    });

    const good = await readFile(file, 'utf8');
    const lied = json(good);
    lied.message.payload = 'AAAA';
    await writeFile(file, JSON.stringify(lied));
    const refused = await run(['verify', file]);
    expect(refused.code).toBe(3);
    expect(refused.out).toMatch(/^This proof is false: messagePath/);
    expect(refused.out).toContain('✗ messagePath');
    expect(json((await run(['verify', file, '--json'])).out)).toMatchObject({
      ok: false,
      data: { valid: false, failedStep: 'messagePath' },
    });
    for (const rubbish of ['', '{}', good.slice(0, 200), 'null']) {
      expect((await run(['verify', '-'], { stdin: rubbish })).code).toBe(3);
    }
    const unreachable = await run(['verify', '-', '--l1', 'http://127.0.0.1:9'], { stdin: good });
    expect(unreachable.code).toBe(4);
    expect((await run(['verify', join(folder, 'missing')])).code).toBe(1);
    // The contract comes from the configuration: where it says another one, the proof is of another network.
    const other = await anvil.deploy();
    const foreign = await run(['verify', '-', '--settlement', other], { stdin: good });
    expect(foreign).toMatchObject({ code: 4, out: '' });
    expect(foreign.err).toContain(`this proof is for contract ${model.settlement}`);
    const elsewhere = JSON.stringify({ ...json(good), chainId: '1' });
    const foreignChain = await run(['verify', '-'], { stdin: elsewhere });
    expect(foreignChain).toMatchObject({ code: 4, err: expect.stringContaining('on chain 1, not for the configured') });
    const none = `0x${'12'.repeat(20)}`;
    const empty = await run(['verify', '-', '--settlement', none], { stdin: good.replaceAll(model.settlement, none) });
    expect(empty).toMatchObject({ code: 4, err: expect.stringContaining('there is no contract') });
    const nowhere = await run(['verify', file], { env: { SEALPOST_DATA: join(folder, 'nothing') } });
    expect(nowhere.err).toContain(`Next: sealpost verify ${file} --l1 <url> --settlement <address>`);
    // What a later version adds does no harm.
    expect((await run(['verify', '-'], { stdin: JSON.stringify({ ...json(good), note: 'x' }) })).code).toBe(0);
    const nosuch = await run(['proof', id, '--out', join(folder, 'nosuch', 'x.json')]);
    expect(nosuch).toMatchObject({ code: 1, err: expect.stringContaining(`Next: mkdir -p ${join(folder, 'nosuch')}`) });
    await expect(stat(join(folder, 'nosuch'))).rejects.toThrow('ENOENT');
  });

  it('tells why the sequencer promises nothing, and the way past it', async () => {
    const detail = 'the operator of lane 0 asked to leave in L1 block 7';
    const refuse = (method: string) =>
      method === 'POST'
        ? { status: 503, problem: { code: 'unavailable', detail, retryAfterMs: 600_000 }, headers: { 'retry-after': '600' } }
        : undefined;
    model.faults.push(refuse);
    const carol = join(folder, 'leaving.json');
    await run(['keys', 'new', 'leaving', '--no-passphrase', '--out', carol]);
    const { code, err } = await run(['send', '--to', 'alice', '--as', carol, '--timeout', '15', 'hello']);
    model.faults.splice(model.faults.indexOf(refuse), 1);
    expect(code).toBe(4);
    expect(err).toContain(`the sequencer is not available: ${detail}, trying again (Ctrl-C stops)`);
    const [said, next] = err.trim().split('\n').slice(-2);
    expect(said).toContain(detail);
    expect(next).toBe(
      '  Next: sealpost send --resume   (the signed message is kept, and goes first; with --force it goes through the L1)',
    );
  });

  it('waits for a rung, and says it in JSON', async () => {
    const { code, out } = await run(['send', '--to', 'alice', '--wait', 'committed', '--json', 'wait for me']);
    expect(code).toBe(0);
    expect(json(out)).toMatchObject({
      version: 1,
      command: 'send',
      ok: true,
      data: { lane: 0, rung: expect.stringMatching(/committed|safe|finalized/) },
    });
  });

  it('reads a message from stdin, and one a line from a file, once', async () => {
    const before = model.messages().length;
    expect((await run(['send', '-q', '--to', 'alice', '-'], { stdin: 'from a pipe\n' })).code).toBe(0);
    const file = join(folder, 'lines.txt');
    await writeFile(file, Array.from({ length: 1_500 }, (_, at) => `line ${at}`).join('\n'));
    const first = await run(['send', '--to', 'alice', '--file', file]);
    expect(first).toMatchObject({ code: 0, out: expect.stringMatching(/^1,500 messages in 2 bundles/) });
    const again = await run(['send', '--to', 'alice', '--file', file, '--json']);
    expect(lines(again.out)).toMatchObject([{ type: 'summary', data: { messages: 0, skipped: 1_500 } }]);
    expect((await run(['send', '--to', 'alice', '--file', '-'], { stdin: 'a\nb\r\nc' })).code).toBe(0);
    expect(model.messages().length - before).toBe(1 + 1_500 + 3);
    const { out } = await run(['inbox', '--as', 'alice', '--json']);
    const texts = lines(out).map(({ data }) => data.text);
    expect(texts.slice(-4)).toEqual(['line 1499', 'a', 'b', 'c']);
    expect(texts).toContain('from a pipe');
  });

  it('names the line of a file that is too long, before any is sent', async () => {
    const before = model.messages().length;
    const file = join(folder, 'long.txt');
    await writeFile(file, `short\n${'é'.repeat(40_000)}\nshort`);
    const long = await run(['send', '--to', 'alice', '--file', file]);
    expect(long).toMatchObject({ code: 1, out: '' });
    expect(long.err).toMatch(/line 2 of .*long\.txt has 80,000 bytes, and a message to alice at most 65,\d+: nothing was sent/);
    expect(long.err).toContain(`Next: sed -n 2p ${file}`);
    const piped = await run(['send', '--to', 'alice', '--file', '-'], { stdin: `a\n${'b'.repeat(70_000)}` });
    expect(piped).toMatchObject({ code: 1, err: expect.stringContaining('line 2 of stdin has 70,000 bytes') });
    expect(model.messages()).toHaveLength(before);
    expect((await run(['send', '--to', 'alice', '--file', folder])).err).toContain(`${folder} is a folder`);
    await writeFile(file, '');
    const empty = await run(['send', '--to', 'alice', '--file', file]);
    expect(empty).toMatchObject({ code: 0, err: expect.stringContaining('is empty: there is nothing to send') });
  });

  it('watches until Ctrl-C', async () => {
    await run(['send', '-q', '--to', 'alice', 'look at me']);
    const { code, out } = await run(['inbox', '--as', 'alice', '--watch'], { interrupt: /look at me/ });
    expect(code).toBe(130);
    expect(out).toContain('look at me');
  });

  it('says that a cursor is none, where the sequencer does', async () => {
    const refuse = (_method: string, url: URL) =>
      url.searchParams.get('after') === 'xx'
        ? {
            status: 400,
            problem: { type: 'about:blank', title: 'no', code: 'request.invalid', detail: 'after: expected a cursor' },
          }
        : undefined;
    model.faults.push(refuse);
    const { code, err } = await run(['inbox', '--as', 'alice', '--after', 'xx']);
    model.faults.splice(model.faults.indexOf(refuse), 1);
    expect(code).toBe(2);
    expect(err).toContain('--after: xx is no cursor');
  });

  it('on a local network that was made anew, says what to forget; others keep their outboxes apart', async () => {
    const behind = (method: string, url: URL) =>
      method === 'GET' && url.pathname.includes('/v1/accounts/')
        ? { status: 200, headers: { 'content-type': 'application/json' }, problem: { nonce: '0' } }
        : undefined;
    await run(['send', '--to', 'alice', '--as', 'bob', 'before']);
    model.faults.push(behind);
    const refused = await run(['send', '--to', 'alice', '--as', 'bob', 'after']);
    // Not the network of network.json: its outbox is the user's own, one for each first block of a chain.
    const state = join(folder, 'state');
    const env = { XDG_STATE_HOME: state, SEALPOST_SETTLEMENT: model.settlement };
    const carol = join(folder, 'carol.json');
    await run(['keys', 'new', 'carol', '--no-passphrase', '--out', carol]);
    expect(await run(['send', '--to', 'alice', '--as', carol, 'apart'], { env })).toMatchObject({ code: 0 });
    model.faults.splice(model.faults.indexOf(behind), 1);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('this local network was made anew since');
    const [, own = ''] = /Next: rm -r (\S+)/.exec(refused.err) ?? [];
    expect(own.startsWith(join(folder, 'data', 'outbox', '31337-'))).toBe(true);
    await rm(own, { recursive: true });
    expect((await run(['send', '--to', 'alice', '--as', 'bob', 'after'])).code).toBe(0);
    expect(await readdir(join(state, 'sealpost', 'outbox'))).toEqual([expect.stringMatching(/^local-[0-9a-f]{16}$/)]);
  });

  it('finds nobody, or who was meant', async () => {
    expect((await run(['send', '--to', 'alcie', 'x'])).err).toContain('did you mean alice?');
    expect((await run(['send', '--to', `0x${'12'.repeat(20)}`, 'x'])).err).toContain('is an address');
    expect((await run(['send', '--to', alice.account.address, 'by address'])).code).toBe(0);
    expect((await run(['proof', `${alice.account.address}/0/9999`])).code).toBe(1);
  });
});

describe('keys', () => {
  const config = () => ({ XDG_CONFIG_HOME: join(folder, 'config') });

  it('are made with a passphrase out of a file, and opened with it', async () => {
    const passphrase = join(folder, 'passphrase');
    await writeFile(passphrase, 'correct horse\nsecond line\n', { mode: 0o640 });
    const shared = await run(['keys', 'new', 'work', '--passphrase-file', passphrase], { env: config() });
    expect(shared).toMatchObject({ code: 1, err: expect.stringContaining(`Next: chmod 600 ${passphrase}`) });
    await chmod(passphrase, 0o600);
    const made = await run(['keys', 'new', 'work', '--passphrase-file', passphrase, '--json'], { env: config() });
    expect(made.code).toBe(0);
    const { data } = json(made.out);
    expect((await stat(data.file)).mode & 0o777).toBe(0o600);
    const shown = await run(['keys', 'show', 'work', '--json'], { env: config() });
    expect(json(shown.out).data.keys).toMatchObject([
      { name: 'work', address: data.address, publicKey: data.publicKey, passphrase: true },
    ]);
    expect((await run(['keys', 'new', 'work', '--passphrase-file', passphrase], { env: config() })).code).toBe(1);

    const nobody = await run(['send', '--to', 'alice', '--as', 'work', 'x'], { env: config() });
    expect(nobody).toMatchObject({ code: 2, err: expect.stringContaining('nobody to ask') });
    const sent = await run(['send', '--to', 'alice', '--as', 'work', '--passphrase-file', passphrase, 'x'], { env: config() });
    expect(sent.out).toContain(`${data.address}/0/0`);
    await writeFile(passphrase, 'wrong\n');
    const wrong = await run(['send', '--to', 'alice', '--as', 'work', '--passphrase-file', passphrase, 'x'], { env: config() });
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('the passphrase is not') });

    await chmod(data.file, 0o640);
    const open = await run(['send', '--to', 'alice', '--as', 'work', 'x'], { env: config() });
    expect(open.err).toContain(`Next: chmod 600 ${data.file}`);
    expect(open.err.match(/chmod/g)).toHaveLength(1);
  });

  it('of the project go before those of the user with the same name', async () => {
    const env = { XDG_CONFIG_HOME: join(folder, 'shadow') };
    const made = await run(['keys', 'new', 'alice', '--no-passphrase'], { env });
    expect(made).toMatchObject({ code: 0, err: expect.stringContaining("has an account 'alice'") });
    const sent = await run(['send', '--to', 'alice', '--as', 'bob', 'to the alice of the project'], { env });
    expect(sent).toMatchObject({ code: 0, err: expect.stringContaining("'alice' is the account of this development network") });
    const read = await run(['inbox', '--as', 'alice', '-n', '1'], { env });
    expect(read).toMatchObject({ code: 0, err: expect.stringContaining('alice.json') });
    expect(read.out).not.toBe('');
    expect((await run(['keys', 'new', 'carol', '--no-passphrase'], { env })).err).not.toContain('has an account');
  });

  it('take no secret from the environment or a flag', async () => {
    expect((await run(['send', '--passphrase', 'x', '--to', 'alice', 'y'])).code).toBe(2);
    expect((await run(['keys', 'new', 'x', '--private-key', '0x11'])).code).toBe(2);
  });
});

describe('status, audit, doctor', () => {
  it('say that all is well', async () => {
    expect((await run(['status'])).code).toBe(0);
    const audit = await run(['audit', '--json']);
    expect(audit.code).toBe(0);
    expect(lines(audit.out).at(-1)).toMatchObject({ type: 'report', data: { clean: true, mismatchCount: 0 } });
    const people = await run(['audit']);
    expect(people.out).toMatch(/^✓ The log is what the L1 says/);
  });

  it('what the sequencer says without the L1 is shown as unverified, and is 4', async () => {
    const people = await run(['status', '--l1', 'http://127.0.0.1:9', '--timeout', '2']);
    expect(people.code).toBe(4);
    expect(people.out).toMatch(/^sequencer .*nothing of it is verified.*\n(.*\n)+lane 0 +accepted .*unverified\)\n/);
    expect(people.err).toContain('the L1 node does not answer');
    expect(people.err.trim().split('\n').at(-1)).toContain('Next: sealpost doctor');
    const program = await run(['status', '--json', '--l1', 'http://127.0.0.1:9', '--timeout', '2']);
    expect(json(program.out)).toMatchObject({ ok: false, data: { verified: false, l1: { error: { code: 'l1.unreachable' } } } });
  });

  it('the audit of a false log is 3, of an unreachable one 4', async () => {
    const { batches } = model.lanes[0] as ModelSequencer['lanes'][0];
    const [first] = batches as { file: Uint8Array }[];
    const good = first?.file as Uint8Array;
    const bad = good.slice();
    bad[30] = (bad[30] as number) ^ 1;
    Object.assign(first as object, { file: bad });
    const audit = await run(['audit']);
    expect(audit.code).toBe(3);
    expect(audit.out).toContain('file.dataHash  lane 0, batch 1');
    Object.assign(first as object, { file: good });
    expect((await run(['audit', '--url', 'http://127.0.0.1:9', '--timeout', '1'])).code).toBe(4);
  });

  it('doctor names what is wrong', async () => {
    const well = await run(['doctor', '--json']);
    const checks = json(well.out).data.findings.map(({ check }: { check: string }) => check);
    expect(checks).toEqual(['node', 'disk', 'fsync', 'L1', 'contract', 'clock', 'sequencer', 'ready', 'keys']);
    const silent = await run(['doctor', '--l1', 'http://127.0.0.1:9', '--url', 'http://127.0.0.1:9']);
    expect(silent.code).toBe(4);
    expect(silent.out).toContain('Next: npm start');
    const empty = await run(['doctor'], { env: { SEALPOST_DATA: join(folder, 'nothing') } });
    expect(empty.code).toBe(1);
    const wrong = await run(['doctor', '--settlement', `0x${'12'.repeat(20)}`]);
    expect(wrong).toMatchObject({ code: 1, out: expect.stringContaining('there is no contract') });
  });

  it('without any network, say how to get one', async () => {
    const { code, err } = await run(['status'], { env: { SEALPOST_DATA: join(folder, 'nothing') } });
    expect(code).toBe(1);
    expect(err).toContain('Next: npm start');
  });
});

it('takes flags before environment before network.json', async () => {
  const env = { SEALPOST_URL: 'http://127.0.0.1:9' };
  expect((await run(['status', '--timeout', '1'], { env })).code).toBe(4);
  expect((await run(['status', '--url', model.url], { env })).code).toBe(0);
});

it('prints colors and animation for nobody but a terminal', async () => {
  const { out, err } = await run(['status']);
  expect(out + err).not.toContain('\u001b');
});

it.each(['bash', 'zsh', 'fish'])('completes in %s what the help lists', async (shell) => {
  const { code, out } = await run(['completion', shell]);
  expect(code).toBe(0);
  for (const word of ['send', 'inbox', 'exit-codes', shell === 'fish' ? '-l passphrase-file' : '--passphrase-file'])
    expect(out).toContain(word);
});

it('the bash completion works in bash', async () => {
  const { out } = await run(['completion', 'bash']);
  const script = `${out}\nCOMP_WORDS=(sealpost keys n); COMP_CWORD=2; _sealpost; echo "\${COMPREPLY[@]}"; COMP_WORDS=(sealpost inb); COMP_CWORD=1; _sealpost; echo "\${COMPREPLY[@]}"`;
  const child = spawn('bash', ['-c', script]);
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  await new Promise((resolve) => child.once('close', resolve));
  expect(said).toBe('new\ninbox\n');
});

it('Ctrl-C at the question for a passphrase is 130, like everywhere', async () => {
  const config = join(folder, 'prompt');
  await writeKeyFile(join(config, 'sealpost', 'keys', 'mine.json'), alice, { passphrase: 'secret', scryptN: 1_024 });
  const command = `"${process.execPath}" "${BIN}" send --to alice --as mine x; echo "exit $?"`;
  const child = spawn('python3', ['-c', TERMINAL, command], {
    env: { PATH: process.env.PATH ?? '', HOME: home, XDG_CONFIG_HOME: config, SEALPOST_DATA: join(folder, 'data') },
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (/Passphrase of mine: $/.test(said + chunk) && !said.includes('Passphrase')) child.stdin.write('sec\u0003');
    said += chunk;
  });
  await new Promise((resolve) => child.once('close', resolve));
  expect(said).toContain('exit 130');
  expect(said).not.toContain('sec\n');
});

/** Runs a command on a terminal of its own, which our stdin and stdout are connected with. */
const TERMINAL = `
import pty, sys
pty.spawn(["sh", "-c", sys.argv[1]])
`;

it('a reader who closes the pipe is no error', async () => {
  await run(['send', '-q', '--to', 'alice', '--file', '-'], { stdin: 'one line\n'.repeat(2_000) });
  const child = spawn('sh', ['-c', `"${process.execPath}" "${BIN}" inbox --as alice | head -n 1; echo done`], {
    env: { PATH: process.env.PATH ?? '', HOME: home, SEALPOST_DATA: join(folder, 'data') },
  });
  let said = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  await new Promise((resolve) => child.once('close', resolve));
  expect(said).toMatch(/^bob {2}.*\ndone\n$/);
  expect(err).toBe('');
});
