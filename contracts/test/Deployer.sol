// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Parameters} from "../src/IParameters.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {vm} from "../script/Vm.sol";

/// @title Deploys what forge built from contracts/src
/// @notice Tests are compiled without the optimizer, for speed. `new` would compile the contract that way, too; so they take
/// the artifact, which is the code that users deploy.
library Deployer {
    address internal constant OPERATOR = address(0x0BE7A70);
    address internal constant POSTER = address(0x9057E6);
    uint256 internal constant RECEIPT_KEY = 0x516E6;
    uint256 internal constant BOND = 10 ether;

    /// @notice What tests deploy with: the delays of a main network, so that they count for something.
    function parameters() internal pure returns (Parameters memory) {
        return Parameters({
            maxIncludeDelay: 1_800,
            answerDelay: 7_200,
            evidenceWindow: 50_400,
            exitDelay: 60_000,
            takeoverDelay: 7_200,
            forcedDelay: 600,
            minForcedLife: 86_400,
            withdrawDelay: 10_000,
            minBond: 5 ether,
            penalty: 1 ether,
            inboxFee: 0.001 ether
        });
    }

    /// @notice A contract whose lanes are all run by OPERATOR, registered with POSTER and the signer of RECEIPT_KEY.
    function running(uint16 laneCount) internal returns (ISettlement settlement_) {
        address[] memory firstOperators = new address[](laneCount);
        for (uint256 lane = 0; lane < laneCount; ++lane) {
            firstOperators[lane] = OPERATOR;
        }
        settlement_ = settlement(firstOperators, parameters());
        for (uint16 lane = 0; lane < laneCount; ++lane) {
            register(settlement_, lane, OPERATOR, POSTER, RECEIPT_KEY, BOND);
        }
    }

    /// @notice Registers an operator, which gets the money for its bond here.
    function register(
        ISettlement settlement_,
        uint16 lane,
        address operator,
        address poster,
        uint256 receiptKey,
        uint256 bond
    ) internal {
        vm.deal(operator, bond);
        bytes memory registration = registrationOf(settlement_, lane, operator, receiptKey);
        vm.prank(operator);
        settlement_.register{value: bond}(lane, poster, vm.addr(receiptKey), registration);
    }

    /// @notice The signer's own signature over its registration (PROTOCOL.md §7).
    function registrationOf(ISettlement settlement_, uint16 lane, address operator, uint256 receiptKey)
        internal
        view
        returns (bytes memory)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("ReceiptSigner(uint16 lane,address operator,address signer)"),
                lane,
                operator,
                vm.addr(receiptKey)
            )
        );
        return sign(settlement_, receiptKey, structHash);
    }

    function sign(ISettlement settlement_, uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 digest = keccak256(bytes.concat(hex"1901", settlement_.domainSeparator(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function settlement(address[] memory firstOperators, Parameters memory parameters_) internal returns (ISettlement) {
        return
            ISettlement(deploy("contracts/out/Settlement.sol/Settlement.json", abi.encode(firstOperators, parameters_)));
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
