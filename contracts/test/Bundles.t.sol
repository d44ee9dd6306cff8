// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Bundles} from "../src/Bundles.sol";
import {BundleFields} from "../src/IBatches.sol";
import {Test} from "./Test.sol";
import {vm} from "../script/Vm.sol";

contract BundlesTest is Test {
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function recover(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return Bundles.recover(digest, signature);
    }

    function messageLeaf(bytes32 topic, bytes calldata payload) external pure returns (bytes32) {
        return Bundles.messageLeaf(topic, payload);
    }

    function structHash(BundleFields calldata bundle) external pure returns (bytes32) {
        return Bundles.structHash(bundle);
    }

    function bundleHash(address sender, bytes32 structHash_, bytes calldata signature) external pure returns (bytes32) {
        return Bundles.bundleHash(sender, structHash_, signature);
    }

    function testFuzz_LaneIsTheTopicsFirstTwoBytesModLaneCount(bytes32 topic, uint16 laneCount) public pure {
        vm.assume(laneCount != 0);
        uint256 firstTwo = uint256(uint8(topic[0])) * 256 + uint8(topic[1]);
        vm.assertEq(Bundles.laneOf(topic, laneCount), firstTwo % laneCount, "lane differs");
    }

    function testFuzz_MessageLeaf(bytes32 topic, bytes memory payload) public view {
        vm.assertEq(this.messageLeaf(topic, payload), sha256(bytes.concat(hex"00", topic, payload)), "leaf differs");
    }

    function testFuzz_StructHash(BundleFields memory bundle) public view {
        bytes32 typeHash = keccak256(
            "Bundle(address sender,uint16 lane,uint64 nonce,uint64 expiry,uint128 postage,uint32 count,bytes32 messagesRoot)"
        );
        bytes32 expected = keccak256(
            bytes.concat(
                typeHash,
                bytes32(uint256(uint160(bundle.sender))),
                bytes32(uint256(bundle.lane)),
                bytes32(uint256(bundle.nonce)),
                bytes32(uint256(bundle.expiry)),
                bytes32(uint256(bundle.postage)),
                bytes32(uint256(bundle.count)),
                bundle.messagesRoot
            )
        );
        vm.assertEq(this.structHash(bundle), expected, "struct hash differs");
    }

    function testFuzz_DigestAgreesWithOpenZeppelin(bytes32 domainSeparator, bytes32 structHash_) public pure {
        vm.assertEq(
            Bundles.digest(domainSeparator, structHash_),
            MessageHashUtils.toTypedDataHash(domainSeparator, structHash_),
            "digest differs"
        );
    }

    function testFuzz_BundleAndEntryHash(
        address sender,
        bytes32 structHash_,
        bytes memory signature,
        uint8 void,
        uint64 previous
    ) public view {
        bytes32 hash = this.bundleHash(sender, structHash_, signature);
        vm.assertEq(hash, sha256(bytes.concat(hex"00", bytes20(sender), structHash_, signature)), "bundle hash differs");
        vm.assertEq(
            Bundles.entryHash(void, previous, hash),
            sha256(bytes.concat(hex"00", bytes1(void), bytes8(previous), hash)),
            "entry hash differs"
        );
    }

    function testFuzz_RecoversTheSigner(uint256 privateKey, bytes32 digest) public view {
        privateKey = bound(privateKey, 1, ORDER - 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(privateKey, digest);
        vm.assertEq(this.recover(digest, abi.encodePacked(r, s, v)), vm.addr(privateKey), "signer differs");
    }

    function testFuzz_RefusesHighS(uint256 privateKey, bytes32 digest) public view {
        privateKey = bound(privateKey, 1, ORDER - 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(privateKey, digest);
        bytes32 highS = bytes32(ORDER - uint256(s));
        // The precompile takes it: the refusal is ours.
        vm.assertEq(ecrecover(digest, v ^ 7, r, highS), vm.addr(privateKey), "not the malleated copy");
        vm.assertEq(this.recover(digest, abi.encodePacked(r, highS, v ^ 7)), address(0), "high s recovered");
    }

    function testFuzz_RefusesEveryOtherV(uint256 privateKey, bytes32 digest, uint8 v) public view {
        vm.assume(v != 27 && v != 28);
        privateKey = bound(privateKey, 1, ORDER - 1);
        (, bytes32 r, bytes32 s) = vm.sign(privateKey, digest);
        vm.assertEq(this.recover(digest, abi.encodePacked(r, s, v)), address(0), "v recovered");
    }

    function testFuzz_RefusesEveryOtherLength(uint256 privateKey, bytes32 digest, uint256 length) public view {
        privateKey = bound(privateKey, 1, ORDER - 1);
        length = bound(length, 0, 200);
        vm.assume(length != 65);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(privateKey, digest);
        bytes memory signature = abi.encodePacked(r, s, v, new bytes(135));
        assembly ("memory-safe") {
            mstore(signature, length)
        }
        vm.assertEq(this.recover(digest, signature), address(0), "length recovered");
    }

    function testFuzz_JunkAgreesWithOpenZeppelin(bytes32 digest, bytes32 r, uint256 s, bool odd) public view {
        bytes memory signature = abi.encodePacked(r, bound(s, 0, ORDER / 2 + 1), odd ? uint8(27) : uint8(28));
        (address expected,,) = ECDSA.tryRecover(digest, signature);
        vm.assertEq(this.recover(digest, signature), expected, "recovered another account");
    }

    function test_RefusesNumbersOutOfRange() public view {
        bytes32 digest = keccak256("digest");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(1, digest);
        vm.assertEq(this.recover(digest, abi.encodePacked(bytes32(0), s, v)), address(0), "r = 0");
        vm.assertEq(this.recover(digest, abi.encodePacked(bytes32(ORDER), s, v)), address(0), "r = n");
        vm.assertEq(this.recover(digest, abi.encodePacked(r, bytes32(0), v)), address(0), "s = 0");
        vm.assertEq(this.recover(digest, abi.encodePacked(r, bytes32(ORDER / 2 + 1), v)), address(0), "s = n/2 + 1");
    }
}
