import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { allGone, committed, networkOf, run, sendOne, start } from './commands.js';
import { temporaryFolder, until } from './stage.js';

test('npm start: a screen, a second start refused, ctrl-c leaves no process, and the next start resumes', async () => {
  const data = temporaryFolder();
  const key = Uint8Array.from({ length: 32 }, (_, at) => at + 1);
  const first = await start(data);
  expect(first.processes).toHaveLength(3);
  expect(first.output).toContain(`HTTP        ${first.network.url}`);
  expect(first.output).toContain('0x5FbD…0aa3');
  expect(Object.keys(first.network.accounts)).toContain('alice');
  expect(await sendOne(first.network, key, 0n)).toBe('0');

  const second = run('devnet', { SEALPOST_DATA: data });
  expect(await second.exited).toBe(1);
  expect(second.output).toContain(`already running, pid ${first.child.pid}, ${first.network.url}`);
  const reset = run('reset', { SEALPOST_DATA: data });
  expect(await reset.exited).toBe(1);
  expect(reset.output).toContain(`pid ${first.child.pid}`);

  await until('the commit', async () => (await committed(first.network)) === 1);
  // As a terminal does: to every process of the group.
  process.kill(-(first.child.pid as number), 'SIGINT');
  expect(await first.exited).toBe(0);
  await allGone(first.processes);
  expect(networkOf(data)).toBeUndefined();

  const again = await start(data);
  expect(again.output).toContain('(resumed)');
  expect(again.network.settlement).toBe(first.network.settlement);
  expect(await committed(again.network)).toBe(1);
  expect(await sendOne(again.network, key, 4n)).toBe('1');
  again.child.kill('SIGTERM');
  expect(await again.exited).toBe(0);
  await allGone(again.processes);

  const dropped = run('reset', { SEALPOST_DATA: data });
  expect(await dropped.exited).toBe(0);
  expect(existsSync(data)).toBe(false);
});

test('killed as a whole tree, or as the parent alone, the next start goes on with everything acknowledged', async () => {
  const data = temporaryFolder();
  const key = Uint8Array.from({ length: 32 }, (_, at) => at + 2);
  const first = await start(data);
  expect(await sendOne(first.network, key, 0n)).toBe('0');
  for (const { pid } of first.processes) process.kill(pid, 'SIGKILL');
  await allGone(first.processes);

  const second = await start(data);
  expect(await sendOne(second.network, key, 4n)).toBe('1');
  // Only the parent: its watchdog stops the others.
  second.child.kill('SIGKILL');
  const third = await start(data);
  await allGone(second.processes);
  expect(await sendOne(third.network, key, 8n)).toBe('2');
  await until('every bundle to be committed', async () => (await committed(third.network)) === 3);

  // Gone for good: the same address again, and every batch posted again.
  process.kill(third.child.pid as number, 'SIGTERM');
  expect(await third.exited).toBe(0);
  rmSync(join(data, 'anvil.json'));
  const fourth = await start(data);
  expect(fourth.output).toContain('deployed again');
  expect(fourth.network.settlement).toBe(first.network.settlement);
  await until('every bundle to be committed again', async () => (await committed(fourth.network)) === 3);
  fourth.child.kill('SIGINT');
  expect(await fourth.exited).toBe(0);
  await allGone(fourth.processes);
});
