// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @notice A batch: a contiguous range of a lane's sequence (PROTOCOL.md §4).
/// @param lane the lane, below laneCount
/// @param term which sequencer of the lane, from 1
/// @param number 1, 2, 3 … per lane; 0 is the empty genesis, whose batchHash is 0
/// @param parentHash batchHash of number - 1
/// @param firstSequence sequence of leaf 0
/// @param count entries in the batch, 1 to 1,048,576
/// @param bundlesRoot Merkle root over the entryHashes, in sequence order
/// @param inboxCount forced bundles consumed so far on this lane, cumulative
/// @param timestamp acceptance time of the first bundle, unix seconds
/// @param dataHash SHA-256 digest of the batch file's root block (§5)
struct BatchHeader {
    uint16 lane;
    uint32 term;
    uint64 number;
    bytes32 parentHash;
    uint64 firstSequence;
    uint32 count;
    bytes32 bundlesRoot;
    uint64 inboxCount;
    uint64 timestamp;
    bytes32 dataHash;
}

/// @notice A bundle without its messages: what its sender signed (PROTOCOL.md §3).
/// @param sender account that signs
/// @param lane the bundle's lane
/// @param nonce nonce of the bundle's first message
/// @param expiry unix seconds
/// @param postage cumulative wei the sender owes on this lane after this bundle
/// @param count number of messages, 1 to 4,096
/// @param messagesRoot Merkle root over the message leaves, in order
/// @param signature r(32) ‖ s(32) ‖ v(1) over the EIP-712 digest, v in {27, 28}, low s
struct BundleFields {
    address sender;
    uint16 lane;
    uint64 nonce;
    uint64 expiry;
    uint128 postage;
    uint32 count;
    bytes32 messagesRoot;
    bytes signature;
}

/// @notice Everything needed to go from a message to the storage slot of its batch (PROTOCOL.md §9).
/// @param topic routing label of the message
/// @param payload ciphertext, at most 65,536 bytes
/// @param messageIndex position of the message in its bundle
/// @param messagePath from the message's leaf to bundle.messagesRoot, lowest sibling first
/// @param bundle the bundle the message is in
/// @param void the sequencer's claim that the entry is void; 0 in every true proof
/// @param previous the sequencer's claim: 1 + sequence of the sender's latest non-void entry, 0 if there is none
/// @param bundleIndex position of the entry in its batch; its sequence is header.firstSequence + bundleIndex
/// @param bundlePath from the entryHash to header.bundlesRoot, lowest sibling first
/// @param header the batch the entry is in
struct MessageProof {
    bytes32 topic;
    bytes payload;
    uint32 messageIndex;
    bytes32[] messagePath;
    BundleFields bundle;
    uint8 void;
    uint64 previous;
    uint32 bundleIndex;
    bytes32[] bundlePath;
    BatchHeader header;
}

/// @notice An entry of a committed batch, opened: all that its leaf is made of, and its way to the slot.
/// @param header the batch the entry is in
/// @param index position of the entry in its batch; its sequence is header.firstSequence + index
/// @param void the sequencer's claim that the entry is void: 0 or 1 in every true leaf
/// @param previous the sequencer's claim: 1 + sequence of the sender's latest non-void entry, 0 if there is none
/// @param bundle the bundle of the entry
/// @param path from the entryHash to header.bundlesRoot, lowest sibling first
struct Opening {
    BatchHeader header;
    uint32 index;
    uint8 void;
    uint64 previous;
    BundleFields bundle;
    bytes32[] path;
}

/// @notice Where a commit has put the next entry of the inbox (PROTOCOL.md §8).
/// @param header which header of the call, from 0
/// @param index position of the entry in that batch
/// @param void the entry's void byte
/// @param previous the entry's link
/// @param path from the entryHash to the header's bundlesRoot, lowest sibling first
struct ForcedEntry {
    uint32 header;
    uint32 index;
    uint8 void;
    uint64 previous;
    bytes32[] path;
}

/// @title The committed log (PROTOCOL.md §4, §8, §9)
/// @notice Keeps the batchHash of every committed batch, for ever: once `batchHash(lane, number)` is not 0 it never
/// changes, and each batch names its parent, so one slot fixes the lane's whole past.
/// @dev Storage, for readers of slots (eth_getProof): batchHash(lane, number) stands at
/// keccak256(abi.encode(number, keccak256(abi.encode(lane, 0)))), and the head of a lane at keccak256(abi.encode(lane, 1)) as
/// number | nextSequence << 64 | timestamp << 128 | inboxCount << 192.
interface IBatches {
    /// @notice A batch was committed. Its header is here in full; storage keeps the hash only.
    /// @param lane lane of the batch
    /// @param number number of the batch on its lane
    /// @param batchHash keccak256(abi.encode(header))
    /// @param header the header as it was committed
    event BatchCommitted(uint16 indexed lane, uint64 indexed number, bytes32 indexed batchHash, BatchHeader header);

