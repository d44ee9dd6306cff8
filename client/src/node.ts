export { type FileOutboxOptions, fileOutbox } from './node/file-outbox.js';
export {
  type KeyFileInfo,
  type KeyFileOptions,
  readAccount,
  readAccountAddress,
  readKeyFile,
  readKeyFileInfo,
  writeKeyFile,
} from './node/key-file.js';
export { type Network, type NetworkAccount, readNetwork, writeNetwork } from './node/network.js';
