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
import type { Query, RemoteDatabase } from "../src/mod.ts";
import { use } from "./data_command.ts";
import { flagOption, type RawOptions, readLevelOption, textOption } from "./options.ts";
import { tell, UsageError } from "./output.ts";
import { readObject, toTaggedJson } from "./tagged_json.ts";

const PROGRESS_MS = 2000;
/** Bytes of a file's end that are looked at first for its last line; doubled until it is whole. */
const TAIL_SIZE = 64 * 1024;

type Item = Record<string, unknown>;

/** What is written, and how. */
interface Export {
  readonly name: string;
  /** `-`: stdout. */
  readonly file: string;
  readonly filter: Query<Item>;
  readonly read: ReturnType<typeof readLevelOption>;
}

/** Writes a collection to a file. */
export async function runExport(words: readonly string[], options: RawOptions): Promise<void> {
  const [name, file = "-"] = words;
  if (name === undefined) throw new UsageError("Name the collection");
  const isResumed = flagOption(options, "resume");
  if (isResumed && file === "-") throw new UsageError("--resume needs a file");
  if (file !== "-" && existsSync(file) && !flagOption(options, "force") && !isResumed) {
    throw new UsageError(`The file "${file}" exists`, "Give --force to replace it");
  }
  const text = textOption(options, "query");
  const filter = text === undefined ? {} : readObject(text, "query", `'{"age":30}'`);
  const what = { name, file, filter, read: readLevelOption(options) };
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
  const last = cutToLastLine(what.file);
  const writer = new LineWriter(createWriteStream(what.file, { flags: "a" }), what.file);
  const { filter, read } = what;
  return writer.until(async () => {
    for (const range of rangesBehind(last)) {
      const part = { $and: [{ id: range }, filter] } as Query<Item>;
      const options = { read, sort: { id: 1 } } as const;
      await writer.take(database.collection<Item>(what.name).iterate(part, options));
    }
    await writer.end();
  });
}

/** Numbers come before texts, and a range holds one kind only. */
function rangesBehind(last: unknown): readonly Item[] {
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

/** Cuts off a line that is not whole; gives the id in the last one, undefined without any. */
export function cutToLastLine(file: string): unknown {
  if (!existsSync(file)) return undefined;
  const handle = openSync(file, "r+");
  try {
    const { size } = fstatSync(handle);
    for (let tailSize = TAIL_SIZE; ; tailSize *= 2) {
      const start = Math.max(0, size - tailSize);
      const tail = Buffer.alloc(size - start);
      readSync(handle, tail, 0, tail.byteLength, start);
      const end = tail.lastIndexOf(10);
      const before = end > 0 ? tail.lastIndexOf(10, end - 1) : -1;
      if (before === -1 && start > 0) continue;
      ftruncateSync(handle, start + end + 1);
      if (end === -1) return undefined;
      const line = tail.subarray(before + 1, end).toString();
      return readObject(line, `last line of "${file}"`, "")["id"];
    }
  } finally {
    closeSync(handle);
  }
}
