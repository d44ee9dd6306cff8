// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Bundles} from "./Bundles.sol";
import {IInbox} from "./IInbox.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title The codec of framed bundles (PROTOCOL.md §3, §12)
library FramedBundles {
    uint256 private constant FRAME = 4;
    uint256 private constant HEADER_BYTES = 59;
    uint256 private constant SIGNATURE_BYTES = 65;
    /// @dev 0x00 ‖ topic(32).
    uint256 private constant MIN_MESSAGE_BYTES = 33;

    /// @notice What the contract needs of a bundle.
    /// @param sender not zero
    /// @param lane the lane of each of its messages
    /// @param expiry unix seconds
    /// @param structHash over messages that were hashed here
    struct Framed {
        address sender;
        uint16 lane;
        uint64 expiry;
        bytes32 structHash;
    }

    /// @notice Reads length(4) ‖ bundle, all of it.
    /// @dev Reverts with MalformedBundle and the offset in `framed` of what is not as it has to be.
    /// @return bundle what was signed
    /// @return signature 65 bytes, not judged
    function read(bytes calldata framed, uint16 laneCount)
        internal
        view
        returns (Framed memory bundle, bytes calldata signature)
    {
        _require(framed.length >= FRAME + HEADER_BYTES + SIGNATURE_BYTES, framed.length);
        _require(uint32(bytes4(framed)) == framed.length - FRAME, 0);
        uint256 end = framed.length - FRAME - SIGNATURE_BYTES;
        signature = framed[FRAME + end:];
        bytes calldata unsigned = framed[FRAME:FRAME + end];

        _require(unsigned[0] == 0x01, FRAME);
        bundle.lane = uint16(bytes2(unsigned[1:]));
        _require(bundle.lane < laneCount, FRAME + 1);
        bundle.sender = address(bytes20(unsigned[3:]));
        _require(bundle.sender != address(0), FRAME + 3);
        bundle.expiry = uint64(bytes8(unsigned[31:]));
        bundle.structHash = _structHash(unsigned, bundle, laneCount);
    }

    function _structHash(bytes calldata unsigned, Framed memory bundle, uint16 laneCount)
        private
        view
        returns (bytes32)
    {
        uint64 nonce = uint64(bytes8(unsigned[23:]));
        uint32 count = uint32(bytes4(unsigned[55:]));
        _require(count != 0 && count <= Bundles.MAX_MESSAGES, FRAME + 55);
        _require(nonce <= type(uint64).max - count, FRAME + 23);
        return keccak256(
            abi.encode(
                Bundles.TYPEHASH,
                bundle.sender,
                bundle.lane,
                nonce,
                bundle.expiry,
                uint128(bytes16(unsigned[39:])),
                count,
                _messagesRoot(unsigned, count, bundle.lane, laneCount)
            )
        );
    }

    function _messagesRoot(bytes calldata unsigned, uint32 count, uint16 lane, uint16 laneCount)
        private
        view
        returns (bytes32)
    {
        bytes32[] memory leaves = new bytes32[](count);
        uint256 offset = HEADER_BYTES;
        for (uint256 i = 0; i < count; ++i) {
            _require(offset + 4 <= unsigned.length, FRAME + offset);
            uint256 length = uint32(bytes4(unsigned[offset:]));
            _require(
                length >= MIN_MESSAGE_BYTES && length <= MIN_MESSAGE_BYTES + Bundles.MAX_PAYLOAD_BYTES
                    && offset + 4 + length <= unsigned.length,
                FRAME + offset
            );
            bytes calldata message = unsigned[offset + 4:offset + 4 + length];
            _require(message[0] == 0, FRAME + offset + 4);
            _require(Bundles.laneOf(bytes32(message[1:]), laneCount) == lane, FRAME + offset + 5);
            leaves[i] = sha256(message);
            offset += 4 + length;
        }
        _require(offset == unsigned.length, FRAME + offset);
        return MerkleTree.rootOf(leaves);
    }

    function _require(bool condition, uint256 offset) private pure {
        if (!condition) revert IInbox.MalformedBundle(offset);
    }
}
