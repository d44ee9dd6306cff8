// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, ForcedEntry, IBatches} from "../src/IBatches.sol";
import {IOperators} from "../src/IOperators.sol";
import {IPayouts} from "../src/IPayouts.sol";
import {Deployer} from "./Deployer.sol";
import {Lane} from "./Lane.sol";
import {vm} from "../script/Vm.sol";

contract OperatorsTest is Lane {
    address private constant OPERATOR = Deployer.OPERATOR;
    uint64 private constant EXIT_DELAY = 60_000;
    uint64 private constant MAX_INCLUDE_DELAY = 1_800;

    function setUp() public {
        _start();
    }

    // Registration

    function test_TheFirstOperatorRegistersBeforeItCommits() public {
        address[] memory firstOperators = new address[](1);
        firstOperators[0] = OPERATOR;
        settlement = Deployer.settlement(firstOperators, Deployer.parameters());
        vm.assertEq(settlement.operator(0), OPERATOR, "operator");
        vm.assertEq(settlement.poster(0), address(0), "poster before the registration");
        Entry[] memory entries = _entries(0);
        _assertCommitRefused(
            Deployer.POSTER, entries, abi.encodeWithSelector(IBatches.NotPoster.selector, address(0), Deployer.POSTER)
        );
        Deployer.register(settlement, 0, OPERATOR, Deployer.POSTER, Deployer.RECEIPT_KEY, 5 ether);
        _commit(entries);
        vm.assertEq(_bondOf(OPERATOR), 5 ether, "bond");
    }

    function test_RegistrationNeedsABondAPosterAndASigner() public {
        bytes memory registration = Deployer.registrationOf(settlement, 0, OTHER_OPERATOR, OTHER_RECEIPT_KEY);
        address signer = vm.addr(OTHER_RECEIPT_KEY);
        vm.deal(OTHER_OPERATOR, 20 ether);
        vm.startPrank(OTHER_OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IOperators.BondTooSmall.selector, 5 ether, 5 ether - 1));
        settlement.register{value: 5 ether - 1}(0, OTHER_POSTER, signer, registration);
        vm.expectRevert(abi.encodeWithSelector(IOperators.ZeroAddress.selector));
        settlement.register{value: 5 ether}(0, address(0), signer, registration);
        vm.expectRevert(abi.encodeWithSelector(IOperators.ZeroAddress.selector));
        settlement.register{value: 5 ether}(0, OTHER_POSTER, address(0), "");
        vm.expectRevert(abi.encodeWithSelector(IBatches.UnknownLane.selector, 2, 2));
        settlement.register{value: 5 ether}(2, OTHER_POSTER, signer, registration);
        vm.stopPrank();
    }

    function test_NobodyRegistersAnothersSigner() public {
        address signer = vm.addr(Deployer.RECEIPT_KEY);
        bytes memory registration = Deployer.registrationOf(settlement, 0, OPERATOR, Deployer.RECEIPT_KEY);
        vm.deal(OTHER_OPERATOR, 20 ether);
        vm.prank(OTHER_OPERATOR);
        (bool accepted,) = address(settlement).call{value: 5 ether}(
            abi.encodeCall(IOperators.register, (0, OTHER_POSTER, signer, registration))
        );
        vm.assertFalse(accepted, "the signature for another operator was taken");

        // Nor for another lane, nor without one.
        registration = Deployer.registrationOf(settlement, 1, OTHER_OPERATOR, OTHER_RECEIPT_KEY);
        vm.prank(OTHER_OPERATOR);
        (accepted,) = address(settlement).call{value: 5 ether}(
            abi.encodeCall(IOperators.register, (0, OTHER_POSTER, vm.addr(OTHER_RECEIPT_KEY), registration))
        );
        vm.assertFalse(accepted, "the signature for another lane was taken");
        vm.expectRevert(
            abi.encodeWithSelector(IOperators.BadRegistration.selector, vm.addr(OTHER_RECEIPT_KEY), address(0))
        );
        vm.prank(OTHER_OPERATOR);
        settlement.register{value: 5 ether}(0, OTHER_POSTER, vm.addr(OTHER_RECEIPT_KEY), "");
    }

    function test_ThePosterChangesWithoutASigner() public {
        vm.prank(OPERATOR);
        settlement.register(0, address(0xBEEF), address(0), "");
        vm.assertEq(settlement.poster(0), address(0xBEEF), "poster");
        vm.assertEq(settlement.poster(1), Deployer.POSTER, "poster of the other lane");
        vm.assertEq(settlement.receiptSigner(0, 1), vm.addr(Deployer.RECEIPT_KEY), "signer");
    }

    function test_ARetiredSignerBindsForAWhile() public {
        address first = vm.addr(Deployer.RECEIPT_KEY);
        address second = vm.addr(OTHER_RECEIPT_KEY);
        Deployer.register(settlement, 0, OPERATOR, Deployer.POSTER, OTHER_RECEIPT_KEY, 0);
        vm.assertEq(settlement.receiptSigner(0, 1), second, "the current one");
        vm.assertTrue(settlement.isReceiptSigner(0, 1, second), "the current one does not bind");
        vm.assertEq(settlement.signerRetiredAt(0, OPERATOR, first), 1_000, "retired at");
        vm.roll(1_000 + MAX_INCLUDE_DELAY + 50_400);
        vm.assertTrue(settlement.isReceiptSigner(0, 1, first), "the retired one does not bind any more");
        vm.roll(1_000 + MAX_INCLUDE_DELAY + 50_401);
        vm.assertFalse(settlement.isReceiptSigner(0, 1, first), "the retired one binds for ever");
        vm.assertFalse(settlement.isReceiptSigner(0, 2, second), "a signer of a term that is not");
        vm.assertFalse(settlement.isReceiptSigner(0, 1, address(0)), "the zero address");

        // Back again: current, and then retired anew.
        Deployer.register(settlement, 0, OPERATOR, Deployer.POSTER, Deployer.RECEIPT_KEY, 0);
        vm.assertTrue(settlement.isReceiptSigner(0, 1, first), "the current one does not bind");
        vm.assertTrue(settlement.isReceiptSigner(0, 1, second), "the retired one does not bind");
    }

    function test_AnybodyAddsToABond() public {
        vm.deal(address(this), 3 ether);
        settlement.addBond{value: 3 ether}(0, OPERATOR);
        vm.assertEq(_bondOf(OPERATOR), 13 ether, "bond");
        vm.expectRevert(abi.encodeWithSelector(IOperators.NotOperator.selector, 0, REPORTER));
        settlement.addBond(0, REPORTER);
    }

    // Exit

    function test_AnExitEndsTheTermAndThenFreesTheBond() public {
        _commit(_entries(0));
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        (address operator,, uint64 endBlock,,,,) = settlement.termOf(0, 1);
        vm.assertEq(operator, OPERATOR, "operator of term 1");
        vm.assertEq(endBlock, 1_000 + MAX_INCLUDE_DELAY, "end of the term");

        // What was promised can still be committed, up to the last block that a promise can name.
        vm.roll(1_000 + MAX_INCLUDE_DELAY - 1);
        _commit(_entries(1));
        vm.roll(1_000 + MAX_INCLUDE_DELAY);
        vm.assertEq(settlement.operator(0), address(0), "operator after the end");
        vm.assertEq(settlement.poster(0), address(0), "poster after the end");
        _assertCommitRefused(Deployer.POSTER, _entries(2), abi.encodeWithSelector(IOperators.NoOperator.selector, 0));

        vm.roll(1_000 + EXIT_DELAY - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IOperators.TooEarly.selector, 1_000 + EXIT_DELAY, 1_000 + EXIT_DELAY - 1)
        );
        vm.prank(OPERATOR);
        settlement.withdrawBond(0);
        vm.roll(1_000 + EXIT_DELAY);
        vm.prank(OPERATOR);
        settlement.withdrawBond(0);
        vm.assertEq(_bondOf(OPERATOR), 0, "bond");
        vm.assertEq(settlement.owed(OPERATOR), 10 ether, "owed");
        settlement.payOut(OPERATOR);
        vm.assertEq(OPERATOR.balance, 10 ether, "balance");
        vm.expectRevert(abi.encodeWithSelector(IPayouts.NothingOwed.selector, OPERATOR));
        settlement.payOut(OPERATOR);
    }

    function test_WhoLeavesNeitherRegistersNorTakesOver() public {
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        bytes memory leaving = abi.encodeWithSelector(IOperators.Leaving.selector, 0, OPERATOR, 1_000);
        vm.expectRevert(leaving);
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.expectRevert(leaving);
        vm.prank(OPERATOR);
        settlement.register(0, Deployer.POSTER, address(0), "");
        vm.roll(1_000 + MAX_INCLUDE_DELAY);
        vm.expectRevert(leaving);
        vm.prank(OPERATOR);
        settlement.takeOver(0);
    }

    function test_WhoLeavesWithoutTheLaneEndsNoTerm() public {
        _registerOther();
        vm.prank(OTHER_OPERATOR);
        settlement.requestExit(0);
        (,, uint64 endBlock,,,,) = settlement.termOf(0, 1);
        vm.assertEq(endBlock, 0, "end of the term");
        vm.roll(1_000 + EXIT_DELAY);
        vm.assertEq(settlement.operator(0), OPERATOR, "operator");
        vm.prank(OTHER_OPERATOR);
        settlement.withdrawBond(0);
        vm.assertEq(settlement.owed(OTHER_OPERATOR), 10 ether, "owed");
    }

    function test_OnlyOperatorsLeave() public {
        vm.expectRevert(abi.encodeWithSelector(IOperators.NotOperator.selector, 0, REPORTER));
        vm.prank(REPORTER);
        settlement.requestExit(0);
        vm.expectRevert(abi.encodeWithSelector(IOperators.NotLeaving.selector, 0, OPERATOR));
        vm.prank(OPERATOR);
        settlement.withdrawBond(0);
    }

    // Takeover

    function test_AVacantLaneIsTakenByABondedOperator() public {
        _commit(_entries(0));
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        _registerOther();
        vm.expectRevert(abi.encodeWithSelector(IOperators.NoCause.selector, 0, OPERATOR));
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);

        vm.roll(1_000 + MAX_INCLUDE_DELAY);
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        vm.assertEq(settlement.term(0), 2, "term");
        vm.assertEq(settlement.operator(0), OTHER_OPERATOR, "operator");
        vm.assertEq(settlement.poster(0), OTHER_POSTER, "poster");
        vm.assertEq(settlement.receiptSigner(0, 1), vm.addr(Deployer.RECEIPT_KEY), "signer of term 1");
        vm.assertEq(settlement.receiptSigner(0, 2), vm.addr(OTHER_RECEIPT_KEY), "signer of term 2");
        (,, uint64 endBlock, uint64 endSequence,,,) = settlement.termOf(0, 1);
        vm.assertEq(endBlock, 1_000 + MAX_INCLUDE_DELAY, "end block of term 1");
        vm.assertEq(endSequence, 1, "end sequence of term 1");
        (, uint64 firstSequence, uint64 open, uint64 head,,,) = settlement.termOf(0, 2);
        vm.assertTrue(firstSequence == 1 && open == 0 && head == 1, "term 2");
        vm.assertEq(_bondOf(OPERATOR), 10 ether, "a bond was taken from who left in order");

        // History stays, and goes on from the committed head, in the new term only.
        _commit(_entries(1));
        (uint64 number, uint64 nextSequence,,) = settlement.head(0);
        vm.assertTrue(number == 2 && nextSequence == 2, "head");
    }

    function test_ATermEndsForTheOldPosterAtOnce() public {
        _takeOverForWantOfBond();
        Entry[] memory entries = _entries(0);
        _assertCommitRefused(
            Deployer.POSTER, entries, abi.encodeWithSelector(IBatches.NotPoster.selector, OTHER_POSTER, Deployer.POSTER)
        );
        BatchHeader memory header = _seal(entries);
        header.term = 1;
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = header;
        vm.expectRevert(abi.encodeWithSelector(IBatches.WrongTerm.selector, 1, 2, 1));
        vm.prank(OTHER_POSTER);
        settlement.commit(list, new ForcedEntry[](0));
    }

    function test_ABondBelowTheLeastCostsTheLaneAndAPenalty() public {
        _takeOverForWantOfBond();
        vm.assertEq(_bondOf(OPERATOR), 0, "bond of the ousted one");
        vm.assertEq(settlement.owed(OTHER_OPERATOR), 0, "a reward out of no bond");
    }

    function test_TakeoverNeedsABondACauseAndAnotherOperator() public {
        vm.expectRevert(abi.encodeWithSelector(IOperators.NotOperator.selector, 0, OTHER_OPERATOR));
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        _registerOther();
        vm.assertEq(settlement.poster(0), Deployer.POSTER, "poster");
        vm.expectRevert(abi.encodeWithSelector(IOperators.NoCause.selector, 0, OPERATOR));
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        vm.expectRevert(abi.encodeWithSelector(IOperators.RunsAlready.selector, 0, OPERATOR));
        vm.prank(OPERATOR);
        settlement.takeOver(0);
    }

    function test_PayoutsThatAreNotTakenStay() public {
        Refuser refuser = new Refuser();
        vm.deal(address(refuser), 10 ether);
        bytes memory registration = Deployer.registrationOf(settlement, 0, address(refuser), OTHER_RECEIPT_KEY);
        vm.startPrank(address(refuser));
        settlement.register{value: 10 ether}(0, OTHER_POSTER, vm.addr(OTHER_RECEIPT_KEY), registration);
        settlement.requestExit(0);
        vm.roll(1_000 + EXIT_DELAY);
        settlement.withdrawBond(0);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IPayouts.PayoutFailed.selector, address(refuser)));
        settlement.payOut(address(refuser));
        vm.assertEq(settlement.owed(address(refuser)), 10 ether, "owed");
    }

    /// @dev The lane's first operator never registered.
    function _takeOverForWantOfBond() private {
        address[] memory firstOperators = new address[](1);
        firstOperators[0] = OPERATOR;
        settlement = Deployer.settlement(firstOperators, Deployer.parameters());
        _registerOther();
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
    }

    function _registerOther() private {
        Deployer.register(settlement, 0, OTHER_OPERATOR, OTHER_POSTER, OTHER_RECEIPT_KEY, 10 ether);
    }

    function _entries(uint64 nonce) private view returns (Entry[] memory entries) {
        entries = new Entry[](1);
        entries[0] = Entry(0, nonce, _bundle(ALICE, nonce));
    }

    function _assertCommitRefused(address poster, Entry[] memory entries, bytes memory revertData) private {
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = _seal(entries);
        vm.expectRevert(revertData);
        vm.prank(poster);
        settlement.commit(list, new ForcedEntry[](0));
    }
}

/// @notice An account that takes no money.
contract Refuser {}
