// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title EIP-712 domain of everything signed for a Sealpost log (PROTOCOL.md §3)
interface IDomain {
    /// @notice EIP-712 domain separator of bundles and receipts on this chain, {name: "Sealpost", version: "1", chainId,
    /// verifyingContract} (§3). It follows block.chainid, so that a fork of the chain does not accept the other side's
    /// signatures.
    function domainSeparator() external view returns (bytes32);

    /// @notice The same domain field by field, as ERC-5267 gives it out; no salt, no extensions.
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        );
}
