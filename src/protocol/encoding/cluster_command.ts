/**
 * Commands that consensus itself needs in the log: the members, the data directory that each node
 * id belongs to, and the sessions that end. Bodies, integers little-endian, texts with 2 bytes of
 * size:
 *
 * | command         | body                                                             |
 * | --------------- | ---------------------------------------------------------------- |
 * | NOOP            | -                                                                |
 * | MEMBERSHIP      | count (4), then for each member in order of id: id, address, role (1), incarnation (empty: not known yet) |
 * | BIND            | count (4), then for each node: id, incarnation                   |
 * | DIGEST          | -                                                                |
 * | EXPIRE_SESSIONS | count (4), then session ids (8 each)                             |
 * | RULES           | the rules version that holds from here on (4)                    |
 * | AGREEMENT       | a change of the agreement, or the mode of new collections (`agreement_codec.ts`) |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter, encodeText } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { OPERATIONS_PER_REQUEST_MAX } from "../../base/limits.ts";
import type { Member } from "../../raft/configuration.ts";
import {
  BATCH_HEADER_SIZE,
  type BatchPlace,
  decodeBatchHeader,
  type PreparedBatch,
  prepareBatch,
  sealBatch,
  UNCOMPRESSED,
} from "./batch_codec.ts";
import { encodeCbor } from "./cbor.ts";
import { checksum64 } from "./checksum.ts";
import {
  beginCommand,
  COMMAND_HEADER_SIZE,
  COMMAND_KINDS,
  type CommandKind,
  type DocumentOperation,
  endCommand,
  NO_SESSION,
  writeDocumentsCommand,
} from "./command.ts";

/** The roles by their number in MEMBERSHIP. */
export const MEMBER_ROLES = ["voter", "learner", "standby", "incoming", "outgoing"] as const;
/** The most members of one cluster: few enough for one entry. */
export const MEMBERS_MAX = 64;

/** Hex digits of a cluster's id. */
const CLUSTER_ID_DIGITS = 16;
/** Bytes of a member whose texts are empty: three sizes of texts and a role. */
const MEMBER_SIZE_MIN = 7;
/** Bytes of a binding whose texts are empty. */
const BINDING_SIZE_MIN = 4;
const COUNT_SIZE = 4;
const SESSION_ID_SIZE = 8;
const RULES_SIZE = 4;
const RULES_MAX = 0xffff_ffff;

/** A node's id and the address that it listens on. */
export interface NodeAddress {
  readonly id: string;
  /** HOST:PORT */
  readonly address: string;
}

/** A node's id and the incarnation of the data directory that it belongs to. */
export interface Binding {
  readonly id: string;
  readonly incarnation: string;
}

/** A batch with one command of consensus, complete but for its place. */
export function clusterBatch(
  kind: Exclude<CommandKind, "NONE" | "DOCUMENTS">,
  timeMs: number,
  writeBody: (writer: ByteWriter) => void,
): PreparedBatch {
  const writer = new ByteWriter(512);
  writer.reserve(BATCH_HEADER_SIZE);
  const start = beginCommand(writer, kind, { ...NO_SESSION, count: 1 });
  writeBody(writer);
  endCommand(writer, start);
  const batch = prepareBatch(writer.written(), { count: 1, timeMs }, UNCOMPRESSED);
  assert(batch.rawSize === writer.size - start, "the command fills the batch");
  return batch;
}

/** The entry of a new leader. Its time is 0: the state's clock stands still for it. */
export function noopBatch(): PreparedBatch {
  const batch = clusterBatch("NOOP", 0, () => undefined);
  assert(batch.rawSize === COMMAND_HEADER_SIZE, "a no-op has no body");
  return batch;
}

/** Every node freezes its state after this entry, for a comparison with the other nodes. */
export function digestBatch(timeMs: number): PreparedBatch {
  const batch = clusterBatch("DIGEST", Math.floor(timeMs), () => undefined);
  assert(batch.rawSize === COMMAND_HEADER_SIZE, "a digest has no body");
  return batch;
}

/** Raises the rules version: what follows in the log is applied by the rules of that number. */
export function rulesBatch(rules: number, timeMs: number): PreparedBatch {
  assert(rules <= RULES_MAX, "the number fits its field");
  const batch = clusterBatch("RULES", Math.floor(timeMs), (writer) => writer.u32(rules));
  assert(batch.rawSize === COMMAND_HEADER_SIZE + RULES_SIZE, "the body is a number");
  return batch;
}

