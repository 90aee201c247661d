/**
 * Carries out what one node decides that takes writes: messages leave, operations go to the log and
 * are synced, and who waits is answered once the disk has what the answer says.
 *
 * All that comes in one turn - writes, messages, ticks - becomes one Ready, so that it shares a
 * record of the log and a sync.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CStoreError } from "../../base/errors.ts";
import type { VisibleChange } from "../../multi_master/document/written_document.ts";
import type { MultiMasterMessage } from "../../multi_master/message.ts";
import type { MultiMaster } from "../../multi_master/multi_master.ts";
import type { CollectionId, Dot } from "../../multi_master/operation/dot.ts";
import type { Operation, PackedOperation } from "../../multi_master/operation/operation.ts";
import { covers } from "../../multi_master/operation/version_vector.ts";
import type { MultiMasterEvent, MultiMasterReady } from "../../multi_master/ready.ts";
import type { ReadResult, WriteRequest, WriteResult } from "../../multi_master/requests.ts";
import type { CancelTimer, Clock } from "../../platform/clock.ts";
import type { Acknowledgement } from "../../protocol/wire/client_message.ts";
import {
  decodeMultiMasterMessage,
  encodeMultiMasterMessage,
} from "../../protocol/wire/multi_master_message.ts";

/** How a write is answered. */
export interface WriteWait {
  /** `one` unless given. */
  readonly ack?: Acknowledgement;
  /** Milliseconds after which it is answered with the acknowledgements that there are. */
  readonly timeoutMs: number;
}

/** What became of a write. */
export interface WriteOutcome {
  readonly result: WriteResult;
  /** Members whose disks are known to have it, this node among them. */
  readonly acknowledgements: number;
  /** How many were asked for; with fewer the write is there all the same, and goes on. */
  readonly wanted: number;
  readonly members: number;
}

/** The log of a node, as far as it holds operations. */
export interface LoggedOperations {
  /** Gives the record that holds the last of them. */
  append(operations: readonly Operation[]): number;
  load(dot: Dot): void;
  bytesOf(operation: PackedOperation): Uint8Array;
}

/** What a driver needs. */
export interface MultiMasterDriverParts {
  readonly clock: Clock;
  readonly master: MultiMaster;
  readonly operations: LoggedOperations;
  /** Members of the cluster, also those that do not take part yet. */
  members(): number;
  /** Asks for a sync, whose end is told by {@link MultiMasterDriver.synced}. */
  requestSync(): void;
  send(to: string, body: Uint8Array): void;
  /** News for alarms and metrics. */
  tell(events: readonly MultiMasterEvent[]): void;
  /** What readers see from now on: it is on disk. Before anybody is answered. */
  show(changes: readonly VisibleChange[]): void;
}

interface Underway {
  readonly number: number;
  readonly changes: readonly VisibleChange[];
  readonly record: number;
}

/** Who is answered when a Ready is on disk. */
interface Waiting {
  readonly afterReady: number;
  answer(): void;
  fail(error: CStoreError): void;
}

/** A write that is here, and waits for other disks. */
interface Unconfirmed {
  readonly dot: Dot;
  readonly wanted: number;
  settle(): void;
}

/** One node's part in collections that every node writes. */
export class MultiMasterDriver {
  readonly #parts: MultiMasterDriverParts;
  /** Readies on their way to the disk, in their order. */
  readonly #underway: Underway[] = [];
  #waiting: Waiting[] = [];
  readonly #unconfirmed = new Set<Unconfirmed>();
  #record = 0;
  #persisted = 0;
  #isQueued = false;
  #failure: CStoreError | undefined;

  constructor(parts: MultiMasterDriverParts) {
    this.#parts = parts;
    this.#queueTurn();
  }

  /** Why it has ended; undefined while it goes on. */
  get failure(): CStoreError | undefined {
    return this.#failure;
  }

