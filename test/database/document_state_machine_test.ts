/**
 * The state machine: what each command does, all or nothing, and the same on every node.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { encodeText } from "../../src/base/bytes.ts";
import {
  COLLECTIONS_MAX,
  DOCUMENT_SIZE_DEFAULT,
  MERGED_SIZE_MAX,
  RESULT_SIZE_MAX,
} from "../../src/base/limits.ts";
import { MemberTable } from "../../src/database/member_table.ts";
import { BATCH_HEADER_SIZE } from "../../src/protocol/encoding/batch_codec.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { membershipBatch, writeBindings } from "../../src/protocol/encoding/cluster_command.ts";
import type { RequestIdentity } from "../../src/protocol/encoding/command.ts";
import {
  applyEntry,
  type Command,
  consensus,
  expireSessions,
  Machine,
  type Operation,
  openSession,
  request,
} from "./machine.ts";

function identity(sessionId: number, requestNumber: number, below = 1): RequestIdentity {
  return { sessionId, requestNumber, acknowledgedBelow: below };
}

/** A command of a session. */
function asked(who: RequestIdentity, ...operations: readonly Operation[]): Command {
  return request(operations, { identity: who });
}

describe("operations", () => {
  test("insert: once, then a duplicate; put replaces; merge merges; remove removes", () => {
    const m = new Machine();
    expect(m.one(["INSERT", "a", { n: 1 }])).toEqual({ written: 1 });
    expect(m.one(["INSERT", "a", { n: 2 }])).toEqual({ error: "DUPLICATE_KEY" });
    expect(m.read("a")).toEqual({ found: true, version: 1, document: { n: 1 } });
    expect(m.one(["PUT", "a", { p: 1, q: [1, 2] }])).toEqual({ written: 3 });
    expect(m.one(["MERGE", "a", { q: [3], r: 4 }])).toEqual({ written: 4 });
    expect(m.read("a")).toEqual({ found: true, version: 4, document: { p: 1, q: [3], r: 4 } });
    expect(m.one(["REMOVE", "a"])).toEqual({ written: 5 });
    expect(m.read("a")).toEqual({ found: false, version: 0 });
  });

  test("absent: merge and remove change nothing and say so", () => {
    const m = new Machine();
    expect(m.one(["MERGE", "a", { n: 1 }])).toEqual({ outcomes: [{ found: false, version: 1 }] });
    expect(m.one(["REMOVE", "a"])).toEqual({ outcomes: [{ found: false, version: 2 }] });
    expect(m.state.documentCount).toBe(0);
    expect([...m.state.collections()]).toEqual([]);
  });

  test("documents come back as they are afterwards, of a removal as they were", () => {
    const m = new Machine();
    const back = { back: true };
    const [result] = m.apply(
      request([
        ["PUT", "a", { n: 1 }, back],
        ["MERGE", "a", { m: 2 }, back],
        ["PUT", "b", { x: 0 }],
        ["REMOVE", "a", undefined, back],
        ["REMOVE", "a", undefined, back],
      ]),
    );
    expect(result).toEqual({
      outcomes: [
        { found: true, version: 1, document: { n: 1 } },
        { found: true, version: 2, document: { n: 1, m: 2 } },
        { found: true, version: 3 },
        { found: true, version: 4, document: { n: 1, m: 2 } },
        { found: false, version: 5 },
      ],
    });
  });

  test("1 and '1', a and \\ufeffa, __proto__ and '' are different documents", () => {
    const m = new Machine();
    const ids = [1, "1", "a", "\ufeffa", "__proto__", "", "a.b", 0, -1, "constructor"];
    m.one(...ids.map((id, i): Operation => ["INSERT", id, { i }]));
    for (const [i, id] of ids.entries()) expect(m.read(id).document).toEqual({ i });
    expect(m.one(["INSERT", -0, {}])).toEqual({ error: "DUPLICATE_KEY" });
  });

  test("collections are apart, also those whose names differ by U+FEFF", () => {
    const m = new Machine();
    const names = ["c", "\ufeffc", "C", "__proto__", "c.d", "\u{1f980}"];
    for (const [i, collection] of names.entries()) {
      m.apply(request([["INSERT", "a", { i }]], { collection }));
    }
    for (const [i, name] of names.entries()) expect(m.read("a", name).document).toEqual({ i });
    expect(m.state.count(encodeText("c"), 0)).toBe(1);
    expect(m.state.count(encodeText("none"), 0)).toBe(0);
    expect(m.state.documentCount).toBe(names.length);
  });
});

