/**
 * Health of a link: its silence decides, and a broken connection counts sooner.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { healthOf, Members, type MembersParts } from "../../src/cluster/members.ts";
import { Configuration } from "../../src/raft/configuration.ts";

test.each([
  [true, 0, "healthy"],
  [true, 500, "healthy"],
  [true, 501, "suspect"],
  [true, 2000, "suspect"],
  [true, 2001, "down"],
  [false, 0, "suspect"],
  [false, 500, "suspect"],
  [false, 501, "down"],
  [false, 2001, "down"],
] as const)("up %p, silent for %d ms: %s", (isUp, silenceMs, state) => {
  expect(healthOf({ isUp, silenceMs })).toBe(state);
});

describe("how long a member has been behind", () => {
  /** n1 leads; n2 lacks entries. */
  function led(silenceMs: number) {
    const clock = { nowMs: 1_000_000 };
    const view = { role: "leader", leader: "n1", term: 5, commitIndex: 10, lastIndex: 12 };
    const peers = [{ id: "n2", match: 7 }];
    const members = new Members({
      id: "n1",
      clock: { nowMs: () => clock.nowMs },
      driver: { view, peers: () => peers },
      network: {
        addPeer: () => undefined,
        disconnect: async () => undefined,
        linkHealth: () => ({ isUp: false, rttMs: 0, leastRttMs: 0, silenceMs }),
      },
    } as unknown as MembersParts);
    const voter = { address: "h:1", role: "voter", incarnation: "" } as const;
    members.update(new Configuration(["n1", "n2"].map((id) => ({ ...voter, id }))));
    const lagMs = () => members.status(() => undefined).find(({ id }) => id === "n2")?.lagMs;
    return { clock, view, peers, members, lagMs };
  }

  test("a process that has run for long leads anew: not since its start", () => {
    const { clock, members, lagMs } = led(30);
    clock.nowMs += 600_000;
    members.observe(clock.nowMs);
    expect(lagMs()).toBe(30);
    clock.nowMs += 200;
    expect(lagMs()).toBe(200);
  });

  test("one that was away before has been behind for at least so long", () => {
    const { clock, members, lagMs } = led(90_000);
    members.observe(clock.nowMs);
    expect(lagMs()).toBe(90_000);
  });

  test("a voter that a new leader has not heard of lags by nobody knows what", () => {
    const { clock, peers, members, lagMs } = led(0);
    peers[0]!.match = 0;
    clock.nowMs += 50;
    members.observe(clock.nowMs);
    expect(lagMs()).toBeNull();
    peers[0]!.match = 12;
    members.observe(clock.nowMs);
    expect(lagMs()).toBe(0);
  });

  test("what an earlier leadership saw does not count", () => {
    const { clock, view, peers, members, lagMs } = led(0);
    peers[0]!.match = 12;
    members.observe(clock.nowMs);
    expect(lagMs()).toBe(0);
    peers[0]!.match = 7;
    clock.nowMs += 50;
    expect(lagMs()).toBe(50);
    view.term = 9;
    clock.nowMs += 300_000;
    members.observe(clock.nowMs);
    expect(lagMs()).toBe(0);
  });
});
