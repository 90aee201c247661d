/**
 * The machine as one node sees it, with two switches: time can be moved on, and the node can be
 * killed so that nothing of it runs any more - sockets, timers, files and locks go as they would
 * with its process.
 *
 * @module
 */

import type { Endpoint } from "../../src/base/address.ts";
import { type CancelTimer, type Clock, systemClock } from "../../src/platform/clock.ts";
import {
  type FileSystem,
  type OpenFile,
  systemFileSystem,
} from "../../src/platform/file_system.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { type Random, systemRandom } from "../../src/platform/random.ts";
import {
  type Listener,
  type Network,
  type Socket,
  type SocketHandlers,
  systemNetwork,
} from "../../src/platform/sockets.ts";

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
  cancel: CancelTimer;
}

/** Real time that a test can move on. */
export class MovableClock implements Clock {
  #offsetMs = 0;
  #isDead = false;
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return systemClock.nowMs() + this.#offsetMs;
  }

  wallMs(): number {
    return systemClock.wallMs() + this.#offsetMs;
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    if (this.#isDead) return () => undefined;
    const timer: Timer = { atMs: this.nowMs() + delayMs, callback, cancel: () => undefined };
    this.#timers.add(timer);
    this.#arm(timer);
    return () => {
      timer.cancel();
      this.#timers.delete(timer);
    };
  }

  soon(callback: () => void): void {
    systemClock.soon(() => {
      if (!this.#isDead) callback();
    });
  }

  /** Moves on and runs what is due, in order. */
  advance(ms: number): void {
    const endMs = this.nowMs() + ms;
    while (true) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.#offsetMs += Math.max(0, next.atMs - this.nowMs());
      this.#fire(next);
    }
    this.#offsetMs += Math.max(0, endMs - this.nowMs());
    for (const timer of this.#timers) {
      timer.cancel();
      this.#arm(timer);
    }
  }

  stop(): void {
    this.#isDead = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #arm(timer: Timer): void {
    const leftMs = Math.max(0, timer.atMs - this.nowMs());
    timer.cancel = systemClock.setTimer(leftMs, () => this.#fire(timer));
  }

  #fire(timer: Timer): void {
    timer.cancel();
    this.#timers.delete(timer);
    if (!this.#isDead) timer.callback();
  }
}

/** What a test may make go wrong with a node's files. May be replaced at any time. */
export interface FileFaults {
  /** Called before a write; what it throws is thrown. */
  write?(path: string, position: number, size: number): void;
  /** Called before a sync; what it throws is what the sync rejects with. */
  sync?(path: string): void;
}

/** One node's machine. */
export class MortalPlatform implements Platform {
  readonly clock = new MovableClock();
  readonly random: Random = systemRandom();
  readonly files: FileSystem;
  readonly network: Network;
  /** Connections that others made to this node and that are open. */
  readonly incoming = new Set<Socket>();
  faults: FileFaults = {};
  #isDead = false;
  readonly #sockets = new Set<Socket>();
  readonly #listeners = new Set<Listener>();
  readonly #files = new Set<OpenFile>();
  readonly #locks = new Set<{ release(): void }>();

  constructor() {
    this.files = this.#buildFiles();
    this.network = {
      listen: (endpoint, onSocket) => this.#listen(endpoint, onSocket),
      connect: (endpoint, timeoutMs) => this.#connect(endpoint, timeoutMs),
    };
  }

  /** SIGKILL: what was written stays, everything else is gone. */
  async kill(): Promise<void> {
    this.#isDead = true;
    this.clock.stop();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([...this.#listeners].map((listener) => listener.close()));
    for (const file of this.#files) file.close();
    for (const lock of this.#locks) lock.release();
  }

  async #listen(endpoint: Endpoint, onSocket: (socket: Socket) => void): Promise<Listener> {
    const listener = await systemNetwork.listen(endpoint, (socket) => {
      this.incoming.add(socket);
      const mortal = this.#adopt(socket, () => this.incoming.delete(socket));
      if (this.#isDead) socket.destroy();
      else onSocket(mortal);
    });
    this.#listeners.add(listener);
    return listener;
  }

  async #connect(endpoint: Endpoint, timeoutMs: number): Promise<Socket> {
    const forever = new Promise<never>(() => undefined);
    try {
      const socket = await systemNetwork.connect(endpoint, timeoutMs);
      if (!this.#isDead) return this.#adopt(socket, () => undefined);
      socket.destroy();
      return await forever;
    } catch (error) {
      if (this.#isDead) return forever;
      throw error;
    }
  }

  #adopt(socket: Socket, closed: () => void): Socket {
    this.#sockets.add(socket);
    const isDead = (): boolean => this.#isDead;
    const forget = (): void => {
      this.#sockets.delete(socket);
      closed();
    };
    return {
      remoteAddress: socket.remoteAddress,
      get unsentBytes() {
        return socket.unsentBytes;
      },
      attach: (handlers: SocketHandlers) =>
        socket.attach({
          data: (chunk) => {
            if (!isDead()) handlers.data(chunk);
          },
          drain: () => {
            if (!isDead()) handlers.drain();
          },
          close: () => {
            forget();
            if (!isDead()) handlers.close();
          },
        }),
      write: (bytes) => isDead() || socket.write(bytes),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      end: () => socket.end(),
      destroy: () => socket.destroy(),
    };
  }

  #buildFiles(): FileSystem {
    const real = systemFileSystem;
    return {
      makeDirectory: (path) => real.makeDirectory(path),
      list: (path) => real.list(path),
      exists: (path) => real.exists(path),
      rename: (from, to) => real.rename(from, to),
      remove: (path) => real.remove(path),
      open: (path, mode) => this.#openFile(real.open(path, mode)),
      syncDirectory: async (path) => {
        this.faults.sync?.(path);
        await real.syncDirectory(path);
      },
      lock: (path) => {
        const lock = real.lock(path);
        this.#locks.add(lock);
        return {
          release: () => {
            if (this.#locks.delete(lock)) lock.release();
          },
        };
      },
    };
  }

  #openFile(file: OpenFile): OpenFile {
    this.#files.add(file);
    return {
      path: file.path,
      size: () => file.size(),
      read: (position, target) => file.read(position, target),
      write: (position, bytes) => {
        this.faults.write?.(file.path, position, bytes.byteLength);
        if (!this.#isDead) file.write(position, bytes);
      },
      sync: async () => {
        this.faults.sync?.(file.path);
        await file.sync().catch((cause: unknown) => {
          // The file was closed under it.
          if (!this.#isDead) throw cause;
        });
        if (this.#isDead) await new Promise<never>(() => undefined);
      },
      syncNow: () => {
        this.faults.sync?.(file.path);
        file.syncNow();
      },
      truncate: (size) => {
        if (!this.#isDead) file.truncate(size);
      },
      close: () => {
        if (this.#files.delete(file) && !this.#isDead) file.close();
      },
    };
  }
}
