/**
 * The replicated state: collections of documents, sessions, members and bindings. Synchronous and
 * deterministic.
 *
 * @module
 */

import { assert, unreachable } from "../base/assert.ts";
import { ByteWriter, equalBytes, viewOf } from "../base/bytes.ts";
import { type CStoreError, ValidationError } from "../base/errors.ts";
import {
  COLLECTIONS_MAX,
  DOCUMENT_SIZE_MAX,
  MERGED_SIZE_MAX,
  RESULT_SIZE_MAX,
} from "../base/limits.ts";
import {
  type BatchHeader,
  batchCommands,
  type Compressor,
  decodeBatchHeader,
} from "../protocol/batch_codec.ts";
import { type OperationResult, writeOperationResult } from "../protocol/client_message.ts";
import { readBindings, readMembers, readSessionIds } from "../protocol/cluster_command.ts";
import {
  COMMAND_HEADER_SIZE,
  type CommandHeader,
  OperationCursor,
  readCommandHeader,
} from "../protocol/command.ts";
import type { ApplyResults, StateMachine } from "../raft/state_machine.ts";
import type { Entry, LogIndex, Term } from "../raft/types.ts";
import { CollectionStore, type PutPlace, type Undo } from "./collection_store.ts";
import { MemberTable, type MemberTableState } from "./member_table.ts";
import { bodyChecksum, PlainPutRun } from "./plain_put.ts";
import {
  duplicateKey,
  giveResult,
  refusal,
  resultTooLarge,
  sessionRefusal,
  versionConflict,
} from "./refusals.ts";
import { type SessionRequest, SessionTable, type StoredResult } from "./session_table.ts";
import { mergeDocuments } from "./update.ts";

/** What a restored snapshot says of itself. */
export interface StatePosition {
  readonly index: LogIndex;
  readonly term: Term;
  readonly nextSequence: number;
  readonly timeMs: number;
}

const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** The state machine. */
export class DocumentStateMachine implements StateMachine {
  readonly #compressor: Compressor;
  readonly #seed: number;
  readonly #collections = new Map<string, CollectionStore>();
  readonly #sessions = new SessionTable();
  /** Members of the cluster, and the folders that their ids belong to. */
  readonly memberTable = new MemberTable();
  readonly #cursor = new OperationCursor();
  readonly #plainPuts = new PlainPutRun();
  readonly #payload = new ByteWriter(256);
  #undo: Undo[] = [];
  /** Bytes of the documents that the running request merged. */
  #mergedBytes = 0;
  #position: StatePosition = { index: 0, term: 0, nextSequence: 1, timeMs: 0 };
  #isDigestDue = false;
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

  /** Sequence number of the last applied operation. */
  get appliedSequence(): number {
    return this.#position.nextSequence - 1;
  }

  get sessions(): SessionTable {
    return this.#sessions;
  }

