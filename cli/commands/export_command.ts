/**
 * `cstore export`.
 *
 * @module
 */

import {
  closeSync,
  createReadStream,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NotFoundError } from "../../src/base/errors.ts";
import { readWhole } from "../../src/client/collection/query_client.ts";
import type { AnyDocument, Query, RemoteDatabase } from "../../src/mod.ts";
import { type CellFormat, Columns, cellFormatByName, cellsOf, headerOf, lineOf } from "../csv.ts";
import { linesOf, PIECE_MAX, textOf } from "../lines.ts";
import {
  choiceOption,
  flagOption,
  listOption,
  type RawOptions,
  readLevelOption,
  textOption,
} from "../options.ts";
import { EXIT, tell, UsageError } from "../output.ts";
import { ENDING, OutputFile } from "../output_file.ts";
import { objectFromText, readObject, toTaggedJson } from "../tagged_json.ts";
import { use } from "./data_command.ts";

/**
 * White space at the beginning of a stream to stdout, and before its last line feed: JSON does not
 * show it, and an import sees from it that a stream broke off.
 */
export const STREAM_MARK = " \t";

const PROGRESS_MS = 2000;
const CHUNK_SIZE = 1024 * 1024;

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
  readonly format: (typeof FORMATS)[number];
  /** Columns of CSV and TSV; undefined: all paths that there are. */
  readonly fields: readonly string[] | undefined;
}

const FORMATS = ["json", "csv", "tsv"] as const;

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
  const fallback = cellFormatByName(file) ?? "json";
  const format = choiceOption(options, "format", { allowed: FORMATS, fallback });
  const fields = listOption(options, "fields");
  if (format === "json" && fields.length > 0)
    throw new UsageError("--fields needs --format csv or tsv");
  if (format !== "json" && isResumed) throw new UsageError("--resume needs --format json");
  const what = {
    ...{ name, file, filter, read: readLevelOption(options), idField, format },
    fields: fields.length > 0 ? fields : undefined,
  };
  if (file === "-" && format === "json") await writeOut(STREAM_MARK);
  await use(options, async (database) => {
    const count = isResumed ? await resume(database, what) : await writeAll(database, what);
    tell(`${count} documents exported from "${name}"`);
  });
}

/** The collection as it is at one moment. */
async function writeAll(database: RemoteDatabase, what: Export): Promise<number> {
  const { name, filter, read } = what;
  await checkCollection(database, name);
  const collection = database.collection<Item>(name);
  const documents = (): AsyncIterable<Item> => collection.iterate(filter, { read });
  if (what.format !== "json")
    return writeCells(database, { ...what, format: what.format }, documents);
  // What went to stdout cannot be taken back: a lost cursor ends it, without the mark of its end.
  if (what.file === "-") return writeStream(documents());
  const write = async (): Promise<number> =>
    writeFile(await OutputFile.replace(what.file), (lines) => lines.take(documents()));
  return (await OutputFile.isReplaced(what.file)) ? readWhole(database.client, write) : write();
}

/** As a table: its columns are known when all documents were read, so they wait in a file. */
async function writeCells(
  database: RemoteDatabase,
  what: Export & { readonly format: CellFormat },
  documents: () => AsyncIterable<Item>,
): Promise<number> {
  const { format, fields, file, idField } = what;
  const folder = mkdtempSync(join(tmpdir(), "cstore-export-"));
  const draft = join(folder, "documents.ndjson");
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  const interrupted = (): never => process.exit(EXIT.interrupted);
  process.on("exit", remove);
  for (const signal of ENDING) process.on(signal, interrupted);
  try {
    let columns = new Columns();
    const count = await readWhole(database.client, async () => {
      columns = new Columns();
      async function* seen(): AsyncGenerator<Item> {
        for await (const document of documents()) {
          if (fields === undefined) columns.add(document);
          yield document;
        }
      }
      return writeFile(await OutputFile.replace(draft), (lines) => lines.take(seen()));
    });
    const found = fields ?? columns.list();
    const paths = found.length > 0 ? found : [idField];
    await writeTable(file, linesOfTable(draft, paths, format));
    return count;
  } finally {
    remove();
    process.off("exit", remove);
    for (const signal of ENDING) process.off(signal, interrupted);
  }
}

