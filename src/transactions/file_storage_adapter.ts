/**
 * A store in files that takes part in two-phase commits. Two files count: `state`, all committed
 * documents, written whole with each commit; `prepared-ID`, what a prepared transaction is to
 * change. Each is written aside, synced, renamed, and its folder synced. Meant for some thousands
 * of documents; a cstore database is the store for more.
 *
 * File: xxh64 of the rest (8 bytes, little-endian), then a CBOR list of {collection,
 * key, document}.
 *
 * @module
 */

import { CorruptionError } from "../base/errors.ts";
import { type Platform, systemPlatform } from "../platform/platform.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import {
  bodyBehindChecksum,
  syncNames,
  withChecksum,
  writeFileDurably,
} from "../storage/data_directory.ts";
import type {
  ChangeRecord,
  ITransactionalStorageAdapter,
} from "./itransactional_storage_adapter.ts";
import { type StagedChange, StagedChanges } from "./staged_changes.ts";

const STATE = "state";
const PREPARED = "prepared-";

/** Documents by collection and key, in a folder. Opens itself on first use. */
export class TransactionalAdapterFile implements ITransactionalStorageAdapter {
  readonly name: string;
  readonly #directory: string;
  readonly #platform: Platform;
  readonly #staged = new StagedChanges();
  #lock: { release(): void } | undefined;
  #opening: Promise<void> | undefined;
  /** One change of the folder at a time. */
  #last: Promise<unknown> = Promise.resolve();

  /**
   * @param directory a folder of its own.
   * @param options `name` names the store in the coordinator's log.
   */
  constructor(directory: string, options: { name: string; platform?: Platform }) {
    this.#directory = directory;
    this.name = options.name;
    this.#platform = options.platform ?? systemPlatform();
  }

  isTransactional(): boolean {
    return true;
  }

  /** Reads the folder. Rejects with CorruptionError, LockedError, StorageError. */
  async open(): Promise<void> {
    this.#opening ??= this.#load();
    await this.#opening;
  }

  /** A copy of a committed document; undefined when there is none. */
  async get(collection: string, key: unknown): Promise<unknown> {
    await this.open();
    return this.#staged.get(collection, key);
  }

  async writeInTransaction(transactionId: string, change: ChangeRecord): Promise<void> {
    await this.open();
    this.#staged.add(transactionId, change);
  }

  async prepareCommit(transactionId: string): Promise<boolean> {
    await this.open();
    if (!this.#staged.prepare(transactionId)) return false;
    const changes = this.#staged.changesOf(transactionId);
    await this.#alone(() => this.#write(`${PREPARED}${transactionId}`, changes));
    return true;
  }

  async finalizeCommit(transactionId: string): Promise<void> {
    await this.open();
    await this.#alone(async () => {
      if (!this.#staged.preparedIds().includes(transactionId)) return;
      const after = new StagedChanges();
      after.put(this.#staged.all());
      after.put(this.#staged.changesOf(transactionId));
      await this.#write(STATE, after.all());
      // Its documents stay locked until this is gone: after a crash it would be put in place again.
      await this.#remove(`${PREPARED}${transactionId}`);
      this.#staged.finalize(transactionId);
    });
  }

  async rollback(transactionId: string): Promise<void> {
    await this.open();
    await this.#alone(async () => {
      await this.#remove(`${PREPARED}${transactionId}`);
      this.#staged.drop(transactionId);
    });
  }

  async listPrepared(): Promise<readonly string[]> {
    await this.open();
    return this.#staged.preparedIds();
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    await this.#last;
    this.#lock?.release();
    this.#lock = undefined;
  }

  async #load(): Promise<void> {
    const { files } = this.#platform;
    files.makeDirectory(this.#directory);
    this.#lock = files.lock(`${this.#directory}/LOCK`);
    // The folder may be new: its own name is made durable before anything in it counts.
    await syncNames(files, this.#directory);
    if (files.exists(this.#path(STATE))) this.#staged.put(this.#read(STATE));
    for (const name of files.list(this.#directory)) {
      // A crash left it before it got its name: the coordinator got no yes.
      if (name.endsWith(".tmp")) files.remove(this.#path(name));
      if (!name.startsWith(PREPARED) || name.endsWith(".tmp")) continue;
      this.#staged.restorePrepared(name.slice(PREPARED.length), this.#read(name));
    }
  }

  #alone<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#last.then(run);
    this.#last = result.catch(() => undefined);
    return result;
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  #write(name: string, changes: readonly StagedChange[]): Promise<void> {
    const bytes = withChecksum(encodeCbor(changes));
    return writeFileDurably(this.#platform.files, { directory: this.#directory, name, bytes });
  }

  async #remove(name: string): Promise<void> {
    const { files } = this.#platform;
    if (!files.exists(this.#path(name))) return;
    files.remove(this.#path(name));
    await files.syncDirectory(this.#directory);
  }

  #read(name: string): readonly StagedChange[] {
    const path = this.#path(name);
    const file = this.#platform.files.open(path, "read");
    try {
      const bytes = new Uint8Array(file.size());
      const body = bodyBehindChecksum(bytes.subarray(0, file.read(0, bytes)));
      if (body === undefined) {
        throw new CorruptionError(`Cannot read "${path}": its checksum does not match`, {
          file: path,
          byte: 0,
        });
      }
      return decodeUntrustedCbor(body) as readonly StagedChange[];
    } finally {
      file.close();
    }
  }
}
