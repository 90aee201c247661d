/**
 * `cstore export`.
 *
 * @module
 */

import {
  closeSync,
  createWriteStream,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
} from "node:fs";
import type { Writable } from "node:stream";
import type { AnyDocument, Query, RemoteDatabase } from "../../src/mod.ts";
import { flagOption, type RawOptions, readLevelOption, textOption } from "../options.ts";
import { tell, UsageError } from "../output.ts";
import { readObject, toTaggedJson } from "../tagged_json.ts";
import { use } from "./data_command.ts";

const PROGRESS_MS = 2000;
const CHUNK_SIZE = 1024 * 1024;
/** Longest line: a document has at most 1 MiB, and escapes may be six times that. */
const LINE_SIZE_MAX = 16 * 1024 * 1024;

type DocumentId = string | number;

type Item = AnyDocument;

/** Source, target and form of an export. */
interface Export {
  readonly name: string;
  /** `-`: stdout. */
  readonly file: string;
  readonly filter: Query<Item>;
  readonly read: ReturnType<typeof readLevelOption>;
  /** Field with the ids. */
  readonly idField: string;
}

/** Writes a collection to a file. */
export async function runExport(words: readonly string[], options: RawOptions): Promise<void> {
  const [name, file = "-"] = words;
  if (name === undefined) throw new UsageError("Name the collection");
  const isResumed = flagOption(options, "resume");
  if (isResumed && file === "-") throw new UsageError("--resume needs a file");
  if (isResumed && flagOption(options, "force"))
    throw new UsageError("--resume or --force, not both");
  if (file !== "-" && existsSync(file) && !flagOption(options, "force") && !isResumed) {
    throw new UsageError(`The file "${file}" exists`, "Give --force to replace it");
  }
  const text = textOption(options, "query");
  const filter = text === undefined ? {} : readObject(text, "query", `'{"age":30}'`);
  const idField = textOption(options, "idField") ?? "id";
  const what = { name, file, filter, read: readLevelOption(options), idField };
  await use(options, async (database) => {
    const count = isResumed ? await resume(database, what) : await writeAll(database, what);
    tell(`${count} documents exported from "${name}"`);
  });
}

/** The collection as it is at one moment. */
async function writeAll(database: RemoteDatabase, what: Export): Promise<number> {
  const output = what.file === "-" ? process.stdout : createWriteStream(what.file);
  const writer = new LineWriter(output, what.file);
  const { filter, read } = what;
  const documents = database.collection<Item>(what.name).iterate(filter, { read });
  return writer.until(async () => {
    await writer.take(documents);
    if (what.file !== "-") await writer.end();
  });
}

/** In order of ids, behind the last whole line that is there. */
async function resume(database: RemoteDatabase, what: Export): Promise<number> {
  const { filter, read, idField } = what;
  const collection = database.collection<Item>(what.name, { idField });
  const lacking = { $and: [{ [idField]: { $exists: false } }, filter] } as Query<Item>;
  if ((await collection.count(lacking)) > 0) {
    throw new UsageError(`The ids of "${what.name}" are not in "${idField}"`, "Give --id-field");
  }
  const last = cutToLastLine(what.file, idField);
  const writer = new LineWriter(createWriteStream(what.file, { flags: "a" }), what.file);
  return writer.until(async () => {
    for (const range of rangesBehind(last)) {
      const part = { $and: [{ [idField]: range }, filter] } as Query<Item>;
      await writer.take(collection.iterate(part, { read, sort: { [idField]: 1 } }));
    }
    await writer.end();
  });
}

/** Numbers come before texts, and a range holds one kind only. */
function rangesBehind(last: DocumentId | undefined): readonly Item[] {
  if (typeof last === "string") return [{ $gt: last }];
  const numbers = typeof last === "number" ? { $gt: last } : { $gte: -Number.MAX_VALUE };
  return [numbers, { $gte: "" }];
}

