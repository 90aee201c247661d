/**
 * Two of three nodes are lost for good: the survivor begins a new cluster with its documents, and
 * what is left of the old one is kept out.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { LocalCluster, type LocalNode } from "../../cli/local/local_cluster.ts";
import { waitFor } from "../node/test_cluster.ts";
import { PROGRAM, Running, run } from "./program.ts";

const COUNT = 6;
let cluster: LocalCluster;
let survivor: LocalNode;
let lost: LocalNode;
let later: LocalNode;
const started: Running[] = [];

beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: 3, program: PROGRAM });
  [survivor, lost, later] = [cluster.node("n2"), cluster.node("n1"), cluster.node("n3")];
  for (let i = 0; i < COUNT; i += 1) {
    const put = ["doc", "put", "kept", `{"id":"${i}"}`, "--address", cluster.addresses];
    expect((await run(put)).code).toBe(0);
  }
});

afterAll(async () => {
  for (const process of started) await process.stop();
  await cluster.stop();
});

function recover(...words: readonly string[]): ReturnType<typeof run> {
  return run(["cluster", "unsafe-recover", ...words]);
}

function identity(): string {
  return readFileSync(`${survivor.dataDirectory}/identity`, "hex");
}

async function start(words: readonly string[]): Promise<Running> {
  const process = new Running(["node", ...words]);
  started.push(process);
  await process.says(/listens on .*\n/);
  return process;
}

describe("before anything is done", () => {
  test("a node that runs is left alone", async () => {
    const { code, stderr } = await recover(survivor.dataDirectory, "--yes");
    expect([code, stderr]).toEqual([1, expect.stringContaining("[LOCKED]")]);
  });

  test("a majority needs no recovery", async () => {
    for (const node of [lost, later, survivor]) await cluster.signal(node, "SIGKILL");
    const before = identity();
    const words = [survivor.dataDirectory, later.dataDirectory, "--yes"];
    const { code, stdout, stderr } = await recover(...words);
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining("a majority of the voters is here"),
    ]);
    expect(stdout).toContain("missing  n1 (");
    expect(identity()).toBe(before);
  });

  test("folders that are no survivors' are refused", async () => {
    const { dataDirectory: path } = survivor;
    const twice = await recover(path, path);
    expect([twice.code, twice.stderr]).toEqual([2, expect.stringContaining('node "n2"')]);
    const none = await recover(path, `${path}/wal`);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("it holds no node")]);
  });

  test("without --yes it says what would be lost, and does nothing", async () => {
    const before = identity();
    const { code, stdout } = await recover(survivor.dataDirectory);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^best {5}n2 in /m);
    expect(stdout).toContain(`missing  n1 (${lost.address}), n3 (${later.address})`);
    expect(stdout).toContain("nothing was recovered; to do this: cstore cluster unsafe-recover ");
    const report = JSON.parse((await recover(survivor.dataDirectory, "--json")).stdout);
    expect(report).toMatchObject({ best: survivor.dataDirectory, recovered: null });
    expect(report.missingVoters.map(({ id }: { id: string }) => id)).toEqual(["n1", "n3"]);
    const [one] = report.survivors;
    expect(one).toMatchObject({ nodeId: "n2", snapshotIndex: expect.any(Number) });
    expect(one.lastIndex - one.commitIndex).toBe(one.uncommittedEntries);
    expect([identity(), existsSync(`${survivor.dataDirectory}.before-recovery`)]).toEqual([
      before,
      false,
    ]);
  });
});

describe("with --yes", () => {
  const at = (): string[] => ["--address", survivor.address];

  test("the survivor begins a new cluster with the documents, and versions never come again", async () => {
    const place = ["doc", "get", "kept", "0", "--with-version"];
    const { stdout } = await recover(survivor.dataDirectory, "--yes", "--json");
    const { recovered } = JSON.parse(stdout);
    expect(recovered.keptAs).toBe(`${survivor.dataDirectory}.before-recovery`);
    expect(existsSync(`${recovered.keptAs}/identity`)).toBe(true);
    await start(["--data", survivor.dataDirectory]);
    await waitFor("it to lead", async () => {
      const { code, stdout: text } = await run(["cluster", "status", "--json", ...at()]);
      return code === 0 && JSON.parse(text).clusterId === recovered.clusterId;
    });
    expect((await run(["doc", "count", "kept", ...at()])).stdout).toBe(`${COUNT}\n`);
    const old = JSON.parse((await run([...place, ...at()])).stdout);
    const put = JSON.parse((await run(["doc", "put", "kept", '{"id":"0"}', ...at()])).stdout);
    expect(put.version).toBeGreaterThanOrEqual(recovered.nextSequence);
    expect(recovered.nextSequence).toBeGreaterThan(old.version);
  });

  test("the old members are refused, alone or together", async () => {
    cluster.startNode(lost);
    const old = ["--address", lost.address, "--timeout", "1s"];
    await waitFor("it to answer", async () => (await cluster.status(lost)) !== undefined);
    const put = await run(["doc", "put", "kept", '{"id":"x"}', ...old]);
    expect([5, 6]).toContain(put.code ?? 0);
    const { stdout } = await run(["cluster", "status", "--json", ...at()]);
    expect(JSON.parse(stdout).members).toMatchObject([{ id: "n2", membership: "voter" }]);
    const members = cluster.nodes.map(({ id, address }) => `${id}=${address}`).join(",");
    const words = ["--id", "n2", "--data", survivor.dataDirectory, "--cluster", members];
    await cluster.signal(lost, "SIGKILL");
    // Two of the three old nodes: a quorum that knows nothing of the new cluster.
    cluster.startNode(lost);
    cluster.startNode(later);
    await waitFor("the old cluster", async () => (await cluster.status(lost))?.leader !== "");
    expect((await run(["doc", "count", "kept", ...at()])).stdout).toBe(`${COUNT}\n`);
    for (const node of [lost, later]) await cluster.signal(node, "SIGKILL");
    await started.at(-1)?.stop();
    const refused = await run(["node", ...words]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("belongs to")]);
    await start(["--data", survivor.dataDirectory]);
  });

  test("they join with empty folders, and get everything", async () => {
    for (const { id, address, dataDirectory } of [lost, later]) {
      renameSync(dataDirectory, `${dataDirectory}.old`);
      const place = ["--id", id, "--listen", address, "--data", dataDirectory];
      await start([...place, "--join", survivor.address]);
    }
    await waitFor("three voters", async () => {
      const { stdout } = await run(["cluster", "status", "--json", ...at()]);
      return JSON.parse(stdout).quorum.voters === 3;
    });
    const { code, stdout } = await run(["cluster", "verify", "--json", ...at()]);
    expect([code, JSON.parse(stdout).equal]).toEqual([0, true]);
    const stale = ["doc", "count", "kept", "--read", "stale", "--address", lost.address];
    expect((await run(stale)).stdout).toBe(`${COUNT}\n`);
  });
});
