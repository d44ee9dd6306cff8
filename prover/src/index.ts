export * from './batch.js';
export * from './bundle.js';
export * from './bytes.js';
export * from './errors.js';
export * from './proof.js';
export * from './receipt.js';
export * from './signature.js';
export * from './tree.js';
