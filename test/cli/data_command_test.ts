/**
 * `cstore doc`, `index`, `watch`, `import` and `export` against a cluster in this process.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { complete } from "../../cli/commands/shell_command.ts";
import { fromTaggedJson, toTaggedJson } from "../../cli/tagged_json.ts";
import { freshFolder, TestCluster } from "../node/test_cluster.ts";
import { Running, run } from "../system/program.ts";

let cluster: TestCluster;
let folder: ReturnType<typeof freshFolder>;

beforeAll(async () => {
  folder = freshFolder();
  cluster = await TestCluster.start(1);
});

afterAll(async () => {
  await cluster.stop();
  folder.remove();
});

async function lines(words: readonly string[]): Promise<unknown[]> {
  const { code, stdout, stderr } = await run([...words, "--address", cluster.addresses]);
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  return stdout
    .trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);
}

async function fails(words: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const { code, stderr } = await run([...words, "--address", cluster.addresses]);
  return { code, stderr };
}

test("export: one that was interrupted goes on behind the last whole line", async () => {
  const file = `${folder.path}/resumed.ndjson`;
  const ids = [-5, 0, 7, 1000, "", "a", "b", "z", "zz"];
  const input = `${folder.path}/ids.ndjson`;
  writeFileSync(
    input,
    ids.map((id) => `${JSON.stringify({ id, pad: "é".repeat(50) })}\n`).join(""),
  );
  await lines(["import", "ids", input]);
  const written = (): unknown[] => {
    const text = readFileSync(file, "utf8");
    expect(text.endsWith("\n")).toBe(true);
    return text
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { id: unknown }).id);
  };
  await lines(["export", "ids", file, "--resume"]);
  expect(written()).toEqual(ids);
  const whole = readFileSync(file);
  // Cut anywhere, also within a character.
  for (const at of [0, 1, 60, 119, 120, 121, 300, 500, whole.byteLength - 1, whole.byteLength]) {
    writeFileSync(file, whole.subarray(0, at));
    await lines(["export", "ids", file, "--resume"]);
    expect(readFileSync(file).equals(whole)).toBe(true);
  }
  const large = Buffer.from(`${JSON.stringify({ id: 3, pad: "x".repeat(200_000) })}\n`);
  writeFileSync(file, Buffer.concat([large, Buffer.from('{"id":"zzz')]));
  await lines(["export", "ids", file, "--resume", "--query", '{"id":{"$ne":"b"}}']);
  expect(written()).toEqual([3, 7, 1000, "", "a", "z", "zz"]);
  expect(await fails(["export", "ids", file])).toMatchObject({ code: 2 });
  expect(await fails(["export", "ids", "--resume"])).toMatchObject({ code: 2 });
  const others = [
    "no json\n",
    '{"id":1}',
    '{"n":1}\n',
    '{"id":null}\n',
    "text",
    '{"id":2}\n{"id":1}\n',
  ];
  for (const text of [...others, '{"id":"a"}\n{"id":1}\n', '{"id":1}\nprecious']) {
    writeFileSync(file, text);
    expect(await fails(["export", "ids", file, "--resume"])).toMatchObject({ code: 2 });
    expect(readFileSync(file, "utf8")).toBe(text);
  }
  for (const path of [folder.path, "/dev/null"]) {
    expect(await fails(["export", "ids", path, "--resume"])).toMatchObject({ code: 2 });
  }
});

test("documents: import, find, indexes, many at once, export, watch", async () => {
  const file = `${folder.path}/users.ndjson`;
  const documents = Array.from({ length: 1200 }, (_, i) => {
    return {
      id: `u${i}`,
      age: i % 60,
      born: new Date(i),
      big: 2n ** 60n,
      bytes: new Uint8Array([i % 9]),
    };
  });
  writeFileSync(file, `${documents.map(toTaggedJson).join("\n\n")}\n`);
  await lines(["import", "users", file]);
  expect(await lines(["doc", "count", "users"])).toEqual([1200]);
  await lines(["index", "create", "users", "age", "--keys", "age,-born", "--json"]);
  expect(await lines(["doc", "explain", "users", '{"age":3}'])).toMatchObject([{ index: "age" }]);
  const found = await lines([
    ...["doc", "find", "users", '{"age":{"$gte":58}}'],
    ...["--sort", "-age,id", "--skip", "1", "--limit", "2", "--fields", "age"],
  ]);
  expect(found).toEqual([
    { id: "u1079", age: 59 },
    { id: "u1139", age: 59 },
  ]);
  expect(await lines(["doc", "update-many", "users", '{"age":3}', '{"$inc":{"age":100}}'])).toEqual(
    [{ matched: 20, modified: 20 }],
  );
  expect(await lines(["doc", "remove-many", "users", '{"age":103}'])).toEqual([{ removed: 20 }]);
  const written = `${folder.path}/out.ndjson`;
  await lines(["export", "users", written]);
  const back = readFileSync(written, "utf8").trim().split("\n");
  const expected = documents.filter(({ age }) => age !== 3).map(toTaggedJson);
  expect(back.sort()).toEqual(expected.sort());
  expect(await lines(["watch", "users", "--since", "0", "--count", "3"])).toMatchObject([
    { id: "u0", type: "put" },
    { id: "u1" },
    { id: "u2" },
  ]);
});

test("import: a bad line says where to go on, and what came before it is there", async () => {
  const file = `${folder.path}/bad.ndjson`;
  writeFileSync(file, '{"id":1}\n{"id":2}\n{bad\n{"id":4}\n');
  const first = await fails(["import", "numbers", file]);
  expect(first.code).toBe(2);
  expect(first.stderr).toContain("--from-line 3");
  expect(await lines(["doc", "count", "numbers"])).toEqual([2]);
  writeFileSync(file, '{"id":1}\n{"id":2}\n{"id":3}\n{"id":4}\n');
  await lines(["import", "numbers", file, "--from-line", "3"]);
  expect(await lines(["doc", "count", "numbers"])).toEqual([4]);
  const again = await fails(["import", "numbers", file, "--insert"]);
  expect(again.stderr).toContain("DUPLICATE_KEY");
  expect(again.stderr).toContain("--from-line 1");
});

test("what is wrong is said, with its code", async () => {
  expect((await fails(["doc", "find", "c", '{"a":{"$no":1}}'])).stderr).toContain("[QUERY]");
  expect(await fails(["doc", "remove-many", "c"])).toMatchObject({ code: 2 });
  expect(await fails(["export", "c", folder.path])).toMatchObject({ code: 2 });
  expect((await fails(["index", "drop", "c", "x"])).stderr).toContain("[NOT_FOUND]");
  const opened = await fails(["export", "c", `${folder.path}/no/such/folder`]);
  expect(opened.code).not.toBe(0);
  expect(opened.stderr).toContain("Cannot write");
});

test("shell: expressions, files, what is typed, and errors", async () => {
  const address = ["--address", cluster.addresses];
  const evaluated = await run([
    "shell",
    "--eval",
    "db.shelf.insertMany([{id: 1, a: 2n ** 60n}])",
    ...address,
  ]);
  expect(JSON.parse(evaluated.stdout)).toEqual([{ id: 1, a: { $bigint: "1152921504606846976" } }]);
  const file = `${folder.path}/script.js`;
  writeFileSync(
    file,
    "await db.shelf.insert({id: 2});\nreturn db.shelf.iterate({}, {sort: {id: 1}});",
  );
  expect((await lines(["shell", "--file", file])).length).toBe(2);
  const wrong = await run(["shell", "--eval", "db.shelf.find({a: {$no: 1}})", ...address]);
  expect(wrong).toMatchObject({ code: 1, stdout: "" });
  const shell = new Running(["shell", ...address]);
  shell.process.input?.end(
    "db.shelf.count()\n.indexes shelf\nnonsense(\n.nothing\ndb.shelf.count()\n",
  );
  await shell.ended();
  const answers = shell.stdout.split("\n").filter((line) => /^[\d[]/.test(line));
  expect(answers).toEqual(["2", "[]", "2"]);
  expect(shell.stderr).toContain("Unknown command .nothing");
});

test("shell: completion", () => {
  expect(complete("db.us", ["users", "used", "x y"])).toEqual([["users", "used"], "us"]);
  expect(complete("await db.users.find", ["users"])).toEqual([
    ["find", "findOne", "findById"],
    "find",
  ]);
  expect(complete("1 + ", ["users"])).toEqual([[], "1 + "]);
});

describe("tagged JSON", () => {
  test("there and back", () => {
    const value = {
      d: new Date(5),
      n: -(2n ** 63n),
      b: new Uint8Array([0, 255]),
      l: [null, { $x: 1 }],
      t: [{ $date: "x" }, { $literal: { $bytes: "" } }],
    };
    expect(fromTaggedJson(toTaggedJson(value), "value")).toEqual(value);
  });

  test.each(['{"a":{"$date":"soon"}}', '{"a":{"$bigint":"1.5"}}', "{", "[1"])(
    "refused: %s",
    (text) => {
      expect(() => fromTaggedJson(text, "value")).toThrow(/The value/);
    },
  );
});