describe("versions", () => {
  // Mutations that this finds: a version from the entry's index, or from a counter per document.
  test("versions: they are sequence numbers, also of several requests in one batch", () => {
    const m = new Machine();
    const [first, second, third] = m.apply(
      request([["PUT", "a", {}]]),
      request([
        ["PUT", "a", {}],
        ["PUT", "b", {}],
      ]),
      request([["PUT", "a", {}]]),
    );
    expect(first).toEqual({ written: 1 });
    expect(second).toEqual({
      outcomes: [
        { found: true, version: 2 },
        { found: true, version: 3 },
      ],
    });
    expect(third).toEqual({ written: 4 });
    expect(m.read("a").version).toBe(4);
    expect(m.one(["PUT", "a", {}])).toEqual({ written: 5 });
  });

  test("versions: never repeated by remove and insert, used up by refusals and repeats", () => {
    const m = new Machine();
    const session = m.openSession();
    const insert = asked(identity(session, 1), ["INSERT", "a", {}]);
    expect(m.apply(insert)).toEqual([{ written: 2 }]);
    expect(m.apply(insert)).toEqual([{ written: 2 }]);
    expect(m.one(["INSERT", "a", {}])).toEqual({ error: "DUPLICATE_KEY" });
    expect(m.one(["REMOVE", "a"])).toEqual({ written: 5 });
    expect(m.one(["INSERT", "a", {}])).toEqual({ written: 6 });
    expect(m.one(["PUT", "a", {}, { ifVersion: 2 }])).toEqual({
      error: "VERSION_CONFLICT",
      actualVersion: 6,
    });
    expect(m.state.appliedSequence).toBe(7);
  });

  // Mutation that this finds: `ifVersion: 0` taken for "no condition".
  test("ifVersion: 0 means absent, and a match is exact", () => {
    const m = new Machine();
    const conflict = (actualVersion: number) => ({ error: "VERSION_CONFLICT", actualVersion });
    expect(m.one(["PUT", "a", { n: 1 }, { ifVersion: 3 }])).toEqual(conflict(0));
    expect(m.one(["PUT", "a", { n: 1 }, { ifVersion: 0 }])).toEqual({ written: 2 });
    expect(m.one(["PUT", "a", { n: 2 }, { ifVersion: 0 }])).toEqual(conflict(2));
    expect(m.one(["PUT", "a", { n: 2 }, { ifVersion: 1 }])).toEqual(conflict(2));
    expect(m.one(["PUT", "a", { n: 2 }, { ifVersion: 3 }])).toEqual(conflict(2));
    expect(m.one(["PUT", "a", { n: 2 }, { ifVersion: 2 }])).toEqual({ written: 6 });
    expect(m.one(["INSERT", "a", {}, { ifVersion: 6 }])).toEqual({ error: "DUPLICATE_KEY" });
    expect(m.one(["INSERT", "a", {}, { ifVersion: 0 }])).toEqual(conflict(6));
    expect(m.one(["MERGE", "a", { m: 1 }, { ifVersion: 2 }])).toEqual(conflict(6));
    expect(m.one(["MERGE", "b", {}, { ifVersion: 0 }])).toEqual({
      outcomes: [{ found: false, version: 10 }],
    });
    expect(m.one(["REMOVE", "a", undefined, { ifVersion: 2 }])).toEqual(conflict(6));
    expect(m.one(["REMOVE", "a", undefined, { ifVersion: 6 }])).toEqual({ written: 12 });
    expect(m.one(["REMOVE", "a", undefined, { ifVersion: 6 }])).toEqual(conflict(0));
  });

  test("ifVersion: it sees what the same request and the same batch wrote before", () => {
    const m = new Machine();
    const [result, later] = m.apply(
      request([
        ["PUT", "a", { n: 1 }, { ifVersion: 0 }],
        ["PUT", "a", { n: 2 }, { ifVersion: 1 }],
        ["REMOVE", "a", undefined, { ifVersion: 2 }],
        ["INSERT", "a", { n: 3 }, { ifVersion: 0 }],
      ]),
      request([["PUT", "a", { n: 4 }, { ifVersion: 4 }]]),
    );
    expect(result).toMatchObject({ outcomes: [1, 2, 3, 4].map((version) => ({ version })) });
    expect(later).toEqual({ written: 5 });
    expect(m.read("a").document).toEqual({ n: 4 });
  });
});

