import { type Domain, lowerHex, type Receipt } from '@sealpost/prover';

/**
 * Where the receipts go that a client was given, so that the sequencer can be held to them until their batches are final
 * (PROTOCOL.md §7): also those that do not hold, which may be evidence.
 */
export interface ReceiptKeeper {
  /** Resolves when the receipt is kept. */
  keep(domain: Domain, receipt: Receipt): Promise<void>;
}

/** A receipt that is kept, for whoever watches the log. */
export interface KeptReceipt {
  readonly receipt: Receipt;
  /** Its batch is final and has the entry, or nothing comes of it any more: it needs no keeping. */
  done(): void;
}

/** Reads what one or several keepers kept of a network. */
export interface ReceiptReader {
  /** Those that were kept since the last call, oldest first, at most `limit`; none if that is all for now. */
  more(limit: number): Promise<readonly KeptReceipt[]>;
}

/** Receipts of a network as a name for maps and folders. */
export const receiptsName = ({ chainId, settlement }: Domain): string => `${chainId}-${lowerHex(settlement)}`;

/** Some 20 MB. */
const MAX_KEPT = 16_384;

/** Receipts that live as long as the process, the newest 16,384 of a network. */
export interface MemoryReceipts extends ReceiptKeeper {
  reader(domain: Domain): ReceiptReader;
}

export function memoryReceipts(): MemoryReceipts {
  const networks = new Map<string, Set<Receipt>>();
  const keptOf = (domain: Domain): Set<Receipt> => {
    const name = receiptsName(domain);
    const kept = networks.get(name) ?? new Set();
    networks.set(name, kept);
    return kept;
  };
  return {
    async keep(domain, receipt) {
      const kept = keptOf(domain);
      kept.add(receipt);
      for (const oldest of kept) {
        if (kept.size <= MAX_KEPT) break;
        kept.delete(oldest);
      }
    },
    reader(domain) {
      const kept = keptOf(domain);
      const given = new WeakSet<Receipt>();
      return {
        async more(limit) {
          const fresh: KeptReceipt[] = [];
          for (const receipt of kept) {
            if (fresh.length === limit) break;
            if (given.has(receipt)) continue;
            given.add(receipt);
            fresh.push({ receipt, done: () => void kept.delete(receipt) });
          }
          return fresh;
        },
      };
    },
  };
}
