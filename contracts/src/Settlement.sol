// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Batches} from "./Batches.sol";
import {Bundles} from "./Bundles.sol";
import {Domain} from "./Domain.sol";
import {BatchHeader, BundleFields, ISettlement, MessageProof} from "./ISettlement.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title Settlement of a Sealpost log on Ethereum
/// @notice What ISettlement says, with one posting account and one receipt signer for all lanes, fixed at deployment.
contract Settlement is Domain {
    struct Head {
        uint64 number;
        uint64 nextSequence;
        uint64 timestamp;
        uint64 inboxCount;
    }

    /// @dev Every lane is in its first term: there is no takeover.
    uint32 private constant TERM = 1;

    /// @inheritdoc ISettlement
    mapping(uint16 lane => mapping(uint64 number => bytes32)) public override batchHash;
    /// @inheritdoc ISettlement
    mapping(uint16 lane => Head) public override head;

    /// @inheritdoc ISettlement
    uint16 public immutable override laneCount;
    /// @inheritdoc ISettlement
    uint64 public immutable override maxIncludeDelay;
    address private immutable _poster;
    address private immutable _receiptSigner;

    /// @param laneCount_ number of lanes, at least 1
    /// @param maxIncludeDelay_ the furthest a receipt's includeBy may lie ahead, in L1 blocks, at least 1
    /// @param poster_ the account that commits the batches of every lane, not zero
    /// @param receiptSigner_ the account that signs the receipts of every lane, not zero; may be the poster
    constructor(uint16 laneCount_, uint64 maxIncludeDelay_, address poster_, address receiptSigner_) {
        if (laneCount_ == 0) revert NoLanes();
        if (maxIncludeDelay_ == 0) revert NoIncludeDelay();
        if (poster_ == address(0)) revert NoPoster();
        if (receiptSigner_ == address(0)) revert NoReceiptSigner();
        laneCount = laneCount_;
        maxIncludeDelay = maxIncludeDelay_;
        _poster = poster_;
        _receiptSigner = receiptSigner_;
    }

    /// @inheritdoc ISettlement
    function commit(BatchHeader[] calldata headers) external override {
        if (headers.length == 0 || headers.length > Batches.MAX_PER_COMMIT) {
            revert BatchesOutOfBounds(Batches.MAX_PER_COMMIT, headers.length);
        }
        uint16 lane = headers[0].lane;
        if (lane >= laneCount) revert UnknownLane(laneCount, lane);
        if (msg.sender != _poster) revert NotPoster(_poster, msg.sender);

        mapping(uint64 number => bytes32) storage hashes = batchHash[lane];
        Head memory parent = head[lane];
        bytes32 parentHash = hashes[parent.number];
        for (uint256 i = 0; i < headers.length; ++i) {
            BatchHeader calldata header = headers[i];
            _checkHeader(header, lane, parent, parentHash);
            parent.number = header.number;
            parent.nextSequence = header.firstSequence + header.count;
            parent.timestamp = header.timestamp;
            parentHash = Batches.emitCommitted(header);
            hashes[header.number] = parentHash;
        }
        head[lane] = parent;
    }

    /// @inheritdoc ISettlement
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
        // The genesis has hash 0, which no header has.
        if (batchHash[lane][header.number] != Batches.hash(header)) return false;

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

    /// @inheritdoc ISettlement
    function term(uint16 lane) public view override returns (uint32) {
        return lane < laneCount ? TERM : 0;
    }

    /// @inheritdoc ISettlement
    function poster(uint16 lane) external view override returns (address) {
        return lane < laneCount ? _poster : address(0);
    }

    /// @inheritdoc ISettlement
    function receiptSigner(uint16 lane, uint32 term_) external view override returns (address signer) {
        return lane < laneCount && term_ == TERM ? _receiptSigner : address(0);
    }

    /// @dev Every rule of PROTOCOL.md §4. The number comes first, so that a batch which is already committed always answers
    /// WrongNumber, whatever else differs. Reading each narrow field here also makes the decoder refuse dirty bits, which
    /// Batches.emitCommitted relies on.
    function _checkHeader(BatchHeader calldata header, uint16 lane, Head memory parent, bytes32 parentHash)
        private
        view
    {
        uint64 number = header.number;
        if (header.lane != lane) revert WrongLane(lane, header.lane);
        if (number != parent.number + 1) revert WrongNumber(parent.number + 1, number);
        if (header.term != TERM) revert WrongTerm(number, TERM, header.term);
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
