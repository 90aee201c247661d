/**
 * Settings of a collection, fixed when it is created: part of the state and of snapshots.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ValidationError } from "../../base/errors.ts";
import {
  DOCUMENT_SIZE_DEFAULT,
  DOCUMENT_SIZE_LEAST,
  DOCUMENT_SIZE_MAX,
} from "../../base/limits.ts";
import { FOURTH_RULES, type RulesVersion, THIRD_RULES } from "../../base/rules_version.ts";
import type { ConflictConfig } from "../../multi_master/operation/conflict_rule.ts";
import { DEFAULT_CONFLICT, readConflict } from "./conflict_settings.ts";

/** Longest name of a validator, in UTF-16 code units. */
const VALIDATOR_NAME_MAX = 120;

/** Settings of a new collection. */
export interface CollectionSettings {
  /**
   * The source of ids for documents without one: `uuidv7`, made by the writer (the default), or
   * `autoIncrement`, whole numbers from 0 that the cluster assigns.
   */
  readonly ids: "uuidv7" | "autoIncrement";
  /** Name of the validator that documents have passed before they are written; empty for none. */
  readonly validator: string;
  /** Bytes of the largest encoded document. Only where it was given, and only from rules 3 on. */
  readonly documentSizeMax?: number;
  /**
   * Who writes: `MASTER_SLAVE`, the leader alone, in one order for all; `MULTI_MASTER`, every node,
   * cut off or not, and conflicts are settled by `conflict`. Only from rules 4 on, and only where
   * it is `MULTI_MASTER`.
   */
  readonly mode?: CollectionMode;
  /** How concurrent writes are settled; of `MULTI_MASTER` only. */
  readonly conflict?: ConflictConfig;
}

/** Who writes a collection. */
export type CollectionMode = "MASTER_SLAVE" | "MULTI_MASTER";

/** Settings of a collection that was created without any, or by its first document. */
export const PLAIN_SETTINGS: CollectionSettings = { ids: "uuidv7", validator: "" };

/** Bytes of the largest encoded document that a collection takes. */
export function documentSizeMax({ documentSizeMax: own }: CollectionSettings): number {
  assert(own === undefined || own <= DOCUMENT_SIZE_MAX, "settings were checked");
  return own ?? DOCUMENT_SIZE_DEFAULT;
}

/** Whether the settings refuse no document that has a usual size. */
export function takesUsual(settings: CollectionSettings): boolean {
  const most = documentSizeMax(settings);
  assert(most >= DOCUMENT_SIZE_LEAST, "settings were checked");
  return settings.validator === "" && most >= DOCUMENT_SIZE_DEFAULT;
}

/** Reads untrusted settings; absent fields have their defaults. Throws ValidationError. */
export function readSettings(value: unknown, rules: RulesVersion): CollectionSettings {
  if (value === undefined || value === null) return PLAIN_SETTINGS;
  if (typeof value !== "object") {
    throw new ValidationError("Cannot make the collection: its settings are a map");
  }
  const fields: { readonly [field: string]: unknown } = { ...value };
  const { ids = PLAIN_SETTINGS.ids, validator = PLAIN_SETTINGS.validator } = fields;
  const size = readSize(fields["documentSizeMax"], rules);
  if (ids !== "uuidv7" && ids !== "autoIncrement") {
    throw new ValidationError("Cannot make the collection: ids are uuidv7 or autoIncrement");
  }
  if (typeof validator !== "string" || validator.length > VALIDATOR_NAME_MAX) {
    throw new ValidationError("Cannot make the collection: its validator is a short name");
  }
  const isPlain = ids === PLAIN_SETTINGS.ids && validator === PLAIN_SETTINGS.validator;
  const masters = readMode(fields, rules);
  if (isPlain && size === undefined && masters === undefined) return PLAIN_SETTINGS;
  if (masters !== undefined && ids === "autoIncrement") {
    throw new ValidationError(
      "Cannot make the collection: nodes that write apart cannot count ids together",
      { remedy: "Use uuidv7, or ids of your own; or mode MASTER_SLAVE" },
    );
  }
  return { ids, validator, ...(size !== undefined && { documentSizeMax: size }), ...masters };
}

/** The fields of a collection that every node writes; undefined for any other. */
function readMode(
  { mode, conflict }: { readonly [field: string]: unknown },
  rules: RulesVersion,
): Pick<CollectionSettings, "mode" | "conflict"> | undefined {
  if (rules < FOURTH_RULES) return undefined;
  assert(rules >= THIRD_RULES, "later rules know what earlier ones do");
  if (mode === "MULTI_MASTER") {
    assert(rules >= FOURTH_RULES, "earlier rules know no such mode");
    return { mode, conflict: conflict === undefined ? DEFAULT_CONFLICT : readConflict(conflict) };
  }
  if (mode !== undefined && mode !== "MASTER_SLAVE") {
    throw new ValidationError("Cannot make the collection: mode is MASTER_SLAVE or MULTI_MASTER");
  }
  if (conflict === undefined) return undefined;
  throw new ValidationError("Cannot make the collection: a conflict rule is for MULTI_MASTER", {
    remedy: "Add mode: 'MULTI_MASTER', or leave the rule out: with one leader nothing conflicts",
  });
}

function readSize(size: unknown, rules: RulesVersion): number | undefined {
  // Older rules know no such field, and left it out.
  if (size === undefined || rules < THIRD_RULES || size === DOCUMENT_SIZE_DEFAULT) return undefined;
  const isWhole = typeof size === "number" && Number.isSafeInteger(size);
  if (isWhole && size >= DOCUMENT_SIZE_LEAST && size <= DOCUMENT_SIZE_MAX) return size;
  throw new ValidationError(
    `Cannot make the collection: documentSizeMax is ${DOCUMENT_SIZE_LEAST} to ${DOCUMENT_SIZE_MAX} bytes`,
  );
}
