import { styleText } from 'node:util';

/** Something a person can act on: one line that says what is wrong, and one that says what to do next. */
export class Failure extends Error {
  override readonly name = 'Failure';

  constructor(
    message: string,
    readonly next?: string,
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan';

/** Whether a stream gets colour: never off a terminal, with NO_COLOR, or with --no-color. */
const isColoured = (stream: { isTTY?: boolean | undefined }): boolean =>
  stream.isTTY === true && !process.env.NO_COLOR && !process.argv.includes('--no-color');

/** Text for stdout. */
export const paint = (style: Style, text: string): string =>
  isColoured(process.stdout) ? styleText(style, text, { validateStream: false }) : text;

/** Text for stderr. */
const paintTalk = (style: Style, text: string): string =>
  isColoured(process.stderr) ? styleText(style, text, { validateStream: false }) : text;

/** Data: what the command was asked for. */
export const print = (text = ''): void => void process.stdout.write(`${text}\n`);

/** Talk: everything else. */
export const say = (text = ''): void => void process.stderr.write(`${text}\n`);

/** True where somebody can read and answer: a terminal that is not a CI job's. */
export const isInteractive = (): boolean => process.stdout.isTTY === true && !process.env.CI;

const SILENCE_MS = 5_000;

/**
 * What is going on, on stderr. On a terminal one line that is rewritten; elsewhere a line for each new step, and at most
 * one every five seconds while a step goes on.
 */
export class Progress {
  private step = '';
  private spokeAt = 0;
  private drawn = false;

  constructor(private readonly quiet = false) {}

  /** `step` names what is done now; `detail` is how far it is. */
  show(step: string, detail = ''): void {
    if (this.quiet) return;
    const text = detail === '' ? step : `${step} ${detail}`;
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[2K${paintTalk('dim', text)}`);
      this.drawn = true;
      return;
    }
    const now = performance.now();
    if (step === this.step && now - this.spokeAt < SILENCE_MS) return;
    this.step = step;
    this.spokeAt = now;
    say(text);
  }

  /** Removes the line, so that what is printed next stands alone. */
  clear(): void {
    if (this.drawn) process.stderr.write('\r\x1b[2K');
    this.drawn = false;
  }
}

/** A bar of `width` characters: `━━━━━━────`. */
export const bar = (done: number, total: number, width = 24): string => {
  const filled = total === 0 ? 0 : Math.min(width, Math.round((done / total) * width));
  return '━'.repeat(filled) + '─'.repeat(width - filled);
};

/** 41 MB, 1.2 kB: powers of ten, as disks are sold. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export const formatCount = (value: number): string => Math.round(value).toLocaleString('en-US');

/** `1 batch`, `2 batches`. */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${formatCount(count)} ${count === 1 ? one : many}`;

export const formatSeconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

/** `0x5FbD…0aa3` */
export const shortHex = (hex: string): string => (hex.length <= 14 ? hex : `${hex.slice(0, 6)}…${hex.slice(-4)}`);

/** Rows of cells, each column as wide as its widest cell; columns named in `right` are numbers. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, at) => (right.includes(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Runs a command to its end. A `Failure` is told in its two lines, anything else with its stack; the process then ends
 * by itself, once everything it opened is closed, with the exit code set.
 */
export async function runCommand(command: () => Promise<number | undefined>): Promise<void> {
  // A reader that goes away (`| head`) is no error of ours.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  try {
    process.exitCode = (await command()) ?? 0;
  } catch (error) {
    if (error instanceof Failure) {
      say(`${paintTalk('red', 'error:')} ${error.message}`);
      if (error.next !== undefined) say(`${paintTalk('dim', 'next: ')} ${error.next}`);
      process.exitCode = error.exitCode;
    } else {
      say(`${paintTalk('red', 'error:')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      process.exitCode = 1;
    }
  }
}