describe("all or nothing", () => {
  // Mutations that these find: no undo, an undo in order, an undo that leaves the index behind.
  test.each<readonly [string, Operation, string]>([
    ["a duplicate", ["INSERT", "b", {}], "DUPLICATE_KEY"],
    ["a conflict", ["PUT", "b", {}, { ifVersion: 77 }], "VERSION_CONFLICT"],
    ["a missing version", ["REMOVE", "zz", undefined, { ifVersion: 1 }], "VERSION_CONFLICT"],
  ])("refusal: %s in the middle takes everything back", (_name, refused, error) => {
    const m = new Machine();
    m.one(["PUT", "a", { n: 1 }], ["PUT", "b", { n: 2 }], ["PUT", "c", { n: 3 }]);
    const before = m.dump();
    const result = m.one(
      ["PUT", "a", { n: 9 }],
      ["PUT", "a", { n: 10 }],
      ["REMOVE", "a"],
      ["INSERT", "a", { n: 11 }],
      ["MERGE", "c", { m: 1 }],
      ["REMOVE", "c"],
      ["INSERT", "new", {}],
      ["REMOVE", "b"],
      ["INSERT", "b", { n: 12 }],
      refused,
      ["PUT", "d", {}],
    );
    expect(result).toMatchObject({ error });
    expect(m.dump()).toBe(before);
    expect(m.state.documentCount).toBe(3);
    expect(m.one(["INSERT", "new", {}])).toEqual({ written: 15 });
    expect(m.one(["PUT", "a", {}, { ifVersion: 1 }])).toEqual({ written: 16 });
  });

  test("refusal: the requests before and behind it in the batch are not touched", () => {
    const m = new Machine();
    const results = m.apply(
      request([["PUT", "a", { n: 1 }]]),
      request([
        ["PUT", "a", { n: 2 }],
        ["INSERT", "a", {}],
      ]),
      request([["MERGE", "a", { m: 3 }]]),
    );
    expect(results).toEqual([{ written: 1 }, { error: "DUPLICATE_KEY" }, { written: 4 }]);
    expect(m.read("a").document).toEqual({ n: 1, m: 3 });
  });

  test("refusal: a moment frozen before shows nothing of it", () => {
    const m = new Machine();
    m.one(["PUT", "a", { n: 1 }], ["PUT", "b", { n: 2 }]);
    const store = [...m.state.collections()][0]!;
    const frozen = store.freeze(m.state.appliedSequence);
    m.one(["REMOVE", "a"], ["PUT", "b", { n: 3 }], ["INSERT", "b", {}]);
    m.one(["PUT", "b", { n: 4 }]);
    const versions = [...store.frozenRecords(frozen)].map(({ version }) => version);
    expect(versions.sort()).toEqual([1, 2]);
    store.thaw(frozen);
  });

  // The rule: a collection is there from the first request that changed something in it. Otherwise
  // requests that fail would use up the collections there may be.
  test("refusal: a request that fails or changes nothing leaves no collection behind", () => {
    const m = new Machine();
    m.apply(request([["PUT", "a", {}, { ifVersion: 9 }]], { collection: "x" }));
    m.apply(
      request(
        [
          ["INSERT", "a", {}],
          ["INSERT", "a", {}],
        ],
        { collection: "y" },
      ),
    );
    m.apply(request([["REMOVE", "a"]], { collection: "z" }));
    expect([...m.state.collections()]).toEqual([]);
    m.apply(request([["INSERT", "a", {}]], { collection: "y" }));
    expect([...m.state.collections()].map(({ name }) => name)).toEqual(["y"]);
  });

  test("refusal: one collection too many", () => {
    const m = new Machine();
    const commands = Array.from({ length: COLLECTIONS_MAX }, (_, i) =>
      request([["PUT", "a", {}]], { collection: `c${i}` }),
    );
    for (let at = 0; at < commands.length; at += 512) m.apply(...commands.slice(at, at + 512));
    const put = request([["PUT", "a", {}]], { collection: "more" });
    const remove = request([["REMOVE", "a"]], { collection: "more" });
    const known = request([["PUT", "a", {}]], { collection: "c7" });
    expect(m.apply(put, remove, known)).toEqual([
      { error: "VALIDATION" },
      { outcomes: [{ found: false, version: COLLECTIONS_MAX + 2 }] },
      { written: COLLECTIONS_MAX + 3 },
    ]);
    expect([...m.state.collections()]).toHaveLength(COLLECTIONS_MAX);
    expect(m.read("a", "more").found).toBe(false);
  });
});

