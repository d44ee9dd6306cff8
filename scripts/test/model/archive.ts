import {
  type BatchEntry,
  type BatchHeader,
  decodeBatchFile,
  encodeBatchFile,
  type Hex,
  type JudgedEntry,
  judgeEntry,
  type MerkleTree,
  type Opening,
  openEntry,
  type Recover,
  toHex,
} from '@sealpost/prover';
import { nativeHashing, nativeRecover, nativeSha256 } from '@sealpost/sequencer/adapters/native';
import { DOMAIN } from './people.js';

const keys = new Map<string, Uint8Array | undefined>();

/** Recovers each signature once: traces sign the same bundles again and again. */
export const rememberedRecover: Recover = (digest, compact, recovery) => {
  const name = `${Buffer.from(digest).toString('latin1')}${Buffer.from(compact).toString('latin1')}${recovery}`;
  if (!keys.has(name)) {
    if (keys.size > 50_000) keys.clear();
    keys.set(name, nativeRecover(digest, compact, recovery));
  }
  return keys.get(name);
};

/** A batch file, read: what anybody who has it knows. */
export interface ReadFile {
  readonly entries: readonly BatchEntry[];
  readonly judged: readonly JudgedEntry[];
  readonly tree: MerkleTree;
}

/** The batch files that were published, by their content address. */
export class Archive {
  private readonly files = new Map<Hex, { readonly bytes: Uint8Array; read?: ReadFile }>();
  private readonly opened = new WeakMap<BatchHeader, readonly Opening[]>();

  publish({ lane, number, firstSequence, dataHash }: BatchHeader, entries: readonly BatchEntry[]): void {
    this.files.set(dataHash, { bytes: encodeBatchFile({ lane, number, firstSequence, entries }) });
  }

  /** The file of a header; undefined if nobody published it. */
  read({ lane, dataHash }: BatchHeader): ReadFile | undefined {
    const file = this.files.get(dataHash);
    if (file === undefined || file.read !== undefined) return file?.read;
    const { entries } = decodeBatchFile(file.bytes);
    const options = { hash: nativeSha256, recover: rememberedRecover };
    const judged = entries.map((entry) => judgeEntry(entry, lane, DOMAIN, options));
    const tree = nativeHashing.leavesTree(Buffer.concat(judged.map(({ leaf }) => leaf)));
    file.read = { entries, judged, tree };
    return file.read;
  }

  /** Each entry of a batch, opened, where its file is the one that the header commits to; none otherwise. */
  openings(header: BatchHeader): readonly Opening[] {
    const known = this.opened.get(header);
    if (known !== undefined) return known;
    const file = this.read(header);
    if (file === undefined) return [];
    const isIts = toHex(file.tree.root) === header.bundlesRoot;
    const openings = isIts ? file.judged.map((entry, index) => openEntry(entry, header, file.tree, index)) : [];
    this.opened.set(header, openings);
    return openings;
  }
}
