import { settlementAbi, settlementBytecode } from '@sealpost/contracts';
import type { Hex } from '@sealpost/prover';
import { decodeErrorResult, decodeFunctionResult, encodeDeployData, encodeFunctionData, numberToHex, parseEther } from 'viem';
import type { Operation } from './chain.js';
import { DEPLOYER, DOMAIN, FIRST_OPERATORS, LANES, OPERATORS, PARAMETERS, REGISTRATIONS, REPORTER } from './people.js';
import { type Block, CURRENT, type State, type Transaction } from './settlement.js';

const GAS = numberToHex(15_000_000);
const RICH = numberToHex(parseEther('1000000'));
const ACCOUNTS = [DEPLOYER, REPORTER, ...OPERATORS.flatMap(({ signers, poster, ...operator }) => [operator, poster, ...signers])];

interface RpcError {
  readonly message: string;
  readonly data?: Hex;
}

/** The real contract on an anvil that mines nothing by itself. */
export class Replay {
  private id = 0;

  constructor(private readonly url: string) {}

  /** Deploys the contract and registers all operators. Returns the block of the deployment. */
  async deploy(timestamp: bigint): Promise<Block> {
    await this.ask('anvil_autoImpersonateAccount', [true]);
    for (const { address } of ACCOUNTS) await this.ask('anvil_setBalance', [address, RICH]);
    const data = encodeDeployData({ abi: settlementAbi, bytecode: settlementBytecode, args: [FIRST_OPERATORS, PARAMETERS] });
    const block = { number: BigInt(await this.ask<Hex>('eth_blockNumber', [])) + 1n, timestamp };
    await this.time(block);
    await this.mine({ from: DEPLOYER.address, data, gas: GAS, gasPrice: '0x0' });
    const code = await this.ask<Hex>('eth_getCode', [DOMAIN.settlement, 'latest']);
    if (code === '0x') throw new Error('the contract is not where the model has it');
    for (const [index, transaction] of REGISTRATIONS.entries()) {
      const at = BigInt(index) + 1n;
      await this.send(transaction, { number: block.number + at, timestamp: timestamp + 12n * at });
    }
    return block;
  }

  snapshot(): Promise<Hex> {
    return this.ask<Hex>('evm_snapshot', []);
  }

  async revert(snapshot: Hex): Promise<void> {
    if (!(await this.ask<boolean>('evm_revert', [snapshot]))) throw new Error('anvil does not know the snapshot any more');
  }

  /**
   * Does to the real chain what was done to the model. Returns where the two part: another outcome of a transaction, or another
   * state at the end.
   */
  async follow(operations: readonly Operation[], end: Block & { readonly state: State }): Promise<string | undefined> {
    const snapshots = new Map<bigint, Hex>();
    // What is gone back to later is kept.
    const targets = new Set(operations.flatMap((operation) => (operation.kind === 'reorg' ? [operation.to] : [])));
    let number = BigInt(await this.ask<Hex>('eth_blockNumber', []));
    if (targets.has(number)) snapshots.set(number, await this.snapshot());
    for (const [index, operation] of operations.entries()) {
      if (operation.kind === 'reorg') {
        await this.revert(snapshots.get(operation.to) as Hex);
        number = operation.to;
        snapshots.set(number, await this.snapshot());
        continue;
      }
      if (operation.kind === 'mine') {
        const { first, blocks } = operation;
        const last = first.number + blocks - 1n;
        for (let from = first.number; from <= last; ) {
          const stops = [...targets].filter((target) => target >= from && target < last).sort((a, b) => Number(a - b));
          const to = stops[0] ?? last;
          await this.time({ number: from, timestamp: first.timestamp + 12n * (from - first.number) });
          await this.ask('anvil_mine', [numberToHex(to - from + 1n), '0xc']);
          number = to;
          if (targets.has(to)) snapshots.set(to, await this.snapshot());
          from = to + 1n;
        }
        continue;
      }
      const { transaction, block, error } = operation;
      const got = await this.send(transaction, block);
      number = block.number;
      if (targets.has(number)) snapshots.set(number, await this.snapshot());
      if (got !== error) {
        return `operation ${index}, ${transaction.to}: the contract says ${got ?? 'yes'}, the model ${error ?? 'yes'}`;
      }
    }
    if (number !== end.number) return `the chain ends at block ${number}, the model at ${end.number}`;
    return this.compare(end.state);
  }

  /** Sends what the contract takes, and mines an empty block in the place of what it refuses. */
  private async send(transaction: Transaction, block: Block): Promise<string | undefined> {
    const { to: functionName, args, from, value } = transaction;
    const data = encodeFunctionData({ abi: settlementAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]);
    const call = { from, to: DOMAIN.settlement, data, value: numberToHex(value), gas: GAS, gasPrice: '0x0' };
    await this.time(block);
    // The transaction would be in the next block: that is where it is judged.
    const at = { number: numberToHex(block.number), time: numberToHex(block.timestamp) };
    const refused = await this.refusal(call, at);
    if (refused !== undefined) {
      await this.ask('evm_mine', []);
      return refused;
    }
    await this.mine(call);
    return undefined;
  }

