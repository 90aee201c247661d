/**
 * Real processes: a cluster from the command line, its leader killed and stopped, documents and
 * status for scripts.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { freePorts, LocalCluster } from "../../cli/local/local_cluster.ts";
import { freshFolder, waitFor } from "../node/test_cluster.ts";
import { PROGRAM, Running, run, shell } from "./program.ts";

let cluster: LocalCluster;
let at: string[];

beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: 3, program: PROGRAM });
  at = ["--address", cluster.addresses];
});

afterAll(async () => {
  await cluster.stop();
});

async function json(words: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr, code } = await run([...words, ...at]);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

describe("documents", () => {
  test("insert, put, get, update, remove, count", async () => {
    expect(await json(["doc", "insert", "users", '{"id":"u1","name":"Ada"}'])).toEqual({
      id: "u1",
      name: "Ada",
    });
    const put = await json(["doc", "put", "users", '{"id":"u2"}']);
    expect(put).toEqual({ id: "u2", version: expect.any(Number) });
    expect(await json(["doc", "update", "users", "u1", '{"age":36}'])).toEqual({
      id: "u1",
      name: "Ada",
      age: 36,
    });
    expect(await json(["doc", "get", "users", "u1"])).toMatchObject({ age: 36 });
    const versioned = await json(["doc", "get", "users", "u2", "--with-version"]);
    expect(versioned).toEqual({ document: { id: "u2" }, version: put["version"] });
    expect(await json(["doc", "count", "users"])).toEqual(2 as never);
    expect(await json(["doc", "remove", "users", "u2"])).toEqual({ id: "u2" });
  });

  test("put of a document without an id prints the one that it got", async () => {
    const { id } = await json(["doc", "put", "users", '{"name":"Grace"}']);
    expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    const found = await json(["doc", "get", "users", String(id)]);
    expect(found).toEqual({ id, name: "Grace" });
  });

  test("ids stay the texts that were typed", async () => {
    for (const id of ["007", "1e5", "0x1F", "-5", "true", "number:x"]) {
      await json(["doc", "put", "ids", JSON.stringify({ id })]);
      expect(await json(["doc", "get", "ids", id])).toEqual({ id });
    }
    await json(["doc", "put", "ids", '{"id":7}']);
    expect(await json(["doc", "get", "ids", "number:7"])).toEqual({ id: 7 });
    expect((await run(["doc", "get", "ids", "7", ...at])).code).toBe(1);
  });

  test("a document from stdin", async () => {
    const line = `echo '{"id":"piped"}' | cstore doc put stdin - --address ${cluster.addresses}`;
    expect((await shell(line)).code).toBe(0);
    expect(await json(["doc", "get", "stdin", "piped"])).toEqual({ id: "piped" });
  });

  test("what is refused: one line, what to do, and an exit code; also as JSON", async () => {
    await json(["doc", "put", "refused", '{"id":"a"}']);
    const twice = await run(["doc", "insert", "refused", '{"id":"a"}', ...at]);
    expect([twice.code, twice.stdout]).toEqual([1, ""]);
    expect(twice.stderr).toMatch(/^error: .*\[DUPLICATE_KEY\]\n {2}.*\n$/);
    const missing = await run(["doc", "get", "refused", "b", "--json", ...at]);
    expect(missing.code).toBe(1);
    expect(JSON.parse(missing.stdout).error).toMatchObject({ code: "NOT_FOUND", retry: "never" });
    const version = await run(["doc", "put", "refused", '{"id":"a"}', "--if-version", "1", ...at]);
    expect([version.code, version.stderr]).toEqual([1, expect.stringContaining("VERSION")]);
    for (const bad of ["not json", "[1]", "1", ""]) {
      expect((await run(["doc", "put", "refused", bad, ...at])).code).toBe(2);
    }
  });
});

describe("the cluster", () => {
  test("status --json has the fields that scripts rely on", async () => {
    const status = await json(["cluster", "status", "--json"]);
    // The matcher puts its patterns into what it matched.
    const { leader, term } = status;
    const members = status["members"] as Record<string, unknown>[];
    expect(status).toMatchObject({
      clusterId: expect.stringMatching(/^[0-9a-f]{16}$/),
      term: expect.any(Number),
      leader: expect.stringMatching(/^n[123]$/),
      quorum: { voters: 3, reachable: 3, canLose: 1 },
      hasQuorum: true,
      isJoint: false,
    });
    expect(members).toHaveLength(3);
    for (const [i, member] of members.entries()) {
      expect(member).toMatchObject({
        id: `n${i + 1}`,
        address: cluster.nodes[i]?.address,
        pid: cluster.nodes[i]?.process?.pid,
        role: member["id"] === leader ? "leader" : "follower",
        state: "healthy",
        term,
        commitIndex: expect.any(Number),
        appliedIndex: expect.any(Number),
        lagBatches: expect.any(Number),
        lagMs: expect.any(Number),
        rttMs: expect.any(Number),
        version: expect.stringMatching(/^\d+\.\d+\.\d+/),
        membership: "voter",
        caughtUpPercent: null,
        waitsFor: null,
        isRestoring: false,
        alarms: [],
      });
    }
    const text = await run(["cluster", "status", ...at]);
    expect(text.code).toBe(0);
    expect(text.stdout).not.toContain("\x1b");
    expect(text.stdout).toContain("3 of 3 voters reachable");
    const colours = await run(["cluster", "status", ...at], { NO_COLOR: "", FORCE_COLOR: "1" });
    expect(colours.stdout).toContain("\x1b[");
  });

  test("promote prints from, to and the stall; unknown nodes are refused", async () => {
    const leader = await cluster.waitForLeader();
    const to = leader.id === "n1" ? "n2" : "n1";
    const result = await json(["cluster", "promote", to, "--json"]);
    expect(result).toMatchObject({ from: leader.id, to, stalledMs: expect.any(Number) });
    const unknown = await run(["cluster", "promote", "n9", ...at]);
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining("NOT_FOUND")]);
  });

  test("kill -9 of the leader: acknowledged documents are there, and status tells", async () => {
    for (let i = 0; i < 3; i += 1)
      await json(["doc", "put", "kept", JSON.stringify({ id: `${i}` })]);
    const leader = await cluster.waitForLeader();
    await cluster.signal(leader, "SIGKILL");
    expect(await json(["doc", "count", "kept"])).toEqual(3 as never);
    const { stdout, code } = await run(["cluster", "status", "--json", ...at]);
    const status = JSON.parse(stdout);
    expect([code, status.quorum]).toEqual([0, { voters: 3, reachable: 2, canLose: 0 }]);
    const dead = status.members.find((member: { id: string }) => member.id === leader.id);
    expect(dead).toMatchObject({ state: "down", pid: null, term: null, version: null });
    cluster.startNode(leader);
    await waitFor(
      "it to be back",
      async () => (await cluster.status(leader))?.leader !== undefined,
    );
  });

  test("SIGTERM of the leader: it hands over and exits with 0", async () => {
    const leader = await cluster.waitForLeader();
    const child = leader.process;
    await cluster.signal(leader, "SIGTERM");
    expect(child?.end).toBe(0);
    expect(existsSync(`${leader.dataDirectory}/LOCK`)).toBe(false);
    const next = await cluster.waitForLeader();
    expect(next.id).not.toBe(leader.id);
    expect(await json(["doc", "count", "kept"])).toEqual(3 as never);
    cluster.startNode(leader);
    await waitFor(
      "it to be back",
      async () => (await cluster.status(leader))?.leader !== undefined,
    );
  });

  test("without a quorum: status exits with 5 and says so", async () => {
    const [one, two] = cluster.nodes;
    if (one === undefined || two === undefined) throw new RangeError("three nodes");
    await cluster.signal(one, "SIGKILL");
    await cluster.signal(two, "SIGKILL");
    await waitFor("no leader", async () => {
      const { code, stdout } = await run(["cluster", "status", "--json", ...at]);
      return code === 5 && JSON.parse(stdout).quorum.reachable === 1;
    });
    const put = await run(["doc", "put", "kept", '{"id":"x"}', "--timeout", "1s", ...at]);
    expect([5, 6]).toContain(put.code ?? 0);
    for (const node of [one, two]) {
      cluster.startNode(node);
      await waitFor(
        "it to be back",
        async () => (await cluster.status(node))?.leader !== undefined,
      );
    }
    await cluster.waitForLeader();
  });
});

describe("the log of a node", () => {
  test("wal inspect and verify, a pipe that closes early, and a damaged log", async () => {
    const [node] = cluster.nodes;
    if (node === undefined) throw new RangeError("three nodes");
    await cluster.signal(node, "SIGTERM");
    const whole = await run(["wal", "verify", node.dataDirectory, "--json"]);
    expect(JSON.parse(whole.stdout)).toMatchObject({ verdict: "ok", nodeId: node.id });
    const records = await run(["wal", "inspect", node.dataDirectory, "--json"]);
    expect(records.stdout.trim().split("\n").length).toBeGreaterThan(3);
    const line = `cstore wal inspect '${node.dataDirectory}' | head -1; echo "\${PIPESTATUS[0]}"`;
    const piped = await shell(line);
    expect(piped.stderr).toBe("");
    expect(piped.stdout.trim().split("\n")).toEqual([expect.stringContaining("record 1"), "0"]);
    const folder = `${node.dataDirectory}/wal`;
    const [segment = ""] = readdirSync(folder).filter((name) => name.endsWith(".segment"));
    const bytes = new Uint8Array(readFileSync(`${folder}/${segment}`));
    const kept = bytes.slice();
    bytes[700] = (bytes[700] ?? 0) ^ 1;
    writeFileSync(`${folder}/${segment}`, bytes);
    const damaged = await run(["wal", "verify", node.dataDirectory]);
    expect(damaged.code).toBe(65);
    expect(damaged.stderr).toContain(segment);
    expect(damaged.stderr).toMatch(/byte \d+/);
    const members = cluster.nodes.map(({ id, address }) => `${id}=${address}`).join(",");
    const place = ["--id", node.id, "--data", node.dataDirectory, "--cluster", members];
    const refused = await run(["node", ...place, "--repair", "never"]);
    expect([refused.code, refused.stderr]).toEqual([65, expect.stringMatching(/^error: Cannot /)]);
    writeFileSync(`${folder}/${segment}`, kept);
    cluster.startNode(node);
    await waitFor("it to be back", async () => (await cluster.status(node))?.leader !== undefined);
  });

  test("a folder without a log", async () => {
    const folder = freshFolder();
    for (const path of [folder.path, `${folder.path}/missing`]) {
      const { code, stderr } = await run(["wal", "verify", path]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(`"${path}"`)]);
    }
    folder.remove();
  });
});

describe("what keeps a node from starting", () => {
  function words(change: Readonly<Record<string, string>> = {}): string[] {
    const [node] = cluster.nodes;
    const members = cluster.nodes.map(({ id, address }) => `${id}=${address}`).join(",");
    const all = { id: "n1", data: node?.dataDirectory ?? "", cluster: members, ...change };
    return ["node", ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value])];
  }

  test("a locked folder, a used port, a folder of another node or cluster", async () => {
    const folder = freshFolder();
    const [port] = await freePorts(1);
    const other = `n1=127.0.0.1:${port}`;
    const { dataDirectory = "" } = cluster.nodes[1] ?? {};
    const cases = [
      [words(), 1, /LOCK/],
      [words({ data: folder.path }), 3, /Cannot listen on 127\.0\.0\.1:\d+/],
      [words({ cluster: other, data: dataDirectory }), 1, /LOCK/],
    ] as const;
    for (const [line, code, text] of cases) {
      const ended = await run(line);
      expect([ended.code, ended.stdout]).toEqual([code, ""]);
      expect(ended.stderr).toMatch(text);
      expect(ended.stderr.split("\n").filter((l) => l.startsWith("error: "))).toHaveLength(1);
      expect(ended.stderr).not.toContain("    at ");
    }
    const stopped = cluster.node("n3");
    await cluster.signal(stopped, "SIGTERM");
    for (const change of [{ cluster: other }, { id: "n2" }]) {
      const ended = await run(words({ ...change, data: stopped.dataDirectory }));
      expect([ended.code, ended.stderr]).toEqual([2, expect.stringContaining("belongs to")]);
    }
    cluster.startNode(stopped);
    folder.remove();
  });
});

describe("cstore dev", () => {
  test("starts, says what to do next, and Ctrl-C takes everything away", async () => {
    const [port = 0] = await freePorts(1);
    const dev = new Running(["dev", "--nodes", "1", "--port", `${port}`]);
    try {
      await dev.says("Ctrl-C stops the nodes");
      expect(dev.stdout).toContain(`127.0.0.1:${port}`);
      const typed = dev.stdout.split("\n").filter((line) => /^ {2}\S.* (doc|cluster) /.test(line));
      expect(typed).toHaveLength(2);
      for (const line of typed) {
        const { code, stderr } = await shell(line);
        expect([line, code, stderr]).toEqual([line, 0, ""]);
      }
      const folder = /(\S+)\/n1\n/.exec(dev.stdout)?.[1] ?? "";
      expect(existsSync(folder)).toBe(true);
      const address = ["--address", `127.0.0.1:${port}`];
      expect((await run(["doc", "put", "c", '{"id":1}', ...address])).code).toBe(0);
      const second = await run(["dev", "--nodes", "1", "--port", `${port}`]);
      expect(second.code).toBe(3);
      expect(second.stderr).toMatch(/^error: Cannot start the cluster: .*127\.0\.0\.1:\d+/m);
      expect(second.stderr).not.toContain("    at ");
      dev.process.signal("SIGINT");
      expect((await dev.ended()).code).toBe(0);
      expect(existsSync(folder)).toBe(false);
      expect((await run(["cluster", "status", "--timeout", "300ms", ...address])).code).toBe(3);
    } finally {
      await dev.stop();
    }
  });

  test("--data keeps the documents for the next time", async () => {
    const folder = freshFolder();
    const [port = 0] = await freePorts(1);
    const words = ["dev", "--nodes", "1", "--port", `${port}`, "--data", folder.path];
    const address = ["--address", `127.0.0.1:${port}`];
    for (const count of ["0\n", "1\n"]) {
      const dev = new Running(words);
      try {
        await dev.says("Ctrl-C stops the nodes");
        expect((await run(["doc", "count", "c", ...address])).stdout).toBe(count);
        await run(["doc", "put", "c", '{"id":1}', ...address]);
        dev.process.signal("SIGTERM");
        expect((await dev.ended()).code).toBe(0);
      } finally {
        await dev.stop();
      }
    }
    folder.remove();
  });
});

describe("bench", () => {
  test("throughput --json has stable fields", async () => {
    const words = ["bench", "throughput", "--duration", "1s", "--warmup", "200ms", "--json"];
    const result = await json([...words, "--read-ratio", "0.1"]);
    expect(Number(result["operations"])).toBeGreaterThan(100);
    expect(result["errors"]).toEqual({});
    expect(result).toMatchObject({
      opsPerSecond: expect.any(Number),
      operations: expect.any(Number),
      settings: { inFlight: 64 },
    });
    const latency = result["latencyMs"] as Record<string, number>;
    for (const name of ["p50", "p90", "p99", "p999", "max"]) expect(latency[name]).toBeNumber();
    for (const node of result["nodes"] as Record<string, unknown>[]) {
      expect(node).toMatchObject({ cpuCores: expect.any(Number), rssBytes: expect.any(Number) });
    }
  });

  test("failover --json has stable fields, and nothing is lost", async () => {
    const words = ["bench", "failover", "--rounds", "1", "--rate", "100", "--json"];
    const { stdout, code } = await run(words);
    expect(code).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ fault: "kill", summary: expect.any(Object) });
    expect(result.rounds).toHaveLength(1);
    for (const name of ["detectMs", "electMs", "firstWriteMs", "longestGapMs"]) {
      expect(result.rounds[0][name]).toBeNumber();
    }
    expect(result.rounds[0]).toMatchObject({ failedRequests: 0, lostAcknowledged: 0 });
    expect(result.rounds[0].acknowledged).toBeGreaterThan(50);
  });
});

test("settings from a file and from the environment, and a file that is wrong", async () => {
  const folder = freshFolder();
  const path = `${folder.path}/node.toml`;
  writeFileSync(path, 'id = "n1"\ndata = "./x"\ncluster = "n1=127.0.0.1:7001"\n');
  const shown = await run(["node", "--config", path, "--print-config", "--heartbeat", "30ms"]);
  expect(JSON.parse(shown.stdout)).toMatchObject({ id: "n1", heartbeatMs: 30 });
  const named = await run(["node", "--config", path, "--print-config"], {
    CSTORE_HEARTBEAT: "20ms",
  });
  expect(JSON.parse(named.stdout)).toMatchObject({ heartbeatMs: 20 });
  appendFileSync(path, "colour = 1\n");
  const wrong = await run(["node", "--config", path]);
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('"colour"')]);
  folder.remove();
});
