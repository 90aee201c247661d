/**
 * `cstore import`.
 *
 * @module
 */

import { createReadStream, existsSync, statSync } from "node:fs";
import { CStoreError, DuplicateKeyError, ValidationError } from "../../src/base/errors.ts";
import type { AnyDocument, Collection } from "../../src/mod.ts";
import { cellFormatOf, delimiterOf, type Row, rowsOf } from "../csv.ts";
import { itemsOf, linesOf, textOf } from "../lines.ts";
import { choiceOption, flagOption, numberOption, type RawOptions, textOption } from "../options.ts";
import { tell, UsageError } from "../output.ts";
import { objectFromText } from "../tagged_json.ts";
import { use } from "./data_command.ts";
import { STREAM_MARK } from "./export_command.ts";

/** Documents of one request. */
const BATCH_DOCUMENTS = 500;
/** Bytes of lines of one request: a request has a bound. */
const BATCH_BYTES = 1024 * 1024;
const PROGRESS_MS = 2000;
/** Characters in which a header ends. */
const HEADER_MAX = 64 * 1024;
/** Characters of a refused document that are shown. */
const SHOWN_MAX = 120;

/** A stream's mark, and the line feed; an editor or a pipe may have put a return before it. */
const ENDS_OF_STREAM = [`${STREAM_MARK}\n`, `${STREAM_MARK}\r\n`];
const END_OF_STREAM_MAX = 4;

type Item = AnyDocument;

/** Puts the documents of a file into a collection. */
export async function runImport(words: readonly string[], options: RawOptions): Promise<void> {
  const [name, file] = words;
  if (name === undefined || file === undefined) {
    throw new UsageError("Name the collection and the file", "For example: cstore import users -");
  }
  checkFile(file);
  const first = numberOption(options, "fromLine", { min: 1, max: 2 ** 40, fallback: 1 });
  const idField = textOption(options, "idField") ?? "id";
  const isInsert = flagOption(options, "insert");
  const format = choiceOption(options, "format", { allowed: FORMATS, fallback: "auto" });
  await use(options, async (database) => {
    const collection = database.collection<Item>(name, { idField });
    const importer = new Importer(collection, { isInsert, idField });
    await importer.takeAll(await open(file, { format, idField }), first);
    tell(`${importer.count} documents imported into "${name}"`);
  });
}

function checkFile(file: string): void {
  if (file === "-") return;
  if (!existsSync(file)) throw new UsageError(`There is no file "${file}"`);
  if (statSync(file).isDirectory()) throw new UsageError(`"${file}" is a folder`, "Name a file");
}

/** Documents that are read one by one, and what a message calls the place of one. */
interface Source {
  readonly unit: "line" | "item";
  readonly items: AsyncIterable<SourceItem>;
  /** Throws UsageError when the export that wrote it did not end. */
  end(): void;
}

interface SourceItem {
  readonly place: number;
  /** Characters. */
  readonly size: number;
  /** Throws UsageError when it cannot be read. */
  document(): Item;
}

/** How a file may be written. */
const FORMATS = ["auto", "json", "csv", "tsv"] as const;

/**
 * A JSON array begins with a bracket; CSV and TSV have it in the file's name, or a header; anything
 * else has a document a line.
 */
async function open(
  file: string,
  { format, idField }: { readonly format: (typeof FORMATS)[number]; readonly idField: string },
): Promise<Source> {
  const input = file === "-" ? process.stdin : createReadStream(file);
  const whole = textOf(input)[Symbol.asyncIterator]();
  let head = "";
  // A form that only the first line shows needs the whole of it.
  while (head.trim() === "" || (!/\n/.test(head.trimStart()) && head.length < HEADER_MAX)) {
    const next = await whole.next();
    if (next.done === true) break;
    head += next.value.replace(/^\ufeff/, "");
  }
  let last = head.slice(-END_OF_STREAM_MAX);
  async function* texts(): AsyncGenerator<string, void> {
    yield head;
    for (let next = await whole.next(); next.done !== true; next = await whole.next()) {
      last = (last + next.value).slice(-END_OF_STREAM_MAX);
      yield next.value;
    }
  }
  const [firstLine = ""] = head.trimStart().split("\n", 1);
  const cells = format === "auto" ? cellFormatOf(file, firstLine) : format;
  if (cells === "csv" || cells === "tsv") {
    const delimiter = delimiterOf(cells, firstLine);
    const mark = delimiter === ";" ? ", with semicolons" : "";
    tell(`reading ${cells.toUpperCase()} with a header${mark}`);
    const rows = rowsOf(texts(), { format: cells, delimiter, idField });
    return { unit: "line", items: rowItems(rows), end: () => undefined };
  }
  if (head.trimStart().startsWith("[")) {
    tell("reading a JSON array");
    return { unit: "item", items: textItems(itemsOf(texts()), "item"), end: () => undefined };
  }
  tell("reading a JSON object a line");
  const isStream = head.startsWith(STREAM_MARK);
  const end = (): void => {
    if (isStream && !ENDS_OF_STREAM.some((end) => last.endsWith(end))) {
      throw new UsageError("The input breaks off: the export that wrote it did not end");
    }
  };
  return { unit: "line", items: textItems(linesOf(texts()), "line"), end };
}

