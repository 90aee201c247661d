/**
 * Collects the `writeEntry` calls of one turn into one batch, for a log without consensus.
 *
 * @module
 */

import { ByteWriter } from "../../base/bytes.ts";
import { ValidationError } from "../../base/errors.ts";
import { BATCH_BODY_SIZE_GOAL, BATCH_BODY_SIZE_MAX } from "../../base/limits.ts";
import type { Clock } from "../../platform/clock.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
  UNCOMPRESSED,
} from "../../protocol/encoding/batch_codec.ts";
import type { Entry } from "../../raft/types.ts";
import type { WALEntry } from "./iwal_manager.ts";
import { entryChecksum, writeEntryCommand } from "./wal_entry_codec.ts";

/** The term of a log whose order nobody disputes. */
const OWN_TERM = 1;

/** The log that gets the batches. */
export interface EntryTarget {
  lastIndex(): number;
  sequenceAfter(index: number): number;
  write(change: {
    readonly hardState: undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: number;
  }): number;
  /** Resolves when everything written so far is durable. */
  flush(): Promise<void>;
}

interface Waiter {
  resolve(): void;
  reject(cause: unknown): void;
}

/** Entries in, one batch a turn out. */
export class EntryWriter {
  readonly #target: EntryTarget;
  readonly #clock: Clock;
  #open = new ByteWriter(4096);
  #entries: WALEntry[] = [];
  #waiters: Waiter[] = [];
  #isQueued = false;
  #underway = 0;
  #idleWaiters: (() => void)[] = [];

  constructor(target: EntryTarget, clock: Clock) {
    this.#target = target;
    this.#clock = clock;
    this.#open.reserve(BATCH_HEADER_SIZE);
  }

  /** Resolves when all the entries, which stay in one batch, are durable. */
  write(entries: readonly WALEntry[]): Promise<void> {
    const before = this.#open.size;
    this.#encode(entries);
    if (this.#open.size - BATCH_HEADER_SIZE > BATCH_BODY_SIZE_MAX) {
      this.#open.rewind(before);
      if (before === BATCH_HEADER_SIZE) {
        throw new ValidationError("Cannot write entries: they do not fit into one batch");
      }
      this.seal();
      return this.write(entries);
    }
    return new Promise((resolve, reject) => {
      for (const entry of entries) this.#entries.push(entry);
      this.#waiters.push({ resolve, reject });
      if (this.#open.size > BATCH_BODY_SIZE_GOAL) this.seal();
      else this.#queue();
    });
  }

  /** A refused entry leaves nothing behind in the open batch. */
  #encode(entries: readonly WALEntry[]): void {
    const before = this.#open.size;
    try {
      for (const entry of entries) {
        entry.checksum = entryChecksum(writeEntryCommand(this.#open, entry));
      }
    } catch (cause) {
      this.#open.rewind(before);
      throw cause;
    }
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    this.seal();
    if (this.#underway === 0) return;
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    // Not a microtask: callers that wait for the same sync all get their next entry in.
    this.#clock.soon(() => {
      if (this.#isQueued) this.seal();
    });
  }

  /** Ends the open batch and writes it. */
  seal(): void {
    this.#isQueued = false;
    const waiters = this.#waiters;
    const entries = this.#entries;
    if (waiters.length === 0) return;
    const body = this.#open.written();
    this.#open = new ByteWriter(body.byteLength + 256);
    this.#open.reserve(BATCH_HEADER_SIZE);
    this.#waiters = [];
    this.#entries = [];
    this.#underway += 1;
    this.#append(body, entries).then(
      () => this.#settle(() => waiters.forEach((waiter) => void waiter.resolve())),
      (cause: unknown) =>
        this.#settle(() => waiters.forEach((waiter) => void waiter.reject(cause))),
    );
  }

  async #append(body: Uint8Array, entries: readonly WALEntry[]): Promise<void> {
    const index = this.#target.lastIndex() + 1;
    const firstSequence = this.#target.sequenceAfter(index - 1);
    const count = entries.length;
    const batch = prepareBatch(
      body,
      { count, timeMs: Math.floor(this.#clock.wallMs()) },
      UNCOMPRESSED,
    );
    const bytes = sealBatch(batch, { term: OWN_TERM, index, firstSequence });
    entries.forEach((entry, i) => {
      entry.sequenceNumber = firstSequence + i;
    });
    const entry = { term: OWN_TERM, index, firstSequence, count, bytes };
    this.#target.write({ hardState: undefined, entries: [entry], commitIndex: index });
    await this.#target.flush();
  }

  #settle(tell: () => void): void {
    this.#underway -= 1;
    tell();
    if (this.#underway > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}
