import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { type Domain, domainSeparator, type Hex, type Price, ZERO_ADDRESS } from '@sealpost/prover';
import pino from 'pino';
import { startL1 } from './adapters/l1-thread.js';
import type { TermBeginning } from './adapters/lane-terms.js';
import { mirroredFiles } from './adapters/mirror.js';
import { createSigner, isSecp256k1Native, nativeHashing } from './adapters/native.js';
import { createSignedMark, loadSignedMark, type SignedMarkFile, type TermEnd } from './adapters/signed-mark.js';
import { createStore, loadStore } from './adapters/sqlite.js';
import { AccountRates } from './admission.js';
import { type Config, ConfigError, configReference, describeConfig, parseConfig } from './config.js';
import { RequestError } from './errors.js';
import { DEVELOPMENT_CHAIN_ID, defaultFollowerConfig, Follower, isTakeoverSettled } from './follower.js';
import { createApp, type Readiness } from './http.js';
import { ImportError, importLog } from './import.js';
import { dueBundles } from './inbox.js';
import { Lifecycle } from './lifecycle.js';
import { Live } from './live.js';
import { Metrics } from './metrics.js';
import { Openings } from './openings.js';
import {
  type Clock,
  type Genesis,
  type L1,
  L1Error,
  type LaneStanding,
  type Log,
  type SettlementFacts,
  type Signer,
  type Store,
  StoreOpenError,
  type Term,
} from './ports.js';
import { Deposits, type Tariff } from './postage.js';
import { defaultPosterConfig, Poster } from './poster.js';
import { LogReader } from './reader.js';
import { type PromiseTerms, promiseDeadline, ReceiptBook } from './receipts.js';
import { Redeemer } from './redeemer.js';
import { Responder } from './responder.js';
import { type BatchDigest, type DigestRequest, Sealer } from './sealer.js';
import { Sequencer } from './sequencer.js';
import { createSubmit, submitFirst } from './submit.js';
import { commonBatch, planTerm, readChain } from './terms.js';
import { sparedCores, Thread } from './threads.js';
import { type VerifierData, VerifierPool } from './verifier.js';

const { version: VERSION } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

const USAGE = `The Sealpost sequencer, ${VERSION}.

  main.js run            load the database and run
  main.js run --create   make the database first if there is none
  main.js create         make the database, and end
  main.js import --from DIR
                         make the database of a lane that others ran, or bring one up to the contract’s head, from the contract’s
                         logs and the batch files in DIR, which \`sealpost watch --mirror DIR\` keeps; before run, and again after a stop
  main.js check          check the settings and print them, secrets left out
  main.js reference      print every setting as a Markdown table

Settings come from the environment; see sequencer/README.md. For example:
  SEALPOST_L1_URL=http://127.0.0.1:8545 SEALPOST_SETTLEMENT=0x… \\
  SEALPOST_POSTER_KEY_FILE=poster.key SEALPOST_SIGNER_KEY_FILE=signer.key  main.js run --create
  main.js import --from mirror && sealpost operator takeover && main.js run      (with the same settings)
`;

/** The sequencer cannot start, or cannot go on: said in one line, with what to do. */
class StartError extends Error {
  override readonly name = 'StartError';
}

const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

function createLog(style: Config['log']): Log {
  const base = pino({
    base: null,
    messageKey: 'event',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    ...(style === 'pretty'
      ? { transport: { target: 'pino-pretty', options: { messageKey: 'event', colorize: process.stdout.isTTY } } }
      : {}),
  });
  const write =
    (level: 'info' | 'warn' | 'error') =>
    (event: string, facts: Record<string, unknown> = {}) =>
      base[level](plain(facts), event);
  return { info: write('info'), warn: write('warn'), error: write('error') };
}

/** bigint has no JSON. */
const plain = (facts: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, typeof value === 'bigint' ? String(value) : value]));

