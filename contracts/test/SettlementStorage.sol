// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {vm} from "../script/Vm.sol";

/// @title The storage layout that ISettlement documents, written out by hand
/// @notice Tests go through it where no commit can bring the contract to a state, and so hold the layout to its document.
library SettlementStorage {
    function batchHashSlot(uint16 lane, uint64 number) internal pure returns (bytes32) {
        return keccak256(abi.encode(number, keccak256(abi.encode(lane, 0))));
    }

    function headSlot(uint16 lane) internal pure returns (bytes32) {
        return keccak256(abi.encode(lane, 1));
    }

    function writeBatchHash(address settlement, uint16 lane, uint64 number, bytes32 batchHash) internal {
        vm.store(settlement, batchHashSlot(lane, number), batchHash);
    }

    function writeHead(
        address settlement,
        uint16 lane,
        uint64 number,
        uint64 nextSequence,
        uint64 timestamp,
        uint64 inboxCount
    ) internal {
        uint256 word = uint256(number) | uint256(nextSequence) << 64 | uint256(timestamp) << 128 | uint256(inboxCount)
            << 192;
        vm.store(settlement, headSlot(lane), bytes32(word));
    }
}
