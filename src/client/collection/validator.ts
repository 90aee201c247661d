/**
 * Validators of documents: any object of Standard Schema, version 1 (https://standardschema.dev),
 * as Zod, Valibot, ArkType and others make them.
 *
 * @module
 */

import type { Validator, ValidatorIssue, ValidatorResult } from "../../api/validator.ts";
import { ValidationError } from "../../base/errors.ts";
import { type Fields, isFields } from "../../base/value.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";

/** Problems that an error tells, at most. */
const PROBLEMS_TOLD = 5;

/** A document as the validator returns it. Rejects with ValidationError. */
export async function validated(
  validator: Validator,
  collection: string,
  document: Fields,
): Promise<Fields> {
  // It may change what it is given, which is the caller's.
  const copy = decodeUntrustedCbor(encodeCbor(document));
  const result: unknown = await validator["~standard"].validate(copy);
  if (!isResult(result)) {
    throw new ValidationError(`Cannot write into "${collection}": its validator gave no result`);
  }
  if (result.issues === undefined) {
    if (isFields(result.value)) return result.value;
    throw new ValidationError(`Cannot write into "${collection}": its validator gave no object`);
  }
  const told = result.issues.slice(0, PROBLEMS_TOLD).map(textOf).join("; ");
  const more = result.issues.length - PROBLEMS_TOLD;
  throw new ValidationError(
    `Cannot write into "${collection}": ${told}${more > 0 ? `; and ${more} more` : ""}`,
  );
}

function isResult(result: unknown): result is ValidatorResult {
  if (typeof result !== "object" || result === null) return false;
  const { issues }: { issues?: unknown } = result;
  const isIssue = (issue: unknown): boolean => typeof issue === "object" && issue !== null;
  return (
    issues === undefined || (Array.isArray(issues) && issues.length > 0 && issues.every(isIssue))
  );
}

function textOf({ message, path = [] }: ValidatorIssue): string {
  const names = path.map((part) => String(typeof part === "object" ? part.key : part));
  return names.length === 0 ? message : `${names.join(".")}: ${message}`;
}
