import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';
import { Folder, writeAtomically } from '../folder.js';
import { temporaryFolder } from './stage.js';

const calls = vi.hoisted((): string[] => []);
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const watched = (name: 'fsyncSync' | 'renameSync') => ({
    [name]: (...args: never[]) => {
      calls.push(name);
      return (fs[name] as (...args: never[]) => unknown)(...args);
    },
  });
  return { ...fs, ...watched('fsyncSync'), ...watched('renameSync') };
});
beforeEach(() => {
  calls.length = 0;
});

test('a reset drops the outbox too: its nonces are those of the log that goes', () => {
  const data = join(temporaryFolder(), 'data');
  const lane = join(data, 'outbox', '31337-0x00-0x00-0');
  mkdirSync(lane, { recursive: true });
  writeFileSync(join(lane, 'head.json'), '{"version":1,"next":"5"}');
  writeFileSync(join(data, 'deployment.json'), '{}');
  expect(new Folder(data).reset()).toEqual([]);
  expect(existsSync(data)).toBe(false);
});

test('a reset leaves what no network put there', () => {
  const data = temporaryFolder();
  writeFileSync(join(data, 'diary.txt'), 'mine');
  expect(new Folder(data).reset()).toEqual(['diary.txt']);
  expect(readFileSync(join(data, 'diary.txt'), 'utf8')).toBe('mine');
});

test('what is written is on disk before it has its name, and the name before we go on', () => {
  const file = join(temporaryFolder(), 'deployment.json');
  writeAtomically(file, 'first');
  writeAtomically(file, 'second');
  expect(readFileSync(file, 'utf8')).toBe('second');
  expect(calls).toEqual(['fsyncSync', 'renameSync', 'fsyncSync', 'fsyncSync', 'renameSync', 'fsyncSync']);
});
