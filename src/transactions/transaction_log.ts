/**
 * Where a coordinator of two-phase commit keeps what it must not forget: the participants and the
 * decision. Two places: a log file of its own, and a collection of a cstore database, where every
 * record is an entry of the cluster's log, so that another coordinator can go on.
 *
 * @module
 */

import type { Collection } from "../api/collection.ts";
import { VersionConflictError } from "../base/errors.ts";
import type { IWALManager, WALEntry } from "../storage/wal/iwal_manager.ts";
import type { ChangeRecord } from "./itransactional_storage_adapter.ts";
import type { Decision } from "./two_phase_commit.ts";

/** Finished transactions after which the log file is cut. */
const CUT_AFTER = 1_000;

/** One transaction that is not finished. */
export interface TransactionRecord {
  readonly id: string;
  readonly participants: readonly string[];
  /** The manager that runs it: one in one process. */
  readonly coordinator: string;
  /** ms since 1970 after which others may settle it. */
  readonly deadlineMs: number;
  readonly decision: Decision | undefined;
}

/** A change, and the participant that makes it. */
export interface RecordedChange extends ChangeRecord {
  readonly participant: string;
}

/** Every promise resolves when the record is durable: on disk, or on a majority of the cluster. */
export interface TransactionLog {
  begin(record: TransactionRecord, changes: readonly RecordedChange[]): Promise<void>;
  /** A participant said yes; for readers of the log only. */
  prepared(id: string, participant: string): Promise<void>;
  /** Puts a decision on record unless one is there. Resolves with the one that is there then. */
  decide(id: string, decision: Decision): Promise<Decision>;
  forget(id: string): Promise<void>;
  unfinished(): Promise<readonly TransactionRecord[]>;
  /** Frees the log's own resources. */
  close(): Promise<void>;
}

interface Unfinished extends TransactionRecord {
  readonly firstSequence: number;
}

/** Records in a log of which this process is the only writer. */
export class WALTransactionLog implements TransactionLog {
  readonly #wal: IWALManager;
  readonly #isOwn: boolean;
  readonly #now: () => number;
  readonly #unfinished = new Map<string, Unfinished>();
  /** Decisions on their way to the disk. */
  readonly #deciding = new Map<string, Promise<Decision>>();
  /** Records that are on their way to the disk, and not noted yet. */
  #beginning = 0;
  #finished = 0;

  private constructor(wal: IWALManager, isOwn: boolean, now: () => number) {
    this.#wal = wal;
    this.#isOwn = isOwn;
    this.#now = now;
  }

  /**
   * Reads the unfinished transactions.
   *
   * @param isOwn whether `close` closes the log.
   * @param now ms since 1970.
   */
  static async open(wal: IWALManager, isOwn: boolean, now: () => number): Promise<TransactionLog> {
    const log = new WALTransactionLog(wal, isOwn, now);
    await wal.recover();
    for (const entry of await wal.readEntries()) log.#note(entry);
    return log;
  }

