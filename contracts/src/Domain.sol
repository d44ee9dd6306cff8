// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IDomain} from "./IDomain.sol";

/// @title EIP-712 domain of bundles and receipts (PROTOCOL.md §3)
/// @notice A signature is good on one chain and for one contract only.
/// @dev Not cached: a cache behind a chain id check would save 567 gas of an isIncluded, at the price of two ways to one value.
abstract contract Domain is IDomain {
    bytes32 private constant TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    string private constant NAME = "Sealpost";
    string private constant VERSION = "1";

    /// @inheritdoc IDomain
    function domainSeparator() public view override returns (bytes32) {
        return keccak256(
            abi.encode(TYPEHASH, keccak256(bytes(NAME)), keccak256(bytes(VERSION)), block.chainid, address(this))
        );
    }

    /// @inheritdoc IDomain
    function eip712Domain()
        external
        view
        override
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (0x0f, NAME, VERSION, block.chainid, address(this), 0, new uint256[](0));
    }
}
