/**
 * Entries that a node had answered early (ASYNC) and must give up: copied aside, durably, before
 * the
 * records that supersede them are written.
 *
 * @module
 */

import type { FileSystem } from "../platform/file_system.ts";
import type { Entry } from "../raft/types.ts";

/** Writes the batches, one after the other, to `lost/<first index>-<first term>.batches`. */
export function saveLostTail(
  files: FileSystem,
  directory: string,
  entries: readonly Entry[],
): void {
  const first = entries[0];
  if (first === undefined) return;
  const folder = `${directory}/lost`;
  files.makeDirectory(folder);
  const file = files.open(`${folder}/${first.index}-${first.term}.batches`, "write");
  let at = 0;
  for (const { bytes } of entries) {
    file.write(at, bytes);
    at += bytes.byteLength;
  }
  file.syncNow();
  file.close();
}
