/**
 * Repairs of damaged data directories: the kept entries are those that the log held, the plan names
 * the others, and nothing is deleted.
 *
 * @module
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { CorruptionError, StorageError } from "../../../src/base/errors.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { isRepairUnfinished, SEQUENCE_GAP } from "../../../src/storage/repair/repair_files.ts";
import { segmentPath } from "../../../src/storage/wal/wal_open.ts";
import { boundFiles, createLog, diskOf, errorOf, settle, walEntry } from "../log_fixture.ts";
import {
  contentOf,
  examine,
  expectRepaired,
  FOLDER,
  isWhole,
  LAST,
  nodeFolder,
  type Opened,
  opened,
  recordsOn,
  reopen,
  repair,
  SNAPSHOTS,
  segmentsOn,
  snapshotAt,
  THREE,
  WAL,
} from "./node_folder.ts";

setDefaultTimeout(60_000);

describe("a log of a single node", () => {
  test("several damaged records: the first one behind the snapshot decides", async () => {
    const folder = await nodeFolder();
    const at = (index: number) => recordsOn(folder.disk).find((one) => one.index === index)!;
    const disk = folder.disk.clone();
    for (const index of [11, 14, 22, 27]) disk.rot(at(index).path, at(index).at + 64);
    const plan = await repair(disk);
    expect(plan.damages.length).toBe(4);
    expect(plan.last.index).toBe(21);
    expect(plan.lost?.readable).toEqual([
      { first: 23, last: 26 },
      { first: 28, last: LAST },
    ]);
    await expectRepaired(folder, disk, plan);
  });

  test("damage before the older snapshot: the log still reaches back to it", async () => {
    const folder = await nodeFolder({ isHeldBack: true });
    for (const index of [1, 3, 8, 9]) {
      const disk = folder.disk.clone();
      const record = recordsOn(disk).find((one) => one.index === index)!;
      disk.rot(record.path, record.at + 64);
      const plan = await repair(disk);
      expect([plan.base.index, plan.last.index]).toEqual([index > 8 ? 16 : 8, LAST]);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("a segment's header: its records tell that nothing is lost", async () => {
    const folder = await nodeFolder();
    for (const path of segmentsOn(folder.disk).slice(0, -1)) {
      const disk = folder.disk.clone();
      disk.rot(path, 20);
      expect(await opened(disk.clone())).toBeInstanceOf(CorruptionError);
      const plan = await repair(disk);
      expect([plan.lost, plan.last.index]).toEqual([undefined, LAST]);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("a missing segment: entries in the snapshot are not lost, others are", async () => {
    const folder = await nodeFolder();
    for (const path of segmentsOn(folder.disk)) {
      const inside = recordsOn(folder.disk).filter((one) => one.path === path && one.index > 16);
      const disk = folder.disk.clone();
      disk.deleteFile(path);
      const plan = await repair(disk);
      const expected = inside[0] === undefined ? LAST : inside[0].index - 1;
      expect(plan.last.index).toBe(expected);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("everything of the log is gone: the snapshot is left", async () => {
    const folder = await nodeFolder();
    const { disk } = folder;
    for (const path of segmentsOn(disk)) disk.deleteFile(path);
    const plan = await repair(disk);
    expect(plan.last.index).toBe(16);
    expect(plan.lost).toMatchObject({ firstIndex: 17, isOpen: true, readable: [] });
    await expectRepaired(folder, disk, plan);
  });
});

describe("snapshots", () => {
  test("a damaged one is moved aside; the other and the log give everything", async () => {
    const folder = await nodeFolder();
    for (const name of folder.disk.files.list(SNAPSHOTS)) {
      const disk = folder.disk.clone();
      disk.rot(`${SNAPSHOTS}/${name}`, 60);
      const plan = await repair(disk);
      expect([plan.lost, plan.isLogKept, plan.last.index]).toEqual([undefined, true, LAST]);
      expect(disk.files.list(SNAPSHOTS)).toContain(`${name}.damaged`);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("both damaged, and the log is cut: nothing can be kept, nothing is touched", async () => {
    const { disk } = await nodeFolder();
    for (const name of disk.files.list(SNAPSHOTS)) disk.rot(`${SNAPSHOTS}/${name}`, 60);
    const before = contentOf(disk);
    const plan = await repair(disk);
    expect(plan.refusal).toContain("no snapshot and no first entry is left");
    expect(contentOf(disk)).toEqual(before);
  });

  test("the newer one damaged, and the log between the two: back to the older one", async () => {
    const folder = await nodeFolder();
    const { disk } = folder;
    disk.rot(`${SNAPSHOTS}/0000000000000016.snapshot`, 60);
    const record = recordsOn(disk).find(({ index }) => index === 12)!;
    disk.rot(record.path, record.at + 64);
    const plan = await repair(disk);
    expect(plan.last.index).toBe(11);
    expect(plan.lost).toMatchObject({ firstIndex: 12, lastIndex: LAST });
    await expectRepaired(folder, disk, plan);
  });

  test("all damaged, and the log is whole from entry 1 on: nothing is lost", async () => {
    const folder = await nodeFolder({ snapshotsAt: [8] });
    const { disk } = folder;
    disk.rot(`${SNAPSHOTS}/0000000000000008.snapshot`, 60);
    expect(await opened(disk.clone())).toBeInstanceOf(CorruptionError);
    const plan = await repair(disk);
    expect([plan.lost, plan.last.index]).toEqual([undefined, LAST]);
    await expectRepaired(folder, disk, plan);
  });

  test("the first record is damaged and there is no snapshot: nothing can be kept", async () => {
    const { disk } = await nodeFolder({ snapshotsAt: [] });
    const first = recordsOn(disk).find(({ index }) => index === 1)!;
    disk.rot(first.path, first.at);
    const before = contentOf(disk);
    expect((await repair(disk)).refusal).toContain("no snapshot and no first entry is left");
    expect(contentOf(disk)).toEqual(before);
  });
});

describe("what earlier repairs left", () => {
  async function damagedFolder() {
    const folder = await nodeFolder();
    const record = recordsOn(folder.disk).find(({ index }) => index === 25)!;
    folder.disk.rot(record.path, record.at + 64);
    return folder;
  }

  // On a disk, a directory cannot take the name of another one that holds something.
  test("a new log that was not put in place, or not completed, is replaced", async () => {
    const folder = await damagedFolder();
    const { disk } = folder;
    for (const name of ["wal.repaired", "wal.repaired.tmp"]) {
      disk.makeFolder(`${FOLDER}/${name}`);
      disk.writeFile(`${FOLDER}/${name}/0000000099.segment`, new Uint8Array(1024).fill(7));
    }
    const files = {
      ...boundFiles(disk.files),
      rename: (from: string, to: string) => {
        if (disk.files.exists(to)) throw new StorageError(`Cannot rename to "${to}": ENOTEMPTY`);
        disk.files.rename(from, to);
      },
    };
    expect(isRepairUnfinished(disk.files, FOLDER)).toBe(false);
    const plan = await repair(disk, files);
    expect(plan.last.index).toBe(24);
    await expectRepaired(folder, disk, plan);
  });

  test("old logs keep their names; the next one counts on", async () => {
    const { disk } = await damagedFolder();
    for (const name of ["wal.damaged", "wal.2.damaged"]) disk.makeFolder(`${FOLDER}/${name}`);
    await repair(disk);
    const names = disk.files.list(FOLDER).filter((name) => name.startsWith("wal"));
    expect(names).toEqual(["wal", "wal.2.damaged", "wal.3.damaged", "wal.damaged"]);
  });

  test("only a new log without an old one is an unfinished repair", () => {
    const disk = diskOf(1);
    expect(isRepairUnfinished(disk.files, FOLDER)).toBe(false);
    disk.makeFolder(`${FOLDER}/wal.repaired`);
    expect(isRepairUnfinished(disk.files, FOLDER)).toBe(true);
    disk.makeFolder(WAL);
    expect(isRepairUnfinished(disk.files, FOLDER)).toBe(false);
  });

  test("a damaged snapshot's new name is durable", async () => {
    const { disk } = await nodeFolder();
    const name = "0000000000000016.snapshot";
    disk.rot(`${SNAPSHOTS}/${name}`, 60);
    await repair(disk);
    disk.cutPower(() => "dropped");
    expect(disk.files.list(SNAPSHOTS)).toContain(`${name}.damaged`);
    expect(disk.files.exists(`${SNAPSHOTS}/${name}`)).toBe(false);
  });
});

describe("the examination of snapshots", () => {
  test("looks at snapshots only, and keeps no file open", async () => {
    const { disk } = await nodeFolder();
    for (const name of ["16.snapshot", "0000000000000016.snapshot.tmp", "40-1.partial"]) {
      disk.writeFile(`${SNAPSHOTS}/${name}`, new Uint8Array(5));
    }
    const { plan } = await examine(disk);
    expect([plan.damagedSnapshots, isWhole(plan), disk.openFiles]).toEqual([[], true, []]);
  });

  test("takes those of its members for voters that may vote", async () => {
    const { disk } = await nodeFolder();
    const roles = { n1: "voter", n2: "voter", n3: "learner", n4: "standby" };
    const members = Object.entries(roles).map(([id, role]) => ({ id, role }));
    const block = new Uint8Array([1, ...encodeCbor({ members })]);
    await snapshotAt(disk, { index: 20, term: 2, nextSequence: 21 }, block);
    expect((await examine(disk)).plan.otherVoters).toEqual(["n2"]);
  });

  test("says what is wrong with a damaged one, and where", async () => {
    const { disk } = await nodeFolder();
    const path = `${SNAPSHOTS}/0000000000000016.snapshot`;
    disk.rot(path, 60);
    expect((await examine(disk)).plan.damagedSnapshots).toEqual([
      {
        ...{ path, position: undefined, indexTold: 16, byte: 48, voters: [] },
        problem: expect.stringContaining("Cannot read the snapshot: a block does not verify"),
      },
    ]);
  });

  test("takes an error of the disk for no damage", async () => {
    const { disk } = await nodeFolder();
    const broken = new StorageError("EIO");
    const files = {
      ...boundFiles(disk.files),
      open: (path: string, mode: "read" | "write") => {
        if (path.endsWith(".snapshot")) throw broken;
        return disk.files.open(path, mode);
      },
    };
    expect(await errorOf(examine(disk, files))).toBe(broken);
  });
});

test("a whole folder is left alone, also with an unsynced tail", async () => {
  const { disk } = await nodeFolder();
  const before = contentOf(disk);
  const { plan } = await examine(disk);
  expect([isWhole(plan), plan.refusal, plan.lost]).toEqual([true, "", undefined]);
  expect(contentOf(disk)).toEqual(before);
  // Bytes behind the last record, which no record tells of: a start sets them aside by itself.
  const tail = recordsOn(disk).at(-1)!;
  const bytes = disk.readFile(tail.path);
  disk.writeFile(tail.path, new Uint8Array([...bytes, ...new Array(100).fill(7)]));
  expect(isWhole((await examine(disk)).plan)).toBe(true);
  expect(await opened(disk)).not.toBeInstanceOf(Error);
});

test("the old log is kept as it was, and a second repair keeps both", async () => {
  const folder = await nodeFolder();
  const { disk } = folder;
  const damage = (index: number): void => {
    const record = recordsOn(disk).find((one) => one.index === index)!;
    disk.rot(record.path, record.at + 64);
  };
  damage(25);
  const before = contentOf(disk);
  await repair(disk);
  for (const [path, bytes] of before) {
    const now = path.startsWith(`${WAL}/`) ? path.replace(WAL, `${WAL}.damaged`) : path;
    expect(contentOf(disk).get(now)).toBe(bytes);
  }
  damage(20);
  const plan = await repair(disk);
  expect(plan.last.index).toBe(19);
  expect(disk.files.list(WAL)).toEqual([...segmentsOn(disk).map((path) => path.slice(12)), "mark"]);
  await expectRepaired(folder, disk, plan);
  const names = disk.files.list(FOLDER).filter((name) => name.startsWith("wal"));
  expect(names).toEqual(["wal", "wal.2.damaged", "wal.damaged"]);
});

test("the term goes on, and numbers of operations are never given twice", async () => {
  const folder = await nodeFolder();
  const { disk } = folder;
  const record = recordsOn(disk).find(({ index }) => index === 29)!;
  disk.rot(record.path, record.at + 64);
  const { survey: before } = await examine(disk);
  const plan = await repair(disk);
  expect(plan.hardState).toEqual({ term: 3, vote: "n1" });
  const { survey } = await examine(disk);
  expect(survey.runs[0]!.firstRecord).toBe(before.lastRecord + 1);
  expect(segmentsOn(disk)[0]).toBe(segmentPath(WAL, before.lastSegmentNumber + 1));
  const result = (await opened(disk)) as Opened;
  expect(result.nextSequence).toBe(29 + SEQUENCE_GAP);
});

test("records that were never synced are a tail, beside damage, too", async () => {
  const folder = await nodeFolder();
  const { disk } = folder;
  // Without the mark, only a later record could tell that the last one was synced.
  disk.deleteFile(`${WAL}/mark`);
  const last = recordsOn(disk).at(-1)!;
  disk.rot(last.path, last.at + 64);
  expect(isWhole((await examine(disk.clone())).plan)).toBe(true);
  expect(((await opened(disk.clone())) as Opened).lastIndex).toBe(LAST - 1);

  const record = recordsOn(disk).find(({ index }) => index === 10)!;
  disk.rot(record.path, record.at + 64);
  const plan = await repair(disk);
  expect(plan.damages).toMatchObject([{ file: record.path, byte: record.at }]);
  expect([plan.last.index, plan.lost]).toEqual([LAST - 1, undefined]);
  await expectRepaired(folder, disk, plan);
});

test.each([
  ["term", { term: 9, nextSequence: 17 }],
  ["number of operations", { term: 1, nextSequence: 18 }],
])(
  "a snapshot of another history: its %s does not fit the log behind it",
  async (_what, fields) => {
    const { disk } = await nodeFolder();
    await snapshotAt(disk, { index: 16, ...fields });
    const record = recordsOn(disk).find(({ index }) => index === 25)!;
    disk.rot(record.path, record.at + 64);
    const { plan } = await examine(disk);
    expect([plan.last.index, plan.run]).toEqual([16, undefined]);
    expect(plan.lost).toMatchObject({ firstIndex: 17, lastIndex: LAST });
  },
);

test("a disk that fills up, or fails to sync: the folder stays as it was", async () => {
  const { disk } = await nodeFolder();
  const record = recordsOn(disk).find(({ index }) => index === 25)!;
  disk.rot(record.path, record.at + 64);
  const before = contentOf(disk);
  const own = (path: string): boolean => path.includes("wal.repaired");
  const full = disk.clone();
  full.faults = { write: (path) => (own(path) ? new Error("ENOSPC") : undefined) };
  const unsynced = disk.clone();
  unsynced.faults = { sync: (path) => (own(path) ? "failed" : "done") };
  for (const copy of [full, unsynced]) {
    expect(await errorOf(repair(copy))).toBeInstanceOf(Error);
    await settle();
    copy.killProcess();
    copy.faults = {};
    const after = contentOf(copy);
    for (const [path, bytes] of before) expect(after.get(path)).toBe(bytes);
    expect((await repair(copy)).last.index).toBe(24);
  }
});

describe("a cluster of several voters", () => {
  const folderOfThree = () => nodeFolder({ nodes: THREE });

  test("is refused when an entry may be lost, and named are the others", async () => {
    const { disk } = await folderOfThree();
    const record = recordsOn(disk).find(({ index }) => index === 25)!;
    disk.rot(record.path, record.at + 64);
    const before = contentOf(disk);
    const plan = await repair(disk);
    expect(plan.otherVoters).toEqual(["n2", "n3"]);
    expect(plan.refusal).toContain("n2, n3 may vote");
    expect(contentOf(disk)).toEqual(before);
  });

  test("is repaired when the snapshot has what is damaged: the vote stays as it was", async () => {
    const folder = await folderOfThree();
    const { disk } = folder;
    // In a segment before the last one: the head of each later one tells the vote.
    const record = recordsOn(disk).find(({ index }) => index === 9)!;
    disk.rot(record.path, record.at + 64);
    expect(await opened(disk.clone(), THREE)).toBeInstanceOf(CorruptionError);
    const plan = await repair(disk);
    expect([plan.refusal, plan.lost]).toEqual(["", undefined]);
    const result = (await opened(disk, THREE)) as Opened;
    expect(result).toMatchObject({ lastIndex: LAST, hardState: { term: 2, vote: "n1" } });
    expect(result.dump).toBe(folder.states[LAST]!);
    expect(result.nextSequence).toBe(LAST + 1);
  });

  test("is refused when nothing but the last vote may be lost", async () => {
    const { disk } = await nodeFolder({ nodes: THREE, snapshotsAt: [] });
    const vote = recordsOn(disk).findLast(({ kind }) => kind === "HARD_STATE")!;
    disk.rot(vote.path, vote.at + 64);
    const plan = await repair(disk);
    expect(plan.last.index).toBe(LAST);
    expect(plan.lost).toMatchObject({ firstIndex: LAST + 1, lastIndex: LAST, isOpen: false });
    expect(plan.refusal).toContain("may vote");
  });

  test("a vote for another node is taken for a sign of a cluster", async () => {
    const folder = await nodeFolder({ snapshotsAt: [] });
    const { disk } = folder;
    const { plan, survey } = await examine(disk);
    expect([plan.otherVoters, survey.voteTold]).toEqual([[], "n1"]);
    const log = await reopen(disk);
    log.write({ hardState: { term: 5, vote: "n2" }, entries: [], commitIndex: LAST });
    await log.close();
    disk.killProcess();
    const record = recordsOn(disk).find(({ index }) => index === 25)!;
    disk.rot(record.path, record.at + 64);
    expect((await examine(disk)).plan.otherVoters).toEqual(["n2"]);
  });
});

test("a log for one user: the operations before the damage are kept, and nothing is added", async () => {
  const disk = diskOf(5);
  const log = await createLog(disk, FOLDER);
  for (let n = 1; n <= 10; n += 1) await log.writeEntry(walEntry(n));
  await log.close();
  await settle();
  disk.killProcess();
  const record = recordsOn(disk).find(({ index }) => index === 7)!;
  disk.rot(record.path, record.at + 64);
  const plan = await repair(disk);
  expect([plan.refusal, plan.last.index, plan.isRaised]).toEqual(["", 6, false]);
  const again = await createLog(disk, FOLDER);
  const values = (await again.readEntries()).map(({ data }) => data.newValue as unknown);
  expect(values).toEqual([1, 2, 3, 4, 5, 6]);
  await again.close();
});

test("the fixture: a start gives every entry, and each changes the state", async () => {
  const folder = await nodeFolder();
  const result = (await opened(folder.disk)) as Opened;
  expect(result).toMatchObject({ lastIndex: LAST, hardState: { term: 2, vote: "n1" } });
  expect(result.base.index).toBe(8);
  expect(new Set(folder.states).size).toBe(LAST);
});
