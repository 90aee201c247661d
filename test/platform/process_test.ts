/**
 * The process: its number, memory, environment and runtime.
 *
 * @module
 */

import { expect, test } from "bun:test";
import process from "node:process";
import {
  commandLine,
  cpuMs,
  environment,
  processId,
  residentBytes,
  runtimeName,
} from "../../src/platform/process.ts";

test("figures are those of this process", () => {
  expect(processId()).toBe(process.pid);
  expect(residentBytes()).toBeGreaterThan(1024 * 1024);
  const before = cpuMs();
  let sum = 0;
  for (let i = 0; i < 30_000_000; i += 1) sum += i % 7;
  expect(sum).toBeGreaterThan(0);
  expect(cpuMs()).toBeGreaterThan(before);
});

test("arguments, environment and runtime", () => {
  expect(commandLine()).toEqual(process.argv.slice(2));
  expect(environment("CSTORE_NO_SUCH_VARIABLE")).toBeUndefined();
  expect(environment("PATH")).toBe(process.env["PATH"]);
  expect(runtimeName()).toBe(`bun ${process.versions["bun"]}`);
});
