/**
 * Rules versions in the log: the state follows them from their entry on, keeps them in snapshots,
 * and refuses those that it does not know.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ConfigError } from "../../src/base/errors.ts";
import { FIRST_RULES, NEWEST_RULES } from "../../src/base/rules_version.ts";
import { DocumentStateMachine } from "../../src/database/document_state_machine.ts";
import { dueRemovals } from "../../src/database/expiry.ts";
import { freezeState, StateRestorer } from "../../src/database/snapshot_codec.ts";
import { FrozenDigest } from "../../src/database/state_digest.ts";
import { zlibCompressor } from "../../src/platform/compression.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { decodeKey } from "../../src/protocol/encoding/document_key.ts";
import { NO_RESULTS } from "../../src/raft/state_machine.ts";
import { type Command, consensus, Machine, type Operation, request, rules } from "./machine.ts";

function restored(machine: Machine): DocumentStateMachine {
  const copy = new DocumentStateMachine(zlibCompressor, 9);
  const restorer = new StateRestorer(copy);
  const frozen = freezeState(machine.state);
  for (const block of frozen.blocks()) restorer.block(block.slice());
  frozen.thaw();
  restorer.end();
  return copy;
}

function digestOf(state: DocumentStateMachine): string {
  const frozen = new FrozenDigest(state);
  const steps = frozen.digest();
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  frozen.thaw();
  return step.value.digest;
}

function createIndex(index: object): Command {
  const body = encodeCbor({ action: "createIndex", collection: "c", index }).slice();
  return consensus("CATALOG", (writer) => writer.raw(body));
}

function readyIndex(name: string): Command {
  const body = encodeCbor({ collection: "c", index: name }).slice();
  return consensus("INDEX_READY", (writer) => writer.raw(body));
}

/** Makes an index that serves. */
function index(machine: Machine, definition: { readonly name: string }): void {
  machine.state.apply(machine.entry(createIndex(definition)), NO_RESULTS);
  machine.apply(readyIndex(definition.name));
}

const UNIQUE = { name: "u", paths: [{ path: "u", order: 1 }], isUnique: true };

function definition(extra: object): { readonly name: string } {
  return { name: "t", paths: [{ path: "t", order: 1 }], ...extra } as { readonly name: string };
}

function withIndex(version: number): Machine {
  const machine = new Machine();
  machine.apply(rules(version));
  index(machine, UNIQUE);
  machine.one(["INSERT", "a", { id: "a", u: 1 }], ["INSERT", "b", { id: "b", u: 2 }]);
  return machine;
}

describe("the version", () => {
  test("a log that names none follows the first; later ones only raise it", () => {
    const machine = new Machine();
    expect(machine.state.rules).toBe(FIRST_RULES);
    machine.apply(rules(NEWEST_RULES));
    expect(machine.state.rules).toBe(NEWEST_RULES);
    machine.apply(rules(FIRST_RULES));
    expect(machine.state.rules).toBe(NEWEST_RULES);
  });

  test("a snapshot keeps it, and the digest shows it", () => {
    const [old, now] = [new Machine(), new Machine()];
    old.apply(rules(FIRST_RULES));
    now.apply(rules(NEWEST_RULES));
    expect(restored(old).rules).toBe(FIRST_RULES);
    expect(restored(now).rules).toBe(NEWEST_RULES);
    expect(digestOf(restored(now))).toBe(digestOf(now.state));
    expect(digestOf(old.state)).not.toBe(digestOf(now.state));
  });

  test("one that this build does not know: it cannot go on", () => {
    const machine = new Machine();
    expect(() => machine.apply(rules(NEWEST_RULES + 1))).toThrow(ConfigError);
    expect(machine.state.rules).toBe(FIRST_RULES);
  });
});

