/**
 * Files that commands write: whole under their name, or not at all.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { UsageError } from "../../cli/output.ts";
import { OutputFile } from "../../cli/output_file.ts";
import { freshFolder } from "../node/test_cluster.ts";

let folder: ReturnType<typeof freshFolder>;
let path: string;
beforeEach(() => {
  folder = freshFolder();
  path = `${folder.path}/out`;
});
afterEach(() => folder.remove());

test("the name is there only when all is", async () => {
  const file = await OutputFile.replace(path);
  await file.write("a\n");
  await file.write("x".repeat(300_000));
  expect(readdirSync(folder.path).every((name) => name !== "out")).toBe(true);
  await file.finish();
  expect(readFileSync(path, "utf8")).toBe(`a\n${"x".repeat(300_000)}`);
  expect(readdirSync(folder.path)).toEqual(["out"]);
});

test("abandoned: the old file stays, and no draft", async () => {
  writeFileSync(path, "old");
  const file = await OutputFile.replace(path);
  await file.write("new".repeat(200_000));
  await file.abandon();
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(readdirSync(folder.path)).toEqual(["out"]);
});

test("a link leads to the file that is replaced, and the file keeps its mode", async () => {
  writeFileSync(path, "old", { mode: 0o600 });
  symlinkSync(path, `${path}.link`);
  const file = await OutputFile.replace(`${path}.link`);
  await file.write("new");
  await file.finish();
  expect(lstatSync(`${path}.link`).isSymbolicLink()).toBe(true);
  expect(readFileSync(path, "utf8")).toBe("new");
  expect(lstatSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder.path).sort()).toEqual(["out", "out.link"]);
});

test("a device is written to, and stays one; a folder is refused", async () => {
  const file = await OutputFile.replace("/dev/null");
  await file.write("a");
  await file.finish();
  expect(lstatSync("/dev/null").isCharacterDevice()).toBe(true);
  await expect(OutputFile.replace(folder.path)).rejects.toThrow(UsageError);
});

test("the remedy fits what is wrong", async () => {
  const missing = OutputFile.replace(`${folder.path}/no/such`);
  await expect(missing).rejects.toMatchObject({ remedy: expect.stringContaining("folder") });
  const full = await OutputFile.append("/dev/full");
  await full.write("a");
  await expect(full.finish()).rejects.toMatchObject({ remedy: expect.stringContaining("space") });
});

test("appended: what was there comes first", async () => {
  writeFileSync(path, "old,");
  const file = await OutputFile.append(path);
  await file.write("\u00e4");
  await file.finish();
  expect(readFileSync(path, "utf8")).toBe("old,\u00e4");
});

test("a full disk is an error of the disk, whenever it shows", async () => {
  const file = await OutputFile.append("/dev/full");
  await file.write("a");
  await expect(file.finish()).rejects.toMatchObject({ code: "STORAGE" });
  const missing = OutputFile.replace(`${folder.path}/no/such`);
  await expect(missing).rejects.toMatchObject({ code: "STORAGE" });
});
