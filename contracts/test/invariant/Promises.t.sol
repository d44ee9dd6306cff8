// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Test} from "../Test.sol";
import {vm} from "../../script/Vm.sol";
import {PromisesHandler} from "./PromisesHandler.sol";

/// @notice What is true of bonds, inbox, demands and postage after any sequence of what anybody may do.
contract PromisesInvariantTest is Test {
    PromisesHandler private handler;
    uint64 private highest;

    function setUp() public {
        handler = new PromisesHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev An invariant over actions that never succeed shows nothing: here is that each of them can.
    function test_EveryActionOfTheHandlerHappens() public {
        handler.commitAll(2);
        handler.force(1);
        handler.commitWithoutTheInbox();
        handler.wait(699, false);
        handler.commitWithoutTheInbox();
        handler.commitAll(0);
        handler.accuse(1 << 128, 2 << 128, false);
        handler.demand(0);
        handler.answerOne(0);
        handler.demand(1);
        handler.wait(7_300, true);
        handler.chargeUnanswered(1);
        handler.deposit(1 ether);
        handler.redeem(0 | 2 << 128);
        handler.takeDepositBack(1 ether, true);
        handler.wait(10_000, true);
        handler.takeDepositBack(0, false);
        handler.register(1, 0);
        handler.lie(0, 0);
        handler.takeOver(1);
        handler.leaveLane(16);
        handler.wait(19_999, true);
        handler.wait(19_999, true);
        handler.wait(19_999, true);
        handler.wait(19_999, true);
        handler.withdraw(16);
        handler.payOut(1);
        string[15] memory actions = [
            "commit",
            "consume",
            "held up",
            "force",
            "register",
            "leave",
            "withdraw",
            "take over",
            "lie",
            "accuse",
            "demand",
            "answer",
            "charge",
            "take back",
            "pay out"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertLe(1, handler.done(actions[i]), actions[i]);
        }
        vm.assertLe(1, handler.done("redeem"), "redeem");
        invariant_PromisesHold();
    }

    /// forge-config: default.invariant.runs = 256
    /// forge-config: default.invariant.depth = 128
    function invariant_PromisesHold() public {
        (uint256 bonds, uint256 fees, uint256 deposits, uint256 owed) = handler.lane();
        vm.assertLe(bonds + fees + deposits + owed, handler.balance(), "more is owed than there is");
        vm.assertEq(handler.stuck(), 0, "an honest commit was refused");
        vm.assertEq(handler.wrong(), 0, "something went against the rules");
        vm.assertEq(handler.headOf(), handler.committed(), "the committed head is not what was committed");
        vm.assertLe(highest, handler.headOf(), "committed sequences shrank");
        highest = handler.headOf();
    }
}
