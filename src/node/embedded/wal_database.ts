/**
 * WALDatabase: the whole engine in the caller's process, with a quorum of one and no network.
 *
 * @module
 */

import type { CollectionSettingsOptions } from "../../api/collection.ts";
import type { Validators } from "../../api/validator.ts";
import { EMBEDDED_ADDRESS } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { ClosedError, ConfigError } from "../../base/errors.ts";
import { checkConfig, type KnownNames } from "../../base/known_options.ts";
import { SETTINGS } from "../../client/collection/call_options.ts";
import { changeCatalog } from "../../client/collection/catalog_client.ts";
import { readWhole } from "../../client/collection/query_client.ts";
import { Client } from "../../client/connection/client.ts";
import { DatabaseBase } from "../../client/database_base.ts";
import { backupBlocks } from "../../client/state_export.ts";
import { type Platform, systemPlatform } from "../../platform/platform.ts";
import { readIdentity } from "../../storage/data_directory.ts";
import { databaseFolder, parseNodeConfig } from "../config/node_config.ts";
import { Node } from "../node.ts";
import { type BackupReport, restoreBackup, writeBackup } from "../snapshots/backup.ts";
import { localReadsOf } from "./embedded_reads.ts";

/** Where an embedded database lives. */
export interface WALDatabaseConfig {
  /** Name of the database, a folder below `root`. */
  readonly name: string;
  /** Folder of all databases; `./data` unless set. */
  readonly root?: string;
  /** Node id, the folder below the name; `n1` unless set. */
  readonly nodeId?: string;
  /** By the names under which collections ask for them. */
  readonly validators?: Validators;
  /** Collections that are made, with their settings, when the database is opened. */
  readonly collections?: Readonly<Record<string, CollectionSettingsOptions>>;
  readonly platform?: Platform;
}

/** `cluster`: of a subclass that is written for either kind of database. */
const DATABASE_OPTIONS: KnownNames = new Set([
  ...["name", "root", "nodeId", "validators", "collections", "platform", "cluster"],
]);

/** A database in this process. Opens itself on first use. */
export class WALDatabase extends DatabaseBase {
  readonly #config: WALDatabaseConfig;
  #opening: Promise<Client> | undefined;
  #client: Client | undefined;
  #node: Node | undefined;
  #isClosed = false;
  readonly #platform: Platform;

  constructor(config: WALDatabaseConfig) {
    super(() => this.#client ?? this.#ready(), config.validators);
    checkConfig("the database", config, DATABASE_OPTIONS);
    for (const [name, settings] of Object.entries(config.collections ?? {})) {
      checkConfig(`the collection "${name}"`, settings, SETTINGS);
    }
    this.#config = config;
    this.#platform = config.platform ?? systemPlatform();
  }

  /**
   * Recovers the data, then returns ready. Rejects with LockedError, CorruptionError, StorageError.
   */
  override async open(): Promise<void> {
    await this.#ready();
  }

  /**
   * Writes the whole state, as it is at one entry of the log, to a file, while the database goes
   * on; reads it back, and then gives it its name. Rejects with ConfigError if the file is there.
   */
  async backup(file: string): Promise<BackupReport> {
    const client = await this.#ready();
    assert(this.#node !== undefined, "an open database has its node");
    const { clusterId } = this.#node;
    return readWhole(client, () => {
      return writeBackup(this.#platform, { clusterId, blocks: backupBlocks(client) }, file);
    });
  }

  /**
   * Makes a database that begins with a backup: `config` names one that is not there. Rejects with
   * ConfigError, CorruptionError, StorageError.
   */
  static async restore(config: WALDatabaseConfig, file: string): Promise<BackupReport> {
    const { platform = systemPlatform(), name, root, nodeId = "n1" } = config;
    const dataDirectory = databaseFolder({ root, name, nodeId });
    const first = { id: nodeId, address: EMBEDDED_ADDRESS, dataDirectory };
    const { timeMs: _, ...report } = await restoreBackup(platform, file, first);
    return report;
  }

  /** Closes the files. Every write that was answered is on the disk. */
  override async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#opening?.catch(() => undefined);
    this.#client?.close();
    this.#client = undefined;
    this.calls.local = () => undefined;
    await this.#node?.stop();
  }

  #ready(): Promise<Client> {
    if (this.#isClosed)
      return Promise.reject(new ClosedError("Cannot use the database: it is closed"));
    this.#opening ??= this.#start();
    return this.#opening;
  }

  async #start(): Promise<Client> {
    const { name, root, nodeId = "n1" } = this.#config;
    const platform = this.#platform;
    const dataDirectory = databaseFolder({ root, name, nodeId });
    // A folder that was restored from a backup has a cluster id of its own. One that joined others
    // and has no log yet must not begin by itself.
    const known = readIdentity(platform.files, dataDirectory);
    const config = parseNodeConfig({
      id: nodeId,
      isEmbedded: true,
      dataDirectory,
      members: known?.isJoined === true ? [] : [{ id: nodeId, address: EMBEDDED_ADDRESS }],
      ...(known && { clusterId: known.clusterId }),
    });
    const node = await Node.open(platform, config);
    this.#node = node;
    const { members } = node.status();
    if (members.length !== 1) {
      await node.stop();
      const many = members.length === 0 ? "" : ` of ${members.length}`;
      throw new ConfigError(
        `Cannot open "${config.dataDirectory}": it belongs to a node of a cluster${many}`,
        { remedy: "Start it with `cstore node --data`, or open it as a ReplicatedWALDatabase" },
      );
    }
    // Ready means that the log found on disk is in the state, however long that takes.
    await new Promise<void>((resolve) => node.driver.readBarrier({ run: resolve }));
    await node.raiseRules();
    const client = Client.local(nodeId, (onReplies) => node.openLocal(onReplies), { platform });
    for (const [collection, settings] of Object.entries(this.#config.collections ?? {})) {
      await changeCatalog(client, { action: "createCollection", collection, settings });
    }
    this.#client = client;
    const { machine, driver } = node;
    this.calls.local = localReadsOf({ machine, driver, clock: platform.clock });
    return this.#client;
  }
}