    /// @notice A commit carries 1 to `max` batches.
    error BatchesOutOfBounds(uint256 max, uint256 got);
    /// @notice Lanes are numbered from 0; the contract has `laneCount` of them.
    error UnknownLane(uint16 laneCount, uint16 got);
    /// @notice Only the lane's posting account commits.
    error NotPoster(address expected, address got);
    /// @notice All batches of one commit are of the first one's lane.
    error WrongLane(uint16 expected, uint16 got);
    /// @notice Batches are numbered without gaps. A batch that is already committed is answered by this error, too.
    error WrongNumber(uint64 expected, uint64 got);
    /// @notice The header names a term that is not the lane's current one.
    error WrongTerm(uint64 number, uint32 expected, uint32 got);
    /// @notice The header does not name its parent.
    error WrongParentHash(uint64 number, bytes32 expected, bytes32 got);
    /// @notice The header does not start where its parent ends.
    error WrongFirstSequence(uint64 number, uint64 expected, uint64 got);
    /// @notice A batch has 1 to `max` entries.
    error CountOutOfBounds(uint64 number, uint32 max, uint32 got);
    /// @notice The header claims to have consumed another number of forced bundles than were enqueued and taken.
    error WrongInboxCount(uint64 number, uint64 expected, uint64 got);
    /// @notice The header is older than its parent.
    error TimestampTooEarly(uint64 number, uint64 min, uint64 got);
    /// @notice The header is newer than this block; the same commit can succeed in a later one.
    error TimestampTooLate(uint64 number, uint64 max, uint64 got);

    /// @notice The inbox's next entries stand in the batches in the inbox's order; this one is named out of order, beyond the inbox
    /// or in no header of the call.
    error ForcedEntryOutOfOrder(uint256 entry);
    /// @notice The batch does not have the inbox's next entry at this index.
    error ForcedEntryNotInBatch(uint256 entry, uint64 inboxIndex);
    /// @notice The oldest entry of the inbox is past its deadline: the commit must consume it, or 64 entries.
    error ForcedEntryOverdue(uint64 inboxIndex, uint64 deadline);

    /// @notice Commits 1 to 255 consecutive batches of one lane, all or none (PROTOCOL.md §4), and consumes entries of its inbox (§8).
    /// @dev Only by `poster(lane)`. Each header is held against its parent: the committed head for the first one, the header
    /// before it for the others. What a header's roots stand for is not checked here: everybody can check it, from the batch
    /// file, and prove what is false in it (IEvidence).
    /// @param headers the batches, in order
    /// @param entries where the batches have the inbox's next entries, in the inbox's order
    function commit(BatchHeader[] calldata headers, ForcedEntry[] calldata entries) external;
    /// @notice Whether the message is in the log, signed by `proof.bundle.sender`, in a committed batch, neither void
    /// nor expired: everything of PROTOCOL.md §9.
    /// @dev Answers false, and does not revert, for any well-formed calldata; it reverts only where the ABI decoder
    /// refuses the calldata or the gas runs out. A committed batch says nothing of finality: the caller chooses the block.
    /// @param proof the message and its way to the slot
    /// @return included true only if every check holds
    function isIncluded(MessageProof calldata proof) external view returns (bool included);

    /// @notice Hash of a committed batch: keccak256(abi.encode(header)).
    /// @param lane lane of the batch; for lanes that do not exist the answer is 0
    /// @param number number of the batch on its lane
    /// @return hash the hash; 0 where nothing is committed, and for the genesis, number 0
    function batchHash(uint16 lane, uint64 number) external view returns (bytes32 hash);

    /// @notice How far a lane is committed. Zeros for an empty lane, and for lanes that do not exist. One storage slot.
    /// @param lane the lane
    /// @return number number of the newest batch
    /// @return nextSequence sequence of the next batch's first entry = number of entries committed
    /// @return timestamp timestamp of the newest batch
    /// @return inboxCount forced bundles consumed
    function head(uint16 lane)
        external
        view
        returns (uint64 number, uint64 nextSequence, uint64 timestamp, uint64 inboxCount);
}
