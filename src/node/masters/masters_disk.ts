/**
 * What a node keeps on its disk of the collections that every node writes, beside the operations in
 * its log: the agreement that it goes by, and its state at some moment, so that the log need not
 * reach back behind that.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CorruptionError, CStoreError } from "../../base/errors.ts";
import type { VersionTable } from "../../database/collection/version_table.ts";
import { EMPTY_SEED, type Seed } from "../../multi_master/config.ts";
import type { MultiMaster } from "../../multi_master/multi_master.ts";
import type { Agreement } from "../../multi_master/operation/agreement.ts";
import { NO_AGREEMENT } from "../../multi_master/operation/agreement_change.ts";
import type { Dot, Origin, OriginSequence } from "../../multi_master/operation/dot.ts";
import type { SeenToken } from "../../multi_master/operation/operation.ts";
import { meet } from "../../multi_master/operation/version_vector.ts";
import type { Platform } from "../../platform/platform.ts";
import { randomId } from "../../platform/random.ts";
import { SeedReader, seedBlocks } from "../../protocol/operations/seed_codec.ts";
import type { MultiMasterDriver } from "../../replication/multi_master/multi_master_driver.ts";
import { readAgreementFile, writeAgreementFile } from "../../storage/operations/agreement_file.ts";
import { SnapshotStore } from "../../storage/snapshot_store.ts";
import type { SegmentLog } from "../../storage/wal/segment_log.ts";

/** States are written as the log grows by so many times their size. */
const GROWTH = 4;

/** Parts that it works with. */
export interface MastersDiskParts {
  readonly platform: Platform;
  readonly directory: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly log: SegmentLog;
  /** Bytes of operations after which the state is written. */
  readonly logBytes: number;
}

/** One node's files. */
export class MastersDisk {
  readonly store: SnapshotStore;
  readonly #parts: MastersDiskParts;
  #origin: Origin;
  #agreement: Agreement;
  #isSeeding: boolean;
  /** Whether the file says something else than what counts. */
  #isStale: boolean;
  /** The newest state, and the one before it that is kept, too. */
  #newest: SeenToken | undefined;
  #older: SeenToken | undefined;
  /** Whether the newest state holds the operations of the log, too. */
  #isForOthers = false;
  #bytesAtLast = 0;
  #isWriting = false;

  constructor(parts: MastersDiskParts) {
    const { platform, directory, log } = parts;
    this.#parts = parts;
    this.store = new SnapshotStore(platform, `${directory}/masters`, parts.clusterId);
    const kept = readAgreementFile(platform.files, directory);
    this.#agreement = kept?.agreement ?? NO_AGREEMENT;
    this.#isSeeding = kept?.isSeeding === true;
    // What was cut off the end of the log may have left this node: its numbers are not used again.
    const isTorn = log.report.tornBytes > 0;
    this.#isStale = kept !== undefined && isTorn;
    this.#origin = kept === undefined || isTorn ? this.#newOrigin() : kept.origin;
  }

  /** The incarnation that this node writes under. */
  get origin(): Origin {
    return this.#origin;
  }

  get agreement(): Agreement {
    return this.#agreement;
  }

  /** Whether this node waits for another one's state. */
  get isSeeding(): boolean {
    return this.#isSeeding;
  }

