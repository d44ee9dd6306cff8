export * from './abi.js';
export { developmentParameters, mainNetworkDelays, type Parameters } from './parameters.js';
