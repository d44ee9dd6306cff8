// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Batches} from "../src/Batches.sol";
import {Bundles} from "../src/Bundles.sol";
import {BatchHeader, BundleFields, MessageProof} from "../src/IBatches.sol";
import {IInbox} from "../src/IInbox.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {MerkleTree} from "../src/MerkleTree.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {SettlementStorage} from "./SettlementStorage.sol";
import {Deployer} from "./Deployer.sol";
import {Test} from "./Test.sol";
import {vm, Vm} from "../script/Vm.sol";

/// @notice Every case of prover/vectors, on chain: made by an independent implementation, and read by TypeScript too.
contract VectorsTest is Test {
    struct MessageVector {
        bytes32 topic;
        bytes payload;
        bytes32 leaf;
    }

    struct BundleVector {
        string name;
        uint256 privateKey;
        uint16 lane;
        address sender;
        uint64 nonce;
        uint64 expiry;
        uint128 postage;
        MessageVector[] messages;
        bytes32 messagesRoot;
        bytes32 structHash;
        bytes32 digest;
        bytes signature;
        bytes32 bundleHash;
        bytes encoded;
    }

    struct EntryVector {
        string bundle;
        uint8 void;
        uint64 previous;
        bytes32 entryHash;
    }

    struct ProofVector {
        uint32 bundleIndex;
        uint32 messageIndex;
        bool valid;
        bytes32[] messagePath;
        bytes32[] bundlePath;
    }

    struct ReceiptVector {
        address signer;
        uint16 lane;
        uint32 term;
        uint64 firstSequence;
        uint32 count;
        bytes32 root;
        uint64 includeBy;
        bytes32 digest;
        bytes signature;
        bytes32[][] paths;
    }

    struct InclusionVector {
        string name;
        uint256 leafIdx;
        uint256 treeSize;
        bytes32 root;
        bytes32 leafHash;
        bytes32[] proof;
        bool wantErr;
    }

    string private constant BUNDLE_TYPE =
        "BundleVector(string name,uint256 privateKey,uint16 lane,address sender,uint64 nonce,uint64 expiry,uint128 postage,MessageVector[] messages,bytes32 messagesRoot,bytes32 structHash,bytes32 digest,bytes signature,bytes32 bundleHash,bytes encoded)MessageVector(bytes32 topic,bytes payload,bytes32 leaf)";
    string private constant HEADER_TYPE =
        "BatchHeader(uint16 lane,uint32 term,uint64 number,bytes32 parentHash,uint64 firstSequence,uint32 count,bytes32 bundlesRoot,uint64 inboxCount,uint64 timestamp,bytes32 dataHash)";
    string private constant ENTRY_TYPE = "EntryVector(string bundle,uint8 void,uint64 previous,bytes32 entryHash)";
    string private constant PROOF_TYPE =
        "ProofVector(uint32 bundleIndex,uint32 messageIndex,bool valid,bytes32[] messagePath,bytes32[] bundlePath)";
    string private constant RECEIPT_TYPE =
        "ReceiptVector(address signer,uint16 lane,uint32 term,uint64 firstSequence,uint32 count,bytes32 root,uint64 includeBy,bytes32 digest,bytes signature,bytes32[][] paths)";
    string private constant INCLUSION_TYPE =
        "InclusionVector(string name,uint256 leafIdx,uint256 treeSize,bytes32 root,bytes32 leafHash,bytes32[] proof,bool wantErr)";

    /// @dev Account 0 of anvil, whose first contract is the vectors' verifyingContract.
    address private constant DEPLOYER = 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266;

    ISettlement private settlement;
    string private protocol;

    function setUp() public {
        vm.chainId(31337);
        vm.prank(DEPLOYER);
        address[] memory firstOperators = new address[](1);
        firstOperators[0] = Deployer.OPERATOR;
        settlement = Deployer.settlement(firstOperators, Deployer.parameters());
        protocol = vm.readFile("prover/vectors/protocol.json");
        vm.deal(address(this), 1_000 ether);
    }

    function hash(BatchHeader calldata header) external pure returns (bytes32) {
        return Batches.hash(header);
    }

    function messageLeaf(MessageVector calldata message) external pure returns (bytes32) {
        return Bundles.messageLeaf(message.topic, message.payload);
    }

    function structHash(BundleFields calldata bundle) external pure returns (bytes32) {
        return Bundles.structHash(bundle);
    }

    function recover(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return Bundles.recover(digest, signature);
    }

    function bundleHash(BundleFields calldata bundle, bytes32 structHash_) external pure returns (bytes32) {
        return Bundles.bundleHash(bundle.sender, structHash_, bundle.signature);
    }

    function verify(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata path, bytes32 root)
        external
        view
        returns (bool)
    {
        return MerkleTree.verifyInclusion(leaf, index, size, path, root);
    }

    function test_Domain() public view {
        vm.assertEq(address(settlement), 0x5FbDB2315678afecb367f032d93F642f64180aa3, "not the vectors' contract");
        vm.assertEq(
            settlement.domainSeparator(), vm.parseJsonBytes32(protocol, ".domain.separator"), "domain separator"
        );
    }

    function test_Bundles() public view {
        BundleVector[] memory bundles = _bundles();
        vm.assertEq(bundles.length, 5, "bundles read");
        for (uint256 i = 0; i < bundles.length; ++i) {
            BundleVector memory vector = bundles[i];
            bytes32[] memory leaves = new bytes32[](vector.messages.length);
            for (uint256 j = 0; j < leaves.length; ++j) {
                leaves[j] = this.messageLeaf(vector.messages[j]);
                vm.assertEq(leaves[j], vector.messages[j].leaf, vector.name);
            }
            _assertIncluded(leaves, vector.messagesRoot, vector.name);
            BundleFields memory fields = _fields(vector);
            vm.assertEq(this.structHash(fields), vector.structHash, vector.name);
            vm.assertEq(Bundles.digest(settlement.domainSeparator(), vector.structHash), vector.digest, vector.name);
            vm.assertEq(this.recover(vector.digest, vector.signature), vector.sender, vector.name);
            vm.assertEq(vm.addr(vector.privateKey), vector.sender, vector.name);
            vm.assertEq(this.bundleHash(fields, vector.structHash), vector.bundleHash, vector.name);
        }
    }

    function test_Batch() public view {
        (BatchHeader memory header, EntryVector[] memory entries,) = _batch();
        vm.assertEq(entries.length, header.count, "entries read");
        bytes32[] memory leaves = new bytes32[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            leaves[i] = Bundles.entryHash(entries[i].void, entries[i].previous, _bundle(entries[i].bundle).bundleHash);
            vm.assertEq(leaves[i], entries[i].entryHash, entries[i].bundle);
        }
        _assertIncluded(leaves, header.bundlesRoot, "bundlesRoot");
        vm.assertEq(this.hash(header), vm.parseJsonBytes32(protocol, ".batch.batchHash"), "batchHash");
        vm.assertEq(keccak256(abi.encode(header)), this.hash(header), "batchHash is not keccak256(abi.encode(header))");
    }

    function test_Proofs() public {
        (BatchHeader memory header, EntryVector[] memory entries, ProofVector[] memory proofs) = _batch();
        vm.assertEq(proofs.length, 13, "proofs read");
        for (uint256 i = 0; i < proofs.length; ++i) {
            vm.assertFalse(settlement.isIncluded(_proof(proofs[i], entries, header)), "proven before the commit");
        }
        // The header consumed an inbox, which this contract does not have: no commit writes its slot.
        SettlementStorage.writeBatchHash(address(settlement), header.lane, header.number, this.hash(header));
        uint256 valid = 0;
        for (uint256 i = 0; i < proofs.length; ++i) {
            bool included = settlement.isIncluded(_proof(proofs[i], entries, header));
            vm.assertTrue(included == proofs[i].valid, "isIncluded differs from the vector's flag");
            if (included) ++valid;
        }
        vm.assertEq(valid, 3, "valid proofs");
    }

    function test_Receipt() public view {
        ReceiptVector memory receipt = abi.decode(vm.parseJsonType(protocol, ".receipt", RECEIPT_TYPE), (ReceiptVector));
        bytes32 receiptHash = keccak256(
            abi.encode(
                keccak256(
                    "Receipt(uint16 lane,uint32 term,uint64 firstSequence,uint32 count,bytes32 root,uint64 includeBy)"
                ),
                receipt.lane,
                receipt.term,
                receipt.firstSequence,
                receipt.count,
                receipt.root,
                receipt.includeBy
            )
        );
        vm.assertEq(Bundles.digest(settlement.domainSeparator(), receiptHash), receipt.digest, "receipt digest");
        vm.assertEq(this.recover(receipt.digest, receipt.signature), receipt.signer, "receipt signer");
        (, EntryVector[] memory entries,) = _batch();
        vm.assertEq(receipt.paths.length, entries.length, "receipt paths read");
        for (uint256 i = 0; i < entries.length; ++i) {
            vm.assertTrue(
                this.verify(entries[i].entryHash, i, receipt.count, receipt.paths[i], receipt.root), "receipt path"
            );
        }
    }

    /// @dev With one lane every topic is of lane 0, so that all bundles of lane 0 pass.
    function test_ForcedBundles() public {
        BundleVector[] memory bundles = _bundles();
        uint64 taken = 0;
        for (uint256 i = 0; i < bundles.length; ++i) {
            BundleVector memory vector = bundles[i];
            bytes memory framed = _framed(vector.encoded);
            if (vector.lane != 0) {
                _assertRefused(framed, abi.encodeWithSelector(IInbox.MalformedBundle.selector, 5), vector.name);
                continue;
            }
            vm.recordLogs();
            settlement.forceInclude{value: 1 ether}(framed);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            vm.assertEq(address(uint160(uint256(logs[0].topics[3]))), vector.sender, vector.name);
            (bytes32 forced,,) = settlement.inbox(0, taken++);
            vm.assertEq(forced, vector.bundleHash, vector.name);
        }
        vm.assertEq(taken, 4, "bundles taken");
    }

    function test_CorruptedForcedBundlesAreRefused() public {
        BundleVector memory vector = _bundle("three messages, one empty payload");
        uint256 end = vector.encoded.length - 65;
        // Where each message begins: its length, 0x00, its topic, its payload.
        uint256 second = 59 + 4 + 33 + vector.messages[0].payload.length;
        uint256 third = second + 4 + 33 + vector.messages[1].payload.length;

        _assertMalformed(vector.encoded, 0, "without its frame");
        _assertMalformed(bytes.concat(_framed(vector.encoded), hex"00"), 0, "a byte behind the frame");
        _assertMalformed(bytes.concat(_framed(vector.encoded), _framed(vector.encoded)), 0, "two of them");
        _assertMalformedAt(vector.encoded, 0, hex"00", 0, "version 0");
        _assertMalformedAt(vector.encoded, 0, hex"02", 0, "version 2");
        _assertMalformedAt(vector.encoded, 1, hex"0001", 1, "a lane that there is not");
        _assertMalformedAt(vector.encoded, 3, new bytes(20), 3, "sender zero");
        _assertMalformedAt(vector.encoded, 23, hex"fffffffffffffffd", 23, "nonce + count = 2^64");
        _assertMalformedAt(vector.encoded, 55, hex"00000000", 55, "no message");
        _assertMalformedAt(vector.encoded, 55, hex"00000002", third, "a message more than counted");
        _assertMalformedAt(vector.encoded, 55, hex"00000004", end, "a message less than counted");
        _assertMalformedAt(vector.encoded, 55, hex"00001001", 55, "4,097 messages");
        _assertMalformedAt(vector.encoded, 59, hex"00000020", 59, "32 bytes for a message");
        _assertMalformedAt(vector.encoded, 59, hex"00010022", 59, "a payload of 65,537 bytes");
        _assertMalformedAt(vector.encoded, 59, hex"ffffffff", 59, "a length beyond the end");
        _assertMalformedAt(vector.encoded, 63, hex"01", 63, "another leading byte");
        _assertMalformedAt(vector.encoded, second + 4, hex"ff", second + 4, "another leading byte of the second");
        _assertMalformedAt(vector.encoded, third, hex"0000014c", end - 1, "a byte between message and signature");
        _assertMalformedAt(vector.encoded, third, hex"0000014e", third, "a byte of the signature for the last message");
        _assertRefused(
            new bytes(98_305), abi.encodeWithSelector(IInbox.BundleTooLong.selector, 98_304, 98_305), "98,305 bytes"
        );

        // What is signed, and the signature's form.
        _assertBadSignature(vector, 0, new bytes(32), "r zero");
        _assertBadSignature(vector, 32, new bytes(32), "s zero");
        _assertBadSignature(vector, 64, hex"00", "v 0");
        _assertBadSignature(vector, 64, hex"1d", "v 29");
        bytes32 s;
        bytes memory signature = vector.signature;
        assembly ("memory-safe") {
            s := mload(add(signature, 64))
        }
        bytes32 high = bytes32(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141 - uint256(s));
        bytes1 v = vector.signature[64] == 0x1b ? bytes1(0x1c) : bytes1(0x1b);
        _assertBadSignature(vector, 64, bytes.concat(v), "the other v");
        _assertBadSignature(vector, 32, bytes.concat(high, v), "high s");

        vm.warp(vector.expiry);
        uint256 min = vector.expiry + 86_400;
        bytes memory late = abi.encodeWithSelector(IInbox.ExpiresTooSoon.selector, min, vector.expiry);
        _assertRefused(_framed(vector.encoded), late, "too short a life");
        vm.warp(vector.expiry - 86_400);
        settlement.forceInclude{value: 1 ether}(_framed(vector.encoded));
    }

    function test_Rfc6962Inclusion() public view {
        InclusionVector[] memory cases = abi.decode(
            vm.parseJsonTypeArray(vm.readFile("prover/vectors/rfc6962-inclusion.hex.json"), ".cases", INCLUSION_TYPE),
            (InclusionVector[])
        );
        vm.assertEq(cases.length, 54, "cases read");
        uint256 valid = 0;
        for (uint256 i = 0; i < cases.length; ++i) {
            InclusionVector memory vector = cases[i];
            bool held = this.verify(vector.leafHash, vector.leafIdx, vector.treeSize, vector.proof, vector.root);
            vm.assertTrue(held == !vector.wantErr, vector.name);
            if (held) ++valid;
        }
        vm.assertEq(valid, 5, "valid cases");
    }

    function _assertIncluded(bytes32[] memory leaves, bytes32 root, string memory name) private view {
        vm.assertEq(ReferenceTree.root(leaves), root, name);
        for (uint256 i = 0; i < leaves.length; ++i) {
            vm.assertTrue(this.verify(leaves[i], i, leaves.length, ReferenceTree.path(leaves, i), root), name);
        }
    }

    function _framed(bytes memory encoded) private pure returns (bytes memory) {
        return bytes.concat(bytes4(uint32(encoded.length)), encoded);
    }

    /// @dev `encoded` with other bytes at `place`, framed.
    function _changed(bytes memory encoded, uint256 place, bytes memory change) private pure returns (bytes memory) {
        bytes memory framed = _framed(encoded);
        for (uint256 i = 0; i < change.length; ++i) {
            framed[4 + place + i] = change[i];
        }
        return framed;
    }

    function _assertMalformedAt(
        bytes memory encoded,
        uint256 place,
        bytes memory change,
        uint256 where,
        string memory name
    ) private {
        _assertMalformed(_changed(encoded, place, change), 4 + where, name);
    }

    function _assertMalformed(bytes memory framed, uint256 offset, string memory name) private {
        _assertRefused(framed, abi.encodeWithSelector(IInbox.MalformedBundle.selector, offset), name);
    }

    /// @dev The change begins at byte `place` of the signature.
    function _assertBadSignature(BundleVector memory vector, uint256 place, bytes memory change, string memory name)
        private
    {
        bytes memory framed = _changed(vector.encoded, vector.encoded.length - 65 + place, change);
        bytes memory signature = new bytes(65);
        for (uint256 i = 0; i < 65; ++i) {
            signature[i] = framed[framed.length - 65 + i];
        }
        address signer = this.recover(vector.digest, signature);
        _assertRefused(framed, abi.encodeWithSelector(IInbox.BadSignature.selector, vector.sender, signer), name);
    }

    function _assertRefused(bytes memory framed, bytes memory revertData, string memory name) private {
        (bool taken, bytes memory got) =
            address(settlement).call{value: 1 ether}(abi.encodeCall(IInbox.forceInclude, (framed)));
        vm.assertFalse(taken, name);
        vm.assertEq(got, revertData, name);
    }

    function _bundles() private view returns (BundleVector[] memory) {
        return abi.decode(vm.parseJsonTypeArray(protocol, ".bundles", BUNDLE_TYPE), (BundleVector[]));
    }

    function _bundle(string memory name) private view returns (BundleVector memory) {
        BundleVector[] memory bundles = _bundles();
        for (uint256 i = 0; i < bundles.length; ++i) {
            if (keccak256(bytes(bundles[i].name)) == keccak256(bytes(name))) return bundles[i];
        }
        revert(name);
    }

    function _batch() private view returns (BatchHeader memory, EntryVector[] memory, ProofVector[] memory) {
        return (
            abi.decode(vm.parseJsonType(protocol, ".batch.header", HEADER_TYPE), (BatchHeader)),
            abi.decode(vm.parseJsonTypeArray(protocol, ".batch.entries", ENTRY_TYPE), (EntryVector[])),
            abi.decode(vm.parseJsonTypeArray(protocol, ".batch.proofs", PROOF_TYPE), (ProofVector[]))
        );
    }

    function _fields(BundleVector memory vector) private pure returns (BundleFields memory) {
        return BundleFields({
            sender: vector.sender,
            lane: vector.lane,
            nonce: vector.nonce,
            expiry: vector.expiry,
            postage: vector.postage,
            count: uint32(vector.messages.length),
            messagesRoot: vector.messagesRoot,
            signature: vector.signature
        });
    }

    function _proof(ProofVector memory vector, EntryVector[] memory entries, BatchHeader memory header)
        private
        view
        returns (MessageProof memory)
    {
        EntryVector memory entry = entries[vector.bundleIndex];
        BundleVector memory bundle = _bundle(entry.bundle);
        MessageVector memory message = bundle.messages[vector.messageIndex];
        return MessageProof({
            topic: message.topic,
            payload: message.payload,
            messageIndex: vector.messageIndex,
            messagePath: vector.messagePath,
            bundle: _fields(bundle),
            void: entry.void,
            previous: entry.previous,
            bundleIndex: vector.bundleIndex,
            bundlePath: vector.bundlePath,
            header: header
        });
    }
}
