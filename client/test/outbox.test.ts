import { spawn } from 'node:child_process';
import { copyFile, mkdtemp, readdir, rm, unlink, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { memoryOutbox, outboxName, systemClock } from '../src/index.js';
import { fileOutbox } from '../src/node.js';
import { outboxCompliance, outboxKey, record } from './outbox.compliance.js';

const folders: string[] = [];
const folder = async () => {
  const made = await mkdtemp(join(tmpdir(), 'sealpost-outbox-'));
  folders.push(made);
  return made;
};
afterAll(() => Promise.all(folders.map((one) => rm(one, { recursive: true, force: true }))));
const { signal } = new AbortController();

outboxCompliance('memoryOutbox', async () => ({ outbox: memoryOutbox(), reload: undefined }));
outboxCompliance('fileOutbox', async () => {
  const options = { folder: await folder() };
  return { outbox: fileOutbox(options), reload: () => fileOutbox(options) };
});

describe('fileOutbox after a crash', () => {
  const bundleFile = (nonce: bigint) => `${String(nonce).padStart(20, '0')}.bundle`;
  const own = (base: string) => join(base, outboxName(outboxKey));
  /** Somebody who wants the lock; `waits` when it had to wait. */
  const waiting = (base: string) => {
    let wait = (_: 'waits') => {};
    const waits = new Promise<'waits'>((resolve) => {
      wait = resolve;
    });
    const sleep: typeof systemClock.sleep = (ms, stop) => {
      wait('waits');
      return systemClock.sleep(ms, stop);
    };
    return { second: fileOutbox({ folder: base, clock: { ...systemClock, sleep } }).open(outboxKey, { signal }), waits };
  };

  it('between the two steps of replace: the new bundle is there, the old one gone', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    await lane.put(record(5n));
    const saved = join(base, 'saved');
    await copyFile(join(own(base), bundleFile(5n)), saved);
    await lane.replace(5n, record(8n));
    await lane.close();
    await copyFile(saved, join(own(base), bundleFile(5n)));
    const again = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    expect(again.pending).toEqual([record(8n)]);
    await again.close();
  });

  it('between the two steps of accept: the head has moved, the bundle is gone, its job counted', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    const sent = record(5n, 3, { name: 'file', done: 3 });
    await lane.put(sent);
    const saved = join(base, 'saved');
    await copyFile(join(own(base), bundleFile(5n)), saved);
    await lane.accept(5n, { next: 8n });
    await lane.close();
    await copyFile(saved, join(own(base), bundleFile(5n)));
    await rm(join(own(base), 'jobs'), { recursive: true });
    const again = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    expect(again.pending).toEqual([]);
    expect(await again.jobDone('file')).toBe(3);
    await again.close();
  });

  it('in the middle of a write: a temporary file is nobody’s', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    await lane.put(record(1n));
    await lane.close();
    await writeFile(join(own(base), '.0123456789abcdef.tmp'), 'half a bund');
    const again = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    expect(again.pending).toEqual([record(1n)]);
    await again.close();
  });

  it('a bundle that the disk damaged stops everything: its nonce must not be signed again', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    await lane.put(record(1n));
    await lane.close();
    await writeFile(join(own(base), bundleFile(1n)), 'something else');
    await expect(fileOutbox({ folder: base }).open(outboxKey, { signal })).rejects.toMatchObject({ code: 'outbox.damaged' });
  });

  it('leaves no lock behind a failure', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    await lane.put(record(1n));
    await lane.close();
    await writeFile(join(own(base), 'head.json'), '{');
    await expect(fileOutbox({ folder: base }).open(outboxKey, { signal })).rejects.toMatchObject({ code: 'outbox.damaged' });
    expect((await readdir(own(base))).filter((name) => name.startsWith('lock'))).toEqual([]);
    await unlink(join(own(base), 'head.json'));
    await (await fileOutbox({ folder: base }).open(outboxKey, { signal })).close();
  });

  it('a step of the wall clock takes no lock from its holder', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    const later = Date.now() + 60_000;
    const clock = vi.spyOn(Date, 'now').mockReturnValue(later);
    try {
      const { second, waits } = waiting(base);
      expect(await Promise.race([second.then(() => 'taken'), waits])).toBe('waits');
      await lane.close();
      await (await second).close();
    } finally {
      clock.mockRestore();
    }
  });

  it.each([
    ['got its number later', { pid: process.pid, started: 'another boot/1' }],
    ['is gone', { pid: 2 ** 22 + 1, started: 'another boot/1' }],
  ])('a lock whose process %s is taken over, by one of many', async (_name, holder) => {
    const base = await folder();
    const path = join(own(base), 'lock');
    await (await fileOutbox({ folder: base }).open(outboxKey, { signal })).close();
    const stale = `${JSON.stringify({ ...holder, host: hostname() })}\n`;
    await writeFile(path, stale);
    // One that was killed while it took over, too.
    await writeFile(`${path}.breaking`, stale);
    let holders = 0;
    let most = 0;
    const once = async () => {
      const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal: new AbortController().signal });
      most = Math.max(most, ++holders);
      await lane.put(record(1n));
      await lane.drop(1n);
      holders--;
      await lane.close();
    };
    await Promise.all(Array.from({ length: 12 }, once));
    expect(most).toBe(1);
    expect((await readdir(own(base))).filter((name) => name.startsWith('lock'))).toEqual([]);
  });

  it('a bundle that was refused for good is kept aside', async () => {
    const base = await folder();
    const lane = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    await lane.put(record(1n));
    await lane.drop(1n);
    expect(lane.pending).toEqual([]);
    await lane.close();
    const again = await fileOutbox({ folder: base }).open(outboxKey, { signal });
    expect(again.pending).toEqual([]);
    await again.close();
    expect(await readdir(join(own(base), 'refused'))).toEqual([expect.stringMatching(/^0{19}1-[0-9a-f]{16}\.bundle$/)]);
  });

  it('takes over the lock of a process that was killed', async () => {
    const base = await folder();
    const program = `
      import { fileOutbox } from '${new URL('../dist/node.js', import.meta.url).href}';
      const key = { chainId: 31337n, settlement: '${outboxKey.settlement}', sender: '${outboxKey.sender}', lane: 0 };
      await fileOutbox({ folder: ${JSON.stringify(base)} }).open(key, { signal: new AbortController().signal });
      process.stdout.write('locked');
      setInterval(() => {}, 1000);
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const impatient = new AbortController();
    const waiting = fileOutbox({ folder: base }).open(outboxKey, { signal: impatient.signal });
    let got = false;
    waiting.then(() => {
      got = true;
    });
    expect(got).toBe(false);
    child.kill('SIGKILL');
    const lane = await waiting;
    expect(lane.pending).toEqual([]);
    await lane.close();
  });
});
