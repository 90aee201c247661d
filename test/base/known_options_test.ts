/**
 * Options that are misspelt: named, with the one that was meant.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { ConfigError, ValidationError } from "../../src/base/errors.ts";
import { checkCallOptions, checkConfig } from "../../src/base/known_options.ts";

const KNOWN = new Set(["expireAfterMs", "limit"]);

test("known names, and none, pass", () => {
  checkCallOptions("find", undefined, KNOWN);
  checkCallOptions("find", {}, KNOWN);
  checkConfig("it", { limit: undefined, expireAfterMs: 1 }, KNOWN);
});

test("an unknown one is named, with its neighbour", () => {
  const call = () => checkCallOptions("find", { limit: 1, expireAfterSeconds: 1 }, KNOWN);
  expect(call).toThrow(ValidationError);
  expect(call).toThrow('Cannot call find with the option "expireAfterSeconds": it is unknown');
  expect(call).toThrow(
    expect.objectContaining({ remedy: "Did you mean expireAfterMs? Known: expireAfterMs, limit" }),
  );
  const config = () => checkConfig("the database", { lmit: 1 }, KNOWN);
  expect(config).toThrow(ConfigError);
  expect(config).toThrow(expect.objectContaining({ remedy: "Known: expireAfterMs, limit" }));
});
