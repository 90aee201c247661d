/**
 * Files that commands write. A new file gets its name when all of it is on the disk: until then
 * a file of that name stays as it was, also when the command fails or is interrupted.
 *
 * @module
 */

import { rmSync } from "node:fs";
import { type FileHandle, open, realpath, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { StorageError } from "../src/base/errors.ts";
import { UsageError } from "./output.ts";

/** Text that is collected before it is written. */
const CHUNK_LENGTH = 256 * 1024;
/** Signals that end a command, and leave no draft behind. */
export const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
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
    const known = await attempt(path, () => placeOf(path));
    if (known.isDirectory) throw new UsageError(`"${path}" is a folder`, "Name a file");
    // A pipe or a device stays what it is.
    if (known.isSpecial) return OutputFile.append(path);
    const draft = join(dirname(known.path), `.${process.pid}.${Date.now()}.part`);
    const { mode } = known;
    const handle = await attempt(path, () => open(draft, "wx", mode ?? 0o666));
    if (mode !== undefined) await attempt(path, () => handle.chmod(mode));
    return new OutputFile(known.path, draft, handle);
  }

  /** Whether {@link replace} takes another file's place: what a pipe was given stays given. */
  static async isReplaced(path: string): Promise<boolean> {
    return !(await attempt(path, () => placeOf(path))).isSpecial;
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

  /** Puts everything on the disk, and gives the file its name; abandons it where that fails. */
  async finish(): Promise<void> {
    try {
      await this.#finish();
    } catch (error) {
      await this.abandon();
      throw error;
    }
    this.#forgetSignals();
  }

  async #finish(): Promise<void> {
    await this.#flush();
    await attempt(this.#path, async () => {
      if ((await this.#handle.stat()).isFile()) await this.#handle.sync();
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

interface OutputPlace {
  /** Where links lead. */
  readonly path: string;
  /** Of a file that is there. */
  readonly mode?: number;
  readonly isDirectory: boolean;
  readonly isSpecial: boolean;
}

async function placeOf(path: string): Promise<OutputPlace> {
  try {
    const real = await realpath(path);
    const found = await stat(real);
    const isDirectory = found.isDirectory();
    const isSpecial = !found.isFile() && !isDirectory;
    return { path: real, mode: found.mode & 0o7777, isDirectory, isSpecial };
  } catch (error) {
    if ((error as { readonly code?: unknown }).code !== "ENOENT") throw error;
    return { path, isDirectory: false, isSpecial: false };
  }
}

/** What helps against a failure of the system. */
function remedyFor(cause: unknown): string {
  switch ((cause as { readonly code?: unknown } | null)?.code) {
    case "ENOENT":
    case "ENOTDIR":
      return "Make the folder first, or name another one";
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return "Name a place where you may write";
    case "ENAMETOOLONG":
      return "Name the file in fewer characters";
    case "ENOSPC":
    case "EDQUOT":
      return "Free space, or write to another place";
    default:
      return "Check the disk, or write to another place";
  }
}

async function attempt<R>(path: string, run: () => Promise<R>): Promise<R> {
  try {
    return await run();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StorageError(`Cannot write "${path}": ${reason}`, {
      cause,
      remedy: remedyFor(cause),
    });
  }
}
