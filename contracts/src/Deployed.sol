// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IParameters, Parameters} from "./IParameters.sol";

/// @title What a Settlement was deployed with
abstract contract Deployed is IParameters {
    /// @dev A chain of one machine, where a day is too long to wait for.
    uint256 private constant DEVELOPMENT_CHAIN = 31_337;
    /// @dev A day: an operator whose host fails has that long to come back before others may take its lane.
    uint64 private constant MIN_TAKEOVER_DELAY = 7_200;

    /// @inheritdoc IParameters
    uint16 public immutable override laneCount;
    /// @inheritdoc IParameters
    uint64 public immutable override maxIncludeDelay;
    /// @inheritdoc IParameters
    uint64 public immutable override answerDelay;
    /// @inheritdoc IParameters
    uint64 public immutable override evidenceWindow;
    /// @inheritdoc IParameters
    uint64 public immutable override exitDelay;
    /// @inheritdoc IParameters
    uint64 public immutable override takeoverDelay;
    /// @inheritdoc IParameters
    uint64 public immutable override forcedDelay;
    /// @inheritdoc IParameters
    uint64 public immutable override minForcedLife;
    /// @inheritdoc IParameters
    uint64 public immutable override withdrawDelay;
    /// @inheritdoc IParameters
    uint128 public immutable override minBond;
    /// @inheritdoc IParameters
    uint128 public immutable override penalty;
    /// @inheritdoc IParameters
    uint128 public immutable override inboxFee;

    constructor(uint256 laneCount_, Parameters memory parameters) {
        if (laneCount_ == 0 || laneCount_ > type(uint16).max) revert LanesOutOfBounds(type(uint16).max, laneCount_);
        laneCount = uint16(laneCount_);
        maxIncludeDelay = _atLeast("maxIncludeDelay", 1, parameters.maxIncludeDelay);
        answerDelay = _atLeast("answerDelay", 1, parameters.answerDelay);
        evidenceWindow = _atLeast("evidenceWindow", 1, parameters.evidenceWindow);
        uint256 accountable = uint256(parameters.maxIncludeDelay) + parameters.answerDelay;
        exitDelay = _atLeast("exitDelay", accountable + parameters.evidenceWindow, parameters.exitDelay);
        takeoverDelay = _atLeast(
            "takeoverDelay", block.chainid == DEVELOPMENT_CHAIN ? 1 : MIN_TAKEOVER_DELAY, parameters.takeoverDelay
        );
        forcedDelay = _atLeast("forcedDelay", 1, parameters.forcedDelay);
        minForcedLife = parameters.minForcedLife;
        withdrawDelay = _atLeast("withdrawDelay", accountable + 1, parameters.withdrawDelay);
        penalty = uint128(_min("penalty", 1, parameters.penalty));
        minBond = uint128(_min("minBond", parameters.penalty, parameters.minBond));
        inboxFee = parameters.inboxFee;
    }

    function _atLeast(string memory name, uint256 min, uint64 got) private pure returns (uint64) {
        return uint64(_min(name, min, got));
    }

    function _min(string memory name, uint256 min, uint256 got) private pure returns (uint256) {
        if (got < min) revert ParameterTooSmall(name, min, got);
        return got;
    }
}
