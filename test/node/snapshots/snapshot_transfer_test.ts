/**
 * Nodes that the log cannot bring up to date get a snapshot over real sockets, while writes go on:
 * what was received is not sent again, and damage or a full disk cost an attempt, not the node.
 *
 * @module
 */

import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { StorageError } from "../../../src/base/errors.ts";
import type { Node } from "../../../src/node/node.ts";
import { SNAPSHOT_CHUNK_SIZE } from "../../../src/protocol/wire/snapshot_message.ts";
import { expectAll, expectSame, startWriter } from "../load.ts";
import type { FileFaults } from "../mortal_platform.ts";
import { type Seat, TestCluster, waitFor } from "../test_cluster.ts";

type Database = Awaited<ReturnType<TestCluster["connect"]>>;

/** Logs are cut after little; a snapshot of a few megabytes takes a second or two to travel. */
const SMALL = {
  snapshotLogBytes: 64 * 1024,
  segmentSizeBytes: 64 * 1024,
  snapshotBytesPerSecond: 2 * 1024 * 1024,
};
const TEXT = "x".repeat(3000);

let cluster: TestCluster;

afterEach(async () => {
  await cluster.stop();
});

function nodeOf(seat: Seat): Node {
  if (seat.node === undefined) throw new RangeError(`${seat.id} runs`);
  return seat.node;
}

/** A cluster whose first entries are in no log any more. */
async function startCut(count: number, settings: object = {}): Promise<Database> {
  cluster = await TestCluster.start(count, { ...SMALL, ...settings });
  const database = await cluster.connect();
  for (let round = 0; round < 10; round += 1) {
    const documents = Array.from({ length: 100 }, (_, i) => ({ id: `${round}-${i}`, text: TEXT }));
    await database.collection("kept").insertMany(documents);
  }
  // A call while one is being written takes none; two are kept, and both must have all documents.
  const all = nodeOf(await cluster.leader()).machine.appliedIndex;
  for (const seat of cluster.seats) {
    await waitFor("two snapshots of all documents", async () => {
      await database.collection("more").put({ id: 0 });
      await nodeOf(seat).takeSnapshot();
      const names = readdirSync(`${seat.dataDirectory}/snapshots`);
      const indexes = names
        .filter((name) => name.endsWith(".snapshot"))
        .map((name) => Number.parseInt(name, 10));
      return indexes.length === 2 && indexes.every((index) => index >= all);
    });
  }
  await waitFor("the logs to be cut", async () => {
    await database.collection("more").put({ id: 1, text: TEXT });
    return cluster.nodes.every((node) => node.status().firstIndex > 5);
  });
  return database;
}

/** A seat for a node that joins, with the writes to its partial snapshots. */
async function learner(id = "n9"): Promise<Seat> {
  return cluster.addSeat(id, { join: [(await cluster.leader()).address] });
}

interface Piece {
  readonly name: string;
  readonly position: number;
  readonly size: number;
}

/** Notes what is written to partial snapshots on a seat; set again after each start. */
function watch(pieces: Piece[]): FileFaults {
  return {
    write(path, position, size) {
      const name = path.slice(path.lastIndexOf("/") + 1);
      if (name.endsWith(".partial")) pieces.push({ name, position, size });
    },
  };
}

/** Starts the seat; its files are watched from the first write on. */
async function startWatched(seat: Seat, faults: FileFaults): Promise<void> {
  const starting = cluster.startNode(seat);
  seat.platform.faults = faults;
  await starting;
}

async function received(pieces: readonly Piece[], count: number): Promise<void> {
  await waitFor(`${count} pieces`, () => pieces.length >= count);
}

async function expectCaughtUp(seat: Seat): Promise<void> {
  const all = nodeOf(await cluster.leader()).machine;
  await waitFor("the learner to be level", () => {
    const { machine } = nodeOf(seat);
    return machine.documentCount === all.documentCount && !nodeOf(seat).status().isRestoring;
  });
  await expectSame(cluster);
  await waitFor("its promotion", () => {
    return nodeOf(seat).driver.view.configuration.voters.includes(seat.id);
  });
  expect(seat.fatal).toBeUndefined();
  const names = readdirSync(`${seat.dataDirectory}/snapshots`);
  expect(names.filter((name) => /partial|install/.test(name))).toEqual([]);
}