/** A private key of 32 bytes from a file that only its owner can read. */
function readKey(file: string): Hex {
  let mode: number;
  let text: string;
  try {
    mode = statSync(file).mode;
    text = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new StartError(`the key file ${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  if ((mode & 0o077) !== 0) throw new StartError(`the key file ${file} can be read by others: chmod 600 ${file}`);
  if (!/^(0x)?[0-9a-fA-F]{64}$/.test(text)) throw new StartError(`the key file ${file} does not hold 32 bytes as hex`);
  return `0x${text.replace(/^0x/, '').toLowerCase()}`;
}

/** The two keys, each inside what signs with it: nothing else in the process sees them. */
function openKeys({ signerKeyFile, posterKeyFile, l1Url: url, settlement, l1TimeoutMs: timeoutMs }: Config): {
  signer: Signer;
  l1: L1;
  closeL1: () => Promise<void>;
} {
  const signerKey = readKey(signerKeyFile);
  const signer = createSigner(signerKey);
  const keys = { posterKey: readKey(posterKeyFile), openerKey: signerKey };
  const { l1, close: closeL1 } = startL1({ url, settlement, ...keys, timeoutMs });
  return { signer, l1, closeL1 };
}

/** Asks until the L1 answers: a node that starts later than the sequencer is an ordinary day. */
async function waitForL1<T>(log: Log, signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  for (let waitMs = 250, failures = 0; ; failures++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof L1Error)) throw error;
      if (failures === 0) log.warn('l1.waiting', { code: error.code, message: error.message });
      await pause(waitMs, signal);
      waitMs = Math.min(5_000, waitMs * 2);
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => [clearTimeout(timer), resolve()], { once: true });
  });
  signal.throwIfAborted();
}

/** The contract must be what the keys and the database were made for: anything else is refused before anything is written. */
function checkSettlement(
  facts: SettlementFacts | undefined,
  settlement: Hex,
  signer: Hex,
  poster: Hex,
): asserts facts is SettlementFacts {
  if (facts === undefined) throw new StartError(noSettlement(settlement));
  for (const [lane, { receiptSigner, poster: expected }] of facts.lanes.entries()) {
    if (receiptSigner === ZERO_ADDRESS) {
      throw new StartError(
        `lane ${lane} has no operator, or one that is not registered: sealpost operator register --lane ${lane}`,
      );
    }
    if (receiptSigner.toLowerCase() !== signer) {
      throw new StartError(
        `the contract names ${receiptSigner} as receipt signer of lane ${lane}, SEALPOST_SIGNER_KEY_FILE holds ${signer}`,
      );
    }
    if (expected.toLowerCase() !== poster.toLowerCase()) {
      throw new StartError(`the contract names ${expected} as poster of lane ${lane}, SEALPOST_POSTER_KEY_FILE holds ${poster}`);
    }
  }
}

const noSettlement = (settlement: Hex): string =>
  `there is no Settlement contract at ${settlement} on this L1: deploy it, or set SEALPOST_SETTLEMENT`;

function checkGenesis(stored: Genesis, expected: Genesis): void {
  for (const name of ['chainId', 'settlement', 'laneCount', 'signer'] as const) {
    if (stored[name] !== expected[name]) {
      throw new StoreOpenError(
        'store.foreign',
        `the database belongs to ${name} ${stored[name]}, this L1 and configuration are ${name} ${expected[name]}: another database, or another SEALPOST_DATA`,
      );
    }
  }
}

interface Opened {
  readonly store: Store;
  readonly signed: SignedMarkFile;
  readonly facts: SettlementFacts;
}

async function openStore(
  config: Config,
  l1: L1,
  signer: Hex,
  mode: 'create' | 'load' | 'either',
  log: Log,
  signal: AbortSignal,
): Promise<Opened> {
  const chainId = await waitForL1(log, signal, () => l1.chainId());
  const first = await waitForL1(log, signal, () => l1.settlement());
  checkSettlement(first, config.settlement, signer, l1.posterAddress);
  const genesis: Genesis = { chainId, settlement: config.settlement, laneCount: first.laneCount, signer };
  const path = databasePath(config);
  const there = existsSync(path);
  const readMark = () => (existsSync(signedPath(config)) ? loadSignedMark(signedPath(config), genesis) : undefined);
  // Before an empty database is made in the place of one that is lost.
  if (mode !== 'load' && !there) readMark()?.compare((lane) => ({ ...termIn(first, lane), nextSequence: 0n }));
  let store = mode === 'create' || (mode === 'either' && !there) ? await createStore(path, genesis) : await loadLog(config, log);
  const { facts, begin } = await orClose(store, () => {
    checkGenesis(store.genesis, genesis);
    return settleTerms(config, l1, signer, store, first, log, signal);
  });
  if (begin.length > 0) {
    await store.close();
    store = await loadLog(config, log, begin);
  }
  return orClose(store, async () => {
    const endOf = (lane: number): TermEnd => ({ ...termIn(facts, lane), nextSequence: store.tail(lane).nextSequence });
    const signed = readMark() ?? (await newSignedMark(config, l1, store, endOf, log, signal));
    if (signed.tornSlots > 0) log.warn('signed.torn', { path: signedPath(config), slots: signed.tornSlots });
    signed.begin(endOf);
    return { store, signed, facts };
  });
}

const loadLog = (config: Config, log: Log, begin: readonly TermBeginning[] = []): Promise<Store> =>
  loadStore(databasePath(config), { begin, onRecovery: (recovery) => log.warn('store.recovered', { ...recovery }) });

async function orClose<T>(store: Store, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The lane's running term. */
const termIn = ({ lanes }: SettlementFacts, lane: number): Term => {
  const { term, firstSequence } = lanes[lane] as LaneStanding;
  return { term, firstSequence };
};

/**
 * What every lane's log needs to go on in its running term. Waits while something would be dropped for a takeover that is not final.
 * @throws StartError where the log is not the one that the contract has
 */
async function settleTerms(
  config: Config,
  l1: L1,
  signer: Hex,
  store: Store,
  first: SettlementFacts,
  log: Log,
  signal: AbortSignal,
): Promise<{ facts: SettlementFacts; begin: TermBeginning[] }> {
  for (let facts: SettlementFacts | undefined = first, looks = 0; ; looks++) {
    const begin: TermBeginning[] = [];
    let waiting: number | undefined;
    for (const lane of facts.lanes.keys()) {
      const { plan, head } = await observeLane(facts, lane, store, (ask) => waitForL1(log, signal, () => ask(l1)));
      const end = store.tail(lane).nextSequence;
      if (plan.kind === 'older')
        throw new StartError(
          olderThan(
            lane,
            `of term ${facts.lanes[lane]?.term}, up to sequence ${head.nextSequence - 1n}, which this database was never in`,
          ),
        );
      if (plan.kind === 'import') {
        throw new StartError(
          `lane ${lane}: the contract has ${head.number} batches of others, of which the database has not all: bring it up to them with ` +
            '`main.js import --from DIR`, from the batch files that `sealpost watch --mirror DIR` fetches',
        );
      }
      if (plan.kind === 'wait') waiting = lane;
      if (plan.kind === 'begin') {
        const { lastNumber, droppedEntries } = plan;
        const term = termIn(facts, lane);
        begin.push({ lane, lastNumber, term });
        const say = droppedEntries > 0n ? log.warn : log.info;
        say('term.begins', { lane, ...term, droppedEntries, from: end - droppedEntries });
      }
    }
    if (waiting === undefined) return { facts, begin };
    if (looks === 0) {
      const { term, beginBlock } = facts.lanes[waiting] as LaneStanding;
      log.warn('term.waiting', {
        lane: waiting,
        term,
        beginBlock,
        message: 'the takeover is not final yet, and what an earlier term accepted and did not commit is dropped only once it is',
      });
    }
    await pause(TAKEOVER_POLL_MS, signal);
    facts = await waitForL1(log, signal, () => l1.settlement());
    checkSettlement(facts, config.settlement, signer, l1.posterAddress);
  }
}

const TAKEOVER_POLL_MS = 1_000;

/** How a lane's log goes on, by what `ask` finds on the L1. */
async function observeLane(
  { lanes }: SettlementFacts,
  lane: number,
  store: Store,
  ask: <T>(question: (l1: L1) => Promise<T>) => Promise<T>,
) {
  const standing = lanes[lane] as LaneStanding;
  const chain = await ask(readChain);
  const head = await ask((l1) => l1.head(lane));
  const accepted = store.termOf(lane);
  const common = await commonBatch(lane, store, (number) => ask((l1) => l1.batchHash(lane, number)), head.number);
  const { nextSequence } = store.tail(lane);
  return { plan: planTerm({ standing, chain, head, accepted, nextSequence, common }), head, common, accepted };
}

const olderThan = (lane: number, what: string): string =>
  `lane ${lane}: the contract has batches ${what}: an older database, or an empty one, is in place. Nothing was signed now. ` +
  'Put the newest database back, all of its files; if it is lost, give the lane up with `sealpost operator exit`';

/**
 * There is no mark: after the database was made, and with the first start after an upgrade. What the L1 has and the log has not
 * says that something newer was signed; batches within the log are compared by the follower, before it has a view and anything
 * can be signed. What was signed beyond the log and is not on the L1 nobody can tell: hence the loud line.
 */
async function newSignedMark(
  config: Config,
  l1: L1,
  store: Store,
  endOf: (lane: number) => TermEnd,
  log: Log,
  signal: AbortSignal,
): Promise<SignedMarkFile> {
  const path = signedPath(config);
  let isNew = true;
  for (let lane = 0; lane < store.genesis.laneCount; lane++) {
    const { firstSequence, nextSequence: end } = endOf(lane);
    const { nextSequence: committed } = await waitForL1(log, signal, () => l1.head(lane));
    if (committed > end)
      throw new StartError(
        olderThan(lane, `up to sequence ${committed - 1n}, but the log ends before sequence ${end}, and ${path} is not there`),
      );
    if (end > firstSequence) isNew = false;
  }
  if (!isNew) {
    log.warn('signed.missing', {
      path,
      message:
        'there was no file that says how far receipts were signed: it is made from the log. Right after an upgrade; ' +
        'if this database was restored from a backup, stop now: receipts that were signed after it would be signed again for other bundles',
    });
  }
  return createSignedMark(path, store.genesis, endOf);
}

/** Brings the database of a lane that others run, or ran, up to the contract's head. It may be there or not, and we its operator or not yet. */
async function importFrom(folder: string, config: Config, log: Log): Promise<void> {
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => stopping.abort(new StartError('stopped: what was imported stays, run this again')));
  const { signer, l1, closeL1 } = openKeys(config);
  try {
    const chainId = await l1.chainId();
    const facts = await l1.settlement();
    if (facts === undefined) throw new StartError(noSettlement(config.settlement));
    const genesis: Genesis = { chainId, settlement: config.settlement, laneCount: facts.laneCount, signer: signer.address };
    let store = existsSync(databasePath(config)) ? await loadLog(config, log) : await createStore(databasePath(config), genesis);
    const begin = await orClose(store, async () => {
      checkGenesis(store.genesis, genesis);
      const beginnings: TermBeginning[] = [];
      for (const [lane, standing] of facts.lanes.entries()) {
        const { plan, common, accepted } = await observeLane(facts, lane, store, (question) => question(l1));
        if (plan.kind === 'go on') continue;
        // What this database accepted is dropped only for a term that no reorg takes away.
        if (accepted !== undefined && !isTakeoverSettled(standing, await readChain(l1))) {
          throw new StartError(`lane ${lane} changed hands, and that is not final yet: run this again when it is`);
        }
        const isWhole = common.nextSequence === store.tail(lane).nextSequence;
        if (!isWhole || accepted !== undefined) beginnings.push({ lane, lastNumber: common.number, term: undefined });
      }
      return beginnings;
    });
    if (begin.length > 0) {
      await store.close();
      store = await loadLog(config, log, begin);
    }
    await orClose(store, () =>
      importLog({
        store,
        l1,
        files: mirroredFiles(folder, genesis),
        hashing: nativeHashing,
        clock,
        log,
        startBlock: BigInt(config.l1StartBlock),
        logRangeBlocks: defaultFollowerConfig.logRangeBlocks,
        signal: stopping.signal,
      }),
    );
    await store.close();
  } finally {
    await closeL1();
  }
}

const databasePath = (config: Config): string => join(config.data, 'sequencer.sqlite');

/** Not among the names of the database's files: whoever copies those does not copy this one. */
const signedPath = ({ data, signedFile }: Config): string => (signedFile === 'auto' ? join(data, 'signed.mark') : signedFile);

async function run(config: Config, mode: 'load' | 'either'): Promise<void> {
  const log = createLog(config.log);
  const lifecycle = new Lifecycle(log);
  const starting = new AbortController();
  let ending = false;
  const end = async (exitCode: number) => {
    if (ending) process.exit(1);
    ending = true;
    starting.abort();
    const clean = await lifecycle.close(config.stopDeadlineMs);
    log.info('stopped', { clean });
    process.exit(clean ? exitCode : 1);
  };
  // A second signal ends the process now: what was promised is on disk.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log.info('stopping', { signal });
      void end(0);
    });
  }
  const onFatal = (error: unknown) => {
    log.error('fatal', {
      message: (error as Error).message,
      code: (error as { code?: string }).code,
      stack: (error as Error).stack,
    });
    process.stderr.write(`sealpost: ${(error as Error).message}\n`);
    // Nothing is drained: the state on disk is unknown to this process, and the next one reads it.
    process.exit(1);
  };
  process.on('uncaughtException', onFatal);
  process.on('unhandledRejection', onFatal);

  if (!isSecp256k1Native())
    log.warn('secp256k1.slow', { message: 'the native module did not build: signatures are checked 20 times slower' });
  const { signer, l1, closeL1 } = openKeys(config);
  const { store, signed, facts } = await openStore(config, l1, signer.address, mode, log, starting.signal);
  lifecycle.opened('store', () => store.close());
  lifecycle.opened('signed mark', () => signed.close());
  lifecycle.opened('l1', closeL1);
  const { chainId } = store.genesis;
  const development = chainId === DEVELOPMENT_CHAIN_ID;
  const domain: Domain = { chainId, settlement: config.settlement };
  const separator = domainSeparator(domain);
  const termOf = (lane: number) => termIn(facts, lane);
  const termNumberOf = (lane: number) => termOf(lane).term;

  const deposits = new Deposits({ l1, view: () => view() });
  const follower = new Follower({
    l1,
    store,
    clock,
    log,
    onFatal,
    onDeposits: (accounts) => deposits.changed(accounts),
    config: {
      ...defaultFollowerConfig,
      pollMs: config.l1PollMs === 'auto' ? (development ? 250 : 2_000) : config.l1PollMs,
      startBlock: BigInt(config.l1StartBlock),
    },
  });
  lifecycle.opened('follower', () => follower.stop());
  const view = () => follower.view();

  const poster = new Poster({
    l1,
    store,
    clock,
    log,
    onFatal,
    view,
    hashing: nativeHashing,
    config: { ...defaultPosterConfig, maxFeePerGas: config.maxFeePerGas, bumpAfterMs: config.bumpAfterMs },
  });
  lifecycle.opened('poster', () => poster.stop());
  follower.onChange(() => poster.notify());

  const responder = new Responder({ store, view });
  const redeemer = new Redeemer({ store, deposits, view, termOf: (lane) => termOf(lane).term, factor: config.redeemFactor });
  const openings = new Openings({
    l1,
    store,
    hashing: nativeHashing,
    sources: [responder, redeemer],
    clock,
    log,
    onFatal,
    config: {
      pollMs: defaultPosterConfig.pollMs,
      maxBackoffMs: defaultPosterConfig.maxBackoffMs,
      bumpAfterMs: config.bumpAfterMs,
      fees: { ...defaultPosterConfig, maxFeePerGas: config.maxFeePerGas },
    },
  });
  lifecycle.opened('openings', () => openings.stop());
  follower.onChange(() => openings.notify());

  const digester = new Thread(new URL('./adapters/digest-worker.js', import.meta.url), { path: databasePath(config) });
  lifecycle.opened('digester', () => digester.terminate());
  const sealer = new Sealer({
    store,
    digest: (request: DigestRequest) => digester.call<BatchDigest>(request),
    clock,
    log,
    limits: { maxEntries: config.sealMaxEntries, maxBytes: config.sealMaxBytes, maxAgeMs: config.sealMaxAgeMs },
    termOf: termNumberOf,
    // Before the L1 was seen, the backlog is unknown: then what is sealed counts as committed.
    committed: (lane) => view()?.lanes[lane]?.committed.number ?? store.lastBatch(lane)?.header.number ?? 0n,
    view,
    isUnderWay: (lane, number) => poster.isUnderWay(lane, number),
    onSealed: () => poster.notify(),
    onFatal,
  });
  lifecycle.opened('sealer', () => sealer.stop());
  follower.onChange(() => sealer.notify());

  const maxL1AgeMs = config.maxL1AgeMs === 'auto' ? (development ? 0 : 60_000) : config.maxL1AgeMs;
  const terms: PromiseTerms = { view, clock, maxIncludeDelay: facts.maxIncludeDelay, maxL1AgeMs };
  const book = new ReceiptBook({ store, signer, signed, separator, terms, termOf, hashing: nativeHashing });
  const workers = config.verifyWorkers > 0 ? config.verifyWorkers : sparedCores();
  const verifierData: VerifierData = { separator, laneCount: facts.laneCount };
  const pool = new VerifierPool(
    Array.from({ length: workers }, () => new Thread(new URL('./adapters/verify-worker.js', import.meta.url), verifierData)),
  );
  lifecycle.opened('verifiers', () => pool.close());
  const price: Price = { perMessage: config.pricePerMessage, perByte: config.pricePerByte };
  const tariff: Tariff | undefined =
    price.perMessage + price.perByte === 0n ? undefined : { price, carried: (sender, lane) => deposits.carried(sender, lane) };
  const live = new Live();
  const rates =
    config.accountRate > 0 ? new AccountRates(config.accountRate, 10 * config.accountRate, clock.monotonic) : undefined;
  const sequencer = new Sequencer({
    store,
    book,
    // Deposits are asked for behind the signature: whoever signs for nobody costs the L1 nothing.
    verify: tariff === undefined ? (body) => pool.verify(body) : async (body) => deposits.before(await pool.verify(body)),
    tariff,
    view,
    terms,
    clock,
    log,
    hashing: nativeHashing,
    maxGroupBytes: config.maxGroupBytes,
    forcedDue: () => dueBundles(store, view(), termOf),
    ...(rates === undefined ? {} : { waitForRate: (sender: Hex, messages: number) => rates.take(sender, messages) }),
    onAppended: (groups, topicKeys) => {
      for (const { lane, entries } of groups)
        sealer.added(
          lane,
          entries.map(({ bytes }) => bytes),
        );
      live.added(topicKeys);
    },
    onFatal,
  });
  lifecycle.opened('sequencer', () => sequencer.stop());
  follower.onChange(() => sequencer.inboxChanged());

  const reader = new LogReader({ store, book, domain, hashing: nativeHashing, view, sealed: (lane) => sealer.sealed(lane) });
  const metrics = new Metrics(
    {
      heads: () => reader.heads(),
      queuedBytes: () => sequencer.queuedBytes,
      unsealedEntries: () => sealer.unsealed,
      waitingReaders: () => live.size,
      diskBytes: () => store.bytesOnDisk(),
      l1: () => {
        const seen = view();
        if (seen === undefined) return undefined;
        return {
          block: seen.latest.number,
          lagSeconds: (clock.monotonic() - seen.movedAt) / 1_000,
          reorgs: follower.status().reorgs,
        };
      },
      poster: () => poster.status(),
      openings: () => ({ demands: responder.open, given: openings.status().given }),
    },
    clock,
  );

  const readiness = (): Readiness => {
    const { backlogBatches, walletWei, lastError } = poster.status();
    const following = follower.status();
    const checks = {
      l1:
        whyNotPromise(terms) ??
        following.lastError?.message ??
        (following.state === 'behind' ? 'the node is behind what it showed before' : 'ok'),
      posting: lastError?.message ?? 'ok',
      backlog: backlogBatches > config.maxBacklogBatches ? `${backlogBatches} batches are not committed` : 'ok',
      wallet: walletWei === 0n ? `the posting account ${l1.posterAddress} has no money` : 'ok',
      disk: sequencer.hasRoom ? 'ok' : 'the last write found no room',
      answering: openings.status().lastError?.message ?? 'ok',
      operator: facts.lanes.flatMap((_, lane) => book.whyNot(lane) ?? [])[0] ?? 'ok',
      signed: signed.hasRoom ? 'ok' : `no room for ${signedPath(config)}: nothing can be signed`,
      running: ending ? 'stopping' : 'ok',
    };
    const ready = Object.values(checks).every((check) => check === 'ok');
    return { ready, checks, backlogBatches, walletWei: walletWei === undefined ? null : String(walletWei) };
  };

  const limits = {
    maxBodyBytes: config.maxBodyBytes,
    maxQueueBytes: config.maxQueueBytes,
    maxWaiting: config.maxWaiting,
    stallMs: config.stallMs,
    heartbeatMs: 15_000,
  };
  const submit = createSubmit({ sequencer, metrics, log, limits });
  const app = createApp({
    store,
    sequencer,
    submit,
    reader,
    live,
    metrics,
    log,
    domain,
    signer: signer.address,
    version: VERSION,
    termOf: termNumberOf,
    readiness,
    limits,
    price,
  });
  // Node looks for late requests every 30 s unless told otherwise: a timeout of less would not be one.
  const connectionsCheckingInterval = Math.min(5_000, Math.ceil(config.requestTimeoutMs / 2));
  const listener = submitFirst(submit, getRequestListener(app.fetch));
  const server = createServer({ connectionsCheckingInterval }, (incoming, outgoing) => {
    // A stopping server answers and hangs up: a client that went on sending on its connection would keep it from ending.
    outgoing.shouldKeepAlive = server.listening;
    // What began before, streams and long polls, leaves its connection idle.
    outgoing.once('close', () => {
      if (!server.listening) server.closeIdleConnections();
    });
    return listener(incoming, outgoing);
  });
  server.maxConnections = config.maxConnections;
  // No less: Node counts from the connection, and a client may open some before it has anything to send.
  server.headersTimeout = config.requestTimeoutMs;
  server.requestTimeout = config.requestTimeoutMs;
  server.keepAliveTimeout = 65_000;
  const port = await listen(server, config.host, config.port);
  lifecycle.opened('http', () => stopServer(server, live, config.stopDeadlineMs / 2));
  sealer.start();
  log.info('ready', {
    url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`,
    chainId,
    settlement: config.settlement,
    lanes: facts.laneCount,
    workers,
    version: VERSION,
  });
}

