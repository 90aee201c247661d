/**
 * Files, over node:fs. Writes and reads are synchronous: they touch the page cache and take
 * microseconds. What takes time, the sync, is asynchronous and runs beside the event loop.
 *
 * @module
 */

import * as fs from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { LockedError, StorageError } from "../base/errors.ts";

/** One open file. Positions are explicit; there is no cursor. */
export interface OpenFile {
  readonly path: string;
  size(): number;
  /**
   * Fills `target` from `position` on; returns the bytes read, fewer only at the end of the file.
   */
  read(position: number, target: Uint8Array): number;
  write(position: number, bytes: Uint8Array): void;
  /** Resolves when everything written before the call is on the disk (fdatasync). */
  sync(): Promise<void>;
  /** The same, blocking: for rare moments in which nothing else may happen before it ends. */
  syncNow(): void;
  truncate(size: number): void;
  close(): void;
}

/** File system, as the storage uses it. Every failure is a StorageError with its cause. */
export interface FileSystem {
  makeDirectory(path: string): void;
  /** Names in a folder, sorted; none when it does not exist. */
  list(path: string): readonly string[];
  exists(path: string): boolean;
  /** `write` creates the file if needed and never truncates it. */
  open(path: string, mode: "read" | "write"): OpenFile;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Makes creations, renames and removals in the folder durable. */
  syncDirectory(path: string): Promise<void>;
  /** Takes the lock file. Throws LockedError when a living process holds it. */
  lock(path: string): { release(): void };
}

function attempt<T>(action: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new StorageError(`Cannot ${action} "${path}": ${errorText(cause)}`, { cause });
  }
}

function errorText(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

class SystemFile implements OpenFile {
  readonly path: string;
  readonly #descriptor: number;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  size(): number {
    return attempt("read the size of", this.path, () => fs.fstatSync(this.#descriptor).size);
  }

  read(position: number, target: Uint8Array): number {
    return attempt("read", this.path, () => {
      let filled = 0;
      while (filled < target.byteLength) {
        const rest = target.byteLength - filled;
        const count = fs.readSync(this.#descriptor, target, filled, rest, position + filled);
        if (count === 0) break;
        filled += count;
      }
      return filled;
    });
  }

  write(position: number, bytes: Uint8Array): void {
    attempt("write", this.path, () => {
      let done = 0;
      while (done < bytes.byteLength) {
        const rest = bytes.byteLength - done;
        done += fs.writeSync(this.#descriptor, bytes, done, rest, position + done);
      }
    });
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (cause) => {
        if (cause === null) resolve();
        else reject(new StorageError(`Cannot sync "${this.path}": ${cause.message}`, { cause }));
      });
    });
  }

  syncNow(): void {
    attempt("sync", this.path, () => fs.fdatasyncSync(this.#descriptor));
  }

  truncate(size: number): void {
    attempt("truncate", this.path, () => fs.ftruncateSync(this.#descriptor, size));
  }

  close(): void {
    attempt("close", this.path, () => fs.closeSync(this.#descriptor));
  }
}

/** The machine's file system. */
export const systemFileSystem: FileSystem = {
  makeDirectory(path) {
    attempt("create folder", path, () => fs.mkdirSync(path, { recursive: true, mode: 0o700 }));
  },
  list(path) {
    if (!fs.existsSync(path)) return [];
    return attempt("list folder", path, () => fs.readdirSync(path).sort());
  },
  exists(path) {
    return fs.existsSync(path);
  },
  open(path, mode) {
    const { O_RDONLY, O_RDWR, O_CREAT } = fs.constants;
    const flags = mode === "read" ? O_RDONLY : O_RDWR | O_CREAT;
    return new SystemFile(
      path,
      attempt("open", path, () => fs.openSync(path, flags, 0o600)),
    );
  },
  rename(from, to) {
    attempt("rename", from, () => fs.renameSync(from, to));
  },
  remove(path) {
    attempt("remove", path, () => fs.rmSync(path, { recursive: true, force: true }));
  },
  async syncDirectory(path) {
    const descriptor = attempt("open folder", path, () => fs.openSync(path, "r"));
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fsync(descriptor, (cause) => {
          if (cause === null) resolve();
          else
            reject(new StorageError(`Cannot sync folder "${path}": ${cause.message}`, { cause }));
        });
      });
    } finally {
      fs.closeSync(descriptor);
    }
  },
  lock(path) {
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    takeLock(path);
    return { release: () => fs.rmSync(path, { force: true }) };
  },
};

/**
 * Creates the lock file, or takes over one whose process is gone. The file comes into being whole,
 * by a link, so no process ever sees an empty one; and the file taken away must be the one that
 * was judged.
 */
function takeLock(path: string): void {
  const own = `${process.pid} ${processStart(process.pid)}\n`;
  const draft = `${path}.${process.pid}.new`;
  attempt("write", draft, () => fs.writeFileSync(draft, own, { mode: 0o600 }));
  try {
    for (let attemptsLeft = 3; attemptsLeft > 0; attemptsLeft -= 1) {
      if (linkIfAbsent(draft, path)) return;
      const found = readIfPresent(path);
      if (found === undefined) continue;
      const holder = livingHolder(found);
      if (holder !== undefined) {
        throw new LockedError(`Cannot open the folder: process ${holder} holds "${path}"`);
      }
      takeAway(path, found);
    }
  } finally {
    fs.rmSync(draft, { force: true });
  }
  throw new LockedError(`Cannot open the folder: "${path}" is being taken by another process`);
}

function linkIfAbsent(draft: string, path: string): boolean {
  try {
    fs.linkSync(draft, path);
    return true;
  } catch (cause) {
    if (hasCode(cause, "EEXIST")) return false;
    throw new StorageError(`Cannot create lock "${path}": ${errorText(cause)}`, { cause });
  }
}

/** Removes a dead process's lock; one that another process took meanwhile is put back. */
function takeAway(path: string, judged: string): void {
  const aside = `${path}.${process.pid}.old`;
  try {
    fs.renameSync(path, aside);
  } catch (cause) {
    if (hasCode(cause, "ENOENT")) return;
    throw new StorageError(`Cannot take over lock "${path}": ${errorText(cause)}`, { cause });
  }
  if (readIfPresent(aside) !== judged) linkIfAbsent(aside, path);
  fs.rmSync(aside, { force: true });
}

function readIfPresent(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (cause) {
    if (hasCode(cause, "ENOENT")) return undefined;
    throw new StorageError(`Cannot read lock "${path}": ${errorText(cause)}`, { cause });
  }
}

function hasCode(cause: unknown, code: string): boolean {
  return cause instanceof Error && "code" in cause && cause.code === code;
}

/** The living process that a lock's text names; undefined when it is gone. */
function livingHolder(text: string): number | undefined {
  const [pidText = "", start = ""] = text.trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  try {
    process.kill(pid, 0);
  } catch (cause) {
    return hasCode(cause, "EPERM") ? pid : undefined;
  }
  // The number may have been given to another process since (containers: always 1).
  return start !== "" && start !== processStart(pid) ? undefined : pid;
}

/** When a process began, in kernel ticks since boot; "-" where the kernel does not tell. */
function processStart(pid: number): string {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "-";
  } catch {
    return "-"; // Not Linux: the process number alone decides.
  }
}
