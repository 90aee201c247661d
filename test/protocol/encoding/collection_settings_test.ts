/**
 * Settings of collections, as a caller gives them: defaults for absent fields, typed refusals for
 * wrong ones.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ValidationError } from "../../../src/base/errors.ts";
import { NEWEST_RULES } from "../../../src/base/rules_version.ts";
import {
  PLAIN_SETTINGS,
  readSettings,
} from "../../../src/protocol/encoding/collection_settings.ts";

describe("settings", () => {
  test("the plain settings are time-ordered ids and no validator", () => {
    expect(PLAIN_SETTINGS).toEqual({ ids: "uuidv7", validator: "" });
  });

  test.each<readonly [unknown]>([
    [undefined],
    [null],
    [{}],
    [{ ids: "uuidv7" }],
    [{ validator: "" }],
    [{ ids: "uuidv7", validator: "" }],
    [{ ids: undefined, validator: undefined }],
    [{ other: 1 }],
    [{ documentSizeMax: 2 ** 20 }],
    [[]],
  ])("%j gives the plain settings, the same object", (value) => {
    expect(readSettings(value, NEWEST_RULES)).toBe(PLAIN_SETTINGS);
  });

  test.each<readonly [unknown, unknown]>([
    [{ ids: "autoIncrement" }, { ids: "autoIncrement", validator: "" }],
    [{ validator: "v" }, { ids: "uuidv7", validator: "v" }],
    [
      { ids: "autoIncrement", validator: "v", other: 1 },
      { ids: "autoIncrement", validator: "v" },
    ],
    [{ validator: "x".repeat(120) }, { ids: "uuidv7", validator: "x".repeat(120) }],
    [{ documentSizeMax: 2 ** 24 }, { ids: "uuidv7", validator: "", documentSizeMax: 2 ** 24 }],
    [{ documentSizeMax: 1024 }, { ids: "uuidv7", validator: "", documentSizeMax: 1024 }],
  ])("%j is read", (value, settings) => {
    expect(readSettings(value, NEWEST_RULES)).toEqual(settings as typeof PLAIN_SETTINGS);
  });

  test.each<readonly [unknown, string]>([
    ["uuidv7", "its settings are a map"],
    [1, "its settings are a map"],
    [true, "its settings are a map"],
    [{ ids: "uuidv4" }, "ids are uuidv7 or autoIncrement"],
    [{ ids: null }, "ids are uuidv7 or autoIncrement"],
    [{ ids: 1 }, "ids are uuidv7 or autoIncrement"],
    [{ validator: null }, "its validator is a short name"],
    [{ validator: 1 }, "its validator is a short name"],
    [{ validator: ["v"] }, "its validator is a short name"],
    [{ validator: "x".repeat(121) }, "its validator is a short name"],
    ...[2 ** 24 + 1, 1023, 0, -1, 1.5, Number.NaN, "2048", null].map((documentSizeMax) => {
      return [{ documentSizeMax }, "documentSizeMax is 1024 to 16777216 bytes"] as const;
    }),
  ])("%j is refused", (value, reason) => {
    const refusal = new ValidationError(`Cannot make the collection: ${reason}`);
    expect(() => readSettings(value, NEWEST_RULES)).toThrow(refusal);
    expect(() => readSettings(value, NEWEST_RULES)).toThrow(ValidationError);
  });

  test.each([2 ** 24, -1, "x"])("rules 2 know no documentSizeMax %p and leave it out", (size) => {
    expect(readSettings({ documentSizeMax: size }, 2)).toBe(PLAIN_SETTINGS);
  });
});
