/**
 * Transactions: what a function reads is noted, what it writes is kept here, and at its end both go
 * to the leader as one command, which takes effect whole if nothing that was read has changed.
 * Serializable by validation at one point of the log (Kung, Robinson 1981, "On Optimistic Methods
 * for Concurrency Control").
 *
 * @module
 */

import type { CollectionOptions, Item } from "../../api/collection.ts";
import {
  TRANSACTION_TIMEOUT_MS,
  type Transaction,
  type TransactionCollection,
  type TransactionOptions,
} from "../../api/transaction.ts";
import { encodeText } from "../../base/bytes.ts";
import {
  ClosedError,
  NotFoundError,
  TransactionConflictError,
  ValidationError,
} from "../../base/errors.ts";
import { latinText } from "../../base/order_key.ts";
import { BACKOFF_MS } from "../../base/timing.ts";
import { sleep } from "../../platform/clock.ts";
import { encodeCbor } from "../../protocol/encoding/cbor.ts";
import {
  type DocumentOperation,
  writeTransactionCommand,
} from "../../protocol/encoding/command.ts";
import type { CollectionRules } from "../collection/collection_rules.ts";
import type { Client } from "../connection/client.ts";
import { CollectionView, type TransactionState, type Write } from "./transaction_collection.ts";

type Writes = Map<string, Map<string, Write>>;

/** Services that transactions need from their database. */
export interface TransactionParts {
  client(): Client | Promise<Client>;
  newId(): string;
  readonly rules: CollectionRules;
}

/** Runs a function until it commits, fails, or has no more time. */
export async function runTransaction<R>(
  parts: TransactionParts,
  run: (transaction: Transaction) => Promise<R>,
  options: TransactionOptions = {},
): Promise<R> {
  const client = await parts.client();
  const { clock, random } = client.platform;
  const deadlineMs = clock.nowMs() + (options.timeoutMs ?? TRANSACTION_TIMEOUT_MS);
  for (
    let waitMs: number = BACKOFF_MS.transaction.first;
    ;
    waitMs = Math.min(2 * waitMs, BACKOFF_MS.transaction.max)
  ) {
    const attempt = new RunningTransaction(client, parts, options);
    try {
      const result = await run(attempt).catch(async (error: unknown) => {
        // Reads of two moments may have caused the error: then the function is called again.
        await attempt.checkReads();
        throw error;
      });
      await attempt.commit();
      return result;
    } catch (error) {
      const isLate = clock.nowMs() + waitMs >= deadlineMs;
      const isOvertaken = error instanceof TransactionConflictError;
      // A validator that was not known of is from now on: what it passes is written.
      const isNews = await attempt.learnsValidator(error);
      if (!(isOvertaken || isNews) || isLate) throw error;
    } finally {
      attempt.end();
    }
    await sleep(clock, waitMs * (0.5 + random.below(1000) / 1000));
  }
}

/** One attempt. */
export class RunningTransaction implements Transaction, TransactionState {
  readonly id: string;
  readonly client: Client;
  readonly rules: CollectionRules;
  readonly #isReadOnly: boolean;
  #writes: Writes = new Map();
  readonly #savepoints = new Map<string, Writes>();
  /** Version of each document that was read, by collection and key. */
  readonly #versions = new Map<string, { readonly condition: readonly unknown[] }>();
  /** Sequence number of the state in which each collection was searched first. */
  readonly #searches = new Map<string, number>();
  /** Times that anything was read. */
  #looks = 0;
  #isEnded = false;
  /** A write made now would miss the command that is on its way. */
  #isCommitting = false;

  constructor(client: Client, parts: TransactionParts, options: TransactionOptions) {
    this.id = parts.newId();
    this.client = client;
    this.rules = parts.rules;
    this.#isReadOnly = options.readOnly === true;
  }

  collection<T extends Item>(name: string, options?: CollectionOptions): TransactionCollection<T> {
    return new CollectionView<T>(this, name, options);
  }

  savepoint(name: string): void {
    this.#savepoints.set(name, copyOf(this.#writes));
  }