describe("sizes", () => {
  const half = (key: string): object => ({ [key]: "x".repeat(DOCUMENT_SIZE_DEFAULT / 2) });

  test("merge: a document grows to its bound and no further", () => {
    const m = new Machine();
    m.one(["PUT", "a", half("a")]);
    const room = DOCUMENT_SIZE_DEFAULT - encodeCbor({ ...half("a"), b: "" }).byteLength;
    const fits = { b: "y".repeat(room - 4) }; // A long text's head has 4 bytes more.
    expect(m.one(["PUT", "b", {}], ["MERGE", "a", half("b")])).toEqual({ error: "VALIDATION" });
    expect(m.read("b").found).toBe(false);
    expect(m.one(["MERGE", "a", fits])).toEqual({ written: 4 });
    const before = m.dump();
    expect(m.one(["MERGE", "a", { c: 1 }])).toEqual({ error: "VALIDATION" });
    expect(m.dump()).toBe(before);
  });

  // 10,000 operations of a few bytes that each give back 1 MiB would make 10 GB of result on every
  // node, and again at every restart.
  test("results: one larger than a frame is refused, and nothing is changed", () => {
    const m = new Machine();
    m.one(["PUT", "a", half("a")]);
    const before = m.dump();
    const merges = (count: number): Operation[] =>
      Array.from({ length: count }, (_, n): Operation => ["MERGE", "a", { n }, { back: true }]);
    expect(m.one(...merges(10))).toEqual({ error: "VALIDATION" });
    expect(m.dump()).toBe(before);
    const results = m.one(...merges(Math.floor(RESULT_SIZE_MAX / (DOCUMENT_SIZE_DEFAULT / 2)) - 1));
    expect(results).toMatchObject({ outcomes: { length: 7 } });
  });

  // The same for documents that nobody wants back: each merge writes the whole document.
  test("merges: what one request makes of a large document is bounded", () => {
    const m = new Machine();
    m.one(["PUT", "a", half("a")]);
    const before = m.dump();
    const merges = (count: number): Operation[] =>
      Array.from({ length: count }, (_, n): Operation => ["MERGE", "a", { n }]);
    expect(m.one(...merges(10_000))).toEqual({ error: "VALIDATION" });
    expect(m.dump()).toBe(before);
    const most = Math.floor(MERGED_SIZE_MAX / (DOCUMENT_SIZE_DEFAULT / 2)) - 1;
    expect(m.one(...merges(most))).toMatchObject({ outcomes: { length: most } });
    expect(m.state.documentBytes).toBeLessThan(4 * MERGED_SIZE_MAX);
  });

  test("memory: overwriting a few documents for long stays bounded", () => {
    const m = new Machine();
    const documents = Array.from(
      { length: 50 },
      (_, i): Operation => ["PUT", i, { text: "x".repeat(10_000) }],
    );
    for (let i = 0; i < 200; i += 1) m.one(...documents);
    expect(m.state.documentBytes).toBeLessThan(30_000_000);
  });
});

