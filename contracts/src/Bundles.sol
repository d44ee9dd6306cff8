// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BundleFields} from "./IBatches.sol";

/// @title Messages, bundles and their entries in the log (PROTOCOL.md §2, §3, §12)
library Bundles {
    /// @notice Most messages of a bundle (§3).
    uint32 internal constant MAX_MESSAGES = 4096;
    /// @notice Longest payload, in bytes (§2).
    uint256 internal constant MAX_PAYLOAD_BYTES = 65_536;
    /// @notice Type hash of the struct that senders sign (§3).
    bytes32 internal constant TYPEHASH = keccak256(
        "Bundle(address sender,uint16 lane,uint64 nonce,uint64 expiry,uint128 postage,uint32 count,bytes32 messagesRoot)"
    );
    /// @dev Half the order of secp256k1; a signature with a higher s is the malleated copy of another (EIP-2).
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The one lane of a topic (§12). `laneCount` is not 0.
    function laneOf(bytes32 topic, uint16 laneCount) internal pure returns (uint16) {
        return uint16(bytes2(topic)) % laneCount;
    }

    /// @notice Leaf of a message in its bundle's tree: SHA-256 of the encoded message, whose leading 0x00 is RFC 9162's
    /// leaf prefix (§2).
    function messageLeaf(bytes32 topic, bytes calldata payload) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), topic, payload));
    }

    /// @notice EIP-712 hashStruct of the bundle (§3).
    function structHash(BundleFields calldata bundle) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                TYPEHASH,
                bundle.sender,
                bundle.lane,
                bundle.nonce,
                bundle.expiry,
                bundle.postage,
                bundle.count,
                bundle.messagesRoot
            )
        );
    }

    /// @notice What is signed: the EIP-712 digest of a struct in a domain.
    function digest(bytes32 domainSeparator, bytes32 structHash_) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash_));
    }

    /// @notice The account whose signature this is, or the zero address for anything but 65 bytes r ‖ s ‖ v with v in {27, 28}
    /// and low s that recover (§1).
    /// @dev Never reverts. The form is judged before recovering, as ecrecover accepts high s.
    function recover(bytes32 digest_, bytes calldata signature) internal pure returns (address) {
        if (signature.length != 65) return address(0);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) return address(0);
        return ecrecover(digest_, v, bytes32(signature[0:32]), s);
    }

    /// @notice Identity of the bundle: SHA256(0x00 ‖ sender ‖ structHash ‖ signature) (§3).
    function bundleHash(address sender, bytes32 structHash_, bytes calldata signature) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), sender, structHash_, signature));
    }

    /// @notice Leaf of the bundle in its batch's tree: SHA256(0x00 ‖ void ‖ previous ‖ bundleHash) (§3).
    function entryHash(uint8 void, uint64 previous, bytes32 bundleHash_) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), void, previous, bundleHash_));
    }
}
