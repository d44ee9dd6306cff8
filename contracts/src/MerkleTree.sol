// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Merkle tree of RFC 9162 §2.1 over SHA-256
/// @notice With the size that belongs to a root, a leaf is proven at its own index only. Another size can turn a true proof
/// for one index into one for another, so the size comes from where the root comes from: under the same hash or signature.
/// @dev Leaf SHA256(0x00 ‖ data), node SHA256(0x01 ‖ left ‖ right); a lone node is promoted and never duplicated. Leaves
/// are made where their data is (Bundles).
library MerkleTree {
    /// @notice Hash of an inner node.
    /// @dev In assembly over one scratch buffer, which saves 186 gas a level against abi.encodePacked, which allocates each
    /// preimage: 3,712 of isIncluded for a bundle of 256 in a batch of 4,096.
    function nodeHash(bytes32 left, bytes32 right) internal view returns (bytes32 node) {
        assembly ("memory-safe") {
            // Above the free pointer, because the preimage of 65 bytes does not fit the 64 of the scratch space.
            let preimage := mload(0x40)
            mstore8(preimage, 1)
            mstore(add(preimage, 1), left)
            mstore(add(preimage, 33), right)
            // The precompile fails only for want of gas. Going on would take old memory for a hash.
            if iszero(staticcall(gas(), 2, preimage, 65, 0, 32)) { revert(0, 0) }
            node := mload(0)
        }
    }

    /// @notice Whether `leaf` is at `index` of the tree with this `size` and `root`. The empty tree includes nothing.
    /// @dev RFC 9162 §2.1.3.2. Never reverts: a path that is too short or too long is false, and one that is too long is
    /// read no further than the tree is high.
    /// @param leaf leaf hash
    /// @param index position of the leaf, from 0
    /// @param size number of leaves
    /// @param path siblings from the leaf up
    /// @param root root hash
    function verifyInclusion(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata path, bytes32 root)
        internal
        view
        returns (bool)
    {
        if (index >= size) return false;
        // Position of the node and of the level's last node; at the root, both are 0.
        uint256 last = size - 1;
        bytes32 node = leaf;
        for (uint256 i = 0; i < path.length; ++i) {
            if (last == 0) return false;
            if (index & 1 == 1) {
                node = nodeHash(path[i], node);
            } else if (index == last) {
                // The level's lone last node rises until it has a left sibling. It has one, as index is not 0 here.
                do {
                    index >>= 1;
                    last >>= 1;
                } while (index & 1 == 0);
                node = nodeHash(path[i], node);
            } else {
                node = nodeHash(node, path[i]);
            }
            index >>= 1;
            last >>= 1;
        }
        return last == 0 && node == root;
    }

    /// @notice Root over leaf hashes, at least one. Takes the array's memory for the levels above.
    function rootOf(bytes32[] memory leaves) internal view returns (bytes32) {
        for (uint256 size = leaves.length; size > 1; size = (size + 1) / 2) {
            for (uint256 i = 0; i + 1 < size; i += 2) {
                leaves[i / 2] = nodeHash(leaves[i], leaves[i + 1]);
            }
            // The level's lone last node is promoted.
            if (size & 1 == 1) leaves[size / 2] = leaves[size - 1];
        }
        return leaves[0];
    }
}
