// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, BundleFields, ForcedEntry, Opening} from "../src/IBatches.sol";
import {Receipt, SignedReceipt} from "../src/IEvidence.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {Deployer} from "./Deployer.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {Test} from "./Test.sol";
import {vm} from "../script/Vm.sol";

/// @notice A lane as its operator sees it: tests add entries, true or false, seal and commit them, sign receipts over them
/// and open them.
/// @dev Hashes are written out from PROTOCOL.md, so that nothing here shares code with the contracts.
abstract contract Lane is Test {
    struct Entry {
        uint8 void;
        uint64 previous;
        BundleFields bundle;
    }

    uint64 internal constant NOW = 1_800_000_000;
    uint256 internal constant ALICE = 0xA11CE;
    uint256 internal constant BOB = 0xB0B;
    address internal constant REPORTER = address(0x4E904);
    address internal constant OTHER_OPERATOR = address(0x07E4);
    address internal constant OTHER_POSTER = address(0x07E49);
    uint256 internal constant OTHER_RECEIPT_KEY = 0x07E45;

    ISettlement internal settlement;
    BatchHeader[] internal headers;
    /// @dev Entries by batch, in sequence order.
    mapping(uint256 number => Entry[]) internal entriesOf;

    function _start() internal {
        vm.warp(NOW);
        vm.roll(1_000);
        settlement = Deployer.running(2);
        headers.push();
    }

    /// @dev A bundle of one message, signed by `key`.
    function _bundle(uint256 key, uint64 nonce) internal view returns (BundleFields memory bundle) {
        bundle = BundleFields({
            sender: vm.addr(key),
            lane: 0,
            nonce: nonce,
            expiry: NOW + 3_600,
            postage: 0,
            count: 1,
            messagesRoot: keccak256(abi.encode("messages", key, nonce)),
            signature: ""
        });
        _sign(bundle, key);
    }

    function _sign(BundleFields memory bundle, uint256 key) internal view {
        bundle.signature = Deployer.sign(settlement, key, _structHash(bundle));
    }

    /// @dev Seals entries into the lane's next batch and commits it.
    function _commit(Entry[] memory entries) internal returns (BatchHeader memory header) {
        header = _seal(entries);
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = header;
        vm.prank(settlement.poster(0));
        settlement.commit(list, new ForcedEntry[](0));
        _keep(header, entries);
    }

    function _commit(Entry memory entry) internal returns (BatchHeader memory) {
        Entry[] memory entries = new Entry[](1);
        entries[0] = entry;
        return _commit(entries);
    }

    /// @dev What a commit took.
    function _keep(BatchHeader memory header, Entry[] memory entries) internal {
        headers.push(header);
        for (uint256 i = 0; i < entries.length; ++i) {
            entriesOf[header.number].push(entries[i]);
        }
    }

    function _seal(Entry[] memory entries) internal view returns (BatchHeader memory header) {
        (uint64 number, uint64 nextSequence,, uint64 inboxCount) = settlement.head(0);
        header.term = settlement.term(0);
        header.number = number + 1;
        header.parentHash = settlement.batchHash(0, number);
        header.firstSequence = nextSequence;
        header.count = uint32(entries.length);
        header.bundlesRoot = ReferenceTree.root(_leaves(entries));
        header.inboxCount = inboxCount;
        header.timestamp = NOW;
    }

    /// @dev A committed entry, opened.
    function _open(uint64 number, uint32 index) internal view returns (Opening memory opening) {
        Entry[] memory entries = entriesOf[number];
        opening.header = headers[number];
        opening.index = index;
        opening.void = entries[index].void;
        opening.previous = entries[index].previous;
        opening.bundle = entries[index].bundle;
        opening.path = ReferenceTree.path(_leaves(entries), index);
    }

    /// @dev A receipt of one entry alone, of the running term.
    function _receipt(uint64 sequence, bytes32 entryHash, uint256 key)
        internal
        view
        returns (SignedReceipt memory signed)
    {
        signed.receipt = Receipt(0, settlement.term(0), sequence, 1, entryHash, uint64(block.number) + 900);
        signed.entryHash = entryHash;
        _sign(signed, key);
    }

    function _sign(SignedReceipt memory signed, uint256 key) internal view {
        Receipt memory receipt = signed.receipt;
        bytes32 structHash = keccak256(
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
        signed.signature = Deployer.sign(settlement, key, structHash);
    }

    function _entryHash(Entry memory entry) internal pure returns (bytes32) {
        return sha256(bytes.concat(hex"00", bytes1(entry.void), bytes8(entry.previous), _bundleHash(entry.bundle)));
    }

    function _leaves(Entry[] memory entries) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            leaves[i] = _entryHash(entries[i]);
        }
    }

    /// @dev A framed bundle of `count` messages, whose topics are of lane 0.
    function _framed(uint256 key, uint64 nonce, uint64 expiry, uint32 count) internal view returns (bytes memory) {
        BundleFields memory bundle = _unsigned(key, nonce, expiry, count);
        _sign(bundle, key);
        return _encode(bundle, nonce);
    }

    /// @dev length(4) ‖ bundle, with the messages of `nonce`.
    function _encode(BundleFields memory bundle, uint64 nonce) internal pure returns (bytes memory) {
        bytes memory encoded = bytes.concat(
            hex"01",
            bytes2(bundle.lane),
            bytes20(bundle.sender),
            bytes8(bundle.nonce),
            bytes8(bundle.expiry),
            bytes16(bundle.postage),
            bytes4(bundle.count)
        );
        for (uint32 i = 0; i < bundle.count; ++i) {
            bytes memory message = _message(nonce, i);
            encoded = bytes.concat(encoded, bytes4(uint32(message.length)), message);
        }
        encoded = bytes.concat(encoded, bundle.signature);
        return bytes.concat(bytes4(uint32(encoded.length)), encoded);
    }

    /// @dev The fields of a framed bundle of ALICE or another key, as they stand in its bytes.
    function _fields(bytes memory framed, uint256 key) internal view returns (BundleFields memory bundle) {
        uint64 nonce = 0;
        uint64 expiry = 0;
        uint32 count = 0;
        for (uint256 i = 0; i < 8; ++i) {
            nonce = nonce << 8 | uint8(framed[27 + i]);
            expiry = expiry << 8 | uint8(framed[35 + i]);
        }
        for (uint256 i = 0; i < 4; ++i) {
            count = count << 8 | uint8(framed[59 + i]);
        }
        bundle = _unsigned(key, nonce, expiry, count);
        _sign(bundle, key);
    }

    function _unsigned(uint256 key, uint64 nonce, uint64 expiry, uint32 count)
        internal
        pure
        returns (BundleFields memory bundle)
    {
        bytes32[] memory leaves = new bytes32[](count);
        for (uint32 i = 0; i < count; ++i) {
            leaves[i] = sha256(_message(nonce, i));
        }
        bundle.sender = vm.addr(key);
        bundle.nonce = nonce;
        bundle.expiry = expiry;
        bundle.count = count;
        bundle.messagesRoot = ReferenceTree.root(leaves);
    }

    /// @dev The first two bytes of its topic are an even number: lane 0 of 2.
    function _message(uint64 nonce, uint32 index) internal pure returns (bytes memory) {
        return bytes.concat(hex"00", hex"0002", bytes30(keccak256(abi.encode(nonce, index))), "sealed", bytes4(index));
    }

    function _bundleHash(BundleFields memory bundle) internal pure returns (bytes32) {
        return sha256(bytes.concat(hex"00", bytes20(bundle.sender), _structHash(bundle), bundle.signature));
    }

    function _structHash(BundleFields memory bundle) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(
                    "Bundle(address sender,uint16 lane,uint64 nonce,uint64 expiry,uint128 postage,uint32 count,bytes32 messagesRoot)"
                ),
                abi.encode(bundle.sender, bundle.lane, bundle.nonce, bundle.expiry, bundle.postage),
                abi.encode(bundle.count, bundle.messagesRoot)
            )
        );
    }

    function _bondOf(address operator) internal view returns (uint256 bond) {
        (bond,,,) = settlement.operatorOf(0, operator);
    }
}
