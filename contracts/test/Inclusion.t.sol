// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, IBatches, MessageProof} from "../src/IBatches.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {Deployer} from "./Deployer.sol";
import {ProofBuilder} from "./ProofBuilder.sol";
import {SettlementStorage} from "./SettlementStorage.sol";
import {vm} from "../script/Vm.sol";

/// @notice Settlement.isIncluded: true for what PROTOCOL.md §9 allows, false for everything else, and never a revert.
contract InclusionTest is ProofBuilder {
    /// @dev Fields of a proof that `_corrupt` knows.
    uint256 private constant FIELDS = 33;

    function setUp() public {
        vm.warp(NOW);
        settlement = Deployer.running(1);
    }

    function testFuzz_TrueProofsHold(
        bytes32 topic,
        bytes memory payload,
        uint32 messages,
        uint32 messageIndex,
        uint32 entries,
        uint32 bundleIndex,
        uint64 previous,
        uint128 postage
    ) public {
        messages = uint32(bound(messages, 1, 40));
        messageIndex = uint32(bound(messageIndex, 0, messages - 1));
        entries = uint32(bound(entries, 1, 40));
        bundleIndex = uint32(bound(bundleIndex, 0, entries - 1));
        MessageProof memory proof = _write(topic, payload, messageIndex, messages);
        proof.previous = previous;
        proof.bundle.postage = postage;
        _sign(proof);
        _seal(proof, bundleIndex, entries);
        vm.assertFalse(settlement.isIncluded(proof), "held before the commit");
        _commit(proof);
        vm.assertTrue(settlement.isIncluded(proof), "true proof refused");
    }

    function test_TrueProofsHoldForEver() public {
        MessageProof memory proof = _committedProof(3, 9, 2, 5);
        vm.warp(NOW + 365 days);
        _commit(_next(0, 1, keccak256("later")));
        vm.assertTrue(settlement.isIncluded(proof), "true proof refused after its bundle's expiry has passed");
    }

    function test_EveryCorruptedFieldIsRefused() public {
        MessageProof memory proof = _committedProof(3, 9, 2, 5);
        bytes memory encoded = abi.encode(proof);
        for (uint256 field = 0; field < FIELDS; ++field) {
            MessageProof memory corrupted = abi.decode(encoded, (MessageProof));
            _corrupt(corrupted, field, 1);
            vm.assertTrue(keccak256(abi.encode(corrupted)) != keccak256(encoded), "nothing was corrupted");
            vm.assertFalse(settlement.isIncluded(corrupted), "corrupted proof held");
        }
        vm.assertTrue(settlement.isIncluded(abi.decode(encoded, (MessageProof))), "true proof refused");
    }

    function testFuzz_EveryCorruptionIsRefused(uint256 field, uint256 change, uint32 messages, uint32 entries) public {
        messages = uint32(bound(messages, 2, 40));
        entries = uint32(bound(entries, 2, 40));
        MessageProof memory proof =
            _committedProof(uint32(change % messages), messages, uint32((change >> 8) % entries), entries);
        bytes32 before = keccak256(abi.encode(proof));
        _corrupt(proof, field % FIELDS, change);
        vm.assertTrue(keccak256(abi.encode(proof)) != before, "nothing was corrupted");
        vm.assertFalse(settlement.isIncluded(proof), "corrupted proof held");
    }

    /// @dev Whatever the fuzzer makes, nothing it makes was committed.
    function testFuzz_JunkIsFalse(MessageProof memory proof) public view {
        vm.assertFalse(settlement.isIncluded(proof), "junk held");
    }

    /// @dev Junk behind a committed header, a count in bounds and a true signature, so that it reaches the trees.
    function testFuzz_JunkPathsAreFalse(MessageProof memory proof, uint32 count) public {
        proof.void = 0;
        proof.bundle.lane = 0;
        proof.header.lane = 0;
        proof.bundle.sender = vm.addr(SENDER_KEY);
        proof.bundle.count = uint32(bound(count, 1, 4096));
        proof.messageIndex = uint32(bound(proof.messageIndex, 0, proof.bundle.count - 1));
        proof.bundle.expiry = proof.header.timestamp;
        proof.bundle.nonce = uint64(bound(proof.bundle.nonce, 0, type(uint64).max - proof.bundle.count));
        _sign(proof);
        SettlementStorage.writeBatchHash(
            address(settlement), 0, proof.header.number, keccak256(abi.encode(proof.header))
        );
        vm.assertFalse(settlement.isIncluded(proof), "junk held");
    }

    function test_HugePathsAreFalse() public {
        MessageProof memory proof = _committedProof(3, 9, 2, 5);
        bytes32[] memory path = proof.messagePath;
        proof.messagePath = new bytes32[](10_000);
        vm.assertFalse(settlement.isIncluded(proof), "message path of 10,000");
        proof.messagePath = path;
        proof.bundlePath = new bytes32[](10_000);
        vm.assertFalse(settlement.isIncluded(proof), "bundle path of 10,000");
    }

    function test_PayloadTo65536Bytes() public {
        _assertPayload(0, true);
        _assertPayload(65_536, true);
        _assertPayload(65_537, false);
    }

    function test_CountTo4096Messages() public {
        _assertMessages(1, true);
        _assertMessages(4096, true);
        _assertMessages(4097, false);
    }

    function test_CountZeroIsRefused() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        proof.bundle.count = 0;
        vm.assertFalse(_provenAsIs(proof), "bundle of no messages");
    }

    function test_NonceAndCountStayBelow64Bits() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 3);
        proof.bundle.nonce = type(uint64).max - 3;
        vm.assertTrue(_provenAsIs(proof), "nonce + count = 2^64 - 1");
        proof.bundle.nonce = type(uint64).max - 2;
        vm.assertFalse(_provenAsIs(proof), "nonce + count = 2^64");
        proof.bundle.nonce = type(uint64).max;
        vm.assertFalse(_provenAsIs(proof), "nonce = 2^64 - 1");
    }

    function test_ExpiredEntriesAreRefused() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        proof.bundle.expiry = NOW;
        vm.assertTrue(_provenAsIs(proof), "expiry = timestamp");
        proof.bundle.expiry = NOW - 1;
        vm.assertFalse(_provenAsIs(proof), "expiry = timestamp - 1");
    }

    function test_VoidEntriesAreRefused() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        proof.void = 1;
        vm.assertFalse(_provenAsIs(proof), "void = 1");
        proof.void = 255;
        vm.assertFalse(_provenAsIs(proof), "void = 255");
    }

    function test_GenesisProvesNothing() public view {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        _sign(proof);
        _seal(proof, 0, 1);
        proof.header.number = 0;
        vm.assertFalse(settlement.isIncluded(proof), "batch 0");
    }

    /// @dev Three lanes: the bundle, the header and the topic must agree, though everything else is true.
    function test_LanesMustAgree() public {
        settlement = Deployer.running(3);
        // 0x0007 mod 3 = 1.
        bytes32 topic = bytes32(uint256(7) << 240);
        MessageProof memory proof = _write(topic, "payload", 0, 1);
        proof.bundle.lane = 1;
        vm.assertTrue(_provenAsIs(proof), "the topic's lane");

        proof.bundle.lane = 2;
        vm.assertFalse(_provenAsIs(proof), "a lane that is not the topic's");

        proof.bundle.lane = 1;
        _sign(proof);
        _seal(proof, 0, 1);
        BatchHeader memory other = _next(2, 1, proof.header.bundlesRoot);
        proof.header = other;
        _commit(proof);
        vm.assertFalse(settlement.isIncluded(proof), "a header of another lane");

        proof.bundle.lane = 2;
        _sign(proof);
        _seal(proof, 0, 1);
        proof.header = _next(1, 1, proof.header.bundlesRoot);
        _commit(proof);
        vm.assertFalse(settlement.isIncluded(proof), "a bundle of another lane");

        proof = _write(topic, "payload", 0, 1);
        _sign(proof);
        _seal(proof, 0, 1);
        _commit(proof);
        vm.assertFalse(settlement.isIncluded(proof), "bundle and header of lane 0");
    }

    function test_HeaderOfALaneThatDoesNotExist() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        proof.bundle.lane = 1;
        _sign(proof);
        _seal(proof, 0, 1);
        SettlementStorage.writeBatchHash(address(settlement), 1, 1, keccak256(abi.encode(proof.header)));
        vm.assertFalse(settlement.isIncluded(proof), "lane 1 of 1");
    }

    function test_SignaturesOfAnotherChainAreRefused() public {
        // Not read from block.chainid: the optimizer takes it for constant within a transaction and reads it when it likes.
        vm.chainId(31338);
        MessageProof memory proof = _committedProof(0, 1, 0, 1);
        vm.assertTrue(settlement.isIncluded(proof), "signed for this chain");
        vm.chainId(31337);
        vm.assertFalse(settlement.isIncluded(proof), "signed for another chain");
    }

    /// @dev The bundle's hash covers the signature, so each of these is committed as it stands: only recovery refuses it.
    function test_SignaturesMustBeLowAndOf65Bytes() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SENDER_KEY, _digest(proof));
        vm.assertTrue(_provenSignedBy(proof, abi.encodePacked(r, s, v)), "the signature");
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        vm.assertFalse(_provenSignedBy(proof, abi.encodePacked(r, order - uint256(s), v ^ 7)), "high s");
        vm.assertFalse(_provenSignedBy(proof, abi.encodePacked(r, s, v - 27)), "v of 0 or 1");
        vm.assertFalse(_provenSignedBy(proof, abi.encodePacked(r, s, v ^ 7)), "the other v");
        vm.assertFalse(_provenSignedBy(proof, abi.encodePacked(r, s)), "64 bytes");
        vm.assertFalse(_provenSignedBy(proof, abi.encodePacked(r, s, v, v)), "66 bytes");
        vm.assertFalse(_provenSignedBy(proof, ""), "no bytes");
        vm.assertFalse(_provenSignedBy(proof, new bytes(10_000)), "10,000 bytes");
    }

    /// @dev ecrecover answers 0 for junk, which would make everybody's junk the zero address's signature.
    function test_TheZeroAddressSignsNothing() public {
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        proof.bundle.sender = address(0);
        vm.assertFalse(_provenSignedBy(proof, new bytes(65)), "zeros");
        vm.assertFalse(_provenSignedBy(proof, abi.encodePacked(bytes32(0), bytes32(uint256(1)), uint8(27))), "r = 0");
        vm.assertFalse(_provenSignedBy(proof, ""), "no bytes");
    }

    function testFuzz_AnotherAccountsSignatureIsRefused(address sender) public {
        vm.assume(sender != vm.addr(SENDER_KEY));
        MessageProof memory proof = _write(keccak256("topic"), "payload", 0, 1);
        proof.bundle.sender = sender;
        vm.assertFalse(_provenAsIs(proof), "another account's signature held");
    }

    function decode(bytes calldata data) external pure returns (MessageProof memory) {
        return abi.decode(data[4:], (MessageProof));
    }

    /// @dev One word of the calldata is anything. What still holds says the same proof in other bytes: padding, say.
    function testFuzz_MalformedCalldataProvesNothingElse(uint256 position, uint256 word) public {
        MessageProof memory proof = _committedProof(3, 9, 2, 5);
        bytes memory data = abi.encodeCall(IBatches.isIncluded, (proof));
        position = bound(position, 0, (data.length - 4) / 32 - 1);
        assembly ("memory-safe") {
            mstore(add(add(data, 36), mul(position, 32)), word)
        }
        (bool answered, bytes memory answer) = address(settlement).staticcall(data);
        if (!answered || !abi.decode(answer, (bool))) return;
        vm.assertEq(abi.encode(this.decode(data)), abi.encode(proof), "another proof held");
    }

    function _assertPayload(uint256 length, bool included) private {
        MessageProof memory proof = _write(keccak256("topic"), new bytes(length), 1, 3);
        vm.assertTrue(_provenAsIs(proof) == included, "payload length judged wrongly");
    }

    function _assertMessages(uint32 count, bool included) private {
        MessageProof memory proof = _write(keccak256("topic"), "payload", count - 1, count);
        vm.assertTrue(_provenAsIs(proof) == included, "message count judged wrongly");
    }

    function _provenAsIs(MessageProof memory proof) private returns (bool) {
        _sign(proof);
        return _provenSignedBy(proof, proof.bundle.signature);
    }

    function _provenSignedBy(MessageProof memory proof, bytes memory signature) private returns (bool) {
        proof.bundle.signature = signature;
        _seal(proof, 1, 3);
        _commit(proof);
        return settlement.isIncluded(proof);
    }

    /// @dev Changes field `field` and nothing else, always to another value.
    function _corrupt(MessageProof memory proof, uint256 field, uint256 change) private pure {
        uint256 odd = change | 1;
        if (field == 0) proof.topic ^= bytes32(odd);
        else if (field == 1) proof.payload[change % proof.payload.length] ^= bytes1(uint8(odd));
        else if (field == 2) proof.payload = bytes.concat(proof.payload, bytes1(uint8(change)));
        else if (field == 3) proof.payload = "";
        else if (field == 4) proof.messageIndex ^= uint32(odd);
        else if (field == 5) proof.messagePath[change % proof.messagePath.length] ^= bytes32(odd);
        else if (field == 6) proof.messagePath = _resized(proof.messagePath, proof.messagePath.length - 1);
        else if (field == 7) proof.messagePath = _resized(proof.messagePath, proof.messagePath.length + 1);
        else if (field == 8) proof.bundle.sender = address(uint160(proof.bundle.sender) ^ uint160(odd));
        else if (field == 9) proof.bundle.lane ^= uint16(odd);
        else if (field == 10) proof.bundle.nonce ^= uint64(odd);
        else if (field == 11) proof.bundle.expiry ^= uint64(odd);
        else if (field == 12) proof.bundle.postage ^= uint128(odd);
        else if (field == 13) proof.bundle.count ^= uint32(odd);
        else if (field == 14) proof.bundle.messagesRoot ^= bytes32(odd);
        else if (field == 15) proof.bundle.signature[change % 65] ^= bytes1(uint8(odd));
        else if (field == 16) proof.bundle.signature = bytes.concat(proof.bundle.signature, bytes1(uint8(change)));
        else if (field == 17) proof.void ^= uint8(odd);
        else if (field == 18) proof.previous ^= uint64(odd);
        else if (field == 19) proof.bundleIndex ^= uint32(odd);
        else if (field == 20) proof.bundlePath[change % proof.bundlePath.length] ^= bytes32(odd);
        else if (field == 21) proof.bundlePath = _resized(proof.bundlePath, proof.bundlePath.length - 1);
        else if (field == 22) proof.bundlePath = _resized(proof.bundlePath, proof.bundlePath.length + 1);
        else if (field == 23) proof.header.number ^= uint64(odd);
        else if (field == 24) proof.header.timestamp ^= uint64(odd);
        else if (field == 25) proof.header.bundlesRoot ^= bytes32(odd);
        else if (field == 26) proof.header.count ^= uint32(odd);
        else _corruptHeader(proof.header, field - 27, odd);
    }

    /// @dev The header's fields that isIncluded reads by their hash only.
    function _corruptHeader(BatchHeader memory header, uint256 field, uint256 odd) private pure {
        if (field == 0) header.term ^= uint32(odd);
        else if (field == 1) header.parentHash ^= bytes32(odd);
        else if (field == 2) header.firstSequence ^= uint64(odd);
        else if (field == 3) header.inboxCount ^= uint64(odd);
        else if (field == 4) header.dataHash ^= bytes32(odd);
        else header.lane ^= uint16(odd);
    }

    function _resized(bytes32[] memory path, uint256 length) private pure returns (bytes32[] memory resized) {
        resized = new bytes32[](length);
        for (uint256 i = 0; i < length && i < path.length; ++i) {
            resized[i] = path[i];
        }
    }
}
