import { existsSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { costPlot, latencyPlot, markdownTable, readResults, withTable } from './bench/report.js';
import { writeOrCheck } from './generated.js';
import { readFlags } from './settings.js';
import { Failure, print, runCommand } from './terminal.js';

const RESULTS = new URL('bench/results/results.json', import.meta.url);
/** A run of its own, because it takes as long as all the others. */
const SOAK = new URL('bench/results/soak.json', import.meta.url);
const README = new URL('../README.md', import.meta.url);

const HELP = `
npm run plots: draws the results of one run of the benchmark, and writes its table into the README.

The table of soak.json follows that of results.json. Beside the results: latency.svg (load against latency), cost.svg (gas a message against the size of its batch). The table
stands in README.md between <!-- npm run plots: begin --> and <!-- npm run plots: end -->; with results from elsewhere, and in
a README without these lines, it is printed.

Flags
  --results FILE    what npm run bench -- --json wrote, the last line of it (scripts/bench/results/results.json)
  --check           write nothing; fail if something is not what it would be

Examples
  npm run bench -- --json | tail -1 > scripts/bench/results/results.json && npm run plots
  npm run plots -- --results mine.json
`;

async function plots(): Promise<number | undefined> {
  const flags = readFlags(HELP, { results: { type: 'string' }, check: { type: 'boolean' } } as const);
  if (flags === undefined) return 0;
  const file = flags.results === undefined ? RESULTS : pathToFileURL(flags.results);
  if (!existsSync(file))
    throw new Failure(
      `there are no results in ${file.pathname}`,
      'npm run bench -- --json | tail -1 > FILE, then --results FILE',
      2,
    );
  const results = readResults(readFileSync(file, 'utf8'), file.pathname);
  const drawn = [
    ['latency.svg', latencyPlot(results)],
    ['cost.svg', costPlot(results)],
  ] as const;
  for (const [name, svg] of drawn) {
    if (svg !== undefined) writeOrCheck(new URL(name, file), svg, `${name} is not of these results: npm run plots`);
  }
  const soak =
    flags.results === undefined && existsSync(SOAK) ? readResults(readFileSync(SOAK, 'utf8'), SOAK.pathname) : undefined;
  const table = [results, ...(soak === undefined ? [] : [soak])].map(markdownTable).join('\n\n');
  const readme = flags.results === undefined ? withTable(readFileSync(README, 'utf8'), table) : undefined;
  if (readme === undefined) print(table);
  else writeOrCheck(README, readme, 'README.md has another table than the results: npm run plots');
  return process.exitCode === undefined ? 0 : Number(process.exitCode);
}

await runCommand(plots);