/** What keeps the sequencer from promising anything now; undefined if nothing does. */
function whyNotPromise(terms: PromiseTerms): string | undefined {
  try {
    promiseDeadline(terms);
    return undefined;
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return error.message;
  }
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken =
        error.code === 'EADDRINUSE' ? `${host}:${port} is taken: stop what listens there, or set SEALPOST_PORT` : error.message;
      reject(new StartError(taken, { cause: error }));
    });
    server.listen(port, host, () => resolve((server.address() as { port: number }).port));
  });
}

/**
 * Takes no new connection, ends idle ones, long polls and event streams, and lets requests under way be answered; those
 * that are not whole after `graceMs` are cut off.
 */
function stopServer(server: Server, live: Live, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    live.end();
    server.closeIdleConnections();
  });
}

async function main(): Promise<void> {
  const [command = 'run', ...flags] = process.argv.slice(2);
  if (command === 'help' || command === '--help' || command === '-h' || flags.includes('--help')) {
    process.stdout.write(USAGE);
    return;
  }
  if (command === 'reference') {
    process.stdout.write(`${configReference()}\n`);
    return;
  }
  const from = command === 'import' && flags[0] === '--from' && flags.length === 2 ? flags[1] : undefined;
  const unknown = from === undefined ? flags.find((flag) => flag !== '--create' || command !== 'run') : undefined;
  if (command === 'import' && from === undefined) {
    process.stderr.write('sealpost: expected a folder of batch files: main.js import --from DIR\n');
    process.exitCode = 2;
    return;
  }
  if (!['run', 'create', 'import', 'check'].includes(command) || unknown !== undefined) {
    process.stderr.write(`sealpost: unknown ${unknown ?? command}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  const config = parseConfig(process.env);
  if (command === 'check') {
    process.stdout.write(`${describeConfig(process.env)}\n`);
    readKey(config.posterKeyFile);
    const { address: signer } = createSigner(readKey(config.signerKeyFile));
    const path = signedPath(config);
    if (existsSync(path)) loadSignedMark(path, { settlement: config.settlement, signer });
    else process.stdout.write(`${path} is not there: the next start makes it\n`);
  } else if (from !== undefined) {
    await importFrom(from, config, createLog(config.log));
  } else if (command === 'create') {
    const log = createLog(config.log);
    const { signer, l1, closeL1 } = openKeys(config);
    try {
      const { store, signed } = await openStore(config, l1, signer.address, 'create', log, new AbortController().signal);
      signed.close();
      await store.close();
    } finally {
      await closeL1();
    }
    log.info('created', { path: databasePath(config) });
  } else {
    await run(config, flags.includes('--create') ? 'either' : 'load');
  }
}

main().catch((error: Error) => {
  const known = [ConfigError, StartError, StoreOpenError, ImportError, L1Error].some((kind) => error instanceof kind);
  process.stderr.write(`sealpost: ${known ? error.message : (error.stack ?? error.message)}\n`);
  if (error instanceof ConfigError) process.stderr.write('Every setting: main.js reference\n');
  process.exit(error instanceof ConfigError ? 2 : 1);
});
