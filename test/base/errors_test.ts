/**
 * Errors: every code has a number for ever, and comes back as what it was.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import * as errors from "../../src/base/errors.ts";
import { errorFromNumber } from "../../src/protocol/encoding/error_maker.ts";

const { CStoreError, ERROR_CODES, errorNumber } = errors;
type CStoreError = errors.CStoreError;

/** One of each class, with the fields that travel. */
const SAMPLES: readonly CStoreError[] = [
  new errors.NotLeaderError("m", { id: "n2", address: "h:1" }),
  new errors.NoQuorumError("m"),
  new errors.UnknownOutcomeError("m"),
  new errors.DeadlineError("m"),
  new errors.OverloadedError("m", 50),
  new errors.VersionConflictError("m", 7),
  new errors.DuplicateKeyError("m"),
  new errors.NotFoundError("m"),
  new errors.SessionExpiredError("m"),
  new errors.DuplicateRequestError("m"),
  new errors.ProtocolError("m"),
  new errors.HandshakeError("m"),
  new errors.CorruptionError("m", { file: "f", byte: 3 }),
  new errors.StorageError("m"),
  new errors.ValidationError("m"),
  new errors.LockedError("m"),
  new errors.ConfigError("m"),
  new errors.ClosedError("m"),
  new errors.UnreachableError("m"),
  new errors.MembershipError("m"),
  new errors.RemovedError("m"),
  new errors.QueryError("m"),
  new errors.TransactionConflictError("m"),
  new errors.CompactedError("m"),
  new errors.CursorLostError("m"),
  new errors.TransactionTimeoutError("m"),
  new errors.AmbiguousTransactionError("m"),
  new errors.UncheckedError("m"),
  new errors.RolledBackError("m"),
  new errors.WrongModeError("m"),
  new errors.NotConfirmedError("m", { acknowledgements: 1, of: 3 }),
];

/** Errors of this process's own files, address or start: none of them is an answer to a request. */
const LOCAL = ["CORRUPTION", "LOCKED", "UNREACHABLE"];

describe("codes", () => {
  // The numbers are on the wire: a code that moves breaks every older client.
  test("numbers: fixed", () => {
    const fixed =
      "NONE NOT_LEADER NO_QUORUM UNKNOWN_OUTCOME DEADLINE OVERLOADED VERSION_CONFLICT " +
      "DUPLICATE_KEY NOT_FOUND SESSION_EXPIRED DUPLICATE_REQUEST PROTOCOL HANDSHAKE CORRUPTION " +
      "STORAGE VALIDATION LOCKED CONFIG CLOSED UNREACHABLE MEMBERSHIP REMOVED " +
      "QUERY CONFLICT COMPACTED CURSOR_LOST TRANSACTION_TIMEOUT AMBIGUOUS_TRANSACTION " +
      "UNCHECKED ROLLED_BACK WRONG_MODE NOT_CONFIRMED";
    expect(ERROR_CODES.join(" ")).toBe(fixed);
    for (const [number, code] of ERROR_CODES.entries()) expect(errorNumber(code)).toBe(number);
  });

  test("classes: every code has one class, and every class is tried here", () => {
    const codes = SAMPLES.map(({ code }) => code).sort();
    expect(codes).toEqual(ERROR_CODES.filter((code) => code !== "NONE").sort());
    const classes = Object.values(errors).filter((value) => {
      return typeof value === "function" && value.prototype instanceof CStoreError;
    });
    expect(SAMPLES).toHaveLength(classes.length);
    for (const error of SAMPLES) {
      expect(error).toBeInstanceOf(Error);
      expect(error.name).toBe(error.constructor.name);
      expect(["safe", "never", "unknown-outcome"]).toContain(error.retry);
    }
  });

  test.each(SAMPLES)("travel: $code comes back as its class, with its fields", (error) => {
    const { code, message, remedy, fields } = error;
    const back = errorFromNumber(errorNumber(code), { message, remedy, fields });
    if (LOCAL.includes(error.code)) {
      expect(back).toBeInstanceOf(errors.ProtocolError);
      return;
    }
    expect(back.constructor).toBe(error.constructor);
    expect({ ...back }).toEqual({ ...error });
    expect(back.message).toBe(error.message);
  });

  test.each([0, -1, 32, 65_535, 1.5, Number.NaN])(
    "travel: the number %p is a ProtocolError",
    (n) => {
      expect(errorFromNumber(n, { message: "m" })).toBeInstanceOf(errors.ProtocolError);
    },
  );

  test("retries: what may have happened is never called safe", () => {
    const rules = Object.fromEntries(SAMPLES.map(({ code, retry }) => [code, retry]));
    const unknown = Object.keys(rules).filter((code) => rules[code] === "unknown-outcome");
    expect(unknown).toEqual(["UNKNOWN_OUTCOME", "DEADLINE"]);
    const safe = Object.keys(rules).filter((code) => rules[code] === "safe");
    const expected = ["NOT_LEADER", "NO_QUORUM", "OVERLOADED", "LOCKED", "UNREACHABLE"];
    expect(safe).toEqual([...expected, "MEMBERSHIP", "CONFLICT", "TRANSACTION_TIMEOUT"]);
  });
});

describe("details", () => {
  test("cause and remedy are kept, and a given remedy wins", () => {
    const cause = new Error("inner");
    const error = new errors.StorageError("m", { cause, remedy: "do this" });
    expect([error.cause, error.remedy]).toEqual([cause, "do this"]);
    expect(new errors.StorageError("m").remedy).toContain("check the disk");
    expect("cause" in new errors.StorageError("m")).toBe(false);
  });

  test("remedies: whoever meets these is told what to do", () => {
    const mute = SAMPLES.flatMap(({ code, remedy }): string[] => {
      return remedy === undefined ? [code] : [];
    });
    // The rest get theirs where they are thrown, because it depends on what was asked.
    const expected = ["NOT_FOUND", "DUPLICATE_REQUEST", "PROTOCOL", "HANDSHAKE", "VALIDATION"];
    const others = ["CONFIG", "CLOSED", "UNREACHABLE", "MEMBERSHIP", "QUERY", "WRONG_MODE"];
    expect(mute).toEqual([...expected, ...others]);
  });

  test("corruption names the place", () => {
    const error = new errors.CorruptionError("Bad record", { file: "wal/1", byte: 77 });
    expect(error.message).toBe('Bad record (file "wal/1", byte 77)');
  });
});
