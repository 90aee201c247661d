/**
 * Reads of many pages while leadership moves: they go on at their moment, or begin again, and never
 * show two moments.
 *
 * @module
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readWhole } from "../../../src/client/collection/query_client.ts";
import { backupBlocks } from "../../../src/client/state_export.ts";
import type { Collection, RemoteDatabase } from "../../../src/mod.ts";
import { readBackup, writeBackup } from "../../../src/node/snapshots/backup.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { freshFolder, rejection, type Seat, TestCluster } from "../../node/test_cluster.ts";

const COUNT = 12_000;
/** Documents that one command writes. */
const PART = 4000;

interface Item {
  readonly id: number;
  readonly round: number;
}

let cluster: TestCluster;
let database: RemoteDatabase;
let items: Collection<Item>;
let round = 0;

beforeAll(async () => {
  cluster = await TestCluster.start(3);
  database = await cluster.connect();
  items = database.collection<Item>("items");
  await nextRound();
}, 60_000);
afterAll(() => cluster.stop());
beforeEach(async () => {
  for (const seat of cluster.seats) if (seat.node === undefined) await cluster.startNode(seat);
});

/** Writes every document anew. */
async function nextRound(): Promise<void> {
  round += 1;
  for (let from = 0; from < COUNT; from += PART) {
    const part = Array.from({ length: PART }, (_, i) => ({ id: from + i, round }));
    if (round === 1) await items.insertMany(part);
    else await putTogether(part);
  }
}

/** In one command: `updateMany` would take several, and a read may come between two. */
function putTogether(part: readonly Item[]): Promise<void> {
  return database.transaction(async (tx) => {
    const own = tx.collection<Item>("items");
    for (const item of part) await own.put(item);
  });
}

/** Reads with small pages; after the first one `disturb` happens. */
async function readDisturbed(disturb: () => Promise<void>): Promise<readonly Item[]> {
  const found: Item[] = [];
  for await (const item of items.iterate(() => true)) {
    found.push(item);
    if (found.length === 1) await disturb();
  }
  return found;
}

async function handOver(): Promise<void> {
  const [next] = (await cluster.followers()) as [Seat];
  await database.promote(next.id);
  await nextRound();
}

async function killLeader(): Promise<void> {
  await cluster.kill(await cluster.leader());
  await cluster.leader();
  await nextRound();
}

function expectOneMoment(found: readonly Item[]): void {
  expect(found).toHaveLength(COUNT);
  expect(new Set(found.map(({ id }) => id)).size).toBe(COUNT);
  // A read that begins again may meet a round that is being written, part after part.
  const rounds = Array.from({ length: COUNT / PART }, (_, part) => {
    const own = found.filter(({ id }) => Math.floor(id / PART) === part);
    const seen = new Set(own.map((item) => item.round));
    expect(seen.size).toBe(1);
    return own[0]?.round ?? 0;
  });
  expect(rounds).toEqual(rounds.toSorted((a, b) => b - a));
  expect((rounds[0] ?? 0) - (rounds.at(-1) ?? 0)).toBeLessThanOrEqual(1);
}

describe("leadership moves", () => {
  test("by a hand-over: iterate goes on at its moment", async () => {
    const before = round;
    const found = await readDisturbed(handOver);
    expectOneMoment(found);
    expect([found[0]?.round, round]).toEqual([before, before + 1]);
  }, 60_000);

  test("by the leader's death: iterate ends, it cannot take back what it gave out", async () => {
    const error = await rejection(readDisturbed(killLeader));
    expect(error.code).toBe("CURSOR_LOST");
  }, 60_000);

  test.each([
    ["a hand-over", handOver],
    ["the leader's death", killLeader],
  ])(
    "by %s: find gives one moment",
    async (_name, disturb) => {
      let disturbed: Promise<void> | undefined;
      // A function runs here, page by page: the first document shows that the read has begun.
      const found = await items.find(() => {
        disturbed ??= disturb();
        return true;
      });
      await disturbed;
      expectOneMoment(found);
    },
    60_000,
  );

  test("by the leader's death while a backup is read: it begins again", async () => {
    const folder = freshFolder();
    const file = `${folder.path}/b.cstore`;
    const { client } = database;
    const { clusterId } = await database.status();
    let attempts = 0;
    async function* blocks(): AsyncGenerator<Uint8Array> {
      attempts += 1;
      for await (const block of backupBlocks(client)) {
        yield block;
        if (attempts === 1) await killLeader();
      }
    }
    const platform = systemPlatform();
    const write = () => writeBackup(platform, { clusterId, blocks: blocks() }, file);
    const report = await readWhole(client, write);
    expect([report.documents, attempts]).toEqual([COUNT, 2]);
    expect(await readBackup(platform, file)).toEqual(report);
    folder.remove();
  }, 60_000);
});
