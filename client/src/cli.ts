import { createProgram } from './cli/program.js';
import { run } from './cli/run.js';

// Nothing is imported here that a --help does not need: each command brings what it uses when it runs.
await run(createProgram, process.argv.slice(2));
