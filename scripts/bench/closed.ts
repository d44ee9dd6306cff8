import type { LoadPlan, LoadResult } from '../scenarios.js';
import { type Bench, loadSeconds, type Outcome, type Scenario } from './scenario.js';

const LOAD = new URL('../bench-load.ts', import.meta.url);
const TOPICS = 20_000;

/** The most that a closed loop reaches: each sender sends its next bundle when it has the last one's receipt. */
function closedLoop(own: { senders: number; bundle: number; payload: number }, seconds: number) {
  return (bench: Bench): Promise<Outcome> =>
    bench.withNetwork({}, async ({ network }) => {
      const { settings } = bench;
      const plan: LoadPlan = {
        senders: settings.senders ?? own.senders,
        bundle: settings.bundle ?? own.bundle,
        payload: settings.payload ?? own.payload,
        url: network.url,
        l1Url: network.l1Url,
        chainId: network.chainId,
        settlement: network.settlement,
        laneCount: 1,
        seconds: loadSeconds(settings, seconds, 2),
        sample: settings.sample,
        topics: TOPICS,
      };
      const result = await bench.inProcess<LoadResult>(LOAD, plan);
      const { messagesPerSecond, p50Ms, p99Ms, acknowledged, lost, unprovable } = result;
      return {
        json: { messagesPerSecond, p50Ms, p99Ms, acknowledged, lost, unprovable },
        rows: [{ figure: 'accepted', value: messagesPerSecond, unit: 'messages/s' }],
        healthy: lost === 0 && unprovable === 0 && result.doubled === 0,
      };
    });
}

export const bundled: Scenario = {
  name: 'bundled',
  about: 'messages a second in bundles of 256 messages of 256 bytes (30 s)',
  byDefault: true,
  run: closedLoop({ senders: 16, bundle: 256, payload: 256 }, 30),
};

export const single: Scenario = {
  name: 'single',
  about: 'messages a second, each with a signature of its own (10 s)',
  byDefault: true,
  run: closedLoop({ senders: 64, bundle: 1, payload: 256 }, 10),
};
