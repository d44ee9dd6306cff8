// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {MerkleTree} from "../src/MerkleTree.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {Test} from "./Test.sol";
import {vm} from "../script/Vm.sol";

contract MerkleTreeTest is Test {
    function verify(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata path, bytes32 root)
        external
        view
        returns (bool)
    {
        return MerkleTree.verifyInclusion(leaf, index, size, path, root);
    }

    function test_NodeHashIsSha256OfPrefixLeftRight() public view {
        bytes32 left = keccak256("left");
        bytes32 right = keccak256("right");
        vm.assertEq(
            MerkleTree.nodeHash(left, right), sha256(abi.encodePacked(bytes1(0x01), left, right)), "node hash differs"
        );
    }

    function test_NodeHashLeavesAllocatedMemoryAlone() public view {
        bytes memory before = "allocated before";
        MerkleTree.nodeHash(keccak256("left"), keccak256("right"));
        bytes memory later = new bytes(96);
        vm.assertEq(before, bytes("allocated before"), "memory below the free pointer was written");
        vm.assertEq(later.length, 96, "memory after the hash is not usable");
    }

    function test_EmptyTreeIncludesNothing() public view {
        vm.assertFalse(this.verify(sha256(""), 0, 0, new bytes32[](0), sha256("")), "empty tree included its root");
    }

    function test_EveryLeafOfEverySizeTo20() public view {
        for (uint256 size = 1; size <= 20; ++size) {
            bytes32[] memory leaves = _leaves(size, size);
            bytes32 root = ReferenceTree.root(leaves);
            for (uint256 index = 0; index < size; ++index) {
                bytes32[] memory path = ReferenceTree.path(leaves, index);
                for (uint256 claimed = 0; claimed <= size; ++claimed) {
                    bool valid = this.verify(leaves[index], claimed, size, path, root);
                    if (claimed == index) vm.assertTrue(valid, "true proof refused");
                    else vm.assertFalse(valid, "proof held at another index");
                }
            }
        }
    }

    /// forge-config: default.fuzz.runs = 128
    function testFuzz_AgreesWithTheReference(uint256 seed, uint256 size, uint256 index) public view {
        size = bound(size, 1, 600);
        index = bound(index, 0, size - 1);
        bytes32[] memory leaves = _leaves(seed, size);
        bytes32 root = ReferenceTree.root(leaves);
        bytes32[] memory path = ReferenceTree.path(leaves, index);
        vm.assertTrue(this.verify(leaves[index], index, size, path, root), "true proof refused");
    }

    function testFuzz_CorruptionIsRefused(uint256 seed, uint256 size, uint256 index, uint256 part, bytes32 change)
        public
        view
    {
        vm.assume(change != 0);
        size = bound(size, 1, 100);
        index = bound(index, 0, size - 1);
        bytes32[] memory leaves = _leaves(seed, size);
        bytes32 root = ReferenceTree.root(leaves);
        bytes32[] memory path = ReferenceTree.path(leaves, index);
        bytes32 leaf = leaves[index];

        part = bound(part, 0, path.length + 1);
        if (part < path.length) path[part] ^= change;
        else if (part == path.length) leaf ^= change;
        else root ^= change;
        vm.assertFalse(this.verify(leaf, index, size, path, root), "corrupted proof held");
    }

    function testFuzz_PathOfWrongLengthIsRefused(uint256 seed, uint256 size, uint256 index, uint256 length)
        public
        view
    {
        size = bound(size, 1, 100);
        index = bound(index, 0, size - 1);
        bytes32[] memory leaves = _leaves(seed, size);
        bytes32[] memory path = ReferenceTree.path(leaves, index);
        length = bound(length, 0, 40);
        vm.assume(length != path.length);
        bytes32[] memory other = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) {
            other[i] = i < path.length ? path[i] : bytes32(seed);
        }
        vm.assertFalse(
            this.verify(leaves[index], index, size, other, ReferenceTree.root(leaves)), "path of wrong length held"
        );
    }

    function testFuzz_NeverReverts(bytes32 leaf, uint256 index, uint256 size, bytes32[] memory path, bytes32 root)
        public
        view
    {
        vm.assume(leaf != root);
        vm.assertFalse(this.verify(leaf, index, size, path, root), "junk held");
        vm.assertFalse(this.verify(leaf, type(uint256).max - 1, type(uint256).max, path, root), "junk held");
    }

    function _leaves(uint256 seed, uint256 size) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = keccak256(abi.encode(seed, i));
        }
    }
}