  /** Members, this node among them, and those that do not take part yet. */
  get members(): number {
    return Math.max(this.#parts.master.peers.length + 1, this.#parts.members());
  }

  /**
   * Writes documents; resolves when as many disks have them as are asked for, or when the time is
   * over. Rejects with the error that ended the log; an error of a body's function is thrown.
   */
  async write(request: WriteRequest, { ack = "one", timeoutMs }: WriteWait): Promise<WriteOutcome> {
    this.#assertUsable();
    const { master, clock } = this.#parts;
    const result = master.write(request, Math.floor(clock.wallMs()));
    const wanted = this.#wanted(ack);
    if (result.kind === "refused") {
      return { result, acknowledgements: 0, wanted, members: this.members };
    }
    const dot = result.kind === "known" ? result.dot : result.operation;
    await this.#whenPersisted(result.afterReady);
    if (this.#acknowledgements(dot) < wanted) await this.#whenConfirmed(dot, wanted, timeoutMs);
    const acknowledgements = this.#acknowledgements(dot);
    return { result, acknowledgements, wanted, members: this.members };
  }

  /** Reads a document; resolves when a crash of this node cannot take back what is shown. */
  async read(collection: CollectionId, key: Uint8Array): Promise<ReadResult> {
    this.#assertUsable();
    const { master, clock } = this.#parts;
    const result = master.read(collection, key, Math.floor(clock.wallMs()));
    if (result.afterReady > 0) await this.#whenPersisted(result.afterReady);
    return result;
  }

  /** Resolves when a Ready is on the disk. Rejects with what ended the log. */
  async persisted(number: number): Promise<void> {
    this.#assertUsable();
    await this.#whenPersisted(number);
  }

  /** A message came from a member. Throws ProtocolError for bytes that are none. */
  receive(body: Uint8Array, route: { readonly from: string; readonly to: string }): void {
    if (this.#failure !== undefined) return;
    // What is logged of it holds views of the bytes.
    const message = decodeMultiMasterMessage(body.slice(), route);
    this.#step(message);
  }

  /** Time passes. */
  tick(): void {
    if (this.#failure !== undefined) return;
    this.#parts.master.tick(Math.floor(this.#parts.clock.wallMs()));
    this.#queueTurn();
  }

  /** A member's connection came up or went. */
  setPeer(node: string, isUp: boolean): void {
    this.#parts.master.setPeer(node, isUp);
    this.#queueTurn();
  }

  /** The agreement has changed: what follows from it is carried out. */
  agreed(): void {
    this.#queueTurn();
  }

  /** Records of the log up to this one are on disk. */
  synced(throughRecord: number): void {
    const after = this.#underway.findIndex(({ record }) => record > throughRecord);
    const count = after === -1 ? this.#underway.length : after;
    for (const ready of this.#underway.splice(0, count)) this.#persist(ready);
    this.#queueTurn();
  }

  /** The log has failed: nothing is known of what was not synced. */
  failed(error: CStoreError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const waiting of this.#waiting.splice(0)) waiting.fail(error);
    for (const waiting of [...this.#unconfirmed]) waiting.settle();
  }

  #step(message: MultiMasterMessage): void {
    const { master, clock } = this.#parts;
    master.step(message, Math.floor(clock.wallMs()));
    if (message.type === "CURSOR") this.#settleConfirmed();
    this.#queueTurn();
  }

  #queueTurn(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#parts.clock.soon(() => {
      this.#isQueued = false;
      if (this.#failure === undefined) this.#turn();
    });
  }

  #turn(): void {
    const { master } = this.#parts;
    let wantsSync = false;
    try {
      for (let ready = master.takeReady(); ready !== undefined; ready = master.takeReady()) {
        wantsSync = this.#carryOut(ready) || wantsSync;
      }
    } catch (error) {
      // The log: what it could not write or read is not known of.
      if (!(error instanceof CStoreError)) throw error;
      this.failed(error);
    }
    if (wantsSync) this.#parts.requestSync();
  }

  /** Whether something was written. */
  #carryOut(ready: MultiMasterReady): boolean {
    const { operations } = this.#parts;
    const bytesOf = (operation: PackedOperation): Uint8Array => operations.bytesOf(operation);
    for (const message of ready.messages) {
      this.#parts.send(message.to, encodeMultiMasterMessage(message, bytesOf));
    }
    const isWritten = ready.operations.length > 0;
    if (isWritten) this.#record = operations.append(ready.operations);
    if (ready.events.length > 0) this.#parts.tell(ready.events);
    if (ready.loads.length > 0) this.#load(ready.loads);
    if (isWritten || this.#underway.length > 0) {
      const { number, changes } = ready;
      this.#underway.push({ number, changes, record: this.#record });
    } else this.#persist(ready);
    return isWritten;
  }

  /** Reads from the disk, and gives others a turn before more is asked for. */
  #load(dots: readonly Dot[]): void {
    for (const dot of dots) this.#parts.operations.load(dot);
    this.#parts.clock.soon(() => {
      if (this.#failure !== undefined) return;
      this.#parts.master.loaded();
      this.#queueTurn();
    });
  }

  #persist({ number, changes }: Pick<MultiMasterReady, "number" | "changes">): void {
    assert(number > this.#persisted, "Readies reach the disk in their order");
    this.#persisted = number;
    if (changes.length > 0) this.#parts.show(changes);
    this.#parts.master.persisted(number);
    const isOver = ({ afterReady }: Waiting): boolean => afterReady <= number;
    const over = this.#waiting.filter(isOver);
    if (over.length === 0) return;
    this.#waiting = this.#waiting.filter((waiting) => !isOver(waiting));
    for (const waiting of over) waiting.answer();
  }

  #whenPersisted(afterReady: number): Promise<void> {
    this.#queueTurn();
    if (afterReady <= this.#persisted) return Promise.resolve();
    return new Promise((answer, fail) => {
      this.#waiting.push({ afterReady, answer, fail });
    });
  }

  #whenConfirmed(dot: Dot, wanted: number, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      let cancel: CancelTimer = () => undefined;
      const settle = (): void => {
        cancel();
        this.#unconfirmed.delete(waiting);
        resolve();
      };
      const waiting: Unconfirmed = { dot, wanted, settle };
      this.#unconfirmed.add(waiting);
      cancel = this.#parts.clock.setTimer(timeoutMs, settle);
    });
  }

  #settleConfirmed(): void {
    for (const waiting of this.#unconfirmed) {
      if (this.#acknowledgements(waiting.dot) >= waiting.wanted) waiting.settle();
    }
  }

  #acknowledgements(dot: Dot): number {
    return 1 + this.#parts.master.peers.filter(({ cursor }) => covers(cursor, dot)).length;
  }

  #wanted(ack: Acknowledgement): number {
    if (ack === "one") return 1;
    return ack === "all" ? this.members : Math.floor(this.members / 2) + 1;
  }

  #assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
