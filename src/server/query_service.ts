/**
 * Queries and cursors of a node's clients. A query runs in slices, between which the node does its
 * other work; what does not fit one answer waits in a cursor, which holds its moment of the
 * collection for a bounded time.
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { ByteWriter } from "../base/bytes.ts";
import {
  type CStoreError,
  CursorLostError,
  DeadlineError,
  NotFoundError,
  OverloadedError,
} from "../base/errors.ts";
import { CURSOR_IDLE_MS, CURSOR_LIFE_MS, CURSORS_MAX, PAGE_SIZE_GOAL } from "../base/limits.ts";
import { POLL_INTERVAL_MS, RETRY_AFTER_MS } from "../base/timing.ts";
import { type Found, QueryRun, type QuerySpec } from "../database/collection/query_run.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import {
  catalogOf,
  type FrozenState,
  freezeState,
  mastersBlock,
} from "../database/snapshot_codec.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import { PLAIN_SETTINGS } from "../protocol/encoding/collection_settings.ts";
import { writeOperationResult } from "../protocol/encoding/operation_result.ts";
import type { CatalogReply, CollectionInfo, ConflictsReply } from "../protocol/wire/reply.ts";
import type { QueryFields, QueryRequest } from "../protocol/wire/request.ts";
import { type ChangeStreamParts, ChangeStreams } from "./change_streams.ts";
import { answerLog } from "./log_feed.ts";
import type { FrozenMasters, MastersBackend } from "./masters_service.ts";
import { asAnswer, bounded, type QueryReply } from "./query_reply.ts";

/** Documents of one answer, unless the query asks for fewer. */
const PAGE_DOCUMENTS_MAX = 10_000;
/** Documents of one list of conflicts. */
const CONFLICTS_MAX = 1000;
/** Backups under way at once. */
const BACKUPS_MAX = 4;

interface Cursor {
  readonly run: QueryRun;
  readonly documents: Generator<Found | undefined, void>;
  readonly pageSize: number;
  readonly bornMs: number;
  idleSinceMs: number;
  isBusy: boolean;
}

interface Backup {
  /** Lets what was frozen go on. */
  thaw(): void;
  readonly blocks: Generator<Uint8Array>;
  idleSinceMs: number;
}

/** Parts that queries are answered with. */
export interface QueryParts extends ChangeStreamParts {
  readonly random: Random;
  masters(): MastersBackend | undefined;
  mastersRefusal(): CStoreError | undefined;
}

/** Answers queries. */
export class QueryService {
  readonly #parts: QueryParts;
  readonly #clock: Clock;
  readonly #machine: DocumentStateMachine;
  readonly #streams: ChangeStreams;
  readonly #cursors = new Map<number, Cursor>();
  readonly #backups = new Map<number, Backup>();
  #isSweeping = false;

  constructor(parts: QueryParts) {
    this.#parts = parts;
    this.#clock = parts.clock;
    this.#machine = parts.machine;
    this.#streams = new ChangeStreams(parts);
  }

  /** Answers on a node that has applied all that was acknowledged before the request came. */
  answerCurrent(request: QueryRequest, reply: QueryReply): void {
    // What the leader acknowledged early is in its log, and not applied yet.
    const { log } = this.#parts;
    const last = log.sequenceAfter(log.lastIndex()) - 1;
    if (request.action === "watch" && (request.since ?? 0) > last) {
      reply.failed(
        new NotFoundError(
          `Cannot watch from ${request.since}: the last change of this cluster is ${last}`,
          { remedy: "The position is of another cluster, or of one that was made anew" },
        ),
      );
      return;
    }
    this.answer(request, reply);
  }

  /** Answers a request of the kind QUERY. */
  answer(request: QueryRequest, reply: QueryReply): void {
    // A batch of the log fits a frame, if not the bound for other answers.
    const limited = request.action === "log" ? reply : bounded(reply);
    try {
      this.#answer(request, limited);
    } catch (error) {
      limited.failed(asAnswer(error));
    }
  }

