// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Who runs a lane, and with what at stake (PROTOCOL.md §7)
/// @notice An operator is an account with a bond on a lane. It runs the lane for a *term*; each change of the operator begins
/// another term. It names one posting account, which commits, and one receipt signer at a time, which promises.
interface IOperators {
    /// @notice An operator's bond, posting account or wish to leave changed.
    event OperatorChanged(
        uint16 indexed lane, address indexed operator, address poster, uint256 bond, uint64 exitRequestedAt
    );
    /// @notice An operator has another receipt signer from this block on; the one before it, if there was one, is retired.
    event ReceiptSignerChanged(uint16 indexed lane, address indexed operator, address indexed signer, address retired);
    /// @notice A term began.
    event TermBegan(uint16 indexed lane, uint32 indexed term, address indexed operator, uint64 firstSequence);
    /// @notice A term ends at this block: no commit of it is taken in it or after it.
    event TermEnded(uint16 indexed lane, uint32 indexed term, address indexed operator, uint64 endBlock);
    /// @notice A part of a bond was taken.
    event BondTaken(
        uint16 indexed lane,
        uint32 indexed term,
        address indexed operator,
        uint256 taken,
        uint256 reward,
        address reporter
    );

    /// @notice A lane was to get no operator, or the zero address for a posting account.
    error ZeroAddress();
    /// @notice A bond holds no lane below `min`.
    error BondTooSmall(uint256 min, uint256 got);
    /// @notice This account is not a registered operator of the lane.
    error NotOperator(uint16 lane, address got);
    /// @notice The operator asked to leave, at this block.
    error Leaving(uint16 lane, address operator, uint64 since);
    /// @notice The operator did not ask to leave.
    error NotLeaving(uint16 lane, address operator);
    /// @notice It is too early for this; from block `from` on it is not.
    error TooEarly(uint64 from, uint256 got);
    /// @notice The signer's key did not sign its registration: 65 bytes over the EIP-712 struct
    /// ReceiptSigner(uint16 lane,address operator,address signer).
    error BadRegistration(address signer, address got);
    /// @notice The lane's operator holds it by right: nothing forced is overdue enough, and the bond is whole.
    error NoCause(uint16 lane, address operator);
    /// @notice The operator runs the lane already.
    error RunsAlready(uint16 lane, address operator);
    /// @notice The lane has no operator: a bonded one may take it over.
    error NoOperator(uint16 lane);

    /// @notice Makes the caller a bonded operator of a lane, adds to its bond, or changes its posting account and signer.
    /// @dev Payable: what is sent is added to the bond, which must then be at least minBond.
    /// @param lane the lane
    /// @param poster_ the account that commits while the caller runs the lane
    /// @param signer the account that signs the caller's receipts; the zero address keeps the one there is
    /// @param registration the signer's signature over ReceiptSigner(lane, caller, signer): nobody can register another's key
    function register(uint16 lane, address poster_, address signer, bytes calldata registration) external payable;

    /// @notice Adds to a bond; anybody may.
    function addBond(uint16 lane, address operator_) external payable;

    /// @notice Begins to leave: no receipts from this block on. The caller's term, if it runs the lane, ends maxIncludeDelay blocks
    /// later, and its bond is free after exitDelay blocks.
    function requestExit(uint16 lane) external;

    /// @notice Makes the bond of an operator that left a payout.
    function withdrawBond(uint16 lane) external;

    /// @notice Begins a term of the caller, a bonded operator that is not leaving.
    /// @dev Of a lane without operator, or for cause: the oldest forced entry is overdue by takeoverDelay and the term is as old, or
    /// the bond is below minBond. For cause the ousted operator loses the penalty, a tenth of it to the caller.
    function takeOver(uint16 lane) external;

    /// @notice The lane's newest term, from 1, even when it has ended; 0 for lanes that do not exist.
    function term(uint16 lane) external view returns (uint32);

    /// @notice The lane's operator: zero while it has none.
    function operator(uint16 lane) external view returns (address);

    /// @notice The account that commits the lane's batches: zero while the lane has no operator, or one that is not registered.
    function poster(uint16 lane) external view returns (address);

    /// @notice The account that signs a term's receipts now.
    /// @return signer the zero address for lanes and terms that do not exist: nobody's signature recovers to it
    function receiptSigner(uint16 lane, uint32 term_) external view returns (address signer);

    /// @notice Whether this account's receipts bind the operator of a term: its signer, or one retired no more than
    /// maxIncludeDelay + evidenceWindow blocks ago.
    function isReceiptSigner(uint16 lane, uint32 term_, address signer) external view returns (bool);

    /// @notice The block since which a signer of an operator is retired; 2^64 - 1 while it is not, 0 if it never was one.
    function signerRetiredAt(uint16 lane, address operator_, address signer) external view returns (uint64);

    /// @notice What is kept of an operator of a lane.
    /// @return bond wei
    /// @return exitRequestedAt block of its wish to leave, 0 if it has none
    /// @return poster_ its posting account
    /// @return signer its receipt signer
    function operatorOf(uint16 lane, address operator_)
        external
        view
        returns (uint128 bond, uint64 exitRequestedAt, address poster_, address signer);

    /// @notice What is kept of a term. Zeros for terms that do not exist.
    /// @return operator_ who ran it, or runs it
    /// @return firstSequence the committed head when it began: receipts below are no evidence
    /// @return endBlock the first block that is not in it; 0 while its end is open
    /// @return endSequence the committed head at its end; while it lasts, the committed head
    /// @return unanswered demands that were charged
    /// @return slashed whether the whole bond was taken for it
    /// @return beginBlock the first block that is in it
    function termOf(uint16 lane, uint32 term_)
        external
        view
        returns (
            address operator_,
            uint64 firstSequence,
            uint64 endBlock,
            uint64 endSequence,
            uint24 unanswered,
            bool slashed,
            uint64 beginBlock
        );
}
