/**
 * The agreement of collections that every node writes, and its changes, as CBOR maps: the body of
 * an AGREEMENT command, a part of snapshots, and of the file `agreement`. A vector is a list of
 * [origin, number].
 *
 * | map       | fields                                                                    |
 * | --------- | ------------------------------------------------------------------------- |
 * | agreement | version; origins: [node, origin] ...; closed: [origin, end or null] ...; retired: [origin, version, end] ...; floor; collections: [number, rule] ... |
 * | floor     | round; floor, barrier: vectors                                            |
 * | change    | action; mode and conflict (mode), node, origin (open), node (close), version and ends: a vector (end), or version, floor, retired: origins (floor) |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ProtocolError } from "../../base/errors.ts";
import { type Fields, isCount, isFields, type Value } from "../../base/value.ts";
import type { Agreement, Floor, Retired } from "../../multi_master/operation/agreement.ts";
import type { AgreementChange } from "../../multi_master/operation/agreement_change.ts";
import type { ConflictConfig } from "../../multi_master/operation/conflict_rule.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";
import { encodeCbor } from "../encoding/cbor.ts";
import type { CollectionMode } from "../encoding/collection_settings.ts";
import { readConflict } from "../encoding/conflict_settings.ts";

/** The fields of an agreement. */
export function agreementFields(agreement: Agreement): Fields {
  const { version, origins, closed, retired, floor, collections } = agreement;
  assert(version >= floor.round, "each round of the floor is a version");
  assert(collections.size <= version, "each collection is a version");
  return {
    version,
    origins: [...origins],
    closed: [...closed].map(([origin, end]) => [origin, end ?? null]),
    retired: [...retired].map(([origin, over]) => [origin, over.version, over.end]),
    floor: floorFields(floor),
    collections: [...collections].map(([id, rule]) => [id, { ...rule }]),
  };
}

/** Reads the fields of an agreement. Throws ProtocolError. */
export function readAgreement(value: unknown): Agreement {
  const { version, origins, closed, retired, floor, collections } = fieldsOf(value);
  const agreement: Agreement = {
    version: numberOf(version),
    origins: new Map(rows(origins, 2).map(([node, origin]) => [textOf(node), textOf(origin)])),
    closed: new Map(
      rows(closed, 2).map(([origin, end]) => {
        return [textOf(origin), end === null ? undefined : numberOf(end)];
      }),
    ),
    retired: new Map(
      rows(retired, 3).map(([origin, at, end]): [string, Retired] => {
        return [textOf(origin), { version: numberOf(at), end: numberOf(end) }];
      }),
    ),
    floor: readFloor(floor),
    collections: new Map(
      rows(collections, 2).map(([id, rule]): [number, ConflictConfig] => {
        return [numberOf(id), readConflict(rule)];
      }),
    ),
  };
  const { round } = agreement.floor;
  const numbers = [...agreement.collections.keys(), round];
  if (numbers.some((number) => number > agreement.version)) throw broken("a number is too high");
  assert(round <= agreement.version, "each round of the floor was a version");
  assert(agreement.collections.size <= agreement.version, "each collection was a version");
  assert(agreement.origins.size <= rows(origins, 2).length, "each node has one row");
  assert(agreement.closed.size <= rows(closed, 2).length, "each incarnation has one row");
  assert(agreement.retired.size <= rows(retired, 3).length, "and is retired once");
  return agreement;
}

/** The body of an AGREEMENT command: a change, or the mode of new collections. */
export interface AgreementCommand {
  readonly change: AgreementChange | undefined;
  readonly mode: NewCollections | undefined;
}

/** How collections come into being that say nothing of it. */
export interface NewCollections {
  readonly mode: CollectionMode;
  /** Of those that every node writes. */
  readonly conflict: ConflictConfig;
}

/** The body of a command that changes the agreement. */
export function encodeChange(change: AgreementChange): Uint8Array {
  const bytes = encodeCbor(changeFields(change)).slice();
  assert(bytes.byteLength > change.action.length, "the body names its action");
  return bytes;
}

