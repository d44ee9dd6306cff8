// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, BundleFields, Opening} from "./IBatches.sol";

/// @notice What a sequencer signs once a commit group (PROTOCOL.md §7).
/// @param lane lane of the group
/// @param term which sequencer of the lane
/// @param firstSequence sequence of the group's first entry
/// @param count entries in the group, at least 1
/// @param root Merkle root over the group's entryHashes, in sequence order
/// @param includeBy newest L1 block that may commit them
struct Receipt {
    uint16 lane;
    uint32 term;
    uint64 firstSequence;
    uint32 count;
    bytes32 root;
    uint64 includeBy;
}

/// @notice A receipt as a client keeps it, for one entry.
/// @param receipt the statement
/// @param signature r(32) ‖ s(32) ‖ v(1) over the statement's EIP-712 digest
/// @param entryHash the entry's leaf: any 32 bytes, nobody asks what they are the hash of
/// @param path from the entryHash to receipt.root, at index sequence - receipt.firstSequence, lowest sibling first
struct SignedReceipt {
    Receipt receipt;
    bytes signature;
    bytes32 entryHash;
    bytes32[] path;
}

/// @title Offences and how they are proven (PROTOCOL.md §7)
/// @notice Everything is decided by signed statements, committed leaves and this contract's own state; by anybody, against the
/// operator of the receipt's or header's term. Offences 1 to 3 take the whole bond, once a term, and end the operator's
/// running term; offence 4 takes the penalty, once a position of a term, and the third in a term is as one of the others.
/// A tenth goes to the reporter, the rest is burned.
interface IEvidence {
    /// @notice What was proven.
    enum Offence {
        Equivocation,
        Replacement,
        FalseEntry,
        Unanswered,
        Broken
    }

    /// @notice An offence was proven.
    event OffenceProven(
        uint16 indexed lane, uint32 indexed term, Offence indexed offence, uint64 sequence, address reporter
    );
    /// @notice Somebody paid for an entry to be opened: by `answer`, in a block not above the deadline.
    /// @param fee wei for whoever answers
    event EntryDemanded(
        uint16 indexed lane,
        uint32 indexed term,
        uint64 indexed sequence,
        address demander,
        uint64 deadline,
        uint256 fee
    );
    /// @notice A demand was answered: here is the entry, of a batch that BatchCommitted told of.
    event EntryOpened(
        uint16 indexed lane,
        uint32 indexed term,
        uint64 indexed sequence,
        uint8 void,
        uint64 previous,
        BundleFields bundle
    );

    /// @notice The receipt's signature is of no account whose receipts bind the operator of the term.
    error NotReceiptSigner(uint16 lane, uint32 term, address got);
    /// @notice The receipt does not hold this leaf at this sequence, or begins below its term.
    error NotInReceipt(uint64 sequence);
    /// @notice The batch is not committed, or the leaf is not in it there.
    error NotInBatch(uint64 number, uint32 index);
    /// @notice The two are of different lanes or terms.
    error OtherTerm(uint16 lane, uint32 term);
    /// @notice The two agree: that is no offence.
    error SameLeaf(bytes32 entryHash);
    /// @notice The entry is as it has to be, or the other entry, or more than one, says nothing of it.
    error EntryIsTrue(uint64 sequence);
    /// @notice The position was demanded and not opened in time: no evidence cites it.
    error Withheld(uint16 lane, uint32 term, uint64 sequence);
    /// @notice The bond was taken for this term already, or the penalty for this position.
    error AlreadyCharged(uint16 lane, uint32 term);
    /// @notice The position is demanded already, or was.
    error AlreadyDemanded(uint64 sequence);
    /// @notice There is no open demand for the position.
    error NotDemanded(uint64 sequence);
    /// @notice A demand pays whoever answers at least `min` wei.
    error AnswerFeeTooSmall(uint256 min, uint256 got);
    /// @notice Only what was promised in the lane's running term, is due and is not committed can be demanded by a receipt.
    error NotDue(uint64 sequence, uint64 includeBy);
    /// @notice The promise is not broken: its term runs, the entry is committed, or it was not due when the term ended.
    error NotBroken(uint64 sequence);

    /// @notice Offence 1: two receipts of a term with different leaves at one sequence.
    function proveEquivocation(uint64 sequence, SignedReceipt calldata one, SignedReceipt calldata other) external;

    /// @notice Offence 2: a receipt, and a batch of its term with another leaf at that sequence.
    /// @param entryHash the leaf that is in the batch; any 32 bytes
    /// @param path from it to header.bundlesRoot
    function proveReplacement(
        uint64 sequence,
        SignedReceipt calldata promised,
        BatchHeader calldata header,
        bytes32 entryHash,
        bytes32[] calldata path
    ) external;

    /// @notice Offence 3: a leaf that is false.
    /// @dev Alone, an entry is false whose void byte is neither 0 nor 1, or is 0 on a bad signature, lane or count; whose
    /// `previous` is not earlier; or, where `previous` is 0, whose void byte contradicts its nonce. By another entry it is
    /// false if that is the one `previous` names and it is void, or of another sender, or the nonce after it contradicts
    /// the void byte; or if that is a later one of the sender than the one `previous` names.
    /// @param entry the false one, in a batch of the term that is charged
    /// @param others none, or the entry that shows it, in any committed batch of the lane
    function proveFalseEntry(Opening calldata entry, Opening[] calldata others) external;

    /// @notice Demands that a committed entry be opened. Payable: the fee for whoever answers, at least `answerFee`.
    /// @dev Once a position; once more if it was demanded by a receipt, that demand is settled by proveUnanswered and the entry was
    /// committed after it. The penalty stays one.
    function demandCommitted(BatchHeader calldata header, uint32 index) external payable;

    /// @notice Demands an entry that was promised in the running term, is due and not committed. Payable as demandCommitted.
    function demandPromised(uint64 sequence, SignedReceipt calldata promised) external payable;

    /// @notice Answers a demand, and earns its fee; by anybody who has the entry.
    function answer(Opening calldata entry) external;

    /// @notice Offence 4: a demand that nobody answered in time. The fee goes back to who demanded, and the reward, too.
    function proveUnanswered(uint16 lane, uint32 term_, uint64 sequence) external;

    /// @notice Offence 4 at once: a term ended without the entry, whose receipt was due before.
    function proveBroken(uint64 sequence, SignedReceipt calldata promised) external;

    /// @notice The least that a demand pays in this block, in wei.
    function answerFee() external view returns (uint256);

    /// @notice A demand. Zeros where there was none; a fee of 0 and a deadline where it is settled.
    /// @return demander who demanded
    /// @return deadline the last block of the answer
    /// @return answered whether it was answered
    /// @return charged whether the penalty was taken for the position
    /// @return fee wei for whoever answers
    function demandOf(uint16 lane, uint32 term_, uint64 sequence)
        external
        view
        returns (address demander, uint64 deadline, bool answered, bool charged, uint256 fee);
}
