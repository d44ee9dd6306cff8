import type { Command } from 'commander';
import { usageError } from './exit.js';
import { visibleOptions } from './program.js';
import type { Action } from './run.js';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

interface Row {
  readonly path: string;
  readonly words: readonly string[];
  readonly descriptions: ReadonlyMap<string, string>;
}

/** A completion script, made from the same table as the help. */
export const completion =
  (program: Command): Action =>
  async ({ output }, [shell]) => {
    const rows = rowsOf(program, '');
    if (shell === 'bash') process.stdout.write(bash(rows));
    else if (shell === 'zsh') process.stdout.write(zsh(rows));
    else if (shell === 'fish') process.stdout.write(fish(rows));
    else throw usageError(`expected a shell, ${SHELLS.join(', ')}, got ${shell}`, 'sealpost completion bash');
    output.say(`# for ${shell}; see sealpost completion --help for where to put it`);
    return 0;
  };

function rowsOf(command: Command, path: string, inherited: readonly [string, string][] = []): Row[] {
  const own = visibleOptions(command).map(({ long, short, description }): [string, string] => [long ?? short ?? '', description]);
  const options = [...own, ...inherited.filter(([name]) => !own.some(([other]) => other === name))];
  const words = command.commands.map((one): [string, string] => [one.name(), one.description()]);
  if (path === 'completion') words.push(...SHELLS.map((shell): [string, string] => [shell, `for ${shell}`]));
  if (path === 'help') words.push(['exit-codes', 'the exit codes']);
  const descriptions = new Map([...words, ...options]);
  const row = { path, words: [...descriptions.keys()], descriptions };
  const global = path === '' ? options : inherited;
  return [row, ...command.commands.flatMap((one) => rowsOf(one, path === '' ? one.name() : `${path} ${one.name()}`, global))];
}

/** The words before the cursor that are commands name the row. */
const bash = (rows: readonly Row[]): string => `# sealpost completion for bash
_sealpost() {
  local path="" word current="\${COMP_WORDS[COMP_CWORD]}"
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${path:+$path }$word" in
      ${rows
        .filter(({ path }) => path !== '')
        .map(({ path }) => `'${path}'`)
        .join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${rows.map(({ path, words }) => `    '${path}') COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$current")) ;;`).join('\n')}
  esac
  [[ \${#COMPREPLY[@]} -eq 0 && "$current" != -* ]] && COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _sealpost sealpost
`;

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const zsh = (rows: readonly Row[]): string => `#compdef sealpost
# sealpost completion for zsh
_sealpost() {
  local command_path="" word
  for word in "\${words[@]:1:$((CURRENT-2))}"; do
    case "\${command_path:+$command_path }$word" in
      ${rows
        .filter(({ path }) => path !== '')
        .map(({ path }) => `'${path}'`)
        .join('|')}) command_path="\${command_path:+$command_path }$word" ;;
    esac
  done
  local -a choices
  case "$command_path" in
${rows
  .map(({ path, descriptions }) => {
    const items = [...descriptions].map(([name, text]) => quote(`${name.replaceAll(':', '\\:')}:${text}`));
    return `    '${path}') choices=(${items.join(' ')}) ;;`;
  })
  .join('\n')}
  esac
  _describe 'sealpost' choices || _files
}
compdef _sealpost sealpost
`;

const fish = (rows: readonly Row[]): string => {
  const lines = ['# sealpost completion for fish'];
  for (const { path, descriptions } of rows) {
    const seen = path.split(' ').filter(Boolean);
    const condition =
      seen.length === 0 ? '__fish_use_subcommand' : seen.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
    for (const [name, text] of descriptions) {
      const what = name.startsWith('--') ? `-l ${name.slice(2)}` : name.startsWith('-') ? `-s ${name.slice(1)}` : `-f -a ${name}`;
      lines.push(`complete -c sealpost -n ${quote(condition)} ${what} -d ${quote(text)}`);
    }
  }
  return `${lines.join('\n')}\n`;
};
