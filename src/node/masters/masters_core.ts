/**
 * What decides on a node about collections that every node writes, over the node's own disk.
 *
 * @module
 */

import { VersionTable } from "../../database/collection/version_table.ts";
import type { MultiMasterConfig, Seed } from "../../multi_master/config.ts";
import { MultiMaster } from "../../multi_master/multi_master.ts";
import type { Agreement } from "../../multi_master/operation/agreement.ts";
import type { ConflictResolver } from "../../multi_master/operation/conflict_rule.ts";
import type { Origin } from "../../multi_master/operation/dot.ts";
import type { Platform } from "../../platform/platform.ts";
import { OperationChecksum } from "../../protocol/operations/operation_checksum.ts";
import { seedBlocks } from "../../protocol/operations/seed_codec.ts";
import { VERSION_CODEC } from "../../protocol/operations/version_codec.ts";
import type { SegmentLog } from "../../storage/wal/segment_log.ts";
import { MastersDisk } from "./masters_disk.ts";

/** How far clocks of nodes may stand apart, in ms. */
const DRIFT_MAX_MS = 500;
/** Ticks of housekeeping between two requests for missing operations: half a second. */
const PULL_TICKS = 5;
/** Ticks after which an operation that waits for another one is reported: ten seconds. */
const WAIT_TICKS = 100;
/** Bytes of operations in one message, and on their way to a node that has not answered. */
const MESSAGE_BYTES = 256 * 1024;
const WINDOW_BYTES = 4 * 1024 * 1024;

/** What it begins with. */
export interface CoreParts {
  readonly nodeId: string;
  readonly origin: Origin;
  readonly agreement: Agreement;
  /** The documents of the seed. */
  readonly store: VersionTable;
  readonly seed: Seed;
  readonly log: SegmentLog;
  /** By name, for collections whose rule is `custom`. */
  readonly resolvers: Readonly<Record<string, ConflictResolver>>;
  readonly expiryOf?: MultiMasterConfig["expiryOf"];
}

/** Goes on with a state and the operations in the log behind it. */
export function newCore(parts: CoreParts): MultiMaster {
  const { nodeId, origin, agreement, store, seed, log, resolvers, expiryOf } = parts;
  const { operations } = log;
  const sums = new OperationChecksum();
  return new MultiMaster(
    {
      ...{ node: nodeId, origin, driftMaxMs: DRIFT_MAX_MS },
      ...{ pullTicks: PULL_TICKS, waitTicks: WAIT_TICKS },
      ...{ messageBytes: MESSAGE_BYTES, windowBytes: WINDOW_BYTES },
      ...{ resolvers: new Map(Object.entries(resolvers)), codec: VERSION_CODEC },
      ...(expiryOf && { expiryOf }),
      checksum: (operation, previous) => sums.of(operation, previous),
    },
    agreement,
    { store, seed, operations: operations.operations(), log: operations },
  );
}

/** The state that stands on the disk of a node that does not run, as blocks; none without one. */
export async function stateOnDisk(
  platform: Platform,
  disk: {
    readonly directory: string;
    readonly nodeId: string;
    readonly clusterId: string;
    readonly log: SegmentLog;
    /** As the log of consensus has it. */
    readonly agreed: Agreement;
  },
): Promise<readonly Uint8Array[]> {
  const masters = new MastersDisk({ platform, ...disk, logBytes: 0 });
  const { origin, isSeeding, agreement: kept } = masters;
  const agreement = kept.version > disk.agreed.version ? kept : disk.agreed;
  if (agreement.version === 0 || isSeeding) return [];
  const store = new VersionTable(platform.random.below(2 ** 31));
  const seed = await masters.load(store);
  const core = newCore({ ...disk, origin, agreement, store, seed, resolvers: {} });
  const frozen = core.freeze();
  const blocks = [...seedBlocks(frozen)];
  frozen.release();
  return blocks;
}
