// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, ForcedEntry, MessageProof} from "../src/IBatches.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {Deployer} from "./Deployer.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {Test} from "./Test.sol";
import {vm} from "../script/Vm.sol";

/// @notice Makes true message proofs in the order a sequencer does: write, sign, seal, commit. A test alters the proof between
/// two steps; what comes after then signs, hashes or commits the alteration.
/// @dev Hashes are written out from PROTOCOL.md again, so that nothing here shares code with the contracts.
abstract contract ProofBuilder is Test {
    uint256 internal constant SENDER_KEY = 0xA11CE;
    address internal constant POSTER = Deployer.POSTER;
    uint64 internal constant NOW = 1_800_000_000;

    ISettlement internal settlement;

    /// @dev A bundle of `count` different messages, of which message `index` has this payload.
    function _write(bytes32 topic, bytes memory payload, uint32 index, uint32 count)
        internal
        pure
        returns (MessageProof memory proof)
    {
        bytes32[] memory leaves = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = i == index ? sha256(bytes.concat(hex"00", topic, payload)) : keccak256(abi.encode("leaf", i));
        }
        proof.topic = topic;
        proof.payload = payload;
        proof.messageIndex = index;
        proof.messagePath = ReferenceTree.path(leaves, index);
        proof.bundle.sender = vm.addr(SENDER_KEY);
        proof.bundle.nonce = 7;
        proof.bundle.expiry = NOW + 3600;
        proof.bundle.postage = 5 ether;
        proof.bundle.count = count;
        proof.bundle.messagesRoot = ReferenceTree.root(leaves);
    }

    function _sign(MessageProof memory proof) internal view {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SENDER_KEY, _digest(proof));
        proof.bundle.signature = abi.encodePacked(r, s, v);
    }

    /// @dev Puts the bundle at `index` of a batch of `count` entries on top of its lane's head.
    function _seal(MessageProof memory proof, uint32 index, uint32 count) internal view {
        bytes32 bundleHash =
            sha256(bytes.concat(hex"00", bytes20(proof.bundle.sender), _structHash(proof), proof.bundle.signature));
        bytes32[] memory leaves = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = keccak256(abi.encode("entry", i));
        }
        leaves[index] = sha256(bytes.concat(hex"00", bytes1(proof.void), bytes8(proof.previous), bundleHash));
        proof.bundleIndex = index;
        proof.bundlePath = ReferenceTree.path(leaves, index);
        proof.header = _next(proof.bundle.lane, count, ReferenceTree.root(leaves));
    }

    function _commit(MessageProof memory proof) internal {
        _commit(proof.header);
    }

    function _commit(BatchHeader memory header) internal {
        BatchHeader[] memory headers = new BatchHeader[](1);
        headers[0] = header;
        vm.prank(POSTER);
        settlement.commit(headers, new ForcedEntry[](0));
    }

    /// @dev The header that may follow the lane's head.
    function _next(uint16 lane, uint32 count, bytes32 bundlesRoot) internal view returns (BatchHeader memory header) {
        (uint64 number, uint64 nextSequence, uint64 timestamp, uint64 inboxCount) = settlement.head(lane);
        header.lane = lane;
        header.term = 1;
        header.number = number + 1;
        header.parentHash = settlement.batchHash(lane, number);
        header.firstSequence = nextSequence;
        header.count = count;
        header.bundlesRoot = bundlesRoot;
        header.inboxCount = inboxCount;
        header.timestamp = timestamp > NOW ? timestamp : NOW;
        header.dataHash = keccak256(abi.encode("data", lane, number));
    }

    /// @dev A committed proof of message `messageIndex` of `messages`, entry `bundleIndex` of `entries`.
    function _committedProof(uint32 messageIndex, uint32 messages, uint32 bundleIndex, uint32 entries)
        internal
        returns (MessageProof memory proof)
    {
        proof = _write(keccak256("topic"), "a sealed payload", messageIndex, messages);
        proof.previous = 3;
        _sign(proof);
        _seal(proof, bundleIndex, entries);
        _commit(proof);
    }

    function _structHash(MessageProof memory proof) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(
                    "Bundle(address sender,uint16 lane,uint64 nonce,uint64 expiry,uint128 postage,uint32 count,bytes32 messagesRoot)"
                ),
                abi.encode(
                    proof.bundle.sender,
                    proof.bundle.lane,
                    proof.bundle.nonce,
                    proof.bundle.expiry,
                    proof.bundle.postage,
                    proof.bundle.count,
                    proof.bundle.messagesRoot
                )
            )
        );
    }

    function _digest(MessageProof memory proof) internal view returns (bytes32) {
        return keccak256(bytes.concat(hex"1901", _domainSeparator(), _structHash(proof)));
    }

    function _domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Sealpost"),
                keccak256("1"),
                block.chainid,
                address(settlement)
            )
        );
    }
}
