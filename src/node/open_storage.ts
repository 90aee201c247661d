/**
 * Opens what a node has on its disk: the folder, the log, the newest snapshot.
 *
 * @module
 */

import { CorruptionError } from "../base/errors.ts";
import { DocumentStateMachine } from "../database/document_state_machine.ts";
import { StateRestorer } from "../database/snapshot_codec.ts";
import { zlibCompressor } from "../platform/compression.ts";
import type { Platform } from "../platform/platform.ts";
import {
  clusterIdOf,
  FIRST_PLACE,
  type Member,
  membershipBatch,
} from "../protocol/cluster_command.ts";
import type { Entry } from "../raft/types.ts";
import { type DataDirectory, openDataDirectory } from "../storage/data_directory.ts";
import { FileWALManager } from "../storage/file_wal_manager.ts";
import type { ReplicatedLog } from "../storage/iwal_manager.ts";
import { SnapshotStore } from "../storage/snapshot_store.ts";
import type { NodeConfig } from "./config.ts";
import { prepareLostTail } from "./lost_tail.ts";

const READ_BYTES = 1024 * 1024;

/** What was opened. */
export interface OpenedStorage {
  readonly directory: DataDirectory;
  readonly log: FileWALManager;
  readonly machine: DocumentStateMachine;
  readonly snapshots: SnapshotStore;
}

/** Locks, recovers and restores. Rejects with LockedError, CorruptionError, StorageError. */
export async function openStorage(platform: Platform, config: NodeConfig): Promise<OpenedStorage> {
  const { dataDirectory, members, id: nodeId } = config;
  const clusterId = config.clusterId ?? clusterIdOf(members);
  const directory = await openDataDirectory(platform, dataDirectory, { clusterId, nodeId });
  let log: FileWALManager | undefined;
  try {
    log = await FileWALManager.open(platform, {
      directory: `${dataDirectory}/wal`,
      identity: directory.identity,
      segmentSizeBytes: config.segmentSizeBytes,
      owner: "consensus",
    });
    if (log.lastIndex() === 0) await writeFirstEntry(log, members);
    const snapshots = new SnapshotStore(platform, `${dataDirectory}/snapshots`, clusterId);
    await prepareLostTail(platform.files, dataDirectory);
    // The folders' own names must survive a power cut, or the log is cut behind a lost snapshot.
    await platform.files.syncDirectory(dataDirectory);
    const machine = new DocumentStateMachine(zlibCompressor, platform.random.below(2 ** 31));
    await restoreState({ machine, snapshots, log, dataDirectory });
    return { directory, log, machine, snapshots };
  } catch (error) {
    await log?.close();
    directory.release();
    throw error;
  }
}

/** Entry 1 is the membership, made from the static list: the same bytes on every node. */
async function writeFirstEntry(log: FileWALManager, members: readonly Member[]): Promise<void> {
  const bytes = membershipBatch(members);
  const entry = { ...FIRST_PLACE, count: 1, bytes };
  const hardState = { term: FIRST_PLACE.term, vote: undefined };
  log.write({ hardState, entries: [entry], commitIndex: FIRST_PLACE.index });
  await log.flush();
}

async function restoreState(parts: {
  readonly machine: DocumentStateMachine;
  readonly snapshots: SnapshotStore;
  readonly log: FileWALManager;
  readonly dataDirectory: string;
}): Promise<void> {
  const { machine, snapshots, log } = parts;
  const restorer = new StateRestorer(machine);
  const position = await snapshots.load((block) => restorer.block(block));
  if (position !== undefined) restorer.end();
  const index = position?.index ?? 0;
  if (index < log.base.index || index > log.lastIndex()) {
    throw new CorruptionError(
      `Cannot restore the state: the newest whole snapshot is at entry ${index}, the log holds ${log.firstIndex()} to ${log.lastIndex()}`,
      { file: `${parts.dataDirectory}/snapshots`, byte: 0 },
    );
  }
}

/** Entries that stand in the log and are not known to be committed. */
export function* uncommittedEntries(
  log: ReplicatedLog,
  machine: DocumentStateMachine,
): Generator<Entry> {
  let index = Math.max(log.recoveredCommit, machine.appliedIndex) + 1;
  while (index <= log.lastIndex()) {
    for (const entry of log.readFromDisk(index, READ_BYTES)) {
      yield entry;
      index = entry.index + 1;
    }
  }
}
