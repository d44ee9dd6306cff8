// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Batches} from "./Batches.sol";
import {Bundles} from "./Bundles.sol";
import {Deployed} from "./Deployed.sol";
import {BatchHeader, BundleFields, ForcedEntry, IBatches, MessageProof} from "./IBatches.sol";
import {Parameters} from "./IParameters.sol";
import {ISettlement} from "./ISettlement.sol";
import {MerkleTree} from "./MerkleTree.sol";
import {Operators} from "./Operators.sol";
import {Postage} from "./Postage.sol";

/// @title Settlement of a Sealpost log on Ethereum
/// @notice What ISettlement says. Here is the log itself; its parts are Ledger, Inbox, Operators, Evidence and Postage.
contract Settlement is ISettlement, Postage {
    /// @param firstOperators who runs each lane at first, one a lane; each registers before it can commit
    /// @param parameters see IParameters
    constructor(address[] memory firstOperators, Parameters memory parameters)
        Deployed(firstOperators.length, parameters)
        Operators(firstOperators)
    {}

    /// @inheritdoc IBatches
    function commit(BatchHeader[] calldata headers, ForcedEntry[] calldata entries) external override {
        if (headers.length == 0 || headers.length > Batches.MAX_PER_COMMIT) {
            revert BatchesOutOfBounds(Batches.MAX_PER_COMMIT, headers.length);
        }
        uint16 lane = headers[0].lane;
        _requireLane(lane);
        Lane memory running = _lanes[lane];
        if (running.ending && _isOver(_terms[lane][running.term])) revert NoOperator(lane);
        if (msg.sender != running.poster) revert NotPoster(running.poster, msg.sender);

        mapping(uint64 number => bytes32) storage hashes = batchHash[lane];
        Head memory parent = head[lane];
        bytes32 parentHash = hashes[parent.number];
        uint256 consumed = 0;
        uint256 fees = 0;
        for (uint256 i = 0; i < headers.length; ++i) {
            BatchHeader calldata header = headers[i];
            uint256 first = consumed;
            while (consumed < entries.length && entries[consumed].header == i) ++consumed;
            parent.inboxCount += uint64(consumed - first);
            _checkHeader(header, lane, running.term, parent, parentHash);
            fees += _consumeAll(header, entries, first, consumed, running.inboxLength);
            parent.number = header.number;
            parent.nextSequence = header.firstSequence + header.count;
            parent.timestamp = header.timestamp;
            parentHash = Batches.emitCommitted(header);
            hashes[header.number] = parentHash;
        }
        if (consumed != entries.length) revert ForcedEntryOutOfOrder(consumed);
        head[lane] = parent;
        if (fees != 0) owed[msg.sender] += fees;
        if (consumed < ENOUGH_FORCED && parent.inboxCount < running.inboxLength) {
            uint64 deadline = inbox[lane][parent.inboxCount].deadline;
            if (block.number > deadline) revert ForcedEntryOverdue(parent.inboxCount, deadline);
        }
    }

    /// @inheritdoc IBatches
    function isIncluded(MessageProof calldata proof) external view override returns (bool included) {
        BundleFields calldata bundle = proof.bundle;
        BatchHeader calldata header = proof.header;
        uint16 lane = header.lane;
        uint32 count = bundle.count;

        // Facts that cost nothing, then the slot, then the hashes. Both indices are held against their counts, and a count of 0
        // is refused, where the paths are verified.
        if (bundle.lane != lane || Bundles.laneOf(proof.topic, laneCount) != lane) return false;
        if (proof.payload.length > Bundles.MAX_PAYLOAD_BYTES) return false;
        if (count > Bundles.MAX_MESSAGES || bundle.nonce > type(uint64).max - count) return false;
        if (proof.void != 0 || bundle.expiry < header.timestamp) return false;
        if (!_isCommitted(header)) return false;

        bytes32 structHash = Bundles.structHash(bundle);
        address signer = Bundles.recover(Bundles.digest(domainSeparator(), structHash), bundle.signature);
        if (signer == address(0) || signer != bundle.sender) return false;

        bytes32 leaf = Bundles.messageLeaf(proof.topic, proof.payload);
        if (!MerkleTree.verifyInclusion(leaf, proof.messageIndex, count, proof.messagePath, bundle.messagesRoot)) {
            return false;
        }
        bytes32 bundleHash = Bundles.bundleHash(bundle.sender, structHash, bundle.signature);
        bytes32 entryHash = Bundles.entryHash(proof.void, proof.previous, bundleHash);
        return
            MerkleTree.verifyInclusion(entryHash, proof.bundleIndex, header.count, proof.bundlePath, header.bundlesRoot);
    }

    /// @dev Consumes the inbox's next entries, `entries` from `first` up to `end`, all of one batch, whose inboxCount is already held
    /// against their number.
    function _consumeAll(
        BatchHeader calldata header,
        ForcedEntry[] calldata entries,
        uint256 first,
        uint256 end,
        uint64 inboxLength_
    ) private returns (uint256 fees) {
        uint64 index = header.inboxCount - uint64(end - first);
        for (uint256 i = first; i < end; ++i) {
            // Each at its own index: the same bundle may be in the inbox twice.
            bool isInOrder = i == first || entries[i].index > entries[i - 1].index;
            if (!isInOrder || index >= inboxLength_) revert ForcedEntryOutOfOrder(i);
            fees += _consume(header, entries[i], index++, i);
        }
    }

    /// @dev Every rule of PROTOCOL.md §4. The number comes first, so that a batch which is already committed always answers
    /// WrongNumber, whatever else differs. Reading each narrow field here also makes the decoder refuse dirty bits, which
    /// Batches.emitCommitted relies on. `parent.inboxCount` counts this batch's own entries already.
    function _checkHeader(
        BatchHeader calldata header,
        uint16 lane,
        uint32 term_,
        Head memory parent,
        bytes32 parentHash
    ) private view {
        uint64 number = header.number;
        if (header.lane != lane) revert WrongLane(lane, header.lane);
        if (number != parent.number + 1) revert WrongNumber(parent.number + 1, number);
        if (header.term != term_) revert WrongTerm(number, term_, header.term);
        if (header.parentHash != parentHash) revert WrongParentHash(number, parentHash, header.parentHash);
        if (header.firstSequence != parent.nextSequence) {
            revert WrongFirstSequence(number, parent.nextSequence, header.firstSequence);
        }
        if (header.count == 0 || header.count > Batches.MAX_ENTRIES) {
            revert CountOutOfBounds(number, Batches.MAX_ENTRIES, header.count);
        }
        if (header.inboxCount != parent.inboxCount) {
            revert WrongInboxCount(number, parent.inboxCount, header.inboxCount);
        }
        if (header.timestamp < parent.timestamp) revert TimestampTooEarly(number, parent.timestamp, header.timestamp);
        // forge-lint: disable-next-line(block-timestamp)
        if (header.timestamp > block.timestamp) {
            revert TimestampTooLate(number, uint64(block.timestamp), header.timestamp);
        }
    }
}
