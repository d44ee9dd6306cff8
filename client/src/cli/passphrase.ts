import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { CliError, usageError } from './exit.js';
import type { Context } from './run.js';

/**
 * A passphrase: from a file, from a file descriptor, or typed by a person. Never from a flag or the environment, which other
 * processes can see.
 */
export async function readPassphrase(context: Context, options: Record<string, unknown>, question: string): Promise<string> {
  if (typeof options.passphraseFile === 'string') return firstLineOfFile(options.passphraseFile);
  if (typeof options.passphraseFd === 'number') return firstLineOfDescriptor(options.passphraseFd);
  if (context.flags.input === false || process.stdin.isTTY !== true) {
    throw usageError(
      'a passphrase is needed, and there is nobody to ask',
      `sealpost ${context.output.command} --passphrase-file <file>`,
    );
  }
  return ask(question, context.signal);
}

/** The same, asked twice. */
export async function readNewPassphrase(context: Context, options: Record<string, unknown>): Promise<string> {
  const passphrase = await readPassphrase(context, options, 'New passphrase: ');
  if (passphrase === '') throw usageError('the passphrase is empty', 'sealpost keys new --no-passphrase   (for tests only)');
  if (options.passphraseFile === undefined && options.passphraseFd === undefined) {
    if ((await ask('The same again: ', context.signal)) !== passphrase) {
      throw new CliError(1, 'key.passphrase', 'the two passphrases differ', 'sealpost keys new');
    }
  }
  return passphrase;
}

async function firstLineOfFile(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const facts = await file.stat();
      // Like key files. A pipe (`--passphrase-file <(pass show x)`) is read by nobody else.
      if (process.platform !== 'win32' && facts.isFile() && (facts.mode & 0o077) !== 0) {
        const mode = (facts.mode & 0o777).toString(8);
        throw new CliError(1, 'key.permissions', `${path} is open to others (mode ${mode})`, `chmod 600 ${path}`);
      }
      return firstLine(await file.readFile('utf8'));
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError(1, 'key.unreadable', `${path} cannot be read`, `ls -l ${path}`, { cause });
  }
}

async function firstLineOfDescriptor(fd: number): Promise<string> {
  let text = '';
  try {
    for await (const chunk of createReadStream('', { fd, encoding: 'utf8' })) {
      text += chunk;
      if (text.includes('\n')) break;
    }
  } catch (cause) {
    throw new CliError(
      1,
      'key.unreadable',
      `file descriptor ${fd} cannot be read`,
      `sealpost … --passphrase-fd ${fd} ${fd}<file`,
      { cause },
    );
  }
  return firstLine(text);
}

const firstLine = (text: string): string => (text.split('\n', 1)[0] ?? '').replace(/\r$/, '');

/** Asks on the terminal without showing what is typed. */
function ask(question: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    // readline echoes to its output: this one swallows it.
    const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
    const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
    // Only now: before the terminal is in raw mode it would echo what is typed.
    process.stderr.write(question);
    const end = (finish: () => void) => {
      lines.close();
      process.stderr.write('\n');
      signal.removeEventListener('abort', onAbort);
      finish();
    };
    const onAbort = () => end(() => reject(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    lines.once('line', (line) => end(() => resolve(line)));
    // In raw mode Ctrl-C is a key, not a signal.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  });
}
