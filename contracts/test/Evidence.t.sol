// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, ForcedEntry, Opening} from "../src/IBatches.sol";
import {IEvidence, SignedReceipt} from "../src/IEvidence.sol";
import {IOperators} from "../src/IOperators.sol";
import {Deployer} from "./Deployer.sol";
import {Lane} from "./Lane.sol";
import {ReferenceTree} from "./ReferenceTree.sol";
import {vm} from "../script/Vm.sol";

contract EvidenceTest is Lane {
    address private constant OPERATOR = Deployer.OPERATOR;
    uint256 private constant KEY = Deployer.RECEIPT_KEY;
    uint64 private constant ANSWER_DELAY = 7_200;

    function setUp() public {
        _start();
        vm.fee(1 gwei);
    }

    // Offence 1

    function test_TwoLeavesAtOneSequenceCostTheBond() public {
        SignedReceipt memory one = _receipt(0, keccak256("one"), KEY);
        SignedReceipt memory other = _receiptOfThree(0, keccak256("other"));
        vm.prank(REPORTER);
        settlement.proveEquivocation(0, one, other);
        _assertSlashed();

        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyCharged.selector, 0, 1));
        vm.prank(REPORTER);
        settlement.proveEquivocation(0, other, one);
    }

    function test_ReceiptsMadeAnewAreNoOffence() public {
        SignedReceipt memory one = _receipt(5, keccak256("leaf"), KEY);
        SignedReceipt memory again = _receipt(5, keccak256("leaf"), KEY);
        again.receipt.includeBy += 100;
        _sign(again, KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.SameLeaf.selector, keccak256("leaf")));
        settlement.proveEquivocation(5, one, again);

        // Nor is the same leaf in a group of other bounds, nor another leaf at another sequence.
        SignedReceipt memory wide = _receiptOfThree(5, keccak256("leaf"));
        vm.expectRevert(abi.encodeWithSelector(IEvidence.SameLeaf.selector, keccak256("leaf")));
        settlement.proveEquivocation(5, one, wide);
        SignedReceipt memory next = _receipt(6, keccak256("another"), KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInReceipt.selector, 5));
        settlement.proveEquivocation(5, one, next);
    }

    function test_ForeignReceiptsAreNoEvidence() public {
        SignedReceipt memory one = _receipt(0, keccak256("one"), KEY);
        SignedReceipt memory forged = _receipt(0, keccak256("other"), ALICE);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotReceiptSigner.selector, 0, 1, vm.addr(ALICE)));
        settlement.proveEquivocation(0, one, forged);

        SignedReceipt memory elsewhere = _receipt(0, keccak256("other"), KEY);
        elsewhere.receipt.lane = 1;
        _sign(elsewhere, KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.OtherTerm.selector, 1, 1));
        settlement.proveEquivocation(0, one, elsewhere);

        forged = _receipt(0, keccak256("other"), KEY);
        forged.signature = "";
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotReceiptSigner.selector, 0, 1, address(0)));
        settlement.proveEquivocation(0, one, forged);

        // Another chain has another domain.
        SignedReceipt memory other = _receipt(0, keccak256("other"), KEY);
        vm.chainId(1);
        (bool taken,) = address(settlement).call(abi.encodeCall(IEvidence.proveEquivocation, (0, one, other)));
        vm.assertFalse(taken, "receipts of another chain were taken");
    }

    function test_RotatingTheKeyDoesNotHelp() public {
        SignedReceipt memory one = _receipt(0, keccak256("one"), KEY);
        SignedReceipt memory other = _receipt(0, keccak256("other"), KEY);
        Deployer.register(settlement, 0, OPERATOR, Deployer.POSTER, OTHER_RECEIPT_KEY, 0);
        vm.roll(40_000);
        vm.prank(REPORTER);
        settlement.proveEquivocation(0, one, other);
        _assertSlashed();
    }

    function test_LeavingOrBeingTakenOverDoesNotHelp() public {
        SignedReceipt memory one = _receipt(0, keccak256("one"), KEY);
        SignedReceipt memory other = _receipt(0, keccak256("other"), KEY);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_000 + 1_800);
        _takeOver();
        vm.prank(REPORTER);
        settlement.proveEquivocation(0, one, other);
        vm.assertEq(_bondOf(OPERATOR), 0, "bond of who did it");
        vm.assertEq(_bondOf(OTHER_OPERATOR), 10 ether, "bond of who runs the lane now");
        vm.assertEq(settlement.operator(0), OTHER_OPERATOR, "operator");

        // What it had is gone on the day of its exit.
        vm.roll(1_000 + 60_000);
        vm.prank(OPERATOR);
        settlement.withdrawBond(0);
        vm.assertEq(settlement.owed(OPERATOR), 0, "owed");
    }

    function test_ASlashedLaneIsOpenToOthersAtOnce() public {
        SignedReceipt memory one = _receipt(0, keccak256("one"), KEY);
        SignedReceipt memory other = _receipt(0, keccak256("other"), KEY);
        settlement.proveEquivocation(0, one, other);
        vm.assertEq(settlement.operator(0), address(0), "operator");
        _takeOver();
        vm.assertEq(settlement.term(0), 2, "term");
        vm.assertEq(_bondOf(OTHER_OPERATOR), 10 ether, "bond");
    }

    // Offence 2

    function test_AnotherLeafThanPromisedCostsTheBond() public {
        Entry[] memory entries = _alices(3);
        SignedReceipt memory promised = _receipt(1, keccak256("promised"), KEY);
        BatchHeader memory header = _commit(entries);
        bytes32[] memory leaves = _leaves(entries);
        vm.prank(REPORTER);
        settlement.proveReplacement(1, promised, header, leaves[1], ReferenceTree.path(leaves, 1));
        _assertSlashed();
    }

    function test_ThePromisedLeafIsNoOffence() public {
        Entry[] memory entries = _alices(3);
        bytes32[] memory leaves = _leaves(entries);
        SignedReceipt memory promised = _receipt(1, leaves[1], KEY);
        BatchHeader memory header = _commit(entries);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.SameLeaf.selector, leaves[1]));
        settlement.proveReplacement(1, promised, header, leaves[1], ReferenceTree.path(leaves, 1));
        // A leaf that is not in the batch there, a batch that is not committed, a sequence that is not in it.
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInBatch.selector, 1, 1));
        settlement.proveReplacement(1, promised, header, leaves[0], ReferenceTree.path(leaves, 0));
        header.timestamp += 1;
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInBatch.selector, 1, 1));
        settlement.proveReplacement(1, promised, header, leaves[0], ReferenceTree.path(leaves, 1));
        header.timestamp -= 1;
        SignedReceipt memory later = _receipt(3, keccak256("later"), KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInBatch.selector, 1, 0));
        settlement.proveReplacement(3, later, header, leaves[0], ReferenceTree.path(leaves, 0));
    }

    function test_ABatchOfAnotherTermBreaksNoPromise() public {
        SignedReceipt memory promised = _receipt(0, keccak256("promised"), KEY);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_000 + 1_800);
        _takeOver();
        Entry[] memory entries = _alices(1);
        BatchHeader memory header = _commit(entries);
        bytes32[] memory leaves = _leaves(entries);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.OtherTerm.selector, 0, 2));
        settlement.proveReplacement(0, promised, header, leaves[0], ReferenceTree.path(leaves, 0));
    }

    /// @dev Who has the lane a second time promises anew what its first term did not commit.
    function test_PromisesOfAnOperatorsTwoTermsDoNotContradictEachOther() public {
        SignedReceipt memory first = _receipt(0, keccak256("lapsed"), KEY);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_000 + 60_000);
        vm.startPrank(OPERATOR);
        settlement.withdrawBond(0);
        settlement.payOut(OPERATOR);
        settlement.register{value: 10 ether}(0, Deployer.POSTER, address(0), "");
        settlement.takeOver(0);
        vm.stopPrank();
        SignedReceipt memory second = _receipt(0, keccak256("promised anew"), KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.OtherTerm.selector, 0, 2));
        settlement.proveEquivocation(0, first, second);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.OtherTerm.selector, 0, 1));
        settlement.proveEquivocation(0, second, first);

        // But what it did in its first term costs it what it has now, the lane too.
        SignedReceipt memory other = _receipt(0, keccak256("other"), KEY);
        other.receipt.term = 1;
        _sign(other, KEY);
        settlement.proveEquivocation(0, first, other);
        vm.assertEq(_bondOf(OPERATOR), 0, "bond");
        vm.assertEq(settlement.operator(0), address(0), "operator");
        (,, uint64 endBlock,,, bool slashed,) = settlement.termOf(0, 2);
        vm.assertTrue(endBlock == block.number && !slashed, "term 2");
        vm.expectRevert(abi.encodeWithSelector(IOperators.BondTooSmall.selector, 5 ether, 0));
        vm.prank(OPERATOR);
        settlement.takeOver(0);
    }

    function test_WhoLeavesAndIsCaughtHasNoTimeLeft() public {
        SignedReceipt memory due = _receipt(0, keccak256("one"), KEY);
        SignedReceipt memory other = _receipt(0, keccak256("other"), KEY);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_950);
        vm.prank(REPORTER);
        settlement.proveEquivocation(0, due, other);
        _assertSlashed();
        // All is taken: the broken promise costs nothing more, whatever bond there is.
        vm.deal(address(this), 1 ether);
        settlement.addBond{value: 1 ether}(0, OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyCharged.selector, 0, 1));
        settlement.proveBroken(0, due);
    }

    function test_ABatchOfAnotherLaneBreaksNoPromise() public {
        SignedReceipt memory promised = _receipt(1, keccak256("promised"), KEY);
        promised.receipt.lane = 1;
        _sign(promised, KEY);
        Entry[] memory entries = _alices(3);
        BatchHeader memory header = _commit(entries);
        bytes32[] memory leaves = _leaves(entries);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.OtherTerm.selector, 0, 1));
        settlement.proveReplacement(1, promised, header, leaves[1], ReferenceTree.path(leaves, 1));
    }

    // Offence 3

    function test_TrueEntriesAreNoOffence() public {
        Entry[] memory entries = new Entry[](9);
        entries[0] = Entry(0, 0, _bundle(ALICE, 0));
        entries[1] = Entry(0, 0, _bundle(BOB, 0));
        // As out of the inbox: its nonce is not the next.
        entries[2] = Entry(1, 1, _bundle(ALICE, 7));
        entries[3] = Entry(0, 1, _bundle(ALICE, 1));
        entries[4] = Entry(1, 0, _bundle(0xCA401, 3));
        // No sequencer takes these, but what they say is true: they do not count whatever their nonce.
        entries[5] = Entry(1, 4, _bundle(ALICE, 2));
        _sign(entries[5].bundle, BOB);
        entries[6] = Entry(1, 0, _bundle(0xCA401, 0));
        _sign(entries[6].bundle, BOB);
        // Three messages, and the next nonce after them.
        entries[7] = Entry(0, 2, _bundle(BOB, 1));
        entries[7].bundle.count = 3;
        _sign(entries[7].bundle, BOB);
        entries[8] = Entry(0, 8, _bundle(BOB, 4));
        _commit(entries);
        for (uint32 i = 0; i < 9; ++i) {
            _assertTrue(1, i, new Opening[](0));
            for (uint32 j = 0; j < 9; ++j) {
                Opening[] memory others = new Opening[](1);
                others[0] = _open(1, j);
                _assertTrue(1, i, others);
            }
            _assertTrue(1, i, new Opening[](2));
        }
    }

    function test_AVoidByteThatIsNoneIsFalse() public {
        _assertFalseAlone(Entry(2, 0, _bundle(ALICE, 1)));
    }

    function test_APreviousThatIsNotEarlierIsFalse() public {
        _assertFalseAlone(Entry(0, 1, _bundle(ALICE, 1)));
    }

    function test_AForgedSignatureThatCountsIsFalse() public {
        Entry memory entry = Entry(0, 0, _bundle(ALICE, 0));
        _sign(entry.bundle, BOB);
        _assertFalseAlone(entry);
    }

    function test_ASenderZeroThatCountsIsFalse() public {
        Entry memory entry = Entry(0, 0, _bundle(ALICE, 0));
        entry.bundle.sender = address(0);
        entry.bundle.signature = "";
        _assertFalseAlone(entry);
    }

    function test_AnotherLaneThatCountsIsFalse() public {
        Entry memory entry = Entry(0, 0, _bundle(ALICE, 0));
        entry.bundle.lane = 1;
        _sign(entry.bundle, ALICE);
        _assertFalseAlone(entry);
    }

    function test_CountsThatCannotBeAreFalse() public {
        uint256 snapshot = vm.snapshotState();
        Entry memory entry = Entry(0, 0, _bundle(ALICE, 0));
        entry.bundle.count = 0;
        _sign(entry.bundle, ALICE);
        _assertFalseAlone(entry);
        vm.revertToState(snapshot);
        entry.bundle.count = 4_097;
        _sign(entry.bundle, ALICE);
        _assertFalseAlone(entry);
        vm.revertToState(snapshot);
        entry = Entry(0, 0, _bundle(ALICE, type(uint64).max));
        _assertFalseAlone(entry);
    }

    function test_ANonceThatIsNotTheFirstIsFalse() public {
        _assertFalseAlone(Entry(0, 0, _bundle(ALICE, 1)));
    }

    function test_AValidFirstEntryThatIsVoidIsFalse() public {
        _assertFalseAlone(Entry(1, 0, _bundle(ALICE, 0)));
    }

    function test_ASkippedNonceIsFalse() public {
        _assertFalseBeside(Entry(0, 0, _bundle(ALICE, 0)), Entry(0, 1, _bundle(ALICE, 2)));
    }

    function test_NothingIsNextToTheLastNonceThereIs() public {
        _assertFalseBeside(Entry(0, 0, _bundle(ALICE, type(uint64).max)), Entry(0, 1, _bundle(ALICE, 0)));
    }

    function test_AReplayIsFalse() public {
        _assertFalseBeside(Entry(0, 0, _bundle(ALICE, 0)), Entry(0, 1, _bundle(ALICE, 0)));
    }

    function test_AValidEntryThatIsVoidIsFalse() public {
        _assertFalseBeside(Entry(0, 0, _bundle(ALICE, 0)), Entry(1, 1, _bundle(ALICE, 1)));
    }

    function test_APreviousThatIsVoidIsFalse() public {
        _assertFalseBeside(Entry(1, 0, _bundle(ALICE, 3)), Entry(0, 1, _bundle(ALICE, 4)));
    }

    function test_APreviousOfAnotherSenderIsFalse() public {
        _assertFalseBeside(Entry(0, 0, _bundle(BOB, 0)), Entry(0, 1, _bundle(ALICE, 1)));
    }

    function test_AnOverlookedEntryIsFalse() public {
        _assertFalseBeside(Entry(0, 0, _bundle(ALICE, 0)), Entry(0, 0, _bundle(ALICE, 0)));
    }

    function test_AnEntryOfAnotherLaneSaysNothing() public {
        _commit(Entry(0, 0, _bundle(ALICE, 0)));
        Opening[] memory others = new Opening[](1);
        others[0] = _open(1, 0);
        others[0].header.lane = 1;
        Opening memory entry = _open(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInBatch.selector, 1, 0));
        settlement.proveFalseEntry(entry, others);
    }

    function test_ACommittedEntryOfAnotherLaneSaysNothing() public {
        Entry[] memory entries = new Entry[](2);
        entries[0] = Entry(0, 0, _bundle(BOB, 0));
        entries[1] = Entry(0, 0, _bundle(ALICE, 0));
        Entry[] memory elsewhere = new Entry[](1);
        elsewhere[0] = entries[1];
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = _seal(elsewhere);
        list[0].lane = 1;
        vm.prank(Deployer.POSTER);
        settlement.commit(list, new ForcedEntry[](0));
        _commit(entries);
        Opening[] memory others = new Opening[](1);
        others[0] = Opening(list[0], 0, 0, 0, elsewhere[0].bundle, new bytes32[](0));
        Opening memory entry = _open(1, 1);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.OtherTerm.selector, 1, 0));
        settlement.proveFalseEntry(entry, others);
    }

    function test_TheTermOfTheFalseEntryIsCharged() public {
        _commit(Entry(0, 0, _bundle(ALICE, 0)));
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_000 + 1_800);
        _takeOver();
        _commit(Entry(0, 1, _bundle(ALICE, 5)));
        Opening[] memory others = new Opening[](1);
        others[0] = _open(1, 0);
        Opening memory entry = _open(2, 0);
        settlement.proveFalseEntry(entry, others);
        vm.assertEq(_bondOf(OPERATOR), 10 ether, "bond of the first operator");
        vm.assertEq(_bondOf(OTHER_OPERATOR), 0, "bond of the second operator");
    }

    // Offence 4

    function test_AnAnswerEarnsTheFee() public {
        BatchHeader memory header = _commit(_alices(3));
        uint256 fee = settlement.answerFee();
        vm.assertEq(fee, 200_000 gwei, "least fee");
        vm.deal(REPORTER, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AnswerFeeTooSmall.selector, fee, fee - 1));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: fee - 1}(header, 1);
        vm.prank(REPORTER);
        settlement.demandCommitted{value: fee}(header, 1);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyDemanded.selector, 1));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: fee}(header, 1);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInBatch.selector, 1, 3));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: fee}(header, 3);

        vm.roll(1_000 + ANSWER_DELAY);
        Opening memory opening = _open(1, 1);
        vm.prank(address(0xA45));
        settlement.answer(opening);
        vm.assertEq(settlement.owed(address(0xA45)), fee, "fee");
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDemanded.selector, 1));
        settlement.answer(opening);
        vm.roll(1_000 + ANSWER_DELAY + 1);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDemanded.selector, 1));
        settlement.proveUnanswered(0, 1, 1);
        // Answered, it stays evidence.
        _assertTrue(1, 1, new Opening[](0));
    }

    function test_NoAnswerCostsAPenaltyAndTheEntryIsNoEvidenceFromThen() public {
        // A false entry, so that it would be evidence.
        BatchHeader memory header = _commit(Entry(0, 0, _bundle(ALICE, 9)));
        uint256 fee = settlement.answerFee();
        vm.deal(REPORTER, 1 ether);
        vm.prank(REPORTER);
        settlement.demandCommitted{value: fee}(header, 0);
        vm.roll(1_000 + ANSWER_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDemanded.selector, 0));
        settlement.proveUnanswered(0, 1, 0);
        vm.roll(1_000 + ANSWER_DELAY + 1);
        Opening memory opening = _open(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDemanded.selector, 0));
        settlement.answer(opening);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.Withheld.selector, 0, 1, 0));
        settlement.proveFalseEntry(opening, new Opening[](0));

        settlement.proveUnanswered(0, 1, 0);
        vm.assertEq(_bondOf(OPERATOR), 9 ether, "bond");
        vm.assertEq(settlement.owed(REPORTER), fee + 0.1 ether, "fee and reward of who demanded");
        vm.assertEq(settlement.operator(0), OPERATOR, "operator");
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyCharged.selector, 0, 1));
        settlement.proveUnanswered(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.Withheld.selector, 0, 1, 0));
        settlement.proveFalseEntry(opening, new Opening[](0));
    }

    function test_TheThirdUnansweredDemandCostsTheBond() public {
        BatchHeader memory header = _commit(_alices(4));
        vm.deal(REPORTER, 1 ether);
        for (uint32 index = 0; index < 4; ++index) {
            vm.prank(REPORTER);
            settlement.demandCommitted{value: 0.0002 ether}(header, index);
        }
        vm.roll(1_000 + ANSWER_DELAY + 1);
        settlement.proveUnanswered(0, 1, 0);
        settlement.proveUnanswered(0, 1, 1);
        vm.assertEq(_bondOf(OPERATOR), 8 ether, "bond after two");
        settlement.proveUnanswered(0, 1, 2);
        vm.assertEq(_bondOf(OPERATOR), 0, "bond after three");
        vm.assertEq(settlement.operator(0), address(0), "operator after three");
        // Who demanded gets the fee of what cannot be charged any more back, too, and once.
        settlement.proveUnanswered(0, 1, 3);
        vm.assertEq(settlement.owed(REPORTER), 4 * 0.0002 ether + 0.1 ether + 0.1 ether + 0.8 ether, "owed");
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyCharged.selector, 0, 1));
        settlement.proveUnanswered(0, 1, 3);
    }

    function test_WhatWasPromisedAndIsDueCanBeDemanded() public {
        SignedReceipt memory promised = _receipt(2, keccak256("promised"), KEY);
        uint256 fee = settlement.answerFee();
        vm.deal(REPORTER, 1 ether);
        vm.roll(1_900);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDue.selector, 2, 1_900));
        vm.prank(REPORTER);
        settlement.demandPromised{value: fee}(2, promised);
        vm.roll(1_901);
        vm.prank(REPORTER);
        settlement.demandPromised{value: fee}(2, promised);

        // Committed late and opened, it is no offence.
        _commit(_alices(3));
        settlement.answer(_open(1, 2));
        vm.assertEq(settlement.owed(address(this)), fee, "fee");
        BatchHeader memory header = headers[1];
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyDemanded.selector, 2));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: fee}(header, 2);
        // What is committed is not demanded by a receipt.
        SignedReceipt memory committed = _receipt(1, keccak256("promised"), KEY);
        vm.roll(2_900);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDue.selector, 1, 2_801));
        vm.prank(REPORTER);
        settlement.demandPromised{value: fee}(1, committed);
    }

    function test_OnlyTheRunningTermsPromisesBeyondTheHeadAreDemanded() public {
        _commit(_alices(2));
        SignedReceipt memory last = _receipt(1, keccak256("promised"), KEY);
        SignedReceipt memory next = _receipt(2, keccak256("promised"), KEY);
        vm.deal(REPORTER, 1 ether);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_901);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotDue.selector, 1, 1_900));
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(1, last);

        uint256 snapshot = vm.snapshotState();
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(2, next);
        vm.revertToState(snapshot);
        // When the term is over, and when another runs, it is broken at once instead.
        bytes memory notDue = abi.encodeWithSelector(IEvidence.NotDue.selector, 2, 1_900);
        vm.roll(1_000 + 1_800);
        vm.expectRevert(notDue);
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(2, next);
        _takeOver();
        vm.expectRevert(notDue);
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(2, next);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotBroken.selector, 1));
        settlement.proveBroken(1, last);
        settlement.proveBroken(2, next);
    }

    function test_ADroppedPromiseCostsAPenalty() public {
        SignedReceipt memory promised = _receipt(0, keccak256("promised"), KEY);
        vm.deal(REPORTER, 1 ether);
        vm.roll(1_901);
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(0, promised);
        vm.roll(1_901 + ANSWER_DELAY + 1);
        settlement.proveUnanswered(0, 1, 0);
        vm.assertEq(_bondOf(OPERATOR), 9 ether, "bond");
    }

    /// @dev Else the operator of a term could keep an entry that only it knows, and show it against whoever runs the lane next.
    function test_WhatIsCommittedAfterItsPromiseWasChargedCanBeDemandedAnew() public {
        SignedReceipt memory promised = _receipt(0, keccak256("promised"), KEY);
        vm.deal(REPORTER, 1 ether);
        vm.roll(1_901);
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(0, promised);
        BatchHeader memory header = _commit(_alices(1));
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyDemanded.selector, 0));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: 0.0002 ether}(header, 0);
        vm.roll(1_901 + ANSWER_DELAY + 1);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyDemanded.selector, 0));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: 0.0002 ether}(header, 0);
        settlement.proveUnanswered(0, 1, 0);
        vm.prank(REPORTER);
        settlement.demandCommitted{value: 0.0002 ether}(header, 0);

        // The next operator does not know the entry, and takes the sender's first bundle for its first.
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_901 + 2 * (ANSWER_DELAY + 1));
        _takeOver();
        _commit(Entry(0, 0, _bundle(ALICE, 0)));
        Opening memory entry = _open(2, 0);
        Opening[] memory others = new Opening[](1);
        others[0] = _open(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.Withheld.selector, 0, 1, 0));
        settlement.proveFalseEntry(entry, others);
        // It costs no second penalty, and what was paid for the answer comes back.
        settlement.proveUnanswered(0, 1, 0);
        vm.assertEq(_bondOf(OPERATOR), 9 ether, "bond");
        vm.assertEq(settlement.owed(REPORTER), 2 * 0.0002 ether + 0.1 ether, "owed");
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyDemanded.selector, 0));
        vm.prank(REPORTER);
        settlement.demandCommitted{value: 0.0002 ether}(header, 0);
    }

    /// @dev Else a penalty would buy the right to commit anything there.
    function test_WhatIsCommittedAfterADemandForItStaysEvidence() public {
        SignedReceipt memory promised = _receipt(0, keccak256("promised"), KEY);
        vm.deal(REPORTER, 1 ether);
        vm.roll(1_901);
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(0, promised);
        vm.roll(1_901 + ANSWER_DELAY + 1);
        settlement.proveUnanswered(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyDemanded.selector, 0));
        vm.prank(REPORTER);
        settlement.demandPromised{value: 0.0002 ether}(0, promised);
        Entry[] memory entries = _alices(1);
        BatchHeader memory header = _commit(entries);
        settlement.proveReplacement(0, promised, header, _entryHash(entries[0]), new bytes32[](0));
        vm.assertEq(_bondOf(OPERATOR), 0, "bond");
    }

    function test_ATermThatEndsBreaksWhatWasDue() public {
        SignedReceipt memory due = _receipt(0, keccak256("due"), KEY);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotBroken.selector, 0));
        settlement.proveBroken(0, due);
        vm.roll(1_000 + 1_800);
        SignedReceipt memory lapsed = _receipt(1, keccak256("lapsed"), KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotBroken.selector, 1));
        settlement.proveBroken(1, lapsed);
        lapsed.receipt.includeBy = 1_000 + 1_800;
        _sign(lapsed, KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotBroken.selector, 1));
        settlement.proveBroken(1, lapsed);
        vm.prank(REPORTER);
        settlement.proveBroken(0, due);
        vm.assertEq(_bondOf(OPERATOR), 9 ether, "bond");
        vm.assertEq(settlement.owed(REPORTER), 0.1 ether, "reward");
        vm.expectRevert(abi.encodeWithSelector(IEvidence.AlreadyCharged.selector, 0, 1));
        settlement.proveBroken(0, due);
    }

    function test_ReceiptsBelowTheirTermAreNoEvidence() public {
        _commit(_alices(2));
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_000 + 1_800);
        _takeOver();
        SignedReceipt memory one = _receipt(1, keccak256("one"), OTHER_RECEIPT_KEY);
        SignedReceipt memory other = _receipt(1, keccak256("other"), OTHER_RECEIPT_KEY);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInReceipt.selector, 1));
        settlement.proveEquivocation(1, one, other);
    }

    function _assertSlashed() private view {
        vm.assertEq(_bondOf(OPERATOR), 0, "bond");
        vm.assertEq(settlement.owed(REPORTER), 1 ether, "a tenth for the reporter");
        vm.assertEq(settlement.operator(0), address(0), "operator");
        (,, uint64 endBlock,,, bool slashed,) = settlement.termOf(0, 1);
        vm.assertTrue(slashed && endBlock == block.number, "term 1");
    }

    /// @dev Commits `first`, which is true or evidence, and after it the false entry.
    function _assertFalseBeside(Entry memory first, Entry memory entry) private {
        Entry[] memory entries = new Entry[](2);
        entries[0] = first;
        entries[1] = entry;
        _commit(entries);
        Opening[] memory others = new Opening[](1);
        others[0] = _open(1, 0);
        Opening memory opening = _open(1, 1);
        vm.prank(REPORTER);
        settlement.proveFalseEntry(opening, others);
        _assertSlashed();
    }

    function _assertFalseAlone(Entry memory entry) private {
        _commit(entry);
        Opening memory opening = _open(1, 0);
        vm.prank(REPORTER);
        settlement.proveFalseEntry(opening, new Opening[](0));
        _assertSlashed();
    }

    function _assertTrue(uint64 number, uint32 index, Opening[] memory others) private {
        Opening memory opening = _open(number, index);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.EntryIsTrue.selector, opening.header.firstSequence + index));
        settlement.proveFalseEntry(opening, others);
    }

    /// @dev A receipt whose group is three entries wide, of which `leaf` is the second.
    function _receiptOfThree(uint64 sequence, bytes32 leaf) private view returns (SignedReceipt memory signed) {
        bytes32[] memory leaves = new bytes32[](3);
        uint256 place = sequence == 0 ? 0 : 1;
        leaves[0] = keccak256("first");
        leaves[1] = keccak256("second");
        leaves[2] = keccak256("third");
        leaves[place] = leaf;
        signed = _receipt(sequence, leaf, KEY);
        signed.receipt.firstSequence = sequence - uint64(place);
        signed.receipt.count = 3;
        signed.receipt.root = ReferenceTree.root(leaves);
        signed.path = ReferenceTree.path(leaves, place);
        _sign(signed, KEY);
    }

    function _alices(uint64 count) private view returns (Entry[] memory entries) {
        entries = new Entry[](count);
        for (uint64 i = 0; i < count; ++i) {
            entries[i] = Entry(0, i, _bundle(ALICE, i));
        }
    }

    function _takeOver() private {
        Deployer.register(settlement, 0, OTHER_OPERATOR, OTHER_POSTER, OTHER_RECEIPT_KEY, 10 ether);
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
    }
}
