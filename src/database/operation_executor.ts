/**
 * Executes operations on documents, so that a request takes effect whole or not at all.
 *
 * The document of an UPDATE is a map: `update` (operators) or `assign` (fields that replace those
 * there), and perhaps `filter` (the document must match, or there is none), `insert` (what
 * an absent document begins as), `idField` (it must stay).
 * That of a REMOVE is empty or a map with `filter`.
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { ByteWriter, equalBytes } from "../base/bytes.ts";
import { CStoreError, DuplicateKeyError, QueryError, ValidationError } from "../base/errors.ts";
import {
  MERGED_SIZE_MAX,
  READ_SIZE_MAX,
  REQUEST_STEPS_MAX,
  RESULT_SIZE_MAX,
} from "../base/limits.ts";
import { FIRST_RULES, type RulesVersion } from "../base/rules_version.ts";
import { equalValues, type Fields, fieldOf, isFields } from "../base/value.ts";
import { decodeCbor, encodeByFirstRules, encodeCbor } from "../protocol/encoding/cbor.ts";
import { documentSizeMax } from "../protocol/encoding/collection_settings.ts";
import { NO_KEY, OperationCursor } from "../protocol/encoding/command.ts";
import {
  type DocumentId,
  decodeKey,
  encodeKey,
  holdsKey,
} from "../protocol/encoding/document_key.ts";
import {
  type OperationResult,
  writeOperationResult,
} from "../protocol/encoding/operation_result.ts";
import { compileFilter } from "../query/matcher.ts";
import { CompiledUpdate, type UpdateOperators } from "../query/update.ts";
import type { ChangeFeed } from "./change_feed.ts";
import type {
  CollectionStore,
  DocumentSource,
  PutPlace,
  Undo,
} from "./collection/collection_store.ts";
import { mergeDocuments } from "./collection/merge_documents.ts";
import {
  documentTooLarge,
  duplicateKey,
  resultTooLarge,
  unchecked,
  versionConflict,
} from "./refusals.ts";

/** Where an operation stands: its bytes, its number, and the state's time. */
export interface OperationPlace {
  readonly bytes: Uint8Array;
  readonly sequence: number;
  readonly nowMs: number;
}

/** The request that is executed now. */
export class OperationExecutor {
  readonly cursor = new OperationCursor();
  readonly #payload = new ByteWriter(256);
  readonly #feed: ChangeFeed;
  #rules: RulesVersion = FIRST_RULES;
  /** Documents whose values others had in unique indexes when they were written. */
  #doubtful: { readonly store: CollectionStore; readonly source: DocumentSource }[] = [];
  #undo: { readonly store: CollectionStore; readonly change: Undo }[] = [];
  /** Documents that the request gives back. */
  #returned = 0;
  /** Bytes of the documents that the request made out of others. */
  #madeBytes = 0;
  /** Work of the patterns in its conditions. */
  readonly #cost = { steps: 0 };
  /** Bytes of the documents that its conditions and updates looked at. */
  #readBytes = 0;

  /** Sequence numbers of operations that met no document. */
  readonly idle: number[] = [];
  /** Operations that the last {@link run} executed. */
  executed = 0;

  constructor(feed: ChangeFeed) {
    this.#feed = feed;
  }

  /** Begins a request, by the rules of the log. */
  begin(rules: RulesVersion): void {
    this.#rules = rules;
    this.#doubtful = [];
    this.#undo = [];
    this.idle.length = 0;
    this.#returned = 0;
    this.#madeBytes = 0;
    this.#readBytes = 0;
    this.#cost.steps = 0;
    this.#payload.rewind(0);
  }

  /** Whether anything was changed since {@link begin}. */
  get hasChanged(): boolean {
    return this.#undo.length > 0;
  }

  /** The results of the operations so far, as a RESULT payload. */
  results(): Uint8Array {
    return this.#payload.copy();
  }

