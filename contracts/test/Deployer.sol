// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ISettlement} from "../src/ISettlement.sol";
import {vm} from "../script/Vm.sol";

/// @title Deploys what forge built from contracts/src
/// @notice Tests are compiled without the optimizer, for speed. `new` would compile the contract that way, too; so they take
/// the artifact, which is the code that users deploy.
library Deployer {
    function settlement(uint16 laneCount, uint64 maxIncludeDelay, address poster, address receiptSigner)
        internal
        returns (ISettlement)
    {
        return ISettlement(
            deploy(
                "contracts/out/Settlement.sol/Settlement.json",
                abi.encode(laneCount, maxIncludeDelay, poster, receiptSigner)
            )
        );
    }

    /// @notice Reverts with what the constructor reverts with.
    function deploy(string memory artifactPath, bytes memory arguments) internal returns (address deployed) {
        bytes memory initCode = bytes.concat(vm.getCode(artifactPath), arguments);
        assembly ("memory-safe") {
            deployed := create(0, add(initCode, 32), mload(initCode))
            if iszero(deployed) {
                let revertData := mload(0x40)
                returndatacopy(revertData, 0, returndatasize())
                revert(revertData, returndatasize())
            }
        }
    }
}
