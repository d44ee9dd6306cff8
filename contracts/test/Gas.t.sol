// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {DirectMessages} from "../src/DirectMessages.sol";
import {BatchHeader, BundleFields, ForcedEntry, MessageProof, Opening} from "../src/IBatches.sol";
import {SignedReceipt} from "../src/IEvidence.sol";
import {Deployer} from "./Deployer.sol";
import {Lane} from "./Lane.sol";
import {ProofBuilder} from "./ProofBuilder.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {vm} from "../script/Vm.sol";

/// @notice What whole transactions cost: intrinsic gas, calldata (with EIP-7623's floor) and execution, from cold storage.
/// @dev Isolated, so every outermost call is a transaction. The figures are kept in contracts/snapshots; a test run fails
/// when one drifts, and `npm run snapshots -w contracts` writes them anew.
/// forge-config: default.isolate = true
contract TransactionGasTest is ProofBuilder {
    uint256 private constant COMMIT_GOAL = 80_000;
    /// @dev EIP-7825: no transaction may ask for more.
    uint256 private constant MAX_TRANSACTION_GAS = 16_777_216;

    function setUp() public {
        vm.warp(NOW);
        settlement = Deployer.running(1);
    }

    function test_CommitOfOneBatchStaysUnderTheGoal() public {
        _commitNext(1);
        vm.snapshotGasLastCall("Settlement", "commit, first batch of a lane (transaction)");
        for (uint256 i = 0; i < 3; ++i) {
            _commitNext(1);
            vm.assertLe(vm.lastCallGas().gasTotalUsed, COMMIT_GOAL, "commit of one batch");
        }
        vm.snapshotGasLastCall("Settlement", "commit, one batch (transaction)");
    }

    function test_CommitOf16Batches() public {
        _commitNext(1);
        _commitNext(16);
        uint256 gas = vm.snapshotGasLastCall("Settlement", "commit, 16 batches (transaction)");
        vm.assertLe(gas / 16, COMMIT_GOAL * 2 / 3, "a batch among 16 is not cheaper than one alone");
    }

    function test_CommitOf255BatchesFitsATransaction() public {
        _commitNext(1);
        _commitNext(255);
        uint256 gas = vm.snapshotGasLastCall("Settlement", "commit, 255 batches (transaction)");
        vm.assertLe(gas, MAX_TRANSACTION_GAS, "commit of 255 batches");
    }

    function test_DirectMessageOf300Bytes() public {
        DirectMessages direct =
            DirectMessages(Deployer.deploy("contracts/out/DirectMessages.sol/DirectMessages.json", ""));
        direct.post(_payload(300));
        uint256 gas = vm.snapshotGasLastCall("DirectMessages", "post, 300 bytes (transaction)");
        vm.assertLe(gas, 36_000, "a direct message got dearer than the calldata floor");
    }

    /// @dev Worst-case words: hashes without zero bytes, counts and times of full width.
    function _commitNext(uint256 length) private {
        BatchHeader[] memory headers = new BatchHeader[](length);
        for (uint256 i = 0; i < length; ++i) {
            headers[i] = _next(0, 0xfffff, keccak256(abi.encode("root", i)));
            headers[i].timestamp = NOW;
            if (i > 0) {
                headers[i].number = headers[i - 1].number + 1;
                headers[i].firstSequence = headers[i - 1].firstSequence + headers[i - 1].count;
                headers[i].parentHash = keccak256(abi.encode(headers[i - 1]));
            }
        }
        vm.prank(POSTER);
        settlement.commit(headers, new ForcedEntry[](0));
    }

    function _payload(uint256 length) private pure returns (bytes memory payload) {
        payload = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            payload[i] = bytes1(uint8(i % 255 + 1));
        }
    }
}

/// @notice What isIncluded costs a contract that calls it: execution with cold storage, without the transaction around it.
contract InclusionGasTest is ProofBuilder {
    uint256 private constant INCLUSION_GOAL = 40_000;

    function setUp() public {
        vm.warp(NOW);
        settlement = Deployer.running(1);
    }

    function test_InclusionOfABundleOf256InABatchOf4096StaysUnderTheGoal() public {
        _measure(200, 256, 3000, 4096, "isIncluded, bundle of 256 in a batch of 4,096 (execution)");
        vm.assertLe(vm.lastCallGas().gasTotalUsed, INCLUSION_GOAL, "isIncluded");
    }

    function test_InclusionOfAChatMessageAlone() public {
        _measure(0, 1, 0, 1, "isIncluded, bundle of 1 in a batch of 1 (execution)");
    }

    function _measure(uint32 messageIndex, uint32 messages, uint32 bundleIndex, uint32 entries, string memory name)
        private
    {
        MessageProof memory proof = _write(keccak256("topic"), new bytes(256), messageIndex, messages);
        _sign(proof);
        _seal(proof, bundleIndex, entries);
        _commit(proof);
        vm.cool(address(settlement));
        vm.assertTrue(settlement.isIncluded(proof), "true proof refused");
        vm.snapshotGasLastCall("Settlement", name);
    }
}