  rollbackTo(name: string): void {
    const kept = this.#savepoints.get(name);
    if (kept === undefined) throw new NotFoundError(`Cannot find the savepoint "${name}"`);
    this.#writes = copyOf(kept);
  }

  end(): void {
    this.#isEnded = true;
  }

  /** Throws ClosedError when the transaction is over. */
  check(): void {
    if (this.#isEnded) throw new ClosedError("Cannot use the transaction: it is over");
  }

  /** The transaction's writes to a collection. */
  writesTo(collection: string): ReadonlyMap<string, Write> {
    return this.#writes.get(collection) ?? new Map();
  }

  write(collection: string, write: Write): void {
    this.check();
    if (this.#isCommitting) {
      throw new ClosedError("Cannot write: the transaction is being committed", {
        remedy: "Await every call before the transaction ends",
      });
    }
    if (this.#isReadOnly) {
      throw new ValidationError("Cannot write: the transaction is for reading only");
    }
    const writes = this.#writes.get(collection) ?? new Map<string, Write>();
    writes.set(latinText(write.key), write);
    this.#writes.set(collection, writes);
  }

  /** Notes a read. Throws TransactionConflictError when an earlier read gave another version. */
  noteRead(collection: string, key: Uint8Array, version: number): void {
    this.#looks += 1;
    const name = `${collection}\u0000${latinText(key)}`;
    const known = this.#versions.get(name);
    if (known !== undefined && known.condition[2] !== version) throw changed(collection);
    this.#versions.set(name, { condition: [collection, key, version] });
  }

  noteSearch(collection: string, sequence: number): void {
    this.#looks += 1;
    const first = this.#searches.get(collection) ?? sequence;
    this.#searches.set(collection, Math.min(first, sequence));
  }

  /** Throws TransactionConflictError when something that was read is not so any more. */
  async checkReads(): Promise<void> {
    if (this.#looks < 2) return;
    this.#writes = new Map();
    await this.commit();
  }

  /** Whether the commit was refused for a validator that is known now and saw not all of it. */
  async learnsValidator(error: unknown): Promise<boolean> {
    let isNews = false;
    for (const [name, writes] of this.#writes) {
      const isSeen = [...writes.values()].every(({ kind, isChecked }) => {
        return isChecked === true || kind === "REMOVE" || kind === "NOTHING";
      });
      if (!isSeen) isNews = (await this.rules.learnsValidator(name, error)) || isNews;
    }
    return isNews;
  }

  async commit(): Promise<void> {
    this.check();
    this.#isCommitting = true;
    const reads = [...this.#versions.values()].map(({ condition }) => condition);
    const searches = [...this.#searches].map(([name, sequence]) => [name, null, sequence]);
    const absent = [...this.#writes].flatMap(([name, list]) => {
      return [...list.values()].flatMap(({ kind, key }) => {
        return kind === "NOTHING" ? [[name, key, 0]] : [];
      });
    });
    const writes = [...this.#writes]
      .map(([name, list]) => {
        const operations = [...list.values()].flatMap((write): DocumentOperation[] => {
          return write.kind === "NOTHING" ? [] : [{ ...write, kind: write.kind }];
        });
        return { collection: encodeText(name), operations };
      })
      .filter(({ operations }) => operations.length > 0);
    // One look alone is of one moment anyway.
    if (writes.length === 0 && absent.length === 0 && this.#looks < 2) return;
    const conditions = encodeCbor([...reads, ...searches, ...absent]).slice();
    await this.client.execute({
      kind: "COMMAND",
      target: "leader",
      write: (writer, identity) =>
        writeTransactionCommand(writer, identity, { conditions, writes }),
    });
  }
}

function copyOf(writes: Writes): Writes {
  return new Map([...writes].map(([name, list]) => [name, new Map(list)]));
}

function changed(collection: string): TransactionConflictError {
  return new TransactionConflictError(
    `Cannot go on with the transaction: what it read in "${collection}" was changed meanwhile`,
  );
}