/** Documents as lines of a stream, as fast as it takes them. */
class LineWriter {
  readonly #output: Writable;
  readonly #failed: Promise<never>;
  #toldMs = Date.now();
  count = 0;

  constructor(output: Writable, file: string) {
    this.#output = output;
    this.#failed = new Promise((_, reject) => {
      output.once("error", ({ message: reason }) => {
        reject(new UsageError(`Cannot write "${file}": ${reason}`));
      });
    });
  }

  /** Runs until it is done or the stream fails; how many documents were written. */
  async until(run: () => Promise<void>): Promise<number> {
    await Promise.race([run(), this.#failed]);
    return this.count;
  }

  async take(documents: AsyncIterable<Item>): Promise<void> {
    for await (const document of documents) {
      this.count += 1;
      if (!this.#output.write(`${toTaggedJson(document)}\n`)) {
        await new Promise((resolve) => this.#output.once("drain", resolve));
      }
      if (Date.now() - this.#toldMs < PROGRESS_MS) continue;
      this.#toldMs = Date.now();
      tell(`${this.count} documents exported`);
    }
  }

  end(): Promise<void> {
    return new Promise((resolve) => this.#output.end(() => resolve()));
  }
}

/**
 * Cuts off a line that is not whole, once all before it are found to be what `--resume` writes: a
 * line a document, in order of ids. Gives the last id; undefined when there is none.
 */
function cutToLastLine(file: string, idField: string): DocumentId | undefined {
  if (!existsSync(file)) return undefined;
  const handle = openFile(file);
  try {
    if (!fstatSync(handle).isFile()) throw new UsageError(`"${file}" is no file`);
    let last: DocumentId | undefined;
    let whole = 0;
    let rest: Buffer = Buffer.alloc(0);
    const chunk = Buffer.alloc(CHUNK_SIZE);
    for (let size = 1; size > 0; ) {
      size = readSync(handle, chunk, 0, chunk.byteLength, null);
      rest = Buffer.concat([rest, chunk.subarray(0, size)]);
      if (rest.byteLength > LINE_SIZE_MAX) throw notResumable(file, "a line is too long");
      let from = 0;
      for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10, from)) {
        const line = rest.subarray(from, end).toString();
        last = nextId(file, { line, idField }, last);
        whole += end + 1 - from;
        from = end + 1;
      }
      rest = rest.subarray(from);
    }
    const begun = rest.toString();
    // One object alone, without an end of line, is some other file's content.
    if (begun !== "" && (!begun.startsWith("{") || (whole === 0 && isWhole(begun)))) {
      throw notResumable(file, "its last line is no document");
    }
    ftruncateSync(handle, whole);
    return last;
  } finally {
    closeSync(handle);
  }
}

function openFile(file: string): number {
  try {
    return openSync(file, "r+");
  } catch (error) {
    throw new UsageError(`Cannot open "${file}": ${error instanceof Error ? error.message : ""}`);
  }
}

/** The id in a line, which must come behind that of the line before. */
function nextId(
  file: string,
  { line, idField }: { readonly line: string; readonly idField: string },
  last: DocumentId | undefined,
): DocumentId {
  let id: unknown;
  try {
    id = readObject(line, "line", "")[idField];
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
  }
  if (typeof id !== "string" && typeof id !== "number") {
    throw notResumable(file, "a line is no document with an id");
  }
  const isOther = last !== undefined && typeof last !== typeof id;
  const isBehind = last === undefined || (isOther ? typeof last === "number" : id > last);
  if (!isBehind) throw notResumable(file, "its documents are not in the order of their ids");
  return id;
}

/** Whether a text is a whole object. */
function isWhole(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function notResumable(file: string, why: string): UsageError {
  return new UsageError(
    `Cannot go on with "${file}": ${why}`,
    "--resume takes files with a document a line, in order of ids; --force replaces a file",
  );
}
