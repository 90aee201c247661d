/**
 * Documents as CSV (RFC 4180) and TSV with a header: a column for each path, a line for each
 * document.
 *
 * CSV has texts only, so a cell is read by what it looks like: `true`, `false`, `null`, numbers
 * that are written back as the same text (`007` and `1.50` stay texts), times of ISO 8601 with `Z`,
 * and JSON with tags. A cell in quotes is a text, unless it is JSON, or all names in the header
 * stand in quotes, too: then they say nothing. An empty cell is an absent field. What is written is
 * read back as it was.
 *
 * @module
 */

import { CsvError, parse } from "csv-parse";
import { stringify } from "csv-stringify/sync";
import type { AnyDocument } from "../src/mod.ts";
import { PIECE_MAX } from "./lines.ts";
import { UsageError } from "./output.ts";
import { fromTaggedJson, toTaggedJson } from "./tagged_json.ts";

/** A form of files with cells. */
export type CellFormat = "csv" | "tsv";

/** Integers outside of 64 bits stay texts. */
const [INTEGER_MIN, INTEGER_MAX] = [-(2n ** 63n), 2n ** 64n - 1n];
/** A column's name that can be told from other text: what a header without a name of file shows. */
const COLUMN = /^"?[\p{L}_][\p{L}\p{N} _.()/%-]*"?$/u;
const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const FRACTION = /^-?\d+(?:\.\d+)?(?:e[+-]\d+)?$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/;
const JSON_TEXT = /^(?:\{.*\}|\[.*\]|".*")$/s;

/** The form of a file by the end of its name; undefined for any other. */
export function cellFormatByName(name: string): CellFormat | undefined {
  if (/\.csv$/i.test(name)) return "csv";
  return /\.(?:tsv|tab)$/i.test(name) ? "tsv" : undefined;
}

/** The form of a file by its name, or by its first line; undefined for JSON. */
export function cellFormatOf(name: string, firstLine: string): CellFormat | undefined {
  const named = cellFormatByName(name);
  if (named !== undefined) return named;
  for (const delimiter of ["\t", ",", ";"]) {
    const names = firstLine.trim().split(delimiter);
    if (names.length < 2 || !names.every((one) => COLUMN.test(one))) continue;
    return delimiter === "\t" ? "tsv" : "csv";
  }
  return undefined;
}

/** What stands between cells: spreadsheets of some countries write semicolons. */
export function delimiterOf(format: CellFormat, firstLine: string): string {
  if (format === "tsv") return "\t";
  const count = (mark: string): number => firstLine.split(mark).length;
  return count(";") > count(",") ? ";" : ",";
}

/** A document of a file, made when it is asked for, and the line that it begins in. */
export interface Row {
  readonly line: number;
  /** Characters, about. */
  readonly size: number;
  /** Throws UsageError for a cell that cannot be read. */
  document(): AnyDocument;
}

/** How a text with cells is read. */
export interface TableForm {
  readonly format: CellFormat;
  readonly delimiter: string;
  /** Column with the ids: a number that no id can be stays a text. */
  readonly idField: string;
}

interface Cell {
  readonly text: string;
  readonly isQuoted: boolean;
}

interface ReadRecord {
  readonly cells: readonly Cell[];
  /** Of its first line. */
  readonly line: number;
}

/** The documents of a text with a header. Throws UsageError behind all rows before a wrong one. */
export async function* rowsOf(
  texts: AsyncIterable<string>,
  form: TableForm,
): AsyncGenerator<Row, void> {
  let table: Table | undefined;
  for await (const { cells, line } of recordsOf(texts, form)) {
    if (table === undefined) {
      table = new Table(cells, form.idField);
      continue;
    }
    const known = table;
    known.check(cells, line);
    const size = cells.reduce((sum, { text }) => sum + text.length, 0);
    yield { line, size, document: () => known.document(cells, line) };
  }
  if (table === undefined) throw new UsageError("Cannot read the file: it has no header");
}