describe("sessions", () => {
  test("repeats: the stored result comes back, whatever the state is now", () => {
    const m = new Machine();
    const id = m.openSession();
    const put = asked(identity(id, 1), ["PUT", "a", { n: 1 }]);
    const read = asked(identity(id, 2), ["MERGE", "a", { m: 1 }, { back: true }], ["REMOVE", "zz"]);
    const refused = asked(identity(id, 3), ["INSERT", "a", {}]);
    const conflict = asked(identity(id, 4), ["PUT", "a", {}, { ifVersion: 1 }]);
    const first = m.apply(put, read, refused, conflict);
    expect(first).toEqual([
      { written: 2 },
      {
        outcomes: [
          { found: true, version: 3, document: { n: 1, m: 1 } },
          { found: false, version: 4 },
        ],
      },
      { error: "DUPLICATE_KEY" },
      { error: "VERSION_CONFLICT", actualVersion: 3 },
    ]);
    m.one(["REMOVE", "a"]);
    const before = m.dump();
    expect(m.apply(conflict, refused, read, put)).toEqual(first.toReversed());
    expect(m.apply(put, put)).toEqual([{ written: 2 }, { written: 2 }]);
    expect(m.dump()).toBe(before);
  });

  // History: r6 was refused as overloaded before the log, r7 was committed, then r6 comes again.
  // Mutation that this finds: a table that keeps only the last session number.
  test("repeats: an earlier number that was never applied is applied", () => {
    const m = new Machine();
    const id = m.openSession();
    const seven = asked(identity(id, 7, 6), ["PUT", "r7", {}]);
    const six = asked(identity(id, 6, 6), ["PUT", "r6", {}]);
    expect(m.apply(seven)).toEqual([{ written: 2 }]);
    expect(m.apply(six)).toEqual([{ written: 3 }]);
    expect(m.apply(six, seven)).toEqual([{ written: 3 }, { written: 2 }]);
    expect(m.read("r6").version).toBe(3);
  });

  test("refusals: nothing is executed, and nothing is stored", () => {
    const m = new Machine();
    const id = m.openSession();
    m.apply(asked(identity(id, 1), ["PUT", "a", {}]));
    const cases: (readonly [Command, string])[] = [
      [asked(identity(99, 1), ["PUT", "x", {}]), "SESSION_EXPIRED"],
      [asked(identity(id, 1), ["PUT", "x", {}]), "DUPLICATE_REQUEST"],
      [asked(identity(id, 5_000), ["PUT", "x", {}]), "OVERLOADED"],
      [asked(identity(id, 2, 3), ["PUT", "x", {}]), "DUPLICATE_REQUEST"],
    ];
    for (const [command, error] of cases) expect(m.apply(command)).toEqual([{ error }]);
    expect(m.read("x").found).toBe(false);
    expect(m.apply(asked(identity(id, 5_000, 1_000), ["PUT", "x", {}]))).toEqual([{ written: 7 }]);
  });

  test("expiry: an ended session executes nothing, others go on", () => {
    const m = new Machine();
    const [a, b] = [m.openSession(), m.openSession()];
    expect(m.apply(expireSessions(a, 12_345), openSession())).toEqual([
      { written: 3 },
      { written: 4 },
    ]);
    expect(m.apply(asked(identity(a, 1), ["PUT", "x", {}]))).toEqual([
      { error: "SESSION_EXPIRED" },
    ]);
    expect(m.apply(asked(identity(b, 1), ["PUT", "x", {}]))).toEqual([{ written: 6 }]);
    expect(m.state.sessions.size).toBe(2);
  });

  test("time: it never goes back", () => {
    const m = new Machine();
    m.timeMs = 5_000;
    m.openSession();
    m.timeMs = 1_000;
    m.openSession();
    expect(m.state.position.timeMs).toBe(5_000);
    expect(m.state.sessions.expired(5_000, 10)).toEqual([]);
  });
});

/** A MEMBERSHIP of voters: `["n1", "n2=x"]` gives n2 the folder x. */
function setMembers(...nodes: readonly string[]): Command {
  const members = nodes.map((node) => {
    const [id = "", incarnation = ""] = node.split("=");
    return { id, address: `${id}:7000`, role: "voter", incarnation } as const;
  });
  const { bytes } = membershipBatch(members, 0);
  return { count: 1, write: (writer) => void writer.raw(bytes.subarray(BATCH_HEADER_SIZE)) };
}

