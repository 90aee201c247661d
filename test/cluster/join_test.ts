/**
 * What a node notes while it asks to be let in.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { askingIncarnation, forgetAsking } from "../../src/cluster/join.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { SimulatedDisk } from "../storage/fake_disk.ts";

test("a folder asks under one name until it is refused, also after a power cut", async () => {
  const disk = new SimulatedDisk({ random: new SeededRandom(1) });
  disk.makeFolder("/data");
  const platform = { ...systemPlatform(), files: disk.files };
  const first = await askingIncarnation(platform, "/data", "");
  expect(first).toMatch(/^[0-9a-f]{16}$/);
  expect(await askingIncarnation(platform, "/data", "")).toBe(first);
  disk.cutPower();
  const again = { ...platform, files: disk.files };
  expect(await askingIncarnation(again, "/data", "0".repeat(16))).toBe(first);
  // It has that folder by now: a second repair needs another.
  const second = await askingIncarnation(again, "/data", first);
  expect(second).not.toBe(first);
  await forgetAsking(again.files, "/data");
  expect(await askingIncarnation(again, "/data", "")).not.toBe(second);
});
