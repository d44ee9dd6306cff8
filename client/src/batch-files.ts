import {
  type BatchEntry,
  type BatchHeader,
  buildTree,
  dataHash,
  decodeBatchFile,
  entryLeaf,
  fieldsOf,
  type MerkleTree,
  type Opening,
  openEntry,
  ProtocolError,
  readBundle,
  type Sha256,
  sha256,
  toHex,
  viewTree,
} from '@sealpost/prover';
import type { CallOptions } from './clock.js';

/** Where batch files come from: a sequencer, a mirror, a folder. What it gives is held against the L1. */
export interface BatchSource {
  readonly name: string;
  /** Undefined if it has none such. What it throws is taken for the same. */
  get(header: BatchHeader, call: CallOptions): Promise<Uint8Array | undefined>;
}

/** A batch's entries, which make the root of its header. */
export interface OpenBatch {
  readonly header: BatchHeader;
  readonly entries: readonly BatchEntry[];
  readonly tree: MerkleTree;
}

/** A batch file that is what its header says, and who gave it. */
export interface FoundFile extends OpenBatch {
  readonly bytes: Uint8Array;
  readonly source: string;
}

/** A batch's file, from the first source whose bytes are the ones of the header's dataHash; else why there is none. */
export async function findFile(
  sources: readonly BatchSource[],
  header: BatchHeader,
  hash: Sha256,
  call: CallOptions,
): Promise<FoundFile | { readonly reason: string }> {
  const reasons: string[] = [];
  for (const source of sources) {
    let bytes: Uint8Array | undefined;
    try {
      bytes = await source.get(header, call);
    } catch (error) {
      call.signal?.throwIfAborted();
      reasons.push(`${source.name}: ${(error as Error).message}`);
      continue;
    }
    if (bytes === undefined) {
      reasons.push(`${source.name} has none`);
      continue;
    }
    try {
      if (dataHash([bytes], hash) !== header.dataHash)
        throw otherFile(header, "its bytes are not the ones of the header's dataHash");
      return { bytes, source: source.name, ...openBatch(header, bytes, hash) };
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      reasons.push(`${source.name}: ${error.message}`);
    }
  }
  return { reason: reasons.join('; ') || 'nobody was asked' };
}

/**
 * The entries of a batch file, each with a bundle that can be in the log, held against the header's place and root.
 * @throws batch.malformed, bundle.malformed, bundle.too_large
 */
export function openBatch(header: BatchHeader, file: Uint8Array, hash: Sha256): OpenBatch {
  const { lane, number, firstSequence, entries } = decodeBatchFile(file);
  if (lane !== header.lane || number !== header.number || firstSequence !== header.firstSequence) {
    throw otherFile(header, `it is of batch ${number} of lane ${lane}`);
  }
  if (entries.length !== header.count)
    throw otherFile(header, `it has ${entries.length} entries, the header counts ${header.count}`);
  const tree = buildTree(
    entries.map((entry) => entryLeaf(entry, hash)),
    hash,
  );
  if (toHex(tree.root) !== header.bundlesRoot) throw otherFile(header, `its entries make the root ${toHex(tree.root)}`);
  return { header, entries, tree };
}

/** An entry of a batch, opened. */
export function openingFrom({ header, entries, tree }: OpenBatch, index: number, hash: Sha256 = sha256): Opening {
  const { void: isVoid, previous, bundle } = entries[index] as BatchEntry;
  const view = readBundle(bundle);
  const fields = fieldsOf(view, toHex(viewTree(view, hash).root));
  return openEntry({ void: isVoid, previous, bundle: fields }, header, tree, index);
}

const otherFile = (header: BatchHeader, why: string) =>
  new ProtocolError('batch.malformed', `not the file of batch ${header.number} of lane ${header.lane}: ${why}`);
