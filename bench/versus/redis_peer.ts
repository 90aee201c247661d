/**
 * Redis: a primary that syncs its append-only file on every write, two replicas that do the same,
 * and `WAIT 1` behind the writes, so that an answer means two synced copies.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { freePorts } from "../../cli/local/local_cluster.ts";
import {
  type PeerClient,
  type PeerMode,
  type RunningPeer,
  randomKey,
  VALUE,
  VALUE_SIZE,
} from "./peer_load.ts";
import { PeerProcesses, requireProgram } from "./peer_process.ts";

const WAIT = "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n";
/** Writes that stand before one WAIT when they are sent in groups. */
const GROUP = 16;

/** Starts the three servers under `directory`. */
export async function startRedis(directory: string): Promise<RunningPeer> {
  requireProgram("Redis", "redis-server", "apt-get install redis-server");
  const ports = await freePorts(3);
  const primary = ports[0] ?? 0;
  const processes = new PeerProcesses();
  try {
    for (const port of ports) {
      const folder = `${directory}/redis-${port}`;
      mkdirSync(folder);
      processes.start("redis-server", [
        ...["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],
        ...["--appendonly", "yes", "--appendfsync", "always", "--maxclients", "9000"],
        ...["--repl-diskless-sync-delay", "0"],
        ...(port === primary ? [] : ["--replicaof", `127.0.0.1 ${primary}`]),
      ]);
    }
    await processes.waitUntil("Redis with two replicas", () => hasReplicas(primary));
  } catch (error) {
    await processes.stop();
    throw error;
  }
  return {
    name: "Redis",
    modes: (inFlight) => modesFor(primary, inFlight),
    stop: () => processes.stop(),
  };
}

function modesFor(port: number, inFlight: number): PeerMode[] {
  const modes: PeerMode[] = [];
  if (inFlight <= 512) {
    const setting = "fsync always, SET + WAIT 1, one on each connection";
    modes.push({ setting, open: () => openClient(port, { slots: inFlight, group: 1 }) });
  }
  if (inFlight >= 4 * GROUP) {
    const group = inFlight >= 64 * GROUP ? inFlight / 64 : GROUP;
    const setting = `fsync always, ${group} SETs then WAIT 1 on each connection`;
    modes.push({ setting, open: () => openClient(port, { slots: inFlight / group, group }) });
  }
  return modes;
}

function hasReplicas(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const end = (isTrue: boolean): void => {
      socket.destroy();
      resolve(isTrue);
    };
    socket.setTimeout(500, () => end(false));
    socket.once("error", reject);
    socket.once("connect", () => socket.write("INFO replication\r\n"));
    socket.on("data", (chunk: Uint8Array) => {
      text += String(chunk);
      if (text.includes("master_repl_offset")) end(text.split("state=online").length === 3);
    });
  });
}

/** A connection with one group of writes under way. All its replies are single lines. */
class RedisConnection {
  readonly #socket: Socket;
  readonly #group: number;
  #partial = "";
  #expected = 0;
  #isWritten = true;
  #done: (isWritten: boolean) => void = () => {};

  private constructor(socket: Socket, group: number) {
    this.#socket = socket;
    this.#group = group;
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => this.#onReplies(chunk));
  }

  static open(port: number, group: number): Promise<RedisConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new RedisConnection(socket, group)));
    });
  }

  put(done: (isWritten: boolean) => void): void {
    this.#done = done;
    this.#expected = this.#group + 1;
    this.#isWritten = true;
    let text = "";
    for (let i = 0; i < this.#group; i += 1) {
      const key = randomKey();
      text += `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${VALUE_SIZE}\r\n${VALUE}\r\n`;
    }
    this.#socket.write(text + WAIT);
  }

  close(): void {
    this.#socket.destroy();
  }

  #onReplies(chunk: string): void {
    const lines = (this.#partial + chunk).split("\r\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) {
      this.#expected -= 1;
      // WAIT tells how many replicas have the writes.
      if (this.#expected === 0) this.#isWritten &&= line.startsWith(":") && line !== ":0";
      else this.#isWritten &&= line === "+OK";
    }
    if (lines.length > 0 && this.#expected === 0) this.#done(this.#isWritten);
  }
}

async function openClient(
  port: number,
  shape: { readonly slots: number; readonly group: number },
): Promise<PeerClient> {
  const { slots, group } = shape;
  const connections: RedisConnection[] = [];
  for (let i = 0; i < slots; i += 1) connections.push(await RedisConnection.open(port, group));
  return {
    ...shape,
    put: (slot, done) => connections[slot]?.put(done),
    close() {
      for (const connection of connections) connection.close();
    },
  };
}
