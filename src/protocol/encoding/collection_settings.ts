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
import { type RulesVersion, THIRD_RULES } from "../../base/rules_version.ts";

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
}

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
  if (isPlain && size === undefined) return PLAIN_SETTINGS;
  return { ids, validator, ...(size !== undefined && { documentSizeMax: size }) };
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
