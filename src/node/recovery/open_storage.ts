/**
 * Opens what a node has on its disk: the folder, the log, the newest snapshot.
 *
 * @module
 */

import { ConfigError, CorruptionError } from "../../base/errors.ts";
import type { JoinedCluster } from "../../cluster/join.ts";
import { DocumentStateMachine } from "../../database/document_state_machine.ts";
import { StateRestorer } from "../../database/snapshot_codec.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import type { Platform } from "../../platform/platform.ts";
import {
  clusterIdOf,
  FIRST_PLACE,
  firstBatch,
  type NodeAddress,
} from "../../protocol/encoding/cluster_command.ts";
import { Configuration, type LoggedConfiguration } from "../../raft/configuration.ts";
import type { Entry } from "../../raft/types.ts";
import { loggedConfigurations } from "../../replication/raft/logged_configurations.ts";
import { type DataDirectory, openDataDirectory } from "../../storage/data_directory.ts";
import { readInstallMark, removeInstallMark } from "../../storage/snapshot_files.ts";
import { SnapshotStore } from "../../storage/snapshot_store.ts";
import { SegmentLog } from "../../storage/wal/segment_log.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { prepareDiscarded } from "./discarded_entries.ts";

/** The opened parts of a data folder. */
export interface OpenedStorage {
  readonly directory: DataDirectory;
  readonly log: SegmentLog;
  readonly machine: DocumentStateMachine;
  readonly snapshots: SnapshotStore;
  /** The configurations in the snapshot and the log. */
  readonly configurations: readonly LoggedConfiguration[];
  /** Entries about members and bindings in the log. */
  readonly clusterEntries: readonly Entry[];
}

/** Locks, recovers and restores. Rejects with LockedError, CorruptionError, StorageError. */
export async function openStorage(
  platform: Platform,
  config: NodeConfig,
  joined?: JoinedCluster,
): Promise<OpenedStorage> {
  const { dataDirectory, members, id: nodeId } = config;
  const derived = members.length === 0 ? undefined : clusterIdOf(members);
  const named = config.clusterId ?? derived;
  const expected =
    joined === undefined
      ? { clusterId: named, nodeId }
      : { clusterId: joined.clusterId, nodeId, incarnation: joined.incarnation };
  const directory = await openDataDirectory(platform, dataDirectory, expected);
  const { clusterId } = directory.identity;
  let log: SegmentLog | undefined;
  try {
    log = await SegmentLog.open(platform, {
      directory: `${dataDirectory}/wal`,
      identity: directory.identity,
      segmentSizeBytes: config.segmentSizeBytes,
      owner: "consensus",
    });
    const snapshots = new SnapshotStore(platform, `${dataDirectory}/snapshots`, clusterId);
    await finishInstall(platform, log, snapshots);
    // A folder that joined gets its first entry from the others; it may hold a vote already.
    const hasJoined = joined !== undefined || directory.identity.isJoined === true;
    const isEmpty = log.lastIndex() === 0 && members.length > 0 && !hasJoined;
    const first = isEmpty ? [await writeFirstEntry(log, members)] : [];
    await prepareDiscarded(platform.files, dataDirectory);
    // The folders' own names must survive a power cut, or the log is cut behind a lost snapshot.
    await platform.files.syncDirectory(dataDirectory);
    const machine = new DocumentStateMachine(zlibCompressor, platform.random.below(2 ** 31));
    await restoreState({ machine, snapshots, log, dataDirectory });
    const logged = [...log.clusterEntries, ...first];
    const configurations = loggedConfigurations(
      {
        index: machine.appliedIndex,
        configuration: new Configuration(machine.memberTable.members),
      },
      logged,
    );
    return { directory, log, machine, snapshots, configurations, clusterEntries: logged };
  } catch (error) {
    await log?.close();
    directory.release();
    throw error;
  }
}

/**
 * Throws ConfigError where nothing says who the members are: a first start was interrupted, or its
 * `wal` is gone.
 */
export function checkBegun({ directory, log }: OpenedStorage): void {
  if (log.lastIndex() > 0 || directory.identity.isJoined === true) return;
  const { path } = directory;
  throw new ConfigError(`Cannot start: "${path}" was begun, and its log holds no entry`, {
    remedy:
      "If it was never in use, delete the folder and begin again. If it was, its log is lost: " +
      "`cstore cluster recover ID`, then start the node with an empty folder",
  });
}

/** Entry 1 is the membership, made from the static list: the same bytes on every node. */
async function writeFirstEntry(log: SegmentLog, members: readonly NodeAddress[]): Promise<Entry> {
  const bytes = firstBatch(members);
  const entry = { ...FIRST_PLACE, count: 1, bytes };
  const hardState = { term: FIRST_PLACE.term, vote: undefined };
  log.write({ hardState, entries: [entry], commitIndex: FIRST_PLACE.index });
  await log.flush();
  return entry;
}

/**
 * A snapshot from a leader had its name, and the log was not behind it yet when the node stopped.
 * A log that leads to the snapshot is kept, with what follows.
 */
async function finishInstall(
  platform: Platform,
  log: SegmentLog,
  snapshots: SnapshotStore,
): Promise<void> {
  const { files } = platform;
  const base = readInstallMark(files, snapshots.directory);
  if (base === undefined) return;
  const isThere = files.exists(snapshots.pathOf(base.index));
  if (isThere && base.index > log.base.index && log.term(base.index) !== base.term) {
    log.restartBehind(base);
    await log.flush();
  }
  await removeInstallMark(files, snapshots.directory);
}

async function restoreState(parts: {
  readonly machine: DocumentStateMachine;
  readonly snapshots: SnapshotStore;
  readonly log: SegmentLog;
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