  #answer(request: QueryRequest, reply: QueryReply): void {
    switch (request.action) {
      case "find":
        return this.#find(request, reply);
      case "count":
        return this.#count(request, reply);
      case "explain": {
        const run = this.#begin(request);
        run.end();
        return reply.result(encodeCbor(run.explain()));
      }
      case "next":
        return this.#page(request.cursor, reply);
      case "close":
        this.#close(request.cursor);
        return reply.result(new Uint8Array(0));
      case "backup":
        return this.#backup(reply);
      case "backupNext":
        return this.#backupPage(request.cursor, reply);
      case "watch":
        return this.#streams.answer(request, reply);
      case "log":
        return answerLog(this.#parts, request, reply);
      case "conflicts":
        return reply.result(encodeCbor(this.#conflicts(request)));
      case "catalog":
        return reply.result(encodeCbor(this.#catalog(request.collection)));
      default:
        return unreachable(request);
    }
  }

  #conflicts(request: Extract<QueryRequest, { readonly action: "conflicts" }>): ConflictsReply {
    const { collectionId } = this.#machine.collectionOrEmpty(request.collection);
    const masters = collectionId === 0 ? undefined : this.#parts.masters();
    const limit = Math.min(request.limit, CONFLICTS_MAX);
    return masters?.conflicts(collectionId, { ...request, limit }) ?? { total: 0, conflicts: [] };
  }

  /** Names of all collections; of one also its indexes. */
  #catalog(wanted: string | undefined): CatalogReply {
    const collections: CollectionInfo[] = [];
    for (const store of this.#machine.collections()) {
      const { name, count, bytes } = store;
      const settings = store.settings === PLAIN_SETTINGS ? {} : { settings: store.settings };
      if (wanted === undefined) collections.push({ name, count, bytes, ...settings });
      else if (wanted === name) collections.push({ name, count, bytes, ...catalogOf(store) });
    }
    return { sequence: this.#machine.appliedSequence, collections };
  }

  #begin(query: QueryFields): QueryRun {
    const { appliedSequence } = this.#machine;
    const store = this.#machine.collectionOrEmpty(query.collection);
    const nowMs = this.#machine.timeAt(this.#clock.wallMs());
    return new QueryRun(store, { ...specOf(query), nowMs }, appliedSequence);
  }

  #count(request: QueryFields, reply: QueryReply): void {
    const run = this.#begin(request);
    const steps = run.count();
    const step = (): void => {
      const next = steps.next();
      if (next.done === true) {
        run.end();
        const { appliedSequence } = this.#machine;
        reply.result(new ByteWriter(16).u64(next.value).u64(appliedSequence).copy());
      } else this.#later(() => step(), { run, reply });
    };
    attempt(step, { run, reply });
  }

  #find(request: QueryFields & { readonly pageSize: number }, reply: QueryReply): void {
    if (this.#cursors.size >= CURSORS_MAX) {
      throw new OverloadedError(
        `Cannot query: ${CURSORS_MAX} queries are under way`,
        RETRY_AFTER_MS.cursors,
      );
    }
    const run = this.#begin(request);
    const nowMs = this.#clock.nowMs();
    const wanted = request.pageSize || PAGE_DOCUMENTS_MAX;
    const number = this.#newNumber();
    this.#cursors.set(number, {
      run,
      documents: run.documents(),
      pageSize: Math.min(Math.max(1, wanted), PAGE_DOCUMENTS_MAX),
      bornMs: nowMs,
      idleSinceMs: nowMs,
      isBusy: false,
    });
    this.#page(number, reply);
  }

  /** The next documents of a cursor: its number (8; 0 = no more), sequence (8), then results. */
  #page(number: number, reply: QueryReply): void {
    const cursor = this.#cursors.get(number);
    if (cursor === undefined || cursor.isBusy) {
      throw new CursorLostError("Cannot go on with the query: its cursor is not known here");
    }
    cursor.isBusy = true;
    const writer = new ByteWriter(1024).u64(number).u64(this.#machine.appliedSequence);
    let count = 0;
    const step = (): void => {
      while (count < cursor.pageSize && writer.size < PAGE_SIZE_GOAL) {
        const next = cursor.documents.next();
        if (next.done === true) {
          this.#close(number);
          writer.patchU32(0, 0);
          writer.patchU32(4, 0);
          reply.result(writer.written());
          return;
        }
        if (next.value === undefined) {
          this.#later(step, { run: cursor.run, reply, number });
          return;
        }
        writeOperationResult(writer, { found: true, ...next.value });
        count += 1;
      }
      cursor.isBusy = false;
      cursor.idleSinceMs = this.#clock.nowMs();
      this.#sweepLater();
      reply.result(writer.written());
    };
    attempt(step, { run: cursor.run, reply, end: () => this.#close(number) });
  }

  /** Goes on in another turn, if there is time left. */
  #later(
    step: () => void,
    work: { readonly run: QueryRun; readonly reply: QueryReply; readonly number?: number },
  ): void {
    const { run, reply, number } = work;
    const end = (): void => (number === undefined ? run.end() : this.#close(number));
    this.#clock.setTimer(0, () => {
      if (this.#clock.nowMs() < reply.deadlineMs) return attempt(step, { run, reply, end });
      end();
      reply.failed(
        new DeadlineError("Cannot answer the query in time: an index or a limit would help"),
      );
    });
  }

  /** Waits for the state of collections that every node writes, if there are any. */
  #backup(reply: QueryReply): void {
    if (this.#machine.masters.agreement.collections.size === 0) return this.#beginBackup(reply);
    const masters = this.#parts.masters();
    const refusal = this.#parts.mastersRefusal();
    if (masters === undefined || refusal !== undefined) {
      return reply.failed(refusal ?? new OverloadedError("Cannot back up here yet", 500));
    }
    masters.state().then(
      (state) => attemptWith(reply, () => this.#beginBackup(reply, state)),
      (error: unknown) => reply.failed(asAnswer(error)),
    );
  }

  /** The state as it is now, in blocks: cursor (8; 0 = no more), then for each size (4), bytes. */
  #beginBackup(reply: QueryReply, masters?: FrozenMasters): void {
    if (this.#backups.size >= BACKUPS_MAX) {
      throw new OverloadedError(
        `Cannot back up: ${BACKUPS_MAX} backups are under way`,
        RETRY_AFTER_MS.backups,
      );
    }
    const frozen = freezeState(this.#machine);
    const number = this.#newNumber();
    const idleSinceMs = this.#clock.nowMs();
    const thaw = (): void => {
      frozen.thaw();
      masters?.release();
    };
    this.#backups.set(number, { thaw, blocks: backupBlocks(frozen, masters), idleSinceMs });
    this.#backupPage(number, reply);
  }

  #backupPage(number: number, reply: QueryReply): void {
    const backup = this.#backups.get(number);
    if (backup === undefined) {
      throw new CursorLostError("Cannot go on with the backup: it is not known here");
    }
    const next = backup.blocks.next();
    const isEnd = next.done === true;
    const writer = new ByteWriter(1024).u64(isEnd ? 0 : number);
    if (next.done === true) this.#endBackup(number);
    else writer.u32(next.value.byteLength).raw(next.value);
    backup.idleSinceMs = this.#clock.nowMs();
    this.#sweepLater();
    reply.result(writer.written());
  }

  #endBackup(number: number): void {
    this.#backups.get(number)?.thaw();
    this.#backups.delete(number);
  }

  /**
   * One that no other node, and no earlier process, gave out: a request with it there must fail.
   */
  #newNumber(): number {
    const { random } = this.#parts;
    const number = 1 + random.below(2 ** 32) * 2 ** 20 + random.below(2 ** 20);
    return this.#cursors.has(number) || this.#backups.has(number) ? this.#newNumber() : number;
  }

  #close(number: number): void {
    if (this.#backups.has(number)) this.#endBackup(number);
    this.#cursors.get(number)?.run.end();
    this.#cursors.delete(number);
  }

  /** One timer for all cursors: idle ones hold memory. */
  #sweepLater(): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#clock.setTimer(POLL_INTERVAL_MS.idleCursors, () => {
      this.#isSweeping = false;
      const nowMs = this.#clock.nowMs();
      for (const [number, { isBusy, idleSinceMs, bornMs }] of this.#cursors) {
        const isIdle = !isBusy && nowMs - idleSinceMs > CURSOR_IDLE_MS;
        if (isIdle || (!isBusy && nowMs - bornMs > CURSOR_LIFE_MS)) this.#close(number);
      }
      for (const [number, { idleSinceMs }] of this.#backups) {
        if (nowMs - idleSinceMs > CURSOR_IDLE_MS) this.#endBackup(number);
      }
      if (this.#cursors.size + this.#backups.size > 0) this.#sweepLater();
    });
  }
}

function* backupBlocks(frozen: FrozenState, masters?: FrozenMasters): Generator<Uint8Array> {
  yield* frozen.blocks();
  for (const block of masters?.blocks() ?? []) yield mastersBlock(block);
}

/** Runs something; what it throws is the answer. */
function attemptWith(reply: QueryReply, run: () => void): void {
  try {
    run();
  } catch (error) {
    reply.failed(asAnswer(error));
  }
}

/** Runs one slice; what it throws is the answer. */
function attempt(
  step: () => void,
  work: { readonly run: QueryRun; readonly reply: QueryReply; readonly end?: () => void },
): void {
  try {
    step();
  } catch (error) {
    if (work.end === undefined) work.run.end();
    else work.end();
    work.reply.failed(asAnswer(error));
  }
}

/** A query as it is run; its filter, sort and projection are checked when they are compiled. */
export function specOf(query: QueryFields): QuerySpec {
  const { filter, sort, skip, limit, projection, idField, hint, after, collation } = query;
  return {
    ...{ filter, skip, limit, idField, hint },
    ...{ ...(after && { after }), ...(collation && { collation }) },
    sort: sort as NonNullable<QuerySpec["sort"]>,
    projection: projection as NonNullable<QuerySpec["projection"]>,
  };
}
