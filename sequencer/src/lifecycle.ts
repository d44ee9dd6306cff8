import type { Log } from './ports.js';

interface Closer {
  readonly name: string;
  readonly close: () => Promise<void> | void;
}

/** What was opened, closed last-in first-out under one deadline. */
export class Lifecycle {
  private readonly closers: Closer[] = [];
  private closing: Promise<boolean> | undefined;

  constructor(private readonly log: Log) {}

  /** To be called at the moment when a resource opens. */
  opened(name: string, close: () => Promise<void> | void): void {
    this.closers.push({ name, close });
  }

  /** Closes everything once; true if all of it closed in time and without an error. */
  close(deadlineMs: number): Promise<boolean> {
    this.closing ??= this.closeAll(deadlineMs);
    return this.closing;
  }

  private async closeAll(deadlineMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    let current = '';
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => {
        this.log.error('stop.late', { after: deadlineMs, waitingFor: current });
        resolve(false);
      }, deadlineMs);
    });
    const all = (async () => {
      let clean = true;
      for (let closer = this.closers.pop(); closer !== undefined; closer = this.closers.pop()) {
        current = closer.name;
        try {
          await closer.close();
        } catch (error) {
          clean = false;
          this.log.error('stop.failed', { closing: closer.name, message: (error as Error).message });
        }
      }
      return clean;
    })();
    const clean = await Promise.race([all, late]);
    clearTimeout(timer);
    return clean;
  }
}