  private async refusal(call: object, block: object): Promise<string | undefined> {
    const { error } = await this.request('eth_call', [call, 'latest', {}, block]);
    if (error === undefined) return undefined;
    if (error.data === undefined) return error.message;
    return decodeErrorResult({ abi: settlementAbi, data: error.data }).errorName;
  }

  private async mine(call: object): Promise<void> {
    const hash = await this.ask<Hex>('eth_sendTransaction', [call]);
    await this.ask('evm_mine', []);
    const receipt = await this.ask<{ status: Hex } | null>('eth_getTransactionReceipt', [hash]);
    if (receipt?.status !== '0x1')
      throw new Error(`transaction ${hash} was to succeed, its receipt has status ${receipt?.status}`);
  }

  private time({ timestamp }: Block): Promise<unknown> {
    return this.ask('evm_setNextBlockTimestamp', [Number(timestamp)]);
  }

  // ---- What can be seen of the state -------------------------------------------------------------------------------

  private async compare(state: State): Promise<string | undefined> {
    const differences: string[] = [];
    const same = (what: string, real: unknown, model: unknown) => {
      const [a, b] = [shown(real), shown(model)];
      if (a !== b) differences.push(`${what}: the contract has ${a}, the model ${b}`);
    };
    for (const lane of LANES) {
      const { head, term, inboxLength } = state.lanes[lane] as State['lanes'][number];
      same(`head ${lane}`, await this.read('head', [lane]), [head.number, head.nextSequence, head.timestamp, head.inboxCount]);
      same(`term of lane ${lane}`, await this.read('term', [lane]), term);
      same(`inbox of lane ${lane}`, await this.read('inboxLength', [lane]), inboxLength);
      for (const { address, signers } of OPERATORS) {
        const kept = state.operators.get(`${lane}/${address}`);
        const fields = [kept?.bond, kept?.exitRequestedAt, kept?.poster, kept?.signer];
        same(`operator ${address}`, await this.read('operatorOf', [lane, address]), fields);
        const [first] = signers;
        const retiredAt = state.signers.get(`${lane}/${address}/${first?.address}`) ?? CURRENT;
        same(`signer of ${address}`, await this.read('signerRetiredAt', [lane, address, first?.address]), retiredAt);
      }
      for (let of = 1; of <= term; of++) {
        const kept = state.terms.get(`${lane}/${of}`);
        const [operator, firstSequence, endBlock, , unanswered, slashed, beginBlock] = (await this.read('termOf', [
          lane,
          of,
        ])) as unknown[];
        const real = [operator, firstSequence, endBlock, unanswered, slashed, beginBlock];
        const {
          operator: own,
          firstSequence: first,
          endBlock: end,
          unanswered: asked,
          slashed: lost,
          beginBlock: begin,
        } = kept ?? {};
        same(`term ${lane}/${of}`, real, [own, first, end, asked, lost, begin]);
      }
    }
    for (const [key, { demander, deadline, answered, charged, fee }] of state.demands) {
      const [lane, term, sequence] = key.split('/');
      const real = await this.read('demandOf', [Number(lane), Number(term), BigInt(sequence as string)]);
      same(`demand ${key}`, real, [demander, deadline, answered, charged, fee]);
    }
    for (const { address } of ACCOUNTS) {
      same(`owed to ${address}`, await this.read('owed', [address]), state.owed.get(address as Hex) ?? 0n);
    }
    return differences[0];
  }

  private async read(functionName: string, args: readonly unknown[]): Promise<unknown> {
    const data = encodeFunctionData({ abi: settlementAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]);
    const result = await this.ask<Hex>('eth_call', [{ to: DOMAIN.settlement, data }, 'latest']);
    return decodeFunctionResult({ abi: settlementAbi, functionName, data: result } as Parameters<typeof decodeFunctionResult>[0]);
  }

  // ---- JSON-RPC ----------------------------------------------------------------------------------------------------

  private async ask<T = unknown>(method: string, params: readonly unknown[]): Promise<T> {
    const { result, error } = await this.request(method, params);
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result as T;
  }

  private async request(method: string, params: readonly unknown[]): Promise<{ result?: unknown; error?: RpcError }> {
    const body = JSON.stringify({ jsonrpc: '2.0', id: ++this.id, method, params });
    const response = await fetch(this.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    return (await response.json()) as { result?: unknown; error?: RpcError };
  }
}

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, of) => (typeof of === 'bigint' ? String(of) : of)).toLowerCase();
