/**
 * Entries that a node had answered early (ASYNC) and must give up: copied aside, durably, before
 * the records that supersede them are written. `lost/batches` holds the batches one after the
 * other; it is made, empty, when the folder is opened, so that its name is durable long before it
 * is needed.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { FileSystem } from "../../platform/file_system.ts";
import type { Entry, LogIndex } from "../../raft/types.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";

const READ_BYTES = 1024 * 1024;

/** Makes the file durable in its folder. */
export async function prepareDiscarded(files: FileSystem, directory: string): Promise<void> {
  const folder = `${directory}/lost`;
  files.makeDirectory(folder);
  files.open(`${folder}/batches`, "write").close();
  await files.syncDirectory(folder);
}

/** Appends the batches and waits for the disk. */
export function saveDiscarded(
  files: FileSystem,
  directory: string,
  entries: readonly Entry[],
): void {
  const file = files.open(`${directory}/lost/batches`, "write");
  let at = file.size();
  for (const { bytes } of entries) {
    file.write(at, bytes);
    at += bytes.byteLength;
  }
  file.syncNow();
  file.close();
}

/** The entries from `from` on that are still there, before a new leader's replace them. */
export function readTail(log: ReplicatedLog, from: LogIndex): readonly Entry[] {
  assert(from >= log.firstIndex(), "a truncation starts inside the kept log");
  const entries: Entry[] = [];
  for (let index = from; index <= log.lastIndex(); ) {
    for (const entry of log.readFromDisk(index, READ_BYTES)) {
      entries.push(entry);
      index = entry.index + 1;
    }
  }
  return entries;
}
