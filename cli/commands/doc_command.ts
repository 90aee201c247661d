/**
 * `cstore doc`: documents from the command line.
 *
 * @module
 */

import { uuidv7 } from "uuidv7";
import { NotFoundError } from "../../src/base/errors.ts";
import type { AnyDocument, Collection, FindOptions, WriteOptions } from "../../src/mod.ts";
import {
  collationOption,
  durationOption,
  flagOption,
  numberOption,
  type RawOptions,
  readLevelOption,
  textOption,
} from "../options.ts";
import { print, printJson, UsageError } from "../output.ts";
import { readObject, toTaggedJson } from "../tagged_json.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";
import { parseKeys } from "./data_command.ts";

/** A document as JSON gives it. */
interface Item {
  id?: string | number;
  [field: string]: unknown;
}

const ACTIONS = [
  "insert",
  "put",
  "get",
  "update",
  "remove",
  "find",
  "count",
  "explain",
  "update-many",
  "remove-many",
] as const;
type Action = (typeof ACTIONS)[number];

/** Executes one action on one collection. */
export async function runDoc(words: readonly string[], options: RawOptions): Promise<void> {
  const [action, collection, ...rest] = words;
  if (action === undefined || !(ACTIONS as readonly string[]).includes(action)) {
    throw new UsageError(
      action === undefined ? "Name an action" : `Unknown action "${action}"`,
      `Use one of: ${ACTIONS.map((a) => `cstore doc ${a}`).join(", ")}`,
    );
  }
  if (collection === undefined)
    throw new UsageError("Name the collection", `For example: cstore doc ${action} users`);
  const timeoutMs = durationOption(options, "timeout", 10_000);
  const read = readLevelOption(options);
  // Errors in the words are reported before any node is contacted.
  const act = prepare(action as Action, { rest, options });
  await withDatabase(addressesOf(options), timeoutMs, async (database) => {
    await act(database.collection<Item>(collection, { ...(read && { read }) }));
  });
}

type Act = (collection: Collection<Item>) => Promise<void>;

/** Reads the words of an action, and gives the work to be done. */
function prepare(
  action: Action,
  input: { readonly rest: readonly string[]; readonly options: RawOptions },
): Act {
  const { rest, options } = input;
  const condition = conditionOf(options);
  switch (action) {
    case "insert": {
      const given = readDocument(rest[0]);
      return async (collection) => printDocument(await collection.insert(given));
    }
    case "put": {
      const given = readDocument(rest[0]);
      const id = given.id ?? uuidv7();
      return async (collection) => {
        printJson({ id, version: await collection.put({ ...given, id }, condition) });
      };
    }
    case "get": {
      const id = readId(rest[0]);
      return async (collection) => {
        const found = existing(await collection.findVersioned(id), collection, id);
        printDocument(flagOption(options, "withVersion") ? found : found.document);
      };
    }
    case "update": {
      const id = readId(rest[0]);
      const change = readDocument(rest[1]);
      return async (collection) => {
        const updated = await collection.update(id, change, condition);
        printDocument(existing(updated, collection, id));
      };
    }
    case "remove": {
      const id = readId(rest[0]);
      return async (collection) => {
        printDocument(existing(await collection.remove(id, condition), collection, id));
      };
    }
    default:
      return prepareMany(action, input);
  }
}

function prepareMany(
  action: Exclude<Action, "insert" | "put" | "get" | "update" | "remove">,
  input: { readonly rest: readonly string[]; readonly options: RawOptions },
): Act {
  const { rest, options } = input;
  const isChange = action === "update-many" || action === "remove-many";
  const query = isChange ? givenQuery(rest[0]) : readQuery(rest[0]);
  switch (action) {
    case "find": {
      const how = findOptions(options);
      return async (collection) => {
        for await (const found of collection.iterate(query, how)) printDocument(found);
      };
    }
    case "count":
      return async (collection) => print(String(await collection.count(query)));
    case "explain": {
      const how = findOptions(options);
      return async (collection) => printJson(await collection.explain(query, how));
    }
    case "update-many": {
      const change = readDocument(rest[1]);
      return async (collection) => printJson(await collection.updateMany(query, change));
    }
    default:
      return async (collection) => printJson({ removed: await collection.deleteMany(query) });
  }
}

function conditionOf(options: RawOptions): WriteOptions {
  if (options["ifVersion"] === undefined) return {};
  const range = { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 };
  return { ifVersion: numberOption(options, "ifVersion", range) };
}

function printDocument(document: unknown): void {
  print(toTaggedJson(document));
}

/** A query, or all documents. */
function readQuery(text: string | undefined): AnyDocument {
  return text === undefined ? {} : readObject(text, "query", `'{"age":{"$gte":18}}'`);
}

/** A command that changes many documents names them, even if it names all. */
function givenQuery(text: string | undefined): AnyDocument {
  return readObject(text, "query", `'{"age":{"$gte":18}}', or '{}' for all`);
}

function findOptions(options: RawOptions): FindOptions {
  const max = Number.MAX_SAFE_INTEGER;
  const [sort, fields, hint] = ["sort", "fields", "hint"].map((name) => textOption(options, name));
  return {
    skip: numberOption(options, "skip", { min: 0, max, fallback: 0 }),
    limit: numberOption(options, "limit", { min: 1, max, fallback: 0 }),
    ...(sort !== undefined && { sort: parseKeys(sort) }),
    ...collationOption(options),
    ...(hint !== undefined && { hint }),
    ...(fields !== undefined && {
      projection: Object.fromEntries(fields.split(",").map((path) => [path.trim(), 1 as const])),
    }),
  };
}

function existing<T>(found: T | undefined, collection: Collection<Item>, id: string | number): T {
  if (found !== undefined) return found;
  throw new NotFoundError(`Cannot find "${id}" in "${collection.name}"`);
}

/** A text is the id as it stands; `number:5` is the number 5. */
/** An id from the command line; a number is written number:5. Throws UsageError. */
export function readId(text: string | undefined): string | number {
  if (text === undefined)
    throw new UsageError("Name the document's id", "A number as id is written number:5");
  const match = /^number:(-?\d+(?:\.\d+)?)$/.exec(text);
  return match === null ? text : Number(match[1]);
}

/** JSON from the argument, or from stdin for `-`. */
function readDocument(text: string | undefined): Item {
  return readObject(text, "document", `'{"id":"u1","name":"Ada"}', or - to read it from stdin`);
}