/** The body of a command that says who writes new collections; it counts before there are any. */
export function encodeMode({ mode, conflict }: NewCollections): Uint8Array {
  const bytes = encodeCbor({ action: "mode", mode, conflict: { ...conflict } }).slice();
  assert(bytes.byteLength > mode.length, "the body names the mode");
  return bytes;
}

/** Reads the decoded body of an AGREEMENT command. Throws ProtocolError. */
export function readAgreementCommand(value: unknown): AgreementCommand {
  const { action } = fieldsOf(value);
  if (action === "mode") return { change: undefined, mode: readNewCollections(value) };
  return { change: readChange(value), mode: undefined };
}

/** Reads how collections come into being. Throws ProtocolError, ValidationError. */
export function readNewCollections(value: unknown): NewCollections {
  const { mode, conflict } = fieldsOf(value);
  if (mode !== "MASTER_SLAVE" && mode !== "MULTI_MASTER") throw broken("its mode is unknown");
  const rule = readConflict(conflict);
  assert(rule.strategy.length > 0, "a rule that is read has a strategy");
  return { mode, conflict: rule };
}

/** The fields of a change. */
export function changeFields(change: AgreementChange): Fields {
  switch (change.action) {
    case "open":
    case "close":
      assert(change.node.length > 0, "a node has a name");
      return { ...change };
    case "end":
      assert(change.ends.size > 0, "something has ended");
      return { action: "end", version: change.version, ends: [...change.ends] };
    case "floor": {
      const { version, floor, retired } = change.proposal;
      assert(floor.round <= version, "each round of the floor is a version");
      return { action: "floor", version, floor: floorFields(floor), retired: [...retired] };
    }
  }
}

/** Reads the fields of a change. Throws ProtocolError. */
export function readChange(value: unknown): AgreementChange {
  const fields = fieldsOf(value);
  const { action, node, origin, version, ends, floor, retired } = fields;
  switch (action) {
    case "open":
      return { action, node: textOf(node), origin: textOf(origin) };
    case "close":
      return { action, node: textOf(node) };
    case "end":
      return { action, version: numberOf(version), ends: readVector(ends) };
    case "floor": {
      const names = listOf(retired).map((name) => textOf(name));
      const proposal = { version: numberOf(version), floor: readFloor(floor), retired: names };
      assert(names.length === listOf(retired).length, "each name is read");
      return { action, proposal };
    }
    default:
      throw broken("its action is unknown");
  }
}

function floorFields({ round, floor, barrier }: Floor): Fields {
  assert(round >= 0, "rounds are counted from 0");
  return { round, floor: [...floor], barrier: [...barrier] };
}

function readFloor(value: Value): Floor {
  const { round, floor, barrier } = fieldsOf(value);
  assert(numberOf(round) >= 0, "a number that is read is none below 0");
  const read = { round: numberOf(round), floor: readVector(floor), barrier: readVector(barrier) };
  assert(read.floor.size <= rows(floor, 2).length, "each origin has one row");
  return read;
}

function readVector(value: Value): VersionVector {
  const found = rows(value, 2);
  const vector = new Map(found.map(([origin, last]) => [textOf(origin), numberOf(last)]));
  assert(vector.size <= found.length, "each origin has one row");
  return vector;
}

function rows(value: Value, length: number): readonly (readonly Value[])[] {
  return listOf(value).map((row) => {
    const items = listOf(row);
    if (items.length !== length) throw broken("a row has too few or too many items");
    assert(items.length > 1, "a row says something of something");
    return items;
  });
}

function fieldsOf(value: unknown): Fields {
  if (isFields(value)) return value;
  throw broken("it is not a map");
}

function listOf(value: Value): readonly Value[] {
  if (Array.isArray(value)) return value;
  throw broken("a list is missing");
}

function textOf(value: Value): string {
  if (typeof value !== "string" || value === "") throw broken("a name is missing");
  assert(value.length > 0, "a name is not empty");
  return value;
}

function numberOf(value: Value): number {
  if (!isCount(value)) throw broken("a number is missing");
  assert(value <= Number.MAX_SAFE_INTEGER, "a number is exact");
  return value;
}

function broken(why: string): ProtocolError {
  return new ProtocolError(`Cannot read an agreement: ${why}`);
}
