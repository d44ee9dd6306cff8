// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Vm, vm} from "../script/Vm.sol";
import {DirectMessages} from "../src/DirectMessages.sol";
import {Test} from "./Test.sol";

contract DirectMessagesTest is Test {
    function testFuzz_EmitsTheHashOfTheMessage(bytes memory message) public {
        DirectMessages direct = new DirectMessages();
        vm.recordLogs();
        direct.post(message);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1, "logs");
        vm.assertEq(logs[0].topics.length, 1, "topics");
        vm.assertEq(logs[0].topics[0], DirectMessages.MessagePosted.selector, "signature");
        vm.assertEq(logs[0].data, abi.encode(keccak256(message)), "hash");
    }
}
