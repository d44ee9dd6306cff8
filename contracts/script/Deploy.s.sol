// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Parameters} from "../src/IParameters.sol";
import {Settlement} from "../src/Settlement.sol";
import {vm} from "./Vm.sol";

/// @title Deploys Settlement
/// @notice Reads from the environment: LANE_COUNT, OPERATOR (who runs every lane at first: it registers afterwards, with
/// `sealpost operator register`), MIN_BOND, PENALTY and INBOX_FEE in wei; these five are needed, because none can be changed
/// later and nobody else knows what an ether is worth. The delays have the defaults of a main network, which PROTOCOL.md
/// gives the reasons of: MAX_INCLUDE_DELAY, ANSWER_DELAY, EVIDENCE_WINDOW, EXIT_DELAY, TAKEOVER_DELAY, FORCED_DELAY,
/// WITHDRAW_DELAY in L1 blocks, MIN_FORCED_LIFE in seconds.
/// From the repository's root: `forge script contracts/script/Deploy.s.sol --rpc-url … --broadcast`, with the signer's own
/// options.
contract Deploy {
    bool public constant IS_SCRIPT = true;

    error OutOfRange(string variable, uint256 max, uint256 got);

    function run() external returns (Settlement settlement) {
        address[] memory firstOperators = new address[](_read("LANE_COUNT", type(uint16).max));
        for (uint256 lane = 0; lane < firstOperators.length; ++lane) {
            firstOperators[lane] = vm.envAddress("OPERATOR");
        }
        uint64 maxIncludeDelay = _delay("MAX_INCLUDE_DELAY", 1_800);
        uint64 answerDelay = _delay("ANSWER_DELAY", 7_200);
        uint64 evidenceWindow = _delay("EVIDENCE_WINDOW", 50_400);
        Parameters memory parameters = Parameters({
            maxIncludeDelay: maxIncludeDelay,
            answerDelay: answerDelay,
            evidenceWindow: evidenceWindow,
            exitDelay: _delay("EXIT_DELAY", maxIncludeDelay + answerDelay + evidenceWindow),
            takeoverDelay: _delay("TAKEOVER_DELAY", 7_200),
            forcedDelay: _delay("FORCED_DELAY", 600),
            minForcedLife: _delay("MIN_FORCED_LIFE", 86_400),
            withdrawDelay: _delay("WITHDRAW_DELAY", maxIncludeDelay + 2 * answerDelay),
            minBond: _wei("MIN_BOND"),
            penalty: _wei("PENALTY"),
            inboxFee: _wei("INBOX_FEE")
        });
        vm.startBroadcast();
        settlement = new Settlement(firstOperators, parameters);
        vm.stopBroadcast();
    }

    function _delay(string memory variable, uint64 standard) private view returns (uint64) {
        uint256 value = vm.envOr(variable, uint256(standard));
        if (value > type(uint64).max) revert OutOfRange(variable, type(uint64).max, value);
        return uint64(value);
    }

    function _wei(string memory variable) private view returns (uint128) {
        return uint128(_read(variable, type(uint128).max));
    }

    function _read(string memory variable, uint256 max) private view returns (uint256 value) {
        value = vm.envUint(variable);
        if (value > max) revert OutOfRange(variable, max, value);
    }
}