async function* linesOfTable(
  draft: string,
  paths: readonly string[],
  format: CellFormat,
): AsyncGenerator<string> {
  yield lineOf(headerOf(paths), format);
  for await (const line of linesOf(textOf(createReadStream(draft)))) {
    if (line !== "") yield lineOf(cellsOf(objectFromText(line, "line"), paths), format);
  }
}

async function writeTable(file: string, lines: AsyncIterable<string>): Promise<void> {
  if (file === "-") {
    for await (const line of lines) await writeOut(line);
    return;
  }
  const output = await OutputFile.replace(file);
  try {
    for await (const line of lines) await output.write(line);
  } catch (error) {
    await output.abandon();
    throw error;
  }
  await output.finish();
}

async function checkCollection(database: RemoteDatabase, name: string): Promise<void> {
  if ((await database.listCollections()).includes(name)) return;
  throw new NotFoundError(`Cannot export "${name}": there is no collection of that name`);
}

/** The rest of a stream to stdout, whose mark was written. */
async function writeStream(documents: AsyncIterable<Item>): Promise<number> {
  let [last, count] = ["", 0];
  const lines = new Lines(async (line) => {
    if (count > 0) await writeOut(`${last}\n`);
    last = line;
    count += 1;
  });
  await lines.take(documents);
  await writeOut(`${last}${STREAM_MARK}\n`);
  return count;
}

/** Resolves when the reader has taken it. */
function writeOut(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

async function writeFile(
  file: OutputFile,
  write: (lines: Lines) => Promise<void>,
): Promise<number> {
  const lines = new Lines((line) => file.write(`${line}\n`));
  try {
    await write(lines);
  } catch (error) {
    await file.abandon();
    throw error;
  }
  await file.finish();
  return lines.count;
}

/** In order of ids, behind the last whole line that is there. */
async function resume(database: RemoteDatabase, what: Export): Promise<number> {
  const { filter, read, idField } = what;
  await checkCollection(database, what.name);
  const collection = database.collection<Item>(what.name, { idField });
  const lacking = { $and: [{ [idField]: { $exists: false } }, filter] } as Query<Item>;
  if ((await collection.count(lacking)) > 0) {
    throw new UsageError(`The ids of "${what.name}" are not in "${idField}"`, "Give --id-field");
  }
  let last = cutToLastLine(what.file, idField);
  async function* rest(range: Item): AsyncGenerator<Item> {
    const part = { $and: [{ [idField]: range }, filter] } as Query<Item>;
    for await (const item of collection.iterate(part, { read, sort: { [idField]: 1 } })) {
      yield item;
      last = item[idField] as DocumentId;
    }
  }
  return writeFile(await OutputFile.append(what.file), async (lines) => {
    await readWhole(database.client, async () => {
      for (const range of rangesBehind(last)) await lines.take(rest(range));
    });
  });
}

/** Numbers come before texts, and a range holds one kind only. */
function rangesBehind(last: DocumentId | undefined): readonly Item[] {
  if (typeof last === "string") return [{ $gt: last }];
  const numbers = typeof last === "number" ? { $gt: last } : { $gte: -Number.MAX_VALUE };
  return [numbers, { $gte: "" }];
}

/** Documents as lines, as fast as their writer takes them. */
class Lines {
  readonly #write: (line: string) => Promise<void>;
  #toldMs = Date.now();
  count = 0;

  constructor(write: (line: string) => Promise<void>) {
    this.#write = write;
  }

  async take(documents: AsyncIterable<Item>): Promise<void> {
    for await (const document of documents) {
      await this.#write(toTaggedJson(document));
      this.count += 1;
      if (Date.now() - this.#toldMs < PROGRESS_MS) continue;
      this.#toldMs = Date.now();
      tell(`${this.count} documents exported`);
    }
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
      if (rest.byteLength > PIECE_MAX) throw notResumable(file, "a line is too long");
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
  if (!line.startsWith("{")) throw notResumable(file, "a line is no document with an id");
  try {
    id = objectFromText(line, "line")[idField];
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