  /** Bytes of all slabs. */
  get documentBytes(): number {
    let bytes = 0;
    for (const store of this.#collections.values()) bytes += store.bytes;
    return bytes;
  }

  /** Documents over all collections. */
  get documentCount(): number {
    let count = 0;
    for (const store of this.#collections.values()) count += store.count;
    return count;
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
    if (store === undefined) return -1;
    const put = this.#plainPuts.take(at, store, this.#lastName);
    if (put === undefined) return -1;
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
        if (command.sessionId === 0) giveResult(place.ordinal, this.#execute(place), results);
        else this.#applyInSession(place, results);
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
        this.memberTable.set(readMembers(body()));
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
      const result = this.#execute(place);
      this.#sessions.store(request, result);
      giveResult(ordinal, result, results);
    } else if (admission.verdict === "repeat") {
      giveResult(ordinal, admission.result, results);
    } else {
      results.refused(ordinal, sessionRefusal(admission.verdict, request));
    }
  }

  /** All operations of a request, or none. */
  #execute(place: CommandPlace): StoredResult {
    const { commands, view, at } = place;
    const cursor = this.#cursor;
    cursor.start(view, at);
    const name = commands.subarray(cursor.nameStart, cursor.nameEnd);
    const store = this.#collection(name);
    this.#undo = [];
    this.#mergedBytes = 0;
    this.#payload.rewind(0);
    const result = this.#operateAll(store, place);
    if (result.kind === "refused") {
      for (const change of this.#undo.reverse()) store.undo(change);
    } else if (this.#undo.length > 0 && !this.#keep(store, name)) {
      return refusal(new ValidationError(`Cannot create more than ${COLLECTIONS_MAX} collections`));
    }
    store.compactStep();
    return result;
  }

  #operateAll(store: CollectionStore, place: CommandPlace): StoredResult {
    const { commands, command } = place;
    const cursor = this.#cursor;
    let sequence = place.sequence;
    while (cursor.next()) {
      const outcome = this.#operate(store, commands, sequence);
      if (outcome instanceof Error) return refusal(outcome);
      const isPlain = command.count === 1 && outcome.found && outcome.document === undefined;
      if (isPlain) return { kind: "written", version: outcome.version };
      writeOperationResult(this.#payload, outcome);
      if (this.#payload.size > RESULT_SIZE_MAX) return refusal(resultTooLarge());
      sequence += 1;
    }
    return { kind: "payload", payload: this.#payload.copy() };
  }

  #operate(
    store: CollectionStore,
    bytes: Uint8Array,
    sequence: number,
  ): OperationResult | CStoreError {
    const cursor = this.#cursor;
    const key = { start: cursor.keyStart, end: cursor.keyEnd };
    const hash = store.hash(bytes, key);
    const before = store.find(hash, bytes, key);
    const { ifVersion } = cursor;
    if (ifVersion !== undefined && ifVersion !== store.version(before)) {
      return versionConflict(ifVersion, store.version(before));
    }
    switch (cursor.kind) {
      case "INSERT":
        if (before !== -1) return duplicateKey(store);
        return this.#put(store, { hash, before }, { bytes, sequence });
      case "PUT":
        return this.#put(store, { hash, before }, { bytes, sequence });
      case "MERGE":
        if (before === -1) return absent(sequence);
        return this.#merge(store, { hash, before }, { bytes, sequence });
      case "REMOVE": {
        if (before === -1) return absent(sequence);
        const document = cursor.returnsDocument ? store.document(before) : undefined;
        this.#undo.push(store.remove(hash, before, sequence));
        return { found: true, version: sequence, document };
      }
      case "NONE":
        return absent(sequence);
      default:
        return unreachable(cursor.kind);
    }
  }

  #put(store: CollectionStore, place: PutPlace, write: WriteSource): OperationResult {
    const { keyStart, keyEnd, documentEnd, documentStart, returnsDocument } = this.#cursor;
    const { bytes, sequence } = write;
    const source = { bytes, start: keyStart, keyEnd, end: documentEnd };
    this.#undo.push(store.put(place, source, sequence));
    const document = returnsDocument ? bytes.subarray(documentStart, documentEnd) : undefined;
    return { found: true, version: sequence, document };
  }

  #merge(
    store: CollectionStore,
    place: PutPlace,
    write: WriteSource,
  ): OperationResult | CStoreError {
    const { keyStart, keyEnd, documentStart, documentEnd, returnsDocument } = this.#cursor;
    const change = write.bytes.subarray(documentStart, documentEnd);
    const merged = mergeDocuments(store.document(place.before), change);
    if (merged.byteLength > DOCUMENT_SIZE_MAX) {
      return new ValidationError(
        `Cannot merge: the document would have ${merged.byteLength} bytes, at most ${DOCUMENT_SIZE_MAX} are allowed`,
      );
    }
    this.#mergedBytes += merged.byteLength;
    if (this.#mergedBytes > MERGED_SIZE_MAX) {
      return new ValidationError(
        `Cannot merge: one request makes at most ${MERGED_SIZE_MAX} bytes of documents`,
      );
    }
    const keySize = keyEnd - keyStart;
    const bytes = new Uint8Array(keySize + merged.byteLength);
    bytes.set(write.bytes.subarray(keyStart, keyEnd));
    bytes.set(merged, keySize);
    const source = { bytes, start: 0, keyEnd: keySize, end: bytes.byteLength };
    this.#undo.push(store.put(place, source, write.sequence));
    const document = returnsDocument ? merged : undefined;
    return { found: true, version: write.sequence, document };
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

  /** Makes a collection that was written to part of the state; false when there are too many. */
  #keep(store: CollectionStore, name: Uint8Array): boolean {
    if (store === this.#lastStore) return true;
    if (this.#collections.size >= COLLECTIONS_MAX) return false;
    this.#collections.set(store.name, store);
    this.#lastName = name.slice();
    this.#lastStore = store;
    return true;
  }

  /** A document as it is now: a view, valid until the next entry is applied. */
  read(collection: Uint8Array, key: Uint8Array): OperationResult {
    const store = this.#collections.get(TEXT_DECODER.decode(collection));
    if (store === undefined) return absent(0);
    const range = { start: 0, end: key.byteLength };
    const location = store.find(store.hash(key, range), key, range);
    if (location === -1) return absent(0);
    return { found: true, version: store.version(location), document: store.document(location) };
  }

  /** Documents of a collection; 0 for one that does not exist. */
  count(collection: Uint8Array): number {
    return this.#collections.get(TEXT_DECODER.decode(collection))?.count ?? 0;
  }

  /** Takes over another machine's documents and sessions, at that position. */
  adopt(other: DocumentStateMachine, position: StatePosition): void {
    this.#position = position;
    for (const [name, store] of other.#collections) this.#collections.set(name, store);
    this.#sessions.restore(other.#sessions.encode());
  }

  /** Begins to replace the state by a snapshot's. */
  beginRestore(position: StatePosition, members: MemberTableState): void {
    this.#collections.clear();
    this.#lastStore = undefined;
    this.#position = position;
    this.memberTable.restore(members);
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

interface WriteSource {
  readonly bytes: Uint8Array;
  readonly sequence: number;
}

/** The request that a command makes in its session. */
export function sessionRequest(view: DataView, at: number, command: CommandHeader): SessionRequest {
  const { sessionId, requestNumber, acknowledgedBelow, size } = command;
  const checksum = bodyChecksum(view, at + COMMAND_HEADER_SIZE, at + size);
  return { sessionId, requestNumber, acknowledgedBelow, checksum };
}

function absent(version: number): OperationResult {
  return { found: false, version, document: undefined };
}
