/**
 * The results of entries without a waiting caller go nowhere.
 *
 * @module
 */

import { expect, test } from "bun:test";
import type { CStoreError } from "../../src/base/errors.ts";
import { NO_RESULTS } from "../../src/raft/state_machine.ts";

test("no results: every outcome is dropped", () => {
  expect(NO_RESULTS.written(0, 1)).toBeUndefined();
  expect(NO_RESULTS.result(0, new Uint8Array(1))).toBeUndefined();
  expect(NO_RESULTS.refused(0, { name: "x" } as unknown as CStoreError)).toBeUndefined();
});
