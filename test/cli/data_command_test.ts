/**
 * `cstore doc`, `index`, `watch`, `import` and `export` against a cluster in this process.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { complete } from "../../cli/commands/shell_command.ts";
import { fromTaggedJson, toTaggedJson } from "../../cli/tagged_json.ts";
import { freshFolder, TestCluster } from "../node/test_cluster.ts";
import { Running, run, shell } from "../system/program.ts";

// Many processes, one after the other.
setDefaultTimeout(60_000);

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

test("export --force: whatever fails, the old file stays as it was", async () => {
  const file = `${folder.path}/kept.ndjson`;
  await lines(["doc", "put", "kept", '{"id":"a"}']);
  writeFileSync(file, "precious\n");
  const wrong = [
    ["export", "kept", file, "--force", "--query", '{"a":{"$bad":1}}'],
    ["export", "kept", file, "--force", "--query", '{"a":'],
    ["export", "nosuch", file, "--force"],
    ["export", "nosuch", file, "--resume"],
  ];
  for (const words of wrong) {
    expect((await fails(words)).code).not.toBe(0);
    expect(readFileSync(file, "utf8")).toBe("precious\n");
  }
  await lines(["export", "kept", file, "--force"]);
  expect(readFileSync(file, "utf8")).toBe('{"id":"a"}\n');
  expect(readdirSync(folder.path).filter((name) => name.includes(".part"))).toEqual([]);
});

test("a stream of an export that breaks off is an error of the import, and a whole one is not", async () => {
  const address = `--address ${cluster.addresses}`;
  await lines(["import", "streamed", await written("s.ndjson", '{"id":1}\n{"id":2}\n{"id":3}\n')]);
  const whole = await shell(`cstore export streamed ${address} | cstore import copy - ${address}`);
  expect(whole.code).toBe(0);
  expect(await lines(["doc", "count", "copy"])).toEqual([3]);
  const broken = await shell(
    `cstore export streamed ${address} | head -n 2 | cstore import cut - ${address}`,
  );
  expect(broken.code).toBe(2);
  expect(broken.stderr).toContain("The input breaks off");
  const empty = await shell(
    `cstore export streamed --query '{"id":9}' ${address} | cstore import none - ${address}`,
  );
  expect(empty.code).toBe(0);
  const unbegun = await shell(
    `cstore export nosuch - ${address} | cstore import none - ${address}`,
  );
  expect(unbegun.code).toBe(2);
  expect(unbegun.stderr).toContain("The input breaks off");
  const other = await shell(
    `cstore export streamed ${address} | sed 's/$/\\r/' | cstore import copy - ${address}`,
  );
  expect(other.code).toBe(0);
  const indented = await written("indented.ndjson", ' {"id":1}\n {"id":2}\n');
  await lines(["import", "indented", indented]);
  const read = await shell(
    `cstore export streamed ${address} | while read -r l; do echo "$l"; done`,
  );
  expect(
    read.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toHaveLength(3);
});

async function written(name: string, text: string | Uint8Array): Promise<string> {
  const file = `${folder.path}/${name}`;
  writeFileSync(file, text);
  return file;
}

describe("import names what it refuses", () => {
  const many = (bad: string) =>
    Array.from({ length: 400 }, (_, i) => (i === 332 ? bad : `{"id":"m${i + 1}","e":"e${i + 1}"}`));

  test.each<readonly [string, string, readonly string[]]>([
    ["a number", '{"id":"m333","v":{"w":1e999}}', ['"v.w"', "line 333"]],
    [
      "a date",
      '{"id":"m333","v":{"$date":"2026-02-30T00:00:00Z"}}',
      ['"v"', "2026-02-30", "line 333"],
    ],
    ["an id", '{"id":{"x":1}}', ["line 333", '{"x":1}']],
    ["no object", "[1]", ["line 333"]],
    ["a dash, which names stdin elsewhere", "-", ["line 333", "not JSON"]],
  ])("%s", async (what, bad, texts) => {
    const file = await written("m.ndjson", `${many(bad).join("\n")}\n`);
    const name = `names ${what}`;
    const { code, stderr } = await fails(["import", name, file]);
    expect(code).not.toBe(0);
    for (const text of [...texts, "--from-line 333"]) expect(stderr).toContain(text);
    expect(await lines(["doc", "count", name])).toEqual([332]);
  });

  test("a second document with a value of a unique index", async () => {
    await lines(["index", "create", "unique", "e", "--keys", "e", "--unique", "--json"]);
    const file = await written("u.ndjson", `${many('{"id":"m333","e":"e7"}').join("\n")}\n`);
    const { stderr } = await fails(["import", "unique", file]);
    for (const text of ["line 333", '"m333"', "--from-line 333", "DUPLICATE_KEY"]) {
      expect(stderr).toContain(text);
    }
    expect(await lines(["doc", "count", "unique"])).toEqual([332]);
  });

  test("a line that is too long, and one that is not UTF-8", async () => {
    const long = `{"id":"a"}\n{"id":"b"}\n{"id":"c","s":"${"x".repeat(97 << 20)}"}\n`;
    const { code, stderr } = await fails(["import", "long", await written("long", long)]);
    expect(code).toBe(2);
    expect(stderr).toContain("--from-line 3");
    expect(await lines(["doc", "count", "long"])).toEqual([2]);
    const bytes = Buffer.concat([Buffer.from('{"id":"'), Buffer.of(0xff), Buffer.from('"}\n')]);
    const bad = await fails(["import", "bytes", await written("bytes", bytes)]);
    expect(bad).toMatchObject({ code: 2, stderr: expect.stringContaining("not valid UTF-8") });
    const behind = Buffer.concat([Buffer.from('{"id":"\u00e4"}\n{"id":"b"}\n'), bytes]);
    const later = await fails(["import", "later", await written("later", behind)]);
    expect(later.stderr).toContain("--from-line 3");
    expect(await lines(["doc", "count", "later"])).toEqual([2]);
  });
});

test("import: a JSON array, and integers beyond 2^53 as they are", async () => {
  const text =
    '\ufeff [ {"id":1,"t":"],{\\"","n":[1,{"a":[]}]},\n {"id":2,"v":819980654209363970} ]\n';
  const read = await run([
    "import",
    "array",
    await written("a.json", text),
    "--address",
    cluster.addresses,
  ]);
  expect(read).toMatchObject({ code: 0, stderr: expect.stringContaining("a JSON array") });
  expect(await lines(["doc", "get", "array", "number:1"])).toEqual([
    { id: 1, t: '],{"', n: [1, { a: [] }] },
  ]);
  expect(await lines(["doc", "find", "array", '{"v":819980654209363970}'])).toEqual([
    { id: 2, v: { $numberLong: "819980654209363970" } },
  ]);
  for (const [name, bad] of Object.entries({
    cut: '[{"id":1},',
    more: '[{"id":1}] 5',
    gap: '[{"id":1},,{"id":2}]',
  })) {
    const { code } = await fails(["import", `array ${name}`, await written("b.json", bad)]);
    expect(code).toBe(2);
  }
  expect(await lines(["doc", "count", "array cut"])).toEqual([1]);
});

test("what is wrong is said, with its code", async () => {
  expect((await fails(["doc", "find", "c", '{"a":{"$no":1}}'])).stderr).toContain("[QUERY]");
  expect(await fails(["doc", "remove-many", "c"])).toMatchObject({ code: 2 });
  expect(await fails(["export", "c", folder.path])).toMatchObject({ code: 2 });
  expect((await fails(["index", "drop", "c", "x"])).stderr).toContain("[NOT_FOUND]");
  await lines(["doc", "put", "there", '{"id":"a"}']);
  const opened = await fails(["export", "there", `${folder.path}/no/such/folder`]);
  expect(opened.code).toBe(74);
  expect(opened.stderr).toContain("Cannot write");
  expect((await fails(["export", "nosuch", `${folder.path}/x`])).stderr).toContain("[NOT_FOUND]");
  expect(existsSync(`${folder.path}/x`)).toBe(false);
  expect((await fails(["import", "c", folder.path])).code).toBe(2);
  expect((await fails(["shell", "--file", folder.path])).code).toBe(74);
  const full = await shell(`cstore export there --address ${cluster.addresses} > /dev/full`);
  expect(full.code).toBe(74);
});

test("shell: expressions, files, what is typed, and errors", async () => {
  const address = ["--address", cluster.addresses];
  const evaluated = await run([
    "shell",
    "--eval",
    "db.shelf.insertMany([{id: 1, a: 2n ** 60n}])",
    ...address,
  ]);
  expect(JSON.parse(evaluated.stdout)).toEqual([
    { id: 1, a: { $numberLong: "1152921504606846976" } },
  ]);
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
      expect(() => fromTaggedJson(text, "value")).toThrow(/the value/i);
    },
  );
});

test("doc find and index create take a collation", async () => {
  const { collection } = { collection: "dictionary" };
  for (const id of ["b", "B", "ä", "z", "a"]) {
    await lines(["doc", "put", collection, JSON.stringify({ id, text: id })]);
  }
  const made = await lines([
    ...["index", "create", collection, "t", "--keys", "text", "--collation", "3", "--json"],
  ]);
  expect(made).toMatchObject([{ indexes: [{ collation: { strength: 3 } }] }]);
  const find = ["doc", "find", collection, "{}", "--sort", "text"];
  const ids = (found: unknown[]) =>
    found.map((one) => (one as { readonly id: string }).id).join("");
  expect(ids(await lines([...find, "--collation", "3"]))).toBe("aäbBz");
  expect(ids(await lines(find))).toBe("Babzä");
  expect((await fails([...find, "--collation", "4"])).stderr).toContain("from 1 to 3");
});
