// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader} from "../../src/IBatches.sol";
import {ISettlement} from "../../src/ISettlement.sol";
import {Test} from "../Test.sol";
import {vm} from "../../script/Vm.sol";
import {SettlementHandler} from "./SettlementHandler.sol";

/// @notice What is true of Settlement after any sequence of commits, good, bad and foreign.
contract SettlementInvariantTest is Test {
    SettlementHandler private handler;
    ISettlement private settlement;

    function setUp() public {
        vm.warp(1_800_000_000);
        handler = new SettlementHandler();
        settlement = handler.settlement();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_HeadIsTheSumOfWhatWasCommitted() public view {
        for (uint16 lane = 0; lane < settlement.laneCount(); ++lane) {
            (uint64 number, uint64 nextSequence, uint64 timestamp, uint64 inboxCount) = settlement.head(lane);
            vm.assertEq(number, handler.batches(lane), "head.number is not the number of batches");
            vm.assertEq(nextSequence, handler.entries(lane), "head.nextSequence is not the number of entries");
            vm.assertEq(timestamp, handler.newestTimestamp(lane), "head.timestamp is not the newest batch's");
            vm.assertEq(inboxCount, 0, "head.inboxCount without an inbox");
            vm.assertEq(settlement.batchHash(lane, number + 1), 0, "a hash beyond the head");
        }
    }

    function invariant_NothingWasTakenAgainstTheRules() public view {
        vm.assertEq(handler.wronglyTaken(), 0, "a bad or foreign commit was taken");
    }

    /// @dev At the end of each run. Compares with the headers as they were sent, so it fails if a hash ever changed or went.
    function afterInvariant() public view {
        for (uint16 lane = 0; lane < settlement.laneCount(); ++lane) {
            BatchHeader[] memory headers = handler.committed(lane);
            bytes32 parentHash = 0;
            uint64 nextSequence = 0;
            uint64 timestamp = 0;
            for (uint256 i = 0; i < headers.length; ++i) {
                bytes32 batchHash = settlement.batchHash(lane, uint64(i + 1));
                vm.assertEq(batchHash, keccak256(abi.encode(headers[i])), "a committed hash changed");
                vm.assertEq(headers[i].parentHash, parentHash, "the chain of parents is broken");
                vm.assertEq(headers[i].firstSequence, nextSequence, "a sequence was left out or given twice");
                vm.assertLe(timestamp, headers[i].timestamp, "time went back");
                vm.assertLe(headers[i].timestamp, block.timestamp, "a batch of the future");
                parentHash = batchHash;
                nextSequence += headers[i].count;
                timestamp = headers[i].timestamp;
            }
            vm.assertEq(settlement.batchHash(lane, 0), 0, "the genesis got a hash");
        }
    }
}
