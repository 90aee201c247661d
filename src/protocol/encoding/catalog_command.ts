/**
 * The body of a CATALOG command: a change of collections and their indexes, by name, as a CBOR map
 * with `action` and the fields of that action. It is sent, and kept in the log.
 *
 * | action           | fields                                                   |
 * | ---------------- | -------------------------------------------------------- |
 * | createCollection | collection, settings (`collection_settings.ts`)          |
 * | dropCollection   | collection                                               |
 * | createIndex      | collection, index (a definition)                         |
 * | dropIndex        | collection, index (its name)                             |
 * | nextIds          | collection, count                                        |
 *
 * The answer is a map with `changed`, and for nextIds with `ids`: numbers that nobody else gets.
 * The body of INDEX_READY, which only a leader proposes, has the fields collection and index.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { Collation } from "../../base/collation.ts";
import { ProtocolError, ValidationError } from "../../base/errors.ts";
import { COLLECTION_NAME_SIZE_MAX, OPERATIONS_PER_REQUEST_MAX } from "../../base/limits.ts";
import {
  FIRST_RULES,
  FOURTH_RULES,
  type RulesVersion,
  THIRD_RULES,
} from "../../base/rules_version.ts";
import { type Fields, isFields, type Value } from "../../base/value.ts";
import { decodeUntrustedCbor } from "./cbor.ts";
import { type CollectionSettings, readSettings } from "./collection_settings.ts";
import { encodeCollectionName } from "./command.ts";

/** One path of an index. */
export interface IndexPath {
  readonly path: string;
  readonly order: 1 | -1;
}

/** The definition of an index, as it is logged and kept in snapshots. */
export interface IndexDefinition {
  readonly name: string;
  readonly paths: readonly IndexPath[];
  readonly isUnique: boolean;
  /** Documents that have none of the paths are left out. */
  readonly isSparse: boolean;
  /** Texts count in lower case. */
  readonly ignoresCase: boolean;
  /** Documents are removed so long after the date at the only path, in milliseconds; 0: never. */
  readonly expiresAfterMs: number;
  /** Only documents that match are in it. Only from rules 3 on, and only where it is given. */
  readonly where?: Fields;
  /** How texts are ordered, and which are equal. Only from rules 3 on, and only where given. */
  readonly collation?: Collation;
  /** 0 is a time: documents are removed at the date itself. Only from rules 2 on, and only then. */
  readonly expiresAtDate?: true;
}

/** When documents expire, in milliseconds after the date at the only path; undefined: never. */
export function expiryOf({
  expiresAfterMs,
  expiresAtDate,
}: Pick<IndexDefinition, "expiresAfterMs" | "expiresAtDate">): number | undefined {
  assert(expiresAfterMs >= 0, "a definition was checked");
  assert(expiresAfterMs <= Number.MAX_SAFE_INTEGER, "a time is a whole number");
  return expiresAfterMs > 0 || expiresAtDate === true ? expiresAfterMs : undefined;
}

/** A change of the catalog. `Definition` is `unknown` until the state machine has read it. */
export type CatalogRequest<Definition = IndexDefinition> =
  | {
      readonly action: "createCollection";
      readonly collection: string;
      /** Undefined: none were given, any that the collection has are right. */
      readonly settings?: Partial<CollectionSettings> | undefined;
    }
  | { readonly action: "dropCollection"; readonly collection: string }
  | {
      readonly action: "createIndex";
      readonly collection: string;
      readonly index: Definition;
    }
  | { readonly action: "dropIndex"; readonly collection: string; readonly index: string }
  | { readonly action: "nextIds"; readonly collection: string; readonly count: number };

/** The answer to a CATALOG command. */
export interface CatalogAnswer {
  readonly changed: boolean;
  readonly ids?: readonly number[];
}

/** Reads an untrusted, decoded body. Throws ValidationError. */
export function readCatalogRequest(value: unknown, rules: RulesVersion): CatalogRequest<unknown> {
  const fields = catalogFields(value);
  const { action } = fields;
  const collection = nameOf(fields["collection"]);
  switch (action) {
    case "createCollection": {
      const given = fields["settings"];
      // Checked here, completed where the mode of new collections is known.
      readSettings(given, rules);
      const settings = given as Partial<CollectionSettings> | null | undefined;
      return { action, collection, settings: settings ?? undefined };
    }
    case "dropCollection":
      return { action, collection };
    case "createIndex":
      return { action, collection, index: fields["index"] };
    case "dropIndex":
      return { action, collection, index: textOf(fields["index"]) };
    case "nextIds":
      return { action, collection, count: countOf(fields["count"]) };
    default:
      throw new ValidationError(`Cannot change the catalog: action "${textOf(action)}" is unknown`);
  }
}

/** A field of a decoded body that those rules do not know, and would leave out. */
export function fieldOfLaterRules(body: unknown, rules: RulesVersion): string | undefined {
  assert(rules >= FIRST_RULES, "a log follows some rules");
  if (rules >= FOURTH_RULES || !isFields(body)) return undefined;
  const { index, settings } = body;
  if (isFields(settings) && settings["mode"] === "MULTI_MASTER") return "mode";
  if (rules >= THIRD_RULES) return undefined;
  for (const field of ["where", "collation"] as const) {
    if (isFields(index) && index[field] !== undefined) return field;
  }
  return isFields(settings) && settings["documentSizeMax"] !== undefined
    ? "documentSizeMax"
    : undefined;
}

/** Reads the body of INDEX_READY. Throws ValidationError. */
export function readIndexReady(value: unknown): {
  readonly collection: string;
  readonly index: string;
} {
  const { collection, index } = catalogFields(value);
  return { collection: textOf(collection), index: textOf(index) };
}

/** Reads an answer. Throws ProtocolError. */
export function decodeCatalogAnswer(payload: Uint8Array): CatalogAnswer {
  const value = decodeUntrustedCbor(payload);
  if (isFields(value) && typeof value["changed"] === "boolean") {
    const { changed, ids } = value;
    if (ids === undefined) return { changed };
    const isWhole = (id: unknown): id is number => Number.isSafeInteger(id);
    if (Array.isArray(ids) && ids.every(isWhole)) {
      assert(ids.length < payload.byteLength, "every id took a byte of the answer");
      return { changed, ids };
    }
  }
  throw new ProtocolError("Cannot read the answer of a catalog command: it is not whole");
}

function catalogFields(value: unknown): Fields {
  if (isFields(value)) return value;
  throw new ValidationError("Cannot change the catalog: the request is not a map");
}

function countOf(count: Value): number {
  const isCount = typeof count === "number" && Number.isSafeInteger(count);
  if (isCount && count >= 1 && count <= OPERATIONS_PER_REQUEST_MAX) return count;
  throw new ValidationError(`Cannot give out ids: 1 to ${OPERATIONS_PER_REQUEST_MAX} at a time`);
}

/** A text, or an empty one: a value of another type must not be converted to a text. */
function textOf(value: Value): string {
  return typeof value === "string" ? value : "";
}

function nameOf(value: Value): string {
  if (typeof value === "string" && value.length <= COLLECTION_NAME_SIZE_MAX) {
    const { byteLength } = encodeCollectionName(value);
    assert(byteLength >= value.length, "UTF-8 takes a byte for each UTF-16 unit, at least");
    return value;
  }
  throw new ValidationError("Cannot change the catalog: the collection's name is missing");
}
