/**
 * `cstore wal repair` as people run it: it shows, refuses, repairs, and the database opens again.
 *
 * @module
 */

import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WALDatabase } from "../../src/mod.ts";
import { parseNodeConfig } from "../../src/node/config/node_config.ts";
import { openStorage } from "../../src/node/recovery/open_storage.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { decodeBatchHeader, sealBatch } from "../../src/protocol/encoding/batch_codec.ts";
import { noopBatch } from "../../src/protocol/encoding/cluster_command.ts";
import { readIdentity } from "../../src/storage/data_directory.ts";
import { inspectSegments } from "../../src/storage/wal/wal_open.ts";
import { run } from "../system/program.ts";

const ROOT = mkdtempSync(join(tmpdir(), "cstore-repair-"));
afterAll(() => rmSync(ROOT, { recursive: true, force: true }));
const { files } = systemPlatform();

/** Where the entry stands. */
function placeOf(folder: string, wanted: (body: Uint8Array) => boolean) {
  const found: { readonly path: string; readonly at: number; readonly index: number }[] = [];
  const log = { directory: `${folder}/wal`, identity: readIdentity(files, folder) };
  inspectSegments(files, log, ({ header, path, at, body }) => {
    if (header.kind !== "BATCH" || !wanted(body)) return;
    found.push({ path, at, index: decodeBatchHeader(body).index });
  });
  const [place] = found;
  if (place === undefined) throw new Error("the entry is in the log");
  return place;
}

function damage(place: { readonly path: string; readonly at: number }): void {
  const bytes = readFileSync(place.path);
  bytes[place.at + 64 + 70] = bytes[place.at + 64 + 70]! ^ 0xff;
  writeFileSync(place.path, bytes);
}

interface Item {
  readonly id: string;
  readonly text: string;
}

async function writeItems(name: string, ids: readonly string[]): Promise<void> {
  await using database = new WALDatabase({ name, root: ROOT });
  for (const id of ids) await database.collection<Item>("items").put({ id, text: `text of ${id}` });
}

test("a database: shown first, repaired when the loss is accepted, and written to again", async () => {
  const folder = join(ROOT, "shop", "n1");
  await writeItems("shop", ["a", "b", "c", "d"]);
  const whole = await run(["wal", "repair", folder]);
  expect([whole.code, whole.stderr]).toEqual([0, ""]);
  expect(whole.stdout).toMatch(/^ok: nothing is damaged; entries 1 to \d+\n$/);

  const place = placeOf(folder, (body) => Buffer.from(body).includes("text of c"));
  damage(place);
  const shown = await run(["wal", "repair", folder]);
  expect([shown.code, shown.stderr]).toEqual([65, ""]);
  expect(shown.stdout).toContain(`damaged  ${place.path}, byte ${place.at}, from record`);
  expect(shown.stdout).toContain(`kept     entries 1 to ${place.index - 1};`);
  expect(shown.stdout).toContain(`lost     entries ${place.index} to`);
  expect(shown.stdout).toContain(`cstore wal repair ${folder} --accept-data-loss\n`);
  expect(existsSync(`${folder}/wal.damaged`)).toBe(false);

  const repaired = await run(["wal", "repair", folder, "--accept-data-loss"]);
  expect([repaired.code, repaired.stderr]).toEqual([0, ""]);
  expect(repaired.stdout).toContain(`moved    ${folder}/wal to ${folder}/wal.damaged\n`);
  expect(repaired.stdout).toEndWith("repaired: the node can be started\n");
  expect((await run(["wal", "verify", folder])).code).toBe(0);
  await using database = new WALDatabase({ name: "shop", root: ROOT });
  const items = database.collection<Item>("items");
  expect(await items.findById("b")).toMatchObject({ text: "text of b" });
  for (const id of ["c", "d"]) expect((await items.findById(id)) ?? null).toBeNull();
  await items.put({ id: "d", text: "new" });
  expect(await items.findById("d")).toMatchObject({ text: "new" });
}, 300_000);

test("--json: one object with the same facts", async () => {
  const folder = join(ROOT, "json", "n1");
  await writeItems("json", ["a", "b"]);
  const place = placeOf(folder, (body) => Buffer.from(body).includes("text of b"));
  damage(place);
  const shown = await run(["wal", "repair", folder, "--json"]);
  expect(shown.code).toBe(65);
  expect(JSON.parse(shown.stdout)).toMatchObject({
    verdict: "damaged",
    damages: [{ file: place.path, byte: place.at }],
    damagedSnapshots: [],
    kept: { firstIndex: 1, lastIndex: place.index - 1 },
    lost: { firstIndex: place.index, lastIndex: place.index, isOpen: true },
    otherVoters: [],
    refusal: "",
    moved: [],
  });
  const repaired = await run(["wal", "repair", folder, "--json", "--accept-data-loss"]);
  expect(repaired.code).toBe(0);
  expect(JSON.parse(repaired.stdout)).toMatchObject({
    verdict: "repaired",
    moved: [{ from: `${folder}/wal`, to: `${folder}/wal.damaged` }],
  });
}, 300_000);

test("a member of a cluster: refused, with what to do instead", async () => {
  const folder = join(ROOT, "member");
  const members = ["n1", "n2", "n3"].map((id, i) => ({ id, address: `127.0.0.1:${7001 + i}` }));
  const config = parseNodeConfig({
    id: "n1",
    dataDirectory: folder,
    members,
    segmentSizeBytes: 64 * 1024,
  });
  const { log, directory } = await openStorage(systemPlatform(), config);
  const place = { term: 1, index: 2, firstSequence: 2 };
  const entry = { ...place, count: 1, bytes: sealBatch(noopBatch(), place) };
  log.write({ hardState: undefined, entries: [entry], commitIndex: 1 });
  await log.flush();
  await log.close();
  directory.release();
  damage(placeOf(folder, (body) => decodeBatchHeader(body).index === 2));

  const refused = await run(["wal", "repair", folder, "--accept-data-loss"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("n2, n3 may vote, too");
  expect(refused.stderr).toContain("cstore cluster recover n1");
  expect(refused.stdout).toContain("kept     entries 1 to 1;");
  expect(existsSync(`${folder}/wal.damaged`)).toBe(false);
}, 300_000);

test("no folder, a folder in use, and the option on another action", async () => {
  const none = await run(["wal", "repair", join(ROOT, "none")]);
  expect(none.code).toBe(2);
  expect(none.stderr).toContain("holds no node's data");

  const other = await run(["wal", "verify", ROOT, "--accept-data-loss"]);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain("belongs to cstore wal repair");

  await using database = new WALDatabase({ name: "used", root: ROOT });
  await database.collection<Item>("items").put({ id: "a", text: "x" });
  const used = await run(["wal", "repair", join(ROOT, "used", "n1")]);
  expect(used.code).toBe(1);
  expect(used.stderr).toContain("[LOCKED]");
}, 300_000);
