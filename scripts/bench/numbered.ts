import { randomBytes } from 'node:crypto';
import { buildTree, concat, type Hex, toHex, uintBytes } from '@sealpost/prover';
import { nativeSha256, type Region } from '../presigned.js';

/** A payload begins with its number on its topic, so that a subscriber can tell without parsing JSON: 8 digits of base64. */
export const NUMBER_BYTES = 6;

/** Messages in turn on the topics, the first one the `first`-th of all; each payload begins with its number on its topic. */
export function numberedRegion(topics: readonly Hex[], first: number, count: number, payloadBytes: number): Region {
  const filler = randomBytes(payloadBytes);
  const used: Hex[] = [];
  const leaves: Uint8Array[] = [];
  const parts: Uint8Array[] = [];
  for (let at = first; at < first + count; at++) {
    const topic = topics[at % topics.length] as Hex;
    const payload = Buffer.from(filler);
    payload.writeUIntBE(Math.floor(at / topics.length), 0, NUMBER_BYTES);
    const message = concat(Uint8Array.of(0), Buffer.from(topic.slice(2), 'hex'), payload);
    used.push(topic);
    leaves.push(nativeSha256(message));
    parts.push(uintBytes(message.length, 4), message);
  }
  return { bytes: concat(...parts), root: toHex(buildTree(leaves, nativeSha256).root), count, topics: used };
}
