/** How values of an axis become places: linear from `min` to `max`, or logarithmic. */
export interface Scale {
  readonly kind: 'linear' | 'log';
  readonly min: number;
  readonly max: number;
}

const FACTORS = [1, 2, 5];

/** 1, 2 and 5 times the powers of ten from `low`'s to the one above `high`'s, in order. */
function roundValues(low: number, high: number): number[] {
  const first = Math.floor(Math.log10(low));
  const last = Math.floor(Math.log10(high)) + 1;
  return Array.from({ length: last - first + 1 }, (_, power) => FACTORS.map((one) => Number(`${one}e${first + power}`))).flat();
}

/**
 * A scale that holds all values and ends on round ones: 1, 2 or 5 times a power of ten, or of a linear one's ticks. A linear
 * one starts at 0; a logarithmic one has positive values only.
 */
export function scaleFor(kind: Scale['kind'], values: readonly number[]): Scale {
  if (values.length === 0) throw new RangeError('an axis needs at least one value');
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (kind === 'log') {
    if (!(low > 0)) throw new RangeError(`a logarithmic axis cannot show ${low}`);
    const ends = roundValues(low, high);
    const min = ends.findLast((one) => one <= low) ?? low;
    return { kind, min, max: ends.find((one) => one >= high && one > min) ?? high };
  }
  if (low < 0) throw new RangeError(`a linear axis starts at 0 and cannot show ${low}`);
  const span = high === 0 ? 1 : high;
  const step = linearStep(span);
  return { kind, min: 0, max: step * Math.ceil(span / step - 1e-9) };
}

/** Where a value stands on an axis: 0 at its minimum, 1 at its maximum. */
export function place({ kind, min, max }: Scale, value: number): number {
  if (kind === 'linear') return (value - min) / (max - min);
  return Math.log(value / min) / Math.log(max / min);
}

/** 1, 2 or 5 times a power of ten, so that four to ten of them make `span`. */
function linearStep(span: number): number {
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const factor = [5, 2].find((one) => span / (one * power) >= 4) ?? 1;
  return factor * power;
}

/** What an axis names: round values; of a logarithmic one its powers of ten, or, over less than two of them, also 2 and 5 times. */
export function ticks({ kind, min, max }: Scale): number[] {
  if (kind === 'linear') {
    const step = linearStep(max - min);
    const count = Math.round((max - min) / step);
    return Array.from({ length: count + 1 }, (_, at) => Number((min + at * step).toPrecision(12)));
  }
  const within = roundValues(min, max).filter((one) => one >= min && one <= max);
  return max / min < 100 ? within : within.filter((one) => Number.isInteger(Math.log10(one)));
}

/** One set of points. */
export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number; readonly says?: string }[];
  /** `line`: joined by a line, with marks; `marks` alone; `dashes`: a dashed line without marks. */
  readonly style: 'line' | 'marks' | 'dashes';
}

/** What is plotted. */
export interface Plot {
  readonly title: string;
  /** Where the figures are from. */
  readonly subtitle: string;
  readonly x: { readonly label: string; readonly kind: Scale['kind'] };
  readonly y: { readonly label: string; readonly kind: Scale['kind'] };
  readonly series: readonly Series[];
}

const WIDTH = 760;
const HEIGHT = 480;
/** The field of the points, inside the picture. */
export const FIELD = { left: 84, right: WIDTH - 24, top: 118, bottom: HEIGHT - 60 };

// Without a background of its own a picture shows the page's: these can be read on white and on GitHub's dark grey.
const INK = '#768390';
const GRID = '#768390';
const COLOURS = ['#2f81f7', '#d4622a', '#2da44e', '#a371f7'];

