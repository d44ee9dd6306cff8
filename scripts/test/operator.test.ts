import { settlementAbi } from '@sealpost/contracts';
import { createWalletClient, http } from 'viem';
import { expect, test } from 'vitest';
import { roleAccount } from '../accounts.js';
import { l1Client } from '../deployment.js';
import { audit, SOUND, sealpost, startLoad, startNetwork, until } from './stage.js';

test('once the operator asked to leave, nothing is promised any more, and what was promised is kept', async () => {
  const network = await startNetwork();
  const load = await startLoad(network, { senders: 2 });
  await load.more(20);
  const l1 = l1Client(network.l1Url);
  const { account } = roleAccount('operator');
  const wallet = createWalletClient({ account, transport: http(network.l1Url) });
  const contract = { address: network.settlement, abi: settlementAbi, chain: null } as const;
  const hash = await wallet.writeContract({ ...contract, functionName: 'requestExit', args: [0] });
  await l1.waitForTransactionReceipt({ hash });
  const refused = await until('readiness to say so', async () => {
    const answer = await fetch(`${network.url}/readyz`);
    return answer.ok ? undefined : answer.text();
  });
  expect(refused).toContain('the operator of lane 0 asked to leave');
  await until('refusals', () => (load.refusals.get('unavailable') ?? 0) > 4);
  // Who sends by command is told why, in the sequencer's words.
  const sent = await sealpost(network, ['send', '--as', 'bob', '--to', 'alice', '--timeout', '10', 'too late']);
  expect(sent.code).toBe(4);
  expect(sent.stderr).toContain('the sequencer is not available: the operator of lane 0 asked to leave in L1 block');
  const acknowledged = (await load.stop()).length;
  expect(load.failures).toEqual([]);
  // Its term goes on for as long as a promise can: all of them are committed.
  expect(await load.verdict()).toMatchObject({ ...SOUND, acknowledged: 8 * acknowledged });
  expect(await audit(network)).toMatchObject({ clean: true });
});