describe("a unique index judges the end of a request", () => {
  const swap: readonly Operation[] = [
    ["PUT", "a", { id: "a", u: 2 }],
    ["PUT", "b", { id: "b", u: 1 }],
  ];

  test("two documents swap their values", () => {
    const [old, now] = [withIndex(FIRST_RULES), withIndex(NEWEST_RULES)];
    expect(old.one(...swap)).toMatchObject({ error: "DUPLICATE_KEY" });
    expect(now.one(...swap)).toHaveProperty("outcomes");
    expect(now.read("a").document).toEqual({ id: "a", u: 2 });
    expect(now.read("b").document).toEqual({ id: "b", u: 1 });
    // The index is whole: each value is taken by its new owner.
    expect(now.one(["PUT", "x", { id: "x", u: 1 }])).toMatchObject({ error: "DUPLICATE_KEY" });
    expect(now.one(["PUT", "x", { id: "x", u: 2 }])).toMatchObject({ error: "DUPLICATE_KEY" });
    expect(now.one(["PUT", "x", { id: "x", u: 3 }])).not.toHaveProperty("error");
  });

  test("a value that is freed later in the request may be taken before", () => {
    const machine = withIndex(NEWEST_RULES);
    const result = machine.one(["PUT", "a", { id: "a", u: 2 }], ["REMOVE", "b"]);
    expect(result).toHaveProperty("outcomes");
    expect(machine.read("b").found).toBe(false);
  });

  test("two that keep one value at the end: all of it is refused and taken back", () => {
    const machine = withIndex(NEWEST_RULES);
    const before = machine.dump();
    const result = machine.one(
      ["PUT", "c", { id: "c", u: 9 }],
      ["PUT", "a", { id: "a", u: 2 }],
      ["PUT", "b", { id: "b", u: 2 }],
    );
    expect(result).toMatchObject({ error: "DUPLICATE_KEY" });
    expect(machine.dump()).toBe(before);
    expect(machine.one(["PUT", "d", { id: "d", u: 9 }])).not.toHaveProperty("error");
  });

  test("one that is alone in its request is refused at once", () => {
    const machine = withIndex(NEWEST_RULES);
    expect(machine.one(["PUT", "a", { id: "a", u: 2 }])).toMatchObject({ error: "DUPLICATE_KEY" });
    expect(machine.read("a").document).toEqual({ id: "a", u: 1 });
  });

  test("what no index can hold is refused before any duplicate", () => {
    const machine = withIndex(NEWEST_RULES);
    index(machine, definition({}));
    const before = machine.dump();
    const put: Operation = ["PUT", "a", { id: "a", u: 2, t: "x".repeat(5000) }];
    expect(machine.one(put, ["REMOVE", "b"])).toMatchObject({ error: "VALIDATION" });
    expect(machine.dump()).toBe(before);
  });
});

describe("a document holds its key", () => {
  test.each<readonly [string, Operation]>([
    ["an insert", ["INSERT", "k", { id: "other" }]],
    ["a put", ["PUT", "k", {}]],
    ["a put of a number under its text", ["PUT", "1", { id: 1 }]],
  ])("%s under another key: refused from rules 2 on", (_what, operation) => {
    const [old, now] = [new Machine(), new Machine()];
    now.apply(rules(NEWEST_RULES));
    expect(old.one(operation)).not.toHaveProperty("error");
    expect(now.one(operation)).toMatchObject({ error: "VALIDATION" });
    expect(now.state.documentCount).toBe(0);
  });

  test("in a session, where most puts are applied without ceremony", () => {
    const machine = new Machine();
    machine.apply(rules(NEWEST_RULES));
    const sessionId = machine.openSession();
    const put = (requestNumber: number, document: object): object => {
      const identity = { sessionId, requestNumber, acknowledgedBelow: 1 };
      return machine.apply(request([["PUT", "k", document]], { identity }))[0]!;
    };
    expect(put(1, { id: "k" })).toHaveProperty("written");
    expect(put(2, { id: "other" })).toMatchObject({ error: "VALIDATION" });
    expect(put(3, { id: "k", n: 1 })).toHaveProperty("written");
    expect(machine.read("k").document).toEqual({ id: "k", n: 1 });
  });

  test("a merge does not take it away; one of a document that never had it may give it", () => {
    const machine = new Machine();
    machine.one(["PUT", "lost", { n: 1 }]);
    machine.apply(rules(NEWEST_RULES));
    machine.one(["PUT", "k", { id: "k" }]);
    expect(machine.one(["MERGE", "k", { id: "x" }])).toMatchObject({ error: "VALIDATION" });
    expect(machine.one(["MERGE", "k", { n: 2 }])).not.toHaveProperty("error");
    expect(machine.one(["MERGE", "lost", { n: 2 }])).not.toHaveProperty("error");
    expect(machine.one(["MERGE", "lost", { id: "lost" }])).not.toHaveProperty("error");
    expect(machine.read("lost").document).toEqual({ id: "lost", n: 2 });
  });
});

