/**
 * Documents as CSV (RFC 4180) and TSV with a header: a column for each path, a line for each
 * document.
 *
 * CSV has texts only, so a cell is read by what it looks like: `true` and `false`, and numbers that
 * are written back as the same text, so that `007` and `1.50` stay texts. An empty cell is an absent
 * field. Dots in a header lead into objects. Objects and arrays in cells are JSON with tags.
 *
 * @module
 */

import { Readable } from "node:stream";
import { type Parser, parse } from "csv-parse";
import { stringify } from "csv-stringify/sync";
import type { AnyDocument } from "../src/mod.ts";
import { UsageError } from "./output.ts";
import { fromTaggedJson, toTaggedJson } from "./tagged_json.ts";

/** A form of files with cells. */
export type CellFormat = "csv" | "tsv";

const DELIMITERS: Readonly<Record<CellFormat, string>> = { csv: ",", tsv: "\t" };
/** Longest line, in characters, as of JSON. */
const LINE_LENGTH_MAX = 16 * 1024 * 1024;
/** Integers outside of 64 bits stay texts. */
const [INTEGER_MIN, INTEGER_MAX] = [-(2n ** 63n), 2n ** 64n - 1n];
/** A column's name that can be told from other text: what a header without a name of file shows. */
const COLUMN = /^"?[A-Za-z_][\w .-]*"?$/;

/** The form of a file by the end of its name, or by its first line; undefined for JSON. */
export function cellFormatOf(name: string, firstLine: string): CellFormat | undefined {
  if (/\.csv$/i.test(name)) return "csv";
  if (/\.(?:tsv|tab)$/i.test(name)) return "tsv";
  for (const format of ["tsv", "csv"] as const) {
    const names = firstLine.trim().split(DELIMITERS[format]);
    if (names.length > 1 && names.every((one) => COLUMN.test(one))) return format;
  }
  return undefined;
}

/** A document of a file, made when it is asked for, and the line that it begins in. */
export interface Row {
  readonly line: number;
  /** Characters, about. */
  readonly size: number;
  /** Throws UsageError for a cell that cannot be read. */
  document(): AnyDocument;
}

/** The documents of a text with a header. Throws UsageError behind all lines before a wrong one. */
export async function* rowsOf(
  texts: AsyncIterable<string>,
  format: CellFormat,
): AsyncGenerator<Row, void> {
  const parser = parse({
    bom: true,
    delimiter: DELIMITERS[format],
    info: true,
    max_record_size: LINE_LENGTH_MAX,
    relax_quotes: format === "tsv",
    skip_empty_lines: true,
  });
  const input = Readable.from(texts);
  input.on("error", (error) => parser.destroy(error));
  input.pipe(parser);
  let columns: readonly Column[] | undefined;
  let line = 1;
  try {
    for await (const { record, info } of parser as AsyncIterable<Parsed>) {
      if (columns === undefined) columns = columnsOf(record);
      else {
        const known: readonly Column[] = columns;
        const place = line;
        const size = record.reduce((sum, cell) => sum + cell.length, 0);
        yield { line: place, size, document: () => documentOf(known, record, place) };
      }
      line = info.lines + 1;
    }
  } catch (error) {
    throw asUsage(error, parser);
  }
  if (columns === undefined) throw new UsageError("Cannot read the file: it has no header");
}

interface Parsed {
  readonly record: readonly string[];
  readonly info: { readonly lines: number };
}

interface Column {
  readonly name: string;
  readonly path: readonly string[];
}

function asUsage(error: unknown, parser: Parser): unknown {
  const isWrong =
    error instanceof Error && "code" in error && String(error.code).startsWith("CSV_");
  if (!isWrong) return error;
  return new UsageError(`Cannot read line ${parser.info.lines}: ${error.message}`);
}

function columnsOf(header: readonly string[]): readonly Column[] {
  const seen = new Set<string>();
  return header.map((given, at) => {
    const name = given.trim();
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

function documentOf(columns: readonly Column[], cells: readonly string[], line: number) {
  const document: { [name: string]: unknown } = {};
  for (const [at, { name, path }] of columns.entries()) {
    const cell = cells[at] ?? "";
    if (cell === "") continue;
    let target = document;
    for (const segment of path.slice(0, -1)) {
      target[segment] ??= {};
      target = target[segment] as { [name: string]: unknown };
    }
    target[path.at(-1) ?? ""] = readCell(cell, `cell "${name}" in line ${line}`);
  }
  return document;
}

function readCell(cell: string, what: string): unknown {
  if (cell === "true" || cell === "false") return cell === "true";
  if (/^-?(?:0|[1-9]\d*)$/.test(cell)) return integerOf(cell);
  if (/^-?(?:0|[1-9]\d*)\.\d+$/.test(cell) && String(Number(cell)) === cell) return Number(cell);
  // A text that only begins like JSON stays a text.
  if (/^(?:\{.*\}|\[.*\])$/s.test(cell) && isJson(cell)) return fromTaggedJson(cell, what);
  return cell;
}

function integerOf(digits: string): number | bigint | string {
  const number = Number(digits);
  if (Number.isSafeInteger(number)) return Object.is(number, -0) ? digits : number;
  const whole = BigInt(digits);
  return whole >= INTEGER_MIN && whole <= INTEGER_MAX ? whole : digits;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The paths of a document's values, through its objects, in their order. */
export function pathsOf(document: object, prefix = ""): readonly string[] {
  return Object.entries(document).flatMap(([name, value]) => {
    if (name.includes(".")) {
      throw new UsageError(`Cannot write the field "${name}" as a column: its name has a dot`);
    }
    const path = prefix + name;
    return isInner(value) ? pathsOf(value, `${path}.`) : [path];
  });
}

function isInner(value: unknown): value is object {
  return isPlain(value) && Object.keys(value).length > 0;
}

function isPlain(value: unknown): value is object {
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

/** One line, with its end. */
export function lineOf(cells: readonly string[], format: CellFormat): string {
  return stringify([[...cells]], { delimiter: DELIMITERS[format], quoted_match: /^\s|\s$/ });
}

/** The cells of a document at the paths. */
export function cellsOf(document: object, paths: readonly string[]): readonly string[] {
  return paths.map((path) => {
    let value: unknown = document;
    for (const segment of path.split(".")) {
      const isThere = isPlain(value) && Object.hasOwn(value, segment);
      value = isThere ? (value as { readonly [name: string]: unknown })[segment] : undefined;
    }
    return cellOf(value);
  });
}

function cellOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (typeof value === "object") return toTaggedJson(value);
  return String(value);
}
