/**
 * A node's state of the collections that every node writes, as the blocks of a file. The first byte
 * of a block says what it is; the rest is CBOR:
 *
 * | type      | number | body                                                                 |
 * | --------- | -----: | -------------------------------------------------------------------- |
 * | HEAD      |      1 | map {version, cursor, chains, stamp, forgotten}; vectors are lists   |
 * | REQUESTS  |      2 | map {noted} or {repeated}: lists of what was carried out             |
 * | BASES     |      3 | list of what later operations may be changes of                      |
 * | DOCUMENTS |      4 | list of [collection, key, versions]                                  |
 *
 * A block OPERATIONS (5) is the body of a record of the log (`operation_batch.ts`): operations that
 * are in the state, for members that do not have them yet.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteWriter } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { SNAPSHOT_BLOCK_SIZE } from "../../base/limits.ts";
import { type Fields, isCount, isFields, type Value } from "../../base/value.ts";
import type { FrozenSeed, Seed } from "../../multi_master/config.ts";
import type { Base } from "../../multi_master/document/bases.ts";
import type { Noted } from "../../multi_master/document/request_table.ts";
import type { StoredDocument } from "../../multi_master/document/version_store.ts";
import type { Dot } from "../../multi_master/operation/dot.ts";
import type {
  Content,
  DocumentContent,
  DocumentVersion,
  PackedOperation,
  Stamp,
} from "../../multi_master/operation/operation.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";
import { decodeUntrustedCbor, encodeCbor } from "../encoding/cbor.ts";
import { decodeOperationBatch, encodeOperationBatch } from "./operation_batch.ts";

const HEAD = 1;
const REQUESTS = 2;
const BASES = 3;
const DOCUMENTS = 4;
const OPERATIONS = 5;
/** Small enough that making one block takes a few milliseconds. */
const BLOCK_GOAL = SNAPSHOT_BLOCK_SIZE / 4;
/** About the bytes of a version or request beside its documents. */
const ROW_SIZE = 128;

/**
 * The blocks of a state. Its documents are read while the caller takes them.
 *
 * @param operations encoded ones that go with it.
 */
export function* seedBlocks(
  seed: FrozenSeed,
  operations: Iterable<Uint8Array> = [],
): Generator<Uint8Array> {
  const { version, cursor, chains, lastStamp, forgotten, requests, bases } = seed;
  assert(chains.size <= cursor.size, "a checksum is that of a known origin");
  const floor = { round: forgotten.round, floor: [...forgotten.floor] };
  yield block(HEAD, {
    ...{ version, cursor: [...cursor], chains: [...chains] },
    ...{ stamp: stampRow(lastStamp), forgotten: floor },
  });
  for (const some of portions(operations, ({ byteLength }) => byteLength)) {
    const body = encodeOperationBatch(some);
    yield new ByteWriter(body.byteLength + 1).u8(OPERATIONS).raw(body).copy();
  }
  for (const noted of portions(requests.noted, () => ROW_SIZE)) {
    yield block(REQUESTS, { noted: noted.map((one) => notedRow(one)) });
  }
  for (const repeated of portions(requests.repeated, (group) => ROW_SIZE * group.length)) {
    const groups = repeated.map((group) => group.map((one) => notedRow(one)));
    yield block(REQUESTS, { repeated: groups });
  }
  for (const some of portions(bases, ({ content }) => ROW_SIZE + content.body.byteLength)) {
    yield block(
      BASES,
      some.map((base) => ({ ...base, content: contentRow(base.content) })),
    );
  }
  for (const some of portions(seed.documents(), sizeOf)) {
    yield block(
      DOCUMENTS,
      some.map(({ collection, key, versions }) => {
        return [collection, key, versions.map((one) => versionRow(one))];
      }),
    );
  }
}

/** Where what is read goes. */
export interface SeedKeeper {
  document?(document: StoredDocument): void;
  /** Some of the operations that go with the state, in their order. */
  operations?(operations: readonly PackedOperation[]): void;
}

/** Reads the blocks of a state, the HEAD first. Throws ProtocolError. */
export class SeedReader {
  #head: Omit<Seed, "requests" | "bases"> | undefined;
  readonly #noted: Noted[] = [];
  readonly #repeated: (readonly Noted[])[] = [];
  readonly #bases: Base[] = [];
  readonly #keep: SeedKeeper;

  constructor(keep: SeedKeeper) {
    this.#keep = keep;
  }

