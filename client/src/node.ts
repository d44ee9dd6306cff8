export { type FileOutboxOptions, fileOutbox } from './node/file-outbox.js';
export {
  type FileReceiptReaderOptions,
  type FileReceiptsOptions,
  fileReceiptReader,
  fileReceipts,
} from './node/file-receipts.js';
export {
  type KeyFileInfo,
  type KeyFileOptions,
  readAccount,
  readAccountAddress,
  readKeyFile,
  readKeyFileInfo,
  writeKeyFile,
} from './node/key-file.js';
export { fileMirror, type Mirror } from './node/mirror.js';
export { type Network, type NetworkAccount, readNetwork, writeNetwork } from './node/network.js';
export { readProgress, writeProgress } from './node/watch-progress.js';
