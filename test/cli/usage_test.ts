/**
 * Wrong command lines: one clear line on stderr, nothing on stdout, exit code 2; and help.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { run } from "../system/program.ts";

describe("wrong command lines", () => {
  test.each([
    [["nosuch"], /Unknown command "nosuch"/],
    [["sttus"], /Unknown command/],
    [["cluster", "sttus"], /Did you mean cstore cluster status\?/],
    [["cluster", "nosuch"], /Known: cluster status, cluster members, /],
    [["nod"], /Did you mean node\?/],
    [["node", "--datta", "x"], /Did you mean --data\?/],
    [["node", "--id"], /--id needs a value/],
    [["node", "--id", "n1"], /neither --cluster nor --join is given\nJoin a cluster with /],
    [["node", "--cluster", "n1=a:1", "--data", "x"], /--id is missing/],
    [["node", "--cluster", "n1=a:1", "--join", "a:1"], /exclude each other/],
    [["node", "--cluster", "n1=a:1", "--id", "n1", "--standby"], /--standby belongs to --join/],
    [["node", "--join", "a:1", "--snapshot-rate", "fast"], /--snapshot-rate/],
    [["node", "--join", "a:1", "--snapshot-rate", "1KiB"], /snapshotBytesPerSecond/],
    [["node", "--id", "n1", "--id", "n2"], /more than once/],
    [["node", "--id", "n1", "--cluster", "n1", "--data", "x"], /not ID=HOST:PORT/],
    [["node", "--id", "../x", "--cluster", "../x=a:1", "--data", "x"], /node id/],
    [["node", "--id", "n2", "--cluster", "n1=a:1", "--data", "x"], /not in it/],
    [["node", "--id", "n1", "--cluster", "n1=a:1", "--data", "x", "--heartbeat", "1"], /heartbeat/],
    [["node", "--config", "/nonexistent/file"], /configuration file/],
    [["dev", "--nodes=-3"], /--nodes is a whole number/],
    [["dev", "--nodes", "1.5"], /--nodes is a whole number/],
    [["dev", "extra"], /Too many words/],
    [["cluster", "promote"], /Name the node/],
    [["cluster", "init"], /--address is missing/],
    [["cluster", "init", "--address", "a:0", "--data", "x"], /it has no port/],
    [["cluster", "init", "--address", "a:1", "--id", "../x", "--data", "x"], /node id/],
    [["cluster", "add"], /Name the member\nFor example: cstore cluster add n4 10/],
    [["cluster", "add", "n4"], /Name the address/],
    [["cluster", "remove"], /Name the member/],
    [["cluster", "remove", "n1", "n2"], /Too many words/],
    [["cluster", "replace", "n1"], /that takes its place\nFor example: cstore cluster replace/],
    [["cluster", "recover"], /Name the member/],
    [["cluster", "role", "n1"], /voter or standby/],
    [["cluster", "verify", "now"], /Too many words/],
    [["cluster", "unsafe-recover"], /Name the data folders/],
    [["cluster", "unsafe-recover", "/nonexistent/folder"], /it holds no node/],
    [["cluster", "status", "--timeout", "soon"], /--timeout/],
    [["doc", "grt", "users", "u1"], /Unknown action "grt"/],
    [["doc", "get"], /Name the collection/],
    [["doc", "get", "users", "-x"], /Unknown option -x/],
    [["doc", "find", "users", "{bad"], /The query is not JSON/],
    [["doc", "remove-many", "users"], /Give the query/],
    [["index", "make", "users", "x"], /Unknown action "make"/],
    [["index", "create", "users"], /Name the index/],
    [["import", "users", "/nonexistent"], /There is no file/],
    [["watch", "users", "--since", "-1"], /--since/],
    [["wal", "verify"], /Name a node's data folder/],
    [["wal", "look", "."], /Unknown action "look"/],
    [["bench", "throughput", "--read-ratio", "2"], /--read-ratio is from 0 to 1/],
    [["bench", "failover", "--fault", "fire"], /one of kill, pause, promote/],
  ])("%j", async (words, text) => {
    const { code, stdout, stderr } = await run(words);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(text);
    expect(stderr).toStartWith("error: ");
    expect(stderr.trim().split("\n").length).toBeLessThanOrEqual(2);
    expect(stderr).not.toContain("\x1b");
  });
});

describe("help", () => {
  test.each([
    [["--help"], 0],
    [["help"], 0],
    [[], 2],
    [["node", "--help"], 0],
    [["cluster", "--help"], 0],
    [["cluster"], 2],
    [["cluster", "promote", "--help"], 0],
    [["help", "cluster", "promote"], 0],
    [["cluster", "unsafe-recover", "--help"], 0],
    [["bench", "failover", "-h"], 0],
  ])("%j", async (words, code) => {
    const ended = await run(words);
    expect(ended.code).toBe(code);
    expect(ended.stdout).toContain("cstore");
  });

  test("version names the runtime", async () => {
    expect((await run(["--version"])).stdout).toMatch(/^cstore \d+\.\d+\.\d+ \(bun .*\)\n$/);
  });
});

test.each([
  ["nowhere", /"nowhere": it is not HOST:PORT/],
  ["srv:/", /after srv: comes a DNS name/],
])("node --join %s", async (seed, text) => {
  const { code, stdout, stderr } = await run(["node", "--join", seed, "--data", "x"]);
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(text);
  expect(existsSync("x")).toBe(false);
});

// A shell that is set up to talk to a cluster must not give its address to a new one.
test.each(["cluster init", "restore package.json"])("%s takes no CSTORE_ADDRESS", async (line) => {
  const words = [...line.split(" "), "--data", "x"];
  const { code, stderr } = await run(words, { CSTORE_ADDRESS: "127.0.0.1:1" });
  expect([code, existsSync("x")]).toEqual([2, false]);
  expect(stderr).toContain("CSTORE_ADDRESS names nodes to talk to");
});

test("with --json a wrong command line is an object on stdout, too", async () => {
  const { code, stdout } = await run(["cluster", "remove", "--json"]);
  const remedy = "For example: cstore cluster remove n4";
  const error = { code: "USAGE", message: "Name the member", remedy, retry: "never" };
  expect([code, JSON.parse(stdout)]).toEqual([2, { error }]);
});

test("nobody there: exit code 3, the addresses and what to do", async () => {
  const words = ["cluster", "status", "--address", "127.0.0.1:1", "--timeout", "300ms"];
  const { code, stdout, stderr } = await run(words);
  expect([code, stdout]).toEqual([3, ""]);
  expect(stderr).toMatch(/^error: Cannot reach any node at 127\.0\.0\.1:1.*\[UNREACHABLE\]\n {2}/);
});
