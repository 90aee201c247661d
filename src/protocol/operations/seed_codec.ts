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
import { DOCUMENT_SIZE_MAX, SNAPSHOT_BLOCK_SIZE } from "../../base/limits.ts";
import type { Fields, Value } from "../../base/value.ts";
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
import { decodeUntrustedCbor, encodeCbor } from "../encoding/cbor.ts";
import { FieldReader } from "./field_reader.ts";
import { decodeOperationBatch, encodeOperationBatch } from "./operation_batch.ts";

const READ = new FieldReader("the state of collections that every node writes");
const HEAD = 1;
const REQUESTS = 2;
const BASES = 3;
const DOCUMENTS = 4;
const OPERATIONS = 5;
/** A block has a document at least, with its versions. */
const BLOCK_SIZE_MAX = 64 * DOCUMENT_SIZE_MAX;
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
    assert(bytes.byteLength <= BLOCK_SIZE_MAX, "a file has no larger blocks");
    if (bytes[0] === HEAD) {
      this.#head = readHead(value);
      return;
    }
    if (bytes[0] === REQUESTS) return this.#requests(READ.map(value));
    if (bytes[0] !== BASES && bytes[0] !== DOCUMENTS)
      throw READ.broken("a block's type is unknown");
    for (const row of READ.list(value)) {
      if (bytes[0] === BASES) this.#bases.push(readBase(row));
      else this.#keep.document?.(readDocument(row));
    }
  }

  /** The whole state but for its documents. */
  end(): Seed {
    if (this.#head === undefined) throw READ.broken("its head is missing");
    assert(this.#head.chains.size <= this.#head.cursor.size, "a checksum is of a known origin");
    const requests = { noted: this.#noted, repeated: this.#repeated };
    return { ...this.#head, requests, bases: this.#bases };
  }

  #requests({ noted = [], repeated = [] }: Fields): void {
    for (const one of READ.list(noted)) this.#noted.push(readNoted(one));
    for (const group of READ.list(repeated)) {
      this.#repeated.push(READ.list(group).map((one) => readNoted(one)));
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
    assert(size >= BLOCK_GOAL, "a portion makes a block");
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
  assert(count <= wallMs, "a stamp counts within one millisecond of this age");
  return [wallMs, count];
}

function readStamp(value: Value): Stamp {
  const [wallMs, count] = READ.list(value);
  const stamp = { wallMs: READ.count(wallMs), count: READ.count(count) };
  assert(stamp.wallMs <= Number.MAX_SAFE_INTEGER, "a time that is read is exact");
  return stamp;
}

function contentRow(content: Content): Value {
  if (content.kind === "removed") return null;
  const { body, marks } = content;
  assert(body.byteLength <= DOCUMENT_SIZE_MAX, "a document is no larger than it may be");
  return marks === undefined ? [body] : [body, marks as never];
}

function readContent(value: Value): Content {
  return value === null ? { kind: "removed" } : readDocumentContent(value);
}

function readDocumentContent(value: Value): DocumentContent {
  const [body, marks] = READ.list(value);
  const content = { kind: "document", body: READ.bytes(body) } as const;
  assert(content.body.byteLength <= BLOCK_SIZE_MAX, "a document is in a block");
  return marks === undefined ? content : { ...content, marks: READ.map(marks) as never };
}

function versionRow(version: DocumentVersion): Fields {
  const { dot, stamp, context, chain, content, seen, removals, isPruned } = version;
  assert(dot.sequence <= Number.MAX_SAFE_INTEGER, "a number is exact");
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
  const { o, s, t, h, b = null, c = [], v = 0, n, r, p } = READ.map(value);
  const dot = { origin: READ.text(o), sequence: READ.count(s) };
  assert(dot.sequence <= Number.MAX_SAFE_INTEGER, "a number that is read is exact");
  const [seenVersion, seenCursor] = n === undefined ? [] : READ.list(n);
  return {
    ...{ dot, stamp: readStamp(t), context: READ.vector(c), version: READ.count(v) },
    ...{ chain: READ.count(h), content: readContent(b) },
    ...(n !== undefined && {
      seen: { version: READ.count(seenVersion), cursor: READ.vector(seenCursor) },
    }),
    ...(r !== undefined && { removals: READ.list(r).map((one) => readDot(one)) }),
    ...(p === true && { isPruned: true }),
  };
}

function notedRow({ origin, sequence, request, documents }: Noted): Value {
  assert(sequence <= Number.MAX_SAFE_INTEGER, "a number is exact");
  const names = documents.map(({ collection, key }) => [collection, key]);
  return [origin, sequence, { ...request }, names];
}

function readNoted(value: Value): Noted {
  const [origin, sequence, request, names] = READ.list(value);
  const { session, number, answered, isRepeat } = READ.map(request);
  const noted = { origin: READ.text(origin), sequence: READ.count(sequence) };
  const name = { session: READ.text(session), number: READ.count(number) };
  assert(name.number <= Number.MAX_SAFE_INTEGER, "a number that is read is exact");
  const documents = READ.list(names).map((one) => {
    const [collection, key] = READ.list(one);
    return { collection: READ.count(collection), key: READ.bytes(key) };
  });
  const how = { answered: READ.count(answered), isRepeat: isRepeat === true };
  return { ...noted, request: { ...name, ...how }, documents };
}

function readHead(value: unknown): Omit<Seed, "requests" | "bases"> {
  const { version, cursor, chains, stamp, forgotten } = READ.map(value);
  const { round, floor } = READ.map(forgotten);
  const head = {
    ...{ version: READ.count(version), cursor: READ.vector(cursor), chains: READ.vector(chains) },
    lastStamp: readStamp(stamp),
    forgotten: { round: READ.count(round), floor: READ.vector(floor) },
  };
  if (head.chains.size > head.cursor.size) throw READ.broken("it has checksums of unknown origins");
  assert(head.chains.size <= head.cursor.size, "a checksum is that of a known origin");
  return head;
}

function readBase(value: Value): Base {
  const { origin, sequence, collection, key, content, isPassed } = READ.map(value);
  const name = { origin: READ.text(origin), sequence: READ.count(sequence) };
  assert(name.sequence <= Number.MAX_SAFE_INTEGER, "a number that is read is exact");
  return {
    ...name,
    ...{ collection: READ.count(collection), key: READ.bytes(key), isPassed: isPassed === true },
    content: readDocumentContent(content),
  };
}

function readDocument(value: Value): StoredDocument {
  const [collection, key, versions] = READ.list(value);
  const read = READ.list(versions).map((one) => readVersion(one));
  if (read.length === 0) throw READ.broken("a document has no version");
  assert(read.length <= READ.list(versions).length, "no version is made up");
  return { collection: READ.count(collection), key: READ.bytes(key), versions: read };
}

function readDot(value: Value): Dot {
  const [origin, sequence] = READ.list(value);
  const dot = { origin: READ.text(origin), sequence: READ.count(sequence) };
  assert(dot.sequence <= Number.MAX_SAFE_INTEGER, "a number that is read is exact");
  return dot;
}
