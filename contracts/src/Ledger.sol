// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, IBatches} from "./IBatches.sol";
import {Batches} from "./Batches.sol";
import {Deployed} from "./Deployed.sol";
import {IPayouts} from "./IPayouts.sol";

/// @title What all parts of Settlement share: the committed log, the lanes and what is owed
/// @dev First in the line of inheritance, because its first two slots are documented for readers of storage.
abstract contract Ledger is Deployed, IBatches, IPayouts {
    struct Head {
        uint64 number;
        uint64 nextSequence;
        uint64 timestamp;
        uint64 inboxCount;
    }

    /// @dev What every commit needs of a lane, in one slot.
    struct Lane {
        /// Zero while nobody may commit: the term was ended, or its operator is not registered yet.
        address poster;
        uint32 term;
        /// The running term's end is known: commits look it up.
        bool ending;
        uint56 inboxLength;
    }

    /// @inheritdoc IBatches
    mapping(uint16 lane => mapping(uint64 number => bytes32)) public override batchHash;
    /// @inheritdoc IBatches
    mapping(uint16 lane => Head) public override head;
    mapping(uint16 lane => Lane) internal _lanes;
    /// @inheritdoc IPayouts
    mapping(address account => uint256) public override owed;

    /// @inheritdoc IPayouts
    function payOut(address account) external override {
        uint256 amount = owed[account];
        if (amount == 0) revert NothingOwed(account);
        owed[account] = 0;
        emit PaidOut(account, amount);
        (bool success,) = account.call{value: amount}("");
        if (!success) revert PayoutFailed(account);
    }

    function _requireLane(uint16 lane) internal view {
        if (lane >= laneCount) revert UnknownLane(laneCount, lane);
    }

    function _isCommitted(BatchHeader calldata header) internal view returns (bool) {
        // The genesis has hash 0, which no header has.
        return batchHash[header.lane][header.number] == Batches.hash(header);
    }
}
