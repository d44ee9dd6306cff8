// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Messages put on chain directly, one transaction each
/// @notice The yardstick of demo and benchmark: the cheapest way to leave a message and its hash on Ethereum without a
/// rollup. Nothing in Sealpost uses it.
contract DirectMessages {
    /// @notice A message stood in the calldata of this transaction.
    /// @param hash keccak256 of the message
    event MessagePosted(bytes32 hash);

    /// @notice Emits the message's hash. keccak256 and not SHA-256, because it is the cheapest: the comparison favours this side.
    /// @param message any bytes
    function post(bytes calldata message) external {
        emit MessagePosted(keccak256(message));
    }
}
