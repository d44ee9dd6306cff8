import { existsSync } from 'node:fs';
import { availableParallelism, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parentPort, Worker, workerData } from 'node:worker_threads';

/** What a thread answers: a value, and the buffers in it that move instead of being copied. */
export interface Answer {
  readonly value: unknown;
  readonly transfer?: readonly ArrayBuffer[];
}

interface Request {
  readonly id: number;
  readonly body: unknown;
}

type Response = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly error: Fault };

/** An error's useful parts: classes do not survive the way between threads. */
interface Fault {
  readonly message: string;
  readonly code: string | undefined;
}

/** An error thrown inside a thread. `code` is the original error's, if it had one. */
export class ThreadError extends Error {
  override readonly name = 'ThreadError';

  constructor(
    message: string,
    readonly code: string | undefined,
  ) {
    super(message);
  }
}

/**
 * A worker thread that answers calls, in the order in which they were made unless it serves them at once. A thread that dies
 * fails every open call, and every later one, with `thread.died`.
 */
export class Thread {
  private readonly worker: Worker;
  private readonly open = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private nextId = 0;
  private dead: ThreadError | undefined;

  /**
   * `script` names the compiled file. Where the sources run uncompiled, as in tests, the build's is taken: Node 20 loads no
   * TypeScript in a worker, and a compiler in each of them would take a second to start.
   */
  constructor(script: URL, data: unknown) {
    const built = new URL(script.href.replace(/\/src\/(?!.*\/src\/)/, '/dist/'));
    this.worker = new Worker(existsSync(fileURLToPath(script)) ? script : built, { workerData: data });
    this.worker.on('message', (response: Response) => {
      const call = this.open.get(response.id);
      this.open.delete(response.id);
      if ('error' in response) call?.reject(new ThreadError(response.error.message, response.error.code));
      else call?.resolve(response.value);
    });
    this.worker.on('error', (error) => this.fail(error));
    this.worker.on('exit', (exitCode) => this.fail(new Error(`the thread ended with exit code ${exitCode}`)));
  }

  /** Calls now waiting for their answer. */
  get pending(): number {
    return this.open.size;
  }

  call<T>(body: unknown, transfer: readonly ArrayBuffer[] = []): Promise<T> {
    if (this.dead !== undefined) return Promise.reject(this.dead);
    return new Promise<T>((resolve, reject) => {
      const id = this.nextId++;
      this.open.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.worker.postMessage({ id, body } satisfies Request, worthMoving(transfer));
    });
  }

  /** Ends the thread at once; open calls fail. */
  async terminate(): Promise<void> {
    this.fail(new Error('the thread was ended'));
    await this.worker.terminate();
  }

  private fail(cause: Error): void {
    this.dead ??= new ThreadError(cause.message, 'thread.died');
    for (const call of this.open.values()) call.reject(this.dead);
    this.open.clear();
  }
}

/** How many threads have a core beside the event loop: at least one. */
export const sparedCores = (): number => Math.max(1, availableParallelism() - 1);

/**
 * Runs inside a thread whose work can wait, the more the nicer (0 to 19): when threads are more than cores, those on the way from
 * a request to its receipt go first. With all threads alike, the slowest in a hundred receipts took two to three times as long. On
 * Linux, where a thread has a niceness of its own; elsewhere it would be the process's.
 */
export function beNice(niceness: number): void {
  if (process.platform === 'linux') setPriority(0, niceness);
}

// To move a buffer costs some microseconds whatever its size, to copy one of less than this costs less.
const SMALL_BYTES = 32_768;

const worthMoving = (buffers: readonly ArrayBuffer[]): ArrayBuffer[] =>
  buffers.filter(({ byteLength }) => byteLength > SMALL_BYTES);

/**
 * Runs inside a thread: answers each call with `handle`, one after the other, also where it takes its time; with `atOnce`, each
 * when it comes.
 */
export function serveThread<Data>(
  start: (data: Data) => (body: never) => Answer | Promise<Answer>,
  { atOnce = false }: { readonly atOnce?: boolean } = {},
): void {
  if (parentPort === null) throw new Error('this file runs in a worker thread only');
  const port = parentPort;
  const handle = start(workerData as Data) as (body: unknown) => Answer | Promise<Answer>;
  const answer = async ({ id, body }: Request) => {
    try {
      const { value, transfer = [] } = await handle(body);
      port.postMessage({ id, value } satisfies Response, worthMoving(transfer));
    } catch (error) {
      const { message, code } = error as Error & { code?: string };
      port.postMessage({ id, error: { message, code } } satisfies Response);
    }
  };
  let last = Promise.resolve();
  port.on('message', (request: Request) => {
    last = atOnce ? answer(request) : last.then(() => answer(request));
  });
}