async function* recordsOf(
  texts: AsyncIterable<string>,
  { format, delimiter }: TableForm,
): AsyncGenerator<ReadRecord, void> {
  const ready: ReadRecord[] = [];
  let lastLine = 0;
  const parser = parse({
    bom: true,
    delimiter,
    max_record_size: PIECE_MAX,
    relax_column_count: true,
    relax_quotes: format === "tsv",
    skip_empty_lines: true,
    cast: (text: string, { quoting: isQuoted }): unknown => ({ text, isQuoted }),
    // Called for each record in turn: those before a wrong one are not lost with it.
    on_record: (record: unknown, { lines }) => {
      const cells = record as readonly Cell[];
      const inner = cells.reduce((sum, { text }) => sum + text.split("\n").length - 1, 0);
      lastLine = lines;
      const [only] = cells;
      const isBlank = cells.length === 1 && only?.isQuoted === false && only.text.trim() === "";
      if (!isBlank) ready.push({ cells, line: lines - inner });
      return null;
    },
  });
  let problem: Error | undefined;
  parser.on("error", (error) => {
    problem = error;
  });
  parser.resume();
  const settled = (act: (done: () => void) => void) => new Promise<void>((resolve) => act(resolve));
  for await (const text of texts) {
    await settled((done) => parser.write(text, () => done()));
    yield* ready.splice(0);
    if (problem !== undefined) throw asUsage(problem, lastLine + 1);
  }
  await settled((done) => {
    parser.once("close", done);
    parser.end();
  });
  yield* ready.splice(0);
  if (problem !== undefined) throw asUsage(problem, lastLine + 1);
}

function asUsage(error: Error, line: number): Error {
  if (!(error instanceof CsvError)) return error;
  const [what = ""] = error.message.split(/[:,]/, 1);
  return new UsageError(`Cannot read the row that begins in line ${line}: ${what}`);
}

interface Column {
  readonly name: string;
  readonly path: readonly string[];
}

/** The columns of a header. */
class Table {
  readonly #columns: readonly Column[];
  readonly #idField: string;
  /** Whether quotes around a cell mark a text. */
  readonly #quotesMarkTexts: boolean;

  /** Throws UsageError. */
  constructor(header: readonly Cell[], idField: string) {
    this.#columns = columnsOf(header);
    this.#idField = idField;
    this.#quotesMarkTexts = !header.every(({ isQuoted }) => isQuoted);
  }

