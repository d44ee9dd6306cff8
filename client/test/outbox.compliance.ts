import { describe, expect, it } from 'vitest';
import type { Outbox, OutboxKey, OutboxLane, OutboxRecord } from '../src/index.js';

export const outboxKey: OutboxKey = {
  chainId: 31_337n,
  settlement: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
  sender: '0x90f79bf6eb2c4f870365e785982e1f101e93b906',
  lane: 0,
};

export const record = (nonce: bigint, count = 1, job?: OutboxRecord['job']): OutboxRecord => ({
  nonce,
  count,
  bundle: new TextEncoder().encode(`bundle at ${nonce} of ${count}`),
  job,
});

const { signal } = new AbortController();

/**
 * What every outbox must do. `make` gives an outbox; `reload` gives one that sees what the last one left, as after a crash
 * (undefined where nothing is meant to survive).
 */
export function outboxCompliance(
  name: string,
  make: () => Promise<{ outbox: Outbox; reload: (() => Outbox) | undefined }>,
): void {
  const withLane = async <T>(outbox: Outbox, work: (lane: OutboxLane) => Promise<T>): Promise<T> => {
    const lane = await outbox.open(outboxKey, { signal });
    try {
      return await work(lane);
    } finally {
      await lane.close();
    }
  };

  describe(name, () => {
    it('begins empty', async () => {
      const { outbox } = await make();
      await withLane(outbox, async (lane) => {
        expect(lane.head).toBeUndefined();
        expect(lane.pending).toEqual([]);
        expect(await lane.jobDone('nothing')).toBe(0);
      });
    });

    it('keeps bundles in order of nonce until they are accepted', async () => {
      const { outbox, reload } = await make();
      await withLane(outbox, async (lane) => {
        await lane.put(record(9n, 2));
        await lane.put(record(7n, 2));
        expect(lane.pending).toEqual([record(7n, 2), record(9n, 2)]);
      });
      const again = reload?.() ?? outbox;
      await withLane(again, async (lane) => {
        expect(lane.pending).toEqual([record(7n, 2), record(9n, 2)]);
        await lane.accept(7n, { next: 9n, receipt: { term: 1, sequence: 4n } });
        expect(lane.pending).toEqual([record(9n, 2)]);
        expect(lane.head).toEqual({ next: 9n, receipt: { term: 1, sequence: 4n } });
      });
      await withLane(reload?.() ?? again, async (lane) => {
        expect(lane.pending).toEqual([record(9n, 2)]);
        expect(lane.head).toEqual({ next: 9n, receipt: { term: 1, sequence: 4n } });
      });
    });

    it('refuses a second bundle for a nonce, and any below the head', async () => {
      const { outbox } = await make();
      await withLane(outbox, async (lane) => {
        await lane.put(record(5n, 3));
        for (const bad of [record(5n), record(7n), record(3n, 3)]) {
          await expect(lane.put(bad)).rejects.toMatchObject({ code: 'outbox.conflict' });
        }
        await lane.put(record(8n));
        await lane.accept(5n, { next: 8n });
        await expect(lane.put(record(5n, 3))).rejects.toMatchObject({ code: 'outbox.conflict' });
      });
    });

    it('replaces a bundle by one at another nonce, or at the same', async () => {
      const { outbox, reload } = await make();
      await withLane(outbox, async (lane) => {
        await lane.put(record(5n, 2));
        await lane.put(record(7n, 1));
        await expect(lane.replace(5n, record(7n, 2))).rejects.toMatchObject({ code: 'outbox.conflict' });
        await lane.replace(5n, record(6n, 2));
        await lane.replace(7n, record(8n, 1));
        await lane.replace(8n, { ...record(8n, 1), bundle: new TextEncoder().encode('signed again') });
      });
      await withLane(reload?.() ?? outbox, async (lane) => {
        expect(lane.pending.map(({ nonce }) => nonce)).toEqual([6n, 8n]);
        expect(new TextDecoder().decode(lane.pending[1]?.bundle)).toBe('signed again');
      });
    });

    it('never moves the head back', async () => {
      const { outbox } = await make();
      await withLane(outbox, async (lane) => {
        await lane.put(record(3n));
        await lane.put(record(4n));
        await lane.accept(4n, { next: 5n });
        await lane.accept(3n, { next: 4n });
        expect(lane.head?.next).toBe(5n);
        expect(lane.pending).toEqual([]);
      });
    });

    it('counts the messages of a job, accepted or pending', async () => {
      const { outbox, reload } = await make();
      await withLane(outbox, async (lane) => {
        await lane.put(record(0n, 10, { name: 'file', done: 10 }));
        await lane.put(record(10n, 10, { name: 'file', done: 20 }));
        expect(await lane.jobDone('file')).toBe(20);
        await lane.accept(0n, { next: 10n });
        expect(await lane.jobDone('file')).toBe(20);
        await lane.accept(10n, { next: 20n });
      });
      await withLane(reload?.() ?? outbox, async (lane) => {
        expect(await lane.jobDone('file')).toBe(20);
        expect(await lane.jobDone('another')).toBe(0);
      });
    });

    it('forgets what is dropped, and frees its nonce', async () => {
      const { outbox } = await make();
      await withLane(outbox, async (lane) => {
        await lane.put(record(0n, 2, { name: 'file', done: 2 }));
        await lane.drop(0n);
        expect(lane.pending).toEqual([]);
        expect(await lane.jobDone('file')).toBe(0);
        await lane.put(record(0n));
      });
    });

    it('is one caller’s at a time, per account and lane', async () => {
      const { outbox } = await make();
      const first = await outbox.open(outboxKey, { signal });
      const other = await outbox.open({ ...outboxKey, lane: 1 }, { signal });
      await other.close();
      let got = false;
      const second = outbox.open(outboxKey, { signal }).then((lane) => {
        got = true;
        return lane;
      });
      await first.put(record(0n));
      expect(got).toBe(false);
      await first.close();
      const lane = await second;
      expect(lane.pending).toEqual([record(0n)]);
      await lane.close();
    });

    it('lets go of a caller who gives up waiting, and of nobody else', async () => {
      const { outbox } = await make();
      const first = await outbox.open(outboxKey, { signal });
      const impatient = new AbortController();
      const waiting = outbox.open(outboxKey, { signal: impatient.signal });
      impatient.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow('enough');
      await first.close();
      await withLane(outbox, async (lane) => expect(lane.pending).toEqual([]));
    });
  });
}
