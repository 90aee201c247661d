/**
 * A file system whose disk can be made slow or full while a node runs, by a switch file that
 * another process writes. Only the entry point of the chaos tests wraps its files in it
 * (`test/chaos/faulty_node.ts`); nothing that is shipped imports this file.
 *
 * @module
 */

import * as fs from "node:fs";
import { StorageError } from "../../src/base/errors.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { FileSystem, OpenFile } from "../../src/platform/file_system.ts";

/** What the switch file says, as JSON. Without the file the disk is sound. */
export interface DiskFaults {
  /** Every sync takes so much longer, in milliseconds. */
  readonly syncDelayMs?: number;
  /** No write finds room: half of its bytes are written, the rest is refused. */
  readonly isFull?: boolean;
}

/** Sets the switch; `undefined` makes the disk sound again. Never half written: it is renamed. */
export function setDiskFaults(switchFile: string, faults: DiskFaults | undefined): void {
  if (faults === undefined) {
    fs.rmSync(switchFile, { force: true });
    return;
  }
  const draft = `${switchFile}.new`;
  fs.writeFileSync(draft, JSON.stringify(faults));
  fs.renameSync(draft, switchFile);
}

function readDiskFaults(switchFile: string): DiskFaults {
  let text: string;
  try {
    text = fs.readFileSync(switchFile, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return {};
    throw cause;
  }
  return JSON.parse(text) as DiskFaults;
}

/** Files of `real` that behave as the switch file says at each operation. */
export function faultyFiles(real: FileSystem, switchFile: string): FileSystem {
  const look = (): DiskFaults => readDiskFaults(switchFile);
  const refuseIfFull = (action: string, path: string): void => {
    if (look().isFull === true) throw noSpace(action, path);
  };
  return {
    ...real,
    makeDirectory(path) {
      if (!real.exists(path)) refuseIfFull("create folder", path);
      real.makeDirectory(path);
    },
    open(path, mode) {
      if (mode === "write" && !real.exists(path)) refuseIfFull("open", path);
      return new FaultyFile(real.open(path, mode), look);
    },
    async syncDirectory(path) {
      await delaySync(look());
      await real.syncDirectory(path);
    },
  };
}

async function delaySync({ syncDelayMs = 0 }: DiskFaults): Promise<void> {
  if (syncDelayMs > 0) await sleep(systemClock, syncDelayMs);
}

function noSpace(action: string, path: string): StorageError {
  return new StorageError(`Cannot ${action} "${path}": ENOSPC: no space left on device`);
}

class FaultyFile implements OpenFile {
  readonly #real: OpenFile;
  readonly #look: () => DiskFaults;

  constructor(real: OpenFile, look: () => DiskFaults) {
    this.#real = real;
    this.#look = look;
  }

  get path(): string {
    return this.#real.path;
  }

  size(): number {
    return this.#real.size();
  }

  read(position: number, target: Uint8Array): number {
    return this.#real.read(position, target);
  }

  write(position: number, bytes: Uint8Array): void {
    if (this.#look().isFull !== true) {
      this.#real.write(position, bytes);
      return;
    }
    // As the kernel does: what there is room for is written, then the write fails.
    this.#real.write(position, bytes.subarray(0, bytes.byteLength >>> 1));
    throw noSpace("write", this.path);
  }

  async sync(): Promise<void> {
    await delaySync(this.#look());
    await this.#real.sync();
  }

  syncNow(): void {
    const { syncDelayMs = 0 } = this.#look();
    // The caller is blocked, as by the system call.
    if (syncDelayMs > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, syncDelayMs);
    this.#real.syncNow();
  }

  truncate(size: number): void {
    this.#real.truncate(size);
  }

  close(): void {
    this.#real.close();
  }
}
