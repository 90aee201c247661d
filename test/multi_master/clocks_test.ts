// Clocks that are wrong: a node goes by the time of most members, and says so.

import { describe, expect, test } from "bun:test";
import { PeerClocks } from "../../src/multi_master/peer_clocks.ts";
import { START_MS, TestCluster, type TestNode } from "./cluster.ts";

const HOUR_MS = 3_600_000;

function types(node: TestNode): readonly string[] {
  return node.events.map(({ type }) => type);
}

describe("peer clocks", () => {
  test("most members against one: theirs count, and within the drift its own", () => {
    const clocks = new PeerClocks(500);
    clocks.heard("n2", START_MS + HOUR_MS, START_MS);
    // One against one says nothing.
    expect(clocks.offsetMs).toBe(0);
    clocks.heard("n3", START_MS + HOUR_MS + 40, START_MS);
    expect(clocks.time(START_MS)).toBe(START_MS + HOUR_MS);
    clocks.heard("n2", START_MS + 400, START_MS);
    expect(clocks.time(START_MS)).toBe(START_MS);
  });

  test("a jump counts once others confirm it", () => {
    const clocks = new PeerClocks(500);
    for (const node of ["n2", "n3"]) clocks.heard(node, START_MS, START_MS);
    expect(clocks.time(START_MS + HOUR_MS)).toBe(START_MS);
    expect(clocks.time(START_MS + HOUR_MS + 300)).toBe(START_MS + 300);
    for (const node of ["n2", "n3"]) clocks.heard(node, START_MS + HOUR_MS, START_MS + HOUR_MS);
    expect(clocks.time(START_MS + HOUR_MS)).toBe(START_MS + HOUR_MS);
  });

  test("alone, a node has its own clock", () => {
    const clocks = new PeerClocks(500);
    expect([clocks.time(START_MS), clocks.time(START_MS + HOUR_MS)]).toEqual([
      START_MS,
      START_MS + HOUR_MS,
    ]);
  });

  test("who is no member any more does not count", () => {
    const clocks = new PeerClocks(500);
    for (const node of ["n2", "n3"]) clocks.heard(node, START_MS + HOUR_MS, START_MS);
    clocks.keep((node) => node === "n2");
    expect(clocks.time(START_MS)).toBe(START_MS);
  });
});

test("clocks: a node whose clock went back takes in the others' operations and says so (F29)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "a", { v: 0 });
  cluster.pass(2);
  const third = cluster.node(3);
  third.skewMs = -HOUR_MS;
  cluster.put(1, "b", { v: 1 });
  cluster.put(2, "c", { v: 1 });
  cluster.pass(5);
  expect(cluster.body(3, "b")).toEqual({ v: 1 });
  expect(types(third)).toEqual(["OWN_CLOCK_BEHIND"]);
  expect([1, 2].flatMap((number) => types(cluster.node(number)))).toEqual([]);
  // Its own writes are newer than what they follow, and than what they do not.
  cluster.put(3, "b", { v: 2 });
  cluster.put(3, "c", { v: 2 });
  cluster.pass(3);
  expect(cluster.bodies("c")).toEqual(Array(3).fill({ v: 2 }));
  third.skewMs = 0;
  cluster.pass(3);
  expect(types(third).at(-1)).toBe("OWN_CLOCK_RIGHT");
});

test("clocks: a restart with a clock that is wrong begins with the others' time (F29)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "a", { v: 0 });
  cluster.pass(2);
  const third = cluster.node(3);
  third.skewMs = -HOUR_MS;
  cluster.restart(third);
  cluster.put(1, "b", { v: 1 });
  cluster.pass(4);
  expect(cluster.body(3, "b")).toEqual({ v: 1 });
});

test("clocks: one write during a jump hides nothing that comes after it (G5)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", {});
  cluster.pass(3);
  const third = cluster.node(3);
  third.skewMs = HOUR_MS;
  cluster.put(3, "x", { by: "n3" });
  third.skewMs = 0;
  cluster.put(1, "d", undefined);
  cluster.put(3, "y", { by: "n3" });
  cluster.pass(6);
  expect(cluster.body(1, "x")).toEqual({ by: "n3" });
  expect(cluster.body(1, "y")).toEqual({ by: "n3" });
  expect(types(cluster.node(1))).toEqual([]);
  expect(cluster.nodes.map(({ master }) => master.documents.removed)).toEqual([0, 0, 0]);
});

test("clocks: of a clock that stays ahead no write is stamped ahead (G5)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", { v: 0 });
  cluster.pass(3);
  cluster.node(3).skewMs = HOUR_MS;
  cluster.pass(3);
  cluster.put(3, "d", { v: 1 });
  cluster.pass(2);
  // A later write of a node whose clock is right wins.
  cluster.put(1, "d", { v: 2 });
  cluster.network = [];
  cluster.put(2, "other", {});
  cluster.pass(4);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ v: 2 }));
  expect(types(cluster.node(3))).toEqual(["OWN_CLOCK_AHEAD"]);
});
