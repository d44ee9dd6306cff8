/**
 * Latencies in buckets whose width grows with the value: every value is kept to within 2 % from a microsecond to an hour,
 * whatever the load, without keeping the values (the idea of HdrHistogram).
 */
export class Histogram {
  private readonly counts = new Float64Array(64 * SUB_BUCKETS);
  private total = 0;
  private largest = 0;

  get count(): number {
    return this.total;
  }

  /** The largest one, exactly; NaN if there are none. */
  get max(): number {
    return this.total === 0 ? Number.NaN : this.largest / 1_000;
  }

  record(ms: number): void {
    const us = Math.max(1, Math.round(ms * 1_000));
    this.counts[bucketOf(us)] = (this.counts[bucketOf(us)] ?? 0) + 1;
    this.total++;
    if (us > this.largest) this.largest = us;
  }

  /** The smallest latency, in milliseconds, that `percent` of all do not exceed; NaN if there are none. */
  percentile(percent: number): number {
    if (this.total === 0) return Number.NaN;
    let left = Math.max(1, Math.ceil((percent / 100) * this.total));
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      left -= this.counts[bucket] ?? 0;
      if (left <= 0) return Math.min(upperEdge(bucket), this.largest) / 1_000;
    }
    return this.largest / 1_000;
  }
}

const SUB_BITS = 7;
const SUB_BUCKETS = 1 << SUB_BITS;

/** Values below 128 have a bucket each; above, every power of two is split into 64 buckets or more. */
function bucketOf(us: number): number {
  if (us < SUB_BUCKETS) return us;
  const shift = Math.floor(Math.log2(us)) - SUB_BITS + 1;
  return shift * (SUB_BUCKETS / 2) + Math.floor(us / 2 ** shift);
}

function upperEdge(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket;
  const shift = Math.floor(bucket / (SUB_BUCKETS / 2)) - 1;
  return (bucket - shift * (SUB_BUCKETS / 2) + 1) * 2 ** shift - 1;
}
