/**
 * Text of a stream in pieces: lines, or the items of a JSON array, one by one, as slowly as they
 * are requested.
 *
 * @module
 */

import type { Readable } from "node:stream";
import { UsageError } from "./output.ts";

/**
 * Longest line or item, in characters: a document has up to 16 MiB, and escapes may be six times
 * that.
 */
export const PIECE_MAX = 96 * 1024 * 1024;

const LINE_FEED = 10;

/** Lines without their ends. Throws UsageError for one that is too long. */
export async function* linesOf(texts: AsyncIterable<string>): AsyncGenerator<string, void> {
  let rest = "";
  let line = 1;
  for await (const text of texts) {
    // Only the new text is looked through: a long line comes in many pieces.
    const lines = text.split("\n");
    lines[0] = rest + (lines[0] ?? "");
    rest = lines.pop() ?? "";
    for (const found of lines) {
      checkLength(found, `line ${line}`);
      yield found.replace(/\r$/, "");
      line += 1;
    }
    checkLength(rest, `line ${line}`);
  }
  if (rest !== "") yield rest;
}

function checkLength(text: string, what: string): void {
  if (text.length <= PIECE_MAX) return;
  throw new UsageError(`Cannot read ${what}: it has more than ${PIECE_MAX} characters`);
}

/**
 * The text of a stream, whole characters at a time. Throws UsageError, behind all lines before the
 * one that is not UTF-8.
 */
export async function* textOf(stream: Readable): AsyncGenerator<string, void> {
  let rest: Uint8Array = new Uint8Array(0);
  let position = 0;
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    const bytes = rest.byteLength === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = endOfCharacters(bytes);
    yield* textIn(bytes.subarray(0, end), position);
    position += end;
    rest = bytes.slice(end);
  }
  yield* textIn(rest, position);
}

function* textIn(bytes: Uint8Array, position: number): Generator<string, void> {
  const whole = decoded(bytes);
  if (whole !== undefined) {
    yield whole;
    return;
  }
  for (let at = 0; at < bytes.byteLength; ) {
    const end = bytes.indexOf(LINE_FEED, at) + 1 || bytes.byteLength;
    const line = decoded(bytes.subarray(at, end));
    if (line === undefined) {
      throw new UsageError(
        `Cannot read the text: it is not valid UTF-8 behind byte ${position + at}`,
      );
    }
    yield line;
    at = end;
  }
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return undefined;
  }
}

/** Where the last character that may go on in the next bytes begins. */
function endOfCharacters(bytes: Uint8Array): number {
  const size = bytes.byteLength;
  for (let back = 1; back <= Math.min(3, size); back += 1) {
    const byte = bytes[size - back]!;
    if (byte < 0x80) return size;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? size - back : size;
  }
  return size;
}

/** The items of a JSON array, as text; each is read later. Throws UsageError. */
export async function* itemsOf(texts: AsyncIterable<string>): AsyncGenerator<string, void> {
  const splitter = new ArraySplitter();
  for await (const text of texts) yield* splitter.take(text);
  splitter.end();
}

/** What begins and ends the parts of JSON. */
const MARKS = '{}[],"';

/** Where the next of them stands. */
function plainEnd(text: string, from: number): number {
  let at = from;
  while (at < text.length && !MARKS.includes(text.charAt(at))) at += 1;
  return at;
}

/** Finds where items of an array end: at a comma outside of texts, objects and inner arrays. */
class ArraySplitter {
  #item = "";
  #depth = 0;
  #isText = false;
  #isEscaped = false;
  #items = 0;
  #hasBegun = false;
  #isOver = false;

  *take(text: string): Generator<string, void> {
    for (let at = 0; at < text.length; ) {
      const end = this.#isText ? this.#textEnd(text, at) : plainEnd(text, at);
      if (end > at) {
        if (this.#isOver) this.#behind(text.slice(at, end));
        else if (this.#hasBegun) this.#item += text.slice(at, end);
        at = end;
      } else {
        const character = text.charAt(at);
        if (this.#isOver) this.#behind(character);
        else yield* this.#mark(character);
        at += 1;
      }
      checkLength(this.#item, `item ${this.#items + 1}`);
    }
  }

  end(): void {
    if (!this.#isOver) throw new UsageError("Cannot read the array: it breaks off");
  }

  /** Behind the text of JSON that goes on at `from`. */
  #textEnd(text: string, from: number): number {
    for (let at = from; at < text.length; at += 1) {
      const character = text.charAt(at);
      if (this.#isEscaped) this.#isEscaped = false;
      else if (character === "\\") this.#isEscaped = true;
      else if (character === '"') {
        this.#isText = false;
        return at + 1;
      }
    }
    return text.length;
  }

  #behind(rest: string): void {
    if (rest.trim() === "") return;
    throw new UsageError("Cannot read the array: more follows behind its end");
  }

  /** One of {@link MARKS}, outside of texts. */
  *#mark(character: string): Generator<string, void> {
    if ("{[".includes(character)) {
      this.#depth += 1;
    }
    // The array itself has not begun, or begins here.
    if (this.#depth === 0 || (this.#depth === 1 && this.#items === 0 && !this.#hasBegun)) {
      this.#hasBegun = this.#depth === 1;
      return;
    }
    if ("}]".includes(character)) this.#depth -= 1;
    const isEnd = this.#depth === 0;
    if (!isEnd && !(this.#depth === 1 && character === ",")) {
      this.#isText = character === '"';
      this.#item += character;
      return;
    }
    this.#isOver = isEnd;
    const item = this.#item.trim();
    this.#item = "";
    if (item === "" && isEnd && this.#items === 0) return;
    this.#items += 1;
    if (item === "") throw new UsageError(`Cannot read the array: item ${this.#items} is missing`);
    yield item;
  }
}
