import { readFile } from 'node:fs/promises';
import type { AccountClaim, Hex } from '@sealpost/prover';
import { LocalError } from '../errors.js';
import type { LaneProgress } from '../watch.js';
import { systemCode, writeFileAtomically } from './files.js';

const FORMAT = 'sealpost-watch/1';

/**
 * What an earlier watch had checked; nothing if there was none.
 * @throws watch.damaged
 */
export async function readProgress(path: string): Promise<LaneProgress[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
  try {
    const { format, lanes } = JSON.parse(text) as { format: unknown; lanes: readonly Saved[] };
    if (format !== FORMAT) throw new Error(`format ${String(format)}`);
    return lanes.map(({ lane, block, number, hash, nextSequence, firsts, accounts }) => ({
      lane,
      block: BigInt(block),
      number: BigInt(number),
      hash: hash ?? undefined,
      nextSequence: BigInt(nextSequence),
      firsts: firsts.map(BigInt),
      accounts: new Map(
        accounts.map(([sender, next, previous]): [Hex, AccountClaim] => [
          sender,
          { next: BigInt(next), previous: BigInt(previous) },
        ]),
      ),
    }));
  } catch (cause) {
    throw new LocalError('watch.damaged', `${path} is damaged: remove it, and the log is checked from its beginning`, { cause });
  }
}

/** All of it or nothing; durable once it resolves. */
export async function writeProgress(path: string, lanes: readonly LaneProgress[]): Promise<void> {
  const saved = lanes.map(
    ({ lane, block, number, hash, nextSequence, firsts, accounts }): Saved => ({
      lane,
      block: String(block),
      number: String(number),
      hash: hash ?? null,
      nextSequence: String(nextSequence),
      firsts: firsts.map(String),
      accounts: [...accounts].map(([sender, { next, previous }]) => [sender, String(next), String(previous)]),
    }),
  );
  await writeFileAtomically(path, JSON.stringify({ format: FORMAT, lanes: saved }), { mode: 0o600 });
}

interface Saved {
  readonly lane: number;
  readonly block: string;
  readonly number: string;
  readonly hash: Hex | null;
  readonly nextSequence: string;
  readonly firsts: readonly string[];
  readonly accounts: readonly (readonly [sender: Hex, next: string, previous: string])[];
}
