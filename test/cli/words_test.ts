/**
 * What people type at first: each row is words, exit code, and a text that must be in the output.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { Evaluator } from "../../cli/evaluate.ts";
import { TestCluster } from "../node/test_cluster.ts";
import { run } from "../system/program.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start(1);
}, 60_000);
afterAll(() => cluster.stop());

test.each<readonly [readonly string[], number, string]>([
  [[], 2, "First steps:"],
  [["help"], 0, "Commands:"],
  [["--help"], 0, "Commands:"],
  [["-v"], 0, "cstore 0."],
  [["--version"], 0, "cstore 0."],
  [["version"], 0, "cstore 0."],
  [["status"], 2, "Did you mean cluster status?"],
  [["promote", "n2"], 2, "Did you mean cluster promote?"],
  [["cluster"], 2, "cstore cluster status"],
  [["cluster", "help"], 0, "cstore cluster status"],
  [["cluster", "statsu"], 2, "Did you mean"],
  [["bench"], 2, "cstore bench throughput"],
  [["doc"], 2, "Name an action"],
  [["doc", "help"], 0, "Usage: cstore doc"],
  [["help", "doc"], 0, "Usage: cstore doc"],
  [["doc", "get"], 2, "Name the collection"],
  [["index"], 2, "Name an action"],
  [["wal"], 2, "Name an action"],
  [["import"], 2, "import"],
  [["nodes"], 2, "Did you mean node?"],
  [["xyzzy"], 2, "See cstore --help"],
])("cstore %j ends with %d: %s", async (words, code, text) => {
  const ended = await run(words);
  expect([ended.code, ended.stdout + ended.stderr]).toEqual([code, expect.stringContaining(text)]);
});

test.each<readonly [string, number, string]>([
  ["1 + 1", 0, "2\n"],
  ["let x = 1", 0, "1\n"],
  ["const n = await db.none.count(); n + 1", 0, "1\n"],
  ["if (true) await db.none.count()", 0, ""],
  ["for (const a of [1, 2]) a", 0, ""],
  ["db.none.count();", 0, "0\n"],
  ['({text: "a; let b = 1"}).text', 0, '"a; let b = 1"\n'],
  ["help", 0, "any method of a collection"],
  [".help", 0, "any method of a collection"],
  ["exit", 0, ""],
  ["quit", 0, ""],
  ["db", 0, "[]\n"],
  ["show collections", 0, "[]\n"],
  [".collections", 0, "[]\n"],
  ["use other", 2, "There is one database"],
  ["x =", 2, "Cannot read the text"],
  ["nothing", 2, "nothing is not defined"],
  ["db.none.find({a: {$no: 1}})", 1, "[QUERY]"],
  [".bogus", 2, "Unknown command .bogus"],
  ["null.a", 2, "null"],
  ["0 / 0", 0, "NaN"],
  ["10n ** 30n", 0, "1000000000000000000000000000000"],
  ["() => 1", 0, "Function"],
  ["let process = 5; process + 1", 0, "6\n"],
  ['db.none.find({a: {$size: "x"}})', 1, "[QUERY]"],
])("shell --eval %j ends with %d: %s", async (source, code, text) => {
  const ended = await run(["shell", "--eval", source, "--address", cluster.addresses]);
  const output = ended.stdout + ended.stderr;
  expect([ended.code, output]).toEqual([code, expect.stringContaining(text)]);
  expect(output).not.toContain("bug:");
});

test("variables stay from text to text, and the language's own names are its own", async () => {
  const evaluator = new Evaluator({ db: 1 });
  expect(await evaluator.evaluate("let a = 2")).toBe(2);
  expect(await evaluator.evaluate("a += 3; a * db")).toBe(5);
  expect(await evaluator.evaluate("const b = await Promise.resolve(a)\nb")).toBe(5);
  expect(await evaluator.evaluate("Math.max(a, b, JSON.parse('9'))")).toBe(9);
  expect(await evaluator.evaluate("[1, 2].map((a) => a * 2).length")).toBe(2);
  expect("a" in globalThis).toBe(false);
  expect(await evaluator.evaluate("const Map = 7")).toBe(7);
  expect(await evaluator.evaluate("Map + 1")).toBe(8);
  expect(typeof Map).toBe("function");
});
