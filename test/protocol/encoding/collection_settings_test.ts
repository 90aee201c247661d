/**
 * Settings of collections, as a caller gives them: defaults for absent fields, typed refusals for
 * wrong ones.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ValidationError } from "../../../src/base/errors.ts";
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
    [[]],
  ])("%j gives the plain settings, the same object", (value) => {
    expect(readSettings(value)).toBe(PLAIN_SETTINGS);
  });

  test.each<readonly [unknown, unknown]>([
    [{ ids: "autoIncrement" }, { ids: "autoIncrement", validator: "" }],
    [{ validator: "v" }, { ids: "uuidv7", validator: "v" }],
    [
      { ids: "autoIncrement", validator: "v", other: 1 },
      { ids: "autoIncrement", validator: "v" },
    ],
    [{ validator: "x".repeat(120) }, { ids: "uuidv7", validator: "x".repeat(120) }],
  ])("%j is read", (value, settings) => {
    expect(readSettings(value)).toEqual(settings as typeof PLAIN_SETTINGS);
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
  ])("%j is refused", (value, reason) => {
    const refusal = new ValidationError(`Cannot make the collection: ${reason}`);
    expect(() => readSettings(value)).toThrow(refusal);
    expect(() => readSettings(value)).toThrow(ValidationError);
  });
});
