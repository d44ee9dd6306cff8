// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, BundleFields, Opening} from "./IBatches.sol";
import {Bundles} from "./Bundles.sol";
import {IEvidence, Receipt, SignedReceipt} from "./IEvidence.sol";
import {MerkleTree} from "./MerkleTree.sol";
import {Operators} from "./Operators.sol";

/// @title Offences, demands and answers (PROTOCOL.md §7)
abstract contract Evidence is Operators, IEvidence {
    struct Demand {
        address demander;
        uint64 deadline;
        bool answered;
        /// The penalty was taken for this position of this term, for a demand or for a promise that its term broke.
        bool charged;
        /// The position was committed when it was demanded.
        bool committed;
        uint256 fee;
    }

    bytes32 private constant RECEIPT_TYPEHASH =
        keccak256("Receipt(uint16 lane,uint32 term,uint64 firstSequence,uint32 count,bytes32 root,uint64 includeBy)");
    /// @dev What an answer costs with a path of 20 and the smallest tip, rounded up.
    uint256 private constant ANSWER_GAS = 200_000;
    /// @dev Unanswered demands of a term that cost as much as a lie.
    uint24 private constant UNANSWERED_LIMIT = 3;

    mapping(uint16 lane => mapping(uint32 term => mapping(uint64 sequence => Demand))) private _demands;

    /// @inheritdoc IEvidence
    function proveEquivocation(uint64 sequence, SignedReceipt calldata one, SignedReceipt calldata other)
        external
        override
    {
        _verifyReceipt(sequence, one);
        _verifyReceipt(sequence, other);
        Receipt calldata receipt = one.receipt;
        if (receipt.lane != other.receipt.lane || receipt.term != other.receipt.term) {
            revert OtherTerm(other.receipt.lane, other.receipt.term);
        }
        if (one.entryHash == other.entryHash) revert SameLeaf(one.entryHash);
        _proven(receipt.lane, receipt.term, Offence.Equivocation, sequence);
    }

    /// @inheritdoc IEvidence
    function proveReplacement(
        uint64 sequence,
        SignedReceipt calldata promised,
        BatchHeader calldata header,
        bytes32 entryHash,
        bytes32[] calldata path
    ) external override {
        _verifyReceipt(sequence, promised);
        Receipt calldata receipt = promised.receipt;
        if (header.lane != receipt.lane || header.term != receipt.term) revert OtherTerm(header.lane, header.term);
        if (promised.entryHash == entryHash) revert SameLeaf(entryHash);
        if (sequence < header.firstSequence || sequence - header.firstSequence >= header.count) {
            revert NotInBatch(header.number, 0);
        }
        _verifyLeaf(header, uint32(sequence - header.firstSequence), entryHash, path);
        _proven(receipt.lane, receipt.term, Offence.Replacement, sequence);
    }

    /// @inheritdoc IEvidence
    function proveFalseEntry(Opening calldata entry, Opening[] calldata others) external override {
        bytes32 structHash = _verifyOpening(entry);
        uint64 sequence = entry.header.firstSequence + entry.index;
        bool isFalse;
        if (others.length == 0) {
            isFalse = _isFalseAlone(entry, sequence, structHash);
        } else if (others.length == 1) {
            _verifyOpening(others[0]);
            if (others[0].header.lane != entry.header.lane) revert OtherTerm(others[0].header.lane, 0);
            isFalse = _isFalseBeside(entry, sequence, structHash, others[0]);
        }
        if (!isFalse) revert EntryIsTrue(sequence);
        _proven(entry.header.lane, entry.header.term, Offence.FalseEntry, sequence);
    }

    /// @inheritdoc IEvidence
    function demandCommitted(BatchHeader calldata header, uint32 index) external payable override {
        if (!_isCommitted(header) || index >= header.count) revert NotInBatch(header.number, index);
        _demand(header.lane, header.term, header.firstSequence + index, true);
    }

    /// @inheritdoc IEvidence
    function demandPromised(uint64 sequence, SignedReceipt calldata promised) external payable override {
        _verifyReceipt(sequence, promised);
        Receipt calldata receipt = promised.receipt;
        uint16 lane = receipt.lane;
        bool runs = receipt.term == _lanes[lane].term && !_isOver(_terms[lane][receipt.term]);
        if (!runs || receipt.includeBy >= block.number || sequence < head[lane].nextSequence) {
            revert NotDue(sequence, receipt.includeBy);
        }
        _demand(lane, receipt.term, sequence, false);
    }

    /// @inheritdoc IEvidence
    function answer(Opening calldata entry) external override {
        BatchHeader calldata header = entry.header;
        uint64 sequence = header.firstSequence + entry.index;
        Demand storage demand = _demands[header.lane][header.term][sequence];
        if (demand.deadline == 0 || demand.answered || block.number > demand.deadline) revert NotDemanded(sequence);
        _verifyOpening(entry);
        demand.answered = true;
        owed[msg.sender] += demand.fee;
        demand.fee = 0;
        emit EntryOpened(header.lane, header.term, sequence, entry.void, entry.previous, entry.bundle);
    }

    /// @inheritdoc IEvidence
    function proveUnanswered(uint16 lane, uint32 term_, uint64 sequence) external override {
        Demand storage demand = _demands[lane][term_][sequence];
        if (!_isUnanswered(demand)) revert NotDemanded(sequence);
        uint256 fee = demand.fee;
        demand.fee = 0;
        owed[demand.demander] += fee;
        // The fee goes back even where nothing is left to charge.
        if (fee != 0 && (demand.charged || _terms[lane][term_].slashed)) return;
        _charge(lane, term_, sequence, Offence.Unanswered, demand.demander);
    }

    /// @inheritdoc IEvidence
    function proveBroken(uint64 sequence, SignedReceipt calldata promised) external override {
        _verifyReceipt(sequence, promised);
        Receipt calldata receipt = promised.receipt;
        Term storage kept = _terms[receipt.lane][receipt.term];
        bool isBroken =
            _isOver(kept) && sequence >= _endSequence(receipt.lane, receipt.term) && receipt.includeBy < kept.endBlock;
        if (!isBroken) revert NotBroken(sequence);
        _charge(receipt.lane, receipt.term, sequence, Offence.Broken, msg.sender);
    }

    /// @inheritdoc IEvidence
    function answerFee() public view override returns (uint256) {
        return ANSWER_GAS * block.basefee;
    }

    /// @inheritdoc IEvidence
    function demandOf(uint16 lane, uint32 term_, uint64 sequence)
        external
        view
        override
        returns (address demander, uint64 deadline, bool answered, bool charged, uint256 fee)
    {
        Demand storage demand = _demands[lane][term_][sequence];
        return (demand.demander, demand.deadline, demand.answered, demand.charged, demand.fee);
    }

    /// @dev Whether an entry's leaf contradicts itself.
    function _isFalseAlone(Opening calldata entry, uint64 sequence, bytes32 structHash) private view returns (bool) {
        if (entry.void > 1 || entry.previous > sequence) return true;
        bool isValid = _isValid(entry, structHash);
        // Whatever its nonce: only a valid bundle may count.
        if (entry.void == 0 && !isValid) return true;
        // Without an entry before it the next nonce is 0.
        return entry.previous == 0 && (entry.void == 0) != (isValid && entry.bundle.nonce == 0);
    }

    /// @dev Whether another entry of the lane shows that an entry's leaf is false.
    function _isFalseBeside(Opening calldata entry, uint64 sequence, bytes32 structHash, Opening calldata other)
        private
        view
        returns (bool)
    {
        uint64 otherSequence = other.header.firstSequence + other.index;
        bool counts = other.void == 0 && other.bundle.sender == entry.bundle.sender;
        // A later one of the sender than the one that is named, if there is any that is named.
        if (otherSequence >= entry.previous) return otherSequence < sequence && counts;
        if (otherSequence != entry.previous - 1) return false;
        if (!counts) return true;
        bool isNext = uint256(entry.bundle.nonce) == uint256(other.bundle.nonce) + other.bundle.count;
        return (entry.void == 0) != (isNext && _isValid(entry, structHash));
    }

    /// @dev Everything of §6 but the nonce: signature, lane and count.
    function _isValid(Opening calldata entry, bytes32 structHash) private view returns (bool) {
        BundleFields calldata bundle = entry.bundle;
        if (bundle.lane != entry.header.lane || bundle.count == 0 || bundle.count > Bundles.MAX_MESSAGES) return false;
        if (bundle.nonce > type(uint64).max - bundle.count) return false;
        address signer = Bundles.recover(Bundles.digest(domainSeparator(), structHash), bundle.signature);
        return signer != address(0) && signer == bundle.sender;
    }

    function _verifyReceipt(uint64 sequence, SignedReceipt calldata signed) private view {
        Receipt calldata receipt = signed.receipt;
        bytes32 structHash = keccak256(
            abi.encode(
                RECEIPT_TYPEHASH,
                receipt.lane,
                receipt.term,
                receipt.firstSequence,
                receipt.count,
                receipt.root,
                receipt.includeBy
            )
        );
        address signer = Bundles.recover(Bundles.digest(domainSeparator(), structHash), signed.signature);
        if (signer == address(0) || !isReceiptSigner(receipt.lane, receipt.term, signer)) {
            revert NotReceiptSigner(receipt.lane, receipt.term, signer);
        }
        uint256 first = receipt.firstSequence;
        if (
            sequence < _terms[receipt.lane][receipt.term].firstSequence || sequence < first
                || !MerkleTree.verifyInclusion(
                    signed.entryHash, sequence - first, receipt.count, signed.path, receipt.root
                )
        ) revert NotInReceipt(sequence);
    }

    /// @dev That the entry is where it says in a committed batch, and may be cited.
    /// @return structHash of its bundle
    function _verifyOpening(Opening calldata entry) internal view returns (bytes32 structHash) {
        BundleFields calldata bundle = entry.bundle;
        structHash = Bundles.structHash(bundle);
        bytes32 bundleHash = Bundles.bundleHash(bundle.sender, structHash, bundle.signature);
        _verifyLeaf(entry.header, entry.index, Bundles.entryHash(entry.void, entry.previous, bundleHash), entry.path);
    }

    function _verifyLeaf(BatchHeader calldata header, uint32 index, bytes32 entryHash, bytes32[] calldata path)
        private
        view
    {
        bool isThere = _isCommitted(header)
            && MerkleTree.verifyInclusion(entryHash, index, header.count, path, header.bundlesRoot);
        if (!isThere) revert NotInBatch(header.number, index);
        uint64 sequence = header.firstSequence + index;
        Demand storage demand = _demands[header.lane][header.term][sequence];
        if (demand.committed && _isUnanswered(demand)) revert Withheld(header.lane, header.term, sequence);
    }

    function _demand(uint16 lane, uint32 term_, uint64 sequence, bool committed) private {
        if (msg.value < answerFee()) revert AnswerFeeTooSmall(answerFee(), msg.value);
        Demand storage demand = _demands[lane][term_][sequence];
        // Once. But what was demanded by a receipt, was charged and is committed after all is demanded anew: else nobody could make
        // an entry that is withheld useless against those who come later.
        if (demand.deadline != 0 && (!committed || demand.committed || demand.fee != 0 || !_isUnanswered(demand))) {
            revert AlreadyDemanded(sequence);
        }
        demand.demander = msg.sender;
        demand.deadline = uint64(block.number) + answerDelay;
        demand.committed = committed;
        demand.fee = msg.value;
        emit EntryDemanded(lane, term_, sequence, msg.sender, demand.deadline, msg.value);
    }

    function _isUnanswered(Demand storage demand) private view returns (bool) {
        return demand.deadline != 0 && !demand.answered && block.number > demand.deadline;
    }

    /// @dev Offence 4.
    function _charge(uint16 lane, uint32 term_, uint64 sequence, Offence offence, address reporter) private {
        Demand storage demand = _demands[lane][term_][sequence];
        Term storage kept = _terms[lane][term_];
        if (demand.charged || kept.slashed) revert AlreadyCharged(lane, term_);
        demand.charged = true;
        if (++kept.unanswered >= UNANSWERED_LIMIT) _slash(lane, term_, reporter);
        else _takeBond(lane, term_, penalty, reporter);
        emit OffenceProven(lane, term_, offence, sequence, reporter);
    }

    /// @dev Offences 1 to 3.
    function _proven(uint16 lane, uint32 term_, Offence offence, uint64 sequence) private {
        if (_terms[lane][term_].slashed) revert AlreadyCharged(lane, term_);
        _slash(lane, term_, msg.sender);
        emit OffenceProven(lane, term_, offence, sequence, msg.sender);
    }
}