  block(bytes: Uint8Array): void {
    if (bytes[0] === OPERATIONS) {
      this.#keep.operations?.(decodeOperationBatch(bytes.slice(1)));
      return;
    }
    const value = decodeUntrustedCbor(bytes.slice(1));
    assert(bytes.byteLength > 1, "a block that was decoded has a body");
    if (bytes[0] === HEAD) {
      this.#head = readHead(value);
      return;
    }
    if (bytes[0] === REQUESTS) return this.#requests(fieldsOf(value));
    if (bytes[0] !== BASES && bytes[0] !== DOCUMENTS) throw broken("a block's type is unknown");
    for (const row of listOf(value)) {
      if (bytes[0] === BASES) this.#bases.push(readBase(row));
      else this.#keep.document?.(readDocument(row));
    }
  }

  /** The whole state but for its documents. */
  end(): Seed {
    if (this.#head === undefined) throw broken("its head is missing");
    assert(this.#head.chains.size <= this.#head.cursor.size, "a checksum is of a known origin");
    const requests = { noted: this.#noted, repeated: this.#repeated };
    return { ...this.#head, requests, bases: this.#bases };
  }

  #requests({ noted = [], repeated = [] }: Fields): void {
    for (const one of listOf(noted)) this.#noted.push(readNoted(one));
    for (const group of listOf(repeated)) {
      this.#repeated.push(listOf(group).map((one) => readNoted(one)));
    }
  }
}

function block(type: number, value: unknown): Uint8Array {
  const body = encodeCbor(value);
  const bytes = new ByteWriter(body.byteLength + 1).u8(type).raw(body).copy();
  assert(bytes.byteLength === body.byteLength + 1, "a block is its type and its body");
  return bytes;
}

/** Items in their order, so many together as make about one block. */
function* portions<T>(items: Iterable<T>, sizeOfOne: (item: T) => number): Generator<readonly T[]> {
  let [portion, size]: [T[], number] = [[], 0];
  for (const item of items) {
    portion.push(item);
    size += sizeOfOne(item);
    if (size < BLOCK_GOAL) continue;
    assert(portion.length > 0, "a portion is not empty");
    yield portion;
    [portion, size] = [[], 0];
  }
  if (portion.length > 0) yield portion;
}

function sizeOf({ key, versions }: StoredDocument): number {
  const size = versions.reduce((sum, { content }) => {
    return sum + ROW_SIZE + (content.kind === "document" ? content.body.byteLength : 0);
  }, key.byteLength);
  assert(size >= key.byteLength, "sizes are not below 0");
  return size;
}

function stampRow({ wallMs, count }: Stamp): Value {
  assert(count >= 0, "a stamp counts from 0");
  return [wallMs, count];
}

function readStamp(value: Value): Stamp {
  const [wallMs, count] = listOf(value);
  const stamp = { wallMs: numberOf(wallMs), count: numberOf(count) };
  assert(stamp.count >= 0, "a number that is read is none below 0");
  return stamp;
}

function contentRow(content: Content): Value {
  if (content.kind === "removed") return null;
  const { body, marks } = content;
  assert(body.byteLength > 0, "a document has bytes");
  return marks === undefined ? [body] : [body, marks as never];
}

function readContent(value: Value): Content {
  return value === null ? { kind: "removed" } : readDocumentContent(value);
}

function readDocumentContent(value: Value): DocumentContent {
  const [body, marks] = listOf(value);
  const content = { kind: "document", body: bytesOf(body) } as const;
  assert(content.body.byteLength > 0, "a document that is read has bytes");
  return marks === undefined ? content : { ...content, marks: fieldsOf(marks) as never };
}

function versionRow(version: DocumentVersion): Fields {
  const { dot, stamp, context, chain, content, seen, removals, isPruned } = version;
  assert(dot.sequence > 0, "a version has a name");
  return {
    ...{ o: dot.origin, s: dot.sequence, t: stampRow(stamp), h: chain, b: contentRow(content) },
    ...(context.size > 0 && { c: [...context] }),
    ...(version.version > 0 && { v: version.version }),
    ...(seen !== undefined && { n: [seen.version, [...seen.cursor]] }),
    ...(removals !== undefined && { r: removals.map((one) => [one.origin, one.sequence]) }),
    ...(isPruned === true && { p: true }),
  };
}

function readVersion(value: Value): DocumentVersion {
  const { o, s, t, h, b = null, c = [], v = 0, n, r, p } = fieldsOf(value);
  const dot = { origin: textOf(o), sequence: numberOf(s) };
  assert(dot.origin.length > 0, "an origin that is read has a name");
  const [seenVersion, seenCursor] = n === undefined ? [] : listOf(n);
  return {
    ...{ dot, stamp: readStamp(t), context: readVector(c), version: numberOf(v) },
    ...{ chain: numberOf(h), content: readContent(b) },
    ...(n !== undefined && {
      seen: { version: numberOf(seenVersion), cursor: readVector(seenCursor) },
    }),
    ...(r !== undefined && { removals: listOf(r).map((one) => readDot(one)) }),
    ...(p === true && { isPruned: true }),
  };
}

function notedRow({ origin, sequence, request, documents }: Noted): Value {
  assert(sequence > 0, "an operation has a name");
  const names = documents.map(({ collection, key }) => [collection, key]);
  return [origin, sequence, { ...request }, names];
}

function readNoted(value: Value): Noted {
  const [origin, sequence, request, names] = listOf(value);
  const { session, number, answered, isRepeat } = fieldsOf(request);
  const noted = { origin: textOf(origin), sequence: numberOf(sequence) };
  const name = { session: textOf(session), number: numberOf(number) };
  assert(name.session.length > 0, "a session that is read has a name");
  const documents = listOf(names).map((one) => {
    const [collection, key] = listOf(one);
    return { collection: numberOf(collection), key: bytesOf(key) };
  });
  const how = { answered: numberOf(answered), isRepeat: isRepeat === true };
  return { ...noted, request: { ...name, ...how }, documents };
}

function readHead(value: unknown): Omit<Seed, "requests" | "bases"> {
  const { version, cursor, chains, stamp, forgotten } = fieldsOf(value);
  const { round, floor } = fieldsOf(forgotten);
  const head = {
    ...{ version: numberOf(version), cursor: readVector(cursor), chains: readVector(chains) },
    lastStamp: readStamp(stamp),
    forgotten: { round: numberOf(round), floor: readVector(floor) },
  };
  if (head.chains.size > head.cursor.size) throw broken("it has checksums of unknown origins");
  assert(head.chains.size <= head.cursor.size, "a checksum is that of a known origin");
  return head;
}

function readBase(value: Value): Base {
  const { origin, sequence, collection, key, content, isPassed } = fieldsOf(value);
  const name = { origin: textOf(origin), sequence: numberOf(sequence) };
  assert(name.origin.length > 0, "an origin that is read has a name");
  return {
    ...name,
    ...{ collection: numberOf(collection), key: bytesOf(key), isPassed: isPassed === true },
    content: readDocumentContent(content),
  };
}

function readDocument(value: Value): StoredDocument {
  const [collection, key, versions] = listOf(value);
  const read = listOf(versions).map((one) => readVersion(one));
  if (read.length === 0) throw broken("a document has no version");
  assert(read.length > 0, "a document that is kept has a version");
  return { collection: numberOf(collection), key: bytesOf(key), versions: read };
}

function readDot(value: Value): Dot {
  const [origin, sequence] = listOf(value);
  const dot = { origin: textOf(origin), sequence: numberOf(sequence) };
  assert(dot.sequence >= 0, "a number that is read is none below 0");
  return dot;
}

function readVector(value: Value): VersionVector {
  const rows = listOf(value).map((row) => listOf(row));
  const vector = new Map(rows.map(([origin, number]) => [textOf(origin), numberOf(number)]));
  assert(vector.size <= rows.length, "each origin has one row");
  return vector;
}

function fieldsOf(value: unknown): Fields {
  if (isFields(value)) return value;
  throw broken("a map is missing");
}

function listOf(value: unknown): readonly Value[] {
  if (Array.isArray(value)) return value;
  throw broken("a list is missing");
}

function textOf(value: Value): string {
  if (typeof value === "string" && value !== "") return value;
  throw broken("a name is missing");
}

function numberOf(value: Value): number {
  if (isCount(value)) return value;
  throw broken("a number is missing");
}

function bytesOf(value: Value): Uint8Array {
  if (value instanceof Uint8Array && value.byteLength > 0) return value;
  throw broken("bytes are missing");
}

function broken(why: string): ProtocolError {
  return new ProtocolError(`Cannot read the state of collections that every node writes: ${why}`);
}
