/**
 * `cstore index` and `watch`.
 *
 * @module
 */

import type { IndexInfo, RemoteDatabase } from "../../src/mod.ts";
import {
  collationOption,
  durationOption,
  flagOption,
  numberOption,
  type RawOptions,
  textOption,
} from "../options.ts";
import { print, printJson, table, UsageError } from "../output.ts";
import { objectFromText, toTaggedJson } from "../tagged_json.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";

/** Runs with the database that the options name. */
export function use(
  options: RawOptions,
  run: (database: RemoteDatabase) => Promise<void>,
): Promise<void> {
  return withDatabase(addressesOf(options), durationOption(options, "timeout", 10_000), run);
}

/** Paths with their order: `city,-age`. */
export function parseKeys(text: string): Record<string, 1 | -1> {
  const entries = text.split(",").map((part): [string, 1 | -1] => {
    const path = part.trim().replace(/^-/, "");
    if (path === "" || path.includes(":"))
      throw new UsageError(`"${text}" is no list of paths like city,-age`);
    return [path, part.trim().startsWith("-") ? -1 : 1];
  });
  return Object.fromEntries(entries);
}

/** Lists, makes or drops indexes. */
export async function runIndex(words: readonly string[], options: RawOptions): Promise<void> {
  const [action, name, index] = words;
  if (action !== "list" && action !== "create" && action !== "drop") {
    const what = action === undefined ? "Name an action" : `Unknown action "${action}"`;
    throw new UsageError(what, "Use list, create or drop");
  }
  if (name === undefined) throw new UsageError("Name the collection");
  if (action !== "list" && index === undefined) throw new UsageError("Name the index");
  await use(options, async (database) => {
    const collection = database.collection(name);
    if (action === "drop") {
      await collection.dropIndex(String(index));
    } else if (action === "create") {
      const keys = textOption(options, "keys");
      if (keys === undefined) throw new UsageError("Give --keys", "For example: --keys city,-age");
      const isExpiring = textOption(options, "expireAfter") !== undefined;
      const where = textOption(options, "where");
      await collection.createIndex(String(index), {
        keys: parseKeys(keys),
        unique: flagOption(options, "unique"),
        sparse: flagOption(options, "sparse"),
        ignoreCase: flagOption(options, "ignoreCase"),
        ...collationOption(options),
        ...(where !== undefined && { where: objectFromText(where, "query") }),
        ...(isExpiring && { expireAfterMs: durationOption(options, "expireAfter", 0) }),
      });
    }
    const indexes = await collection.listIndexes();
    if (flagOption(options, "json")) printJson({ collection: name, indexes });
    else print(table(["INDEX", "KEYS", "KIND", "STATE"], indexes.map(rowOf)));
  });
}

function rowOf(index: IndexInfo): string[] {
  const { name, keys, unique, sparse, ignoreCase, collation, where, expireAfterMs, ready } = index;
  const paths = Object.entries(keys).map(([path, order]) => (order === 1 ? path : `-${path}`));
  const expiry = expireAfterMs !== null && `expires after ${expireAfterMs / 1000} s`;
  const partial = where !== null && `where ${toTaggedJson(where)}`;
  const kinds = [
    unique && "unique",
    sparse && "sparse",
    ignoreCase && "ignore case",
    collation !== null && `collation ${collation.strength}`,
    partial,
    expiry,
  ];
  return [name, paths.join(","), kinds.filter(Boolean).join(", "), ready ? "serves" : "is made"];
}

/** Prints changes. */
export async function runWatch(words: readonly string[], options: RawOptions): Promise<void> {
  const [collection = ""] = words;
  const max = Number.MAX_SAFE_INTEGER;
  const isGiven = textOption(options, "since") !== undefined;
  const since = numberOption(options, "since", { min: 0, max, fallback: 0 });
  const count = numberOption(options, "count", { min: 1, max, fallback: max });
  await use(options, async (database) => {
    let seen = 0;
    for await (const change of database.watch({ collection, ...(isGiven && { since }) })) {
      print(toTaggedJson(change));
      seen += 1;
      if (seen >= count) return;
    }
  });
}