async function* rowItems(rows: AsyncIterable<Row>): AsyncGenerator<SourceItem, void> {
  for await (const row of rows) {
    yield { place: row.line, size: row.size, document: () => row.document() };
  }
}

async function* textItems(
  texts: AsyncIterable<string>,
  unit: Source["unit"],
): AsyncGenerator<SourceItem, void> {
  let place = 0;
  for await (const text of texts) {
    place += 1;
    const at = place;
    const document = (): Item => objectFromText(text, `document in ${unit} ${at}`);
    if (text.trim() !== "") yield { place, size: text.length, document };
  }
}

interface Pending {
  readonly document: Item;
  readonly place: number;
}

class Importer {
  readonly #collection: Collection<Item>;
  readonly #isInsert: boolean;
  readonly #idField: string;
  #batch: Pending[] = [];
  #bytes = 0;
  #unit: Source["unit"] = "line";
  #toldMs = Date.now();
  count = 0;

  constructor(
    collection: Collection<Item>,
    how: { readonly isInsert: boolean; readonly idField: string },
  ) {
    this.#collection = collection;
    this.#isInsert = how.isInsert;
    this.#idField = how.idField;
  }

  /** From the place `first` on. Whatever ends it, what came before is imported. */
  async takeAll(source: Source, first: number): Promise<void> {
    this.#unit = source.unit;
    let next = 1;
    try {
      for await (const item of source.items) {
        next = item.place;
        if (next >= first) await this.#add(item);
        next += 1;
      }
      source.end();
    } catch (error) {
      if (error instanceof CStoreError) throw error;
      await this.#flush();
      if (error instanceof UsageError) throw new UsageError(error.message, this.#resumeHint(next));
      tell(this.#resumeHint(next));
      throw error;
    }
    await this.#flush();
  }

  async #add(item: SourceItem): Promise<void> {
    this.#batch.push({ document: item.document(), place: item.place });
    this.#bytes += item.size;
    if (this.#batch.length >= BATCH_DOCUMENTS || this.#bytes >= BATCH_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#bytes = 0;
    if (batch.length === 0) return;
    try {
      await this.#write(batch);
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      const isRefused = error instanceof ValidationError || error instanceof DuplicateKeyError;
      if (isRefused && batch.length > 1) return await this.#oneByOne(batch);
      this.#name(batch[0]!, isRefused);
      throw error;
    }
    this.count += batch.length;
    if (Date.now() - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = Date.now();
    tell(`${this.count} documents imported`);
  }

  /** One of them is refused, and nothing was written: those before it are good. */
  async #oneByOne(batch: readonly Pending[]): Promise<void> {
    for (const one of batch) {
      this.#batch = [one];
      await this.#flush();
    }
  }

  async #write(batch: readonly Pending[]): Promise<void> {
    const documents = batch.map(({ document }) => document);
    if (this.#isInsert) await this.#collection.insertMany(documents);
    else await this.#collection.putMany(documents);
  }

  #name({ document, place }: Pending, isRefused: boolean): void {
    const id = JSON.stringify(document[this.#idField], (_key, value) => {
      return typeof value === "bigint" ? String(value) : value;
    });
    const shown = id === undefined ? "no id" : `id ${id.slice(0, SHOWN_MAX)}`;
    if (isRefused) tell(`${this.#unit} ${place} is refused (${shown})`);
    tell(this.#resumeHint(place));
  }

  #resumeHint(place: number): string {
    return `What stands before ${this.#unit} ${place} is imported: go on with --from-line ${place}`;
  }
}
