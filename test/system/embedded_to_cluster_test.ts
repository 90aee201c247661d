/**
 * A database that began in one process goes on as a cluster: its folder is a node's folder.
 *
 * @module
 */

import { afterAll, expect, test } from "bun:test";
import { askNode } from "../../cli/commands/cluster_view.ts";
import { freePorts } from "../../cli/local/local_cluster.ts";
import { connect, WALDatabase } from "../../src/mod.ts";
import { freshFolder, rejection, waitFor } from "../node/test_cluster.ts";
import { Running } from "./program.ts";

const folder = freshFolder();
const processes: Running[] = [];

afterAll(async () => {
  for (const process of processes) await process.stop();
  folder.remove();
});

async function start(data: string, words: readonly string[] = []): Promise<Running> {
  const process = new Running(["node", "--data", `${folder.path}/${data}`, ...words]);
  processes.push(process);
  await process.says(/listens on .*\n/);
  return process;
}

test("an embedded database becomes the first node of a cluster, without export", async () => {
  const config = { name: "app", root: folder.path };
  const before = new WALDatabase(config);
  await before.collection("users").insertMany([{ id: "a" }, { id: "b" }, { id: "c" }]);
  await before.collection("users").createIndex("n", { keys: "n" });
  await before.close();

  const ports = await freePorts(2);
  const [first = "", second = ""] = ports.map((port) => `127.0.0.1:${port}`);
  const one = await start("app/n1", ["--listen", first]);
  const two = await start("two", ["--join", first, "--id", "n2", "--listen", second]);
  await waitFor("two voters", async () => {
    const { members } = await askNode(first, 5000);
    return members.filter(({ membership }) => membership === "voter").length === 2;
  });
  const { members } = await askNode(second, 5000);
  expect(members.map(({ id, address }) => [id, address]).sort()).toEqual([
    ["n1", first],
    ["n2", second],
  ]);

  // The second node has everything, and after a restart finds the first by its new address.
  for (const { process } of [one, two]) process.signal("SIGKILL");
  await Promise.all([one.ended(), two.ended()]);
  const again = [await start("app/n1"), await start("two")];
  const database = await connect(second);
  expect(await database.collection("users").count()).toBe(3);
  expect((await database.collection("users").listIndexes()).map(({ name }) => name)).toEqual(["n"]);
  await database.close();

  // From then on the folder belongs to the cluster: alone it would wait for a majority for ever.
  for (const process of again) await process.stop();
  const embedded = new WALDatabase(config);
  expect((await rejection(embedded.open())).message).toContain("a node of a cluster of 2");
  await embedded.close();
});
