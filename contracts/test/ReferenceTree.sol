// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title The definition of RFC 9162 §2.1.1 and §2.1.3.1, word for word
/// @notice Recursive, slow and obvious: the oracle for MerkleTree, which shares nothing with it.
library ReferenceTree {
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        return _root(leaves, 0, leaves.length);
    }

    /// @notice Siblings of leaf `index`, lowest first.
    function path(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory) {
        return _path(leaves, index, 0, leaves.length);
    }

    function _root(bytes32[] memory leaves, uint256 start, uint256 end) private pure returns (bytes32) {
        if (end == start) return sha256("");
        if (end - start == 1) return leaves[start];
        uint256 middle = start + _split(end - start);
        return sha256(abi.encodePacked(bytes1(0x01), _root(leaves, start, middle), _root(leaves, middle, end)));
    }

    function _path(bytes32[] memory leaves, uint256 index, uint256 start, uint256 end)
        private
        pure
        returns (bytes32[] memory siblings)
    {
        if (end - start == 1) return new bytes32[](0);
        uint256 middle = start + _split(end - start);
        return index < middle
            ? _append(_path(leaves, index, start, middle), _root(leaves, middle, end))
            : _append(_path(leaves, index, middle, end), _root(leaves, start, middle));
    }

    /// @dev The largest power of two smaller than n.
    function _split(uint256 n) private pure returns (uint256 k) {
        k = 1;
        while (k * 2 < n) k *= 2;
    }

    function _append(bytes32[] memory list, bytes32 value) private pure returns (bytes32[] memory longer) {
        longer = new bytes32[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = value;
    }
}
