// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Opening} from "./IBatches.sol";

/// @title Postage: what senders pay, out of deposits (PROTOCOL.md §3)
/// @notice A bundle's `postage` is all that its sender owes on the lane up to it, so the latest delivered bundle is the voucher.
interface IPostage {
    /// @notice A deposit grew.
    event PostageDeposited(uint16 indexed lane, address indexed sender, uint256 amount, uint256 deposit);
    /// @notice A sender wants a part of its deposit back; it can have it from block `from` on. Zero: it changed its mind.
    event WithdrawalRequested(uint16 indexed lane, address indexed sender, uint256 amount, uint64 from);
    /// @notice A part of a deposit became a payout of its sender.
    event PostageWithdrawn(uint16 indexed lane, address indexed sender, uint256 amount, uint256 deposit);
    /// @notice Postage went from a deposit to an operator.
    event PostageRedeemed(
        uint16 indexed lane, address indexed sender, address indexed operator, uint256 amount, uint256 redeemed
    );

    /// @notice Nothing is to be had for this entry: it is void, expired or out of the inbox, or all it owes is redeemed, or the
    /// deposit is empty.
    error NothingToRedeem();
    /// @notice No withdrawal is under way.
    error NoWithdrawal(uint16 lane, address sender);

    /// @notice Adds what is sent to a sender's deposit on a lane; anybody may.
    function depositPostage(uint16 lane, address sender) external payable;

    /// @notice Begins to withdraw up to `amount` of the caller's deposit, in place of what was under way; 0 ends it.
    function requestWithdrawal(uint16 lane, uint128 amount) external;

    /// @notice Makes what was asked for, as far as it is still there, a payout of the caller, withdrawDelay blocks later.
    function withdrawPostage(uint16 lane) external;

    /// @notice Pays the operator of the entry's term what its sender owes with it and has not paid yet, up to the deposit.
    function redeem(Opening calldata entry) external;

    /// @notice A sender's account on a lane.
    /// @return deposit wei
    /// @return redeemed wei paid so far, cumulative as `postage` is
    /// @return withdrawing wei of the deposit that the sender wants back
    /// @return withdrawableFrom block from which it can have them, 0 if there are none
    function postageOf(uint16 lane, address sender)
        external
        view
        returns (uint128 deposit, uint128 redeemed, uint128 withdrawing, uint64 withdrawableFrom);
}
