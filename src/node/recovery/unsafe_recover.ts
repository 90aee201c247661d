/**
 * After the loss of a quorum: what each survivor holds, and one of them made the first node of a
 * new cluster. Unsafe, because writes that only the lost nodes had acknowledged are gone, and what
 * was never committed is kept as if it had been.
 *
 * @module
 */

import { ConfigError, StorageError } from "../../base/errors.ts";
import type { Platform } from "../../platform/platform.ts";
import { randomId } from "../../platform/random.ts";
import type { Member } from "../../raft/configuration.ts";
import { NO_RESULTS } from "../../raft/state_machine.ts";
import { parentOf, readIdentity } from "../../storage/data_directory.ts";
import { parseNodeConfig } from "../config/node_config.ts";
import { stateOnDisk } from "../masters/masters_core.ts";
import { writeNewCluster } from "../snapshots/new_cluster.ts";
import { type OpenedStorage, openStorage } from "./open_storage.ts";

const READ_BYTES = 1024 * 1024;

/** Content of one survivor's folder. */
export interface SurvivorReport {
  readonly path: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly lastTerm: number;
  readonly lastIndex: number;
  /** Highest entry that it knows to be committed. */
  readonly commitIndex: number;
  /** Newest snapshot; 0 without one. */
  readonly snapshotIndex: number;
  /** Entries behind the commit index, which may have been committed or not. */
  readonly uncommittedEntries: number;
  readonly uncommittedOperations: number;
  readonly members: readonly Pick<Member, "id" | "address" | "role">[];
}

/** Result of the recovery. */
export interface RecoveredCluster {
  readonly clusterId: string;
  /** Where the old folder is kept. */
  readonly keptAs: string;
  /** Sequence number of the next write. */
  readonly nextSequence: number;
}

/**
 * Inspects a survivor's folder, whose node must be stopped. Rejects with LockedError,
 * CorruptionError, ConfigError.
 */
export async function inspectSurvivor(platform: Platform, path: string): Promise<SurvivorReport> {
  const opened = await openSurvivor(platform, path);
  try {
    const { log, machine, configurations, directory } = opened;
    const { nodeId, clusterId } = directory.identity;
    const lastIndex = log.lastIndex();
    const commitIndex = Math.max(log.recoveredCommit, machine.appliedIndex);
    const members = configurations.at(-1)?.configuration.members ?? [];
    return {
      path,
      nodeId,
      clusterId,
      lastTerm: log.term(lastIndex) ?? 0,
      lastIndex,
      commitIndex,
      snapshotIndex: machine.appliedIndex,
      uncommittedEntries: lastIndex - commitIndex,
      uncommittedOperations: log.sequenceAfter(lastIndex) - log.sequenceAfter(commitIndex),
      members: members.map(({ id, address, role }) => ({ id, address, role })),
    };
  } finally {
    await close(opened);
  }
}

/**
 * Makes a survivor the only node of a new cluster, with everything that stands in its log, and
 * keeps its old folder beside the new one. The old members cannot come back: the cluster's id is
 * another one. Rejects with LockedError, CorruptionError, ConfigError, StorageError.
 */
export async function recoverAsNewCluster(
  platform: Platform,
  path: string,
): Promise<RecoveredCluster> {
  const { files } = platform;
  const folder = path.replace(/\/+$/, "");
  const keptAs = freeName(platform, `${folder}.before-recovery`);
  const made = `${folder}.recovering`;
  if (files.exists(`${made}/identity`)) {
    throw new StorageError(`Cannot recover: an earlier attempt left "${made}"`, {
      remedy: "Move that folder away, do not delete it yet, and repeat the command",
    });
  }
  const opened = await openSurvivor(platform, folder);
  let nextSequence: number;
  let clusterId: string;
  try {
    await applyAll(platform, opened);
    clusterId = randomId(platform.random);
    const { machine, log, directory } = opened;
    const { nodeId } = directory.identity;
    const { address = "" } = machine.memberTable.members.find(({ id }) => id === nodeId) ?? {};
    const { term } = log.hardState;
    const { agreement: agreed } = machine.masters;
    const disk = { ...directory.identity, directory: folder, log, agreed };
    const masters = await stateOnDisk(platform, disk);
    const target = { folder: made, clusterId, nodeId, address, term, masters };
    nextSequence = await writeNewCluster(platform, machine, target);
  } finally {
    await close(opened);
  }
  files.rename(folder, keptAs);
  files.rename(made, folder);
  await files.syncDirectory(parentOf(folder));
  return { clusterId, keptAs, nextSequence };
}

async function openSurvivor(platform: Platform, path: string): Promise<OpenedStorage> {
  const identity = readIdentity(platform.files, path);
  if (identity === undefined) {
    throw new ConfigError(`Cannot recover from "${path}": it holds no node`);
  }
  return await openStorage(platform, parseNodeConfig({ id: identity.nodeId, dataDirectory: path }));
}

async function close({ log, directory }: OpenedStorage): Promise<void> {
  try {
    await log.close();
  } finally {
    directory.release();
  }
}

async function applyAll(platform: Platform, { log, machine }: OpenedStorage): Promise<void> {
  while (machine.appliedIndex < log.lastIndex()) {
    for (const entry of log.readFromDisk(machine.appliedIndex + 1, READ_BYTES)) {
      machine.apply(entry, NO_RESULTS);
    }
    await new Promise<void>((resolve) => platform.clock.soon(resolve));
  }
}

function freeName(platform: Platform, wanted: string): string {
  let name = wanted;
  for (let copy = 2; platform.files.exists(name); copy += 1) name = `${wanted}-${copy}`;
  return name;
}
