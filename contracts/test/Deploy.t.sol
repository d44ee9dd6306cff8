// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Deploy} from "../script/Deploy.s.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {Test} from "./Test.sol";
import {vm} from "../script/Vm.sol";

/// @dev One test, because the environment is the process's: tests that set it side by side would meet.
contract DeployTest is Test {
    function test_DeploysWhatTheEnvironmentSays() public {
        Deploy script = new Deploy();
        vm.setEnv("LANE_COUNT", "5");
        vm.setEnv("OPERATOR", vm.toString(address(0x0BE7A70)));
        vm.setEnv("MIN_BOND", "3000000000000000000");
        vm.setEnv("PENALTY", "1000000000000000000");
        vm.setEnv("INBOX_FEE", "7");
        vm.setEnv("FORCED_DELAY", "601");
        ISettlement settlement = script.run();
        vm.assertEq(settlement.laneCount(), 5, "laneCount");
        vm.assertEq(settlement.operator(4), address(0x0BE7A70), "operator");
        vm.assertEq(settlement.maxIncludeDelay(), 1_800, "maxIncludeDelay");
        vm.assertEq(settlement.answerDelay(), 7_200, "answerDelay");
        vm.assertEq(settlement.evidenceWindow(), 50_400, "evidenceWindow");
        vm.assertEq(settlement.exitDelay(), 59_400, "exitDelay");
        vm.assertEq(settlement.takeoverDelay(), 7_200, "takeoverDelay");
        vm.assertEq(settlement.forcedDelay(), 601, "forcedDelay");
        vm.assertEq(settlement.minForcedLife(), 86_400, "minForcedLife");
        vm.assertEq(settlement.withdrawDelay(), 16_200, "withdrawDelay");
        vm.assertEq(settlement.minBond(), 3 ether, "minBond");
        vm.assertEq(settlement.penalty(), 1 ether, "penalty");
        vm.assertEq(settlement.inboxFee(), 7, "inboxFee");

        vm.setEnv("LANE_COUNT", "65536");
        vm.expectRevert(abi.encodeWithSelector(Deploy.OutOfRange.selector, "LANE_COUNT", 65_535, 65_536));
        script.run();
    }
}
