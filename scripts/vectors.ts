// Writes prover/vectors/rfc6962-inclusion.hex.json, the copy of rfc6962-inclusion.json that Solidity can read: hashes in
// hex, and only the cases it can express. Left out are hashes that are not 32 bytes (a bytes32 always is) and numbers that
// JSON.parse rounds. With --check it writes nothing and fails if the file is not what the source makes.
import { readFileSync } from 'node:fs';
import { writeOrCheck } from './generated.js';

const source = new URL('../prover/vectors/rfc6962-inclusion.json', import.meta.url);
const target = new URL('../prover/vectors/rfc6962-inclusion.hex.json', import.meta.url);

type Case = {
  leafIdx: number;
  treeSize: number;
  root: string;
  leafHash: string;
  proof: string[] | null;
  desc: string;
  wantErr: boolean;
  name: string;
};

const hex = (base64: string) => `0x${Buffer.from(base64, 'base64').toString('hex')}`;

const vectors = JSON.parse(readFileSync(source, 'utf8')) as { source: string; cases: Case[] };

const cases = vectors.cases
  .filter(({ leafIdx, treeSize }) => Number.isSafeInteger(leafIdx) && Number.isSafeInteger(treeSize))
  .map((vector) => ({
    name: vector.name,
    leafIdx: vector.leafIdx,
    treeSize: vector.treeSize,
    root: hex(vector.root),
    leafHash: hex(vector.leafHash),
    proof: (vector.proof ?? []).map(hex),
    wantErr: vector.wantErr,
  }))
  .filter(({ root, leafHash, proof }) => [root, leafHash, ...proof].every((hash) => hash.length === 66));

const about = `${vectors.source.replace('base64', 'hex')}; cases whose hashes are not 32 bytes or whose numbers JSON rounds are left out`;
const text = `${JSON.stringify({ source: about, cases }, null, 2)}\n`;

writeOrCheck(target, text, 'prover/vectors/rfc6962-inclusion.hex.json is not what its source makes. Run: npm run vectors');
