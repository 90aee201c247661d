/**
 * Durations, sizes, and how the limits hang together.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ConfigError } from "../../src/base/errors.ts";
import * as limits from "../../src/base/limits.ts";
import { parseDuration, parseSize, printDuration, printSize } from "../../src/base/units.ts";

describe("units", () => {
  test.each([
    ["250", 250],
    ["250ms", 250],
    ["1.5s", 1_500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    [" 7s ", 7_000],
    ["0", 0],
  ])("duration: %j", (text, ms) => {
    expect(parseDuration(text, "--x")).toBe(ms);
  });

  test.each([
    ["1", 1],
    ["64MiB", 64 * 2 ** 20],
    ["512KiB", 512 * 1024],
    ["1.5KiB", 1_536],
    ["8GiB", 2 ** 33],
    ["3B", 3],
  ])("size: %j", (text, bytes) => {
    expect(parseSize(text, "--x")).toBe(bytes);
  });

  const bad = ["", " ", "ms", "-1", "+1", "1e3", "1,5s", "1 s", "0x10", "1.s", ".5s", "NaN"];
  test.each([...bad, "1constructor", "1toString", "1MS", "1mb", "1__proto__", "Infinity"])(
    "units: %j is refused by the option's name",
    (text) => {
      expect(() => parseDuration(text, "--wait")).toThrow(/Cannot read option --wait/);
      expect(() => parseSize(text, "--room")).toThrow(ConfigError);
    },
  );

  // A size with a fraction of a byte, or above 2^53, fails much later and far away.
  test.each(["0.1KiB", "1.5", "0.5B", `${2 ** 53}`, "9".repeat(400), "9999999GiB"])(
    "size: %j is refused",
    (text) => {
      expect(() => parseSize(text, "--room")).toThrow(ConfigError);
    },
  );

  test("duration: one that no number holds is refused", () => {
    expect(() => parseDuration("9".repeat(400), "--wait")).toThrow(ConfigError);
  });

  test("printing", () => {
    expect([0, 1023, 1024, 1.5 * 2 ** 20, 2 ** 30].map(printSize)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "1.5 MiB",
      "1.0 GiB",
    ]);
    expect([0.437, 9.994, 12.4, 999, 3_210].map(printDuration)).toEqual([
      "0.44 ms",
      "9.99 ms",
      "12 ms",
      "999 ms",
      "3.2 s",
    ]);
  });
});

describe("limits", () => {
  test("every limit is a whole number that 32 bits hold, files excepted", () => {
    for (const [name, value] of Object.entries(limits)) {
      expect(Number.isSafeInteger(value)).toBe(true);
      expect(value).toBeGreaterThan(0);
      if (name !== "LOG_RETAIN_BYTES") expect(value).toBeLessThan(2 ** 32);
    }
  });

  test("what must fit, fits", () => {
    const l = limits;
    const headers = 64 + 32 + 1 + l.COLLECTION_NAME_SIZE_MAX + 16 + l.KEY_SIZE_MAX;
    expect(l.DOCUMENT_SIZE_MAX + headers).toBeLessThan(l.BATCH_BODY_SIZE_MAX);
    expect(l.BATCH_BODY_SIZE_MAX + headers).toBeLessThan(l.FRAME_BODY_SIZE_MAX);
    expect(l.RESULT_SIZE_MAX + l.DOCUMENT_SIZE_MAX).toBeLessThan(l.ANSWER_SIZE_MAX);
    expect(l.OPERATIONS_PER_REQUEST_MAX).toBeLessThan(2 ** 16);
    expect(l.KEY_SIZE_MAX).toBeLessThan(2 ** 16);
    expect(l.COLLECTION_NAME_SIZE_MAX).toBeLessThan(2 ** 8);
    expect(l.CLIENT_OUT_BYTES_MAX).toBeGreaterThanOrEqual(2 * l.FRAME_BODY_SIZE_MAX);
    expect(l.PEER_OUT_BYTES_MAX).toBeGreaterThan(2 * l.FRAME_BODY_SIZE_MAX);
    // The session table's slots double from 16 up to the window.
    expect(Math.log2(l.SESSION_WINDOW_MAX) % 1).toBe(0);
    expect(l.SLAB_SIZE).toBeGreaterThan(2 * l.DOCUMENT_SIZE_DEFAULT);
  });
});
