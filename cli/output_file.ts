/**
 * Files that commands write. A new file gets its name when all of it is on the disk: until then
 * a file of that name stays as it was, also when the command fails or is interrupted.
 *
 * @module
 */

import { rmSync } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { StorageError } from "../src/base/errors.ts";

/** Text that is collected before it is written. */
const CHUNK_LENGTH = 256 * 1024;
/** Signals that end a command, and leave no draft behind. */
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** One file that is being written. Everything rejects with StorageError. */
export class OutputFile {
  readonly #path: string;
  /** The file of another name; undefined when text is appended. */
  readonly #draft: string | undefined;
  readonly #handle: FileHandle;
  readonly #interrupted: (signal: (typeof ENDING)[number]) => void;
  #waiting = "";

  private constructor(path: string, draft: string | undefined, handle: FileHandle) {
    this.#path = path;
    this.#draft = draft;
    this.#handle = handle;
    this.#interrupted = (signal) => {
      this.#removeDraft();
      process.exit(EXIT_CODES[signal]);
    };
    if (draft !== undefined) for (const signal of ENDING) process.on(signal, this.#interrupted);
  }

  /** A file that replaces the one of that name, if there is one, when it is finished. */
  static async replace(path: string): Promise<OutputFile> {
    const draft = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
    const handle = await attempt(path, () => open(draft, "w", 0o666));
    return new OutputFile(path, draft, handle);
  }

  /** Goes on behind what the file holds. */
  static async append(path: string): Promise<OutputFile> {
    const handle = await attempt(path, () => open(path, "a", 0o666));
    return new OutputFile(path, undefined, handle);
  }

  async write(text: string): Promise<void> {
    this.#waiting += text;
    if (this.#waiting.length >= CHUNK_LENGTH) await this.#flush();
  }

  /** Puts everything on the disk, and gives the file its name. */
  async finish(): Promise<void> {
    await this.#flush();
    await attempt(this.#path, async () => {
      await this.#handle.sync();
      await this.#handle.close();
      if (this.#draft === undefined) return;
      await rename(this.#draft, this.#path);
      const folder = await open(dirname(this.#path), "r");
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    });
    this.#forgetSignals();
  }

  /** Called instead of {@link finish} when the rest does not come. */
  async abandon(): Promise<void> {
    this.#forgetSignals();
    await this.#handle.close().catch(() => undefined);
    this.#removeDraft();
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.from(this.#waiting);
    this.#waiting = "";
    await attempt(this.#path, async () => {
      for (let at = 0; at < bytes.byteLength; ) {
        const { bytesWritten } = await this.#handle.write(bytes, at, bytes.byteLength - at);
        at += bytesWritten;
      }
    });
  }

  #removeDraft(): void {
    if (this.#draft !== undefined) rmSync(this.#draft, { force: true });
  }

  #forgetSignals(): void {
    for (const signal of ENDING) process.off(signal, this.#interrupted);
  }
}

async function attempt<R>(path: string, run: () => Promise<R>): Promise<R> {
  try {
    return await run();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StorageError(`Cannot write "${path}": ${reason}`, {
      cause,
      remedy: "Free space, or write to another place; a file that was there is as it was",
    });
  }
}