/** 20, 0.05, 1 k, 100 k, 1 M: what stands at a tick. */
export function tickText(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(6))} M`;
  if (value >= 1e3) return `${Number((value / 1e3).toPrecision(6))} k`;
  return String(Number(value.toPrecision(6)));
}

const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const at = (value: number): string => String(Math.round(value * 100) / 100);

/** The picture, as the text of an SVG file: the same for the same figures. */
export function drawPlot(plot: Plot): string {
  const points = plot.series.flatMap((one) => one.points);
  const x = scaleFor(
    plot.x.kind,
    points.map((point) => point.x),
  );
  const y = scaleFor(
    plot.y.kind,
    points.map((point) => point.y),
  );
  const { left, right, top, bottom } = FIELD;
  const toX = (value: number) => left + place(x, value) * (right - left);
  const toY = (value: number) => bottom - place(y, value) * (bottom - top);
  const lines: string[] = [];
  const text = (where: { x: number; y: number }, content: string, attributes = '') =>
    lines.push(`<text x="${at(where.x)}" y="${at(where.y)}"${attributes}>${escaped(content)}</text>`);

  text({ x: left, y: 26 }, plot.title, ' font-size="17" font-weight="600"');
  text({ x: left, y: 47 }, plot.subtitle);
  for (const value of ticks(x)) {
    lines.push(`<path d="M${at(toX(value))} ${at(bottom)}V${at(top)}" stroke="${GRID}" stroke-opacity="0.2"/>`);
    text({ x: toX(value), y: bottom + 20 }, tickText(value), ' text-anchor="middle"');
  }
  for (const value of ticks(y)) {
    lines.push(`<path d="M${at(left)} ${at(toY(value))}H${at(right)}" stroke="${GRID}" stroke-opacity="0.2"/>`);
    text({ x: left - 9, y: toY(value) + 4 }, tickText(value), ' text-anchor="end"');
  }
  lines.push(`<path d="M${at(left)} ${at(top)}V${at(bottom)}H${at(right)}" stroke="${INK}" fill="none"/>`);
  text({ x: (left + right) / 2, y: HEIGHT - 14 }, plot.x.label, ' text-anchor="middle"');
  const middle = (top + bottom) / 2;
  text({ x: 22, y: middle }, plot.y.label, ` text-anchor="middle" transform="rotate(-90 22 ${at(middle)})"`);

  let legendX = left;
  let legendY = 72;
  for (const [index, { name, points: own, style }] of plot.series.entries()) {
    const colour = COLOURS[index % COLOURS.length];
    const path = own.map((point, nth) => `${nth === 0 ? 'M' : 'L'}${at(toX(point.x))} ${at(toY(point.y))}`).join('');
    const dash = style === 'dashes' ? ' stroke-dasharray="7 5"' : '';
    if (style !== 'marks') lines.push(`<path d="${path}" stroke="${colour}" stroke-width="2" fill="none"${dash}/>`);
    // Marks without a line lie on those of another series: rings, through which that one shows.
    const fill = style === 'marks' ? `fill="none" stroke="${colour}" stroke-width="2"` : `fill="${colour}"`;
    const radius = style === 'marks' ? 7 : 4;
    if (style !== 'dashes') {
      for (const point of own) {
        const says = point.says === undefined ? '' : `<title>${escaped(point.says)}</title>`;
        lines.push(`<circle cx="${at(toX(point.x))}" cy="${at(toY(point.y))}" r="${radius}" ${fill}>${says}</circle>`);
      }
    }
    // As wide as such letters are; what does not fit stands in a second row.
    const width = 29 + name.length * 6.6;
    if (legendX > left && legendX + width > right) {
      legendX = left;
      legendY += 22;
    }
    if (style === 'marks') lines.push(`<circle cx="${at(legendX + 11)}" cy="${legendY}" r="6" ${fill}/>`);
    else lines.push(`<path d="M${at(legendX)} ${legendY}h22" stroke="${colour}" stroke-width="2"${dash}/>`);
    text({ x: legendX + 29, y: legendY + 4 }, name);
    legendX += width + 22;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(plot.title)}" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13" fill="${INK}">
${lines.join('\n')}
</svg>
`;
}
