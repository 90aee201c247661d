/**
 * The conflict rule of a collection that every node writes, as callers and the log name it.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ValidationError } from "../../base/errors.ts";
import { type Fields, isFields, type Value } from "../../base/value.ts";
import type {
  ConflictConfig,
  ConflictStrategy,
  RemovalRule,
} from "../../multi_master/operation/conflict_rule.ts";
import { MEMBERS_MAX } from "./cluster_command.ts";

/** The strategies, by the names that callers use. */
export const CONFLICT_STRATEGIES = [
  ...(["last-write-wins", "field-merge", "counter", "set", "max", "min"] as const),
  ...(["siblings", "node-priority", "custom"] as const),
] satisfies readonly ConflictStrategy[];

/** What may become of documents that one node removed while another changed them. */
export const REMOVAL_RULES = [
  ...(["update-wins", "remove-wins", "as-written"] as const),
] satisfies readonly RemovalRule[];

const NAMES: ReadonlySet<string> = new Set(["strategy", "resolver", "priorities", "removal"]);
/** Longest name of a resolver or a node, in UTF-16 code units. */
const NAME_LENGTH_MAX = 120;

/** Reads an untrusted rule. Throws ValidationError, which names what is possible. */
export function readConflict(value: unknown): ConflictConfig {
  if (!isFields(value)) throw refused("it is an object with a strategy");
  const unknown = Object.keys(value).find((name) => !NAMES.has(name));
  if (unknown !== undefined) {
    throw refused(`"${unknown.slice(0, 40)}" is unknown; known are ${[...NAMES].join(", ")}`);
  }
  const { strategy, resolver, priorities, removal } = value;
  const known = CONFLICT_STRATEGIES.find((name) => name === strategy);
  assert(Object.keys(value).length <= NAMES.size, "no field is unknown");
  if (known === undefined) throw refused(`strategy is one of ${CONFLICT_STRATEGIES.join(", ")}`);
  const rule = removal === undefined ? undefined : REMOVAL_RULES.find((name) => name === removal);
  if (removal !== undefined && rule === undefined) {
    throw refused(`removal is one of ${REMOVAL_RULES.join(", ")}`);
  }
  const config: ConflictConfig = {
    strategy: known,
    ...resolverOf(known, resolver),
    ...prioritiesOf(known, priorities),
    ...(rule !== undefined && { removal: rule }),
  };
  assert(Object.keys(config).length <= Object.keys(value).length, "nothing is made up");
  return config;
}

function resolverOf(strategy: ConflictStrategy, name: Value): Pick<ConflictConfig, "resolver"> {
  if (strategy !== "custom") {
    if (name !== undefined) throw refused('a resolver goes with the strategy "custom"');
    return {};
  }
  if (!isName(name)) throw refused('the strategy "custom" names its resolver');
  assert(name.length <= NAME_LENGTH_MAX, "a name is short");
  return { resolver: name };
}

function prioritiesOf(
  strategy: ConflictStrategy,
  nodes: Value,
): Pick<ConflictConfig, "priorities"> {
  if (strategy !== "node-priority") {
    if (nodes !== undefined) throw refused('priorities go with the strategy "node-priority"');
    return {};
  }
  const isList = Array.isArray(nodes) && nodes.length > 0 && nodes.length <= MEMBERS_MAX;
  if (!isList) throw refused('the strategy "node-priority" lists node ids, the strongest first');
  const names: readonly Value[] = nodes;
  assert(names.length <= MEMBERS_MAX, "no cluster has more members");
  const isDouble = new Set(names).size < names.length;
  if (!names.every(isName) || isDouble) throw refused("priorities are node ids, each once");
  assert(names.length >= 1, "a list that is read has a node");
  return { priorities: names };
}

function isName(value: Value): value is string {
  return typeof value === "string" && value !== "" && value.length <= NAME_LENGTH_MAX;
}

function refused(why: string): ValidationError {
  return new ValidationError(`Cannot use this conflict rule: ${why}`);
}

/** The rule of a collection that was made without one. */
export const DEFAULT_CONFLICT: Fields & ConflictConfig = { strategy: "last-write-wins" };
