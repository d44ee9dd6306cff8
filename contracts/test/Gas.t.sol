// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {DirectMessages} from "../src/DirectMessages.sol";
import {BatchHeader, MessageProof} from "../src/ISettlement.sol";
import {Deployer} from "./Deployer.sol";
import {ProofBuilder} from "./ProofBuilder.sol";
import {vm} from "../script/Vm.sol";

/// @notice What whole transactions cost: intrinsic gas, calldata (with EIP-7623's floor) and execution, from cold storage.
/// @dev Isolated, so every outermost call is a transaction. The figures are kept in contracts/snapshots; a test run fails
/// when one drifts, and `npm run snapshots -w contracts` writes them anew.
/// forge-config: default.isolate = true
contract TransactionGasTest is ProofBuilder {
    uint256 private constant COMMIT_GOAL = 66_000;
    /// @dev EIP-7825: no transaction may ask for more.
    uint256 private constant MAX_TRANSACTION_GAS = 16_777_216;

    function setUp() public {
        vm.warp(NOW);
        settlement = Deployer.settlement(1, 1800, POSTER, RECEIPT_SIGNER);
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
        settlement.commit(headers);
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
        settlement = Deployer.settlement(1, 1800, POSTER, RECEIPT_SIGNER);
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
