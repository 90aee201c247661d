/**
 * How long silence must last: as configured on a quiet machine with near peers, longer where lines
 * are long, documents large, or this process late; and how that reaches the core.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { DOCUMENT_SIZE_MAX } from "../../../src/base/limits.ts";
import { outlookOf } from "../../../src/node/outlook.ts";
import { ELECTION_MS_MAX, type Outlook, Pace } from "../../../src/replication/raft/pace.ts";
import { pacedTicks } from "../../../src/replication/raft/raft_config.ts";

const options = { electionTimeoutMs: 200, heartbeatMs: 40, isFixed: false };
const quiet = { rttMs: 0, workMs: 0 };

describe("waits", () => {
  test.each([
    ["a quiet machine", 0, quiet, [200, 0, "configured"]],
    ["a timer as late as a heartbeat is what T is for", 40, quiet, [200, 0, "configured"]],
    ["a late one", 90, quiet, [400, 0, "late timers"]],
    ["a very late one", 60_000, quiet, [ELECTION_MS_MAX, 0, "late timers"]],
    ["near peers", 0, { rttMs: 10, workMs: 0 }, [200, 20, "configured"]],
    ["far ones", 0, { rttMs: 100, workMs: 0 }, [400, 200, "round trips"]],
    ["far ones, and late", 90, { rttMs: 300, workMs: 0 }, [1200, 600, "round trips"]],
    ["large documents", 0, { rttMs: 0, workMs: 1500 }, [1700, 0, "large documents"]],
    ["large documents, late", 90, { rttMs: 0, workMs: 1500 }, [1700, 0, "large documents"]],
    ["large documents, very late", 540, { rttMs: 0, workMs: 1500 }, [2200, 0, "late timers"]],
  ] as const)("%s", (...[, lateMs, outlook, [electionMs, rankMs, reason]]) => {
    const pace = new Pace({ ...options, outlook: () => outlook });
    for (let i = 0; i < 3; i += 1) pace.see(1000, lateMs);
    expect(pace.waits).toEqual({ electionMs, rankMs, reason });
  });

  test("two stops of a process are no habit", () => {
    const pace = new Pace(options);
    pace.see(1000, 5000);
    pace.see(1005, 5000);
    pace.see(1005, 0);
    expect(pace.waits.electionMs).toBe(200);
    pace.see(6005, 100);
    expect(pace.waits.electionMs).toBe(200 + 4 * 60);
  });

  test("what was seen counts half after five seconds, and is forgotten in time", () => {
    let outlook: Outlook = { rttMs: 200, workMs: 0 };
    const pace = new Pace({ ...options, outlook: () => outlook });
    for (let i = 0; i < 3; i += 1) pace.see(0, 240);
    expect(pace.waits).toMatchObject({ electionMs: 700 + 800, rankMs: 400 });
    outlook = quiet;
    pace.see(5000, 0);
    expect(pace.waits).toMatchObject({ electionMs: 400 + 320, rankMs: 200 });
    pace.see(120_000, 0);
    expect(pace.waits).toMatchObject({ electionMs: 200, reason: "configured" });
    expect(pace.waits.rankMs).toBeLessThan(1);
  });

  test("with leases waits are as configured: voters promised them", () => {
    const outlook = { rttMs: 300, workMs: 1500 };
    const pace = new Pace({ ...options, isFixed: true, outlook: () => outlook });
    pace.see(0, 5000);
    expect(pace.waits).toEqual({ electionMs: 200, rankMs: 0, reason: "configured" });
  });

  test("a configured time above the bound stays", () => {
    const pace = new Pace({ ...options, electionTimeoutMs: 8000 });
    pace.see(0, 5000);
    expect(pace.waits.electionMs).toBe(8000);
  });

  test("as ticks of the core, candidates never closer than configured", () => {
    const reason = "configured";
    expect(pacedTicks({ electionMs: 200, rankMs: 0, reason })).toEqual({
      ...{ electionTicks: 40, rankTicks: 4 },
    });
    expect(pacedTicks({ electionMs: 703, rankMs: 401, reason })).toEqual({
      ...{ electionTicks: 141, rankTicks: 81 },
    });
  });
});

test("a node's outlook: the farthest connected voter, the largest documents", () => {
  let nowMs = 0;
  const collections = [{ settings: { ids: "uuidv7", validator: "" } }];
  const links = new Map([
    ["n2", { isUp: true, rttMs: 90, leastRttMs: 30, silenceMs: 0 }],
    ["n3", { isUp: false, rttMs: 900, leastRttMs: 900, silenceMs: 0 }],
  ]);
  const look = outlookOf({
    clock: { nowMs: () => nowMs } as never,
    network: { linkHealth: (id) => links.get(id) },
    machine: { collections: () => collections as never },
    voters: () => ["n1", "n2", "n3"],
  });
  expect(look()).toEqual({ rttMs: 30, workMs: 0 });
  const large = { ids: "uuidv7", validator: "", documentSizeMax: DOCUMENT_SIZE_MAX };
  collections.push({ settings: large });
  expect(look().workMs).toBe(0);
  nowMs += 1000;
  expect(look().workMs).toBe(1500);
});
