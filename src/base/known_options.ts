/**
 * Options that callers give: a name that is not known is an error, because whoever misspelt it
 * would never learn that it did nothing.
 *
 * @module
 */

import { ConfigError, ValidationError } from "./errors.ts";

/** Names of options, each once. */
export type KnownNames = ReadonlySet<string>;

/** Refuses unknown names in options of a call. Throws ValidationError. */
export function checkCallOptions(call: string, given: object | undefined, known: KnownNames): void {
  const name = unknownName(given, known);
  if (name === undefined) return;
  throw new ValidationError(`Cannot call ${call} with the option "${name}": it is unknown`, {
    remedy: remedyFor(name, known),
  });
}

/** Refuses unknown names in a configuration. Throws ConfigError. */
export function checkConfig(what: string, given: object | undefined, known: KnownNames): void {
  const name = unknownName(given, known);
  if (name === undefined) return;
  throw new ConfigError(`Cannot use ${what}: its option "${name}" is unknown`, {
    remedy: remedyFor(name, known),
  });
}

function unknownName(given: object | undefined, known: KnownNames): string | undefined {
  for (const name in given) if (!known.has(name)) return name;
  return undefined;
}

function remedyFor(name: string, known: KnownNames): string {
  const near = [...known].find((one) => one.slice(0, 4) === name.slice(0, 4));
  return `${near === undefined ? "" : `Did you mean ${near}? `}Known: ${[...known].join(", ")}`;
}
