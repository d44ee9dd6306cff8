import { readFileSync } from 'node:fs';
import { Argument, Command, Help, InvalidArgumentError, Option } from 'commander';
import { EXIT_CODES } from './exit.js';
import type { Action } from './run.js';

type Act = (load: () => Promise<Action>) => (...args: unknown[]) => Promise<void>;

/** Seconds, as a flag gives them. */
function seconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('Expected a number of seconds.');
  return value;
}

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}

/** A number of 64 bits. */
function bigWhole(text: string): bigint {
  if (!/^\d{1,20}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return BigInt(text);
}

const WEI_DIGITS = 18;

/** Ether, as a person writes it, in wei. */
function ether(text: string): bigint {
  const [, whole, fraction = ''] = /^(\d{1,12})(?:\.(\d{1,18}))?$/.exec(text) ?? [];
  if (whole === undefined) throw new InvalidArgumentError('Expected an amount of ether, like 0.5.');
  return BigInt(whole + fraction.padEnd(WEI_DIGITS, '0'));
}

const collect = (value: string, previous: string[] = []): string[] => [...previous, value];

/** The version of the package, read when asked for. */
const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

const examples = (lines: readonly string[], note?: string): string =>
  `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}${note === undefined ? '' : `\n\n${note}`}`;

/** The table of commands: help, completion and parsing all come from it. */
export function createProgram(act: Act): Command {
  const program = new Command('sealpost')
    .description('Encrypted messages through a Layer-2 rollup: send, read, prove, audit.')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .showSuggestionAfterError(true)
    .option('--url <url>', 'the sequencer (SEALPOST_URL)')
    .option('--l1 <url>', 'the Ethereum node that is trusted (SEALPOST_L1_URL)')
    .option('--settlement <address>', 'the Settlement contract (SEALPOST_SETTLEMENT)')
    .option('--data <folder>', "the local network's folder (SEALPOST_DATA, .sealpost)")
    .option('--json', 'one JSON object on stdout, or one a line for streams')
    .option('-q, --quiet', 'no talk on stderr')
    .option('--no-input', 'never ask for anything')
    .option('--no-color', 'no colors (also NO_COLOR)')
    .addOption(new Option('--timeout <seconds>', 'give up after this long').argParser(seconds))
    .version(version(), '-V, --version', 'print the version')
    .addHelpText(
      'after',
      examples(
        [
          'sealpost send --to alice "hello"',
          'sealpost inbox --as alice --watch',
          'sealpost proof 0x90f7…b906/0/0 --out hello.proof.json',
          'sealpost verify hello.proof.json',
        ],
        'Exit codes: sealpost help exit-codes',
      ),
    );

  const keys = program.command('keys').description('make and show key files');
  keys
    .command('new')
    .argument('[name]', 'what to call it', 'default')
    .description('make an account key and an encryption key, in one encrypted file')
    .addOption(
      new Option('--suite <suite>', 'how messages to this key are sealed').choices(['x25519', 'x-wing']).default('x25519'),
    )
    .option('--out <file>', 'write it here instead of the folder of keys')
    .option('--passphrase-file <file>', 'read the passphrase from the first line of a file')
    .addOption(new Option('--passphrase-fd <number>', 'read the passphrase from a file descriptor').argParser(whole))
    .option('--no-passphrase', 'encrypt with the empty passphrase: for tests only')
    .addHelpText(
      'after',
      examples(
        ['sealpost keys new', 'sealpost keys new work --suite x-wing', 'sealpost keys new ci --passphrase-file /run/secrets/key'],
        'The file is a Web3 Secret Storage v3 container (scrypt), which other wallets can open, with mode 600.',
      ),
    )
    .action(act(async () => (await import('./keys.js')).keysNew));
  keys
    .command('show')
    .argument('[name]', 'a name, or a key file')
    .description('show the address and public key of a key file, or of all')
    .addHelpText('after', examples(['sealpost keys show', 'sealpost keys show alice --json']))
    .action(act(async () => (await import('./keys.js')).keysShow));

  const lane = () => new Option('--lane <lane>', 'which lane (not needed where there is one)').argParser(whole);
  const yes = () => new Option('-y, --yes', 'do not ask before it is sent');
  const withIdentity = (command: Command): Command =>
    command
      .option('--as <name>', 'whose keys: a name, or a key file')
      .option('--passphrase-file <file>', 'read the passphrase from the first line of a file')
      .addOption(new Option('--passphrase-fd <number>', 'read the passphrase from a file descriptor').argParser(whole));
  const rung = () =>
    new Option('--wait <rung>', 'wait until it is there, proven').choices([
      'accepted',
      'sealed',
      'committed',
      'safe',
      'finalized',
    ]);

  withIdentity(program.command('send'))
    .argument('[text]', 'the message; - reads it from stdin')
    .description('seal, sign and send a message, or every line of a file')
    .option('--to <who>', 'a name, or a public key')
    .option('--file <file>', 'send each line as a message; - reads lines from stdin')
    .option('--again', 'send a file again that was sent before')
    .option('--resume', 'only send what an earlier run has signed and left behind')
    .option('--force', 'through the L1, past a sequencer that does not take it: costs a transaction and a fee')
    .addOption(new Option('--nonce <nonce>', 'with --force, where nobody else tells the next one').argParser(bigWhole))
    .addOption(yes())
    .addOption(
      new Option('--max-postage <ether>', 'the most that a message may cost; nothing is paid without it').argParser(ether),
    )
    .addOption(rung())
    .addHelpText(
      'after',
      examples(
        [
          'sealpost send --to alice "hello"',
          'sealpost send --to alice --wait committed "hello"',
          'sealpost send --to 0x6fc2…cf1c --file lines.txt',
          'sealpost send --to alice --max-postage 0.0001 "hello"',
          'git log -1 | sealpost send --to alice -',
          'sealpost send --force --to alice "hello"',
          'sealpost send --force --resume --yes',
        ],
        '--force shows what it costs and asks. Run again after a crash or a timeout it goes on, and pays nothing twice.\nA file that was interrupted goes on where it stopped; no line is sent twice.\nPrints the name of the message: 0xsender/lane/nonce.',
      ),
    )
    .action(act(async () => (await import('./send.js')).send));

  withIdentity(program.command('inbox'))
    .description('read your messages: verified and opened')
    .option('-w, --watch', 'go on with new ones until Ctrl-C')
    .option('--after <cursor>', 'go on after this cursor; latest: only new ones')
    .option('--from <address>', 'only from this sender (repeatable)', collect)
    .addOption(new Option('-n, --limit <count>', 'stop after this many').argParser(whole))
    .option('--verify', 'prove each against the L1, as far as it has come')
    .addHelpText(
      'after',
      examples(['sealpost inbox --as alice', 'sealpost inbox --as alice --watch', 'sealpost inbox --json | jq -r .data.text']),
    )
    .action(act(async () => (await import('./inbox.js')).inbox));

  program
    .command('proof')
    .argument('<id>', 'name of the message: 0xsender/lane/nonce')
    .description("fetch a message's proof, verify it, and print or save it")
    .option('--out <file>', 'write it to a file')
    .addOption(
      new Option('--wait <rung>', 'wait until it is there')
        .choices(['accepted', 'sealed', 'committed', 'safe', 'finalized'])
        .default('committed'),
    )
    .addHelpText(
      'after',
      examples(
        ['sealpost proof 0x90f7…b906/0/0 --out hello.proof.json', 'sealpost proof 0x90f7…b906/0/0 --wait finalized'],
        'The file needs neither this program nor the sequencer: it stays checkable for as long as the L1 lives.',
      ),
    )
    .action(act(async () => (await import('./proof.js')).proof));

  program
    .command('verify')
    .argument('<file>', 'a proof file; - reads stdin')
    .description('check a proof against the L1, without the sequencer')
    .addHelpText(
      'after',
      examples(
        ['sealpost verify hello.proof.json', 'sealpost verify hello.proof.json --l1 https://… --settlement 0x…'],
        'Every Merkle path is checked twice: by Sealpost and, independently, by merkletreejs.\nExit code 3: the proof is false. 4: the L1 could not be asked.',
      ),
    )
    .action(act(async () => (await import('./proof.js')).verify));

  program
    .command('status')
    .description('how the sequencer and the L1 are doing')
    .addHelpText('after', examples(['sealpost status', 'sealpost status --json']))
    .action(act(async () => (await import('./status.js')).status));

  program
    .command('audit')
    .description('re-derive the whole log from the L1 and the batch files, and report each mismatch')
    .addOption(new Option('--lane <lane>', 'only this lane').argParser(whole))
    .option('--from-block <number>', "the block of the contract's deployment, to look for logs from")
    .addHelpText(
      'after',
      examples(
        ['sealpost audit', 'sealpost audit --url https://… --l1 https://… --settlement 0x…'],
        'Exit code 3: something is false. 4: something could not be checked.',
      ),
    )
    .action(act(async () => (await import('./audit.js')).audit));

  withIdentity(program.command('watch'))
    .description('hold the sequencers to their promises: check batch files, receipts and commits, demand what is missing, report')
    .addOption(new Option('--lane <lane>', 'only this lane').argParser(whole))
    .option('--mirror <folder>', 'keep every batch file there, and read it from there first')
    .option('--server <url>', 'also have batch files from there (repeatable)', collect)
    .option('--receipts <folder>', "also receipts that another user's client kept (repeatable)", collect)
    .option('--answer', 'also open what anybody demands, for the fee: for an operator that has left, until its bond is free')
    .option('--once', 'end when all that is settled is checked')
    .option('--again', 'begin at the first batch, whatever an earlier watch has checked')
    .addOption(
      new Option('--patience <seconds>', 'how long a file or a commit may be missing before it is demanded (600)').argParser(
        seconds,
      ),
    )
    .addOption(new Option('--max-demand-fee <ether>', 'what a demand may cost at most (0.1)').argParser(ether))
    .option('--from-block <number>', "the block of the contract's deployment, to look for logs from")
    .addHelpText(
      'after',
      examples(
        [
          'sealpost watch',
          'sealpost watch --as alice --mirror /srv/sealpost/mirror',
          'sealpost watch --once --json',
          'sealpost watch --mirror /srv/sealpost/mirror --answer --as operator.key',
        ],
        'With --as, evidence is given to the contract: a tenth of what the operator loses goes to that account. It also pays\nfor demands, whose fee comes back if nobody answers. Without --as, what is found is only told.\nExit code 3: something is false.',
      ),
    )
    .action(act(async () => (await import('./watch.js')).watch));

  const operator = program.command('operator').description('run a lane: register with a bond, leave, take over');
  operator
    .command('status')
    .description('who runs a lane, with what at stake, and until when')
    .addOption(lane())
    .option('--operator <who>', 'also this operator: an address, a name, or a key file')
    .addHelpText(
      'after',
      examples(['sealpost operator status', 'sealpost operator status --lane 0 --operator 0x90f7…b906 --json']),
    )
    .action(act(async () => (await import('./operator.js')).operatorStatus));
  withIdentity(operator.command('register'))
    .description("register as a lane's operator, add to the bond, or change the posting account")
    .addOption(lane())
    .addOption(new Option('--bond <ether>', 'how much to add to the bond').argParser(ether))
    .option('--poster <address>', 'the account that commits')
    .option('--signer-key <file>', "the receipt signer's key file: it signs its registration")
    .addHelpText(
      'after',
      examples(
        ['sealpost operator register --lane 0 --bond 5 --poster 0x90f7…b906 --signer-key receipts.key --as operator.key'],
        'A key file is of `sealpost keys new`, or holds 32 bytes as hex; others must not be able to read it.',
      ),
    )
    .action(act(async () => (await import('./operator.js')).operatorRegister));
  withIdentity(operator.command('bond'))
    .addArgument(new Argument('<ether>', 'how much').argParser(ether))
    .description("add to an operator's bond: your own, or another's")
    .addOption(lane())
    .option('--operator <who>', "another operator's: an address, a name, or a key file")
    .addHelpText(
      'after',
      examples(['sealpost operator bond 1 --as operator.key', 'sealpost operator bond 1 --operator 0x90f7…b906 --as alice']),
    )
    .action(act(async () => (await import('./operator.js')).operatorBond));
  withIdentity(operator.command('rotate'))
    .description('change the receipt signer: register with another one')
    .addOption(lane())
    .requiredOption('--signer-key <file>', "the new receipt signer's key file: it signs its registration")
    .addHelpText('after', examples(['sealpost operator rotate --lane 0 --signer-key receipts-2.key --as operator.key']))
    .action(act(async () => (await import('./operator.js')).operatorRegister));
  withIdentity(operator.command('exit'))
    .description('ask to leave a lane: no receipts from then on, the bond later')
    .addOption(lane())
    .addOption(yes())
    .addHelpText('after', examples(['sealpost operator exit --lane 0 --as operator.key']))
    .action(act(async () => (await import('./operator.js')).operatorExit));
  withIdentity(operator.command('withdraw'))
    .description('take back the bond of a lane that was left')
    .addOption(lane())
    .addOption(yes())
    .addHelpText('after', examples(['sealpost operator withdraw --lane 0 --as operator.key'], 'Then: sealpost postage payout'))
    .action(act(async () => (await import('./operator.js')).operatorWithdraw));
  withIdentity(operator.command('takeover'))
    .description('take over a lane that has no operator, or one that broke the rules, once all its batch files are there')
    .addOption(lane())
    .option('--mirror <folder>', 'where batch files are kept: those that a server has and it has not are put there')
    .option('--server <url>', 'have batch files from there (repeatable; the sequencer of --url unless given)', collect)
    .option('--demand', 'demand the entries of batches that nobody has, and charge what was not answered in time')
    .addOption(new Option('--max-demands <count>', 'how many to demand in one run at most').argParser(whole).default(256))
    .option('--anyway', 'also without some of the files: the lane cannot be imported then')
    .option('--from-block <number>', "the block of the contract's deployment, to look for logs from")
    .addOption(yes())
    .addHelpText(
      'after',
      examples(
        [
          'sealpost operator takeover --lane 0 --as operator.key --mirror /srv/sealpost/mirror',
          'sealpost operator takeover --as operator.key --server https://… --server https://…',
          'sealpost operator takeover --as operator.key --mirror mirror --demand',
        ],
        'Says first why it is allowed, which batch files are missing, and what it costs whom. With --demand it is run again once\nthe time for answers is over: what nobody opened is no evidence any more. Each demand pays a fee to whoever answers,\nwhich comes back if nobody does.\nExit code 1: it is not allowed, or files are missing. 4: answers are waited for.',
      ),
    )
    .action(act(async () => (await import('./takeover.js')).operatorTakeover));

  const postage = program.command('postage').description('deposits that pay for messages, and what the contract owes');
  postage
    .command('status')
    .description("a sender's deposit, what is redeemed, withdrawals under way")
    .addOption(lane())
    .option('--as <who>', 'whose: a name, a key file, or an address')
    .addHelpText('after', examples(['sealpost postage status --as alice', 'sealpost postage status --as 0x90f7…b906 --json']))
    .action(act(async () => (await import('./postage.js')).postageStatus));
  postage
    .command('quote')
    .description('what messages cost, what is owed so far, and how far the deposit goes')
    .addOption(lane())
    .option('--as <who>', 'whose deposit: a name, a key file, or an address')
    .addOption(new Option('--messages <count>', 'how many, each sent alone').argParser(whole).default(1))
    .addOption(new Option('--bytes <count>', 'of the text of each').argParser(whole).default(100))
    .addHelpText(
      'after',
      examples(
        ['sealpost postage quote --as alice', 'sealpost postage quote --as alice --messages 1000 --bytes 280'],
        'Then: sealpost postage deposit, and sealpost send --max-postage.',
      ),
    )
    .action(act(async () => (await import('./postage.js')).postageQuote));
  withIdentity(postage.command('deposit'))
    .addArgument(new Argument('<ether>', 'how much').argParser(ether))
    .description('add to a deposit')
    .addOption(lane())
    .option('--for <address>', "another sender's deposit")
    .addHelpText('after', examples(['sealpost postage deposit 0.1 --as alice']))
    .action(act(async () => (await import('./postage.js')).postageDeposit));
  withIdentity(postage.command('withdraw'))
    .addArgument(
      new Argument('[ether]', 'how much to ask for, 0 to ask for nothing; left out, fetch what was asked for').argParser(ether),
    )
    .description('ask for a part of the deposit, and fetch it when its delay is over')
    .addOption(lane())
    .addOption(yes())
    .addHelpText(
      'after',
      examples(
        ['sealpost postage withdraw 0.1 --as alice', 'sealpost postage withdraw --as alice'],
        'Then: sealpost postage payout',
      ),
    )
    .action(act(async () => (await import('./postage.js')).postageWithdraw));
  withIdentity(postage.command('redeem'))
    .description("pay a lane's operator what a sender owes with its latest committed bundle")
    .addOption(lane())
    .requiredOption('--sender <who>', 'whose bundle: an address, a name, or a key file')
    .option('--file <file>', 'the batch file that has it, instead of asking the sequencer')
    .addHelpText(
      'after',
      examples(
        [
          'sealpost postage redeem --sender 0x90f7…b906 --as operator.key',
          'sealpost postage redeem --sender alice --file 12.batch',
        ],
        'Anybody who has the bundle may redeem it. Then: sealpost postage payout --account <operator>',
      ),
    )
    .action(act(async () => (await import('./postage.js')).postageRedeem));
  withIdentity(postage.command('payout'))
    .description('send an account what the contract owes it: bonds, deposits, postage, rewards')
    .option('--account <address>', 'another account than that of the key')
    .addHelpText('after', examples(['sealpost postage payout --as alice']))
    .action(act(async () => (await import('./postage.js')).postagePayout));

  const sequence = () => new Option('--sequence <sequence>', "the entry's place in its lane").argParser(bigWhole);
  withIdentity(program.command('demand'))
    .description('ask in the contract for an entry to be opened: no answer costs the operator its penalty')
    .addOption(lane())
    .addOption(sequence())
    .option('--receipt <file>', 'the promise of an entry that is due and not committed')
    .addOption(yes())
    .addHelpText(
      'after',
      examples(
        [
          'sealpost demand --lane 0 --sequence 12 --as alice',
          'sealpost demand --sequence 12 --receipt hello.receipt.json --as alice',
        ],
        'A receipt file: sealpost proof <id> --wait accepted --out <file>. The fee goes to who answers, or comes back.',
      ),
    )
    .action(act(async () => (await import('./demand.js')).demand));
  withIdentity(program.command('answer'))
    .description('open an entry that is demanded, and earn the fee')
    .addOption(lane())
    .addOption(sequence())
    .option('--file <file>', 'the batch file that has it, instead of asking the sequencer')
    .addHelpText(
      'after',
      examples(
        ['sealpost answer --lane 0 --sequence 12 --as bob', 'sealpost answer --sequence 12 --file 3.batch --as bob'],
        'Sequencers answer by themselves; this is for whoever has the batch file when one does not.',
      ),
    )
    .action(act(async () => (await import('./demand.js')).answer));

  program
    .command('doctor')
    .description('check this machine and the network: ports, disk, clock, L1, key files')
    .addHelpText('after', examples(['sealpost doctor', 'sealpost doctor --json']))
    .action(act(async () => (await import('./doctor.js')).doctor));

  program
    .command('completion')
    .argument('<shell>', 'bash, zsh or fish')
    .description('print a completion script')
    .addHelpText(
      'after',
      examples([
        'sealpost completion bash > ~/.local/share/bash-completion/completions/sealpost',
        'sealpost completion zsh > ~/.zfunc/_sealpost',
        'sealpost completion fish > ~/.config/fish/completions/sealpost.fish',
      ]),
    )
    .action(act(async () => (await import('./completion.js')).completion(createProgram(act))));

  program
    .command('help')
    .argument('[topic...]', 'a command, or exit-codes')
    .description('show help for a command, or the exit codes')
    .action((topic: string[]) => {
      if (topic[0] === 'exit-codes') {
        process.stdout.write(
          `Exit codes:\n${EXIT_CODES.map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`).join('\n')}\n`,
        );
        return;
      }
      let command: Command = program;
      for (const name of topic) {
        const next = command.commands.find((one) => one.name() === name);
        if (next === undefined) {
          command.error(`error: unknown command '${topic.join(' ')}'`, { code: 'commander.unknownCommand', exitCode: 2 });
        }
        command = next as Command;
      }
      command.outputHelp();
    });
  adviseOnUsage(program, 'sealpost');
  return program;
}

/** Usage errors end with one line to run next: the help of the very command. */
function adviseOnUsage(command: Command, path: string): void {
  command.configureOutput({
    outputError: (text, write) =>
      write(
        `${text.replace(/^error: /, '✗ ').replace(/\n\(Did you mean (.*)\?\)/, ': did you mean $1?')}  Next: ${path} --help\n`,
      ),
  });
  for (const one of command.commands) adviseOnUsage(one, `${path} ${one.name()}`);
}

/** Used by the completion: what help would list. */
export const visibleOptions = (command: Command) => new Help().visibleOptions(command);