  /** Throws UsageError for a row with other cells than the header. */
  check(cells: readonly Cell[], line: number): void {
    const [has, needs] = [cells.length, this.#columns.length];
    if (has === needs) return;
    throw new UsageError(`Cannot read line ${line}: it has ${has} cells, and the header ${needs}`);
  }

  document(cells: readonly Cell[], line: number): AnyDocument {
    const document: { [name: string]: unknown } = {};
    for (const [at, { name, path }] of this.#columns.entries()) {
      const cell = cells[at];
      if (cell === undefined || (cell.text === "" && !this.#isText(cell))) continue;
      const read = this.#isText(cell)
        ? readText(cell.text, `cell "${name}" in line ${line}`)
        : readCell(cell.text, `cell "${name}" in line ${line}`);
      const isNoId = name === this.#idField && typeof read === "bigint";
      put(document, path, isNoId ? cell.text : read);
    }
    return document;
  }

  #isText({ isQuoted }: Cell): boolean {
    return isQuoted && this.#quotesMarkTexts;
  }
}

function put(document: { [name: string]: unknown }, path: readonly string[], value: unknown): void {
  let target = document;
  for (const segment of path.slice(0, -1)) {
    // A name like `constructor` is inherited by every object.
    if (!Object.hasOwn(target, segment)) define(target, segment, {});
    target = target[segment] as { [name: string]: unknown };
  }
  define(target, path.at(-1) ?? "", value);
}

function define(target: object, name: string, value: unknown): void {
  const how = { configurable: true, enumerable: true, writable: true };
  Object.defineProperty(target, name, { ...how, value });
}

function columnsOf(header: readonly Cell[]): readonly Column[] {
  const seen = new Set<string>();
  return header.map(({ text, isQuoted }, at) => {
    const name = isQuoted ? text : text.trim();
    const path = name.split(".");
    if (path.includes("") || path.includes("__proto__")) {
      throw new UsageError(`Cannot use the name "${name}" of column ${at + 1}`);
    }
    if (seen.has(name)) throw new UsageError(`Two columns of the file are called "${name}"`);
    for (const other of seen) {
      if (name.startsWith(`${other}.`) || other.startsWith(`${name}.`)) {
        throw new UsageError(`The columns "${other}" and "${name}" contradict each other`);
      }
    }
    seen.add(name);
    return { name, path };
  });
}

/** A cell without quotes. */
function readCell(cell: string, what: string): unknown {
  if (cell === "null") return null;
  if (cell === "true" || cell === "false") return cell === "true";
  if (INTEGER.test(cell)) return integerOf(cell);
  if (FRACTION.test(cell) && String(Number(cell)) === cell) return Number(cell);
  if (TIME.test(cell) && !Number.isNaN(Date.parse(cell))) return new Date(cell);
  return readText(cell, what);
}

/** A text, or JSON. */
function readText(cell: string, what: string): unknown {
  return isJson(cell) ? fromTaggedJson(cell, what) : cell;
}

function integerOf(digits: string): number | bigint | string {
  const number = Number(digits);
  if (Number.isSafeInteger(number)) return Object.is(number, -0) ? digits : number;
  const whole = BigInt(digits);
  return whole >= INTEGER_MIN && whole <= INTEGER_MAX ? whole : digits;
}

/** Whether a text is an object, an array or a text of JSON. */
function isJson(text: string): boolean {
  if (!JSON_TEXT.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The paths of documents' values, in the order in which they came. */
export class Columns {
  readonly #paths = new Set<string>();

  add(document: object, prefix = ""): void {
    for (const [name, value] of Object.entries(document)) {
      if (name === "" || name.includes(".")) {
        const why = name === "" ? "it has no name" : "its name has a dot";
        throw new UsageError(`Cannot write the field "${name}" as a column: ${why}`);
      }
      const path = prefix + name;
      if (isInner(value)) this.add(value, `${path}.`);
      else this.#paths.add(path);
    }
  }

  /** Where documents differ in what is an object, it is one column. */
  list(): readonly string[] {
    return [...this.#paths].filter((path) => {
      const names = path.split(".");
      return !names.some((_name, at) => at > 0 && this.#paths.has(names.slice(0, at).join(".")));
    });
  }
}

function isInner(value: unknown): value is object {
  return isPlain(value) && Object.keys(value).length > 0;
}

function isPlain(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** A cell as it is written. */
export interface WrittenCell {
  readonly text: string;
  /** In quotes: a text that looks like something else. */
  readonly isQuoted: boolean;
}

/** One line, with its end. */
export function lineOf(cells: readonly WrittenCell[], format: CellFormat): string {
  return stringify([[...cells]], {
    delimiter: delimiterOf(format, ""),
    quoted_match: /^\s|\s$|"/,
    cast: {
      object: (cell) => {
        const { text: value, isQuoted: quoted } = cell as WrittenCell & object;
        return { value, quoted, quoted_empty: quoted };
      },
    },
  });
}

/** A header, whose names are without quotes where they can be. */
export function headerOf(paths: readonly string[]): readonly WrittenCell[] {
  return paths.map((text) => ({ text, isQuoted: false }));
}

/** The cells of a document at the paths. */
export function cellsOf(document: object, paths: readonly string[]): readonly WrittenCell[] {
  return paths.map((path) => {
    let value: unknown = document;
    for (const segment of path.split(".")) {
      const isThere = isPlain(value) && Object.hasOwn(value, segment);
      value = isThere ? (value as { readonly [name: string]: unknown })[segment] : undefined;
    }
    return cellOf(value);
  });
}

function cellOf(value: unknown): WrittenCell {
  if (value === undefined) return { text: "", isQuoted: false };
  if (value instanceof Date && TIME.test(value.toISOString())) {
    return { text: value.toISOString(), isQuoted: false };
  }
  // Digits beyond 2^53 are read as an exact integer, which a float is not.
  const isFloat =
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  if ((typeof value === "object" && value !== null) || isFloat) {
    return { text: toTaggedJson(value), isQuoted: true };
  }
  if (typeof value !== "string") return { text: String(value), isQuoted: false };
  if (isJson(value)) return { text: JSON.stringify(value), isQuoted: true };
  return { text: value, isQuoted: value === "" || readCell(value, "cell") !== value };
}
