// Watches what code allocates, so that a test can say: never more than it was given.

const WATCHED = ['ArrayBuffer', 'Uint8Array', 'Uint16Array', 'Uint32Array', 'BigUint64Array', 'Array'] as const;

/** The largest single piece of memory, in bytes, that `run` asks for by `new T(length)` or `T(length)`; 8 bytes an array's item. */
export function largestAllocation(run: () => void): number {
  const globals = globalThis as unknown as Record<string, unknown>;
  const originals = WATCHED.map((name) => [name, globals[name] as new (...args: unknown[]) => object] as const);
  let largest = 0;
  const note = (original: { BYTES_PER_ELEMENT?: number; name: string }, [length]: unknown[]) => {
    if (typeof length !== 'number') return;
    const itemBytes = original.BYTES_PER_ELEMENT ?? (original.name === 'Array' ? 8 : 1);
    largest = Math.max(largest, length * itemBytes);
  };
  try {
    for (const [name, original] of originals) {
      globals[name] = new Proxy(original, {
        construct(target, args) {
          note(target, args);
          // Made by the original alone: arrays with the proxy for a constructor stay slow for the rest of the process.
          return Reflect.construct(target, args) as object;
        },
        apply(target, self, args: unknown[]) {
          note(target, args);
          return Reflect.apply(target as never, self, args) as unknown;
        },
      });
    }
    run();
  } finally {
    for (const [name, original] of originals) globals[name] = original;
  }
  return largest;
}