/** Reads the body of RULES, which may come from a peer. Throws ProtocolError. */
export function readRules(body: Uint8Array): number {
  const reader = new ByteReader(body);
  const rules = reader.u32();
  reader.end();
  assert(rules <= RULES_MAX, "the number fits its field");
  assert(reader.offset === RULES_SIZE, "the number fills the body");
  return rules;
}

/** Operations that the leader itself proposes: it removes expired documents. */
export function documentsBatch(
  request: { readonly collection: string; readonly operations: readonly DocumentOperation[] },
  timeMs: number,
): PreparedBatch {
  const { operations } = request;
  assert(operations.length <= OPERATIONS_PER_REQUEST_MAX, "a command holds no more operations");
  const writer = new ByteWriter(4096);
  writer.reserve(BATCH_HEADER_SIZE);
  const collection = encodeText(request.collection);
  writeDocumentsCommand(writer, NO_SESSION, { collection, operations });
  const fields = { count: operations.length, timeMs: Math.floor(timeMs) };
  const batch = prepareBatch(writer.written(), fields, UNCOMPRESSED);
  assert(batch.rawSize === writer.size - BATCH_HEADER_SIZE, "the command fills the batch");
  return batch;
}

/** Marks an index as complete: it serves queries after this entry. */
export function indexReadyBatch(
  index: { readonly collection: string; readonly index: string },
  timeMs: number,
): PreparedBatch {
  return clusterBatch("INDEX_READY", Math.floor(timeMs), (writer) => writer.raw(encodeCbor(index)));
}

/** A batch that sets the members. */
export function membershipBatch(members: readonly Member[], timeMs: number): PreparedBatch {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  return clusterBatch("MEMBERSHIP", timeMs, (writer) => {
    writer.u32(sorted.length);
    for (const { id, address, role, incarnation } of sorted) {
      writer.text(id).text(address).u8(MEMBER_ROLES.indexOf(role)).text(incarnation);
    }
  });
}

/** The members that a static list names. */
export function firstMembers(nodes: readonly NodeAddress[]): Member[] {
  return nodes.map(({ id, address }) => ({ id, address, role: "voter", incarnation: "" }));
}

/** Entry 1, made from the static list: the same bytes on every node. */
export function firstBatch(nodes: readonly NodeAddress[]): Uint8Array {
  const batch = membershipBatch(firstMembers(nodes), 0);
  const bytes = sealBatch(batch, FIRST_PLACE);
  assert(bytes.byteLength === BATCH_HEADER_SIZE + batch.rawSize, "the first entry is plain");
  return bytes;
}

/** The place of the first entry, which sets the members. */
export const FIRST_PLACE: BatchPlace = { term: 1, index: 1, firstSequence: 1 };

/** The cluster's id unless one is given: 16 hex digits that follow from the list of nodes. */
export function clusterIdOf(nodes: readonly NodeAddress[]): string {
  const id = checksum64(firstBatch(nodes)).toString(16).padStart(CLUSTER_ID_DIGITS, "0");
  assert(id.length === CLUSTER_ID_DIGITS, "a checksum of 64 bits has 16 hex digits");
  return id;
}

/** Reads the body of MEMBERSHIP, which may come from a peer. Throws ProtocolError. */
export function readMembers(body: Uint8Array): Member[] {
  const reader = new ByteReader(body);
  const count = reader.u32();
  if (count > MEMBERS_MAX) throw new ProtocolError(`Cannot read ${count} members`);
  const members = Array.from({ length: count }, () => {
    const id = reader.text();
    const address = reader.text();
    const role = MEMBER_ROLES[reader.u8()];
    if (role === undefined) throw new ProtocolError(`Cannot read the role of member "${id}"`);
    return { id, address, role, incarnation: reader.text() };
  });
  reader.end();
  assert(
    COUNT_SIZE + count * MEMBER_SIZE_MIN <= body.byteLength,
    "every member has its fields in the body",
  );
  if (new Set(members.map(({ id }) => id)).size < count) {
    throw new ProtocolError("Cannot read members: an id occurs twice");
  }
  return members;
}

/** The members that an entry's batch sets; undefined for all other entries. */
export function membersIn(bytes: Uint8Array, count: number): Member[] | undefined {
  const body = commandBody(bytes, count, "MEMBERSHIP");
  if (body === undefined) return undefined;
  assert(body.byteLength < bytes.byteLength, "the body is a part of the batch");
  return readMembers(body);
}

