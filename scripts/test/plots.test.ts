import { describe, expect, test } from 'vitest';
import { drawPlot, FIELD, place, scaleFor, ticks, tickText } from '../bench/plots.js';
import { costPlot, latencyPlot, markdownTable, type Results, readResults, withTable } from '../bench/report.js';

interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: Element[];
  text: string;
}

/** A strict parser of the XML that needs no prolog: every tag closed in order, every attribute quoted, no bare `<` or `&`. */
function parse(source: string): Element {
  const root: Element = { name: '', attributes: {}, children: [], text: '' };
  const open = [root];
  const token = /<(\/?)([a-z]+)((?: [\w-]+="[^"<]*")*)(\/?)>|([^<]+)/gy;
  let end = 0;
  for (let match = token.exec(source); match !== null; match = token.exec(source)) {
    end = token.lastIndex;
    const [, closing, name = '', list = '', empty, text] = match;
    const parent = open.at(-1) as Element;
    if (text !== undefined || list.includes('&')) expect(text ?? list).not.toMatch(/&(?!#\d+;)/);
    if (text !== undefined) parent.text += text.replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)));
    else if (closing) expect(open.pop()?.name).toBe(name);
    else {
      const pairs = [...list.matchAll(/ ([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value]);
      const element: Element = { name, attributes: Object.fromEntries(pairs), children: [], text: '' };
      parent.children.push(element);
      if (!empty) open.push(element);
    }
  }
  expect(end, `no XML at: ${source.slice(end, end + 40)}`).toBe(source.length);
  expect(open).toHaveLength(1);
  expect(root.children).toHaveLength(1);
  return root.children[0] as Element;
}

const textsOf = (svg: Element) => svg.children.filter(({ name }) => name === 'text').map(({ text }) => text);
/** The marks of points, without those of the legend. */
const marksOf = (svg: Element) =>
  svg.children
    .filter(({ name, children }) => name === 'circle' && children.length === 1)
    .map(({ attributes, children }) => ({
      x: Number(attributes.cx),
      y: Number(attributes.cy),
      says: children[0]?.text,
    }));

const RESULTS: Results = {
  machine: { cpu: 'Processor <X>', cores: 2, memoryBytes: 8 * 2 ** 30, node: 'v20.20.2' },
  date: '2026-11-23T23:30:00.000Z',
  version: '0.1.0',
  command: 'npm run bench -- --json',
  fsyncMs: 0.25,
  quick: false,
  figures: [
    { scenario: 'bundled', figure: 'accepted', value: 250_000, unit: 'messages/s', beside: { what: 'ceiling', value: 500_000 } },
    { scenario: 'bundled', figure: 'p99', value: 12.345, unit: 'ms' },
    { scenario: 'peers', figure: 'append | no fsync', value: 1_000, unit: 'messages/s' },
  ],
  latency: {
    loads: [
      { load: 0.25, messagesPerSecond: 50_000, accept: { p50Ms: 1, p99Ms: 10 }, plannedToReadable: { p50Ms: 2, p99Ms: 20 } },
      { load: 0.5, messagesPerSecond: 100_000, accept: { p50Ms: 2, p99Ms: 100 } },
    ],
  },
  onchain: {
    direct: { gasPerMessage: 33_000 },
    sizes: [
      { messages: 1, gasPerMessage: 60_000, sealed: true },
      { messages: 1, gasPerMessage: 60_000, sealed: false },
      { messages: 1_000, gasPerMessage: 60, sealed: false },
    ],
    commits: [
      { batches: 1, gasPerBatch: 60_000 },
      { batches: 255, gasPerBatch: 30_000 },
    ],
  },
};

describe('scales', () => {
  test('a linear one goes from 0 to a tick at or above the largest value', () => {
    expect(scaleFor('linear', [3, 87])).toEqual({ kind: 'linear', min: 0, max: 100 });
    expect(scaleFor('linear', [100_000])).toEqual({ kind: 'linear', min: 0, max: 100_000 });
    expect(scaleFor('linear', [0])).toEqual({ kind: 'linear', min: 0, max: 1 });
  });

  test('a logarithmic one goes between 1, 2 or 5 times powers of ten, however near, and is never empty', () => {
    expect(scaleFor('log', [0.6, 1_900])).toEqual({ kind: 'log', min: 0.5, max: 2_000 });
    expect(scaleFor('log', [1, 1_048_576])).toEqual({ kind: 'log', min: 1, max: 2_000_000 });
    expect(scaleFor('log', [0.000_1, 1_000])).toEqual({ kind: 'log', min: 0.000_1, max: 1_000 });
    expect(scaleFor('log', [10])).toEqual({ kind: 'log', min: 10, max: 20 });
  });

  test('what cannot be shown is refused', () => {
    expect(() => scaleFor('log', [0, 1])).toThrow(RangeError);
    expect(() => scaleFor('linear', [-1])).toThrow(RangeError);
    expect(() => scaleFor('linear', [])).toThrow(RangeError);
  });

  test('a value stands where its share of the axis is, or of its logarithm', () => {
    expect(place({ kind: 'linear', min: 0, max: 200 }, 50)).toBe(0.25);
    const log = { kind: 'log', min: 1, max: 10_000 } as const;
    expect([1, 10, 100, 10_000].map((value) => place(log, value))).toEqual([0, expect.closeTo(0.25), expect.closeTo(0.5), 1]);
  });
});

describe('ticks', () => {
  test('are round, and hold both ends', () => {
    expect(ticks({ kind: 'linear', min: 0, max: 100 })).toEqual([0, 20, 40, 60, 80, 100]);
    expect(ticks({ kind: 'linear', min: 0, max: 0.3 })).toEqual([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
  });

  test('are powers of ten, and twice and five times over a short range', () => {
    expect(ticks({ kind: 'log', min: 0.05, max: 20_000 })).toEqual([0.1, 1, 10, 100, 1_000, 10_000]);
    expect(ticks({ kind: 'log', min: 2, max: 100 })).toEqual([2, 5, 10, 20, 50, 100]);
    expect(ticks({ kind: 'log', min: 0.000_01, max: 0.001 })).toEqual([0.000_01, 0.000_1, 0.001]);
  });

  test('a linear axis ends on its last tick, whatever the largest value', () => {
    for (const high of [1, 7, 9.99, 10, 11, 99, 101, 12_345, 480_000]) {
      const scale = scaleFor('linear', [high]);
      const named = ticks(scale);
      expect(named.at(-1)).toBe(scale.max);
      expect(named.length).toBeGreaterThanOrEqual(4);
      expect(named.length).toBeLessThanOrEqual(12);
    }
  });

  test('their names are short', () => {
    expect([0, 0.05, 20, 1_500, 250_000, 1_048_576].map(tickText)).toEqual(['0', '0.05', '20', '1.5 k', '250 k', '1.04858 M']);
  });
});

describe('a plot', () => {
  test('has its points at their places, and its texts as text', () => {
    const svg = parse(
      drawPlot({
        title: 'a < b & "c"',
        subtitle: 'from here',
        x: { label: 'along', kind: 'linear' },
        y: { label: 'up', kind: 'log' },
        series: [
          {
            name: 'one',
            style: 'line',
            points: [
              { x: 0, y: 1, says: 'low' },
              { x: 100, y: 100, says: 'high' },
              { x: 50, y: 10, says: 'middle' },
            ],
          },
        ],
      }),
    );
    const { left, right, top, bottom } = FIELD;
    expect(marksOf(svg)).toEqual([
      { x: left, y: bottom, says: 'low' },
      { x: right, y: top, says: 'high' },
      { x: (left + right) / 2, y: (top + bottom) / 2, says: 'middle' },
    ]);
    expect(svg.attributes['aria-label']).toBe('a &#60; b &#38; &#34;c&#34;');
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining(['a < b & "c"', 'from here', 'along', 'up', 'one', '0', '20', '100', '1', '10']),
    );
  });

  test('of latency: one line a percentile, one mark a load', () => {
    const svg = parse(latencyPlot(RESULTS) as string);
    const marks = marksOf(svg);
    expect(marks.map(({ says }) => says)).toEqual([
      '50,000 messages/s, 25 % of the highest rate: readable, p99, 20 ms',
      '50,000 messages/s, 25 % of the highest rate: receipt, p99, 10 ms',
      '100,000 messages/s, 50 % of the highest rate: receipt, p99, 100 ms',
      '50,000 messages/s, 25 % of the highest rate: readable, p50, 2 ms',
      '50,000 messages/s, 25 % of the highest rate: receipt, p50, 1 ms',
      '100,000 messages/s, 50 % of the highest rate: receipt, p50, 2 ms',
    ]);
    // At twice the load the receipt's 99th percentile is ten times as high: half of an axis from 1 to 100 ms.
    const [, quarter, half] = marks;
    expect(quarter?.x).toBe((FIELD.left + FIELD.right) / 2);
    expect(half?.x).toBe(FIELD.right);
    expect((quarter?.y ?? 0) - (half?.y ?? 0)).toBeCloseTo((FIELD.bottom - FIELD.top) / 2);
    expect(textsOf(svg)).toContain('2 × Processor <X>, Node v20.20.2, Sealpost 0.1.0, 23 November 2026');
  });

  test('of cost: headers as a line, real batches as rings on it, the direct cost across', () => {
    const svg = parse(costPlot(RESULTS) as string);
    const marks = marksOf(svg);
    expect(marks).toHaveLength(5);
    expect(marks[4]).toMatchObject({ x: marks[0]?.x, y: marks[0]?.y });
    expect(marks.map(({ says }) => says)).toContain('1,000 messages a batch, 255 batches a commit: 30 gas a message');
    const dashed = svg.children.filter(({ attributes }) => attributes['stroke-dasharray'] !== undefined);
    const [, from, , to] = /^M(\S+) (\S+)L(\S+) (\S+)$/.exec(dashed[0]?.attributes.d ?? '')?.slice(1) ?? [];
    expect(from).toBe(to);
    expect(dashed[0]?.attributes.d?.startsWith(`M${FIELD.left} `)).toBe(true);
  });

  test('keeps its legend inside the picture, above the field', () => {
    const svg = parse(costPlot(RESULTS) as string);
    const names = ['one batch a commit', '255 a commit', 'directly, a transaction each', 'sealed and posted by the sequencer'];
    const entries = svg.children.filter(({ name, text }) => name === 'text' && names.includes(text));
    expect(entries.map(({ text }) => text)).toEqual(names);
    for (const { text, attributes } of entries) {
      expect(Number(attributes.x) + 6.6 * text.length).toBeLessThanOrEqual(FIELD.right);
      expect(Number(attributes.y)).toBeLessThan(FIELD.top);
    }
  });

  test('is not drawn of what a run did not measure', () => {
    const { latency: _latency, onchain: _onchain, ...others } = RESULTS;
    expect(latencyPlot(others)).toBeUndefined();
    expect(costPlot(others)).toBeUndefined();
  });
});

describe('the table', () => {
  test('has every figure beside its limit, and says where it is from', () => {
    const lines = markdownTable(RESULTS).split('\n');
    expect(lines[0]).toContain('8 GiB');
    expect(lines[0]).toContain('23 November 2026');
    expect(lines[0]).toContain('`npm run bench -- --json`');
    expect(lines).toContain('| `bundled` | accepted | 250,000 messages/s | 0.5 of 500,000, ceiling |');
    expect(lines).toContain('|  | p99 | 12.3 ms |  |');
    const folded = lines.findIndex((line) => line.startsWith('<details>'));
    expect(lines.indexOf('| `peers` | append \\| no fsync | 1,000 messages/s |  |')).toBeGreaterThan(folded);
  });

  test('says of a quick run that it is one', () => {
    expect(markdownTable(RESULTS)).not.toContain('quick');
    expect(markdownTable({ ...RESULTS, quick: true })).toContain('A quick run');
  });

  test('replaces what is between the markers, again and again, and nothing else', () => {
    const readme = 'before\n<!-- npm run plots: begin -->\nold\n<!-- npm run plots: end -->\nafter\n';
    const once = withTable(readme, 'new');
    expect(once).toBe('before\n<!-- npm run plots: begin -->\nnew\n<!-- npm run plots: end -->\nafter\n');
    expect(withTable(once as string, 'new')).toBe(once);
    expect(withTable('no markers', 'new')).toBeUndefined();
  });

  test('is not made of something else', () => {
    for (const text of ['', '{}', 'null', '{"date":"2026-11-23"}', '[1]'])
      expect(() => readResults(text, 'file')).toThrow('file does not hold the results of a benchmark');
    expect(readResults(JSON.stringify(RESULTS), 'file')).toEqual(RESULTS);
  });
});
