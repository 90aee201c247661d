/**
 * `cstore conflicts`: what nodes changed without knowing of each other, and what is to count.
 *
 * @module
 */

import type { Conflict, RemoteDatabase } from "../../src/mod.ts";
import { flagOption, numberOption, type RawOptions, textOption } from "../options.ts";
import { print, printJson, table, UsageError } from "../output.ts";
import { readObject, toTaggedJson } from "../tagged_json.ts";
import { use } from "./data_command.ts";
import { readId } from "./doc_command.ts";

const ACTIONS = ["list", "stats", "show", "resolve"] as const;
const LIMIT = { min: 1, max: 1000, fallback: 100 };

type Item = { readonly [field: string]: unknown };

/** Lists, counts, shows or ends conflicts. */
export async function runConflicts(words: readonly string[], options: RawOptions): Promise<void> {
  const [given, collection, text] = words;
  const action = ACTIONS.find((known) => known === given);
  if (action === undefined) {
    const what = given === undefined ? "Name an action" : `Unknown action "${given}"`;
    throw new UsageError(what, "Use list, stats, show or resolve");
  }
  if (collection === undefined) throw new UsageError("Name the collection");
  const isOne = action === "show" || action === "resolve";
  if (isOne && text === undefined) throw new UsageError("Name the document's id");
  await use(options, async (database) => {
    if (!isOne) return list(database, { collection, action, options });
    const id = readId(text);
    const { conflicts } = await database.conflicts<Item>(collection, { id });
    const [conflict] = conflicts;
    if (conflict === undefined) {
      throw new UsageError(`"${text}" in "${collection}" is in no conflict on this node`);
    }
    if (action === "resolve") {
      const document = chosen(conflict, options);
      await database.collection(collection).put(document);
      print(`"${text}" is now ${toTaggedJson(document)}`);
    } else if (flagOption(options, "json")) printJson(conflict);
    else show(conflict);
  });
}

async function list(
  database: RemoteDatabase,
  what: { readonly collection: string; readonly action: string; readonly options: RawOptions },
): Promise<void> {
  const { collection, action, options } = what;
  const limit = action === "stats" ? 0 : numberOption(options, "limit", LIMIT);
  const found = await database.conflicts<Item>(collection, { limit });
  const { total, conflicts } = found;
  if (flagOption(options, "json")) return printJson({ collection, ...found });
  const rows = conflicts.map(({ id, document, siblings, failure }) => [
    String(id),
    [...new Set(siblings.map(({ nodeId }) => nodeId))].join(","),
    failure ?? (document === undefined ? "removed" : toTaggedJson(document)),
  ]);
  if (rows.length > 0) print(table(["ID", "NODES", "SHOWN"], rows));
  print(`${total} documents of "${collection}" in conflict`);
}

function show({ id, document, siblings, failure }: Conflict<Item>): void {
  print(`${id} is shown as ${document === undefined ? "removed" : toTaggedJson(document)}`);
  if (failure !== undefined) print(failure);
  const rows = siblings.map((sibling) => [
    sibling.nodeId,
    new Date(sibling.writtenMs).toISOString(),
    toTaggedJson(sibling.document),
  ]);
  print(table(["NODE", "WRITTEN", "DOCUMENT"], rows));
}

function chosen({ id, siblings, document }: Conflict<Item>, options: RawOptions): Item {
  const [json, from] = [textOption(options, "document"), textOption(options, "from")];
  if (json !== undefined && from !== undefined) {
    throw new UsageError("Options --document and --from exclude each other");
  }
  if (json !== undefined) {
    const given = readObject(json, "document", `'{"id":"o1"}'`) as Item;
    const { id: named = id } = given;
    if (named === id) return { ...given, id };
    throw new UsageError(`The document has the id ${toTaggedJson(named)}, not "${id}"`);
  }
  if (from === undefined) {
    if (document !== undefined) return document;
    throw new UsageError("Say what is to count", "Give --document or --from");
  }
  const written = siblings.filter(({ nodeId }) => nodeId === from).at(-1);
  if (written !== undefined) return written.document;
  const nodes = siblings.map(({ nodeId }) => nodeId).join(", ");
  throw new UsageError(`Node "${from}" wrote none of the versions`, `They are of ${nodes}`);
}
