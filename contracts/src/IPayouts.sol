// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Money that the contract owes: it is fetched, never sent
interface IPayouts {
    /// @notice Money left for an account.
    event PaidOut(address indexed account, uint256 amount);

    /// @notice The contract owes this account nothing.
    error NothingOwed(address account);
    /// @notice The account took no money.
    error PayoutFailed(address account);

    /// @notice What the contract owes an account, in wei: bonds and deposits given back, fees and rewards earned.
    function owed(address account) external view returns (uint256);

    /// @notice Sends an account what it is owed; anybody may call it.
    function payOut(address account) external;
}
