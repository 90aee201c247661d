/**
 * The versions of the rules by which the state machine applies the log. A log of an earlier build
 * must give the state that it gave then, so whatever changes the result of an entry hangs on
 * a number that stands in the log itself.
 *
 * | rules | what is new                                                                      |
 * | ----: | -------------------------------------------------------------------------------- |
 * |     1 | -                                                                                |
 * |     2 | conditions and updates as `docs/queries.md` states them; unique indexes judge the end of a request; a document holds its key; 0 is a time to expire after |
 * |     3 | partial indexes, and such with a collation; `\\.` in a path is a dot of a name; `documentSizeMax` of collections, and requests above 4 MiB |
 * |     4 | collections that every node writes, and the agreement about them |
 *
 * @module
 */

import { ConfigError } from "./errors.ts";

/** The rules of a log that names none. */
export const FIRST_RULES = 1;

/** The first rules with partial indexes, escaped dots in paths, and large documents. */
export const THIRD_RULES = 3;

/** The first rules with collections that every node writes. */
export const FOURTH_RULES = 4;

/** The newest rules that this build knows. */
export const NEWEST_RULES = 4;

/** The rules by which a request is applied: {@link FIRST_RULES} to {@link NEWEST_RULES}. */
export type RulesVersion = number;

/** Throws ConfigError for rules that this build does not know: it cannot apply the log. */
export function checkKnownRules(rules: RulesVersion): void {
  if (rules <= NEWEST_RULES) return;
  throw new ConfigError(
    `Cannot apply the log: it follows rules ${rules}, and this build knows up to ${NEWEST_RULES}`,
    { remedy: "Start the build that raised the rules, or a newer one" },
  );
}
