/**
 * Commands that consensus itself needs in the log: who the voters are, which data folder each node
 * id belongs to, and which sessions end. Bodies, integers little-endian, texts with 2 bytes of
 * size:
 *
 * | command         | body                                                             |
 * | --------------- | ---------------------------------------------------------------- |
 * | NOOP            | -                                                                |
 * | MEMBERSHIP      | count (4), then for each voter in order of id: id, address       |
 * | BIND            | count (4), then for each node: id, incarnation                   |
 * | EXPIRE_SESSIONS | count (4), then session ids (8 each)                             |
 *
 * @module
 */

import { ByteReader, ByteWriter } from "../base/bytes.ts";
import {
  BATCH_HEADER_SIZE,
  type BatchPlace,
  type PreparedBatch,
  prepareBatch,
  sealBatch,
  UNCOMPRESSED,
} from "./batch_codec.ts";
import { checksum64 } from "./checksum.ts";
import { beginCommand, type CommandKind, endCommand, NO_SESSION } from "./command.ts";

/** A voter and where it listens. */
export interface Member {
  readonly id: string;
  /** HOST:PORT */
  readonly address: string;
}

/** A node id and the data folder that it belongs to. */
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
  return prepareBatch(writer.written(), { count: 1, timeMs }, UNCOMPRESSED);
}

/** The entry of a new leader. Its time is 0: the state's clock stands still for it. */
export function noopBatch(): PreparedBatch {
  return clusterBatch("NOOP", 0, () => undefined);
}

/** Entry 1, made from the static list: the same bytes on every node. */
export function membershipBatch(members: readonly Member[]): Uint8Array {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  const batch = clusterBatch("MEMBERSHIP", 0, (writer) => {
    writer.u32(sorted.length);
    for (const member of sorted) writer.text(member.id).text(member.address);
  });
  return sealBatch(batch, FIRST_PLACE);
}

/** Where the membership stands. */
export const FIRST_PLACE: BatchPlace = { term: 1, index: 1, firstSequence: 1 };

/** The cluster's id unless one is given: 16 hex digits that follow from the list of nodes. */
export function clusterIdOf(members: readonly Member[]): string {
  return checksum64(membershipBatch(members)).toString(16).padStart(16, "0");
}

/** Reads the body of MEMBERSHIP. */
export function readMembers(body: Uint8Array): Member[] {
  const reader = new ByteReader(body);
  return Array.from({ length: reader.u32() }, () => ({
    id: reader.text(),
    address: reader.text(),
  }));
}

/** Writes the body of BIND. */
export function writeBindings(writer: ByteWriter, bindings: readonly Binding[]): void {
  writer.u32(bindings.length);
  for (const binding of bindings) writer.text(binding.id).text(binding.incarnation);
}

/** Reads the body of BIND. */
export function readBindings(body: Uint8Array): Binding[] {
  const reader = new ByteReader(body);
  return Array.from({ length: reader.u32() }, () => {
    return { id: reader.text(), incarnation: reader.text() };
  });
}

/** Writes the body of EXPIRE_SESSIONS. */
export function writeSessionIds(writer: ByteWriter, ids: readonly number[]): void {
  writer.u32(ids.length);
  for (const id of ids) writer.u64(id);
}

/** Reads the body of EXPIRE_SESSIONS. */
export function readSessionIds(body: Uint8Array): number[] {
  const reader = new ByteReader(body);
  return Array.from({ length: reader.u32() }, () => reader.u64());
}
