/**
 * The machine's own resolver.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { systemResolver } from "../../src/platform/resolver.ts";

test("all addresses of a name", async () => {
  const found = await systemResolver.addresses("localhost");
  expect(found.length).toBeGreaterThan(0);
  for (const address of found) expect(["127.0.0.1", "::1"]).toContain(address);
  expect(await systemResolver.addresses("127.0.0.1")).toEqual(["127.0.0.1"]);
});

test("a name that cannot be one is an error", async () => {
  await expect(systemResolver.addresses("no such name.invalid")).rejects.toThrow();
  await expect(systemResolver.services("no such name.invalid")).rejects.toThrow();
});
