/**
 * `cstore index`, `watch` and `import`.
 *
 * @module
 */

import { createReadStream, existsSync } from "node:fs";
import { CStoreError } from "../../src/base/errors.ts";
import type { AnyDocument, Collection, IndexInfo, RemoteDatabase } from "../../src/mod.ts";
import { linesOf } from "../lines.ts";
import {
  durationOption,
  flagOption,
  numberOption,
  type RawOptions,
  textOption,
} from "../options.ts";
import { print, printJson, table, tell, UsageError } from "../output.ts";
import { readObject, toTaggedJson } from "../tagged_json.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";

/** Documents of one request of an import. */
const IMPORT_BATCH = 500;
/** Bytes of lines of one request of an import: a request has a bound. */
const IMPORT_BYTES = 1024 * 1024;
const PROGRESS_MS = 2000;

type Item = AnyDocument;

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
    throw new UsageError(`Unknown action "${action ?? ""}"`, "Use list, create or drop");
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
      await collection.createIndex(String(index), {
        keys: parseKeys(keys),
        unique: flagOption(options, "unique"),
        sparse: flagOption(options, "sparse"),
        ignoreCase: flagOption(options, "ignoreCase"),
        ...(isExpiring && { expireAfterMs: durationOption(options, "expireAfter", 0) }),
      });
    }
    const indexes = await collection.listIndexes();
    if (flagOption(options, "json")) printJson({ collection: name, indexes });
    else print(table(["INDEX", "KEYS", "KIND", "STATE"], indexes.map(rowOf)));
  });
}

function rowOf(index: IndexInfo): string[] {
  const { name, keys, unique, sparse, ignoreCase, expireAfterMs, ready } = index;
  const paths = Object.entries(keys).map(([path, order]) => (order === 1 ? path : `-${path}`));
  const expiry = expireAfterMs !== null && `expires after ${expireAfterMs / 1000} s`;
  const kinds = [unique && "unique", sparse && "sparse", ignoreCase && "ignore case", expiry];
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

/** Puts the lines of a file into a collection. */
export async function runImport(words: readonly string[], options: RawOptions): Promise<void> {
  const [name, file] = words;
  if (name === undefined || file === undefined) {
    throw new UsageError("Name the collection and the file", "For example: cstore import users -");
  }
  if (file !== "-" && !existsSync(file)) throw new UsageError(`There is no file "${file}"`);
  const first = numberOption(options, "fromLine", { min: 1, max: 2 ** 40, fallback: 1 });
  const isInsert = flagOption(options, "insert");
  await use(options, async (database) => {
    const importer = new Importer(database.collection<Item>(name), isInsert);
    const input = file === "-" ? process.stdin : createReadStream(file);
    let line = 0;
    for await (const text of linesOf(input)) {
      line += 1;
      if (line < first || text.trim() === "") continue;
      await importer.add(text, line);
    }
    await importer.flush();
    tell(`${importer.count} documents imported into "${name}"`);
  });
}

class Importer {
  readonly #collection: Collection<Item>;
  readonly #isInsert: boolean;
  #batch: Item[] = [];
  #bytes = 0;
  #firstLine = 0;
  #toldMs = Date.now();
  count = 0;

  constructor(collection: Collection<Item>, isInsert: boolean) {
    this.#collection = collection;
    this.#isInsert = isInsert;
  }

  async add(text: string, line: number): Promise<void> {
    let value: Item;
    try {
      value = readObject(text, `document in line ${line}`, "");
    } catch (error) {
      // The lines before it are imported, so that a repeat can go on from here.
      await this.flush();
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(error.message, this.#resumeHint(line));
    }
    if (this.#batch.length === 0) this.#firstLine = line;
    this.#batch.push(value);
    this.#bytes += text.length;
    if (this.#batch.length >= IMPORT_BATCH || this.#bytes >= IMPORT_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#batch.length === 0) return;
    try {
      if (this.#isInsert) await this.#collection.insertMany(this.#batch);
      else await this.#collection.putMany(this.#batch);
    } catch (error) {
      if (error instanceof CStoreError) tell(this.#resumeHint(this.#firstLine));
      throw error;
    }
    this.count += this.#batch.length;
    this.#batch = [];
    this.#bytes = 0;
    if (Date.now() - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = Date.now();
    tell(`${this.count} documents imported`);
  }

  #resumeHint(line: number): string {
    return `Lines before ${line} are imported: go on with --from-line ${line}`;
  }
}