test("an update does not take it away, under whatever name its client knows the id", () => {
  const machine = new Machine();
  machine.one(["PUT", "lost", { n: 1 }]);
  machine.apply(rules(NEWEST_RULES));
  machine.one(["PUT", "k", { id: "k", n: 1 }]);
  const change = (id: string, order: object): object => machine.one(["UPDATE", id, order]);
  for (const order of [
    { update: { $set: { id: "b" } }, idField: "_id" },
    { assign: { id: "b" }, idField: "_id" },
    { update: { $unset: { id: 1 } }, idField: "_id" },
  ]) {
    expect(change("k", order)).toMatchObject({ error: "VALIDATION" });
  }
  expect(machine.read("k").document).toEqual({ id: "k", n: 1 });
  expect(change("k", { update: { $inc: { n: 1 } } })).not.toHaveProperty("error");
  expect(change("lost", { update: { $inc: { n: 1 } } })).not.toHaveProperty("error");
  expect(machine.read("lost").document).toEqual({ n: 2 });
});

// Sessions keep the texts of refusals: they are state, and every build of a cluster must agree.
test.each<readonly [string, object, string, string]>([
  [
    "a number that is too big",
    { update: { $mul: { big: 4611686018427387904n } } },
    "Cannot store the value: tag not allowed",
    'Cannot store the value at "big": an integer of more than 64 bits',
  ],
  [
    "$not for a whole query",
    { update: { $set: { q: 1 } }, filter: { $not: { a: 1 } } },
    'Cannot read the query: operator "$not" is unknown',
    "Cannot read the query: $not stands at a field",
  ],
])("%s is refused in the words of the rules", (...row) => {
  const [, order, before, now] = row;
  const texts = [FIRST_RULES, NEWEST_RULES].map((version) => {
    const machine = new Machine();
    machine.apply(rules(version));
    const sessionId = machine.openSession();
    machine.one(["PUT", "a", { id: "a", big: 2n ** 63n - 1n }]);
    const identity = { sessionId, requestNumber: 1, acknowledgedBelow: 1 };
    machine.apply(request([["UPDATE", "a", order]], { identity }));
    return Buffer.from(machine.state.sessions.encode()).toString("latin1");
  });
  expect(texts[0]).toContain(before);
  expect(texts[1]).toContain(now);
});

test.each(["a.01", "$t"])(
  "removals by the path %j, which would find nothing, are not begun",
  (path) => {
    const expiring = { name: "t", paths: [{ path, order: 1 }], expiresAfterMs: 1 };
    const machine = new Machine();
    index(machine, expiring);
    const plain = { name: "p", paths: [{ path: "t", order: 1 }], expiresAfterMs: 1 };
    index(machine, plain);
    machine.one(["PUT", "a", { id: "a", $t: new Date(5), a: [0, new Date(5)] }]);
    machine.one(["PUT", "b", { id: "b", t: new Date(5) }]);
    machine.apply(rules(NEWEST_RULES));
    const at = { nowMs: machine.timeMs + 1_000_000, rules: machine.state.rules };
    const due = dueRemovals(machine.state.collections(), at, 10);
    expect(due?.operations.map(({ key }) => decodeKey(key))).toEqual(["b"]);
    const body = encodeCbor({ action: "createIndex", collection: "d", index: expiring }).slice();
    machine.state.apply(machine.entry(consensus("CATALOG", (w) => w.raw(body))), NO_RESULTS);
    expect([...machine.state.collections()].some(({ name }) => name === "d")).toBe(false);
  },
);

test("expiry at the date itself: from rules 2 on, and only where it is asked for", () => {
  const document = { id: "a", t: new Date(500) };
  const isOver = (version: number, extra: object): boolean => {
    const machine = new Machine();
    machine.apply(rules(version));
    index(machine, definition({ expiresAfterMs: 0, ...extra }));
    machine.one(["PUT", "a", document]);
    return !machine.read("a").found;
  };
  expect(isOver(NEWEST_RULES, { expiresAtDate: true })).toBe(true);
  expect(isOver(NEWEST_RULES, {})).toBe(false);
  expect(isOver(FIRST_RULES, { expiresAtDate: true })).toBe(false);
});
