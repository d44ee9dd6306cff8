// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, BundleFields, ForcedEntry, IBatches, Opening} from "../src/IBatches.sol";
import {IInbox} from "../src/IInbox.sol";
import {IOperators} from "../src/IOperators.sol";
import {IPostage} from "../src/IPostage.sol";
import {Deployer} from "./Deployer.sol";
import {Lane} from "./Lane.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {vm, Vm} from "../script/Vm.sol";

contract InboxTest is Lane {
    address private constant USER = address(0x05E4);
    uint64 private constant EXPIRY = NOW + 100_000;
    uint64 private constant FORCED_DELAY = 600;

    function setUp() public {
        _start();
        vm.fee(1 gwei);
        vm.deal(USER, 1_000 ether);
        vm.deal(address(this), 1_000 ether);
    }

    // Enqueueing

    function test_AForcedBundleWaitsWithItsDeadline() public {
        bytes memory framed = _framed(ALICE, 0, EXPIRY, 3);
        BundleFields memory bundle = _fields(framed, ALICE);
        vm.recordLogs();
        _force(framed);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs[0].topics[0], IInbox.BundleForced.selector, "event");
        vm.assertEq(uint256(logs[0].topics[2]), 0, "index");
        vm.assertEq(address(uint160(uint256(logs[0].topics[3]))), vm.addr(ALICE), "sender");
        vm.assertEq(logs[0].data, abi.encode(_bundleHash(bundle), uint64(1_600), framed), "event data");
        (bytes32 bundleHash, uint64 deadline, uint128 fee) = settlement.inbox(0, 0);
        vm.assertEq(bundleHash, _bundleHash(bundle), "bundleHash");
        vm.assertEq(deadline, 1_000 + FORCED_DELAY, "deadline");
        vm.assertEq(fee, 60_000 gwei, "fee");
        vm.assertEq(settlement.inboxLength(0), 1, "length");
        vm.assertEq(settlement.inboxLength(1), 0, "length of another lane");
    }

    function test_TheFeeGrowsWithTheQueueAndTheRestIsGivenBack() public {
        (uint256 consumer, uint256 burned) = settlement.forcedFee(0);
        vm.assertTrue(consumer == 60_000 gwei && burned == 0.001 ether, "fee of an empty queue");
        for (uint64 i = 0; i < 64; ++i) {
            _force(_framed(ALICE, i, EXPIRY, 1));
        }
        (consumer, burned) = settlement.forcedFee(0);
        vm.assertTrue(consumer == 60_000 gwei && burned == 0.002 ether, "fee behind 64");
        bytes memory framed = _framed(ALICE, 64, EXPIRY, 1);
        vm.expectRevert(abi.encodeWithSelector(IInbox.FeeTooSmall.selector, consumer, burned, consumer + burned - 1));
        vm.prank(USER);
        settlement.forceInclude{value: consumer + burned - 1}(framed);
        uint256 owed = settlement.owed(USER);
        vm.prank(USER);
        settlement.forceInclude{value: 1 ether}(framed);
        vm.assertEq(settlement.owed(USER) - owed, 1 ether - consumer - burned, "given back");
    }

    function test_RefusesWhatIsSignedByAnother() public {
        bytes memory framed = _framed(ALICE, 0, EXPIRY, 1);
        framed[framed.length - 2] ^= 0x01;
        vm.prank(USER);
        (bool taken,) = address(settlement).call{value: 1 ether}(abi.encodeCall(IInbox.forceInclude, (framed)));
        vm.assertFalse(taken, "a bad signature was taken");
    }

    function test_RefusesAnotherLaneThanThatOfItsTopics() public {
        BundleFields memory bundle = _unsigned(ALICE, 0, EXPIRY, 2);
        bundle.lane = 1;
        _sign(bundle, ALICE);
        bytes memory framed = _encode(bundle, 0);
        // The topic of its first message.
        vm.expectRevert(abi.encodeWithSelector(IInbox.MalformedBundle.selector, 4 + 59 + 4 + 1));
        vm.prank(USER);
        settlement.forceInclude{value: 1 ether}(framed);
    }

    function test_RefusesWhatWouldExpireInTheQueue() public {
        bytes memory framed = _framed(ALICE, 0, NOW + 86_399, 1);
        vm.expectRevert(abi.encodeWithSelector(IInbox.ExpiresTooSoon.selector, NOW + 86_400, NOW + 86_399));
        vm.prank(USER);
        settlement.forceInclude{value: 1 ether}(framed);
        _force(_framed(ALICE, 0, NOW + 86_400, 1));
    }

    function test_RefusesMoreThan98304Bytes() public {
        vm.expectRevert(abi.encodeWithSelector(IInbox.BundleTooLong.selector, 98_304, 98_305));
        vm.prank(USER);
        settlement.forceInclude{value: 1 ether}(new bytes(98_305));
    }

    /// @dev Every byte but the signature's is held against the codec, or changes what is signed.
    function testFuzz_AnyChangedByteIsRefused(uint256 place, uint8 change) public {
        bytes memory framed = _framed(ALICE, 0, EXPIRY, 2);
        framed[place % framed.length] ^= bytes1(uint8(bound(change, 1, 255)));
        vm.prank(USER);
        (bool taken,) = address(settlement).call{value: 1 ether}(abi.encodeCall(IInbox.forceInclude, (framed)));
        vm.assertFalse(taken, "a corrupted bundle was taken");
    }

    function testFuzz_AnyCutIsRefused(uint256 length) public {
        bytes memory framed = _framed(ALICE, 0, EXPIRY, 2);
        length = bound(length, 0, framed.length - 1);
        bytes memory cut = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            cut[i] = framed[i];
        }
        vm.expectRevert(abi.encodeWithSelector(IInbox.MalformedBundle.selector, length < 128 ? length : 0));
        vm.prank(USER);
        settlement.forceInclude{value: 1 ether}(cut);
    }

    // Consuming

    function test_ACommitConsumesEntriesInOrder() public {
        _force(_framed(ALICE, 0, EXPIRY, 1));
        _force(_framed(ALICE, 1, EXPIRY, 2));
        Entry[] memory entries = _mixed(ALICE, 2);
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 2;
        _commitForced(header, _forcedEntries(entries, 1, 2));
        (,,, uint64 inboxCount) = settlement.head(0);
        vm.assertEq(inboxCount, 2, "inboxCount");
        vm.assertEq(settlement.owed(Deployer.POSTER), 120_000 gwei, "fees");
        vm.assertFalse(settlement.isForced(0, 0), "the first entry is not forced");
        vm.assertTrue(settlement.isForced(0, 1) && settlement.isForced(0, 2), "the other two are");
        (bytes32 bundleHash, uint64 deadline, uint128 fee) = settlement.inbox(0, 1);
        vm.assertTrue(bundleHash == 0 && deadline == 0 && fee == 0, "a consumed entry stays");
    }

    function test_WhereAForcedEntryStandsIsKeptOfIt() public {
        bytes memory framed = _framed(ALICE, 0, EXPIRY, 1);
        _force(framed);
        Entry[] memory entries = new Entry[](300);
        for (uint256 i = 0; i < entries.length; ++i) {
            entries[i].previous = uint64(i);
        }
        entries[200] = Entry(0, 0, _fields(framed, ALICE));
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 1;
        _commitForced(header, _forcedEntries(entries, 200, 1));
        for (uint64 sequence = 0; sequence < 600; ++sequence) {
            vm.assertTrue(settlement.isForced(0, sequence) == (sequence == 200), "isForced");
        }
        vm.assertFalse(settlement.isForced(1, 200), "of another lane");
        (, uint256 burned) = settlement.forcedFee(0);
        vm.assertEq(burned, 0.001 ether, "what is consumed makes nothing dearer");
    }

    function test_ForcedEntriesOweNothingNew() public {
        settlement.depositPostage{value: 1 ether}(0, vm.addr(ALICE));
        Entry[] memory entries = _mixed(ALICE, 1);
        entries[1].bundle.postage = 1 ether;
        _sign(entries[1].bundle, ALICE);
        _force(_encode(entries[1].bundle, 0));
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 1;
        _commitForced(header, _forcedEntries(entries, 1, 1));
        _keep(header, entries);
        Opening memory entry = _open(1, 1);
        vm.expectRevert(abi.encodeWithSelector(IPostage.NothingToRedeem.selector));
        settlement.redeem(entry);
    }

    function test_EntriesOutOfOrderAreRefused() public {
        _force(_framed(ALICE, 0, EXPIRY, 1));
        _force(_framed(ALICE, 1, EXPIRY, 2));
        Entry[] memory entries = _mixed(ALICE, 2);
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 2;
        ForcedEntry[] memory forced = _forcedEntries(entries, 1, 2);
        (forced[0], forced[1]) = (forced[1], forced[0]);
        _assertRefused(header, forced, abi.encodeWithSelector(IBatches.ForcedEntryNotInBatch.selector, 0, 0));

        // The same place twice.
        forced = _forcedEntries(entries, 1, 2);
        forced[1] = forced[0];
        _assertRefused(header, forced, abi.encodeWithSelector(IBatches.ForcedEntryOutOfOrder.selector, 1));
        // A header that the call does not have.
        forced = _forcedEntries(entries, 1, 2);
        forced[1].header = 1;
        header.inboxCount = 1;
        _assertRefused(header, forced, abi.encodeWithSelector(IBatches.ForcedEntryOutOfOrder.selector, 1));
        // More than the header says, or fewer.
        forced = _forcedEntries(entries, 1, 2);
        _assertRefused(header, forced, abi.encodeWithSelector(IBatches.WrongInboxCount.selector, 1, 2, 1));
        header.inboxCount = 3;
        _assertRefused(header, forced, abi.encodeWithSelector(IBatches.WrongInboxCount.selector, 1, 2, 3));
    }

    function test_MoreThanTheInboxHasIsRefused() public {
        _force(_framed(ALICE, 0, EXPIRY, 1));
        Entry[] memory entries = _mixed(ALICE, 2);
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 2;
        _assertRefused(
            header, _forcedEntries(entries, 1, 2), abi.encodeWithSelector(IBatches.ForcedEntryOutOfOrder.selector, 1)
        );
    }

    function test_OneBundleTwiceInTheInboxNeedsTwoPlaces() public {
        bytes memory framed = _framed(ALICE, 0, EXPIRY, 1);
        _force(framed);
        _force(framed);
        BundleFields memory bundle = _fields(framed, ALICE);
        Entry[] memory entries = new Entry[](2);
        entries[0] = Entry(0, 0, bundle);
        entries[1] = Entry(1, 1, bundle);
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 2;
        _commitForced(header, _forcedEntries(entries, 0, 2));
        vm.assertTrue(settlement.isForced(0, 0) && settlement.isForced(0, 1), "both");
    }

    function test_AnOverdueEntryHoldsCommitsUp() public {
        _force(_framed(ALICE, 0, EXPIRY, 1));
        vm.roll(1_000 + FORCED_DELAY);
        Entry[] memory without = new Entry[](1);
        without[0] = Entry(0, 0, _bundle(BOB, 0));
        _commit(without);
        vm.roll(1_000 + FORCED_DELAY + 1);
        without[0] = Entry(0, 1, _bundle(BOB, 1));
        BatchHeader memory header = _seal(without);
        _assertRefused(
            header,
            new ForcedEntry[](0),
            abi.encodeWithSelector(IBatches.ForcedEntryOverdue.selector, 0, 1_000 + FORCED_DELAY)
        );
        // With it in the same batch, or in the last one of the call, commits go on.
        Entry[] memory forced = _mixed(ALICE, 1);
        BatchHeader[] memory list = new BatchHeader[](2);
        list[0] = header;
        list[1] = _seal(forced);
        list[1].number = header.number + 1;
        list[1].parentHash = keccak256(abi.encode(header));
        list[1].firstSequence = header.firstSequence + 1;
        list[1].inboxCount = 1;
        ForcedEntry[] memory entries = _forcedEntries(forced, 1, 1);
        entries[0].header = 1;
        vm.prank(Deployer.POSTER);
        settlement.commit(list, entries);
        vm.assertTrue(settlement.isForced(0, 3), "where it stands");
    }

    function test_64EntriesAreEnoughHoweverLongTheQueueIs() public {
        for (uint64 i = 0; i < 130; ++i) {
            _force(_framed(ALICE, i, EXPIRY, 1));
        }
        vm.roll(1_000 + FORCED_DELAY + 1);
        Entry[] memory entries = _mixed(ALICE, 64);
        BatchHeader memory header = _seal(entries);
        header.inboxCount = 63;
        _assertRefused(
            header,
            _forcedEntries(entries, 1, 63),
            abi.encodeWithSelector(IBatches.ForcedEntryOverdue.selector, 63, 1_000 + FORCED_DELAY)
        );
        header.inboxCount = 64;
        _commitForced(header, _forcedEntries(entries, 1, 64));
    }

    function test_WhoLeavesAnEntryOverdueLosesTheLane() public {
        _force(_framed(ALICE, 0, EXPIRY, 1));
        Deployer.register(settlement, 0, OTHER_OPERATOR, OTHER_POSTER, OTHER_RECEIPT_KEY, 10 ether);
        vm.roll(1_000 + FORCED_DELAY + 7_200);
        vm.expectRevert(abi.encodeWithSelector(IOperators.NoCause.selector, 0, Deployer.OPERATOR));
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        vm.roll(1_000 + FORCED_DELAY + 7_201);
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        vm.assertEq(_bondOf(Deployer.OPERATOR), 9 ether, "bond of the ousted one");
        vm.assertEq(settlement.owed(OTHER_OPERATOR), 0.1 ether, "reward");
        (,, uint64 endBlock,,,,) = settlement.termOf(0, 1);
        vm.assertEq(endBlock, block.number, "end of the term");

        // The next one is held up by the same entry, and consumes it.
        Entry[] memory entries = _mixed(ALICE, 1);
        ForcedEntry[] memory forced = _forcedEntries(entries, 1, 1);
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = _seal(entries);
        vm.expectRevert(abi.encodeWithSelector(IBatches.ForcedEntryOverdue.selector, 0, 1_000 + FORCED_DELAY));
        vm.prank(OTHER_POSTER);
        settlement.commit(list, new ForcedEntry[](0));
        list[0].inboxCount = 1;
        vm.prank(OTHER_POSTER);
        settlement.commit(list, forced);
        vm.assertEq(settlement.owed(OTHER_POSTER), 60_000 gwei, "fee");
    }

    /// @dev Else the ousted one would take the lane back at once, and the penalty of who came to help.
    function test_WhoTakesALaneHasTimeForItsOverdueEntries() public {
        _force(_framed(ALICE, 0, EXPIRY, 1));
        Deployer.register(settlement, 0, OTHER_OPERATOR, OTHER_POSTER, OTHER_RECEIPT_KEY, 10 ether);
        uint64 taken = 1_000 + FORCED_DELAY + 7_200 + 50;
        vm.roll(taken);
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        bytes memory noCause = abi.encodeWithSelector(IOperators.NoCause.selector, 0, OTHER_OPERATOR);
        vm.expectRevert(noCause);
        vm.prank(Deployer.OPERATOR);
        settlement.takeOver(0);
        vm.roll(taken + 7_200);
        vm.expectRevert(noCause);
        vm.prank(Deployer.OPERATOR);
        settlement.takeOver(0);
        vm.roll(taken + 7_201);
        vm.prank(Deployer.OPERATOR);
        settlement.takeOver(0);
        vm.assertEq(_bondOf(OTHER_OPERATOR), 9 ether, "bond of who did not use it");
    }

    function _force(bytes memory framed) private {
        (uint256 consumer, uint256 burned) = settlement.forcedFee(0);
        vm.prank(USER);
        settlement.forceInclude{value: consumer + burned}(framed);
    }

    /// @dev An entry over HTTP, then `count` forced ones of ALICE with nonces from 0.
    function _mixed(uint256 key, uint64 count) private view returns (Entry[] memory entries) {
        (, uint64 nextSequence,,) = settlement.head(0);
        entries = new Entry[](count + 1);
        entries[0] = Entry(0, 0, _bundle(0xCA401, 0));
        for (uint64 i = 0; i < count; ++i) {
            uint32 messages = i == 1 && count == 2 ? 2 : 1;
            bytes memory framed = _framed(key, i, EXPIRY, messages);
            entries[i + 1] = Entry(0, i == 0 ? 0 : nextSequence + 1 + i, _fields(framed, key));
        }
    }

    function _forcedEntries(Entry[] memory entries, uint32 first, uint32 count)
        private
        pure
        returns (ForcedEntry[] memory forced)
    {
        bytes32[] memory leaves = _leaves(entries);
        forced = new ForcedEntry[](count);
        for (uint32 i = 0; i < count; ++i) {
            Entry memory entry = entries[first + i];
            forced[i] = ForcedEntry(0, first + i, entry.void, entry.previous, ReferenceTree.path(leaves, first + i));
        }
    }

    function _commitForced(BatchHeader memory header, ForcedEntry[] memory forced) private {
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = header;
        vm.prank(Deployer.POSTER);
        settlement.commit(list, forced);
    }

    function _assertRefused(BatchHeader memory header, ForcedEntry[] memory forced, bytes memory revertData) private {
        vm.expectRevert(revertData);
        _commitForced(header, forced);
    }
}
