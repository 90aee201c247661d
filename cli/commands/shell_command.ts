/**
 * `cstore shell`: expressions on a database, typed by a person or from a file.
 *
 * @module
 */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { inspect } from "node:util";
import { CStoreError } from "../../src/base/errors.ts";
import type { RemoteDatabase } from "../../src/mod.ts";
import { Evaluator } from "../evaluate.ts";
import { linesOf, textOf } from "../lines.ts";
import { durationOption, type RawOptions, textOption } from "../options.ts";
import { colour, isTerminal, print, tell, UsageError } from "../output.ts";
import { toTaggedJson } from "../tagged_json.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";

const HISTORY_LINES = 1000;
/** Documents of a cursor that are printed. */
const PRINTED_MAX = 50;
const METHODS = [
  ...["find", "findOne", "findById", "count", "insert", "insertMany", "save", "update"],
  ...["updateOne", "updateMany", "remove", "deleteMany", "distinct", "explain", "createIndex"],
  ...["dropIndex", "listIndexes", "iterate", "clear", "first", "last"],
];
const HELP = `db.users.find({age: {$gt: 30}})    any method of a collection
db.users.update("u1", {$inc: {age: 1}})
db.collection("odd name").count()
db.transaction(async (tx) => ...)  any method of the database
let n = await db.users.count()     statements; a variable at the beginning of a line stays
.collections  .indexes NAME  .help  .exit`;

/** Words that end the shell. */
const ENDS: ReadonlySet<string> = new Set([".exit", "exit", ".quit", "quit"]);

type Evaluate = (source: string) => Promise<unknown>;

/** Runs expressions from --eval, --file, or as they are typed. */
export async function runShell(_words: readonly string[], options: RawOptions): Promise<void> {
  const source = textOption(options, "eval");
  const file = textOption(options, "file");
  if (source !== undefined && file !== undefined) {
    throw new UsageError("Options --eval and --file exclude each other");
  }
  if (file !== undefined && !existsSync(file)) throw new UsageError(`There is no file "${file}"`);
  const timeoutMs = durationOption(options, "timeout", 10_000);
  await withDatabase(addressesOf(options), timeoutMs, async (database) => {
    const evaluator = new Evaluator({ db: shellDatabase(database) });
    const evaluate: Evaluate = (text) => evaluator.evaluate(text);
    if (source !== undefined) await show(await command(database, source, evaluate));
    else if (file !== undefined) await show(await runFile(readFileSync(file, "utf8"), database));
    else await converse(database, evaluate);
  });
}

/** `db.users` is a collection; everything that the database has keeps its meaning. */
function shellDatabase(database: RemoteDatabase): unknown {
  return new Proxy(database, {
    get(target, name) {
      const own = Reflect.get(target, name, target) as unknown;
      if (typeof own === "function") return own.bind(target) as unknown;
      if (own !== undefined || typeof name === "symbol") return own;
      return target.collection(name);
    },
  });
}

/** A file is a function's body: what it returns is printed. */
async function runFile(source: string, database: RemoteDatabase): Promise<unknown> {
  const evaluator = new Evaluator({ db: shellDatabase(database) });
  return evaluator.evaluate(`(async () => {${source}\n})()`);
}

async function show(value: unknown): Promise<void> {
  if (value === undefined) return;
  if (isIterable(value)) {
    let count = 0;
    for await (const item of value) {
      if (count === PRINTED_MAX) {
        tell(`the first ${PRINTED_MAX} are shown`);
        return;
      }
      await show(item);
      count += 1;
    }
    return;
  }
  if (!isTerminal()) print(shown(value));
  else print(inspect(value, { colors: colour.isColorSupported, depth: 8, maxArrayLength: 100 }));
}

/** As JSON with tags where the value is one that documents hold. */
function shown(value: unknown): string {
  try {
    return toTaggedJson(value) ?? inspect(value);
  } catch {
    return inspect(value);
  }
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

async function converse(database: RemoteDatabase, evaluate: Evaluate): Promise<void> {
  const names = await database.listCollections();
  const run = async (line: string): Promise<"go on" | "end"> => {
    const source = line.trim();
    if (ENDS.has(source)) return "end";
    if (source === "") return "go on";
    try {
      await show(await command(database, source, evaluate));
      names.splice(0, names.length, ...(await database.listCollections()));
    } catch (error) {
      tellError(error);
    }
    return "go on";
  };
  if (isTerminal()) return await typed(names, run);
  for await (const line of linesOf(textOf(process.stdin))) if ((await run(line)) === "end") return;
}

/** Lines of a person at a terminal, with completion and history. */
function typed(
  names: readonly string[],
  run: (line: string) => Promise<"go on" | "end">,
): Promise<void> {
  const historyFile = join(homedir(), ".cstore_history");
  const history = existsSync(historyFile) ? readFileSync(historyFile, "utf8").split("\n") : [];
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    history: history.filter((line) => line !== "").reverse(),
    historySize: HISTORY_LINES,
    completer: (line: string) => complete(line, names),
    prompt: "cstore> ",
  });
  tell(`${names.length} collections; .help shows what to type, .exit ends`);
  lines.prompt();
  return new Promise((resolve) => {
    // One after the other, also when several lines are pasted.
    let last: Promise<void> = Promise.resolve();
    lines.on("line", (line) => {
      if (line.trim() !== "") remember(historyFile, line.trim());
      last = last.then(async () => {
        if ((await run(line)) === "end") lines.close();
        else lines.prompt();
      });
    });
    lines.on("close", () => void last.then(resolve));
  });
}

/** The history is a comfort: where it cannot be written the shell goes on. */
function remember(file: string, line: string): void {
  try {
    appendFileSync(file, `${line}\n`, { mode: 0o600 });
  } catch {
    // A home that is not writable.
  }
}

async function command(
  database: RemoteDatabase,
  source: string,
  evaluate: Evaluate,
): Promise<unknown> {
  const text = source.trim().replace(/;+$/, "");
  const [word, name] = text.split(/\s+/);
  if (ENDS.has(text)) return undefined;
  if (text === ".help" || text === "help") return print(HELP);
  if (word === ".collections" || text === "show collections" || text === "db") {
    return database.listCollections();
  }
  if (word === ".indexes" && name !== undefined) return database.collection(name).listIndexes();
  if (word === "use" && name !== undefined) {
    throw new UsageError(
      "There is one database",
      "Collections are db.NAME; .collections lists them",
    );
  }
  if (text.startsWith(".")) throw new UsageError(`Unknown command ${word}`, "See .help");
  return await evaluate(text);
}

function tellError(error: unknown): void {
  if (error instanceof CStoreError) {
    tell(`${colour.red("error")}: ${error.message} [${error.code}]`);
    if (error.remedy !== undefined) tell(`  ${error.remedy}`);
  } else tell(`${colour.red("error")}: ${error instanceof Error ? error.message : String(error)}`);
}

/** Collections behind `db.`, methods behind a collection. */
export function complete(line: string, names: readonly string[]): [string[], string] {
  const method = /db\.([\w$]+)\.(\w*)$/.exec(line);
  if (method !== null) {
    const begun = method[2] ?? "";
    return [METHODS.filter((name) => name.startsWith(begun)), begun];
  }
  const collection = /db\.(\w*)$/.exec(line);
  if (collection === null) return [[], line];
  const begun = collection[1] ?? "";
  return [names.filter((name) => /^[\w$]+$/.test(name) && name.startsWith(begun)), begun];
}
