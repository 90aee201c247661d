// Whatever differs in two operations of one number shows in their checksums.

import { expect, test } from "bun:test";
import { encodeText } from "../../../src/base/bytes.ts";
import type { Operation } from "../../../src/multi_master/operation/operation.ts";
import { OperationChecksum } from "../../../src/protocol/operations/operation_checksum.ts";

const DOT = { origin: "n1/1", sequence: 3 };
const STAMP = { wallMs: 5, count: 1 };
const CHANGE = {
  ...{ collection: 1, key: encodeText("k") },
  content: { kind: "document", body: encodeText("body") } as const,
};
const REQUEST = { session: "s", number: 4, answered: 2, isRepeat: false };
const OPERATION: Omit<Operation, "chain"> = {
  ...{ ...DOT, stamp: STAMP, version: 2, request: REQUEST, changes: [CHANGE] },
  context: new Map([
    ["n2/1", 7],
    ["n3/1", 8],
  ]),
};

function change(more: object): Partial<Operation> {
  return { changes: [{ ...CHANGE, ...more }] };
}

test("operation checksum: every part counts, and what came before", () => {
  const { request: _, ...withoutRequest } = OPERATION;
  const mark = { field: "f", dot: DOT, stamp: STAMP };
  const others: readonly Omit<Operation, "chain">[] = [
    ...[{ origin: "n1/2" }, { sequence: 4 }, { version: 3 }, { stamp: { wallMs: 6, count: 1 } }],
    ...[{ stamp: { wallMs: 5, count: 2 } }, { context: new Map([["n2/1", 7]]) }],
    ...[{ request: { ...REQUEST, isRepeat: true } }, { request: { ...REQUEST, number: 5 } }],
    { changes: [CHANGE, { ...CHANGE, key: encodeText("l") }] },
    ...[change({ collection: 2 }), change({ key: encodeText("l") })],
    change({ content: { kind: "removed" } }),
    change({ content: { kind: "document", body: encodeText("bodz") } }),
    change({ content: { ...CHANGE.content, marks: { parts: [] } } }),
    change({ content: { ...CHANGE.content, marks: { parts: [mark] } } }),
    ...[
      change({ seen: { version: 1, cursor: new Map([["n2/1", 1]]) } }),
      change({ removals: [DOT] }),
    ],
    change({ seen: { version: 2, cursor: new Map([["n2/1", 1]]) } }),
    // A byte that moves from the key to the body is no other way of writing the same.
    change({ key: encodeText("kb"), content: { kind: "document", body: encodeText("ody") } }),
  ].map((more) => ({ ...OPERATION, ...more }));
  const sums = new OperationChecksum();
  const all = [OPERATION, withoutRequest, ...others].map((one) => sums.of(one, 9));
  all.push(sums.of(OPERATION, 10));
  expect(new Set(all).size).toBe(all.length);
  for (const sum of all) expect(sum).toBe(sum >>> 0);
});

test("operation checksum: the same on every node, whatever the order of the context", () => {
  const context = new Map([...OPERATION.context].reverse());
  const one = new OperationChecksum().of(OPERATION, 1);
  expect(new OperationChecksum().of({ ...structuredClone(OPERATION), context }, 1)).toBe(one);
});
