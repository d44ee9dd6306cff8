// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, ForcedEntry} from "./IBatches.sol";
import {Bundles} from "./Bundles.sol";
import {Domain} from "./Domain.sol";
import {FramedBundles} from "./FramedBundles.sol";
import {IInbox} from "./IInbox.sol";
import {Ledger} from "./Ledger.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title Forced inclusion (PROTOCOL.md §8)
abstract contract Inbox is Ledger, Domain, IInbox {
    struct Forced {
        bytes32 bundleHash;
        uint64 deadline;
        uint128 fee;
    }

    /// @dev Longest framed bundle: every entry fits a batch file, and a transaction can carry it.
    uint256 private constant MAX_FRAMED_BYTES = 98_304;
    /// @dev What consuming an entry is paid for, at the base fee of the block that enqueued it.
    uint256 private constant CONSUMER_GAS = 60_000;
    /// @dev A commit that consumes as many is never held up, however long the queue is.
    uint256 internal constant ENOUGH_FORCED = 64;

    /// @inheritdoc IInbox
    mapping(uint16 lane => mapping(uint64 index => Forced)) public override inbox;
    /// @dev One bit a sequence.
    mapping(uint16 lane => mapping(uint256 word => uint256)) private _forced;

    /// @inheritdoc IInbox
    function forceInclude(bytes calldata framed) external payable override {
        if (framed.length > MAX_FRAMED_BYTES) revert BundleTooLong(MAX_FRAMED_BYTES, framed.length);
        (FramedBundles.Framed memory bundle, bytes32 bundleHash) = _readSigned(framed);
        // forge-lint: disable-next-line(block-timestamp)
        uint256 minExpiry = block.timestamp + minForcedLife;
        if (bundle.expiry < minExpiry) revert ExpiresTooSoon(minExpiry, bundle.expiry);

        uint16 lane = bundle.lane;
        (uint256 consumer, uint256 burned) = forcedFee(lane);
        if (msg.value < consumer + burned) revert FeeTooSmall(consumer, burned, msg.value);
        owed[msg.sender] += msg.value - consumer - burned;

        uint64 index = _lanes[lane].inboxLength++;
        uint64 deadline = uint64(block.number) + forcedDelay;
        inbox[lane][index] = Forced(bundleHash, deadline, uint128(consumer));
        emit BundleForced(lane, index, bundle.sender, bundleHash, deadline, framed);
    }

    /// @inheritdoc IInbox
    function forcedFee(uint16 lane) public view override returns (uint256 consumer, uint256 burned) {
        uint256 length = _lanes[lane].inboxLength - head[lane].inboxCount;
        // The price grows by itself with each 64 that wait: who fills the queue to keep others out pays for it.
        return (CONSUMER_GAS * block.basefee, inboxFee + inboxFee * length / ENOUGH_FORCED);
    }

    /// @inheritdoc IInbox
    function inboxLength(uint16 lane) external view override returns (uint64) {
        return _lanes[lane].inboxLength;
    }

    /// @inheritdoc IInbox
    function isForced(uint16 lane, uint64 sequence) public view override returns (bool) {
        return _forced[lane][sequence >> 8] >> (sequence & 0xff) & 1 == 1;
    }

    /// @dev The block from which on the oldest waiting entry holds commits up; the largest number where none waits.
    function _oldestDeadline(uint16 lane) internal view returns (uint256) {
        uint64 next = head[lane].inboxCount;
        return next < _lanes[lane].inboxLength ? inbox[lane][next].deadline : type(uint256).max;
    }

    /// @dev Consumes the entry of the inbox that a batch, already held against its parent, has at `entry.index`.
    /// @return fee what the consumer earned
    function _consume(BatchHeader calldata header, ForcedEntry calldata entry, uint64 index, uint256 place)
        internal
        returns (uint256 fee)
    {
        uint16 lane = header.lane;
        Forced memory forced = inbox[lane][index];
        bytes32 leaf = Bundles.entryHash(entry.void, entry.previous, forced.bundleHash);
        if (!MerkleTree.verifyInclusion(leaf, entry.index, header.count, entry.path, header.bundlesRoot)) {
            revert ForcedEntryNotInBatch(place, index);
        }
        delete inbox[lane][index];
        uint64 sequence = header.firstSequence + entry.index;
        // forge-lint: disable-next-line(incorrect-shift)
        _forced[lane][sequence >> 8] |= 1 << (sequence & 0xff);
        return forced.fee;
    }

    /// @dev Everything of §3 and §12 but the nonce, which is judged when the entry gets its place.
    function _readSigned(bytes calldata framed)
        private
        view
        returns (FramedBundles.Framed memory bundle, bytes32 bundleHash)
    {
        bytes calldata signature;
        (bundle, signature) = FramedBundles.read(framed, laneCount);
        address signer = Bundles.recover(Bundles.digest(domainSeparator(), bundle.structHash), signature);
        // The codec has refused the sender zero, which is what a bad signature recovers to.
        if (signer != bundle.sender) revert BadSignature(bundle.sender, signer);
        bundleHash = Bundles.bundleHash(signer, bundle.structHash, signature);
    }
}
