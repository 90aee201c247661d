import { describe, expect, test } from "bun:test";
import { QueryRun } from "../../src/database/collection/query_run.ts";
import { isBuilding } from "../../src/database/index_building.ts";
import { decodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { type FaultKind, Simulation } from "./simulator.ts";
import { findCycle, type ObservedTransaction, TOTAL, TransactionLoad } from "./transactions.ts";

const SEEDS = Number(process.env["CSTORE_TRANSACTION_SEEDS"] ?? "12");
const KINDS: readonly FaultKind[] = [
  "kill",
  "powerCut",
  "powerCutAll",
  "pause",
  "isolate",
  "cutOneWay",
  "promote",
  "snapshot",
  "lagSnapshot",
  "divergentTail",
  "loss",
  "clog",
  "syncStall",
  "clockJump",
];

/** Runs whose change stream was never told that something is not kept any more. */
let wholeStreams = 0;

async function run(seed: number): Promise<TransactionLoad> {
  const simulation = new Simulation({ seed, nodes: 3, leaseReads: false });
  await simulation.boot();
  const load = new TransactionLoad(simulation);
  await load.start(4);
  for (let round = 0; round < 6; round += 1) {
    await simulation.advance(400);
    simulation.inject(KINDS[simulation.world.random.below(KINDS.length)]!);
    await simulation.advance(600);
  }
  load.stop();
  await simulation.heal(0);
  await simulation.advance(20_000, () => load.isIdle);
  expect(load.isIdle).toBe(true);
  const leader = await simulation.untilLeader();
  const { machine } = leader.node!;
  const sequence = machine.appliedSequence;
  const documents = (name: string, filter = {}, hint = ""): Record<string, unknown>[] => {
    const spec = { filter, ...(hint !== "" && { hint }) };
    const query = new QueryRun(machine.collectionOrEmpty(name), spec, sequence);
    const found = [...query.documents()].flatMap((one) => {
      return one === undefined ? [] : [decodeCbor(one.document) as Record<string, unknown>];
    });
    query.end();
    return found;
  };
  const lists = documents("lists");
  const final = new Map(lists.map(({ id, values }) => [id as string, values as string[]]));
  expect({ seed, cycle: findCycle(load.observed, final) }).toEqual({ seed, cycle: undefined });
  expect(documents("lists", { size: { $gte: 0 } }, "size").length).toBe(lists.length);
  const sum = documents("accounts").reduce((total, { balance }) => total + Number(balance), 0);
  expect({ seed, sum }).toEqual({ seed, sum: TOTAL });
  expect({ seed, sums: load.sums.filter((one) => one !== TOTAL) }).toEqual({ seed, sums: [] });
  await simulation.advance(20_000, () => {
    return load.watched === undefined || load.position >= sequence;
  });
  if (load.watched !== undefined) {
    const told = [...load.watched].sort();
    expect({ seed, told }).toEqual({ seed, told: [...final].sort() });
  }
  return load;
}

for (let seed = 1; seed <= SEEDS; seed += 1) {
  test(`transactions under faults: seed ${seed} has an order, and no money comes or goes`, async () => {
    const load = await run(seed);
    expect(load.observed.filter(({ outcome }) => outcome === "ok").length).toBeGreaterThan(10);
    expect(load.sums.length).toBeGreaterThan(5);
    wholeStreams += load.watched === undefined ? 0 : 1;
  }, 300_000);
}

test("indexes: a node that was brought up by a snapshot has them, also one that was being made", async () => {
  const simulation = new Simulation({ seed: 31, nodes: 3, leaseReads: false });
  const leader = await simulation.boot();
  const away = simulation.hosts.find((host) => host !== leader)!;
  const database = await simulation.connect();
  const things = database.collection<{ id: number; n: number; pad: string }>("things");
  const pad = "x".repeat(300);
  for (let at = 0; at < 3000; at += 500) {
    const batch = Array.from({ length: 500 }, (_, i) => ({ id: at + i, n: (at + i) % 50, pad }));
    await simulation.settle(things.insertMany(batch));
  }
  await simulation.settle(things.createIndex("ready", { keys: "n" }));
  await simulation.settle(things.createIndex("one", { keys: "id", unique: true }));
  simulation.kill(away);
  const making = things.createIndex("making", { keys: { n: -1 } });
  const node = leader.node!;
  const isBegun = (): boolean =>
    node.machine.collectionOrEmpty("things").indexes.get("making") !== undefined;
  await simulation.until("it is being made", isBegun);
  expect(isBuilding(node.machine.collections())).toBe(true);
  for (const host of simulation.hosts) {
    if (host === away) continue;
    const { position } = host.node!.machine;
    for (let round = 0; round < 2; round += 1) await simulation.settle(host.node!.takeSnapshot());
    await simulation.settle(host.node!.log.compactTo(position));
  }
  simulation.start(away);
  await simulation.settle(making);
  await simulation.settle(things.updateMany({ n: 7 }, { $set: { n: 700 } }));
  const index = node.machine.appliedIndex;
  await simulation.until("all have caught up", () => {
    return simulation.hosts.every((host) => (host.node?.machine.appliedIndex ?? 0) >= index);
  });
  for (const { node: one } of simulation.hosts) {
    const { indexes } = one!.machine.collectionOrEmpty("things");
    const all = [...indexes.all()].map(({ definition, isReady, size }) => {
      return [definition.name, isReady, size];
    });
    expect(all).toEqual([
      ["ready", true, 3000],
      ["one", true, 3000],
      ["making", true, 3000],
    ]);
    const own = [...indexes.get("making")!.snapshot().keys()];
    expect(own).toEqual([
      ...node.machine.collectionOrEmpty("things").indexes.get("making")!.snapshot().keys(),
    ]);
  }
  await simulation.heal(0);
}, 300_000);

test("transactions under faults: change streams told all in most runs", () => {
  expect(wholeStreams).toBeGreaterThan(SEEDS / 2);
});

describe("the checker", () => {
  function transaction(
    name: string,
    reads: ObservedTransaction["reads"],
    writes: readonly string[],
  ): ObservedTransaction {
    const appends = writes.map((key) => ({ key, value: name }));
    return { name, startMs: 0, endMs: 10, outcome: "ok", reads, appends };
  }

  test("sees write skew, lost values, halves and reads of what never was", () => {
    const skew = [
      transaction("t1", [{ key: "a", values: [] }], ["b"]),
      transaction("t2", [{ key: "b", values: [] }], ["a"]),
    ];
    const both = new Map([
      ["a", ["t2"]],
      ["b", ["t1"]],
    ]);
    expect(findCycle(skew, both)).toContain("no order");
    expect(findCycle(skew.slice(0, 1), new Map())).toContain("lost");
    const half = { ...transaction("t3", [], ["a", "b"]), outcome: "unknown" as const };
    expect(findCycle([half], new Map([["a", ["t3"]]]))).toContain("half");
    const wrong = transaction("t4", [{ key: "a", values: ["x"] }], []);
    expect(findCycle([wrong], new Map([["a", ["y"]]]))).toContain("never was");
    const late = [
      { ...transaction("t5", [{ key: "a", values: [] }], []), startMs: 20, endMs: 30 },
      transaction("t6", [], ["a"]),
    ];
    expect(findCycle(late, new Map([["a", ["t6"]]]))).toContain("no order");
  });
});
