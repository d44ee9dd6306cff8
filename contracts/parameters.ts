/** What a Settlement is deployed with, for good (contracts/src/IParameters.sol says what each means). */
export interface Parameters {
  /** L1 blocks, as all delays that do not say seconds. */
  readonly maxIncludeDelay: bigint;
  readonly answerDelay: bigint;
  readonly evidenceWindow: bigint;
  readonly exitDelay: bigint;
  readonly takeoverDelay: bigint;
  readonly forcedDelay: bigint;
  /** Seconds. */
  readonly minForcedLife: bigint;
  readonly withdrawDelay: bigint;
  /** Wei. */
  readonly minBond: bigint;
  readonly penalty: bigint;
  readonly inboxFee: bigint;
}

const ETHER = 10n ** 18n;

/**
 * For one machine, where blocks come every second: minutes instead of days, so that every path can be walked. PROTOCOL.md gives
 * the reasons, and what a main network has.
 */
export const developmentParameters: Parameters = {
  maxIncludeDelay: 1_800n,
  answerDelay: 120n,
  evidenceWindow: 600n,
  exitDelay: 2_520n,
  takeoverDelay: 120n,
  forcedDelay: 60n,
  minForcedLife: 60n,
  withdrawDelay: 2_400n,
  minBond: 5n * ETHER,
  penalty: ETHER,
  inboxFee: ETHER / 10_000n,
};

/** The delays of a main network; what bond, penalty and fee are worth there is for whoever deploys to say. */
export const mainNetworkDelays: Omit<Parameters, 'minBond' | 'penalty' | 'inboxFee'> = {
  maxIncludeDelay: 1_800n,
  answerDelay: 7_200n,
  evidenceWindow: 50_400n,
  exitDelay: 59_400n,
  takeoverDelay: 7_200n,
  forcedDelay: 600n,
  minForcedLife: 86_400n,
  withdrawDelay: 16_200n,
};
