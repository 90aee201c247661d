/**
 * FileWALManager: opened by its first use, closed for good.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { ConfigError } from "../../../src/base/errors.ts";
import { FileWALManager } from "../../../src/storage/wal/file_wal_manager.ts";
import type { WALEntry } from "../../../src/storage/wal/iwal_manager.ts";
import { freshFolder } from "../../node/test_cluster.ts";

let folder: ReturnType<typeof freshFolder>;
let walPath: string;
beforeEach(() => {
  folder = freshFolder();
  walPath = `${folder.path}/wal`;
});
afterEach(() => folder.remove());

function entry(transactionId: string): WALEntry {
  return {
    ...{ transactionId, sequenceNumber: 0, timestamp: 1, type: "DATA", collectionName: "c" },
    ...{ operation: "INSERT", data: { key: 1 }, checksum: "" },
  } as WALEntry;
}

test("nothing is made before the first use", async () => {
  const wal = new FileWALManager({ walPath });
  expect(wal.getCurrentSequence()).toBe(0);
  expect(existsSync(walPath)).toBe(false);
  await wal.close();
  expect(existsSync(walPath)).toBe(false);
  await expect(wal.writeEntry(entry("late"))).rejects.toMatchObject({ code: "CLOSED" });
});

test("every call opens it, and what was written is there the next time", async () => {
  const wal = new FileWALManager({ walPath });
  const [one, two, three] = [entry("one"), entry("two"), entry("three")];
  await Promise.all([wal.writeEntry(one), wal.writeBatch([two, three])]);
  await wal.flush();
  expect([one, two, three].map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 2, 3]);
  expect(await wal.createCheckpoint()).toMatchObject({ sequenceNumber: 4 });
  await wal.close();
  const again = new FileWALManager({ walPath });
  expect(await again.recover()).toMatchObject({ lastSequence: again.getCurrentSequence() });
  expect((await again.readEntries(2)).map(({ transactionId }) => transactionId)).toContain("two");
  await again.close();
});

test("two at once: the second is refused, and so is every call of it", async () => {
  const wal = new FileWALManager({ walPath });
  await wal.flush();
  const other = new FileWALManager({ walPath });
  await expect(other.flush()).rejects.toMatchObject({ code: "LOCKED" });
  await expect(other.readEntries()).rejects.toMatchObject({ code: "LOCKED" });
  await wal.close();
});

// A log that could not be opened could not be opened for ever, and not be closed.
test("once whoever held it is gone, the next call opens it; closed meanwhile, it just ends", async () => {
  const first = new FileWALManager({ walPath });
  await first.writeEntry(entry("one"));
  const [second, third] = [new FileWALManager({ walPath }), new FileWALManager({ walPath })];
  await expect(second.readEntries()).rejects.toMatchObject({ code: "LOCKED" });
  await expect(third.readEntries()).rejects.toMatchObject({ code: "LOCKED" });
  await third.close();
  await first.close();
  expect(await second.readEntries()).toHaveLength(1);
  await second.close();
});

test("what cannot be meant is refused before anything is written", async () => {
  const wrong = (options: object) => () => new FileWALManager(options as { walPath: string });
  expect(wrong({ path: "x" })).toThrow(ConfigError);
  expect(wrong({})).toThrow(ConfigError);
  const wal = new FileWALManager({ walPath });
  const one = entry("one");
  await expect(wal.writeBatch([one, one])).rejects.toMatchObject({ code: "VALIDATION" });
  await expect(wal.readEntries(Number.NaN)).rejects.toMatchObject({ code: "VALIDATION" });
  expect(await wal.readEntries()).toEqual([]);
  await wal.close();
});

test("a subclass adds to what it does", async () => {
  class Counting extends FileWALManager {
    count = 0;
    override async writeEntry(one: WALEntry): Promise<void> {
      this.count += 1;
      await super.writeEntry(one);
    }
  }
  const wal = new Counting({ walPath });
  await wal.writeEntry(entry("x"));
  expect([wal.count, (await wal.readEntries()).length]).toEqual([1, 1]);
  await wal.close();
});
