/**
 * A folder that holds a given state as the first node of a new cluster.
 *
 * @module
 */

import { DocumentStateMachine } from "../../database/document_state_machine.ts";
import { freezeState } from "../../database/snapshot_codec.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import type { Platform } from "../../platform/platform.ts";
import { openDataDirectory } from "../../storage/data_directory.ts";
import { SnapshotStore } from "../../storage/snapshot_store.ts";
import { SegmentLog } from "../../storage/wal/segment_log.ts";

/** Sequence numbers that are skipped: versions that were given out elsewhere never come again. */
const SEQUENCE_STEP = 1_000_000_000;

/** Where the new cluster begins. */
export interface NewCluster {
  readonly folder: string;
  readonly clusterId: string;
  readonly nodeId: string;
  /** HOST:PORT; empty when it is not known. */
  readonly address: string;
  /** No lower than any term that the state comes from. */
  readonly term: number;
  /** Blocks of the state of collections that every node writes; none without such. */
  readonly masters?: readonly Uint8Array[];
}

/** Writes the folder; gives the sequence number of the next write. */
export async function writeNewCluster(
  platform: Platform,
  machine: DocumentStateMachine,
  target: NewCluster,
): Promise<number> {
  const { folder, clusterId, nodeId, address } = target;
  const fresh = await openDataDirectory(platform, folder, { clusterId, nodeId });
  const { incarnation } = fresh.identity;
  const { index, term, nextSequence } = machine.position;
  const base = { index, term, nextSequence: nextSequence + SEQUENCE_STEP };
  const state = new DocumentStateMachine(zlibCompressor, 0);
  state.adopt(machine, { ...machine.position, nextSequence: base.nextSequence });
  state.memberTable.restore({
    members: [{ id: nodeId, address, role: "voter", incarnation }],
    bindings: [{ id: nodeId, incarnation }],
    retired: [],
    departed: [],
  });
  const wal = await SegmentLog.open(platform, {
    directory: `${folder}/wal`,
    identity: fresh.identity,
    owner: "consensus",
  });
  try {
    wal.restartBehind(base);
    const hardState = { term: Math.max(target.term, term), vote: undefined };
    wal.write({ hardState, entries: [], commitIndex: index });
    await wal.flush();
    const snapshots = new SnapshotStore(platform, `${folder}/snapshots`, clusterId);
    const frozen = freezeState(state);
    await snapshots.write(frozen.position, frozen.blocks());
    frozen.thaw();
    if (target.masters !== undefined && target.masters.length > 0) {
      const store = new SnapshotStore(platform, `${folder}/masters`, clusterId);
      await store.write({ index: 1, term: 1, nextSequence: 2 }, target.masters);
    }
    await platform.files.syncDirectory(folder);
  } finally {
    await wal.close();
    fresh.release();
  }
  return base.nextSequence;
}

/** The first node. */
export interface FirstNode {
  readonly id: string;
  /** HOST:PORT under which the others will reach it. */
  readonly address: string;
  readonly dataDirectory: string;
}
