// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BundleFields, IBatches, Opening} from "../src/IBatches.sol";
import {IEvidence} from "../src/IEvidence.sol";
import {IOperators} from "../src/IOperators.sol";
import {IPostage} from "../src/IPostage.sol";
import {Deployer} from "./Deployer.sol";
import {Lane} from "./Lane.sol";
import {vm} from "../script/Vm.sol";

contract PostageTest is Lane {
    address private constant OPERATOR = Deployer.OPERATOR;
    uint64 private constant WITHDRAW_DELAY = 10_000;

    function setUp() public {
        _start();
        vm.deal(address(this), 100 ether);
    }

    function test_TheLatestBundleIsTheVoucher() public {
        settlement.depositPostage{value: 3 ether}(0, vm.addr(ALICE));
        _commit(_paid(0, 1 ether));
        _commit(_paid(1, 2 ether));
        settlement.redeem(_open(2, 0));
        vm.assertEq(settlement.owed(OPERATOR), 2 ether, "owed");
        _assertAccount(1 ether, 2 ether);
        // What is paid is paid: neither the voucher before it nor it again.
        Opening memory earlier = _open(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IPostage.NothingToRedeem.selector));
        settlement.redeem(earlier);
        Opening memory again = _open(2, 0);
        vm.expectRevert(abi.encodeWithSelector(IPostage.NothingToRedeem.selector));
        settlement.redeem(again);
        // Of what is owed beyond the deposit, the deposit; the rest when there is one.
        _commit(_paid(2, 5 ether));
        settlement.redeem(_open(3, 0));
        _assertAccount(0, 3 ether);
        settlement.depositPostage{value: 10 ether}(0, vm.addr(ALICE));
        settlement.redeem(_open(3, 0));
        _assertAccount(8 ether, 5 ether);
        vm.assertEq(settlement.owed(OPERATOR), 5 ether, "owed in all");
    }

    function test_NothingIsDueForWhatDoesNotCount() public {
        settlement.depositPostage{value: 3 ether}(0, vm.addr(ALICE));
        Entry memory entry = _paid(0, 1 ether);
        entry.void = 1;
        _assertNothing(entry);
        entry = _paid(0, 1 ether);
        entry.bundle.expiry = NOW - 1;
        _sign(entry.bundle, ALICE);
        _assertNothing(entry);
        entry = _paid(0, 1 ether);
        entry.bundle.postage = 2 ether;
        _assertNothing(entry);
        entry = _paid(0, 1 ether);
        entry.bundle.lane = 1;
        _sign(entry.bundle, ALICE);
        _assertNothing(entry);
        entry = _paid(0, 0);
        _assertNothing(entry);
        // Nobody's signature is not that of the zero address.
        settlement.depositPostage{value: 3 ether}(0, address(0));
        entry = _paid(0, 1 ether);
        entry.bundle.sender = address(0);
        entry.bundle.signature = "";
        _assertNothing(entry);
    }

    function test_OnlyWhatIsCommittedIsRedeemed() public {
        settlement.depositPostage{value: 3 ether}(0, vm.addr(ALICE));
        _commit(_paid(0, 1 ether));
        Opening memory opening = _open(1, 0);
        opening.bundle.postage = 3 ether;
        _sign(opening.bundle, ALICE);
        vm.expectRevert(abi.encodeWithSelector(IEvidence.NotInBatch.selector, 1, 0));
        settlement.redeem(opening);
    }

    function test_TheOperatorOfTheEntrysTermIsPaid() public {
        settlement.depositPostage{value: 3 ether}(0, vm.addr(ALICE));
        _commit(_paid(0, 1 ether));
        vm.prank(OPERATOR);
        settlement.requestExit(0);
        vm.roll(1_000 + 1_800);
        Deployer.register(settlement, 0, OTHER_OPERATOR, OTHER_POSTER, OTHER_RECEIPT_KEY, 10 ether);
        vm.prank(OTHER_OPERATOR);
        settlement.takeOver(0);
        _commit(_paid(1, 3 ether));
        settlement.redeem(_open(1, 0));
        settlement.redeem(_open(2, 0));
        vm.assertEq(settlement.owed(OPERATOR), 1 ether, "owed to the first operator");
        vm.assertEq(settlement.owed(OTHER_OPERATOR), 2 ether, "owed to the second operator");
    }

    function test_ADepositComesBackAfterItsDelay() public {
        address alice = vm.addr(ALICE);
        settlement.depositPostage{value: 3 ether}(0, alice);
        vm.expectRevert(abi.encodeWithSelector(IPostage.NoWithdrawal.selector, 0, alice));
        vm.prank(alice);
        settlement.withdrawPostage(0);
        vm.prank(alice);
        settlement.requestWithdrawal(0, 2 ether);
        (uint128 deposit,, uint128 withdrawing, uint64 from) = settlement.postageOf(0, alice);
        vm.assertTrue(deposit == 3 ether && withdrawing == 2 ether && from == 1_000 + WITHDRAW_DELAY, "account");
        vm.roll(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IOperators.TooEarly.selector, from, from - 1));
        vm.prank(alice);
        settlement.withdrawPostage(0);
        // What was delivered meanwhile is redeemed first.
        _commit(_paid(0, 2 ether));
        settlement.redeem(_open(1, 0));
        vm.roll(from);
        vm.prank(alice);
        settlement.withdrawPostage(0);
        vm.assertEq(settlement.owed(alice), 1 ether, "owed");
        _assertAccount(0, 2 ether);
        (,, withdrawing, from) = settlement.postageOf(0, alice);
        vm.assertTrue(withdrawing == 0 && from == 0, "the withdrawal is over");
        vm.expectRevert(abi.encodeWithSelector(IPostage.NoWithdrawal.selector, 0, alice));
        vm.prank(alice);
        settlement.withdrawPostage(0);
    }

    function test_AWithdrawalCanBeCalledOff() public {
        address alice = vm.addr(ALICE);
        settlement.depositPostage{value: 3 ether}(0, alice);
        vm.startPrank(alice);
        settlement.requestWithdrawal(0, 2 ether);
        settlement.requestWithdrawal(0, 0);
        vm.roll(1_000 + WITHDRAW_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IPostage.NoWithdrawal.selector, 0, alice));
        settlement.withdrawPostage(0);
        vm.stopPrank();
    }

    function test_DepositsAreOfLanesThatExist() public {
        vm.expectRevert(abi.encodeWithSelector(IBatches.UnknownLane.selector, 2, 2));
        settlement.depositPostage{value: 1 ether}(2, vm.addr(ALICE));
    }

    function _paid(uint64 nonce, uint128 postage) private view returns (Entry memory) {
        BundleFields memory bundle = _bundle(ALICE, nonce);
        bundle.postage = postage;
        _sign(bundle, ALICE);
        return Entry(0, nonce, bundle);
    }

    function _assertNothing(Entry memory entry) private {
        uint64 number = _commit(entry).number;
        Opening memory opening = _open(number, 0);
        vm.expectRevert(abi.encodeWithSelector(IPostage.NothingToRedeem.selector));
        settlement.redeem(opening);
    }

    function _assertAccount(uint256 deposit, uint256 redeemed) private view {
        (uint128 gotDeposit, uint128 gotRedeemed,,) = settlement.postageOf(0, vm.addr(ALICE));
        vm.assertEq(gotDeposit, deposit, "deposit");
        vm.assertEq(gotRedeemed, redeemed, "redeemed");
    }
}
