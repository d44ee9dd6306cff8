import { code as dagPb, encode as encodeDagPb, prepare as prepareDagPb } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID } from 'multiformats/cid';
import { create as createDigest } from 'multiformats/hashes/digest';
import { MAX_BATCH_FILE_BYTES } from './batch.js';
import { fromHex, type Hex, toHex } from './bytes.js';
import { ProtocolError } from './errors.js';
import { type Sha256, sha256 } from './tree.js';

// Apart from batch.ts, so that a bundle that only verifies proofs carries no IPFS library.

const CHUNK_BYTES = 1_048_576;
const RAW_CODEC = 0x55;
const SHA2_256 = 0x12;

/**
 * The SHA-256 digest of the file's UnixFS root block: 1 MiB raw leaves under one dag-pb root, always (§5).
 * `parts`, joined, are the file; each is hashed once, as it comes, with at most one chunk copied.
 * @throws batch.malformed for an empty file or one over 268,435,456 bytes
 */
export function dataHash(parts: Iterable<Uint8Array>, hash: Sha256 = sha256): Hex {
  const links: { Name: string; Tsize: number; Hash: CID }[] = [];
  const sizes: bigint[] = [];
  let total = 0;
  const addChunk = (chunk: Uint8Array) => {
    links.push({ Name: '', Tsize: chunk.length, Hash: CID.createV1(RAW_CODEC, createDigest(SHA2_256, hash(chunk))) });
    sizes.push(BigInt(chunk.length));
    total += chunk.length;
    if (total > MAX_BATCH_FILE_BYTES) throw malformed(`expected at most ${MAX_BATCH_FILE_BYTES} bytes`);
  };
  const pending = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for (const part of parts) {
    let at = 0;
    while (at < part.length) {
      const taken = Math.min(CHUNK_BYTES - filled, part.length - at);
      if (filled === 0 && taken === CHUNK_BYTES) {
        addChunk(part.subarray(at, at + taken));
      } else {
        pending.set(part.subarray(at, at + taken), filled);
        filled += taken;
        if (filled === CHUNK_BYTES) {
          addChunk(pending);
          filled = 0;
        }
      }
      at += taken;
    }
  }
  if (filled > 0) addChunk(pending.subarray(0, filled));
  if (total === 0) throw malformed('expected a batch file, got no bytes');
  const data = new UnixFS({ type: 'file', blockSizes: sizes }).marshal();
  return toHex(hash(encodeDagPb(prepareDagPb({ Data: data, Links: links }))));
}

/**
 * The CIDv1 under which any IPFS node that has the file serves it: `bafybei…` (§5).
 * @throws value.malformed unless hex of 32 bytes
 */
export const dataCid = (digest: Hex): string => CID.createV1(dagPb, createDigest(SHA2_256, fromHex(digest, 32))).toString();

const malformed = (detail: string) => new ProtocolError('batch.malformed', detail);