/** Each piece begins where the one before ended: nothing was sent twice. */
function expectWithoutRepeat(pieces: readonly Piece[]): void {
  expect(new Set(pieces.map(({ name }) => name)).size).toBe(1);
  let end = 0;
  for (const { position, size } of pieces) {
    expect(position).toBe(end);
    end += size;
  }
  expect(end).toBeGreaterThan(8 * SNAPSHOT_CHUNK_SIZE);
}

describe("a snapshot over the network", () => {
  test("a new node gets one while writes go on, and becomes a voter", async () => {
    const database = await startCut(3);
    const writer = startWriter(database, "load", TEXT);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    await waitFor("its promotion", () => {
      return nodeOf(seat).driver.view.configuration.voters.includes(seat.id);
    });
    await writer.stop();
    expect(writer.failed).toEqual([]);
    await expectCaughtUp(seat);
    await expectAll(database, "load", writer);
    expect(pieces.length).toBeGreaterThan(4);
    expect(nodeOf(seat).status().firstIndex).toBeGreaterThan(5);
    // It starts from what it was sent.
    await cluster.kill(seat);
    await cluster.startNode(seat);
    await expectCaughtUp(seat);
  });

  test("the leader shows how far it is, and the receiver serves nothing half read", async () => {
    await startCut(1);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    await received(pieces, 3);
    const status = nodeOf(cluster.seat("n1")).status();
    const shown = status.members.find(({ id }) => id === seat.id);
    expect(shown?.waitsFor).toMatch(/^a snapshot of \d+ bytes is on its way$/);
    expect(shown?.caughtUpPercent).toBeLessThan(100);
    await expectCaughtUp(seat);
    const after = nodeOf(cluster.seat("n1")).status();
    await waitFor("no more to wait for", () => {
      const { members } = nodeOf(cluster.seat("n1")).status();
      return members.find(({ id }) => id === seat.id)?.waitsFor === null;
    });
    expect(after.members).toHaveLength(2);
  });

  test("after a broken connection it goes on where it was", async () => {
    await startCut(1);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    for (const count of [3, 6]) {
      await received(pieces, count);
      for (const socket of seat.platform.incoming) socket.destroy();
    }
    await expectCaughtUp(seat);
    expectWithoutRepeat(pieces);
  });

  test("a receiver that is killed in the middle goes on where it was", async () => {
    await startCut(1);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    for (const count of [2, 5]) {
      await received(pieces, count);
      await cluster.kill(seat);
      await startWatched(seat, watch(pieces));
    }
    await expectCaughtUp(seat);
    expectWithoutRepeat(pieces);
  });

  test("a leader that is killed in the middle: the next one sends its own", async () => {
    const database = await startCut(3);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    await received(pieces, 3);
    const old = await cluster.leader();
    await cluster.kill(old);
    await database.collection("more").put({ id: "after" });
    await waitFor("its promotion", () => {
      return nodeOf(seat).driver.view.configuration.voters.includes(seat.id);
    });
    await cluster.startNode(old);
    await expectCaughtUp(seat);
  });

  test("damage to what had been received: refused, removed, begun anew", async () => {
    await startCut(1);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    await received(pieces, 4);
    await cluster.kill(seat);
    const folder = `${seat.dataDirectory}/snapshots`;
    const [partial = ""] = readdirSync(folder).filter((name) => name.endsWith(".partial"));
    const bytes = readFileSync(`${folder}/${partial}`);
    bytes[300_000] = (bytes[300_000] ?? 0) ^ 1;
    writeFileSync(`${folder}/${partial}`, bytes);
    await startWatched(seat, watch(pieces));
    await expectCaughtUp(seat);
    const begun = pieces.filter(({ position }) => position === 0);
    expect(begun).toHaveLength(2);
  });

  test("more bytes than the file has, left by somebody: begun anew", async () => {
    await startCut(1);
    const seat = await learner();
    const pieces: Piece[] = [];
    await startWatched(seat, watch(pieces));
    await received(pieces, 2);
    await cluster.kill(seat);
    const folder = `${seat.dataDirectory}/snapshots`;
    const [partial = ""] = readdirSync(folder).filter((name) => name.endsWith(".partial"));
    writeFileSync(`${folder}/${partial}`, new Uint8Array(16 * 1024 * 1024));
    await startWatched(seat, watch(pieces));
    await expectCaughtUp(seat);
  });

  test("a full disk, and a sync that fails, cost the attempt and not the node", async () => {
    await startCut(1);
    const seat = await learner();
    const pieces: Piece[] = [];
    let refused = 0;
    let isFull = true;
    let syncsToFail = 2;
    const faults: FileFaults = {
      write(path, position, size) {
        watch(pieces).write?.(path, position, size);
        if (!isFull || !path.endsWith(".partial") || position < 600_000) return;
        refused += 1;
        throw new StorageError("Cannot write: no space left on device");
      },
      sync(path) {
        if (syncsToFail === 0 || !/\.partial$|install\.tmp$/.test(path)) return;
        syncsToFail -= 1;
        throw new StorageError("Cannot sync: the disk failed");
      },
    };
    await startWatched(seat, faults);
    await waitFor("two refusals", () => refused >= 2);
    isFull = false;
    await expectCaughtUp(seat);
    expect(syncsToFail).toBe(0);
  });
});

