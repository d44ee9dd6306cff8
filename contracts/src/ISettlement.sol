// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBatches} from "./IBatches.sol";
import {IDomain} from "./IDomain.sol";
import {IEvidence} from "./IEvidence.sol";
import {IInbox} from "./IInbox.sol";
import {IOperators} from "./IOperators.sol";
import {IParameters} from "./IParameters.sol";
import {IPayouts} from "./IPayouts.sol";
import {IPostage} from "./IPostage.sol";

/// @title Settlement of a Sealpost log on Ethereum
/// @notice The log's batches, and what holds its operators to what they promised. There is no owner, no upgrade and no
/// pause; all parameters are set at deployment.
interface ISettlement is IParameters, IBatches, IPayouts, IDomain, IInbox, IOperators, IEvidence, IPostage {}
