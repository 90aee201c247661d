/**
 * `cstore doc`: documents from the command line.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { uuidv7 } from "uuidv7";
import { NotFoundError } from "../src/base/errors.ts";
import type { Collection } from "../src/mod.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";
import { durationOption, numberOption, type RawOptions, textOption } from "./options.ts";
import { print, printJson, UsageError } from "./output.ts";

/** A document as JSON gives it. */
interface Item {
  id?: string | number;
  [field: string]: unknown;
}

const ACTIONS = ["insert", "put", "get", "update", "remove", "count"] as const;
type Action = (typeof ACTIONS)[number];

/** Executes one action on one collection. */
export async function runDoc(words: readonly string[], options: RawOptions): Promise<void> {
  const [action, collection, ...rest] = words;
  if (action === undefined || !(ACTIONS as readonly string[]).includes(action)) {
    throw new UsageError(
      `Unknown action "${action ?? ""}"`,
      `Use one of: ${ACTIONS.map((a) => `cstore doc ${a}`).join(", ")}`,
    );
  }
  if (collection === undefined)
    throw new UsageError("Name the collection", `For example: cstore doc ${action} users`);
  const timeoutMs = durationOption(options, "timeout", 10_000);
  await withDatabase(addressesOf(options), timeoutMs, async (database) => {
    const read = textOption(options, "read") ?? "linearizable";
    if (read !== "linearizable" && read !== "leader" && read !== "stale") {
      throw new UsageError(`Option --read is one of linearizable, leader, stale, not "${read}"`);
    }
    await act(action as Action, database.collection<Item>(collection, { read }), { rest, options });
  });
}

async function act(
  action: Action,
  collection: Collection<Item>,
  input: { readonly rest: readonly string[]; readonly options: RawOptions },
): Promise<void> {
  const { rest, options } = input;
  const condition =
    options["ifVersion"] === undefined
      ? {}
      : {
          ifVersion: numberOption(options, "ifVersion", {
            min: 0,
            max: Number.MAX_SAFE_INTEGER,
            fallback: 0,
          }),
        };
  switch (action) {
    case "insert":
      printJson(await collection.insert(readDocument(rest[0])));
      return;
    case "put": {
      const given = readDocument(rest[0]);
      const id = given.id ?? uuidv7();
      const version = await collection.put({ ...given, id }, condition);
      printJson({ id, version });
      return;
    }
    case "get": {
      const found = await collection.findVersioned(readId(rest[0]));
      if (found === undefined) throw missing(collection, rest[0]);
      printJson(options["withVersion"] === true ? found : found.document);
      return;
    }
    case "update": {
      const updated = await collection.update(readId(rest[0]), readDocument(rest[1]), condition);
      if (updated === undefined) throw missing(collection, rest[0]);
      printJson(updated);
      return;
    }
    case "remove": {
      const removed = await collection.remove(readId(rest[0]), condition);
      if (removed === undefined) throw missing(collection, rest[0]);
      printJson(removed);
      return;
    }
    case "count":
      print(String(await collection.count()));
      return;
  }
}

function missing(collection: Collection<Item>, id: string | undefined): NotFoundError {
  return new NotFoundError(`Cannot find "${id ?? ""}" in "${collection.name}"`);
}

/** A text is the id as it stands; `number:5` is the number 5. */
function readId(text: string | undefined): string | number {
  if (text === undefined)
    throw new UsageError("Name the document's id", "A number as id is written number:5");
  const match = /^number:(-?\d+(?:\.\d+)?)$/.exec(text);
  return match === null ? text : Number(match[1]);
}

/** JSON from the argument, or from stdin for `-`. */
function readDocument(text: string | undefined): Item {
  if (text === undefined)
    throw new UsageError(
      "Give the document as JSON",
      `For example: '{"id":"u1","name":"Ada"}', or - to read it from stdin`,
    );
  const json = text === "-" ? readFileSync(0, "utf8") : text;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new UsageError(
      `The document is not JSON: ${cause instanceof Error ? cause.message : ""}`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError("The document is not a JSON object");
  }
  return value as Item;
}
