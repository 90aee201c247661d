/**
 * The disk with a switch: what a full and a slow disk do to files, and that no product code has it.
 *
 * @module
 */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { StorageError } from "../../src/base/errors.ts";
import { systemFileSystem } from "../../src/platform/file_system.ts";
import { freshFolder, rejection } from "../node/test_cluster.ts";
import { readProject, resolveImport } from "../tidy/source_file.ts";
import { faultyFiles, setDiskFaults } from "./faulty_files.ts";

const folder = freshFolder();
const switchFile = join(folder.path, "switch");
const path = join(folder.path, "file");
const files = faultyFiles(systemFileSystem, switchFile);

beforeEach(() => setDiskFaults(switchFile, undefined));
afterAll(() => folder.remove());

describe("faulty files", () => {
  test("full: a write is refused half way, and works again when there is room", () => {
    const file = files.open(path, "write");
    setDiskFaults(switchFile, { isFull: true });
    expect(() => file.write(0, new Uint8Array(8).fill(7))).toThrow(StorageError);
    expect(file.size()).toBe(4);
    expect(() => files.open(`${path}2`, "write")).toThrow("ENOSPC");
    expect(() => files.makeDirectory(`${path}3`)).toThrow("ENOSPC");
    files.open(path, "write").close(); // What exists needs no room.
    setDiskFaults(switchFile, undefined);
    file.write(0, new Uint8Array(8).fill(7));
    expect(file.size()).toBe(8);
    file.close();
  });

  test("slow: a sync ends after others that were begun later", async () => {
    const file = files.open(path, "write");
    setDiskFaults(switchFile, { syncDelayMs: 300 });
    const order: string[] = [];
    const slow = file.sync().then(() => order.push("slow"));
    setDiskFaults(switchFile, undefined);
    await file.sync().then(() => order.push("sound"));
    await slow;
    expect(order).toEqual(["sound", "slow"]);
    file.close();
  });

  test("a sync that fails fails with the real error", async () => {
    const file = files.open(path, "write");
    file.close();
    setDiskFaults(switchFile, { syncDelayMs: 1 });
    expect(await rejection(file.sync())).toBeInstanceOf(StorageError);
  });

  test("nothing that is shipped imports it", () => {
    const importers = readProject().filter((file) =>
      file.imports.some(({ specifier }) =>
        (resolveImport(file.path, specifier) ?? "").endsWith("/faulty_files.ts"),
      ),
    );
    const paths = importers.map((file) => file.path);
    expect(paths).toContain("test/chaos/faulty_node.ts");
    expect(paths.filter((one) => !one.startsWith("test/"))).toEqual([]);
  });
});
