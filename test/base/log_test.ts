/**
 * Log categories: a program configures `cstore`, and gets every part.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { partLogger } from "../../src/base/log.ts";

test("each part has a category below cstore", () => {
  expect(partLogger("raft").category).toEqual(["cstore", "raft"]);
  expect(partLogger("node").category).toEqual(["cstore", "node"]);
});
