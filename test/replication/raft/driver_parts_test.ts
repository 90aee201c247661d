/**
 * The refusals of a driver.
 *
 * @module
 */

import { expect, test } from "bun:test";
import {
  logIsFull,
  NO_HOOKS,
  notLeader,
  tooManyBytes,
} from "../../../src/replication/raft/driver_parts.ts";

test("say what a client can do: wait, or go to the leader", () => {
  for (const refusal of [logIsFull(), tooManyBytes()]) {
    expect(refusal.code).toBe("OVERLOADED");
    expect(refusal.retryAfterMs).toBeGreaterThan(0);
  }
  const leader = { id: "n2", address: "127.0.0.1:2" };
  expect(notLeader("n1", leader).message).toBe('Cannot serve on node "n1": "n2" leads');
  expect(notLeader("n2", leader).message).toBe('Cannot serve on node "n2": no leader is known');
});

test("a driver that was not started tells nobody", () => {
  for (const hook of Object.values(NO_HOOKS)) expect((hook as () => unknown)()).toBeUndefined();
});
