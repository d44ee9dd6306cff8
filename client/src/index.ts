export type {
  BatchHeader,
  Domain,
  Hex,
  Message,
  MessageId,
  MessageProof,
  ProofStep,
  ProvenMessage,
  Receipt,
  ReceiptProof,
} from '@sealpost/prover';
export { formatMessageId, parseMessageId, proofToJson, receiptProofToJson, receiptToJson } from '@sealpost/prover';
export * from './client.js';
export { type CallOptions, type Clock, systemClock } from './clock.js';
export * from './errors.js';
export { isRetryable, type Log, planRetry } from './http.js';
export { createIdentity, type Identity, identityFrom, type SecretIdentity } from './keys.js';
export { type BatchSlot, type Commitment, L1, type L1Block, type L1Options, type L1Rung } from './l1.js';
export {
  checkPlace,
  checkReplacement,
  jobProgress,
  laterHead,
  memoryOutbox,
  type Outbox,
  type OutboxHead,
  type OutboxKey,
  type OutboxLane,
  type OutboxRecord,
  outboxName,
} from './outbox.js';
export {
  type KeptReceipt,
  type MemoryReceipts,
  memoryReceipts,
  type ReceiptKeeper,
  type ReceiptReader,
} from './receipts.js';
export {
  type EncryptionKeys,
  encryptionKeysFrom,
  generateEncryptionKeys,
  inboxTopic,
  isPublicKey,
  maxPlaintextBytes,
  Opener,
  type SuiteName,
  sealMessages,
} from './seal.js';
export { type Accepted, BUNDLE_TYPES, type BundleSigner, type PayingAccount, type Postage } from './send.js';
export * from './status.js';
export type { TopicMessage, TopicOptions } from './topic.js';
export {
  decodeProof,
  failedStep,
  isAtLeast,
  isReceiptProof,
  PROOF_STEPS,
  type Proof,
  Recoveries,
  RUNGS,
  type Rung,
  stepMeaning,
  type Verification,
  type VerifiedStep,
  verifyProof,
} from './verify.js';