function bind(id: string, incarnation: string): Command {
  return consensus("BIND", (writer) => writeBindings(writer, [{ id, incarnation }]));
}

describe("consensus", () => {
  test("bindings: the first of an id counts, and only members are bound", () => {
    const m = new Machine();
    m.apply(setMembers("n1", "n2"));
    m.apply(bind("n1", "x"));
    m.apply(bind("n2", "y"));
    m.apply(bind("n1", "z"));
    m.apply(bind("n9", "w"));
    expect([...m.state.memberTable.bindings]).toEqual([
      ["n1", "x"],
      ["n2", "y"],
    ]);
  });

  test("members: a folder that is not named any more is retired and never bound again", () => {
    const m = new Machine();
    const table = m.state.memberTable;
    m.apply(setMembers("n1", "n2", "n3"));
    for (const [id, folder] of ["x", "y", "z"].entries()) m.apply(bind(`n${id + 1}`, folder));
    m.apply(setMembers("n1=x", "n2", "n4=v"));
    expect([...table.bindings]).toEqual([
      ["n1", "x"],
      ["n4", "v"],
    ]);
    expect(["x", "y", "z", "v", ""].map((folder) => table.isRetired(folder))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
    m.apply(bind("n2", "z"));
    m.apply(bind("n2", "y"));
    expect(table.bindings.has("n2")).toBe(false);
    m.apply(bind("n2", "new"));
    expect(table.bindings.get("n2")).toBe("new");
    expect(table.members.map(({ id, role }) => [id, role])).toEqual([
      ["n1", "voter"],
      ["n2", "voter"],
      ["n4", "voter"],
    ]);
  });

  test("members: a folder that moves to another id is not retired", () => {
    const m = new Machine();
    m.apply(setMembers("n1=x", "n2=y"));
    m.apply(setMembers("n1=x", "n3=y"));
    expect(m.state.memberTable.isRetired("y")).toBe(false);
    expect(m.state.memberTable.bindings.get("n3")).toBe("y");
  });

  test("members: 1000 retired folders are remembered, the newest ones", () => {
    const m = new Machine();
    for (let i = 0; i <= 1002; i += 1) m.apply(setMembers("n1=x", `n2=f${i}`));
    const { retired } = m.state.memberTable.state();
    expect([retired.length, retired[0], retired.at(-1)]).toEqual([1000, "f2", "f1001"]);
  });

  test("members: where those were who left is remembered until they come back, the last 16", () => {
    const m = new Machine();
    const table = m.state.memberTable;
    const left = (): string[] => table.departed.map(({ id }) => id);
    m.apply(setMembers("n1", "n2", "n3=z"));
    m.apply(setMembers("n1", "n3=y"));
    m.apply(setMembers("n1"));
    expect(left()).toEqual(["n2", "n3"]);
    const [first] = table.departed;
    expect([first?.address, first?.timeMs]).toEqual(["n2:7000", m.state.position.timeMs]);
    m.apply(setMembers("n1", "n2=other"));
    expect(left()).toEqual(["n3"]);
    for (let i = 0; i < 20; i += 1) m.apply(setMembers("n1", `m${i}`));
    expect([left().length, left()[0], left().at(-1)]).toEqual([16, "m3", "m18"]);
    const state = table.state();
    const restored = new MemberTable();
    restored.restore(state);
    expect(restored.state()).toEqual(state);
  });

  test("order: an entry that does not follow is a bug, not a gap", () => {
    const m = new Machine();
    m.one(["PUT", "a", {}]);
    m.one(["PUT", "b", {}]);
    const other = new Machine();
    expect(() => applyEntry(other.state, m.entries[1]!)).toThrow("in order");
    applyEntry(other.state, m.entries[0]!);
    expect(() => applyEntry(other.state, m.entries[0]!)).toThrow("in order");
    const skipped = { ...m.entries[1]!, firstSequence: 3 };
    expect(() => applyEntry(other.state, skipped)).toThrow("no gap");
  });
});
