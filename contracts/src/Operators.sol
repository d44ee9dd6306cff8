// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Bundles} from "./Bundles.sol";
import {Inbox} from "./Inbox.sol";
import {IOperators} from "./IOperators.sol";

/// @title Bonds, signers and terms (PROTOCOL.md §7)
abstract contract Operators is Inbox, IOperators {
    struct Operator {
        uint128 bond;
        uint64 exitRequestedAt;
        address poster;
        address signer;
    }

    struct Term {
        address operator;
        /// The first block that is not in the term; 0 while its end is open.
        uint64 endBlock;
        uint24 unanswered;
        bool slashed;
        uint64 firstSequence;
        uint64 beginBlock;
    }

    /// @dev A signer that is not retired.
    uint64 private constant CURRENT = type(uint64).max;
    bytes32 private constant REGISTRATION_TYPEHASH =
        keccak256("ReceiptSigner(uint16 lane,address operator,address signer)");
    /// @dev The reporter's part. More would hand an operator that reports itself its bond back past the exit delay.
    uint256 private constant REWARD_DIVISOR = 10;

    /// @inheritdoc IOperators
    mapping(uint16 lane => mapping(address operator => Operator)) public override operatorOf;
    mapping(uint16 lane => mapping(uint32 term => Term)) internal _terms;
    /// @inheritdoc IOperators
    mapping(uint16 lane => mapping(address operator => mapping(address signer => uint64)))
        public
        override signerRetiredAt;

    constructor(address[] memory firstOperators) {
        for (uint16 lane = 0; lane < firstOperators.length; ++lane) {
            if (firstOperators[lane] == address(0)) revert ZeroAddress();
            _beginTerm(lane, 1, firstOperators[lane], address(0));
        }
    }

    /// @inheritdoc IOperators
    function register(uint16 lane, address poster_, address signer, bytes calldata registration)
        external
        payable
        override
    {
        _requireLane(lane);
        if (poster_ == address(0)) revert ZeroAddress();
        Operator storage caller = _staying(lane);
        caller.bond += uint128(msg.value);
        if (caller.bond < minBond) revert BondTooSmall(minBond, caller.bond);
        caller.poster = poster_;
        if (signer != address(0)) _changeSigner(lane, caller, signer, registration);
        if (caller.signer == address(0)) revert ZeroAddress();
        // A slashed operator's poster stays away: its term is over.
        if (operator(lane) == msg.sender) _lanes[lane].poster = poster_;
        _emitChange(lane, msg.sender);
    }

    /// @inheritdoc IOperators
    function addBond(uint16 lane, address operator_) external payable override {
        Operator storage kept = operatorOf[lane][operator_];
        if (kept.poster == address(0)) revert NotOperator(lane, operator_);
        kept.bond += uint128(msg.value);
        _emitChange(lane, operator_);
    }

    /// @inheritdoc IOperators
    function requestExit(uint16 lane) external override {
        Operator storage caller = _staying(lane);
        if (caller.poster == address(0)) revert NotOperator(lane, msg.sender);
        caller.exitRequestedAt = uint64(block.number);
        _emitChange(lane, msg.sender);
        if (operator(lane) == msg.sender) _endTerm(lane, uint64(block.number) + maxIncludeDelay);
    }

    /// @inheritdoc IOperators
    function withdrawBond(uint16 lane) external override {
        Operator storage caller = operatorOf[lane][msg.sender];
        if (caller.exitRequestedAt == 0) revert NotLeaving(lane, msg.sender);
        uint64 from = caller.exitRequestedAt + exitDelay;
        if (block.number < from) revert TooEarly(from, block.number);
        owed[msg.sender] += caller.bond;
        caller.bond = 0;
        caller.exitRequestedAt = 0;
        _emitChange(lane, msg.sender);
    }

    /// @inheritdoc IOperators
    function takeOver(uint16 lane) external override {
        _requireLane(lane);
        Operator storage caller = _staying(lane);
        if (caller.poster == address(0)) revert NotOperator(lane, msg.sender);
        if (caller.bond < minBond) revert BondTooSmall(minBond, caller.bond);

        uint32 current = _lanes[lane].term;
        address ousted = operator(lane);
        if (ousted != address(0)) {
            if (ousted == msg.sender) revert RunsAlready(lane, ousted);
            uint256 due = _oldestDeadline(lane);
            // Who took the lane with overdue entries in it has as long for them as who let them become overdue.
            uint64 beginBlock = _terms[lane][current].beginBlock;
            if (due < beginBlock) due = beginBlock;
            bool overdue = due != type(uint256).max && block.number > due + takeoverDelay;
            if (!overdue && operatorOf[lane][ousted].bond >= minBond) revert NoCause(lane, ousted);
            _takeBond(lane, current, penalty, msg.sender);
            _endTerm(lane, uint64(block.number));
        }
        _beginTerm(lane, current + 1, msg.sender, caller.poster);
    }

    /// @inheritdoc IOperators
    function term(uint16 lane) public view override returns (uint32) {
        return _lanes[lane].term;
    }

    /// @inheritdoc IOperators
    function operator(uint16 lane) public view override returns (address) {
        Term storage current = _terms[lane][_lanes[lane].term];
        return _isOver(current) ? address(0) : current.operator;
    }

    /// @inheritdoc IOperators
    function poster(uint16 lane) public view override returns (address) {
        return operator(lane) == address(0) ? address(0) : _lanes[lane].poster;
    }

    /// @inheritdoc IOperators
    function receiptSigner(uint16 lane, uint32 term_) external view override returns (address signer) {
        return operatorOf[lane][_terms[lane][term_].operator].signer;
    }

    /// @inheritdoc IOperators
    function isReceiptSigner(uint16 lane, uint32 term_, address signer) public view override returns (bool) {
        uint64 retiredAt = signerRetiredAt[lane][_terms[lane][term_].operator][signer];
        if (retiredAt == 0 || retiredAt == CURRENT) return retiredAt == CURRENT;
        return block.number <= uint256(retiredAt) + maxIncludeDelay + evidenceWindow;
    }

    /// @inheritdoc IOperators
    function termOf(uint16 lane, uint32 term_)
        external
        view
        override
        returns (
            address operator_,
            uint64 firstSequence,
            uint64 endBlock,
            uint64 endSequence,
            uint24 unanswered,
            bool slashed,
            uint64 beginBlock
        )
    {
        Term storage kept = _terms[lane][term_];
        return (
            kept.operator,
            kept.firstSequence,
            kept.endBlock,
            _endSequence(lane, term_),
            kept.unanswered,
            kept.slashed,
            kept.beginBlock
        );
    }

    /// @dev The committed head at the end of a term: nobody commits between two terms.
    function _endSequence(uint16 lane, uint32 term_) internal view returns (uint64) {
        uint32 newest = _lanes[lane].term;
        if (term_ == 0 || term_ > newest) return 0;
        return term_ == newest ? head[lane].nextSequence : _terms[lane][term_ + 1].firstSequence;
    }

    function _isOver(Term storage kept) internal view returns (bool) {
        return kept.endBlock != 0 && block.number >= kept.endBlock;
    }

    /// @dev Takes up to `amount` of the bond of the operator of a term.
    function _takeBond(uint16 lane, uint32 term_, uint256 amount, address reporter) internal {
        address charged = _terms[lane][term_].operator;
        Operator storage kept = operatorOf[lane][charged];
        uint128 taken = amount < kept.bond ? uint128(amount) : kept.bond;
        uint256 reward = taken / REWARD_DIVISOR;
        kept.bond -= taken;
        // The rest stays in this contract, owed to nobody: it is burned.
        owed[reporter] += reward;
        emit BondTaken(lane, term_, charged, taken, reward, reporter);
    }

    /// @dev Takes the whole bond, once a term, and ends the term that the operator runs now, whichever that is.
    function _slash(uint16 lane, uint32 term_, address reporter) internal {
        Term storage kept = _terms[lane][term_];
        kept.slashed = true;
        _takeBond(lane, term_, type(uint256).max, reporter);
        if (operator(lane) == kept.operator) _endTerm(lane, uint64(block.number));
    }

    /// @dev Of a lane whose term is not over.
    function _endTerm(uint16 lane, uint64 endBlock) internal {
        uint32 current = _lanes[lane].term;
        Term storage ending = _terms[lane][current];
        // An operator that leaves can still be slashed or ousted before its day, never stay beyond it.
        if (ending.endBlock == 0 || endBlock < ending.endBlock) {
            ending.endBlock = endBlock;
            emit TermEnded(lane, current, ending.operator, endBlock);
        }
        _lanes[lane].ending = true;
    }

    /// @dev The caller, which is not leaving.
    function _staying(uint16 lane) private view returns (Operator storage caller) {
        caller = operatorOf[lane][msg.sender];
        if (caller.exitRequestedAt != 0) revert Leaving(lane, msg.sender, caller.exitRequestedAt);
    }

    function _emitChange(uint16 lane, address operator_) private {
        Operator storage kept = operatorOf[lane][operator_];
        emit OperatorChanged(lane, operator_, kept.poster, kept.bond, kept.exitRequestedAt);
    }

    function _beginTerm(uint16 lane, uint32 term_, address operator_, address poster_) private {
        Lane storage kept = _lanes[lane];
        kept.poster = poster_;
        kept.term = term_;
        kept.ending = false;
        _terms[lane][term_] = Term(operator_, 0, 0, false, head[lane].nextSequence, uint64(block.number));
        emit TermBegan(lane, term_, operator_, head[lane].nextSequence);
    }

    function _changeSigner(uint16 lane, Operator storage caller, address signer, bytes calldata registration) private {
        bytes32 structHash = keccak256(abi.encode(REGISTRATION_TYPEHASH, lane, msg.sender, signer));
        address recovered = Bundles.recover(Bundles.digest(domainSeparator(), structHash), registration);
        if (recovered != signer) revert BadRegistration(signer, recovered);
        address retired = caller.signer;
        if (retired == signer) return;
        if (retired != address(0)) signerRetiredAt[lane][msg.sender][retired] = uint64(block.number);
        signerRetiredAt[lane][msg.sender][signer] = CURRENT;
        caller.signer = signer;
        emit ReceiptSignerChanged(lane, msg.sender, signer, retired);
    }
}
