import SqliteDatabase from 'better-sqlite3';
import { type DigestRequest, digestBatch } from '../sealer.js';
import { beNice, serveThread } from '../threads.js';
import { BundleFile, bundleFilePath } from './bundle-file.js';
import { digestPages } from './entries.js';
import { nativeHashing } from './native.js';

beNice(10);

/** Digests batches over a reading connection of its own. */
serveThread(({ path }: { path: string }) => {
  const database = new SqliteDatabase(path, { readonly: true });
  const bundles = new BundleFile(bundleFilePath(path), 'read');
  return (request: DigestRequest) => ({ value: digestBatch(request, digestPages(database, bundles, request), nativeHashing) });
});
