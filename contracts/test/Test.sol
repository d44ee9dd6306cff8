// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {vm} from "../script/Vm.sol";

/// @notice What makes a contract a forge test.
abstract contract Test {
    bool public constant IS_TEST = true;

    /// @dev `value` where it is in [min, max], else folded into it.
    function bound(uint256 value, uint256 min, uint256 max) internal pure returns (uint256) {
        if (value >= min && value <= max) return value;
        uint256 span = max - min;
        return span == type(uint256).max ? value : min + value % (span + 1);
    }
}
