/**
 * The agreement and its changes as bytes, and conflict rules as callers write them.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { Agreement } from "../../../src/multi_master/operation/agreement.ts";
import type { AgreementChange } from "../../../src/multi_master/operation/agreement_change.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { readConflict } from "../../../src/protocol/encoding/conflict_settings.ts";
import {
  agreementFields,
  encodeChange,
  encodeMode,
  readAgreement,
  readAgreementCommand,
} from "../../../src/protocol/operations/agreement_codec.ts";

const FLOOR = {
  round: 2,
  floor: new Map([["n1/a", 3]]),
  barrier: new Map([["n2/b", 4]]),
};
const AGREEMENT: Agreement = {
  version: 9,
  origins: new Map([["n1", "n1/a"]]),
  closed: new Map([
    ["n2/b", undefined],
    ["n3/c", 7],
  ]),
  retired: new Map([["n4/d", { version: 5, end: 6 }]]),
  floor: FLOOR,
  collections: new Map([[2, { strategy: "node-priority", priorities: ["n1", "n2"] } as const]]),
};
const CHANGES: readonly AgreementChange[] = [
  { action: "open", node: "n1", origin: "n1/a" },
  { action: "close", node: "n1" },
  { action: "end", version: 4, ends: new Map([["n1/a", 3]]) },
  { action: "floor", proposal: { version: 5, floor: FLOOR, retired: ["n1/a"] } },
];

function back(bytes: Uint8Array): unknown {
  return decodeUntrustedCbor(bytes);
}

test("an agreement comes back as it was", () => {
  const bytes = encodeCbor(agreementFields(AGREEMENT)).slice();
  expect(readAgreement(back(bytes))).toEqual(AGREEMENT);
});

test.each(CHANGES)("the change $action comes back as it was", (change) => {
  const read = readAgreementCommand(back(encodeChange(change)));
  expect(read).toEqual({ change, mode: undefined });
});

test("so does the mode of new collections", () => {
  const mode = { mode: "MULTI_MASTER", conflict: { strategy: "counter" } } as const;
  const read = readAgreementCommand(back(encodeMode(mode)));
  expect(read).toEqual({ change: undefined, mode });
});

describe("anything else is refused", () => {
  test.each([
    null,
    {},
    { action: "mode", mode: "x" },
    { action: "open", node: "n1" },
    { action: "open", node: "", origin: "a" },
    { action: "end", version: -1, ends: [] },
    { action: "end", version: 1, ends: [["a"]] },
    { action: "end", version: 1, ends: [["a", 1.5]] },
    { action: "floor", version: 1, floor: { round: 1, floor: [] }, retired: [] },
  ])("%j", (value) => {
    expect(() => readAgreementCommand(value)).toThrow("Cannot read an agreement");
  });

  test("and a part of an agreement that is none", () => {
    const fields = agreementFields(AGREEMENT);
    for (const name of Object.keys(fields)) {
      expect(() => readAgreement({ ...fields, [name]: "x" })).toThrow();
    }
  });
});

describe("conflict rules", () => {
  test.each([
    { strategy: "last-write-wins" },
    { strategy: "counter", removal: "remove-wins" },
    { strategy: "custom", resolver: "merge" },
    { strategy: "node-priority", priorities: ["n1", "n2"] },
  ])("%j is one", (rule) => {
    expect(readConflict(rule)).toEqual(rule as never);
  });

  test.each([
    [undefined, "an object with a strategy"],
    ["set", "an object with a strategy"],
    [{}, "strategy is one of last-write-wins"],
    [{ strategy: "sets" }, "strategy is one of"],
    [{ strategy: "set", extra: 1 }, '"extra" is unknown'],
    [{ strategy: "set", removal: "wins" }, "removal is one of"],
    [{ strategy: "set", resolver: "x" }, "goes with the strategy"],
    [{ strategy: "set", priorities: ["n1"] }, "go with the strategy"],
    [{ strategy: "custom" }, "names its resolver"],
    [{ strategy: "custom", resolver: "" }, "names its resolver"],
    [{ strategy: "node-priority" }, "lists node ids"],
    [{ strategy: "node-priority", priorities: [] }, "lists node ids"],
    [{ strategy: "node-priority", priorities: ["n1", "n1"] }, "each once"],
  ])("%j is none", (value, why) => {
    expect(() => readConflict(value)).toThrow(why);
  });
});
