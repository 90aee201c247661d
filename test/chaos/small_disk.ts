/**
 * A memory file system of a size that can be changed while it is used: a disk that is really full.
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, statfsSync } from "node:fs";

const PAGE_BYTES = 4096;

/** One mounted file system. */
export class SmallDisk {
  readonly path: string;
  #isMounted = true;

  private constructor(path: string) {
    this.path = path;
  }

  /** Mounts at `path`, which is made; undefined where this process may not mount. */
  static mount(path: string, sizeBytes: number): SmallDisk | undefined {
    mkdirSync(path, { recursive: true });
    try {
      mount(["-t", "tmpfs", "-o", `size=${sizeBytes},mode=700`, "cstore-chaos", path]);
    } catch {
      return undefined; // Not root, or another system: that is the answer.
    }
    return new SmallDisk(path);
  }

  get usedBytes(): number {
    const { blocks, bfree, bsize } = statfsSync(this.path);
    return (blocks - bfree) * bsize;
  }

  /** Leaves so much room beyond what is used, and a page at least. */
  leave(bytes: number): void {
    // A size of 0 would mean no limit.
    const sizeBytes = this.usedBytes + Math.max(PAGE_BYTES, bytes);
    mount(["-o", `remount,size=${sizeBytes}`, this.path]);
  }

  /** Takes it away with everything in it; nothing may use it any more. */
  unmount(): void {
    if (!this.#isMounted) return;
    this.#isMounted = false;
    execFileSync("umount", ["-l", this.path], { stdio: "pipe" });
  }
}

function mount(words: readonly string[]): void {
  execFileSync("mount", words, { stdio: "pipe" });
}
