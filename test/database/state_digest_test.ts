/**
 * The digest of a state: it depends on nothing but the state, and on everything of it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { encodeText } from "../../src/base/bytes.ts";
import type { CStoreError } from "../../src/base/errors.ts";
import { DocumentStateMachine } from "../../src/database/document_state_machine.ts";
import { NO_MASTERS } from "../../src/database/masters.ts";
import { freezeState, StateRestorer } from "../../src/database/snapshot_codec.ts";
import {
  DIGEST_RANGES,
  differingDocument,
  differingRanges,
  FrozenDigest,
  RANGE_DIGEST_SIZE,
  stateDifference,
} from "../../src/database/state_digest.ts";
import { zlibCompressor } from "../../src/platform/compression.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { writeBindings } from "../../src/protocol/encoding/cluster_command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import type { DocumentDigest, StateDigest } from "../../src/protocol/wire/reply.ts";
import { fuzzRandom, rounds, seeded } from "../protocol/fuzz_seed.ts";
import { applyEntry, consensus, Machine, type Operation, request } from "./machine.ts";

/** Takes every slice; `between` runs where others would have their turn. */
function finish<T>(slices: Generator<undefined, T>, between: () => void = () => undefined): T {
  for (let next = slices.next(); ; next = slices.next()) {
    if (next.done === true) return next.value;
    between();
  }
}

function digestOf(state: DocumentStateMachine): StateDigest {
  const frozen = new FrozenDigest(state);
  const digest = finish(frozen.digest());
  frozen.thaw();
  return digest;
}

function documentsOf(state: DocumentStateMachine, name: string, range: number): DocumentDigest[] {
  const frozen = new FrozenDigest(state);
  const documents = finish(frozen.documents(name, range));
  frozen.thaw();
  return [...documents];
}

/** Another node: it starts from a snapshot of the first. */
function restored(machine: Machine, seed: number): DocumentStateMachine {
  const copy = new DocumentStateMachine(zlibCompressor, seed);
  const restorer = new StateRestorer(copy);
  const frozen = freezeState(machine.state);
  for (const block of frozen.blocks()) restorer.block(block);
  restorer.end();
  frozen.thaw();
  return copy;
}

function applyCatalog(machine: Machine, request: object): void {
  const command = consensus("CATALOG", (writer) => void writer.raw(encodeCbor(request)));
  let refusal: CStoreError | undefined;
  machine.state.apply(machine.entry(command), {
    written: () => undefined,
    result: () => undefined,
    refused: (_ordinal, error) => {
      refusal = error;
    },
  });
  expect(refusal).toBeUndefined();
}

/** The range that changed between two collections, which must be the only one. */
function onlyRange(a: StateDigest, b: StateDigest): { name: string; range: number } {
  const difference = stateDifference(a, b);
  if (difference?.part !== "collection") throw new Error(`differs in ${difference?.part}`);
  expect(difference.ranges.length).toBe(1);
  return { name: difference.name, range: difference.ranges[0]! };
}

const PUTS: readonly Operation[] = [
  ["PUT", "a", { n: 1 }],
  ["PUT", "b", { n: 2 }],
  ["PUT", "c", { n: 3 }],
];

test("settings of a collection and its next number are part of the state, and of snapshots", () => {
  const make = (settings: unknown): Machine => {
    const machine = new Machine();
    applyCatalog(machine, { action: "createCollection", collection: "c", settings });
    return machine;
  };
  const numbered = make({ ids: "autoIncrement" });
  const seen = new Set([
    digestOf(numbered.state).digest,
    digestOf(make(undefined).state).digest,
    digestOf(make({ validator: "v" }).state).digest,
  ]);
  expect(seen.size).toBe(3);
  applyCatalog(numbered, { action: "nextIds", collection: "c", count: 2 });
  const copy = restored(numbered, 7);
  expect(digestOf(copy)).toEqual(digestOf(numbered.state));
  const store = copy.collectionOrEmpty("c");
  expect([store.settings.ids, store.nextId]).toEqual(["autoIncrement", 2]);
  const validated = restored(make({ validator: "v" }), 7).collectionOrEmpty("c");
  expect(validated.settings).toEqual({ ids: "uuidv7", validator: "v" });
});

test("an empty state has a digest, and an empty collection is part of it", () => {
  const machine = new Machine();
  const empty = digestOf(machine.state);
  expect(empty.collections).toEqual([]);
  expect(empty.digest).toMatch(/^[0-9a-f]{16}$/);

  machine.one(["PUT", "a", { n: 1 }]);
  machine.one(["REMOVE", "a"]);
  const { collections } = digestOf(machine.state);
  expect(collections.map(({ name, count }) => ({ name, count }))).toEqual([
    { name: "c", count: 0 },
  ]);
  const ranges = new Uint8Array(DIGEST_RANGES * RANGE_DIGEST_SIZE);
  expect(collections[0]?.ranges).toEqual(ranges);
});

