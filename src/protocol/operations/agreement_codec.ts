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
import type { Fields, Value } from "../../base/value.ts";
import type { Agreement, Floor, Retired } from "../../multi_master/operation/agreement.ts";
import type { AgreementChange } from "../../multi_master/operation/agreement_change.ts";
import type { ConflictConfig } from "../../multi_master/operation/conflict_rule.ts";
import { encodeCbor } from "../encoding/cbor.ts";
import type { CollectionMode } from "../encoding/collection_settings.ts";
import { readConflict } from "../encoding/conflict_settings.ts";
import { FieldReader } from "./field_reader.ts";

const READ = new FieldReader("an agreement");
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
  const { version, origins, closed, retired, floor, collections } = READ.map(value);
  const agreement: Agreement = {
    version: READ.count(version),
    origins: new Map(
      READ.rows(origins, 2).map(([node, origin]) => [READ.text(node), READ.text(origin)]),
    ),
    closed: new Map(
      READ.rows(closed, 2).map(([origin, end]) => {
        return [READ.text(origin), end === null ? undefined : READ.count(end)];
      }),
    ),
    retired: new Map(
      READ.rows(retired, 3).map(([origin, at, end]): [string, Retired] => {
        return [READ.text(origin), { version: READ.count(at), end: READ.count(end) }];
      }),
    ),
    floor: readFloor(floor),
    collections: new Map(
      READ.rows(collections, 2).map(([id, rule]): [number, ConflictConfig] => {
        return [READ.count(id), readConflict(rule)];
      }),
    ),
  };
  const { round } = agreement.floor;
  const numbers = [...agreement.collections.keys(), round];
  if (numbers.some((number) => number > agreement.version))
    throw READ.broken("a number is too high");
  assert(round <= agreement.version, "each round of the floor was a version");
  assert(agreement.collections.size <= agreement.version, "each collection was a version");
  assert(agreement.origins.size <= READ.rows(origins, 2).length, "each node has one row");
  assert(agreement.closed.size <= READ.rows(closed, 2).length, "each incarnation has one row");
  assert(agreement.retired.size <= READ.rows(retired, 3).length, "and is retired once");
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
  const { action } = READ.map(value);
  if (action === "mode") return { change: undefined, mode: readNewCollections(value) };
  return { change: readChange(value), mode: undefined };
}

/** Reads how collections come into being. Throws ProtocolError, ValidationError. */
export function readNewCollections(value: unknown): NewCollections {
  const { mode, conflict } = READ.map(value);
  if (mode !== "MASTER_SLAVE" && mode !== "MULTI_MASTER") throw READ.broken("its mode is unknown");
  const rule = readConflict(conflict);
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
  const fields = READ.map(value);
  const { action, node, origin, version, ends, floor, retired } = fields;
  switch (action) {
    case "open":
      return { action, node: READ.text(node), origin: READ.text(origin) };
    case "close":
      return { action, node: READ.text(node) };
    case "end":
      return { action, version: READ.count(version), ends: READ.vector(ends) };
    case "floor": {
      const names = READ.list(retired).map((name) => READ.text(name));
      const proposal = { version: READ.count(version), floor: readFloor(floor), retired: names };
      assert(names.length === READ.list(retired).length, "each name is read");
      return { action, proposal };
    }
    default:
      throw READ.broken("its action is unknown");
  }
}

function floorFields({ round, floor, barrier }: Floor): Fields {
  assert(round <= Number.MAX_SAFE_INTEGER, "a number is exact");
  return { round, floor: [...floor], barrier: [...barrier] };
}

function readFloor(value: Value): Floor {
  const { round, floor, barrier } = READ.map(value);
  assert(READ.count(round) <= Number.MAX_SAFE_INTEGER, "a number that is read is exact");
  const read = {
    round: READ.count(round),
    floor: READ.vector(floor),
    barrier: READ.vector(barrier),
  };
  assert(read.floor.size <= READ.rows(floor, 2).length, "each origin has one row");
  return read;
}
