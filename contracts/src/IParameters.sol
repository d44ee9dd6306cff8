// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @notice What a contract is deployed with, for good. Delays are in L1 blocks unless they say seconds; deposits and fees in wei.
/// @param maxIncludeDelay the furthest a receipt's includeBy may lie ahead (§7)
/// @param answerDelay how long a demand may wait for its answer (§7)
/// @param evidenceWindow how long after the last block that a promise could name evidence is taken for certain (§7)
/// @param exitDelay from the wish to leave to the bond
/// @param takeoverDelay how far the oldest forced entry is overdue when others may take the lane (§8)
/// @param forcedDelay from a forced bundle to its deadline (§8)
/// @param minForcedLife seconds that a forced bundle must have before it expires (§8)
/// @param withdrawDelay from the wish to withdraw a deposit to the money
/// @param minBond a bond below it holds no lane
/// @param penalty what an unanswered demand costs (§7)
/// @param inboxFee burned a forced bundle, where the queue is short (§8)
struct Parameters {
    uint64 maxIncludeDelay;
    uint64 answerDelay;
    uint64 evidenceWindow;
    uint64 exitDelay;
    uint64 takeoverDelay;
    uint64 forcedDelay;
    uint64 minForcedLife;
    uint64 withdrawDelay;
    uint128 minBond;
    uint128 penalty;
    uint128 inboxFee;
}

/// @title What a Settlement was deployed with
interface IParameters {
    /// @notice A contract was to be deployed without lanes, or with more than 65,535.
    error LanesOutOfBounds(uint256 max, uint256 got);
    /// @notice A parameter is too small for the promises that rest on it.
    /// @param name the parameter
    error ParameterTooSmall(string name, uint256 min, uint256 got);

    /// @notice Number of lanes, at least 1. A message belongs to lane uint16(first two bytes of its topic) mod laneCount (§12).
    function laneCount() external view returns (uint16);

    /// @notice The furthest a receipt's includeBy may lie ahead, in L1 blocks, at least 1 (§7).
    function maxIncludeDelay() external view returns (uint64);

    /// @notice How long a demand may wait for its answer, in L1 blocks, at least 1 (§7).
    function answerDelay() external view returns (uint64);

    /// @notice How long evidence is taken after the last block that a promise could name, in L1 blocks, at least 1 (§7).
    function evidenceWindow() external view returns (uint64);

    /// @notice From the wish to leave to the bond, in L1 blocks; at least maxIncludeDelay + answerDelay + evidenceWindow, so that no
    /// offence outlives the bond that answers for it.
    function exitDelay() external view returns (uint64);

    /// @notice How far the oldest forced entry is overdue when another operator may take the lane, and how old the term, in L1 blocks;
    /// at least 7,200, a day, except on chain 31337 (§8).
    function takeoverDelay() external view returns (uint64);

    /// @notice From a forced bundle to its deadline, in L1 blocks, at least 1 (§8).
    function forcedDelay() external view returns (uint64);

    /// @notice How long a forced bundle must live when it is enqueued, in seconds, so that it does not expire in the queue (§8).
    function minForcedLife() external view returns (uint64);

    /// @notice From the wish to withdraw a deposit to the money, in L1 blocks; more than maxIncludeDelay + answerDelay, so that the
    /// operator can redeem what it delivered for it.
    function withdrawDelay() external view returns (uint64);

    /// @notice A bond below it holds no lane, in wei; at least the penalty.
    function minBond() external view returns (uint128);

    /// @notice What an unanswered demand costs the operator, in wei, at least 1.
    function penalty() external view returns (uint128);

    /// @notice Burned a forced bundle while the queue is short, in wei: × (1 + queue length / 64) (§8).
    function inboxFee() external view returns (uint128);
}
