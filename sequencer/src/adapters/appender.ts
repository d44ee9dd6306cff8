import type { Database } from 'better-sqlite3';
import type { BundleFile } from './bundle-file.js';
import { groupRows, type InsertGroups } from './group-rows.js';
import type { PackedGroups } from './packed-groups.js';

/**
 * Appends commit groups. An append is durable when the bundle file is synced: it holds all that the rows say, and what a power
 * failure takes out of the WAL is made again from it (recovery.ts). The rows are committed before anything is promised, and
 * not synced: a second sync would double the time in which nothing can be promised. Synced by the writer's own thread: by
 * another one, while the rows are inserted, saves less than to wake two threads costs.
 */
export class Appender {
  private readonly insertGroups: InsertGroups;
  private readonly begin;
  private readonly commit;
  private readonly rollback;

  /** `end`: of the last append in the file. `maxBytes`: how long the file may become, 0 for no limit. */
  constructor(
    private readonly database: Database,
    private readonly file: BundleFile,
    private end: number,
    private readonly maxBytes: number,
  ) {
    this.insertGroups = groupRows(database);
    this.begin = database.prepare('BEGIN');
    this.commit = database.prepare('COMMIT');
    this.rollback = database.prepare('ROLLBACK');
  }

  /**
   * Returns when it is durable, all of it. An error with a code has left nothing behind if it says that there was no room; any
   * other leaves it to the next start what was appended.
   */
  append(packed: PackedGroups): void {
    const { records } = packed;
    if (this.maxBytes > 0 && this.end + records.length > this.maxBytes) {
      throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
    }
    try {
      this.file.write(records, this.end);
      this.begin.run();
      this.insertGroups(packed, this.end);
      if (records.length > 0) this.file.sync();
    } catch (error) {
      this.undo();
      throw error;
    }
    try {
      this.commit.run();
    } catch (error) {
      // Without room the commit's last frame is not in the WAL. After any other error it may be: then the file must have it, too.
      if ((error as { code?: string }).code === 'SQLITE_FULL') this.undo();
      throw error;
    }
    this.end += records.length;
  }

  /** Gives the room back; synced, because what was refused must not be there again after a power failure. */
  private undo(): void {
    try {
      if (this.database.inTransaction) this.rollback.run();
      this.file.truncate(this.end);
      this.file.sync();
    } catch (cause) {
      throw new Error(`an append that failed could not be taken back: ${(cause as Error).message}`, { cause });
    }
  }
}