/** Whether an entry sets members or bindings. */
export function isAboutMembers(bytes: Uint8Array, count: number): boolean {
  const kinds = ["MEMBERSHIP", "BIND"] as const;
  return kinds.some((kind) => commandBody(bytes, count, kind) !== undefined);
}

/** The bindings that an entry's batch makes; none for all other entries. */
export function bindingsIn(bytes: Uint8Array, count: number): readonly Binding[] {
  const body = commandBody(bytes, count, "BIND");
  if (body === undefined) return [];
  const bindings = readBindings(body);
  assert(bindings.length < body.byteLength, "every binding took bytes of the body");
  return bindings;
}

/** The sessions that an entry's batch ends; none for all other entries. */
export function expiredIn(bytes: Uint8Array, count: number): readonly number[] {
  const body = commandBody(bytes, count, "EXPIRE_SESSIONS");
  if (body === undefined) return [];
  const ids = readSessionIds(body);
  assert(ids.length < body.byteLength, "every id took eight bytes of the body");
  return ids;
}

/** The rules version that an entry's batch sets; undefined for all other entries. */
export function rulesIn(bytes: Uint8Array, count: number): number | undefined {
  const body = commandBody(bytes, count, "RULES");
  if (body === undefined) return undefined;
  assert(body.byteLength < bytes.byteLength, "the body is a part of the batch");
  return readRules(body);
}

/** The body of a batch of consensus: it holds one command, and is never compressed. */
function commandBody(bytes: Uint8Array, count: number, kind: CommandKind): Uint8Array | undefined {
  if (count !== 1 || bytes.byteLength < BATCH_HEADER_SIZE + COMMAND_HEADER_SIZE) return undefined;
  if (bytes[BATCH_HEADER_SIZE + 4] !== COMMAND_KINDS.indexOf(kind)) return undefined;
  const header = decodeBatchHeader(bytes);
  if (header.codec !== "none") return undefined;
  assert(header.count === count, "the entry counts what its batch counts");
  assert(header.storedSize === bytes.byteLength - BATCH_HEADER_SIZE, "the batch is whole");
  return bytes.subarray(BATCH_HEADER_SIZE + COMMAND_HEADER_SIZE);
}

/** Writes the body of BIND. */
export function writeBindings(writer: ByteWriter, bindings: readonly Binding[]): void {
  const start = writer.size;
  writer.u32(bindings.length);
  for (const binding of bindings) writer.text(binding.id).text(binding.incarnation);
  assert(
    COUNT_SIZE + bindings.length * BINDING_SIZE_MIN <= writer.size - start,
    "every binding has its fields in the body",
  );
}

/** Reads the body of BIND, which may come from a peer. Throws ProtocolError. */
export function readBindings(body: Uint8Array): Binding[] {
  const reader = new ByteReader(body);
  const count = reader.u32();
  if (count > MEMBERS_MAX) throw new ProtocolError(`Cannot read ${count} bindings`);
  const bindings = Array.from({ length: count }, () => {
    return { id: reader.text(), incarnation: reader.text() };
  });
  reader.end();
  assert(
    COUNT_SIZE + count * BINDING_SIZE_MIN <= body.byteLength,
    "every binding has its fields in the body",
  );
  return bindings;
}

/** Writes the body of EXPIRE_SESSIONS. */
export function writeSessionIds(writer: ByteWriter, ids: readonly number[]): void {
  const start = writer.size;
  writer.u32(ids.length);
  for (const id of ids) writer.u64(id);
  assert(
    writer.size === start + COUNT_SIZE + ids.length * SESSION_ID_SIZE,
    "the ids follow their count",
  );
}

/** Reads the body of EXPIRE_SESSIONS, which may come from a peer. Throws ProtocolError. */
export function readSessionIds(body: Uint8Array): number[] {
  const reader = new ByteReader(body);
  const count = reader.u32();
  if (count > reader.remaining / SESSION_ID_SIZE)
    throw new ProtocolError(`Cannot read ${count} session ids`);
  const ids = Array.from({ length: count }, () => reader.u64());
  reader.end();
  assert(reader.offset === COUNT_SIZE + count * SESSION_ID_SIZE, "the ids fill the body");
  return ids;
}
