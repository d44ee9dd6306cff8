import { Failure, formatCount } from '../terminal.js';
import { drawPlot, type Series } from './plots.js';
import type { Row } from './scenario.js';

/** What `npm run bench -- --json` writes, as far as it is shown here. */
export interface Results {
  readonly machine: { readonly cpu?: string; readonly cores: number; readonly memoryBytes: number; readonly node: string };
  /** ISO 8601. */
  readonly date: string;
  readonly version: string;
  readonly command: string;
  readonly fsyncMs: number;
  readonly quick: boolean;
  /** What is needed to read a scenario's figures, by its name. */
  readonly notes?: Readonly<Record<string, readonly string[]>>;
  /** The rows of the table, in order. */
  readonly figures: readonly (Row & { readonly scenario: string })[];
  readonly latency?: { readonly loads: readonly LatencyAtLoad[] };
  readonly onchain?: {
    readonly direct: { readonly gasPerMessage: number };
    readonly sizes: readonly { readonly messages: number; readonly gasPerMessage: number; readonly sealed: boolean }[];
    readonly commits: readonly { readonly batches: number; readonly gasPerBatch: number }[];
  };
}

/** Latencies of an open loop at one planned rate, as the scenario `latency` finds them. */
export interface LatencyAtLoad {
  /** Of the highest rate. */
  readonly load: number;
  readonly messagesPerSecond: number;
  /** From the planned time to the receipt. */
  readonly accept?: Percentiles | undefined;
  /** From the planned time to the topic's stream. */
  readonly plannedToReadable?: Percentiles | undefined;
}

