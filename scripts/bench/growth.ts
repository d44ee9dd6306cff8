/** How a series of samples, evenly spaced, has grown. */
export interface Growth {
  /** Of the least-squares line through them: its rise from the first to the last, as a share of where it starts. */
  readonly fitted: number;
  /** Of the median of the last fifth over that of the first fifth: what outliers cannot move. */
  readonly ofMedians: number;
}

/** NaN for fewer than ten samples. */
export function growthOf(samples: readonly number[]): Growth {
  const count = samples.length;
  if (count < 10) return { fitted: Number.NaN, ofMedians: Number.NaN };
  const meanAt = (count - 1) / 2;
  const mean = samples.reduce((sum, one) => sum + one, 0) / count;
  let rise = 0;
  let run = 0;
  for (const [at, one] of samples.entries()) {
    rise += (at - meanAt) * (one - mean);
    run += (at - meanAt) ** 2;
  }
  const slope = rise / run;
  const start = mean - slope * meanAt;
  const fifth = Math.floor(count / 5);
  return {
    fitted: (slope * (count - 1)) / start,
    ofMedians: median(samples.slice(-fifth)) / median(samples.slice(0, fifth)) - 1,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
