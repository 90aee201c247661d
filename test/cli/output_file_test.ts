/**
 * Files that commands write: whole under their name, or not at all.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
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
