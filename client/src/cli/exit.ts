/** What the command's exit code says. One table for the program and for `help exit-codes`. */
export const EXIT_CODES = [
  { code: 0, meaning: 'done' },
  { code: 1, meaning: 'failed' },
  { code: 2, meaning: 'the command line was wrong' },
  { code: 3, meaning: 'a proof or an audit is false' },
  { code: 4, meaning: 'nothing was found true or false: the sequencer or the L1 could not be reached, or is not that far' },
  { code: 130, meaning: 'stopped by Ctrl-C' },
] as const;

export type ExitCode = (typeof EXIT_CODES)[number]['code'];

/** A failure with its exit code and the one line to run next. */
export class CliError extends Error {
  override readonly name = 'CliError';

  constructor(
    readonly exitCode: ExitCode,
    readonly code: string,
    message: string,
    readonly next: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export const usageError = (message: string, next: string) => new CliError(2, 'usage', message, next);

/** What timed out says what it waited for last. */
function messageOf({ message, cause }: Error, code: string): string {
  let last = cause as { code?: string; message?: string; cause?: unknown } | undefined;
  while (last?.code === 'timeout') last = last.cause as typeof last;
  return code === 'timeout' && last?.code !== undefined ? `${message}: ${last.message}` : message;
}

/** What any error becomes for the person who ran the command. */
export function toCliError(error: unknown, command: string): CliError {
  if (error instanceof CliError) return error;
  const { name, code = 'failed', facts } = error as { name?: string; code?: string; facts?: Facts };
  const message = messageOf(error as Error, String(code));
  const [exitCode, usual] = advice(String(code), facts ?? {}, command);
  // Some errors know best themselves.
  const { next = usual } = error as { next?: string };
  return new CliError(exitCode, name === 'Error' && code === 'failed' ? 'failed' : String(code), message, next, {
    cause: error,
  });
}

/** The sequencer could not be asked, or does not take what is right: no fault of who asked. */
const NOT_TAKEN: ReadonlySet<string> = new Set([
  'network.unreachable',
  'network.bad_answer',
  'timeout',
  'busy',
  'unavailable',
  'rate_limited',
  'internal',
]);

type Facts = Readonly<Record<string, unknown>>;

function advice(code: string, facts: Facts, command: string): [ExitCode, string] {
  if (NOT_TAKEN.has(code)) {
    if (facts.pending === true) {
      return [4, 'sealpost send --resume   (the signed message is kept, and goes first; with --force it goes through the L1)'];
    }
    return [
      4,
      command === 'send' ? 'sealpost doctor   (past the sequencer, through the L1: sealpost send --force …)' : 'sealpost doctor',
    ];
  }
  switch (code) {
    case 'l1.unreachable':
    case 'l1.timeout':
    case 'l1.rpc':
      return [4, 'sealpost doctor'];
    case 'l1.wrong_chain':
    case 'l1.no_contract':
    case 'l1.foreign_contract':
      return [1, 'sealpost doctor   (check --l1 and --settlement)'];
    case 'proof.invalid':
    case 'proof.malformed':
    case 'receipt.invalid':
    case 'receipt.malformed':
    case 'receipt.broken':
      return [3, 'sealpost audit   (is it only this one?)'];
    case 'not_found':
      return [1, 'sealpost status   (is it the right network?)'];
    case 'settlement.unconfirmed':
    case 'forced.waiting':
    case 'takeover.waiting':
      return [4, 'sealpost doctor'];
    case 'proof.not_sealed':
      return [4, 'the same command again, in a moment'];
    case 'key.permissions':
      return [1, `chmod 600 ${String(facts.path ?? 'the key file')}`];
    case 'key.missing':
      return [1, 'sealpost keys new'];
    case 'key.exists':
      return [1, 'sealpost keys new <another name>'];
    case 'key.passphrase':
      return [1, `sealpost ${command}   (again, with the right passphrase)`];
    case 'key.malformed':
    case 'key.mismatch':
    case 'key.unreadable':
      return [1, 'sealpost keys show'];
    case 'send.refused':
      return [1, 'sealpost status   (if the sequencer is wrong, past it through the L1: sealpost send --force …)'];
    case 'send.nonce_unclear':
      return [1, 'sealpost status   (if the sequencer is wrong, past it through the L1: sealpost send --force --resume)'];
    case 'send.nonce_behind':
      return [1, 'sealpost status'];
    case 'send.postage_limit': {
      const what = facts.pending === true ? 'sealpost send --resume' : 'sealpost send …';
      return [1, `${what} --max-postage ${etherOf(facts.price)}   (out of a deposit: sealpost postage quote)`];
    }
    case 'send.postage_unfunded':
      return [
        1,
        `sealpost postage deposit ${etherOf(facts.missing)} --lane ${facts.lane}   (final, it counts: sealpost send --resume)`,
      ];
    case 'send.postage_unclear':
      return [1, 'sealpost audit   (is there a bundle of this account that the sequencer does not show?)'];
    case 'network.malformed':
      return [1, 'npm start   (writes it anew)'];
    case 'value.malformed':
      return [2, `sealpost ${command} --help`];
    default:
      return [1, `sealpost ${command} --help`];
  }
}

/** Wei as ether. By hand: no library is loaded for an error. */
function etherOf(wei: unknown): string {
  const digits = String(wei).padStart(19, '0');
  return `${digits.slice(0, -18)}.${digits.slice(-18)}`.replace(/\.?0+$/, '');
}
