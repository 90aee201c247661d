/**
 * Lines of a stream, one by one, as slowly as they are requested.
 *
 * @module
 */

import type { Readable } from "node:stream";
import { UsageError } from "./output.ts";

/** Longest line, in characters: a document has at most 1 MiB, and escapes may be six times that. */
const LINE_MAX = 16 * 1024 * 1024;

/** Throws UsageError for a line that is too long. */
export async function* linesOf(stream: Readable): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest +=
      typeof chunk === "string" ? chunk : decoder.decode(chunk as Uint8Array, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LINE_MAX) {
      throw new UsageError(`A line has more than ${LINE_MAX} characters`);
    }
    for (const line of lines) yield line.replace(/\r$/, "");
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}