// Two nodes may hold the same documents at other places of their slabs: the order in which they
// were written there, compaction and a restore differ from node to node.
test(seeded("nothing of the order in memory shows: restore, compaction, another seed"), () => {
  const random = fuzzRandom();
  for (let run = 0; run < rounds(6); run += 1) {
    const machine = new Machine(random.u32());
    const replayed = new DocumentStateMachine(zlibCompressor, random.u32());
    const session = machine.openSession();
    for (const entry of machine.entries) applyEntry(replayed, entry);
    let copy = restored(machine, random.u32());
    for (let batch = 1; batch <= 120; batch += 1) {
      const operations = Array.from({ length: 1 + random.below(40) }, (): Operation => {
        const id = random.below(300);
        if (random.chance(0.3)) return ["REMOVE", id];
        return ["PUT", id, { text: "x".repeat(random.below(2_000)) }];
      });
      const identity = {
        sessionId: session,
        requestNumber: batch,
        acknowledgedBelow: Math.max(1, batch - 5),
      };
      const collection = `c${random.below(3)}`;
      machine.apply(request(operations, { collection, identity }));
      const entry = machine.entries.at(-1)!;
      applyEntry(replayed, entry);
      applyEntry(copy, entry);
      if (batch % 25 !== 0) continue;
      const digest = digestOf(machine.state);
      expect(digestOf(replayed)).toEqual(digest);
      expect(digestOf(copy)).toEqual(digest);
      copy = restored(machine, random.u32());
    }
    expect(digestOf(copy)).toEqual(digestOf(machine.state));
  }
});

test("the order in which documents and collections came does not show", () => {
  // Versions are the numbers of the operations, so the same ones come from a restore only.
  const machine = new Machine(1);
  machine.apply(request(PUTS, { collection: "x" }), request(PUTS, { collection: "y" }));
  const { position } = machine.state;
  const other = new DocumentStateMachine(zlibCompressor, 2);
  other.beginRestore({
    position,
    members: { members: [], bindings: [], retired: [], departed: [] },
    droppedAt: 0,
    rules: 1,
    masters: NO_MASTERS,
  });
  for (const name of ["y", "x"]) {
    const store = other.restoreCollection(name);
    for (const id of ["c", "a", "b"]) {
      const { document, version } = machine.state.read(encodeText(name), encodeKey(id), 0);
      const key = encodeKey(id);
      const bytes = new Uint8Array([...key, ...document!]);
      const hash = store.hash(bytes, { start: 0, end: key.byteLength });
      const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
      store.put({ hash, before: -1 }, source, version);
    }
  }
  expect(digestOf(other)).toEqual(digestOf(machine.state));
});

/** Documents by hand, so that one thing alone is different. */
function stateOf(
  documents: readonly (readonly [id: string, version: number, bytes: readonly number[]])[],
): DocumentStateMachine {
  const state = new DocumentStateMachine(zlibCompressor, 1);
  const position = { index: 9, term: 1, nextSequence: 99, timeMs: 5 };
  state.beginRestore({
    position,
    members: { members: [], bindings: [], retired: [], departed: [] },
    droppedAt: 0,
    rules: 1,
    masters: NO_MASTERS,
  });
  const store = state.restoreCollection("c");
  for (const [id, version, document] of documents) {
    const key = encodeText(id);
    const bytes = new Uint8Array([...key, ...document]);
    const hash = store.hash(bytes, { start: 0, end: key.byteLength });
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    store.put({ hash, before: -1 }, source, version);
  }
  return state;
}

test.each([
  ["the version", [["k", 8, [1, 2]]]],
  ["a byte of the document", [["k", 7, [1, 3]]]],
  ["a document's size", [["k", 7, [1, 2, 0]]]],
  ["the key", [["j", 7, [1, 2]]]],
  [
    "a document more",
    [
      ["k", 7, [1, 2]],
      ["l", 7, [1, 2]],
    ],
  ],
  ["a document less", []],
] as const)("a single change shows: %s", (_what, documents) => {
  const before = digestOf(stateOf([["k", 7, [1, 2]]]));
  const after = digestOf(stateOf(documents));
  expect(after.digest).not.toBe(before.digest);
  expect(stateDifference(before, after)).toMatchObject({ part: "collection", name: "c" });
});

