// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, BundleFields, Opening} from "./IBatches.sol";
import {Bundles} from "./Bundles.sol";
import {Evidence} from "./Evidence.sol";
import {IPostage} from "./IPostage.sol";

/// @title Deposits and vouchers (PROTOCOL.md §3)
abstract contract Postage is Evidence, IPostage {
    struct Account {
        uint128 deposit;
        uint128 redeemed;
        uint128 withdrawing;
        uint64 withdrawableFrom;
    }

    /// @inheritdoc IPostage
    mapping(uint16 lane => mapping(address sender => Account)) public override postageOf;

    /// @inheritdoc IPostage
    function depositPostage(uint16 lane, address sender) external payable override {
        _requireLane(lane);
        Account storage account = postageOf[lane][sender];
        account.deposit += uint128(msg.value);
        emit PostageDeposited(lane, sender, msg.value, account.deposit);
    }

    /// @inheritdoc IPostage
    function requestWithdrawal(uint16 lane, uint128 amount) external override {
        Account storage account = postageOf[lane][msg.sender];
        uint64 from = amount == 0 ? 0 : uint64(block.number) + withdrawDelay;
        account.withdrawing = amount;
        account.withdrawableFrom = from;
        emit WithdrawalRequested(lane, msg.sender, amount, from);
    }

    /// @inheritdoc IPostage
    function withdrawPostage(uint16 lane) external override {
        Account storage account = postageOf[lane][msg.sender];
        uint64 from = account.withdrawableFrom;
        if (from == 0) revert NoWithdrawal(lane, msg.sender);
        if (block.number < from) revert TooEarly(from, block.number);
        uint128 amount = account.withdrawing < account.deposit ? account.withdrawing : account.deposit;
        account.deposit -= amount;
        account.withdrawing = 0;
        account.withdrawableFrom = 0;
        owed[msg.sender] += amount;
        emit PostageWithdrawn(lane, msg.sender, amount, account.deposit);
    }

    /// @inheritdoc IPostage
    function redeem(Opening calldata entry) external override {
        bytes32 structHash = _verifyOpening(entry);
        BatchHeader calldata header = entry.header;
        BundleFields calldata bundle = entry.bundle;
        uint16 lane = header.lane;
        // Only for what the sender signed and the operator delivered: not for what came through the L1, which paid there.
        bool isDue = entry.void == 0 && bundle.lane == lane && bundle.expiry >= header.timestamp
            && !isForced(lane, header.firstSequence + entry.index);
        address signer = Bundles.recover(Bundles.digest(domainSeparator(), structHash), bundle.signature);
        if (!isDue || signer == address(0) || signer != bundle.sender) revert NothingToRedeem();

        Account storage account = postageOf[lane][signer];
        uint128 unpaid = bundle.postage > account.redeemed ? bundle.postage - account.redeemed : 0;
        uint128 amount = unpaid < account.deposit ? unpaid : account.deposit;
        if (amount == 0) revert NothingToRedeem();
        account.deposit -= amount;
        account.redeemed += amount;
        address operator_ = _terms[lane][header.term].operator;
        owed[operator_] += amount;
        emit PostageRedeemed(lane, signer, operator_, amount, account.redeemed);
    }
}
