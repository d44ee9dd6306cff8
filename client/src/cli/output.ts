import type { ExitCode } from './exit.js';

/** Version of everything that `--json` prints. */
export const JSON_VERSION = 1;

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: boolean;
}

type Paint = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';
const CODES: Record<Paint, [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

const REDRAW_MS = 80;
const BAR_WIDTH = 24;
/** Progress that ends sooner is not shown. */
const SHOW_AFTER_MS = 400;

/** stdout is data, stderr is talk. */
export class Output {
  readonly json: boolean;
  readonly #quiet: boolean;
  readonly #colorOut: boolean;
  readonly #colorErr: boolean;
  readonly #started = Date.now();
  #drawnAt = 0;
  #drawn = false;

  constructor(
    readonly command: string,
    options: OutputOptions,
  ) {
    this.json = options.json;
    this.#quiet = options.quiet;
    this.#colorOut = options.color && process.stdout.isTTY === true;
    this.#colorErr = options.color && process.stderr.isTTY === true;
  }

  /** Text for stdout, in color where it is a terminal. */
  paint(style: Paint, text: string): string {
    return this.#colorOut ? paint(style, text) : text;
  }

  /** A line of data for people: left out with --json. */
  print(line = ''): void {
    if (this.json) return;
    this.clearProgress();
    process.stdout.write(`${line}\n`);
  }

  /** The command's one result, with --json; `ok` is false where the exit code is not 0. */
  result(data: unknown, ok = true): void {
    if (this.json) this.#writeJson({ version: JSON_VERSION, command: this.command, ok, data });
  }

  /** One item of a stream, with --json. */
  item(type: string, data: unknown): void {
    if (this.json) this.#writeJson({ version: JSON_VERSION, command: this.command, type, data });
  }

  /** A result that is an error. */
  failure(error: { code: string; message: string; next: string; facts?: unknown }, exitCode: ExitCode): void {
    if (this.json) this.#writeJson({ version: JSON_VERSION, command: this.command, ok: false, exitCode, error });
    this.clearProgress();
    const mark = this.#colorErr ? paint('red', '✗') : '✗';
    process.stderr.write(`${mark} ${error.message}\n  Next: ${error.next}\n`);
  }

  /** Talk: left out with -q. */
  say(line: string): void {
    if (this.#quiet) return;
    this.clearProgress();
    process.stderr.write(`${line}\n`);
  }

  /** A warning is never left out. */
  warn(line: string): void {
    this.clearProgress();
    process.stderr.write(`${this.#colorErr ? paint('yellow', '!') : '!'} ${line}\n`);
  }

  /** A bar or a line that is redrawn in place: only on a terminal, only after a moment. */
  progress(label: string, done?: number, total?: number): void {
    if (this.#quiet || process.stderr.isTTY !== true) return;
    const now = Date.now();
    if (now - this.#started < SHOW_AFTER_MS || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#drawn = true;
    const share = total === undefined || done === undefined || total === 0 ? undefined : Math.min(1, done / total);
    const filled = Math.round((share ?? 0) * BAR_WIDTH);
    const bar = share === undefined ? '' : `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)} `;
    process.stderr.write(`\r\x1b[2K${bar}${label}`);
  }

  clearProgress(): void {
    if (this.#drawn) process.stderr.write('\r\x1b[2K');
    this.#drawn = false;
  }

  #writeJson(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? String(field) : field))}\n`);
  }
}

const paint = (style: Paint, text: string): string => `\x1b[${CODES[style][0]}m${text}\x1b[${CODES[style][1]}m`;

/**
 * A text of somebody else on one line of a terminal: control characters (C0, C1, line and direction overrides) are written as
 * escapes, so that a message cannot move the cursor, recolor the screen or look like two.
 */
export const singleLine = (text: string): string =>
  text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    if (character === '\n') return '\\n';
    if (character === '\t') return '\\t';
    return `\\u{${(character.codePointAt(0) as number).toString(16)}}`;
  });

/** `0x5FbD…0aa3`. */
export const short = (hex: string): string => (hex.length > 14 ? `${hex.slice(0, 6)}…${hex.slice(-4)}` : hex);

export const number = (value: number | bigint): string => value.toLocaleString('en-US');

/** `1 batch`, `2 batches`. */
export const plural = (count: number | bigint, one: string, many = `${one}s`): string =>
  `${number(count)} ${Number(count) === 1 ? one : many}`;

/** Bytes for people: 41 MB. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** 22 November 2026, in UTC. */
export const date = (seconds: bigint): string =>
  new Date(1_000 * Number(seconds)).toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: 'UTC',
  });