// Key and document stand side by side: only their sizes say where one ends.
test("a byte that goes from the document to the key shows, also within one range", () => {
  const state = (key: string, bytes: readonly number[]) => stateOf([[key, 7, bytes]]);
  const first = rangeWith(state("k", [1]), "k");
  const bytes = Array.from({ length: 128 }, (_, byte) => byte);
  const byte = bytes.find((one) => {
    const key = `k${String.fromCharCode(one)}`;
    return rangeWith(state(key, [1]), key) === first;
  });
  if (byte === undefined) throw new Error("no two keys share a range");
  const before = digestOf(state("k", [byte, 2]));
  const after = digestOf(state(`k${String.fromCharCode(byte)}`, [2]));
  expect(onlyRange(before, after)).toEqual({ name: "c", range: first });
});

test("a range's digest is the XOR and the sum of its documents' hashes", () => {
  const ids = Array.from({ length: 5_000 }, (_, i) => `k${i}`);
  const state = stateOf(ids.map((id, i) => [id, 1 + (i % 90), [i % 7]]));
  const ranges = Buffer.from(digestOf(state).collections[0]!.ranges);
  for (let range = 0; range < DIGEST_RANGES; range += 16) {
    const hashes = documentsOf(state, "c", range).map(({ hash }) => BigInt(`0x${hash}`));
    expect(hashes.length).toBeGreaterThan(1);
    const at = range * RANGE_DIGEST_SIZE;

    expect(ranges.readBigUInt64LE(at)).toBe(hashes.reduce((all, hash) => all ^ hash, 0n));
    const sum = hashes.reduce((all, hash) => all + hash, 0n);
    expect(ranges.readBigUInt64LE(at + 8)).toBe(BigInt.asUintN(64, sum));
  }
});

test("sessions, members, bindings, position and collections each show, by name", () => {
  const base = (): Machine => {
    const machine = new Machine();
    machine.apply(request(PUTS));
    return machine;
  };
  const before = digestOf(base().state);
  const position = base().state.position;
  const voter = { id: "n1", address: "h:1", role: "voter", incarnation: "" } as const;
  const tables: [object, string][] = [
    [{ members: [voter] }, "members"],
    [{ members: [voter, { ...voter, id: "n2" }] }, "members"],
    [{ bindings: [{ id: "n1", incarnation: "aa" }] }, "bindings"],
    [{ retired: ["bb"] }, "bindings"],
  ];
  const seen = new Set([before.digest]);
  const nobody = { members: [], bindings: [], retired: [], departed: [] };
  for (const [table, part] of tables) {
    const machine = base();
    machine.state.memberTable.restore({ ...nobody, ...table });
    const after = digestOf(machine.state);
    expect(stateDifference(before, after)).toEqual({ part } as never);
    seen.add(after.digest);
  }
  const moments: [object, string][] = [
    [{ index: position.index + 1 }, "position"],
    [{ term: 2 }, "position"],
    [{ nextSequence: position.nextSequence + 1 }, "position"],
    [{ timeMs: position.timeMs + 1 }, "position"],
  ];
  for (const [moment, part] of moments) {
    const state = stateOf([]);
    const moved = stateOf([]);
    moved.beginRestore({
      position: { ...state.position, ...moment },
      members: nobody,
      droppedAt: 0,
      rules: 1,
      masters: NO_MASTERS,
    });
    moved.restoreCollection("c");
    const after = digestOf(moved);
    expect(stateDifference(digestOf(state), after)).toEqual({ part } as never);
    seen.add(after.digest);
  }
  const more = stateOf([]);
  more.restoreCollection("d");
  expect(stateDifference(digestOf(stateOf([])), digestOf(more))).toEqual({ part: "collections" });
  seen.add(digestOf(more).digest);
  expect(seen.size).toBe(1 + tables.length + moments.length + 1);
});

test("a session and each of its results show", () => {
  const machines = [1, 2, 3].map(() => new Machine());
  for (const machine of machines) machine.openSession();
  const identity = { sessionId: 1, requestNumber: 1, acknowledgedBelow: 1 };
  const [kept, asked, otherNumber] = machines as [Machine, Machine, Machine];
  // The same document comes of all three; what the session remembers differs.
  kept.apply(request([["PUT", "a", { n: 1 }]]));
  asked.apply(request([["PUT", "a", { n: 1 }]], { identity }));
  otherNumber.apply(
    request([["PUT", "a", { n: 1 }]], { identity: { ...identity, requestNumber: 2 } }),
  );
  const digests = machines.map(({ state }) => digestOf(state));
  for (const [a, b] of [
    [0, 1],
    [1, 2],
    [0, 2],
  ] as const) {
    expect(stateDifference(digests[a]!, digests[b]!)).toEqual({ part: "sessions" });
  }
});

