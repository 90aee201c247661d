/**
 * Settings of a collection, fixed when it is created: part of the state and of snapshots.
 *
 * @module
 */

import { ValidationError } from "../../base/errors.ts";

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
}

/** Settings of a collection that was created without any, or by its first document. */
export const PLAIN_SETTINGS: CollectionSettings = { ids: "uuidv7", validator: "" };

/** Reads untrusted settings; absent fields have their defaults. Throws ValidationError. */
export function readSettings(value: unknown): CollectionSettings {
  if (value === undefined || value === null) return PLAIN_SETTINGS;
  if (typeof value !== "object") {
    throw new ValidationError("Cannot make the collection: its settings are a map");
  }
  const fields: { readonly ids?: unknown; readonly validator?: unknown } = value;
  const { ids = PLAIN_SETTINGS.ids, validator = PLAIN_SETTINGS.validator } = fields;
  if (ids !== "uuidv7" && ids !== "autoIncrement") {
    throw new ValidationError("Cannot make the collection: ids are uuidv7 or autoIncrement");
  }
  if (typeof validator !== "string" || validator.length > VALIDATOR_NAME_MAX) {
    throw new ValidationError("Cannot make the collection: its validator is a short name");
  }
  const isPlain = ids === PLAIN_SETTINGS.ids && validator === PLAIN_SETTINGS.validator;
  return isPlain ? PLAIN_SETTINGS : { ids, validator };
}
