// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, ForcedEntry, IBatches} from "../src/IBatches.sol";
import {IOperators} from "../src/IOperators.sol";
import {IParameters, Parameters} from "../src/IParameters.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {Deployer} from "./Deployer.sol";
import {ProofBuilder} from "./ProofBuilder.sol";
import {SettlementStorage} from "./SettlementStorage.sol";
import {vm, Vm} from "../script/Vm.sol";

contract SettlementTest is ProofBuilder {
    uint16 private constant LANES = 3;

    function setUp() public {
        vm.warp(NOW);
        settlement = Deployer.running(LANES);
    }

    // Deployment

    function test_RefusesToBeDeployedWithoutLanesOrOperators() public {
        vm.expectRevert(abi.encodeWithSelector(IParameters.LanesOutOfBounds.selector, 65_535, 0));
        Deployer.settlement(new address[](0), Deployer.parameters());
        vm.expectRevert(abi.encodeWithSelector(IOperators.ZeroAddress.selector));
        Deployer.settlement(new address[](2), Deployer.parameters());
    }

    function test_RefusesParametersThatPromisesCannotRestOn() public {
        Parameters memory parameters = Deployer.parameters();
        parameters.maxIncludeDelay = 0;
        _assertTooSmall(parameters, "maxIncludeDelay", 1, 0);
        parameters = Deployer.parameters();
        parameters.answerDelay = 0;
        _assertTooSmall(parameters, "answerDelay", 1, 0);
        parameters = Deployer.parameters();
        parameters.evidenceWindow = 0;
        _assertTooSmall(parameters, "evidenceWindow", 1, 0);
        parameters = Deployer.parameters();
        parameters.exitDelay = 59_399;
        _assertTooSmall(parameters, "exitDelay", 59_400, 59_399);
        parameters = Deployer.parameters();
        parameters.takeoverDelay = 0;
        _assertTooSmall(parameters, "takeoverDelay", 1, 0);
        vm.chainId(1);
        parameters.takeoverDelay = 7_199;
        _assertTooSmall(parameters, "takeoverDelay", 7_200, 7_199);
        vm.chainId(31_337);
        parameters = Deployer.parameters();
        parameters.forcedDelay = 0;
        _assertTooSmall(parameters, "forcedDelay", 1, 0);
        parameters = Deployer.parameters();
        parameters.withdrawDelay = 9_000;
        _assertTooSmall(parameters, "withdrawDelay", 9_001, 9_000);
        parameters = Deployer.parameters();
        parameters.penalty = 0;
        _assertTooSmall(parameters, "penalty", 1, 0);
        parameters = Deployer.parameters();
        parameters.minBond = 1 ether - 1;
        _assertTooSmall(parameters, "minBond", 1 ether, 1 ether - 1);
    }

    function test_KeepsWhatItWasDeployedWith() public view {
        Parameters memory parameters = Deployer.parameters();
        vm.assertEq(settlement.laneCount(), LANES, "laneCount");
        vm.assertEq(settlement.maxIncludeDelay(), parameters.maxIncludeDelay, "maxIncludeDelay");
        vm.assertEq(settlement.answerDelay(), parameters.answerDelay, "answerDelay");
        vm.assertEq(settlement.evidenceWindow(), parameters.evidenceWindow, "evidenceWindow");
        vm.assertEq(settlement.exitDelay(), parameters.exitDelay, "exitDelay");
        vm.assertEq(settlement.takeoverDelay(), parameters.takeoverDelay, "takeoverDelay");
        vm.assertEq(settlement.forcedDelay(), parameters.forcedDelay, "forcedDelay");
        vm.assertEq(settlement.minForcedLife(), parameters.minForcedLife, "minForcedLife");
        vm.assertEq(settlement.withdrawDelay(), parameters.withdrawDelay, "withdrawDelay");
        vm.assertEq(settlement.minBond(), parameters.minBond, "minBond");
        vm.assertEq(settlement.penalty(), parameters.penalty, "penalty");
        vm.assertEq(settlement.inboxFee(), parameters.inboxFee, "inboxFee");
    }

    function test_LanesEndAtLaneCount() public view {
        address signer = vm.addr(Deployer.RECEIPT_KEY);
        vm.assertEq(settlement.term(LANES - 1), 1, "term of the last lane");
        vm.assertEq(settlement.term(LANES), 0, "term of a lane that does not exist");
        vm.assertEq(settlement.operator(LANES - 1), Deployer.OPERATOR, "operator of the last lane");
        vm.assertEq(settlement.operator(LANES), address(0), "operator of a lane that does not exist");
        vm.assertEq(settlement.poster(LANES - 1), POSTER, "poster of the last lane");
        vm.assertEq(settlement.poster(LANES), address(0), "poster of a lane that does not exist");
        vm.assertEq(settlement.receiptSigner(LANES - 1, 1), signer, "signer of the last lane");
        vm.assertEq(settlement.receiptSigner(LANES, 1), address(0), "signer of a lane that does not exist");
        vm.assertEq(settlement.receiptSigner(0, 0), address(0), "signer of term 0");
        vm.assertEq(settlement.receiptSigner(0, 2), address(0), "signer of term 2");
    }

    function testFuzz_EveryLaneStartsAtGenesis(uint16 lane, uint64 number) public view {
        _assertHead(lane, 0, 0, 0);
        vm.assertEq(settlement.batchHash(lane, number), 0, "batchHash of nothing");
    }

    function testFuzz_DomainFollowsTheChain(uint64 chainId) public {
        vm.assume(chainId != 0);
        vm.chainId(chainId);
        vm.assertEq(settlement.domainSeparator(), _domainSeparator(), "domain separator");
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chain,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        ) = settlement.eip712Domain();
        vm.assertEq(uint8(fields), 0x0f, "fields");
        vm.assertEq(name, "Sealpost", "name");
        vm.assertEq(version, "1", "version");
        vm.assertEq(chain, chainId, "chainId");
        vm.assertEq(verifyingContract, address(settlement), "verifyingContract");
        vm.assertEq(salt, 0, "salt");
        vm.assertEq(extensions.length, 0, "extensions");
    }

    // Commit

    function test_CommitMovesTheHeadAndKeepsTheHash() public {
        BatchHeader memory first = _next(0, 5, keccak256("root 1"));
        _commit(first);
        _assertHead(0, 1, 5, NOW);
        vm.assertEq(settlement.batchHash(0, 1), keccak256(abi.encode(first)), "batchHash 1");

        vm.warp(NOW + 12);
        BatchHeader memory second = _next(0, 1_048_576, keccak256("root 2"));
        second.timestamp = NOW + 12;
        _commit(second);
        _assertHead(0, 2, 1_048_581, NOW + 12);
        vm.assertEq(settlement.batchHash(0, 2), keccak256(abi.encode(second)), "batchHash 2");
        vm.assertEq(settlement.batchHash(0, 1), keccak256(abi.encode(first)), "batchHash 1 changed");
    }

    function test_CommitEmitsEveryHeaderInFull() public {
        BatchHeader[] memory headers = _chain(1, 3);
        vm.recordLogs();
        _commitAll(headers);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3, "logs");
        for (uint256 i = 0; i < logs.length; ++i) {
            vm.assertEq(logs[i].emitter, address(settlement), "emitter");
            vm.assertEq(logs[i].topics.length, 4, "topics");
            vm.assertEq(logs[i].topics[0], IBatches.BatchCommitted.selector, "signature");
            vm.assertEq(uint256(logs[i].topics[1]), 1, "lane");
            vm.assertEq(uint256(logs[i].topics[2]), i + 1, "number");
            vm.assertEq(logs[i].topics[3], keccak256(abi.encode(headers[i])), "batchHash");
            vm.assertEq(logs[i].data, abi.encode(headers[i]), "header");
        }
    }

    function test_CommitTakesOneTo255Batches() public {
        _commitAll(_chain(0, 255));
        _assertHead(0, 255, 255 * 256 / 2, NOW);

        BatchHeader[] memory headers = _chain(0, 256);
        vm.expectRevert(abi.encodeWithSelector(IBatches.BatchesOutOfBounds.selector, 255, 256));
        _commitAll(headers);

        vm.expectRevert(abi.encodeWithSelector(IBatches.BatchesOutOfBounds.selector, 255, 0));
        _commitAll(new BatchHeader[](0));
    }

    function test_CommitIsAllOrNone() public {
        BatchHeader[] memory headers = _chain(0, 3);
        headers[2].timestamp = NOW + 1;
        vm.expectRevert(abi.encodeWithSelector(IBatches.TimestampTooLate.selector, 3, NOW, NOW + 1));
        _commitAll(headers);
        _assertHead(0, 0, 0, 0);
        vm.assertEq(settlement.batchHash(0, 1), 0, "a batch of a refused commit stayed");
    }

    function test_LanesAreIndependent() public {
        _commitAll(_chain(0, 2));
        _commitAll(_chain(2, 4));
        _assertHead(0, 2, 3, NOW);
        _assertHead(1, 0, 0, 0);
        _assertHead(2, 4, 10, NOW);
    }

    function testFuzz_OnlyThePosterCommits(address stranger) public {
        vm.assume(stranger != POSTER);
        BatchHeader[] memory headers = _chain(0, 1);
        vm.expectRevert(abi.encodeWithSelector(IBatches.NotPoster.selector, POSTER, stranger));
        vm.prank(stranger);
        settlement.commit(headers, new ForcedEntry[](0));
    }

    function testFuzz_RefusesUnknownLanes(uint16 lane) public {
        lane = uint16(bound(lane, LANES, type(uint16).max));
        BatchHeader memory header = _next(lane, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IBatches.UnknownLane.selector, LANES, lane));
        _commit(header);
    }

    function test_RefusesAnotherLaneInTheSameCommit() public {
        BatchHeader[] memory headers = _chain(0, 2);
        headers[1].lane = 1;
        vm.expectRevert(abi.encodeWithSelector(IBatches.WrongLane.selector, 0, 1));
        _commitAll(headers);
    }

    function test_RefusesWhatIsAlreadyCommittedByItsNumber() public {
        BatchHeader[] memory headers = _chain(0, 2);
        _commitAll(headers);
        vm.expectRevert(abi.encodeWithSelector(IBatches.WrongNumber.selector, 3, 1));
        _commitAll(headers);
    }

    function test_RefusesEveryBrokenRuleWithItsEvidence() public {
        _commitAll(_chain(0, 2));
        bytes32 parentHash = settlement.batchHash(0, 2);

        BatchHeader memory header = _next(0, 1, 0);
        header.number = 4;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongNumber.selector, 3, 4));

        header = _next(0, 1, 0);
        header.term = 2;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongTerm.selector, 3, 1, 2));
        header.term = 0;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongTerm.selector, 3, 1, 0));

        header = _next(0, 1, 0);
        header.parentHash = 0;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongParentHash.selector, 3, parentHash, bytes32(0)));

        header = _next(0, 1, 0);
        header.firstSequence = 4;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongFirstSequence.selector, 3, 3, 4));
        header.firstSequence = 2;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongFirstSequence.selector, 3, 3, 2));

        header = _next(0, 0, 0);
        _assertRefused(header, abi.encodeWithSelector(IBatches.CountOutOfBounds.selector, 3, 1_048_576, 0));
        header = _next(0, 1_048_577, 0);
        _assertRefused(header, abi.encodeWithSelector(IBatches.CountOutOfBounds.selector, 3, 1_048_576, 1_048_577));

        header = _next(0, 1, 0);
        header.inboxCount = 1;
        _assertRefused(header, abi.encodeWithSelector(IBatches.WrongInboxCount.selector, 3, 0, 1));

        header = _next(0, 1, 0);
        header.timestamp = NOW - 1;
        _assertRefused(header, abi.encodeWithSelector(IBatches.TimestampTooEarly.selector, 3, NOW, NOW - 1));
        header.timestamp = NOW + 1;
        _assertRefused(header, abi.encodeWithSelector(IBatches.TimestampTooLate.selector, 3, NOW, NOW + 1));
    }

    function test_GenesisHasNoParent() public {
        BatchHeader memory header = _next(0, 1, 0);
        header.parentHash = keccak256("a parent");
        _assertRefused(
            header, abi.encodeWithSelector(IBatches.WrongParentHash.selector, 1, bytes32(0), header.parentHash)
        );
    }

    /// @dev The second header's parent is the first one in the same call.
    function test_RulesHoldWithinOneCommit() public {
        BatchHeader[] memory headers = _chain(0, 2);
        bytes32 parentHash = headers[1].parentHash;

        headers[1].parentHash = 0;
        vm.expectRevert(abi.encodeWithSelector(IBatches.WrongParentHash.selector, 2, parentHash, bytes32(0)));
        _commitAll(headers);
        headers[1].parentHash = parentHash;

        headers[1].firstSequence = 0;
        vm.expectRevert(abi.encodeWithSelector(IBatches.WrongFirstSequence.selector, 2, 1, 0));
        _commitAll(headers);
        headers[1].firstSequence = 1;

        headers[1].timestamp = NOW - 1;
        vm.expectRevert(abi.encodeWithSelector(IBatches.TimestampTooEarly.selector, 2, NOW, NOW - 1));
        _commitAll(headers);
        headers[1].timestamp = NOW;

        headers[1].number = 1;
        vm.expectRevert(abi.encodeWithSelector(IBatches.WrongNumber.selector, 2, 1));
        _commitAll(headers);
    }

    function test_RefusesSequencesBeyond64Bits() public {
        SettlementStorage.writeHead(address(settlement), 0, 1, type(uint64).max - 9, NOW, 0);
        BatchHeader memory header = _next(0, 10, 0);
        _assertRefused(header, abi.encodeWithSignature("Panic(uint256)", 0x11));
        header.count = 9;
        _commit(header);
        _assertHead(0, 2, type(uint64).max, NOW);
    }

    function test_RefusesNumbersBeyond64Bits() public {
        SettlementStorage.writeHead(address(settlement), 0, type(uint64).max, 5, NOW, 0);
        BatchHeader memory header;
        header.firstSequence = 5;
        _assertRefused(header, abi.encodeWithSignature("Panic(uint256)", 0x11));
    }

    /// @dev A word with bits above its type would be hashed as it stands, so the decoder has to refuse it.
    function test_RefusesDirtyWordsInEveryNarrowField() public {
        BatchHeader[] memory headers = _chain(0, 1);
        bytes memory call = abi.encodeCall(IBatches.commit, (headers, new ForcedEntry[](0)));
        uint8[7] memory words = [0, 1, 2, 4, 5, 7, 8];
        for (uint256 i = 0; i < words.length; ++i) {
            bytes memory dirty = bytes.concat(call);
            // Behind the selector, the offsets of both arrays and the length of the first.
            dirty[4 + 96 + 32 * uint256(words[i])] = 0x01;
            vm.prank(POSTER);
            (bool accepted,) = address(settlement).call(dirty);
            vm.assertFalse(accepted, "dirty word accepted");
        }
        vm.prank(POSTER);
        (bool clean,) = address(settlement).call(call);
        vm.assertTrue(clean, "the clean call was refused");
    }

    function test_StorageIsWhereTheInterfaceSaysItIs() public {
        _commitAll(_chain(2, 4));
        vm.assertEq(
            vm.load(address(settlement), SettlementStorage.batchHashSlot(2, 3)), settlement.batchHash(2, 3), "batchHash"
        );
        vm.assertEq(
            uint256(vm.load(address(settlement), SettlementStorage.headSlot(2))),
            4 | uint256(10) << 64 | uint256(NOW) << 128,
            "head"
        );
        SettlementStorage.writeHead(address(settlement), 2, 11, 12, 13, 14);
        (uint64 number, uint64 nextSequence, uint64 timestamp, uint64 inboxCount) = settlement.head(2);
        vm.assertTrue(number == 11 && nextSequence == 12 && timestamp == 13 && inboxCount == 14, "head is not one slot");
    }

    /// @dev Each field is right, off by a little, or anything; commit takes the header exactly if every rule holds.
    /// forge-config: default.fuzz.runs = 1024
    function testFuzz_AcceptsExactlyWhatTheRulesAllow(BatchHeader memory any, uint256 choice, uint32 parentCount)
        public
    {
        _commit(_next(1, uint32(bound(parentCount, 1, 1_048_576)), keccak256("root")));
        vm.warp(NOW + 100);
        BatchHeader memory next = _next(1, 1, 0);

        any.lane = uint16(_pick(choice, 0, next.lane, any.lane, type(uint16).max));
        any.term = uint32(_pick(choice, 1, 1, any.term, type(uint32).max));
        any.number = uint64(_pick(choice, 2, next.number, any.number, type(uint64).max));
        if (choice >> 24 & 7 != 0) any.parentHash = next.parentHash;
        any.firstSequence = uint64(_pick(choice, 4, next.firstSequence, any.firstSequence, type(uint64).max));
        any.count = uint32(_pick(choice, 5, 1_048_576, any.count, type(uint32).max));
        any.inboxCount = uint64(_pick(choice, 6, 0, any.inboxCount, type(uint64).max));
        any.timestamp = uint64(_pick(choice, 7, NOW + 100 * (choice >> 255), any.timestamp, type(uint64).max));

        bool allowed = any.lane == 1 && any.term == 1 && any.number == 2 && any.parentHash == settlement.batchHash(1, 1)
            && any.firstSequence == next.firstSequence && any.count >= 1 && any.count <= 1_048_576
            && any.inboxCount == 0 && any.timestamp >= NOW && any.timestamp <= NOW + 100;

        BatchHeader[] memory headers = new BatchHeader[](1);
        headers[0] = any;
        vm.prank(POSTER);
        (bool accepted,) = address(settlement).call(abi.encodeCall(IBatches.commit, (headers, new ForcedEntry[](0))));
        vm.assertTrue(accepted == allowed, allowed ? "refused against the rules" : "accepted against the rules");
        if (accepted) {
            _assertHead(1, 2, next.firstSequence + any.count, any.timestamp);
            vm.assertEq(settlement.batchHash(1, 2), keccak256(abi.encode(any)), "batchHash");
        } else {
            _assertHead(1, 1, next.firstSequence, NOW);
            vm.assertEq(settlement.batchHash(1, 2), 0, "batchHash of a refused batch");
        }
    }

    /// @dev Byte `field` of `choice` decides: mostly the right value, else one beside it, else the fuzzer's.
    function _pick(uint256 choice, uint256 field, uint256 right, uint256 any, uint256 max)
        private
        pure
        returns (uint256)
    {
        uint256 dice = (choice >> (8 * field)) & 0xff;
        if (dice < 232) return right;
        if (dice < 240) return right == max ? max : right + 1;
        if (dice < 248) return right == 0 ? 0 : right - 1;
        return any;
    }

    /// @dev `length` headers on top of an empty lane; batch n has n entries.
    function _chain(uint16 lane, uint256 length) private view returns (BatchHeader[] memory headers) {
        headers = new BatchHeader[](length);
        for (uint256 i = 0; i < length; ++i) {
            headers[i] = _next(lane, uint32(i + 1), keccak256(abi.encode("root", i)));
            if (i > 0) {
                headers[i].number = headers[i - 1].number + 1;
                headers[i].firstSequence = headers[i - 1].firstSequence + headers[i - 1].count;
                headers[i].parentHash = keccak256(abi.encode(headers[i - 1]));
            }
        }
    }

    function _commitAll(BatchHeader[] memory headers) private {
        vm.prank(POSTER);
        settlement.commit(headers, new ForcedEntry[](0));
    }

    function _assertTooSmall(Parameters memory parameters, string memory name, uint256 min, uint256 got) private {
        address[] memory firstOperators = new address[](1);
        firstOperators[0] = Deployer.OPERATOR;
        vm.expectRevert(abi.encodeWithSelector(IParameters.ParameterTooSmall.selector, name, min, got));
        Deployer.settlement(firstOperators, parameters);
    }

    function _assertRefused(BatchHeader memory header, bytes memory revertData) private {
        vm.expectRevert(revertData);
        _commit(header);
    }

    function _assertHead(uint16 lane, uint64 number, uint64 nextSequence, uint64 timestamp) private view {
        (uint64 gotNumber, uint64 gotNextSequence, uint64 gotTimestamp, uint64 gotInboxCount) = settlement.head(lane);
        vm.assertEq(gotNumber, number, "head.number");
        vm.assertEq(gotNextSequence, nextSequence, "head.nextSequence");
        vm.assertEq(gotTimestamp, timestamp, "head.timestamp");
        vm.assertEq(gotInboxCount, 0, "head.inboxCount");
    }
}
