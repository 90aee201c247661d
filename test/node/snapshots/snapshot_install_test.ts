/**
 * A received snapshot takes the place of the log, on a disk that forgets: the machine may stop, or
 * lose its power, before any change of the disk. Whatever is left of it, the folder opens, with the
 * old log or with the snapshot and nothing in between, and the transfer can be ended.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { RateLimit } from "../../../src/base/rate_limit.ts";
import { freezeState } from "../../../src/database/snapshot_codec.ts";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { type OpenedStorage, openStorage } from "../../../src/node/recovery/open_storage.ts";
import { SnapshotTransfer } from "../../../src/node/snapshots/snapshot_transfer.ts";
import type { FileSystem, OpenFile } from "../../../src/platform/file_system.ts";
import type { Platform } from "../../../src/platform/platform.ts";
import type {
  SnapshotMessage,
  SnapshotProgress,
} from "../../../src/protocol/wire/snapshot_message.ts";
import type { ArrivedSnapshot } from "../../../src/raft/follower.ts";
import type { RaftDriver } from "../../../src/replication/raft/raft_driver.ts";
import { OutgoingSnapshot } from "../../../src/storage/snapshot_files.ts";
import { SnapshotStore } from "../../../src/storage/snapshot_store.ts";
import type { NetworkManager } from "../../../src/transport/network_manager.ts";
import { Machine } from "../../database/machine.ts";
import type { SectorFate, SimulatedDisk } from "../../storage/fake_disk.ts";
import { diskOf, IDENTITY, platformOn, settle } from "../../storage/log_fixture.ts";

const { clusterId } = IDENTITY;
const FOLDER = "data/n9";
const CHUNK = 2000;
const TERM = 1;
/** Of the old log no more is known to be committed. */
const COMMITTED_MAX = 30;

/** What the leader has: 40 entries, and a snapshot behind the last. */
function leaderState(): Machine {
  const machine = new Machine();
  for (let i = 0; i < 40; i += 1) machine.one(["PUT", `d${i}`, { text: "x".repeat(100), i }]);
  return machine;
}

/** Its newest snapshot as a file. */
async function sentFile(machine: Machine): Promise<OutgoingSnapshot> {
  const platform = platformOn(diskOf(1));
  const store = new SnapshotStore(platform, "data/snapshots", clusterId);
  const frozen = freezeState(machine.state);
  await store.write(frozen.position, frozen.blocks());
  frozen.thaw();
  return new OutgoingSnapshot(platform.files, store.pathOf(frozen.position.index), clusterId);
}

/** Calls `before` ahead of every change of the disk. */
function watched(files: FileSystem, before: (what: string) => void): FileSystem {
  const open = (path: string, mode: "read" | "write"): OpenFile => {
    if (mode === "write") before(`open ${path}`);
    const file = files.open(path, mode);
    return {
      path,
      size: () => file.size(),
      read: (position, target) => file.read(position, target),
      write: (position, bytes) => {
        before(`write ${path}`);
        file.write(position, bytes);
      },
      sync: () => {
        before(`sync ${path}`);
        return file.sync();
      },
      syncNow: () => file.syncNow(),
      truncate: (size) => file.truncate(size),
      close: () => file.close(),
    };
  };
  return {
    open,
    makeDirectory: (path) => files.makeDirectory(path),
    list: (path) => files.list(path),
    exists: (path) => files.exists(path),
    rename: (from, to) => {
      before(`rename ${to}`);
      files.rename(from, to);
    },
    remove: (path) => {
      before(`remove ${path}`);
      files.remove(path);
    },
    syncDirectory: (path) => {
      before(`syncDirectory ${path}`);
      return files.syncDirectory(path);
    },
    lock: (path) => files.lock(path),
  };
}

function config() {
  return parseNodeConfig({
    id: "n9",
    dataDirectory: FOLDER,
    clusterId,
    segmentSizeBytes: 64 * 1024,
  });
}