interface Percentiles {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** @throws Failure if it is not what `npm run bench -- --json` writes */
export function readResults(text: string, name: string): Results {
  let value: Partial<Results> | null;
  try {
    value = JSON.parse(text) as Partial<Results> | null;
  } catch {
    value = null;
  }
  if (typeof value?.date !== 'string' || !Array.isArray(value.figures) || value.machine === undefined)
    throw new Failure(`${name} does not hold the results of a benchmark`, 'npm run bench -- --json | tail -1 > results.json', 2);
  return value as Results;
}

/** Four digits that matter. */
export const figureText = (value: number | null): string =>
  value === null || Number.isNaN(value)
    ? '-'
    : Math.abs(value) >= 100
      ? formatCount(value)
      : String(Number(value.toPrecision(3)));

const dayText = (date: string): string =>
  new Date(date).toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' });

const machineText = ({ machine, date, version }: Results): string =>
  `${machine.cores} × ${machine.cpu ?? 'unknown processor'}, Node ${machine.node}, Sealpost ${version}, ${dayText(date)}`;

/** What has many figures and is read by few: under a line that opens. */
const FOLDED: Readonly<Record<string, string>> = {
  peers: 'Beside merkletreejs and hypercore, in the same run',
  onchain: 'Beside the same messages as Ethereum transactions, in the same run',
};

/** The run as Markdown: where and how it was made, and every figure beside its limit. */
export function markdownTable(results: Results): string {
  const scenarios = [...new Set(results.figures.map((one) => one.scenario))];
  const shown = scenarios.filter((name) => !(name in FOLDED));
  const rowsOf = (names: readonly string[]) => [
    '| | figure | | of its limit in the same run |',
    '| --- | --- | ---: | --- |',
    ...names.flatMap((name) =>
      results.figures
        .filter((one) => one.scenario === name)
        .map(({ figure, value, unit, beside }, at) => {
          const share =
            beside === undefined ? '' : `${figureText(value / beside.value)} of ${figureText(beside.value)}, ${beside.what}`;
          return `| ${at === 0 ? `\`${name}\`` : ''} | ${cell(figure)} | ${figureText(value)} ${cell(unit)} | ${cell(share)} |`;
        }),
    ),
  ];
  const memory = `${Math.round(results.machine.memoryBytes / 2 ** 30)} GiB`;
  return [
    `${machineText(results)}, ${memory}; a 4 kB write and its fsync: ${figureText(results.fsyncMs)} ms. Made by \`${results.command}\`.` +
      (results.quick ? ' A quick run: no figure to rely on.' : ''),
    '',
    ...(shown.length === 0 ? [] : rowsOf(shown)),
    ...scenarios
      .filter((name) => name in FOLDED)
      .flatMap((name) => ['', `<details><summary>${FOLDED[name]}</summary>`, '', ...rowsOf([name]), '', '</details>']),
    ...notesOf(results),
  ].join('\n');
}

function notesOf({ notes = {} }: Results): string[] {
  const lines = Object.entries(notes).flatMap(([name, texts]) => texts.map((text) => `- \`${name}\`: ${text}`));
  if (lines.length === 0) return [];
  return ['', '<details><summary>What was checked, and what the figures leave out</summary>', '', ...lines, '', '</details>'];
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

/** Latency against load; undefined if the run had no scenario `latency`. */
export function latencyPlot(results: Results): string | undefined {
  const loads = results.latency?.loads;
  if (loads === undefined || loads.length === 0) return undefined;
  const series = (name: string, which: 'accept' | 'plannedToReadable', percentile: keyof Percentiles): Series => ({
    name,
    style: 'line',
    points: loads.flatMap((one) => {
      const ms = one[which]?.[percentile];
      if (ms === undefined) return [];
      const load = `${formatCount(one.messagesPerSecond)} messages/s, ${Math.round(100 * one.load)} % of the highest rate`;
      return [{ x: one.messagesPerSecond, y: ms, says: `${load}: ${name}, ${figureText(ms)} ms` }];
    }),
  });
  const shown = [
    series('readable, p99', 'plannedToReadable', 'p99Ms'),
    series('receipt, p99', 'accept', 'p99Ms'),
    series('readable, p50', 'plannedToReadable', 'p50Ms'),
    series('receipt, p50', 'accept', 'p50Ms'),
  ].filter(({ points }) => points.length > 0);
  if (shown.length === 0) return undefined;
  return drawPlot({
    title: 'Latency against load',
    subtitle: machineText(results),
    x: { label: 'messages a second, planned on a clock; latency counts from the planned time', kind: 'linear' },
    y: { label: 'milliseconds', kind: 'log' },
    series: shown,
  });
}

/** Gas a message against the size of a batch; undefined if the run had no scenario `onchain`. */
export function costPlot(results: Results): string | undefined {
  const { onchain } = results;
  if (onchain === undefined) return undefined;
  const headers = onchain.sizes.filter((one) => !one.sealed);
  const full = onchain.commits.at(-1);
  const [first, last] = [headers[0], headers.at(-1)];
  if (full === undefined || first === undefined || last === undefined) return undefined;
  const points = (sizes: readonly { messages: number; gasPerMessage: number }[], how: string) =>
    sizes.map(({ messages, gasPerMessage }) => ({
      x: messages,
      y: gasPerMessage,
      says: `${formatCount(messages)} messages a batch, ${how}: ${figureText(gasPerMessage)} gas a message`,
    }));
  const shared = headers.map(({ messages }) => ({ messages, gasPerMessage: full.gasPerBatch / messages }));
  return drawPlot({
    title: 'What a message costs on the L1, against the size of its batch',
    subtitle: machineText(results),
    x: { label: 'messages a batch', kind: 'log' },
    y: { label: 'gas a message', kind: 'log' },
    series: [
      { name: 'one batch a commit', style: 'line', points: points(headers, 'alone in its commit') },
      { name: `${full.batches} a commit`, style: 'line', points: points(shared, `${full.batches} batches a commit`) },
      {
        name: 'directly, a transaction each',
        style: 'dashes',
        points: [first.messages, last.messages].map((x) => ({ x, y: onchain.direct.gasPerMessage })),
      },
      {
        name: 'sealed and posted by the sequencer',
        style: 'marks',
        points: points(
          onchain.sizes.filter((one) => one.sealed),
          'sealed and posted by the sequencer',
        ),
      },
    ],
  });
}

const BEGIN = '<!-- npm run plots: begin -->';
const END = '<!-- npm run plots: end -->';

/** A text with the table between its two markers made anew; undefined if it has no markers. */
export function withTable(text: string, table: string): string | undefined {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END, begin);
  if (begin < 0 || end < 0) return undefined;
  return `${text.slice(0, begin + BEGIN.length)}\n${table}\n${text.slice(end)}`;
}
