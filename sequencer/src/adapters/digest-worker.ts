import SqliteDatabase from 'better-sqlite3';
import { type DigestRequest, digestBatch } from '../sealer.js';
import { serveThread } from '../threads.js';
import { entryPages } from './entries.js';
import { nativeSha256 } from './native.js';

/** Digests batches over a reading connection of its own. */
serveThread(({ path }: { path: string }) => {
  const database = new SqliteDatabase(path, { readonly: true });
  return (request: DigestRequest) => ({ value: digestBatch(request, entryPages(database, request), nativeSha256) });
});