/// @notice What everything else costs as a transaction of its own.
/// forge-config: default.isolate = true
contract PromisesGasTest is Lane {
    uint256 private constant COMMIT_GOAL = 80_000;
    /// @dev For each entry of the inbox that a commit consumes.
    uint256 private constant ENTRY_GOAL = 40_000;
    address private constant OPERATOR = Deployer.OPERATOR;

    function setUp() public {
        _start();
        vm.fee(1 gwei);
        vm.deal(address(this), 1_000 ether);
        // As on a lane that runs: no slot is written for the first time but those that each call makes new.
        _commit(_alices(0, 1, 0));
    }

    function test_ConsumingOneEntryOfABatchOf4096() public {
        _consume(1, 4_096);
        uint256 gas = vm.snapshotGasLastCall("Settlement", "commit, 1 forced entry in a batch of 4,096 (transaction)");
        vm.assertLe(gas, COMMIT_GOAL + ENTRY_GOAL, "commit of one forced entry");
    }

    function test_Consuming64Entries() public {
        _consume(64, 128);
        uint256 gas = vm.snapshotGasLastCall("Settlement", "commit, 64 forced entries in a batch of 128 (transaction)");
        vm.assertLe(gas, COMMIT_GOAL + 64 * ENTRY_GOAL, "commit of 64 forced entries");
    }

    function test_ForceInclude() public {
        bytes memory framed = _framed(BOB, 0, NOW + 100_000, 1);
        settlement.forceInclude{value: 1 ether}(framed);
        vm.snapshotGasLastCall("Settlement", "forceInclude, one message (transaction)");
        framed = _framed(BOB, 1, NOW + 100_000, 200);
        settlement.forceInclude{value: 1 ether}(framed);
        vm.snapshotGasLastCall("Settlement", "forceInclude, 200 short messages (transaction)");
    }

    function test_Operators() public {
        vm.deal(OTHER_OPERATOR, 20 ether);
        bytes memory registration = Deployer.registrationOf(settlement, 0, OTHER_OPERATOR, OTHER_RECEIPT_KEY);
        vm.prank(OTHER_OPERATOR);
        settlement.register{value: 10 ether}(0, OTHER_POSTER, vm.addr(OTHER_RECEIPT_KEY), registration);
        vm.snapshotGasLastCall("Settlement", "register (transaction)");
        settlement.addBond{value: 1 ether}(0, OTHER_OPERATOR);
        vm.snapshotGasLastCall("Settlement", "addBond (transaction)");
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.snapshotGasLastCall("Settlement", "requestExit (transaction)");
        vm.roll(100_000);
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        vm.snapshotGasLastCall("Settlement", "takeOver, vacant lane (transaction)");
        vm.prank(OPERATOR);
        settlement.withdrawBond(0);
        vm.snapshotGasLastCall("Settlement", "withdrawBond (transaction)");
        settlement.payOut(OPERATOR);
        vm.snapshotGasLastCall("Settlement", "payOut (transaction)");
    }

    function test_ProveEquivocation() public {
        SignedReceipt memory one = _receipt(5, keccak256("one"), Deployer.RECEIPT_KEY);
        SignedReceipt memory other = _receipt(5, keccak256("other"), Deployer.RECEIPT_KEY);
        settlement.proveEquivocation(5, one, other);
        vm.snapshotGasLastCall("Settlement", "proveEquivocation (transaction)");
    }

    function test_ProveReplacement() public {
        SignedReceipt memory promised = _receipt(5, keccak256("promised"), Deployer.RECEIPT_KEY);
        Entry[] memory entries = _alices(1, 64, 1);
        BatchHeader memory header = _commit(entries);
        bytes32[] memory leaves = _leaves(entries);
        bytes32[] memory path = ReferenceTree.path(leaves, 4);
        settlement.proveReplacement(5, promised, header, leaves[4], path);
        vm.snapshotGasLastCall("Settlement", "proveReplacement, batch of 64 (transaction)");
    }

    function test_ProveFalseEntry() public {
        Entry[] memory entries = _alices(1, 64, 1);
        entries[40].void = 1;
        _commit(entries);
        Opening memory entry = _open(2, 40);
        Opening[] memory others = new Opening[](1);
        others[0] = _open(2, 39);
        settlement.proveFalseEntry(entry, others);
        vm.snapshotGasLastCall("Settlement", "proveFalseEntry, batch of 64 (transaction)");
    }

    function test_Demands() public {
        BatchHeader memory header = _commit(_alices(1, 64, 1));
        settlement.demandCommitted{value: 1 ether}(header, 40);
        vm.snapshotGasLastCall("Settlement", "demandCommitted (transaction)");
        Opening memory entry = _open(2, 40);
        settlement.answer(entry);
        uint256 gas = vm.snapshotGasLastCall("Settlement", "answer, batch of 64 (transaction)");
        // A path of 20 hashes instead of 6: 14 × (512 of calldata, 450 of hashing).
        vm.assertLe(gas + 14 * 1_000, 200_000, "an answer costs more than a demand pays at the least");
        settlement.demandCommitted{value: 1 ether}(header, 41);
        SignedReceipt memory promised = _receipt(100, keccak256("promised"), Deployer.RECEIPT_KEY);
        vm.roll(5_000);
        settlement.demandPromised{value: 1 ether}(100, promised);
        vm.snapshotGasLastCall("Settlement", "demandPromised (transaction)");
        vm.roll(20_000);
        settlement.proveUnanswered(0, 1, 42);
        vm.snapshotGasLastCall("Settlement", "proveUnanswered (transaction)");
    }

    function test_ProveBroken() public {
        SignedReceipt memory promised = _receipt(100, keccak256("promised"), Deployer.RECEIPT_KEY);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(5_000);
        settlement.proveBroken(100, promised);
        vm.snapshotGasLastCall("Settlement", "proveBroken (transaction)");
    }

    function test_Postage() public {
        settlement.depositPostage{value: 1 ether}(0, vm.addr(ALICE));
        vm.snapshotGasLastCall("Settlement", "depositPostage, the first (transaction)");
        _commit(_alices(1, 64, 1));
        Opening memory entry = _open(2, 40);
        settlement.redeem(entry);
        vm.snapshotGasLastCall("Settlement", "redeem, the first of a sender, batch of 64 (transaction)");
        entry = _open(2, 41);
        settlement.redeem(entry);
        vm.snapshotGasLastCall("Settlement", "redeem, batch of 64 (transaction)");
        vm.prank(vm.addr(ALICE));
        settlement.requestWithdrawal(0, 1 ether);
        vm.snapshotGasLastCall("Settlement", "requestWithdrawal (transaction)");
        vm.roll(50_000);
        vm.prank(vm.addr(ALICE));
        settlement.withdrawPostage(0);
        vm.snapshotGasLastCall("Settlement", "withdrawPostage (transaction)");
    }

    /// @dev Enqueues bundles of BOB and commits them behind ALICE's in a batch of `count` entries.
    function _consume(uint32 forcedCount, uint32 count) private {
        Entry[] memory entries = new Entry[](count);
        bytes32[] memory leaves = new bytes32[](count);
        for (uint64 i = 0; i < count; ++i) {
            if (i + forcedCount < count) {
                leaves[i] = keccak256(abi.encode("entry", i));
                continue;
            }
            uint64 nonce = i + forcedCount - count;
            bytes memory framed = _framed(BOB, nonce, NOW + 100_000, 1);
            settlement.forceInclude{value: 1 ether}(framed);
            entries[i] = Entry(0, i + 1, _fields(framed, BOB));
            leaves[i] = _entryHash(entries[i]);
        }
        ForcedEntry[] memory forced = new ForcedEntry[](forcedCount);
        for (uint32 i = 0; i < forcedCount; ++i) {
            uint32 index = count - forcedCount + i;
            forced[i] = ForcedEntry(0, index, 0, entries[index].previous, ReferenceTree.path(leaves, index));
        }
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = _seal(_alices(1, 1, 1));
        list[0].count = count;
        list[0].bundlesRoot = ReferenceTree.root(leaves);
        list[0].inboxCount = forcedCount;
        list[0].dataHash = keccak256("data");
        vm.prank(Deployer.POSTER);
        settlement.commit(list, forced);
    }

    /// @dev ALICE's next entries; each owes a finney more than the one before.
    function _alices(uint64 nonce, uint64 count, uint64 previous) private view returns (Entry[] memory entries) {
        entries = new Entry[](count);
        for (uint64 i = 0; i < count; ++i) {
            BundleFields memory bundle = _bundle(ALICE, nonce + i);
            bundle.postage = uint128(nonce + i) * 0.001 ether;
            _sign(bundle, ALICE);
            entries[i] = Entry(0, previous + i, bundle);
        }
    }
}
