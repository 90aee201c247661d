/**
 * Change streams of a node's clients: a client asks for the changes behind a sequence number and
 * gets some, or waits a while for the next. Nothing is kept for it meanwhile, so it may go on at
 * any node.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { CompactedError, OverloadedError } from "../base/errors.ts";
import {
  CHANGES_MAX,
  CURSORS_MAX,
  MADE_BYTES_MAX,
  PAGE_SIZE_GOAL,
  WATCH_WAIT_MS_MAX,
} from "../base/limits.ts";
import { POLL_INTERVAL_MS, RETRY_AFTER_MS } from "../base/timing.ts";
import type { Fields } from "../base/value.ts";
import { type LoggedOperation, operationsIn } from "../database/change_reader.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { Clock } from "../platform/clock.ts";
import { zlibCompressor } from "../platform/compression.ts";
import { decodeCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import { decodeKey } from "../protocol/encoding/document_key.ts";
import type { QueryRequest } from "../protocol/wire/request.ts";
import type { Entry } from "../raft/types.ts";
import type { ReplicatedLog } from "../storage/wal/iwal_manager.ts";
import { asAnswer, type QueryReply } from "./query_reply.ts";

/** Bytes of the log that one answer reads at most. */
const READ_SIZE = 1024 * 1024;

type WatchRequest = Extract<QueryRequest, { readonly action: "watch" }>;

/** Parts that streams are read from. */
export interface ChangeStreamParts {
  readonly clock: Clock;
  readonly machine: DocumentStateMachine;
  readonly log: ReplicatedLog;
}

/** Answers requests for changes. */
export class ChangeStreams {
  readonly #parts: ChangeStreamParts;
  #waiting = 0;

  constructor(parts: ChangeStreamParts) {
    this.#parts = parts;
  }

  /**
   * Answers with a map of `since`, to be given in the next request, and `changes`. Throws
   * CompactedError when changes behind `since` are not kept any more.
   */
  answer(request: WatchRequest, reply: QueryReply): void {
    const { clock, machine } = this.#parts;
    const { since = machine.appliedSequence, waitMs, collection } = request;
    const waitEndMs = clock.nowMs() + Math.min(waitMs, WATCH_WAIT_MS_MAX);
    const endMs = Math.min(waitEndMs, reply.deadlineMs - 2 * POLL_INTERVAL_MS.changeStream);
    const page = this.#read(since, collection);
    if (page.changes.length > 0 || clock.nowMs() >= endMs) {
      reply.result(encodeCbor(page));
      return;
    }
    if (this.#waiting >= CURSORS_MAX) {
      throw new OverloadedError(
        `Cannot watch: ${CURSORS_MAX} others wait for changes`,
        RETRY_AFTER_MS.changeStreams,
      );
    }
    this.#waiting += 1;
    this.#wait({ since: page.since, collection, endMs }, reply);
  }

  #wait(
    watch: { readonly since: number; readonly collection: string; readonly endMs: number },
    reply: QueryReply,
  ): void {
    const { clock } = this.#parts;
    clock.setTimer(POLL_INTERVAL_MS.changeStream, () => {
      const { endMs, collection } = watch;
      let page: { readonly since: number; readonly changes: readonly unknown[] };
      try {
        page = this.#read(watch.since, collection);
      } catch (error) {
        this.#waiting -= 1;
        reply.failed(asAnswer(error));
        return;
      }
      if (page.changes.length === 0 && clock.nowMs() < endMs) {
        this.#wait({ ...watch, since: page.since }, reply);
        return;
      }
      this.#waiting -= 1;
      reply.result(encodeCbor(page));
    });
  }

  #read(since: number, collection: string): { since: number; changes: unknown[] } {
    const { machine } = this.#parts;
    const changes: unknown[] = [];
    let at = since;
    if (at >= machine.appliedSequence) return { since: at, changes };
    if (at + 1 < machine.feed.start) throw compacted(since);
    let size = 0;
    for (const entry of this.#entriesFrom(this.#indexBehind(at), since)) {
      if (entry.index > machine.appliedIndex) break;
      for (const operation of operationsIn(entry, zlibCompressor)) {
        const { sequence, collection: name } = operation;
        if (sequence <= since || machine.feed.isSkipped(sequence)) continue;
        if (collection !== "" && name !== collection) continue;
        if (changes.length >= CHANGES_MAX || size > PAGE_SIZE_GOAL) return { since: at, changes };
        const current = this.#currentOf(operation);
        changes.push(changeOf(operation, current));
        size += operation.document.byteLength + operation.key.byteLength + 100;
        size += current?.byteLength ?? 0;
        at = sequence;
      }
      at = Math.max(at, entry.firstSequence + entry.count - 1);
    }
    return { since: at, changes };
  }

  #entriesFrom(index: number, since: number): readonly Entry[] {
    const { log, machine } = this.#parts;
    if (index <= log.base.index) throw compacted(since);
    const { appliedIndex } = machine;
    return log.entries(index, appliedIndex, READ_SIZE) ?? log.readFromDisk(index, READ_SIZE);
  }

  /** The first entry with an operation behind that number. */
  #indexBehind(sequence: number): number {
    const { log, machine } = this.#parts;
    let [low, high] = [log.base.index, machine.appliedIndex];
    if (low > 0 && log.sequenceAfter(low) > sequence + 1) throw compacted(sequence);
    while (low < high) {
      const middle = (low + high) >> 1;
      if (log.sequenceAfter(middle) <= sequence + 1) low = middle + 1;
      else high = middle;
    }
    assert(low <= machine.appliedIndex, "an operation that was applied stands in the log");
    return low;
  }

  /** The document as an update left it, if that is known still. */
  #currentOf(operation: LoggedOperation): Uint8Array | undefined {
    const { kind, key, collection, sequence } = operation;
    if (kind !== "MERGE" && kind !== "UPDATE") return undefined;
    const { machine } = this.#parts;
    const made = machine.feed.madeAt(sequence);
    if (made !== undefined) return made;
    const store = machine.collectionOrEmpty(collection);
    const location = store.locate(key);
    if (store.version(location) !== sequence) return undefined;
    const document = store.document(location);
    return document.byteLength > MADE_BYTES_MAX ? undefined : document;
  }
}

function changeOf(operation: LoggedOperation, current: Uint8Array | undefined): unknown {
  const { sequence, timeMs, collection, kind, key, document } = operation;
  const base = { sequence, timeMs, collection };
  if (kind === "DROP") return { ...base, type: "drop" };
  const about = { ...base, id: decodeKey(key) };
  switch (kind) {
    case "REMOVE":
      return { ...about, type: "remove" };
    case "INSERT":
    case "PUT":
      return {
        ...about,
        type: kind === "INSERT" ? "insert" : "put",
        document: decodeCbor(document),
      };
    default: {
      const given = decodeCbor(document) as Fields;
      const change = kind === "MERGE" ? given : (given["update"] ?? given["assign"]);
      const now = current === undefined ? {} : { document: decodeCbor(current) };
      return { ...about, type: "update", change, ...now };
    }
  }
}

function compacted(since: number): CompactedError {
  return new CompactedError(
    `Cannot watch from ${since} on: the changes behind it are not kept any more here`,
  );
}
