/**
 * Text of a stream in pieces: lines, or the items of a JSON array, one by one, as slowly as they
 * are requested.
 *
 * @module
 */

import type { Readable } from "node:stream";
import { UsageError } from "./output.ts";

/** Longest line or item, in characters: a document has 1 MiB, and escapes may be six times that. */
const PIECE_MAX = 16 * 1024 * 1024;

/** Lines without their ends. Throws UsageError for one that is too long. */
export async function* linesOf(texts: AsyncIterable<string>): AsyncGenerator<string, void> {
  let rest = "";
  let line = 1;
  for await (const text of texts) {
    rest += text;
    const lines = rest.split("\n");
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

/** The text of a stream, whole characters at a time. Throws UsageError. */
export async function* textOf(stream: Readable): AsyncGenerator<string, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      if (typeof chunk === "string") yield chunk;
      else {
        yield decoder.decode(chunk as Uint8Array, { stream: true });
        bytes += (chunk as Uint8Array).byteLength;
      }
    }
    yield decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError(`Cannot read the text: it is not valid UTF-8 behind byte ${bytes}`);
  }
}

/** The items of a JSON array, as text; each is read later. Throws UsageError. */
export async function* itemsOf(texts: AsyncIterable<string>): AsyncGenerator<string, void> {
  const splitter = new ArraySplitter();
  for await (const text of texts) yield* splitter.take(text);
  splitter.end();
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
    for (const character of text) {
      if (this.#isText) this.#inText(character);
      else if (this.#isOver) this.#behind(character);
      else yield* this.#outside(character);
      checkLength(this.#item, `item ${this.#items + 1}`);
    }
  }

  end(): void {
    if (!this.#isOver) throw new UsageError("Cannot read the array: it breaks off");
  }

  #inText(character: string): void {
    this.#item += character;
    if (this.#isEscaped) this.#isEscaped = false;
    else if (character === "\\") this.#isEscaped = true;
    else if (character === '"') this.#isText = false;
  }

  #behind(character: string): void {
    if (character.trim() === "") return;
    throw new UsageError("Cannot read the array: more follows behind its end");
  }

  *#outside(character: string): Generator<string, void> {
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
