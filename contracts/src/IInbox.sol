// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Forced inclusion: the way into the log past a sequencer that does not listen (PROTOCOL.md §8)
interface IInbox {
    /// @notice A bundle is in a lane's inbox.
    /// @param lane the bundle's lane
    /// @param index its place in the inbox, from 0
    /// @param sender who signed it
    /// @param bundleHash its identity
    /// @param deadline the last block that may commit without it
    /// @param framed its bytes as they were sent: length(4) ‖ bundle
    event BundleForced(
        uint16 indexed lane,
        uint64 indexed index,
        address indexed sender,
        bytes32 bundleHash,
        uint64 deadline,
        bytes framed
    );

    /// @notice The bytes are no framed bundle of §3, or not one of this contract's lanes: at this offset something else was expected.
    error MalformedBundle(uint256 offset);
    /// @notice A framed bundle of the inbox has at most `max` bytes.
    error BundleTooLong(uint256 max, uint256 got);
    /// @notice The signature does not recover to the sender.
    error BadSignature(address sender, address got);
    /// @notice The bundle would expire in the queue.
    error ExpiresTooSoon(uint256 min, uint64 got);
    /// @notice Too little was sent: `consumer` wei for whoever consumes the entry and `burned` wei.
    error FeeTooSmall(uint256 consumer, uint256 burned, uint256 got);

    /// @notice Puts a framed bundle at the end of its lane's inbox. From its deadline on no commit is taken that leaves it out.
    /// @dev Payable: `forcedFee(lane)`; what is sent beyond it becomes a payout of the caller.
    /// @param framed length(4) ‖ bundle, at most 98,304 bytes
    function forceInclude(bytes calldata framed) external payable;

    /// @notice What forceInclude costs in this block: wei for whoever consumes the entry, and wei burned.
    function forcedFee(uint16 lane) external view returns (uint256 consumer, uint256 burned);

    /// @notice How many bundles were ever enqueued on a lane.
    function inboxLength(uint16 lane) external view returns (uint64);

    /// @notice A bundle in the inbox; zeros once it is consumed.
    /// @return bundleHash its identity
    /// @return deadline the last block that may commit without it
    /// @return fee wei for whoever consumes it
    function inbox(uint16 lane, uint64 index) external view returns (bytes32 bundleHash, uint64 deadline, uint128 fee);

    /// @notice Whether the entry at a sequence came out of the inbox.
    function isForced(uint16 lane, uint64 sequence) external view returns (bool);
}
