// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, BundleFields, ForcedEntry, IBatches, Opening} from "../../src/IBatches.sol";
import {IEvidence, SignedReceipt} from "../../src/IEvidence.sol";
import {IInbox} from "../../src/IInbox.sol";
import {IOperators} from "../../src/IOperators.sol";
import {IPostage} from "../../src/IPostage.sol";
import {Deployer} from "../Deployer.sol";
import {Lane} from "../Lane.sol";
import {ReferenceTree} from "../ReferenceTree.sol";
import {vm} from "../../script/Vm.sol";

/// @notice Three operators, two senders, a reporter and time, all on one lane. Whoever runs the lane is honest but for `lie`.
contract PromisesHandler is Lane {
    uint256 private constant OPERATORS = 3;
    uint64 private constant MAX_WAITING = 60;

    struct Demanded {
        uint32 term;
        uint64 sequence;
        uint64 number;
        uint32 index;
    }

    /// @dev Where the log has each sender's latest entry that counts.
    mapping(address sender => uint64) private nextNonce;
    mapping(address sender => uint64) private previousOf;
    BundleFields[] private waiting;
    Demanded[] private demands;
    uint256 private postage;
    uint256 private takenAt;

    uint64 public committed;
    uint256 public stuck;
    uint256 public wrong;
    /// @dev What each action did when it did something: a run in which nothing happens shows nothing.
    mapping(string action => uint256) public done;

    constructor() {
        _start();
        vm.fee(1 gwei);
        vm.deal(address(this), type(uint128).max);
    }

    receive() external payable {}

    function lane() external view returns (uint256 bonds, uint256 fees, uint256 deposits, uint256 owed) {
        for (uint256 i = 0; i < OPERATORS; ++i) {
            bonds += _bondOf(_operator(i));
            owed += settlement.owed(_operator(i)) + settlement.owed(_poster(i));
        }
        (, uint64 nextSequence,, uint64 inboxCount) = settlement.head(0);
        nextSequence;
        for (uint64 i = inboxCount; i < settlement.inboxLength(0); ++i) {
            (,, uint128 fee) = settlement.inbox(0, i);
            fees += fee;
        }
        for (uint256 i = 0; i < demands.length; ++i) {
            (,,,, uint256 fee) = settlement.demandOf(0, demands[i].term, demands[i].sequence);
            fees += fee;
        }
        address[2] memory senders = [vm.addr(ALICE), vm.addr(BOB)];
        for (uint256 i = 0; i < 2; ++i) {
            (uint128 kept,,,) = settlement.postageOf(0, senders[i]);
            deposits += kept;
            owed += settlement.owed(senders[i]);
        }
        owed += settlement.owed(REPORTER) + settlement.owed(address(this));
    }

    function balance() external view returns (uint256) {
        return address(settlement).balance;
    }

    function headOf() external view returns (uint64 nextSequence) {
        (, nextSequence,,) = settlement.head(0);
    }

    // The lane

    /// @notice What an honest sequencer does: its own entries, then all that waits in the inbox. It is never refused.
    function commitAll(uint8 count) external {
        if (settlement.operator(0) == address(0) || settlement.poster(0) == address(0)) return;
        uint256 own = 1 + count % 3;
        Entry[] memory entries = new Entry[](own + waiting.length);
        (, uint64 next,, uint64 inboxCount) = settlement.head(0);
        for (uint256 i = 0; i < entries.length; ++i) {
            BundleFields memory bundle = i < own ? _own() : waiting[i - own];
            entries[i] = _enter(bundle, next + uint64(i));
        }
        bytes32[] memory leaves = _leaves(entries);
        ForcedEntry[] memory forced = new ForcedEntry[](waiting.length);
        for (uint32 i = 0; i < forced.length; ++i) {
            uint32 index = uint32(own) + i;
            forced[i] =
                ForcedEntry(0, index, entries[index].void, entries[index].previous, ReferenceTree.path(leaves, index));
        }
        BatchHeader memory header = _seal(entries);
        header.inboxCount = inboxCount + uint64(waiting.length);
        if (!_tryCommit(header, forced)) {
            ++stuck;
            return;
        }
        _keep(header, entries);
        delete waiting;
        committed += header.count;
        ++done["commit"];
        if (forced.length > 0) ++done["consume"];
    }

    /// @notice The inbox left alone: refused exactly if its oldest entry is overdue.
    function commitWithoutTheInbox() external {
        if (settlement.operator(0) == address(0) || settlement.poster(0) == address(0)) return;
        (, uint64 next,, uint64 inboxCount) = settlement.head(0);
        (, uint64 deadline,) = settlement.inbox(0, inboxCount);
        bool overdue = waiting.length > 0 && block.number > deadline;
        if (overdue) {
            // Not entered in the senders' accounts: it is refused.
            Entry[] memory none = new Entry[](1);
            none[0] = Entry(0, previousOf[vm.addr(ALICE)], _own());
            if (_tryCommit(_seal(none), new ForcedEntry[](0))) ++wrong;
            ++done["held up"];
            return;
        }
        Entry[] memory entries = new Entry[](1);
        entries[0] = _enter(_own(), next);
        BatchHeader memory header = _seal(entries);
        if (!_tryCommit(header, new ForcedEntry[](0))) {
            ++stuck;
            return;
        }
        _keep(header, entries);
        committed += 1;
    }

    function force(uint8 nonce) external {
        if (waiting.length >= MAX_WAITING) return;
        uint64 expiry = uint64(block.timestamp) + 100_000;
        uint64 chosen = nonce % 4 == 0 ? nonce : nextNonce[vm.addr(BOB)] + uint64(waiting.length);
        bytes memory framed = _framed(BOB, chosen, expiry, 1);
        (uint256 consumer, uint256 burned) = settlement.forcedFee(0);
        settlement.forceInclude{value: consumer + burned + nonce}(framed);
        waiting.push(_fields(framed, BOB));
        ++done["force"];
    }

    // Operators

    function register(uint8 who, uint64 more) external {
        address operator = _operator(who);
        (, uint64 exitRequestedAt,,) = settlement.operatorOf(0, operator);
        if (exitRequestedAt != 0) return;
        Deployer.register(settlement, 0, operator, _poster(who), _key(who), 5 ether + uint256(more));
        ++done["register"];
    }

    function leaveLane(uint8 who) external {
        address operator = _operator(who);
        (uint128 bond, uint64 exitRequestedAt,,) = settlement.operatorOf(0, operator);
        if (who % 8 != 0) return;
        vm.prank(operator);
        (bool left,) = address(settlement).call(abi.encodeCall(IOperators.requestExit, (0)));
        if (left && (exitRequestedAt != 0 || (bond == 0 && operator != Deployer.OPERATOR && !_isKnown(operator)))) {
            ++wrong;
        }
        if (left) ++done["leave"];
    }

    function withdraw(uint8 who) external {
        address operator = _operator(who);
        (, uint64 exitRequestedAt,,) = settlement.operatorOf(0, operator);
        vm.prank(operator);
        (bool success,) = address(settlement).call(abi.encodeCall(IOperators.withdrawBond, (0)));
        if (success && (exitRequestedAt == 0 || block.number < exitRequestedAt + settlement.exitDelay())) ++wrong;
        if (success) ++done["withdraw"];
    }

    /// @notice Succeeds exactly if the lane is vacant or there is a cause.
    function takeOver(uint8 who) external {
        address operator = _operator(who);
        address current = settlement.operator(0);
        (uint128 bond, uint64 exitRequestedAt, address poster,) = settlement.operatorOf(0, operator);
        (,,, uint64 inboxCount) = settlement.head(0);
        (, uint64 deadline,) = settlement.inbox(0, inboxCount);
        uint256 due = deadline > takenAt ? deadline : takenAt;
        bool cause = current == address(0) || _bondOf(current) < settlement.minBond()
            || (waiting.length > 0 && block.number > due + settlement.takeoverDelay());
        bool may = poster != address(0) && exitRequestedAt == 0 && bond >= settlement.minBond() && operator != current
            && cause;
        uint32 term = settlement.term(0);
        vm.prank(operator);
        (bool success,) = address(settlement).call(abi.encodeCall(IOperators.takeOver, (0)));
        if (success != may || settlement.term(0) != (success ? term + 1 : term)) ++wrong;
        if (!success) return;
        takenAt = block.number;
        ++done["take over"];
    }

    // Evidence

    /// @notice Who runs the lane signs two leaves for one sequence, and loses the bond and the lane.
    function lie(uint8 chance, uint8 reporter) external {
        address operator = settlement.operator(0);
        if (chance % 8 != 0 || operator == address(0) || settlement.poster(0) == address(0)) return;
        (, uint64 next,,) = settlement.head(0);
        uint256 key = _keyOf(operator);
        SignedReceipt memory one = _receipt(next, keccak256("one"), key);
        SignedReceipt memory other = _receipt(next, keccak256("other"), key);
        vm.prank(reporter % 2 == 0 ? REPORTER : operator);
        settlement.proveEquivocation(next, one, other);
        if (_bondOf(operator) != 0 || settlement.operator(0) != address(0)) ++wrong;
        ++done["lie"];
    }

    /// @notice The honest cannot be shown to have lied with what they committed.
    function accuse(uint256 first, uint256 second, bool alone) external {
        if (headers.length < 2) return;
        Opening[] memory others = new Opening[](alone ? 0 : 1);
        if (!alone) others[0] = _any(second);
        Opening memory entry = _any(first);
        (bool success,) = address(settlement).call(abi.encodeCall(IEvidence.proveFalseEntry, (entry, others)));
        if (success) ++wrong;
        ++done["accuse"];
    }

    function demand(uint256 which) external {
        if (headers.length < 2 || demands.length >= 20) return;
        Opening memory entry = _any(which);
        uint64 sequence = entry.header.firstSequence + entry.index;
        uint256 fee = settlement.answerFee();
        (bool success,) =
            address(settlement).call{value: fee}(abi.encodeCall(IEvidence.demandCommitted, (entry.header, entry.index)));
        if (!success) return;
        demands.push(Demanded(entry.header.term, sequence, entry.header.number, entry.index));
        ++done["demand"];
    }

    function answerOne(uint256 which) external {
        if (demands.length == 0) return;
        Demanded memory demanded = demands[which % demands.length];
        (, uint64 deadline, bool answered,,) = settlement.demandOf(0, demanded.term, demanded.sequence);
        Opening memory entry = _open(demanded.number, demanded.index);
        vm.prank(REPORTER);
        (bool success,) = address(settlement).call(abi.encodeCall(IEvidence.answer, (entry)));
        if (success != (!answered && block.number <= deadline)) ++wrong;
        if (success) ++done["answer"];
    }

    function chargeUnanswered(uint256 which) external {
        if (demands.length == 0) return;
        Demanded memory demanded = demands[which % demands.length];
        (, uint64 deadline, bool answered,,) = settlement.demandOf(0, demanded.term, demanded.sequence);
        (bool success,) =
            address(settlement).call(abi.encodeCall(IEvidence.proveUnanswered, (0, demanded.term, demanded.sequence)));
        if (success && (answered || block.number <= deadline)) ++wrong;
        if (success) ++done["charge"];
    }

    // Postage and money

    function deposit(uint64 amount) external {
        settlement.depositPostage{value: amount}(0, vm.addr(ALICE));
    }

    function redeem(uint256 which) external {
        if (headers.length < 2) return;
        Opening memory entry = _any(which);
        (bool success,) = address(settlement).call(abi.encodeCall(IPostage.redeem, (entry)));
        if (success && (entry.void != 0 || entry.bundle.postage == 0)) ++wrong;
        if (success) ++done["redeem"];
    }

    function takeDepositBack(uint64 amount, bool ask) external {
        vm.prank(vm.addr(ALICE));
        if (ask) {
            settlement.requestWithdrawal(0, amount);
        } else {
            (bool success,) = address(settlement).call(abi.encodeCall(IPostage.withdrawPostage, (0)));
            if (success) ++done["take back"];
        }
    }

    function payOut(uint8 who) external {
        address account = who % 4 == 3 ? REPORTER : _operator(who % 4);
        if (settlement.owed(account) == 0) return;
        settlement.payOut(account);
        ++done["pay out"];
    }

    function wait(uint16 blocks, bool long) external {
        vm.roll(block.number + blocks % (long ? 20_000 : 700));
        vm.warp(block.timestamp + blocks);
    }

    function _tryCommit(BatchHeader memory header, ForcedEntry[] memory forced) private returns (bool success) {
        BatchHeader[] memory list = new BatchHeader[](1);
        list[0] = header;
        vm.prank(settlement.poster(0));
        (success,) = address(settlement).call(abi.encodeCall(IBatches.commit, (list, forced)));
    }

    /// @dev ALICE's next bundle, which owes a little more than the one before.
    function _own() private view returns (BundleFields memory bundle) {
        uint64 nonce = nextNonce[vm.addr(ALICE)];
        bundle = _bundle(ALICE, nonce);
        bundle.expiry = type(uint64).max;
        bundle.postage = uint128(nonce) * 0.01 ether;
        _sign(bundle, ALICE);
    }

    /// @dev The entry of a bundle at the lane's next sequence, by the rules of §6.
    function _enter(BundleFields memory bundle, uint64 sequence) private returns (Entry memory entry) {
        bool isNext = bundle.nonce == nextNonce[bundle.sender];
        entry = Entry(isNext ? 0 : 1, previousOf[bundle.sender], bundle);
        if (!isNext) return entry;
        nextNonce[bundle.sender] += bundle.count;
        previousOf[bundle.sender] = sequence + 1;
    }

    function _any(uint256 which) private view returns (Opening memory) {
        uint64 number = uint64(1 + which % (headers.length - 1));
        return _open(number, uint32((which >> 128) % entriesOf[number].length));
    }

    function _operator(uint256 who) private pure returns (address) {
        return who % OPERATORS == 0 ? Deployer.OPERATOR : address(uint160(0x0BE7A71 + who % OPERATORS));
    }

    function _poster(uint256 who) private pure returns (address) {
        return who % OPERATORS == 0 ? Deployer.POSTER : address(uint160(0x9057E7 + who % OPERATORS));
    }

    function _key(uint256 who) private pure returns (uint256) {
        return Deployer.RECEIPT_KEY + who % OPERATORS;
    }

    function _keyOf(address operator) private pure returns (uint256) {
        for (uint256 who = 0; who < OPERATORS; ++who) {
            if (_operator(who) == operator) return _key(who);
        }
        revert("an operator that is none of ours");
    }

    function _isKnown(address operator) private view returns (bool) {
        (,, address poster,) = settlement.operatorOf(0, operator);
        return poster != address(0);
    }
}