/** A receiving node: its storage, and as much of consensus as the exchange needs. */
class Receiver {
  readonly opened: OpenedStorage;
  readonly answers: SnapshotProgress[] = [];
  readonly failures: unknown[] = [];
  readonly exchange: SnapshotTransfer;
  isRestored = false;
  /** The term, and whether consensus takes what arrives. */
  term = TERM;
  #commitIndex: number;

  constructor(platform: Platform, opened: OpenedStorage) {
    this.opened = opened;
    this.#commitIndex = opened.log.recoveredCommit;
    const position = () => ({ term: this.term, commitIndex: this.#commitIndex });
    const driver = {
      get view() {
        return position();
      },
      installSnapshot: (snapshot: ArrivedSnapshot) => this.#install(snapshot),
      stateRestored: () => {
        this.isRestored = true;
      },
      snapshotEnded: () => undefined,
    } as unknown as RaftDriver;
    const network = {
      sendSnapshot: (message: SnapshotProgress) => this.answers.push(message),
    } as unknown as NetworkManager;
    this.exchange = new SnapshotTransfer({
      config: config(),
      platform,
      opened,
      rate: new RateLimit(Number.POSITIVE_INFINITY),
      driver,
      network,
      failed: (cause) => this.failures.push(cause),
    });
  }

  static async open(platform: Platform): Promise<Receiver> {
    return new Receiver(platform, await openStorage(platform, config()));
  }

  get last(): SnapshotProgress | undefined {
    return this.answers.at(-1);
  }

  /** As the driver does it: log and hard state in one turn, then the state machine. */
  #install({ base, term }: ArrivedSnapshot): boolean {
    if (term < this.term) return false;
    const { log } = this.opened;
    // A log that leads to the snapshot is kept, with what follows.
    if (log.term(base.index) === base.term) return false;
    log.restartBehind(base);
    this.#commitIndex = base.index;
    const hardState = { term, vote: undefined };
    log.write({ hardState, entries: [], commitIndex: base.index });
    log.requestSync();
    queueMicrotask(() => this.exchange.restore());
    return true;
  }

  /** Sends what the receiver asks for until it is done, or `stop` says so. */
  async feed(file: OutgoingSnapshot, stop: () => boolean = () => false): Promise<void> {
    const { base, checksum, size } = file;
    const name = { from: "n1", to: "n9", term: TERM, index: base.index, checksum };
    this.exchange.onMessage({ ...name, type: "SNAPSHOT_OFFER", base, size });
    while (this.last?.status === "receiving" && this.last.offset < size && !stop()) {
      const { offset } = this.last;
      const bytes = file.read(offset, CHUNK);
      const chunk: SnapshotMessage = { ...name, type: "SNAPSHOT_CHUNK", offset, bytes };
      this.exchange.onMessage(chunk);
    }
  }

  /** Waits until the transfer has ended, and its effects; `eachTurn` is called in between. */
  async settled(eachTurn: () => void = () => undefined): Promise<void> {
    const isBusy = (): boolean => this.last?.status === "receiving" || this.exchange.isRestoring;
    for (let turn = 0; turn < 400 && isBusy(); turn += 1) {
      await settle(1);
      eachTurn();
    }
    await this.opened.log.flush();
    await settle();
  }

  async close(): Promise<void> {
    this.exchange.stop();
    await settle();
    await this.opened.log.close();
    this.opened.directory.release();
  }
}

/** Syncs of the log take longer than all others: what does not wait for them shows. */
function slowLog(complete: () => void, path: string): void {
  if (path.includes("/wal/")) void settle(5).then(complete);
  else queueMicrotask(complete);
}

/** A disk with a node whose log has the first `count` entries; all of it is durable. */
async function oldDisk(machine: Machine, count: number): Promise<SimulatedDisk> {
  const disk = diskOf(2, { schedule: slowLog });
  const receiver = await Receiver.open(platformOn(disk));
  const { log } = receiver.opened;
  const entries = machine.entries.slice(0, count);
  const hardState = { term: TERM, vote: undefined };
  log.write({ hardState, entries, commitIndex: Math.min(count, COMMITTED_MAX) });
  await log.flush();
  await receiver.close();
  return disk;
}

interface Moment {
  readonly what: string;
  readonly disk: SimulatedDisk;
}

function watchedPlatform(disk: SimulatedDisk, before: (what: string) => void): Platform {
  const platform = platformOn(disk);
  return { ...platform, files: watched(platform.files, before) };
}

/** A copy of the disk before each of its changes while a snapshot is received and installed. */
async function moments(disk: SimulatedDisk, file: OutgoingSnapshot): Promise<Moment[]> {
  const copies: Moment[] = [];
  let isWatching = false;
  const platform = watchedPlatform(disk, (what) => {
    if (isWatching) copies.push({ what, disk: disk.clone() });
  });
  const receiver = await Receiver.open(platform);
  isWatching = true;
  await receiver.feed(file);
  await receiver.settled(() => copies.push({ what: "nothing", disk: disk.clone() }));
  expect([receiver.last?.status, receiver.failures]).toEqual(["done", []]);
  isWatching = false;
  copies.push({ what: "the end", disk: disk.clone() });
  await receiver.close();
  return copies;
}

type Ending = (disk: SimulatedDisk) => void;

const cut =
  (fate: SectorFate): Ending =>
  (disk) =>
    disk.cutPower(() => fate);

const endings: readonly (readonly [string, Ending])[] = [
  ["is killed", (disk) => disk.killProcess()],
  ["loses its power, and all that was not synced", cut("dropped")],
  ["loses its power, and nothing", cut("kept")],
  ["loses its power, and drawn sectors", (disk) => disk.cutPower()],
  ["loses its power, and other sectors", (disk) => disk.cutPower()],
  ["loses its power, with garbage in what was not synced", cut("garbled")],
];

describe.each([0, 10, 30])("a node with %d entries of 40", (count) => {
  for (const [name, end] of endings) {
    test(`${name} before each change of the disk`, async () => {
      const machine = leaderState();
      const file = await sentFile(machine);
      const copies = await moments(await oldDisk(machine, count), file);
      const steps = copies.map(({ what }) => what).join("\n");
      expect(steps).toMatch(/install(.tmp)?\n(.*\n)*rename .*\.snapshot\n(.*\n)*remove .*install/);
      const ends = new Set<string>();
      for (const { what, disk } of copies) {
        end(disk);
        const receiver = await Receiver.open(platformOn(disk));
        const { log, machine: state } = receiver.opened;
        const isNew = state.appliedIndex === 40;
        ends.add(isNew ? "new" : "old");
        expect([what, log.base.index, log.lastIndex(), state.documentCount]).toEqual(
          isNew ? [what, 40, 40, 40] : [what, 0, count, 0],
        );
        expect([what, log.hardState.term <= TERM]).toEqual([what, true]);
        // What was begun can be ended.
        await receiver.feed(file);
        await receiver.settled();
        if (receiver.last?.status === "refused") {
          // What was left of the file was not whole: it is dropped, and the next attempt is new.
          await receiver.feed(file);
          await receiver.settled();
        }
        expect([what, receiver.last?.status]).toEqual([what, "done"]);
        await receiver.close();
        const again = await Receiver.open(platformOn(disk));
        expect([what, again.opened.machine.appliedIndex]).toEqual([what, 40]);
        expect(again.opened.machine.documentCount).toBe(40);
        await again.close();
      }
      expect([...ends]).toEqual(["old", "new"]);
    });
  }
});

test("a second power cut, before each change that the next start makes", async () => {
  const machine = leaderState();
  const file = await sentFile(machine);
  const copies = await moments(await oldDisk(machine, 10), file);
  const marked = copies.filter(({ disk }) => {
    const names = disk.files.list(`${FOLDER}/snapshots`);
    return names.includes("install") && names.some((name) => name.endsWith(".snapshot"));
  });
  expect(marked.length).toBeGreaterThan(2);
  for (const first of marked) {
    first.disk.cutPower(() => "kept");
    const second: Moment[] = [];
    const platform = watchedPlatform(first.disk, (what) => {
      second.push({ what, disk: first.disk.clone() });
    });
    const receiver = await Receiver.open(platform);
    expect(receiver.opened.machine.appliedIndex).toBe(40);
    await receiver.close();
    for (const { what, disk } of second) {
      disk.cutPower(() => "dropped");
      const again = await Receiver.open(platformOn(disk));
      const { log, machine: state } = again.opened;
      expect([what, log.base.index, state.documentCount]).toEqual([what, 40, 40]);
      await again.close();
    }
  }
});

// Only its commit was behind: what follows the snapshot in the log may have been promised.
test("a log that leads to the snapshot is kept, whenever the power fails", async () => {
  const machine = leaderState();
  const file = await sentFile(machine);
  for (let i = 0; i < 5; i += 1) machine.one(["PUT", `behind${i}`, {}]);
  const disk = await oldDisk(machine, 45);
  const copies = await moments(disk, file);
  for (const { what, disk: copy } of copies) {
    copy.cutPower(() => "kept");
    const receiver = await Receiver.open(platformOn(copy));
    const { log, machine: state } = receiver.opened;
    expect([what, log.base.index, log.lastIndex()]).toEqual([what, 0, 45]);
    expect([0, 40]).toContain(state.appliedIndex);
    await receiver.close();
  }
});

describe("turns between the steps", () => {
  async function receiving(count = 10) {
    const machine = leaderState();
    const file = await sentFile(machine);
    const disk = await oldDisk(machine, count);
    const receiver = await Receiver.open(platformOn(disk));
    return { machine, file, disk, receiver };
  }

  function names(disk: SimulatedDisk): readonly string[] {
    return disk.files.list(`${FOLDER}/snapshots`);
  }

  test("an offer while a file is verified is refused, and the first one is installed", async () => {
    const { receiver, file } = await receiving();
    await receiver.feed(file);
    const other = { from: "n1", to: "n9", term: TERM, index: 50, checksum: 5n } as const;
    const base = { index: 50, term: TERM, nextSequence: 51 };
    receiver.exchange.onMessage({ ...other, type: "SNAPSHOT_OFFER", base, size: 100 });
    expect(receiver.last).toMatchObject({ index: 50, status: "refused" });
    const bytes = new Uint8Array(10);
    receiver.exchange.onMessage({ ...other, type: "SNAPSHOT_CHUNK", offset: 0, bytes });
    for (let turn = 0; turn < 100 && !receiver.isRestored; turn += 1) await settle();
    expect(receiver.opened.machine.appliedIndex).toBe(40);
    await receiver.close();
  });

  test("another offer in the middle: the first file goes, its late chunks write nothing", async () => {
    const { receiver, file, disk } = await receiving();
    await receiver.feed(file, () => (receiver.last?.offset ?? 0) >= 2 * CHUNK);
    const other = { from: "n2", to: "n9", term: TERM, index: 50, checksum: 0xabn } as const;
    const base = { index: 50, term: TERM, nextSequence: 51 };
    receiver.exchange.onMessage({ ...other, type: "SNAPSHOT_OFFER", base, size: 100 });
    expect(names(disk)).toEqual(["50-ab.partial"]);
    const { checksum } = file;
    const late = { from: "n1", to: "n9", term: TERM, index: 40, checksum } as const;
    const bytes = file.read(2 * CHUNK, CHUNK);
    const before = receiver.answers.length;
    receiver.exchange.onMessage({ ...late, type: "SNAPSHOT_CHUNK", offset: 2 * CHUNK, bytes });
    // Nor does somebody else's chunk of the same file.
    receiver.exchange.onMessage({ ...other, ...late, type: "SNAPSHOT_CHUNK", offset: 0, bytes });
    expect(receiver.answers).toHaveLength(before);
    expect(disk.readFile(`${FOLDER}/snapshots/50-ab.partial`)).toHaveLength(0);
    await receiver.close();
  });

  test("a newer term while a file is verified: it goes, and the folder opens", async () => {
    const { receiver, file, disk } = await receiving();
    await receiver.feed(file);
    receiver.term = TERM + 1;
    await receiver.settled();
    expect(names(disk)).toEqual([]);
    expect(receiver.isRestored).toBe(false);
    await receiver.close();
    const again = await Receiver.open(platformOn(disk));
    expect(again.opened.log.lastIndex()).toBe(10);
    await again.close();
  });

  test("a node that stops while a file is verified installs nothing afterwards", async () => {
    const { receiver, file, disk } = await receiving();
    await receiver.feed(file);
    await receiver.close();
    await settle(50);
    expect(names(disk)).toEqual([`40-${file.checksum.toString(16)}.partial`]);
    const again = await Receiver.open(platformOn(disk));
    await again.feed(file);
    expect(again.answers[0]?.offset).toBe(file.size);
    await again.settled();
    expect(again.opened.machine.appliedIndex).toBe(40);
    await again.close();
  });

  test("a folder that cannot be synced behind the rename: refused, and it ends well later", async () => {
    const { receiver, file, disk } = await receiving();
    let folderSyncs = 0;
    disk.faults = {
      sync(path) {
        if (!path.endsWith("/snapshots")) return "done";
        folderSyncs += 1;
        return folderSyncs === 2 ? "failed" : "done";
      },
    };
    await receiver.feed(file);
    await receiver.settled();
    expect(receiver.last?.status).toBe("refused");
    await receiver.feed(file);
    await receiver.settled();
    expect([receiver.last?.status, receiver.opened.machine.appliedIndex]).toEqual(["done", 40]);
    await receiver.close();
  });

  // History: it was installed, and the node failed at its next campaign, after every start.
  test("a snapshot whose last entry has a later term than its leader is refused and removed", async () => {
    const { receiver, disk, machine } = await receiving();
    const platform = platformOn(diskOf(3));
    const store = new SnapshotStore(platform, "data/snapshots", clusterId);
    const frozen = freezeState(machine.state);
    await store.write({ ...frozen.position, term: TERM + 1 }, frozen.blocks());
    const path = store.pathOf(frozen.position.index);
    await receiver.feed(new OutgoingSnapshot(platform.files, path, clusterId));
    await receiver.settled();
    expect([receiver.last?.status, names(disk)]).toEqual(["refused", []]);
    await receiver.feed(await sentFile(machine));
    await receiver.settled();
    expect([receiver.last?.status, receiver.opened.machine.appliedIndex]).toEqual(["done", 40]);
    await receiver.close();
  });

  test("a snapshot of another cluster, and one that is cut off, are refused and removed", async () => {
    const { receiver, disk, machine } = await receiving();
    const platform = platformOn(diskOf(3));
    const store = new SnapshotStore(platform, "data/snapshots", "ffffffffffffffff");
    const frozen = freezeState(machine.state);
    await store.write(frozen.position, frozen.blocks());
    const path = store.pathOf(frozen.position.index);
    const foreign = new OutgoingSnapshot(platform.files, path, "ffffffffffffffff");
    await receiver.feed(foreign);
    await receiver.settled();
    expect([receiver.last?.status, names(disk)]).toEqual(["refused", []]);
    const file = await sentFile(machine);
    const short = { ...file, base: file.base, checksum: file.checksum, size: file.size - 10 };
    const read = (at: number, size: number) => file.read(at, Math.min(size, short.size - at));
    await receiver.feed(Object.assign(short, { read }) as unknown as OutgoingSnapshot);
    await receiver.settled();
    expect([receiver.last?.status, names(disk)]).toEqual(["refused", []]);
    await receiver.close();
  });
});
