// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Settlement} from "../src/Settlement.sol";
import {vm} from "./Vm.sol";

/// @title Deploys Settlement
/// @notice Reads LANE_COUNT, MAX_INCLUDE_DELAY (L1 blocks), POSTER and RECEIPT_SIGNER from the environment; all four are
/// needed, because none can be changed later. From the repository's root:
/// `forge script contracts/script/Deploy.s.sol --rpc-url … --broadcast`, with the signer's own options.
contract Deploy {
    bool public constant IS_SCRIPT = true;

    error OutOfRange(string variable, uint256 max, uint256 got);

    function run() external returns (Settlement settlement) {
        uint16 laneCount = uint16(_read("LANE_COUNT", type(uint16).max));
        uint64 maxIncludeDelay = uint64(_read("MAX_INCLUDE_DELAY", type(uint64).max));
        address poster = vm.envAddress("POSTER");
        address receiptSigner = vm.envAddress("RECEIPT_SIGNER");
        vm.startBroadcast();
        settlement = new Settlement(laneCount, maxIncludeDelay, poster, receiptSigner);
        vm.stopBroadcast();
    }

    function _read(string memory variable, uint256 max) private view returns (uint256 value) {
        value = vm.envUint(variable);
        if (value > max) revert OutOfRange(variable, max, value);
    }
}