test(seeded("a changed document is found: one range, and in it the first that differs"), () => {
  const random = fuzzRandom();
  for (let run = 0; run < rounds(20); run += 1) {
    const documents = Array.from({ length: 400 }, (_, i) => {
      const bytes = [random.below(256), random.below(256)];
      return [`key-${i}`, 1 + random.below(90), bytes] as [string, number, number[]];
    });
    const state = stateOf(documents);
    const chosen = random.below(documents.length);
    const [id, version, bytes] = documents[chosen]!;
    documents[chosen] = random.chance(0.5)
      ? [id, version + 1, bytes]
      : [id, version, [bytes[0]!, bytes[1]! ^ (1 << random.below(8))]];
    const other = stateOf(documents);
    const { name, range } = onlyRange(digestOf(state), digestOf(other));

    const here = documentsOf(state, name, range);
    const there = documentsOf(other, name, range);
    const found = differingDocument(here, there);

    expect(found?.a?.key).toEqual(encodeText(id));
    expect(found?.b?.key).toEqual(encodeText(id));
    expect([found?.a?.version, found?.b?.version]).toEqual([version, documents[chosen]![1]]);
    expect(differingDocument(here, here)).toBeUndefined();
  }
});

test("a document that one node lacks is found from both sides, also behind all others", () => {
  const both = stateOf([["a", 1, [1]]]);
  const lists = [documentsOf(both, "c", rangeWith(both, "a")), [] as DocumentDigest[]] as const;
  const [has, lacks] = lists;
  expect(differingDocument(has, lacks)).toEqual({ a: has[0], b: undefined });
  expect(differingDocument(lacks, has)).toEqual({ a: undefined, b: has[0] });
  const later = { ...has[0]!, key: encodeText("z") };
  expect(differingDocument([has[0]!, later], [later])).toEqual({ a: has[0], b: undefined });
  expect(differingDocument([later], [has[0]!, later])).toEqual({ a: undefined, b: has[0] });
  expect(documentsOf(both, "none", 0)).toEqual([]);
});

/** The range that holds a document. */
function rangeWith(state: DocumentStateMachine, id: string): number {
  const numbers = Array.from({ length: DIGEST_RANGES }, (_, range) => range);
  const key = encodeText(id);
  const found = numbers.filter((range) =>
    documentsOf(state, "c", range).some((document) => Buffer.compare(document.key, key) === 0),
  );
  expect(found.length).toBe(1);
  return found[0]!;
}

test("every document stands in exactly one range, and the ranges are used evenly", () => {
  const ids = Array.from({ length: 2_560 }, (_, i) => `k${(i * 1_537) % 2_560}`);
  const state = stateOf(ids.map((id) => [id, 1, [1]]));
  const frozen = new FrozenDigest(state);
  const lists = Array.from({ length: DIGEST_RANGES }, (_, range) =>
    finish(frozen.documents("c", range)),
  );
  frozen.thaw();
  for (const list of lists) {
    const names = list.map(({ key }) => Buffer.from(key));
    expect(names).toEqual([...names].sort(Buffer.compare));
  }
  const keys = lists.flat().map(({ key }) => Buffer.from(key).toString());
  expect(keys.sort()).toEqual(ids.sort());
  expect(Math.max(...lists.map(({ length }) => length))).toBeLessThan(40);
});

// Mutation that this finds: a digest that reads the living state instead of the frozen one.
test("entries that are applied between two slices do not show", () => {
  const machine = new Machine();
  const text = "x".repeat(10_000);
  const puts = Array.from({ length: 300 }, (_, i): Operation => ["PUT", i, { text }]);
  machine.apply(request(puts));
  const before = digestOf(machine.state);

  const frozen = new FrozenDigest(machine.state);
  let slices = 0;
  const digest = finish(frozen.digest(), () => {
    slices += 1;
    const session = machine.openSession();
    const identity = { sessionId: session, requestNumber: 1, acknowledgedBelow: 1 };
    machine.apply(
      request([["REMOVE", slices]]),
      request([["PUT", 200 - slices, { text: "changed" }]], { identity }),
      request([["PUT", `new ${slices}`, { text }]], { collection: `other ${slices}` }),
      consensus("BIND", (writer) => writeBindings(writer, [{ id: "n1", incarnation: "aa" }])),
    );
  });
  frozen.thaw();
  frozen.thaw();

  expect(slices).toBeGreaterThan(4);
  expect(digest).toEqual(before);
  expect(digestOf(machine.state).digest).not.toBe(before.digest);
});

test("differing ranges are all named", () => {
  const before = digestOf(stateOf([["k", 7, [1]]])).collections[0]!;
  const after = digestOf(
    stateOf([
      ["l", 7, [1]],
      ["m", 7, [1]],
    ]),
  ).collections[0]!;
  const expected = ["k"].map((id) => rangeWith(stateOf([[id, 7, [1]]]), id));
  for (const id of ["l", "m"]) expected.push(rangeWith(stateOf([[id, 7, [1]]]), id));
  expect(differingRanges(before, after)).toEqual([...new Set(expected)].sort((a, b) => a - b));
  expect(differingRanges(before, before)).toEqual([]);
});