  /**
   * Called after the last operation. Unique indexes judge the end of the request: within it
   * documents may swap their values. Gives why one is refused.
   */
  settle(): CStoreError | undefined {
    for (const { store, source } of this.#doubtful) {
      const key = { start: source.start, end: source.keyEnd };
      const at = store.find(store.hash(source.bytes, key), source.bytes, key);
      const problem =
        at === -1 ? undefined : store.indexes.problem(store.key(at), store.document(at));
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** Takes all changes of the request back. */
  rollBack(): void {
    for (const { store, change } of this.#undo.reverse()) store.undo(change);
    this.#undo = [];
  }

  /**
   * Executes the operations under the cursor, which stands before the first. Gives why one is
   * refused, or the single result when there is one only.
   */
  run(store: CollectionStore, first: OperationPlace): CStoreError | OperationResult | undefined {
    let { sequence } = first;
    this.executed = 0;
    let only: OperationResult | undefined;
    while (this.cursor.next()) {
      const outcome = this.#operate(store, { ...first, sequence });
      if (outcome instanceof Error) return outcome;
      if (!outcome.found) this.idle.push(sequence);
      only = sequence === first.sequence ? outcome : undefined;
      writeOperationResult(this.#payload, outcome);
      if (outcome.document !== undefined) this.#returned += 1;
      if (this.#payload.size > RESULT_SIZE_MAX && this.#returned > 1) return resultTooLarge();
      sequence += 1;
      this.executed += 1;
    }
    return only;
  }

  #operate(store: CollectionStore, place: OperationPlace): OperationResult | CStoreError {
    const { cursor } = this;
    const { bytes, sequence } = place;
    const size = cursor.documentEnd - cursor.documentStart;
    const most = documentSizeMax(store.settings);
    if (size > most) return documentTooLarge({ name: store.name, most }, size);
    const key = { start: cursor.keyStart, end: cursor.keyEnd };
    const hash = store.hash(bytes, key);
    const before = store.find(hash, bytes, key);
    const { ifVersion } = cursor;
    // Expired documents count as absent, except for REMOVE.
    const isOver = cursor.kind !== "REMOVE" && store.isOver(before, place.nowMs);
    const version = isOver ? 0 : store.version(before);
    if (store.settings.validator !== "" && !mayPass(cursor)) return unchecked(store);
    if (ifVersion !== undefined && ifVersion !== version) {
      const id = decodeKey(bytes.subarray(key.start, key.end));
      return versionConflict(ifVersion, version, { collection: store.name, id });
    }
    switch (cursor.kind) {
      case "INSERT":
        if (version !== 0) {
          return duplicateKey(store, decodeKey(bytes.subarray(cursor.keyStart, cursor.keyEnd)));
        }
        return this.#putGiven(store, { hash, before }, place);
      case "PUT":
        return this.#putGiven(store, { hash, before }, place);
      case "MERGE":
        if (version === 0) return absent(sequence);
        return this.#merge(store, { hash, before }, place);
      case "UPDATE":
        return this.#update(store, { hash, before }, { ...place, isThere: version !== 0 });
      case "REMOVE":
        return this.#remove(store, { hash, before }, place);
      case "NONE":
        return absent(sequence);
      default:
        return unreachable(cursor.kind);
    }
  }

  #remove(
    store: CollectionStore,
    { hash, before }: PutPlace,
    { bytes, sequence }: OperationPlace,
  ): OperationResult | CStoreError {
    const { documentStart, documentEnd, returnsDocument } = this.cursor;
    if (before === -1) return absent(sequence);
    if (documentEnd > documentStart) {
      const { filter } = decodeCbor(bytes.subarray(documentStart, documentEnd)) as Fields;
      const isMeant = attempt(() => this.#matches(filter, this.#read(store, before)));
      if (isMeant instanceof Error) return isMeant;
      if (!isMeant) return absent(sequence);
    }
    const document = returnsDocument ? store.document(before) : undefined;
    this.#undo.push({ store, change: store.remove(hash, before, sequence) });
    return { found: true, version: sequence, document };
  }

  #putGiven(
    store: CollectionStore,
    place: PutPlace,
    { bytes, sequence }: OperationPlace,
  ): OperationResult | CStoreError {
    const { keyStart, keyEnd, documentEnd, documentStart, returnsDocument } = this.cursor;
    const isFound =
      this.#rules === FIRST_RULES ||
      holdsKey(
        { bytes, start: documentStart, end: documentEnd },
        { bytes, start: keyStart, end: keyEnd },
      );
    if (!isFound) return lostKey(store);
    const source = { bytes, start: keyStart, keyEnd, end: documentEnd };
    const problem = this.#put(store, place, { source, sequence });
    if (problem !== undefined) return problem;
    const document = returnsDocument ? bytes.subarray(documentStart, documentEnd) : undefined;
    return { found: true, version: sequence, document };
  }

  #put(
    store: CollectionStore,
    place: PutPlace,
    write: { readonly source: DocumentSource; readonly sequence: number },
  ): CStoreError | undefined {
    const isLater = this.#rules > FIRST_RULES;
    const problem = store.indexProblem(write.source, isLater);
    const isDouble = isLater && problem instanceof DuplicateKeyError;
    if (problem !== undefined && !isDouble) return problem;
    if (isDouble) this.#doubtful.push({ store, source: write.source });
    this.#undo.push({ store, change: store.put(place, write.source, write.sequence) });
    return undefined;
  }

  #merge(
    store: CollectionStore,
    place: PutPlace,
    write: OperationPlace,
  ): OperationResult | CStoreError {
    const { documentStart, documentEnd } = this.cursor;
    const change = write.bytes.subarray(documentStart, documentEnd);
    const before = store.document(place.before);
    const made = mergeDocuments(before, change);
    if (this.#rules > FIRST_RULES && this.#loses(before, made, write.bytes)) return lostKey(store);
    return this.#putMade(store, place, { ...write, made });
  }

  #update(
    store: CollectionStore,
    place: PutPlace,
    write: OperationPlace & { readonly isThere: boolean },
  ): OperationResult | CStoreError {
    const { documentStart, documentEnd } = this.cursor;
    const order = decodeCbor(write.bytes.subarray(documentStart, documentEnd)) as Fields;
    const made = attempt(() => {
      const current = write.isThere ? this.#read(store, place.before) : undefined;
      const { keyStart, keyEnd } = this.cursor;
      const key = write.bytes.subarray(keyStart, keyEnd);
      const { filter } = order;
      const isMeant =
        current === undefined || filter === undefined || this.#matches(filter, current);
      if (!isMeant) return undefined;
      return updatedDocument(order, current, { key, nowMs: write.nowMs, rules: this.#rules });
    });
    if (made instanceof Error) return made;
    if (made === undefined) return absent(write.sequence);
    const before = write.isThere ? store.document(place.before) : undefined;
    if (this.#rules > FIRST_RULES && this.#loses(before, made, write.bytes)) return lostKey(store);
    return this.#putMade(store, place, { ...write, made });
  }

  /** Whether a document does not hold its key, though the one before, if there was one, does. */
  #loses(before: Uint8Array | undefined, made: Uint8Array, bytes: Uint8Array): boolean {
    const key = { bytes, start: this.cursor.keyStart, end: this.cursor.keyEnd };
    const holds = (document: Uint8Array): boolean =>
      holdsKey({ bytes: document, start: 0, end: document.byteLength }, key);
    return !holds(made) && (before === undefined || holds(before));
  }

  #matches(filter: unknown, document: Fields): boolean {
    const isMatch = compileFilter(filter, this.#cost, this.#rules)(document);
    if (this.#cost.steps <= REQUEST_STEPS_MAX) return isMatch;
    throw new QueryError("Cannot execute: the patterns of one request take too many steps");
  }

  /** A document, decoded; one request reads no more than a bound. */
  #read(store: CollectionStore, location: number): Fields {
    const document = store.document(location);
    this.#readBytes += document.byteLength;
    if (this.#readBytes > READ_SIZE_MAX) {
      throw new ValidationError(
        `Cannot execute: one request reads at most ${READ_SIZE_MAX} bytes of documents`,
        { remedy: "Change fewer documents at once" },
      );
    }
    return decodeCbor(document) as Fields;
  }

  /** Writes a document that was made out of another, within the bounds for such. */
  #putMade(
    store: CollectionStore,
    place: PutPlace,
    write: OperationPlace & { readonly made: Uint8Array },
  ): OperationResult | CStoreError {
    const { keyStart, keyEnd, returnsDocument } = this.cursor;
    const { made, sequence } = write;
    const sizeMax = documentSizeMax(store.settings);
    if (made.byteLength > sizeMax) {
      return new ValidationError(
        `Cannot merge: the document would have ${made.byteLength} bytes, at most ${sizeMax} are allowed`,
      );
    }
    this.#madeBytes += made.byteLength;
    if (this.#madeBytes > MERGED_SIZE_MAX) {
      return new ValidationError(
        `Cannot merge: one request makes at most ${MERGED_SIZE_MAX} bytes of documents`,
      );
    }
    const keySize = keyEnd - keyStart;
    const bytes = new Uint8Array(keySize + made.byteLength);
    bytes.set(write.bytes.subarray(keyStart, keyEnd));
    bytes.set(made, keySize);
    const source = { bytes, start: 0, keyEnd: keySize, end: bytes.byteLength };
    const problem = this.#put(store, place, { source, sequence });
    if (problem !== undefined) return problem;
    this.#feed.keepMade(sequence, bytes.subarray(keySize));
    return { found: true, version: sequence, document: returnsDocument ? made : undefined };
  }
}

/** The document after an UPDATE; undefined when there is none that is meant. */
export function updatedDocument(
  order: Fields,
  current: Fields | undefined,
  place: { readonly key: Uint8Array; readonly nowMs: number; readonly rules: RulesVersion },
): Uint8Array | undefined {
  const { update, assign, insert, idField } = order;
  if (!isFields(update ?? assign)) {
    throw new QueryError("Cannot read the update: it is not an object");
  }
  if (current === undefined && !isFields(insert)) return undefined;
  const base = current ?? (insert as Fields);
  const context = { nowMs: place.nowMs, isInsert: current === undefined };
  const after = isFields(update)
    ? new CompiledUpdate(update as UpdateOperators, place.rules).apply(base, context)
    : { ...base, ...(assign as Fields) };
  const name = typeof idField === "string" ? idField : "id";
  const begun = current === undefined ? fieldOf(base, name) : undefined;
  if (current === undefined && !equalBytes(encodeKey(begun as DocumentId), place.key)) {
    throw new ValidationError(`Cannot update: the new document has another id in "${name}"`);
  }
  if (!equalValues(fieldOf(base, name), fieldOf(after, name))) {
    throw new ValidationError(`Cannot update: the id in "${name}" does not change`);
  }
  return (place.rules > FIRST_RULES ? encodeCbor : encodeByFirstRules)(after).slice();
}

/** The document does not hold the key that it is to be found under. */
export function lostKey({ name: collection }: CollectionStore): CStoreError {
  return new ValidationError(`Cannot write the document: ${NO_KEY}`, { fields: { collection } });
}

/** Whether an operation may be one of a collection with a validator, which runs elsewhere. */
export function mayPass({ kind, isChecked }: OperationCursor): boolean {
  return kind === "REMOVE" || (isChecked && (kind === "INSERT" || kind === "PUT"));
}

function attempt<T>(run: () => T): T | CStoreError {
  try {
    return run();
  } catch (error) {
    if (error instanceof CStoreError) return error;
    throw error;
  }
}

function absent(version: number): OperationResult {
  return { found: false, version, document: undefined };
}