describe("ends", () => {
  for (const at of ["receiving", "verifying", "installing", "restoring"] as const) {
    test(`a node that is stopped or killed while it is ${at} starts again and catches up`, async () => {
      await startCut(1, { snapshotBytesPerSecond: 64 * 1024 * 1024 });
      const seat = await learner();
      for (const end of ["stop", "kill", "stop"] as const) {
        const reached = Promise.withResolvers<void>();
        await startWatched(
          seat,
          stageWatch(at, () => reached.resolve()),
        );
        const { node } = seat;
        await Promise.race([reached.promise, waitFor("level", () => isLevel(seat))]);
        if (node === undefined) throw new RangeError("it ran until now");
        if (end === "stop") await cluster.stopNode(seat);
        else await cluster.kill(seat);
        expect(seat.fatal).toBeUndefined();
      }
      await cluster.startNode(seat);
      await expectCaughtUp(seat);
    });
  }
});

describe("a snapshot that comes too late", () => {
  // It has its name already when it is refused. If it kept it, the log would end before it, and the
  // next start would take that for a log that lost its end.
  test("a newer term between its last byte and its installation: the folder opens again", async () => {
    await startCut(1, { snapshotBytesPerSecond: 64 * 1024 * 1024 });
    const leader = cluster.seat("n1");
    const seat = await learner();
    const reached = Promise.withResolvers<void>();
    let isReached = false;
    const faults = stageWatch("installing", () => {
      if (isReached) return;
      isReached = true;
      const { driver } = nodeOf(seat);
      const { term } = driver.view;
      const vote = { type: "VOTE_REQUEST", from: "n1", to: seat.id, term: term + 1 } as const;
      driver.step({ ...vote, last: { term: 0, index: 0 }, preVote: false, transfer: true });
      reached.resolve();
    });
    await startWatched(seat, faults);
    await reached.promise;
    await cluster.kill(leader);
    const folder = `${seat.dataDirectory}/snapshots`;
    await waitFor("the mark to go", () => {
      const names = readdirSync(folder);
      return !names.some((name) => /install|partial/.test(name));
    });
    expect(nodeOf(seat).driver.view.commitIndex).toBe(0);
    await cluster.kill(seat);
    expect(readdirSync(folder)).toEqual([]);
    await cluster.startNode(leader);
    await cluster.startNode(seat);
    await expectCaughtUp(seat);
  });
});

function isLevel(seat: Seat): boolean {
  const documents = nodeOf(cluster.seat("n1")).machine.documentCount;
  return seat.node?.machine.documentCount === documents;
}

/** Calls `reached` when the node is about to take that step. */
function stageWatch(stage: string, reached: () => void): FileFaults {
  return {
    write(path, position) {
      if (stage === "receiving" && path.endsWith(".partial") && position > 0) reached();
    },
    sync(path) {
      const isReached =
        (stage === "verifying" && path.endsWith(".partial")) ||
        (stage === "installing" && path.endsWith("install.tmp")) ||
        (stage === "restoring" && path.endsWith("/snapshots"));
      if (isReached) reached();
    },
  };
}