  async begin(record: TransactionRecord, changes: readonly RecordedChange[]): Promise<void> {
    const { id, participants, coordinator, deadlineMs } = record;
    const data = { key: id, participants: [...participants], coordinator, deadlineMs };
    const begin = this.#entry(id, "BEGIN", { operation: "BEGIN", data });
    this.#beginning += 1;
    const entries = [begin, ...changes.map((change) => this.#dataEntry(id, change))];
    try {
      if (this.#wal.writeBatch === undefined) {
        for (const entry of entries) await this.#wal.writeEntry(entry);
      } else await this.#wal.writeBatch(entries);
      this.#note(begin);
    } finally {
      this.#beginning -= 1;
    }
  }

  async prepared(id: string, participant: string): Promise<void> {
    const data = { key: participant };
    await this.#wal.writeEntry(this.#entry(id, "PREPARE", { operation: "NOOP", data }));
  }

  decide(id: string, decision: Decision): Promise<Decision> {
    const known = this.#unfinished.get(id)?.decision;
    if (known !== undefined) return Promise.resolve(known);
    let deciding = this.#deciding.get(id);
    if (deciding === undefined) {
      deciding = this.#decide(id, decision).finally(() => this.#deciding.delete(id));
      this.#deciding.set(id, deciding);
    }
    return deciding;
  }

  async #decide(id: string, decision: Decision): Promise<Decision> {
    const entry = this.#entry(id, decision, { operation: decision, data: { key: id } });
    await this.#wal.writeEntry(entry);
    this.#note(entry);
    return decision;
  }

  async forget(id: string): Promise<void> {
    const decision = this.#unfinished.get(id)?.decision ?? "ROLLBACK";
    const entry = this.#entry(id, decision, { operation: "NOOP", data: { key: id } });
    await this.#wal.writeEntry(entry);
    this.#note(entry);
    this.#finished += 1;
    if (this.#finished < CUT_AFTER || this.#beginning > 0) return;
    this.#finished = 0;
    await this.cut();
  }

  unfinished(): Promise<readonly TransactionRecord[]> {
    return Promise.resolve([...this.#unfinished.values()]);
  }

  /** Lets the log forget what no unfinished transaction needs. */
  async cut(): Promise<void> {
    const { sequenceNumber } = await this.#wal.createCheckpoint();
    const needed = [...this.#unfinished.values()].map(({ firstSequence }) => firstSequence);
    await this.#wal.truncate(Math.min(sequenceNumber, ...needed));
  }

  async close(): Promise<void> {
    if (this.#isOwn) await this.#wal.close();
  }

  #note({ transactionId: id, type, operation, data, sequenceNumber }: WALEntry): void {
    if (type === "BEGIN") {
      // Only this class writes to the log; its records have this form.
      const begun: unknown = data;
      const { participants, coordinator, deadlineMs } = begun as TransactionRecord;
      const record = { id, participants, coordinator, deadlineMs, decision: undefined };
      this.#unfinished.set(id, { ...record, firstSequence: sequenceNumber });
      return;
    }
    if (type !== "COMMIT" && type !== "ROLLBACK") return;
    const record = this.#unfinished.get(id);
    if (record === undefined) return;
    if (operation === "NOOP") this.#unfinished.delete(id);
    else this.#unfinished.set(id, { ...record, decision: type });
  }

  #dataEntry(id: string, change: RecordedChange): WALEntry {
    const { type, collection, key, oldValue, newValue, participant } = change;
    const operation = ({ insert: "INSERT", update: "UPDATE", delete: "DELETE" } as const)[type];
    const data = { key, oldValue: oldValue ?? null, newValue: newValue ?? null, participant };
    return { ...this.#entry(id, "DATA", { operation, data }), collectionName: collection };
  }

  #entry(
    transactionId: string,
    type: WALEntry["type"],
    rest: Pick<WALEntry, "operation" | "data">,
  ): WALEntry {
    const timestamp = this.#now();
    const given = { sequenceNumber: 0, checksum: "", collectionName: "*" };
    return { transactionId, type, timestamp, ...given, ...rest };
  }
}

/** A record as a document. */
export interface TransactionDocument {
  readonly id: string;
  readonly participants: readonly string[];
  readonly coordinator: string;
  readonly deadlineMs: number;
  readonly decision: Decision | null;
}

/** Records in a collection that several coordinators share. */
export class CollectionTransactionLog implements TransactionLog {
  readonly #records: Collection<TransactionDocument>;

  constructor(records: Collection<TransactionDocument>) {
    this.#records = records;
  }

  async begin(record: TransactionRecord): Promise<void> {
    const { id, coordinator, deadlineMs } = record;
    const participants = [...record.participants];
    await this.#records.insert({ id, participants, coordinator, deadlineMs, decision: null });
  }

  async prepared(): Promise<void> {
    // No recovery needs it, and it would cost a round of the cluster.
  }

  /** The first decision counts. A record that is gone was rolled back: a commit keeps it. */
  async decide(id: string, decision: Decision): Promise<Decision> {
    while (true) {
      const found = await this.#records.findVersioned(id);
      if (found === undefined) return "ROLLBACK";
      if (found.document.decision !== null) return found.document.decision;
      try {
        await this.#records.put({ ...found.document, decision }, { ifVersion: found.version });
        return decision;
      } catch (error) {
        if (!(error instanceof VersionConflictError)) throw error;
      }
    }
  }

  async forget(id: string): Promise<void> {
    await this.#records.delete(id);
  }

  async unfinished(): Promise<readonly TransactionRecord[]> {
    const records = await this.#records.find();
    return records.map((record) => ({ ...record, decision: record.decision ?? undefined }));
  }

  async close(): Promise<void> {
    // The database belongs to the caller.
  }
}