  /** To be called before anything else. Rejects with StorageError. */
  async start(): Promise<void> {
    // The next start finds a whole log.
    if (this.#isStale) await this.#write();
    this.#isStale = false;
    if (this.#isSeeding) await this.#voidAll();
  }

  /** Goes by a newer agreement from the next start on. */
  async keep(agreement: Agreement): Promise<void> {
    this.#agreement = agreement;
    await this.#write();
  }

  /** Makes void what is on the disk: another node's state is to come in its place. */
  async startOver(): Promise<void> {
    this.#origin = this.#newOrigin();
    this.#isSeeding = true;
    await this.#write();
    await this.#voidAll();
  }

  /** Another node's state has come and has its name. Rejects with CorruptionError if it is none. */
  async seeded(): Promise<void> {
    const { log } = this.#parts;
    // Other members may ask this node for what is in the state.
    const last = new Map<Origin, OriginSequence>();
    const file = `${this.#parts.directory}/masters`;
    const reader = new SeedReader({
      operations: (operations) => {
        for (const { origin, sequence } of operations) assertNext(last, { origin, sequence }, file);
        log.operations.append(operations);
      },
    });
    try {
      await this.store.load((block) => reader.block(block));
    } catch (error) {
      // Of a state that is none nothing is kept: another member is asked.
      if (error instanceof CorruptionError) await this.#voidAll();
      throw error;
    }
    await log.flush();
    this.#isSeeding = false;
    await this.#write();
  }

  /** Reads the newest state into a table. Rejects with CorruptionError. */
  async load(table: VersionTable): Promise<Seed> {
    const reader = new SeedReader({
      document: ({ collection, key, versions }) => {
        table.update(collection, key, () => versions);
      },
    });
    const found = await this.store.load((block) => reader.block(block));
    if (found === undefined) return EMPTY_SEED;
    const seed = reader.end();
    this.#newest = seed;
    return seed;
  }

  /**
   * Whether another node can begin with the newest state: it holds the operations that some member
   * may lack, and those of incarnations that nobody keeps account of. What came since is sent.
   */
  hasStateFor({ retired }: Agreement): boolean {
    const { version } = this.#newest ?? { version: 0 };
    if (!this.#isForOthers || this.store.newest() === undefined) return false;
    return [...retired.values()].every((over) => over.version <= version);
  }

  /** Writes the state and cuts the log behind the one before it, if that is worth while. */
  async writeIfDue(master: MultiMaster, driver: MultiMasterDriver): Promise<void> {
    const { log, logBytes } = this.#parts;
    const grown = log.operations.writtenBytes - this.#bytesAtLast;
    if (grown < Math.max(logBytes, GROWTH * this.store.newestSize())) return;
    await this.#writeState(master, driver);
  }

  /** Writes the state for others to begin with, unless one is being written. */
  async writeForOthers(master: MultiMaster, driver: MultiMasterDriver): Promise<void> {
    await this.#writeState(master, driver, true);
  }

  async #writeState(
    master: MultiMaster,
    driver: MultiMasterDriver,
    isForOthers = false,
  ): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    const { operations } = this.#parts.log;
    this.#bytesAtLast = operations.writtenBytes;
    const frozen = master.freeze();
    try {
      if (!(await isPersisted(driver, frozen.afterReady))) return;
      // All that the state has seen is in the log by now.
      const all = isForOthers ? [...operations.operations()] : undefined;
      const logged = all?.map((operation) => operations.bytesOf(operation));
      const index = this.store.newestIndex() + 1;
      const position = { index, term: 1, nextSequence: index + 1 };
      await this.store.write(position, seedBlocks(frozen, logged));
      this.#isForOthers = isForOthers;
      assert(this.store.newestIndex() === index, "the state that was written is the newest");
      this.#older = this.#newest;
      this.#newest = { version: frozen.version, cursor: frozen.cursor };
    } finally {
      frozen.release();
      this.#isWriting = false;
    }
    this.#cut(master);
  }

  /** Frees the operations that are in both states that are kept, and on every member's disk. */
  #cut(master: MultiMaster): void {
    if (this.#older === undefined) return;
    const cursors = master.peers.map(({ cursor }) => cursor);
    this.#parts.log.operations.cut(meet(this.#older.cursor, ...cursors));
  }

  async #voidAll(): Promise<void> {
    const { log } = this.#parts;
    log.operations.restart();
    await log.flush();
    await this.store.clear();
    this.#newest = undefined;
    this.#older = undefined;
  }

  async #write(): Promise<void> {
    const { platform, directory } = this.#parts;
    await writeAgreementFile(platform.files, directory, {
      ...{ origin: this.#origin, agreement: this.#agreement, isSeeding: this.#isSeeding },
    });
  }

  #newOrigin(): Origin {
    const { platform, nodeId } = this.#parts;
    return `${nodeId}/${randomId(platform.random)}`;
  }
}

/** False where the driver has ended: then the state is of no use. */
async function isPersisted(driver: MultiMasterDriver, ready: number): Promise<boolean> {
  try {
    await driver.persisted(ready);
    return true;
  } catch (error) {
    if (!(error instanceof CStoreError)) throw error;
    return false;
  }
}

/** Throws CorruptionError for a gap. */
function assertNext(
  last: Map<Origin, OriginSequence>,
  { origin, sequence }: Dot,
  file: string,
): void {
  const before = last.get(origin);
  last.set(origin, sequence);
  if (before === undefined || sequence === before + 1) return;
  throw new CorruptionError(
    `Cannot begin with another node's state: operation ${sequence} of ${origin} is behind ${before}`,
    { file, byte: 0 },
  );
}
