/**
 * Documents in arguments, files and output, as Extended JSON; see `extended_json.ts`.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { ValidationError } from "../src/base/errors.ts";
import type { AnyDocument } from "../src/mod.ts";
import { fromExtendedJson, toExtendedJson } from "../src/protocol/encoding/extended_json.ts";
import { UsageError } from "./output.ts";

/** A value as one line of JSON. */
export const toTaggedJson: (value: unknown) => string = toExtendedJson;

/** A value from JSON with tags. Throws UsageError; `what` names it. */
export function fromTaggedJson(text: string, what: string): unknown {
  try {
    return fromExtendedJson(text, what);
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    throw new UsageError(error.message);
  }
}

/** An object from an argument; `-` reads it from stdin. Throws UsageError. */
export function readObject(text: string | undefined, what: string, example: string): AnyDocument {
  if (text === undefined) {
    throw new UsageError(`Give the ${what} as JSON`, `For example: ${example}`);
  }
  return objectFromText(text === "-" ? readStdin() : text, what);
}

/** An object from JSON with tags. Throws UsageError; `what` names it. */
export function objectFromText(text: string, what: string): AnyDocument {
  const value = fromTaggedJson(text, what);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`The ${what} is not a JSON object`);
  }
  return value as AnyDocument;
}

function readStdin(): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(0));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError("Cannot read stdin: it is not valid UTF-8");
  }
}
