/**
 * The replicated state: collections of documents, sessions, members and bindings. Synchronous
 * and deterministic.
 *
 * @module
 */

import { assert, unreachable } from "../base/assert.ts";
import { equalBytes, viewOf } from "../base/bytes.ts";
import { type CStoreError, ValidationError } from "../base/errors.ts";
import { COLLECTIONS_MAX } from "../base/limits.ts";
import { checkKnownRules, FIRST_RULES, type RulesVersion } from "../base/rules_version.ts";
import {
  type BatchHeader,
  batchCommands,
  type Compressor,
  decodeBatchHeader,
} from "../protocol/encoding/batch_codec.ts";
import { decodeCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import {
  readBindings,
  readMembers,
  readRules,
  readSessionIds,
} from "../protocol/encoding/cluster_command.ts";
import { documentSizeMax, takesUsual } from "../protocol/encoding/collection_settings.ts";
import {
  COMMAND_HEADER_SIZE,
  type CommandHeader,
  readCommandHeader,
} from "../protocol/encoding/command.ts";
import type { OperationResult } from "../protocol/encoding/operation_result.ts";
import type { StatePosition } from "../protocol/wire/reply.ts";
import type { ApplyResults, StateMachine } from "../raft/state_machine.ts";
import type { Entry, LogIndex } from "../raft/types.ts";
import { type CatalogState, executeCatalog, settleIndex } from "./catalog.ts";
import { ChangeFeed } from "./change_feed.ts";
import { CollectionStore } from "./collection/collection_store.ts";
import { countAt } from "./expiry.ts";
import { Masters, type MastersState } from "./masters.ts";
import { MemberTable, type MemberTableState } from "./member_table.ts";
import { OperationExecutor } from "./operation_executor.ts";
import { PlainPutRun, sessionRequest } from "./plain_put.ts";
import { giveResult, refusal, sessionRefusal, wrongMode } from "./refusals.ts";
import { SessionTable, type StoredResult } from "./session_table.ts";
import { conflictOf } from "./transaction_conditions.ts";

const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** The cluster at a snapshot's index. */
export interface RestoredCluster {
  readonly position: StatePosition;
  readonly members: MemberTableState;
  /** Sequence number of the command that dropped a collection last; 0 for none. */
  readonly droppedAt: number;
  readonly rules: RulesVersion;
  readonly masters: MastersState;
}

/** The state machine. */
export class DocumentStateMachine implements StateMachine {
  readonly #compressor: Compressor;
  readonly #seed: number;
  readonly #collections = new Map<string, CollectionStore>();
  readonly #sessions = new SessionTable();
  /** Members of the cluster, and the folders that their ids belong to. */
  readonly memberTable = new MemberTable();
  /** Which operations had no effect, and what the last updates made. */
  readonly feed = new ChangeFeed();
  readonly #executor = new OperationExecutor(this.feed);
  readonly #plainPuts = new PlainPutRun();
  #droppedAt = 0;
  #rules: RulesVersion = FIRST_RULES;
  #position: StatePosition = { index: 0, term: 0, nextSequence: 1, timeMs: 0 };
  #isDigestDue = false;
  readonly #masters = new Masters();
  /** Called behind an entry that asks for the state's digest, before anything else is applied. */
  onDigest: () => void = () => undefined;
  /** The collection used last, with the bytes of its name. */
  #lastName = new Uint8Array(0);
  #lastStore: CollectionStore | undefined;

  /** `seed` hides the places of keys; it is not part of the state. */
  constructor(compressor: Compressor, seed: number) {
    this.#compressor = compressor;
    this.#seed = seed;
  }

  get appliedIndex(): LogIndex {
    return this.#position.index;
  }

  get position(): StatePosition {
    return this.#position;
  }

  /**
   * The time by which documents expire: that of a clock, but never before that of applied entries.
   */
  timeAt(wallMs: number): number {
    return Math.max(wallMs, this.#position.timeMs);
  }

  /** The rules that the log asks for by now. */
  get rules(): RulesVersion {
    return this.#rules;
  }

  get masters(): MastersState {
    return this.#masters.state;
  }

  /** Throws ConfigError for rules that this build does not know. */
  #follow(rules: RulesVersion): void {
    checkKnownRules(rules);
    this.#rules = rules;
  }

  /** Sequence number of the last applied operation. */
  get appliedSequence(): number {
    return this.#position.nextSequence - 1;
  }

  get sessions(): SessionTable {
    return this.#sessions;
  }

  /** Bytes of all slabs. */
  get documentBytes(): number {
    return [...this.#collections.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Documents over all collections. */
  get documentCount(): number {
    return [...this.#collections.values()].reduce((sum, { count }) => sum + count, 0);
  }

  /** Collections in order of creation. */
  collections(): Iterable<CollectionStore> {
    return this.#collections.values();
  }

  apply(entry: Entry, results: ApplyResults): void {
    assert(entry.index === this.#position.index + 1, "entries are applied in order");
    assert(entry.firstSequence === this.#position.nextSequence, "sequence numbers have no gap");
    const header = decodeBatchHeader(entry.bytes);
    const commands = batchCommands(entry.bytes, header, this.#compressor);
    this.#applyCommands(commands, header, results);
    this.#position = {
      index: entry.index,
      term: entry.term,
      nextSequence: entry.firstSequence + entry.count,
      timeMs: Math.max(this.#position.timeMs, header.timeMs),
    };
    if (!this.#isDigestDue) return;
    this.#isDigestDue = false;
    this.onDigest();
  }

  #applyCommands(commands: Uint8Array, header: BatchHeader, results: ApplyResults): void {
    const view = viewOf(commands);
    const nowMs = Math.max(this.#position.timeMs, header.timeMs);
    let sequence = header.firstSequence;
    let ordinal = 0;
    let at = 0;
    this.#plainPuts.start(commands, view, nowMs);
    while (at < commands.byteLength) {
      const end = this.#applyPlainPut(at, sequence);
      if (end !== -1) {
        results.written(ordinal, sequence);
        at = end;
        sequence += 1;
      } else {
        this.#plainPuts.forget();
        const command = readCommandHeader(view, at);
        this.#applyCommand({ commands, view, at, command, sequence, ordinal, nowMs }, results);
        sequence += command.count;
        at += command.size;
      }
      ordinal += 1;
    }
    assert(sequence === header.firstSequence + header.count, "a batch counts its operations");
  }

  /**
   * The command that makes up most loads - one unconditional put in a session - without the objects
   * that undoing and other results need. Returns where it ends; or -1, with nothing changed that
   * the general way would not change again, when it is another one.
   */
  #applyPlainPut(at: number, sequence: number): number {
    const store = this.#lastStore;
    if (store === undefined || store.indexes.count > 0 || store.collectionId > 0) return -1;
    if (store.settings.validator !== "") return -1;
    const put = this.#plainPuts.take(at, store, this.#lastName);
    if (put === undefined) return -1;
    if (this.#rules > FIRST_RULES && !put.holdsKey) return -1;
    if (put.documentSize > documentSizeMax(store.settings)) return -1;
    const sessions = this.#sessions;
    sessions.acknowledge(put, put.nowMs);
    if (sessions.admit(put).verdict !== "new") return -1;
    const { hash, commands } = put;
    store.putForGood({ hash, before: store.find(hash, commands, put.key) }, put.source, sequence);
    sessions.storeWritten(put, sequence);
    store.compactStep();
    return put.end;
  }

  #applyCommand(place: CommandPlace, results: ApplyResults): void {
    const { command, commands, at, sequence, nowMs } = place;
    const body = (): Uint8Array => commands.subarray(at + COMMAND_HEADER_SIZE, at + command.size);
    switch (command.kind) {
      case "DOCUMENTS":
      case "TRANSACTION":
      case "CATALOG":
        if (command.sessionId === 0) giveResult(place.ordinal, this.#result(place), results);
        else this.#applyInSession(place, results);
        return;
      case "INDEX_READY":
        settleIndex(this.#catalogState(sequence), decodeCbor(body()));
        results.written(place.ordinal, sequence);
        return;
      case "OPEN_SESSION":
        this.#sessions.open(sequence, nowMs);
        results.written(place.ordinal, sequence);
        return;
      case "EXPIRE_SESSIONS":
        for (const id of readSessionIds(body())) this.#sessions.close(id);
        results.written(place.ordinal, sequence);
        return;
      case "MEMBERSHIP":
        this.memberTable.set(readMembers(body()), nowMs);
        results.written(place.ordinal, sequence);
        return;
      case "BIND":
        this.memberTable.bind(readBindings(body()));
        results.written(place.ordinal, sequence);
        return;
      case "DIGEST":
        this.#isDigestDue = true;
        results.written(place.ordinal, sequence);
        return;
      case "RULES":
        this.#follow(Math.max(this.#rules, readRules(body())));
        results.written(place.ordinal, sequence);
        return;
      case "AGREEMENT":
        this.#masters.apply(body(), this.#collections.size === 0);
        results.written(place.ordinal, sequence);
        return;
      case "NOOP":
      case "WAL_ENTRY":
        results.written(place.ordinal, sequence);
        return;
      case "NONE":
        return;
      default:
        unreachable(command.kind);
    }
  }

  #applyInSession(place: CommandPlace, results: ApplyResults): void {
    const { view, at, command, ordinal } = place;
    const request = sessionRequest(view, at, command);
    this.#sessions.acknowledge(request, place.nowMs);
    const admission = this.#sessions.admit(request);
    if (admission.verdict === "new") {
      const result = this.#result(place);
      this.#sessions.store(request, result);
      giveResult(ordinal, result, results);
    } else if (admission.verdict === "repeat") {
      this.feed.skip(place.sequence, place.command.count);
      giveResult(ordinal, admission.result, results);
    } else {
      this.feed.skip(place.sequence, place.command.count);
      results.refused(ordinal, sessionRefusal(admission.verdict, request));
    }
  }

  #result(place: CommandPlace): StoredResult {
    const { command, sequence } = place;
    const result = this.#resultOf(place);
    if (result.kind === "refused") this.feed.skip(sequence, command.count);
    else for (const idle of this.#executor.idle) this.feed.skip(idle, 1);
    return result;
  }

  #resultOf(place: CommandPlace): StoredResult {
    const { command, commands, at, sequence } = place;
    if (command.kind === "DOCUMENTS") return this.#execute(place);
    if (command.kind === "TRANSACTION") return this.#transact(place);
    this.#executor.begin(this.#rules);
    const body = commands.subarray(at + COMMAND_HEADER_SIZE, at + command.size);
    const answer = executeCatalog(this.#catalogState(sequence), decodeCbor(body), sequence);
    if (answer instanceof Error) return refusal(answer);
    if (!answer.changed) this.#executor.idle.push(sequence);
    return { kind: "payload", payload: encodeCbor(answer).slice() };
  }

  #catalogState(sequence: number): CatalogState {
    return {
      collections: this.#collections,
      rules: this.#rules,
      newCollections: this.masters.newCollections,
      agree: (rule) => this.#masters.agree(rule),
      disagree: (collectionId) => this.#masters.disagree(collectionId),
      make: (name) => new CollectionStore(name, this.#seed),
      dropped: () => {
        this.#lastStore = undefined;
        this.#droppedAt = sequence;
      },
    };
  }

  /** All operations of a request, or none. */
  #execute(place: CommandPlace): StoredResult {
    const { commands, view, at, command, sequence, nowMs } = place;
    const executor = this.#executor;
    executor.begin(this.#rules);
    executor.cursor.start(view, at);
    const name = commands.subarray(executor.cursor.nameStart, executor.cursor.nameEnd);
    const store = this.#collection(name);
    const outcome = this.isWrittenByAll(store)
      ? wrongMode(store)
      : executor.run(store, { bytes: commands, sequence, nowMs });
    const result = this.#finish(outcome, [{ store, name }]);
    store.compactStep();
    if (result !== undefined) return result;
    const isPlain = command.count === 1 && isWritten(outcome);
    if (isPlain) return { kind: "written", version: outcome.version };
    return { kind: "payload", payload: executor.results() };
  }

  /** Keeps what a request wrote, or takes it back: then it gives the refusal. */
  #finish(
    outcome: CStoreError | OperationResult | undefined,
    touched: readonly { readonly store: CollectionStore; readonly name: Uint8Array }[],
  ): StoredResult | undefined {
    const problem = outcome instanceof Error ? outcome : this.#executor.settle();
    if (problem !== undefined) {
      this.#executor.rollBack();
      return refusal(problem);
    }
    if (!this.#executor.hasChanged) return undefined;
    const fresh = touched.filter(({ store }) => this.#collections.get(store.name) !== store);
    if (this.#collections.size + fresh.length > COLLECTIONS_MAX) {
      this.#executor.rollBack();
      return refusal(new ValidationError(`Cannot create more than ${COLLECTIONS_MAX} collections`));
    }
    for (const { store, name } of touched) this.#keep(store, name);
    return undefined;
  }

  /** Checks what a transaction had read, then executes what it writes: all or nothing. */
  #transact(place: CommandPlace): StoredResult {
    const { commands, view, at, command, nowMs } = place;
    const body = at + COMMAND_HEADER_SIZE;
    const end = at + command.size;
    const sectionsAt = body + 4 + view.getUint32(body, true);
    const read = decodeCbor(commands.subarray(body + 4, sectionsAt));
    const [collections, droppedAt] = [this.#collections, this.#droppedAt];
    const conflict = conflictOf(read, { collections, droppedAt, nowMs });
    if (conflict !== undefined) return refusal(conflict);
    const executor = this.#executor;
    executor.begin(this.#rules);
    const byName = new Map<string, { store: CollectionStore; name: Uint8Array }>();
    let { sequence } = place;
    let outcome: CStoreError | OperationResult | undefined;
    for (let from = sectionsAt; from < end && !(outcome instanceof Error); ) {
      const next = from + 4 + view.getUint32(from, true);
      executor.cursor.startAt(view, from + 4, next);
      const name = commands.slice(executor.cursor.nameStart, executor.cursor.nameEnd);
      const text = TEXT_DECODER.decode(name);
      const store = byName.get(text)?.store ?? this.#collection(name);
      byName.set(text, { store, name });
      outcome = this.isWrittenByAll(store)
        ? wrongMode(store)
        : executor.run(store, { bytes: commands, sequence, nowMs });
      sequence += executor.executed;
      from = next;
    }
    const touched = [...byName.values()];
    const result = this.#finish(outcome, touched);
    for (const { store } of touched) store.compactStep();
    return result ?? { kind: "payload", payload: executor.results() };
  }

  /** Whether every node writes it, or would if it came into being now. */
  isWrittenByAll({ name, collectionId }: CollectionStore): boolean {
    if (collectionId > 0) return true;
    return this.masters.newCollections.mode === "MULTI_MASTER" && !this.#collections.has(name);
  }

  /** The collection of that name; a new one is part of the state only once it is kept. */
  #collection(name: Uint8Array): CollectionStore {
    if (this.#lastStore !== undefined && equalBytes(name, this.#lastName)) return this.#lastStore;
    const text = TEXT_DECODER.decode(name);
    const store = this.#collections.get(text);
    if (store === undefined) return new CollectionStore(text, this.#seed);
    this.#lastName = name.slice();
    this.#lastStore = store;
    return store;
  }

  /** Makes a collection that was written to part of the state. */
  #keep(store: CollectionStore, name: Uint8Array): void {
    if (store === this.#lastStore) return;
    this.#collections.set(store.name, store);
    this.#lastName = name.slice();
    this.#lastStore = store;
  }

  /**
   * A document as it is now: a view, valid until the next entry is applied. One that has expired at
   * `nowMs` counts as absent.
   */
  read(collection: Uint8Array, key: Uint8Array, nowMs: number): OperationResult {
    const store = this.#collections.get(TEXT_DECODER.decode(collection));
    if (store === undefined) return absent(0);
    const location = store.locate(key);
    if (location === -1) return absent(0);
    if (store.isOver(location, nowMs)) return absent(0);
    return { found: true, version: store.version(location), document: store.document(location) };
  }

  /**
   * Documents of a collection that are not over at a time; 0 for one that does not exist. Undefined
   * when they must be counted one by one.
   */
  count(collection: Uint8Array, nowMs: number): number | undefined {
    const store = this.#collections.get(TEXT_DECODER.decode(collection));
    return store === undefined ? 0 : countAt(store, nowMs);
  }

  /** Whether a collection is there that refuses no document for what it holds. */
  takesAnything(collection: Uint8Array): boolean {
    const store = this.#collections.get(TEXT_DECODER.decode(collection));
    if (store === undefined || store.collectionId > 0) return false;
    return store.indexes.count === 0 && takesUsual(store.settings);
  }

  /** Takes over another machine's documents and sessions, at that position. */
  adopt(other: DocumentStateMachine, position: StatePosition): void {
    this.feed.restart(position.nextSequence);
    this.#position = position;
    for (const [name, store] of other.#collections) this.#collections.set(name, store);
    this.#droppedAt = other.#droppedAt;
    this.#follow(other.rules);
    this.#masters.restore(other.masters);
    this.#sessions.restore(other.#sessions.encode());
  }

  /** Begins to replace the state by a snapshot's. */
  beginRestore({ position, members, droppedAt, rules, masters }: RestoredCluster): void {
    this.#follow(rules);
    this.#masters.restore(masters);
    this.#collections.clear();
    this.#lastStore = undefined;
    this.#droppedAt = droppedAt;
    this.feed.restart(position.nextSequence);
    this.#position = position;
    this.memberTable.restore(members);
  }

  /** The collection of that name; an empty one that is not part of the state if there is none. */
  collectionOrEmpty(name: string): CollectionStore {
    return this.#collections.get(name) ?? new CollectionStore(name, this.#seed);
  }

  /** Sequence number of the command that dropped a collection last; 0 for none. */
  get droppedAt(): number {
    return this.#droppedAt;
  }

  /** Adds an empty collection of a snapshot. */
  restoreCollection(name: string): CollectionStore {
    const store = new CollectionStore(name, this.#seed);
    this.#collections.set(name, store);
    return store;
  }
}

interface CommandPlace {
  readonly commands: Uint8Array;
  readonly view: DataView;
  readonly at: number;
  readonly command: CommandHeader;
  readonly sequence: number;
  readonly ordinal: number;
  readonly nowMs: number;
}

function isWritten(outcome: CStoreError | OperationResult | undefined): outcome is OperationResult {
  if (outcome === undefined || outcome instanceof Error) return false;
  return outcome.found && outcome.document === undefined;
}

function absent(version: number): OperationResult {
  return { found: false, version, document: undefined };
}
