/**
 * Settings that would make elections unsound or endless stop the node at its start.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { assertRaftConfig, type RaftConfig } from "../../src/raft/config.ts";
import { Cluster } from "./cluster.ts";

/** Every setting at the least value that is allowed. */
const LEAST: RaftConfig = {
  ...new Cluster({ nodeCount: 3 }).configOf("n1", 1),
  ...{ heartbeatTicks: 1, electionTicks: 5, jitterTicks: 1, rankTicks: 0 },
  ...{ appendBytesMax: 1, inflightMessagesMax: 1 },
};

test("the least values are allowed", () => {
  expect(assertRaftConfig(LEAST)).toBeUndefined();
  expect(assertRaftConfig({ ...LEAST, heartbeatTicks: 3, electionTicks: 15 })).toBeUndefined();
});

test.each([
  { wrong: { heartbeatTicks: 0 }, message: "a heartbeat takes at least a tick" },
  { wrong: { electionTicks: 4 }, message: "election timeout >= 5 heartbeats" },
  { wrong: { heartbeatTicks: 3, electionTicks: 14 }, message: "election timeout >= 5 heartbeats" },
  { wrong: { jitterTicks: 0 }, message: "a random wait has at least one value" },
  { wrong: { rankTicks: -1 }, message: "waits are not negative" },
  { wrong: { appendBytesMax: 0 }, message: "an append has room for an entry" },
  { wrong: { inflightMessagesMax: 0 }, message: "an append fits the window" },
])("$wrong stops the node: $message", ({ wrong, message }) => {
  expect(() => assertRaftConfig({ ...LEAST, ...wrong })).toThrow(message);
});
