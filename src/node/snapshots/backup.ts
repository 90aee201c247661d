/**
 * Backups: the state at one entry as a snapshot file, and a new cluster made from it.
 *
 * @module
 */

import { checkAddress, checkId, EMBEDDED_ADDRESS } from "../../base/address.ts";
import { ConfigError } from "../../base/errors.ts";
import { DocumentStateMachine } from "../../database/document_state_machine.ts";
import { readClusterState, StateRestorer } from "../../database/snapshot_codec.ts";
import type { DocumentVersion } from "../../multi_master/operation/operation.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import type { Platform } from "../../platform/platform.ts";
import { randomId } from "../../platform/random.ts";
import { SeedReader } from "../../protocol/operations/seed_codec.ts";
import { parentOf, readIdentity } from "../../storage/data_directory.ts";
import { readSnapshot, readSnapshotCluster, SnapshotStore } from "../../storage/snapshot_store.ts";
import { type ArchiveStart, type RecoveryTarget, recoverFrom } from "./log_archive.ts";
import { type FirstNode, writeNewCluster } from "./new_cluster.ts";

/** Target of a recovery, with the entries of an archive. */
export interface Recovery extends RecoveryTarget {
  /** Folder of the archive. */
  readonly archive: string;
}

/** Content of a backup file. */
export interface BackupReport {
  readonly clusterId: string;
  /** Index of the last entry that it shows. */
  readonly index: number;
  readonly collections: number;
  readonly documents: number;
}

/**
 * Writes the blocks of a state into a file, reads it back, and gives it its name. Rejects with
 * ConfigError if there is such a file, with StorageError.
 */
export async function writeBackup(
  platform: Platform,
  source: { readonly clusterId: string; readonly blocks: AsyncIterator<Uint8Array> },
  path: string,
): Promise<BackupReport> {
  const { files } = platform;
  if (/^$|\/$/.test(path)) throw new ConfigError(`Cannot write the backup: "${path}" is no file`);
  if (!files.exists(parentOf(path))) {
    throw new ConfigError(`Cannot write the backup: there is no folder for "${path}"`);
  }
  if (files.exists(path)) throw new ConfigError(`Cannot write the backup: "${path}" exists`);
  const first = await source.blocks.next();
  if (first.done === true) throw new ConfigError("Cannot write the backup: the state is empty");
  const { position } = readClusterState(first.value);
  // Two that write the same file do not write over each other.
  const folder = `${path}.partial-${randomId(platform.random)}`;
  const store = new SnapshotStore(platform, folder, source.clusterId);
  async function* all(): AsyncGenerator<Uint8Array> {
    yield (first as IteratorYieldResult<Uint8Array>).value;
    for (let next = await source.blocks.next(); next.done !== true; ) {
      yield next.value;
      next = await source.blocks.next();
    }
  }
  try {
    await store.write(position, all());
    if (files.exists(path)) throw new ConfigError(`Cannot write the backup: "${path}" exists`);
    files.rename(store.pathOf(position.index), path);
  } finally {
    files.remove(folder);
  }
  await files.syncDirectory(parentOf(path));
  return await readBackup(platform, path);
}

/** Verifies a backup file and says what it holds. Rejects with CorruptionError. */
export async function readBackup(platform: Platform, path: string): Promise<BackupReport> {
  const { machine, clusterId, masters } = await loadBackup(platform, path);
  return {
    clusterId,
    index: machine.appliedIndex,
    collections: [...machine.collections()].length,
    documents: machine.documentCount + countIn(masters),
  };
}

/**
 * Makes an empty folder the first node of a new cluster that begins with a backup's state; its id
 * is a new one, so that nodes of the old cluster cannot come to it. Rejects with ConfigError,
 * CorruptionError, StorageError.
 */
export async function restoreBackup(
  platform: Platform,
  path: string,
  { recovery, ...first }: FirstNode & { readonly recovery?: Recovery },
): Promise<BackupReport & { readonly timeMs: number }> {
  const { id: nodeId, address, dataDirectory: folder } = first;
  checkId(nodeId);
  if (address !== EMBEDDED_ADDRESS) checkAddress(address);
  const known = readIdentity(platform.files, folder);
  if (known !== undefined || platform.files.list(folder).length > 0) {
    throw new ConfigError(`Cannot restore into "${folder}": it is not empty`);
  }
  const { machine, clusterId: origin, masters } = await loadBackup(platform, path);
  if (recovery !== undefined) {
    const archive = { ...recovery, folder: recovery.archive, clusterId: origin };
    recoverFrom(platform, archive, machine);
  }
  const clusterId = randomId(platform.random);
  const { term } = machine.position;
  const made = `${folder.replace(/\/+$/, "")}.restoring`;
  if (platform.files.exists(`${made}/identity`)) {
    throw new ConfigError(`Cannot restore: an earlier attempt left "${made}"`, {
      remedy: "It holds a part of the backup only: remove that folder, and repeat the command",
    });
  }
  await writeNewCluster(platform, machine, {
    ...{ folder: made, clusterId, nodeId, address, term, masters },
  });
  if (platform.files.exists(folder)) platform.files.remove(folder);
  platform.files.rename(made, folder);
  await platform.files.syncDirectory(parentOf(folder));
  const { appliedIndex: index } = machine;
  const documents = machine.documentCount + countIn(masters);
  const { timeMs } = machine.position;
  return { clusterId, index, collections: [...machine.collections()].length, documents, timeMs };
}

/** The place in the log that a backup shows, for an archive that begins there. */
export async function archiveStart(platform: Platform, path: string): Promise<ArchiveStart> {
  const { machine, clusterId } = await loadBackup(platform, path);
  const { index, term, nextSequence } = machine.position;
  return { clusterId, base: { index, term, nextSequence } };
}

/** Documents in the state of collections that every node writes. */
function countIn(masters: readonly Uint8Array[]): number {
  let count = 0;
  const isThere = ({ content }: DocumentVersion): boolean => content.kind === "document";
  const reader = new SeedReader({
    document: ({ versions }) => {
      if (versions.some(isThere)) count += 1;
    },
  });
  for (const block of masters) reader.block(block);
  return count;
}

async function loadBackup(
  platform: Platform,
  path: string,
): Promise<{
  readonly machine: DocumentStateMachine;
  readonly clusterId: string;
  readonly masters: readonly Uint8Array[];
}> {
  const { files, clock } = platform;
  if (!files.exists(path)) throw new ConfigError(`Cannot read the backup: there is no "${path}"`);
  const clusterId = readSnapshotCluster(files, path);
  const machine = new DocumentStateMachine(zlibCompressor, 0);
  const restorer = new StateRestorer(machine);
  const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
  await readSnapshot(files, path, { clusterId, pause, visit: (block) => restorer.block(block) });
  restorer.end();
  return { machine, clusterId, masters: restorer.masters };
}
