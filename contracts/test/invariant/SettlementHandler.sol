// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BatchHeader, ForcedEntry, IBatches} from "../../src/IBatches.sol";
import {ISettlement} from "../../src/ISettlement.sol";
import {Deployer} from "../Deployer.sol";
import {Test} from "../Test.sol";
import {vm} from "../../script/Vm.sol";

/// @notice The world around a Settlement with three lanes: a poster, strangers and time. Remembers what was taken.
contract SettlementHandler is Test {
    uint16 private constant LANES = 3;
    address private constant POSTER = Deployer.POSTER;

    ISettlement public immutable settlement = Deployer.running(LANES);
    /// @notice Commits that were taken although a rule forbids them.
    uint256 public wronglyTaken;

    /// @notice Sum of the counts of the batches taken on a lane.
    mapping(uint16 lane => uint256) public entries;
    /// @notice Timestamp of the newest batch taken on a lane.
    mapping(uint16 lane => uint256) public newestTimestamp;
    mapping(uint16 lane => BatchHeader[]) private taken;

    /// @notice Headers taken on a lane, in order.
    function committed(uint16 lane) external view returns (BatchHeader[] memory) {
        return taken[lane];
    }

    /// @notice Number of batches taken on a lane.
    function batches(uint16 lane) external view returns (uint256) {
        return taken[lane].length;
    }

    /// @notice One to three true batches; the poster is never refused.
    function commit(uint16 lane, uint8 length, uint256 seed) external {
        BatchHeader[] memory headers = _headers(lane, length, seed);
        vm.prank(POSTER);
        settlement.commit(headers, new ForcedEntry[](0));
        for (uint256 i = 0; i < headers.length; ++i) {
            uint16 headerLane = headers[i].lane;
            taken[headerLane].push(headers[i]);
            entries[headerLane] += headers[i].count;
            newestTimestamp[headerLane] = headers[i].timestamp;
        }
    }

    /// @notice The same batches with one field of one of them wrong.
    function commitBad(uint16 lane, uint8 length, uint256 seed, uint8 field, uint64 change) external {
        BatchHeader[] memory headers = _headers(lane, length, seed);
        BatchHeader memory header = headers[seed % headers.length];
        change |= 1;
        field %= 8;
        if (field == 0) header.lane ^= uint16(change);
        else if (field == 1) header.term ^= uint32(change);
        else if (field == 2) header.number ^= change;
        else if (field == 3) header.parentHash ^= bytes32(uint256(change));
        else if (field == 4) header.firstSequence ^= change;
        else if (field == 5) header.count = change & 2 == 0 ? 0 : uint32(bound(change, 1_048_577, type(uint32).max));
        else if (field == 6) header.inboxCount = change;
        else header.timestamp = uint64(block.timestamp + bound(change, 1, 1 << 40));
        // One lane's first batch, moved to another lane that stands where it stands, is a true batch of that lane.
        if (field == 0 && headers.length == 1 && _isTrueOf(header)) return;
        _tryCommit(POSTER, headers);
    }

    /// @notice True batches from anybody else.
    function commitAsStranger(address stranger, uint16 lane, uint8 length, uint256 seed) external {
        if (stranger == POSTER) return;
        _tryCommit(stranger, _headers(lane, length, seed));
    }

    /// @notice A batch that was taken before, once more.
    function commitAgain(uint16 lane, uint256 index) external {
        lane %= LANES;
        if (taken[lane].length == 0) return;
        BatchHeader[] memory headers = new BatchHeader[](1);
        headers[0] = taken[lane][index % taken[lane].length];
        _tryCommit(POSTER, headers);
    }

    /// @notice Blocks go by.
    function wait(uint16 elapsedSeconds) external {
        vm.warp(block.timestamp + elapsedSeconds);
    }

    function _tryCommit(address sender, BatchHeader[] memory headers) private {
        vm.prank(sender);
        (bool success,) = address(settlement).call(abi.encodeCall(IBatches.commit, (headers, new ForcedEntry[](0))));
        if (success) ++wronglyTaken;
    }

    function _isTrueOf(BatchHeader memory header) private view returns (bool) {
        (uint64 number, uint64 nextSequence, uint64 timestamp,) = settlement.head(header.lane);
        return header.lane < LANES && header.number == number + 1 && header.firstSequence == nextSequence
            && header.timestamp >= timestamp && header.parentHash == settlement.batchHash(header.lane, number);
    }

    function _headers(uint16 lane, uint8 length, uint256 seed) private view returns (BatchHeader[] memory headers) {
        lane %= LANES;
        headers = new BatchHeader[](1 + length % 3);
        (uint64 number, uint64 nextSequence, uint64 timestamp,) = settlement.head(lane);
        bytes32 parentHash = settlement.batchHash(lane, number);
        for (uint256 i = 0; i < headers.length; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            timestamp = uint64(bound(random >> 128, timestamp, block.timestamp));
            headers[i] = BatchHeader({
                lane: lane,
                term: 1,
                number: ++number,
                parentHash: parentHash,
                firstSequence: nextSequence,
                count: uint32(bound(uint32(random), 1, 1_048_576)),
                bundlesRoot: keccak256(abi.encode("root", random)),
                inboxCount: 0,
                timestamp: timestamp,
                dataHash: keccak256(abi.encode("data", random))
            });
            parentHash = keccak256(abi.encode(headers[i]));
            nextSequence += headers[i].count;
        }
    }
}
