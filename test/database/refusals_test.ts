/**
 * Refusals: the error for the waiting caller has fields, the stored one keeps code and message.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { CStoreError } from "../../src/base/errors.ts";
import {
  duplicateKey,
  giveResult,
  refusal,
  refusalError,
  resultTooLarge,
  sessionRefusal,
  transactionConflict,
  versionConflict,
} from "../../src/database/refusals.ts";
import type { StoredResult } from "../../src/database/session_table.ts";
import { NO_RESULTS } from "../../src/raft/state_machine.ts";

const REQUEST = { sessionId: 9, requestNumber: 3, acknowledgedBelow: 1, checksum: 0 } as never;

function given(result: StoredResult): CStoreError | undefined {
  let error: CStoreError | undefined;
  giveResult(0, result, {
    ...NO_RESULTS,
    refused: (_ordinal, refused) => {
      error = refused;
    },
  });
  return error;
}

test.each([
  [duplicateKey({ name: "things" }, "a"), "DUPLICATE_KEY", { collection: "things", id: "a" }],
  [transactionConflict("things"), "CONFLICT", { collection: "things" }],
  [
    versionConflict(4, 7, { collection: "things", id: 5 }),
    "VERSION_CONFLICT",
    { collection: "things", id: 5, actualVersion: 7 },
  ],
  [resultTooLarge(), "VALIDATION", {}],
])("%s: the caller gets its fields, a repeat its code and message", (error, code, fields) => {
  const live = refusal(error);
  expect(given(live)).toBe(error);
  expect([error.code, error.fields]).toEqual([code as never, fields]);
  if (live.kind !== "refused") throw new Error("a refusal is stored as one");
  const stored = given({ kind: "refused", refusal: live.refusal });
  expect([stored?.code, stored?.message]).toEqual([error.code, error.message]);
  expect(refusalError(live.refusal).code).toBe(error.code);
});

test("a stored version conflict keeps the version", () => {
  const live = refusal(versionConflict(4, 7, { collection: "things", id: 5 }));
  const bytes = live.kind === "refused" ? live.refusal : new Uint8Array(0);
  expect(refusalError(bytes)).toMatchObject({ code: "VERSION_CONFLICT", actualVersion: 7 });
});

describe("sessions", () => {
  test.each([
    ["unknown session", "SESSION_EXPIRED"],
    ["acknowledged", "DUPLICATE_REQUEST"],
    ["other bytes", "DUPLICATE_REQUEST"],
    ["window full", "OVERLOADED"],
  ] as const)("%s is refused with %s", (verdict, code) => {
    const error = sessionRefusal(verdict, REQUEST);
    expect(error.code).toBe(code);
    expect(error.message).toContain("request 3 of session 9");
  });
});
