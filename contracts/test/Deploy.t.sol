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
        vm.setEnv("MAX_INCLUDE_DELAY", "1800");
        vm.setEnv("POSTER", vm.toString(address(0x9057E6)));
        vm.setEnv("RECEIPT_SIGNER", vm.toString(address(0x516E6)));
        ISettlement settlement = script.run();
        vm.assertEq(settlement.laneCount(), 5, "laneCount");
        vm.assertEq(settlement.maxIncludeDelay(), 1800, "maxIncludeDelay");
        vm.assertEq(settlement.poster(4), address(0x9057E6), "poster");
        vm.assertEq(settlement.receiptSigner(4, 1), address(0x516E6), "receiptSigner");

        vm.setEnv("LANE_COUNT", "65536");
        vm.expectRevert(abi.encodeWithSelector(Deploy.OutOfRange.selector, "LANE_COUNT", 65_535, 65_536));
        script.run();
    }
}
